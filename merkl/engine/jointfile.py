"""A file of many values, as it is written: value by value, beside where it will be.

It decides nothing about what lies at its path.  The invariant: one value is in memory at a time.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

from blake3 import blake3

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.errors import SerializationError, StoreCorrupt
from merkl.nodes import Artifact
from merkl.store.many import write_many


class LostValue(Exception):
    """The bytes of the value at ``index`` are gone."""

    def __init__(self, index: int, error: StoreCorrupt) -> None:
        super().__init__(index, error)
        self.index = index
        self.error = error


@dataclass(frozen=True, slots=True)
class Draft:
    """The whole file at ``path``, and what it is."""

    path: str
    artifact: Artifact


@contextlib.contextmanager
def draft_of(project: Project, placement: Placement, made: Sequence[Artifact]) -> Iterator[Draft]:
    """Write the values that ``made`` are the stored form of, in the form that the path asks for; it is there until the end.

    Raises:
        LostValue: the store does not have one of them.
        SerializationError: one cannot be written so.
    """
    import tempfile  # To import it takes long, and most builds write no such file.

    lease = project.lease
    project.shelter.bring(made)
    with tempfile.NamedTemporaryFile(
        prefix=f"{lease.id if lease is not None else os.getpid()}-",
        dir=os.path.join(project.config.state, "run"),
    ) as file:
        hashed = _Hashed(cast(BinaryIO, file))
        try:
            write_many(placement.path, _values(project, made), cast(BinaryIO, hashed))
        except SerializationError as error:
            error.details.setdefault("output", f"{placement.future.node.name}, placed at {placement.place}")
            raise
        file.flush()
        yield Draft(file.name, Artifact("file", Digest(hashed.hasher.digest()), hashed.size))


def _values(project: Project, made: Sequence[Artifact]) -> Iterator[Any]:
    from merkl.python.run import load_value

    for index, artifact in enumerate(made):
        if artifact.kind != "value":
            what = "directory" if artifact.kind == "dir" else "file"
            raise SerializationError(
                f"value {index} is a {what}, and cannot be written into a file with others",
                hint="place each at a path of its own",
            )
        try:
            yield load_value(project.shelter, artifact)
        except StoreCorrupt as error:
            raise LostValue(index, error) from error


class _Hashed:
    """A file, and the digest of what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hasher = blake3()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.hasher.update(data)
        self.size += len(data)
        return self._file.write(data)
