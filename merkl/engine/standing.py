"""How the files that merkl keeps stand: what is at each path, against its sidecar and against what merkl last knew there.

It decides which state a path is in; ``status``, ``pull``, ``push`` and ``track`` all ask here.  It knows no graph and no
store: whether an output is stale, or its bytes are kept somewhere, is said elsewhere.

The invariant: a path is *outdated* only if merkl can name every byte there, so that replacing it loses nothing; times
alone make no state.
"""

import os
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Final, Literal, TypeAlias

from merkl.dataclass import dataclass
from merkl.engine.project import Project
from merkl.errors import SidecarConflict, SidecarError
from merkl.nodes import Artifact
from merkl.root import CONFIG_FILE, MERKLFILE, MERKLFILE_YAML, STATE_DIR
from merkl.snapshot import recorder
from merkl.stamp import Absent
from merkl.workspace import ledger
from merkl.workspace.glances import Glance, glance_at_files
from merkl.workspace.index import Other
from merkl.workspace.ledger import Agreed
from merkl.workspace.paths import absolute, reserved, temporary
from merkl.workspace.place import link_at
from merkl.workspace.sidecar import SUFFIX, Sidecar, read_sidecar

State: TypeAlias = Literal["fresh", "outdated", "modified", "missing", "conflicted", "unreadable", "unknown"]
"""``fresh``: the data is what the sidecar says or, without one, what merkl put there.  ``outdated``: it is what merkl knew
there before, so it may be replaced.  ``modified``: it is neither, or a link of the user's leads there.  ``missing``: nothing is there.  ``conflicted``: git left
its markers in the sidecar.  ``unreadable``: the sidecar is no sidecar.  ``unknown``: neither sidecar nor ledger knows it."""

_BEGINS: Final = frozenset({MERKLFILE, MERKLFILE_YAML, CONFIG_FILE, STATE_DIR})
_MANY: Final = 16  # For more paths than these the whole ledger is read at once.
_CHUNK: Final = 1000  # Paths seen at one glance: if one of them was touched, so many are looked at again.


@dataclass(frozen=True, slots=True)
class Standing:
    """How one path stands; ``error`` says why its sidecar cannot be read, and then ``sidecar`` is None.

    ``placed`` is what merkl last put there.  ``link`` is the text of a symbolic link at the path: merkl puts none there, so
    it is the user's.  It is not asked for where what it leads to is fresh.
    """

    path: str
    state: State
    sidecar: Sidecar | None
    found: Artifact | Absent | Other
    error: SidecarError | None = None
    placed: ledger.Placement | None = None
    link: str = ""


def find_sidecars(
    project: Project, below: Sequence[str] = (), *, blind: list[OSError] | None = None
) -> list[str]:
    """The paths of data that has a sidecar beside it, sorted: all, or those at, in or around the normalised paths ``below``.

    A tracked directory is one; what is in it has no sidecars, and neither have other projects inside this one.  ``blind``
    gets the errors of directories that could not be looked into.
    """
    found: set[str] = set()
    for path in below or (".",):
        data = path.removesuffix(SUFFIX)
        around = next((each for each in _upward(data) if _is_sidecar(project.root, each)), None)
        if around is not None:
            found.add(around)
        elif not path.startswith("/"):
            found.update(_walk(project.root, "" if path == "." else path, [] if blind is None else blind))
    return sorted(found)


def _upward(path: str) -> Iterator[str]:
    while path not in ("", ".", "/"):
        yield path
        path = os.path.dirname(path)


def _is_sidecar(root: str, data: str) -> bool:
    name = absolute(data, root) + SUFFIX
    return os.path.lexists(name) and not os.path.isdir(name)


def _walk(root: str, start: str, blind: list[OSError]) -> Iterator[str]:
    todo = [start]
    while todo:
        directory = todo.pop()
        try:
            listed = _listed(absolute(directory or ".", root), outermost=not directory)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            blind.append(error)
            continue
        prefix = f"{directory}/" if directory else ""
        cut = -len(SUFFIX)
        sidecars = {name[:cut] for name in listed.sidecars}
        yield from [prefix + name for name in sidecars]
        todo += [prefix + name for name in listed.directories if name not in sidecars]


_OF_NOTHING: Final = frozenset(data + SUFFIX for data in ("", ".", "..", ".git", ".merkl"))  # Never data.


@dataclass(frozen=True, slots=True)
class _Listed:
    """The names in a directory that lead on: of sidecars, and of directories that are ours to go into."""

    sidecars: Sequence[str] = ()
    directories: Sequence[str] = ()


