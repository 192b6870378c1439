"""``clear``, ``dag``, ``dot`` and ``debug`` of functions of modules."""

import json
import textwrap

import pytest

from merkl.cli.complete import complete

STEPS = """
    import helpers
    from merkl import *

    @task
    def base(n: int):
        return helpers.doubled(n)

    @task
    def left(x):
        return ["left", x]

    @task
    def right(x):
        return ["right", x]

    @task
    def much(n: int):
        return "x" * 200_000 + str(n)

    @pipeline
    def lefts(n: int):
        return left(base(n))

    @pipeline
    def rights(n: int):
        found = right(base(n))
        found > "right.json"
        return found, much(n)

    @batch(left)
    def all_left(items):
        return [["left", each] for each in items]

    @pipeline
    def many(n: int):
        return all_left([base(n), 7]), lefts(n)
"""


@pytest.fixture
def steps(merkl, monkeypatch):
    monkeypatch.setenv("MERKL_JOBS", "1")
    (merkl.root / "steps.py").write_text(textwrap.dedent(STEPS))
    (merkl.root / "helpers.py").write_text("def doubled(n):\n    return 2 * n\n")
    return merkl


def ran(done):
    assert done.code == 0, done.err
    return [e["task"] for e in map(json.loads, done.out.splitlines()) if e["event"] == "ran"]


def run(steps, *words):
    return ran(steps("run", "--json", *words))


def assert_whole(steps, blobs):
    """Every record has its bytes, and all bytes have a record."""
    assert steps("fsck").out.partition(",")[0] == f"{blobs} blob{'s' * (blobs != 1)}"


# ---- clear -------------------------------------------------------------------------------------------------------------


def test_clear_removes_records_and_bytes_of_a_pipeline_and_nothing_of_another(steps):
    run(steps, "steps.lefts", "3")
    run(steps, "steps.rights", "3")
    run(steps, "steps.rights", "4")
    large = {path.name for path in (steps.root / ".merkl/store/blobs").rglob("*") if path.is_file()}
    assert len(large) == 2

    done = steps("clear", "steps.rights", "3")

    assert done.out.splitlines()[:2] == ["forgot right right.json", "forgot much n=3"]
    assert done.out.splitlines()[2].startswith("removed 3 results and ")  # The third is what rights(3) makes.
    assert done.out.endswith("1 result that others need stays\n")
    assert run(steps, "steps.lefts", "3") == []
    assert run(steps, "steps.rights", "4") == []
    assert len([path for path in (steps.root / ".merkl/store/blobs").rglob("*") if path.is_file()]) == 1
    assert steps("fsck").code == 0
    assert run(steps, "steps.rights", "3") == ["right", "much"]


def test_clear_takes_what_is_behind_a_result_if_nothing_else_needs_it(steps):
    run(steps, "steps.lefts", "3")

    assert "would remove 3 results and 3 blobs" in steps("clear", "steps.lefts", "3", "-n").out
    assert run(steps, "steps.lefts", "3") == []
    assert "removed 3 results and 3 blobs" in steps("clear", "steps.lefts", "n=3").out
    assert_whole(steps, 0)
    assert run(steps, "steps.lefts", "3") == ["base", "left"]


def test_clear_leaves_what_another_function_returned_and_what_a_target_places(steps):
    steps.merklfile("from merkl import *\nimport steps\n@target\ndef t():\n    steps.base(3) > 'base.txt'\n")
    run(steps, "steps.base", "4")
    run(steps, "steps.lefts", "4")
    steps("build", "t")
    run(steps, "steps.lefts", "3")

    for n in "34":
        assert "forgot base" not in steps("clear", "steps.lefts", n).out
        assert run(steps, "steps.lefts", n) == ["left"]
    assert ran(steps("build", "t", "--json")) == []
    assert steps("fsck").code == 0


def test_clear_all_except_keeps_what_is_named_with_what_that_was_made_from(steps):
    run(steps, "steps.lefts", "3")
    run(steps, "steps.rights", "3")

    assert "would remove 3 results" in steps("clear", "--all-except", "steps.lefts", "3", "-n").out
    done = steps("clear", "--all-except", "steps.lefts", "3")

    assert done.out.startswith("removed 3 results and ")
    assert run(steps, "steps.lefts", "3") == []
    assert run(steps, "steps.rights", "3") == ["right", "much"]
    assert steps("fsck").code == 0
    assert steps("clear", "--all-except").code == 2


def test_clear_keeps_bytes_that_a_live_build_may_need_and_those_that_sidecars_name(steps):
    from merkl.store.builds import register_build

    run(steps, "steps.much", "3")
    with register_build(str(steps.root / ".merkl")):
        assert "removed 1 result and 0 blobs" in steps("clear", "steps.much", "3").out
    (steps.root / "data.bin").write_bytes(bytes(200_000))
    assert steps("track", "--move", "data.bin").code == 0

    (steps.root / "m.py").write_text(
        "from merkl import task\n@task\ndef zeros():\n    return bytes(200_000)\n"
    )
    run(steps, "m.zeros")
    steps("clear", "m.zeros")
    assert steps("pull", "data.bin").code == 0
    assert (steps.root / "data.bin").read_bytes() == bytes(200_000)


