"""The door of the command line: names, errors, exit codes, streams."""

import os
import signal
import subprocess
import sys
import time

import click
import pytest

import merkl as package
from merkl.cli import main
from merkl.cli.main import COMMANDS, cli


@pytest.mark.parametrize(
    ("words", "headline", "hint"),
    [
        (["buidl"], "no command named 'buidl'", "did you mean build?"),
        (["poem"], "no command named 'poem'", "a target is built with: merkl build poem"),
        (["build", "peom"], "no target named 'peom'", "did you mean poem?"),
        (["build", "build/loud.tx"], "no target named 'build/loud.tx'", "did you mean build/loud.txt"),
        (["build", "--jbos", "3"], "no option named --jbos", "did you mean --jobs"),
        (["build", "-j0"], "invalid value for '-j' / '--jobs'", "merkl build --help"),
        (["build", "laud=no"], "no parameter named 'laud' in poem", "did you mean loud?"),
        (["build", "broken"], "the target broken needs code", "merkl build broken code=…"),
        (["build", "broken", "code=x"], "broken: code takes a whole number, not 'x'", ""),
        (["build", "--", "x"], "nothing takes the words after --", ""),
        (["clear"], "clear takes the names of targets", "merkl list"),
        (["clean", "--stale", "poem"], "--stale is about", ""),
        (["gc", "--keep-days", "soon"], "--keep-days takes an age", ""),
        (["gc", "--max-size", "much"], "--max-size takes a size", ""),
        (["restore", "nothing"], "nothing of nothing was saved", "merkl restore"),
        (["-C", "nowhere", "list"], "-C nowhere: there is no such directory", ""),
        (["-f", "nowhere.py", "list"], "there is no file nowhere.py", ""),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do_and_ends_in_2(poem, words, headline, hint):
    done = poem(*words)

    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith(headline)
    assert hint in done.err


def test_where_there_is_no_merklfile_merkl_says_so_and_makes_no_directory(merkl):
    done = merkl("list")

    assert done.code == 2
    assert done.err == "no Merklfile.py or Merklfile.yaml here or above\n  hint: `merkl init` writes one\n"
    assert os.listdir(merkl.root) == []


@pytest.mark.parametrize("words", [["restore"], ["fsck"], ["gc"], ["clean"]])
def test_commands_that_load_nothing_still_need_a_project(merkl, words):
    done = merkl(*words)

    assert done.code == 2
    assert done.err.startswith("no project here or above")
    assert os.listdir(merkl.root) == []


def test_a_bug_keeps_its_traceback_and_asks_to_be_reported(poem, monkeypatch):
    def bug(*_):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(cli, "invoke", bug)

    done = poem("list")

    assert done.code == 1
    assert "Traceback" in done.err
    assert "RuntimeError: a bug of ours" in done.err
    assert "This is a bug in merkl.  Please report it" in done.err


def test_an_exit_of_the_users_code_is_not_a_bug(merkl):
    merkl.merklfile("import sys\nsys.exit(5)\n")

    list_it = merkl.start("list")
    _, err = list_it.communicate(timeout=20)

    assert list_it.returncode == 2
    assert err.startswith(b"Merklfile.py raised SystemExit: 5\n")
    assert b"Traceback" not in err


@pytest.mark.parametrize("command", ["list", "build -B"])
def test_a_closed_or_full_stdout_is_no_bug(merkl, command):
    merkl.merklfile(
        "from merkl import bash_task, target\n\n@target(default=True)\ndef t():\n    bash_task('true')()\n"
    )
    python = f"{sys.executable} -m merkl {command}"

    for redirection in (">&-", ">/dev/full"):
        done = subprocess.run(
            ["bash", "-c", f"{python} {redirection}"],
            cwd=merkl.root,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 1)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_whatever_cannot_be_written_is_said_in_one_line(merkl, unbuffered):
    merkl.merklfile(
        "from merkl import task, target\n\n@target(default=True)\ndef t():\n    task(lambda: 1)() > 'one.txt'\n"
    )
    for _ in range(2):  # The second time there is nothing to do.
        merkl("build")
    commands = ["--version", "--help", "list", "list", "status", "status --json"]
    commands += ["build", "build --json", "build --json nosuch", "build -B"]
    for command in commands:
        code = 2 if "nosuch" in command else 1
        done = subprocess.run(
            ["bash", "-c", f"{sys.executable} -m merkl {command} >/dev/full"],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            cwd=merkl.root,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (command, done.stderr, done.returncode) == (
            command,
            "cannot write the output: No space left on device\n",
            code,
        )


def test_ctrl_c_outside_a_build_ends_in_130_without_a_traceback(merkl):
    merkl.merklfile("import time\nopen('started', 'w').close()\ntime.sleep(60)\n")
    loading = merkl.start("list")
    while not (merkl.root / "started").exists():
        assert loading.poll() is None
    time.sleep(0.3)  # So that the signal comes while it sleeps, not while it closes the file.

    loading.send_signal(signal.SIGINT)
    _, err = loading.communicate(timeout=20)

    assert (loading.returncode, err) == (130, b"\ninterrupted\n")


def test_a_reader_that_has_seen_enough_is_no_error(merkl):
    merkl.merklfile(
        "from merkl import target\nfor i in range(20_000):\n    target(f'target-{i}', lambda: None)\n"
    )

    script = f"{sys.executable} -m merkl list | head -1"
    done = subprocess.run(
        ["bash", "-c", script], cwd=merkl.root, capture_output=True, text=True, timeout=60, check=True
    )

    assert (done.stdout, done.stderr) == ("target-0\n", "")


def test_a_directory_that_was_removed_is_no_bug(merkl):
    gone = merkl.root / "gone"
    script = f"mkdir {gone} && cd {gone} && rmdir {gone} && exec {sys.executable} -m merkl build"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stderr.startswith("the current directory is gone\n")


def test_a_name_that_is_no_text_is_printed_and_found(merkl):
    os.close(os.open(os.fsencode(merkl.root) + b"/caf\xe9.txt", os.O_CREAT | os.O_WRONLY))
    merkl.merklfile(
        """
        from merkl import bash_task, files, target
        copy = bash_task("cat {file_arg('a')} > {out_file_arg('o', '.txt')}")
        @target(default=True)
        def all():
            for each in files("*.txt"):
                copy(each) > f"build/{each}"
        """
    )
    build = merkl.start(
        "build", env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    )
    out, err = build.communicate(timeout=20)

    assert (build.returncode, err) == (0, b"")
    assert b"[1/1] copy build/caf\\xe9.txt" in out
    again = merkl.start("build", b"build/caf\xe9.txt")
    assert again.communicate(timeout=20)[0].startswith(b"1 task: 1 cached")


def test_the_table_of_commands_says_what_each_says_itself():
    context = click.Context(cli)
    for name, line in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(200) == line


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_that_says_whether_it_runs_a_merklfile(poem, name):
    done = poem(name, "--help")

    assert done.code == 0
    assert done.out.startswith(f"Usage: merkl {name}")
    loads = name not in (
        "track",
        "untrack",
        "restore",
        "fsck",
        "gc",
        "cache",
        "key",
        "init",
        "doctor",
        "completion",
    )
    assert ("runs its code" in " ".join(done.out.split())) is loads
    assert "see merkl --help" in done.out


def test_every_command_takes_every_option_of_merkl():
    context = click.Context(cli)
    everywhere = {p.name for p in cli.params if isinstance(p, click.Option)} - {"version", "help"}
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        assert everywhere <= {parameter.name for parameter in command.params}


def test_the_version_is_the_packages(poem):
    assert poem("--version").out == f"merkl {package.__version__}\n"


def test_on_windows_merkl_says_where_it_runs(monkeypatch, capsys):
    from merkl import __main__

    monkeypatch.setattr(sys, "platform", "win32")

    assert __main__.main() == 2
    assert "WSL" in capsys.readouterr().err


def test_help_names_every_command_and_imports_none(poem):
    help_text = poem("--help").out

    assert all(f"  {name} " in help_text for name in COMMANDS)
    assert main.COMMANDS is COMMANDS
