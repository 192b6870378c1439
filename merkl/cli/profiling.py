"""``--profile FILE``: where the time of merkl's own process goes.

It decides the form, that of ``pstats``.  Tasks in other processes are not in it; those that run inline are.
"""

import contextlib
from collections.abc import Iterator

from merkl.errors import UsageError


@contextlib.contextmanager
def profiled(path: str | None) -> Iterator[None]:
    """Write down what the code inside called, if a file is named; also if it fails.

    Raises:
        UsageError: the file cannot be written.
    """
    if path is None:
        yield
        return
    import cProfile

    try:
        with open(path, "wb"):
            pass
    except OSError as error:
        raise UsageError(f"--profile {path}: it cannot be written: {error.strerror}") from None
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        profile.dump_stats(path)