def _listed(where: str, *, outermost: bool) -> _Listed:
    """List a directory; nothing of one that begins another project."""
    sidecars: list[str] = []
    directories: list[str] = []
    with os.scandir(where) as entries:
        for entry in entries:
            name = entry.name
            if name in _BEGINS and not outermost:
                return _Listed()
            if entry.is_dir(follow_symlinks=False):
                if not reserved(os.fsencode(name)):
                    directories.append(name)
            elif name.endswith(SUFFIX) and name not in _OF_NOTHING:
                sidecars.append(name)
    hidden = [name for name in sidecars if name[0] == "." and temporary(os.fsencode(name))]
    return _Listed([name for name in sidecars if name not in hidden] if hidden else sidecars, directories)


def untouched(project: Project, paths: Sequence[str]) -> tuple[set[str], list["Unsure"]]:
    """Which of some paths with sidecars are fresh because neither has been touched since that was last seen.

    Only many at once, in one directory, are looked at so.  What is seen of the others can be remembered for the next time.
    """
    by_directory: dict[str, list[str]] = {}
    for path in paths:
        by_directory.setdefault(path.rpartition("/")[0], []).append(path)
    fresh: set[str] = set()
    unsure: list[Unsure] = []
    recording = recorder.active()
    for directory, inside in by_directory.items():
        if len(inside) < _MANY:
            continue
        for start in range(0, len(inside), _CHUNK):
            chunk = inside[start : start + _CHUNK]
            with recorder.unheard():
                glance = _glance(project, directory, chunk)
            if glance is None:
                continue
            if not project.config.rehash and project.index.glances.found(_called(chunk), glance) is not None:
                fresh.update(chunk)
                if recording is not None:
                    where = absolute(directory or ".", project.root)
                    recording.glanced.setdefault(where, []).extend(_names(directory, chunk))
            elif glance.settled:
                unsure.append(Unsure(directory, chunk, glance))
    return fresh, unsure


@dataclass(frozen=True, slots=True)
class Unsure:
    """Paths of one directory that have to be looked at one by one, and the glance before."""

    directory: str
    paths: Sequence[str]
    before: Glance

    def remember(self, project: Project, seen_fresh: Container[str]) -> None:
        """Remember that all were fresh, if they were."""
        if all(path in seen_fresh for path in self.paths):
            after = _glance(project, self.directory, self.paths)
            if after is not None:
                project.index.glances.keep(_called(self.paths), self.before, after, b"")


def _glance(project: Project, directory: str, paths: Sequence[str]) -> Glance | None:
    names = _names(directory, paths)
    return glance_at_files(absolute(directory or ".", project.root), names, project.index.clock_ns())


def _names(directory: str, paths: Sequence[str]) -> list[str]:
    """What is looked at of some paths of one directory: they and their sidecars."""
    cut = len(directory) + 1 if directory else 0
    names = [path[cut:] for path in paths]
    return names + [name + SUFFIX for name in names]


def _called(paths: Sequence[str]) -> bytes:
    return b"s" + os.fsencode(paths[0])


def standing(project: Project, paths: Iterable[str]) -> list[Standing]:
    """How each of some normalised paths stands, in their order.  Agreement that is seen is remembered."""
    asked = list(paths)
    index = project.index
    index.expect(asked)
    known = index.agreed(asked)
    placed = index.all_placed() if len(asked) > _MANY else {path: index.placed(path) for path in asked}
    return [_standing(project, path, known.get(path), placed.get(path)) for path in asked]


def _standing(project: Project, path: str, agreed: Agreed | None, row: ledger.Placement | None) -> Standing:
    found = project.index.look(path)
    try:
        sidecar = read_sidecar(project.root, path)
    except SidecarConflict as error:
        return Standing(path, "conflicted", None, found, error, row)
    except SidecarError as error:
        return Standing(path, "unreadable", None, found, error, row)
    if sidecar is None and row is None:
        return Standing(path, "unknown", None, found)
    if sidecar is not None and isinstance(found, Artifact) and is_what(sidecar, found):
        if agreed is None or not is_what(agreed, found):
            agree(project, path, sidecar)
        return Standing(path, "fresh", sidecar, found, placed=row)
    known = isinstance(found, Artifact) and any(each and is_what(each, found) for each in (agreed, row))
    if known and sidecar is None:
        return Standing(path, "fresh", sidecar, found, placed=row)
    link = link_at(project.root, path)
    if isinstance(found, Absent) and not link:
        return Standing(path, "missing", sidecar, found, placed=row)
    state: State = "outdated" if known and not link else "modified"
    return Standing(path, state, sidecar, found, placed=row, link=link)


def is_what(said: Sidecar | Agreed | ledger.Placement, found: Artifact | Sidecar) -> bool:
    """Whether what was found, or is said elsewhere, has the kind, bytes and executable bit that were said."""
    return (said.kind, said.digest, said.executable) == (found.kind, found.digest, found.executable)


def agree(project: Project, path: str, sidecar: Sidecar) -> None:
    """Remember that what is at ``path`` was seen to be what its sidecar says; lasting once the index is flushed."""
    project.index.set_agreed(path, Agreed(sidecar.kind, sidecar.digest, sidecar.executable))
