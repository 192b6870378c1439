"""How many outputs a Python task has, and what they are called.

It decides the shape that a call returns (one Future, a tuple, a dict) and splits a result into it.  It runs nothing.
"""

import ast
import inspect
import opcode
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from merkl.dataclass import dataclass
from merkl.errors import TaskOutsError
from merkl.nodes import Future, Node, Place
from merkl.python.directories import taken_apart
from merkl.workspace.refs import DirRef

RESULT: Final = "result"  # What the result of a task is called, where its streams are outputs too.


@dataclass(frozen=True, slots=True)
class One:
    """A single output."""

    names: tuple[str, ...] = ("",)


@dataclass(frozen=True, slots=True)
class Many:
    """A tuple of outputs, named ``0``, ``1``, …"""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A dict of outputs."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Captured:
    """The outputs of a task whose streams are captured: those of ``result``, and a value for each stream."""

    result: "One | Many | Named"
    streams: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all, the streams last."""
        return (*self.result_names, *(name for name, _ in self.streams))

    @property
    def result_names(self) -> tuple[str, ...]:
        """Those of the result: it has none of its own where it is one value."""
        return (RESULT,) if isinstance(self.result, One) else self.result.names

    def inner(self, output: str) -> str:
        """What an output of the result is called in a task without streams."""
        return "" if isinstance(self.result, One) else output


Outs: TypeAlias = One | Many | Named | Captured


class WithStdout(NamedTuple):
    """What a call returns with ``capture="stdout"``."""

    result: Any
    stdout: Future[Any]


class WithStderr(NamedTuple):
    """What a call returns with ``capture="stderr"``."""

    result: Any
    stderr: Future[Any]


class WithStreams(NamedTuple):
    """What a call returns with ``capture=("stdout", "stderr")``."""

    result: Any
    stdout: Future[Any]
    stderr: Future[Any]


_WITH_STREAMS: Final[dict[tuple[str, ...], Callable[..., Any]]] = {
    ("stdout",): WithStdout,
    ("stderr",): WithStderr,
    ("stdout", "stderr"): WithStreams,
}


def with_streams(outs: Outs, streams: tuple[tuple[str, str], ...], task: str, at: Place) -> Captured:
    """The outputs of a task whose streams are outputs too.

    Raises:
        TaskOutsError: one has the name of a stream.
    """
    assert not isinstance(outs, Captured)
    for name, _ in streams:
        if name in outs.names:
            raise TaskOutsError(
                f"{task} has an output {name!r}, which is what capture= calls its {name}",
                hint="give the output another name",
                at=at,
            )
    return Captured(outs, streams)


def declared_outs(outs: object, task: str) -> Outs:
    """Read ``outs=``: a number, or a list of names.

    Raises:
        TaskOutsError: it is zero, negative or no integer, or a name is no string, or stands twice.
    """
    if isinstance(outs, int) and not isinstance(outs, bool):
        if outs < 1:
            raise TaskOutsError(f"{task}: outs={outs} is no number of outputs", hint="outs is 1 or more")
        return One() if outs == 1 else Many(tuple(str(i) for i in range(outs)))
    if isinstance(outs, (list, tuple)) and outs:
        for name in outs:
            if not isinstance(name, str) or not name:
                raise TaskOutsError(f"{task}: outs names are strings, and {name!r} is none")
        if len(set(outs)) < len(outs):
            raise TaskOutsError(
                f"{task}: a name stands twice in outs={list(outs)!r}",
                hint="give each output a name of its own",
            )
        return Named(tuple(outs))
    raise TaskOutsError(
        f"{task}: outs={outs!r} is neither a number nor a list of names",
        hint="outs=3 makes a tuple of three Futures, outs=['a', 'b'] a dict of two",
    )


def check_outs_callable(outs: Callable[..., Any], signature: inspect.Signature, task: str, at: Place) -> None:
    """See that ``outs=`` can be called with what the task is called with.

    Raises:
        TaskOutsError: its parameters are not the task's own.
    """
    try:
        own = inspect.signature(outs)
    except (TypeError, ValueError):
        raise TaskOutsError(
            f"{task}: outs={outs!r:.80} has no signature that could be compared with the task's",
            hint="write a lambda with the parameters of the task",
            at=at,
        ) from None
    if [(p.name, p.kind) for p in own.parameters.values()] != [
        (p.name, p.kind) for p in signature.parameters.values()
    ]:
        raise TaskOutsError(
            f"{task}: outs= takes {own.replace(return_annotation=own.empty)}, and the task takes "
            f"{signature.replace(return_annotation=own.empty)}",
            hint="give it the parameters of the task, in the same order: outs=lambda data, k: k",
            at=at,
        )


def called_outs(
    outs: Callable[..., Any], signature: inspect.Signature, arguments: Mapping[str, Any], task: str, at: Place
) -> Outs:
    """The outputs of one call, of which ``outs`` says how many or which; it gets Futures as they are.

    Raises:
        TaskOutsError: it raised, or what it returned is neither.
    """
    bound = inspect.BoundArguments(signature, dict(arguments))
    try:
        said = outs(*bound.args, **bound.kwargs)
    except Exception as error:
        name = getattr(outs, "__name__", "outs")
        raise TaskOutsError(
            f"{task}: outs= ({name}) raised {type(error).__name__}: {str(error).partition(chr(10))[0]}",
            hint="it is called with the arguments of the call, where a Future has no value yet",
            at=at,
        ) from error
    if isinstance(said, Future):
        raise TaskOutsError(
            f"{task}: what outs= returned cannot be: a Future, which is no number before it has run",
            hint="pass the task a plain value, or call .eval() on the Future",
            at=at,
        )
    try:
        return declared_outs(list(said) if isinstance(said, (dict, Iterator)) else said, task)
    except TaskOutsError as error:
        raise TaskOutsError(
            f"{task}: what outs= returned cannot be: {error.headline.removeprefix(task + ': ')}",
            hint=error.hint,
            at=at,
        ) from None


_RETURNS: Final = frozenset(
    opcode.opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in opcode.opmap
)


def may_disagree(function: object) -> bool:
    """Whether the return statements of a function may be of more than one shape, told from its bytecode: it returns in
    several places."""
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    return code is not None and sum(byte in _RETURNS for byte in code.co_code[::2]) > 1


def deduced_outs(definition: ast.AST | None, task: str) -> Outs:
    """Deduce the outputs from a function's return statements.

    Tuple literals of one length give a tuple, dict literals with one set of string keys a dict, everything else one output.

    Raises:
        TaskOutsError: return statements do not agree.
    """
    if definition is None:
        return One()
    if isinstance(definition, ast.Lambda):
        shapes = {_shape(definition.body)}
    else:
        shapes = {_shape(value) for value in _returned(definition)}
    if len(shapes) > 1:
        lines = " and ".join(sorted(_describe(shape) for shape in shapes))
        raise TaskOutsError(
            f"{task} returns {lines}: its outputs cannot be told from its return statements",
            hint="make them agree, or say what they are: @task(outs=1), @task(outs=2), @task(outs=['a', 'b'])",
        )
    return next(iter(shapes)) if shapes else One()


def _returned(definition: ast.AST) -> list[ast.expr]:
    """The values of the return statements of a function, without those of functions inside it."""
    found: list[ast.expr] = []
    stack = list(ast.iter_child_nodes(definition))
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(node, ast.Return) and node.value is not None:
            found.append(node.value)
        stack += ast.iter_child_nodes(node)
    return found


def _shape(value: ast.expr) -> Outs:
    if (
        isinstance(value, ast.Tuple)
        and value.elts
        and not any(isinstance(e, ast.Starred) for e in value.elts)
    ):
        return Many(tuple(str(i) for i in range(len(value.elts))))
    if isinstance(value, ast.Dict) and value.keys:
        names = [
            key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
        ]
        if len(names) == len(value.keys) == len(set(names)):
            return Named(tuple(sorted(names)))
    return One()


def _describe(outs: Outs) -> str:
    match outs:
        case One():
            return "one value"
        case Captured(result):
            return _describe(result)
        case Many(names):
            return f"a tuple of {len(names)}"
        case Named(names):
            return f"a dict of {', '.join(names)}"


def futures_of(node: Node, outs: Outs) -> Any:
    """The Futures of a call, in the shape that ``outs`` says."""
    if isinstance(outs, One):  # Nearly all are, and ``Future[Any]`` would take ten times as long to make.
        return Future(node)
    if isinstance(outs, Captured):
        inside = [Future[Any](node, name) for name in outs.result_names]
        streams = {name: Future[Any](node, name) for name, _ in outs.streams}
        return _WITH_STREAMS[tuple(streams)](result=_shaped(outs.result, inside), **streams)
    return _shaped(outs, [Future[Any](node, name) for name in outs.names])


def _shaped(outs: One | Many | Named, futures: list[Future[Any]]) -> Any:
    match outs:
        case One():
            return futures[0]
        case Many():
            return tuple(futures)
        case Named(names):
            return dict(zip(names, futures, strict=True))


def split_result(result: object, outs: Outs, task: str) -> Mapping[str, object]:
    """What a function returned, by output name.

    Raises:
        TaskOutsError: it does not have the shape that ``outs`` says.
    """
    match outs:
        case Captured():
            inside = split_result(result, outs.result, task)
            return dict(zip(outs.result_names, inside.values(), strict=True))
        case One():
            return {"": result}
        case Many(names):
            if isinstance(result, (tuple, list)) and len(result) == len(names):
                return dict(zip(names, result, strict=True))
            raise TaskOutsError(
                f"{task} should return {len(names)} values, and returned {_seen(result)}",
                hint=f"return a tuple of {len(names)}, or say otherwise: @task(outs=…)",
            )
        case Named(names):
            if isinstance(result, DirRef):
                return taken_apart(result, names, task)
            if isinstance(result, Mapping) and set(result) == set(names):
                return {name: result[name] for name in names}
            raise TaskOutsError(
                f"{task} should return a dict of {', '.join(names)}, and returned {_seen(result)}",
                hint="return a dict with these names, or say otherwise: @task(outs=…)",
            )


def _seen(result: object) -> str:
    if isinstance(result, Mapping):
        return f"a dict of {', '.join(map(str, result))}"
    if isinstance(result, Sequence) and not isinstance(result, (str, bytes)):
        return f"{len(result)}"
    return f"a {type(result).__name__}"
