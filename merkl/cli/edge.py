"""The edge of the command line: every error turned into text and an exit code.

It decides nothing about builds, and knows no command.

The invariant: a ``MerklError`` is shown as it words itself, a bug keeps its traceback, and each ends in its own exit code.
"""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, TextIO

from merkl.errors import MerklError
from merkl.report.ready import ready_streams, take_unsaid

SIGPIPE_EXIT: Final = 141  # What a shell reports of a program that writes to nobody.
_LENGTHY: Final = ("traceback", "output", "log")  # Of a task that failed.


def ended(command: Callable[[], int | None], arguments: Sequence[str]) -> int:
    """Run what a command line, ``arguments``, asks for; the exit code."""
    ready_streams()
    code = _ended(command, arguments)
    error = take_unsaid()
    try:
        sys.stdout.flush()
    except OSError as again:
        error = again
    if error is None:
        return code
    said = unwritten(error)
    return code or said


def unwritten(error: OSError) -> int:
    """Say that stdout took no more; the exit code.  What is left in its buffer goes nowhere, instead of into a message at exit."""
    _give_up(sys.stdout)
    take_unsaid()
    if isinstance(error, BrokenPipeError):
        return SIGPIPE_EXIT
    try:
        sys.stderr.write(f"cannot write the output: {error.strerror}\n")
    except OSError:  # It was stderr, or goes to the same place.
        _give_up(sys.stderr)
    return 1


def _give_up(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _ended(command: Callable[[], int | None], arguments: Sequence[str]) -> int:
    try:
        code = command()
        sys.stdout.flush()
        return int(code or 0)
    except MerklError as error:
        return _show(error, arguments)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except OSError as error:
        if isinstance(error, BrokenPipeError) or _writes_out(error):
            return unwritten(error)
        if error.errno in (errno.EMFILE, errno.ENFILE):
            sys.stderr.write("too many open files\n  hint: a shell's limit is raised by `ulimit -n 1024`\n")
            return 1
        return show_bug()
    except Exception:  # noqa: BLE001  # The edge: what comes here is a bug.
        return show_bug()


def show_bug() -> int:
    """Show the error that is being handled as what it is; the exit code."""
    import traceback

    traceback.print_exc()
    sys.stderr.write("\nThis is a bug in merkl.  Please report it with the lines above and `merkl doctor`.\n")
    return 1


def _writes_out(error: OSError) -> bool:
    """Whether an error comes from writing to stdout or stderr, such as to a full disk; such an error names no file."""
    return error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EBADF)


def _show(error: MerklError, arguments: Sequence[str]) -> int:
    before = list(arguments)[: list(arguments).index("--")] if "--" in arguments else list(arguments)
    return show_error(error, json="--json" in before)


def show_error(error: MerklError, *, json: bool) -> int:
    """Show an error as it words itself; its exit code."""
    try:
        if json:
            from merkl.report.json import JsonLines, error_object

            JsonLines(sys.stdout).write(error_object(error))
        else:
            from merkl.report.words import harmless

            sys.stderr.write(harmless(error.shown(_LENGTHY if error.told else ())) + "\n")
    except OSError as failed:
        if json:
            unwritten(failed)
        else:
            _give_up(sys.stderr)
    return error.exit_code
