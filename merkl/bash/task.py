"""Bash tasks: what a call of a command template is, and what of it enters its key.

It decides how template, options and arguments become a node.  It runs nothing.

The invariant: everything in ``BashCall`` that the command can see is in the static part of the key, in the node's sources
or in its dependencies; ``timeout``, ``retries``, ``name``, ``eager``, ``nice``, ``resources``, ``target`` and the place outputs go to are not.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from merkl.bash.arguments import Arguments
from merkl.bash.options import Options, check_options, names_of, options_of, stdout_form, text_of
from merkl.bash.placeholders import DepfileArg, EnvArg, OutDirArg, OutFileArg, SecretArg
from merkl.bash.slots import Plain, Slots, encoded, shared, shown_plain_values
from merkl.bash.template import Template, bind_call
from merkl.config import system_name
from merkl.dataclass import dataclass
from merkl.digest import Digest, encode, encoded_tuple
from merkl.errors import TaskError
from merkl.nodes import (
    Dep,
    Future,
    Node,
    Output,
    Part,
    Place,
    Placeable,
    Source,
    calling_place,
    evaluating,
    make_node,
    session,
)
from merkl.resources import Needs, flag_of


@dataclass(frozen=True, slots=True)
class BashCall:
    """One call of a bash task.  ``slots`` hold the arguments by parameter, without outputs, depfile and secrets."""

    task: "BashTask"
    slots: Slots
    subject: str
    tools: tuple[tuple[str, str], ...]

    @property
    def task_name(self) -> str:
        """The task's name."""
        return self.task.name

    @property
    def retries(self) -> int:
        """How often a failed attempt is repeated."""
        return self.task.options.retries

    @property
    def interactive(self) -> bool:
        """Whether it gets the terminal."""
        return self.task.options.interactive

    @property
    def eager(self) -> bool:
        """Whether it is started when it is called."""
        return self.task.options.eager

    @property
    def secrets(self) -> Sequence[str]:
        """The environment variables whose values it gets and nobody is to see."""
        return [p.name for p in self.task.template.placeholders.values() if isinstance(p, SecretArg)]

    @property
    def needs(self) -> Needs:
        """What it takes of the machine's resources."""
        return self.task.options.needs

    @property
    def target(self) -> str:
        """The executor it is to run on, if it names one."""
        return self.task.options.target

    def parts(self) -> list[Part]:
        """Template, options, arguments, environment and tools."""
        options = self.task.options
        parts = [*self.task.shown]
        for name, slot in self.slots.items():
            values = slot if isinstance(slot, tuple) else (slot,)
            if all(isinstance(value, Plain) for value in values):
                text = ", ".join(repr(value.value) for value in values if isinstance(value, Plain))
                group = (
                    "environment" if isinstance(self.task.template.placeholders[name], EnvArg) else "argument"
                )
                parts.append(_part(group, name, text))
        parts += [Part("tool", name, text[:200]) for name, text in self.tools]
        parts += [_part("dependency", str(i), text) for i, text in enumerate(self.task.deps_text)]
        if not options.portable:
            parts.append(Part("system", "", system_name()))
        return parts


def _part(group: str, name: str, text: str) -> Part:
    short = text if len(text) <= 400 else f"{text[:400]}…"
    return Part(group, name, short, "" if short == text else Digest.of(text.encode("utf-8", "replace")).short)


