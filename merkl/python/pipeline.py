"""``@pipeline``: a function that calls tasks, whose calls are remembered.

It decides what a call of a pipeline is known by: the code that it can reach, and its arguments.  Whether it must run is the
session's to say.

The invariant: a pipeline returns what its function would return, whether that ran or not.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Never, ParamSpec, TypeVar, overload

from merkl.dataclass import dataclass
from merkl.digest import Key, key_of
from merkl.errors import InputMissing, TaskError, UnhashableArgument, did_you_mean
from merkl.nodes import Future, Place, Placeable, calling_place, session
from merkl.python.call import Freezer, rebuilt
from merkl.python.code import code_of, encode_hook
from merkl.python.extras import deps_of, encoded_deps
from merkl.python.project import Project
from merkl.python.task import by_value
from merkl.python.unfit import unfit
from merkl.tracebacks import trim

if TYPE_CHECKING:  # Imported with the first call.
    from merkl.python.checks import Checks

P = ParamSpec("P")
R = TypeVar("R")
X = TypeVar("X")

FORMAT: Final = 1  # Of what is remembered; bump to construct all anew.


@dataclass(frozen=True, slots=True)
class Construction:
    """One call of a pipeline.  Implements ``nodes.Construction``.

    ``key`` is None, and ``reason`` says why, if no two calls can be told to be alike.
    """

    pipeline: "Pipeline[Any, Any]"
    bound: inspect.BoundArguments
    place: Place
    key: Key | None
    reason: str
    inputs: Sequence[Future[Any]]

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.pipeline.name

    def run(self) -> Any:
        """Run the function; what it yields must have ended before what it makes from then on."""
        value = self.pipeline.function(*self.bound.args, **self.bound.kwargs)
        if not inspect.isgenerator(value):
            return value
        while True:
            try:
                yielded = next(value)
            except StopIteration as ended:
                return ended.value
            session().first(_futures_in(yielded, self.pipeline))


class Pipeline(Placeable, Generic[P, R]):
    """A function that calls tasks; made by ``@pipeline``.

    ``function`` is the function itself: call it to make all nodes here and now.
    """

    def __init__(
        self, function: Callable[P, R], place: Place, *, deps: Sequence[object] = (), cache: bool = True
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.place = place
        self.deps = tuple(deps)
        self.cache = cache
        self.name: str = getattr(function, "__name__", "pipeline")

    def __repr__(self) -> str:
        return f"<pipeline {self.name}{self.signature}>"

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The function's own signature."""
        return inspect.signature(self.function)

    @functools.cached_property
    def _checks(self) -> "Checks":
        from merkl.python.checks import Checks
        from merkl.python.hints import Hints

        return Checks(
            self.name, Hints(self.function, self.signature), self.place, whole=False, kind="pipeline"
        )

    @overload
    def __call__(self: "Pipeline[P, Never]", *args: P.args, **kwargs: P.kwargs) -> Any: ...  # Without a hint.
    @overload
    def __call__(self: "Pipeline[P, Generator[Any, Any, X]]", *args: P.args, **kwargs: P.kwargs) -> X: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the function returns; of a generator, what it returns at its end.

        Raises:
            CallError: the arguments do not fit the signature.
            SerializationError: a task that it calls keeps no results.
        """
        try:
            return session().construct(self._construction(args, kwargs))
        except Exception as error:
            trim(error)
            raise

    def _construction(self, args: Any, kwargs: Any) -> Construction:
        place = calling_place()
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError:
            raise unfit(self.name, self.signature, args, kwargs, at=place, defined=self.place) from None
        bound.apply_defaults()
        self._checks.call(bound.arguments, place)
        if not self.cache:
            return Construction(self, bound, place, None, "", ())
        current = session()
        project = Project(current.root, current.project_modules)
        freezer = Freezer(encode_hook(project))
        try:
            code = code_of(self.function, project)
            encoded = [
                (name, freezer.encode(freezer.freeze(value, self.name, name), self.name, name))
                for name, value in bound.arguments.items()
            ]
            encoded += [("deps", dep) for dep in encoded_deps(self.deps, freezer, self.name, project)]
        except (UnhashableArgument, InputMissing, TaskError) as error:
            return Construction(self, bound, place, None, error.headline, ())
        inputs = [dep.future for dep in freezer.deps]
        named = [(bytes(each.node.key), each.output) for each in inputs]
        files = [(str.__str__(each.path), each.kind, bytes(each.digest)) for each in freezer.sources]
        try:
            key = key_of("pipeline", FORMAT, self.name, bytes(code.digest), encoded, named, files)
        except UnhashableArgument:  # All of it is plain and flat: it is the stack that has no room.
            raise RecursionError from None
        return Construction(self, bound, place, key, "", tuple(inputs))

    def __reduce__(self) -> Any:
        # As tasks travel: by reference wherever it can be found again.
        module = sys.modules.get(self.function.__module__)
        if module is not None and not by_value(module) and getattr(module, self.name, None) is self:
            return getattr, (module, self.name)
        return Pipeline.__new__, (Pipeline,), (self.function, self.place, self.deps, self.cache)

    def __setstate__(self, state: Any) -> None:
        function, place, deps, cache = state
        Pipeline.__init__(self, function, place, deps=deps, cache=cache)


def _futures_in(yielded: Any, pipeline: Pipeline[Any, Any]) -> list[Future[Any]]:
    """The Futures in what a pipeline yields.

    Raises:
        TaskError: something else is in it.
    """
    found: list[Future[Any]] = []

    def see(value: Any) -> Any:
        if isinstance(value, Future):
            found.append(value)
        elif isinstance(value, (list, tuple, dict, set, frozenset)):
            rebuilt(value, see)
        else:
            raise TaskError(
                f"the pipeline {pipeline.name} yields {value!r:.80}, and not a Future",
                hint="yield what must have ended before what follows, and return the result",
                at=pipeline.place,
            )
        return value

    see(yielded)
    return found


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...
@overload
def pipeline(
    *, deps: Sequence[object] = ..., cache: bool = ...
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...


def pipeline(
    function: Callable[..., Any] | None = None,
    /,
    *,
    deps: Sequence[object] = (),
    cache: bool = True,
    **unknown: object,
) -> Any:
    """Make a pipeline of a function that calls tasks; bare, or with options.

    A call returns what the function returns, with Futures anywhere in it.  What it made is remembered: while its code, its
    arguments and what it looked at are as they were, and the results it leads to are there, the function does not run.  It
    may ``yield`` Futures, to say what must have ended before anything that it makes from then on starts.

    Args:
        deps: more that decides what it makes: functions, files, plain values.
        cache: False runs the function whenever it is called.

    Raises:
        TaskError: this is no function, or there is no such option.
    """
    place = calling_place()
    for name in unknown:
        hint = did_you_mean(
            name, ["deps", "cache"], "it takes deps=[…] and cache=; others are options of @task"
        )
        raise TaskError(f"@pipeline has no option {name!r}", hint=hint, at=place)
    if not isinstance(cache, bool):
        raise TaskError("@pipeline takes cache=True or False", at=place)
    counted = deps_of(deps)

    def declare(decorated: Any) -> Pipeline[Any, Any]:
        if inspect.iscoroutinefunction(decorated) or inspect.isasyncgenfunction(decorated):
            raise TaskError(
                f"{decorated.__name__} is a coroutine, which a pipeline cannot be",
                hint="write `def`; what tasks do at the same time is for merkl to say",
                at=place,
            )
        if not callable(decorated) or isinstance(decorated, type):
            raise TaskError(f"@pipeline makes a pipeline of a function, and this is {decorated!r}", at=place)
        return Pipeline(decorated, place, deps=counted, cache=cache)

    return declare if function is None else declare(function)
