"""What is to be called when Futures are done.

It decides how an error in such a function is told.  Whether a Future is done is for others to say.

The invariant: each function is called once.
"""

from collections.abc import Callable
from typing import Any

from merkl.digest import Key
from merkl.errors import MerklError, MerklfileError
from merkl.nodes import Future, Place


class Callbacks:
    """The functions that wait for a node; ``root`` is of the project, for messages."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.waiting: dict[Key, list[tuple[Future[Any], Callable[[Future[Any]], object]]]] = {}

    def add(self, future: Future[Any], callback: Callable[[Future[Any]], object]) -> None:
        """Call back once the Future is done."""
        self.waiting.setdefault(future.node.key, []).append((future, callback))

    def call(self, key: Key) -> None:
        """Tell those who asked that a node is done.

        Raises:
            MerklfileError: one of them raised.
        """
        for future, callback in self.waiting.pop(key, []):
            try:
                callback(future)
            except MerklError:
                raise
            except Exception as error:
                raise _raised(future, error, self._root) from error


def _raised(future: Future[Any], error: Exception, root: str) -> MerklfileError:
    """What ends a build if a function that was given to ``on_completed`` raised."""
    trace = error.__traceback__ and error.__traceback__.tb_next  # Below the call of it.
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return MerklfileError(
        f"what was to be called on the completion of {future.node.name} raised {type(error).__name__}: {error}",
        at=Place(trace.tb_frame.f_code.co_filename, trace.tb_lineno).relative_to(root) if trace else None,
        hint="correct it; the result is kept",
    )
