"""What Dask logs while executors are open: kept, and not printed.

What matters of it is said by merkl, and the screen is not Dask's.  The invariant: when the last executor is closed, the
loggers are as they were before the first one was opened.
"""

import contextlib
import logging
import threading
import warnings
from collections import deque
from collections.abc import Iterator
from typing import Final

from merkl.cluster.classes import PACKAGES

_LOGGERS: Final = (
    "distributed",
    *PACKAGES,
    "tornado.application",
    "asyncio",  # Of what failed in Dask's background.
)
_LINES: Final = 20  # For messages.

_lock = threading.Lock()
_listeners: list[deque[str]] = []
_before: list[tuple[logging.Logger, list[logging.Handler], bool]] = []


@contextlib.contextmanager
def listening() -> Iterator[deque[str]]:
    """The last lines that Dask logged, as it goes on; of all executors that are open, since it does not say of which."""
    said: deque[str] = deque(maxlen=_LINES)
    with _lock:
        if not _listeners:
            _take()
        _listeners.append(said)
    try:
        yield said
    finally:
        with _lock:
            _listeners[:] = [each for each in _listeners if each is not said]
            if not _listeners:
                _give_back()


class _Keeping(logging.Handler):
    """Gives the first line of a record to all who listen."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        with contextlib.suppress(Exception):
            line = record.getMessage().partition("\n")[0][:400]
            for each in list(_listeners):
                each.append(line)


def _take() -> None:
    import distributed  # It sets up its loggers.

    keeping = _Keeping(logging.WARNING)
    names = {*_LOGGERS}
    names |= {
        name
        for name in list(logging.Logger.manager.loggerDict)
        if name.startswith(tuple(f"{each}." for each in _LOGGERS))
    }
    for logger in map(logging.getLogger, sorted(names)):
        _before.append((logger, logger.handlers, logger.propagate))
        logger.handlers, logger.propagate = [keeping], False
    for package in ("distributed", "dask", *PACKAGES):
        warnings.filterwarnings("ignore", module=rf"{package}(\.|$)")
    with contextlib.suppress(AttributeError):
        warnings.filterwarnings("ignore", category=distributed.versions.VersionMismatchWarning)


def _give_back() -> None:
    for logger, handlers, propagate in _before:
        logger.handlers, logger.propagate = handlers, propagate
    _before.clear()
