"""The message for a command that went wrong, word by word; and that what it tells one to type works."""

import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest


def again(text: str) -> str:
    """The command to run it again by hand."""
    return next(line.split(": ", 1)[1] for line in text.splitlines() if line.strip().startswith("again:"))


def test_the_whole_message_of_a_command_that_failed(inside: Any) -> None:
    inside.write("in.txt", "input\n")
    inside.merklfile(
        """
        check = bash_task('''
            cat {file_arg('text', '.txt')} > {out_file_arg('copy', '.out')}
            echo "looking at" {arg('what')}; echo "no good" >&2; exit 3
        ''', env={"MODE": "m d"})

        @target(default=True)
        def all():
            check("in.txt", "it's") > "copy.txt"
        """
    )
    done = inside.merkl("build", code=1)
    name = re.search(r"\.merkl/run/([0-9a-f]{8}-000001)/log", done.stderr)
    assert name is not None, done.stderr
    expected = textwrap.dedent(
        """\
        [1/1] failed check copy.txt  T
          check failed: exit code 3
            task: check in.txt
            at: Merklfile.py:10
            command:
                  cat in.txt > .merkl/stage/N/in.out
                  echo "looking at" 'it'\\''s'; echo "no good" >&2; exit 3
            output:
              looking at it's
              no good
            log: .merkl/run/N/log
            staging: .merkl/stage/N
            again: bash .merkl/run/N/again
        """
    )
    shown = re.sub(r"copy.txt  [0-9.]+s", "copy.txt  T", done.stderr.replace(name[1], "N"))
    assert [line.strip() for line in shown.splitlines()] == [
        line.strip() for line in expected.splitlines()
    ], shown
    assert re.fullmatch(r"1 task: 1 failed in [0-9.]+s\n", done.stdout)
    assert (inside.path / f".merkl/run/{name[1]}/log").read_text() == "looking at it's\nno good\n"
    assert (inside.path / f".merkl/stage/{name[1]}/in.out").read_text() == "input\n"
    assert not (inside.path / "copy.txt").exists()
    (inside.path / f".merkl/stage/{name[1]}/in.out").unlink()
    by_hand = subprocess.run(again(done.stderr), shell=True, cwd=inside.path, capture_output=True, text=True)
    assert (by_hand.returncode, by_hand.stdout, by_hand.stderr) == (3, "looking at it's\n", "no good\n")
    assert (inside.path / f".merkl/stage/{name[1]}/in.out").read_text() == "input\n"


def test_what_is_kept_of_a_failure_stays_until_it_has_been_repaired(inside: Any) -> None:
    inside.merklfile(
        """
        bad = bash_task("echo half > {out_file_arg('a')}; test -e ok")
        good = bash_task("echo {arg('x')}")
        target("bad", bad() > "bad.txt")

        @target
        def good_(x: str): good(x) > "good.txt"
        """
    )
    done = inside.merkl("build", "bad", code=1)
    kept = [
        line.split(": ")[1]
        for line in done.stderr.splitlines()
        if line.strip().startswith(("log:", "staging:"))
    ]
    inside.build("good_", "x=1")
    inside.build("good_", "x=2")
    assert all((inside.path / path).exists() for path in kept)
    inside.write("ok", "")
    inside.build("bad")
    inside.build("good_", "x=3")
    assert not any((inside.path / path).exists() for path in kept)


MEANINGS = {
    "exit 1": "x failed: exit code 1: often no more than false",
    "exit 42": "x failed: exit code 42\n",
    "nosuchprogram": "x failed: exit code 127: command not found",
    "touch $TMPDIR/f; $TMPDIR/f": "x failed: exit code 126: found but not executable",
    "kill -9 $$": "x failed: killed by signal 9 (SIGKILL), likely out of memory",
    "kill -SEGV $$": "x failed: killed by signal 11 (SIGSEGV), segmentation fault",
    "sh -c 'kill -9 $$'": "x failed: exit code 137: a command in it was killed by signal 9 (SIGKILL), likely out of memory",
    "yes | head -1 > /dev/null": "x failed: exit code 141: a command in it was killed by signal 13 (SIGPIPE), a reader such as head",
}


