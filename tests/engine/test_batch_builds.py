"""Batches in a build: which items the function gets, and what becomes of them when something goes wrong."""

import json
import signal
import time

import pytest

TASKS = """
import json, os, time

@task
def late(n, seconds=0.0):
    time.sleep(seconds)
    if os.path.exists(f"{HERE}/bad-{n}"):
        raise ValueError(n)
    return n

@task
def square(n, *, scale=1):
    return n * n * scale

@batch(square, OPTIONS)
def squares(ns, *, scale=1):
    with open(f"{HERE}/trace", "a") as file:
        file.write(json.dumps(ns) + "\\n")
    if os.path.exists(f"{HERE}/fail"):
        raise ValueError(f"no {ns}")
    if os.path.exists(f"{HERE}/die"):
        os._exit(3)
    while os.path.exists(f"{HERE}/wait"):
        time.sleep(0.01)
    return [n * n * scale for n in ns]

@task
def total(ns):
    return sum(ns)
"""


@pytest.fixture
def batches(inside):
    """Build a target with this body; the items that each run of the batch function got."""
    here = inside.path.parent
    inside.write("merkl.yaml", "jobs: 1\n")  # Unless a test asks for more.

    def write(body, options=""):
        inside.merklfile(
            TASKS.replace("{HERE}", str(here)).replace("OPTIONS", options)
            + "\n@target(default=True)\ndef all():\n"
            + "".join(f"    {line}\n" for line in body.splitlines())
        )

    def build(*arguments, code=0):
        (here / "trace").write_text("")
        done = inside.merkl("build", *arguments, code=code)
        build.out, build.err = done.stdout, done.stderr
        return [json.loads(line) for line in (here / "trace").read_text().splitlines()]

    build.write, build.here = write, here
    return build


def until_it_runs(here):
    """Wait until the batch function runs."""
    for _ in range(1000):
        if (here / "trace").read_text():
            return
        time.sleep(0.01)
    raise AssertionError("it never ran")


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_only_items_that_miss_are_passed_once_and_in_order(batches, inside, jobs):
    batches.write('total(squares([3, 1, 3, 2])) > "sum.txt"')
    assert batches(jobs) == [[3, 1, 2]]
    assert inside.read("sum.txt") == "23\n"
    assert batches(jobs) == []
    batches.write('total(squares([5, 3, 4])) > "sum.txt"')
    assert batches(jobs) == [[5, 4]]
    assert "squares [2 items]" in batches.out
    batches.write('square(5) > "one.txt"')
    assert inside.build() == []


def test_a_batch_waits_for_inputs_that_take_longer_than_others(batches, inside):
    batches.write('total(squares([1, late(2, 0.05), late(3, 0.3), 4])) > "sum.txt"')
    assert batches("-j3") == [[1, 2, 3, 4]]
    assert inside.read("sum.txt") == "30\n"


def test_an_item_that_needs_another_of_its_batch_is_run_after_it(batches, inside):
    # The first call and the second have an item in common, and one waits for what it gives.
    batches.write('first = squares([2])\ntotal([*squares([2, late(first[0]), 7])]) > "sum.txt"')
    runs = batches("-j2")
    assert sorted(n for run in runs for n in run) == [2, 4, 7]
    assert inside.read("sum.txt") == "69\n"


def test_equal_inputs_are_one_item_and_early_cutoff_is_by_item(batches):
    batches.write('total(squares([late(2), late(2, 0.001), late(3)])) > "sum.txt"')
    assert batches("-j2") == [[2, 3]]
    batches.write('total(squares([late(2, 0.002), late(3, 0.002), late(4)])) > "sum.txt"')
    assert batches("-j2") == [[4]]


def test_an_item_that_is_called_singly_too_is_run_by_its_batch_or_by_itself_but_once(batches, inside):
    batches.write('square(2) > "one.txt"\ntotal(squares([2, 3])) > "sum.txt"')
    events = [e for e in inside.events() if e["event"] == "ran"]
    assert sorted(e["task"] for e in events) == ["square", "square", "total"]


def test_a_function_that_raises_fails_all_its_items_with_one_message(batches):
    batches.write('total(squares([1, 2, 3])) > "sum.txt"')
    (batches.here / "fail").touch()
    batches("-j1", code=1)
    assert batches.err.count("raised ValueError: no [1, 2, 3]") == 1
    assert "failed squares [3 items]" in batches.err
    assert "3 failed" in batches.out
    (batches.here / "fail").unlink()
    assert batches("-j1") == [[1, 2, 3]]


