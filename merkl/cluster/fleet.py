"""The workers of an executor: how many there are, which can be used, which has what.

It decides where a pack may run, and where it had best.  It sends nothing.

The invariant: no pack is sent to a worker that is known to differ from what is here.
"""

import math
import time
from collections.abc import Callable
from typing import Any, Final

from merkl.cluster.opening import Opened
from merkl.cluster.packing import Pack
from merkl.digest import Digest
from merkl.errors import ExecutorError
from merkl.events import Note
from merkl.resources import USUAL, Needs
from merkl.store.base import Record

_LARGE: Final = 1 << 20  # Bytes of a result for which it matters where it is.
_COUNT_S: Final = 5.0  # Seconds between two looks at how many workers there are.


class Fleet:
    """The workers; ``note`` is told once if there are none."""

    def __init__(self, note: Callable[[Note], None]) -> None:
        self.threads = 0  # Of the workers that can be used.
        self._note: Callable[[Note], None] | None = note
        self._counted_at = -math.inf
        self.unfit: dict[str, str] = {}  # By address of a worker: why it is not used.
        self._fit: list[str] = []
        self._made_at: dict[Digest, tuple[str, int]] = {}  # Where larger results are, and how large.

    def count_now_and_then(self, found: Opened) -> None:
        """As ``count``, if that was not done a moment ago."""
        if time.monotonic() - self._counted_at > _COUNT_S:
            self.count(found)

    def count(self, found: Opened) -> None:
        """See which workers there are.

        Raises:
            ExecutorError: there are some, and none of them can be used; or the scheduler does not answer.
        """
        self.unfit = found.unfit()
        there = found.workers()
        self._fit = [address for address in there if address not in self.unfit]
        self.threads = sum(there[address] for address in self._fit)
        self._counted_at = time.monotonic()
        name = found.executor.name
        if not there and self._note is not None:
            self._note(Note(f"no worker of {name} at {found.address} is there yet", "it is waited for"))
            self._note = None
        if self.unfit and not self._fit:
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

    def _with(self, needs: Needs, found: Opened) -> dict[str, Any]:
        """What workers must have, of what they say that they have."""
        if needs == USUAL:
            return {}
        workers = found.client.scheduler_info(-1).get("workers", {})
        declared = {name for each in workers.values() for name in each.get("resources", {})}
        by_name = {name.lower(): name for name in declared}
        wanted = {by_name[name]: need for name, need in needs if name in by_name}
        return {"resources": wanted} if wanted else {}

    def _where(self, pack: Pack) -> dict[str, Any]:
        """Which workers are asked for: if some cannot be used the others, and else the one that has most of what is needed."""
        if self.unfit:
            return {"workers": self._fit}
        sizes: dict[str, int] = {}
        for each in pack.items:
            for artifact in each.errand.inputs:
                address, size = self._made_at.get(artifact.digest, ("", 0))
                sizes[address] = sizes.get(address, 0) + size
        best = max(sizes, key=lambda address: sizes[address], default="")
        return {"workers": [best], "allow_other_workers": True} if best in self._fit else {}
