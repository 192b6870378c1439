"""What may be tracked, and what may be untracked.

It decides by what a path is and whose it is; what its bytes are is not looked at.

The invariant: it changes nothing, and whatever it refuses it names, with what to do instead.
"""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from typing import Final

from merkl.engine.project import Project
from merkl.errors import InputMissing, SidecarConflict, SidecarError, UsageError, WorkspaceError
from merkl.root import find_root
from merkl.workspace import git
from merkl.workspace.gitignore import repository_of
from merkl.workspace.ledger import Placement
from merkl.workspace.missing import unreadable, what_is
from merkl.workspace.paths import absolute, unplaceable
from merkl.workspace.sidecar import SUFFIX, Sidecar, read_sidecar, sidecar_of

_GITS: Final = frozenset({".gitignore", ".gitattributes", ".gitmodules", ".gitkeep", ".merklignore"})


def check_trackable(project: Project, paths: Sequence[str]) -> None:
    """Check that all of some normalised paths may be tracked.

    Raises:
        UsageError: one may not; the message says why, and what to do.
    """
    for path in paths:
        _check_place(project, path)
        _check_kind(project, path)
    _check_apart(paths)
    _check_outputs(project, paths)
    _check_git(project, paths)


def check_untrackable(project: Project, paths: Sequence[str]) -> dict[str, Sidecar | None]:
    """Check that all of some normalised paths may be untracked; the sidecar of each, None if it cannot be read.

    Raises:
        UsageError: one may not.
    """
    found: dict[str, Sidecar | None] = {}
    listed = _listed(project)
    for path in paths:
        if path.startswith("/") or not os.path.lexists(absolute(path, project.root) + SUFFIX):
            around = _tracked_above(project, path)
            hint = f"it belongs to {around}, which is" if around else "`merkl status` lists what is"
            raise UsageError(f"{path} is not tracked: it has no sidecar", hint=hint)
        try:
            found[path] = sidecar = read_sidecar(project.root, path)
        except SidecarError:
            found[path] = sidecar = None
        row = project.index.placed(path)
        if row is not None and row.sidecar and _is_live(row, listed):
            raise UsageError(
                f"{path} is not tracked, but made by {_maker(row)}",
                hint="take sidecar=True away from where it is placed, and remove the sidecar",
            )
        if sidecar is not None and not os.path.lexists(absolute(path, project.root)):
            raise UsageError(
                f"{path} is not here, and without {sidecar_of(path)} nothing would name it",
                hint=f"`merkl pull {path}` first; to give the data up, remove the sidecar",
            )
    return found


def _check_place(project: Project, path: str) -> None:
    """Check a path by its letters, and by the directories that it leads through."""
    if path.startswith("/") or path == ".":
        what = "the project itself" if path == "." else "outside the project"
        raise UsageError(f"{path} cannot be tracked: it is {what}", hint="name something inside the project")
    base = os.path.basename(path)
    if path.casefold().endswith(SUFFIX) and base.casefold() != SUFFIX:
        data = path[: -len(SUFFIX)]
        raise UsageError(f"{path} is a sidecar, which git keeps", hint=f"merkl track {data}")
    reason = unplaceable(path)
    if reason or base in _GITS:
        problem, hint = reason or ("git and merkl obey it", "leave it to git")
        if problem.startswith("merkl would"):
            hint = "leave it to git"
        raise UsageError(f"{path} cannot be tracked: {problem}", hint=hint)
    sidecar_of(path)
    directory = os.path.dirname(absolute(path, project.root))
    real, plain = os.path.realpath(directory), os.path.realpath(project.root)
    if real != os.path.normpath(os.path.join(plain, os.path.dirname(path))):
        raise UsageError(
            f"{path} cannot be tracked: a symbolic link leads there",
            hint=f"name it by its own path: {os.path.join(real, base)}",
        )
    nearest = find_root(directory)
    if nearest is not None and nearest.startswith(project.root.rstrip("/") + "/"):
        raise UsageError(
            f"{path} belongs to another project, {nearest}",
            hint=f"merkl -C {nearest} track {os.path.relpath(absolute(path, project.root), nearest)}",
        )
    around = _tracked_above(project, path)
    if around:
        raise UsageError(
            f"{path} is in {around}, which is tracked as a whole", hint=f"`merkl track {around}` takes it in"
        )
    for own in (project.config.store, project.config.state):
        if f"{os.path.abspath(own)}/".startswith(f"{absolute(path, project.root)}/"):
            raise UsageError(
                f"{path} cannot be tracked: merkl's store is in it", hint="name what lies beside it"
            )


def _tracked_above(project: Project, path: str) -> str:
    """The tracked directory that a path is in; empty if there is none."""
    above = os.path.dirname(path)
    while above not in ("", "/"):
        if os.path.isfile(absolute(above, project.root) + SUFFIX):
            return above
        above = os.path.dirname(above)
    return ""