@pytest.mark.parametrize("command", MEANINGS)
def test_the_exit_code_is_explained(inside: Any, command: str) -> None:
    inside.merklfile(f'target("x", bash_task({command!r}, name="x")())\n')
    assert MEANINGS[command] in inside.merkl("build", "x", code=1).stderr


def test_a_program_that_cannot_be_started_is_named(inside: Any) -> None:
    inside.write("script", "#!/no/such/interpreter\n").chmod(0o755)
    inside.write("text", "no program").chmod(0o644)
    inside.merklfile(
        """
        @target
        def a(): return bash_task(argv=["no-such-program", "x"], name="absent")()
        @target
        def b(): return bash_task(argv=["{file_arg('tool')}"], name="headless")("script")
        @target
        def c(): return bash_task(argv=["{file_arg('tool')}"], name="plain")("text")
        @target
        def d(): return bash_task("true", name="shellless")()
        """
    )
    texts = {
        "a": (
            "absent could not be started: no-such-program: No such file or directory",
            "is it installed, and on PATH?",
        ),
        "b": (
            "headless could not be started: /no/such/interpreter: No such file or directory",
            "is it installed",
        ),
        "c": ("plain could not be started: ", "Permission denied"),
    }
    for target, (headline, more) in texts.items():
        done = inside.merkl("build", target, code=1)
        assert headline in done.stderr and more in done.stderr, done.stderr
        assert "at: Merklfile.py:" in done.stderr
    done = inside.merkl("build", "d", code=1, env={**os.environ, "PATH": str(inside.path)})
    assert "shellless could not be started: bash: No such file or directory" in done.stderr


def test_of_much_output_the_end_is_shown_and_the_log_has_all(inside: Any) -> None:
    inside.merklfile(
        """
        noisy = bash_task("seq 100000; printf '\\\\033[31mred\\\\033[0m \\\\033]0;title\\\\007 \\\\377 no end' >&2; false; : {arg('x')}")
        target("all", noisy("long " * 2000))
        """
    )
    done = inside.merkl("build", "all", code=1)
    assert "99981\n" in done.stderr and "\n      100000\n" in done.stderr and "99980\n" not in done.stderr
    assert "red" in done.stderr and "\033" not in done.stderr and "\007" not in done.stderr
    assert len(done.stderr) < 8_000
    log = next(line.split(": ")[1] for line in done.stderr.splitlines() if line.strip().startswith("log:"))
    data = (inside.path / log).read_bytes()
    assert data.startswith(b"\033[31mred") and data.endswith(b"100000\n") and b"\n50000\n" in data


def test_each_kind_of_task_can_be_run_again_by_hand_from_where_merkl_was_started(inside: Any) -> None:
    inside.write("sub/keep", "")
    inside.write("a b.txt", "text")
    inside.merklfile(
        """
        bash = bash_task("echo $V; cat {file_arg('f')} {file_arg('g', '.txt')}; pwd; exit 4", env={"V": "it's"})
        sh = bash_task("echo $V; cat {file_arg('f')} {file_arg('g', '.txt')}; pwd; exit 4", env={"V": "it's"}, interpreter="sh")
        inner = bash_task("echo $V; cat {file_arg('f')} {file_arg('g', '.txt')}; pwd; exit 4", env={"V": "it's"}, cwd="sub")
        python = bash_task('''
            import os, sys
            print(os.environ["V"], flush=True)
            print(open({file_arg('f')}).read() + open({file_arg('g', '.txt')}).read(), end="")
            print(os.getcwd())
            sys.exit(4)
        ''', env={"V": "it's"}, interpreter="python3")
        argv = bash_task(argv=["sh", "-c", 'echo $V; cat "$1" "$2"; pwd; exit 4', "_", "{file_arg('f')}", "{file_arg('g', '.txt')}"], env={"V": "it's"})
        made = bash_task("echo made > {out_file_arg('m', '.txt')}")

        for made_by in (bash, sh, inner, python, argv):
            target(made_by.name, made_by("a b.txt", made()))
        """
    )
    here = str(inside.path / "sub")
    done = inside.merkl("build", "-k", "bash", "sh", "inner", "python", "argv", code=1, cwd=here)
    commands = [
        line.split(": ", 1)[1] for line in done.stderr.splitlines() if line.strip().startswith("again:")
    ]
    assert len(commands) == 5
    for command in commands:
        ran = subprocess.run(
            command, shell=True, cwd=here, capture_output=True, text=True, stdin=subprocess.PIPE
        )
        assert ran.returncode == 4, ran
        where = ran.stdout.removeprefix("it's\ntextmade\n").strip()
        assert where in (str(inside.path), here), ran
    logs = [
        line.split(": ")[1]
        for line in done.stderr.splitlines()
        if line.strip().startswith(("log:", "staging:"))
    ]
    assert all(os.path.exists(os.path.join(here, path)) for path in logs)


