"""Outputs that lie inside another output: a file of a directory, an item of a bundle.

It decides what the name of such an output means, and derives its artifact from what the containing one says of itself, so
that records name only what a node declares.

The invariant: what is derived follows from the containing artifact's digest alone.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from merkl.dataclass import dataclass, field
from merkl.digest import Digest
from merkl.errors import StoreCorrupt, TaskOutsError
from merkl.nodes import Artifact, Node, inside_named, inside_of
from merkl.python.placed import is_index
from merkl.store.base import Record
from merkl.tree import Tree, TreeEntry, leads_to

if TYPE_CHECKING:
    from merkl.store.bundle import Reads

_SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class NotThere(Artifact):
    """Stands for an output that was named and not made; ``why`` says what was made, ``hint`` what may have been meant."""

    why: str = ""
    hint: str = ""


@dataclass(slots=True)
class Contents:
    """What is known of the insides of one step's outputs.

    ``wanted`` are the names whose bytes somebody needs, ``present`` the contents that the store was seen to have.
    """

    tables: dict[str, Mapping[str, Artifact]] = field(default_factory=dict)
    wanted: set[str] = field(default_factory=set)
    present: set[Digest] = field(default_factory=set)

    def forget(self) -> None:
        """The step is to run again."""
        self.tables.clear()
        self.present.clear()


def held(artifact: Artifact) -> Artifact:
    """What must be in the store for the bytes of ``artifact`` to be there: itself, or what it lies in."""
    if type(artifact) is Artifact:
        return artifact
    from merkl.store.bundle import Slice  # Few results are kept together.

    return artifact.holder if isinstance(artifact, Slice) else artifact


def find_inside(
    store: "Reads", node: Node, name: str, made: Mapping[str, Artifact], known: Contents
) -> Artifact | None:
    """The artifact of an output that lies inside one of those that were ``made``; None if its contents cannot be told."""
    outer, inner = inside_of(node, name) or (name, "")
    table = all_inside(store, outer, made, known)
    return None if table is None else table.get(inner) or _not_there(node.name, made[outer], inner, table)


def all_inside(
    store: "Reads", outer: str, made: Mapping[str, Artifact], known: Contents
) -> Mapping[str, Artifact] | None:
    """Everything that lies inside one of the outputs that were ``made``, by name; None if that cannot be told."""
    container = made.get(outer)
    if container is None:
        return None
    if outer not in known.tables:
        table = _table(store, container)
        if table is None:
            return None
        known.tables[outer] = table
    return known.tables[outer]


def recorded(store: "Reads", record: Record, name: str) -> Artifact | None:
    """What a record says of one output, or of one inside another; None if it says nothing of it."""
    place = inside_named(record.outputs, name)
    if place is None:
        return record.outputs.get(name)  # A file that several results make together has none.
    container = record.outputs.get(place[0])
    table = None if container is None else _table(store, container)
    return None if table is None else table.get(place[1])


def refuse_absent(node: Node, inputs: Sequence[Artifact]) -> None:
    """See that each input was made.

    Raises:
        TaskOutsError: one was not.
    """
    for artifact in inputs:
        if isinstance(artifact, NotThere):
            raise absent(artifact, reader=node.name, at=node.place)


def absent(artifact: NotThere, **details: object) -> TaskOutsError:
    """The error for an output that is not there."""
    return TaskOutsError(artifact.why, hint=artifact.hint, **details)


def unreadable(node: Node, name: str) -> NotThere:
    """For an output inside one that was made just now, and cannot be read all the same."""
    return NotThere(
        "file", Digest.of(name.encode("utf-8", "surrogateescape")), 0,
        why=f"what {node.name} made cannot be read again, so nothing is known of its {name!r}",
        hint="`merkl fsck` checks the store",
    )  # fmt: skip


def _table(store: "Reads", container: Artifact) -> Mapping[str, Artifact] | None:
    from merkl.python.items import read_index
    from merkl.store.bundle import is_bundle, items_of

    if is_bundle(container):
        return items_of(store, container)
    if is_index(container):
        try:
            return read_index(container, store.read)
        except StoreCorrupt:
            return None
    if container.kind != "dir":
        return {}
    data = store.read(container.digest)
    try:
        return None if data is None else files_of(Tree.decode(data))
    except ValueError:
        return None


def files_of(tree: Tree) -> dict[str, Artifact]:
    """The files of a directory by their paths in it; also links, as the files in it that they lead to."""
    entries = {entry.path: entry for entry in tree.entries}
    found = {}
    for entry in tree.entries:
        file = _file(entries, entry)
        if file is not None and file.digest is not None:
            path = _text(entry.path)
            filename = path.rpartition("/")[2]
            found[path] = Artifact("file", file.digest, file.size, file.executable, filename=filename)
    return found


def _file(entries: Mapping[bytes, TreeEntry], entry: TreeEntry) -> TreeEntry | None:
    if entry.kind != "link":
        return entry if entry.kind == "file" else None
    end = leads_to(entries, entry.path)  # What lies outside is not in the store.
    return entries[end] if end and entries[end].kind == "file" else None


def _not_there(task: str, container: Artifact, name: str, table: Mapping[str, Artifact]) -> NotThere:
    digest = Digest.of(bytes(container.digest) + name.encode("utf-8", "surrogateescape"))
    if container.kind != "dir":
        why = f"{task} has no output {name!r}: it returned a {container.kind}, not a directory"
        return NotThere("file", digest, 0, why=why, hint="return a DirRef, or leave out the […]")
    if is_index(container):
        why = f"{task} made {len(table)} item{'s' * (len(table) != 1)}, and none is {name!r}"
        hint = ""
        if table:
            names = list(table)
            import difflib

            near = difflib.get_close_matches(name, names[:10_000], n=3)
            hint = (
                f"its items are {names[0]} to {names[-1]}"
                if len(names) > 1
                else f"its only item is {names[0]}"
            )
            hint = f"did you mean {', '.join(near)}?" if near else hint
        return NotThere("file", digest, 0, why=why, hint=hint)
    import difflib

    near = difflib.get_close_matches(name, table, n=3)
    inside = [path for path in table if path.startswith(name + "/")]
    if inside:
        why, near = f"{task} made {name!r}, which is a directory: only its files can be named", inside[:3]
    else:
        why = f"{task} made no file {name!r}"
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        shown = ", ".join(list(table)[:_SHOWN]) + (", …" if len(table) > _SHOWN else "")
        hint = f"it made {shown}" if shown else "the directory that it made holds no files"
    return NotThere("file", digest, 0, why=why, hint=hint)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
