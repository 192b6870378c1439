"""What answers a build at once, and everything after which it must not."""

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

PLAIN = """
    copy = bash_task("cat {file_arg('text', '.txt')} > {out_file_arg('out', '.out')}")

    @target(default=True)
    def all():
        for source in files("src/*.txt"):
            copy(source) > f"out/{source.stem}.out"
"""
IDLE = """
    @target(default=True)
    def all(): pass
"""
# Runs a command line, and says whether it was answered before the command line was even imported, or built in part.
ASK = """
import os, sys
first = os.path.join(os.path.dirname(sys.argv[0]), "../first/code.py")
if os.path.exists(first):
    exec(open(first).read())
sys.argv = ["merkl", *sys.argv[1:]]
from merkl.__main__ import main
code = main()
sys.stdout.flush()
how = "found out" if "merkl.cli.opening" in sys.modules else "in part" if "merkl.cli.changed" in sys.modules else "answered"
print(how, file=sys.stderr)
raise SystemExit(code)
"""


class Asked:
    """A project whose builds say whether a snapshot answered them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = dict(os.environ)
        self.script = path.parent / "script/ask.py"
        self.script.parent.mkdir(exist_ok=True)
        self.script.write_text(ASK)

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def ask(
        self, *words: str, code: int | None = 0, cwd: str = ".", flags: tuple[str, ...] = ()
    ) -> tuple[bool, str]:
        """Whether ``merkl WORDS…`` was answered by a snapshot, and what it said."""
        how, said = self.told(*words, code=code, cwd=cwd, flags=flags)
        return how == "answered", said

    def told(
        self, *words: str, code: int | None = 0, cwd: str = ".", flags: tuple[str, ...] = ()
    ) -> tuple[str, str]:
        """How ``merkl WORDS…`` was answered, and what it said."""
        done = subprocess.run(
            [sys.executable, *flags, str(self.script), *words],
            cwd=self.path / cwd, env=self.env, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done.stderr.splitlines()[-1], done.stdout

    def answered(self, *words: str, **options: Any) -> bool:
        return self.ask(*(words or ("build",)), **options)[0]

    def settle(self, *words: str, **options: Any) -> bool:
        """Build until there is nothing to do and all that was looked at is old enough; whether that is answered."""
        for _ in range(3):
            time.sleep(0.04)
            if self.answered(*words, **options):
                return True
        return self.answered(*words, **options)


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """A project with three sources."""
    (tmp_path / "p").mkdir()
    asked = Asked(tmp_path / "p")
    for name in "abc":
        asked.write(f"src/{name}.txt", f"{name}\n")
    return asked


def merklfile(asked: Asked, text: str) -> None:
    asked.write("Merklfile.py", "from merkl import *\n" + textwrap.dedent(text))


def replaced(path: Path, text: str) -> None:
    """Write a file as a careful editor does: another one takes its place, with the same size and time."""
    before = path.stat()
    other = path.with_name(path.name + "~")
    other.write_text(text)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, path)


def test_the_second_build_with_nothing_to_do_is_answered_with_the_same_words(asked: Asked) -> None:
    merklfile(asked, PLAIN)
    assert "3 ran" in asked.ask("build")[1]
    time.sleep(0.05)
    found_out = asked.ask("build")
    answered = asked.ask("build")

    assert (found_out[0], answered[0]) == (False, True)
    assert found_out[1].startswith("3 tasks: 3 cached in ") and answered[1].startswith(
        "3 tasks: 3 cached in 0."
    )
    assert asked.ask("build", "-q") == (False, "") and asked.ask("build", "-q") == (True, "")


# What a Merklfile looks at while it is loaded, in all the ways in which that can be done, and a change of what it saw.
Change = Callable[[Asked], object]


def _write(name: str, text: str = "new\n") -> Change:
    return lambda asked: asked.write(name, text)


def _env(name: str, value: str | None) -> Change:
    def change(asked: Asked) -> None:
        asked.env.pop(name, None)
        if value is not None:
            asked.env[name] = value

    return change


def _link(name: str, to: str) -> Change:
    def change(asked: Asked) -> None:
        path = asked.path / name
        path.unlink(missing_ok=True)
        path.symlink_to(to)

    return change


def _same_size(name: str) -> Change:
    def change(asked: Asked) -> None:
        path = asked.path / name
        replaced(path, path.read_text()[::-1])

    return change


LOADS: dict[str, tuple[str, Change]] = {
    "a path that was not there, by pathlib": ("import pathlib; pathlib.Path('switch').exists()", _write("switch")),
    "a path that was not there, by os.path": ("import os; os.path.isfile('deep/er/switch')", _write("deep/er/switch")),
    "a path that was not there, by access": ("import os; os.access('switch', os.R_OK)", _write("switch")),
    "a path that was not there, by an error": ("""
        try: open("switch")
        except FileNotFoundError: pass
        """, _write("switch")),
    "stat taken from os": ("from os import stat; stat('data').st_size", _same_size("data")),
    "stat taken from posix": ("from posix import stat; stat('data').st_mtime", _same_size("data")),
    "stat taken from os before merkl began": ("import sys; sys.taken.stat('data').st_size", _same_size("data")),
    "lstat and readlink": ("import os; os.readlink('link')", _link("link", "other")),
    "a link that is followed": ("import os; os.path.getsize('link')", _same_size("data")),
    "a file that is read": ("open('data').read()", _same_size("data")),
    "a file that is read as bytes by os.open": ("import os; os.close(os.open(b'data', os.O_RDONLY))", _same_size("data")),
    "a file below an open directory": ("""
        import os
        fd = os.open("src", os.O_RDONLY)
        os.close(os.open("a.txt", os.O_RDONLY, dir_fd=fd)); os.close(fd)
        """, _same_size("src/a.txt")),
    "a line by linecache": ("import linecache; linecache.getline('data', 1)", _same_size("data")),
    "two files by filecmp": ("import filecmp; filecmp.cmp('data', 'src/a.txt')", _same_size("src/a.txt")),
    "settings by configparser": ("import configparser; configparser.ConfigParser().read(['x.ini'])", _write("x.ini", "")),
    "a program on PATH by shutil": ("import shutil; shutil.which('merkl-no-such')",
                                   lambda asked: shutil.copy("/bin/true", Path(asked.env["PATH"].split(":")[0]) / "merkl-no-such")),
    "names by os.listdir": ("import os; os.listdir('folder')", _write("folder/x")),
    "names by os.walk": ("import os; list(os.walk('folder'))", _write("folder/inner/x")),
    "names by glob": ("import glob; glob.glob('folder/**/*.c', recursive=True)", _write("folder/inner/x.c")),
    "names by pathlib": ("import pathlib; list(pathlib.Path('folder').rglob('*.c'))", _write("folder/inner/x.c")),
    "sizes by os.scandir": ("import os; [e.stat().st_size for e in os.scandir('folder')]", _write("folder/f", "longer\n")),
    "the kind behind a link, by os.scandir": ("import os; [e.is_dir() for e in os.scandir('folder')]",
                                             _link("data", "folder")),
    "the time of a directory": ("import os; os.path.getmtime('folder')", _write("folder/x")),
    "a variable": ("import os; os.environ.get('SWITCH')", _env("SWITCH", "1")),
    "a variable by getenv": ("import os; os.getenv('SWITCH', '')", _env("SWITCH", "1")),
    "a variable that is there": ("import os; os.environ['KNOWN']", _env("KNOWN", None)),
    "a variable as bytes": ("import os; b'SWITCH' in os.environb", _env("SWITCH", "1")),
    "all variables": ("import os; dict(os.environ)", _env("SWITCH", "1")),
    "a variable by posix": ("import posix; posix.environ.get(b'SWITCH')", _env("SWITCH", "1")),
    "a variable that a C library asks for": ("import os, time; time.localtime(os.stat('data').st_mtime)", _env("TZ", "Asia/Tokyo")),
    "how a text is decoded": ("open('data').read()", _env("LC_ALL", "C")),
    "the time of an open directory": ("import os; fd = os.open('folder', os.O_RDONLY); os.fstat(fd); os.close(fd)", _write("folder/x")),
    "a directory that Python imports from": ("open('lib/site-packages/x').read()", _same_size("lib/site-packages/x")),
    "another mapping in place of the environment": ("import os; os.environ = dict(os.environ)", _env("SWITCH", "1")),
    "the number of variables": ("from os import environ; len(environ)", _env("SWITCH", "1")),
    "a module": ("import helper", _write("helper.py", "X = 2\n")),
    "a module of a package": ("import package.inner", _write("package/inner.py", "X = 2\n")),
    "a module that was not there": ("""
        try: import later
        except ImportError: pass
        """, _write("later.py", "")),
    "a module that will be hidden by another": ("import sys; sys.path.append('lib'); import spare", _write("spare.py", "X = 3\n")),
    "a module of Python's that will be hidden": ("import colorsys", _write("colorsys.py", "")),
    "another Merklfile": ("include('part')", _write("part/Merklfile.py", "Y = 2\n")),
    "parameters": ("params('data.yaml')", _write("data.yaml", "lr: 0.3\n")),
}  # fmt: skip


@pytest.fixture
def varied(asked: Asked) -> Asked:
    """A project with a file for everything in ``LOADS``."""
    for name, text in {
        "data": "data\n", "other": "x", "folder/f": "f\n", "folder/inner/g.c": "", "helper.py": "X = 1\n", "package/__init__.py": "",
        "lib/site-packages/x": "some\n",
        "package/inner.py": "X = 1\n", "lib/spare.py": "X = 1\n", "part/Merklfile.py": "Y = 1\n", "data.yaml": "lr: 0.1\n",
    }.items():  # fmt: skip
        asked.write(name, text)
    # As a module that Python imports as it starts.
    asked.write("../early/taken.py", "from os import stat\n")
    asked.write("../first/code.py", "sys.path.append(os.path.join(os.path.dirname(first), '../early'))\n"
                "import taken; sys.taken = taken; sys.path.pop()\n")  # fmt: skip
    (asked.path / "link").symlink_to("data")
    (asked.path / "folder/link").symlink_to("../data")
    (asked.path.parent / "bin").mkdir()
    asked.env |= {
        "KNOWN": "1",
        "PYTHONPATH": f"{asked.path / 'lib/site-packages'}",
        "PATH": f"{asked.path.parent / 'bin'}:{asked.env['PATH']}",
    }
    return asked


# The same in another way: left to the long sweeps.
TWINS = {
    "a path that was not there, by os.path", "stat taken from posix", "a line by linecache", "two files by filecmp", "names by os.walk",
    "a variable by getenv", "a file that is read as bytes by os.open", "settings by configparser", "a module of a package",
    "names by glob", "the number of variables", "a variable as bytes", "a link that is followed", "an output that may be executed",
    "all outputs gone", "a second Merklfile", "a database that is gone", "an input that may be executed",
    "an output that became a link", "an input that is gone", "settings",
}  # fmt: skip


def _some(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.full) if name in TWINS else name for name in names]


@pytest.mark.parametrize("what", _some(LOADS))
def test_a_change_of_what_a_merklfile_looked_at_is_seen(varied: Asked, what: str) -> None:
    code, change = LOADS[what]
    merklfile(varied, textwrap.dedent(code) + textwrap.dedent(IDLE))
    assert varied.settle(), varied.ask("build", "-v")

    change(varied)

    assert not varied.answered(code=None)


def test_a_change_of_what_nothing_looked_at_is_none(varied: Asked) -> None:
    merklfile(varied, PLAIN)
    assert varied.settle()
    varied.write("folder/notes.txt", "nobody looked here\n")
    varied.write("src/inner/d.txt", "the pattern does not reach here\n")
    varied.env["SWITCH"] = "1"
    assert not varied.answered(), "a directory in a listed one"
    assert varied.settle()
    varied.write("src/inner/e.txt", "")
    varied.write("folder/more.txt", "")
    varied.env["SWITCH"] = "2"
    assert varied.answered()


LISTS: dict[str, Change] = {
    "a parameter that is new": lambda asked: merklfile(asked, IDLE.replace("all()", "all(n=1)")),
    "a doc that another module has": lambda asked: asked.write("helper.py", "DOC = 'other'\n"),
    "a target for each file": _write("src/d.txt"),
    "a variable": _env("SWITCH", "1"),
    "nothing": lambda asked: None,
}


# Each change with one form of the list here, and with the other in the long sweeps.
_FORMS = [("list",), ("list", "--json")]
_ASKED = [
    pytest.param(
        what, words, marks=() if (number + form) % 2 else pytest.mark.full, id=f"{what}, {words[-1]}"
    )
    for number, what in enumerate(LISTS)
    for form, words in enumerate(_FORMS)
]


@pytest.mark.parametrize(("what", "words"), _ASKED)
def test_a_list_that_is_answered_is_the_one_that_the_merklfile_has(
    asked: Asked, what: str, words: tuple[str, ...]
) -> None:
    asked.write("helper.py", "DOC = 'one'\n")
    merklfile(
        asked,
        """
        import os, helper
        for source in files("src/*.txt"):
            def one(rate=0.1): pass
            one.__doc__ = helper.DOC + os.environ.get("SWITCH", "")
            target(name=source.stem)(one)
        """,
    )
    assert asked.settle(*words)

    LISTS[what](asked)

    said = asked.ask(*words)
    shutil.rmtree(asked.path / ".merkl/snapshots")
    found_out = asked.ask(*words)
    assert (said[0], found_out[0]) == (what == "nothing", False)
    assert said[1] == found_out[1]


def _forget(store: Path) -> None:
    (database,) = store.glob("*.db")
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM name")
    connection.close()


BUILDS: dict[str, Change] = {
    "an input": _write("src/a.txt", "A\n"),
    "an input of the same size and time": _same_size("src/a.txt"),
    "an input that is gone": lambda asked: (asked.path / "src/a.txt").unlink(),
    "a new input": _write("src/d.txt"),
    "an input that may be executed": lambda asked: (asked.path / "src/a.txt").chmod(0o755),
    "an input that became a link": _link("src/a.txt", "b.txt"),
    "an output that was edited": _write("out/a.out", "mine\n"),
    "an output that is gone": lambda asked: (asked.path / "out/a.out").unlink(),
    "an output that may be executed": lambda asked: (asked.path / "out/a.out").chmod(0o755),
    "an output that became a link": _link("out/a.out", "../src/a.txt"),
    "all outputs gone": lambda asked: shutil.rmtree(asked.path / "out"),
    "the Merklfile": lambda asked: merklfile(asked, PLAIN.replace("cat", "cat -n")),
    "a Merklfile that is gone": lambda asked: (asked.path / "Merklfile.py").unlink(),
    "a second Merklfile": _write("Merklfile.yaml", "targets: {}\n"),
    "settings": _write("merkl.yaml", "jobs: 1\n"),
    "what is ignored": _write(".merklignore", "b.txt\n"),
    "a setting in the environment": _env("MERKL_JOBS", "1"),
    "where the store is": _env("MERKL_STORE", "elsewhere"),
    "a store that is gone": lambda asked: shutil.rmtree(asked.path / ".merkl/store"),
    "a database that is gone": lambda asked: [p.unlink() for p in (asked.path / ".merkl/store").glob("*.db")],
    "results that were forgotten": lambda asked: _forget(asked.path / ".merkl/store"),
    "a sources directory that was renamed": lambda asked: (asked.path / "src").rename(asked.path / "was"),
}


@pytest.mark.parametrize("what", _some(BUILDS))
def test_a_change_of_what_a_build_looked_at_is_seen(asked: Asked, what: str) -> None:
    merklfile(asked, PLAIN)
    assert asked.settle()
    inode = (asked.path / ".merkl").stat().st_ino

    BUILDS[what](asked)

    assert (asked.path / ".merkl").stat().st_ino == inode
    code = 2 if what in ("a Merklfile that is gone", "a second Merklfile") else 0
    assert not asked.answered(code=code)


def test_another_request_is_another_question(asked: Asked) -> None:
    merklfile(asked, PLAIN)
    assert asked.settle()
    assert not asked.answered("build", "all")
    assert not asked.answered("build", "-j3")
    assert not asked.answered("build", cwd="src")
    assert not asked.answered("build", flags=("-O",))
    assert not asked.answered("-C", "src", "build")
    assert (
        asked.settle("-C", "src", "build") and asked.settle(cwd="src") and asked.settle("build", "all", "-j3")
    )
    assert asked.settle("build", "out/a.out")
    assert asked.answered()


@pytest.mark.parametrize("flag", ["-B", "--json", "-v", "-n", "--rehash"])
def test_some_requests_are_never_answered(asked: Asked, flag: str) -> None:
    merklfile(asked, PLAIN)
    assert asked.settle()
    assert not asked.answered("build", flag)
    assert not asked.answered("build", flag)


EFFECTS = {
    "prints": "print('hello')",
    "complains": "import sys; sys.stderr.write('hello\\n')",
    "starts a process": "import subprocess; subprocess.run(['true'])",
    "runs a command": "import os; os.system('true')",
    "opens a socket": "import socket; socket.socket().close()",
    "asks for a host's name": "import socket; socket.gethostname()",
    "opens a database": "import sqlite3; sqlite3.connect(':memory:').close()",
    "loads a library": "import ctypes; ctypes.CDLL(None)",
    "writes a file": "open('made', 'w').close()",
    "makes a directory": "import os; os.path.isdir('made') or os.mkdir('made'); os.rmdir('made')",
    "reads the machine's state": "open('/proc/loadavg').read()",
    "reads standard input": "import sys; sys.stdin.read()",
    "asks the user": "try: input()\nexcept EOFError: pass",
    "reads standard input by its path": "open('/dev/stdin').read()",
    "prints by a number": "import os; os.write(2, b'hello\\n')",
    "lets a thread use the network": """