def test_a_task_that_writes_to_its_input_fails_and_harms_nobody(inside: Any) -> None:
    inside.merklfile(
        """
        make = bash_task("head -c {arg('size')} /dev/zero > {out_file_arg('x')}; mkdir {out_dir_arg('d')}/s; echo y > {out_dir_arg('d')}/s/y")
        vandal = bash_task("chmod u+w {file_arg('x')}; echo more >> {file_arg('x')}; touch {out_file_arg('o')}")
        inner = bash_task("chmod u+w {dir_arg('d')}/s/y; echo more >> {dir_arg('d')}/s/y; touch {out_file_arg('o')}; false")
        read = bash_task("wc -c < {file_arg('x')}; cat {dir_arg('d')}/s/y")

        for size in ("10", "500000"):
            made = make(size)
            target(f"vandal{size}", vandal(made["x"]))
            target(f"inner{size}", inner(made["d"]))
            target(f"read{size}", read(made["x"], made["d"]) > f"{size}.txt")
        """
    )
    for size in ("10", "500000"):
        done = inside.merkl("build", f"vandal{size}", code=1)
        assert "vandal wrote to its input x" in done.stderr
        assert (
            "hint: inputs are read-only: let the command write to an out_file_arg, or use scratch=True"
            in done.stderr
        )
        assert "at: Merklfile.py:" in done.stderr and again(done.stderr)
        done = inside.merkl("build", f"inner{size}", code=1)
        assert "inner failed: exit code 1" in done.stderr
        assert "also: it wrote to its input" in done.stderr
        inside.merkl("build", f"read{size}")
        assert inside.read(f"{size}.txt") == f"{size}\ny\n"


def test_a_task_that_writes_to_a_file_of_the_project_it_reads_gives_no_result(inside: Any) -> None:
    inside.write("a.txt", "a")
    inside.merklfile(
        """
        vandal = bash_task("echo more >> {file_arg('x')}; cp {file_arg('x')} {out_file_arg('o')}")
        target("all", vandal("a.txt") > "b.txt")
        """
    )
    done = inside.merkl("build", "all", code=1)
    assert "a.txt changed while vandal was using it; its result was not kept" in done.stderr
    assert not (inside.path / "b.txt").exists()


def test_messages_say_where_the_task_was_called_not_where_it_was_defined(inside: Any, tmp_path: Path) -> None:
    inside.write("lib/tasks.py", "from merkl import bash_task\n\nfail = bash_task('false')\n")
    inside.merklfile(
        """
        import sys
        sys.path.insert(0, "lib")
        import tasks

        target("all", tasks.fail())
        """
    )
    done = inside.merkl("build", "all", code=1)
    assert "fail failed: exit code 1" in done.stderr
    assert "at: Merklfile.py:7" in done.stderr
    shutil.rmtree(inside.path / "lib")
