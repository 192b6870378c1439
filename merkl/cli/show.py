"""``merkl show``: what is known of a target's tasks.

It decides how a task is laid out.
"""

import json
import os
import sys
from typing import Any

import click

from merkl.bash.failure import command_text
from merkl.bash.task import BashCall
from merkl.cli.either import OfEither, asked_either
from merkl.cli.opening import Asked, paint_of, tell
from merkl.cli.options import options_of, shared, words_of
from merkl.digest import Digest
from merkl.engine.contained import NotThere
from merkl.engine.explain import describe, discovered
from merkl.engine.judge import Judge
from merkl.engine.request import plan
from merkl.engine.step import State
from merkl.engine.where import elsewhere
from merkl.errors import MerklError
from merkl.execute.workplace import Workplace
from merkl.nodes import Artifact, Node, inside_of
from merkl.python.batch import said_of
from merkl.report.color import Paint
from merkl.report.words import harmless, one_line, size
from merkl.resources import LOCAL


@click.command(cls=OfEither, short_help="Show a target's command, inputs, outputs and key.")
@click.argument("words", nargs=-1, metavar="[TARGET…|MODULE.FUNCTION…] [NAME=VALUE…]")
@shared("json sets")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...]) -> int:
    """Show the tasks of TARGETs or functions: the command, inputs, headers found, outputs and their places, the key and what
    is in it.

    A path as TARGET shows the one task that makes it.  This loads what is named, the Merklfile or a module, and so runs
    its code.
    """
    options = options_of(context)
    with asked_either(context, options, words_of(context, words)) as it:
        judge = plan(it.project, it.chosen.selection)
        names: dict[Any, str] = it.labels()
        shown = [ShownTask(node, it, judge, names) for node in it.chosen.own]
        if options.json:
            sys.stdout.write(
                json.dumps({"version": 1, "tasks": [task.as_object() for task in shown]}, indent=2) + "\n"
            )
        else:
            paint = paint_of(options, sys.stdout)
            sys.stdout.write("\n".join("\n".join(task.lines(paint)) + "\n" for task in shown))
        tell(options, it.project.take_notes())
    return 0