class BashTask(Placeable):
    """A command template that can be called; made by ``bash_task``."""

    __slots__ = (
        "_declared",
        "_discovers",
        "_home",
        "_name",
        "_shown",
        "_static",
        "cache",
        "deps",
        "deps_text",
        "options",
        "place",
        "template",
        "tools",
    )

    def __init__(
        self,
        template: Template,
        name: str,
        options: Options,
        *,
        place: Place,
        home: Mapping[str, object],
        tools: Sequence[str],
        deps: Sequence[object],
        cache: bool,
    ) -> None:
        self.template = template
        self._name = name
        self._home = home
        self.options = options
        self.place = place
        self.tools = tuple(tools)
        self.deps = tuple(deps)
        self.deps_text = tuple(repr(dep) for dep in deps)
        self.cache = cache
        self._shown: Sequence[Part] | None = None
        placeholders = template.placeholders
        self._declared = {n: p for n, p in placeholders.items() if isinstance(p, (OutFileArg, OutDirArg))}
        self._discovers = any(isinstance(p, DepfileArg) for p in placeholders.values())
        self._static = encode((self.template.identity, self.options.identity))

    @property
    def identity(self) -> bytes:
        """What all its calls have in their keys, but for tools and ``deps``."""
        return self._static

    @property
    def shown(self) -> Sequence[Part]:
        """What of a call's parts is the same in all calls: the template and the options."""
        if self._shown is not None:
            return self._shown
        shown = [Part("template", self.name, self.template.text)]
        shown += [Part("option", name, text) for name, text in self.options.shown]
        shown += [Part("environment", name, value) for name, value in self.options.env]
        if self._name:  # Else it may be given one yet.
            self._shown = shown
        return shown

    @property
    def name(self) -> str:
        """The name it was given, else that of the global variable it is bound to, else the command's first word."""
        if not self._name:
            bound = next((name for name, value in self._home.items() if value is self), "")
            if not bound:
                return _first_word(self.template.text)
            self._name, self._home = bound, {}
        return self._name

    def __getstate__(self) -> tuple[None, dict[str, object]]:
        # Its module's globals stay behind when it travels to a worker.
        slots = {slot: getattr(self, slot) for slot in self.__slots__}
        return None, {**slots, "_name": self.name, "_home": {}}

    def __repr__(self) -> str:
        return f"<bash_task {self.name}{self.template.signature}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the Futures of a call: of the one output, a dict of several by name, else of what it prints.

        Raises:
            CallError: the arguments do not fit the template's signature.
            InputMissing: a file that was named is not there.
        """
        values = bind_call(self.template, self.name, args, kwargs, may_be_file=_may_be_file)
        given = Arguments(self.name, calling_place())
        given.take(self.template.placeholders, values)
        node = self._node(given)
        current = session()
        current.made(node, (args, kwargs))
        futures: dict[str, Future[Any]] = {output.name: Future(node, output.name) for output in node.outputs}
        for name, path in given.places.items():
            current.place(futures[name], path, False)
        if self.options.eager or evaluating():
            current.begin([node])
        return next(iter(futures.values())) if len(futures) == 1 else futures

    def _node(self, given: Arguments) -> Node:
        outputs = given.outputs(self._declared, self.options)
        tools = tuple([(spec, session().tool(spec)) for spec in self.tools])
        extra = [given.extra(dep) for dep in self.deps]
        call = BashCall(self, shared(given.slots), given.first_file or shown_plain_values(given.slots), tools)
        return self._made(call, outputs, extra, given.deps, given.sources, given.place)

    def again(
        self,
        call: BashCall,
        outputs: Sequence[Output],
        deps: Sequence[Dep],
        sources: Sequence[Source],
        place: Place,
    ) -> Node:
        """A call of this task, which has no ``deps``, with other inputs in the places of those it had."""
        return self._made(call, outputs, [], deps, sources, place)

    def _made(
        self,
        call: BashCall,
        outputs: Sequence[Output],
        extra: Sequence[object],
        deps: Sequence[Dep],
        sources: Sequence[Source],
        place: Place,
    ) -> Node:
        names = [(output.name, output.kind, output.filename, output.form) for output in outputs]
        forms = [_form(dep.name) for dep in deps]
        rest = [encode(list(part)) if part else _NOTHING for part in (names, call.tools, extra, forms)]
        return make_node(
            call,
            self._static + encoded_tuple(encoded(call.slots), *rest),
            deps=deps,
            sources=sources,
            outputs=outputs,
            place=place,
            cache=self.cache,
            discovers=self._discovers,
        )


_NOTHING: Final = encode([])


def _form(filename: str) -> str:
    """In which form a plain value is written to a file of that name, so that another version of it is another key."""
    from merkl.store.serializers import for_extension

    return for_extension(os.path.splitext(filename)[1]).name if filename else ""


def _may_be_file(value: object) -> str | None:
    """The file name that stands for a Future or a FileRef in an extension check; None if it cannot be known yet."""
    if isinstance(value, Future):
        return value.node.output(value.output).filename or None
    return None


def bash_task(
    template: str | Sequence[str] = "",
    *,
    argv: Sequence[str] | None = None,
    name: str = "",
    version: str = "",
    stdout: object = None,
    tools: Sequence[str] = (),
    deps: Sequence[object] = (),
    env: Mapping[str, str] | Sequence[str] = (),
    ok_codes: Sequence[int] = (0,),
    timeout: float | None = None,
    retries: int = 0,
    interpreter: str = "bash",
    strict: bool = True,
    prelude: str = "",
    cwd: str = "",
    scratch: bool = False,
    cache: bool = True,
    portable: bool = False,
    literal: bool = False,
    interactive: bool = False,
    eager: bool = False,
    nice: int = 0,
    resources: Mapping[str, int | str] = {},
    target: str = "",
) -> BashTask:
    """Make a task of a command template.

    ``{file_arg('image', '.png')}`` and its kin in the text become the task's parameters; a call returns Futures and runs
    nothing.  See ``docs/bash.md`` for the placeholders, quoting and every option.

    Raises:
        TemplateError: the template cannot be compiled; the message points at the place.
        TaskError: an option is wrong.
    """
    from merkl.bash.compiler import compile_template  # What is compiled already needs none.

    place = calling_place()
    if (argv is None) == (template == ""):
        raise TaskError("a bash task takes a template or argv=[…], one of them", at=place)
    form, declared = stdout_form(stdout)
    compiled = compile_template(
        template if argv is None else argv,
        interpreter=text_of("interpreter", interpreter) if argv is None else "argv",
        literal=flag_of("literal", literal),
        where=str(place),
        extra=declared,
    )
    options = options_of(
        version=version, interpreter=interpreter, strict=strict, prelude=prelude, cwd=cwd, scratch=scratch,
        portable=portable, ok_codes=ok_codes, env=env, timeout=timeout, retries=retries, interactive=interactive,
        eager=eager, nice=nice, resources=resources, target=target,
        stdout=form, stdout_file=_stdout_file(compiled, compile_template([declared]), declared, place) if declared else "",
    )  # fmt: skip
    asked = names_of("tools", tools, f" of programs, such as [{tools!r}]")
    return BashTask(
        compiled,
        text_of("name", name),
        check_options(options, is_argv=compiled.is_argv),
        place=place,
        home=sys._getframe(1).f_globals,
        tools=[text_of("a tool", tool) for tool in asked],
        deps=names_of("deps", deps, f", such as [{deps!r}]"),
        cache=cache is not None and flag_of("cache", cache),
    )


def _stdout_file(template: Template, named: Template, declared: str, place: Place) -> str:
    """The output parameter that ``stdout=`` declares: the one in that text."""
    found = [name for name, placeholder in named.placeholders.items() if isinstance(placeholder, OutFileArg)]
    if len(named.placeholders) != 1 or not found:
        raise TaskError(
            f"stdout={declared!r} is not one output file",
            hint="stdout=\"{out_file_arg('report', '.txt')}\"",
            at=place,
        )
    assert found[0] in template.placeholders
    return found[0]


def _first_word(text: str) -> str:
    words = text.split()
    return os.path.basename(words[0]) if words else "bash"
