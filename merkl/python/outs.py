"""How many outputs a Python task has, and what they are called.

It decides the shape that a call returns (one Future, a tuple, a dict) and splits a result into it.  It runs nothing.
"""

from collections.abc import Callable, Mapping, Sequence
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
