"""The outputs of a task with ``together=True``, on their way into one bundle.

It decides what can be in a bundle: values and files.  How a bundle looks is ``store.bundle``'s.

The invariant: what is staged is a directory of two files, whatever the number of outputs; equal outputs are in it once.
"""

import os
from collections.abc import Iterable
from typing import BinaryIO, Final

from blake3 import blake3

from merkl.digest import Digest
from merkl.errors import TaskOutsError
from merkl.execute.workplace import Staged
from merkl.nodes import Artifact
from merkl.store.bundle import PICKLED, PLAIN, Item, write_index
from merkl.store.serializers import is_pickled

# In the staging directory: no output is staged under a name with a dot in front.
FOLDER: Final = b".together"
_PIECE: Final = 1 << 20  # Bytes.


def bundled(root: bytes, stage: bytes, task: str, outputs: Iterable[Staged]) -> list[Staged]:
    """Put outputs into one bundle, one by one as they come; their own files go.

    Raises:
        TaskOutsError: one is a directory.
    """
    path = stage + b"/" + FOLDER
    folder = os.path.join(root, path)
    os.makedirs(folder, exist_ok=True)
    items: list[Item] = []
    offsets: dict[Digest, int] = {}
    with open(folder + b"/contents", "wb") as contents:
        for output in outputs:
            if output.remove is not None:
                raise TaskOutsError(
                    f"{task}: its output {output.name!r} was returned with rm_after_caching, which together=True does not do",
                    hint="leave out one of them",
                )
            if output.kind == "dir":
                raise TaskOutsError(
                    f"{task}: its output {output.name!r} is a directory, which together=True cannot keep",
                    hint="return its files, or leave out together=True",
                )
            at = contents.tell()
            digest, size = _append(contents, root, output)
            offset = offsets.setdefault(digest, at)
            if offset != at:
                contents.seek(at)
                contents.truncate()
            made = Artifact(output.kind, digest, size, output.executable, output.serializer, output.filename)
            items.append(Item(output.name, made, offset))
    with open(folder + b"/index", "wb") as index:
        index.write(write_index(items))
    pickled = any(is_pickled(item.artifact.serializer) for item in items)
    return [Staged("", "dir", path=path, serializer=PICKLED if pickled else PLAIN)]


def _append(contents: BinaryIO, root: bytes, output: Staged) -> tuple[Digest, int]:
    if output.data is not None:
        contents.write(output.data)
        return Digest.of(output.data), len(output.data)
    assert output.path is not None
    path = os.path.join(root, output.path)
    hasher, size = blake3(), 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            hasher.update(piece)
            contents.write(piece)
            size += len(piece)
    os.unlink(path)
    return Digest(hasher.digest()), size
