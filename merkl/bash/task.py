"""Bash tasks: what a template and its options mean, and what a call of one is.

It decides the names of outputs, which arguments are files, and what of a call enters its key.  It runs nothing.

The invariant: everything in ``BashCall`` that the command can see is in the static part of the key, in the node's sources
or in its dependencies; ``timeout``, ``retries``, ``name``, resources and the place outputs go to are not.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, assert_never

from merkl.bash.placeholders import (
    Arg,
    ArgFile,
    DepfileArg,
    DirArg,
    EnvArg,
    FileArg,
    FilesArg,
    FlagArg,
    OutDirArg,
    OutFileArg,
    Placeholder,
    SecretArg,
)
from merkl.bash.template import Template, bind_call, compile_template
from merkl.config import system_name
from merkl.digest import Digest, encode
from merkl.errors import CallError, TaskError
from merkl.nodes import (
    Dep,
    Future,
    Node,
    Output,
    Part,
    PathLike,
    Place,
    Placeable,
    Source,
    calling_place,
    make_node,
    session,
)

StdoutForm: TypeAlias = Literal["str", "bytes", "lines", "json"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a bash task runs.  Those marked so are no part of the key."""

    version: str = ""
    interpreter: str = "bash"
    strict: bool = True
    prelude: str = ""
    cwd: str = ""
    scratch: bool = False
    portable: bool = False
    ok_codes: tuple[int, ...] = (0,)
    env: tuple[tuple[str, str], ...] = ()
    stdout: str = ""  # A form, the name of an output parameter, or empty.
    timeout: float | None = None  # Not in the key; nor are those below.  Seconds.
    retries: int = 0
    interactive: bool = False

    @property
    def identity(self) -> tuple[object, ...]:
        """What of the options enters the key."""
        return (
            self.version,
            self.interpreter,
            self.strict,
            self.prelude,
            self.cwd,
            self.scratch,
            self.ok_codes,
            self.env,
            self.stdout,
            "" if self.portable else system_name(),
        )


@dataclass(frozen=True, slots=True)
class Plain:
    """An argument that is a value."""

    value: object


@dataclass(frozen=True, slots=True)
class FromSource:
    """An argument that is a file or directory of the project: the node's source at ``index``."""

    index: int


@dataclass(frozen=True, slots=True)
class FromDep:
    """An argument that another node makes: the node's dependency at ``index``."""

    index: int


Slot: TypeAlias = Plain | FromSource | FromDep
Slots: TypeAlias = Mapping[str, Slot | tuple[Slot, ...]]


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

    def parts(self) -> list[Part]:
        """Template, options, arguments, environment and tools."""
        options = self.task.options
        parts = [Part("template", self.task.name, self.task.template.text)]
        shown = (("version", options.version), ("interpreter", options.interpreter), ("prelude", options.prelude),
                 ("cwd", options.cwd), ("stdout", options.stdout), ("strict", options.strict), ("scratch", options.scratch),
                 ("ok_codes", options.ok_codes), ("portable", options.portable))  # fmt: skip
        parts += [Part("option", name, str(value)) for name, value in shown]
        parts += [Part("environment", name, value) for name, value in options.env]
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
        "_home",
        "_name",
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
        self._static = encode((self.template.identity, self.options.identity))

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
        node, places = _Caller(self, calling_place()).node(values)
        current = session()
        current.made(node)
        futures: dict[str, Future[Any]] = {output.name: Future(node, output.name) for output in node.outputs}
        for name, path in places.items():
            current.place(futures[name], path, False)
        return next(iter(futures.values())) if len(futures) == 1 else futures


def _may_be_file(value: object) -> str | None:
    """The file name that stands for a Future or a FileRef in an extension check; None if it cannot be known yet."""
    if isinstance(value, Future):
        return value.node.output(value.output).filename or None
    return None


