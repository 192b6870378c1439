"""What ``pull`` and ``push`` have in common: how a transfer is shown, and the exit code it ends with.

It decides whether there is a bar: on a terminal, without ``--json``, ``-q`` and ``--progress plain``.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, cast

from merkl.cli.options import Options
from merkl.engine.transfer import Moved, Transfer, total
from merkl.errors import MerklError, StoreError, WorkspaceError
from merkl.report.color import can_redraw, painter, wanted
from merkl.report.moving import Bar, Lines, counted
from merkl.report.words import harmless, one_line, plural

if TYPE_CHECKING:
    from merkl.engine.transfer import Watcher
    from merkl.report.color import When

_NAMED: Final = 20  # Paths, or tasks, that a failure names.


class Shown:
    """A ``Watcher`` that shows what it is told; ``verb`` is ``pull`` or ``push``."""

    def __init__(self, options: Options, verb: str) -> None:
        paint = painter(wanted(cast("When", options.color), sys.stdout, os.environ))
        bar = (
            not (options.json or options.quiet)
            and options.progress == "auto"
            and can_redraw(sys.stdout, os.environ)
        )
        self._bar = Bar(sys.stdout, f"{verb}ing", paint) if bar else None
        self._lines = Lines(
            sys.stdout if self._bar is None else self._bar.out, sys.stderr, f"{verb}ed", paint,
            json=options.json, quiet=options.quiet, verbose=options.verbose,
        )  # fmt: skip
        self._errors: list[Moved] = []
        self._options = options

    def expect(self, size: int) -> None:
        """See ``Watcher``."""
        if self._bar is not None:
            self._bar.expect(size)

    def came(self, size: int) -> None:
        """See ``Watcher``."""
        if self._bar is not None:
            self._bar.came(size)

    def hashing(self) -> AbstractContextManager[None]:
        """Show what the code inside hashes, as long as nothing has come."""
        from merkl import gauge
        from merkl.cli.hashing import hashing_shown

        return hashing_shown(self._options) if self._bar is None else gauge.watched(self._bar.hashed)

    def ended(self, moved: Moved) -> None:
        """See ``Watcher``.  Errors are told at the end, below all else, but on a stream of JSON."""
        if moved.error is not None and self._bar is not None:
            self._errors.append(moved)
        else:
            self._tell(moved)

    def close(self) -> None:
        """Take the bar away, and tell the rest."""
        if self._bar is not None:
            self._bar.close()
        for moved in self._errors:
            self._tell(moved)
        self._errors.clear()

    def _tell(self, moved: Moved) -> None:
        self._lines.ended(
            moved.path,
            moved.state,
            moved.size,
            saved=moved.saved,
            link=moved.link,
            error=moved.error,
            count=moved.count,
        )


def transferred(options: Options, verb: str, run: "Callable[[Watcher], Transfer]") -> int:
    """Run a transfer and show it; the exit code.  ``verb`` is ``pull`` or ``push``."""
    shown = Shown(options, verb)
    try:
        with shown.hashing():
            done = run(shown)
    finally:
        shown.close()
    for note in done.notes:
        if not options.quiet:
            hint = f"\n  hint: {note.hint}" if note.hint else ""
            sys.stderr.write(harmless(f"note: {note.text}{hint}") + "\n")
    if not options.json and not options.quiet:
        sys.stdout.write(_last_line(options, verb, done) + "\n")
    if done.failure is not None:
        raise _broken_off(verb, done, done.failure)
    error = done.error()
    return 0 if error is None else exit_code_of(error)


def exit_code_of(error: MerklError) -> int:
    """What a command that runs no task ends with: a work tree that cannot be written is no failed task."""
    return StoreError.exit_code if isinstance(error, WorkspaceError) else error.exit_code


def _last_line(options: Options, verb: str, done: Transfer) -> str:
    moved = done.in_state("would move" if options.dry_run else "moved")
    files = [each for each in moved if each.path]
    results = sum(each.count for each in moved if not each.path)
    counts = (len(files), len(done.in_state("unchanged")), len(done.in_state("left")))
    return counted(f"{verb}ed", counts, results, total(moved), would=options.dry_run)


def _waiting(done: Transfer) -> Iterator[str]:
    """What was not done, by name: the paths, and how many results of which tasks."""
    yield from (one_line(path) for path in done.waiting[:_NAMED])
    if len(done.waiting) > _NAMED:
        yield f"and {plural(len(done.waiting) - _NAMED, 'more file')}"
    counts = Counter(done.unsent).most_common(_NAMED)
    yield from (f"{plural(count, 'result')} of {one_line(task)}" for task, count in counts)
    rest = len(done.unsent) - sum(count for _, count in counts)
    if rest:
        yield f"and {plural(rest, 'more result')}"


def _broken_off(verb: str, done: Transfer, failure: MerklError) -> MerklError:
    """The failure, with what was done before it and what was not."""
    failure.details.setdefault(
        f"{verb}ed", plural(len([each for each in done.in_state("moved") if each.path]), "file")
    )
    failure.details.setdefault(f"not {verb}ed", "\n".join(_waiting(done)) or "0 files")
    failure.hint = (
        f"{failure.hint}{'' if failure.hint.endswith('?') else ';'} then `merkl {verb}` goes on"
        if failure.hint
        else f"`merkl {verb}` goes on from here"
    )
    return failure