class ShownTask:
    """One node, laid out."""

    def __init__(self, node: Node, it: Asked, judge: Judge, names: dict[Any, str]) -> None:
        self.node = node
        self.label = names[node.key]
        self.names = names
        self.root = it.project.root
        config, own = it.project.config, node.call.target
        # A name that nobody describes is an error where it would run, and here only to be seen.
        self.target = own if own not in (*config.executors, "", LOCAL) else elsewhere(config, node)
        step = judge.steps.get(node.key)
        self.state = "not needed" if step is None else describe(judge.verdict(step))
        declared = {source.path for source in node.sources}
        found = {} if step is None else discovered(step)
        self.found = {path: digest for path, digest in found.items() if path not in declared}
        self.content = "" if step is None or step.content is None else step.content.hex()
        known = step is not None and step.state is State.KNOWN
        self.made = dict(step.artifacts) if step is not None and known else {}
        self.places: dict[str, list[str]] = {}
        for placement in it.chosen.selection.placements:
            if placement.future.node.key == node.key:
                self.places.setdefault(placement.future.output, []).append(placement.path)
                artifact = judge.artifact(placement.future)
                if artifact is not None and not isinstance(artifact, NotThere):
                    self.made[placement.future.output] = artifact
        self.all_outputs = [
            *node.outputs,
            *(node.output(name) for name in self.places if inside_of(node, name) is not None),
        ]
        self.command = self._command(judge)

    def _command(self, judge: Judge) -> str:
        """The command with its values; paths that only a run decides are cut short."""
        call = self.node.call
        if not isinstance(call, BashCall):
            return ""
        unknown = Artifact("file", Digest(bytes(32)), 0)
        inputs = [judge.artifact(dep.future) or unknown for dep in self.node.deps]
        place = Workplace(
            root=os.fsencode(self.root), stage=b"STAGE", run=b"RUN", environ={},
            view=lambda _, name: b"VIEW/" + name, load=lambda _: "…",
        )  # fmt: skip
        try:
            return command_text(self.node, inputs, place)
        except MerklError:
            return call.task.template.text

    def inputs(self) -> list[tuple[str, str]]:
        """What it reads: files, and outputs of others."""
        files = [(source.path, f"{source.kind} {source.digest.short}") for source in self.node.sources]
        made = []
        for dep in self.node.deps:
            output = f".{dep.future.output}" if dep.future.output else ""
            seen = f" as {dep.name}" if dep.name else ""
            made.append((f"{self.names[dep.future.node.key]}{output}", f"made{seen}"))
        return files + made

    def outputs(self) -> list[tuple[str, str]]:
        """What it makes, and where that is placed."""
        found = []
        for output in self.all_outputs:
            artifact = self.made.get(output.name)
            known = (
                f"{size(artifact.size)}, {artifact.digest.short}" if artifact is not None else "not known yet"
            )
            where = ", ".join(self.places.get(output.name, ()))
            name = output.name or output.filename or "(its value)"
            found.append((name, f"{output.kind}, {known}{f' → {where}' if where else ''}"))
        return found

    def lines(self, paint: Paint) -> list[str]:
        """For people."""
        kind = "bash" if isinstance(self.node.call, BashCall) else "python"
        found = [
            paint(one_line(self.label), "strong"),
            f"  task     {self.node.name} ({kind}), {_shown(self.node.place.file, self.root)}:{self.node.place.line}",
            f"  state    {self.state}",
            f"  key      {self.node.key.hex()}",
        ]
        if self.target:
            found.append(f"  runs on  {self.target}")
        if self.content:
            found.append(f"  content  {self.content}")
        if self.command:
            found += ["  command", *_block(self.command)]
        read = [(path, digest.short) for path, digest in self.found.items() if digest is not None]
        for title, rows in (("inputs", self.inputs()), ("found", read), ("outputs", self.outputs())):
            if rows:
                found += [
                    f"  {title}",
                    *(f"    {one_line(name)}  {paint(one_line(what), 'quiet')}" for name, what in rows),
                ]
        if said := said_of(self.node):
            found.append(f"  note     {one_line(said)}")
        found.append("  in the key")
        for part in self.node.call.parts():
            name = f"{part.group} {part.name}".rstrip()
            if "\n" in part.text:
                found += [f"    {one_line(name)}", *_block(part.text, "      ")]
            else:
                found.append(f"    {one_line(name)}  {paint(one_line(part.text), 'quiet')}".rstrip())
        return found

    def as_object(self) -> dict[str, Any]:
        """For programs."""
        outputs = []
        for output in self.all_outputs:
            artifact = self.made.get(output.name)
            known = {} if artifact is None else {"digest": artifact.digest.hex(), "size": artifact.size}
            outputs.append(
                {
                    "name": output.name,
                    "kind": output.kind,
                    "placed": self.places.get(output.name, []),
                    **known,
                }
            )
        deps = [
            {
                "key": d.future.node.key.hex(),
                "label": self.names[d.future.node.key],
                "output": d.future.output,
                "name": d.name,
            }
            for d in self.node.deps
        ]
        return {
            "label": self.label, "task": self.node.name, "place": str(self.node.place), "state": self.state,
            "key": self.node.key.hex(), "content_key": self.content, "command": self.command, "target": self.target,
            "files": [{"path": s.path, "kind": s.kind, "digest": s.digest.hex()} for s in self.node.sources],
            "inputs": deps, "outputs": outputs,
            "discovered": {path: None if digest is None else digest.hex() for path, digest in self.found.items()},
            "parts": [[p.group, p.name, p.text, p.digest] for p in self.node.call.parts()],
        }  # fmt: skip


def _block(text: str, lead: str = "    ") -> list[str]:
    return [f"{lead}{line}".rstrip() for line in harmless(text.strip("\n")).split("\n")]


def _shown(path: str, root: str) -> str:
    return one_line(os.path.relpath(path, root) if path.startswith(root + os.sep) else path)
