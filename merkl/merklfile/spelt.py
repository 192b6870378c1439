"""The parameters of a function, read from the text of its module: for completion, which runs no code.

It decides by how hints are written, since it evaluates none: ``bool``, ``Literal[…]``, and paths.  What it does not
understand is a parameter about which nothing is known.

The invariant: it never raises because of what is in a file.
"""

import ast
import os
from collections.abc import Iterator
from typing import Final

from merkl.dataclass import dataclass
from merkl.merklfile.offered import modules_in

_LARGEST: Final = 500_000  # Bytes; a larger file was hardly written by hand.
_FILES: Final = ("FileRef", "Path", "PurePath", "PosixPath")


@dataclass(frozen=True, slots=True)
class Spelt:
    """One parameter: its ``hint`` as it is written, the words that it takes if these are few, and what path it may be."""

    name: str
    hint: str = ""
    required: bool = True
    flag: bool = False
    choices: tuple[str, ...] = ()
    path: str = ""  # ``file`` or ``dir``.

    @property
    def option(self) -> str:
        """Its name as an option."""
        return f"--{self.name.replace('_', '-')}"


def parameters_in(root: str, base: str, word: str) -> list[Spelt]:
    """The parameters of the function that ``word`` names, ``module.function`` or ``file.py:function``; none if unknown."""
    path, colon, name = word.rpartition(":")
    if colon:
        where = os.path.join(base, path)
    else:
        module, _, name = word.rpartition(".")
        where = next((file for file, known in modules_in(root) if known == module), "")
    try:
        with open(where, "rb") as file:
            tree = ast.parse(file.read(_LARGEST))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    for each in tree.body:
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)) and each.name == name:
            return list(_parameters(each.args))
    return []


def _parameters(args: ast.arguments) -> Iterator[Spelt]:
    placed = [*args.posonlyargs, *args.args]
    lacking: list[ast.expr | None] = [None] * (len(placed) - len(args.defaults))
    yield from map(_parameter, placed, [*lacking, *args.defaults])
    yield from map(_parameter, args.kwonlyargs, args.kw_defaults)


def _parameter(arg: ast.arg, default: ast.expr | None) -> Spelt:
    hint = arg.annotation
    if isinstance(hint, ast.Constant) and isinstance(hint.value, str):  # A hint as text.
        try:
            hint = ast.parse(hint.value, mode="eval").body
        except (SyntaxError, ValueError):
            hint = None
    inner, optional = _without_none(hint)
    kind = _last_name(inner)
    is_bool = isinstance(default, ast.Constant) and isinstance(default.value, bool)
    flag = kind == "bool" or (hint is None and is_bool)
    choices: tuple[str, ...] = ()
    if isinstance(inner, ast.Subscript) and kind == "Literal":
        members = inner.slice.elts if isinstance(inner.slice, ast.Tuple) else [inner.slice]
        choices = tuple(str(each.value) for each in members if isinstance(each, ast.Constant))
    elif flag:
        choices = ("true", "false")
    path = "dir" if kind == "DirRef" else "file" if kind in _FILES else ""
    return Spelt(
        arg.arg,
        "" if hint is None else ast.unparse(hint),
        default is None,
        flag,
        (*choices, "none") if choices and optional else choices,
        path,
    )


def _without_none(hint: ast.expr | None) -> tuple[ast.expr | None, bool]:
    """``X`` of ``X | None`` and ``Optional[X]``, and whether that is what it was."""
    if isinstance(hint, ast.BinOp) and isinstance(hint.op, ast.BitOr):
        if isinstance(hint.right, ast.Constant) and hint.right.value is None:
            return hint.left, True
        if isinstance(hint.left, ast.Constant) and hint.left.value is None:
            return hint.right, True
    if isinstance(hint, ast.Subscript) and _last_name(hint) == "Optional":
        return hint.slice, True
    return hint, False


def _last_name(hint: ast.expr | None) -> str:
    if isinstance(hint, ast.Subscript):
        hint = hint.value
    if isinstance(hint, ast.Attribute):
        return hint.attr
    return hint.id if isinstance(hint, ast.Name) else ""
