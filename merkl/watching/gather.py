"""What a round depended on, found in the process that built, when it has ended.

It decides what matters: what the graph read and what it discovered, what was placed, the Merklfile with the code and the
values it used, what its patterns matched.  After an error nobody can say what else would have been read; then every file
of the project matters that no rule file names.

The invariant: of each file it is said what was used, where that is known; and where it is not, a file that changed since
the round began is doubtful.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from merkl.config import CONFIG_FILE, MERKLFILE, MERKLFILE_YAML, is_yaml
from merkl.dataclass import dataclass, field, replace
from merkl.digest import Digest
from merkl.engine.joint import futures_of, once
from merkl.engine.judge import Judge
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.sidecars import LoadedCall
from merkl.engine.step import State
from merkl.errors import InputChanged, MerklError
from merkl.events import Failed
from merkl.merklfile.registry import Merklfile
from merkl.nodes import Artifact, Future, Node, walk
from merkl.python import sources
from merkl.stamp import SETTLED_NS, Absent, read_stamp
from merkl.watching.matters import Empty, Glob, Input, Known, Matters, Output, Untouched, is_ours, leading
from merkl.workspace.index import FileIndex
from merkl.workspace.listing import glob_files
from merkl.workspace.paths import absolute, normalise
from merkl.workspace.sidecar import sidecar_of

_OURS: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep
_EVERYTHING: Final = "{**,**/.*}"


@dataclass(slots=True)
class Round:
    """What is known of one round so far.  ``began_ns`` is its start by the clock of the project's file system."""

    project: Project
    began_ns: int
    merklfile: Merklfile | None = None
    roots: tuple[Node, ...] = ()
    placements: tuple[Placement, ...] = ()
    judge: Judge | None = None
    evaluated: list[Future[Any]] = field(default_factory=list)
    failed: Sequence[Failed] = ()


def gather(around: Round, *, well: bool, everything: bool) -> Matters:
    """What the round depended on; ``well`` if it built all, ``everything`` if nobody knows what else it would have read."""
    project = around.project
    files: dict[str, Known] = {}
    doubtful = set(_changed_under(around))
    merklfile = around.merklfile
    for path in (MERKLFILE, MERKLFILE_YAML, CONFIG_FILE):
        _note_now(around, path, files, doubtful)
    if merklfile is not None:
        files.update((path, Input(digest)) for path, digest in merklfile.values.items())
    files.update(_code(project, merklfile))
    for path in project.tools.files():
        files[normalise(path, project.root, project.root)] = _input_now(project.index, path)
    if project.pipelines is not None:
        opened = project.pipelines.opened.items()
        files.update(
            (path, Empty() if digest is None else Input(Digest.parse(digest))) for path, digest in opened
        )
    nodes = list(walk([*around.roots, *(future.node for future in around.evaluated)]))
    for node in nodes:
        for source in node.sources:
            directory = source.kind == "dir"
            stamp = None if directory else source.stamp
            files[str(source.path)] = Input(source.digest, directory, source.executable, stamp)
        if isinstance(node.call, LoadedCall):
            _note_now(around, sidecar_of(node.call.subject), files, doubtful)
    if around.judge is not None:
        files.update(_discovered(nodes, around.judge))
        files.update(_placed(around, around.judge, well=well))
    matters = Matters(project.root, files, doubtful=frozenset(doubtful), **_globs(merklfile))
    if everything:
        matters = with_everything(matters, project.index, around.began_ns)
    return replace(matters, links=leading(project.root, files))


def _changed_under(around: Round) -> Iterator[str]:
    """The inputs that changed under a task that failed, which may be why: also those that are now as they were."""
    for event in around.failed:
        if isinstance(event.error, InputChanged):
            yield event.error.path
        for source in event.node.sources:
            if read_stamp(absolute(source.path, around.project.root)) != source.stamp:
                yield source.path


def _globs(merklfile: Merklfile | None) -> dict[str, Any]:
    if merklfile is None:
        return {}
    return {
        "globs": tuple(Glob(base, text, found) for (base, text), found in merklfile.globs.items()),
        "listed": frozenset(merklfile.listed),
        "rules": frozenset(merklfile.read.keys() - merklfile.values.keys()),
    }


