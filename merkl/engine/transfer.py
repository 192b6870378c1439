"""What ``pull`` and ``push`` have in common: what became of each path, who is told of bytes, and how it all ended.

It decides which of several failures an exit code speaks of.  It moves nothing.

The invariant: each path that was asked for ends in exactly one ``Moved``.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, Literal, Protocol, TypeAlias, cast

from merkl.dataclass import dataclass, field
from merkl.engine.project import Project
from merkl.engine.standing import find_sidecars
from merkl.errors import ConfigError, MerklError, OutOfDate, StoreError, UsageError, WorkspaceError
from merkl.events import Note
from merkl.nodes import Artifact
from merkl.workspace.sidecar import Sidecar

State: TypeAlias = Literal["moved", "would move", "unchanged", "left"]
"""``unchanged``: it was there already.  ``left``: it could not be moved, and ``error`` says why."""

REMOTE_HINT = "write remote: {url: /mnt/team/merkl} into merkl.yaml, or set MERKL_REMOTE"


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of one path, or of the results of a build (then ``path`` is empty and ``count`` says how many).

    ``size`` is in bytes, of what went over; ``saved``: what was at the path is in the store now; ``link`` is its
    text, if it was a symbolic link.
    """

    path: str
    state: State
    size: int = 0
    saved: bool = False
    error: MerklError | None = None
    count: int = 1
    link: str = ""


class Watcher(Protocol):
    """Told of a transfer as it goes on."""

    def expect(self, size: int) -> None:
        """So many more bytes are to come."""

    def came(self, size: int) -> None:
        """So many bytes have come.  Called in any thread."""

    def ended(self, moved: Moved) -> None:
        """A path is done; only failures and what was moved are told."""


@dataclass(slots=True)
class Transfer:
    """How a transfer went.  ``failure`` is what ended it before its time: then ``waiting`` are the paths that are not done, and
    ``unsent`` the tasks of results that are not, each as often as it has some."""

    moved: list[Moved] = field(default_factory=list)
    failure: StoreError | None = None
    waiting: Sequence[str] = ()
    unsent: Sequence[str] = ()
    notes: list[Note] = field(default_factory=list)

    def in_state(self, state: State) -> list[Moved]:
        """The paths with that end."""
        return [each for each in self.moved if each.state == state]

    def break_off(self, failure: StoreError, asked: Sequence[str]) -> None:
        """It ends before its time: of the paths that were asked for, those that are not done wait."""
        done = {each.path for each in self.moved}
        self.failure, self.waiting = failure, [path for path in asked if path not in done]

    def error(self) -> MerklError | None:
        """What the command ends with, if not all went well: the remote's failure first."""
        if self.failure is not None:
            return self.failure
        errors = [each.error for each in self.in_state("left") if each.error is not None]
        if not errors:
            return None
        return max(errors, key=_gravity)


def _gravity(error: MerklError) -> int:
    """A store or a disk that fails says more than a refusal, and a refusal more than that something is missing."""
    return 2 if isinstance(error, StoreError | WorkspaceError) else 0 if isinstance(error, OutOfDate) else 1


class Stopped(Exception):
    """The user does not want to wait."""


class Gate:
    """Where bytes pass in several threads: they are counted, and once it is shut none passes."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._shut = threading.Event()

    def passed(self, size: int) -> None:
        """So many bytes came by.

        Raises:
            Stopped: it is shut.
        """
        if self._shut.is_set():
            raise Stopped
        self._watcher.came(size)

    def shut(self) -> None:
        """Let nothing more pass."""
        self._shut.set()

    def reading(self, file: BinaryIO) -> BinaryIO:
        """The file, with what is read from it counted."""
        return cast(BinaryIO, _Counted(file, self.passed))


class _Counted:
    """A reader of which each piece is told."""

    def __init__(self, file: BinaryIO, passed: Callable[[int], object]) -> None:
        self._file = file
        self._passed = passed
        self.fileno, self.tell, self.seek, self.close = file.fileno, file.tell, file.seek, file.close

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self._passed(len(data))
        return data

    def __enter__(self) -> "_Counted":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def sidecars_below(project: Project, below: Sequence[str]) -> list[str]:
    """The data with a sidecar that ``below`` names, or all; each of ``below`` must name some.

    Raises:
        UsageError: a path names none.
    """
    for path in below:
        if path != "." and not find_sidecars(project, [path]):
            raise UsageError(
                f"nothing at {path} has a sidecar",
                hint=f"`merkl track {path}` makes one for data, and sidecar=True for the outputs of a target",
            )
    return find_sidecars(project, below)


def no_remote() -> ConfigError:
    """The error of a command that needs a remote where there is none."""
    return ConfigError("this project has no remote", hint=REMOTE_HINT)


def sidecar_gone(path: str) -> OutOfDate:
    """The error of a path whose sidecar was removed after it had been found."""
    return OutOfDate(
        f"{path} is left as it is: its sidecar has just been removed", hint="`merkl status` looks again"
    )


def artifact_of(sidecar: Sidecar) -> Artifact:
    """What a sidecar describes, as it is kept in a store."""
    kind: Literal["file", "dir"] = "dir" if sidecar.kind == "dir" else "file"
    return Artifact(kind, sidecar.digest, sidecar.size, sidecar.executable)


def total(moved: Iterable[Moved]) -> int:
    """The bytes of several."""
    return sum(each.size for each in moved)
