"""How much memory the coordinator needs at its peak for a large graph: planned, run from clean, and with nothing to do.

It is the high-water mark that the kernel keeps of merkl's own process: workers and commands do not count.
"""

import os
import subprocess
import sys
import tempfile

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

MEASURED = """\
import sys
from merkl.__main__ import main
try:
    main()
finally:
    with open("/proc/self/status") as status, open("peak", "w") as out:
        out.write(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""

BUILDS = {
    "commands, planned": ("build", "-n", "-q", "commands"),
    "calls, run by two workers": ("build", "-j2", "-q", "calls"),
    "calls, nothing to do": ("build", "-j2", "-q", "calls"),
}


def memory(count: int = 100_000) -> str:
    """So many nodes, each with an output that is placed."""
    lines = [f"### Memory of the coordinator, {count} nodes", "", "| | peak memory |", "|---|---|"]
    with tempfile.TemporaryDirectory() as top:
        with open(os.path.join(top, "Merklfile.py"), "w", encoding="utf-8") as file:
            file.write(MERKLFILE.replace("COUNT", str(count)))
        for title, words in BUILDS.items():
            command = [sys.executable, "-c", MEASURED, *words]
            subprocess.run(command, cwd=top, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            with open(os.path.join(top, "peak"), encoding="utf-8") as peak:
                lines.append(f"| {title} | {int(peak.read()) / 1024:.0f} MB |")
    return "\n".join(lines) + "\n"
