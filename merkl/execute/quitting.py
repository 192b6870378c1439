"""How a worker ends once it gets no more calls.

It decides whether Python may be spared taking its modules apart, which the coordinator would wait for.

The invariant: what calls have left and somebody wrote an ending for, such as a file that is open, gets it.
"""

import _thread
import atexit
import gc
import os
import sys
from importlib.machinery import ExtensionFileLoader
from typing import Final

from merkl.execute.call import flush


class Quitting:
    """Knows what is there before the first call."""

    __slots__ = ("_usual",)

    def __init__(self) -> None:
        self._usual: Final = frozenset(sys.modules)
        gc.freeze()  # These need not be looked at again, neither here nor by the collector.

    def quit(self) -> None:
        """End this process with exit code 0; returns if all is left to Python, which knows in what order things end."""
        if _thread._count() or self._compiled() or _has_something_to_end():
            return
        atexit._run_exitfuncs()
        flush()
        os._exit(0)

    def _compiled(self) -> bool:
        """Whether calls have brought compiled code of others, which may want to do something at the end."""
        return any(
            isinstance(getattr(module, "__loader__", None), ExtensionFileLoader)
            for name, module in tuple(sys.modules.items())
            if name not in self._usual and name not in sys.stdlib_module_names
        )


def _has_something_to_end() -> bool:
    """Whether calls have left an object that ends in its own way: a file, an archive, a generator in the middle."""
    kinds = set(map(type, gc.get_objects()))
    return any(hasattr(kind, "__del__") for kind in kinds)
