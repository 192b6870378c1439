"""``@batch``: one run of a function for many calls of a task.

It decides what an item is, which node it becomes, and what one run of the batch function gets and must return.  It knows
no store: which items miss is the engine's to say.

The invariant: each item's node has the key that a call of the single task with it has, so it does not matter to anybody
who reads a result whether a batch made it, or with which others.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, Generic, Never, TypeVar, Unpack, cast, get_args, get_origin, overload

from merkl.dataclass import dataclass, field, replace
from merkl.digest import Key
from merkl.errors import BatchTaskError, TaskOutsError, did_you_mean
from merkl.nodes import (
    Dep,
    Future,
    Node,
    Place,
    Source,
    calling_place,
    evaluating,
    gathering,
    make_node,
    session,
    with_call,
)
from merkl.python.call import FromDep, rebuilt
from merkl.python.items import Items
from merkl.python.outs import Outs, futures_of, split_result
from merkl.python.parts import Code
from merkl.python.project import Project
from merkl.python.settings import Settings, TaskOptions, settings_of
from merkl.python.task import PythonCall, PythonTask
from merkl.python.unfit import unfit
from merkl.resources import LOCAL, Needs

R = TypeVar("R")

# The rest is the single's.
_OF_THE_RUN: Final = frozenset({"deps", "timeout", "retries", "nice", "resources", "eager"})
_NO_VALUE: Final = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class EachItem:
    """Stands in the keys of a batch task without a single task, which is called for one item and runs for many."""

    version: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class BatchRun:
    """One call of a batch task; ``counts`` says of the keys of its items, in their order, how often each is there."""

    task: "BatchTask[Any]"
    code: Code | None
    place: Place
    counts: dict[Key, int] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)  # Of all its items, which have one log.


@dataclass(slots=True, eq=False)
class BatchedCall(PythonCall):
    """A call of the single task that runs together with others of its batch."""

    batch: BatchRun

    @property
    def retries(self) -> int:
        """How often a failed run of the batch is repeated."""
        return self.batch.task.settings.retries

    @property
    def interactive(self) -> bool:
        """A batch never gets the terminal."""
        return False

    @property
    def eager(self) -> bool:
        """Whether a batch is started when it is called."""
        return self.batch.task.settings.eager

    @property
    def secrets(self) -> Sequence[str]:
        """The environment variables whose values the batch gets and nobody is to see."""
        return sorted(self.batch.secrets)

    @property
    def needs(self) -> Needs:
        """What a run of the batch takes of the machine's resources."""
        return self.batch.task.settings.needs

    @property
    def target(self) -> str:
        """None: a batch is put together and run on this machine."""
        return ""


