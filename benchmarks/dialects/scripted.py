"""doit, SCons and Snakemake: a loop or a wildcard over the files that are there."""

from collections.abc import Mapping

from benchmarks.dialects.dialect import (
    Dialect,
    command_in_python,
    in_python,
    inputs_in_python,
    loop_in_python,
)
from benchmarks.graph import Graph


def _dodo(graph: Graph) -> Mapping[str, str]:
    lines = ["from pathlib import Path", ""]
    for rule in graph.rules:
        command = command_in_python(rule)
        if graph.bash:
            command = f'["bash", "--noprofile", "--norc", "-c", {command}]'
        lines += ["", f"def task_{rule.name}():", *loop_in_python(graph, "    ")]
        lines += [f"        inputs = {inputs_in_python(rule)}", f"        out = {in_python(rule.output)}"]
        lines += ["        yield {", '            "name": out,', f'            "actions": [{command}],']
        lines += ['            "file_dep": inputs,', '            "targets": [out],', "        }", ""]
    return {"dodo.py": "\n".join(lines)}


def _sconstruct(graph: Graph) -> Mapping[str, str]:
    shell = "SHELL='bash', " if graph.bash else ""
    lines = ["from pathlib import Path", "", f"env = Environment({shell}ENV={{'PATH': '/usr/bin:/bin'}})"]
    lines += loop_in_python(graph)
    for rule in graph.rules:
        command = rule.command.format(inputs="$SOURCES", output="$TARGET", stem="{stem}")
        inputs = inputs_in_python(rule)
        lines.append(f'    env.Command({in_python(rule.output)}, {inputs}, f"{command}")')
    return {"SConstruct": "\n".join(lines) + "\n"}


def _snakefile(graph: Graph) -> Mapping[str, str]:
    lines = ["from pathlib import Path", "", "OUTPUTS = []", *loop_in_python(graph)]
    last = graph.rules[-1]
    lines += [f"    OUTPUTS.append({in_python(last.output)})", "", "rule all:", "    input: OUTPUTS", ""]
    if graph.bash:
        lines.insert(0, 'shell.executable("/bin/bash")')
    for rule in graph.rules:
        lines += [f"rule {rule.name}:"]
        if rule.inputs:
            lines.append(f"    input: {', '.join(_of_wildcards(pattern) for pattern in rule.inputs)}")
        command = rule.command.format(inputs="{input}", output="{output}", stem="{wildcards.stem}")
        lines += [f'    output: "{rule.output}"', f'    shell: "{command}"', ""]
    return {"Snakefile": "\n".join(lines)}


def _of_wildcards(pattern: str) -> str:
    if "{group}" not in pattern:
        return f'"{pattern}"'
    return "lambda w: f" + repr(pattern.replace("{folder}", "{w.folder}").replace("{group}", "{w.stem[:-1]}"))


DOIT = Dialect(
    "doit", "doit", ("-n2",), _dodo, r"^\.  ", "doit", state=(".doit.db",),
    most=10_000, most_of_all=100_000, seconds_each=2e-3, seconds_idle=8e-5,
)  # fmt: skip
SCONS = Dialect(
    "SCons", "scons", ("-Q", "-j2"), _sconstruct, r"^(?!scons:).", "scons",
    state=(".sconsign.dblite",), most=10_000, most_of_all=10_000, seconds_each=3e-3, seconds_idle=5e-4,
)  # fmt: skip
SNAKEMAKE = Dialect(
    "Snakemake", "snakemake", ("-j2",), _snakefile, r"^Finished jobid: \d+ \(Rule: (?!all\))", "snakemake",
    state=(".snakemake",), most=100, most_of_all=1000, seconds_each=0.03, seconds_idle=0.01,
)  # fmt: skip
