"""Who goes before whom, in many small worlds: tasks of random needs and lengths, with dependencies, in no real time."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from merkl.digest import Digest, Key, encode
from merkl.engine.judge import Judge
from merkl.engine.shares import Grant, Shares
from merkl.engine.step import Step
from merkl.engine.waiting import WaitingSteps
from merkl.nodes import Artifact, Dep, Future, Node, Output, Part, Place, content_key, make_node
from merkl.resources import Needs, needs_of
from merkl.store.base import Record

TOTALS = {"mem": 10, "licence": 2}


@dataclass(frozen=True)
class Call:
    """A call that has a name and takes something."""

    task_name: str
    needs: Needs
    subject: str = ""
    retries: int = 0
    interactive: bool = False

    def parts(self) -> list[Part]:
        return []


class Nothing:
    """A store without anything in it."""

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        return {}

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        return {}

    def present(self, artifacts: Iterable[Artifact]) -> set[Digest]:
        return {artifact.digest for artifact in artifacts}


class World:
    """A build whose tasks take the time they are given, on a clock of its own."""

    def __init__(self, tasks: list[tuple[dict[str, int], int, int]], slots: int) -> None:
        self.nodes: list[Node] = []
        self.length: dict[Key, int] = {}
        for index, (needs, length, back) in enumerate(tasks):
            deps = [Dep(Future(self.nodes[index - back]))] if 0 < back <= index else []
            node = make_node(
                Call(f"t{index}", needs_of(needs)), encode(("t", index)), deps=deps, outputs=[Output("", "value")],
                place=Place("Merklfile.py", index),
            )  # fmt: skip
            self.nodes.append(node)
            self.length[node.key] = length
        self.slots = slots
        self.judge = Judge(Nothing(), lambda _: None)
        self.judge.want(self.nodes)
        self.shares = Shares("/", TOTALS, slots, {})
        self.waiting = WaitingSteps(self.judge, self.shares)
        self.running: list[tuple[int, int, Step, Grant]] = []
        self.started: list[Node] = []
        self.lacked: dict[Key, set[str]] = {}

    def ready(self) -> list[Node]:
        """What could start but for the resources, in the order of the code."""
        over = {node.key for node in self.started} - {step.node.key for _, _, step, _ in self.running}
        new = [node for node in self.nodes if node not in self.started]
        return [node for node in new if all(dep.future.node.key in over for dep in node.deps)]

    def run(self) -> list[Node]:
        """Run all to the end, and check each start."""
        now = 0
        while True:
            while len(self.running) < self.slots:
                self.note_what_the_first_lacks()
                step = self.waiting.first()
                if step is None:
                    break
                self.start(step, now)
            if not self.running:
                return self.started
            now, _, step, grant = heapq.heappop(self.running)
            self.shares.give_back(grant)
            self.judge.finished(step, record_of(step, self.judge.inputs(step.node)))

    def note_what_the_first_lacks(self) -> None:
        for node in self.ready()[:1]:
            short = {name for name, need in node.call.needs if need > self.shares.free(name)}
            if self.shares.free("cpu"):
                self.lacked.setdefault(node.key, set()).update(short)

    def start(self, step: Step, now: int) -> None:
        first, *_ = self.ready()
        assert self.waiting.take(step)
        grant = self.shares.take(step.node.call.needs)
        assert all(self.shares.free(name) >= 0 for name, _ in step.node.call.needs)
        if first is not step.node:
            wanted = dict(first.call.needs)
            for name in self.lacked[first.key] & dict(step.node.call.needs).keys():
                assert self.shares.free(name) >= wanted[name], f"{name} was to be kept for {first}"
        heapq.heappush(self.running, (now + self.length[step.node.key], len(self.started), step, grant))
        self.started.append(step.node)


def record_of(step: Step, inputs: Sequence[Artifact]) -> Record:
    return Record(
        key=step.node.key, content_key=content_key(step.node, inputs), task=step.node.name,
        outputs={"": Artifact("value", Digest.of(bytes(step.node.key)), 1)}, inputs=[each.digest for each in inputs],
        seconds=1.0, started_ns=0,
    )  # fmt: skip


NEEDS = st.fixed_dictionaries(
    {}, optional={"cpu": st.integers(1, 3), "mem": st.integers(1, 10), "licence": st.integers(1, 2)}
)
TASKS = st.lists(st.tuples(NEEDS, st.integers(1, 9), st.integers(0, 4)), min_size=1, max_size=25)


@given(TASKS, st.integers(3, 6))
def test_all_run_in_the_end_and_what_the_first_lacked_is_left_to_it(tasks, slots):
    world = World(tasks, slots)

    assert sorted(node.name for node in world.run()) == sorted(node.name for node in world.nodes)
    assert not world.waiting


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), NEEDS)
def test_tasks_of_equal_needs_start_in_the_order_of_the_code(lengths, needs):
    world = World([(needs, length, 0) for length in lengths], 4)

    assert world.run() == world.nodes


def test_a_long_line_is_not_looked_at_again_for_each_that_starts():
    """In a line of ten thousand for one licence, each start looks at the first only."""
    looked = 0

    class Counting(Shares):
        def short(self, needs, reserved):
            nonlocal looked
            looked += 1
            return super().short(needs, reserved)

    world = World([({"licence": 2}, 1, 0) for _ in range(2000)], 4)
    world.shares = Counting("/", TOTALS, 4, {})
    world.waiting = WaitingSteps(world.judge, world.shares)
    world.lacked = {}
    started = 0
    while (step := world.waiting.first()) is not None:
        assert world.waiting.take(step)
        grant = world.shares.take(step.node.call.needs)
        assert world.waiting.first() is None
        world.shares.give_back(grant)
        started += 1

    assert started == 2000
    assert looked <= 2 * 2000
