"""``@task``: a Python function whose calls return Futures.

It decides what of a call enters its key: the code digest or the version, ``deps``, the names and values of the arguments.
It runs nothing.

The invariant: a call's key depends only on what the function can see through its code, its arguments and ``deps``.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Never, ParamSpec, TypeVar, Unpack, overload

from merkl.config import system_name
from merkl.dataclass import dataclass
from merkl.digest import Digest, encode, tagged
from merkl.errors import TaskError, TaskOutsError
from merkl.execute.secrets import Secret
from merkl.nodes import (
    Future,
    Output,
    Part,
    Place,
    Placeable,
    Shared,
    as_deps,
    calling_place,
    evaluating,
    make_node,
    plain_node,
    session,
)
from merkl.python.binder import Binder, binder_of
from merkl.python.call import Freezer, FromDep, secrets_in, unpacked
from merkl.python.capture import CaptureOption
from merkl.python.code import code_of, definition_of, encode_hook, holds, watch_of
from merkl.python.deduced import called_outs, check_outs_callable, deduced_outs, may_disagree
from merkl.python.directories import outputs_of
from merkl.python.extras import encoded_deps, shown_deps
from merkl.python.forms import Forms, forms_of
from merkl.python.items import Items, declared_items, items, list_of_names
from merkl.python.mapping import mapped
from merkl.python.outs import Captured, One, Outs, declared_outs, futures_of, split_result, with_streams
from merkl.python.parts import Code
from merkl.python.project import Project
from merkl.python.settings import OtherOptions, OutsOption, Settings, TaskOptions, check_ignored, settings_of
from merkl.python.unfit import shown, unfit
from merkl.python.versions import versions_of
from merkl.resources import Needs
from merkl.store.caches import OwnCache
from merkl.workspace.refs import DirRef, FileRef

if TYPE_CHECKING:  # Imported with the first call.
    from merkl.python.checks import Checks
    from merkl.python.hints import Hints
    from merkl.python.trail import Watch

MERKLFILE_MODULE: Final = "Merklfile"  # What the loader calls the module; those included are inside it.

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")


@dataclass(slots=True, eq=False)
class PythonCall:
    """One call: its arguments in the order of the parameters, frozen.

    ``outs`` is the shape of this call's outputs; ``label`` what tells it from others, if not its arguments.  Nothing of it
    is ever set again: it is no frozen dataclass only because that takes three times as long to make.
    """

    task: "PythonTask[Any, Any]"
    values: tuple[Any, ...]
    code: Code | None
    outs: Outs
    label: str
    static: bytes  # If there are sources: all else that the key is made of, but for dependencies.

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments by parameter."""
        return dict(zip(self.task.parameters, self.values, strict=True))

    @property
    def subject(self) -> str:
        """A few words that tell this call from others: the first file, else plain arguments."""
        return self.label or _subject(dict(self.task.counted(self.arguments)))

    @property
    def task_name(self) -> str:
        """The task's name."""
        return self.task.name

    @property
    def retries(self) -> int:
        """How often a failed attempt is repeated."""
        return self.task.settings.retries

    @property
    def interactive(self) -> bool:
        """Whether it gets the terminal."""
        return self.task.settings.interactive

    @property
    def eager(self) -> bool:
        """Whether it is started when it is called."""
        return self.task.settings.eager

    @property
    def secrets(self) -> Sequence[str]:
        """The environment variables whose values it gets and nobody is to see."""
        return secrets_in(self.values) if Secret.some else ()

    @property
    def needs(self) -> Needs:
        """What it takes of the machine's resources."""
        return self.task.settings.needs

    @property
    def nice(self) -> int:
        """By how much its process is nicer than others."""
        return self.task.settings.nice

    @property
    def cache_interrupted(self) -> bool:
        """Whether what it returned after Ctrl-C is kept."""
        return self.task.settings.cache_interrupted

    @property
    def target(self) -> str:
        """The executor it is to run on, if it names one."""
        return self.task.settings.target

    @property
    def own(self) -> OwnCache | None:
        """What it asks for besides the project's store."""
        return self.task.settings.own

    def parts(self) -> list[Part]:
        """Code, version, arguments and extra dependencies."""
        settings = self.task.settings
        parts = [Part("option", "hash_key", settings.hash_key)] if settings.hash_key else []
        if settings.version:
            parts.append(Part("option", "version", settings.version))
        if self.code is not None:
            parts += _code_parts(self.code)
        if labels := self.task.forms.labels():
            parts.append(Part("option", "serializers", labels))
        for name, value in self.task.counted(self.arguments):
            if isinstance(value, FromDep):
                continue
            text = shown(value)
            short = text if len(text) <= 400 else f"{text[:400]}…"
            digest = "" if short == text else Digest.of(text.encode("utf-8", "replace")).short
            parts.append(Part("argument", name, short, digest))
        parts += self.task.shown_deps()
        if not settings.portable:
            parts.append(Part("system", "", system_name()))
        return parts


