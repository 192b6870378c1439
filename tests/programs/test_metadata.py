"""``merkl.metadata``, ``cache_args``, ``merkl cache ls``: what records say, and how one asks them."""

import json
import os
from typing import Any

import pytest

import merkl
from merkl.config import load_config
from merkl.engine.evaluating import evaluate
from merkl.engine.project import Project
from merkl.errors import TaskError, UsageError
from merkl.nodes import using
from merkl.store.find import find
from merkl.store.query import compiled

MERKLFILE = """
    import merkl

    @task(cache_args={cache_args})
    def train(size: int, name: str, lr: float = 0.5, opts=None):
        merkl.metadata(loss=size / 1000, notes={{"best": [1, None]}})
        return [size] * size

    @task
    def total(numbers):
        return sum(numbers)

    @batch(train)
    def train_all(sizes, name, lr=0.5, opts=None):
        merkl.metadata(loss=7)
        return [[size] for size in sizes]

    @target(default=True)
    def it():
        train(64, "a") > "a.json"
        total(train(128, "b", 0.25, opts={{"deep": {{"x": [1, 2]}}}})) > "b.json"
        bash_task("echo {{arg('count', type=int)}} > {{out_file_arg('out')}}")(count=3) > "c.txt"

    @target
    def batched():
        for number, one in enumerate(train_all([1000, 1001], name="c")):
            one > f"batched-{{number}}.json"
"""


@pytest.fixture
def recorded(inside: Any) -> Any:
    """A project whose tasks have run."""
    inside.merklfile(MERKLFILE.format(cache_args=True))
    inside.build("-j1")
    return inside


def listed(project: Any, where: str, *more: str) -> list[dict[str, Any]]:
    out = project.merkl("cache", "ls", "--json", "--where", where, *more).stdout
    return [json.loads(line) for line in out.splitlines()]


QUESTIONS = [
    ("args.size = 128 and metadata.loss < 0.2", ["train b"]),
    ("args.size=128", ["train b"]),
    ("args.size > 1", ["train b", "train a"]),
    ("args.size = '128'", []),
    ("args.size != 128", ["train a"]),
    ("not args.size = 128 and task = 'train'", ["train a"]),
    ("args.name > 1", []),
    ("args.name like 'A%'", ["train a"]),
    ("args.name not like 'a' and task = \"train\"", ["train b"]),
    ("args.opts = null and task like 'tra%'", ["train a"]),
    ("args.opts.deep.x != null", ["train b"]),
    ("args.opts.deep.x.1 = 2", ["train b"]),
    ("args.name not like 'z%'", ["train b", "train a"]),
    ("task = 'train' and started > '2020-01-01T00:00Z'", ["train b", "train a"]),
    ("task = 'train' and started like '2%T%' and started like '2___-__-__T__:%'", ["train b", "train a"]),
    ("args.lr < metadata.loss", []),
    ("args.lr > metadata.loss", ["train b", "train a"]),
    ("args.name = task", []),
    ("metadata.loss <= 0.064 or task = 'total'", ["total", "train a"]),
    ("(metadata.loss = 1 or args.count = 3) and seconds >= 0", ["bash"]),
    ("task = 'train' and size < 300", ["train a"]),
    ("task = 'train' and started > '2020-01-01' and started < '2999'", ["train b", "train a"]),
    ("metadata.loss = '; DROP TABLE record; --'", []),
]


def test_records_are_asked_by_what_they_say(recorded: Any) -> None:
    project = Project(load_config(str(recorded.path)))
    for where, tasks in QUESTIONS:
        found = find(project.store, where)
        names = [f"{one.task} {one.arguments.get('name', '')}".strip() for one in found]
        assert sorted("bash" if name.startswith("echo") else name for name in names) == sorted(tasks), where
    project.close()


