"""Who has what of the machine's resources.

It decides whether a task fits beside those that run, and which GPUs it gets.  It knows neither order nor slots.

The invariant: no more of a resource is given out than there is, and what is taken is given back once.
"""

import functools
import heapq
from collections.abc import Mapping

from merkl.dataclass import dataclass
from merkl.errors import TaskError
from merkl.nodes import Node
from merkl.resources import CPU, GPU, MEM, VISIBLE, Needs, exactly, gpus_here, memory_here, shown


@dataclass(frozen=True, slots=True)
class Grant:
    """What one attempt was given; ``gpus`` are the places of its GPUs in the list of all."""

    needs: Needs
    gpus: tuple[int, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    """What its environment says of that."""


class Shares:
    """The resources of one build: ``totals`` as merkl.yaml says, else as many ``cpu`` as slots, and the machine's own.

    What the machine has is asked only if a task needs it: to find the GPUs takes long.
    """

    def __init__(self, root: str, totals: Mapping[str, int], slots: int, environ: Mapping[str, str]) -> None:
        self._root = root
        self._given = dict(totals)
        self._slots = slots
        self._environ = environ
        self._free: dict[str, int] = {}
        self._free_gpus: list[int] | None = None

    # ---- how much there is ---------------------------------------------------------------------------------------

    def total(self, name: str) -> int:
        """How much there is of a resource in all."""
        if name == GPU:
            return len(self._gpus)
        if name in self._given:
            return self._given[name]
        if name == CPU:
            return self._slots
        return self._memory if name == MEM else 0

    @functools.cached_property
    def _memory(self) -> int:
        return memory_here()

    @functools.cached_property
    def _gpus(self) -> tuple[str, ...]:
        """The GPUs to give out; a number in merkl.yaml counts, but never those that CUDA_VISIBLE_DEVICES hides."""
        count = self._given.get(GPU)
        if count is None or VISIBLE in self._environ:
            return gpus_here(self._environ)[:count]
        return tuple(str(number) for number in range(count))

    def refusal(self, node: Node) -> TaskError | None:
        """Why a node can never run here, if it cannot."""
        for name, need in node.call.needs:
            total = self.total(name)
            if need > total:
                there = shown(name, total) if total else f"no {name}"
                return TaskError(
                    f"{node.name} needs {shown(name, need)}, and there is {there} in all",
                    at=node.place.relative_to(self._root),
                    hint=_hint(name, need, self._given, hidden=VISIBLE in self._environ),
                )
        return None

    # ---- giving and taking ---------------------------------------------------------------------------------------

    def free(self, name: str) -> int:
        """How much nobody has."""
        found = self._free.get(name)
        if found is None:
            found = self._free[name] = self.total(name)
        return found

    def short(self, needs: Needs, reserved: Mapping[str, int]) -> list[str]:
        """The resources of which there is not enough now, beside what is reserved for others."""
        return [name for name, need in needs if need > self.free(name) - reserved.get(name, 0)]

    def take(self, needs: Needs) -> Grant:
        """Give a task what it needs, which must be free."""
        gpus: tuple[int, ...] = ()
        for name, need in needs:
            assert need <= self.free(name), f"{need} {name} of {self.free(name)}"
            self._free[name] -= need
            if name == GPU:
                if self._free_gpus is None:
                    self._free_gpus = list(range(len(self._gpus)))
                gpus = tuple(heapq.heappop(self._free_gpus) for _ in range(need))
        if not gpus:
            return Grant(needs)
        return Grant(needs, gpus, ((VISIBLE, ",".join(self._gpus[place] for place in gpus)),))

    def give_back(self, grant: Grant) -> None:
        """Take back what a task was given."""
        for name, need in grant.needs:
            self._free[name] += need
        for place in grant.gpus:
            assert self._free_gpus is not None
            heapq.heappush(self._free_gpus, place)


def _hint(name: str, need: int, given: Mapping[str, int], *, hidden: bool) -> str:
    if name == GPU and hidden and given.get(GPU, need) >= need:
        return f"{VISIBLE} says which there are: name more in it, or unset it"
    line = f"resources: {{{name}: {exactly(name, need)}}} in merkl.yaml"
    if name == CPU and name not in given:
        return f"there are as many as tasks may run at once: -j {need}; or write {line}"
    if name in (CPU, MEM, GPU) and name not in given:
        return f"if merkl is wrong about this machine, write {line}"
    return (
        f"write {line} if there is that much" if name in given else f"write {line} to say how much there is"
    )
