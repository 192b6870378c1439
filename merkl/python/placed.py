"""How a result of many items is told from others, and which form of it lies at a path.

It decides what becomes of a list where it is placed or handed to a command.  It reads none: what is in one is ``items``'.

The invariant: whatever is no list is left as it is.
"""

import os
from typing import Final

from merkl.dataclass import replace
from merkl.nodes import Artifact

LIST: Final = "list"
DICT: Final = "dict"
FILES: Final = " with files"  # Some items are files, which are read through a view of the whole.


def is_index(artifact: Artifact) -> bool:
    """Whether an artifact is a list or a dict of items."""
    return artifact.kind != "file" and artifact.serializer.partition(" ")[0] in (LIST, DICT)


def has_files(artifact: Artifact) -> bool:
    """Whether some items of a list are files."""
    return is_index(artifact) and FILES in artifact.serializer


def as_placed(artifact: Artifact, path: str) -> Artifact:
    """What of an artifact is placed at a path: a list is written as one value where the path has an extension, else it is
    a directory with a file for each item."""
    if (
        is_index(artifact)
        and artifact.kind == "dir"
        and os.path.splitext(path)[1]
        and not has_files(artifact)
    ):
        return replace(artifact, kind="value")
    return artifact


def as_file(artifact: Artifact, name: str) -> Artifact:
    """What of an artifact a command sees under a file's name: a list as one value, if that is the name of a form."""
    if not is_index(artifact):
        return artifact
    from merkl.store.serializers import for_extension  # Few results are lists.

    known = for_extension(os.path.splitext(name)[1]).name != "file-plain"
    return as_placed(artifact, name) if known else artifact
