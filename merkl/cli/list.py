"""``merkl list``: what can be built.

It calls no target.
"""

import json
import sys
from typing import Any

import click

from merkl.cli.opening import loaded, paint_of, project_of, tell
from merkl.cli.options import Command, Options, options_of, shared
from merkl.config import is_yaml
from merkl.engine.project import Project
from merkl.engine.request import described
from merkl.events import Note
from merkl.merklfile.registry import Merklfile
from merkl.merklfile.targets import Target
from merkl.report.words import one_line
from merkl.snapshot import recorder


@click.command(cls=Command, short_help="List the targets.")
@shared("json")
@click.pass_context
def command(context: click.Context) -> int:
    """List the targets, with their parameters and what they are for.

    This loads the Merklfile, and so runs its code; it calls no target.
    """
    options = options_of(context)
    with project_of(options) as project:
        merklfile = loaded(options, project)
        if merklfile.unknown is not None:
            project.notes.append(Note(f"{merklfile.unknown.headline}; targets below it are not listed"))
        print_targets(options, merklfile, project.config.target)
        tell(options, project.take_notes())
        _keep_snapshot(options, project)
    return 0


def _keep_snapshot(options: Options, project: Project) -> None:
    """Write down what the list came from, so that the next one is answered at once."""
    recording, config = recorder.active(), project.config
    recorder.stop()
    if recording is None or project.has_run or options.rehash or not config.snapshot:
        return
    from merkl.snapshot.keep import Looks, keep

    looks = Looks(recording, root=config.root, store=config.store, clock_ns=project.index.clock_ns())
    keep(looks, summary=("".join(recording.out), ""), only_ask=options.verbose)


def print_targets(options: Options, merklfile: Merklfile, executor: str = "") -> None:
    """Write the list of targets, and the executor of tasks that name none, if it is not this machine."""
    targets = list(merklfile.targets.values())
    if options.json:
        said = {"version": 1, "targets": [described(each, merklfile) for each in targets]}
        sys.stdout.write(json.dumps(said | ({"target": executor} if executor else {}), indent=2) + "\n")
        return
    if not targets:
        how = "describe one under targets:" if is_yaml(merklfile.path) else "decorate a function with @target"
        sys.stdout.write(f"the Merklfile declares no targets: {how}\n")
        return
    paint = paint_of(options, sys.stdout)
    signatures = {target.name: _signature(target) for target in targets}
    width = min(max(map(len, signatures.values())), 40)
    for target in targets:
        signature = signatures[target.name]
        gap = " " * (width - len(signature))
        doc = one_line(target.doc) + (paint("  (default)", "quiet") if target.declared.default else "")
        sys.stdout.write(f"{paint(signature, 'strong')}{gap}  {doc}".rstrip() + "\n")
    if executor:
        sys.stdout.write(paint(f"tasks that name no executor run on {one_line(executor)}", "quiet") + "\n")


def _signature(target: Target[..., Any]) -> str:
    """The name and how parameters are given: ``train rate=0.1 data=…``."""
    words = [one_line(target.name)]
    for parameter in target.parameters:
        if parameter.name == "args":
            words.append("[-- ARGS…]")
        else:
            value = "…" if parameter.required else one_line(_typed(parameter.default))
            words.append(f"{parameter.name}={value}")
    return " ".join(words)


def _typed(value: object) -> str:
    """A default as one would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(getattr(value, "value", value))
