"""How much of what it has seen the store of a worker's machine keeps: what was not used for longest goes first.

It decides which blobs go, and when it is looked at.  All of them are in the shared store too, or can be made again; so
records go with what they name.

The invariant: what an errand that runs here needs, or has made and not yet sent, is listed by its process and stays; so
does what others here may have stored just now: whatever was stored or confirmed within the grace.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterable
from typing import Final

from merkl.digest import Digest
from merkl.errors import MerklError
from merkl.resources import MEM, exactly
from merkl.store.builds import BuildLease, listed_digests, live_builds
from merkl.store.choice import DAY_S, Choice, Keep, blobs_of, candidates_of, filed_in, rooted
from merkl.store.collect import remove_chosen
from merkl.store.local import LocalStore

GRACE_S: Final = 300.0
GRACE_OF_FULL_S: Final = 60.0  # Where others fill the disk too.
_DAYS: Final = 3.0  # For which what is not used stays.
_SPARE: Final = 0.05  # Of the disk, left free in any case.
_LOOK_S: Final = 30.0
_OLD_EVERY_S: Final = 3600.0


class Keeping:
    """The store of a machine as one process of it keeps it small.  One thread uses it; ``done`` may be called from any.

    ``state`` is that of the process's own project, whose views go with their blobs; ``lease`` lists what is needed for
    others; ``most`` are bytes of blobs.
    """

    def __init__(self, store: LocalStore, state: str, lease: BuildLease, most: int) -> None:
        self._store = store
        self._base = os.path.dirname(store.directory)
        self._state = state
        self._lease = lease
        self._most = most
        self._needed: dict[int, set[Digest]] = {}  # By ticket.
        self._looked_at = time.monotonic()

    def hint(self, executor: str) -> str:
        """What to do when there is no room."""
        setting = f"`keep: {exactly(MEM, self._most)}` of the executor {executor} in merkl.yaml"
        return f"make room there, or lower {setting}: its store is {self._store.directory}"

    def needs(self, ticket: int, digests: Iterable[Digest]) -> None:
        """Keep these until an errand is done."""
        needed = self._needed.setdefault(ticket, set())
        for digest in digests:
            needed.add(digest)
            self._lease.lists(digest)

    def done(self, ticket: int) -> None:
        """All that an errand has made was sent, or there is nothing to send."""
        self._needed.pop(ticket, None)

    def tidy(self, *, at_once: bool = False) -> None:
        """See now and then, or ``at_once``, that the store is no larger than it may be, and has nothing that is old."""
        if not at_once and time.monotonic() - self._looked_at < _LOOK_S:
            return
        self._looked_at = time.monotonic()
        with contextlib.suppress(MerklError, OSError):  # The next time, or another process.
            over, old = self._over(), self._is_old_due()
            if over or old:
                self._free(over, GRACE_S)

    def make_room(self) -> bool:
        """Remove all that nobody needs, since the disk is full; whether that helped."""
        try:
            own = os.path.realpath(self._state)
            alone = not any(live_builds(each) for each in self._states() if os.path.realpath(each) != own)
            return self._free(sys.maxsize, 0.0 if alone else GRACE_OF_FULL_S) > 0
        except (MerklError, OSError):
            return False

    def _free(self, over: int, grace_s: float) -> int:
        needed = set[Digest]().union(*list(self._needed.values()))
        self._lease.lists_only(needed)
        chosen = _longest_unused(self._store, needed | self._listed(), over, grace_s)
        return remove_chosen(self._store, Keep(grace_s=grace_s), chosen, [self._state]).freed

    def _over(self) -> int:
        """How many bytes are too many."""
        query = "SELECT coalesce(sum(CAST(size AS INTEGER)), 0) FROM blob"
        (total,) = self._store.database.read(lambda connection: connection.execute(query).fetchone())
        disk = os.statvfs(self._store.directory)
        lacking = int(disk.f_blocks * _SPARE - disk.f_bavail) * disk.f_frsize
        return max(int(total) - self._most, min(int(total), lacking), 0)

    def _is_old_due(self) -> bool:
        """Whether nobody on this machine has looked for what is old within the hour; if so, this process does."""
        stamp = os.path.join(self._base, "collected")
        with contextlib.suppress(FileNotFoundError):
            if time.time() - os.stat(stamp).st_mtime < _OLD_EVERY_S:
                return False
        with open(stamp, "wb"):
            return True

    def _listed(self) -> frozenset[Digest]:
        """What errands on this machine use now, whichever process runs them."""
        return frozenset(digest for state in self._states() for digest in listed_digests(state))

    def _states(self) -> list[str]:
        mirrors = os.path.join(self._base, "mirrors")
        states = [os.path.join(mirrors, name, "project", ".merkl") for name in os.listdir(mirrors)]
        return [each for each in states if os.path.isdir(os.path.join(each, "builds"))]


def _longest_unused(store: LocalStore, listed: Iterable[Digest], over: int, grace_s: float) -> Choice:
    """What is to go so that ``over`` bytes are freed, with the records that need it, and what was not used for days."""
    keep = Keep(grace_s=grace_s)
    filed = filed_in(store)
    candidates = candidates_of(store, filed, keep)
    sizes, used = blobs_of(store)
    for each in candidates:  # A record that was asked for is a use of what it names.
        for digest in each.blobs & used.keys():
            used[digest] = max(used[digest], each.used_at)
    staying = rooted(store, keep, frozenset(listed))
    now = time.time()
    blobs: dict[Digest, int] = {}
    for digest in sorted(used.keys() - staying, key=used.__getitem__):
        if used[digest] > now - grace_s or (over <= 0 and used[digest] > now - _DAYS * DAY_S):
            break
        blobs[digest] = sizes[digest]
        over -= sizes[digest]
    going = [each for each in candidates if not each.blobs.isdisjoint(blobs)]
    return Choice(going, blobs, filed.last, sum(sizes.values()))