_shown_last: tuple[Code, list[Part]] | None = None


def _code_parts(code: Code) -> list[Part]:
    """The parts of code, the same objects for the calls of one task that follow on each other."""
    global _shown_last
    last = _shown_last  # Another thread may ask, too.
    if last is None or last[0] is not code:
        parts = [Part("code", part.name, part.source, part.digest.short) for part in code.parts]
        last = _shown_last = code, parts
    return last[1]


class PythonTask(Placeable, Generic[P, R]):
    """A function that can be called for Futures; made by ``@task``.

    ``function`` is the function itself: call it to run the code here and now, as a test would.
    """

    def __init__(self, function: Callable[P, R], settings: Settings, place: Place) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.settings = settings
        self.place = place
        self.name: str = getattr(function, "__name__", "task")
        self._signature: inspect.Signature | None = None
        self._binder: Binder | None = None
        self._known: _Known | None = None
        self._carried: Code | None = None  # In a worker: what the code was where the task was sent from.
        self._outs: Outs | None = declared_items(settings.outs, function, self.name)
        if self._outs is None:
            self._outs = self._defined_outs()
        elif settings.capture:
            raise TaskOutsError(
                f"{self.name} makes many items, which are there before it has ended, so capture= has no streams of it",
                hint="let a task that returns one value print, or read its log: merkl log",
                at=place,
            )
        if settings.ignore_args:
            check_ignored(settings, self.signature, self.name, place)

    def __repr__(self) -> str:
        return f"<task {self.name}{self.signature}>"

    def _defined_outs(self) -> Outs | None:
        """The outputs, as far as they can be known where the task is defined."""
        outs = self.settings.outs
        if callable(outs):
            check_outs_callable(outs, self.signature, self.name, self.place)
            return None
        if outs is not None:
            return self._with_streams(declared_outs(outs, self.name))
        # Whose statements cannot disagree is not looked at before it is called.
        if not may_disagree(self.function):
            return None
        return self._with_streams(deduced_outs(definition_of(self.function), self.name))

    def _with_streams(self, outs: Outs) -> Outs:
        streams = self.settings.capture
        return outs if not streams else with_streams(outs, streams, self.name, self.place)

    @property
    def signature(self) -> inspect.Signature:
        """The function's own signature."""
        if self._signature is None:
            self._signature = inspect.signature(self.function)
        return self._signature

    @property
    def outs(self) -> Outs:
        """The outputs, declared or deduced.

        Raises:
            TaskOutsError: the return statements do not agree.
        """
        if self._outs is None:
            if callable(self.settings.outs):
                raise TaskOutsError(
                    f"{self.name}: its outs are told by a function, so only a call knows them",
                    hint="for a batch, outs= is a number or a list of names",
                    at=self.place,
                )
            if inspect.isasyncgenfunction(self.function) or inspect.iscoroutinefunction(self.function):
                raise TaskError(
                    f"{self.name} is a coroutine, which a task cannot be",
                    hint="write `def`, and asyncio.run(…) in it",
                    at=self.place,
                )
            self._outs = self._with_streams(deduced_outs(definition_of(self.function), self.name))
        return self._outs

    @functools.cached_property
    def hints(self) -> "Hints":
        """The type hints of the function; those of its results are carried by its Futures."""
        from merkl.python.hints import Hints

        return Hints(self.function, self.signature)

    @functools.cached_property
    def checks(self) -> "Checks | None":
        """What arguments and results are checked by; None with ``check="off"``."""
        from merkl.python.checks import Checks

        check = self.settings.check
        return None if check == "off" else Checks(self.name, self.hints, self.place, whole=check == "all")

    # Futures are passed where values are asked for: arguments are checked at the call.
    @overload
    def __call__(self: "PythonTask[..., Never]", *args: Any, **kwargs: Any) -> Any: ...  # Without a hint.
    @overload
    def __call__(self: "PythonTask[..., tuple[A]]", *args: Any, **kwargs: Any) -> tuple[Future[A]]: ...
    @overload
    def __call__(
        self: "PythonTask[..., tuple[A, B]]", *args: Any, **kwargs: Any
    ) -> tuple[Future[A], Future[B]]: ...
    @overload
    def __call__(
        self: "PythonTask[..., tuple[A, B, C]]", *args: Any, **kwargs: Any
    ) -> tuple[Future[A], Future[B], Future[C]]: ...
    @overload
    def __call__(
        self: "PythonTask[..., tuple[A, B, C, D]]", *args: Any, **kwargs: Any
    ) -> tuple[Future[A], Future[B], Future[C], Future[D]]: ...
    @overload
    def __call__(
        self: "PythonTask[..., tuple[A, B, C, D, E]]", *args: Any, **kwargs: Any
    ) -> tuple[Future[A], Future[B], Future[C], Future[D], Future[E]]: ...
    @overload
    def __call__(self, *args: Any, **kwargs: Any) -> Future[R]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the Futures of a call.

        Raises:
            CallError: the arguments do not fit the signature.
            UnhashableArgument: one has no stable encoding.
        """
        place = calling_place()
        try:
            arguments, encoded, inputs, deps, sources = (self._binder or self._made_binder())(*args, **kwargs)
        except TypeError:
            self._bind(args, kwargs, place)  # Says so, if the arguments do not fit.
            raise
        outs = self._outs or self._outs_of(args, kwargs, place)
        current = session()
        known = self._known
        if (
            known is None
            or known.root != current.root
            or known.modules != current.project_modules
            or (known.watch is not None and not known.holds(known.watch))
        ):
            known = self._known = _Known(self, current.root, current.project_modules)
        rest = known.rest
        if rest is None or outs is not self._outs:
            freezer = Freezer(encode_hook(known.project), [*deps, *as_deps(inputs)], list(sources))
            extra = encoded_deps(self.settings.deps, freezer, self.name, known.project)
            extra += [encode(("installed", version)) for version in self._versions(known.project)]
            rest = _rest(extra, outs, self.settings) + self.forms.encoded()
            inputs, deps, sources = None, freezer.deps, freezer.sources
            if not extra and outs is self._outs:
                known.rest = rest
        static = known.before[len(encoded), len(rest)] + encoded + rest
        settings = self.settings
        if outs is self._outs and not deps and not sources:
            node = plain_node(arguments, static, known.shared, inputs, known.outputs, place)
        else:
            node = make_node(
                PythonCall(self, unpacked(arguments), known.code, outs, "", static if sources else b""),
                static,
                deps=deps or as_deps(inputs),
                sources=sources,
                outputs=known.outputs if outs is self._outs else _outputs(outs, self),
                place=place,
                cache=settings.cache,
            )
        current.made(node)
        if settings.eager or evaluating():
            current.begin([node])
        return Future(node) if type(outs) is One else futures_of(node, outs)

    def map(self, items: Any, /, **shared: Any) -> Any:
        """A call for each item of ``items``, with the same further arguments: a Future of the list of their results.

        ``items`` is what a generator makes, or the Future of another list or dict; work on an item begins as soon as it is
        there.  Of a plain list or dict there is a call for each item at once, and a list or dict of their Futures.
        """
        return mapped(self, items, shared, _taken_apart)

    def split(self, result: object, arguments: Mapping[str, Any]) -> Mapping[str, object]:  # noqa: ARG002
        """What the function returned when it got ``arguments``, by output.

        Raises:
            TaskOutsError: it does not have the shape that ``outs`` says.
        """
        return split_result(result, self.outs, self.name)

    def code(self, project: Project) -> Code:
        """The code digest of the function in ``project``."""
        return self._carried or code_of(
            self.function, project, self.settings.hash_mode, strict_source=self.settings.strict_source
        )

    def watch(self, project: Project) -> "Watch | None":
        """What the code digest rests on besides texts; None if on nothing."""
        if self._carried is not None:
            return None
        return watch_of(
            self.function, project, self.settings.hash_mode, strict_source=self.settings.strict_source
        )

    @functools.cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, in order."""
        return tuple(self.signature.parameters)

    def counted(self, arguments: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """The arguments, by parameter, without what ``ignore_args`` leaves out."""
        ignored = self.settings.ignore_args
        return [
            (name, {n: v for n, v in value.items() if n not in ignored} if self._is_keywords(name) else value)
            for name, value in arguments.items()
            if name not in ignored
        ]

    def _is_keywords(self, name: str) -> bool:
        return (
            bool(self.settings.ignore_args)
            and self.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        )

    @functools.cached_property
    def forms(self) -> Forms:
        """The serializers of outputs and arguments that options and hints say."""
        return forms_of(self)

    def forget_forms(self) -> None:
        """Hear that another serializer was registered: the next call looks again."""
        self.__dict__.pop("forms", None)
        self._binder = self._known = None

    def _made_binder(self) -> Binder:
        checks = self.checks

        def check(bound: Mapping[str, Any]) -> None:
            assert checks is not None
            checks.call(bound, calling_place())

        exact = checks.exact if checks is not None else {}
        self._binder = binder_of(
            self.signature, self.name, self.settings.ignore_args, exact, check, self.forms.arguments()
        )
        return self._binder

    def _outs_of(self, args: Any, kwargs: Any, place: Place) -> Outs:
        """The outputs of one call, if they are not the same for all."""
        if not callable(self.settings.outs) or isinstance(self.settings.outs, type):
            return self.outs
        bound = self._bind(args, kwargs, place)
        return self._with_streams(called_outs(self.settings.outs, self.signature, bound, self.name, place))

    def _bind(self, args: Any, kwargs: Any, place: Place) -> dict[str, Any]:
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError:
            raise unfit(self.name, self.signature, args, kwargs, at=place, defined=self.place) from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def shown_deps(self) -> list[Part]:
        """What ``deps`` and ``auto_pip_versions`` had in the key of the last call."""
        if self._known is None or not (self.settings.deps or self.settings.auto_pip_versions):
            return []
        project = self._known.project
        installed = [version.split(" ", 1) for version in self._versions(project)]
        return shown_deps(self.settings.deps, project) + [Part("dependency", *each) for each in installed]

    def _versions(self, project: Project) -> tuple[str, ...]:
        """With ``auto_pip_versions``, the installed packages that the function reaches, whatever else stands for its code."""
        return versions_of(code_of(self.function, project).foreign) if self.settings.auto_pip_versions else ()

    def __reduce__(self) -> Any:
        # By reference wherever it can be found again; cloudpickle handles the Merklfile and __main__ by value.
        module = sys.modules.get(self.function.__module__)
        if module is not None and not by_value(module) and getattr(module, self.name, None) is self:
            return _find_task, (self.function.__module__, self.name)
        # Empty first, and filled later: the function may name its own task.
        return PythonTask.__new__, (PythonTask,), self._state()

    def _state(self) -> tuple[object, ...]:
        """What a process needs that does not have the function's text."""
        code = None
        if not self.settings.names_code:
            current = session()
            code = self.code(Project(current.root, current.project_modules))
        outs = None if callable(self.settings.outs) and self._outs is None else self.outs
        return self.function, self.settings, self.place, outs, code

    def __setstate__(self, state: Any) -> None:
        function, settings, place, outs, code = state
        PythonTask.__init__(self, function, settings, place)
        self._outs, self._carried = outs, code


class _Known:
    """What of a task's key is the same for all its calls in one project, for as long as its code is.  A ``CallMaker``.

    ``watch`` is what may show that it is not, if anything can.
    """

    __slots__ = (
        "_outs",
        "_task",
        "before",
        "code",
        "modules",
        "outputs",
        "own",
        "project",
        "rest",
        "root",
        "shared",
        "watch",
    )

    def __init__(self, task: PythonTask[Any, Any], root: str, modules: tuple[str, ...]) -> None:
        self.root = root
        self.modules = modules
        self.project = Project(root, modules)
        settings = task.settings
        self.code = None if settings.names_code else task.code(self.project)
        watch = task.watch(self.project) if self.code is not None else None
        self.watch = None if watch is None or not watch.sees_anything else watch
        self.own = settings.own
        self._task = task
        self._outs = task._outs
        name, version = settings.hash_key or task.name, settings.version
        code = (
            encode(name) + encode(version)
            if self.code is None
            else encode("") + encode(bytes(self.code.digest))
        )
        self.before = _Before(encode("python") + code)
        self.outputs = () if task._outs is None else _outputs(task._outs, task)
        self.rest: bytes | None = None
        self.shared = Shared(settings.cache, maker=self)

    def __call__(self, arguments: tuple[Any, ...], /) -> PythonCall:
        """A call with these arguments, of the task's own outputs."""
        assert self._outs is not None
        return PythonCall(self._task, unpacked(arguments), self.code, self._outs, "", b"")

    def holds(self, watch: "Watch") -> bool:
        """Whether nothing that the code was made from was changed since."""
        return holds(watch, self.project) if watch.mutable else watch.unmoved()


class _Before(dict[tuple[int, int], bytes]):
    """What stands before the encoded arguments in a key, by their length and that of what follows them."""

    def __init__(self, head: bytes) -> None:
        self._head = head

    def __missing__(self, lengths: tuple[int, int]) -> bytes:
        arguments, rest = lengths
        whole = tagged(b"t", self._head + tagged(b"l", bytes(arguments)) + bytes(rest))
        made = whole[: len(whole) - arguments - rest]
        if len(self) < 1_000:
            self[lengths] = made
        return made


def _rest(extra: list[Any], outs: Outs, settings: Settings) -> bytes:
    """The encoding of what follows the arguments in a key."""
    names = list_of_names(outs)
    shape = encode(("together", names) if settings.together else names)
    if isinstance(outs, Captured):
        shape = encode(("capture", list(outs.streams), list(outs.result.names)))
    return encode(extra) + shape + encode("" if settings.portable else system_name())


@functools.cache
def _apart() -> PythonTask[Any, Any]:
    settings = Settings(outs=list, version="merkl items 1")
    return PythonTask(items, settings, Place(__file__, 1))


def _taken_apart(values: Future[Any]) -> Any:
    """The items of a list that a task returned as one value."""
    return _apart()(values)


def by_value(module: object) -> bool:
    """Whether what a module defines travels as it is: nobody else could import a Merklfile or the script."""
    name = getattr(module, "__name__", "")
    return name == "__main__" or name.partition(".")[0] == MERKLFILE_MODULE


def _find_task(module: str, name: str) -> Any:
    import importlib

    return getattr(importlib.import_module(module), name)


def _outputs(outs: Outs, task: PythonTask[Any, Any]) -> tuple[Output, ...]:
    together = task.settings.together
    if isinstance(outs, Items) and not together:
        return (Output("", "value", holds=outs.form),)
    if isinstance(outs, Captured):
        streams = [Output(name, "value") for name, _ in outs.streams]
        made = outputs_of(outs.result_names, task.function, together=together, task=task.name)
        return (*made, *streams)
    return outputs_of(
        outs.names, task.function, together=together, task=task.name, dynamic=callable(task.settings.outs)
    )


def _subject(bound: Mapping[str, Any]) -> str:
    """A few words that tell this call from others: the first file, else plain arguments."""
    for value in bound.values():
        if isinstance(value, (FileRef, DirRef)):
            return str(value)
    plain = [f"{n}={shown(v)}" for n, v in bound.items() if isinstance(v, (str, int, float, bool))]
    text = ", ".join(plain)
    return text if len(text) <= 60 else f"{text[:59]}…"


if TYPE_CHECKING:  # What is said to type checkers of tasks whose ``outs`` are told.

    class OneOutput(PythonTask[P, R]):
        def __call__(self, *args: Any, **kwargs: Any) -> Future[R]: ...

    class NamedOutputs(PythonTask[P, R]):
        def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Future[Any]]: ...  # type: ignore[override]

    class AnyOutputs(PythonTask[P, R]):
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


