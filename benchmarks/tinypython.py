"""Many tiny Python tasks with two workers, against joblib's loky: alone, and with the results kept as merkl keeps them.

loky sends functions to processes, and forgets; merkl also keys each call, stores what it returned and places it nowhere, as
no target asks for files here.  joblib's own ``Memory`` is there for comparison, since it keeps results too.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator

from benchmarks.results import Result
from benchmarks.setting import Setting
from benchmarks.steps import Step
from benchmarks.turns import MERKL, Contender, Failed

MERKLFILE = """\
from merkl import target, task


@task
def square(n):
    return n * n


@task
def total(squares):
    return sum(squares)


@target(default=True)
def all():
    total([square(n) for n in range(COUNT)]) > "total.json"
"""

LOKY = """\
import json
from joblib import Parallel, delayed


def square(n):
    return n * n


if __name__ == "__main__":
    squares = Parallel(n_jobs=2, backend="loky")(delayed(square)(n) for n in range(COUNT))
    with open("total.json", "w") as file:
        json.dump(sum(squares), file)
"""

KEPT = """\
import json
from joblib import Memory, Parallel, delayed

memory = Memory("kept", verbose=0)


@memory.cache
def square(n):
    return n * n


if __name__ == "__main__":
    squares = Parallel(n_jobs=2, backend="loky")(delayed(square)(n) for n in range(COUNT))
    with open("total.json", "w") as file:
        json.dump(sum(squares), file)
"""


def tinypython(setting: Setting) -> Iterator[Step]:
    """So many tiny Python tasks from clean with two workers, in turns with loky."""
    if "joblib" in setting.pythons:
        count = setting.most(1000)
        title = f"{count:,} tiny Python tasks from clean, two workers"
        key = f"tinypython-{count}"
        tools = frozenset({"merkl", "joblib"})
        seconds = 2.5 * setting.rounds
        yield Step(title, (key,), tools, seconds, lambda: [_measured(setting, key, title, count)])


def _measured(setting: Setting, key: str, title: str, count: int) -> Result:
    python = setting.pythons["joblib"]
    scripts = {
        "joblib, loky": ("run.py", LOKY, [python, "run.py"]),
        "joblib, loky and Memory": ("run.py", KEPT, [python, "run.py"]),
        "merkl": ("Merklfile.py", MERKLFILE, [MERKL, "build", "-j2", "-q"]),
    }
    contenders = []
    for number, (name, (file, text, command)) in enumerate(scripts.items()):
        place = os.path.join(setting.top, f"tinypython-{number}")
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, file), "w", encoding="utf-8") as out:
            out.write(text.replace("COUNT", str(count)))
        contenders.append(Contender(name, command, place, _cleaner(place), _checker(place, count)))
    return setting.measured(key, title, contenders, "joblib, loky")


def _cleaner(directory: str) -> Callable[[], None]:
    def clean() -> None:
        for name in ("kept", ".merkl"):
            shutil.rmtree(os.path.join(directory, name), ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, "total.json"))

    return clean


def _checker(directory: str, count: int) -> Callable[[str], None]:
    def check(printed: str) -> None:
        with open(os.path.join(directory, "total.json"), encoding="ascii") as file:
            if json.load(file) != sum(n * n for n in range(count)):
                raise Failed(f"a wrong total in {directory}:\n{printed}")

    return check
