"""A Python call on its way to another machine: what of it does not depend on where it runs, and the job made of that there.

It decides nothing about what is sent: that is ``send``'s.  Nothing of the user's is unpickled before the process that runs it.

The invariant: a call that was parcelled gets what it would have got here, but for the paths, which are those of that machine.
"""

import os
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from merkl.dataclass import dataclass
from merkl.execute.base import CallJob
from merkl.execute.secrets import make_private
from merkl.execute.workplace import Workplace
from merkl.nodes import Artifact, Node, Part
from merkl.python.placed import has_files, is_index
from merkl.python.run import run_parcelled
from merkl.resources import USUAL, Needs


@dataclass(frozen=True, slots=True)
class Parcel:
    """A ``Call`` of a Python task that was made elsewhere.

    ``task``, ``forms`` and ``given``, its arguments and outputs, are pickled; ``timeout`` in seconds.
    """

    task_name: str
    subject: str
    secrets: Sequence[str]
    task: bytes
    forms: bytes
    given: bytes
    timeout: float | None
    nice: int

    @property
    def retries(self) -> int:
        """None: who sent it repeats it."""
        return 0

    @property
    def interactive(self) -> bool:
        """No: the terminal is elsewhere."""
        return False

    @property
    def eager(self) -> bool:
        """No."""
        return False

    @property
    def target(self) -> str:
        """Nowhere else: it is there."""
        return ""

    @property
    def needs(self) -> Needs:
        """What everything needs: who sent it saw to the rest."""
        return USUAL

    def parts(self) -> list[Part]:
        """None: they are where it was made."""
        return []


def inputs_seen(
    node: Node, inputs: Sequence[Artifact], place: Workplace
) -> tuple[bytes | Artifact | tuple[Artifact, bytes], ...]:
    """What a call gets for each of its inputs: an artifact of the store to load, a path of a view, or for a list both."""
    seen: list[bytes | Artifact | tuple[Artifact, bytes]] = []
    for dep, artifact in zip(node.deps, inputs, strict=True):
        if artifact.kind == "value" or (is_index(artifact) and not has_files(artifact)):
            seen.append(artifact)
        elif is_index(artifact):
            seen.append((artifact, place.view(artifact, b"items")))
        else:
            name = artifact.filename or dep.future.output or dep.future.node.name
            seen.append(place.view(artifact, os.fsencode(name)))
    return tuple(seen)


def prepare(node: Node, inputs: Sequence[Artifact], place: Workplace, texts: str) -> CallJob:
    """The job of a parcel; ``texts`` is a file as of ``send``, with the paths of this machine."""
    call = node.call
    assert isinstance(call, Parcel)
    kinds = tuple(artifact.kind for artifact in inputs)
    common = pickle.dumps(
        (call.task, place.root, place.stores, place.modules, texts, os.getpid(), place.watch, call.forms),
        protocol=5,
    )
    own = inputs_seen(node, inputs, place), kinds, place.stage, place.tmp
    if call.secrets:
        make_private(os.path.join(place.root, place.log))
    return CallJob(
        payload=pickle.dumps((run_parcelled, (common, call.given, *own)), protocol=5),
        log=os.path.join(place.root, place.log),
        cwd=place.root,
        timeout=call.timeout,
        nice=call.nice,
        variables=_variables(call, place),
    )


def _variables(call: Parcel, place: Workplace) -> Mapping[str, str]:
    """What the process of a call finds in its environment: what it was given of the machine, and its secrets."""
    found: dict[str, Any] = dict(place.variables)
    for name in call.secrets:
        if name.encode() in place.environ:
            found[name] = os.fsdecode(place.environ[name.encode()])
    return found
