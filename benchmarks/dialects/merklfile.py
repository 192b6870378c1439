"""merkl: a Merklfile as a user writes it, a loop over ``files()``."""

from collections.abc import Mapping

from benchmarks.dialects.dialect import Dialect, in_python, name_of
from benchmarks.graph import SOURCE, Graph, Rule


def _write(graph: Graph) -> Mapping[str, str]:
    sources = any(SOURCE in rule.inputs for rule in graph.rules)
    lines = ["from pathlib import Path", ""] if sources else []
    lines += [f"from merkl import bash_task, {'files, ' * sources}target", ""]
    lines += [_task(rule) for rule in graph.rules]
    lines += ["", "", "@target(default=True)", "def all():"]
    if sources:
        lines += ['    for source in files("src/*/*.txt"):', "        path = Path(source)"]
        lines += ["        folder, stem = path.parent.name, path.stem"]
    else:
        lines += [f"    for n in range({graph.count}):"]
        lines += ['        folder, stem = f"{n // 1000:03d}", f"{n:06d}"']
    made: dict[str, str] = {}
    for rule in graph.rules:
        arguments = [made[i] if i in made else "source" if i == SOURCE else in_python(i) for i in rule.inputs]
        arguments += ["stem"] * ("{stem}" in rule.command)
        call = f"{rule.name}({', '.join(arguments)})"
        if any(rule.output in other.inputs for other in graph.rules):
            made[rule.output] = name_of(rule.output)
            lines.append(f"        {name_of(rule.output)} = {call}")
            call = name_of(rule.output)
        lines.append(f"        {call} > {in_python(rule.output)}")
    return {"Merklfile.py": "\n".join(lines) + "\n"}


def _task(rule: Rule) -> str:
    inputs = " ".join(f"{{file_arg('{name_of(i)}', '{_suffix(i)}')}}" for i in rule.inputs)
    output = f"{{out_file_arg('{name_of(rule.output)}', '{_suffix(rule.output)}')}}"
    command = rule.command.format(inputs=inputs, output=output, stem="{arg('stem')}")
    return f'{rule.name} = bash_task("{command}")'


def _suffix(pattern: str) -> str:
    return "." + pattern.rpartition(".")[2]


MERKL = Dialect(
    "merkl", "merkl", ("build", "-j2"), _write, r"^\[\d+/\d+\] ",
    state=(".merkl", ".gitignore"), quick=True, seconds_each=2.5e-3,
)  # fmt: skip
