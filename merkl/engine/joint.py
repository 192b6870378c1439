"""Paths at which the results of a batch are placed together, as one file of many values.

It decides which placements make one file, and what that file is made from.  It writes nothing.

The invariant: the values of a file are in the order in which they were placed, each as often as the batch has it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from merkl.dataclass import replace
from merkl.digest import Digest, Key, content_key_of, encode
from merkl.engine.judge import Judge
from merkl.engine.placement import Placement
from merkl.engine.step import Step
from merkl.errors import PlacementError, SerializationError
from merkl.nodes import Artifact, Future
from merkl.python.calls import batch_of
from merkl.store.base import Record
from merkl.workspace.ledger import JOINT

if TYPE_CHECKING:
    from merkl.python.batch import BatchRun


def joined(placements: Sequence[Placement]) -> tuple[Placement, ...] | None:
    """The placements at one path, if they make one file of many values; None if they do not.

    Raises:
        PlacementError: they are of different targets, or the file cannot hold several values.
    """
    runs = [batch_of(placement.future.node) for placement in placements]
    if not all(runs):
        return None
    from merkl.store.many import check_many, is_row_by_row  # Few builds have some.

    seen: Counter[tuple[BatchRun, Future[Any]]] = Counter()
    members: list[Placement] = []
    for run, placement in sorted(zip(runs, placements, strict=True), key=lambda pair: pair[1].serial):
        assert run is not None
        name = (run, placement.future)
        # Who places all of them twice does not mean it.
        if seen[name] < run.counts[placement.future.node.key]:
            seen[name] += 1
            members.append(placement)
    first = members[0]
    if len(members) == 1 and not is_row_by_row(first.path):
        return None
    other = next((each for each in members if each.target != first.target), None)
    if other is not None:
        raise PlacementError(
            f"results are placed at {first.path} by two targets, {first.target or 'none'} and {other.target or 'none'}",
            hint="let one target place all that is to be in one file",
        )
    try:
        check_many(first.path)
    except SerializationError as error:
        raise PlacementError(error.headline, hint=error.hint, at=first.place) from None
    futures = tuple(placement.future for placement in members)
    sidecar = any(placement.sidecar for placement in members)
    return tuple(replace(each, joint=futures, sidecar=sidecar) for each in members)


def once(placements: Iterable[Placement]) -> Iterator[Placement]:
    """One placement for each path."""
    seen: set[str] = set()
    for placement in placements:
        if placement.path not in seen:
            seen.add(placement.path)
            yield placement


def whole(placements: Sequence[Placement], some: Iterable[Placement]) -> list[Placement]:
    """``some`` of all ``placements``, and what goes into the same files."""
    chosen = list(some)
    paths = {each.path for each in chosen if batch_of(each.future.node) is not None}
    known = {id(each) for each in chosen}
    more = [each for each in placements if each.path in paths and id(each) not in known]
    return [*chosen, *(each for each in more if batch_of(each.future.node) is not None)]


def futures_of(placement: Placement) -> Sequence[Future[Any]]:
    """The Futures that what is at a path is made from."""
    return placement.joint or (placement.future,)


def artifact_at(judge: Judge, placement: Placement) -> Artifact | None:
    """What is to be at a path, as far as it is known."""
    if not placement.joint:
        return judge.artifact(placement.future)
    return combined([judge.artifact(future) for future in placement.joint])


def combined(artifacts: Sequence[Artifact | None]) -> Artifact | None:
    """What stands for a file of many values, all of which are known: equal if they are."""
    known = [each for each in artifacts if each is not None]
    if len(known) < len(artifacts):
        return None
    names = [(each.serializer, bytes(each.digest)) for each in known]
    return Artifact("value", Digest.of(encode(names)), 0, serializer=JOINT)


def require_whole(
    placements: Iterable[Placement], judge: Judge, is_there: Callable[[str, Artifact], bool]
) -> None:
    """Ask for the bytes of all that goes into a file of many values that will have to be written."""
    joint = [placement for placement in once(placements) if placement.joint]
    for placement in joint:
        artifact = artifact_at(judge, placement)
        if artifact is None or not is_there(placement.path, artifact):
            judge.require(placement.joint)
    if joint:
        judge.want([])


def maker_of(placement: Placement) -> tuple[Key, str]:
    """The key and the output of what is at a path."""
    if placement.joint:
        return key_of_file(placement), ""
    return placement.future.node.key, placement.future.output


def key_of_file(placement: Placement) -> Key:
    """What the sidecar of a file of many values names: they have no node in common."""
    names = [(bytes(future.node.key), future.output) for future in placement.joint]
    return Key(blake3(b"merkl joint 1\0" + encode(names)).digest())


def record_of(placement: Placement) -> Record:
    """What keeps the results that a file is made of in the store: a record that names them, and has no output itself."""
    key = key_of_file(placement)
    made = tuple(
        {"node": future.node.key.hex(), "task": future.node.name, "output": future.output}
        for future in dict.fromkeys(placement.joint)
    )
    content = content_key_of("joint", bytes(key))
    name = placement.future.node.name
    return Record(key, content, name, {}, (), 0.0, time.time_ns(), dependencies=made)


def step_of(judge: Judge, placement: Placement) -> Step:
    """The step that a path waits for: the first of its members that is not known, or one of them."""
    futures = futures_of(placement)
    first = next((future for future in futures if judge.artifact(future) is None), futures[0])
    return judge.steps[first.node.key]
