"""What starting merkl imports, since that is what it costs."""

import os
import subprocess
import sys
import time

import pytest

from merkl import __version__

HEAVY = {"jinja2", "rich", "asyncio", "watchdog", "yaml", "click", "numpy", "typeguard", "cloudpickle", "multiprocessing",
         "concurrent", "pathspec", "sqlite3", "subprocess", "tempfile", "logging", "importlib.metadata"}  # fmt: skip

# What any command that click reads needs of the command line.
DOOR = {f"merkl.cli.{name}" for name in ("edge", "given", "main", "options", "plain", "spellings")}


def imported(root, *words):
    """The modules that a command line has imported when it ends."""
    code = (
        "import sys\n"
        f"sys.argv = ['merkl', *{words!r}]\n"
        "from merkl.__main__ import main\n"
        "code = main()\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
        "raise SystemExit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_the_version_costs_no_import(merkl):
    found = imported(merkl.root, "--version")

    assert found & HEAVY == set()
    assert {name for name in found if name.startswith("merkl")} == {"merkl", "merkl.__main__"}


def test_help_imports_click_and_no_command(merkl):
    found = imported(merkl.root, "--help")

    assert found & HEAVY == {"click"}
    assert {name for name in found if name.startswith("merkl.cli.")} == DOOR
    assert not [name for name in found if name.startswith(("merkl.engine", "merkl.store", "merkl.bash"))]


def test_listing_targets_imports_nothing_that_runs_them(merkl):
    merkl.merklfile("from merkl import target\n@target\ndef x(): pass\n")

    found = imported(merkl.root, "list")

    assert found & (HEAVY - {"click", "sqlite3", "subprocess"}) == set()
    assert "merkl.cli.build" not in found
    for name in (
        "merkl.engine.build",
        "merkl.engine.schedule",
        "merkl.execute.local",
        "merkl.bash.run",
        "merkl.report.lines",
    ):
        assert name not in found


@pytest.mark.parametrize("module", ["merkl.cli.gc", "merkl.cli.fsck"])
def test_a_command_imports_no_other_command(merkl, module):
    merkl.merklfile("from merkl import target\n@target\ndef x(): pass\n")

    found = imported(merkl.root, module.rpartition(".")[2])

    own = {name for name in found if name.startswith("merkl.cli.")}
    assert own == {*DOOR, "merkl.cli.opening", module}


def test_watching_is_imported_by_nobody_else_and_on_linux_without_watchdog(merkl):
    merkl.merklfile("from merkl import target\n@target\ndef x(): pass\n")

    assert not [name for name in imported(merkl.root, "build", "x") if name.startswith("merkl.watching")]
    if sys.platform == "linux":
        assert "watchdog" not in imported(merkl.root, "watch", "--help")


def test_ctrl_c_while_merkl_is_imported_shows_no_traceback(merkl):
    # The signal comes when the command line is looked for: as early as main() can be.
    code = (
        "import signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'merkl.cli.options':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from merkl.__main__ import main\n"
        "raise SystemExit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "list"], cwd=merkl.root, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_build_of_commands_imports_no_template_engine(merkl):
    merkl.merklfile("""
        from merkl import bash_task, target
        copy = bash_task("cat {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}; : {arg('n', default=1)}")
        @target(default=True)
        def x(): copy("a.txt") > "b.txt"
        """)
    (merkl.root / "a.txt").write_text("a")

    assert (
        imported(merkl.root, "build") & {"jinja2", "yaml", "asyncio", "logging", "multiprocessing"} == set()
    )


def test_a_small_change_is_built_without_the_command_line(merkl):
    merkl.merklfile("""
        from merkl import bash_task, target
        copy = bash_task("cat {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")
        @target(default=True)
        def x(): copy("a.txt") > "b.txt"
        """)
    (merkl.root / "a.txt").write_text("a")
    for _ in range(3):
        time.sleep(0.05)
        imported(merkl.root, "build")
    (merkl.root / "a.txt").write_text("other")

    found = imported(merkl.root, "build")

    assert found & {"jinja2", "click", "yaml", "merkl.merklfile.loader", "merkl.cli.main"} == set()
    assert (merkl.root / "b.txt").read_text() == "other"


# What only some builds need, and no plain one of commands.
RARE = HEAVY - {"sqlite3"} | {
    "argparse", "bz2", "csv", "difflib", "gettext", "html", "lzma", "numbers", "pathlib", "platform", "random", "shutil", "socket",
    "string", "textwrap", "traceback", "urllib.parse", "uuid", "zipfile",
}  # fmt: skip
# What the standard library imports for little of it that is used.
UNASKED = frozenset(
    "ast binascii copy dataclasses datetime dis inspect pickle shlex sqlite3 tokenize unicodedata".split()
)
MOST = 400  # Modules, Python's own with them; a bound with some slack.

COPY = """
    from merkl import bash_task, target
    copy = bash_task("cat {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")
    @target(default=True)
    def x(): copy("a.txt") > "b.txt"
    """


def settled(project, *words):
    """A project whose next build with these words is answered by a snapshot."""
    (project.root / "a.txt").write_text("a")
    for _ in range(3):
        time.sleep(0.05)
        imported(project.root, *words)


def test_an_answer_imports_nothing_but_what_gives_it(merkl):
    merkl.merklfile(COPY)
    settled(merkl, "build")

    found = imported(merkl.root, "build")

    assert {name for name in found if name.startswith("merkl")} == {
        "merkl",
        "merkl.__main__",
        "merkl.snapshot",
        "merkl.snapshot.answer",
    }
    assert found & {"re", "typing", "collections", "enum", "struct"} == set()


def test_a_plain_build_of_commands_imports_no_python_tasks_and_no_click(merkl):
    merkl.merklfile(COPY)
    (merkl.root / "a.txt").write_text("a")

    found = imported(merkl.root, "build", "-j2")

    assert found & RARE == set()
    assert found & {f"merkl.python.{name}" for name in ("task", "batch", "run", "send", "written")} == set()
    assert len(found) < MOST


def test_a_plain_build_of_python_tasks_imports_no_templates_and_no_click(merkl):
    merkl.merklfile("""
        from merkl import target, task
        @task
        def double(n): return 2 * n
        @target(default=True)
        def x(): double(1) > "x.json"
        """)

    found = imported(merkl.root, "build", "-j2")

    brings = {
        "cloudpickle",
        "logging",
        "platform",
        "string",
        "textwrap",
        "traceback",
        "uuid",
    }  # cloudpickle, itself.
    assert found & (RARE - brings) == set()
    assert (
        found & {f"merkl.bash.{name}" for name in ("task", "template", "grammar", "run", "outcome")} == set()
    )
    assert len(found) < MOST


def test_a_small_change_imports_neither_python_tasks_nor_what_compiles_templates(merkl):
    merkl.merklfile(COPY)
    settled(merkl, "build")
    (merkl.root / "a.txt").write_text("other")

    found = imported(merkl.root, "build")

    assert found & RARE == set()
    assert found & UNASKED == set()
    assert found & {f"merkl.python.{name}" for name in ("task", "batch", "run", "send", "written")} == set()
    assert found & {f"merkl.bash.{name}" for name in ("grammar", "pythontext")} == set()
    assert len(found) < MOST - 60
    assert (merkl.root / "b.txt").read_text() == "other"


@pytest.mark.parametrize("somebody", [True, False])
def test_what_somebody_wants_done_at_the_end_is_done(tmp_path, somebody):
    """Else Python's end is spared, and what was said is there all the same."""
    text = "import atexit, os\natexit.register(os.write, 1, b'bye\\n')\n" if somebody else ""
    (tmp_path / "sitecustomize.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "merkl", "--version"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.replace("\n", " ").split()) == sorted(
        ["merkl", __version__, *["bye"] * somebody]
    )
