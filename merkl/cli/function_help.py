"""The help of a function: how it is called on the command line, and what its docstring says.

It decides the layout, which is click's, and how a type is named.
"""

import collections.abc
import datetime
import decimal
import enum
import os
import pathlib
import types
import typing
import uuid
from collections.abc import Sequence
from typing import Any, Final

import click

from merkl.merklfile.conversion import collection
from merkl.merklfile.functions import Function
from merkl.merklfile.taken import Taken
from merkl.merklfile.targets import REQUIRED
from merkl.report.words import harmless
from merkl.workspace.refs import DirRef, FileRef

_KINDS: Final[dict[object, str]] = {
    int: "INT", float: "FLOAT", complex: "NUMBER", decimal.Decimal: "NUMBER", str: "TEXT", bytes: "TEXT", Any: "TEXT", object: "TEXT",
    bool: "true|false", dict: "JSON", collections.abc.Mapping: "JSON", FileRef: "FILE", DirRef: "DIRECTORY", datetime.date: "DATE",
    datetime.datetime: "DATE[TTIME]", datetime.time: "TIME", uuid.UUID: "UUID",
}  # fmt: skip


def help_of(
    context: click.Context, command: str, function: Function, about: str, taken: Sequence[Taken]
) -> str:
    """The text of ``merkl run module.function --help``."""
    formatter = context.make_formatter()
    formatter.write_usage(f"merkl {command} {function.name}", _usage(taken))
    if about:
        formatter.write_paragraph()
        with formatter.indentation():
            for index, paragraph in enumerate(harmless(about).split("\n\n")):
                if index:
                    formatter.write_paragraph()
                formatter.write_text(" ".join(paragraph.split()) if _flows(paragraph) else f"\b\n{paragraph}")
    arguments = [(_place(each), _about(each)) for each in taken if each.placed]
    options = [(_option(each), _about(each)) for each in taken if not each.placed]
    for title, rows in (("Arguments", arguments), ("Options", options)):
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)
    formatter.write_paragraph()
    formatter.write_text(
        f"Each may be written NAME=VALUE too. Options of merkl itself are those of merkl {command} --help."
    )
    return formatter.getvalue().rstrip("\n")


def _flows(paragraph: str) -> bool:
    """Whether a paragraph is prose, whose lines may be filled, and no list or example."""
    return not any(line[:1] in (" ", "-", "*", ">") for line in paragraph.split("\n"))


def _usage(taken: Sequence[Taken]) -> str:
    words = ["[OPTIONS]"] if any(not each.placed for each in taken) else []
    needed = [each for each in taken if each.required and not each.placed]
    words += [_option(each) if each.flag else f"{each.option} {each.word}" for each in needed]
    words += [
        f"{each.word}…" if each.several and each.required else _rest(each) for each in taken if each.placed
    ]
    return " ".join(words)


def _rest(each: Taken) -> str:
    return each.word if each.required else f"[{each.word}…]"


def _place(each: Taken) -> str:
    return f"{each.word} {named(each.hint)}"


def _option(each: Taken) -> str:
    if each.flag:
        return f"{each.option} / --no-{each.option[2:]}"
    if not each.required and each.default is REQUIRED:
        return "--NAME VALUE"
    return f"{each.option} {named(each.hint)}"


def _about(each: Taken) -> str:
    words = [harmless(each.about)] if each.about else []
    if each.required:
        words.append("[required]")
    elif each.default is not REQUIRED:
        words.append(f"[default: {as_typed(each.default)}]")
    return "  ".join(words)


def as_typed(value: object) -> str:
    """A default as one would type it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(as_typed(each) for each in value) or "nothing"
    if value is None:
        return "none"
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, dict):
        import json

        return json.dumps(value, default=repr)
    return '""' if value == "" else str(value)


def named(hint: object) -> str:
    """A type for people."""
    while isinstance(hint, typing.NewType):
        hint = hint.__supertype__
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return named(inner[0])
    if origin is typing.Literal:
        return f"[{'|'.join(str(each) for each in inner)}]"
    several = collection(hint)
    if several is not None:
        kind, members = several
        if kind is tuple and members and members[-1] is not ...:
            return ",".join(named(each) for each in members)
        return f"{named(members[0]) if members else 'TEXT'},…"
    if origin in (typing.Union, types.UnionType):
        return "|".join(named(each) for each in inner if each is not type(None))
    kind = origin or hint
    if kind in _KINDS:
        return _KINDS[kind]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return f"[{'|'.join(kind.__members__)}]"
    if isinstance(kind, type) and issubclass(kind, pathlib.PurePath):
        return "PATH"
    return str(getattr(kind, "__name__", kind)).upper()
