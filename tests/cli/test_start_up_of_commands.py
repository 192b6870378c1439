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
# Modules of which a small build of commands would call nothing.
UNCALLED = {f"merkl.{package}.{name}" for package, names in {
    "bash": "compiler depfile dollar grammar hazards heredoc includes lexer pythontext spelling",
    "engine": "away frozen jointfile lists order sidecars starting",
    "execute": "company debugging early inline meaning pool scratch",
    "python": "directories items mapping outs",
    "report": "tail used",
    "snapshot": "audit surroundings",
    "store": "bundle caches forms layered many pickles serializers treecheck written",
    "workspace": "copying ignore patterns refs trees",
}.items() for name in names.split()}  # fmt: skip
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
    assert found & UNCALLED == set()
    assert len(found) < MOST - 120
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


def test_after_a_small_build_python_does_not_take_all_apart(merkl, tmp_path):
    """That takes a third as long as to import it; but after code of the user's it is Python that ends."""
    last = "class Last:\n    def __del__(self, write=os.write): write(1, b'taken apart')\nsys.last = Last()\n"
    (tmp_path / "sitecustomize.py").write_text("import os, sys\n" + last)
    merkl.merklfile(COPY)
    (merkl.root / "a.txt").write_text("a")

    def build():
        return subprocess.run(
            [sys.executable, "-m", "merkl", "build"],
            env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=merkl.root, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    first = build()
    for _ in range(2):
        time.sleep(0.05)
        build()
    (merkl.root / "a.txt").write_text("other")
    small = build()

    assert first.endswith("taken apart")
    assert "1 ran" in small and small.endswith("\n")
    assert (merkl.root / "b.txt").read_text() == "other"


@pytest.mark.parametrize("there", [True, False])
def test_what_is_kept_of_a_graph_is_read_once_whoever_compares_files(merkl, there):
    """Also if it is got ready while others still compare, which they are told to do here; and it may be gone."""
    code = (
        "import sys\n"
        "from merkl.snapshot import answer\n"
        "answer._SPLIT, answer.processors = 1, lambda: 3\n"
        "read = []\n"
        "def hear(event, found):\n"
        "    if event == 'open' and str(found[0]).rpartition('/')[0].endswith('/.merkl/graphs') and found[1] is None:\n"
        "        read.append(found[0])\n"
        "sys.addaudithook(hear)\n"
        "sys.argv = ['merkl', 'build']\n"
        "from merkl.__main__ import main\n"
        "code = main()\n"
        "print(len(read), 'read')\n"
        "raise SystemExit(code)\n"
    )

    def build():
        return subprocess.run(
            [sys.executable, "-c", code], cwd=merkl.root, capture_output=True, text=True, check=True
        ).stdout.splitlines()

    merkl.merklfile(COPY)
    (merkl.root / "a.txt").write_text("a")
    for _ in range(3):
        time.sleep(0.05)
        build()
    (merkl.root / "a.txt").write_text("other")
    if not there:
        for graph in (merkl.root / ".merkl/graphs").iterdir():
            graph.unlink()

    said = build()

    assert "1 ran" in said[-2]
    assert said[-1] == "1 read" if there else said[-1] != "1 read"
    assert (merkl.root / "b.txt").read_text() == "other"
