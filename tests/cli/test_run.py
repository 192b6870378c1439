"""``merkl run``: functions of modules, called with words from the command line."""

import json
import pstats
import textwrap

import pytest

STEPS = '''
    import enum
    from merkl import *

    class Mode(enum.Enum):
        FAST = "f"
        SLOW = "s"

    upper = bash_task("tr a-z A-Z < {file_arg('text')} > {out_file_arg('out', '.txt')}")

    @task
    def double(x: int):
        """Twice as much.

        :param x: a number
        """
        return 2 * x

    @task
    def halves(x: float):
        return {"low": x / 2, "high": x}

    @pipeline
    def both(n: int, name: str = "a"):
        """Double twice, and keep the second."""
        first = double(n)
        second = double(first)
        second > f"build/{name}.txt"
        return {"first": first, "second": second, "name": name}

    def plain(text: FileRef, copies: int = 1):
        return upper(text)

    def words(*names: str, **more: int):
        return names, more

    @pipeline
    def grown(n: int):
        return [double(i) for i in range(double(n).eval())]

    def fails():
        raise ValueError("no luck")

    async def later(): ...

    pi = 3
'''


@pytest.fixture
def steps(merkl, monkeypatch):
    """A directory with a module of tasks and pipelines, and no Merklfile."""
    monkeypatch.setenv("MERKL_JOBS", "1")  # Nothing waits for a worker to start.
    (merkl.root / "steps.py").write_text(textwrap.dedent(STEPS))
    (merkl.root / "in.txt").write_text("hello\n")
    return merkl


def result(done):
    """The last line of ``--json``."""
    assert done.code == 0, done.err
    last = json.loads(done.out.splitlines()[-1])
    assert last["event"] == "result"
    return last["value"]


def names_that_ran(done):
    return [e["task"] for e in map(json.loads, done.out.splitlines()) if e["event"] == "ran"]


# ---- what is run -------------------------------------------------------------------------------------------------------


def test_a_task_is_run_with_typed_arguments_and_its_value_is_printed(steps):
    assert steps("run", "-q", "steps.double", "21").out == "42\n"
    assert steps("run", "-q", "steps.double", "x=21").out == "42\n"
    assert steps("run", "-q", "steps.double", "--x", "21").out == "42\n"
    assert steps("run", "-q", "steps.py:double", "-3").out == "-6\n"


def test_a_pipeline_is_built_with_what_it_places_and_shown_by_name(steps):
    done = steps("run", "-j1", "steps.both", "3", "--name", "b")

    assert done.code == 0, done.err
    assert done.out.splitlines()[-3:] == ["first: 6", "second: 12", "name: b"]
    assert (steps.root / "build/b.txt").read_text().strip() == "12"
    assert steps("run", "steps.both", "3", "--name", "b").out.startswith("2 tasks: 2 cached")


def test_a_file_is_shown_as_a_path_where_it_can_be_read(steps):
    path = steps("run", "-q", "steps.plain", "in.txt").out.strip()

    assert (steps.root / path).read_text() == "HELLO\n"
    assert result(steps("run", "--json", "steps.upper", "in.txt")) == {"path": path}


def test_a_target_runs_as_it_is_built(steps):
    steps.merklfile(
        "from merkl import *\nimport steps\n@target\ndef made(n: int = 2):\n    steps.double(n) > 'm.txt'\n    return steps.double(n)\n"
    )

    assert steps("run", "-q", "Merklfile.made", "--n=5").out == "10\n"
    assert (steps.root / "m.txt").read_text().strip() == "10"
    assert "1 cached" in steps("build", "made", "n=5").out


def test_a_plain_function_without_futures_is_called_and_its_value_is_printed(steps):
    assert result(steps("run", "--json", "steps.words", "a", "b", "c=3")) == [["a", "b"], {"c": 3}]


def test_results_are_one_json_document_per_line_as_of_a_build(steps):
    done = steps("run", "--json", "steps.halves", "3")

    assert [json.loads(line)["event"] for line in done.out.splitlines()] == [
        "start",
        "running",
        "ran",
        "done",
        "result",
    ]
    assert result(done) == {"low": 1.5, "high": 3.0}


def test_a_file_with_a_name_that_is_no_module_is_run_too(steps):
    (steps.root / "my-steps.py").write_text("from merkl import task\n@task\ndef one():\n    return 1\n")

    assert steps("run", "-q", "my-steps.py:one").out == "1\n"


