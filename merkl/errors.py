"""What can go wrong that is not a bug in merkl, with the exit code each means.

An error carries data and is worded once, in its class; only the command line turns one into text
and an exit code.  Anything that is raised and is not a ``MerklError`` is either the user's own
exception, shown in the user's frames, or a bug of ours, shown with its traceback.

    MerklError                     1
     ├─ TaskFailed                 1   a task ended badly
     ├─ InputChanged               1   a source file changed while it was being used
     ├─ UndeclaredUse              1   --strict-deps: a task used what it does not declare
     ├─ WorkspaceError             1   the system refused to write a file of the project
     ├─ ExecutorError              1   other machines that tasks run on cannot be reached, or were lost
     ├─ UsageError                 2   the command line, merkl.yaml or a call is wrong
     │   ├─ ConfigError
     │   ├─ MerklfileError         2   the Merklfile is wrong
     │   │   ├─ UnknownTarget
     │   │   └─ PlacementError     two nodes write one path, or a path is not allowed
     │   │       └─ NoPathError    also a TypeError: what stands behind ``>`` is no path
     │   ├─ TaskError              2   a task's definition or call is wrong
     │   │   ├─ TemplateError      with the template and a caret
     │   │   ├─ CallError          wrong arguments to a task
     │   │   ├─ TaskOutsError      wrong outs
     │   │   ├─ BatchTaskError
     │   │   ├─ UnhashableArgument no stable encoding
     │   │   ├─ OutputTypeError    bytes for a file of text, or text for one of bytes; also a TypeError
     │   │   └─ FutureAccessError  a Future used as if it were its value
     │   │       └─ FutureAttributeError   also an AttributeError, so that ``hasattr`` may ask
     │   ├─ SidecarError           a sidecar that cannot be read
     │   │   └─ SidecarConflict    git left its conflict markers in it
     │   └─ InputMissing           a declared input is not there, or is not a file
     ├─ SerializationError         1   a value cannot be written or read
     ├─ StoreError                 3   the store cannot be used
     │   ├─ StoreCorrupt
     │   ├─ StoreFull
     │   └─ SchemaTooNew
     ├─ NotTrusted                 4
     └─ OutOfDate                  6   --check, --frozen, --pull found something to do
         └─ NotYetKnown            what a pipeline makes depends on a task that has not run

``Interrupted`` is a ``KeyboardInterrupt``, and means 130.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, ClassVar


class MerklError(Exception):
    """An expected failure, written for the person at the terminal.

    ``headline`` says what is wrong, ``details`` where (shown one per line, as ``name: value``; a
    value of several lines is indented under its name), ``hint`` what to do next.
    """

    exit_code: int = 1  # Of its kind; of one that a task raised, a failed task's.

    def __init__(self, headline: str, *, hint: str = "", **details: object) -> None:
        super().__init__(headline)
        self.headline = headline
        self.hint = hint
        self.details: dict[str, object] = {k: v for k, v in details.items() if v is not None}
        self.told = False  # Whether the person has it in full above, where the task failed.

    def __str__(self) -> str:
        return self.shown()

    def shown(self, without: Collection[str] = ()) -> str:
        """The whole of it, but for the details of these names."""
        lines = [self.headline]
        for name, value in self.details.items():
            if name in without:
                continue
            first, *rest = str(value).split("\n")
            lines.append(f"  {name}: {first}" if not rest else f"  {name}:")
            if rest:
                lines += [f"    {line}" for line in (first, *rest)]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Subclasses have constructors of their own; an error must survive the trip from a worker.
        return (_rebuild, (type(self), self.headline, self.hint, self.details))


def _rebuild(kind: type[MerklError], headline: str, hint: str, details: dict[str, object]) -> MerklError:
    error = kind.__new__(kind)
    MerklError.__init__(error, headline, hint=hint, **details)
    return error


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint that offers the names nearest to ``name``, or ``otherwise`` if none is near."""
    import difflib

    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


class TaskFailed(MerklError):
    """A task raised, or exited with a code that is not allowed, or broke its word about outputs."""


