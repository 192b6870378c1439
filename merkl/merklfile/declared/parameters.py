"""The parameters of a target: what can be set on the command line, of which type.

It decides what ``params:`` means.  The invariant: a default is of its parameter's type and one of its choices, unless it
is a reference, whose value is known later.
"""

import keyword
import pathlib
from typing import Any, Final, Literal

import yaml

from merkl.dataclass import dataclass
from merkl.errors import did_you_mean
from merkl.merklfile.declared import options as known
from merkl.merklfile.declared.document import Span
from merkl.merklfile.declared.expression import Constant, Value
from merkl.merklfile.declared.reading import Entry, Reader, is_nothing
from merkl.merklfile.declared.values import read_value

TYPES: Final[dict[str, Any]] = {
    "int": int, "float": float, "str": str, "bool": bool, "path": pathlib.Path, "list": list[str],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ParameterForm:
    """One parameter.  ``hint`` is its type, None for that of its default; ``default`` is None if it must be given."""

    name: str
    span: Span
    hint: Any
    default: Value | None


def read_parameters(reader: Reader, node: yaml.Node) -> tuple[ParameterForm, ...]:
    """Read ``params:``: a name with its default, or with ``{type:, default:, choices:}``."""
    if isinstance(node, yaml.SequenceNode):
        reader.fail(node, "params: is a mapping of names, not a list", "write params: {size: 128}")
    found = [
        _parameter(reader, each) for each in reader.entries(node, "params:", "params: {size: 128}").values()
    ]
    return tuple(sorted(found, key=lambda each: each.default is not None))  # As Python wants them.


def _parameter(reader: Reader, entry: Entry) -> ParameterForm:
    name, span = _name(reader, entry), reader.span(entry.key)
    if not isinstance(entry.value, yaml.MappingNode):
        return ParameterForm(name, span, None, read_value(reader, entry.value))
    reader.refuse_braces(entry.value)
    what = f"the parameter {name}"
    found = reader.options(entry.value, what, known.PARAMETER, {}, "{type: int, default: 3}")
    kind: Any = _type(reader, found["type"].value) if "type" in found else None
    if "choices" in found:
        kind = _choices(reader, found["choices"].value, kind)
    if "default" not in found:
        return ParameterForm(name, span, str if kind is None else kind, None)
    node = found["default"].value
    default = read_value(reader, node)
    if kind is not None and isinstance(default, Constant):
        if is_nothing(node):
            kind = kind | None
        elif not _fits(default.value, kind):
            message = f"the default {reader.shown(node)} of {name} is not {_wanted(kind)}"
            reader.fail(node, message, "change the default, or the type")
    return ParameterForm(name, span, kind, default)


def _name(reader: Reader, entry: Entry) -> str:
    name = entry.name
    if not name.isidentifier() or keyword.iskeyword(name):
        near = f"{name}_" if keyword.iskeyword(name) else name.replace("-", "_")
        hint = f"write {near}" if near.isidentifier() else "a name is letters, digits and _"
        reader.fail(entry.key, f"{name!r} cannot be the name of a parameter", hint)
    return name


def _type(reader: Reader, node: yaml.Node) -> Any:
    """A type by its name, or a list of one in brackets."""
    if isinstance(node, yaml.SequenceNode) and len(node.value) == 1:
        inner: Any = _type(reader, node.value[0])
        return list[inner]
    written = str(node.value) if isinstance(node, yaml.ScalarNode) else ""
    if written not in TYPES:
        hint = did_you_mean(written, TYPES, f"there are {', '.join(TYPES)}, and lists such as [int]")
        reader.fail(node, f"there is no type {reader.shown(node)}", hint)
    return TYPES[written]


def _choices(reader: Reader, node: yaml.Node, kind: Any) -> Any:
    """The type of what is one of some values, or of a list of these."""
    is_list = getattr(kind, "__origin__", None) is list
    member = kind.__args__[0] if is_list else kind
    values = []
    for each in reader.items(node, "choices:", "choices: [fast, best]"):
        value = reader.scalar(each) if isinstance(each, yaml.ScalarNode) else None
        if value is None or isinstance(value, float):
            reader.fail(
                each, "a choice is text, a whole number or true or false", 'in quotes it is text: "0.5"'
            )
        if member is not None and not _fits(value, member):
            reader.fail(each, f"the choice {value!r} is not {_wanted(member)}", "change it, or the type")
        values.append(value)
    if not values:
        reader.fail(node, "choices: is empty", "choices: [fast, best]")
    one: Any = Literal[tuple(values)]
    return list[one] if is_list else one


def _fits(value: object, kind: Any) -> bool:
    if getattr(kind, "__origin__", None) is Literal:
        return any(value == each and type(value) is type(each) for each in kind.__args__)
    if kind is pathlib.Path:
        return isinstance(value, str)
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind


def _wanted(kind: Any) -> str:
    origin = getattr(kind, "__origin__", None)
    if origin is Literal:
        return f"one of {', '.join(map(str, kind.__args__))}"
    name = next((name for name, each in TYPES.items() if each == kind), "list" if origin is list else "")
    return f"of type {name}"
