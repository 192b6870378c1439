"""The public names in a script, without any ``merkl build``."""

import subprocess
import sys


def test_a_future_can_be_evaluated_in_a_script_and_is_cached_the_next_time(tmp_path):
    (tmp_path / "script.py").write_text(
        "from merkl import bash_task\n"
        "say = bash_task(\"echo ran >> runs; echo {arg('word')}\", stdout='str')\n"
        "print(repr(say('hello').eval()))\n"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert "hello" in done.stdout
    assert (tmp_path / "runs").read_text() == "ran\n"
