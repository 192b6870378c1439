"""Reading a target into its form: its calls, its steps, and what they are repeated for.

It decides what may stand together.  The invariant: a form does one thing: it makes one call, or several steps, or stands
for other targets.
"""

from collections.abc import Mapping
from typing import Final

import yaml

from merkl.merklfile.declared import options as known
from merkl.merklfile.declared.document import Span
from merkl.merklfile.declared.expression import Call, Constant, Name, Several, Value
from merkl.merklfile.declared.form import CallForm, Rows, TargetForm, TaskForm
from merkl.merklfile.declared.parameters import read_parameters
from merkl.merklfile.declared.read_task import task_of
from merkl.merklfile.declared.reading import Entry, Reader, is_nothing
from merkl.merklfile.declared.values import read_value

_FLAGS: Final = ("default", "always", "sidecar")
_BODIES: Final = ("call", "run", "argv", "steps", "targets")


def read_target(reader: Reader, entry: Entry) -> TargetForm:
    """Read one target."""
    what = f"the target {entry.name}"
    example = f"{entry.name}: {{call: task}}"
    found = reader.options(entry.value, what, known.TARGET, known.FOREIGN_CALL, example)
    body = _one_body(reader, entry, found, _BODIES)
    flags: dict[str, bool] = {
        name: reader.flag(found[name].value, f"{name}:") for name in _FLAGS if name in found
    }
    call = _call(reader, entry, found) if body in ("call", *known.COMMAND) else None
    if call is None:
        _refuse(reader, found, (*known.TASK, "with", "to"), body)
    rows = call.rows if call is not None else _rows(reader, found)
    return TargetForm(
        name=entry.name,
        span=reader.span(entry.key),
        doc=reader.text(found["doc"].value, "doc:") if "doc" in found else "",
        parameters=read_parameters(reader, found["params"].value) if "params" in found else (),
        flags=flags,
        after=_after(reader, found["after"].value) if "after" in found else (),
        rows=rows,
        call=call,
        steps=_steps(reader, found["steps"].value) if "steps" in found else (),
        targets=_targets(reader, found["targets"].value) if "targets" in found else (),
    )


def _one_body(reader: Reader, entry: Entry, found: Mapping[str, Entry], bodies: tuple[str, ...]) -> str:
    given = [name for name in bodies if name in found]
    if len(given) > 1:
        message = f"{given[0]}: and {given[1]}: cannot both be what {entry.name} does"
        reader.fail(found[given[1]].key, message, "several calls are steps:, each with its own call: or run:")
    if not given and "after" not in found:
        message = f"{entry.name} says nothing to do"
        reader.fail(entry.key, message, f"give it one of {', '.join(f'{name}:' for name in bodies)}")
    return given[0] if given else ""


def _refuse(reader: Reader, found: Mapping[str, Entry], names: tuple[str, ...], body: str) -> None:
    for name in names:
        if name in found:
            hint = "write it in one of the steps" if body == "steps" else "it belongs beside call: or run:"
            reader.fail(found[name].key, f"{name}: has no meaning here, where nothing is called", hint)


def _after(reader: Reader, node: yaml.Node) -> tuple[tuple[str, Span], ...]:
    single = isinstance(node, yaml.ScalarNode) and not is_nothing(node)
    members = [node] if single else reader.items(node, "after:", "after: [build]")
    return tuple((reader.text(each, "the name of a target"), reader.span(each)) for each in members)


def _targets(reader: Reader, node: yaml.Node) -> tuple[Value, ...]:
    found = []
    for each in reader.items(node, "targets:", "targets: [app, docs]"):
        reader.text(each, "the name of a target")
        value = read_value(reader, each)
        is_name = isinstance(value, Constant)
        found.append(Call(value.span, "target", (value,), ()) if is_name else value)
    return tuple(found)


def _steps(reader: Reader, node: yaml.Node) -> tuple[CallForm, ...]:
    """Steps by name, or a list; the name of one in a list is its ``id``, or its task's."""
    if isinstance(node, yaml.MappingNode):
        entries = list(reader.entries(node, "steps:", "steps: {first: {call: task}}").values())
        found = [_step(reader, entry, f"the step {entry.name}", known.STEP[1:]) for entry in entries]
    else:
        members = reader.items(node, "steps:", "steps: [{call: task}]")
        found = [_step(reader, _entry(reader, each), "a step", known.STEP) for each in members]
    if not found:
        reader.fail(node, "steps: is empty", "steps: [{call: task}]")
    return tuple(found)


