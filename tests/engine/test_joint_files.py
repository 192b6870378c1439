"""Results of batches that are placed at one path: one file of many values."""

import json

import pytest

TASKS = """
@task(outs=1)
def measure(word):
    return {"word": word, "length": len(word)}

@batch(measure)
def measure_all(words):
    return [{"word": word, "length": len(word)} for word in words]

@target(default=True)
def all():
    for result in measure_all(__import__("pathlib").Path("words").read_text().split()):
        PLACE
"""

ROWS = [{"word": "to", "length": 2}, {"word": "be", "length": 2}, {"word": "to", "length": 2}]


@pytest.fixture
def words(inside):
    """A project in which each word of ``words`` is measured and placed."""

    def declare(place, text="to be to"):
        inside.write("merkl.yaml", "jobs: 1\n")
        inside.merklfile(TASKS.replace("PLACE", place))
        inside.write("words", text)

    inside.declare = declare
    return inside


def test_all_results_go_into_one_file_in_the_order_of_placing(words):
    words.declare('result > "out.jsonl"; result > "out.json"; result > "out.csv"')
    assert words.build() == ["measure", "measure"]
    assert words.read("out.jsonl") == "".join(json.dumps(row) + "\n" for row in ROWS)
    assert words.read("out.json") == "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n"
    assert words.read("out.csv") == "word,length\nto,2\nbe,2\nto,2\n"


def test_a_changed_value_runs_one_task_and_rewrites_the_file_once(words):
    words.declare('result > "o.jsonl"; result >> "o.csv"')
    words.build()
    before = words.path.joinpath("o.jsonl").stat()[:2]
    before_ns = words.path.joinpath("o.jsonl").stat().st_mtime_ns
    assert words.build() == []
    assert words.path.joinpath("o.jsonl").stat()[:2] == before
    assert words.path.joinpath("o.jsonl").stat().st_mtime_ns == before_ns
    words.write("words", "to bee to")
    events = words.events()
    assert [e["task"] for e in events if e["event"] == "ran"] == ["measure"]
    assert [e["path"] for e in events if e["event"] == "placed"] == ["o.jsonl", "o.csv"]
    assert words.read("o.csv") == "word,length\nto,2\nbee,3\nto,2\n"
    words.write("words", "bee to to")
    assert words.build() == []
    assert words.read("o.csv") == "word,length\nbee,3\nto,2\nto,2\n"


def test_one_sidecar_and_pull_brings_the_file_back(words):
    words.declare('result >> "o.csv"')
    words.build()
    text = words.read("o.csv")
    assert text.count("\n") == 4
    assert sorted(path.name for path in words.path.glob("?*.merkl")) == ["o.csv.merkl"]
    words.path.joinpath("o.csv").unlink()
    words.merkl("pull")
    assert words.read("o.csv") == text
    assert words.build() == []
    words.path.joinpath("o.csv").unlink()
    words.merkl("build", "--pull")
    assert words.read("o.csv") == text
    assert "1 fresh" in words.merkl("status").stdout


def test_an_edit_by_hand_is_saved_and_clean_removes_the_file(words):
    words.declare('result > "o.json"')
    words.build()
    text = words.read("o.json")
    words.write("o.json", "mine\n")
    assert "modified" in words.merkl("status").stdout
    assert "saved your edited o.json" in words.merkl("build").stdout
    assert words.read("o.json") == text
    words.merkl("restore", "o.json")
    assert words.read("o.json") == "mine\n"
    words.build()
    assert words.merkl("clean").stdout.count("removed o.json") == 1
    assert not words.path.joinpath("o.json").exists()
    assert words.merkl("build", "--dry-run").stdout.count("o.json") == 1
    assert words.merkl("dag").stdout.count("→ o.json") == 2
    assert words.build("o.json") == []
    assert words.read("o.json") == text


def test_values_that_were_lost_are_made_again_before_the_file_is_written(words):
    from merkl.config import load_config
    from merkl.engine.project import Project

    words.declare('result > "o.jsonl"')
    words.build()
    words.path.joinpath("o.jsonl").unlink()
    project = Project(load_config(str(words.path)))
    project.store.database.write(lambda c: c.execute("DELETE FROM blob WHERE instr(bytes, 'be')"))
    project.close()
    assert words.build() == ["measure"]
    assert [json.loads(line) for line in words.read("o.jsonl").splitlines()] == ROWS


def test_gc_keeps_what_a_file_is_made_of(words):
    from merkl.config import load_config
    from merkl.engine.project import Project
    from merkl.engine.roots import roots_of
    from merkl.store.choice import Keep
    from merkl.store.collect import collect

    words.declare('result > "o.jsonl"')
    words.build()
    words.write("words", "gone")
    words.build()
    words.write("words", "to be to")
    words.build()
    project = Project(load_config(str(words.path)))
    gone = collect(project.store, Keep(frozenset(roots_of(project).keys), older_than_days=0, grace_s=-1))
    project.close()
    assert gone.records >= 1
    words.path.joinpath("o.jsonl").unlink()
    assert words.build() == []
    assert len(words.read("o.jsonl").splitlines()) == 3


def test_a_failure_leaves_the_file_as_it_was(words):
    words.declare('result > "o.jsonl"')
    words.build()
    words.merklfile(
        TASKS.replace("PLACE", 'result > "o.jsonl"').replace(
            "def measure_all(words):", "def measure_all(words):\n    1 / 0"
        )
    )
    words.write("words", "or not")
    words.merkl("build", code=1)
    assert len(words.read("o.jsonl").splitlines()) == 3


def test_a_single_result_is_one_line_or_row(words):
    words.declare('result > "o.jsonl"; result > "o.csv"; result > "o.json"', "be")
    words.build()
    assert words.read("o.jsonl") == '{"word": "be", "length": 2}\n'
    assert words.read("o.csv") == "word,length\nbe,2\n"
    assert json.loads(words.read("o.json")) == {"word": "be", "length": 2}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('for each in twice([1, 2]): each > "o.npy"', "several values cannot be written to o.npy"),
        ('one(1) > "o.jsonl"; one(2) > "o.jsonl"', "only results of a @batch task make one file together"),
        ('one(1) > "o.jsonl"; twice([3])[0] > "o.jsonl"', "two outputs would be placed at o.jsonl"),
        (
            'for each in twice([1, object]): each > "o.jsonl"',
            "value 1, of type type, cannot be written as JSON",
        ),
    ],
)
def test_what_cannot_be_one_file_is_refused(inside, body, says):
    inside.write("merkl.yaml", "jobs: 1\n")
    inside.merklfile(f"""
        @task
        def one(n):
            return n

        @batch(one)
        def twice(ns):
            return ns

        @target(default=True)
        def all():
            {body}
    """)
    assert says in inside.merkl("build", code=None).stderr


def test_a_script_writes_the_file_when_one_of_its_values_is_asked_for(project):
    project.write(
        "script.py",
        """
from merkl import batch, task

@task
def square(n):
    return n * n

@batch(square)
def squares(ns):
    return [n * n for n in ns]

results = squares([1, 2, 3])
for each in results:
    each > "squares.jsonl"
for each in results:  # Once more, as in a notebook.
    each > "squares.jsonl"
print(results[0].eval(), open("squares.jsonl").read().split())
""",
    )
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=project.path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "1 ['1', '4', '9']\n"
