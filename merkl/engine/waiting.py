"""The steps that are ready, and which of them starts next.

It decides the order: by rank, but a step that does not fit waits, and others may go before it.  What is free is ``Shares``'.

The invariant: what a waiting step once lacked is kept for it, so no stream of smaller ones goes before it for ever.
"""

import heapq
from collections.abc import Container, Iterable, Iterator
from typing import Final

from merkl.digest import Key
from merkl.engine.judge import Judge
from merkl.engine.shares import Shares
from merkl.engine.step import Step
from merkl.resources import CPU, USUAL, Needs

_MOST_KINDS: Final = 64  # Of needs that do not fit: nobody looks behind so many for one that does.


class WaitingSteps:
    """The judge's ready steps, and those of them that were looked at and did not fit: by needs, each in order of rank."""

    def __init__(self, judge: Judge, shares: Shares) -> None:
        self._judge = judge
        self._shares = shares
        self._parked: dict[Needs, list[tuple[int, Key, Step]]] = {}
        self._lacked: dict[Key, set[str]] = {}  # By waiting step, what it was short of at any time.

    def __bool__(self) -> bool:
        return bool(self._parked)

    def first(self) -> Step | None:
        """The step to start next, or None if none fits beside what runs."""
        if self._shares.free(CPU) <= 0 and (self._parked or self._judge.has_ready()):
            self._shares.short(USUAL, {})  # Everything takes one.  Let other builds know.
            return None
        blocked: set[Needs] = set()
        reserved: dict[str, int] = {}
        heads = (heap[0] for heap in self._parked.values())
        parked = iter(heapq.nsmallest(_MOST_KINDS, heads, key=lambda head: head[:2]))
        head = next(parked, None)
        while len(blocked) < _MOST_KINDS:
            ready = self._unparked(blocked)
            if ready is not None and (head is None or self._judge.rank(ready.node) < head[0]):
                step = ready
            elif head is not None:
                step, head = head[2], next(parked, None)
            else:
                return None
            needs = step.node.call.needs
            if needs in blocked:
                continue
            short = self._shares.short(needs, reserved)
            if not short or self._shares.refusal(step.node) is not None:
                return step  # What never fits would wait for ever.
            blocked.add(needs)  # Of equal ones the first waits for all.
            self._reserve(step, short, reserved)
        return None

    def _reserve(self, step: Step, short: Iterable[str], reserved: dict[str, int]) -> None:
        lacked = self._lacked.setdefault(step.node.key, set())
        lacked.update(short)
        for name, need in step.node.call.needs:
            if name in lacked:
                reserved[name] = reserved.get(name, 0) + need

    def _unparked(self, blocked: Container[Needs]) -> Step | None:
        """The first that was not looked at before; those whose equals wait already are put with them."""
        while (ready := self._judge.first_ready()) is not None and ready.node.call.needs in blocked:
            self._park(ready)
        return ready

    def _park(self, ready: Step) -> None:
        self._judge.next_ready()
        heap = self._parked.setdefault(ready.node.call.needs, [])
        heapq.heappush(heap, (self._judge.rank(ready.node), ready.node.key, ready))

    def take(self, step: Step) -> bool:
        """Take what ``first`` said; whether it can still start, since an input's bytes may have been lost meanwhile."""
        self._lacked.pop(step.node.key, None)
        heap = self._parked.get(step.node.call.needs)
        if heap is None or heap[0][2] is not step:
            taken = self._judge.next_ready()
            assert taken is step
            return True
        heapq.heappop(heap)
        if not heap:
            del self._parked[step.node.call.needs]
        if self._judge.can_start(step):
            return True
        self._judge.put_back(step)
        return False

    def clear(self) -> Iterator[Step]:
        """Let go of all that wait."""
        parked, self._parked = self._parked, {}
        self._lacked.clear()
        for heap in parked.values():
            for _, _, step in heap:
                yield step
