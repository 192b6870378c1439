"""The live display in a real terminal."""

import os
import re
from pathlib import Path

import pytest
from terminals import Screen, write

pytestmark = pytest.mark.needs("tmux")

# Each task waits for a file, so that the test and not the machine says when it ends.
NAPS = """
    nap = bash_task(
        "trap 'exit 130' INT; echo $$ >> pids; while [ ! -e go ] && [ ! -e go.{arg('n')} ]; do sleep 0.05; done; "
        "printf 'out of {arg('n')} \\\\033[2J\\\\033]0;title\\\\007\\\\rand more\\\\n'; echo {arg('n')} > {out_file_arg('out', '.txt')}",
    )

    @target(default=True)
    def naps(count: int = 3, name: str = "nap"):
        for n in range(count):
            nap(n) > f"build/{name}-{n}.txt"
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def screen(root):
    opened = Screen(root)
    yield opened
    opened.close()


def running(screen, count):
    """Wait until the block says that so many run."""
    return screen.wait_for(f"{count} running")


def ended(root):
    """Whether the processes of all tasks are gone."""
    return not any(Path(f"/proc/{pid}").exists() for pid in (root / "pids").read_text().split())


def test_finished_tasks_scroll_up_and_the_block_stays_below(root, screen):
    write(root, NAPS)
    screen.run("merkl build -j3")
    running(screen, 3)
    assert not screen.cursor_is_visible

    (root / "go.1").touch()
    text = screen.wait_for("[1/3] 2 running")

    lines = text.splitlines()
    assert lines[:4] == ["$ merkl build -j3", "[1/3] nap build/nap-1.txt  " + lines[1].split()[-1],
                         "  out of 1 ^[[2J^[]0;title^G", "  and more"]  # fmt: skip
    assert lines[4] == "[1/3] 2 running"
    assert [re.sub(r"[\d.]+s", "", line).strip() for line in lines[5:]] == [
        "nap build/nap-0.txt",
        "nap build/nap-2.txt",
    ]

    (root / "go").touch()
    last = screen.wait_for_prompt()
    assert "3 tasks: 3 ran in" in last and "running" not in last


def test_the_times_of_the_last_run_are_expected(root, screen):
    write(root, NAPS)
    (root / "go").touch()
    screen.run("merkl build -j1")
    screen.wait_for_prompt()
    (root / "go").unlink()

    screen.run("clear; merkl build -j1 -B")
    text = running(screen, 1)

    assert re.search(r"^ +[\d.]+s of [\d.]+s +nap build/nap-0.txt$", text, re.M)
    (root / "go").touch()
    screen.wait_for_prompt()


def test_a_window_may_change_its_size_in_the_middle_of_a_build(root, screen):
    write(root, NAPS)
    screen.run("merkl build -j8 count=8 name=一つの長い名前")
    running(screen, 8)

    def block():
        """The block; above it may be what scrolled away before merkl was told of the new size."""
        rows = screen.text().splitlines()
        return rows[max((n for n, row in enumerate(rows) if row.startswith("[0/8]")), default=len(rows)) :]

    for width, height in ((20, 24), (20, 5), (120, 30), (35, 8), (80, 24)):
        screen.resize(width, height)
        screen.wait_for(lambda: len(block()) == min(9, height - 1))  # noqa: B023
        assert all(len(row) < width for row in block())

    (root / "go").touch()
    text = screen.wait_for_prompt()
    assert text.splitlines()[-2].startswith("8 tasks: 8 ran in")
    assert len(re.findall(r"^\[\d/8\] nap ", text, re.M)) == 8
    assert "running" not in text.partition("nap build")[2].partition("[1/8]")[2]


def test_of_forty_tasks_as_many_are_shown_as_there_is_room_for(root, screen):
    write(root, NAPS)
    screen.resize(80, 10)
    screen.run("clear; merkl build -j40 count=40")
    text = running(screen, 40)

    assert text.splitlines()[-1] == "  … and 33 more"
    assert len(text.splitlines()) <= 10

    screen.resize(80, 60)
    screen.wait_for("nap build/nap-39.txt")
    (root / "go").touch()
    text = screen.wait_for_prompt()
    assert len(re.findall(r"^\[\d+/40\] nap ", text, re.M)) == 40
    assert "more\n" not in text.replace("and more\n", "")


def test_tasks_that_do_not_listen_to_ctrl_c_are_named_and_the_second_ends_them(root, screen):
    write(root, NAPS.replace("trap 'exit 130' INT", "trap '' INT"))
    screen.run("merkl build -j4 count=4; echo exit $?")
    running(screen, 4)
    screen.wait_for(lambda: len((root / "pids").read_text().split()) == 4)

    screen.keys("C-c")
    text = screen.wait_for("Ctrl-C again ends them")
    assert "interrupted, and still running: nap build/nap-0.txt, " in text and " and 1 more" in text
    screen.keys("C-c")

    assert screen.wait_for_prompt().splitlines()[-2] == "exit 130"
    assert ended(root)


@pytest.mark.parametrize("count", [8, 40])
def test_ctrl_c_leaves_no_task_no_block_and_a_visible_cursor(root, screen, count):
    write(root, NAPS)
    screen.run(f"merkl build -j{count} count={count}; echo exit $?")
    running(screen, count)
    screen.wait_for(lambda: len((root / "pids").read_text().split()) == count)

    screen.keys("C-c")
    text = screen.wait_for_prompt()

    assert f"{count} tasks: {count} interrupted in" in text
    assert text.splitlines()[-2] == "exit 130"
    assert "running" not in text and "Traceback" not in text
    assert ended(root)


def test_ctrl_z_stops_the_tasks_too_and_leaves_the_terminal_to_the_shell(root, screen):
    write(root, """
        tick = bash_task("while [ ! -e go ]; do echo >> ticks; sleep 0.02; done; : > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            tick() > "out.txt"
    """)  # fmt: skip
    screen.run("merkl build -j2")
    running(screen, 1)

    screen.keys("C-z")
    text = screen.wait_for("Stopped")
    assert "running" not in text
    screen.run("wc -c < ticks > before; sleep 0.3; cmp - before < <(wc -c < ticks) && echo all is still")
    text = screen.wait_for("all is still\n$")
    assert screen.cursor_is_visible

    screen.run("fg")
    screen.wait_for("[0/1] 1 running")
    screen.keys("C-z")
    screen.wait_for(lambda: screen.text().count("Stopped") == 2)
    screen.run("bg")
    (root / "go").touch()
    screen.wait_for("1 task: 1 ran")
    assert "running" not in screen.text().partition("bg\n")[2]  # In the background there is no block.


@pytest.mark.parametrize("number", ["TERM", "HUP", "QUIT"])
def test_a_build_that_is_told_to_end_leaves_a_visible_cursor(root, screen, number):
    write(root, NAPS)
    screen.run("merkl build -j2 count=2")
    running(screen, 2)

    screen.keys("C-z")
    screen.wait_for("Stopped")
    screen.run(f"clear; kill -{number} %1; fg")
    text = screen.wait_for_prompt()

    assert "running" not in text
    (root / "go").touch()  # SIGQUIT is for whom something hangs: it ends merkl at once, and its tasks go on.


def test_where_one_of_the_streams_is_a_file(root, screen):
    write(root, NAPS + """
    @target
    def bad():
        bash_task("exit 3; : {out_file_arg('out', '.txt')}", name="fails")() > "bad.txt"
    """)  # fmt: skip
    screen.run("merkl build -j3 2> err")
    running(screen, 3)
    (root / "go").touch()
    screen.wait_for_prompt()
    assert (root / "err").read_text() == ""

    screen.run(
        "clear; merkl build bad > out; merkl build bad 2> err; merkl build -B -j1 count=1 | cat; echo over"
    )
    text = screen.wait_for("over\n$")
    assert text.count("[1/1] failed fails bad.txt") == 1
    assert (root / "out").read_text().startswith("1 task: 1 failed in")
    assert (root / "err").read_text().startswith("[1/1] failed fails bad.txt")
    assert "\x1b" not in (root / "out").read_text() + (root / "err").read_text()


def test_a_dumb_terminal_gets_plain_lines_and_no_color_means_none(root, screen):
    write(root, NAPS)
    (root / "go").touch()
    screen.run("script -qc 'TERM=dumb merkl build -j1 count=1' dumb; script -qc 'NO_COLOR=1 merkl build -Bj1 count=1' plain; "
               "script -qc 'merkl build -j1 -B count=1 --progress plain --color never' lines; echo done")  # fmt: skip
    screen.wait_for("done\n$")

    def written(name):
        return re.sub(r"^Script .*\n", "", (root / name).read_text(), flags=re.M)

    assert "\x1b" not in written("dumb") + written("lines")
    assert not re.search(r"\x1b\[[\d;]*m", written("plain"))


def test_the_project_of_no_task_shows_no_block_at_all(root, screen):
    write(root, NAPS)
    (root / "go").touch()
    screen.run("merkl build; clear; script -qc 'merkl build' second; echo done")
    screen.wait_for("done\n$")

    assert "\x1b[?25l" not in (root / "second").read_text()
    assert os.path.exists(root / "build/nap-0.txt")
