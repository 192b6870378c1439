"""A build that ran something leaves what the next one needs to look only at what changed since."""

import json
import marshal
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from test_snapshots import Asked, merklfile

from merkl.snapshot.answer import checksum, full_stamp, processors
from merkl.snapshot.layout import with_stamps

WHOLE = """
    import helper

    copy = bash_task("cat {file_arg('text', '.txt')} > {out_file_arg('out', '.out')}")
    found = bash_task('''
        cat {file_arg('text', '.txt')} heads/h > {out_file_arg('out', '.txt')}
        echo "x: heads/h" >> {depfile_arg()}
        ''')
    spread = bash_task("cp {file_arg('text', '.txt')} {out_dir_arg('out')}/copy")
    count = bash_task("wc -c < {file_arg('text', '.txt')}", stdout=str)

    @target(default=True)
    def all():
        for source in files("src/*.txt"):
            copy(source) > f"out/{source.stem}.out"
        found("src/a.txt") > "out/found.txt"
        copy(found("src/b.txt")) >> "out/after.out"
        spread("src/a.txt") > "out/spread"
        count("src/a.txt") > "out/count.txt"
"""


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """Commands of all kinds, never built."""
    (tmp_path / "p").mkdir()
    asked = Asked(tmp_path / "p")
    merklfile(asked, WHOLE)
    asked.write("helper.py", "")
    for name in ("src/a.txt", "src/b.txt", "src/c.txt", "heads/h"):
        asked.write(name, f"{name}\n")
    time.sleep(0.05)
    return asked


def files_of(asked: Asked) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (asked.path / "out").rglob("*") if path.is_file()}


def settled_by(asked: Asked, *words: str) -> tuple[str, str]:
    """How a build was made, and what it said, after which one that has nothing to go by finds nothing to do."""
    how, said = asked.told("build", *words, code=None)
    left = files_of(asked)
    slow = asked.told("build", "-v", *words, code=None)[1]  # Which is another request.
    assert not re.search(r" ran in| ran,|  placed|  saved", slow), (how, said, slow)
    counted = said.splitlines()[-1].split()[0] if said else ""
    assert not counted or f"\n{counted} tasks: " in slow, (said, slow)
    assert files_of(asked) == left
    return how, said


def test_each_edit_after_a_whole_build_is_a_small_build(asked: Asked) -> None:
    assert " 8 ran" in asked.told("build")[1]
    for name, runs in [("src/c.txt", 1), ("heads/h", 3), ("src/a.txt", 4)]:
        asked.write(name, f"edited {name}\n")
        asked.write(f"{name[-1]}.log", "Nobody asks for this name.\n")
        asked.write("src/.a.txt.swp", name)
        how, said = asked.told("build")
        assert (how, f" {runs} ran" in said) == ("in part", True), said
    assert settled_by(asked)[0] == "in part"


def test_an_edit_after_a_build_that_has_looked_for_many_inputs_is_a_small_build(asked: Asked) -> None:
    """For more of them than a few the index is asked how large it is, which is none of what decides."""
    for number in range(20):
        asked.write(f"src/{number}.txt", f"{number}\n")
    asked.told("build")
    asked.write("src/c.txt", "edited\n")
    assert asked.told("build", "-j3")[0] == "found out"  # It is another request.
    asked.write("src/c.txt", "edited again\n")
    assert asked.told("build", "-j3")[0] == "in part"


def test_what_a_whole_build_left_is_looked_at_once_and_then_answered(asked: Asked) -> None:
    asked.told("build")
    time.sleep(0.1)
    assert asked.told("build")[0] == "in part"
    assert asked.answered("build")
    shutil.rmtree(asked.path / "out")
    assert asked.told("build", "-j3")[0] == "found out"  # It puts all in place again, and leaves as much.
    asked.write("src/c.txt", "edited\n")
    assert asked.told("build", "-j3")[0] == "in part" and (asked.path / "out/found.txt").exists()


def test_what_failed_in_a_whole_build_is_tried_again_by_a_small_one(asked: Asked) -> None:
    asked.write("heads/h", "")
    merklfile(
        asked,
        WHOLE.replace(
            "cat {file_arg('text', '.txt')} heads/h", "test -s heads/h; cat {file_arg('text', '.txt')}"
        ),
    )
    assert "2 failed" in asked.told("build", "-k", code=1)[1]
    how, said = asked.told("build", "-k", code=1)
    assert (how, "2 failed" in said) == ("in part", True)
    asked.write("src/c.txt", "edited\n")
    asked.write("heads/h", "now it does\n")
    assert settled_by(asked, "-k")[0] == "in part"


