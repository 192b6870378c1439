"""Whether what a round depended on still holds.

It decides what counts as a change: other bytes, another executable bit, another set of files that match; a time alone
does not.  It remembers nothing from one question to the next but stamps that were settled when they were read, and the
directories that patterns have come to look into: digests come from the project's index, which is opened anew each time.

The invariant: it errs towards changed.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import assert_never

from merkl.config import STATE_DIR
from merkl.dataclass import dataclass, field, replace
from merkl.engine.state import has_files
from merkl.errors import MerklError
from merkl.nodes import Artifact
from merkl.stamp import Absent, Stamp, read_stamp
from merkl.watching.matters import Empty, Input, Known, Matters, Output, Untouched
from merkl.workspace.index import FileIndex
from merkl.workspace.listing import glob_files
from merkl.workspace.paths import absolute


@dataclass(slots=True)
class News:
    """What was heard and not yet compared, whether it matters or not.

    All are normalised: ``paths`` may have changed, in the directories ``listed`` a name came or went, the directories
    ``moved`` came, went or are other ones now.  ``everything``: nobody knows what was missed.
    """

    paths: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    everything: bool = False

    def add(self, other: "News") -> None:
        """Take in what was heard besides."""
        self.paths |= other.paths
        self.listed |= other.listed
        self.moved |= other.moved
        self.everything |= other.everything


class Comparison:
    """Compares one round's ``Matters`` with the file system."""

    def __init__(self, matters: Matters) -> None:
        self.matters = matters
        self._seen: dict[str, Stamp | Absent] = {}  # Of what was found unchanged; settled, or absent.
        self._trees = [(path, path + "/") for path in matters.trees()]
        self._matched = frozenset(path for glob in matters.globs for path in glob.found)

    def files_in(self, news: News) -> set[str]:
        """The files that matter of which there may be news."""
        if news.everything:
            return set(self.matters.files)
        found = {known for path in news.paths for known in self._named(path)}
        return found | self._below(news.moved) if news.moved else found

    def lists(self, news: News) -> bool:
        """Whether a pattern may match otherwise."""
        if news.everything:
            return bool(self.matters.globs)
        listed = self.matters.listed
        if news.paths & self.matters.rules or news.moved & listed:
            return True
        directories = news.listed & listed
        if not directories:
            return False
        return any(
            self._came_or_went(path) for path in news.paths if (os.path.dirname(path) or ".") in directories
        )

    def _came_or_went(self, path: str) -> bool:
        """Whether a name in a listed directory may be a new match, or is a lost one: not that of an editor's passing file."""
        where = absolute(path, self.matters.root)
        return not os.path.isfile(where) if path in self._matched else os.path.lexists(where)

    def concerns(self, news: News) -> bool:
        """Whether anything in it may matter."""
        return news.everything or self.lists(news) or bool(self.files_in(news))

    def _named(self, path: str) -> list[str]:
        """Which of the files that matter a path is, or is inside of, or is what they lead to."""
        found = [path] if path in self.matters.files else []
        found += [tree for tree, inside in self._trees if path.startswith(inside)]
        if self.matters.links:
            found += self.matters.links.get(absolute(path, self.matters.root), ())
        return found

    def _below(self, moved: set[str]) -> set[str]:
        """The files that matter at, below or around one of some directories."""
        inside: dict[str, bool] = {".": "." in moved, "": "." in moved, "/": "/" in moved}

        def is_inside(path: str) -> bool:
            if path not in inside:
                inside[path] = path in moved or is_inside(os.path.dirname(path))
            return inside[path]

        found = {path for path in self.matters.files if path in moved or is_inside(os.path.dirname(path))}
        found.update(known for directory in moved for known in self._named(directory))
        for real, names in self.matters.links.items():
            if is_inside(os.path.dirname(real)):
                found.update(names)
        return found

    def awaited(self, news: News) -> set[str]:
        """The files that a build reads for certain, of which there is news: those that must be whole."""
        if news.everything:
            return set()
        return {path for path in self.files_in(news) if not isinstance(self.matters.files[path], Untouched)}

    def touched(self) -> bool:
        """At a glance, whether something may have changed: for whoever looks again and again."""
        if self._trees:
            return True  # What is inside of them has no stamp here.
        glance = self.glance()
        return any(path not in self._seen or self._seen[path] != stamp for path, stamp in glance.items())

    def glance(self) -> dict[str, Stamp | Absent]:
        """The stamps of all that matters."""
        matters = self.matters
        return {
            path: _stamp(absolute(path, matters.root))
            for path in (*matters.files, *matters.listed, *matters.rules)
        }

    def changes(self, news: News, *, first_only: bool = False) -> list[str]:
        """What has changed, of what there is news of, as sorted paths; ``first_only`` if one is enough."""
        with memory(self.matters.root) as index:
            found = self._changed_files(index, sorted(self.files_in(news)), first_only=first_only)
            if self.lists(news) and not (found and first_only):
                found |= self._changed_globs(index)
        return sorted(found)

    def _changed_files(self, index: FileIndex, paths: Iterable[str], *, first_only: bool) -> set[str]:
        """The paths that are not as they were; once one is certain, other inputs count by their stamps alone."""
        found: set[str] = set()
        for path in paths:
            where = absolute(path, self.matters.root)
            known = self.matters.files[path]
            tree = isinstance(known, Input | Output) and known.directory
            now = _stamp(where)
            if self._seen.get(path) == now and not tree:
                continue
            by_stamp = bool(found) and isinstance(known, Input) and known.stamp not in (None, now)
            if by_stamp or not _holds(index, path, where, known, now):
                found.add(path)
                if first_only:
                    break
            elif not tree and (isinstance(now, Absent) or now.settled(index.clock_ns())):
                # The digest was asked for after the stamp, so a later stamp hides no other bytes.
                self._seen[path] = now
        return found

    def _changed_globs(self, index: FileIndex) -> set[str]:
        matters = self.matters
        stamps = {path: _stamp(absolute(path, matters.root)) for path in (*matters.listed, *matters.rules)}
        clock = index.clock_ns()
        found: set[str] = set()
        listed, rules = set(matters.listed), set(matters.rules)
        for glob in matters.globs:
            try:
                now = glob_files(matters.root, glob.base, glob.pattern)
            except MerklError:  # A rule file that cannot be read: the next build says so.
                return set(matters.rules)
            found.update(set(now.files).symmetric_difference(glob.found))
            listed.update(now.directories)
            rules.update(now.rules)
        if not found:
            # A directory came in which nothing matches yet.
            self.matters = replace(matters, listed=frozenset(listed), rules=frozenset(rules))
            settled = {
                path: stamp
                for path, stamp in stamps.items()
                if path not in matters.files and (isinstance(stamp, Absent) or stamp.settled(clock))
            }
            self._seen.update(settled)
        return found