def _entry(reader: Reader, node: yaml.Node) -> Entry:
    """A member of a list of steps, with its ``id`` for a name, or an empty one."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    for key, value in pairs:
        if key.value == "id" and isinstance(value, yaml.ScalarNode):
            reader.text(value, "id:")
            return Entry(value, node)
    return Entry(yaml.ScalarNode("tag:yaml.org,2002:str", "", node.start_mark, node.end_mark), node)


def _step(reader: Reader, entry: Entry, what: str, names: tuple[str, ...]) -> CallForm:
    found = reader.options(entry.value, what, names, known.FOREIGN_CALL, "{call: task}")
    _one_body(reader, entry, found, ("call", "run", "argv"))
    sidecar = reader.flag(found["sidecar"].value, "sidecar:") if "sidecar" in found else False
    if sidecar and "to" not in found:
        reader.fail(
            found["sidecar"].key, "a sidecar stands beside a file, and nothing is placed", "to: build/file"
        )
    return _call(reader, entry, found, sidecar=sidecar)


def _call(reader: Reader, entry: Entry, found: Mapping[str, Entry], *, sidecar: bool = False) -> CallForm:
    task: str | TaskForm
    if "call" in found:
        task = reader.text(found["call"].value, "call:")
        span = reader.span(found["call"].value)
        for name in known.TASK:
            if name in found:
                hint = f"write it in the task {task}, under tasks:"
                reader.fail(found[name].key, f"{name}: is an option of a task", hint)
    else:
        task = task_of(reader, entry, found)
        span = reader.span(next(found[name].key for name in known.COMMAND if name in found))
    arguments = reader.entries(found["with"].value, "with:", "with: {size: 128}") if "with" in found else {}
    return CallForm(
        id=entry.name or (task if isinstance(task, str) else ""),
        span=span,
        task=task,
        arguments={name: read_value(reader, each.value) for name, each in arguments.items()},
        keys={name: reader.span(each.key) for name, each in arguments.items()},
        to=_to(reader, found["to"].value) if "to" in found else None,
        rows=_rows(reader, found),
        sidecar=sidecar,
    )


def _to(reader: Reader, node: yaml.Node) -> Value | dict[str, Value]:
    if isinstance(node, yaml.MappingNode):
        reader.refuse_braces(node)
        entries = reader.entries(node, "to:", "to: {output: build/file}")
        for name, each in entries.items():
            reader.text(each.value, f"the place of {name}")
        return {name: read_value(reader, each.value) for name, each in entries.items()}
    reader.text(node, "to:")
    return read_value(reader, node)


# ---- rows ----------------------------------------------------------------------------------------------------------


def _rows(reader: Reader, found: Mapping[str, Entry]) -> Rows:
    names: dict[str, Span] = {}
    products: tuple[tuple[str, Value], ...] = ()
    zipped: tuple[tuple[str, Value], ...] = ()
    listed: tuple[tuple[tuple[str, Value], ...], ...] = ()
    if "each" in found:
        node = found["each"].value
        if isinstance(node, yaml.SequenceNode):
            listed = tuple(_row(reader, each, names) for each in node.value)
            if len({tuple(name for name, _ in sorted(row, key=lambda pair: pair[0])) for row in listed}) > 1:
                reader.fail(node, "the rows of each: have different names", "give every row the same names")
        else:
            products = _lists(reader, node, "each", names)
    if "zip" in found:
        zipped = _lists(reader, found["zip"].value, "zip", names)
    span = reader.span(found["each" if "each" in found else "zip"].key) if names else Span(0, 1)
    return Rows(products, zipped, listed, span, names)


def _row(reader: Reader, node: yaml.Node, names: dict[str, Span]) -> tuple[tuple[str, Value], ...]:
    entries = reader.entries(node, "a row of each:", "{image: a.png, size: 64}")
    for entry in entries.values():
        names.setdefault(read_name(reader, entry), reader.span(entry.key))
    return tuple((name, read_value(reader, entry.value)) for name, entry in entries.items())


def _lists(
    reader: Reader, node: yaml.Node, what: str, names: dict[str, Span]
) -> tuple[tuple[str, Value], ...]:
    found = []
    for name, entry in reader.entries(node, f"{what}:", f'{what}: {{image: files("img/*.png")}}').items():
        if read_name(reader, entry) in names:
            reader.fail(entry.key, f"{name} is given by each: already", "take another name")
        names[name] = reader.span(entry.key)
        value = read_value(reader, entry.value)
        if not isinstance(value, (Name, Call, Several)):
            written = value.value if isinstance(value, Constant) else "…"
            path = isinstance(written, str) and any(char in written for char in "*?/.")
            hint = f'{name}: files("{written}")' if path else f"{name}: [{written}]"
            reader.fail(entry.value, f"{name} goes through a list, and this is one value", f"write {hint}")
        found.append((name, value))
    if not found:
        reader.fail(node, f"{what}: is empty", f'{what}: {{image: files("img/*.png")}}')
    return tuple(found)


def read_name(reader: Reader, entry: Entry) -> str:
    """A name that references and arguments can use."""
    if not entry.name.isidentifier():
        near = "".join(char if f"a{char}".isidentifier() else "_" for char in entry.name)
        hint = f"write {near}" if near.isidentifier() else "begin with a letter"
        reader.fail(entry.key, f"{entry.name!r} is no name: letters, digits and _", hint)
    return entry.name
