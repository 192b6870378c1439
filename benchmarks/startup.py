"""What it takes to start: merkl on a small project, and each peer to say its version, against the bare interpreter."""

import os
import sys
from collections.abc import Callable, Iterator

from benchmarks.results import Result
from benchmarks.setting import Setting
from benchmarks.steps import Step
from benchmarks.turns import MERKL, Contender, Failed

MERKLFILE = """\
from merkl import bash_task, target

greet = bash_task("echo {arg('name')} > {out_file_arg('out', '.txt')}")


@target(default=True)
def hello():
    for name in ("Ann", "Bob"):
        greet(name) > f"out/{name}.txt"


@target
def bye():
    greet("bye") > "out/bye.txt"
"""


def startup(setting: Setting) -> Iterator[Step]:
    """Three times as many rounds as elsewhere, as they are short."""
    tools = frozenset(setting.programs) - {"floor"}
    yield Step("start-up", ("startup",), tools, 9.0 * setting.rounds, lambda: [_measured(setting)])


def _measured(setting: Setting) -> Result:
    place = os.path.join(setting.top, "startup")
    os.makedirs(place, exist_ok=True)
    with open(os.path.join(place, "Merklfile.py"), "w", encoding="utf-8") as file:
        file.write(MERKLFILE)
    contenders = [
        Contender("python -c pass", [sys.executable, "-c", "pass"], place),
        Contender("merkl --version", [MERKL, "--version"], place, check=_says("merkl")),
        Contender("merkl list", [MERKL, "list"], place, check=_says("hello", "bye")),
        Contender("merkl --help", [MERKL, "--help"], place, check=_says("build")),
    ]
    for name, program in setting.programs.items():
        if name not in ("merkl", "floor"):
            command = [program, "--version"]
            contenders.append(Contender(f"{name} --version", command, place, hurried=True, optional=True))
    return setting.measured("startup", "Start-up", contenders, "python -c pass", times=3)


def _says(*words: str) -> Callable[[str], None]:
    def check(printed: str) -> None:
        missing = [word for word in words if word not in printed]
        if missing:
            raise Failed(f"merkl did not say {', '.join(missing)}:\n{printed}")

    return check
