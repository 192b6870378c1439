"""The rows of the live block: how far the build is, and what runs.

It decides what is shown, and what is left out where there is little room.  It knows no terminal, only its size.

The invariant: at most ``height`` rows, none of them wider than ``width``, whatever labels there are.
"""

from collections.abc import Sequence
from typing import Final

from merkl.dataclass import dataclass
from merkl.report.cells import columns, cut
from merkl.report.color import Paint
from merkl.report.words import duration, one_line, size

_ROOM_FOR_EXPECTED: Final = 48  # Columns; in fewer, labels need the space.
_AN_ESTIMATE: Final = 1.0  # Seconds; less is not worth a word.


@dataclass(frozen=True, slots=True)
class Task:
    """One task that runs: seconds so far, and what it took the last time.

    ``since`` is the time of day at which one began that no frame will be drawn for until it ends.
    """

    label: str
    elapsed: float
    expected: float | None = None
    since: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is.  ``left`` is in seconds, None if that cannot be said."""

    ended: int
    total: int
    failed: int = 0
    left: float | None = None
    hashing: tuple[int, int] | None = None  # Bytes done, and in all.


def rows(progress: Progress, tasks: Sequence[Task], width: int, height: int, paint: Paint) -> list[str]:
    """The block, from its top; ``tasks`` in the order in which they started."""
    shown = tasks if len(tasks) < height else tasks[: max(0, height - 2)]
    found = [_head(progress, len(tasks), width, paint)]
    timed = width >= _ROOM_FOR_EXPECTED and any(task.expected is not None for task in shown)
    found += [_row(task, width, timed, paint) for task in shown]
    if len(shown) < len(tasks) and height > 1:
        found.append(paint(cut(f"  … and {len(tasks) - len(shown)} more", width), "quiet"))
    return found


def _head(progress: Progress, running: int, width: int, paint: Paint) -> str:
    place = cut(f"[{progress.ended}/{progress.total}]", width)
    parts = [(f"{running} running", "")] if running else []
    if progress.failed:
        parts.append((f"{progress.failed} failed", "bad"))
    if progress.hashing is not None:
        done, of = progress.hashing
        parts.append((f"hashing {size(done)} of {size(of)}", ""))
    if progress.left is not None and progress.left >= _AN_ESTIMATE:
        parts.append((f"about {duration(round(progress.left))} left", "quiet"))
    text, used, gap = paint(place, "strong"), columns(place), " "
    for part, style in parts:
        used += len(gap) + len(part)
        if used > width:
            break
        text += gap + (paint(part, style) if style else part)
        gap = ", "
    return text


def _row(task: Task, width: int, timed: bool, paint: Paint) -> str:
    times = f" since {task.since}" if task.since else f"{duration(task.elapsed):>7}"
    if timed:
        expected = "" if task.expected is None else f" of {duration(task.expected)}"
        times = f"{times}{expected:<10}"
    times = cut(times, width)
    room = width - columns(times) - 2
    label = cut(one_line(task.label).replace("\t", " "), room) if room > 0 else ""
    return f"{paint(times, 'quiet')}  {label}" if label else paint(times, "quiet")