def test_large_values_are_cut_and_json_has_all_of_them(merkl):
    (merkl.root / "m.py").write_text("def f(n: int):\n    return list(range(n)), 'x' * 3\ndef none(): pass\n")

    assert len(merkl("run", "m.f", "15000").out.splitlines()) == 101
    assert merkl("run", "m.f", "15000").out.endswith(" more lines; --json prints all of it\n")
    assert len(result(merkl("run", "--json", "m.f", "15000"))[0]) == 15000
    assert merkl("run", "m.none").out == ""


# ---- merkl's own options -----------------------------------------------------------------------------------------------


def test_without_a_cache_everything_runs_and_nothing_is_left(steps):
    steps("run", "steps.both", "3")

    done = steps("run", "--json", "--no-cache", "steps.both", "3")
    assert names_that_ran(done) == ["double", "double"]
    assert result(done)["second"] == 12
    steps("run", "--no-cache", "steps.both", "4")
    assert names_that_ran(steps("run", "--json", "steps.both", "4")) == ["double", "double"]
    assert not list((steps.root / ".merkl/run").glob("*-store"))
    assert not list((steps.root / ".merkl/builds").iterdir())


def test_cleared_first_it_runs_again_and_is_cached_then(steps):
    steps("run", "steps.both", "3")

    assert names_that_ran(steps("run", "--json", "steps.both", "3", "--clear")) == ["double", "double"]
    assert names_that_ran(steps("run", "--json", "steps.both", "3")) == []


def test_a_dry_run_says_what_would_run_and_runs_nothing(steps):
    done = steps("run", "steps.both", "3", "-n")

    assert "2 tasks: 1 would run, 1 may run" in done.out
    assert not (steps.root / "build").exists()


def test_what_a_pipeline_evaluates_runs_unless_nothing_may(steps):
    dry = steps("run", "steps.grown", "1", "-n")
    assert (dry.code, dry.out) == (
        0,
        "would run  double x=1: no result of it is known\n1 task: 1 would run\n",
    )
    assert (
        dry.err
        == "note: the pipeline grown is unknown until double x=1 has run\n  hint: `merkl run steps.grown` runs it\n"
    )
    assert steps("dag", "steps.grown", "1").out == "double x=1  [would run]  in grown\n"

    assert steps("run", "-q", "steps.grown", "1").out == "0: 0\n1: 2\n"
    assert steps("run", "steps.grown", "1", "-n").out == "2 tasks: nothing would run\n"


def test_without_a_cache_workers_find_what_others_made(project):
    project.write("steps.py", textwrap.dedent(STEPS))

    done = project.merkl("run", "-q", "-j2", "--no-cache", "steps.both", "3")
    assert done.stdout.splitlines() == ["first: 6", "second: 12", "name: a"]


def test_pulling_runs_nothing_and_prints_what_there_is(steps):
    assert steps("run", "steps.both", "3", "--pull").code == 6
    steps("run", "steps.both", "3")
    (steps.root / "build/a.txt").unlink()

    done = steps("run", "steps.both", "3", "--pull")
    assert (done.code, done.out.splitlines()[-3:]) == (0, ["first: 6", "second: 12", "name: a"])
    assert (steps.root / "build/a.txt").read_text().strip() == "12"


def test_a_long_option_behind_the_name_is_the_functions_if_it_has_it(steps):
    (steps.root / "own.py").write_text(
        "from merkl import task\n@task\ndef f(json: str = 'x', target: int = 0):\n    return json, target\n"
    )

    assert steps("run", "-q", "own.f", "--json", "here", "--target", "7").out == "0: here\n1: 7\n"
    assert result(steps("run", "--json", "own.f", "--target", "7")) == ["x", 7]
    assert "1 ran" in steps("run", "--target", "1", "own.f", "--json=other").out


def test_a_profile_is_written_for_pstats(steps):
    assert steps("run", "steps.double", "1", "-j1", "--profile", "p.out").code == 0
    assert steps("run", "--profile", "q.out", "steps.double", "2").code == 0

    for name in ("p.out", "q.out"):
        called = {function for _, _, function in pstats.Stats(str(steps.root / name)).stats}
        assert "call_function" in called
    assert steps("run", "--profile", "no/where.out", "steps.double", "2").err.startswith(
        "--profile no/where.out: it cannot be written: No such file"
    )


