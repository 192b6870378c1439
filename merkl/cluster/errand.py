"""What travels to another machine and back: errands, and what came of them.

It decides what of a node is needed to run it.  It opens no store and no connection.

The invariant: contents do not travel this way, but by their digests through the store that is shared; and a node there has
the keys that it has here.
"""

import os
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, Final

from merkl.bash.task import BashCall
from merkl.dataclass import dataclass
from merkl.digest import Digest, Key
from merkl.errors import MerklError
from merkl.nodes import Artifact, Dep, Future, Node, Part, Shared
from merkl.python.parcel import Parcel
from merkl.remotes import RemoteConfig
from merkl.resources import USUAL, Needs
from merkl.store.base import Record

PROTOCOL: Final = 4  # As pickled; the other side has the same merkl, which is checked.


@dataclass(frozen=True, slots=True)
class Sender:
    """What all errands of one build have in common.

    ``session`` is a name of its own; ``root`` is the project's here; ``mark`` is the id of the shared store, filled in when it has
    one; ``trust`` are entries as in ``MERKL_TRUST``; ``secret``
    is the key that results are signed with there; ``path`` is ``sys.path``; ``runs`` says what both sides must agree in; ``keep`` is
    how many bytes a machine keeps that it has no use for.
    """

    session: str
    executor: str
    root: str
    remote: RemoteConfig
    trust: str
    secret: str
    project_modules: tuple[str, ...]
    path: tuple[str, ...]
    log_limit: int
    runs: Mapping[str, str]
    keep: int
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Errand:
    """One node, and what is needed to run it; ``ticket`` is the sender's.

    ``texts`` names the texts of the project's modules, ``files`` a directory of files that it may discover; both are
    contents of the shared store.  ``again``: it runs whatever the store knows.  ``named``: its record answers its key.
    """

    ticket: int
    number: int
    node: Node
    inputs: tuple[Artifact, ...]
    content: Key
    arguments: Mapping[str, Any]
    dependencies: Sequence[Any]
    secrets: Mapping[str, str]
    texts: Digest | None = None
    files: Digest | None = None
    again: bool = False
    named: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one errand.

    A ``record``, whose contents are in the shared store; or an ``error``; or neither, if it has not begun and is not going
    to.  ``found``: it had been made before.  ``where`` names the machine.
    """

    ticket: int
    record: Record | None = None
    error: MerklError | None = None
    log: bytes | None = None
    seconds: float = 0.0
    started_ns: int = 0
    interrupted: bool = False
    found: bool = False
    where: str = ""


@dataclass(frozen=True, slots=True)
class Stub:
    """Stands for the call of a node that an errand only names: one that made an input."""

    task_name: str
    retries: int = 0
    interactive: bool = False
    eager: bool = False
    secrets: tuple[str, ...] = ()
    needs: Needs = USUAL
    target: str = ""
    subject: str = ""

    def parts(self) -> list[Part]:
        """None: nobody asks."""
        return []


def slim(node: Node, call: BashCall | Parcel) -> Node:
    """A node as it travels: those it depends on are named, and nothing of what they depend on."""
    deps = tuple(Dep(Future(_named(dep.future.node), dep.future.output), dep.name) for dep in node.deps)
    shared = Shared(cache=node.cache, discovers=node.discovers)
    return Node(call, node.key, node.static, deps, node.sources, node.outputs, node.place, shared, node.open)


def _named(node: Node) -> Node:
    stub = Stub(node.name)
    return Node(stub, node.key, b"", (), (), node.outputs, node.place, Shared(), node.open)


def packed(errands: Sequence[Errand]) -> bytes:
    """Errands as bytes.  What a bash task holds of the user's goes by value, if it must.

    Raises:
        Exception: one cannot be pickled.
    """
    try:
        return pickle.dumps(list(errands), protocol=PROTOCOL)
    except Exception:  # noqa: BLE001 - whatever pickle or the user's own classes raise.
        import cloudpickle

        data: bytes = cloudpickle.dumps(list(errands), protocol=PROTOCOL)
        return data


def there(path: str, root: str, mirror: str) -> str:
    """A path of the sender as it is where ``mirror`` stands for ``root``; one outside stays."""
    if path == root:
        return mirror
    inside = os.path.join(root, "")
    return os.path.join(mirror, path.removeprefix(inside)) if path.startswith(inside) else path
