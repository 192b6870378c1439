"""The workers of an executor: how many there are, which can be used, which has what.

It decides where a pack may run, and where it had best.  It sends nothing.

The invariant: no pack is sent to a worker that is known to differ from what is here.
"""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from merkl.cluster.opening import Opened
from merkl.cluster.packing import Pack
from merkl.digest import Digest
from merkl.errors import ExecutorError, TaskFailed
from merkl.events import Note
from merkl.resources import USUAL, Needs, shown
from merkl.store.base import Record

_LARGE: Final = 1 << 20  # Bytes of a result for which it matters where it is.
_COUNT_S: Final = 5.0  # Seconds between two looks at how many workers there are.
_COUNT_NONE_S: Final = 1.0  # The same while there is none.


class Fleet:
    """The workers; ``note`` is told once if there are none."""

    def __init__(self, note: Callable[[Note], None]) -> None:
        self.threads = 0  # Of the workers that can be used.
        self._note: Callable[[Note], None] | None = note
        self._counted_at = -math.inf
        self.unfit: dict[str, str] = {}  # By address of a worker: why it is not used.
        self._fit: list[str] = []
        self._last: list[str] = []  # Those that could be used when there were any,
        self._last_at = -math.inf  # and when that was.
        self._waits_since = time.monotonic()  # When there last were none.
        self._made_at: dict[Digest, tuple[str, int]] = {}  # Where larger results are, and how large.

    def count_now_and_then(self, found: Opened) -> None:
        """As ``count``, if that was not done a moment ago."""
        if time.monotonic() - self._counted_at > (_COUNT_S if self.threads else _COUNT_NONE_S):
            self.count(found)

    def may_get(self, found: Opened) -> bool:
        """Whether there is anybody to send a pack to, or will be once something is sent."""
        return bool(self.threads) or (bool(found.executor.cluster) and not self.unfit)

    def stranded(self, packs: Iterable[Pack]) -> list[Pack]:
        """Those that were for certain workers, none of which is there any more: nobody else would get them."""
        return [pack for pack in packs if pack.only and not pack.only & set(self._fit)]

    def count(self, found: Opened) -> None:
        """See which workers there are.

        Raises:
            ExecutorError: there are some, and none of them can be used, nor could lately; or there were none for too long;
                or the scheduler does not answer.
        """
        self.unfit = found.unfit()
        there = found.workers()
        self._fit = [address for address in there if address not in self.unfit]
        self.threads = sum(there[address] for address in self._fit)
        self._counted_at = now = time.monotonic()
        if self._fit:
            self._last, self._last_at = self._fit, now
        name = found.executor.name
        if not there and self._note is not None:
            self._note(Note(f"no worker of {name} at {found.address} is there yet", "it is waited for"))
            self._note = None
        if there:
            self._waits_since = now
        elif now - self._waits_since > found.executor.patience:
            raise ExecutorError(
                f"no worker of the executor {name} has been at {found.address} for {found.executor.patience:.0f} s",
                hint="start one: dask worker ADDRESS; wait: below the executor says how long a build waits; "
                "--target local runs everything here",
            )
        # After one that was lost another may come.
        if self.unfit and not self._fit and now - self._last_at > found.executor.timeout:
            raise ExecutorError(
                f"no worker of the executor {name} can run what is here",
                hint="install the same merkl and Python on both sides; --target local runs everything here",
                **dict(list(self.unfit.items())[:3]),
            )

    def made(self, record: Record, address: str) -> None:
        """Hear where a result was made."""
        for artifact in record.outputs.values():
            if artifact.size >= _LARGE:
                self._made_at[artifact.digest] = address, artifact.size

    def wanted(self, pack: Pack, found: Opened) -> dict[str, Any]:
        """What Dask is told of where a pack may run."""
        return self._with(pack.items[0].needs, found) | self._where(pack)

    def lacking(self, task: str, needs: Needs, found: Opened) -> TaskFailed | None:
        """The error for what needs more than any worker has; Dask would wait for one for ever."""
        most = self._most(needs, found)
        for name, need in needs:
            if need > most.get(name, ("", math.inf))[1]:
                return TaskFailed(
                    f"{task} needs {shown(name, need)}, and no worker of the executor {found.executor.name} has more than "
                    f"{shown(name, int(most[name][1]))}",
                    hint=f"`dask worker --resources {most[name][0]}=…` says what one has; target='local' runs it here",
                )
        return None

    def _with(self, needs: Needs, found: Opened) -> dict[str, Any]:
        """What workers must have, of what they say that they have."""
        most = self._most(needs, found)
        wanted = {most[name][0]: need for name, need in needs if name in most}
        return {"resources": wanted} if wanted else {}

    def _most(self, needs: Needs, found: Opened) -> dict[str, tuple[str, float]]:
        """Of what is needed and workers say that they have: how they call it, and how much one has at most."""
        if needs == USUAL:
            return {}
        workers = found.client.scheduler_info(-1).get("workers", {})
        most: dict[str, tuple[str, float]] = {}
        for address in self._fit:
            for name, amount in workers.get(address, {}).get("resources", {}).items():
                before = most.get(name.lower(), (name, 0.0))
                most[name.lower()] = max(before, (name, float(amount)), key=lambda each: each[1])
        return {name: most[name] for name, _ in needs if name in most}

    def _where(self, pack: Pack) -> dict[str, Any]:
        """Which workers are asked for: if some cannot be used the others, and else the one that has most of what is needed."""
        if self.unfit:
            pack.only = frozenset(self._fit or self._last)
            return {"workers": list(pack.only)}
        sizes: dict[str, int] = {}
        for each in pack.items:
            for artifact in each.errand.inputs:
                address, size = self._made_at.get(artifact.digest, ("", 0))
                sizes[address] = sizes.get(address, 0) + size
        best = max(sizes, key=lambda address: sizes[address], default="")
        return {"workers": [best], "allow_other_workers": True} if best in self._fit else {}