def _check_kind(project: Project, path: str) -> None:
    where = absolute(path, project.root)
    try:
        mode = os.lstat(where).st_mode
    except OSError as error:
        if os.path.lexists(where + SUFFIX):
            raise InputMissing(
                f"{path} is tracked, but not here", hint=f"`merkl pull {path}` brings it"
            ) from None
        worded = unreadable(path, where, error)
        raise InputMissing(
            worded.headline.removeprefix("the input "), hint=worded.hint or "`ls` says what there is"
        ) from None
    if stat.S_ISLNK(mode):
        raise UsageError(
            f"{path} cannot be tracked: it is a symbolic link to {os.readlink(where)}",
            hint="git keeps links; track what it leads to",
        )
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UsageError(
            f"{path} cannot be tracked: it is {what_is(mode)}",
            hint="only files and directories of files can be",
        )
    if not _may(where, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        raise UsageError(f"{path} cannot be tracked: it may not be read", hint=f"see `ls -ld {path}`")


def check_removable(project: Project, paths: Sequence[str]) -> None:
    """Check that all of some normalised paths may be taken away, as far as can be seen before.

    Raises:
        WorkspaceError: one may not.
    """
    for path in paths:
        if not _may(os.path.dirname(absolute(path, project.root)), os.W_OK | os.X_OK):
            hint = "see who may write to its directory, or leave out --move"
            raise WorkspaceError(f"{path} cannot be removed: {os.strerror(errno.EACCES)}", hint=hint)


def _may(where: str, mode: int) -> bool:
    """Whether whoever acts may; not whoever started merkl, where that is somebody else."""
    return os.access(where, mode, effective_ids=os.access in os.supports_effective_ids)


def _check_apart(paths: Sequence[str]) -> None:
    asked = set(paths)
    for path in paths:
        above = os.path.dirname(path)
        while above:
            if above in asked:
                raise UsageError(
                    f"{path} is in {above}, which is to be tracked as a whole", hint="name one of the two"
                )
            above = os.path.dirname(above)


def _check_outputs(project: Project, paths: Iterable[str]) -> None:
    """Refuse what a task makes: it is tracked by its key already."""
    rows = project.index.all_placed()
    listed = _listed(project)
    live = {path: row for path, row in rows.items() if _is_live(row, listed)}
    around: dict[str, str] = {}
    for placed in live:
        above = placed
        while above:
            around.setdefault(above, placed)
            above = os.path.dirname(above)
    for path in paths:
        inside = path
        while inside and inside not in live:
            inside = os.path.dirname(inside)
        output = inside or around.get(path, "")
        if output:
            what = f"{path} is" if output == path else f"{path} and {output}: the latter is"
            raise UsageError(
                f"{what} an output of {_maker(live[output])}, and not data to track",
                hint="`merkl build` makes it, and with sidecar=True it gets a sidecar",
            )
        sidecar = _readable_sidecar(project, path)
        if sidecar is not None and sidecar.key is not None and path not in rows:
            raise UsageError(
                f"{path} is not data to track: {sidecar_of(path)} says that {sidecar.task} made it",
                hint=f"`merkl build` makes it again; `merkl untrack {path}` first makes it data",
            )


def _readable_sidecar(project: Project, path: str) -> Sidecar | None:
    """The sidecar, if it is one or holds git's markers; whoever overwrites any other would lose something.

    Raises:
        SidecarError: it is no sidecar.
    """
    try:
        return read_sidecar(project.root, path)
    except SidecarConflict:
        return None


def _listed(project: Project) -> set[str | None]:
    return {target.get("name") for target in project.index.targets()}


def _is_live(row: Placement, listed: set[str | None]) -> bool:
    """Whether the target that placed something is still there, as far as is known without the Merklfile."""
    return not listed or not row.target or row.target in listed


def _maker(row: Placement) -> str:
    return f"the target {row.target}" if row.target else "a task"


def _check_git(project: Project, paths: Sequence[str]) -> None:
    """Refuse what git keeps already: ignoring it would change nothing."""
    asked: dict[str, list[str]] = {}
    for path in paths:
        top = repository_of(os.path.realpath(os.path.dirname(absolute(path, project.root))))
        if top is not None:
            asked.setdefault(top, []).append(path)
    plain = os.path.realpath(project.root)
    for top, inside in asked.items():
        kept: dict[str, str] = {}  # Each path that git keeps, and each directory above it, with one of them.
        for name in git.listed(top) or ():
            above = name
            while above and above not in kept:
                kept[above] = name
                above = os.path.dirname(above)
        for path in inside:
            name = os.path.relpath(os.path.join(plain, path), top)
            if name in kept:
                whole = kept[name] == name
                raise UsageError(
                    f"{path} is kept by git already"
                    if whole
                    else f"git keeps {kept[name]}, which is in {path}",
                    hint=f"`git rm {'' if whole else '-r '}--cached {path}` takes it out of git and leaves it here",
                )
