"""What a pull leaves as it is, and what it says then.

It decides wording, and which ways out are named: only those that no other command refuses.  It leaves and replaces nothing.

The invariant: each refusal names what to do about it.
"""

from collections.abc import Sequence

from merkl.engine.project import Project
from merkl.engine.standing import Standing, is_what
from merkl.errors import OutOfDate, PlacementError
from merkl.workspace import folding
from merkl.workspace.paths import unplaceable
from merkl.workspace.sidecar import Sidecar, sidecar_of


def never_placed(path: str) -> PlacementError | None:
    """The error of a path at which no data may ever be put, whatever its sidecar says; None if some may."""
    problem = unplaceable(path)
    if problem is None:
        return None
    hint = f"`merkl track` makes no sidecar for it: see who wrote {sidecar_of(path)}, and remove it"
    return PlacementError(f"cannot pull {path}: {problem[0]}", hint=hint)


def modified(project: Project, path: str, sidecar: Sidecar) -> OutOfDate:
    """The error of data that was modified here."""
    hint = f"`merkl pull --force {path}` saves and replaces it"
    if sidecar.key is None:  # Else a task makes it, and `merkl track` refuses it.
        before = project.index.agreed([path]).get(path)
        if before is None or is_what(before, sidecar):
            hint = f"`merkl track {path}` keeps what you did; {hint}"
        else:
            hint = f"{hint}; to keep what is here: `merkl untrack {path}` and `merkl track {path}`"
    return OutOfDate(f"{path} was modified, and is left as it is", hint=hint)


def link_in_place(stood: Standing) -> OutOfDate:
    """The error of a path where the user put a link."""
    return OutOfDate(
        f"{stood.path} is a link of yours, -> {stood.link}, and is left as it is",
        hint=f"`merkl pull --force {stood.path}` saves and replaces the link",
    )


def one_of_two(root: str, paths: Sequence[str]) -> dict[str, PlacementError]:
    """The paths that are one file with another of them on this file system, and the error of each."""
    found: dict[str, PlacementError] = {}
    for one, other in folding.twins(paths):
        if folding.one_path(root, one, other):
            for path in (one, other):
                found[path] = PlacementError(
                    f"cannot pull {path}: {one} and {other} are one file on this file system",
                    hint="give one of them another name where it was made",
                )
    return found