@overload
def task(function: Callable[P, R], /) -> PythonTask[P, R]: ...
@overload
def task(  # type: ignore[overload-overlap]
    *, outs: Literal[1], **options: Unpack[OtherOptions]
) -> "Callable[[Callable[P, R]], OneOutput[P, R]]": ...
@overload
def task(  # type: ignore[overload-overlap]
    *, outs: list[str] | tuple[str, ...], **options: Unpack[OtherOptions]
) -> "Callable[[Callable[P, R]], NamedOutputs[P, R]]": ...
@overload
def task(
    *, capture: CaptureOption, outs: OutsOption = ..., **options: Unpack[OtherOptions]
) -> "Callable[[Callable[P, R]], AnyOutputs[P, R]]": ...
@overload
def task(
    *, outs: OutsOption, **options: Unpack[OtherOptions]
) -> "Callable[[Callable[P, R]], AnyOutputs[P, R]]": ...
@overload
def task(function: Callable[P, R], /, **options: Unpack[TaskOptions]) -> PythonTask[P, R]: ...
@overload
def task(**options: Unpack[OtherOptions]) -> Callable[[Callable[P, R]], PythonTask[P, R]]: ...


def task(function: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
    """Make a task of a function; bare, or with options.

    A call returns Futures and runs nothing.  How many is told from the return statements (a tuple literal gives a tuple, a
    dict literal with string keys a dict) or from ``outs``; a generator makes a list of items; ``together`` keeps many outputs
    in one place.  ``version`` replaces the code in the key; ``deps`` adds to it what merkl cannot see, ``auto_pip_versions``
    the versions of the installed packages that it reaches.  ``check`` says how much of a value is compared with its type
    hint.  ``eager`` starts each call in another process when it is made.  ``cache=False`` runs it once in every build that
    reaches it; ``cache_interrupted`` keeps what it returned after Ctrl-C, too.  ``capture`` makes its streams outputs beside
    the result.  ``interactive`` gives it the terminal, alone.  ``nice`` and ``resources`` are what it takes of the machine,
    ``target`` is the executor of merkl.yaml it runs on; they are not in the key.

    Raises:
        TaskOutsError: ``outs`` is wrong.
        TaskError: another option is, or this is no function.
    """
    if function is not None and not options:
        return PythonTask(_checked_function(function), Settings(), calling_place())
    settings = settings_of(options)
    place = calling_place()
    if function is not None:  # ``task(f, version="1")``, as one writes without the @.
        return PythonTask(_checked_function(function), settings, place)
    return lambda decorated: PythonTask(_checked_function(decorated), settings, place)


def _checked_function(function: object) -> Callable[..., Any]:
    if not callable(function) or isinstance(function, type):
        raise TaskError(f"@task makes a task of a function, and this is {function!r}", at=calling_place())
    return function