ALONE = {
    "a command that runs each time": """
        one = bash_task("cat {file_arg('text')}", stdout=str, cache=False)

        @target(default=True)
        def all(): one("src/a.txt") > "out/one.txt"
    """,
}


# What it passes on may be changed by a function that runs in the same process.
CHANGES = """
    import helper

    @task
    def first(path):
        helper.LIMITS["most"] += 10
        helper.sys.path.append("nowhere")
        return open(path).read()

    @task
    def second(path, limits): return [open(path).read(), limits["most"], helper.LIMITS["most"], "nowhere" in helper.sys.path]

    @target(default=True)
    def all():
        second(file("src/b.txt"), helper.LIMITS) > "out/second.json"
        first(file("src/a.txt")) > "out/first.txt"
"""


def test_what_functions_of_the_same_process_change_is_not_left(asked: Asked) -> None:
    merklfile(asked, CHANGES)
    asked.write("helper.py", "import sys\nLIMITS = {'most': 1}\n")
    time.sleep(0.05)
    asked.told("build", "-j1", "out/second.json")
    assert (
        "1 cached, 1 ran" in asked.told("build", "-j1")[1]
    )  # So the first has run before the second is written down.

    asked.write("src/b.txt", "edited\n")
    assert settled_by(asked, "-j1")[0] == "in part"
    assert json.loads((asked.path / "out/second.json").read_text()) == ["edited\n", 1, 1, False]
    assert asked.settle("build", "-j1")


@pytest.mark.parametrize("what", ALONE)
def test_nothing_is_left_after(asked: Asked, what: str) -> None:
    merklfile(asked, ALONE[what])
    asked.told("build", "-j1")
    assert not (asked.path / ".merkl/snapshots").exists()


def _replace_in_tick(asked: Asked) -> None:
    """As if somebody had written to an output so soon after it was placed that its stamp is the same."""
    (asked.path / "out/c.out").write_text("SRC/C.TXT\n")
    (path,) = (asked.path / ".merkl/snapshots").iterdir()
    kept = list(marshal.loads(path.read_bytes()[8:]))
    kept[6] = with_stamps(kept[6], {"out/c.out": full_stamp((asked.path / "out/c.out").stat())})
    data = marshal.dumps(tuple(kept), 4)
    path.write_bytes(checksum(data) + data)


def _write(name: str, text: str = "other\n") -> Callable[[Asked], object]:
    return lambda asked: asked.write(name, text)


AFTER: dict[str, tuple[str, Callable[[Asked], object]]] = {
    "an output is edited": ("in part", _write("out/c.out")),
    "an output is edited in the tick in which it was placed": ("in part", _replace_in_tick),
    "an output is gone": ("in part", lambda asked: (asked.path / "out/found.txt").unlink()),
    "an output may be executed": ("in part", lambda asked: (asked.path / "out/found.txt").chmod(0o755)),
    "a file in an output is edited": ("in part", _write("out/spread/copy")),
    "a sidecar is gone": ("in part", lambda asked: (asked.path / "out/after.out.merkl").unlink()),
    "what a task found is edited": ("in part", _write("heads/h")),
    "a pattern has a new match": ("found out", _write("src/d.txt")),
    "a pattern has a match less": ("found out", lambda asked: (asked.path / "src/c.txt").unlink()),
    "there are rules for patterns": ("found out", _write("src/.gitignore", "c.txt\n")),
    "a module is edited": ("found out", _write("helper.py", "raise ValueError")),
    "a directory goes before a module": ("found out", _write("helper/__init__.py", "raise ValueError")),
    "the Merklfile is edited": ("found out", lambda asked: merklfile(asked, WHOLE.replace('stem}.out"', 'stem}.new"'))),
}  # fmt: skip


OFTEN = (
    "an output is edited in the tick in which it was placed", "what a task found is edited", "a pattern has a new match",
    "a directory goes before a module", "an input of a task that has run", "an output in its place", "the matches of a pattern",
)  # fmt: skip


def some(cases: Iterable[str]) -> list[Any]:
    """The cases; most of them only with all others."""
    return [case if case in OFTEN else pytest.param(case, marks=pytest.mark.full) for case in cases]


