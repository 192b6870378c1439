"""What to do about an exception of the user's code that has its cause in how merkl is used.

It decides by the words of the exception, which are the same in every process.  The invariant: it never guesses at what an
exception of other code means.
"""

import builtins
import dis
import inspect
import sys
from collections.abc import Iterable
from typing import Final

from merkl.errors import did_you_mean
from merkl.execute.base import Unportable
from merkl.nodes import Node
from merkl.pattern import pattern
from merkl.python import owners

_OUTPUTS: Final = "a task with several outputs gives a tuple or a dict of Futures: take one of them, or place each by itself"
_FUTURE: Final = "a Future has no value before it has run: pass it to a task, or call .eval() to run it now"
_SECRET: Final = (
    "the value of a Secret is known inside the task alone: pass the Secret by itself as an argument"
)
_FROM: Final = pattern(r"cannot import name '(\w+)' from '([\w.]+)'")
_NAME: Final = pattern(r"name '(\w+)' is not defined")
_OF_FUTURE: Final = pattern(r"'Future'|\bFuture is not|\bnot Future\b|\bFuture found|^<Future \w")
_LONGEST: Final = 500  # Characters of what an exception says, which may be a whole table.
_SEVERAL: Final = pattern(r"'>>?' not supported between instances of '(tuple|dict)'|for >>: '(tuple|dict)'")


def in_one_line(error: BaseException) -> str:
    """What an exception is and says, as the last line of a traceback would have it: the first line of its text."""
    if isinstance(error, Unportable):
        name, text = error.type_name, error.text
    else:
        kind = type(error)
        known = kind.__module__ in ("builtins", "__main__")
        name = kind.__qualname__ if known else f"{kind.__module__}.{kind.__qualname__}"
        text = str(error.msg) if isinstance(error, SyntaxError) else _text(error)
    first = text.strip().partition("\n")[0]
    if len(first) > _LONGEST:
        first = f"{first[:_LONGEST]}… ({len(text)} characters)"
    return f"{name}: {first}" if first else name


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the user's own __str__ may raise anything
        return "<its text cannot be had>"


def advice(error: BaseException) -> str:
    """A hint for an exception that is no ``MerklError``; empty if there is nothing to say."""
    text = _text(error)
    match error:
        case ModuleNotFoundError():
            return f"is it installed in this environment? merkl runs with {sys.executable}"
        case ImportError() if found := _FROM.search(text):
            return did_you_mean(found[1], dir(sys.modules.get(found[2], builtins)))
        case NameError() if found := _NAME.search(text):
            if found[1] in getattr(sys.modules.get("merkl"), "__all__", ()):
                return f"from merkl import {found[1]}"
        case TypeError() | AttributeError() | LookupError() if _OF_FUTURE.search(text):
            return _FUTURE
        case TypeError() if '"Secret"' in text or "'Secret'" in text:
            return _SECRET
        case TypeError() if _SEVERAL.search(text):
            return _OUTPUTS
    return ""


def silent(nodes: Iterable[Node], root: str) -> str:
    """A hint for what fails because a value is None: the first of ``nodes`` whose function never returns another."""
    for node in nodes:
        task = getattr(node.call, "task", None)
        if task is not None and returns_nothing(getattr(task, "function", None)):
            return f"{node.name} ends without returning a value: {task.place.relative_to(root)}"
    return ""


def returns_nothing(function: object) -> bool:
    """Whether a function never returns anything but None, as one does that ends without a return statement."""
    code = getattr(owners.innermost(function), "__code__", None)
    if code is None or code.co_flags & (
        inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    ):
        return False
    before: object = False
    for each in dis.get_instructions(code):
        returned = each.argval if each.opname == "RETURN_CONST" else before
        if each.opname in ("RETURN_CONST", "RETURN_VALUE") and returned is not None:
            return False
        before = each.argval if each.opname.startswith("LOAD_") and "CONST" in each.opname else False
    return True
