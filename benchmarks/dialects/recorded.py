"""redun and DVC: tools that record what ran, one stage or job at a time."""

from collections.abc import Mapping

from benchmarks.dialects.dialect import (
    Dialect,
    command_in_python,
    in_python,
    loop_in_python,
)
from benchmarks.graph import Graph


def _workflow(graph: Graph) -> Mapping[str, str]:
    lines = ["import subprocess", "from pathlib import Path", "", "from redun import File, task", ""]
    lines += ['redun_namespace = "bench"', ""]
    for rule in graph.rules:
        names = [f"input_{n}" for n in range(len(rule.inputs))]
        command = command_in_python(rule).replace("' '.join(inputs)", "' '.join(i.path for i in inputs)")
        lines += ["", "@task()", f"def {rule.name}(out, stem, {', '.join(names)}):"]
        lines += [f"    inputs = [{', '.join(names)}]"]
        lines += [f'    subprocess.run(["{"bash" if graph.bash else "sh"}", "-c", {command}], check=True)']
        lines += ["    return File(out)", ""]
    lines += ["", "@task()", "def main():", "    made = []", *loop_in_python(graph, "    ")]
    outputs = {rule.output: rule.name for rule in graph.rules}
    for rule in graph.rules:
        given = [f"{outputs[i]}_made" if i in outputs else f"File({in_python(i)})" for i in rule.inputs]
        arguments = ", ".join([in_python(rule.output), "stem", *given])
        lines += [f"        {rule.name}_made = {rule.name}({arguments})"]
    lines += [f"        made.append({graph.rules[-1].name}_made)", "    return made", ""]
    return {"workflow.py": "\n".join(lines)}


def _stages(graph: Graph) -> Mapping[str, str]:
    lines = ["stages:"]
    for target in graph.targets:
        command = target.command.replace("'", "''")
        if graph.bash:
            command = f'bash --noprofile --norc -c "{command}"'
        lines += [f"  {target.rule.name}-{target.stem}:", f"    cmd: '{command}'"]
        if target.inputs:
            lines += ["    deps:", *(f"    - {path}" for path in target.inputs)]
        lines += ["    outs:", f"    - {target.output}"]
    return {"dvc.yaml": "\n".join(lines) + "\n"}


REDUN = Dialect(
    "redun", "redun", ("run", "workflow.py", "main"), _workflow,
    r"^\[redun\] Run +Job \w+: +bench\.(?!main)", "redun", state=(".redun",),
    most=100, most_of_all=1000, seconds_each=0.08, seconds_idle=0.015,
)  # fmt: skip
DVC = Dialect(
    "DVC", "dvc", ("repro",), _stages, r"^Running stage ", "dvc", begin=(("init", "-q", "--no-scm"), ("config", "core.analytics", "false")),
    state=("dvc.lock", ".dvc/cache", ".dvc/tmp"),
    most=100, most_of_all=1000, seconds_each=0.25, seconds_idle=0.02,
)  # fmt: skip
