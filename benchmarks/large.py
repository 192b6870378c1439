"""A task with very many inputs: what merkl needs to run it, and to see that there is nothing to do."""

import os
import subprocess
import tempfile

from benchmarks.turns import MERKL, Contender, report, run_in_turns

MANY_INPUTS = """\
from merkl import bash_task, files, target

count = bash_task("printf '%s\\\\n' {files_arg('inputs', '.txt')} | wc -l > {out_file_arg('out', '.txt')}")


@target(default=True)
def all():
    count(files("src/*/*.txt")) > "count.txt"
"""


def inputs(scale: float, rounds: int) -> str:
    """One task with 200,000 inputs: again with nothing to do, and run again."""
    count = round(200_000 * scale)
    with tempfile.TemporaryDirectory() as top:
        place = _project(top, "many", count, MANY_INPUTS)
        _run([MERKL, "build", "-q"], place)
        contenders = [
            Contender("nothing to do", [MERKL, "build"], place),
            Contender("run again, inputs known", [MERKL, "build", "--force"], place),
        ]
        run_in_turns(contenders, rounds)
        return report(f"One task with {count:,} inputs", contenders, "nothing to do")


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
