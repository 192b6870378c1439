"""Tracked outputs given to the nodes that make them now, after a refactor, by the user's word that these make the same.

It decides which outputs can be: those whose sidecar names a record, or bytes that are here, and whose node has no result
yet.  Nothing is run.

The invariant: only what is exactly as its sidecar says is migrated, and the record of it says from which key, and when.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from merkl.dataclass import dataclass, replace
from merkl.digest import Digest, Key, content_key_of
from merkl.engine.contained import held, recorded
from merkl.engine.joint import whole
from merkl.engine.judge import Judge
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.engine.recorded import arguments_of, dependencies_of
from merkl.engine.sidecars import keep
from merkl.engine.step import State
from merkl.errors import MerklError
from merkl.nodes import Artifact, Node, content_key
from merkl.python.placed import as_placed
from merkl.store.base import Record
from merkl.workspace.place import put_file
from merkl.workspace.sidecar import Sidecar, read_sidecar, render_sidecar, sidecar_of


@dataclass(frozen=True, slots=True)
class Migration:
    """A tracked output whose sidecar names another key than that of the node that makes it now.

    ``refused`` says why it stays as it is; empty if it can be migrated.
    """

    path: str
    task: str
    before: str
    old: Key
    new: Key
    refused: str = ""
    hint: str = ""


def migrations(project: Project, placements: Sequence[Placement]) -> list[Migration]:
    """What migrating these placements would do, each path once."""
    planned = (
        _planned(project, placement, together) for placement, together in _tracked(project, placements)
    )
    return [each[0] for each in planned if each is not None]


def migrate(project: Project, placements: Sequence[Placement]) -> list[Migration]:
    """Migrate what can be: file its record under the node's key, and write that into its sidecar; all that was looked at."""
    done: list[Migration] = []
    for placement, together in _tracked(project, placements):
        # One after the other: what a node reads may just have been migrated.
        planned = _planned(project, placement, together)
        if planned is None:
            continue
        migration, sidecar, record = planned
        done.append(migration)
        if migration.refused:
            continue
        if record is not None:
            _keep(project, placement, sidecar)
            kept = project.store.publish([(record, True)], {})[0]
            if project.caches is not None:
                project.caches.keep(kept, [placement.future.node.key], project.store)
        node = placement.future.node
        new = replace(sidecar, key=node.key, task=node.name, output=placement.future.output)
        put_file(project.root, sidecar_of(placement.path), render_sidecar(new))
    return done


def _tracked(project: Project, placements: Sequence[Placement]) -> list[tuple[Placement, bool]]:
    """Those with a sidecar, each path once, and whether several results are written to it together."""
    by_path: dict[str, list[Placement]] = {}
    for placement in whole(project.placements, placements):
        if placement.sidecar:
            by_path.setdefault(placement.path, []).append(placement)
    return [
        (each[0], bool(each[0].joint) or len({placement.future for placement in each}) > 1)
        for each in by_path.values()
    ]


def _keep(project: Project, placement: Placement, sidecar: Sidecar) -> None:
    """Let the store have the bytes at the path, if they are there: they are the ones that the sidecar names."""
    if isinstance(project.index.look(placement.path), Artifact):
        keep(project.store, project.root, placement.path, sidecar.kind)


def _planned(
    project: Project, placement: Placement, together: bool
) -> tuple[Migration, Sidecar, Record | None] | None:
    """What to do for one placement, and the record to file, None if there is one; None if there is nothing to do."""
    try:
        sidecar = read_sidecar(project.root, placement.path)
    except MerklError as error:
        key = placement.future.node.key
        broken = Migration(
            placement.path, placement.future.node.name, "", key, key, error.headline, error.hint
        )
        return broken, Sidecar("file", Digest.of(b""), 0, 0), None
    node = placement.future.node
    if sidecar is None or sidecar.key is None or sidecar.key == node.key:
        return None
    planned = Migration(placement.path, node.name, sidecar.task, sidecar.key, node.key)
    if together:
        hint = f"build it: `merkl build {placement.path}`"
        return (
            replace(planned, refused="several results are written to it together", hint=hint),
            sidecar,
            None,
        )
    judge = Judge(project.store, project.first_change)
    judge.want([node])
    step = judge.steps[node.key]
    if step.state is State.KNOWN:
        here = judge.artifact_of(step, placement.future.output)
        if step.record is None or step.record.metadata.get("migrated_from") != sidecar.key.hex():
            return None  # It has a result; a build writes the sidecar.
        if here is None or not _is_same(here, sidecar, placement.path):
            return None
        return planned, sidecar, None
    refused, hint = _refusal(project, placement, sidecar)
    if refused:
        return replace(planned, refused=refused, hint=hint), sidecar, None
    record = _record(project, placement, sidecar, judge)
    if isinstance(record, str):
        hint = f"build it: `merkl build {placement.path}`"
        return replace(planned, refused=record, hint=hint), sidecar, None
    return planned, sidecar, record


