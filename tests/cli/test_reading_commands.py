"""``list``, ``why``, ``show``, ``log`` and ``dag``: what they say, and that they run nothing."""

import json

import pytest


def test_list_shows_targets_with_parameters_and_what_they_are_for(merkl):
    merkl.merklfile(
        '''
        from merkl import target
        @target(default=True)
        def train(rate: float = 0.1, data: str = "a b", fast: bool = False, names: list[str] = ("x", "y")):
            """Train the model.

            More words.
            """
        @target
        def deploy(where: str, args=()):
            """Put it there."""
            raise AssertionError("list calls no target")
        '''
    )

    assert [line.split("  ")[0] for line in merkl("list").out.splitlines()] == [
        "train rate=0.1 data=a b fast=false names=x,y",
        "deploy where=… [-- ARGS…]",
    ]
    assert merkl("list").out.count("Train the model.  (default)\n") == 1
    assert merkl("list").out.endswith("Put it there.\n")


def test_list_as_json_has_every_parameter(poem):
    found = json.loads(poem("list", "--json").out)

    assert found["version"] == 1
    assert found["targets"][0] == {
        "name": "poem", "doc": "The poem's length.", "default": True, "place": "Merklfile.py:7",
        "parameters": [
            {"name": "loud", "hint": "bool", "required": False, "default": True, "choices": ["true", "false"]},
        ],
    }  # fmt: skip
    assert found["targets"][1]["parameters"] == [{"name": "code", "hint": "int", "required": True}]


def test_list_without_targets_says_how_to_make_one(merkl):
    merkl.merklfile("")

    assert "@target" in merkl("list").out


def test_why_says_that_nothing_would_run(poem):
    poem("build")

    assert poem("why").out.startswith("nothing would run: ")


def test_why_says_that_a_task_never_ran(poem):
    assert poem("why").out.splitlines() == [
        "would run  upper build/loud.txt",
        "  it never ran before",
        "may run  count build/lines.txt",
        "  depends on what upper makes",
        "  it never ran before",
    ]


def changed(merkl, before, after, text):
    """What ``why`` says after ``text`` was edited in the Merklfile."""
    merkl.merklfile(text)
    assert merkl("build").code == 0
    merkl.merklfile(text.replace(before, after))
    files = merkl.files()
    done = merkl("why")
    assert (done.code, merkl.files()) == (0, files)
    return done.out.splitlines()


ONE = """
    from merkl import bash_task, env_arg, params, target, task
    P = 3
    say = bash_task("echo {arg('word')} > {out_file_arg('o', '.txt')}", name="say")

    def helper(x):
        return x + 1

    @task
    def compute(x):
        return helper(x)

    @target(default=True)
    def all():
        say("hello") > "said.txt"
        compute(P) > "number.json"
"""


def test_why_shows_the_diff_of_a_template(merkl):
    assert changed(merkl, 'bash_task("echo', 'bash_task("echo -n', ONE) == [
        "would run  say said.txt",
        "  the template of say changed",
        "    @@ -1 +1 @@",
        "    -echo {arg('word')} > {out_file_arg('o', '.txt')}",
        "    +echo -n {arg('word')} > {out_file_arg('o', '.txt')}",
    ]


def test_why_shows_an_argument_with_its_old_and_new_value(merkl):
    assert changed(merkl, '"hello"', '"goodbye"', ONE) == [
        "would run  say said.txt",
        "  the argument word changed",
        "    'hello'  →  'goodbye'",
    ]


def test_why_shows_the_diff_of_a_helper_function(merkl):
    found = changed(merkl, "x + 1", "x + 2", ONE)

    assert found[0] == "would run  compute number.json"
    assert any("code" in line and "helper changed" in line for line in found)
    assert [line for line in found if line[4:5] in ("-", "+")] == [
        "    -    return x + 1",
        "    +    return x + 2",
    ]


def test_why_names_the_file_that_changed(poem):
    poem("build")
    (poem.root / "poem.txt").write_text("other words\n")

    assert "  the file poem.txt changed" in poem("why").out.splitlines()


def test_why_says_that_a_task_failed_the_last_time(poem):
    poem("build", "broken", "code=3")

    assert poem("why", "broken", "code=3").out.splitlines() == [
        "would run  fail build/never.txt",
        "  it failed the last time",
    ]


def test_why_as_json_has_the_changes(poem):
    found = [json.loads(line) for line in poem("why", "--json").out.splitlines()]

    assert [each["event"] for each in found] == ["would run", "may run"]
    assert found[0]["changes"] == [["it never ran before"]]


def test_why_colors_a_diff_and_says_of_the_rest_why_it_would_not_run(merkl):
    merkl.merklfile(ONE)
    merkl("build")
    merkl.merklfile(ONE.replace("x + 1", "x + 2"))

    done = merkl("why", "-v", "--color", "always")

    assert "\x1b[32m+    return x + 2\x1b[0m" in done.out
    assert "say said.txt: cached, saves" in done.out


def test_show_tells_command_key_inputs_outputs_and_places(poem):
    poem("build")

    text = poem("show", "build/lines.txt").out

    assert text.startswith("count build/lines.txt\n")
    assert "Merklfile.py:13" in text
    assert "    echo counting; wc -l < VIEW/" in text
    assert "    upper build/loud.txt.out  made as " in text
    assert "→ build/lines.txt" in text
    assert "state    cached" in text
    assert "template count" in text


def test_show_of_a_target_shows_its_tasks_before_they_ever_ran(poem):
    done = poem("show", "poem")

    assert done.code == 0
    assert done.out.count("not known yet") == 2
    assert "    poem.txt  file " in done.out


def test_show_as_json_has_digests_of_what_was_made(poem):
    poem("build")

    [task] = json.loads(poem("show", "build/loud.txt", "--json").out)["tasks"]

    assert len(task["key"]) == 64
    assert task["outputs"][0]["placed"] == ["build/loud.txt"]
    assert task["outputs"][0]["size"] == (poem.root / "build/loud.txt").stat().st_size
    assert task["files"][0]["path"] == "poem.txt"


def test_log_prints_what_was_printed_when_it_ran(poem):
    poem("build")

    assert poem("log").out == "== count build/lines.txt\ncounting\n"
    assert poem("log", "build/loud.txt").err == "nothing was printed, or nothing has run yet\n"


def test_log_of_a_failed_task_is_that_of_its_last_attempt(poem):
    poem("build", "broken", "code=3")

    assert poem("log", "broken", "code=3").out == "going wrong\n"


def test_log_gives_the_bytes_as_they_were_to_a_pipe(merkl):
    merkl.merklfile(
        r"""
        from merkl import bash_task, target
        @target(default=True)
        def odd():
            bash_task(r"printf '\xff\x1b[2J\n'; echo > {out_file_arg('o')}", name="odd")() > "odd"
        """
    )
    merkl("build")

    log = merkl.start("log")

    assert log.communicate(timeout=20)[0] == b"\xff\x1b[2J\n"


@pytest.mark.parametrize("form", ["text", "json", "dot", "mermaid"])
def test_dag_draws_in_every_format_and_runs_nothing(poem, form):
    done = poem("dag", "--format", form, "--files")

    assert done.code == 0
    assert "count" in done.out
    assert "poem.txt" in done.out
    assert poem.files() == ["Merklfile.py", "poem.txt"]


def test_dag_shows_what_is_cached(poem):
    poem("build")

    assert poem("dag").out.splitlines()[0] == "count build/lines.txt  [cached]"
