"""Large graphs that are up to date, and tasks with many inputs: what merkl needs to see that there is nothing to do.

A target is one command with two inputs and one output, in directories of a thousand, written as a user would: a loop over
the files that are there.  The same graph is given to doit, in the same words.
"""

import os
import subprocess
import sys
import tempfile

from benchmarks.peers import installed
from benchmarks.turns import Contender, report, run_in_turns

MERKL = os.path.join(os.path.dirname(sys.executable), "merkl")

MERKLFILE = """\
from pathlib import Path

from merkl import bash_task, files, target

join = bash_task("cat {file_arg('header')} {file_arg('source', '.txt')} > {out_file_arg('out', '.out')}")


@target(default=True)
def all():
    for source in files("src/*/*.txt"):
        path = Path(source)
        join("header", source) > f"out/{path.parent.name}/{path.stem}.out"
"""

DODO = """\
from pathlib import Path


def task_join():
    for path in sorted(Path("src").glob("*/*.txt")):
        out = f"out/{path.parent.name}/{path.stem}.out"
        yield {
            "name": out,
            "actions": [f"mkdir -p out/{path.parent.name}; cat header {path} > {out}"],
            "file_dep": ["header", str(path)],
            "targets": [out],
        }
"""

MANY_INPUTS = """\
from merkl import bash_task, files, target

count = bash_task("printf '%s\\\\n' {files_arg('inputs', '.txt')} | wc -l > {out_file_arg('out', '.txt')}")


@target(default=True)
def all():
    count(files("src/*/*.txt")) > "count.txt"
"""


def nothing(count: int = 10_000) -> str:
    """So many tasks, all of them cached and in place, in turns with doit."""
    with tempfile.TemporaryDirectory() as top:
        merkl, doit = _project(top, "merkl", count, MERKLFILE), _project(top, "doit", count, DODO, "dodo.py")
        program = os.path.join(installed("doit", top), "doit")
        _run([MERKL, "build", "-j2", "-q"], merkl)
        _run([program, "-n2"], doit)
        _run([MERKL, "build", "-q"], merkl)  # By now the stamps of all outputs are settled.
        contenders = [Contender("doit", [program], doit), Contender("merkl", [MERKL, "build"], merkl)]
        run_in_turns(contenders, rounds=9)
        return report(f"Nothing to do, {count} tasks", contenders, "doit")


def growth(sizes: tuple[int, ...] = (1000, 3000, 10_000)) -> str:
    """What nothing to do costs merkl as the graph grows."""
    with tempfile.TemporaryDirectory() as top:
        contenders = []
        for size in sizes:
            place = _project(top, str(size), size, MERKLFILE)
            _run([MERKL, "build", "-j2", "-q"], place)
            _run([MERKL, "build", "-q"], place)
            contenders.append(Contender(f"{size} tasks", [MERKL, "build"], place))
        run_in_turns(contenders)
        return report("Nothing to do, growing", contenders, contenders[0].name)


def inputs(count: int = 200_000) -> str:
    """One task with so many inputs: from clean, and again."""
    with tempfile.TemporaryDirectory() as top:
        place = _project(top, "many", count, MANY_INPUTS)
        _run([MERKL, "build", "-q"], place)
        contenders = [
            Contender("nothing to do", [MERKL, "build"], place),
            Contender("run again, inputs known", [MERKL, "build", "--force"], place),
        ]
        run_in_turns(contenders, rounds=3)
        return report(f"One task with {count} inputs", contenders, "nothing to do")


def _project(top: str, name: str, count: int, text: str, file: str = "Merklfile.py") -> str:
    """A directory with ``count`` sources; its path."""
    place = os.path.join(top, name)
    for n in range(count):
        folder = os.path.join(place, "src", f"{n // 1000:03d}")
        if n % 1000 == 0:
            os.makedirs(folder)
        with open(os.path.join(folder, f"{n:06d}.txt"), "w", encoding="ascii") as source:
            source.write(f"text {n}\n")
    for path, content in (("header", "header\n"), (file, text)):
        with open(os.path.join(place, path), "w", encoding="utf-8") as written:
            written.write(content)
    return place


def _run(command: list[str], place: str) -> None:
    subprocess.run(command, cwd=place, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
