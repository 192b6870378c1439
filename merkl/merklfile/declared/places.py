"""Frames for lines of YAML: what runs on behalf of one is seen in a traceback at that line and column.

It decides nothing else.  The invariant: whoever asks for the calling place, or reads a traceback, is told of the YAML
file, as if its text were code.
"""

import ast
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, Final, TypeVar

from merkl.merklfile.declared.document import Document, Span

T = TypeVar("T")
AT_TOP: Final = "<module>"  # Where code runs that is in no target, as Python calls it.


def on_behalf(document: Document, span: Span, where: str, action: Callable[[], T]) -> T:
    """Call ``action`` in a frame that stands for a stretch of the document, in a function called ``where``."""
    line, column = document.line_and_column(span.start)
    stop = document.text.find("\n", span.start, span.end)
    width = (span.end if stop < 0 else stop) - span.start
    code = _code(document.path, where, line, column - 1, column - 1 + max(width, 1))
    result: T = FunctionType(code, {"__name__": "Merklfile", "__builtins__": {}})(action)
    return result


@lru_cache(maxsize=4096)
def _code(path: str, where: str, line: int, column: int, end: int) -> CodeType:
    tree = ast.parse("def frame(action):\n    return action()")
    for node in ast.walk(tree):
        place: Any = node
        place.lineno = place.end_lineno = line
        place.col_offset, place.end_col_offset = column, end
    module = compile(tree, path, "exec", dont_inherit=True)
    code = next(each for each in module.co_consts if isinstance(each, CodeType))
    return code.replace(co_name=where, co_qualname=where)