@pytest.mark.parametrize("what", some(AFTER))
def test_after_a_whole_build_it_is_noticed_that(asked: Asked, what: str) -> None:
    asked.told("build")
    how, change = AFTER[what]
    change(asked)
    assert settled_by(asked)[0] == how


# What a task does to the project that builds it, in a shell, while it runs.
MEANWHILE: dict[str, str] = {
    "an input of a task that has run": "echo other > src/a.txt",
    "an input of a task that will run": "echo other > src/z.txt",
    "what a task has found": "echo other > heads/h",
    "an output in its place": "echo other > out/a.out",
    "an output, by another file": "echo other > out/new; mv out/new out/a.out",
    "the Merklfile": "sed -i s/source.stem/source.name/ Merklfile.py",
    "the matches of a pattern": "echo other > src/d.txt",
    "a module": "echo other = 1 > helper.py",
}


@pytest.mark.parametrize("what", some(MEANWHILE))
def test_a_change_during_a_whole_build_is_noticed_by_the_next(asked: Asked, what: str) -> None:
    asked.write("src/z.txt", "z\n")
    meddle = f"cd {asked.path}; if test ! -e done; then touch done; {MEANWHILE[what]}; fi; echo {{arg('n')}}"
    more = f"""
        bash_task({meddle!r}, name="meddle", stdout=str)(1) > "out/meddled"
        found("src/z.txt") > "out/z.txt"
"""
    merklfile(asked, WHOLE + more)
    time.sleep(0.05)
    asked.told("build", "-j1", "-k", code=None)
    assert (asked.path / "done").exists()
    asked.told("build", "-j1", "-k", code=None)
    settled_by(asked, "-j1", "-k")


def test_a_build_that_another_one_overtakes_leaves_nothing_stale(asked: Asked) -> None:
    wait = f"while test ! -e {asked.path}/go; do sleep 0.01; done; cat {{file_arg('text')}}"
    merklfile(
        asked, WHOLE + f'        bash_task({wait!r}, name="wait", stdout=str)("src/b.txt") > "out/waited"\n'
    )
    time.sleep(0.05)
    first = subprocess.Popen(
        [sys.executable, str(asked.script), "build", "-k"],
        cwd=asked.path,
        env=asked.env,
        stdout=subprocess.DEVNULL,
    )
    try:
        while first.poll() is None and not (asked.path / "out/c.out").exists():
            time.sleep(0.01)
        asked.write("src/c.txt", "overtaken\n")
        assert " 1 ran" in asked.told("build", "out/c.out")[1]
    finally:
        asked.write("go", "")
        first.wait()
    settled_by(asked, "-k")
    assert (asked.path / "out/c.out").read_text() == "overtaken\n"


def test_what_a_small_build_cannot_say_is_said_in_one_line(asked: Asked) -> None:
    merklfile(asked, 'bash_task("cat {file_arg(\'f\')}", stdout=str)("src/a.txt") > "out/a"\n')
    assert asked.settle("build", "out/a")

    for text, unbuffered in [("one", ""), ("one", ""), ("two", "1"), ("two", "1")]:
        asked.write("src/a.txt", text)  # Every second time it has the bytes that it had.
        done = subprocess.run(
            ["bash", "-c", '"$@" >/dev/full', "-", sys.executable, asked.script, "build", "out/a"],
            cwd=asked.path, env={**asked.env, "PYTHONUNBUFFERED": unbuffered}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stderr == "cannot write the output: No space left on device\nin part\n"
        assert done.returncode == 1
        assert (asked.path / "out/a").read_text() == text


@pytest.mark.skipif(processors() < 2, reason="there is but one processor")
def test_with_other_processors_the_number_of_slots_is_found_out_anew(asked: Asked) -> None:
    merklfile(asked, 'bash_task("cat {file_arg(\'f\')}", stdout=str)("src/a.txt") > "out/a"\n')
    assert asked.settle("build", "out/a")

    asked.write("src/a.txt", "with all of them\n")
    assert asked.told("build", "out/a")[0] == "in part"
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        for text, how in [("with one of them\n", "found out"), ("with one again\n", "in part")]:
            asked.write("src/a.txt", text)
            assert asked.told("build", "out/a")[0] == how
            assert (asked.path / "out/a").read_text() == text
    finally:
        os.sched_setaffinity(0, allowed)
