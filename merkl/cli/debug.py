"""``merkl debug``: all that merkl knows of a function, of a call of it, and of a result by its key.

It decides how that is laid out.  It runs no task.
"""

import json
import re
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import click

from merkl.bash.task import BashTask
from merkl.cli.either import OfEither, names_function
from merkl.cli.opening import Asked, loaded_quietly, paint_of, project_of, tell
from merkl.cli.options import Options, options_of, shared, words_of
from merkl.cli.show import ShownTask
from merkl.dataclass import dataclass
from merkl.digest import Key
from merkl.engine.calling import call_function, open_function
from merkl.engine.judge import Judge
from merkl.engine.project import Project
from merkl.engine.request import plan
from merkl.errors import TaskError, UsageError
from merkl.merklfile.functions import Function, no_name
from merkl.merklfile.taken import Taken, parameters_of
from merkl.merklfile.typed import arguments_of, sorted_words
from merkl.nodes import Part, using
from merkl.python import project as python_project
from merkl.python.code import code_of
from merkl.python.parts import Code
from merkl.python.task import PythonTask
from merkl.python.unfit import written
from merkl.report.color import Paint
from merkl.report.words import duration, harmless, one_line, size
from merkl.store.base import Record
from merkl.store.prefix import records_from

_KEY: Final = re.compile(r"[0-9a-f]{8,64}")


@click.command(cls=OfEither, short_help="Show all that is known of a function, a call of it, or a key.")
@click.argument("words", nargs=-1, metavar="[MODULE.FUNCTION [ARGUMENTS]] [KEY]")
@shared("json sets")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...]) -> int:
    """Show what the code of a function is made of and where that is; with ARGUMENTS also what a call of it is.

    Of a call these are its tasks: arguments, inputs, outputs, keys, and the record of what ran.  KEY is the beginning of a
    key or a content key, 8 digits at least: it shows the records that it is of.  Nothing is run, but this imports the
    module, and so runs its code.
    """
    options = options_of(context)
    asked_for = words_of(context, words)
    with project_of(options) as project:
        if not asked_for:
            raise no_name(project.root, "debug")
        found = _records(project, asked_for[-1])
        if found:
            asked_for = asked_for[:-1]
        shown: dict[str, Any] = {"version": 1}
        lines: list[str] = []
        paint = paint_of(options, sys.stdout)
        if asked_for:
            known = _look(options, project, asked_for)
            shown |= known.as_object()
            lines += known.lines(paint)
        if found:
            shown["records"] = [_record_object(key, record) for key, record in found]
            for key, record in found:
                lines += [paint(f"record {key.hex()}", "strong"), *_record_lines(record)]
        sys.stdout.write(
            json.dumps(shown, indent=2) + "\n" if options.json else "".join(f"{x}\n" for x in lines)
        )
        tell(options, project.take_notes())
    return 0