def test_clear_forgets_results_of_older_code_of_the_same_call_too(steps):
    run(steps, "steps.left", "3")
    text = (steps.root / "steps.py").read_text()
    (steps.root / "steps.py").write_text(text.replace('"left", x', '"LEFT", x'))
    run(steps, "steps.left", "3")

    assert "removed 2 results and 2 blobs" in steps("clear", "steps.left", "3").out
    assert_whole(steps, 0)


# ---- dag ---------------------------------------------------------------------------------------------------------------


def test_the_graph_of_a_function_has_its_functions_values_and_groups(steps):
    run(steps, "steps.lefts", "3")

    done = steps("dag", "steps.many", "3", "--json")
    nodes = {node["label"]: node for node in json.loads(done.out)["nodes"]}

    assert nodes["base n=3"]["function"] == "steps.base"
    assert nodes["base n=3"]["groups"] == ["many"]
    assert nodes["left x=7"]["groups"] == ["many", "batch all_left"]
    assert nodes["left x=7"]["state"] == "would run"
    assert nodes["left"]["state"] == "cached"
    assert nodes["left"]["values"][0][1] > 0
    assert json.loads(done.out)["targets"] == ["steps.many"]


def test_groups_are_drawn_one_inside_the_other_also_by_the_old_name(steps):
    drawn = steps("dag", "steps.many", "3", "--format", "dot").out

    assert steps("dot", "steps.many", "n=3").out == drawn
    assert '  subgraph cluster0 {\n    label="many"; ' in drawn
    assert '\n    subgraph cluster1 {\n      label="batch all_left"; ' in drawn
    assert drawn.count("{") == drawn.count("}")
    mermaid = steps("dag", "steps.many", "3", "--format", "mermaid").out.splitlines()
    assert len([line for line in mermaid if "subgraph" in line]) == len(
        [line for line in mermaid if line.strip() == "end"]
    )
    assert "  in many > batch all_left" in steps("dag", "steps.many", "3").out
    assert "→ value" in steps("dag", "steps.many", "3", "--files").out


def test_groups_are_the_same_when_the_pipeline_is_only_remembered(steps):
    (steps.root / "outer.py").write_text(
        "from merkl import pipeline\nfrom steps import all_left, lefts, right\n"
        "@pipeline\ndef outer(n: int):\n    return right([lefts(n), *all_left([7]), lefts(n + 1)])\n"
    )

    def groups():
        nodes = json.loads(steps("dag", "outer.outer", "3", "--json").out)["nodes"]
        return {node["label"]: node["groups"] for node in nodes}

    before = groups()
    run(steps, "outer.outer", "3")

    assert groups() == before
    inner = {tuple(each[1:]) for each in before.values()}
    assert inner == {(), ("lefts",), ("lefts #2",), ("batch all_left",)}


def test_an_option_of_nobody_is_refused_where_functions_may_be_named_too(steps):
    assert steps("dag", "--fromat", "dot").err == "no option named --fromat\n  hint: did you mean --format?\n"
    assert "has no option --m\n" in steps("dag", "steps.many", "--m", "3").err


# ---- why, show, log ----------------------------------------------------------------------------------------------------


def test_why_show_and_log_take_functions(steps):
    (steps.root / "printing.py").write_text(
        "from merkl import task\n@task\ndef say(what):\n    print('said', what)\n    return what\n"
    )

    assert steps("why", "printing.say", "a").out == "would run  say what='a'\n  it never ran before\n"
    run(steps, "printing.say", "a")
    assert steps("why", "printing.say", "a").out == "nothing would run: 1 task, all cached\n"
    assert steps("log", "printing.say", "a").out == "said a\n"
    assert steps("show", "printing.say", "a").out.startswith(
        "say what='a'\n  task     say (python), printing.py:2\n"
    )
    assert steps("show", "printing.say").err.endswith("  hint: merkl show printing.say WHAT\n")


def test_a_file_that_is_called_like_a_module_is_a_path(steps):
    steps.merklfile("from merkl import *\n@target(default=True)\ndef t():\n    base(3) > 'steps.txt'\n"
                    "@task\ndef base(n):\n    return n\n")  # fmt: skip
    assert steps("build", "-q", "-j1").code == 0

    assert steps("show", "steps.txt").out.startswith("base steps.txt\n")
    assert steps("show", "steps.trian").err.startswith("no function 'trian' in steps\n")


