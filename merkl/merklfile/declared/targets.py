"""Targets made from their forms: what happens when one is called.

It decides in which order calls are made, and what each is given: what ``with`` says, and else the parameter of the target
or the name of a row that is called like the task's parameter.

The invariant: a call of a task is the one that Python code would make, so its node has the same key.
"""

import inspect
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from merkl.dataclass import dataclass, replace
from merkl.errors import did_you_mean
from merkl.merklfile.declared.expression import Value
from merkl.merklfile.declared.form import CallForm, Rows, TargetForm, references
from merkl.merklfile.declared.tasks import inputs_of, outputs_of, refuse_misfit
from merkl.merklfile.declared.values import Environment, evaluate
from merkl.nodes import Future

Names = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Runner:
    """Calls targets.  ``env`` has the values of the file, and ``task_of`` finds the task of a call."""

    env: Environment
    task_of: Callable[[CallForm], Any]

    def function_of(self, form: TargetForm) -> Callable[..., Any]:
        """The function that a target of this form calls, with the signature that its parameters ask for."""
        runner = replace(self, env=replace(self.env, where=form.name))
        signature = inspect.Signature(
            [_parameter(each.name, each.hint, each.default, self.env) for each in form.parameters]
        )

        def function(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return runner.run(form, bound.arguments)

        made: Any = function
        made.__name__ = made.__qualname__ = form.name
        made.__doc__ = form.doc or None
        made.__signature__ = signature
        made.__annotations__ = {each.name: each.hint for each in form.parameters if each.hint is not None}
        return function

    def run(self, form: TargetForm, arguments: Names) -> Any:
        """Make a target's calls: what one gives, a list of these for rows, or what each step gives by its name."""

        def body(row: Names) -> Any:
            own = {**arguments, **row}
            if form.call is not None:
                return self.call(form.call, own, self.env.names)
            if form.targets:
                env = replace(self.env, names={**self.env.names, **own})
                return [evaluate(each, env) for each in form.targets]
            return self._steps(form.steps, own)

        return self._rows(form.rows, {**self.env.names, **arguments}, body)

    def _steps(self, steps: tuple[CallForm, ...], own: Names) -> dict[str, Any]:
        """What each step gives, by its name; later ones can use earlier ones."""
        made: dict[str, Any] = {}
        for number, step in enumerate(steps, 1):
            known = {**self.env.names, **made}

            def body(row: Names, step: CallForm = step, known: Names = known) -> Any:
                return self.call(step, {**own, **row}, known)

            name = step.id if step.id and step.id not in made else f"{step.id} {number}".strip()
            made[name] = self._rows(step.rows, {**known, **own}, body)
        return made

    # ---- rows ----

    def _rows(self, rows: Rows, known: Names, body: Callable[[Names], Any]) -> Any:
        """``body`` of nothing if there are no rows, else a list of it for every row."""
        if not rows.names:
            return body({})
        found = [dict(self._row(row, known)) for row in rows.listed] if rows.listed else [{}]
        for name, value in rows.products:
            found = self._product(name, value, found, known)
        if rows.zipped:
            found = [{**row, **other} for row in found for other in self._zipped(rows, {**known, **row})]
        return [body(row) for row in found]

    def _row(self, row: tuple[tuple[str, Value], ...], known: Names) -> Names:
        return {name: evaluate(value, replace(self.env, names=known)) for name, value in row}

    def _product(
        self, name: str, value: Value, found: list[dict[str, Any]], known: Names
    ) -> list[dict[str, Any]]:
        """Each row so far with each value; a value that names nothing of these rows is computed once."""
        varies = bool(found) and any(each.name in found[0] for each in references([value]))
        once = None if varies else self._list(name, value, known)
        return [
            {**row, name: each}
            for row in found
            for each in (once if once is not None else self._list(name, value, {**known, **row}))
        ]

    def _zipped(self, rows: Rows, known: Names) -> list[dict[str, Any]]:
        lists = {name: self._list(name, value, known) for name, value in rows.zipped}
        if len({len(each) for each in lists.values()}) > 1:
            counts = ", ".join(f"{name} has {len(each)}" for name, each in lists.items())
            self.env.fail(
                rows.span, f"the lists of zip: are not of one length: {counts}", "each: combines all with all"
            )
        return [dict(zip(lists, each, strict=True)) for each in zip(*lists.values(), strict=True)]

    def _list(self, name: str, value: Value, known: Names) -> list[Any]:
        found = evaluate(value, replace(self.env, names=known))
        if isinstance(found, dict):
            hint = f"take one of {', '.join(map(str, found))}: {{….{next(iter(found), 'name')}}}"
            self.env.fail(value.span, f"{name} goes through a list, and this is a mapping", hint)
        if not isinstance(found, (list, tuple)):
            self.env.fail(
                value.span, f"{name} goes through a list, and this is {found!r:.60}", "a list of one is […]"
            )
        return list(found)

    # ---- calls ----

    def call(self, form: CallForm, own: Names, known: Names) -> Any:
        """Call a task once.  ``own`` are the names that are passed by themselves, ``known`` further ones."""
        task = self.task_of(form)
        env = replace(self.env, names={**known, **own})
        given = {name: evaluate(value, env) for name, value in form.arguments.items()}
        for name, value in form.arguments.items():
            refuse_misfit(task, name, given[name], value.span, env)
        passed = {name: own[name] for name in inputs_of(task) if name in own and name not in given}
        result = env.run(form.span, lambda: task(**given, **passed))
        return self._placed(form, task, result, env)

    def _placed(self, form: CallForm, task: Any, result: Any, env: Environment) -> Any:
        if form.to is None:
            return result
        if not isinstance(form.to, Mapping):
            if not isinstance(result, Future):
                several = ", ".join(result) if isinstance(result, dict) else f"{len(result)} results"
                env.fail(form.to.span, f"there are several outputs: {several}", _each_output(result))
            self._place(result, form.to, form, env)
            return result
        named = {(outputs_of(task) or ["stdout"])[0]: result} if isinstance(result, Future) else result
        for name, where in form.to.items():
            if not isinstance(named, dict) or name not in named:
                known = named if isinstance(named, dict) else ()
                env.fail(
                    where.span, f"there is no output {name!r}", did_you_mean(name, known, _each_output(named))
                )
            self._place(named[name], where, form, env)
        return result

    def _place(self, future: Future[Any], where: Value, form: CallForm, env: Environment) -> None:
        path = evaluate(where, env)
        if not isinstance(path, (str, os.PathLike)):
            env.fail(where.span, f"a place is a path, and this is {path!r:.60}", "to: build/file")
        env.run(where.span, lambda: future >> path if form.sidecar else future > path)


def _each_output(result: Any) -> str:
    names = list(result) if isinstance(result, dict) else []
    return f"to: {{{', '.join(f'{name}: build/{name}' for name in names)}}}" if names else "leave to: out"


def _parameter(name: str, hint: Any, default: Value | None, env: Environment) -> inspect.Parameter:
    value: Any = inspect.Parameter.empty if default is None else evaluate(default, env)
    if hint is pathlib.Path and isinstance(value, str):
        value = pathlib.Path(value)
    return inspect.Parameter(
        name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=value,
        annotation=inspect.Parameter.empty if hint is None else hint,
    )