def _records(project: Project, word: str) -> list[tuple[Key, Record]]:
    """What a word that looks like the beginning of a key is of.

    Raises:
        UsageError: there is no such key, and the word can be nothing else.
    """
    if not _KEY.fullmatch(word):
        return []
    return records_from(project.store, word)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a function; ``tasks`` are those of its call, with their records."""

    function: Function
    taken: Sequence[Taken]
    code: Code | None
    parts: Sequence[Part]
    tasks: Sequence[tuple[ShownTask, Record | None]]
    called: bool

    def as_object(self) -> dict[str, Any]:
        """For programs."""
        code = None
        if self.code is not None:
            parts = [{"name": p.name, "digest": p.digest.hex(), "where": p.where} for p in self.code.parts]
            code = {"digest": self.code.digest.hex(), "parts": parts}
        tasks = [
            {**task.as_object(), "record": None if record is None else _record_object(record.key, record)}
            for task, record in self.tasks
        ]
        return {
            "function": self.function.name,
            "signature": written(self.function.signature),
            "declared": self.function.declared,
            "code": code,
            "parts": [[part.group, part.name, part.text, part.digest] for part in self.parts],
            "tasks": tasks if self.called else None,
        }

    def lines(self, paint: Paint) -> list[str]:
        """For people."""
        function = self.function
        found = [paint(f"{function.name}{written(function.signature)}", "strong")]
        if function.declared:
            found.append(f"  declared  {function.declared}")
        if self.code is not None:
            found.append(f"  code      {self.code.digest.hex()}")
            width = max((len(part.name) for part in self.code.parts), default=0)
            for part in self.code.parts:
                found.append(f"    {part.name:<{width}}  {part.digest.short}  {paint(part.where, 'quiet')}")
        for each in self.parts:
            text = each.text.strip("\n").replace("\n", "\n      ")
            found.append(harmless(f"  {each.group} {each.name}".rstrip() + f"  {text}"))
        if not self.called:
            names = [taken.word for taken in self.taken if taken.required]
            found.append(
                f"  with arguments it shows a call: merkl debug {function.name} {' '.join(names)}".rstrip()
            )
        for task, record in self.tasks:
            found += ["", *task.lines(paint)]
            found += (
                ["  record", *(f"  {line}" for line in _record_lines(record))]
                if record
                else ["  record   none"]
            )
        return found


def _look(options: Options, project: Project, words: Sequence[str]) -> _Known:
    word = words[0]
    if _KEY.fullmatch(word) and not names_function(word, project.root, options.cwd):
        raise UsageError(
            f"no result has a key that begins with {word}", hint="`merkl show` shows the keys of a target"
        )
    with loaded_quietly(), using(project):
        function = open_function(project, word, options.cwd, options.sets)
        _, taken = parameters_of(function)
        sorted_out = sorted_words(words[1:], function, taken, {})
        if len(words) == 1 and any(each.required for each in taken):
            return _Known(function, taken, _code_of(function, project), _parts_of(function), (), called=False)
        bound = arguments_of(function, taken, sorted_out, options.cwd, command="debug")
        outcome = call_function(project, function, bound)
    it = Asked(project, function.within, outcome.chosen)
    judge = plan(project, outcome.chosen.selection)
    names: dict[Any, str] = it.labels()
    nodes = outcome.chosen.own
    records = project.store.by_key([node.key for node in nodes])
    tasks = [(ShownTask(node, it, judge, names), _record_of(node.key, records, judge)) for node in nodes]
    return _Known(function, taken, _code_of(function, project), _parts_of(function), tasks, called=True)


def _record_of(key: Key, records: dict[Key, Record], judge: Judge) -> Record | None:
    step = judge.steps.get(key)
    return records.get(key) or (None if step is None else step.record)


def _code_of(function: Function, project: Project) -> Code | None:
    if isinstance(function.value, BashTask):
        return None
    known = python_project.Project(project.root, project.project_modules)
    try:
        if isinstance(function.value, PythonTask):
            return function.value.code(known)
        return code_of(function.inner, known)
    except TaskError:
        return None  # There is no text of it.


def _parts_of(function: Function) -> Sequence[Part]:
    if isinstance(function.value, BashTask):
        return [part for part in function.value.shown if part.text]
    return function.value.shown_deps() if isinstance(function.value, PythonTask) else ()


def _record_object(key: Key, record: Record) -> dict[str, Any]:
    outputs = [
        {"name": name, "kind": each.kind, "digest": each.digest.hex(), "size": each.size, "serializer": each.serializer,
         "executable": each.executable}
        for name, each in record.outputs.items()
    ]  # fmt: skip
    found = {} if record.discovered is None else record.discovered.files
    return {
        "key": key.hex(), "first_key": record.key.hex(), "content_key": record.content_key.hex(), "task": record.task,
        "outputs": outputs, "inputs": [each.hex() for each in record.inputs],
        "arguments": dict(record.arguments), "dependencies": list(record.dependencies), "metadata": dict(record.metadata),
        "seconds": record.seconds, "started_ns": record.started_ns, "exit_code": record.exit_code,
        "builder": record.builder, "origin": None if record.origin is None else str(record.origin), "log": None if record.log is None else record.log.hex(),
        "discovered": {path: None if digest is None else digest.hex() for path, digest in found.items()},
    }  # fmt: skip


def _record_lines(record: Record) -> list[str]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.started_ns / 1e9))
    by = f" by {one_line(record.builder)}" if record.builder else ""
    found = [
        f"  task     {one_line(record.task)}",
        f"  ran      {when}, {duration(record.seconds)}, exit {record.exit_code}{by}",
        f"  key      {record.key.hex()}",
        f"  content  {record.content_key.hex()}",
    ]
    for each in () if record.origin is None else record.origin.each:
        found.append(f"  signed   by {each.signer}, in {each.namespace}")
    for name, value in record.arguments.items():
        found.append(f"  argument {one_line(str(name))}  {one_line(json.dumps(value))}")
    for each in record.dependencies:
        found.append(f"  input    {one_line(json.dumps(each))}")
    for name, artifact in record.outputs.items():
        what = f"{artifact.kind}, {size(artifact.size)}, {artifact.digest.hex()}"
        form = f", {artifact.serializer}" if artifact.serializer else ""
        named = f"{one_line(name)}  " if name else ""
        found.append(f"  output   {named}{what}{form}")
    if record.metadata:
        found.append(f"  metadata {one_line(json.dumps(dict(record.metadata)))}")
    if record.log is not None:
        found.append(f"  log      {record.log.hex()}")
    return found
