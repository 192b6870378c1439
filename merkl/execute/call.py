"""One Python call: unpickled, run, and its end packed into bytes.  The same code in a worker and inline.

It knows neither pipes nor slots.

The invariant: whatever the call does, ``perform`` returns an outcome, unless the process itself ends.
"""

import _pickle as pickle  # Without what ``pickle`` imports besides.
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from merkl.execute.frames import RAISED, RETURNED

_in_worker = False


def in_worker() -> bool:
    """Whether this process is a worker, or was forked from one."""
    return _in_worker


def become_worker() -> None:
    """Hear that this process is a worker, before it takes its first call."""
    global _in_worker
    _in_worker = True


def perform(payload: bytes, enter: Callable[[], None], leave: Callable[[], None]) -> tuple[int, bytes]:
    """Run a pickled ``(function, args)`` and return the outcome: ``RETURNED`` or ``RAISED``, and the bytes that go with it.

    Between ``enter`` and ``leave`` a SIGINT may raise ``KeyboardInterrupt``.
    """
    process = os.getpid()
    try:
        try:
            enter()
            function, args = pickle.loads(payload)
            result = function(*args)
        finally:
            leave()
    except BaseException as error:  # noqa: BLE001 - also SystemExit and KeyboardInterrupt are an outcome
        leave()  # Once more: the interrupt may have come just before the first.
        outcome = RAISED, pack_error(error)
    else:
        outcome = _pack_result(result)
    if os.getpid() != process:
        # A child that the call forked came back out of it; there must not be two of us.
        flush()
        os._exit(1 if outcome[0] == RAISED else 0)
    return outcome


def _pack_result(result: object) -> tuple[int, bytes]:
    try:
        return RETURNED, _dumps(result)
    except Exception as error:  # noqa: BLE001 - the user's own __reduce__ may raise anything
        from merkl.errors import SerializationError

        kind = type(result)
        return RAISED, pack_error(
            SerializationError(
                f"the result, of type {kind.__module__}.{kind.__qualname__}, cannot be pickled: {error}"
            )
        )


def _dumps(value: object) -> bytes:
    """Pickle; what plain pickle cannot find by name, such as a class of ``__main__``, goes by value."""
    try:
        return pickle.dumps(value, protocol=5)
    except Exception:  # noqa: BLE001
        import cloudpickle

        data: bytes = cloudpickle.dumps(value, protocol=5)
        return data


def pack_error(error: BaseException) -> bytes:
    """An exception as bytes: pickled if that can be done, and as text in any case."""
    import traceback

    from merkl.tracebacks import show, users_own

    users = users_own(error)
    if (before := error.__cause__ or error.__context__) is not None:
        show(before)
    trace = "".join(traceback.format_exception(type(error), error, users))
    try:
        text = str(error)
    except Exception:  # noqa: BLE001
        text = "(its text cannot be had)"
    try:
        pickled = _dumps(error)
    except Exception:  # noqa: BLE001
        pickled = b""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return pickle.dumps((pickled, name, text, trace))


def new_file(path: bytes) -> int:
    """Open a log from its start.

    Raises:
        OSError: it cannot be written.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o666)


def text_on(fd: int) -> TextIO:
    """A stream that writes whole lines to ``fd`` at once and can print anything; closing it leaves ``fd`` open."""
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def flush(*others: TextIO) -> bool:
    """Write out what Python and the C library hold back for stdout and stderr, and what ``others`` do; whether it could be."""
    written = True
    for stream in {sys.stdout, sys.stderr, *others}:
        try:
            stream.flush()
        except (AttributeError, ValueError):
            pass  # None, replaced by something else, or closed.
        except OSError:
            written = False
    return _flush_c() and written


def _flush_c() -> bool:
    global _fflush
    if _fflush is None:
        try:
            import ctypes

            _fflush = ctypes.CDLL(None).fflush
        except (ImportError, OSError, AttributeError):
            _fflush = _nothing
    return _fflush(None) == 0


def _nothing(_: None) -> int:
    """For a libc that cannot be reached."""
    return 0


_fflush: Callable[[None], Any] | None = None
