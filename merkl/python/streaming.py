"""A call whose result is many items: each is written and sent as it comes, while the function goes on.

It decides when an item goes through a file.  It knows no store.

The invariant: what is kept in memory of items that were sent does not grow with their number.
"""

import pickle
from collections.abc import Callable
from typing import Any, Final

from merkl.errors import TaskFailed
from merkl.execute.emitting import emit
from merkl.execute.workplace import Staged
from merkl.python.items import MOST, Items, one_by_one
from merkl.workspace.refs import DirRef

_MOST_HELD: Final = 4_000_000  # Bytes of items of a call right here, where nobody takes them before it ends.


def send_items(
    task: str,
    items: Items,
    result: Any,
    in_frame: int,
    stage: Callable[[str, Any, int], Staged],
    *,
    here: bool,
) -> Staged:
    """Send the items of what a function returned; what its one output is said to be.

    ``stage`` writes one item under a name, into a file if it has more than so many bytes.  ``here`` is the process that
    takes them.
    """
    count = held = 0
    for name, value in one_by_one(result, items.form, task):
        if count == MOST:
            raise TaskFailed(f"{task} made more than {MOST} items")
        if isinstance(value, DirRef):
            raise TaskFailed(
                f"{task} made an item that is a directory, which cannot be an item of a {items.form}",
                hint="yield a file or a value",
            )
        staged = stage(f"{count:08d}", value, in_frame)
        emit(pickle.dumps((name, staged), protocol=5))
        count += 1
        held += len(staged.data or b"") + 500
        if here and held > _MOST_HELD:
            in_frame = 0
    return Staged("", "dir", serializer=items.form, size=count)
