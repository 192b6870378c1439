"""The public names in a script, without any ``merkl build``."""

import os
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


def test_the_directory_of_results_is_named_once_and_found_from_below(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "script.py").write_text(
        "from merkl import task\n@task\ndef f(n):\n    return n\nprint(f(1).in_cache(), f(1).eval())\n"
    )
    (tmp_path / "below/other.py").write_text("from script import f\nprint(f(1).in_cache())\n")
    said = []
    for name, cwd in (("script.py", "/"), ("script.py", "/tmp"), ("below/other.py", "/")):
        done = subprocess.run(
            [sys.executable, tmp_path / name],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append((done.stdout, done.stderr))
    assert said == [
        ("False 1\n", f"merkl: results are kept in {tmp_path}/.merkl\n"),
        ("True 1\n", ""),
        ("True 1\nTrue\n", ""),
    ]


def test_an_installed_program_keeps_results_where_it_was_started(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "timeit", "-n1", "-r1", "from merkl.nodes import session; import merkl.python.task; merkl.task"
         "; print(session().root)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[0] == str(tmp_path)


def test_what_the_user_wrote_over_an_output_is_saved_and_the_script_says_how_to_get_it_back(tmp_path):
    (tmp_path / "script.py").write_text(
        "import sys\nfrom merkl import task\n@task\ndef text(word):\n    return word\n"
        "future = text(sys.argv[1]) > 'out.txt'\nfuture.eval()\n"
    )

    def run(word):
        command = [sys.executable, "script.py", word]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr

    run("first")
    (tmp_path / "out.txt").write_text("mine")

    assert run("second") == (
        "merkl: what you had at out.txt was saved: `merkl restore out.txt` brings it back\n"
    )
    subprocess.run(
        [sys.executable, "-m", "merkl", "restore", "out.txt"], cwd=tmp_path, check=True, capture_output=True
    )
    assert (tmp_path / "out.txt").read_text() == "mine"
