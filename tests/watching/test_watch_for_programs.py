"""``merkl.watch``."""

import os
import signal
import subprocess
import sys
import time

import pytest
from watched_projects import UPPER

import merkl
from merkl.errors import MerklfileError


def test_a_program_gets_each_round(project):
    project.merklfile(UPPER)
    project.write("src/a.txt", "a")
    seen = []
    rounds = merkl.watch("all", directory=project.path, debounce=20)

    for each in rounds:
        seen.append(each)
        if len(seen) == 1:
            project.write("src/a.txt", "b")
        elif len(seen) == 2:
            project.write("Merklfile.py", "oops(")
        elif len(seen) == 3:
            project.merklfile(UPPER.replace("tr a-z", "exit 3; tr a-z"))
        else:
            break
    rounds.close()

    first, second, third, fourth = seen
    assert (first.number, first.changed, first.ran, first.ok) == (1, (), ("upper out/a.txt",), True)
    assert (second.changed, second.ran, second.ok) == (("src/a.txt",), ("upper out/a.txt",), True)
    assert (third.changed, third.ok) == (("Merklfile.py",), False)
    assert "never closed" in third.error
    assert list(fourth.failed) == ["upper out/a.txt"]
    assert "exit" in fourth.failed["upper out/a.txt"]


def test_a_program_that_is_interrupted_leaves_nothing_running(project):
    started = project.path / "started"
    project.merklfile(
        f"""
        slow = bash_task("echo $$ > {started}; exec sleep 61; touch {{out_file_arg('out', '.txt')}}")
        slow() > "out.txt"
        """
    )
    code = (
        "import merkl\n"
        "try:\n"
        "    for each in merkl.watch(): print('a round')\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code], cwd=project.path, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (started.exists() and started.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)

    program.send_signal(signal.SIGINT)

    assert program.communicate(timeout=60)[0] == "interrupted\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_where_no_project_is_there_is_nothing_to_watch(tmp_path):
    with pytest.raises(MerklfileError, match="no project in"):
        merkl.watch(directory=tmp_path)
