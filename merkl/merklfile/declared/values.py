"""Values: read from nodes of YAML, and computed.

It decides what a reference means: a name of the target's own first, then one of the file's ``vars``, then a target; and
which attributes a value has.

The invariant: an error points at the value that is wrong, or at the call that raised it.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, assert_never

import yaml

from merkl.dataclass import dataclass
from merkl.errors import did_you_mean
from merkl.merklfile.declared.document import Document, Span
from merkl.merklfile.declared.expression import (
    Call,
    Constant,
    Joined,
    Name,
    Several,
    Table,
    Value,
    parse_value,
)
from merkl.merklfile.declared.places import on_behalf
from merkl.merklfile.declared.reading import Reader
from merkl.merklfile.inputs import file, files
from merkl.merklfile.parameters import params
from merkl.nodes import Future

PATH_ATTRIBUTES: Final = ("name", "stem", "suffix", "ext", "parent")


def read_value(reader: Reader, node: yaml.Node, around: tuple[int, ...] = ()) -> Value:
    """What a node says: a plain value, a reference, a call, or a list or mapping of these.

    Raises:
        MerklfileError: it says nothing clear.
    """
    span = reader.span(node)
    if id(node) in around:
        reader.fail(node, "this value holds itself", "take the * out of it")
    if isinstance(node, yaml.ScalarNode):
        value = reader.scalar(node)
        if isinstance(value, str):
            return parse_value(value, reader.locate(node), reader.document.error)
        return Constant(span, value)
    around = (*around, id(node))
    if isinstance(node, yaml.SequenceNode):
        return Several(span, tuple(read_value(reader, member, around) for member in node.value))
    reader.refuse_braces(node)
    entries = reader.entries(node, "this", "name: value")
    return Table(
        span, tuple((name, read_value(reader, entry.value, around)) for name, entry in entries.items())
    )


@dataclass(frozen=True, slots=True)
class Environment:
    """What references stand for in one place.

    ``names`` are values by name; ``target`` finds a target by name, or gives None; ``where`` is the target that the place
    belongs to, for messages.
    """

    document: Document
    names: Mapping[str, Any]
    target: Callable[[str], Callable[..., Any] | None]
    where: str

    def fail(self, span: Span, message: str, hint: str = "") -> NoReturn:
        """Refuse what is there."""
        raise self.document.error(span, message, hint)

    def run(self, span: Span, action: Callable[[], Any]) -> Any:
        """Do something on behalf of a stretch of the document."""
        return on_behalf(self.document, span, self.where, action)


def evaluate(value: Value, env: Environment) -> Any:
    """Compute a value.

    Raises:
        MerklError: a reference is unknown, or a call failed.
    """
    match value:
        case Constant(value=plain):
            return plain
        case Name(span=span, name=name, attributes=attributes):
            return _attributes(_named(span, name, env), attributes, span, env)
        case Call(span=span, attributes=attributes):
            return _attributes(_called(value, env), attributes, span, env)
        case Joined(parts=parts):
            return "".join(_as_text(evaluate(part, env), part.span, env) for part in parts)
        case Several(items=items):
            return [each for item in items for each in _members(evaluate(item, env))]
        case Table(items=pairs):
            return {name: evaluate(item, env) for name, item in pairs}
        case other:
            assert_never(other)


def _members(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _named(span: Span, name: str, env: Environment) -> Any:
    if name in env.names:
        return env.names[name]
    found = env.target(name)
    if found is None:
        hint = did_you_mean(name, env.names, f"a target of another file is written target('{name}')")
        env.fail(span, f"there is no {name!r} here", hint)
    return env.run(span, found)


def _called(call: Call, env: Environment) -> Any:
    args = [evaluate(each, env) for each in call.args]
    kwargs = {name: evaluate(each, env) for name, each in call.kwargs}
    if call.function == "target":
        name = args.pop(0) if args else None
        found = env.target(name) if isinstance(name, str) else None
        if found is None:
            env.fail(call.span, f"there is no target {name!r}", "`merkl list` shows the targets")
        return env.run(call.span, lambda: found(*args, **kwargs))
    function: Callable[..., Any] = _FUNCTIONS[call.function]
    return env.run(call.span, lambda: function(*args, **kwargs))


_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {"file": file, "files": files, "params": params}


def _as_text(value: object, span: Span, env: Environment) -> str:
    """A value as part of a text; only what has one obvious spelling can be one."""
    if isinstance(value, (bool, list, tuple, dict, type(None))) or not isinstance(
        value, (str, int, float, os.PathLike)
    ):
        kind = (
            "the result of a task, known only when it has run" if isinstance(value, Future) else repr(value)
        )
        env.fail(span, f"this is {kind:.60}, and cannot be a part of a text", "let the reference stand alone")
    return os.fsdecode(value) if isinstance(value, os.PathLike) else str(value)


# ---- attributes ----------------------------------------------------------------------------------------------------


def _attributes(value: Any, names: tuple[str, ...], span: Span, env: Environment) -> Any:
    for name in names:
        value = _attribute(value, name, span, env)
    return value


def _attribute(value: Any, name: str, span: Span, env: Environment) -> Any:
    """An entry of a mapping, a part of a path, or of a list these of its members."""
    if isinstance(value, dict):
        if name in value:
            return value[name]
        env.fail(span, f"there is no {name!r} in it", did_you_mean(name, map(str, value), _there_are(value)))
    if isinstance(value, (list, tuple)):
        return [_attribute(each, name, span, env) for each in value]
    known: tuple[str, ...] = ()
    if isinstance(value, Future):
        filename = value.node.output(value.output).filename
        known, path = (PATH_ATTRIBUTES[:-1], filename) if filename else ((), "")
    elif isinstance(value, (str, os.PathLike)):
        known, path = PATH_ATTRIBUTES, os.fsdecode(value)
    if name not in known:
        shown = repr(value) if isinstance(value, Future) else repr(str(value))
        what = f"{shown:.60} has no attribute {name!r}"
        env.fail(span, what, did_you_mean(name, known, f"a path has {', '.join(PATH_ATTRIBUTES)}"))
    return _part(path, name)


def _there_are(value: Mapping[Any, Any]) -> str:
    return f"there are {', '.join(map(str, value))}" if value else "it is empty"


def _part(path: str, name: str) -> str:
    stem, suffix = os.path.splitext(os.path.basename(path))
    parts = {"name": stem + suffix, "stem": stem, "suffix": suffix, "ext": suffix}
    return parts[name] if name in parts else os.path.dirname(path) or "."
