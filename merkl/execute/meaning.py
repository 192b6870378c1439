"""What an exit code means, in words.

It knows only numbers: neither the command nor its output.  The invariant: every code gets a sentence, and no sentence
claims more than the number can say.
"""

from typing import Final

_CODES: Final = {
    0: "success",
    1: "often no more than false: grep found no match, diff a difference, test was false",
    2: "often wrong usage: an option or an argument that the program does not take",
    124: "timeout stopped what it ran",
    126: "found but not executable",
    127: "command not found: is it installed, and on PATH?",
}
_SIGNALS: Final = {
    "SIGABRT": "the program stopped itself",
    "SIGBUS": "a bad memory access, or a mapped file that was cut short",
    "SIGHUP": "its terminal went away",
    "SIGILL": "the program holds an instruction that this machine lacks",
    "SIGINT": "interrupted",
    "SIGKILL": "likely out of memory",
    "SIGPIPE": "a reader such as head closed the pipe; see pipefail",
    "SIGSEGV": "segmentation fault",
    "SIGTERM": "asked to stop",
    "SIGXCPU": "a limit on CPU time",
    "SIGXFSZ": "a limit on the size of a file",
}


def exit_meaning(code: int) -> str:
    """Say what ``code`` means: an exit code, or a negative signal number.

    A shell says 128 + n for a command of its own that signal n ended, so 137 and -9 share their meaning.
    """
    if code < 0:
        return f"killed by {_signal(-code)}"
    if code > 128 and (known := _signal(code - 128, known_only=True)):
        return f"exit code {code}: a command in it was killed by {known}"
    meaning = _CODES.get(code)
    return f"exit code {code}: {meaning}" if meaning else f"exit code {code}"


def _signal(number: int, known_only: bool = False) -> str:
    import signal

    try:
        name = signal.Signals(number).name
    except ValueError:
        return "" if known_only else f"signal {number}"
    meaning = _SIGNALS.get(name)
    return f"signal {number} ({name}), {meaning}" if meaning else f"signal {number} ({name})"
