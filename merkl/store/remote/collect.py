"""gc of a remote: by age, and by what branches reach, beside others who push and pull.

It decides what may go: records that were last pushed long ago and that nothing wanted was made from, then contents that no
record needs any more.  What a project wants to keep it is told.

A push that finds a content older than ``REFRESH_S`` sends it again, and gc leaves alone whatever is younger than
``GRACE_S``: so what a push has relied on stays for days, and by then its record is there.  Ages are by the place's own clock.
What is sent again while gc is about to remove it is ``going``'s business.

The invariant: records go before the contents that they name, and an index before its pack; so a gc that is killed
leaves space in use, and no promise.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Final

from merkl.dataclass import dataclass, field
from merkl.digest import Digest, Key
from merkl.errors import StoreError
from merkl.store.choice import made_from
from merkl.store.remote.contents import blob_name
from merkl.store.remote.errors import RemoteError
from merkl.store.remote.going import GOING, Going
from merkl.store.remote.holdings import Holdings, Trees, holdings_of
from merkl.store.remote.objects import REFRESH_S, Listed, Objects
from merkl.store.remote.packs import runs
from merkl.store.remote.remote import Remote
from merkl.store.remote.whereabouts import Packed
from merkl.store.together import Together

DAY_S: Final = 86_400.0
GRACE_S: Final = 7 * DAY_S
ASIDE_S: Final = 30 * DAY_S  # For so long somebody may want to look at what was damaged.
_AT_ONCE: Final = 500  # Objects that are looked at once more and then removed.
assert REFRESH_S < GRACE_S / 2


@dataclass(frozen=True, slots=True)
class KeepThere:
    """What must stay in a remote: records under ``keys`` with what they were made from, ``digests``, ``trees`` with what
    they hold, and records that were pushed in the last ``days``.

    Contents that no record names may be data that somebody tracks: they go only if ``loose``, after as many days.
    ``skip_unreadable``: records of a newer merkl need nothing.  Records of other namespaces all stay.
    """

    namespace: str

    keys: frozenset[Key] = frozenset()
    digests: frozenset[Digest] = frozenset()
    trees: frozenset[Digest] = frozenset()
    days: float = 30.0
    loose: bool = False
    skip_unreadable: bool = False
    grace_s: float = GRACE_S


@dataclass(slots=True)
class Cleared:
    """What was removed, or would be: names under which results were found, contents, and bytes; ``left`` bytes stay."""

    records: int = 0
    contents: int = 0
    freed: int = 0
    left: int = 0


@dataclass(slots=True)
class _Plan:
    records: list[Listed] = field(default_factory=list)
    blobs: list[Listed] = field(default_factory=list)
    packs: dict[str, set[Digest]] = field(default_factory=dict)  # With what is to be kept of each.
    others: list[Listed] = field(default_factory=list)
    contents: int = 0


def collect_remote(remote: Remote, keep: KeepThere, *, dry_run: bool = False) -> Cleared:
    """Remove from a remote what ``keep`` does not keep; with ``dry_run`` only say what that is.

    Raises:
        RemoteError: it cannot be used, or what is in it cannot be read.
    """
    now = place_time(remote.objects)
    held = holdings_of(remote)
    if held.newer and not keep.skip_unreadable:
        raise RemoteError(
            f"nothing was removed: a newer merkl wrote {held.newer[0]} in {remote.url}, and nobody knows what it needs",
            hint="upgrade merkl; or `merkl gc --remote --skip-unreadable` goes on as if it needed nothing",
        )
    plan = _Planner(remote, held, keep, now).plan()
    total = sum(each.size for each in held.objects.values())
    done = Cleared(len(plan.records), plan.contents)
    clearing = _Clearing(remote, held)
    try:
        done.freed = clearing.would_free(plan) if dry_run else clearing.carry_out(plan)
    finally:
        clearing.close()
    done.left = total - done.freed
    return done


def place_time(objects: Objects) -> float:
    """Now, in seconds since the epoch, by the clock of the place.

    Raises:
        RemoteError, StoreFull: nothing can be written there.
    """
    name = f"incoming/{secrets.token_hex(16)}"
    objects.put(name, b"")
    try:
        found = objects.look(name)
    finally:
        objects.remove([name])
    if found is None:
        raise RemoteError(
            f"the remote {objects.url} does not have what was just written there",
            hint="only a place where all see the same at once can be shared",
        )
    return found.modified


class _Planner:
    """Chooses, and changes nothing."""

    def __init__(self, remote: Remote, held: Holdings, keep: KeepThere, now: float) -> None:
        self._held = held
        self._keep = keep
        self._now = now
        self._trees = Trees(remote)

    def plan(self) -> _Plan:
        """What is to go."""
        plan = _Plan()
        limit = self._now - max(self._keep.days * DAY_S, self._keep.grace_s)
        pinned = self._pinned()
        mine = {name for name, said in self._held.records.items() if self._is_ours(said.namespace)}
        for each in self._held.of_kind("records", "made"):
            free = each.name in mine or each.name in self._held.bad
            if free and each.name not in pinned and each.modified < limit:
                plan.records.append(each)
        gone = {each.name for each in plan.records}
        needed = set(self._keep.digests | self._keep.trees) | self._trees.inside(self._keep.trees)
        freed: set[Digest] = set()
        for name, said in self._held.records.items():
            (freed if name in gone else needed).update(self._trees.needs(said.record))
        self._contents(plan, needed, freed, limit)
        old = self._now - ASIDE_S
        plan.others += [each for each in self._held.of_kind("aside") if each.modified < old]
        yesterday = self._now - DAY_S  # What a gc that was killed has named.
        plan.others += [each for each in self._held.of_kind(GOING) if each.modified < yesterday]
        return plan

    def _is_ours(self, namespace: str | None) -> bool:
        return namespace is None or namespace == self._keep.namespace

    def _pinned(self) -> set[str]:
        """The names of the records under the keys to keep, and of all from which those were made."""
        names: dict[bytes, list[str]] = {}
        for name, said in self._held.records.items():
            for key in {said.record.key, said.filed or said.record.key}:
                names.setdefault(key, []).append(name)
        todo: list[bytes] = list(self._keep.keys)
        asked, pinned = set(todo), set[str]()
        while todo:
            for name in names.get(todo.pop(), ()):
                pinned.add(name)
                record = self._held.records[name].record
                more = (made_from(record) | {record.key}) - asked
                asked |= more
                todo += more
        return pinned

    def _contents(self, plan: _Plan, needed: set[Digest], freed: set[Digest], limit: float) -> None:
        young = self._now - self._keep.grace_s

        def goes(digest: Digest, modified: float) -> bool:
            if digest in needed or modified >= young:
                return False
            return digest in freed or (self._keep.loose and modified < limit)

        for each in self._held.of_kind("blobs"):
            digest = _digest_of(each.name)
            if digest is not None and goes(digest, each.modified):
                plan.blobs.append(each)
                plan.contents += 1
        for pack, places in self._held.packed.items():
            objects = [
                self._held.objects.get(f"packs/{pack}"),
                *map(self._held.objects.get, self._held.indexes[pack]),
            ]
            modified = max(each.modified for each in objects if each is not None)
            going = {digest for digest in places if goes(digest, modified)}
            size = sum(length for _, length in places.values())
            # None goes of one whose index cannot be read: other machines may know what is in it.
            if going and (going == places.keys() or 2 * sum(places[digest][1] for digest in going) > size):
                plan.packs[pack] = places.keys() - going
                plan.contents += len(going)
        # What a push that was broken off left has no index, and nobody finds it.
        plan.others += [
            each
            for each in self._held.of_kind("packs")
            if each.name.removeprefix("packs/") not in self._held.packed and each.modified < young
        ]


def _digest_of(name: str) -> Digest | None:
    try:
        digest = Digest.parse(name.rpartition("/")[2])
    except ValueError:
        return None
    return digest if blob_name(digest) == name else None


class _Clearing:
    """Removes what was chosen, if it is still as it was."""

    def __init__(self, remote: Remote, held: Holdings) -> None:
        self._remote = remote
        self._held = held
        self._together = Together(remote.objects.width)
        self._going = Going(remote.objects)

    def close(self) -> None:
        """End the threads."""
        self._together.close()

    def would_free(self, plan: _Plan) -> int:
        """The bytes that carrying it out would free."""
        freed = sum(each.size for each in (*plan.records, *plan.blobs, *plan.others))
        for pack, kept in plan.packs.items():
            places = self._held.packed[pack]
            freed += sum(each.size for each in self._of_pack(pack)) - sum(
                places[digest][1] for digest in kept
            )
        return freed

    def carry_out(self, plan: _Plan) -> int:
        """Remove it; how many bytes are free now."""
        freed = self._remove(plan.records)
        for pack, kept in plan.packs.items():
            freed += self._remove_pack(pack, kept)
        freed += self._remove([*plan.blobs, *plan.others])
        self._going.close()
        return freed

    def _remove(self, chosen: Sequence[Listed]) -> int:
        """Remove objects that nobody has written again since they were listed; their bytes."""
        freed = 0
        for start in range(0, len(chosen), _AT_ONCE):
            still = self._going.remove(
                chosen[start : start + _AT_ONCE],
                self._still,
                lambda some: self._remote.objects.remove(each.name for each in some),
            )
            freed += sum(each.size for each in still)
        return freed

    def _still(self, some: Sequence[Listed]) -> list[Listed]:
        checked = self._together.map(lambda each: (each, self._is_as_it_was(each)), some)
        return [each for each, same in checked if same]

    def _is_as_it_was(self, listed: Listed) -> bool:
        now = self._remote.objects.look(listed.name)
        return now is not None and int(now.modified) == int(listed.modified)

    def _of_pack(self, pack: str) -> list[Listed]:
        names = (*self._held.indexes[pack], f"packs/{pack}")
        return [self._held.objects[name] for name in names if name in self._held.objects]

    def _remove_pack(self, pack: str, kept: Iterable[Digest]) -> int:
        """Remove a pack; what is kept of it goes into another first."""
        objects = self._of_pack(pack)
        if len(self._still(objects)) < len(objects):
            return 0
        places = self._held.packed[pack]
        stays = self._contents(pack, {digest: places[digest] for digest in kept})
        if stays:
            self._remote.contents.packs.write(stays)

        def remove(some: Sequence[Listed]) -> None:
            if len(some) == len(objects):  # Else somebody has just written it again.
                self._remote.objects.remove(self._held.indexes[pack])
                self._remote.objects.remove([f"packs/{pack}"])

        if len(self._going.remove(objects, self._still, remove)) < len(objects):
            return 0
        return sum(each.size for each in objects) - sum(places[digest][1] for digest, _ in stays)

    def _contents(self, pack: str, kept: dict[Digest, tuple[int, int]]) -> list[tuple[Digest, bytes]]:
        """Some contents of a pack."""
        found: list[tuple[Digest, bytes]] = []
        packed = [(digest, Packed(pack, start, length)) for digest, (start, length) in kept.items()]
        for run in runs(packed):
            read = self._remote.contents.packs.read(run)
            if len(read) < len(run):
                raise StoreError(
                    f"packs/{pack} in the remote {self._remote.url} is damaged",
                    hint="`merkl fsck --remote` sets it aside",
                )
            found += read.items()
        return found
