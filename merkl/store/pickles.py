"""Pickle, the last form: for values that no plain one gives back.

It decides which pickles are refused: those of a class or function that a later process would not find, or would find
as another one, because it was defined in ``__main__`` or in a Merklfile.  It knows no trust: that a pickle may be
loaded at all has been decided before.
"""

import os
import sys
from _pickle import Pickler, Unpickler  # What ``pickle`` takes them from, without what else that imports.
from collections.abc import Sequence
from typing import Any, BinaryIO, Final

from merkl.config import MERKLFILE
from merkl.errors import SerializationError
from merkl.nodes import Future

PROTOCOL: Final = 5  # Part of the form's meaning.
_HINT: Final = "return plain data (numbers, text, lists, dicts, arrays), or a FileRef to a file it wrote"


class PickleForm:
    """Whatever pickle can write."""

    name = "pickle"
    extensions: Sequence[str] = (".pickle", ".pkl")

    def accepts(self, value: object) -> bool:
        """Everything: whether it can be written shows only by trying."""
        del value
        return True

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write it.

        Raises:
            SerializationError: it has no pickle, or one that would not come back as what it is.
        """
        try:
            self.dump_with_code(value, file)
        except (SerializationError, OSError):
            raise
        except Exception as error:
            # Whatever a class's own __reduce__ raises means the same.
            name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
            raise SerializationError(
                f"a value of type {name} cannot be stored: {error}", hint=_HINT
            ) from error

    def dump_with_code(self, value: Any, file: BinaryIO) -> list[Any]:
        """Write it; the classes and functions that it names, each once, in the order met."""
        pickler = _Pickler(file, PROTOCOL)
        pickler.dump(value)
        return list(pickler.named.values())

    def load(self, file: BinaryIO) -> Any:
        """Read it; this runs what the pickle says.

        Raises:
            SerializationError: it is damaged, or its classes are not there any more.
        """
        try:
            return _Unpickler(file).load()
        except SerializationError:
            raise
        except (ImportError, AttributeError) as error:
            raise SerializationError(
                f"a stored value needs what is not there any more: {error}",
                hint="`merkl clear` the target, so that it is made again",
            ) from error
        except Exception as error:
            raise SerializationError(f"a stored value cannot be read: {error}") from error


class _Pickler(Pickler):
    def __init__(self, file: BinaryIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.named: dict[int, Any] = {}

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Future):
            raise SerializationError(
                f"a result cannot hold a Future, and {obj!r} is one",
                hint="call one task with the Future of the other, or let a @pipeline return Futures",
            )
        found = obj if hasattr(obj, "__qualname__") else type(obj)
        self.named.setdefault(id(found), found)
        module = getattr(found, "__module__", None)
        if isinstance(module, str) and (why := _unstorable(module)):
            raise _refusal(module, found.__qualname__, why)
        return NotImplemented


class _Unpickler(Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if why := _unstorable(module):
            raise _refusal(module, name, why)
        return super().find_class(module, name)


def _unstorable(module: str) -> str:
    """Why a class of that module must not be in a stored pickle; empty if it may."""
    if module in ("__main__", "__mp_main__"):
        return "the script that is being run"
    if module.partition(".")[0] + ".py" == MERKLFILE:  # Also in a worker, where it is no module.
        return "a Merklfile"
    loaded = sys.modules.get(module)
    if loaded is None:
        return ""
    file = getattr(loaded, "__file__", None)
    # The loader marks a Merklfile that has another name.
    if getattr(loaded, "__merklfile__", False) or (
        isinstance(file, str) and os.path.basename(file) == MERKLFILE
    ):
        return "a Merklfile"
    return ""


def _refusal(module: str, name: str, why: str) -> SerializationError:
    return SerializationError(
        f"a value needs {name}, which is defined in {why}, and would not come back as the same",
        hint="return plain data, or what is defined at the top of a module"
        if "<" in name
        else f"define {name} in a module of the project and import it, or return plain data",
        module=module,
    )