class _Caller:
    """Turns bound arguments into a node; one is made for each call."""

    def __init__(self, task: BashTask, place: Place) -> None:
        self.task = task
        self.place = place
        self.sources: list[Source] = []
        self.deps: list[Dep] = []

    def node(self, values: Mapping[str, object]) -> tuple[Node, dict[str, PathLike]]:
        """The node, and where its outputs were asked to go, by name."""
        task = self.task
        slots: dict[str, Slot | tuple[Slot, ...]] = {}
        places: dict[str, PathLike] = {}
        stem = ""
        for name, placeholder in task.template.placeholders.items():
            value = values.get(name)
            match placeholder:
                case OutFileArg() | OutDirArg():
                    if value is not None:
                        places[name] = _place(value, task.name, name)
                case DepfileArg() | SecretArg():
                    pass
                case EnvArg():
                    slots[name] = Plain(self.env_value(placeholder, value))
                case FileArg() | FilesArg() | DirArg() | ArgFile():
                    slots[name] = self.files(placeholder, value)
                    stem = stem or self.seen_name(slots[name])
                case Arg() | FlagArg():
                    slots[name] = self.plain(value)
                case other:
                    assert_never(other)
        outputs = self.outputs(places, stem)
        tools = tuple((spec, session().tool(spec)) for spec in task.tools)
        call = BashCall(task, slots, stem or _arguments(slots), tools)
        discovers = any(isinstance(p, DepfileArg) for p in task.template.placeholders.values())
        node = make_node(
            call,
            self.static(slots, outputs, tools),
            deps=self.deps,
            sources=self.sources,
            outputs=outputs,
            place=self.place,
            cache=task.cache,
            discovers=discovers,
        )
        return node, places

    def static(self, slots: Slots, outputs: Sequence[Output], tools: Sequence[tuple[str, str]]) -> bytes:
        shape = {name: _shape(slot) for name, slot in slots.items()}
        names = [(output.name, output.kind, output.filename, output.form) for output in outputs]
        extra = [self.extra(dep) for dep in self.task.deps]
        return self.task._static + encode((shape, names, list(tools), extra))

    def extra(self, dep: object) -> object:
        """What a member of ``deps=`` is in the key: a Future, a file, or a plain value."""
        if isinstance(dep, Future):
            self.deps.append(Dep(dep))
            return ("dep", len(self.deps) - 1)
        if hasattr(dep, "__fspath__") or type(dep).__name__ in ("FileRef", "DirRef"):
            self.sources.append(session().source(dep))  # type: ignore[arg-type]
            return ("source", len(self.sources) - 1)
        return dep

    def env_value(self, placeholder: EnvArg, value: object) -> object:
        if value is None:
            value = session().environment(placeholder.name)
        if value is None:
            value = placeholder.default
        if not isinstance(value, (str, type(None))):
            raise CallError(
                f"{self.task.name} needs the environment variable {placeholder.name}, which is not set",
                at=self.place,
                hint=f"export {placeholder.name}=… or give it a default: env_arg('{placeholder.name}', '…')",
            )
        return value

    def files(self, placeholder: Placeholder, value: object) -> Slot | tuple[Slot, ...]:
        if value is None:
            return Plain(None)
        kind: Literal["file", "dir"] = "dir" if isinstance(placeholder, DirArg) else "file"
        if isinstance(placeholder, (FilesArg, ArgFile)):
            items = value if isinstance(value, (list, tuple)) else [value]
            return tuple(self.file(placeholder, item, kind) for item in items)
        return self.file(placeholder, value, kind)

    def file(self, placeholder: Placeholder, value: Any, kind: Literal["file", "dir"]) -> Slot:
        if isinstance(value, Future):
            output = value.node.output(value.output)
            filename = output.filename or f"{output.name or value.node.name}{_first_ext(placeholder)}"
            self.deps.append(Dep(value, filename))
            return FromDep(len(self.deps) - 1)
        if (
            isinstance(placeholder, ArgFile)
            and not isinstance(value, (os.PathLike, bytes))
            and not _is_ref(value)
        ):
            return Plain(value)  # A list of plain words may be long too.
        self.sources.append(session().source(value, kind))
        return FromSource(len(self.sources) - 1)

    def plain(self, value: object) -> Slot | tuple[Slot, ...]:
        if isinstance(value, Future):
            self.deps.append(Dep(value))
            return FromDep(len(self.deps) - 1)
        if isinstance(value, (list, tuple)):
            return tuple(slot for item in value if isinstance(slot := self.plain(item), (Plain, FromDep)))
        if isinstance(value, os.PathLike):
            return Plain(os.fspath(value))
        return Plain(value)

    def seen_name(self, slot: Slot | tuple[Slot, ...]) -> str:
        """The last part of the name that the command sees for a single file."""
        match slot:
            case FromSource(index):
                return os.path.basename(self.sources[index].path)
            case FromDep(index):
                return self.deps[index].name
            case _:
                return ""

    def outputs(self, places: Mapping[str, PathLike], first_file: str) -> list[Output]:
        """Name each output: the last part of the place given in the call, else the stem of the first file, else its own."""
        declared = {
            n: p for n, p in self.task.template.placeholders.items() if isinstance(p, (OutFileArg, OutDirArg))
        }
        stem = os.path.splitext(first_file)[0]
        names = {}
        for name, placeholder in declared.items():
            ext = _first_ext(placeholder)
            if name in places:
                names[name] = os.path.basename(os.path.normpath(os.fsdecode(places[name])))
            elif stem and isinstance(placeholder, OutFileArg) and ext:
                names[name] = stem + ext
            else:
                names[name] = name + ext
        taken = list(names.values())
        for name, placeholder in declared.items():
            if taken.count(names[name]) > 1 and name not in places:
                names[name] = name + _first_ext(placeholder)
        if len(set(names.values())) < len(names):
            raise CallError(
                f"two outputs of {self.task.name} would have one file name: {', '.join(sorted(names.values()))}",
                at=self.place,
                hint="give one of them another name in the call, such as name='build/other.txt'",
            )
        form = self.task.options.stdout
        outputs = [
            Output(n, "dir" if isinstance(p, OutDirArg) else "file", names[n]) for n, p in declared.items()
        ]
        if not outputs or form in ("str", "bytes", "lines", "json"):
            outputs.append(Output("stdout" if outputs else "", "value", form=form or "str"))
        return outputs