@dataclass(slots=True, eq=False)
class WholeCall(PythonCall):
    """One run of a batch function.  ``each`` are the shapes of the outputs of its items."""

    each: tuple[Outs, ...]

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments, and under no name what the worker needs besides."""
        return {**dict(zip(self.task.parameters, self.values, strict=True)), "": self.each}


class BatchTask(PythonTask[Any, Any], Generic[R]):
    """A function that runs once for many calls of ``single``; made by ``@batch``.

    ``single`` is None if the function is its own.  As a ``PythonTask`` it is what runs: a function of a list of items.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        single: PythonTask[Any, Any] | None,
        settings: Settings,
        place: Place,
    ) -> None:
        super().__init__(function, replace(settings, outs=1), place)
        self.single = single
        self.given = settings
        first, rest = _parameters(self)
        self.items_name = first
        if single is None:
            self.item_names: Sequence[str] = (first,)
            self.item_task = _own_single(self, settings)
        else:
            _check_kept(self, single)
            self.item_names = _item_names(self, single, rest)
            deps = (*single.settings.deps, *settings.deps)
            self.item_task = (
                single
                if not settings.deps and not single.settings.eager
                else PythonTask(
                    single.function, replace(single.settings, deps=deps, eager=False), single.place
                )
            )

    def __repr__(self) -> str:
        return f"<batch task {self.name}{self.signature}>"

    @overload  # type: ignore[override]
    def __call__(self: "BatchTask[Never]", items: Iterable[Any], /, **kwargs: Any) -> list[Any]: ...
    @overload
    def __call__(self: "BatchTask[tuple[Any, ...]]", items: Iterable[Any], /, **kwargs: Any) -> list[Any]: ...
    @overload
    def __call__(self, items: Iterable[Any], /, **kwargs: Any) -> list[Future[R]]: ...
    def __call__(self, items: Any = None, /, *more: Any, **kwargs: Any) -> list[Any]:
        """Return the Futures of each item, in order, as a call of the single task would.

        Raises:
            BatchTaskError: this is no iterable of items.
            CallError: the other arguments do not fit the signature.
        """
        place = calling_place()
        if more or self.items_name in kwargs:
            raise BatchTaskError(
                f"{self.name} takes its items, in one list, by position, and everything else by name",
                hint=f"{self.name}([item, …]); other arguments hold for all items",
                at=place,
            )
        items = self._checked(items, place)
        try:
            self.signature.bind(items, **kwargs)
        except TypeError:
            raise unfit(self.name, self.signature, [items], kwargs, at=place, defined=self.place) from None
        current = session()
        project = Project(current.root, current.project_modules)
        code = None if self.settings.names_code else self.code(project)
        run = BatchRun(self, code, place)
        made: dict[Key, Node] = {}
        result: list[Any] = []
        for item in items:
            arguments = item if len(self.item_names) > 1 else (item,)
            with gathering():  # They are evaluated together.
                one = self.item_task(**dict(zip(self.item_names, arguments, strict=True)), **kwargs)
            node = _node_of(one)
            known = made.get(node.key)
            run.secrets.update(node.call.secrets)
            if known is None:
                known = made[node.key] = _batched(node, run)
                current.made(known)
            run.counts[known.key] = run.counts.get(known.key, 0) + 1
            assert isinstance(known.call, PythonCall)
            result.append(futures_of(known, known.call.outs))
        if made and (self.settings.eager or evaluating()):
            current.begin(list(made.values()))
        return result

    def split(self, result: object, arguments: Mapping[str, Any]) -> Mapping[str, object]:
        """What the function returned, by position and output: ``"2:left"``.

        Raises:
            BatchTaskError: it is no list of one result for each item.
        """
        count = len(arguments[self.items_name])
        want = f"{self.name} should return a list of {count}, one result for each item"
        if not isinstance(result, list):
            seen = "None" if result is None else f"a {type(result).__name__}"
            raise BatchTaskError(f"{want}, and returned {seen}", hint="return list(…)")
        if len(result) != count:
            raise BatchTaskError(
                f"{want}, and returned {len(result)}", hint="return them in the order of the items"
            )
        found: dict[str, object] = {}
        checks = self.item_task.checks
        for index, (each, outs) in enumerate(zip(result, arguments[""], strict=True)):
            if checks is not None:
                checks.result(each)
            try:
                parts = split_result(each, outs, f"for item {index} {self.name}")
            except TaskOutsError as error:
                raise BatchTaskError(error.headline, hint=error.hint) from None
            found.update({f"{index}:{name}": value for name, value in parts.items()})
        return found

    def _checked(self, items: object, place: Place) -> list[Any]:
        if isinstance(items, Future):
            raise BatchTaskError(
                f"{self.name} was called with a Future, and how many items that has is not known before it has run",
                hint="call it with a list of items, which may be Futures, or with future.eval()",
                at=place,
            )
        if isinstance(items, (str, bytes, Mapping, set, frozenset)) or not isinstance(items, Iterable):
            if callable(items):
                raise BatchTaskError(
                    f"@batch(single) takes a task, and {self.name} is a plain function",
                    hint=f"write @task above {self.name}; a bare @batch needs no single task",
                    at=place,
                )
            raise BatchTaskError(
                f"{self.name} takes a list of items, or another iterable in a fixed order, not a {type(items).__name__}",
                hint=f"{self.name}([item, …])",
                at=place,
            )
        found: list[Any] = list(items)
        count = len(self.item_names)
        for index, item in enumerate(found) if count > 1 else ():
            if not isinstance(item, tuple) or len(item) != count:
                raise BatchTaskError(
                    f"item {index} of {self.name} is {item!r:.80}, and not a tuple of {count}: "
                    f"{', '.join(self.item_names)}",
                    hint=f"{self.name}([({', '.join(self.item_names)}), …])",
                    at=place,
                )
        return found

    def __reduce__(self) -> Any:
        how = super().__reduce__()
        if how[0] is not PythonTask.__new__:
            return how
        return BatchTask.__new__, (BatchTask,), self._state()

    def _state(self) -> tuple[object, ...]:
        return self.single, self.given, *super()._state()

    def __setstate__(self, state: Any) -> None:
        single, settings, function, _, place, _, code = state
        BatchTask.__init__(self, function, single, settings, place)
        self._carried = code


# ---- definition ----------------------------------------------------------------------------------------------------


@overload
def batch(function: Callable[..., list[R]], /) -> BatchTask[R]: ...
@overload
def batch(
    single: PythonTask[Any, R], /, **options: Unpack[TaskOptions]
) -> Callable[[Callable[..., Any]], BatchTask[R]]: ...
@overload
def batch(**options: Unpack[TaskOptions]) -> Callable[[Callable[..., list[R]]], BatchTask[R]]: ...


