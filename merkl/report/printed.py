"""What tasks print, as a build tells it: when they have ended, or as it comes.

It decides when which bytes are told and whose they are said to be.  It knows no streams.

The invariant: no line of a task is told twice, and none without a word of which task printed it.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from merkl.bash.calls import is_bash_call
from merkl.digest import Key
from merkl.events import Started
from merkl.execute.secrets import secrets_of
from merkl.report.color import Paint
from merkl.report.words import harmless, one_line

if TYPE_CHECKING:
    from merkl.report.tail import Tail

ALONE_S: Final = 2.0  # Seconds after which the output of the only task that runs is shown.

Output: TypeAlias = Literal["each", "live", "quiet"]
Tasks: TypeAlias = Mapping[Key, Started]


class Printed(Protocol):
    """Text for people, in whole lines, that no character in it can turn against a terminal."""

    def look(self, running: Tasks) -> Iterable[str]:
        """What is to be told now."""

    def ended(self, task: Started, log: str, *, well: bool) -> tuple[Sequence[str], Sequence[str]]:
        """What is to be told of a task that has ended, before and after that is told; ``log`` is where its log is now."""

    def close(self) -> None:
        """Let go of all files."""


class Nothing:
    """Nothing is told of what tasks print."""

    def look(self, running: Tasks) -> Iterable[str]:  # noqa: ARG002
        """See ``Printed``."""
        return ()

    def ended(self, task: Started, log: str, *, well: bool) -> tuple[Sequence[str], Sequence[str]]:  # noqa: ARG002
        """See ``Printed``."""
        return (), ()

    def close(self) -> None:
        """See ``Printed``."""


class Each:
    """The output of each task that ended well, below the line that says so, if there are such lines: ``endings``.

    Of one that runs alone it is told as it comes, once that has been ``ALONE_S``.  What a failed task printed is in its error.
    """

    def __init__(self, root: str, *, endings: bool) -> None:
        self._tails = _Tails(root)
        self._endings = endings
        self._alone: Key | None = None
        self._since = 0.0
        self._speaking = False  # The last that was told was printed by the one that is alone.

    def look(self, running: Tasks) -> Iterator[str]:
        """See ``Printed``."""
        if len(running) != 1:
            self._alone, self._speaking = None, False
            return
        [(key, task)] = running.items()
        now = time.monotonic()
        if self._alone != key:
            self._alone, self._since, self._speaking = key, now, False
        if now - self._since >= ALONE_S:
            for piece in self._tails.of(task).new_text():
                if not self._speaking:
                    self._speaking = True
                    yield _heading(task)
                yield harmless(piece)

    def ended(self, task: Started, log: str, *, well: bool) -> tuple[Sequence[str], Sequence[str]]:
        """See ``Printed``."""
        speaking = self._speaking and self._alone == task.node.key
        pieces = [harmless(piece) for piece in self._tails.rest(task, log if well or speaking else "")]
        if speaking:
            self._alone, self._speaking = None, False
            return pieces, ()
        if not well or not pieces:
            return (), ()
        if not self._endings:
            return (), [_heading(task), *pieces]
        return (), [indented(piece) for piece in pieces]

    def close(self) -> None:
        """See ``Printed``."""
        self._tails.close()


class AsItComes:
    """Each line as it comes, with its task's label before it."""

    def __init__(self, root: str, paint: Paint) -> None:
        self._tails = _Tails(root)
        self._paint = paint

    def look(self, running: Tasks) -> Iterator[str]:
        """See ``Printed``."""
        for task in running.values():
            for piece in self._tails.of(task).new_text():
                yield self._prefixed(task, piece)

    def ended(self, task: Started, log: str, *, well: bool) -> tuple[Sequence[str], Sequence[str]]:  # noqa: ARG002
        """See ``Printed``."""
        return [self._prefixed(task, piece) for piece in self._tails.rest(task, log)], ()

    def _prefixed(self, task: Started, piece: str) -> str:
        prefix = self._paint(f"{one_line(task.label)} |", "quiet")
        return "".join(f"{prefix} {line}\n" for line in harmless(piece).removesuffix("\n").split("\n"))

    def close(self) -> None:
        """See ``Printed``."""
        self._tails.close()


class _Tails:
    """The outputs that were looked at, by task."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._open: dict[Key, Tail] = {}

    def of(self, task: Started) -> "Tail":
        """The output of a task that runs."""
        tail = self._open.get(task.node.key)
        if tail is None:
            tail = self._open[task.node.key] = self._tail(task, task.log)
        return tail

    def rest(self, task: Started, log: str) -> Sequence[str]:
        """What was not read of a task that has ended and, if it never was looked at, printed to ``log``, if to any."""
        tail = self._open.pop(task.node.key, None)
        if log and (tail is None or (log != task.log and not tail.has_begun)):
            tail = self._tail(task, log)  # It had directories that others had before it.
        if tail is None:
            return ()
        try:
            return list(tail.rest())
        finally:
            tail.close()

    def _tail(self, task: Started, log: str) -> "Tail":
        from merkl.report.tail import Tail  # Not if nothing shows what commands print.

        call = task.node.call
        is_result = task.used or (is_bash_call(call) and bool(call.task.options.stdout))
        return Tail(os.path.join(self._root, log), secrets_of(call, os.environb), stdout=not is_result)

    def close(self) -> None:
        """Let go of all files."""
        for tail in self._open.values():
            tail.close()
        self._open.clear()


def _heading(task: Started) -> str:
    return f"{one_line(task.label)} prints:\n"


def indented(text: str) -> str:
    """Text two columns to the right."""
    return "\n".join(f"  {line}" if line else "" for line in text.split("\n"))
