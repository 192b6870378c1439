"""Reading a whole Merklfile in YAML into its form.

It decides what stands at the top of the file.  The invariant: a form that is returned has only known names, each with a
value of its kind.
"""

from collections.abc import Mapping

import yaml

from merkl.merklfile.declared import options as known
from merkl.merklfile.declared.document import Span
from merkl.merklfile.declared.form import FileForm
from merkl.merklfile.declared.read_target import read_name, read_target
from merkl.merklfile.declared.read_task import read_task
from merkl.merklfile.declared.reading import Entry, Reader, is_nothing
from merkl.merklfile.declared.values import read_value


def read_file(reader: Reader, root: yaml.Node) -> FileForm:
    """Read a whole file.

    Raises:
        MerklfileError: something in it is wrong, with line and column.
    """
    every = reader.entries(root, "a Merklfile", "tasks: and targets:")
    own = {name: entry for name, entry in every.items() if not name.startswith("x-")}  # x-… is for anchors.
    reader.refuse_unknown(own, "a Merklfile", known.FILE, known.FOREIGN_FILE)
    nodes = {name: entry.value for name, entry in own.items()}
    values = _section(reader, nodes, "vars", 'vars: {sources: files("src/*.c")}')
    return FileForm(
        includes=tuple(_includes(reader, nodes["include"])) if "include" in nodes else (),
        values=tuple((read_name(reader, each), read_value(reader, each.value)) for each in values),
        tasks=tuple(
            read_task(reader, each) for each in _section(reader, nodes, "tasks", 'copy: {run: "cp …"}')
        ),
        targets=tuple(
            read_target(reader, each) for each in _section(reader, nodes, "targets", "all: {call: copy}")
        ),
    )


def _section(reader: Reader, nodes: Mapping[str, yaml.Node], name: str, example: str) -> list[Entry]:
    return list(reader.entries(nodes[name], f"{name}:", example).values()) if name in nodes else []


def _includes(reader: Reader, node: yaml.Node) -> list[tuple[str | None, str, Span]]:
    if isinstance(node, yaml.MappingNode):
        return [
            (name, reader.text(entry.value, "the path of an included file"), reader.span(entry.value))
            for name, entry in reader.entries(node, "include:", "include: [lib]").items()
        ]
    single = isinstance(node, yaml.ScalarNode) and not is_nothing(node)
    members = [node] if single else reader.items(node, "include:", "include: [lib]")
    return [(None, reader.text(each, "the path of an included file"), reader.span(each)) for each in members]
