"""Reading a bash task into its form.

It decides what is written for each option.  The invariant: every option of a form is of its kind.
"""

from collections.abc import Mapping
from typing import Any, Final

import yaml

from merkl.merklfile.declared import options as known
from merkl.merklfile.declared.expression import Several, Table, Value
from merkl.merklfile.declared.form import TaskForm
from merkl.merklfile.declared.reading import Entry, Reader, is_nothing
from merkl.merklfile.declared.values import read_value

_EXAMPLE: Final = "run: \"sort {file_arg('text')}\""


def read_task(reader: Reader, entry: Entry) -> TaskForm:
    """Read a task of the section ``tasks``; one that is text is its command."""
    node = entry.value
    if isinstance(node, yaml.ScalarNode) and not is_nothing(node):
        command = reader.text(node, f"the command of {entry.name}")
        return TaskForm(entry.name, reader.span(entry.key), {"template": command}, {}, (node,), {})
    what = f"the task {entry.name}"
    found = reader.options(node, what, known.TASK, known.FOREIGN_TASK, f'{entry.name}: {{run: "…"}}')
    return task_of(reader, entry, found)


def task_of(reader: Reader, entry: Entry, found: Mapping[str, Entry]) -> TaskForm:
    """The task that options describe; others among them are passed over."""
    commands = [name for name in known.COMMAND if name in found]
    if len(commands) != 1:
        message = "run: and argv: are both given" if commands else f"the task {entry.name} has no command"
        reader.fail(entry.key, message, f"run: is a script, argv: a list of words: {_EXAMPLE}")
    options: dict[str, Any] = {}
    values: dict[str, Value] = {}
    texts: list[yaml.ScalarNode] = []
    for name, each in found.items():
        if name == "argv":
            options[name] = _words(reader, each.value, texts)
        elif name in ("run", "stdout"):
            options["template" if name == "run" else name] = _template(reader, name, each.value, texts)
        elif name in known.TASK_OPTIONS:
            made = _option(reader, name, each.value)
            (values if isinstance(made, (Several, Table)) else options)[name] = made
    places = {name: reader.span(each.value) for name, each in found.items()}
    return TaskForm(entry.name, reader.span(entry.key), options, values, tuple(texts), places)


def _template(reader: Reader, name: str, node: yaml.Node, texts: list[yaml.ScalarNode]) -> str:
    text = reader.text(node, f"{name}:")
    if isinstance(node, yaml.ScalarNode):
        texts.append(node)
    if not text.strip():
        reader.fail(node, f"{name}: is empty", f"write {_EXAMPLE}" if name == "run" else "take it out")
    return text


def _words(reader: Reader, node: yaml.Node, texts: list[yaml.ScalarNode]) -> list[str]:
    members = reader.items(node, "argv:", 'argv: ["sort", "{file_arg(\'text\')}"]')
    texts += [each for each in members if isinstance(each, yaml.ScalarNode)]
    return [reader.text(each, "a word of argv:") for each in members]


def _option(reader: Reader, name: str, node: yaml.Node) -> Any:
    what = f"{name}:"
    match known.TASK_OPTIONS[name]:
        case "text":
            return reader.text(node, what)
        case "flag":
            return reader.flag(node, what)
        case "number":
            return reader.number(node, what)
        case "texts":
            return [
                reader.text(each, f"a member of {what}")
                for each in reader.items(node, what, f"{name}: [gcc]")
            ]
        case "codes" if isinstance(node, yaml.SequenceNode):
            return [reader.number(each, "an exit code") for each in node.value]
        case "codes":
            return reader.number(node, what)
        case "environment" if isinstance(node, yaml.SequenceNode):
            return [reader.text(each, "the name of a variable") for each in node.value]
        case "environment":
            entries = reader.entries(node, what, 'env: {LANG: "C"}, or env: [CC]').values()
            for entry in entries:
                reader.text(entry.value, f"the variable {entry.name}")
            return read_value(reader, node)
        case "amounts":
            entries = reader.entries(node, what, "resources: {cpu: 2, mem: 4 GB}").values()
            return {entry.name: _amount(reader, entry) for entry in entries}
        case "values":
            reader.items(node, what, 'deps: [file("table.csv")]')
            return read_value(reader, node)


def _amount(reader: Reader, entry: Entry) -> Any:
    if not isinstance(entry.value, yaml.ScalarNode):
        reader.fail(
            entry.value,
            f"resources: {entry.name} is an amount, not {reader.kind(entry.value)}",
            "write one number",
        )
    return reader.scalar(entry.value)