def test_a_build_with_a_profile_is_never_answered_without_one(poem):
    poem("build")
    for _ in range(2):
        assert poem("build", "--profile", "p.out").out.startswith("2 tasks: 2 cached")
        (poem.root / "p.out").unlink()


def test_verbose_says_why_each_task_runs_or_does_not(steps):
    assert "double x=1 runs: no result of it is known\n" in steps("run", "-v", "steps.double", "1").out
    assert (
        "cached double x=1: it ran before with the same code and inputs\n"
        in steps("run", "-v", "steps.double", "1").out
    )
    assert "double x=1 runs: forced\n" in steps("run", "-v", "-B", "steps.double", "1").out


# ---- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("steps.bth", "no function 'bth' in steps\n  hint: did you mean both?\n"),
        ("stps.both", "there is no module stps\n  hint: did you mean steps.both?\n"),
        ("both", "'both' is not the name of a function in a module\n  hint: did you mean steps.both?\n"),
        ("steps.pi", "steps.pi is a value of type int, not a function\n  hint: it has steps.upper, steps.double, steps.halves, "
                     "steps.both, steps.plain, steps.words, steps.grown, steps.fails, steps.later\n"),
        ("steps.Mode", "steps.Mode is a class, not a function\n  hint: it has steps.upper, steps.double, steps.halves, "
                       "steps.both, steps.plain, steps.words, steps.grown, steps.fails, steps.later\n"),
        ("steps.later", "steps.later is an async function, which merkl does not run\n  declared: steps.py:44\n"),
        ("step.py:both", "there is no file step.py\n  hint: did you mean steps.py?\n"),
        ("steps.py:bth", "no function 'bth' in steps.py\n  hint: did you mean both?\n"),
        ("Merklfile.x", "no Merklfile.py or Merklfile.yaml here or above\n  hint: `merkl init` writes one\n"),
        ("builtins.max", "builtins.max does not say which arguments it takes\n  hint: write a function around it\n"),
        ("steps", "'steps' is not the name of a function in a module\n"
                  "  hint: there are steps.double, steps.halves, steps.both, steps.grown\n"),
        ("steps.fails", "steps.fails raised ValueError: no luck\n  at:\n    steps.py:42, in fails\n      raise ValueError(\"no luck\")\n"),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_run_says_which_can(steps, word, message):
    done = steps("run", word)

    assert (done.code, done.err) == (2, message)


def test_what_a_module_imported_from_typing_is_not_offered(steps):
    (steps.root / "typed.py").write_text("from typing import Literal, Optional\n\n\ndef f(): ...\n")

    assert steps("run", "typed.nothing").err == "no function 'nothing' in typed\n  hint: it has f\n"


def test_without_a_name_those_there_are_are_listed(steps):
    assert steps("run").err == (
        "run takes the name of a function\n"
        "  functions:\n    steps.double\n    steps.halves\n    steps.both\n    steps.grown\n"
        "  hint: merkl run steps.double\n"
    )


def test_what_goes_wrong_in_a_module_is_told_in_its_own_lines(steps):
    (steps.root / "bad.py").write_text("import nowhere\n")
    (steps.root / "worse.py").write_text("def f(:\n")

    missing = steps("run", "bad.f").err
    assert missing.startswith(
        "the module bad raised ModuleNotFoundError: No module named 'nowhere'\n  at:\n    bad.py:1,"
    )
    assert "merkl/" not in missing.partition("hint")[0]
    assert steps("run", "worse.f").err.startswith("worse.py:1: invalid syntax\n")


def test_wrong_arguments_in_a_pipeline_in_a_pipeline_are_one_short_message(steps):
    (steps.root / "deep.py").write_text(
        "from merkl import pipeline, task\n\n\n@task\ndef train(data):\n    return data\n\n\n"
        "@pipeline\ndef inner(n: int):\n    return train(n, 2, 3)\n\n\n@pipeline\ndef outer(n: int):\n    return inner(n)\n"
    )

    done = steps("run", "deep.outer", "1")

    assert done.code == 2
    assert done.err == (
        "train takes 1 argument, and got 3\n"
        "  signature: train(data)\n"
        "  passed: (1, 2, 3)\n"
        "  defined: deep.py:4\n"
        "  at:\n"
        "    deep.py:16, in outer\n"
        "      return inner(n)\n"
        "    deep.py:11, in inner\n"
        "      return train(n, 2, 3)\n"
    )
    assert len(done.err.splitlines()) <= 12


