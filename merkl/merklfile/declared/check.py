"""What can be known of targets before one is called: that every name in them means something, and is used.

It decides nothing that happens later.  The invariant: it calls no target and no task.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from merkl.dataclass import dataclass
from merkl.errors import did_you_mean
from merkl.merklfile.declared.document import Span
from merkl.merklfile.declared.expression import Call, Constant, Name, Value, inside
from merkl.merklfile.declared.form import CallForm, Rows, TargetForm
from merkl.merklfile.declared.reading import Reader
from merkl.merklfile.declared.tasks import inputs_of, outputs_of, parameters_of, template_of


@dataclass(frozen=True, slots=True)
class Checker:
    """Checks targets.  ``values`` are names of the file; ``is_target`` tells whether there is one, or may be."""

    reader: Reader
    values: Collection[str]
    is_target: Callable[[str], bool]
    targets: Collection[str]
    task_of: Callable[[CallForm], Any]

    def target(self, form: TargetForm) -> None:
        """Check one target.

        Raises:
            MerklfileError: a name in it is unknown, or is not used, or two things are called alike.
        """
        own = {each.name: each.span for each in form.parameters}
        used: set[str] = set()
        self._rows(form.rows, own, own, used)
        own |= form.rows.names
        self._values(form.targets, own, used)
        steps: dict[str, Span] = {}
        counts = Counter(step.id for step in form.steps)
        for call in form.calls:
            local = dict(own)
            if call is not form.call:
                self._rows(call.rows, {**own, **steps}, own, used)
                local |= call.rows.names
            self._call(call, local, {**steps, **local}, used)
            for name, span in call.rows.names.items():
                self._used(name, span, used)
            if counts[call.id] > 1 or call.id in own or not call.id:
                steps.pop(call.id, None)
            else:
                steps[call.id] = call.span
        for name, span in own.items():
            self._used(name, span, used)
        for name, span in form.after:
            if not self.is_target(name):
                hint = did_you_mean(name, self.targets, "`merkl list` shows the targets")
                self.reader.fail(span, f"there is no target {name!r}", hint)

    def _used(self, name: str, span: Span, used: Collection[str]) -> None:
        if name not in used:
            hint = f'with: {{parameter: "{{{name}}}"}} passes it on; to a parameter of the same name it goes by itself'
            self.reader.fail(span, f"nothing uses {name}", hint)

    def _rows(self, rows: Rows, known: Mapping[str, Span], own: Collection[str], used: set[str]) -> None:
        for name, span in rows.names.items():
            if name in own:
                self.reader.fail(span, f"{name} means something in this target already", "take another name")
        seen = dict(known)
        for name, value in (*rows.products, *(pair for row in rows.listed for pair in row)):
            self._values([value], seen, used)
            seen[name] = value.span
        self._values([value for _, value in rows.zipped], seen, used)

    def _call(self, call: CallForm, own: Collection[str], known: Mapping[str, Span], used: set[str]) -> None:
        task = self.task_of(call)
        parameters = parameters_of(task)
        takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        for name in call.arguments:
            if name not in parameters and not takes_all:
                hint = did_you_mean(name, parameters, f"there are {', '.join(parameters) or 'none'}")
                self.reader.fail(call.keys[name], f"the task has no parameter {name!r}", hint)
        used.update(name for name in inputs_of(task) if name in own and name not in call.arguments)
        missing = [
            name
            for name, each in parameters.items()
            if each.default is each.empty
            and each.kind is not each.VAR_KEYWORD
            and name not in call.arguments
            and name not in own
        ]
        if missing:
            named = call.task if isinstance(call.task, str) else "the command"
            hint = f"with: {{{', '.join(f'{name}: …' for name in missing)}}}"
            self.reader.fail(call.span, f"{named} is called without {' and '.join(missing)}", hint)
        self._outputs(call, task)
        self._values(call.values(), known, used)

    def _outputs(self, call: CallForm, task: Any) -> None:
        """Check where outputs are placed, as far as a bash task declares them."""
        outputs = outputs_of(task)
        if isinstance(call.to, Mapping) and outputs:
            for name, value in call.to.items():
                if name not in (*outputs, "stdout"):
                    hint = did_you_mean(name, outputs, f"there are {', '.join(outputs)}")
                    self.reader.fail(value.span, f"the task has no output {name!r}", hint)
        elif (
            call.to is not None
            and not isinstance(call.to, Mapping)
            and template_of(task)
            and len(outputs) > 1
        ):
            hint = f"to: {{{', '.join(f'{name}: build/{name}' for name in outputs)}}}"
            self.reader.fail(call.to.span, f"the task has several outputs: {', '.join(outputs)}", hint)

    def _values(self, values: Iterable[Value], known: Collection[str], used: set[str]) -> None:
        for value in values:
            for each in inside(value):
                if isinstance(each, Name):
                    used.add(each.name)
                    self._name(each, known)
                elif isinstance(each, Call) and each.function == "target":
                    self._target(each)

    def _name(self, name: Name, known: Collection[str]) -> None:
        if name.name in known or name.name in self.values or name.name in self.targets:
            return
        if "/" in name.name and self.is_target(name.name):
            return
        every = [*known, *self.values, *self.targets]
        hint = did_you_mean(name.name, every, f"there are {', '.join(every) or 'none'}")
        self.reader.fail(name.span, f"there is no {name.name!r} here", hint)

    def _target(self, call: Call) -> None:
        first = call.args[0] if call.args else None
        if first is None:
            self.reader.fail(call.span, "target(…) takes the name of a target", "target('name')")
        if isinstance(first, Constant) and not (isinstance(first.value, str) and self.is_target(first.value)):
            hint = did_you_mean(str(first.value), self.targets, "`merkl list` shows the targets")
            self.reader.fail(first.span, f"there is no target {first.value!r}", hint)
