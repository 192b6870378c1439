"""With several slots, functions run in worker processes, wherever they were defined and whatever they hold."""

import json
import os
import subprocess
import sys
from typing import Any

FUNCTIONS = """
    import os

    def scaler(factor):
        @task
        def scaled(n):
            return [n * factor, os.getpid()]
        return scaled

    halved = task(lambda n: [n / 2, os.getpid()])
    OFFSET = 100

    def helper(n):
        return n + OFFSET

    @task
    def applied(function, n):
        return [function(helper(n)), os.getpid()]
"""
CALLS = "scaler(2)(4), scaler(3)(4), halved(4), applied(lambda n: n * 10, 4)"
VALUES = [8, 12, 2.0, 1040]


def test_closures_and_lambdas_of_a_merklfile_run_in_workers(inside: Any) -> None:
    inside.merklfile(f"""{FUNCTIONS}
    @target(default=True)
    def all():
        for n, each in enumerate([{CALLS}]):
            each > f"{{n}}.json"
    """)
    inside.merkl("build", "-j2")

    results = [json.loads(inside.read(f"{n}.json")) for n in range(4)]
    assert [value for value, _ in results] == VALUES
    assert os.getpid() not in {pid for _, pid in results}


def test_closures_and_lambdas_of_a_script_run_in_workers(project: Any) -> None:
    project.merklfile(f"""{FUNCTIONS}
    import json
    print(json.dumps([os.getpid(), [each.eval() for each in ({CALLS})]]))  # Without a guard: no worker runs this again.
    """)
    (project.path / "Merklfile.py").rename(project.path / "script.py")
    (project.path / ".merkl").mkdir()
    env = {**os.environ, "MERKL_JOBS": "2"}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=project.path, env=env, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    own, results = json.loads(done.stdout)
    assert [value for value, _ in results] == VALUES
    assert own not in {pid for _, pid in results}
