"""What gc is about to remove from a place: named there before it is looked at for the last time, until it is gone.

    going/<of the gc>       the names of objects, a line each

So who stores again what was there, and is old, can see whether gc may remove it all the same, and wait until it has: what was
stored after gc looked is lost then, and is stored once more.  Where nothing is named, whatever gc looks at from now on is
young.

It decides for how long a gc is waited for.  It knows nothing of ages.

The invariant: nothing is removed that is not named here, and was not looked at after it was named.
"""

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, TypeVar

from merkl.store.remote.errors import RemoteError
from merkl.store.remote.objects import Listed, Objects

GOING: Final = "going"
_DEAD_S: Final = (
    60.0  # After which a gc that has not named anything else has ended, or does not remove what it named.
)
_LEFT_S: Final = 1_000.0  # After which what it named was left behind, by whatever clock.
_LONGEST: Final = 16 << 20  # Bytes of names that are read.
_PAUSE_S: Final = 0.2
_TRIES: Final = 3
T = TypeVar("T")

Look = Callable[[Sequence[Listed]], list[Listed]]
"""Those of some objects that are still as they were."""


class Going:
    """The names that one gc of ``objects`` gives; taken back at the end, if it ends well."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._name = f"{GOING}/{secrets.token_hex(16)}"
        self._named = False

    def remove(
        self, some: Sequence[Listed], look: Look, remove: Callable[[Sequence[Listed]], object]
    ) -> Sequence[Listed]:
        """Name objects, ``look`` at them, and ``remove`` those that it gives, which are returned."""
        while some:
            began = time.monotonic()
            self._named = True
            self._objects.put(self._name, "\n".join(each.name for each in some).encode())
            still = look(some)
            if time.monotonic() - began < _DEAD_S / 2:  # Else somebody may not wait for this any more.
                remove(still)
                return still
            some = still
        return ()

    def close(self) -> None:
        """Take back what was named last, which is gone."""
        if self._named:
            self._objects.remove([self._name])


def keep_from_going(
    objects: Objects,
    names: Collection[str],
    lost: Callable[[], Collection[T]],
    again: Callable[[Collection[T]], object],
) -> None:
    """See that what was just stored again under some names stays: ``lost`` says what is not there, ``again`` stores that.

    Raises:
        RemoteError: it goes away again and again.
    """
    for _ in range(_TRIES):
        _wait_for(objects, names)
        gone = lost()
        if not gone:
            return
        again(gone)
    raise RemoteError(
        f"what was stored in the remote {objects.url} goes away again",
        hint="is it being emptied? try again later",
    )


def _wait_for(objects: Objects, names: Collection[str]) -> None:
    """Wait until no gc that goes on has named one of these."""
    asked = set(names)
    first: dict[bytes, float] = {}  # When what is named together was first seen.
    while True:
        now = time.monotonic()
        waited_for = [
            named
            for named in _named(objects)
            if not asked.isdisjoint(named.decode(errors="replace").split("\n"))
        ]
        if all(now - first.setdefault(named, now) >= _DEAD_S for named in waited_for):
            return
        time.sleep(_PAUSE_S)


def _named(objects: Objects) -> Iterator[bytes]:
    """What each gc has named that may go on: a server lets no clock differ by more than that."""
    for each in objects.names(GOING):
        if time.time() - each.modified < _LEFT_S:
            yield objects.get(each.name, 0, _LONGEST) or b""
