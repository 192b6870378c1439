"""Who has what of the machine's resources.

It decides whether a task fits beside those that run, here and in other builds of this process, and which GPUs it gets.  It
knows neither order nor slots.

The invariant: no more of a resource is given out than there is, and what is taken is given back once.
"""

import functools
from collections.abc import Mapping

from merkl.dataclass import dataclass
from merkl.errors import TaskError
from merkl.execute.sharing import Common, Sharer
from merkl.nodes import Node
from merkl.resources import CPU, GPU, MEM, USUAL, VISIBLE, Needs, exactly, gpus_here, memory_here, shown


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

    def __init__(
        self,
        root: str,
        totals: Mapping[str, int],
        slots: int,
        environ: Mapping[str, str],
        sharer: Sharer | None = None,
    ) -> None:
        self._root = root
        self._given = dict(totals)
        self._slots = slots
        self._environ = environ
        self._sharer = sharer or Sharer(Common(), slots)
        self._totals: dict[str, int] = {}  # Those that were asked for.

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
        return self._total(name) - self._sharer.used(name)

    def _total(self, name: str) -> int:
        found = self._totals.get(name)
        if found is None:
            found = self._totals[name] = self.total(name)
        return found

    def short(self, needs: Needs, reserved: Mapping[str, int]) -> list[str]:
        """The resources of which there is not enough now, beside what is reserved for others.

        What another build waits for is reserved, too, and other builds leave to this one what is not there.
        """
        for name, _ in needs:
            self._total(name)
        lacking = self._sharer.lacking(needs, self._totals)
        if not reserved:
            return lacking
        return [
            name for name, need in needs if name in lacking or need > self.free(name) - reserved.get(name, 0)
        ]

    def take(self, needs: Needs) -> Grant | None:
        """Give a task what it needs; None if it is not free, since another build was quicker."""
        count = 0
        for name, need in needs:
            self._total(name)
            if name == GPU:
                count = need
        gpus = self._gpus if count else ()
        places = self._sharer.take(needs, self._totals, gpus, count)
        if not places:
            return None if places is None else Grant(needs)
        return Grant(needs, places, ((VISIBLE, ",".join(self._gpus[place] for place in places)),))

    def give_back(self, grant: Grant) -> None:
        """Take back what a task was given."""
        self._sharer.give_back(grant.needs, [self._gpus[place] for place in grant.gpus])

    def pass_on(self, grant: Grant) -> Grant:
        """What a task that needs the usual gets of one that has ended; the rest is given back."""
        if grant.needs == USUAL:
            return grant
        least = dict(USUAL)
        rest = tuple((name, need - least.get(name, 0)) for name, need in grant.needs)
        self.give_back(Grant(rest, grant.gpus))
        return Grant(USUAL)


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