def _place(value: object, task: str, name: str) -> PathLike:
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise CallError(
            f"{task}: {name} is the path where the output is to appear, not {value!r}", at=calling_place()
        )
    return value


def _is_ref(value: object) -> bool:
    return type(value) is not str and isinstance(value, str)


def _first_ext(placeholder: Placeholder) -> str:
    ext = getattr(placeholder, "ext", None)
    return "" if not ext else ext if isinstance(ext, str) else ext[0]


def _shape(slot: Slot | tuple[Slot, ...]) -> object:
    if isinstance(slot, tuple):
        return [_shape(item) for item in slot]
    match slot:
        case Plain(value):
            return ("value", value)
        case FromSource(index):
            return ("source", index)
        case FromDep(index):
            return ("dep", index)
        case other:
            assert_never(other)


def _arguments(slots: Slots) -> str:
    shown = [
        f"{name}={slot.value!r}"
        for name, slot in slots.items()
        if isinstance(slot, Plain) and slot.value is not None
    ]
    text = ", ".join(shown)
    return text if len(text) <= 60 else f"{text[:59]}…"


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
) -> BashTask:
    """Make a task of a command template.

    ``{file_arg('image', '.png')}`` and its kin in the text become the task's parameters; a call returns Futures and runs
    nothing.  See ``docs/bash.md`` for the placeholders, quoting and every option.

    Raises:
        TemplateError: the template cannot be compiled; the message points at the place.
        TaskError: an option is wrong.
    """
    place = calling_place()
    form, declared = _stdout_form(stdout)
    compiled = compile_template(
        template if argv is None else argv,
        interpreter=interpreter if argv is None else "argv",
        literal=literal,
        where=str(place),
        extra=declared,
    )
    options = Options(
        version=_text("version", version),
        interpreter=interpreter,
        strict=strict,
        prelude=_text("prelude", prelude),
        cwd=os.path.normpath(cwd) if cwd else "",
        scratch=scratch,
        portable=portable,
        ok_codes=tuple(ok_codes),
        env=_fixed_env(env),
        stdout=form,
        timeout=_positive("timeout", timeout),
        retries=retries,
        interactive=interactive,
    )
    _check_options(options, template, argv)
    if isinstance(tools, str):
        raise TaskError(f"tools is a list of programs, such as [{tools!r}]", at=place)
    home = sys._getframe(1).f_globals
    return BashTask(compiled, name, options, place=place, home=home, tools=tools, deps=deps, cache=cache)


_FORMS: Final[Mapping[object, str]] = {None: "", str: "str", bytes: "bytes", "str": "str", "bytes": "bytes",
                                       "lines": "lines", "json": "json"}  # fmt: skip


def _stdout_form(stdout: object) -> tuple[str, str]:
    """What stdout is: its form, or the parameter of an output file, and the template text that declares that file."""
    try:
        return _FORMS[stdout], ""
    except (KeyError, TypeError):
        pass
    text = f"{stdout}" if not isinstance(stdout, str) else stdout
    if "out_file_arg" in text or not isinstance(stdout, str):
        return "file", text
    raise TaskError(
        f"stdout={stdout!r} is no form of output",
        hint="use str, bytes, 'lines', 'json', or an output file: stdout=\"{out_file_arg('report', '.txt')}\"",
    )


def _check_options(options: Options, template: object, argv: object) -> None:
    if (argv is None) == (template == ""):
        raise TaskError("a bash task takes a template or argv=[…], one of them", at=calling_place())
    if not isinstance(options.retries, int) or options.retries < 0:
        raise TaskError(f"retries is a number from 0 up, not {options.retries!r}", at=calling_place())
    if not options.ok_codes or not all(
        isinstance(code, int) and 0 <= code <= 255 for code in options.ok_codes
    ):
        raise TaskError(
            f"ok_codes is a list of exit codes from 0 to 255, not {options.ok_codes!r}", at=calling_place()
        )
    if options.cwd.startswith(("/", "..")):
        raise TaskError(f"cwd is a directory inside the project, not {options.cwd!r}", at=calling_place())
    if options.cwd and options.scratch:
        raise TaskError("a task runs in cwd= or in scratch=True, not both", at=calling_place())


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TaskError(f"{name} is a string, not {value!r}", at=calling_place())
    return value


def _positive(name: str, value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        raise TaskError(f"{name} is a number of seconds above 0, not {value!r}", at=calling_place())
    return float(value)


def _fixed_env(env: Mapping[str, str] | Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The declared environment: a mapping as it is, a list of names with the values they have now."""
    if isinstance(env, str):
        raise TaskError(f"env is a mapping, or a list of names such as [{env!r}]", at=calling_place())
    if not isinstance(env, Mapping):
        current = session()
        env = {name: value for name in env if (value := current.environment(name)) is not None}
    for name, value in env.items():
        if not isinstance(name, str) or not isinstance(value, str) or "=" in name or "\0" in name + value:
            raise TaskError(f"env: {name!r} cannot be set to {value!r}", at=calling_place())
    return tuple(sorted(env.items()))


def _first_word(text: str) -> str:
    words = text.split()
    return os.path.basename(words[0]) if words else "bash"
