"""Outputs inside other outputs, judged without a disk: derived from the directory, lost with it, never recorded."""

from dataclasses import dataclass
from typing import Any

import pytest

from merkl.digest import Digest, encode
from merkl.engine.contained import NotThere
from merkl.engine.judge import Judge
from merkl.engine.step import State
from merkl.errors import FutureAccessError
from merkl.nodes import Artifact, Dep, Future, Node, Output, Part, Place, content_key, make_node
from merkl.store.base import Record
from merkl.store.memory import MemoryStore
from merkl.tree import Tree, TreeEntry


@dataclass(frozen=True)
class Call:
    """A call that only has a name."""

    task_name: str
    subject: str = ""
    retries: int = 0

    def parts(self) -> list[Part]:
        return []


def node(name: str, *deps: Future[Any], code: object = 0, outputs: tuple[str, ...] = ("",)) -> Node:
    return make_node(
        Call(name),
        encode((name, code)),
        deps=[Dep(future) for future in deps],
        outputs=[Output(output, "dir") for output in outputs],
        place=Place("Merklfile.py", 1),
    )


def folder(store: MemoryStore, files: dict[str, bytes]) -> Artifact:
    """A directory in the store."""
    entries = []
    for path in sorted(files):
        digest = store.put([files[path]])
        entries.append(TreeEntry(path.encode(), "file", digest, len(files[path])))
    tree = Tree(tuple(entries))
    return Artifact("dir", store.put([tree.encode()]), tree.size)


def run(store: MemoryStore, judge: Judge, made: dict[str, dict[str, bytes]]) -> list[str]:
    """Do what the judge says; a node makes what stands under its name, else one file of its inputs' digests."""
    ran = []
    while (step := judge.next_ready()) is not None:
        inputs = judge.inputs(step.node)
        data = b"".join([step.node.name.encode(), *(artifact.digest for artifact in inputs)])
        files = made.get(step.node.name, {"out": data})
        outputs = {output.name: folder(store, files) for output in step.node.outputs}
        assert step.content == content_key(step.node, inputs)
        digests = [artifact.digest for artifact in inputs]
        record = Record(step.node.key, step.content, step.node.name, outputs, digests, 0.0, 0)
        judge.finished(step, store.file(record))
        ran.append(step.node.name)
    assert all(step.state is State.KNOWN for step in judge.steps.values())
    return ran


def build(store: MemoryStore, *roots: Node, **made: dict[str, bytes]) -> list[str]:
    judge = Judge(store, lambda _: None)
    judge.want(roots, needs_bytes=True)
    return run(store, judge, made)


def forget(store: MemoryStore, start: bytes) -> None:
    for digest in [digest for digest, data in store._blobs.items() if data.startswith(start)]:
        del store._blobs[digest]


def test_a_reader_of_one_file_is_cut_off_when_another_changes() -> None:
    store = MemoryStore()
    first = {"x": b"1", "y": b"2"}

    def graph(code: int) -> list[Node]:
        split = Future[Any](node("split", code=code))
        return [node("a", split["x"]), node("b", split["y"]), node("whole", split)]

    assert build(store, *graph(1), split=first) == ["split", "a", "b", "whole"]
    assert build(store, *graph(1)) == []
    assert build(store, *graph(2), split=first | {"y": b"3"}) == ["split", "b", "whole"]
    assert [len(record.outputs) for record in store._names.values()] == [1] * len(store._names)


def test_a_long_chain_of_directories_that_are_lost_is_made_again() -> None:
    store = MemoryStore()
    last = node("t0")
    for number in range(1, 1500):
        last = node(f"t{number}", Future[Any](last)["out"])

    assert len(build(store, last)) == 1500
    assert build(store, last) == []
    forget(store, b"merkl tree")
    assert len(build(store, last)) == 1500


def test_only_what_is_needed_must_be_there() -> None:
    store = MemoryStore()
    split = Future[Any](node("split"))
    files = {"x": b"one", "y": b"two"}
    build(store, split.node, split=files)
    forget(store, b"two")

    assert build(store, node("a", split["x"]), split=files) == ["a"]
    assert build(store, node("b", split["y"]), split=files) == ["split", "b"]


def test_what_is_not_there_stands_for_nothing() -> None:
    store = MemoryStore()
    split = Future[Any](node("split"))
    judge = Judge(store, lambda _: None)
    judge.want([node("a", split["part-1"])])
    step = judge.next_ready()
    assert step is not None and step.node is split.node
    made = folder(store, {"part-0": b""})
    judge.finished(step, store.file(Record(split.node.key, split.node.key, "split", {"": made}, [], 0.0, 0)))

    reader = judge.next_ready()
    assert reader is not None
    [artifact] = judge.inputs(reader.node)
    assert isinstance(artifact, NotThere) and artifact.why == "split made no file 'part-1'"
    assert artifact.hint == "did you mean part-0?"
    assert not store.has([artifact.digest]) and artifact.digest != Digest.of(b"")


def test_names_of_outputs_cannot_be_confused() -> None:
    several = node("several", outputs=("a", "a/b", "c"))

    assert Future[Any](several, "a")["x"].output == "a/x"
    assert Future[Any](several, "a/b")["x"].output == "a/b/x"
    for outer, name in (("a", "b"), ("a", "b/x")):
        with pytest.raises(FutureAccessError, match="has the name of another output"):
            Future[Any](several, outer)[name]
