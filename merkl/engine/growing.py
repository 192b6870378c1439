"""Lists in a build: items that arrive while the task that makes them runs, and the results for all items put together.

It decides when items are stored and who hears of them.  What work follows from an item is the judge's.

The invariant: an item is in the store before anyone hears of it, and a list has a record only once it is whole.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from merkl.digest import Digest
from merkl.engine.judge import Judge
from merkl.engine.project import Project
from merkl.engine.step import Step
from merkl.engine.taking import taken
from merkl.errors import MerklError, TaskFailed
from merkl.execute.secrets import secret_told, secrets_of, told_by_output
from merkl.nodes import Artifact, Node, items_form
from merkl.python.calls import is_mapped
from merkl.store.base import Record
from merkl.trust.signer import Origin


class Making(Protocol):
    """An attempt whose call sends items: those that are stored, and why one of them could not be."""

    node: Node
    items: dict[str, Artifact]
    refused: Exception | None


class Growing:
    """The lists of one build."""

    def __init__(self, project: Project, judge: Judge) -> None:
        self._project = project
        self._judge = judge
        self._root = os.fsencode(project.root)

    def take(self, emitted: Iterable[tuple[int, bytes]], running: Mapping[int, Making]) -> None:
        """Store the items that calls have sent, by ticket, and let the judge hear of them."""
        small: dict[Digest, bytes] = {}
        fresh: dict[int, dict[str, Artifact]] = {}
        read: list[bytes] = []  # Files of small items; large ones have been moved away.
        for ticket, payload in emitted:
            attempt = running.get(ticket)
            if attempt is None or attempt.refused is not None:
                continue
            from pickle import loads  # Few builds have lists that grow.

            name, staged = loads(payload)
            try:
                if told_by_output(staged, self._root, secrets_of(attempt.node.call, os.environb)):
                    raise secret_told(attempt.node)
                fresh.setdefault(ticket, {})[name] = taken(staged, self._root, self._project.shelter, small)
                if staged.path is not None:
                    read.append(os.path.join(self._root, staged.path))
            except (MerklError, OSError) as error:
                attempt.refused = error
        refused: MerklError | None = None
        try:
            self._project.shelter.put_small(small)
        except MerklError as error:
            refused = error
        for path in read if refused is None else ():
            with contextlib.suppress(OSError):
                os.unlink(path)  # The task may make many more, and go on for long.
        for ticket, items in fresh.items():
            attempt = running[ticket]
            if refused is not None:
                attempt.refused = refused
                continue
            attempt.items.update(items)
            self._judge.streamed(self._judge.steps[attempt.node.key], items)

    def whole(self, step: Step) -> Record:
        """The record of the results for all items of a list, which are all there."""
        call = step.node.call
        assert is_mapped(call)
        made = [(name, self._judge.steps[node.key]) for name, node in self._judge.lists.calls(step)]
        form = items_form(call.items)
        outputs = {
            output.name: put_index(
                self._project,
                {name: self._judge.artifact_of(each, output.name) for name, each in made},  # type: ignore[misc]
                form,
            )
            for output in step.node.outputs
        }
        assert step.content is not None
        return Record(
            key=step.node.key,
            content_key=step.content,
            task=step.node.name,
            outputs=outputs,
            inputs=tuple(artifact.digest for artifact in self._judge.inputs(step.node)),
            seconds=sum(each.record.seconds for _, each in made if each.record is not None),
            started_ns=time.time_ns(),
            origin=Origin.of_parts(
                (each.record.origin, each.record.runs_code) for _, each in made if each.record is not None
            ),
        )


def put_index(project: Project, items: Mapping[str, Artifact], form: str) -> Artifact:
    """Store the index of a list whose items are stored.

    Raises:
        TaskFailed: an item is a directory, or has been lost meanwhile.
    """
    from merkl.python.items import index_of  # As above.

    tree, serializer, names = index_of(items, form)
    if names is not None:
        project.shelter.put_small({Digest.of(names): names})
    needed = {entry.digest for entry in tree.entries if entry.digest is not None}
    if needed - project.shelter.has(needed):
        raise TaskFailed(
            "items of a list have gone from the store while others were made", hint="build again"
        )
    return Artifact("dir", project.shelter.put_tree(tree), tree.size, serializer=serializer)
