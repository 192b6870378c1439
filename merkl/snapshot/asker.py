"""Whose question it is.

It decides, by the frames of the calling code, whether it is the user's code that does what is being done, and how closely it
looks.

The invariant: who cannot be told is taken for the user.
"""

import os
import sys
from types import FrameType
from typing import Final

HERE: Final = os.path.dirname(__file__) + os.sep
OURS: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep
STDLIB: Final = (os.path.dirname(os.__file__) + os.sep, "<frozen ")
SITES: Final = tuple(path for path in sys.path if path.endswith(("/site-packages", "/dist-packages")))
IN_SITES: Final = tuple(f"{site}/" for site in SITES)
_NOBODY: Final = (*STDLIB, HERE)  # Their frames ask for somebody else.
# Questions about a directory whose answer does not depend on what is in it.
_KIND_ONLY: Final = frozenset(
    "isdir isfile exists islink lexists realpath _joinrealpath ismount samefile is_dir is_file is_symlink is_mount resolve "
    "_path_stat _path_isdir _path_isfile _path_is_mode_type makedirs access".split()
)


def asks_for_times() -> bool:
    """Whether a directory's stat was asked for in a way that may show its times, or only for its kind."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_NOBODY):
            return not code.co_filename.startswith(OURS)
        if code.co_name in _KIND_ONLY:
            return False
        frame = frame.f_back
    return True


def by_user() -> bool:
    """Whether it is done for the user's code, by itself or by a library that it calls, and not for merkl or an import."""
    library = False
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if library and name.startswith("<frozen importlib"):
            return False  # What a library does while it is imported comes with the library.
        if name.startswith(IN_SITES):
            library = True
        elif not name.startswith(_NOBODY):
            return not name.startswith(OURS)
        frame = frame.f_back
    return True  # A thread of a library, or of Python's.


def is_imported() -> bool:
    """Whether it is done by a library, or one of Python's, while that is imported."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith((STDLIB[0], *IN_SITES, HERE)):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith("<frozen importlib")


def is_import() -> bool:
    """Whether Python's own machinery of imports asks."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(HERE):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(
        ("<frozen importlib", "<frozen zipimport")
    )
