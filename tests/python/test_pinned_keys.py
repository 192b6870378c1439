"""The keys of calls, pinned: a key that changes forgets every result that was stored under the old one."""

import dataclasses
import enum
import importlib.util
import os
import sys
from pathlib import Path, PurePath
from typing import Any

import pytest

from merkl.nodes import Future, using
from merkl.python.inside import Inside

TASKS = """
from merkl import FileRef, task

LIMIT = 3


def helper(n):
    return n + LIMIT


@task
def one(a, b=1):
    return helper(a)


@task
def pair(a):
    return a, a


@task
def named(a):
    return {"x": a, "y": a}


@task(version="1.2")
def versioned(a, b="b"):
    return a


@task(portable=True, outs=3)
def three(*args, key=None, **more):
    return 1, 2, 3


@task(deps=[helper, "text", 3, one, FileRef("data.txt")])
def dependent(a):
    return a


@task
def nothing():
    return None
"""


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: int = 2


def calls(tasks: Any) -> dict[str, Any]:
    """Calls of every shape, by a name for each."""
    first = tasks.one(1)
    left, right = tasks.pair("p")
    both = tasks.named(b"n")
    from merkl import FileRef

    Point.__module__, Point.__qualname__ = "pins", "Point"
    return {
        "int": first,
        "negative": tasks.one(-1),
        "large": tasks.one(2**80, -(2**63)),
        "edges": tasks.one(127, 128),
        "more edges": tasks.one(-128, -129),
        "zero": tasks.one(0, 255),
        "bool": tasks.one(True, b=False),
        "float": tasks.one(1.5, float("nan")),
        "minus zero": tasks.one(-0.0),
        "none": tasks.one(None),
        "text": tasks.one("x", "ünï"),
        "long text": tasks.one("x" * 300, "y" * 64),
        "surrogate": tasks.one("\udcff"),
        "empty": tasks.one("", b""),
        "bytes": tasks.one(b"x" * 70000),
        "future": tasks.one(first),
        "two futures": tasks.one(first, left),
        "the same twice": tasks.one(right, right),
        "inside": tasks.one([first, {"k": (left, first)}], {right}),
        "outputs": tasks.one(both["x"], both["y"]),
        "chain": tasks.one(tasks.one(tasks.one(first), 2)),
        "version": tasks.versioned(1),
        "version of a future": tasks.versioned(first, first),
        "variadic": tasks.three(1, first, 2, key=3, z=4, a=left)[0],
        "nothing variadic": tasks.three()[2],
        "deps": tasks.dependent(1),
        "deps of a future": tasks.dependent(first),
        "file": tasks.one(FileRef("data.txt"), first),
        "files": tasks.one([FileRef("data.txt"), FileRef("data.txt")]),
        "enum": tasks.versioned(Path("a/b"), PurePath("c")),
        "range": tasks.one(range(3), (1, "a", None, 2.5)),
        "code": tasks.one(tasks.helper, 1),
        "no arguments": tasks.nothing(),
    }


PINNED = {
    "int": "0139dc30a003028208dbade2",
    "negative": "4fc362e83386d2d56271bd00",
    "large": "582432eaeaa88bb50e87e871",
    "edges": "51c0a8591ed71a05cd78c81c",
    "more edges": "4860323e2f5c4f6b80e9b080",
    "zero": "d98184b0d6d516774d32dbe7",
    "bool": "073f2b09e5c8fc3763504dc4",
    "float": "ba1c657d7776144cf3f126e3",
    "minus zero": "9abdf2402c375a3b10b51aa8",
    "none": "d90c838ec2feb8fcbfab4ea1",
    "text": "d84acc35a90993c791a7d3ae",
    "long text": "88d0ec137c8f13b1395766bb",
    "surrogate": "6dea02f2b1aeee216653dcdc",
    "empty": "de8c5079c3a7f8bb7c522a24",
    "bytes": "77e19da71e2128a15d756d59",
    "future": "99af52d366c00a9bea013253",
    "two futures": "2ecdbe020d95ed72857eed9b",
    "the same twice": "2e11b3a02def0f7c5a198df7",
    "inside": "e39de783a2cf5208eac19165",
    "outputs": "67760322cbfd39e6857eed9b",
    "chain": "a11081d35f4384f0ea013253",
    "version": "b840e6ecf1a5d71df1dcc1da",
    "version of a future": "57bbb2dd3bdcecefa04ee468",
    "variadic": "abb27a97bd999f34be5da952",
    "nothing variadic": "5842c888482e1e596bfd09e7",
    "deps": "501c803d326e8c02dc492ea0",
    "deps of a future": "472a047dca5ef877c80fa3da",
    "file": "a18fdc6c8536cb8ca786b147",
    "files": "95d86389a6357ba00f9186d5",
    "enum": "b7f7752dc679839f9dec14c0",
    "range": "8b566fd8d1cd775e62dc1f03",
    "code": "f8bd84e650e8d02fddbfd67e",
    "no arguments": "1b0f142b1175389710b006a8",
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The first digits of the key and static digest of each call, together."""
    root = tmp_path_factory.mktemp("pins")
    (root / "pins.py").write_text(TASKS)
    (root / "data.txt").write_text("data")
    os.chmod(root / "data.txt", 0o644)
    spec = importlib.util.spec_from_file_location("pins", root / "pins.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["pins"] = importlib.util.module_from_spec(spec)
    try:
        with using(Inside(str(root), (), "pinned")):
            spec.loader.exec_module(module)
            made: dict[str, Future[Any]] = calls(module)
            return {name: f.node.key.hex()[:16] + f.node.static.hex()[:8] for name, f in made.items()}
    finally:
        del sys.modules["pins"]


def test_the_keys_of_calls_are_what_they_were(keys: dict[str, str]) -> None:
    assert keys == PINNED
