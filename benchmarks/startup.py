"""What it takes to start: merkl on a small project, and each peer to say its version, against the bare interpreter."""

import os
import sys
from collections.abc import Callable

from benchmarks.results import Result
from benchmarks.setting import Setting
from benchmarks.turns import MERKL, Contender, Failed, run_in_turns

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


def startup(setting: Setting) -> list[Result]:
    """Three times as many rounds as elsewhere, as they are short."""
    place = os.path.join(setting.top, "startup")
    os.makedirs(place)
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
            contenders.append(Contender(f"{name} --version", [program, "--version"], place, hurried=True))
    title = "Start-up"
    setting.say(title)
    run_in_turns(contenders, 3 * setting.rounds)
    return [Result("startup", title, [contender.row() for contender in contenders], "python -c pass")]


def _says(*words: str) -> Callable[[str], None]:
    def check(printed: str) -> None:
        missing = [word for word in words if word not in printed]
        if missing:
            raise Failed(f"merkl did not say {', '.join(missing)}:\n{printed}")

    return check
