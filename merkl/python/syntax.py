"""The normal form of a piece of syntax: bytes that stand for what it says, not for how it is laid out.

It decides which edits of a text are no edits: comments, blank lines, formatting, the spelling of a
literal, ``pass``, strings that stand alone as statements, and docstrings unless they are asked for.
It knows no names, objects or files.

The invariant: the same text gives the same bytes on every Python from 3.11 on.  So nothing is taken
from ``ast.dump``: fields that are empty are left out (a new Python adds fields, empty for old
syntax), and what differs between parsers is levelled here.
"""

import ast
import functools
from collections.abc import Iterator

from merkl.digest import encode

# They follow from the rest, or say nothing.
SILENT_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


def normal_form(root: ast.AST, *, docstrings: bool = False, decorators: bool = False) -> bytes:
    """Write ``root`` as bytes that no other syntax has.

    ``docstrings`` keeps them, without their indentation; ``decorators`` keeps those of ``root`` itself
    (those of definitions inside it always count).
    """
    written: list[bytes] = []
    todo: list[object] = [root]
    while todo:  # A stack, not recursion: generated code nests deeper than Python's limit.
        item = todo.pop()
        if isinstance(item, _Mark):
            written.append(item.mark)
        elif isinstance(item, ast.AST):
            todo.append(_CLOSE)
            fields = [
                part
                for name, value in _fields(item, docstrings)
                if name != "decorator_list" or decorators or item is not root
                for part in (_word(name), value)
            ]
            todo += reversed(fields)
            written += (b"(", _word(type(item).__name__).mark)
        elif isinstance(item, list):
            todo.append(_END)
            todo += reversed(item)
            written.append(b"[")
        else:
            written.append(encode(item))
    return b"".join(written)


class _Mark:
    """Finished bytes that wait on the stack among the syntax."""

    __slots__ = ("mark",)

    def __init__(self, mark: bytes) -> None:
        self.mark = mark


@functools.cache
def _word(name: str) -> _Mark:
    """The name of a class or field of ``ast``, of which there are few."""
    return _Mark(encode(name))


@functools.cache
def _speaking(fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(fields) - SILENT_FIELDS))


_CLOSE = _Mark(b")")
_END = _Mark(b"]")


def _fields(node: ast.AST, docstrings: bool) -> Iterator[tuple[str, object]]:
    if docstrings and isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node, clean=True)):
        yield "docstring", text
    for name in _speaking(node._fields):
        value = getattr(node, name, None)
        if value is None and not isinstance(node, ast.Constant):
            continue
        if isinstance(value, list):
            value = _pieces(value) if isinstance(node, ast.JoinedStr) else [v for v in value if not _idle(v)]
            if not value:
                continue
        elif name == "format_spec" and isinstance(value, ast.JoinedStr) and not _pieces(value.values):
            continue
        yield name, value


def _idle(statement: object) -> bool:
    """Whether a statement does nothing; a docstring is one."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass)


def _pieces(values: list[ast.expr]) -> list[object]:
    """The parts of an f-string; parsers differ in where they cut the text between two fields."""
    pieces: list[object] = []
    for value in values:
        if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
            pieces.append(value)
        elif pieces and isinstance(pieces[-1], str):
            pieces[-1] += value.value
        elif value.value:
            pieces.append(value.value)
    return pieces
