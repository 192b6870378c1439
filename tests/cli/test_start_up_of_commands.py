"""What starting merkl imports, since that is what it costs."""

import subprocess
import sys
import time

import pytest

HEAVY = {"jinja2", "rich", "asyncio", "watchdog", "yaml", "click", "numpy", "typeguard", "cloudpickle", "multiprocessing",
         "concurrent", "pathspec", "sqlite3", "subprocess", "tempfile", "logging", "importlib.metadata"}  # fmt: skip


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
    assert {name for name in found if name.startswith("merkl.cli.")} == {
        "merkl.cli.main",
        "merkl.cli.options",
        "merkl.cli.spellings",
    }
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
    assert own == {"merkl.cli.main", "merkl.cli.options", "merkl.cli.spellings", "merkl.cli.opening", module}


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
