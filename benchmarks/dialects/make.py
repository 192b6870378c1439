"""GNU Make and Ninja: each target spelled out, as generators write them, which both read fastest."""

from collections.abc import Mapping

from benchmarks.dialects.dialect import Dialect
from benchmarks.graph import Graph


def _makefile(graph: Graph) -> Mapping[str, str]:
    lines = ["MAKEFLAGS += -rR"]
    if graph.bash:
        lines += ["SHELL := /bin/bash", ".SHELLFLAGS := --noprofile --norc -c"]
    lines.append("all: " + " ".join(target.output for target in graph.targets))
    for target in graph.targets:
        lines += [f"{target.output}: {' '.join(target.inputs)}", "\t" + target.command.replace("$", "$$")]
    return {"Makefile": "\n".join(lines) + "\n"}


def _ninja(graph: Graph) -> Mapping[str, str]:
    lines = []
    for rule in graph.rules:
        command = rule.command.format(inputs="$in", output="$out", stem="$stem")
        if graph.bash:
            command = f"bash --noprofile --norc -c '{command}'"
        lines += [f"rule {rule.name}", f"  command = {command}"]
    for target in graph.targets:
        lines.append(f"build {target.output}: {target.rule.name} {' '.join(target.inputs)}".rstrip())
        if "{stem}" in target.rule.command:
            lines.append(f"  stem = {target.stem}")
    return {"build.ninja": "\n".join(lines) + "\n"}


MAKE = Dialect("make", "make", ("-j2",), _makefile, r"^(?!make).", quick=True)
NINJA = Dialect(
    "ninja", "ninja", ("-j2",), _ninja, r"^\[\d+/\d+\] ", state=(".ninja_log", ".ninja_deps"), quick=True
)
