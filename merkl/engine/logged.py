"""The logger ``merkl``: what happens in a build, for programs that use merkl and look at their logs.

It decides the level of each event: what was read from the cache or placed is ``DEBUG``, what ran ``INFO``, what is worth a
look ``WARNING``, what failed ``ERROR``.

The invariant: nobody who did not ask for it sees a line: the logger has a handler that does nothing, and a build of the
command line, which shows everything itself, sends nothing to the root logger.
"""

import sys
from typing import TYPE_CHECKING, Final

from merkl import events
from merkl.events import Event, Forwarding, Reporter

if TYPE_CHECKING:
    import logging

NAME: Final = "merkl"
_DEBUG, _INFO, _WARNING, _ERROR = 10, 20, 30, 40  # As in ``logging``, which is not imported for them.
_QUIET: Final = (events.Started, events.Ran, events.Cached, events.Placed)  # Worth no more than ``_INFO``.


def logged(reporter: Reporter) -> Reporter:
    """A reporter that tells the logger too, if this process has imported ``logging``: else nobody can be listening."""
    if "logging" not in sys.modules:
        return reporter
    import logging

    logger = logging.getLogger(NAME)
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())
    return Logged(reporter, logger)


def keep_from_root() -> None:
    """Let the root logger hear nothing from now on, in a process that shows builds itself."""
    if "logging" in sys.modules:
        import logging

        logging.getLogger(NAME).propagate = False


class Logged(Forwarding):
    """A reporter that passes everything on, and logs it."""

    def __init__(self, inner: Reporter, logger: "logging.Logger") -> None:
        super().__init__(inner)
        self._logger = logger

    def report(self, event: Event) -> None:
        """Log the event, if it is worth a line, and pass it on."""
        # Most are of these, and few loggers want them.
        brief = isinstance(event, _QUIET) and not self._logger.isEnabledFor(_INFO)
        level, text = (_DEBUG, "") if brief else worded(event)
        if text and self._logger.isEnabledFor(level):
            # Names need not be UTF-8, and whoever writes logs to a file says that they are.
            self._logger.log(level, "%s", text.encode("utf-8", "backslashreplace").decode())
        super().report(event)


def worded(event: Event) -> tuple[int, str]:
    """The level and the line of an event; without a line, nothing is logged."""
    match event:
        case events.BuildStarted():
            return _DEBUG, f"build {event.build}: {event.total} tasks, {event.to_run} to run"
        case events.Started():
            return _INFO, f"{event.label}: {event.why or 'starts'}"
        case events.Ran():
            return _INFO, f"{event.label}: ran in {event.seconds:.1f} s"
        case events.Cached():
            return _DEBUG, f"{event.label}: cached"
        case events.CutOff():
            return _DEBUG, f"{event.label}: cut off, its inputs have the same bytes as before"
        case events.Failed() if event.together is not None and not event.together.label:
            return _DEBUG, f"{event.label}: failed with its batch"
        case events.Failed():
            return _ERROR, f"{event.label}: failed: {event.error}"
        case events.Skipped():
            return _WARNING, f"{event.label}: skipped, it needs {event.because}"
        case events.Interrupted():
            return _WARNING, f"{event.label}: interrupted"
        case events.Waiting():
            return _INFO, f"{event.label}: waits for {event.holder}"
        case events.Retrying():
            return _WARNING, f"{event.label}: attempt {event.attempt} failed: {event.reason}"
        case events.Undeclared():
            used = ", ".join(use.path for use in event.uses)
            return _WARNING, f"{event.label}: does not declare {used}" if used else ""
        case events.Placed():
            return _DEBUG, f"placed {event.path}"
        case events.Saved():
            return _WARNING, f"saved {event.path} before it was replaced"
        case events.Note():
            return _WARNING, event.text
        case events.BuildDone():
            return _INFO, f"build done: {event.ran} ran, {event.cached} cached, {event.failed} failed"
        case _:
            return _DEBUG, ""