def _refusal(project: Project, placement: Placement, sidecar: Sidecar) -> tuple[str, str]:
    """Why an output cannot be migrated, and what to do; empty if nothing speaks against it."""
    if placement.future.node.open:
        return (
            "something that is not in its key decides its result, such as a depfile or cache=False",
            f"build it: `merkl build {placement.path}`",
        )
    found = project.index.look(placement.path)
    if isinstance(found, Artifact):
        if (found.kind, found.digest) != (sidecar.kind, sidecar.digest):
            return (
                "it is not what its sidecar says: it was modified",
                f"`merkl pull --force {placement.path}` brings back what the sidecar names, and saves yours",
            )
        return "", ""
    described = Artifact(sidecar.kind, sidecar.digest, sidecar.size)
    if described.digest not in project.store.present([described]):
        return "its data is neither there nor in the store", f"`merkl pull {placement.path}` brings it"
    return "", ""


def _record(project: Project, placement: Placement, sidecar: Sidecar, judge: Judge) -> Record | str:
    """The record for the node as it is now, or why there can be none."""
    assert sidecar.key is not None
    node = placement.future.node
    old = project.store.by_key([sidecar.key]).get(sidecar.key)
    outputs = _outputs(node, placement, sidecar, old)
    if isinstance(outputs, str):
        return outputs
    known = [judge.artifact(dep.future) for dep in node.deps]
    inputs = [each for each in known if each is not None]
    if len(inputs) == len(node.deps):
        content, digests = content_key(node, inputs), [each.digest for each in inputs]
    elif old is not None and len(old.inputs) == len(node.deps):
        content, digests = content_key_of("migrated", bytes(node.key)), list(old.inputs)
    else:
        return "what it is made from is not known, so nobody could see when that changes"
    said = (
        {}
        if old is None
        else {k: v for k, v in old.metadata.items() if k not in ("migrated_from", "migrated")}
    )
    record = Record(
        key=node.key,
        content_key=content,
        task=node.name,
        outputs=outputs,
        inputs=digests,
        seconds=0.0 if old is None else old.seconds,
        started_ns=sidecar.modified_ns if old is None else old.started_ns,
        arguments=arguments_of(node),
        dependencies=dependencies_of(node),
        metadata={
            **said,
            "migrated_from": sidecar.key.hex(),
            "migrated": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        builder="" if old is None else old.builder,
        origin=None if old is None else old.origin,
    )
    made = recorded(project.store, record, placement.future.output)
    if made is None or not _is_same(made, sidecar, placement.path):
        return "what is recorded of it is not what the sidecar says"
    wanted = {held(each).digest: each for each in outputs.values()}
    lost = wanted.keys() - project.store.present(wanted.values()) - {sidecar.digest}
    return f"{len(lost)} of the outputs that were made with it are gone" if lost else record


def _outputs(
    node: Node, placement: Placement, sidecar: Sidecar, old: Record | None
) -> Mapping[str, Artifact] | str:
    """The outputs of the old record, by the names that they have now."""
    names = [output.name for output in node.outputs]
    if old is None:
        if len(names) > 1 or names[0] != placement.future.output or sidecar.serializer:
            return "nothing is recorded of how it was made"
        name = placement.path.rpartition("/")[2]
        described = Artifact(
            sidecar.kind,
            sidecar.digest,
            sidecar.size,
            sidecar.executable,
            filename=node.outputs[0].filename or name,
        )
        return {names[0]: described}
    if len(names) == len(old.outputs) == 1:
        return {names[0]: next(iter(old.outputs.values()))}
    if set(names) == set(old.outputs):
        return {name: old.outputs[name] for name in names}
    return f"its outputs had other names: {', '.join(sorted(old.outputs))}"


def _is_same(made: Artifact, sidecar: Sidecar, path: str) -> bool:
    """Whether what a record says of an output is what a sidecar describes."""
    if made.serializer and made.kind == "value":
        placed = as_placed(made, path)
        return made.serializer == sidecar.serializer or placed.digest == sidecar.digest
    return made.digest == sidecar.digest