def test_a_worker_that_dies_fails_the_batch_and_retries_run_it_again(batches):
    batches.write('total(squares([1, 2])) > "sum.txt"', "retries=1")
    (batches.here / "die").touch()
    assert batches("-j2", code=1) == [[1, 2], [1, 2]]
    assert "lost its process" in batches.err
    assert batches.out.count("another follows") == 1


def test_with_k_the_items_whose_inputs_failed_are_left_out(batches):
    batches.write('for each in squares([1, late(2), 3]): each > "o.jsonl"')
    (batches.here / "bad-2").touch()
    assert batches("-k", "-j2", code=1) == [[1, 3]]
    (batches.here / "bad-2").unlink()
    assert batches() == [[2]]


def test_a_timeout_is_that_of_the_run(batches):
    batches.write('total(squares([1, 2])) > "sum.txt"', "timeout=0.3")
    (batches.here / "wait").touch()
    batches("-j1", code=1)
    assert "squares took longer than 0.3 s" in batches.err


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ("ns[1:]", "should return a list of 2, one result for each item, and returned 1"),
        ("(1, 2)", "should return a list of 2, one result for each item, and returned a tuple"),
    ],
)
def test_a_result_that_is_no_list_of_one_for_each_item_is_an_error(inside, result, says):
    inside.write("merkl.yaml", "jobs: 1\n")
    inside.merklfile(f"""
        @batch
        def double(ns):
            return {result}

        @target(default=True)
        def all():
            return double([1, 2])
    """)
    done = inside.merkl("build", code=None)
    assert done.returncode != 0
    assert says in done.stderr


def test_forced_and_uncached_items_are_batched_too(batches, inside):
    batches.write('total(squares([1, 2])) > "sum.txt"')
    assert batches() == [[1, 2]]
    assert batches("-B") == [[1, 2]]
    inside.merklfile("""
        @task(cache=False)
        def one(n):
            raise AssertionError

        @batch(one)
        def ones(ns):
            return [n * 10 for n in ns]

        @target(default=True)
        def all():
            for each in ones([1, 2]):
                each > "o.jsonl"
    """)
    assert inside.build() == ["one", "one"]
    assert inside.read("o.jsonl") == "10\n20\n"


def test_results_of_several_outputs_and_of_files(inside):
    inside.merklfile("""
        import os, tempfile

        @task
        def split(text):
            return text[:1], text[1:]

        @batch(split)
        def split_all(texts):
            return [(text[:1], text[1:]) for text in texts]

        @batch(outs=["name", "file"])
        def files(names: list[str]) -> list[dict]:
            made = []
            for name in names:
                path = os.path.join(tempfile.gettempdir(), name)
                with open(path, "w") as file:
                    file.write(name * 2)
                made.append({"name": name, "file": FileRef(path)})
            return made

        @target(default=True)
        def all():
            (a, rest), (b, other) = split_all(["one", "two"])
            rest > "rest.txt"
            b > "b.txt"
            for index, each in enumerate(files(["x", "y"])):
                each["file"] > f"{index}.file"
                each["name"] > f"{index}.txt"
    """)
    inside.build("-j2")
    assert [inside.read(n) for n in ("rest.txt", "b.txt", "0.file", "1.file", "1.txt")] == [
        "ne",
        "t",
        "xx",
        "yy",
        "y",
    ]
    assert inside.build() == []


def test_two_builds_run_each_item_once(batches, inside, project):
    batches.write('total(squares([1, 2, 3])) > "sum.txt"')
    (batches.here / "wait").touch()
    (batches.here / "trace").write_text("")
    one = inside.popen("build", "-j2")
    until_it_runs(batches.here)
    batches.write('total(squares([2, 3, 4])) > "other.txt"')
    other = inside.popen("build", "-j2")
    time.sleep(0.5)
    (batches.here / "wait").unlink()
    assert one.communicate()[1] is not None
    assert other.communicate()[1] is not None
    assert one.returncode == other.returncode == 0
    runs = [json.loads(line) for line in (batches.here / "trace").read_text().splitlines()]
    assert sorted(n for run in runs for n in run) == [1, 2, 3, 4]


def test_an_interrupt_stops_a_batch_and_the_next_build_runs_it(batches, inside):
    batches.write('total(squares([1, 2])) > "sum.txt"')
    (batches.here / "wait").touch()
    (batches.here / "trace").write_text("")
    build = inside.popen("build", "-j2", start_new_session=True)
    until_it_runs(batches.here)
    build.send_signal(signal.SIGINT)
    _, err = build.communicate(timeout=30)
    assert build.returncode == 130
    assert "interrupted: squares [2 items]" in err
    (batches.here / "wait").unlink()
    assert batches() == [[1, 2]]
