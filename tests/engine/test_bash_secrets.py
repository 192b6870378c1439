"""Secrets: in the command, and nowhere else."""

import os
import subprocess
from pathlib import Path
from typing import Any

CANARY = "c4n4ry-in-the-coal-mine"


def with_secret(value: str = CANARY) -> dict[str, str]:
    return {**os.environ, "TOKEN": value}


def traces(project: Any, canary: str = CANARY) -> list[str]:
    """The files of the project in which the secret can be read."""
    found = []
    for path in project.path.rglob("*"):
        if path.is_file() and canary.encode() in path.read_bytes():
            found.append(str(path.relative_to(project.path)))
    return found


TASKS = """
    fetch = bash_task('''
        test {secret_arg('TOKEN')} = "$(printf %s {secret_arg('TOKEN')})"
        echo "length: $(printf %s {secret_arg('TOKEN')} | wc -c)" > {out_file_arg('page')}
        env > $TMPDIR/env; ! grep -q "$(printf %s {secret_arg('TOKEN')})" $TMPDIR/env
        echo {arg('more', default='')}
    ''')
    loud = bash_task("echo {secret_arg('TOKEN')}; echo err {secret_arg('TOKEN')} >&2; touch {out_file_arg('page')}")
    effect = bash_task("echo {secret_arg('TOKEN')}", cache=False)
    fails = bash_task("set -x; curl --header {secret_arg('TOKEN')} nowhere://; : {out_file_arg('page')}")
    python = bash_task("print({secret_arg('TOKEN')}, len({secret_arg('TOKEN')}))", interpreter="python3")

    @target
    def page(more: str = ""): fetch(more) > "page.txt"
    @target
    def noise(): loud() > "noise.txt"
    @target
    def deploy(): effect()
    @target
    def broken(): return fails()
    @target
    def snake(): python() > "python.txt"
"""


def test_a_secret_reaches_the_command_and_leaves_no_trace(inside: Any) -> None:
    inside.merklfile(TASKS)
    done = inside.merkl("build", "-v", "page", "noise", "deploy", env=with_secret())
    assert inside.read("page.txt") == f"length: {len(CANARY)}\n"
    said = done.stdout + done.stderr
    for command in (
        ["why", "page"],
        ["show", "page"],
        ["show", "--json", "noise"],
        ["log", "noise"],
        ["dag", "page"],
    ):
        shown = inside.merkl(*command, env=with_secret())
        said += shown.stdout + shown.stderr
    assert CANARY not in said
    assert "***\nerr ***" in said or "err ***\n***" in said
    assert traces(inside) == []


def test_another_value_of_a_secret_runs_nothing(inside: Any) -> None:
    inside.merklfile(TASKS)
    assert inside.build("page", env=with_secret()) == ["fetch"]
    assert inside.build("page", env=with_secret("rotated")) == []
    assert inside.build("page") == []  # What is cached needs none.


def test_a_secret_that_is_not_set_is_an_error_when_the_command_would_run(inside: Any) -> None:
    inside.merklfile(TASKS)
    done = inside.merkl("build", "page", code=1)
    assert "fetch needs the secret TOKEN, which is not in the environment" in done.stderr
    assert "hint: export TOKEN=…" in done.stderr
    assert "at: Merklfile.py:" in done.stderr


def test_a_failure_shows_the_secrets_name_and_not_its_value(project: Any) -> None:
    project.merklfile(TASKS)
    done = project.merkl("build", "broken", code=1, env=with_secret())
    assert CANARY not in done.stdout + done.stderr
    assert """command: set -x; curl --header "${TOKEN}" nowhere://; : .merkl/stage/""" in done.stderr
    assert "curl --header '***'" in done.stderr or "curl --header ***" in done.stderr
    again = next(
        line.split(": ", 1)[1] for line in done.stderr.splitlines() if line.strip().startswith("again:")
    )
    assert traces(project) == []
    by_hand = subprocess.run(
        again, shell=True, cwd=project.path, env=with_secret("by-hand"), capture_output=True, text=True
    )
    assert by_hand.returncode not in (0, 127) and "curl --header by-hand" in by_hand.stderr
    without = subprocess.run(again, shell=True, cwd=project.path, capture_output=True, text=True)
    assert "TOKEN" in without.stderr and without.returncode != 0


def test_a_secret_in_the_live_output_is_hidden(project: Any) -> None:
    project.merklfile(
        """
        slow = bash_task("echo begun; echo {secret_arg('TOKEN')}; sleep 2.6; echo {secret_arg('TOKEN')} >&2", cache=False)
        target("all", slow())
        """
    )
    done = project.merkl("build", "all", env=with_secret())
    assert "begun\n***\n" in done.stdout
    assert CANARY not in done.stdout + done.stderr
    assert traces(project) == []


def test_long_and_awkward_secrets_are_hidden_too(inside: Any, tmp_path: Path) -> None:
    key = (
        "-----BEGIN KEY-----\n"
        + "\n".join(f"line{number}ofthekey" * 4 for number in range(20))
        + "\n-----END KEY-----\n"
    )
    inside.merklfile(
        r"""
        show = bash_task(
            "head -c 1048570 /dev/zero | tr '\\0' x; printf %s {secret_arg('TOKEN')}; echo; cat <<EOF\n{secret_arg('TOKEN')}\nEOF\n"
            "printf %s {secret_arg('TOKEN')} | tail -n 3; touch {out_file_arg('o')}"
        )
        target("all", show())
        """
    )
    inside.build("all", env=with_secret(key))
    assert traces(inside, "line3ofthekey") == traces(inside, "END KEY") == []
    quotes = "a'b\"c$(d) `e` \\ ü \udcff"
    inside.build("-B", "all", env=with_secret(quotes))
    assert all(
        b"$(d)" not in path.read_bytes() for path in inside.path.rglob(".merkl/**/*") if path.is_file()
    )


def test_a_python_command_gets_its_secret_from_the_environment(inside: Any) -> None:
    inside.merklfile(TASKS)
    inside.build("snake", env=with_secret())
    assert inside.read("python.txt") == f"*** {len(CANARY)}\n"
    assert traces(inside) == []
