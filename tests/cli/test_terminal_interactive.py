"""Tasks that have a real terminal: interactive ones, and those in a debugger."""

import re

import pytest
from terminals import Screen, write

pytestmark = pytest.mark.needs("tmux")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def screen(root):
    opened = Screen(root)
    yield opened
    opened.close()


TALK = """
    import os

    busy = bash_task("echo > {arg('n')}.runs; sleep 0.3; rm {arg('n')}.runs; echo {arg('n')} > {out_file_arg('out', '.txt')}")
    ask = bash_task(
        "ls *.runs 2> /dev/null || read -rp 'your name? ' name; echo \\"$name $TERM\\" > {out_file_arg('out', '.txt')}",
        interactive=True,
    )

    @task(interactive=True)
    def answer(question):
        others = [name for name in os.listdir() if name.endswith(".runs")]
        return f"{others} {input(question)}"

    @target(default=True)
    def talk():
        for n in range(3):
            busy(n) > f"{n}.txt"
        ask() > "name.txt"
        answer("your age? ") > "age.txt"
        for n in range(3, 6):
            busy(n) > f"{n}.txt"

    shell = bash_task("python3 -iqc 'import sys; sys.ps1 = \\"ready: \\"'; echo x > {out_file_arg('out', '.txt')}", interactive=True)

    @target
    def repl():
        one = shell() > "x.txt"
        busy(9) > "9.txt"
"""


def test_an_interactive_task_reads_a_line_alone_and_the_block_comes_back(root, screen):
    write(root, TALK)
    screen.run("merkl build -j4")
    text = screen.wait_for("your name?")
    assert "running" not in text and screen.cursor_is_visible

    screen.run("Ada")
    text = screen.wait_for("your age?")
    assert "running" not in text and screen.cursor_is_visible
    screen.run("36")
    screen.wait_for("[5/8] 3 running")
    text = screen.wait_for_prompt()

    assert "8 tasks: 8 ran in" in text
    assert (root / "name.txt").read_text().split()[0] == "Ada"
    assert (root / "name.txt").read_text().split()[1].startswith(("screen", "tmux"))
    assert (root / "age.txt").read_text().strip() == "[] 36"  # Nothing else was running.
    assert ".runs" not in text


def test_ctrl_c_is_a_key_for_the_task_that_has_the_terminal(root, screen):
    write(root, TALK)
    screen.run("merkl build -j2 repl; echo exit $?")
    screen.wait_for("\nready:")
    for times in range(1, 7):
        screen.keys("C-c")
        screen.wait_for(lambda: screen.text().count("KeyboardInterrupt\nready:") == times)  # noqa: B023
    screen.run("print(6 * 7)")
    screen.wait_for("\n42")
    screen.keys("C-d")

    text = screen.wait_for("exit 0")
    assert "2 tasks: 2 ran in" in text


def test_ctrl_c_ends_an_interactive_task_that_does_not_listen(root, screen):
    write(root, TALK)
    screen.run("merkl build -j2; echo exit $?")
    screen.wait_for("your name?")
    screen.keys("C-c")
    text = screen.wait_for("exit 130")

    assert "interrupted: ask name.txt" in text
    assert "your age?" not in text


DEBUG = """
    @task
    def double(number):
        half = number // 2
        breakpoint()
        print("into the log")
        return 4 * half

    @task(timeout=30)
    def timed(number):
        breakpoint()
        return number

    @target(default=True)
    def all():
        double(21) > "double.txt"
        double(double(4)) > "again.txt"

    @target
    def with_timeout():
        timed(1) > "timed.txt"
"""


def test_breakpoint_opens_the_debugger_in_the_terminal(root, screen):
    write(root, DEBUG)
    screen.run("merkl build -j1 double.txt")
    text = screen.wait_for("(Pdb)")
    assert "running" not in text and "double()" in text

    for command, answer in (("p number", "21"), ("half = 100", ""), ("p half + 1", "101")):
        screen.run(command)
        screen.wait_for(lambda: screen.text().rstrip().endswith("(Pdb)") and answer in screen.text())  # noqa: B023
    screen.keys("C-c")
    screen.wait_for("--KeyboardInterrupt--")
    screen.run("c")
    text = screen.wait_for_prompt()

    assert (root / "double.txt").read_text().strip() == "400"
    assert re.search(r"\(Pdb\) c\n\[1/1\] double double.txt  [\d.]+s\n  into the log\n1 task: 1 ran", text)


def test_stepping_out_of_the_task_ends_the_debugger(root, screen):
    write(root, DEBUG)
    screen.run("merkl build -j1 double.txt")
    screen.wait_for("(Pdb)")
    for _ in range(4):
        screen.run("n")
    text = screen.wait_for_prompt()

    assert "--Return--" in text and "1 task: 1 ran" in text
    assert "merkl/" not in text.partition("(Pdb)")[2]


def test_leaving_the_debugger_interrupts_the_build(root, screen):
    write(root, DEBUG)
    screen.run("merkl build -j1; echo exit $?")
    screen.wait_for("(Pdb)")
    screen.run("q")
    text = screen.wait_for("exit 130")

    assert "1 interrupted" in text and "interrupted: double" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("words", ["-j2 double.txt", "-j1 with_timeout"])
def test_in_a_worker_breakpoint_says_where_it_works(root, screen, words):
    write(root, DEBUG)
    screen.run(f"merkl build {words}")
    text = screen.wait_for_prompt()

    assert "breakpoint() cannot start a debugger: a task in a worker process has no terminal" in text
    assert "merkl build -j1" in text and "timeout=" in text
    assert "1 failed" in text
