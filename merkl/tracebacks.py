"""Tracebacks without merkl's own frames.

It decides which frames are ours, and which are a library's that we called.  It knows no sessions and no projects.

The invariant: what may be a bug of ours keeps all of its frames below the user's first.
"""

import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from merkl.errors import MerklError

_OURS: Final = os.path.dirname(os.path.abspath(__file__)) + os.sep
_LIBRARY: Final = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
_NO_BUG: Final = MerklError, KeyboardInterrupt
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


def users_own(error: BaseException) -> TracebackType | None:
    """The traceback of an error from the user's first frame on, without ours and those of libraries that we called.

    An error that is neither a ``MerklError`` nor Ctrl-C and comes out of such a frame is a bug of ours, or of what we
    passed on: of it nothing is left out.  None if no frame is the user's.
    """
    kept: list[TracebackType] = []
    ours = False
    trace = error.__traceback__
    while trace is not None:
        ours = _is_ours(trace) or (ours and _is_library(trace))
        if not ours:
            kept.append(trace)
        trace = trace.tb_next
    if ours and kept and not isinstance(error, _NO_BUG):
        return kept[0]
    return _chained(kept)


def trim(error: BaseException) -> None:
    """Leave of an error its ``users_own`` frames; of a bug of ours that no code of the user led to, all of them."""
    trace = users_own(error)
    if trace is not None or isinstance(error, _NO_BUG):
        error.__traceback__ = trace


def show(error: BaseException) -> None:
    """Make ready to be shown an error that nobody caught, and those that led to it.

    What a task raised has no frames of its own here: the message shows them, and so nothing leads to it.
    """
    if isinstance(error, MerklError) and "traceback" in error.details:
        error.__cause__ = error.__context__ = None
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        trim(each)
        before = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
        if isinstance(each, MerklError) and before is not None and users_own(before) is None:
            # What a library or the system said to us, and the message says to the user.
            each.__cause__ = each.__context__ = before = None
        each = before


def shown_by(shell: Any, make_ready: Callable[[BaseException], None]) -> None:
    """Have IPython make every exception of a cell ready before it shows it, unless somebody else does that."""
    if shell.custom_exceptions:
        return

    def shown(
        shell: Any, kind: type[BaseException], error: BaseException, _: object, tb_offset: int | None = None
    ) -> None:
        make_ready(error)
        shell.showtraceback((kind, error, error.__traceback__), tb_offset=tb_offset)

    shell.set_custom_exc((Exception,), shown)


def _chained(frames: list[TracebackType]) -> TracebackType | None:
    made: TracebackType | None = None
    for each in reversed(frames):
        made = TracebackType(made, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return made


def _is_ours(trace: TracebackType) -> bool:
    return trace.tb_frame.f_code.co_filename.startswith(_OURS)


def _is_library(trace: TracebackType) -> bool:
    file = trace.tb_frame.f_code.co_filename
    return file.startswith((_LIBRARY, "<frozen ")) or not _INSTALLED.isdisjoint(file.split(os.sep))
