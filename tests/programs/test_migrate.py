"""``merkl migrate`` and ``migrate_output_files``: tracked outputs after a refactor; and Futures from sidecars."""

import json
import shutil
from typing import Any

import pytest

from merkl import Future, migrate_output_files, task
from merkl.config import load_config
from merkl.engine.evaluating import evaluate
from merkl.engine.project import Project
from merkl.nodes import using

BEFORE = """
    @task
    def load():
        return [3, 1, 2]

    @task
    def {train}(numbers, factor):
        return [number * factor for number in numbers]

    @task
    def parts(numbers) -> DirRef:
        import os
        folder = os.environ["TMPDIR"] + "/made"
        os.mkdir(folder)
        for number in numbers:
            with open(f"{{folder}}/part-{{number}}", "w") as out:
                out.write(f"{{number}}")
        return DirRef(folder)

    copy = bash_task("cat {{file_arg('model', '.json')}} > {{out_file_arg('copy', '.txt')}}", name="copy")

    @target(default=True)
    def it():
        model = {train}(load(), 10)
        model >> "model.json"
        made = parts(model)
        made >> "parts"
        made["part-10"] >> "ten.txt"
        copy(model) >> "copy.txt"
"""


@pytest.fixture
def tracked(inside: Any) -> Any:
    """A project with tracked outputs, whose task ``train`` then gets another name."""
    inside.merklfile(BEFORE.format(train="train"))
    inside.build("-j1")
    inside.merklfile(BEFORE.format(train="fit"))
    return inside


def sidecars(project: Any) -> dict[str, dict[str, str]]:
    found = {}
    for path in sorted(project.path.glob("?*.merkl")):
        lines = [line.partition(": ") for line in path.read_text().splitlines()]
        found[path.name.removesuffix(".merkl")] = {name: value.strip('"') for name, _, value in lines}
    return found


def test_a_renamed_task_gets_its_results_and_nothing_runs(tracked: Any) -> None:
    before = sidecars(tracked)
    shown = tracked.merkl("migrate", "-n").stdout
    assert "would migrate model.json to fit, once of train" in shown
    assert sidecars(tracked) == before

    done = tracked.merkl("migrate", "--yes").stdout

    # What ``parts`` read is what it was; the command of ``copy`` sees the name of the task.
    assert [line.split()[:2] for line in done.splitlines()] == [
        ["migrated", "model.json"],
        ["migrated", "copy.txt"],
    ]
    after = sidecars(tracked)
    changed = {name for name, each in after.items() if each["key"] != before[name]["key"]}
    assert changed == {"model.json", "copy.txt"}
    assert {name: each["digest"] for name, each in after.items()} == {
        n: e["digest"] for n, e in before.items()
    }
    assert after["model.json"]["task"] == "fit"
    assert tracked.build("-j1") == []
    assert tracked.merkl("migrate").stdout == "nothing to migrate\n"
    out = tracked.merkl("cache", "ls", "--json", "--where", "task = 'fit'").stdout
    said = json.loads(out)["metadata"]
    assert said["migrated_from"] == before["model.json"]["key"] and said["migrated"].startswith("2")
    assert tracked.merkl("status", "--check").returncode == 0


def test_what_was_modified_is_left_alone_and_said(tracked: Any) -> None:
    tracked.write("model.json", "[1]")
    before = sidecars(tracked)

    done = tracked.merkl("migrate", "--yes", code=1)

    assert "left model.json: it is not what its sidecar says: it was modified" in done.stderr
    assert sidecars(tracked)["model.json"] == before["model.json"]
    assert "migrated copy.txt" in done.stdout


def test_nobody_is_migrated_without_being_asked(tracked: Any) -> None:
    before = sidecars(tracked)

    done = tracked.merkl("migrate", "model.json", code=2)

    assert "1 output can be migrated, and there is nobody to ask" in done.stderr
    assert sidecars(tracked) == before


def test_what_needs_a_migrated_output_is_seen_to_change_when_that_does(tracked: Any) -> None:
    tracked.merkl("migrate", "-y")
    tracked.write("Merklfile.py", tracked.read("Merklfile.py").replace("[3, 1, 2]", "[3, 1, 2, 4]"))

    assert tracked.build("-j1") == ["load", "fit", "parts", "copy"]


def test_data_in_the_store_is_enough(tracked: Any) -> None:
    (tracked.path / "model.json").unlink()
    shutil.rmtree(tracked.path / "parts")

    tracked.merkl("migrate", "--yes")

    assert tracked.build("-j1") == []
    assert json.loads(tracked.read("model.json")) == [30, 10, 20]
    assert tracked.read("parts/part-10") == "10"


def test_a_file_that_several_tasks_write_is_not_migrated(inside: Any) -> None:
    text = """
        @task
        def {name}(n):
            return n

        @batch({name})
        def all_of(ns):
            return ns

        @target(default=True)
        def it():
            for one in all_of([1, 2, 3]):
                one >> "all.jsonl"
    """
    inside.merklfile(text.format(name="one"))
    inside.build("-j1")
    inside.merklfile(text.format(name="other"))

    done = inside.merkl("migrate", "--yes", code=1)

    assert "left all.jsonl: several results are written to it together" in done.stderr


def test_python_migrates_what_the_program_placed(tracked: Any) -> None:
    @task(version="of fit")
    def made() -> int:
        raise AssertionError("nothing is run")

    project = Project(load_config(str(tracked.path)))
    project.builder = evaluate
    with using(project):
        future = made()
        future >> "model.json"
        assert [each.refused for each in migrate_output_files(dry_run=True)] == [""]
        (done,) = migrate_output_files(["model.json"])
        assert (done.path, done.before, done.task, done.new) == (
            "model.json",
            "train",
            "made",
            future.node.key,
        )
        assert future.eval() == [30, 10, 20]
        assert set(Future[Any].from_file("model.json").metadata) == {"migrated_from", "migrated"}
    project.close()


def test_futures_come_from_sidecars_of_directories_parts_and_joint_files(tracked: Any) -> None:
    tracked.merklfile(
        BEFORE.format(train="train")
        + """
    @batch(train)
    def trained(numbers, factor):
        return [[number * factor for number in each] for each in numbers]

    @target
    def lines():
        for one in trained([[0], [1], [2]], factor=2):
            one >> "all.jsonl"
    """
    )
    tracked.build("lines", "-j1")
    project = Project(load_config(str(tracked.path)))
    project.builder = evaluate
    with using(project):
        assert Future.from_file("model.json").eval() == [30, 10, 20]
        folder = Future[Any].from_file("parts")
        with open(folder.eval() + "/part-20") as part:
            assert part.read() == "20"
        for future in (Future[Any].from_file("ten.txt"), folder["part-10"]):
            with future.open("r") as file:
                assert file.read() == "10"
        with Future[Any].from_file("all.jsonl").open("r") as file:
            assert file.read().splitlines() == ["[0]", "[2]", "[4]"]
        assert Future[Any].from_file("model.json").hash == sidecars(tracked)["model.json"]["key"]
    project.close()
