"""What must run, judged without a disk: the two keys, early cutoff, open nodes, lost bytes, forced runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from merkl.digest import Digest, Key, encode
from merkl.engine.judge import Judge
from merkl.engine.step import Cached, CutOff, FoundChanged, NeverRan, OutputGone, RunsAlways, State, Waits
from merkl.nodes import Artifact, Dep, Future, Node, Output, Part, Place, content_key, make_node
from merkl.store.base import Discovered, Record


@dataclass(frozen=True)
class Call:
    """A call that only has a name."""

    task_name: str
    subject: str = ""
    retries: int = 0

    def parts(self) -> list[Part]:
        return []


def node(name: str, *deps: Node, code: object = 0, cache: bool = True, discovers: bool = False) -> Node:
    return make_node(
        Call(name),
        encode((name, code)),
        deps=[Dep(Future(dep)) for dep in deps],
        outputs=[Output("", "value")],
        place=Place("Merklfile.py", 1),
        cache=cache,
        discovers=discovers,
    )


class World:
    """A store in memory, and tasks whose result is their name, their inputs, and a salt that a test may change."""

    def __init__(self) -> None:
        self.keys: dict[Key, Record] = {}
        self.content: dict[Key, list[Record]] = {}
        self.lost: set[Digest] = set()
        self.result: dict[str, object] = {}
        self.changed: str | None = None

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]:
        return {key: self.keys[key] for key in keys if key in self.keys}

    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]:
        return {key: self.content[key] for key in keys if key in self.content}

    def present(self, artifacts: Iterable[Artifact]) -> set[Digest]:
        return {artifact.digest for artifact in artifacts} - self.lost

    def judge(self, *roots: Node, **options: Any) -> Judge:
        judge = Judge(self, lambda _: self.changed, **options)
        judge.want(roots)
        return judge

    def build(self, *roots: Node, fail: Sequence[str] = (), **options: Any) -> list[str]:
        """Run what must run, and return the names in the order they ran."""
        judge = self.judge(*roots, **options)
        ran = []
        while (step := judge.next_ready()) is not None:
            if step.node.name in fail:
                judge.failed(step)
                continue
            ran.append(step.node.name)
            judge.finished(step, self.run(step.node, judge.inputs(step.node)))
        for root in roots:
            step = judge.steps[root.key]
            if isinstance(step.verdict, CutOff):
                self.keys.setdefault(root.key, step.verdict.record)
        return ran

    def run(self, node: Node, inputs: list[Artifact]) -> Record:
        made = self.result.get(node.name, (node.name, bytes(node.static)))
        digest = Digest.of(
            encode((made, [bytes(i.digest) for i in inputs])) if not callable(made) else made()
        )
        self.lost.discard(digest)
        record = Record(
            key=node.key,
            content_key=content_key(node, inputs),
            task=node.name,
            outputs={"": Artifact("value", digest, 1)},
            inputs=[i.digest for i in inputs],
            seconds=1.0,
            started_ns=0,
            discovered=Discovered({"x.h": None}) if node.discovers else None,
        )
        if node.cache:
            self.content.setdefault(record.content_key, []).append(record)
            if not node.open:
                self.keys.setdefault(node.key, record)
        return record


def test_a_clean_build_runs_everything_in_the_order_of_the_code_and_a_second_nothing() -> None:
    world = World()
    a = node("a")
    b = node("b")
    c = node("c", a, b)

    assert world.build(c) == ["a", "b", "c"]
    assert world.build(c) == []


def test_a_root_that_the_store_knows_needs_nothing_upstream() -> None:
    world = World()
    a = node("a")
    c = node("c", a)
    world.build(c)

    judge = world.judge(c)

    assert set(judge.steps) == {c.key}
    assert isinstance(judge.steps[c.key].verdict, Cached)


def test_a_change_that_yields_the_same_bytes_is_cut_off() -> None:
    world = World()
    world.result["a"] = "same"
    world.build(node("c", node("b", node("a"))))

    edited = node("c", node("b", node("a", code="a comment")))

    assert world.build(edited) == ["a"]
    assert world.build(edited) == []


def test_going_back_runs_nothing() -> None:
    world = World()
    one, two = (node("b", node("a", code=code)) for code in (1, 2))
    world.build(one)
    world.build(two)

    assert world.build(one) == []


def test_what_needs_a_failed_node_is_skipped_and_the_rest_runs() -> None:
    world = World()
    a = node("a")
    b = node("b", a)
    c = node("c", b)
    d = node("d")
    judge = world.judge(c, d)
    judge.failed(judge.next_ready())  # type: ignore[arg-type]

    assert [judge.steps[n.key].state for n in (a, b, c)] == [State.FAILED, State.SKIPPED, State.SKIPPED]
    assert world.build(c, d, fail=["a"]) == ["d"]


def test_an_uncached_node_runs_in_every_build_and_its_readers_are_judged_by_content() -> None:
    world = World()
    clock = node("clock", cache=False)
    reader = node("reader", clock)
    far = node("far", reader)

    assert world.build(far) == ["clock", "reader", "far"]
    assert world.build(far) == ["clock"]
    world.result["clock"] = "later"
    assert world.build(far) == ["clock", "reader", "far"]


def test_an_open_node_is_not_answered_by_its_key() -> None:
    world = World()
    compile_ = node("compile", discovers=True)
    link = node("link", compile_)
    world.build(link)
    assert world.build(link) == []

    world.changed = "x.h"
    judge = world.judge(link)

    verdict = judge.steps[compile_.key].verdict
    assert isinstance(verdict, FoundChanged) and verdict.path == "x.h"
    assert isinstance(judge.verdict(judge.steps[link.key]), Waits)


def test_lost_bytes_are_made_again_only_where_something_needs_them() -> None:
    world = World()
    a = node("a")
    b = node("b", a)
    world.build(b)
    world.lost.add(world.keys[a.key].outputs[""].digest)

    assert world.build(b) == []
    edited = node("b", a, code=2)
    assert world.build(edited) == ["a", "b"]


def test_a_key_record_made_from_other_bytes_does_not_answer() -> None:
    """A nondeterministic node is made again; what was made from its old bytes is judged by content."""
    world = World()
    a = node("a")
    b = node("b", a)
    world.build(b)
    world.lost.add(world.keys[a.key].outputs[""].digest)
    world.result["a"] = "other bytes now"
    needs_a = node("needs a", a)

    assert world.build(b, needs_a) == ["a", "b", "needs a"]


def test_a_key_record_answers_if_a_node_made_again_has_the_same_bytes() -> None:
    world = World()
    a = node("a")
    b = node("b", a)
    world.build(b)
    world.lost.add(world.keys[a.key].outputs[""].digest)

    assert world.build(b, node("needs a", a)) == ["a", "needs a"]


def test_forcing_runs_everything_and_the_first_record_stays() -> None:
    world = World()
    b = node("b", node("a"))
    world.build(b)
    before = dict(world.keys)

    assert world.build(b, force_all=True) == ["a", "b"]
    assert world.keys == before


def test_forcing_one_node_leaves_its_readers_to_their_inputs() -> None:
    world = World()
    a = node("a")
    b = node("b", a)
    world.build(b)

    assert world.build(a, b, forced=frozenset({a.key})) == ["a"]
    world.result["a"] = "new"
    assert world.build(a, b, forced=frozenset({a.key})) == ["a", "b"]


def test_a_key_record_made_from_a_result_that_did_not_become_the_first_does_not_answer() -> None:
    world = World()
    a = node("a")
    world.build(a)
    world.result["a"] = "another"
    b = node("b", a)
    c = node("c", b)
    assert world.build(a, b, c, forced=frozenset({a.key})) == ["a", "b", "c"]

    assert world.build(a, b, c) == ["b", "c"]  # The store answers for a with its first result.
    assert world.build(a, b, c) == []
    assert world.build(c) == []


def test_order_without_data_holds_a_node_back() -> None:
    world = World()
    deploy = node("deploy", cache=False)
    check = node("check", cache=False)

    assert world.build(deploy, check, after={deploy.key: [check]}) == ["check", "deploy"]
    assert world.build(deploy, check, after={deploy.key: [check]}, fail=["check"]) == []


def test_an_incomplete_record_does_not_answer() -> None:
    world = World()
    a = node("a")
    world.build(a)
    world.keys[a.key] = replace(world.keys[a.key], outputs={})
    world.content.clear()

    assert world.build(a) == ["a"]


def test_verdicts_say_why() -> None:
    world = World()
    a = node("a")
    b = node("b", a)
    fresh = world.judge(b)
    assert fresh.verdict(fresh.steps[a.key]) == NeverRan()
    assert fresh.verdict(fresh.steps[b.key]) == Waits(a)

    world.build(b)
    world.lost.add(world.keys[b.key].outputs[""].digest)
    judge = Judge(world, lambda _: None)
    judge.want([b], needs_bytes=True)
    assert judge.verdict(judge.steps[b.key]) == OutputGone("")

    uncached = node("u", cache=False)
    assert world.judge(uncached).steps[uncached.key].verdict == RunsAlways()


def test_a_chain_of_30_000_neither_overflows_the_stack_nor_is_quadratic() -> None:
    world = World()
    last = node("n")
    for _ in range(30_000):
        last = node("n", last)

    assert len(world.build(last)) == 30_001
    assert world.build(last) == []