@contextlib.contextmanager
def memory(root: str) -> Iterator[FileIndex]:
    """The project's memory of its files, opened anew: other processes write to it too."""
    state = os.path.join(root, STATE_DIR)
    with contextlib.suppress(OSError):  # A read-only project: the index says what follows from it.
        os.makedirs(state, exist_ok=True)
    index = FileIndex(root, state)
    try:
        yield index
    finally:
        index.close()


def _stamp(where: str) -> Stamp | Absent:
    try:
        return read_stamp(where)
    except OSError:  # A loop of links, or no permission: nothing to be read there.
        return Absent()


def _holds(index: FileIndex, path: str, where: str, known: Known, now: Stamp | Absent) -> bool:
    """Whether a path has what was used."""
    match known:
        case Input():
            return _is_input(index, path, known)
        case Output():
            found = index.look(path)
            if not isinstance(found, Artifact) or (found.kind == "dir") != known.directory:
                return False
            same = known.directory or found.executable == known.executable
            return found.digest == known.digest and same
        case Empty():
            return not has_files(where)
        case Untouched():
            return known.stamp == now if known.digest is None else _is_input(index, path, Input(known.digest))
        case other:
            assert_never(other)


def _is_input(index: FileIndex, path: str, known: Input) -> bool:
    try:
        source = index.source(path, "dir" if known.directory else "file")
    except (MerklError, OSError):
        return False
    return source.digest == known.digest and known.executable in (None, source.executable)
