"""Tracking: sidecars for data that nobody makes, beside git.

It decides what may be tracked, and when data in place may become what its sidecar says.  How bytes are kept is
``keeping``'s, and what git is told ``merkl.workspace.gitignore``'s.

The invariant: a sidecar is written only when the store has all that it names, and all refusals come before the first
one is; the original is removed only after blob and sidecar would both outlive a loss of power.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from merkl.dataclass import dataclass, replace
from merkl.digest import Digest
from merkl.engine.keeping import Keeper
from merkl.engine.project import Project
from merkl.engine.standing import agree, find_sidecars, is_what
from merkl.engine.trackable import check_removable, check_trackable, check_untrackable
from merkl.errors import InputMissing, SidecarConflict, SidecarError, UsageError, WorkspaceError
from merkl.filesystem import being_written
from merkl.nodes import Artifact
from merkl.stamp import Absent
from merkl.tree import Tree
from merkl.workspace.drafts import discard_draft, draft_name
from merkl.workspace.gitignore import add_ignored, remove_ignored
from merkl.workspace.index import Other
from merkl.workspace.paths import absolute
from merkl.workspace.reach import parent_of
from merkl.workspace.sidecar import Sidecar, read_sidecar, sidecar_of, write_sidecar
from merkl.workspace.trees import read_tree

Change: TypeAlias = Literal["tracked", "updated", "unchanged", "untracked"]


@dataclass(frozen=True, slots=True)
class Tracked:
    """What came of one path: ``sidecar`` is what stands beside it now, or stood there.  ``moved``: only the store has it."""

    path: str
    change: Change
    sidecar: Sidecar | None
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a request: ``ignored`` are the paths that a ``.gitignore`` names now, or no more, by its path;
    ``left`` are tracked paths that were not asked for and need something else first, with what that is."""

    tracked: tuple[Tracked, ...]
    ignored: dict[str, list[str]]
    left: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Found:
    path: str
    artifact: Artifact
    modified_ns: int
    before: Sidecar | None
    resolves: bool = False  # The sidecar holds git's conflict markers, and is to be replaced.

    def change(self) -> Change:
        if self.before is None:
            return "updated" if self.resolves else "tracked"
        return "unchanged" if is_what(self.before, self.artifact) else "updated"


def track(project: Project, paths: Sequence[str], *, move: bool = False, dry_run: bool = False) -> Done:
    """Keep what is at some normalised paths in the store, with a sidecar beside each that says so, and out of git.

    Data that is tracked and was changed gets a new sidecar.  ``move`` leaves the store as its only place.

    Raises:
        UsageError: something cannot be tracked; then nothing was changed but the store.
        WorkspaceError: something cannot be written, or removed as it should be.
        StoreError: there is no room.
    """
    asked = list(dict.fromkeys(paths))
    check_trackable(project, asked)
    if move:
        check_removable(project, asked)
    files_to_move = {path for path in asked if move and not os.path.isdir(absolute(path, project.root))}
    for path in files_to_move:
        _refuse_written(os.fsencode(absolute(path, project.root)), path)
    keeper = Keeper(project, durable=move)
    found = []
    for path in asked:
        before, resolves = _before(project, path)
        # What is moved is not copied first: it needs no room.
        kept = _look(project, path) if path in files_to_move or dry_run else keeper.keep(path)
        found.append(_Found(path, *kept, before, resolves))
    _refuse_behind(project, found)
    if dry_run:
        return Done(tuple(Tracked(each.path, each.change(), each.before, move) for each in found), {}, {})
    keeper.finish()
    ignored = add_ignored(project.root, asked)
    tracked = [_note(project, each) for each in found]
    project.index.flush()
    if move:
        tracked = [_moved(project, each) for each in tracked]
        project.index.flush()
    return Done(tuple(tracked), ignored, {})


def refresh(project: Project, *, dry_run: bool = False) -> Done:
    """Track again all that is tracked, was not made by a task, and was changed here.

    What needs something else first is left, and said.
    """
    asked, left = [], {}
    for path in find_sidecars(project):
        try:
            sidecar = read_sidecar(project.root, path)
        except SidecarError as error:
            left[path] = error.headline
            continue
        if sidecar is None or sidecar.key is not None:
            continue
        if not os.path.lexists(absolute(path, project.root)):
            continue  # It was moved away, or never pulled: nothing here is newer.
        asked.append(path)
    keeper, found = Keeper(project), []
    for path in asked:
        before, _ = _before(project, path)
        try:
            each = _Found(path, *(_look(project, path) if dry_run else keeper.keep(path)), before)
            _refuse_behind(project, [each])
        except UsageError as error:
            left[path] = f"{error.headline}; {error.hint}" if error.hint else error.headline
        else:
            found.append(each)
    changed = [each for each in found if each.change() != "unchanged"]
    if dry_run:
        return Done(tuple(Tracked(each.path, each.change(), each.before) for each in changed), {}, left)
    keeper.finish()
    ignored = add_ignored(project.root, [each.path for each in found])
    done = Done(tuple(_note(project, each) for each in changed), ignored, left)
    project.index.flush()
    return done


def untrack(project: Project, paths: Sequence[str], *, dry_run: bool = False) -> Done:
    """Remove the sidecars of some normalised paths, and what keeps their data out of git; the data stays.

    Raises:
        UsageError: one is not tracked, is made by a target, or is not here, so that nothing would name it any more.
    """
    asked = list(dict.fromkeys(paths))
    sidecars = check_untrackable(project, asked)
    done = tuple(Tracked(path, "untracked", sidecars[path]) for path in asked)
    if dry_run:
        return Done(done, {}, {})
    for path in asked:
        with _explained(sidecar_of(path)):
            os.unlink(absolute(sidecar_of(path), project.root))
        project.index.forget_agreed(path)
    project.index.flush()
    return Done(done, remove_ignored(project.root, asked), {})


