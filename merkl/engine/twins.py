"""Paths of a build that are two to merkl and one to the file system: they would overwrite each other.

It decides which pairs are asked about: an output beside another, or beside a file that is read.  It looks at the disk only
if there is such a pair.

The invariant: it is called before anything of a build is placed.
"""

from merkl.engine.placement import Placement
from merkl.engine.select import Selection
from merkl.errors import PlacementError
from merkl.nodes import walk
from merkl.workspace import folding


def refuse_twins(root: str, selection: Selection) -> None:
    """See that no two paths of a selection are one file at ``root``.

    Raises:
        PlacementError: two are.
    """
    placed = {placement.path: placement for placement in selection.placements}
    if not placed:
        return
    for one, other in folding.twins(placed):
        if folding.one_path(root, one, other):
            raise PlacementError(
                f"two outputs would be placed at {one} and {other}, which are one file on this file system",
                one=_maker(placed[one]),
                other=_maker(placed[other]),
                hint="give one of them another path",
            )
    by_folded = {folding.folded(path): path for path in placed}
    for node in walk(selection.roots):
        for source in node.sources:
            path = by_folded.get(folding.folded(source.path), source.path)
            if path != source.path and folding.one_path(root, path, source.path):
                raise PlacementError(
                    f"{node.name} reads {source.path}, and {path} is the same file on this file system",
                    reader=node.place,
                    maker=_maker(placed[path]),
                    hint="give the output another path",
                )


def _maker(placement: Placement) -> str:
    return f"{placement.future.node.name}, placed at {placement.place}"