def test_targets_and_functions_of_one_module_are_asked_for_together(steps):
    (steps.root / "both.py").write_text(
        "from merkl import target, task\n@task\ndef one(n: int):\n    return n\n"
        "@target\ndef t(n: int = 4):\n    return one(n)\n"
    )
    assert steps("dag", "both.one", "3", "both.t", "both.t", "n=5").out == (
        "one n=3  [would run]\none n=4  [would run]\none n=5  [would run]\n"
    )
    steps.merklfile("import both\n@both.target(default=True)\ndef all():\n    return both.t(6)\n")
    assert (
        steps("dag", "all", "Merklfile.all", "both.t").out == "one n=6  [would run]\none n=4  [would run]\n"
    )


# ---- debug -------------------------------------------------------------------------------------------------------------


def test_debug_shows_the_parts_of_the_code_and_where_they_are(steps):
    done = steps("debug", "steps.base").out

    assert done.startswith("steps.base(n: int)\n  declared  steps.py:5\n  code      ")
    assert "helpers.py:1" in done and "steps.py:5" in done
    assert done.endswith("  with arguments it shows a call: merkl debug steps.base N\n")


def test_hints_that_are_not_evaluated_are_shown_as_they_are_written(steps):
    (steps.root / "future.py").write_text(
        "from __future__ import annotations\nfrom merkl import task\n"
        "@task\ndef one(x: int | None) -> list[int]:\n    return [x]\ndef f():\n    return one()\n"
    )
    assert steps("debug", "future.one").out.startswith("future.one(x: int | None) -> list[int]\n")
    assert "  signature: one(x: int | None)\n" in steps("run", "future.f").err


def test_debug_of_a_call_shows_what_it_is_and_the_record_of_what_ran(steps):
    assert "record   none" in steps("debug", "steps.lefts", "3").out
    run(steps, "steps.lefts", "3")

    shown = json.loads(steps("debug", "steps.lefts", "3", "--json").out)

    assert [part["name"] for part in shown["code"]["parts"]][:1] == ["helpers.py:doubled"]
    (task,) = shown["tasks"]
    assert (task["task"], task["state"][:6], task["inputs"][0]["label"]) == ("left", "cached", "base n=3")
    assert task["record"]["outputs"][0]["kind"] == "value"
    text = steps("debug", "steps.lefts", "3").out
    assert "  record\n" in text and "    ran      20" in text


def test_debug_finds_a_record_by_the_beginning_of_its_key(steps):
    run(steps, "steps.base", "3")
    key = json.loads(steps("debug", "steps.base", "3", "--json").out)["tasks"][0]["key"]

    done = steps("debug", key[:8])
    assert done.out.startswith(f"record {key}\n  task     base\n")
    assert json.loads(steps("debug", key[:9], "--json").out)["records"][0]["task"] == "base"
    assert "\nrecord " in steps("debug", "steps.base", key[:10]).out
    assert steps("debug", "00000000").err.startswith("no result has a key that begins with 00000000\n")
    assert steps("debug").err.startswith("debug takes the name of a function\n")


# ---- completion --------------------------------------------------------------------------------------------------------


def test_tab_offers_functions_where_they_may_be_named(steps):
    steps.merklfile("from merkl import *\n@target\ndef t():\n    pass\n")
    steps("list")

    def offered(*words):
        return {each.text for each in complete(words).words}

    assert {"steps.base", "steps.lefts", "steps.all_left", "Merklfile.t"} <= offered("run", "")
    assert offered("run", "steps.le") == {"steps.left", "steps.lefts"}
    assert offered("debug", "Mer") == {"Merklfile.t"}
    assert offered("dag", "steps.ri") == {"steps.right", "steps.rights"}
    assert offered("clear", "t") == {"t"}
    assert complete(["run", "steps.base", "x"]).kind == "files"


def test_tab_offers_the_parameters_of_a_function_and_their_values(steps):
    (steps.root / "typed.py").write_text(
        "raise SystemExit  # It is not run.\n"
        'def f(data: FileRef, mode: \'Literal["fast", "slow"] | None\' = None, *, loud=False, out_dir: Path = 1): ...\n'
    )

    def offered(*words):
        return {each.text for each in complete(words).words}

    assert {"--data", "--mode", "--loud", "--out-dir", "--order"} <= offered("run", "typed.f", "--")
    assert offered("run", "typed.f", "--no-l") == {"--no-loud"}
    assert offered("run", "typed.py:f", "--mode", "") == {"fast", "slow", "none"}
    assert offered("debug", "typed.f", "mode=s") == {"mode=slow"}
    assert offered("run", "typed.f", "--loud=t") == {"--loud=true"}
    assert complete(["run", "typed.f", "--out-dir", ""]).kind == "files"
    assert complete(["run", "typed.f", "--loud", ""]).kind == "files"
    assert offered("run", "typed.nothing", "--or") == {"--order"}
    assert offered("run", "--no-c") == {"--no-cache"}