import concurrent.futures, socket
with concurrent.futures.ThreadPoolExecutor() as threads: threads.submit(socket.gethostname).result()
""",
    "lets a library use the network": """
import sys; sys.path.append("lib/site-packages")
import client
client.ask()
""",
}


@pytest.mark.parametrize("what", EFFECTS)
def test_a_merklfile_that_does_more_than_look_is_run_each_time(asked: Asked, what: str) -> None:
    library = asked.write(
        "lib/site-packages/client.py", "import socket\ndef ask(): socket.gethostname()\n"
    ).parent
    asked.env["PYTHONPATH"] = str(library)
    merklfile(asked, EFFECTS[what] + "\n" + textwrap.dedent(IDLE))
    time.sleep(0.04)
    assert not asked.answered()
    assert not asked.answered()
    assert not (asked.path / ".merkl/snapshots").exists()
    if what == "starts a process":
        assert "no snapshot: code of the Merklfile started a process" in asked.ask("build", "-v")[1]


def test_a_setting_turns_snapshots_off(asked: Asked) -> None:
    merklfile(asked, PLAIN)
    asked.write("merkl.yaml", "snapshot: false\n")
    assert not asked.settle()
    assert not (asked.path / ".merkl/snapshots").exists()
    asked.write("merkl.yaml", "snapshot: true\n")
    assert asked.settle()


def test_what_must_run_each_time_is_never_answered(asked: Asked) -> None:
    merklfile(
        asked,
        "t = bash_task(\"date > {out_file_arg('out')}\", cache=False)\n@target(default=True)\ndef x(): t() > 'x'\n",
    )
    assert not asked.settle()


def test_a_damaged_or_foreign_snapshot_is_no_answer(asked: Asked) -> None:
    merklfile(asked, PLAIN)
    assert asked.settle()
    (path,) = (asked.path / ".merkl/snapshots").iterdir()
    good = path.read_bytes()
    for place in range(0, len(good), max(1, len(good) // 5)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert not asked.answered()
        path.write_bytes(good)
    for text in (b"", good[:7], good[: len(good) // 2], good + b"x"):
        path.write_bytes(text)
        assert not asked.answered()
        path.write_bytes(good)
    assert asked.answered()
    other = asked.path.parent / "q"
    shutil.copytree(asked.path, other, symlinks=True)
    copy = Asked(other)
    assert not copy.answered()


def test_after_a_day_a_build_is_found_out_anew(asked: Asked) -> None:
    merklfile(asked, PLAIN)
    assert asked.settle()
    first = asked.path.parent / "first/code.py"
    first.parent.mkdir()
    for seconds, answered in ((80_000, True), (90_000, False), (-1000, False)):
        first.write_text(
            "import time; now = time.time; time.time = lambda: now() + seconds".replace(
                "seconds", str(seconds)
            )
        )
        assert asked.answered() == answered
        first.unlink()
        assert asked.settle()


@pytest.mark.needs("gcc")
def test_a_header_that_was_discovered_is_looked_at(asked: Asked) -> None:
    merklfile(
        asked,
        """
        cc = bash_task("gcc -MMD -MF {depfile_arg()} -Iearly -Ilate -c {file_arg('source', '.c')} -o {out_file_arg('out', '.o')}",
                       tools=["gcc"])
        @target(default=True)
        def all(): cc("main.c") > "main.o"
        """,
    )
    asked.write("main.c", '#include "x.h"\nint main(void) { return X; }\n')
    asked.write("late/x.h", "#define X 1\n")
    (asked.path / "early").mkdir()
    assert asked.settle(), asked.ask("build", "-v")
    asked.write("late/x.h", "#define X 2\n")
    assert not asked.answered()
    assert asked.settle()
    asked.write("early/x.h", "#define X 3\n")
    assert not asked.answered()


def test_a_tool_is_looked_at_and_one_that_is_found_before_it(asked: Asked) -> None:
    (asked.path.parent / "bin").mkdir()
    asked.env["PATH"] = f"{asked.path.parent / 'bin'}:{asked.env['PATH']}"
    merklfile(asked, PLAIN.replace("'.out')}\")", "'.out')}\", tools=['cat', 'cat --version'])"))
    assert asked.settle(), asked.ask("build", "-v")
    shutil.copy("/bin/true", asked.path.parent / "bin/cat")
    assert not asked.answered()


def test_the_version_of_a_script_comes_from_anything(asked: Asked) -> None:
    tool = asked.write("bin/tool", "#!/bin/sh\ncat version\n")
    tool.chmod(0o755)
    asked.write("version", "1\n")
    asked.env["PATH"] = f"{asked.path / 'bin'}:{asked.env['PATH']}"
    merklfile(asked, PLAIN.replace("'.out')}\")", "'.out')}\", tools=['tool --version'])"))
    assert not asked.settle()


def test_sidecars_are_looked_at(asked: Asked) -> None:
    merklfile(asked, PLAIN.replace(") > f", ") >> f"))
    assert asked.settle(), asked.ask("build", "-v")
    (asked.path / "out/a.out.merkl").unlink()
    assert not asked.answered()


@pytest.mark.parametrize(("op", "gone"), [(">", "out/a.out"), (">", "out"), (">>", "out/a.out.merkl")])
def test_what_was_placed_again_is_placed_again_the_next_time_too(asked: Asked, op: str, gone: str) -> None:
    merklfile(asked, PLAIN.replace(") > f", f") {op} f"))
    assert asked.settle()
    path = asked.path / gone
    for _ in range(3):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        time.sleep(0.04)  # So that what it sees, and what is no longer there, is old enough.
        assert not asked.answered()
        assert path.exists()


@pytest.mark.needs("script")
def test_on_a_terminal_the_same_line_is_shown(asked: Asked) -> None:
    merklfile(asked, PLAIN)
    asked.ask()
    asked.env["TERM"] = "xterm"
    told = []
    for _ in range(5):
        time.sleep(0.04)
        done = subprocess.run(
            ["script", "-qec", f"{sys.executable} {asked.script} build", "/dev/null"],
            cwd=asked.path, env=asked.env, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        told.append(done.stdout)
    assert "answered" in told[-1] and "found out" in told[0]
    assert all("3 tasks: 3 cached in 0." in each for each in told)


def test_a_project_inside_its_store_is_looked_at_like_any_other(asked: Asked) -> None:
    asked.env["MERKL_STORE"] = str(asked.path.parent)
    merklfile(asked, PLAIN)
    assert asked.settle(), asked.ask("build", "-v")
    asked.write("src/a.txt", "A\n")
    assert not asked.answered()


def test_another_way_to_start_python_is_another_question(asked: Asked) -> None:
    merklfile(asked, PLAIN)
    assert asked.settle()
    assert not asked.answered(flags=("-W", "error"))
    assert not asked.answered(flags=("-X", "mine"))
    assert asked.answered()


def test_what_cannot_be_written_leaves_nothing_behind(asked: Asked) -> None:
    merklfile(asked, PLAIN)
    asked.ask()
    shutil.rmtree(asked.path / ".merkl/snapshots", ignore_errors=True)
    first = asked.path.parent / "first/code.py"
    first.parent.mkdir()
    first.write_text(
        "import errno, os; import merkl.snapshot.writing as writing\n"
        "def full(*_): raise OSError(errno.ENOSPC, 'full')\n"
        "writing.os = type(os)('os'); vars(writing.os).update(vars(os), replace=full)\n"
    )
    time.sleep(0.04)
    assert asked.ask()[1].startswith("3 tasks: 3 cached")
    assert not list((asked.path / ".merkl/snapshots").iterdir())


def test_an_interrupt_while_an_answer_is_looked_for_is_no_error(asked: Asked) -> None:
    merklfile(asked, PLAIN)
    assert asked.settle()
    first = asked.path.parent / "first/code.py"
    first.parent.mkdir()
    first.write_text(
        "import merkl.snapshot.answer as answer\n"
        "def interrupt(*_): raise KeyboardInterrupt\n"
        "answer._changed = interrupt\n"
    )
    done = subprocess.run(
        [sys.executable, str(asked.script), "build"], cwd=asked.path, env=asked.env, capture_output=True, text=True
    )  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()[0]) == (130, "interrupted")


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_functions_that_are_watched_can_be_held_and_sent_elsewhere(asked: Asked, jobs: str) -> None:
    merklfile(
        asked,
        """
        import os, pickle
        from functools import partial
        assert os.stat in os.supports_dir_fd and os.access in os.supports_effective_ids
        assert pickle.loads(pickle.dumps(os.lstat)) is os.lstat
        looks = {"stat": os.stat, "link": partial(os.lstat)}

        @task
        def size(path, look=os.stat):
            return looks["stat"](path).st_size + looks["link"](path).st_size + look(path).st_size

        @target(default=True)
        def x():
            size("src/a.txt") > "a.json"
            size("src/b.txt") > "b.json"
        """,
    )
    assert "2 ran" in asked.ask("build", jobs)[1]
    assert (asked.path / "a.json").read_text() == "6\n"
    done = subprocess.run(
        [sys.executable, "-c", "from merkl.cli.main import run; run(['build'])"],
        cwd=asked.path, env=asked.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "2 cached" in done.stdout


def test_the_keys_of_python_tasks_do_not_depend_on_whether_a_build_is_recorded(asked: Asked) -> None:
    merklfile(
        asked,
        """
        import os
        from os import environ, stat
        look = os.lstat

        @task
        def size(path):
            return stat(path).st_size + look(path).st_size + len(environ.get("NO_SUCH", "")) + os.stat(path).st_size

        @target(default=True)
        def x():
            size("src/a.txt") > "size.json"
        """,
    )
    assert asked.settle(), asked.ask("build", "-v")
    done = subprocess.run(
        [sys.executable, "-c", "from merkl.cli.main import run; run(['build'])"],
        cwd=asked.path, env=asked.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "1 cached" in done.stdout, "a process that records nothing finds the same key"


def test_what_a_killed_build_left_is_removed_though_there_is_nothing_to_do(asked: Asked) -> None:
    merklfile(asked, PLAIN)
    assert asked.settle()
    state = asked.path / ".merkl"
    (state / "builds/0badcafe").touch()
    for folder in ("stage", "run"):
        (state / folder / "0badcafe-000001").mkdir()

    assert not asked.answered()

    assert [list((state / folder).iterdir()) for folder in ("builds", "stage", "run")] == [[], [], []]
    assert asked.settle()
