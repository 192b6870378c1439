"""The exit code of a build: what it leaves to whoever started it.

It decides nothing else.
"""

from merkl.errors import OutputTypeError, TaskOutsError
from merkl.events import BuildDone


def exit_code(done: BuildDone) -> int:
    """The exit code of a build: that of its errors if they agree, else 1."""
    if done.interrupted:
        return 130
    if not done.failed:
        return 0
    # A task that ran and returned or wrote what it should not has failed, as one that raised.
    ran = TaskOutsError, OutputTypeError
    codes = {1 if isinstance(error, ran) else getattr(error, "exit_code", 1) for error in done.errors}
    return codes.pop() if len(codes) == 1 else 1
