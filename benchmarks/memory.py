"""How much memory the coordinator needs at its peak for a large graph: planned, run from clean, and with nothing to do.

It is that of the largest process, which is merkl's own: its workers and commands are small.
"""

import os
import shutil
from collections.abc import Callable, Iterator

from benchmarks.results import Result, Row
from benchmarks.setting import Setting
from benchmarks.steps import Step
from benchmarks.turns import MERKL, Contender, Failed

MERKLFILE = """\
from merkl import bash_task, target, task

echo = bash_task("echo {arg('n')} > {out_file_arg('out', '.txt')}")


@task
def square(n):
    return n * n


@target
def commands():
    for n in range(COUNT):
        echo(n) > f"echo/{n % 100}/{n}.txt"


@target
def calls():
    for n in range(COUNT):
        square(n) > f"square/{n % 100}/{n}.json"
"""

BUILDS = {
    "merkl, commands planned": ("build", "-n", "-q", "commands"),
    "merkl, calls run by two workers": ("build", "-j2", "-q", "calls"),
    "merkl, calls, nothing to do": ("build", "-j2", "-q", "calls"),
}


def memory(setting: Setting) -> Iterator[Step]:
    """So many nodes, each with an output that is placed."""
    count = max(setting.sizes)
    key = f"coordinator-{count}"
    seconds = count * 1.5e-3
    title = f"Peak memory, {count:,} tasks without inputs"
    yield Step(title, (key,), frozenset({"merkl"}), seconds, lambda: [_measured(setting, key, title, count)])


def _measured(setting: Setting, key: str, title: str, count: int) -> Result:
    setting.say(f"  {title}")
    place = os.path.join(setting.top, "memory")
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    with open(os.path.join(place, "Merklfile.py"), "w", encoding="utf-8") as file:
        file.write(MERKLFILE.replace("COUNT", str(count)))
    rows = []
    for name, words in BUILDS.items():
        check = _done(place, count if words[-1] == "calls" else 0)
        contender = Contender(name, [MERKL, *words], place, check=check)
        contender.once()
        rows.append(Row(name, [contender.peak_kb / 1024]))
    return Result(key, title, rows, unit="MB")


def _done(place: str, count: int) -> Callable[[str], None]:
    def check(printed: str) -> None:
        made = sum(len(names) for _, _, names in os.walk(os.path.join(place, "square")))
        if made != count:
            raise Failed(f"{made} results are there of {count}:\n{printed}")

    return check
