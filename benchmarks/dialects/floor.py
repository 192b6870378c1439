"""What tiny tasks cost without merkl: a program that makes and removes for each what merkl does, and keeps nothing."""

from collections.abc import Mapping

from benchmarks.dialects.dialect import Dialect
from benchmarks.graph import Graph

PROGRAM = """\
import os, shutil
devnull = os.open("/dev/null", os.O_RDONLY)
bash = shutil.which("bash")
alive = {}
def reap():
    pid, status = os.wait()
    n, output = alive.pop(pid)
    os.rename(f"stage/{n}/out", output)
    for name in ("script", "log"):
        os.unlink(f"run/{n}/{name}")
    os.rmdir(f"run/{n}/tmp"); os.rmdir(f"run/{n}"); os.rmdir(f"stage/{n}")
    print("ran", output)
for n, (command, output) in enumerate(COMMANDS):
    os.makedirs(f"stage/{n}"); os.makedirs(f"run/{n}/tmp")
    with open(f"run/{n}/script", "w") as file:
        file.write(f"set -euo pipefail\\nshopt -s inherit_errexit\\numask 022\\n{command} > stage/{n}/out\\n")
    log = os.open(f"run/{n}/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    if len(alive) == 2:
        reap()
    env = {"PATH": os.environ["PATH"], "TMPDIR": f"run/{n}/tmp", "LC_ALL": "C.UTF-8"}
    pid = os.posix_spawn(bash, [bash, "--noprofile", "--norc", f"run/{n}/script"], env, setsid=True, file_actions=[
        (os.POSIX_SPAWN_DUP2, devnull, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)])
    alive[pid] = n, output
    os.close(log)
while alive:
    reap()
"""


def _write(graph: Graph) -> Mapping[str, str]:
    commands = [(target.command.partition(" > ")[0], target.output) for target in graph.targets]
    return {"floor.py": f"COMMANDS = {commands!r}\n{PROGRAM}"}


FLOOR = Dialect("floor", "python", ("floor.py",), _write, r"^ran ", state=("stage", "run"))
