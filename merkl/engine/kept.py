"""A graph that was built, as it is kept between builds: what a change of an input leads to, without running the Merklfile.

It decides how nodes are made again of what is written down of them.  Bash tasks are whole; what Python tasks need in order to run is beside
it, since most changes need none of that; of other nodes there is only what those need that read them.  It knows no files.

The invariant: a node is made again for other inputs only if with those it had it gets the key it had.
"""

import _pickle as pickle  # Without what ``pickle`` imports besides.
import functools
import marshal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from merkl.bash.calls import is_bash_call
from merkl.dataclass import dataclass
from merkl.digest import Digest, Key
from merkl.engine.keptnodes import Said, slots_of
from merkl.engine.placement import Placement
from merkl.engine.rows import Numbers, Texts
from merkl.engine.select import Labels
from merkl.nodes import Call, Dep, Future, Node, Output, Place, Shared, Source
from merkl.python.calls import is_written_call
from merkl.resources import USUAL, Needs
from merkl.stamp import Stamp
from merkl.workspace.sidecar import SUFFIX

if TYPE_CHECKING:
    from merkl.bash.task import BashTask
    from merkl.python.written import WrittenCall, WrittenCalls

STEP: Final = 1  # It has a step when there is nothing to do.
DISCOVERS: Final = 2  # It finds inputs while it runs.
OPEN: Final = 4  # It has no record under its key.


class NotKept(Exception):
    """What is kept does not say enough: everything is to be found out anew."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The call of a node that only the Merklfile can make."""

    task_name: str
    subject: str = ""
    retries: int = 0
    interactive: bool = False
    eager: bool = False
    target: str = ""
    secrets: Sequence[str] = ()
    needs: Needs = USUAL

    def parts(self) -> list[Any]:
        """Nobody asks."""
        return []


class KeptNode(Node):
    """A node of which all but its key is made when somebody asks for it."""

    __slots__ = ("_graph", "_number")

    def __init__(self, graph: "Kept", number: int) -> None:
        object.__setattr__(self, "key", Key(graph.keys[number]))
        self._graph = graph
        self._number = number

    def __getattr__(self, name: str) -> Any:
        if name not in Node.__slots__:
            raise AttributeError(name)
        self._graph.fill(self, self._number)
        return getattr(self, name)


