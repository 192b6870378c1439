"""Two builds at once: each node runs once, whoever asks, and both end with the same files."""

import json
import time
from typing import Any

SHARED = """
    slow = bash_task("echo {arg('n')} >> ran; sleep {arg('s')}; echo {arg('n')} > {out_file_arg('out', '.txt')}")
    copy = bash_task("cat {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}; echo {arg('to')} >> ran")

    @task
    def python(path, to):
        with open("ran", "a") as f:
            f.write(f"{to}\\n")
        return open(path).read()

    @target
    def one():
        copy(slow("shared", s=1), "one") > "one.txt"

    @target
    def two():
        python(slow("shared", s=1), "two") > "two.txt"

    @target
    def fails():
        bad = bash_task("echo tried >> ran; sleep 0.5; false; : {out_file_arg('out', '.txt')}", name="bad")
        bad() > "bad.txt"
"""


def test_different_targets_that_share_a_task_run_it_once(project: Any) -> None:
    project.merklfile(SHARED)
    builds = [project.popen("build", "--json", "-j2", target) for target in ("one", "two")]
    texts = [build.communicate(timeout=60) for build in builds]

    assert [build.returncode for build in builds] == [0, 0], texts
    assert sorted(project.read("ran").split()) == ["one", "shared", "two"]
    assert project.read("one.txt") == project.read("two.txt") == "shared\n"
    events = [json.loads(line) for out, _ in texts for line in out.splitlines()]
    assert sum(e["event"] == "ran" and e["task"] == "slow" for e in events) == 1
    assert sum(e["event"] == "cached" and e["task"] == "slow" for e in events) == 1


def test_what_failed_in_one_build_is_tried_by_the_one_that_waited(project: Any) -> None:
    project.merklfile(SHARED)
    builds = [project.popen("build", "fails") for _ in range(2)]
    for build in builds:
        build.communicate(timeout=60)

    assert [build.returncode for build in builds] == [1, 1]
    assert project.read("ran").split() == ["tried", "tried"]


def test_the_build_that_waits_goes_on_when_the_other_is_killed(project: Any) -> None:
    project.merklfile(SHARED.replace("s=1", "s=2"))
    first = project.popen("build", "one")
    deadline = time.monotonic() + 30
    while not (project.path / "ran").exists():
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.02)
    second = project.popen("build", "two")
    time.sleep(0.5)
    first.kill()
    first.communicate(timeout=30)
    second.communicate(timeout=60)

    assert second.returncode == 0
    assert project.read("two.txt") == "shared\n"
    assert project.read("ran").split() == ["shared", "shared", "two"]


def test_many_builds_at_once_agree(project: Any) -> None:
    project.merklfile("""
        part = bash_task("echo {arg('n')} >> ran; echo {arg('n')} > {out_file_arg('out', '.txt')}")
        join = bash_task("cat {files_arg('parts')} > {out_file_arg('out', '.txt')}; echo joined >> ran")

        @target(default=True)
        def all():
            join([part(n) for n in range(12)]) >> "all.txt"
    """)
    builds = [project.popen("build", "-j2") for _ in range(4)]
    texts = [build.communicate(timeout=60) for build in builds]

    assert [build.returncode for build in builds] == [0] * 4, texts
    assert sorted(project.read("ran").split()) == sorted([*map(str, range(12)), "joined"])
    assert project.read("all.txt").split() == [str(n) for n in range(12)]
    assert project.build() == []
