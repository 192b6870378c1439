"""Loading a Merklfile in YAML: its includes, values, tasks and targets, in this order.

It decides what a name of a task or a target means: one of this file first, then one of an included file by its prefix.

The invariant: nothing is declared unless the whole file is in order.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from merkl.errors import MerklfileError, did_you_mean
from merkl.merklfile.declare import declared
from merkl.merklfile.declared.check import Checker
from merkl.merklfile.declared.document import Document
from merkl.merklfile.declared.form import CallForm, FileForm, TargetForm
from merkl.merklfile.declared.places import AT_TOP, on_behalf
from merkl.merklfile.declared.read_file import read_file
from merkl.merklfile.declared.reading import Reader
from merkl.merklfile.declared.syntax import compose
from merkl.merklfile.declared.targets import Runner
from merkl.merklfile.declared.tasks import make_task
from merkl.merklfile.declared.values import Environment, evaluate
from merkl.merklfile.registry import LoadedFile, Merklfile
from merkl.merklfile.targets import Target
from merkl.nodes import Placeable

Include = Callable[..., Any]


def declare_all(document: Document, file: LoadedFile, merklfile: Merklfile, include: Include) -> None:
    """Declare what a file says.  Its tasks, values and targets become names of its module, as those of Python code are.

    Raises:
        MerklError: something in it is wrong; with line and column.
    """
    root = compose(document)
    if root is None:
        return
    try:
        reader = Reader(document)
        _Loading(reader, read_file(reader, root), file, merklfile).run(include)
    except RecursionError:
        raise MerklfileError(f"{document.shown} is nested too deep", hint="take some levels out") from None


class _Loading:
    """One file being loaded."""

    def __init__(self, reader: Reader, form: FileForm, file: LoadedFile, merklfile: Merklfile) -> None:
        self.reader = reader
        self.form = form
        self.file = file
        self.merklfile = merklfile
        self.tasks: dict[str, Any] = {}
        self.inline: dict[int, Any] = {}
        self.env = Environment(reader.document, {}, self.target, AT_TOP)

    def run(self, include: Include) -> None:
        for prefix, path, span in self.form.includes:
            on_behalf(self.reader.document, span, AT_TOP, partial(include, path, prefix=prefix))
        values: dict[str, Any] = {}
        for name, value in self.form.values:
            values[name] = evaluate(value, Environment(self.reader.document, values, self._no_target, AT_TOP))
        self.env = Environment(self.reader.document, values, self.target, AT_TOP)
        for form in self.form.tasks:
            self.tasks[form.name] = make_task(form, self.reader, self.env)
        for target in self.form.targets:
            for call in target.calls:
                if not isinstance(call.task, str):
                    self.inline[id(call)] = make_task(call.task, self.reader, self.env)
        names = [target.name for target in self.form.targets]
        checker = Checker(self.reader, values, self._may_be_target, names, self.task_of)
        for target in self.form.targets:
            checker.target(target)
        self.file.module.__dict__.update({**values, **self._declared(), **self.tasks})

    def _declared(self) -> dict[str, Target[..., Any]]:
        runner = Runner(self.env, self.task_of)
        return {form.name: self._declare(form, runner) for form in self.form.targets}

    def _declare(self, form: TargetForm, runner: Runner) -> Target[..., Any]:
        document = self.reader.document
        options: dict[str, Any] = {**form.flags, "after": [name for name, _ in form.after]}
        try:
            return declared(
                runner.function_of(form), form.name, form.doc, document.place(form.span), **options
            )
        except MerklfileError as error:
            if error.headline.startswith(f"{document.shown}:"):
                raise
            hint = "a name has no spaces and no =, and does not begin with - . or /"
            found = document.error(
                form.span, error.headline, error.hint if error.details.keys() - {"at"} else hint
            )
            found.details.update({name: text for name, text in error.details.items() if name != "at"})
            raise found from None

    # ---- names ----

    def target(self, name: str) -> Target[..., Any] | None:
        """The target of that name: of this file, or by its full name."""
        near = self.merklfile.find(f"{self.file.prefix}/{name}") if self.file.prefix else None
        return near or self.merklfile.find(name)

    def _no_target(self, name: str) -> None:
        """Targets are not known while values are computed."""

    def _may_be_target(self, name: str) -> bool:
        """Whether there is such a target; the file that includes this one may declare it later."""
        own = any(form.name.replace("-", "_") == name.replace("-", "_") for form in self.form.targets)
        return own or self.target(name) is not None or bool(self.file.included_by)

    def task_of(self, call: CallForm) -> Any:
        """The task of a call.

        Raises:
            MerklfileError: there is none of that name.
        """
        if not isinstance(call.task, str):
            return self.inline[id(call)]
        if call.task in self.tasks:
            return self.tasks[call.task]
        full = f"{self.file.prefix}/{call.task}" if self.file.prefix else call.task
        others = self._other_tasks()
        if full not in others:
            known = [*self.tasks, *(name.removeprefix(f"{self.file.prefix}/") for name in others)]
            if self.target(call.task) is not None or any(
                call.task == each.name for each in self.form.targets
            ):
                hint = f'a target is not called; its result is "{{{call.task}}}", and targets: [{call.task}] stands for it'
            else:
                hint = did_you_mean(
                    call.task, known, f"there are {', '.join(known)}" if known else "describe it under tasks:"
                )
            self.reader.fail(call.span, f"there is no task {call.task!r}", hint)
        return others[full]

    def _other_tasks(self) -> dict[str, Any]:
        """The tasks of the files that are loaded, by prefix and name."""
        return {
            f"{file.prefix}/{name}" if file.prefix else name: task
            for file in self.merklfile.files.values()
            if file is not self.file
            for name, task in vars(file.module).items()
            if isinstance(task, Placeable)
        }
