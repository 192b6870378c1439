"""Many tiny Python tasks with two workers, against joblib's loky: alone, and with the results kept as merkl keeps them.

loky sends functions to processes, and forgets; merkl also keys each call, stores what it returned and places it nowhere, as
no target asks for files here.  joblib's own ``Memory`` is there for comparison, since it keeps results too.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable

from benchmarks.peers import installed
from benchmarks.turns import Contender, report, run_in_turns

MERKL = os.path.join(os.path.dirname(sys.executable), "merkl")

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


def tinypython(count: int = 1000) -> str:
    """So many tiny Python tasks from clean with two workers, in turns with loky."""
    with tempfile.TemporaryDirectory() as top:
        python = os.path.join(installed("joblib", top), "python")
        scripts = {
            "joblib, loky": ("run.py", LOKY, [python, "run.py"]),
            "joblib, loky and Memory": ("run.py", KEPT, [python, "run.py"]),
            "merkl": ("Merklfile.py", MERKLFILE, [MERKL, "build", "-j2", "-q"]),
        }
        contenders = []
        for number, (title, (name, text, command)) in enumerate(scripts.items()):
            place = os.path.join(top, str(number))
            os.makedirs(place)
            with open(os.path.join(place, name), "w", encoding="utf-8") as file:
                file.write(text.replace("COUNT", str(count)))
            contenders.append(Contender(title, command, place, _cleaner(place)))
        run_in_turns(contenders)
        return report(f"{count} tiny Python tasks from clean, two workers", contenders, "joblib, loky")


def _cleaner(directory: str) -> Callable[[], None]:
    def clean() -> None:
        for name in ("kept", ".merkl"):
            shutil.rmtree(os.path.join(directory, name), ignore_errors=True)

    return clean