def _note_now(around: Round, path: str, files: dict[str, Known], doubtful: set[str]) -> None:
    """Add a file as it is now; it was read, but nobody kept what of it."""
    files[path] = _input_now(around.project.index, path)
    now = read_stamp(absolute(path, around.project.root))
    if not isinstance(now, Absent) and now.ctime_ns >= around.began_ns - SETTLED_NS:
        doubtful.add(path)


def _input_now(index: FileIndex, path: str) -> Known:
    try:
        return Input(index.source(path, "file").digest)
    except MerklError:
        return Empty()


def _code(project: Project, merklfile: Merklfile | None) -> Iterator[tuple[str, Known]]:
    """The Merklfiles and modules of the project, with the text that ran."""
    texts = dict(sources.texts())
    for path in merklfile.files if merklfile is not None else ():
        if is_yaml(path):
            import linecache

            texts[path] = "".join(linecache.getlines(path))
    for path, text in texts.items():
        if path.startswith(_OURS):
            continue  # merkl has tasks of its own.
        where = normalise(path, project.root, project.root)
        # Before it is read: an edit in between shows as another digest.
        now = _input_now(project.index, where)
        same = isinstance(now, Input) and _text_at(path) == text
        yield where, now if same else Input(Digest.of(text.encode("utf-8", "surrogatepass")))


def _text_at(path: str) -> str | None:
    from importlib.util import decode_source

    try:
        with open(path, "rb") as file:
            data = file.read()
        return data.decode("utf-8-sig").replace("\r\n", "\n") if is_yaml(path) else decode_source(data)
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


def _discovered(nodes: Iterable[Node], judge: Judge) -> Iterator[tuple[str, Known]]:
    for node in nodes:
        step = judge.steps.get(node.key) if node.discovers else None
        if step is None or step.record is None or step.record.discovered is None:
            continue
        for path, digest in step.record.discovered.files.items():
            yield os.fsdecode(path), Empty() if digest is None else Input(digest)


def _placed(around: Round, judge: Judge, *, well: bool) -> Iterator[tuple[str, Known]]:
    """The outputs; after a failure as they are now, since one that could not be placed is for the user to deal with."""
    project = around.project
    for placement in once(around.placements):
        steps = [judge.steps.get(future.node.key) for future in futures_of(placement)]
        if any(step is None or step.state is not State.KNOWN for step in steps):
            continue
        row = project.index.placed(placement.path) if well else None
        if row is not None:
            yield placement.path, Output(row.digest, row.kind == "dir", row.executable)
        elif isinstance(now := project.index.look(placement.path), Artifact):
            yield placement.path, Output(now.digest, now.kind == "dir", now.executable)
        if placement.sidecar:
            yield sidecar_of(placement.path), _input_now(project.index, sidecar_of(placement.path))


def with_everything(matters: Matters, index: FileIndex, began_ns: int) -> Matters:
    """The same, and all files of the project."""
    root = index.root
    try:
        listing = glob_files(root, root, _EVERYTHING)
    except MerklError:  # A rule file that cannot be read: it is one of those that matter.
        listing = glob_files(root, root, "*")
    files, doubtful = dict(matters.files), set(matters.doubtful)
    placed = index.all_placed()
    own = _own_streams()
    for path in listing.files:
        if path in files or any(is_ours(part) for part in path.split("/")):
            continue
        now = read_stamp(absolute(path, root))
        if isinstance(now, Absent) or now.inode in own:
            continue
        found = Empty() if now.settled(began_ns) else _input_now(index, path)
        if isinstance(found, Input):
            files[path] = Untouched(now, found.digest)
            doubtful.update({path} - placed.keys())
        else:
            files[path] = Untouched(now)
    return replace(
        matters,
        files=files,
        globs=(*matters.globs, Glob(root, _EVERYTHING, listing.files)),
        listed=matters.listed.union(listing.directories),
        rules=matters.rules.union(listing.rules),
        doubtful=frozenset(doubtful),
    )


def _own_streams() -> set[int]:
    """The inodes of our stdout and stderr: to say what happens would change them."""
    found = set()
    for stream in (1, 2):
        with contextlib.suppress(OSError):  # It is closed.
            found.add(os.fstat(stream).st_ino)
    return found