def test_what_a_record_holds(recorded: Any) -> None:
    (one,) = listed(recorded, "args.size = 128")

    assert one["args"] == {"size": 128, "name": "b", "lr": 0.25, "opts": {"deep": {"x": [1, 2]}}}
    assert one["metadata"] == {"loss": 0.128, "notes": {"best": [1, None]}}
    assert len(one["key"]) == len(one["arguments_hash"]) == len(one["dependencies_hash"]) == 64
    (total,) = listed(recorded, "task = 'total'")
    assert total["dependencies"][0]["node"] == one["key"]
    assert total["dependencies_hash"] != one["dependencies_hash"]


def test_records_are_sorted_and_limited(recorded: Any) -> None:
    def sizes(*more: str) -> list[int]:
        return [one["args"]["size"] for one in listed(recorded, "task = 'train'", *more)]

    assert sizes("--sort", "args.size") == [64, 128]
    assert sizes("--sort", "-metadata.loss") == [128, 64]
    assert sizes("--sort=-args.size", "--limit=1") == [128]
    out = recorded.merkl("cache", "ls", "--where", "task = 'train'", "--sort", "args.size").stdout
    assert '  train(size=64, name="a", lr=0.5, opts=null)  [loss=0.064, notes=' in out.splitlines()[0]
    assert out.splitlines()[-1] == "2 records"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("args.size == ", "something is missing here"),
        ("task = x or task = y", "there is no field 'x'"),
        ("sise = 3", "there is no field 'sise'"),
        ("args.size 3", "a comparison is missing here: = != < <= > >= or like"),
        ("args.size = 3 task = 'x'", "`and` or `or` is missing here"),
        ("1 = 1", "nothing of a record is compared here"),
        ("(args.size = 1", "this parenthesis is never closed"),
        ("task = 'x", "this quotation mark is never closed"),
        ("task = x; DROP TABLE record", "this means nothing here"),
        ("args.size < null", "null is compared with = and != only"),
        ("not " * 50 + "task = ''", "this is nested too deeply"),
        ("(" * 900, "this is too long a question"),
    ],
)
def test_a_question_that_is_none_is_shown_with_a_caret(where: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compiled(where)

    first, line, caret = caught.value.headline.split("\n")
    assert first.startswith(f"--where: {message}")
    assert caret.strip() == "^" and len(caret) <= len(line) + 1


def test_nothing_of_a_question_gets_into_the_sql() -> None:
    made = compiled("args.secret_name = 'some text' and metadata.b.c < 17")

    assert not any(word in made.text for word in ("secret_name", "some text", "17"))


def test_a_future_knows_what_was_said_of_its_run(recorded: Any, tmp_path: Any) -> None:
    assert merkl.Future.from_file is not None
    recorded.merklfile(MERKLFILE.format(cache_args=False) + "\n    print(train(64, 'a').metadata)\n")
    out = recorded.merkl("list")
    assert "{'loss': 0.064, 'notes': {'best': [1, None]}}" in out.stdout + out.stderr


def test_a_batch_says_it_of_every_item_and_workers_send_it(recorded: Any) -> None:
    recorded.build("batched", "-j2")

    assert [one["metadata"] for one in listed(recorded, "args.size >= 1000")] == [{"loss": 7}] * 2


def test_metadata_enters_no_key_and_no_comparison(recorded: Any) -> None:
    text = recorded.read("Merklfile.py")
    recorded.write("Merklfile.py", text.replace("loss=size / 1000", "loss=-1.0"))

    assert sorted(recorded.build("-j1")) == ["train", "train"]  # The code changed; the bytes did not.


def test_arguments_may_be_left_out_of_records(inside: Any) -> None:
    inside.merklfile(MERKLFILE.format(cache_args=False))
    inside.build("-j1")

    assert [one["args"] for one in listed(inside, "task = 'train'")] == [{}, {}]


@pytest.mark.parametrize("value", [float("nan"), {1: 2}, object(), b"x", {"a": [set()]}])
def test_only_json_is_said(value: Any) -> None:
    from merkl.python.noting import said

    token = said.set({})
    try:
        with pytest.raises(TaskError, match=r"merkl.metadata\(loss=…\) takes JSON values"):
            merkl.metadata(loss=value)
    finally:
        said.reset(token)


def test_outside_a_task_there_is_nothing_to_say_it_of() -> None:
    with pytest.raises(TaskError, match="no task is running here"):
        merkl.metadata(loss=1)


def test_options_of_ls_without_ls_are_refused(recorded: Any) -> None:
    done = recorded.merkl("cache", "--where", "task = 'x'", code=2)
    assert "--where, --sort and --limit are of ls" in done.stderr


def test_python_asks_the_same_questions(recorded: Any) -> None:
    project = Project(load_config(str(recorded.path)))
    project.builder = evaluate
    with using(project):
        (found,) = merkl.cache_ls("args.size = 128 and metadata.loss < 0.2")
        assert (found.task, found.arguments["name"]) == ("train", "b")
        assert [each.task for each in merkl.cache_ls(sort="task", limit=2)][-1] in ("total", "train")
        assert find(project.store, "metadata.migrated_from != null") == []
    project.close()


def test_secrets_are_in_no_record(inside: Any) -> None:
    inside.merklfile(
        """
        @task(cache_args=True)
        def fetch(token, n):
            return n

        @target(default=True)
        def it():
            fetch(Secret("TOKEN_OF_TEST"), 3) > "out.json"
        """
    )
    inside.build("-j1", env={**os.environ, "TOKEN_OF_TEST": "hunter2"})

    (one,) = listed(inside, "args.n = 3")
    assert "hunter2" not in json.dumps(one) and "TOKEN_OF_TEST" in one["args"]["token"]


def test_arguments_are_recorded_as_far_as_json_can_say_them(inside: Any) -> None:
    inside.merklfile(
        """
        import datetime
        from dataclasses import dataclass
        from enum import Enum

        Size = Enum("Size", "SMALL LARGE")

        @dataclass
        class Options:
            rate: float
            size: Size

        class Strange:
            def __repr__(self):
                return "<strange>"

        @task
        def one():
            return 1

        @task(cache_args=True)
        def fit(*inputs, **options):
            return 3

        @target(default=True)
        def it():
            day = datetime.date(2024, 2, 29)
            return fit([one(), 2], {3, 4}, options=Options(0.5, Size.LARGE), at=day, by={Size.SMALL: Strange()}, raw=b"x" * 500)
        """
    )
    inside.build("-j1")

    (made,) = listed(inside, "args.options.options.rate = 0.5 and args.inputs.0.1 = 2")
    (first,) = listed(inside, "task = 'one'")
    assert made["args"] == {
        "inputs": [[{"node": first["key"], "task": "one", "output": ""}, 2], [3, 4]],
        "options": {
            "options": {"rate": 0.5, "size": "LARGE"},
            "at": "2024-02-29",
            "by": {"<Size.SMALL: 1>": "<strange>"},
            "raw": f"b'{'x' * 398}…",
        },
    }


def test_the_file_of_a_sqlite_cache_is_told_by_function(inside: Any) -> None:
    inside.merklfile(
        """
        @task(cache=SqliteCache("c.db"))
        def made(n):
            return n

        @target(default=True)
        def it():
            return [made(n) for n in range(3)]
        """
    )
    inside.build("-j1")

    (one,) = json.loads(inside.merkl("cache", "--of", "c.db", "--json").stdout)["tasks"]

    assert (one["task"], one["records"]) == ("made", 3) and one["bytes"] > 0
    assert inside.merkl("cache", "--of", "c.db").stdout.splitlines()[1].split()[:2] == ["made", "3"]
    assert "there is no d.db" in inside.merkl("cache", "--of", "d.db", code=2).stderr
