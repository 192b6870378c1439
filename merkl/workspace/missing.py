"""The words for an input that cannot be used: what is wrong with it, and which name was perhaps meant.

It decides only what to say.
"""

import errno
import os
import re
import stat
from typing import Final

from merkl.errors import InputMissing, did_you_mean
from merkl.pattern import pattern

_MOST_NAMES: Final = 10_000  # Of a directory that are compared with a misspelt one.
_PER_PROCESS: Final = pattern(
    r"/dev/(stdin|stdout|stderr|fd/.*)|/proc/(self|thread-self|[0-9]+)/.*", re.DOTALL
)
_KINDS: Final = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def what_is(mode: int) -> str:
    """What ``mode`` says a file is, with its article."""
    return _KINDS.get(stat.S_IFMT(mode), "something unknown")


def wrong_kind(shown: str, mode: int, wanted: str = "a file or a directory") -> InputMissing:
    """The error for something that is there and is not what an input can be."""
    return InputMissing(f"the input {shown} is {what_is(mode)}, and {wanted} is needed")


def of_a_process(where: str) -> InputMissing | None:
    """The error for a path that is another file in every process, such as ``/dev/stdin``."""
    if not where.startswith(("/dev/", "/proc/")) or _PER_PROCESS.fullmatch(where) is None:
        return None
    hint = "save what is to be read in a file, and name that"
    return InputMissing(f"the input {where} is another file for merkl than for a task", hint=hint)


def unreadable(shown: str, where: str | bytes, error: OSError) -> InputMissing:
    """The error for the input at ``where``, called ``shown``, that ``error`` says cannot be read."""
    where = os.fsdecode(where)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if os.path.islink(where):
            return InputMissing(
                f"the input {shown} is a symbolic link to {os.readlink(where)}, which does not exist",
                hint="make what it points to, or point it elsewhere",
            )
        hint = f"it is tracked: merkl pull {shown}" if _is_tracked(where) else _near(shown, where)
        return InputMissing(f"the input {shown} does not exist", hint=hint)
    if error.errno == errno.ELOOP:
        return InputMissing(f"the input {shown} is a symbolic link that leads back to itself")
    if error.errno == errno.ENXIO:  # What opening a socket says.
        return wrong_kind(shown, _mode(where))
    return InputMissing(f"the input {shown} cannot be read: {os.strerror(error.errno or 0)}")


def _mode(where: str) -> int:
    try:
        return os.stat(where).st_mode
    except OSError:
        return 0


def _is_tracked(where: str) -> bool:
    """Whether a sidecar says what should be there, or in a directory above that is missing too."""
    above = os.path.abspath(where)
    while not os.path.isdir(above):
        if os.path.isfile(f"{above}.merkl"):
            return True
        above = os.path.dirname(above)
    return False


def _near(shown: str, where: str) -> str:
    """The file that was perhaps meant: a name like the missing one, in the nearest directory that exists."""
    parent, missing = os.path.split(os.path.abspath(where))
    above = os.path.dirname(shown)
    while parent != "/" and not os.path.isdir(parent):
        missing, parent, above = os.path.basename(parent), os.path.dirname(parent), os.path.dirname(above)
    try:
        with os.scandir(parent) as found:
            names = [entry.name for entry, _ in zip(found, range(_MOST_NAMES), strict=False)]
    except OSError:
        return ""
    lower = [name for name in names if name.lower() == missing.lower()]
    hint = f"did you mean {lower[0]}?" if lower else did_you_mean(missing, names)
    if hint and above:
        prefix = "did you mean "
        nearest = hint.removeprefix(prefix).removesuffix("?").split(" or ")
        hint = f"{prefix}{' or '.join(os.path.join(above, name) for name in nearest)}?"
    return hint
