"""Results of many items: a list or a dict whose items are kept one by one, and the index that names them.

It decides the form of an index: a directory's tree, so that whatever follows a directory to its files follows a list to
its items.  It knows no store: how a blob is read is given to it.

The invariant: items keep their order, and an index names every blob that its list needs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal, TypeVar, overload

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.errors import StoreCorrupt, TaskFailed, TaskOutsError
from merkl.nodes import Artifact
from merkl.python.outs import One, Outs
from merkl.python.placed import DICT, FILES, LIST
from merkl.store.serializers import WITH_PICKLE, is_pickled
from merkl.tree import Tree, TreeEntry

T = TypeVar("T")

_FILE: Final = "file"  # In an index: the item is a file with a name, in a directory of its own.
_NAMES: Final = b"names.json"  # Behind all numbers.
MOST: Final = 10**8


@dataclass(frozen=True, slots=True)
class Items(One):
    """One output that is a list or a dict of items, each kept by itself; ``form`` is ``list`` or ``dict``."""

    form: Literal["list", "dict"] = LIST


def declared_items(outs: object, function: Callable[..., Any], task: str) -> Items | None:
    """What ``outs=list`` and ``outs=dict`` say, and a function that is a generator; None for any other.

    Raises:
        TaskOutsError: a generator is said to have several outputs, or it is asynchronous.
    """
    import inspect

    if outs is list or outs is dict:
        return Items(form=DICT if outs is dict else LIST)
    if not inspect.isgeneratorfunction(function):
        return None
    if outs is None or (outs == 1 and outs is not True):
        return Items()
    raise TaskOutsError(
        f"{task} is a generator, whose one output is a list of what it yields, and outs={outs!r} says otherwise",
        hint="leave out outs=; outs=dict makes a dict of a generator that yields pairs of a name and a value",
    )


def list_of_names(outs: Outs) -> list[str]:
    """What of the shape of outputs is in a key."""
    return [*outs.names, outs.form] if isinstance(outs, Items) else list(outs.names)


# ---- the index -----------------------------------------------------------------------------------------------------


def index_of(items: Mapping[str, Artifact], form: str) -> tuple[Tree, str, bytes | None]:
    """The index of some items by name, in their order; what its artifact has as serializer; the bytes of the blob of
    names that a dict needs besides.

    Raises:
        TaskFailed: an item is a directory, which an index cannot name.
    """
    entries: list[TreeEntry] = []
    files = pickles = False
    for number, (name, made) in enumerate(items.items()):
        place = b"%08d" % number
        match made.kind:
            case "value":
                path = place + b"." + made.serializer.replace("%", "%25").replace("/", "%2f").encode()
                pickles = pickles or is_pickled(made.serializer)
                entries.append(TreeEntry(path, "file", made.digest, made.size))
            case "file":
                files = True
                folder = place + b"." + _FILE.encode()
                entries.append(TreeEntry(folder, "dir"))
                path = folder + b"/" + (made.filename.encode("utf-8", "surrogateescape") or b"file")
                entries.append(TreeEntry(path, "file", made.digest, made.size, made.executable))
            case "dir":
                raise TaskFailed(
                    f"the item {name} is a directory, which cannot be an item of a {form}",
                    hint="let the task return a file or a value",
                )
    names = None
    if form == DICT:
        import json  # Here and below: few results are dicts of items.

        names = json.dumps(list(items), separators=(",", ":")).encode()
        entries.append(TreeEntry(_NAMES, "file", Digest.of(names), len(names)))
    tree = Tree(tuple(sorted(entries, key=lambda entry: entry.path)))
    return tree, form + FILES * files + WITH_PICKLE * pickles, names


def read_index(artifact: Artifact, read: Callable[[Digest], bytes | None]) -> dict[str, Artifact]:
    """The items of a list by name, in their order; those of a list are named by their numbers.

    Raises:
        StoreCorrupt: it is no index, or is gone.
    """
    found: list[Artifact] = []
    names: list[str] | None = None
    try:
        for entry in Tree.decode(read(artifact.digest) or b"").entries:
            if entry.path == _NAMES and entry.digest is not None:
                import json

                names = json.loads(read(entry.digest) or b"")
            elif entry.digest is not None:
                found.append(_item(entry, entry.digest))
                if is_pickled(found[-1].serializer) and WITH_PICKLE not in artifact.serializer:
                    raise ValueError("it names a pickle, and its record none")
        listed = map(str, range(len(found))) if names is None else names
        return dict(zip(listed, found, strict=True))
    except ValueError as error:
        raise StoreCorrupt(f"the index of a list, {artifact.digest.short}, is damaged: {error}") from error


def _item(entry: TreeEntry, digest: Digest) -> Artifact:
    folder, inside, filename = entry.path.partition(b"/")
    if inside:
        name = filename.decode("utf-8", "surrogateescape")
        return Artifact("file", digest, entry.size, entry.executable, filename=name)
    label = folder.partition(b".")[2].decode().replace("%2f", "/").replace("%25", "%")
    return Artifact("value", digest, entry.size, serializer=label)


def path_in_view(number: int, made: Artifact) -> str:
    """Where a view of an index has an item that is a file."""
    return f"{number:08d}.{_FILE}/{made.filename or 'file'}"


# ---- what a task sees ----------------------------------------------------------------------------------------------


class MerklList(Sequence[T]):
    """The items of a list, each read when it is asked for, and not kept: what a task gets for a list of many items.

    It is equal to a list of the same values.
    """

    __slots__ = ("_items", "_load")

    def __init__(self, items: Sequence[Any], load: Callable[[Any], T]) -> None:
        self._items = items
        self._load = load

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> "MerklList[T]": ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return MerklList(self._items[index], self._load)
        return self._load(self._items[index])

    def __iter__(self) -> Iterator[T]:
        return map(self._load, self._items)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MerklList | list):
            return NotImplemented
        return len(self) == len(other) and all(
            mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(repr(value) for value in islice(self, 5))
        return f"MerklList([{shown}{', …' if len(self) > 5 else ''}])"

    def __reduce__(self) -> Any:
        return list, (list(self),)  # Its items are in this project's store, and nowhere else.


class MerklDict(Mapping[str, T]):
    """As ``MerklList``, for items that have names; equal to a dict of the same values."""

    __slots__ = ("_items", "_load")

    def __init__(self, items: Mapping[str, Any], load: Callable[[Any], T]) -> None:
        self._items = items
        self._load = load

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, name: str) -> T:
        return self._load(self._items[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name!r}: {value!r}" for name, value in islice(self.items(), 5))
        return f"MerklDict({{{shown}{', …' if len(self) > 5 else ''}}})"

    def __reduce__(self) -> Any:
        return dict, (dict(self.items()),)


def seen(items: Mapping[str, Any], form: str, load: Callable[[Any], T]) -> "MerklList[T] | MerklDict[T]":
    """What a task sees of items: ``load`` reads one of the values of ``items``."""
    if form.partition(" ")[0] == DICT:
        return MerklDict(items, load)
    return MerklList(list(items.values()), load)


def as_plain(value: object) -> object:
    """A list or dict with the values of the items of ``value``; whatever has none as it is."""
    if isinstance(value, MerklList):
        return list(value)
    return dict(value) if isinstance(value, MerklDict) else value


def one_by_one(result: object, form: str, task: str) -> Iterator[tuple[str, object]]:
    """The items of what a function returned, by name, as they come.

    Raises:
        TaskFailed: it is nothing that has items, or a name is no text or comes twice.
    """
    if form == LIST:
        if isinstance(result, str | bytes | Mapping) or not isinstance(result, Iterable):
            raise TaskFailed(
                f"{task} should return or yield the items of a list, and returned {result!r:.80}",
                hint="return a list, yield the items, or leave out outs=list",
            )
        for number, value in enumerate(result):
            yield str(number), value
        return
    known: set[str] = set()
    pairs = result.items() if isinstance(result, Mapping) else result
    if isinstance(pairs, str | bytes) or not isinstance(pairs, Iterable):
        raise TaskFailed(
            f"{task} should return a dict, or yield pairs, and returned {result!r:.80}",
            hint="return a dict, yield name, value, or leave out outs=dict",
        )
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise TaskFailed(
                f"{task} should yield pairs of a name and a value, and yielded {pair!r:.80}",
                hint="yield name, value",
            )
        if pair[0] in known:
            raise TaskFailed(
                f"{task} yielded the name {pair[0]!r} twice", hint="give each item a name of its own"
            )
        known.add(pair[0])
        yield pair


def items(values: Any) -> Any:
    """The items of a list that is one value: the function of a task like any other.

    Raises:
        TaskFailed: it is no list.
    """
    if isinstance(values, Mapping) or not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise TaskFailed(
            f"a task is mapped over a Future whose value is of type {type(values).__name__}, which is no list",
            hint="let the task that makes it return a list, or for a dict declare it @task(outs=dict)",
        )
    return values
