"""Interactive tasks as the engine sees them: alone, in the order of the code, and never with stdout as their result."""

import pytest


def test_nothing_runs_beside_an_interactive_task_and_none_overtakes_it(project):
    project.merklfile("""
        work = bash_task("echo + >> log; sleep 0.2; echo - >> log; echo {arg('n')} > {out_file_arg('out', '.txt')}")
        alone = bash_task("echo ! >> log; sleep 0.1; echo . >> log; echo {arg('n')} > {out_file_arg('out', '.txt')}", interactive=True)

        @task(interactive=True)
        def here(n):
            with open("log", "a") as log:
                print("!", file=log)
            time.sleep(0.1)
            with open("log", "a") as log:
                print(".", file=log)
            return n

        import time

        @target(default=True)
        def all():
            for n in range(3):
                work(n) > f"{n}.txt"
            alone(3) > "3.txt"
            here(4) > "4.txt"
            for n in range(5, 8):
                work(n) > f"{n}.txt"
    """)
    ran = project.build("-j3")

    assert sorted(ran[:3]) == sorted(ran[5:]) == ["work"] * 3
    assert ran[3:5] == ["alone", "here"]
    log = project.read("log").replace("\n", "")
    assert log[6:10] == "!.!."
    assert sorted(log[:6]) == sorted(log[10:]) == list("+++---")


def test_an_interactive_task_that_is_last_in_a_failing_build_is_skipped(project):
    project.merklfile("""
        bad = bash_task("sleep 0.2; false; : {out_file_arg('out', '.txt')}")
        ask = bash_task("echo > asked; echo > {out_file_arg('out', '.txt')}", interactive=True)

        @target(default=True)
        def all():
            bad() > "bad.txt"
            ask() > "ask.txt"
    """)
    events = project.events("-j4", code=1)

    assert [e["event"] for e in events if e["event"] in ("failed", "skipped", "ran")] == ["failed", "skipped"]
    assert not (project.path / "asked").exists()


def test_an_interactive_task_without_outputs_has_an_empty_result(project):
    project.merklfile("""
        hello = bash_task("echo to the terminal >&2", interactive=True)

        @target(default=True)
        def all():
            hello() > "out.txt"
    """)
    assert "to the terminal" in project.merkl("build").stderr
    assert project.read("out.txt") == ""
    assert project.build() == []


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("bash_task('date', stdout=str, interactive=True)", "an interactive task writes to the terminal"),
        ("task(interactive=True, timeout=3)(print)", "an interactive Python task runs inside merkl"),
    ],
)
def test_what_cannot_be_interactive_is_said_where_it_is_written(project, definition, message):
    project.merklfile(f"wrong = {definition}\n")

    err = project.merkl("build", code=2).stderr
    assert message in err and "Merklfile.py:2" in err