class InputChanged(MerklError):
    """A source file was edited while a task was using it, so the result belongs to neither version."""

    def __init__(self, path: str, task: str) -> None:
        self.path = path
        super().__init__(
            f"{path} changed while {task} was using it; its result was not kept",
            hint=f"build again; if {task} itself wrote to it, let it write to a copy (commands: scratch=True)",
        )


class UndeclaredUse(MerklError):
    """A task used what it does not declare, and was asked not to; its result is not kept."""


class WorkspaceError(MerklError):
    """The system refused to write or remove a file of the project; what was there before still is."""


class UsageError(MerklError):
    """Something the user wrote, other than a task's own work, is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """merkl.yaml, a flag or an environment variable is wrong."""


class MerklfileError(UsageError):
    """A Merklfile cannot be found, read or run."""


class UnknownTarget(MerklfileError):
    """A target was asked for that no Merklfile declares."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        hint = did_you_mean(name, known, "`merkl list` shows them all")
        super().__init__(f"no target named {name!r}", hint=hint)


class PlacementError(MerklfileError):
    """An output cannot go where it was asked to go."""


class NoPathError(PlacementError, TypeError):
    """What stands behind ``>`` or ``>>`` is no path."""


class TaskError(UsageError):
    """A task's definition, or a call of it, is wrong."""


class TemplateError(TaskError):
    """A template cannot be compiled; the message shows the template's line and a caret.

    ``span`` is the template as its author wrote it and where in it the error is, for whoever knows the file it is in.
    """

    span: tuple[str, int, int] | None = None


class CallError(TaskError):
    """A task was called with arguments it does not take."""


class TaskOutsError(TaskError):
    """``outs`` is wrong, or what a task returned does not match it."""


class BatchTaskError(TaskError):
    """A batch task does not fit its single task."""


class OutputTypeError(TaskError, TypeError):
    """Text was written to an output that takes bytes, or the other way round; a library may ask by trying."""


class FutureAccessError(TaskError):
    """A Future was used as if it were its value."""


class FutureAttributeError(FutureAccessError, AttributeError):
    """An attribute of a Future was asked for that only its value can have."""


class UnhashableArgument(TaskError):
    """A value has no stable encoding, so no key can be made from it."""


class SidecarError(UsageError):
    """A sidecar cannot be read; the message names file and line."""


class SidecarConflict(SidecarError):
    """A sidecar holds git's conflict markers, so that both sides are there to choose from."""


class InputMissing(UsageError):
    """A file that was named as an input is not there, or is no regular file or directory."""


class SerializationError(MerklError):
    """A value cannot be written in the form asked for, or bytes cannot be read as one."""


class ExecutorError(MerklError):
    """An executor cannot be reached, cannot be used, or was lost."""


class StoreError(MerklError):
    """The store cannot be used."""

    exit_code = 3


class StoreCorrupt(StoreError):
    """Bytes in the store are not those that were put there; they have been set aside."""


class StoreFull(StoreError):
    """There is no room for a blob or a record."""


class SchemaTooNew(StoreError):
    """The store was written by a newer merkl."""


class NotTrusted(MerklError):
    """A record or a pickle comes from somebody who is not trusted for it."""

    exit_code = 4


class OutOfDate(MerklError):
    """A command that must run nothing found something to run or to fetch."""

    exit_code = 6


class NotYetKnown(OutOfDate):
    """A command that runs nothing came to a pipeline that evaluates what has not run."""

    def __init__(self, pipeline: str, task: str, futures: Sequence[Any] = ()) -> None:
        self.futures = futures  # What is evaluated.
        super().__init__(
            f"the pipeline {pipeline} is unknown until {task} has run", hint="`merkl build` runs it"
        )


class Interrupted(KeyboardInterrupt):
    """The user pressed Ctrl-C, or the build got a signal that ends it.

    No ``MerklError``, so that ``except Exception`` lets it pass, as it does Ctrl-C anywhere else.
    """

    exit_code: ClassVar[int] = 130