def _before(project: Project, path: str) -> tuple[Sidecar | None, bool]:
    """The sidecar that is there, and whether git left its markers in it: who tracks the data then has chosen it."""
    try:
        return read_sidecar(project.root, path), False
    except SidecarConflict:
        return None, True


def _look(project: Project, path: str) -> tuple[Artifact, int]:
    found = project.index.look(path)
    if isinstance(found, Other):
        raise UsageError(found.what, hint="only files and directories of files can be tracked")
    if isinstance(found, Absent):
        raise InputMissing(f"{path} is gone", hint="`merkl status` says how things stand")
    return found, os.stat(absolute(path, project.root)).st_mtime_ns


def _refuse_behind(project: Project, found: Sequence[_Found]) -> None:
    """Refuse to overwrite what somebody else wrote into a sidecar and is not here yet.

    Raises:
        UsageError: one sidecar was changed since its data was seen to agree with it.
    """
    known = project.index.agreed([each.path for each in found])
    for each in found:
        agreed = known.get(each.path)
        if each.before is None or agreed is None or is_what(each.before, each.artifact):
            continue
        side = sidecar_of(each.path)
        keep = f"to keep what is here: `merkl untrack {each.path}` and `merkl track {each.path}`"
        if is_what(agreed, each.artifact):
            raise UsageError(
                f"{each.path} is older than {side}, so tracking it would undo somebody's change",
                hint=f"`merkl pull {each.path}` brings what the sidecar says; {keep}",
            )
        if not is_what(agreed, each.before):
            raise UsageError(
                f"{each.path} was changed here, and {side} somewhere else",
                hint=f"`merkl pull --force {each.path}` saves what is here and brings the other; {keep}",
            )


def _note(project: Project, found: _Found) -> Tracked:
    """Write the sidecar of what the store has."""
    artifact = found.artifact
    sidecar = Sidecar(artifact.kind, artifact.digest, artifact.size, found.modified_ns, artifact.executable)
    kept = write_sidecar(project.root, found.path, sidecar, durable=True, resolve=found.resolves)
    agree(project, found.path, kept)
    if project.index.placed(found.path) is not None:
        project.index.forget_placed(found.path)  # Of a target that is gone: it is data now.
    return Tracked(found.path, found.change(), kept)


def _moved(project: Project, tracked: Tracked) -> Tracked:
    """Take away what the store has, or is about to take, and the sidecar names already."""
    sidecar = tracked.sidecar
    assert sidecar is not None
    with _explained(tracked.path):
        if sidecar.kind == "dir":
            _remove_directory(project, tracked.path, sidecar.digest)
            return replace(tracked, moved=True)
        _refuse_written(os.fsencode(absolute(tracked.path, project.root)), tracked.path)
        digest = project.store.put_file(absolute(tracked.path, project.root), move=True, durable=True)
    # It was written to since it was looked at, and the store has what it became.
    if digest != sidecar.digest:
        size = project.store.size(digest)
        assert size is not None
        sidecar = replace(sidecar, digest=digest, size=size)
        write_sidecar(project.root, tracked.path, sidecar, durable=True)
        agree(project, tracked.path, sidecar)
    return replace(tracked, sidecar=sidecar, moved=True)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turn what the system refuses into an error that names what should have gone, and is still there."""
    try:
        yield
    except OSError as error:
        hint = "see who may write to its directory, then go on with the same command"
        raise WorkspaceError(f"{path} cannot be removed: {error.strerror}", hint=hint) from error


def _remove_directory(project: Project, path: str, digest: Digest) -> None:
    """Remove a directory that the store has, unless it is no longer that one.

    It gets another name first, so that nothing is written into it by its path while it is looked at.

    Raises:
        InputMissing: it was changed since it was stored, or is being written; it is still there.
    """
    where = os.fsencode(absolute(path, project.root))

    with parent_of(project.root, path, create=False) as (directory, name):
        draft = draft_name(project.root, path, name)
        os.rename(name, draft, src_dir_fd=directory, dst_dir_fd=directory)
        aside = os.path.join(os.path.dirname(where), draft)
        try:
            for folder, _, names in os.walk(aside):
                for inner in names:
                    _refuse_written(os.path.join(folder, inner), path)
            same = _tree_aside(project, where, aside, path).digest == digest
        except BaseException:
            os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
            raise
        if not same:
            os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
            hint = f"it is still there: `merkl track --move {path}` again"
            raise InputMissing(f"{path} changed while it was moved into the store", hint=hint)
        discard_draft(project.root, directory, draft)


def _refuse_written(where: bytes, path: str) -> None:
    """Refuse to take away a file that somebody writes to: what comes yet would be in no store, or in a stored content.

    Raises:
        InputMissing: it is open for writing; it is still there.
    """
    if being_written(where):
        hint = f"it is still there: `merkl track --move {path}` when the writer is done"
        raise InputMissing(f"{path} is being written by another process", hint=hint)


def _tree_aside(project: Project, where: bytes, aside: bytes, path: str) -> Tree:
    """The directory that was at ``where`` and is now at ``aside``; its files keep their stamps, so few are read."""
    prefix = os.fsencode(project.root.rstrip("/")) + b"/"

    def take(inner: bytes, found: os.stat_result) -> tuple[Digest, int]:
        name = (where + inner[len(aside) :])[len(prefix) :]
        return project.index.digest(name, inner, found)

    return read_tree(aside, take, "track", shown=path)
