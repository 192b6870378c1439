"""Workers that are forked before it is known what for: what a task finds in one, and what is left of them."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="workers are forked on Linux only"
)

# What a task can see of its process, but for what is always another's.
DESCRIBED = """
    import gc
    import os
    import signal
    import sys
    import time

    os.environ["SET_BY_THE_MERKLFILE"] = "1"
    os.environ.pop("TAKEN_AWAY", None)
    os.environ["TZ"] = "XYZ-9"
    sys.path.append(os.path.abspath("lib"))
    os.umask(0o027)
    opened = open("Merklfile.py")

    def described():
        import __main__
        from whereabouts import HERE

        umask = os.umask(0)
        os.umask(umask)
        ours = ("TMPDIR", "MERKL_ALIKE")
        return {
            "environ": {name: os.environ[name] for name in sorted(os.environ) if name not in ours},
            "in C": os.popen("printenv SET_BY_THE_MERKLFILE; printenv TAKEN_AWAY").read(),
            "path": sys.path, "argv": sys.argv, "main": hasattr(__main__, "__file__"),
            "umask": umask, "here": HERE, "directory": os.getcwd(),
            "descriptors": sorted(fd for fd in map(int, os.listdir("/proc/self/fd")) if fd < 64),
            "leads": (os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()),
            "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "collector": (gc.isenabled(), gc.get_threshold()),
            "time": (time.tzname, time.localtime(0).tm_hour), "annotated": __main__.__annotations__,
            "stdin": sys.stdin.read(),
            "name": open("/proc/self/comm").read(),
            "command": open("/proc/self/cmdline").read(),
        }

    {decorated}
    def describe(n):
        return described()

    @target(default=True)
    def all():
        describe(1) > "described.json"
"""


def described(project: Any, decorator: str) -> Any:
    text = DESCRIBED.replace("{decorated}", decorator)
    project.merklfile(text)
    project.merkl("build", "-j2", "--force", env=os.environ | {"TAKEN_AWAY": "1", "MERKL_ALIKE": decorator})
    return json.loads(project.read("described.json"))


def test_a_task_finds_in_a_forked_worker_what_it_finds_in_a_new_one(project):
    project.write("lib/whereabouts.py", "HERE = __name__\n")
    forked = described(project, "@task")
    spawned = described(project, "@(lambda function: task(function))")
    assert "merkl.execute.worker" in spawned.pop("command")
    assert "merkl.execute.worker" not in forked.pop("command")
    assert forked == spawned
    assert forked["environ"]["SET_BY_THE_MERKLFILE"] == "1"
    assert forked["in C"] == "1\n"


@pytest.mark.parametrize(
    ("change", "shown", "expected"),
    [
        ("os.environ['PYTHONOPTIMIZE'] = '2'", "sys.flags.optimize", 2),
        ("resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))", "resource.getrlimit(resource.RLIMIT_NOFILE)[1]", 200),
    ],
)  # fmt: skip
def test_what_a_process_has_from_its_start_on_makes_it_a_new_one(project, change, shown, expected):
    project.merklfile(f"""
        import os
        import resource
        import sys

        {change}

        @task
        def show(n):
            return [{shown}, "merkl.execute.worker" in open("/proc/self/cmdline").read()]

        @target(default=True)
        def all():
            show(1) > "shown.json"
    """)
    project.merkl("build", "-j2")
    assert json.loads(project.read("shown.json")) == [expected, True]


BROKEN = """
    import os
    import time

    @task
    def double(n):
        return 2 * n

    {then}
"""


def children_of(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_for(condition: Any) -> Any:
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def all_gone(pids: list[int]) -> bool:
    """Whether none runs; one may wait for init, whose child it has become."""
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            return False
    return True


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_that_nobody_wanted_yet_go_with_merkl(project, how):
    project.merklfile(BROKEN.format(then="open('loading', 'w').close()\n    time.sleep(300)"))
    process = project.popen("build", "-j2")
    wait_for((project.path / "loading").exists)
    workers = children_of(process.pid)
    assert len(workers) == 2
    process.send_signal(how)
    process.communicate(timeout=30)
    wait_for(lambda: all_gone(workers))


def test_a_merklfile_with_an_error_leaves_no_worker(project):
    project.merklfile(
        BROKEN.format(then="raise ValueError(open(f'/proc/self/task/{os.getpid()}/children').read())")
    )
    told = project.merkl("build", "-j2", code=2).stderr
    workers = [int(word) for word in told.split() if word.isdigit()]
    assert len(workers) == 2, told
    assert all_gone(workers)


def test_one_slot_and_a_key_that_signs_fork_nothing(project):
    project.merklfile(
        BROKEN.format(then="print(open(f'/proc/self/task/{os.getpid()}/children').read() or 'none')")
    )
    assert project.merkl("build", "-j1", "-n", code=None).stderr.startswith("none")
    assert project.merkl("build", "-j1", code=None).stderr.startswith("none")
    secret = os.environ | {"MERKL_SIGNING_KEY": "0" * 64}
    assert project.merkl("build", "-j2", code=None, env=secret).stderr.startswith("none")
    assert not project.merkl("build", "-j2", code=None).stderr.startswith("none")