def batch(what: Any = None, /, **options: Any) -> Any:
    """Make a batch task of a function of a list of items that returns a list of one result for each.

    ``@batch(single)``: each item is a call of the task ``single``, and has its key; the function gets those that no cache
    knows.  Its own code is in no key: ``deps`` adds to the keys what should be.  Bare, the function's own code is, and
    ``outs`` says how many outputs an item has.  ``timeout``, ``retries``, ``nice`` and ``resources`` are those of one run.

    Raises:
        BatchTaskError: the function does not fit the single task, or an option contradicts.
    """
    place = calling_place()
    if what is None or isinstance(what, PythonTask):
        _check_single(what, options, place)
        settings = settings_of(options, "@batch")
        return lambda function: BatchTask(_checked_function(function, place), what, settings, place)
    settings = settings_of(options, "@batch")
    _check_here(options, place)
    return BatchTask(_checked_function(what, place), None, settings, place)


def _check_single(single: PythonTask[Any, Any] | None, options: Mapping[str, Any], place: Place) -> None:
    if isinstance(single, BatchTask):
        raise BatchTaskError(
            f"{single.name} is a batch task itself; the single task of a batch is made by @task", at=place
        )
    _check_here(options, place)
    for name in options if single is not None else ():
        if name in TaskOptions.__annotations__ and name not in _OF_THE_RUN:
            raise BatchTaskError(
                f"{name}= is for the single task to say: what {single.name if single else ''} makes is the same, "
                "however it is run",
                hint=f"give it to @task; @batch(single) takes {', '.join(sorted(_OF_THE_RUN))}",
                at=place,
            )


def _check_here(options: Mapping[str, Any], place: Place) -> None:
    """See that a batch is asked to run where it can: here, without the terminal."""
    if options.get("interactive"):
        raise BatchTaskError("a batch runs for many calls at once, and cannot be interactive", at=place)
    if options.get("target") not in (None, "", LOCAL):
        raise BatchTaskError(
            f"a batch is put together and run on this machine, and target= is {options['target']!r}",
            hint="leave out target=; the single task, called alone, may have one",
            at=place,
        )


def _checked_function(function: object, place: Place) -> Callable[..., Any]:
    if inspect.isfunction(function):
        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            raise BatchTaskError(
                f"{function.__name__} is a generator or a coroutine; a batch function returns a list",
                at=place,
            )
        return function
    name = getattr(function, "name", None) or getattr(function, "__name__", None) or repr(function)
    if isinstance(function, PythonTask):
        raise BatchTaskError(
            f"@batch makes a batch task of a function, and {name} is a task already", at=place,
            hint=f"@batch({name}) before the function that runs many of its calls",
        )  # fmt: skip
    raise BatchTaskError(
        f"{name} is neither a function nor a Python task, and so cannot be run in batches", at=place,
        hint="@batch(single) takes what @task made; a command runs once for each call",
    )  # fmt: skip


def _parameters(task: BatchTask[Any]) -> tuple[str, list[inspect.Parameter]]:
    """The parameter that gets the items, and the others.

    Raises:
        BatchTaskError: there is none, or one takes any number of arguments.
    """
    parameters = list(task.signature.parameters.values())
    for each in parameters:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            raise BatchTaskError(
                f"{task.name} takes {each}; a batch function names what it takes", at=task.place
            )
    if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise BatchTaskError(
            f"{task.name}{task.signature} has no parameter for the list of items", at=task.place
        )
    return parameters[0].name, parameters[1:]


def _item_names(
    task: BatchTask[Any], single: PythonTask[Any, Any], rest: Sequence[inspect.Parameter]
) -> Sequence[str]:
    """The parameters of the single task that an item stands for: all that have to be given and are not common to all.

    Raises:
        BatchTaskError: what is common does not agree.
    """
    theirs = single.signature.parameters
    for each in theirs.values():
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD, each.POSITIONAL_ONLY):
            raise BatchTaskError(
                f"{single.name}{single.signature} cannot be run in batches: an item needs a parameter with a name, "
                f"and {each} is none",
                at=task.place,
            )
    for each in rest:
        other = theirs.get(each.name)
        if other is None:
            raise BatchTaskError(
                f"{task.name} takes {each.name}, which {single.name}{single.signature} does not",
                hint=did_you_mean(each.name, theirs, "what all items share is a parameter of both"),
                at=task.place,
            )
        if not _is_same(each.default, other.default):
            raise BatchTaskError(
                f"{each.name} has {_default(each)} in {task.name} and {_default(other)} in {single.name}",
                at=task.place,
            )
    common = {each.name for each in rest}
    needed = [each for each in theirs.values() if each.default is _NO_VALUE and each.name not in common]
    lacks = next((each for each in needed if each.kind is each.KEYWORD_ONLY), None)
    if lacks is not None:
        raise BatchTaskError(
            f"{single.name} needs {lacks.name}, which {task.name} does not take",
            hint=f"def {task.name}(…, *, {lacks.name})",
            at=task.place,
        )
    if not needed:
        needed = [each for each in theirs.values() if each.name not in common][:1]
    if not needed:
        raise BatchTaskError(f"{single.name}{single.signature} has no parameter for an item", at=task.place)
    return tuple(each.name for each in needed)


