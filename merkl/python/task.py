"""``@task``: a Python function whose calls return Futures.

It decides what of a call enters its key: the code digest or the version, ``deps``, the names and values of the arguments.
It runs nothing.

The invariant: a call's key depends only on what the function can see through its code, its arguments and ``deps``.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, ParamSpec, TypeVar, Unpack, overload

from merkl.config import system_name
from merkl.digest import Digest, encode
from merkl.errors import CallError, TaskError
from merkl.nodes import (
    Output,
    Part,
    Place,
    Placeable,
    calling_place,
    make_node,
    session,
)
from merkl.python.call import Freezer, FromDep
from merkl.python.code import code_of, definition_of, encode_hook
from merkl.python.outs import Outs, declared_outs, deduced_outs, futures_of
from merkl.python.parts import Code
from merkl.python.project import Project
from merkl.python.settings import Settings, TaskOptions, settings_of
from merkl.resources import Needs
from merkl.workspace.refs import DirRef, FileRef

MERKLFILE_MODULE: Final = "Merklfile"  # What the loader calls the module; those included are inside it.

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class PythonCall:
    """One call: arguments by parameter, frozen; ``variadic`` says which one is ``*args`` and which ``**kwargs``."""

    task: "PythonTask[Any, Any]"
    arguments: Mapping[str, Any]
    code: Code | None
    subject: str
    shown: tuple[tuple[str, str], ...]

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
    def needs(self) -> Needs:
        """What it takes of the machine's resources."""
        return self.task.settings.needs

    def parts(self) -> list[Part]:
        """Code, version, arguments and extra dependencies."""
        parts = []
        if self.task.settings.version:
            parts.append(Part("option", "version", self.task.settings.version))
        if self.code is not None:
            parts += [Part("code", p.name, p.source, p.digest.short) for p in self.code.parts]
        for name, text in self.shown:
            short = text if len(text) <= 400 else f"{text[:400]}…"
            digest = "" if short == text else Digest.of(text.encode("utf-8", "replace")).short
            parts.append(Part("argument", name, short, digest))
        if not self.task.settings.portable:
            parts.append(Part("system", "", system_name()))
        return parts


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
        self._carried: Code | None = None  # In a worker: what the code was where the task was sent from.
        self._outs: Outs | None = None
        if settings.outs is not None:
            self._outs = declared_outs(settings.outs, self.name)

    def __repr__(self) -> str:
        return f"<task {self.name}{self.signature}>"

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
            if inspect.isgeneratorfunction(self.function) or inspect.iscoroutinefunction(self.function):
                raise TaskError(
                    f"{self.name} is a generator or a coroutine, which a task cannot be", at=self.place
                )
            self._outs = deduced_outs(definition_of(self.function), self.name)
        return self._outs

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return the Futures of a call.

        Raises:
            CallError: the arguments do not fit the signature.
            UnhashableArgument: one has no stable encoding.
        """
        place = calling_place()
        bound = self._bind(args, kwargs, place)
        current = session()
        project = Project(current.root, current.project_modules)
        freezer = Freezer(encode_hook(project))
        frozen = {name: freezer.freeze(value) for name, value in bound.items()}
        encoded = [(name, freezer.encode(value, self.name, name)) for name, value in frozen.items()]
        code = None if self.settings.version else self.code(project)
        static = encode((
            "python",
            self.name if code is None else "",
            self.settings.version if code is None else bytes(code.digest),
            encoded,
            [self._extra(dep, freezer) for dep in self.settings.deps],
            list(self.outs.names),
            "" if self.settings.portable else system_name(),
        ))  # fmt: skip
        shown = tuple((name, _shown(v)) for name, v in frozen.items() if not isinstance(v, FromDep))
        node = make_node(
            PythonCall(self, frozen, code, _subject(bound), shown),
            static,
            deps=freezer.deps,
            sources=freezer.sources,
            outputs=_outputs(self.outs),
            place=place,
            cache=self.settings.cache,
        )
        current.made(node)
        return futures_of(node, self.outs)

    def code(self, project: Project) -> Code:
        """The code digest of the function in ``project``."""
        return self._carried or code_of(
            self.function, project, self.settings.hash_mode, strict_source=self.settings.strict_source
        )

    def _bind(self, args: Any, kwargs: Any, place: Place) -> dict[str, Any]:
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            passed = ", ".join(
                [*(_shown(a, 30) for a in args), *(f"{k}={_shown(v, 30)}" for k, v in kwargs.items())]
            )
            raise CallError(
                f"{self.name} was called with arguments it does not take: {error}",
                signature=f"{self.name}{self.signature}",
                passed=f"({passed})",
                at=place,
            ) from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def _extra(self, dep: object, freezer: Freezer) -> object:
        """What a member of ``deps=`` is in the key."""
        if isinstance(dep, PythonTask):
            dep = dep.function
        frozen = freezer.freeze(dep)
        return freezer.encode(frozen, self.name, "deps")

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
        if not self.settings.version:
            current = session()
            code = self.code(Project(current.root, current.project_modules))
        return self.function, self.settings, self.place, self.outs, code

    def __setstate__(self, state: Any) -> None:
        function, settings, place, outs, code = state
        PythonTask.__init__(self, function, settings, place)
        self._outs, self._carried = outs, code


def by_value(module: object) -> bool:
    """Whether what a module defines travels as it is: nobody else could import a Merklfile or the script."""
    name = getattr(module, "__name__", "")
    return name == "__main__" or name.partition(".")[0] == MERKLFILE_MODULE


def _find_task(module: str, name: str) -> Any:
    import importlib

    return getattr(importlib.import_module(module), name)


def _outputs(outs: Outs) -> list[Output]:
    return [Output(name, "value") for name in outs.names]


def _shown(value: object, most: int = 10_000) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _subject(bound: Mapping[str, Any]) -> str:
    """A few words that tell this call from others: the first file, else plain arguments."""
    for value in bound.values():
        if isinstance(value, (FileRef, DirRef)):
            return str(value)
    plain = [f"{n}={v!r}" for n, v in bound.items() if isinstance(v, (str, int, float, bool))]
    text = ", ".join(plain)
    return text if len(text) <= 60 else f"{text[:59]}…"


@overload
def task(function: Callable[P, R], /) -> PythonTask[P, R]: ...
@overload
def task(**options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], PythonTask[P, R]]: ...


def task(function: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
    """Make a task of a function; bare, or with options.

    A call returns Futures and runs nothing.  How many is told from the return statements (a tuple literal gives a tuple, a
    dict literal with string keys a dict) or from ``outs``.  ``version`` replaces the code in the key; ``deps`` adds to it
    what merkl cannot see.  ``cache=False`` runs it once in every build that reaches it.  ``interactive`` gives it the
    terminal, alone.  ``nice`` and ``resources`` are what it takes of the machine; they are not in the key.

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
