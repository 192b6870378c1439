"""What changed files come to in a kept graph: other inputs, outputs that have to be put back, or nothing.

It decides what a file may have decided besides its bytes: if that cannot be told, nothing can.

The invariant: every path that changed is accounted for, with the stamp that it had before it was read, or ``NotKept`` is
raised.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping
from stat import S_ISDIR
from typing import Final

from merkl.digest import Key
from merkl.engine.keepgraph import source_data
from merkl.engine.kept import STEP, Kept, NotKept
from merkl.engine.project import Project
from merkl.errors import InputMissing
from merkl.nodes import Artifact, Source
from merkl.snapshot.answer import UNSURE, Changed, Looked, Stamp, full_stamp, kind_stamp
from merkl.snapshot.names import entries_of, sum_of_names
from merkl.snapshot.writing import TICK_NS, Names, settled
from merkl.workspace.paths import absolute

_ASKED: Final = (
    16  # So many of the answers that are not looked at are asked for, in case the store was emptied.
)


class Looking:
    """What became of the paths that a snapshot does not find as they were.

    ``sources`` are the inputs that are others now, by number; ``nodes`` the numbers of those that found what changed, or place
    what is not in its place.  ``stamps`` is what is to stand in the next snapshot, and ``trees`` what is to stand there of
    directories: the files, and the same without following links.  What is ``confirmed`` is as it was placed, and was read.

    Raises:
        NotKept: one of them may have decided more.
    """

    def __init__(self, project: Project, kept: Kept, changed: Changed) -> None:
        self.sources: Final[dict[int, Source]] = {}
        self.nodes: Final[set[int]] = set()
        self.stamps: Final[dict[str, Stamp]] = {}
        self.trees: Final[dict[str, tuple[list[Looked], list[Looked]]]] = {}
        self.confirmed: Final[set[str]] = set()
        self._project: Final = project
        self._kept: Final = kept
        self._clock: Final = project.index.clock_ns() - TICK_NS
        self._device: Final = os.stat(project.root).st_dev
        self._look(changed)
        self._ask_store()

    def _look(self, changed: Changed) -> None:
        kept, before = self._kept, {path: self._stamp(path) for path in changed.paths}
        mere, unsure, listings = kept.head["mere"], kept.head["unsure"], kept.head["listings"]
        databases = kept.head["databases"]
        within: dict[str, None] = {}  # Directories that are inputs.
        for path, stamp in before.items():
            inputs = kept.directories_at(path)
            within.update(dict.fromkeys(inputs))
            if path in mere:
                self._look_at_source(path, mere[path])
            elif path in unsure and self._is_in_place(path, *unsure[path]):
                pass
            elif path in databases and not inputs:
                pass  # Asked before who places it, which takes all that is placed to be read.
            elif (placer := kept.places(path)) is not None:
                self.nodes.add(placer)
            elif inputs:
                continue
            elif path in listings:
                self._look_into(path, listings[path])
            elif path not in databases:
                raise NotKept(f"{path} changed")
            self.stamps[path] = stamp if settled(stamp, self._clock, self._device) else UNSURE
        for path in changed.links:
            inputs = kept.directories_at(path)
            within.update(dict.fromkeys(inputs))
            if (placer := kept.places(path)) is not None:
                self.nodes.add(placer)
            elif not inputs:
                raise NotKept(f"{path} changed")
        for path in within:
            self._look_at_directory(path, kept.head["directories"][path])
        if rest := {path: placed for path, placed in unsure.items() if path not in before}:
            self._read_unsure(rest)

    def _read_unsure(self, unsure: Mapping[str, tuple[bytes, bool]]) -> None:
        """Read what has the stamp that it had when it was placed, but may have been written right after that."""
        from merkl.workspace.hashing import is_small
        from merkl.workspace.many import hash_many  # After a whole build only.

        paths, files = [], []
        for path in unsure:
            where = absolute(path, self._project.root)
            with contextlib.suppress(OSError):
                found = os.stat(where)
                if is_small(found):
                    paths.append(path)
                    files.append((where, found))
        same: set[str] = set()
        for start, digests in hash_many(files, 0, lambda _, small: small[0]):
            for at, digest in enumerate(digests, start):
                stamp = full_stamp(files[at][1])
                expected, executable = unsure[paths[at]]
                if digest == expected and bool(files[at][1].st_mode & 0o100) == executable:
                    same.add(paths[at])
                    if settled(stamp, self._clock, self._device):
                        self.confirmed.add(paths[at])
        for path in unsure.keys() - same:
            stamp = self._stamp(path)
            if not self._is_in_place(path, *unsure[path]):
                self.nodes.add(self._placer(path))
            self.stamps[path] = stamp if settled(stamp, self._clock, self._device) else UNSURE

    def _placer(self, path: str) -> int:
        placer = self._kept.places(path)
        if placer is None:
            raise NotKept(f"nobody places {path}")
        return placer

    def _stamp(self, path: str) -> Stamp:
        try:
            return full_stamp(os.stat(absolute(path, self._project.root)))
        except OSError as error:
            return error.errno or 0

    def _look_at_source(self, path: str, number: int) -> None:
        try:
            source = self._project.index.source(path, "file")
        except InputMissing:
            raise NotKept(f"{path} is gone") from None
        if number >= 0:
            self._is_another(number, source)
        # One that failed, or ran while the file was edited, may have found other bytes than the rest.
        for finder in self._kept.found.get(path, ()):
            if dict(self._kept.said(finder).found)[path] != source.digest:
                self.nodes.add(finder)

    def _is_another(self, number: int, source: Source) -> bool:
        known = self._kept.source(number)
        if (source.digest, source.executable) == (known.digest, known.executable):
            # Touched: whoever reads it will look at its stamp.
            self._kept.sources[number] = source_data(source)
            return False
        self.sources[number] = source
        return True

    def _look_at_directory(self, path: str, number: int) -> None:
        if number < 0:
            raise NotKept(f"what is in {path} was asked for")
        self.see_tree(path)
        try:
            source = self._project.index.source(path, "dir")
        except InputMissing:
            raise NotKept(f"{path} is gone") from None
        self._is_another(number, source)

    def _is_in_place(self, path: str, digest: bytes, executable: bool) -> bool:
        """Whether an output is what it was when it was placed."""
        if os.path.isdir(absolute(path, self._project.root)):
            self.see_tree(path)
        found = self._project.index.look(path)
        return isinstance(found, Artifact) and (found.digest, found.executable) == (digest, executable)

    def see_tree(self, path: str) -> None:
        """Let what is in a directory now stand in the next snapshot, if it is settled."""
        files: list[Looked] = []
        links: list[Looked] = []
        try:
            for each, is_link, found in _walked(path, absolute(path, self._project.root)):
                if is_link or not settled(full_stamp(found), self._clock, self._device):
                    files, links = [(path, UNSURE)], []
                    break
                files.append((each, full_stamp(found)))
                if each != path:
                    links.append((each, kind_stamp(found) if S_ISDIR(found.st_mode) else full_stamp(found)))
        except OSError as error:
            raise NotKept(f"{path} cannot be read: {error.strerror}") from None
        self.trees[path] = files, links

    def _look_into(self, path: str, names: Names) -> None:
        before, asked = names
        try:
            same = sum_of_names(entries_of(absolute(path, self._project.root)), asked) == before
        except OSError:
            same = False
        if not same:
            raise NotKept(f"what is in {path} changed")

    def _ask_store(self) -> None:
        """See that what is not looked at is where it was."""
        kept, store = self._kept, self._project.store
        if kept.head["removals"] != store.removals():
            raise NotKept("records were removed from the store")
        undone = set(kept.head["undone"])
        places = range(0, len(kept.flags), max(1, len(kept.flags) // _ASKED))
        counted = {kept.flags.find(STEP, at) for at in places} - undone - {-1}
        some = [Key(kept.keys[number]) for number in sorted(counted)]
        if len(store.by_key(some)) != len(some):
            raise NotKept("records are gone")


def _walked(path: str, where: str) -> Iterable[tuple[str, bool, os.stat_result]]:
    """What is at a path and below it, and whether that is a symbolic link."""
    yield path, False, os.stat(where)
    with os.scandir(where) as found:
        entries = list(found)
    for entry in entries:
        name = f"{path}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _walked(name, entry.path)
        else:
            yield name, entry.is_symlink(), entry.stat(follow_symlinks=False)