def _is_same(one: object, other: object) -> bool:
    if one is other:
        return True
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:  # noqa: BLE001 - arrays, for one; and a user's __eq__ may raise anything
        return False


def _default(parameter: inspect.Parameter) -> str:
    return "no default" if parameter.default is _NO_VALUE else f"the default {parameter.default!r}"


def _own_single(task: BatchTask[Any], settings: Settings) -> PythonTask[Any, Any]:
    """What an item of a batch task without a single task is a call of: of its function, with hints that fit an item."""
    deps, outs = (*settings.deps, EachItem()), 1 if settings.outs is None else settings.outs
    single = PythonTask(task.function, replace(settings, deps=deps, outs=outs, eager=False), task.place)
    _check_kept(task, single)
    first, *rest = task.signature.parameters.values()
    returned = task.signature.return_annotation
    single._signature = task.signature.replace(
        parameters=[first.replace(annotation=_NO_VALUE), *rest],
        return_annotation=get_args(returned)[0] if get_origin(returned) is list else _NO_VALUE,
    )
    return single


def _check_kept(task: BatchTask[Any], single: PythonTask[Any, Any]) -> None:
    """See that outputs are kept one by one.

    Raises:
        BatchTaskError: they are items of a list, or are kept together.
    """
    if single.settings.capture:
        raise BatchTaskError(
            f"{single.name} captures its streams, and what a batch prints belongs to no item", at=task.place
        )
    if isinstance(single._outs, Items) or single.settings.together:
        what = "makes many items" if isinstance(single._outs, Items) else "keeps its outputs together"
        raise BatchTaskError(f"{single.name} {what}, and cannot be run in batches", at=task.place)


# ---- items ---------------------------------------------------------------------------------------------------------


def _node_of(made: Any) -> Node:
    if isinstance(made, Future):
        return made.node
    first = next(iter(made.values() if isinstance(made, dict) else made))
    return cast(Node, first.node)


def _batched(node: Node, run: BatchRun) -> Node:
    """The same node, that knows its batch."""
    call = node.call
    assert isinstance(call, PythonCall)
    known = {each.name: getattr(call, each.name) for each in fields(call)}
    return with_call(node, BatchedCall(**known, batch=run))


def said_of(node: Node) -> str:
    """What has to be known of a node's code: that of the batch function which runs it may be in no key."""
    run = node.call.batch if isinstance(node.call, BatchedCall) else None
    if run is None or run.task.single is None:
        return ""
    return (
        f"{node.name} runs in batches by {run.task.name}, whose own code is in no key; "
        f"@batch({node.name}, deps=[…]) adds to it"
    )


def whole_of(run: BatchRun, nodes: Sequence[Node]) -> Node:
    """One run of the batch function for ``nodes``, some of its items, as a node that is in no graph."""
    deps: dict[Future[Any], int] = {}
    sources: dict[str, Source] = {}
    items: list[Any] = []
    each: list[Outs] = []
    common: dict[str, Any] = {}
    names = run.task.item_names
    rest = [name for name in run.task.signature.parameters if name != run.task.items_name]
    for node in nodes:
        assert isinstance(node.call, PythonCall)
        place = [deps.setdefault(dep.future, len(deps)) for dep in node.deps]
        own = {name: _moved(value, place) for name, value in node.call.arguments.items()}
        sources.update({source.path: source for source in node.sources})
        each.append(node.call.outs)
        items.append(tuple(own[name] for name in names) if len(names) > 1 else own[names[0]])
        common = common or {name: own[name] for name in rest}
    count = f"{len(nodes)} item{'s' * (len(nodes) != 1)}"
    arguments = {run.task.items_name: items, **common}
    values = tuple(arguments[name] for name in run.task.parameters)
    return make_node(
        WholeCall(run.task, values, run.code, run.task.outs, count, b"", tuple(each)),
        b"".join(node.key for node in nodes),
        deps=[Dep(future) for future in deps],
        sources=list(sources.values()),
        outputs=(),
        place=run.place,
    )


def _moved(value: Any, place: Sequence[int]) -> Any:
    """A frozen argument whose inputs are at other positions."""
    if isinstance(value, FromDep):
        return FromDep(place[value.index])
    if type(value) in (str, int, float, bool, bytes, type(None)):
        return value
    return rebuilt(value, lambda item: _moved(item, place))
