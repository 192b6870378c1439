"""``merkl build`` as one types it."""

import json
import signal
import time

import pytest


def objects(done):
    return [json.loads(line) for line in done.out.splitlines()]


def endings(done):
    return [(o["event"], o["task"]) for o in objects(done) if "seconds" in o and "task" in o]


def test_the_default_target_is_built_and_the_second_time_everything_is_cached(poem):
    first, second = poem("build"), poem("build")

    assert first.code == second.code == 0
    assert first.out.splitlines()[-1].startswith("2 tasks: 2 ran in ")
    assert second.out.startswith("2 tasks: 2 cached in ")
    assert (poem.root / "build/lines.txt").read_text().strip() == "2"


def test_merkl_alone_builds_the_default_target(poem):
    assert poem().out.splitlines()[-1].startswith("2 tasks: 2 ran")


def test_merkl_alone_lists_where_there_is_no_default(merkl):
    merkl.merklfile('from merkl import target\n@target\ndef x():\n    "About x."\n')

    assert merkl() == merkl("list")
    assert merkl().out == "x  About x.\n"


def test_a_parameter_goes_to_the_target_that_has_it(poem):
    poem("build", "poem", "loud=no")

    assert poem.files() == ["Merklfile.py", "build/lines.txt", "poem.txt"]


def test_a_path_is_a_target_relative_to_where_one_stands(poem, monkeypatch):
    monkeypatch.chdir(poem.root)
    assert poem("build", "build/loud.txt").code == 0
    assert poem.files() == ["Merklfile.py", "build/loud.txt", "poem.txt"]

    monkeypatch.chdir(poem.root / "build")
    assert poem("build", "lines.txt").code == 0
    assert "build/lines.txt" in poem.files()


def test_options_stand_before_or_after_the_command(poem, monkeypatch):
    monkeypatch.chdir("/")
    there = str(poem.root)

    before = poem("-C", there, "--json", "build", "poem")
    after = poem("build", "poem", "--json", "-C", there)

    assert before.code == after.code == 0
    assert endings(before) == [("ran", "upper"), ("ran", "count")]
    assert endings(after) == [("cached", "upper"), ("cached", "count")]


def test_what_stands_after_the_command_wins(poem):
    assert poem("--color", "always", "build", "--color", "never").out.count("\x1b") == 0
    assert poem("--color", "never", "build", "--color", "always").out.count("\x1b") > 0


def test_another_merklfile_can_be_named(poem):
    poem.root.joinpath("other.py").write_text("from merkl import target\n@target\ndef unlike(): pass\n")

    assert poem("-f", "other.py", "list").out == "unlike\n"


def test_json_is_one_object_per_line_from_start_to_done(poem):
    poem.merklfile((poem.root / "Merklfile.py").read_text() + "\nprint('a Merklfile that talks')\n")

    done = poem("build", "--json")
    found = objects(done)

    assert (found[0]["event"], found[0]["version"], found[0]["targets"]) == ("start", 1, ["poem"])
    assert found[-1]["event"] == "done"
    assert (found[-1]["ran"], found[-1]["ok"]) == (2, True)
    assert {o["path"] for o in found if o["event"] == "placed"} == {"build/loud.txt", "build/lines.txt"}
    assert done.err == "a Merklfile that talks\n"


def test_an_error_before_the_build_is_an_object_too(poem):
    done = poem("build", "poemm", "--json")

    assert done.code == 2
    [error] = objects(done)
    assert (error["event"], error["hint"], error["exit_code"]) == ("error", "did you mean poem?", 2)


def test_a_failure_says_everything_and_ends_in_1(poem):
    done = poem("build", "broken", "code=7")

    assert done.code == 1
    assert done.err.startswith("[1/1] failed fail")
    for part in ("exit code 7", "going wrong", "Merklfile.py:", "command: ", "log: ", "again: "):
        assert part in done.err
    assert done.out.startswith("1 task: 1 failed in ")


def test_only_failures_are_printed_if_nothing_else_is_wanted(poem):
    quiet, failing = poem("build", "-q"), poem("-q", "build", "broken", "code=7")

    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert (failing.code, failing.out) == (1, "")
    assert "exit code 7" in failing.err