# ---- the logger --------------------------------------------------------------------------------------------------------


def test_whoever_listens_to_the_logger_hears_what_happens_and_the_terminal_does_not(steps):
    import logging

    heard, root = [], []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append((record.levelname, record.getMessage()))
    logger = logging.getLogger("merkl")
    others = logging.Handler()
    others.emit = root.append
    before = logger.level, logger.propagate
    logger.propagate = True
    logging.getLogger().addHandler(others)
    logger.addHandler(handler)
    logger.setLevel("DEBUG")
    try:
        steps("run", "-j1", "steps.double", "4")
        steps("run", "steps.double", "4")
    finally:
        logger.removeHandler(handler)
        logging.getLogger().removeHandler(others)
        logger.setLevel(before[0])
        logger.propagate = before[1]

    assert ("INFO", "double x=4: runs: no result of it is known") in heard
    assert ("DEBUG", "double x=4: cached") in heard
    assert root == []


def test_a_parameter_that_is_set_behind_the_functions_name_is_set_before_its_module_is_read(merkl):
    (merkl.root / "params.yaml").write_text("rate: 0.5\n")
    (merkl.root / "m.py").write_text(
        "from merkl import params\nRATE = params('params.yaml').rate\ndef f():\n    return RATE\n"
    )

    assert merkl("run", "m.f", "--set", "rate=0.7").out == "0.7\n"
    assert merkl("run", "m.f", "--set=rat=1").err.startswith("--set rat: no parameter of that name")


def test_what_threads_of_a_function_call_and_place_belongs_to_it(steps):
    (steps.root / "threads.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from threading import Thread\n"
        "import merkl\n"
        "@merkl.task\ndef one(n):\n"
        "    said = []\n"
        "    def inside():\n"
        "        merkl.metadata(n=n)\n"
        "        try:\n            one(0).eval()\n"
        "        except Exception as error:\n            said.append(type(error).__name__)\n"
        "    thread = Thread(target=inside)\n    thread.start()\n    thread.join()\n"
        "    return [n, *said]\n"
        "def placed(n):\n    return one(n) > f'{n}.json'\n"
        "@merkl.pipeline\ndef all():\n"
        "    with ThreadPoolExecutor(2) as pool:\n        return list(pool.map(placed, [1, 2]))\n"
    )

    assert steps("run", "-q", "-j1", "threads.all").code == 0
    assert [json.loads((steps.root / f"{n}.json").read_text())[0] for n in (1, 2)] == [1, 2]
    (there,) = {path.name for path in steps.root.rglob(".merkl")}
    assert there == ".merkl"
    found = steps("cache", "ls", "--where", "metadata.n = 2", "--json")
    assert json.loads(found.out)["metadata"] == {"n": 2}
    assert json.loads((steps.root / "1.json").read_text())[1:] == ["FutureAccessError"]


def test_results_inside_of_results_have_lines_of_their_own(steps):
    (steps.root / "nested.py").write_text(
        "from steps import double\ndef f():\n    return {'a': 1, 'b': [double(2)]}\n"
    )
    assert steps("run", "-q", "-j1", "nested.f").out == "a: 1\nb:\n  0: 4\n"


def test_clear_says_what_of_a_call_stays(steps):
    (steps.root / "more.py").write_text("from steps import double\ndef f():\n    return double(3)\n")
    steps("run", "-q", "-j1", "more.f")
    steps("run", "-q", "-j1", "steps.py:double", "3")

    again = steps("run", "-j1", "steps.double", "3", "--clear")
    assert again.err == (
        "note: --clear: 1 result that others need stays: more.f()\n  hint: -B runs them again\n"
    )
    cleared = steps("clear", "steps.double", "3").out
    assert cleared == "removed 0 results and 0 blobs, 0 bytes; 1 result that others need stays: more.f()\n"
    assert steps("clear", "more.f", "steps.double", "3").out.startswith("forgot double x=3\nremoved 1 result")
    steps("run", "-q", "-j1", "steps.double", "3")
    shown = steps("run", "steps.double", "3", "--clear", "-n")
    assert shown.err == "note: --clear would first forget 1 result\n"
