"""Plain lines: what a build does, one line for each task that ended, without moving a cursor.

It decides what is worth a line.  It knows no terminal: colors come as a function, and the streams may be files.

The invariant: it never raises, also not when nobody reads any more; what failed is told whatever else is left out.
"""

from collections.abc import Iterable, Sequence
from typing import Final, TextIO, TypeAlias, assert_never

from merkl import events
from merkl.dataclass import dataclass, replace
from merkl.digest import Key
from merkl.errors import MerklError, StoreError
from merkl.events import Event
from merkl.report.color import PLAIN, Paint
from merkl.report.printed import AsItComes, Each, Nothing, Output, Printed, indented
from merkl.report.ready import say
from merkl.report.words import duration, harmless, one_line, summary, typed

_Told: TypeAlias = (
    events.Started
    | events.Retrying
    | events.Ran
    | events.Cached
    | events.CutOff
    | events.Failed
    | events.Skipped
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What to tell.

    ``output``: what of what tasks print, and with ``quiet`` nothing else either but failures; ``verbose``: every decision;
    ``endings``: a line for each task that ran; ``summary``: the last line.
    """

    output: Output = "each"
    verbose: bool = False
    endings: bool = True
    summary: bool = True

    @property
    def quiet(self) -> bool:
        """Whether nothing is told but failures."""
        return self.output == "quiet"


_USUAL: Final = Shown()


class Lines:
    """A reporter that writes lines to ``out``, and failures to ``err``.  ``root`` is what paths of logs start from.

    The one is colored with ``paint``, the other with ``err_paint``.
    """

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        root: str,
        shown: Shown = _USUAL,
        paint: Paint = PLAIN,
        err_paint: Paint = PLAIN,
    ) -> None:
        self._out = out
        self._err = err
        self._shown = shown
        self._paint = paint
        self._err_paint = err_paint
        self._total = 0
        self._ended = 0
        self._running: dict[Key, events.Started] = {}
        self._printed = _printed(root, shown, paint)
        self._of_a_store = ""  # What was told last of a store that failed.

    def report(self, event: Event) -> None:
        """Write what the event is worth."""
        match event:
            case events.BuildStarted():
                self._total, self._ended = event.total, event.known
            case events.Grown():
                self._total = event.total
            case events.Started():
                self._started(event)
            case events.Retrying():
                self._tell_rest(event.node.key, None)
                if event.together is not None and not event.together.label:
                    return
                again = f"attempt {event.attempt} failed, another follows in {duration(event.delay)}"
                self._say(f"{one_line(_label(event))}: {again}: {one_line(event.reason)}", "warning")
            case events.Ran() | events.Cached() | events.CutOff() | events.Failed() | events.Skipped():
                self._end(event)
            case events.Interrupted():
                self._tell_rest(event.node.key, None)  # It is named when the build has ended.
            case events.Waiting():
                where = f"which runs elsewhere: {one_line(event.holder)}"
                self._say(f"waiting for {one_line(event.label)}, {where}", "warning")
            case events.Undeclared():
                self._undeclared(event)
            case events.Placed():
                self._say(f"        placed {one_line(event.path)}", "quiet", only_verbose=True)
            case events.Saved():
                back = f"bring it back with: merkl restore {typed(event.path)}"
                if event.link:
                    self._warn(f"replaced your link {one_line(event.path)} -> {one_line(event.link)}; {back}")
                else:
                    self._warn(f"saved your edited {one_line(event.path)} before replacing it; {back}")
            case events.Note():
                self._say(harmless(f"note: {event.text}" + (f"\n  hint: {event.hint}" if event.hint else "")))
            case events.BuildDone():
                self._done(event)
            case other:
                assert_never(other)

    def tick(self) -> None:
        """Show what running tasks print."""
        self._write_all(self._printed.look(self._running))

    def pause(self) -> None:
        """Lines are no drawing."""

    def resume(self) -> None:
        """As ``pause``."""

    def close(self) -> None:
        """Let go of the logs."""
        self._printed.close()

    # ---- one event -----------------------------------------------------------------------------------------------

    def _started(self, event: events.Started) -> None:
        if event.together is None or event.together.label:
            label = _label(event)
            self._running[event.node.key] = event if label == event.label else replace(event, label=label)
        if self._shown.verbose:
            self._say(f"        {one_line(event.label)} {one_line(event.why)}", "quiet")

    def _undeclared(self, event: events.Undeclared) -> None:
        from merkl.report.used import told

        if event.uses and not event.strict:
            lines = "".join(f"\n        {line}" for line in told(event.uses))
            self._warn(f"{one_line(event.label)} does not declare all that it uses:{lines}")
        if event.faint:
            lines = "".join(f"\n          {line}" for line in told(event.faint))
            self._say(
                f"        {one_line(event.label)} also used, which need not matter:{lines}",
                "quiet",
                only_verbose=True,
            )

    def _end(
        self, event: events.Ran | events.Cached | events.CutOff | events.Failed | events.Skipped
    ) -> None:
        self._ended += 1
        if not self._shown.verbose and isinstance(event, events.Cached | events.CutOff | events.Skipped):
            return  # There may be ten thousand of them, and nothing was printed.
        log = event.log if isinstance(event, events.Ran | events.Failed) else None
        after = self._tell_rest(event.node.key, log, well=isinstance(event, events.Ran))
        together = event.together if isinstance(event, events.Ran | events.Failed) else None
        if together is not None and not together.label:
            return
        if isinstance(event, events.Ran) and (self._shown.quiet or not self._shown.endings):
            self._write_all(after)
            return
        place = f"[{self._ended}/{max(self._total, self._ended)}]"
        label = one_line(_label(event))
        match event:
            case events.Ran():
                seconds = event.seconds if together is None else together.seconds
                self._say(f"{self._paint(place, 'quiet')} {label}  {duration(seconds)}")
                self._write_all(after)
            case events.Cached():
                why = "it ran before with the same code and inputs"
                self._say(f"{place} cached {label}: {why}{_saves(event.saved)}", "quiet", only_verbose=True)
            case events.CutOff():
                same = "its inputs have the same bytes as before"
                self._say(f"{place} cut off {label}: {same}{_saves(event.saved)}", "quiet", only_verbose=True)
            case events.Skipped():
                because = one_line(event.because)
                self._say(f"{place} skipped {label}: it needs {because}", "quiet", only_verbose=True)
            case events.Failed():
                took = event.seconds if together is None else together.seconds
                shown = f"  {duration(took)}" if took else ""
                self._fail(f"{place} {self._err_paint('failed', 'bad')} {label}{shown}", event.error)

    def _tell_rest(self, key: Key, log: str | None, *, well: bool = False) -> Sequence[str]:
        """Tell what a task printed that has ended, and return what comes after its ending; ``log`` is where that is now."""
        task = self._running.pop(key, None)
        if task is None:
            return ()
        before, after = self._printed.ended(task, log or ("" if well else task.log), well=well)
        self._write_all(before)
        return after

    def _fail(self, line: str, error: BaseException) -> None:
        text = indented(harmless(error_text(error)))
        if isinstance(error, StoreError):  # Of a place, not of the task: many may fail for it.
            again, self._of_a_store = text == self._of_a_store, text
            text = "  for the same reason" if again else text
        say(self._err, f"{line}\n{text}\n")

    def _done(self, event: events.BuildDone) -> None:
        style = "bad" if event.failed or event.interrupted else "good"
        if self._shown.summary:
            self._say(summary(event), style)
        labels = [one_line(label) for label in event.interrupted if label]
        if labels:
            say(self._err, f"interrupted: {', '.join(labels)}\n")
        elif event.interrupted:
            say(self._err, "interrupted\n")  # While nothing ran.

    # ---- writing -------------------------------------------------------------------------------------------------

    def _say(self, text: str, style: str = "", *, only_verbose: bool = False) -> None:
        if self._shown.quiet or (only_verbose and not self._shown.verbose):
            return
        say(self._out, (self._paint(text, style) if style else text) + "\n")

    def _warn(self, text: str) -> None:
        """Say what is said even if nothing else is."""
        stream, paint = (self._err, self._err_paint) if self._shown.quiet else (self._out, self._paint)
        say(stream, paint(text, "warning") + "\n")

    def _write_all(self, pieces: Iterable[str]) -> None:
        for piece in pieces:
            say(self._out, piece)


def _label(event: _Told) -> str:
    """The label of an event, or that of the batch its node runs in."""
    if isinstance(event, events.Cached | events.CutOff | events.Skipped) or event.together is None:
        return event.label
    return event.together.label


def _printed(root: str, shown: Shown, paint: Paint) -> Printed:
    match shown.output:
        case "each":
            return Each(root, endings=shown.endings)
        case "live":
            return AsItComes(root, paint)
        case "quiet":
            return Nothing()
        case other:
            assert_never(other)


def error_text(error: BaseException) -> str:
    """An error for people; one that is not expected keeps its traceback."""
    if isinstance(error, MerklError):
        return str(error)
    import traceback

    return "".join(traceback.format_exception(error)).rstrip()


def _saves(seconds: float) -> str:
    return f"  (saves {duration(seconds)})" if seconds >= 0.1 else ""