def test_after_a_failure_the_rest_runs_only_if_asked_for(poem):
    stopped = poem("build", "-j1", "broken", "code=7", "poem", "--json")
    went_on = poem("build", "-j1", "broken", "code=7", "poem", "--json", "-k")

    assert [o["ran"] for o in objects(stopped) if o["event"] == "done"] == [0]
    assert [o["ran"] for o in objects(went_on) if o["event"] == "done"] == [2]
    assert stopped.code == went_on.code == 1


def test_every_decision_is_told_with_its_reason_if_asked_for(poem):
    first, second = poem("build", "-v"), poem("build", "-v")

    assert "upper build/loud.txt runs: no result of it is known" in first.out
    assert "placed build/loud.txt" in first.out
    assert "cached upper build/loud.txt" in second.out


def test_force_runs_everything(poem):
    poem("build")

    assert endings(poem("build", "-B", "--json")) == [("ran", "upper"), ("ran", "count")]


def test_a_dry_run_says_what_would_and_what_may_run_and_runs_nothing(poem):
    first = poem("build", "-n")

    assert first.code == 0
    assert first.out.splitlines() == [
        "would run  upper build/loud.txt: no result of it is known",
        "may run  count build/lines.txt: depends on what upper makes",
        "2 tasks: 1 would run, 1 may run",
    ]
    assert poem.files() == ["Merklfile.py", "poem.txt"]

    poem("build")
    assert poem("build", "-n").out == "2 tasks: nothing would run\n"
    assert [o["event"] for o in objects(poem("build", "-nB", "--json"))] == ["would run", "would run"]


def test_a_dry_run_knows_that_a_lost_output_must_be_made_again(poem):
    poem("build")
    (poem.root / "build/loud.txt").unlink()
    assert "nothing would run" in poem("build", "-n").out  # The store has it.

    database = next((poem.root / ".merkl/store").glob("store-*.db"))
    import sqlite3

    connection = sqlite3.connect(database)
    connection.execute("DELETE FROM blob")
    connection.commit()
    connection.close()

    assert poem("build", "-n").out.startswith(
        "would run  upper build/loud.txt: the store has lost its output"
    )


def test_an_edited_output_is_saved_and_the_message_brings_it_back(poem):
    poem("build")
    (poem.root / "build/lines.txt").write_text("my own\n")

    done = poem("build")

    assert (
        "saved your edited build/lines.txt before replacing it; bring it back with: merkl restore build/lines.txt\n"
        in done.out
    )
    assert poem("restore", "build/lines.txt").code == 0
    assert (poem.root / "build/lines.txt").read_text() == "my own\n"


def test_a_target_with_always_runs_each_time_and_what_it_needs_does_not(merkl):
    merkl.merklfile(
        """
        from merkl import bash_task, target
        make = bash_task("echo made > {out_file_arg('o', '.txt')}", name="make")
        check = bash_task("grep made {file_arg('f')}", name="check")
        @target
        def made():
            return make()
        @target(always=True, default=True)
        def test():
            return check(made())
        """
    )

    assert endings(merkl("build", "--json")) == [("ran", "make"), ("ran", "check")]
    assert endings(merkl("build", "--json")) == [("cached", "make"), ("ran", "check")]


def test_a_target_starts_after_those_that_it_names(merkl):
    merkl.merklfile(
        """
        from merkl import bash_task, target
        slow = bash_task("sleep 0.3; echo slow >> order; : {out_file_arg('o', '.txt')}; echo > {out_file_arg('o', '.txt')}", name="slow")
        quick = bash_task("echo quick >> order; echo > {out_file_arg('o', '.txt')}", name="quick")
        @target(after=["first"])
        def second():
            return quick()
        @target
        def first():
            return slow()
        """
    )

    assert merkl("build", "-j4", "second").code == 0
    assert (merkl.root / "order").read_text() == "slow\nquick\n"