class Kept:
    """The nodes of one request by number, dependencies first.

    ``head`` is all that is kept.  ``deps`` and ``reads`` are the numbers of the nodes and sources that a node reads; ``flags``
    are ``STEP``, ``DISCOVERS`` and ``OPEN`` of each; what has steps took ``saved`` seconds in all.
    ``found`` are the readers of discovered files by path; ``read_calls`` reads what there is beside it of Python calls; ``fresh`` are
    rows of keys, of what is said and of sources that are other ones since ``head`` was written.
    """

    def __init__(
        self,
        head: dict[str, Any],
        read_calls: Callable[[], dict[str, Any] | None],
        fresh: Mapping[str, Mapping[int, bytes]],
    ) -> None:
        self.head: Final = head
        self._read_calls: Final = read_calls
        self._calls: tuple[WrittenCalls, Texts] | None = None
        self.keys: Final = Texts(head["keys"], fresh["keys"])
        self.deps: Final = Numbers(head["deps"])
        self.reads: Final = Numbers(head["reads"])
        self.said_of: Final = Texts(head["said"], fresh["said"])
        self.flags: Final[bytes] = head["flags"]
        self.sources: Final = Texts(head["sources"], fresh["sources"])
        self.found: Final[dict[str, list[int]]] = head["found"]
        self.numbers: Final[dict[bytes, int]] = {}  # Of nodes that somebody has met, by key.
        self._tasks: dict[int, BashTask] = {}
        self._nodes: dict[int, Node] = {}

    def written(self) -> dict[str, Any]:
        """All that is kept, as it is now."""
        return {
            **self.head,
            "keys": self.keys.written(),
            "said": self.said_of.written(),
            "sources": self.sources.written(),
            "placed": self.head["placed"][:],
        }

    def counted(self) -> tuple[int, float]:
        """How many nodes have a step when there is nothing to do, and how long those took (in seconds)."""
        return sum(map(self.flags.count, range(STEP, 8, 2))), self.head["saved"]

    def node(self, number: int) -> Node:
        """The node of that number."""
        node = self._nodes.get(number)
        if node is None:
            node = self._nodes[number] = KeptNode(self, number)
            self.numbers[node.key] = number
        return node

    def fill(self, node: Node, number: int) -> None:
        """Make what is missing of a node."""
        said = self.said(number)
        deps = tuple(self._deps(number, said, self.node))
        Node.__init__(
            node, self._call(said), node.key, said.static, deps, tuple(self._sources(number, {})), _outputs(said),
            Place(*said.place), Shared(said.cache, said.discovers), said.open,
        )  # fmt: skip
        object.__setattr__(node, "serial", said.serial)

    def said(self, number: int) -> Said:
        """What is written down of a node."""
        return Said(*marshal.loads(self.said_of[number]))

    def make_again(self, number: int, changed: Mapping[int, Source]) -> Node:
        """Let a node be what it is with these ``changed`` sources, by number, and with its dependencies as they are now.

        Raises:
            NotKept: it cannot be made here.
        """
        said = self.said(number)
        call = self._call(said) if said.python < 0 else self._python_call(said.python)
        before = KeptNode(self, number)
        then_read = list(self._deps(number, said, lambda each: KeptNode(self, each)))
        then = self._again(call, before, then_read, list(self._sources(number, {})), said)
        if then.key != before.key:
            raise NotKept(f"{said.label} has something else in its key than what is kept")
        now = list(self._deps(number, said, self.node))
        node = self._again(call, before, now, list(self._sources(number, changed)), said)
        object.__setattr__(node, "serial", said.serial)
        self._nodes[number] = node
        self.numbers[node.key] = number
        return node

    def _again(
        self, call: Call, before: Node, deps: Sequence[Dep], sources: Sequence[Source], said: Said
    ) -> Node:
        if is_written_call(call):
            return call.again(before, deps, sources)
        if is_bash_call(call):
            return call.task.again(call, before.outputs, deps, sources, before.place)
        raise NotKept(f"{said.label} is a call that only the Merklfile can make")

    def _python_call(self, number: int) -> "WrittenCall":
        from merkl.python.written import WrittenCall

        if (beside := self._beside()) is None:
            raise NotKept("what is kept of Python calls is gone")
        calls, rows = beside
        return WrittenCall(calls, rows[number])

    def _beside(self) -> "tuple[WrittenCalls, Texts] | None":
        if self._calls is None and (kept := self._read_calls()) is not None:
            from merkl.python.written import WrittenCalls

            self._calls = WrittenCalls(kept["tasks"], kept["modules"], kept["path"]), Texts(kept["calls"], {})
        return self._calls

    def python_calls(self) -> "WrittenCalls | None":
        """What the Python calls of the graph have in common; None if it has none.

        Raises:
            NotKept: that is gone.
        """
        if not self.head["calls"]:
            return None
        if (beside := self._beside()) is None:
            raise NotKept("what is kept of Python calls is gone")
        return beside[0]

    @functools.cached_property
    def _placers(self) -> dict[str, int]:
        """By path the numbers of the nodes that place it: in bytes of their own, as most builds do not ask."""
        found: dict[str, int] = marshal.loads(self.head["placed"][:])
        return found

    @property
    def paths(self) -> Iterable[str]:
        """All paths that the graph places."""
        return self._placers

    def places(self, path: str) -> int | None:
        """The node that places a path, or a directory above it, or what a path is the sidecar of."""
        at = _at_or_above(path, self._placers) or _at_or_above(path.removesuffix(SUFFIX), self._placers)
        return self._placers[at] if at else None

    def directories_at(self, path: str) -> list[str]:
        """The inputs that are directories, and are at a path or above it."""
        known: dict[str, int] = self.head["directories"]
        found = []
        while known and (path := _at_or_above(path, known)):
            found.append(path)
            path = path.rpartition("/")[0]
        return found

    def placed_by(self, path: str) -> str | None:
        """The label of the node that places ``path``, or a directory above it; asked only where a task finds inputs."""
        number = self.places(path)
        return None if number is None else self.said(number).label

    def placements(self, number: int) -> list[Placement]:
        """Where the outputs of a node go."""
        node = self.node(number)
        return [
            Placement(Future(node, output), path, sidecar, target, Place(*place), serial)
            for output, path, sidecar, target, place, serial in self.said(number).placements
        ]

    def _deps(self, number: int, said: Said, node: Any) -> Iterable[Dep]:
        for each, (output, name) in zip(self.deps[number], said.deps, strict=True):
            yield Dep(Future(node(each), output), name)

    def _sources(self, number: int, changed: Mapping[int, Source]) -> Iterable[Source]:
        for each in self.reads[number]:
            yield changed[each] if each in changed else self.source(each)

    def source(self, number: int) -> Source:
        """The source of that number, as it was."""
        path, kind, digest, executable, stamp = marshal.loads(self.sources[number])
        return Source(path, kind, Digest(digest), executable, Stamp(*stamp))

    def _call(self, said: Said) -> Call:
        if said.task < 0:
            return Elsewhere(said.name, said.subject)
        task = self._tasks.get(said.task)
        if task is None:
            task = self._tasks[said.task] = pickle.loads(
                self.head["tasks"][said.task]
            )  # Written beside the index.
        from merkl.bash.task import BashCall  # There is one, so it is loaded.

        return BashCall(task, slots_of(said.slots), said.subject, said.tools)


def _at_or_above(path: str, paths: Mapping[str, int]) -> str:
    """The nearest of ``paths`` that is a path, or a directory above it; empty if there is none."""
    while path and path not in paths:
        path = path.rpartition("/")[0]
    return path


def _outputs(said: Said) -> tuple[Output, ...]:
    return tuple(Output(*each) for each in said.outputs)


class KeptLabels(Labels):
    """The names of nodes as they were, by key."""

    def __init__(self, kept: Kept) -> None:
        super().__init__()
        self._kept = kept

    def __missing__(self, key: Key) -> str:
        number = self._kept.numbers.get(key)
        if number is None:
            return super().__missing__(key)
        self[key] = label = self._kept.said(number).label
        return label
