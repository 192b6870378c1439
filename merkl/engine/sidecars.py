"""Futures from sidecars, and files of the workspace brought into the store.

It decides where the result is taken from that a sidecar names: the record under its key, else the bytes with its digest,
in the store or at the path itself.

The invariant: a Future that is returned has a result that was there a moment ago, so it never has to run.
"""

import os
from collections.abc import Mapping
from typing import Any, Final

from merkl.dataclass import dataclass, replace
from merkl.digest import Digest
from merkl.engine.contained import held, recorded
from merkl.errors import SidecarError
from merkl.nodes import Artifact, Future, Kind, Node, Output, Part, Shared, calling_place
from merkl.resources import USUAL, Needs
from merkl.store.base import Store
from merkl.workspace.index import FileIndex
from merkl.workspace.sidecar import Sidecar, read_sidecar, sidecar_of
from merkl.workspace.trees import read_tree

# Where what was placed is read as the very value that was stored.
_SAME: Final = {"json": ".json", "npy": ".npy"}


@dataclass(frozen=True, slots=True)
class LoadedCall:
    """Stands for the call that made what a sidecar describes."""

    task_name: str
    subject: str
    retries: int = 0
    interactive: bool = False
    eager: bool = False
    secrets: tuple[str, ...] = ()
    needs: Needs = USUAL
    target: str = ""

    def parts(self) -> list[Part]:
        """Nothing is known of them."""
        return []


def loaded(store: Store, index: FileIndex, path: str) -> Future[Any]:
    """The Future whose output was placed at ``path``, normalised, from the sidecar beside it.

    Raises:
        SidecarError: there is none, or it cannot be read, or no node made what it describes, or that is gone.
    """
    sidecar = read_sidecar(index.root, path)
    if sidecar is None:
        raise SidecarError(f"there is no {sidecar_of(path)}", hint="`future >> path` writes one")
    if sidecar.key is None:
        raise SidecarError(
            f"{sidecar_of(path)} is of data that no node made", hint=f"it is a file: file({path!r})"
        )
    given = _artifacts(store, index, path, sidecar)
    node = Node(
        call=LoadedCall(sidecar.task, path),
        key=sidecar.key,
        static=Digest.of(bytes(sidecar.key)),
        needs=(),
        sources=(),
        outputs=tuple(Output(name, each.kind, each.filename) for name, each in given.items()),
        place=calling_place(),
        shared=Shared(given=given),
    )
    return Future(node, sidecar.output)


def _artifacts(store: Store, index: FileIndex, path: str, sidecar: Sidecar) -> Mapping[str, Artifact]:
    assert sidecar.key is not None
    record = store.by_key([sidecar.key]).get(sidecar.key)
    artifact = None if record is None else recorded(store, record, sidecar.output)
    if record is not None and artifact is not None and store.present([held(artifact)]):
        return record.outputs if sidecar.output in record.outputs else {sidecar.output: artifact}
    described = Artifact(
        sidecar.kind, sidecar.digest, sidecar.size, sidecar.executable, filename=os.path.basename(path)
    )
    if not sidecar.serializer and _is_kept(store, index, path, described):
        return {sidecar.output: described}
    if path.endswith(_SAME.get(sidecar.serializer, "\0")) and _is_kept(store, index, path, described):
        value = replace(described, kind="value", serializer=sidecar.serializer, filename="")
        return {sidecar.output: value}
    where = f"not at {path}" if not sidecar.serializer else f"the value cannot be told from {path}"
    raise SidecarError(
        f"what {sidecar_of(path)} describes is in no store here, and {where}",
        hint="build the target that makes it",
        task=sidecar.task,
    )


def _is_kept(store: Store, index: FileIndex, path: str, described: Artifact) -> bool:
    """Whether the bytes are in the store, or were brought there from the path."""
    if described.digest in store.present([described]):
        return True
    found = index.look(path)
    if not isinstance(found, Artifact) or (found.kind, found.digest) != (described.kind, described.digest):
        return False
    return keep(store, index.root, path, found.kind) == described.digest


def keep(store: Store, root: str, path: str, kind: Kind, *, durable: bool = False) -> Digest:
    """Put the file or directory at ``path`` of the project into the store; its digest.

    Raises:
        StoreError: there is no room.
        TaskFailed: a directory holds something that cannot be kept, such as a socket.
    """
    where = os.fsencode(os.path.join(root, path))
    if kind != "dir":
        return store.put_file(where, durable=durable)

    def take(file: bytes, found: os.stat_result) -> tuple[Digest, int]:
        return store.put_file(file, durable=durable), found.st_size

    return store.put([read_tree(where, take, "edit", shown=path).encode()], durable=durable)