def test_the_rest_goes_to_the_target_that_takes_args(merkl):
    merkl.merklfile(
        """
        from merkl import bash_task, target
        deploy_with = bash_task("printf '<%s>' {arg('args')} > {out_file_arg('o', '.txt')}", name="deploy")
        @target
        def deploy(args=()):
            deploy_with(list(args)) > "told"
        """
    )

    assert merkl("build", "deploy", "--", "-n", "a b", "--json").code == 0
    assert (merkl.root / "told").read_text() == "<-n><a b><--json>"


def test_a_parameter_of_a_file_can_be_set(merkl):
    (merkl.root / "params.yaml").write_text("train: {lr: 0.5}\n")
    merkl.merklfile(
        """
        from merkl import bash_task, params, target
        show = bash_task("echo {arg('lr')} > {out_file_arg('o', '.txt')}")
        @target(default=True)
        def lr():
            show(params("params.yaml").train.lr) > "lr"
        """
    )

    assert merkl("--set", "train.lr=0.1", "build").code == 0
    assert (merkl.root / "lr").read_text() == "0.1\n"
    assert merkl("build", "--set", "train.rl=0.1").code == 2


def test_without_a_default_and_without_a_name_there_is_nothing_to_build(merkl):
    merkl.merklfile("from merkl import target\n@target\ndef x(): pass\n")

    done = merkl("build")

    assert done.code == 2
    assert "none is the default" in done.err


def test_ctrl_c_ends_in_130_with_a_list_of_what_was_interrupted(poem):
    (poem.root / "Merklfile.py").write_text(
        "from merkl import bash_task, target\n"
        "@target(default=True)\n"
        "def hang(): bash_task(\"echo > started; sleep 60; : {out_file_arg('o')}\", name='hang')() > 'out'\n"
    )
    build = poem.start("build")
    wait_for(poem.root / "started")

    build.send_signal(signal.SIGINT)
    out, err = build.communicate(timeout=20)

    assert build.returncode == 130
    assert out.startswith(b"1 task: 1 interrupted in ")
    assert err == b"interrupted: hang out\n"


def test_a_second_build_waits_for_a_task_that_the_first_one_runs(poem):
    (poem.root / "Merklfile.py").write_text(
        "from merkl import bash_task, target\n"
        "run = bash_task('echo x >> started; until [ -e go ]; do sleep 0.02; done; echo > {out_file_arg(\"o\")}', name='once')\n"
        "@target(default=True)\n"
        "def once(): run() > 'out'\n"
    )
    first = poem.start("build")
    wait_for(poem.root / "started")

    second = poem.start("build")
    said = second.stdout.readline()
    (poem.root / "go").touch()
    _, (_, err) = first.communicate(timeout=60), second.communicate(timeout=60)

    assert said.startswith(b"waiting for once out, which runs elsewhere: once in process %d on " % first.pid)
    assert (first.returncode, second.returncode, err) == (0, 0, b"")
    assert (poem.root / "started").read_text() == "x\n"


def test_another_process_can_follow_what_a_task_prints(poem):
    (poem.root / "Merklfile.py").write_text(
        "from merkl import bash_task, target\n"
        "talk = bash_task('echo one; echo > started; until [ -e go ]; do sleep 0.02; done; echo two; echo > {out_file_arg(\"o\")}')\n"
        "@target(default=True)\n"
        "def it(): talk() > 'out'\n"
    )
    build = poem.start("build")
    wait_for(poem.root / "started")
    followed = poem.start("log", "-f")
    printed = followed.stdout.readline() + followed.stdout.readline()
    (poem.root / "go").touch()
    printed += followed.communicate(timeout=60)[0]
    build.communicate(timeout=60)

    assert printed == b"== talk out\none\ntwo\n"
    assert poem("log", "-f").err == "none of these tasks runs now\n"


def wait_for(path, seconds=15.0):
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.02)


@pytest.mark.parametrize("words", [("build",), ("list",), ("why",), ("show",), ("dag",)])
def test_a_merklfile_that_raises_shows_the_users_own_line(merkl, words):
    merkl.merklfile("def f():\n    return 1 / 0\n\nf()\n")

    done = merkl(*words)

    assert done.code == 2
    assert "ZeroDivisionError" in done.err
    assert "Merklfile.py:2, in f" in done.err
    assert "merkl/" not in done.err
