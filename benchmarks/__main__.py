"""``python -m benchmarks [startup|tiny|nothing|growth|inputs|track|watch|tinypython|memory|calls|graph|remote|remote-full] …``: measure, and print tables.  Nothing here asserts a time.

Without names it runs all but ``remote-full``.  Run it with the interpreter of an environment that merkl is installed in.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable

from benchmarks import large
from benchmarks.calls import calls, graph
from benchmarks.memory import memory
from benchmarks.remote import remote, remote_full
from benchmarks.tinypython import tinypython
from benchmarks.track import track
from benchmarks.turns import Contender, limits, report, run_in_turns
from benchmarks.watch import watch

HERE = os.path.dirname(os.path.abspath(__file__))
MERKL = os.path.join(os.path.dirname(sys.executable), "merkl")


def startup() -> str:
    """``merkl --version`` and ``merkl list`` on the example, against the bare interpreter."""
    example = os.path.join(os.path.dirname(HERE), "examples")
    contenders = [
        Contender("python -c pass", [sys.executable, "-c", "pass"], example),
        Contender("merkl --version", [MERKL, "--version"], example),
        Contender("merkl list", [MERKL, "list"], example),
        Contender("merkl --help", [MERKL, "--help"], example),
    ]
    run_in_turns(contenders, rounds=21)
    return report("Start-up", contenders, "python -c pass")


MERKLFILE = """\
from merkl import bash_task, target

touch = bash_task("echo {arg('n')} > {out_file_arg('out', '.txt')}")

@target(default=True)
def all():
    for n in range(COUNT):
        touch(n) > f"out/{n}.txt"
"""

FLOOR = """\
# What each task costs without merkl: a script file, a staging directory, a TMPDIR, a log, bash, a rename.
import os, shutil, sys
devnull = os.open("/dev/null", os.O_RDONLY)
bash = shutil.which("bash")
os.makedirs("out", exist_ok=True)
alive = {}
def reap():
    pid, status = os.wait()
    n = alive.pop(pid)
    os.rename(f"stage/{n}/{n}.txt", f"out/{n}.txt")
    for name in ("script", "log"):
        os.unlink(f"run/{n}/{name}")
    os.rmdir(f"run/{n}/tmp"); os.rmdir(f"run/{n}"); os.rmdir(f"stage/{n}")
for n in range(COUNT):
    os.makedirs(f"stage/{n}"); os.makedirs(f"run/{n}/tmp")
    with open(f"run/{n}/script", "w") as file:
        file.write(f"set -euo pipefail\\nshopt -s inherit_errexit\\numask 022\\necho {n} > stage/{n}/{n}.txt\\n")
    log = os.open(f"run/{n}/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    if len(alive) == 2:
        reap()
    env = {"PATH": os.environ["PATH"], "TMPDIR": f"run/{n}/tmp", "LC_ALL": "C.UTF-8"}
    pid = os.posix_spawn(bash, [bash, "--noprofile", "--norc", f"run/{n}/script"], env, setsid=True, file_actions=[
        (os.POSIX_SPAWN_DUP2, devnull, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)])
    alive[pid] = n
    os.close(log)
while alive:
    reap()
"""


def tiny(count: int = 1000) -> str:
    """So many tiny bash tasks from clean with two at a time, against ninja with bash and against the floor."""
    if shutil.which("ninja") is None:
        return "### Tiny tasks\n\nninja is not installed: apt-get install ninja-build\n"
    with tempfile.TemporaryDirectory() as top:
        places = {name: os.path.join(top, name) for name in ("merkl", "ninja", "floor")}
        for place in places.values():
            os.makedirs(place)
        _write(places["merkl"], "Merklfile.py", MERKLFILE.replace("COUNT", str(count)))
        rules = "rule touch\n  command = bash --noprofile --norc -c 'echo $n > $out'\n"
        edges = "".join(f"build out/{n}.txt: touch\n  n = {n}\n" for n in range(count))
        _write(places["ninja"], "build.ninja", rules + edges)
        _write(places["floor"], "floor.py", FLOOR.replace("COUNT", str(count)))
        contenders = [
            Contender("ninja, bash", ["ninja", "-j2"], places["ninja"], _cleaner(places["ninja"])),
            Contender("floor", [sys.executable, "floor.py"], places["floor"], _cleaner(places["floor"])),
            Contender("merkl", [MERKL, "build", "-j2", "-q"], places["merkl"], _cleaner(places["merkl"])),
        ]
        run_in_turns(contenders)
        return report(f"{count} tiny tasks from clean, two at a time", contenders, "ninja, bash")


def _write(directory: str, name: str, text: str) -> None:
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        file.write(text)


def _cleaner(directory: str) -> Callable[[], None]:
    def clean() -> None:
        for name in ("out", ".merkl", ".ninja_log", ".ninja_deps", "stage", "run"):
            path = os.path.join(directory, name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.exists(path):
                os.unlink(path)

    return clean


SCENARIOS: dict[str, Callable[[], str]] = {
    "startup": startup,
    "tiny": tiny,
    "nothing": large.nothing,
    "growth": large.growth,
    "inputs": large.inputs,
    "track": track,
    "tinypython": tinypython,
    "memory": memory,
    "calls": calls,
    "graph": graph,
    "watch": watch,
    "remote": remote,
    "remote-full": remote_full,
}


def main() -> None:
    """Run the scenarios named on the command line, or all."""
    limits()
    for name in sys.argv[1:] or (name for name in SCENARIOS if name != "remote-full"):
        print(SCENARIOS[name]())


if __name__ == "__main__":
    main()
