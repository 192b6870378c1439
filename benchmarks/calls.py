"""What a call of a Python task costs: alone, as part of a large graph, and when its result is in the store already.

``calls``: 10,000 different calls, stored already, each made and evaluated in one warm process, in turns with processes that
do the same with ``joblib.Memory`` and ``diskcache``.  ``graph``: 100,000 calls with Futures as arguments, none of which runs.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.peers import installed
from benchmarks.turns import ROUNDS

WARM = """\
import json, sys, time


def timed(parts):
    spent = {}
    for name, part in parts.items():
        began = time.perf_counter()
        part()
        spent[name] = (time.perf_counter() - began) / COUNT * 1e6
    return spent


def serve(parts):
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(timed(parts)), flush=True)
"""

MERKL = """\
from warm import COUNT, serve
from merkl import task


@task(outs=1)
def record(n, text):
    return {"n": n, "text": text}


@task
def every(records):
    return len(records)


made = [record(n, "x") for n in range(COUNT)]
every(made).eval()


def build():
    made[:] = [record(n, "x") for n in range(COUNT)]


def value():
    assert sum(future.eval()["n"] for future in made) == COUNT * (COUNT - 1) // 2


def both():
    for n in range(COUNT):
        record(n, "x").eval()


if __name__ == "__main__":
    serve({"the call and its key": build, "its value": value, "together": both})
"""

PEER = """\
from warm import COUNT, serve
IMPORT


@CACHED
def record(n, text):
    return {"n": n, "text": text}


def call():
    for n in range(COUNT):
        record(n, "x")


if __name__ == "__main__":
    call()
    serve({"together": call})
"""

PEERS = {
    "joblib": ('from joblib import Memory\nmemory = Memory("kept", verbose=0)', "memory.cache"),
    "diskcache": ('from diskcache import Cache\ncache = Cache("kept")', "cache.memoize()"),
}

GRAPH = """\
import gc, json, sys, time, tracemalloc
from merkl import task

COUNT, SHAPE, TRACED = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "traced"


@task
def first(n):
    return n


@task
def join(a, b):
    return a


def chain():
    future = first(0)
    for n in range(COUNT):
        future = join(future, n)
    return future


def wide():
    a, b = first(0), first(1)
    return [join(a, b) for n in range(COUNT)]


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


join(first(0), 0)
gc.collect()
if TRACED:
    tracemalloc.start()
before = tracemalloc.get_traced_memory()[0] if TRACED else resident()
began = time.perf_counter()
graph = globals()[SHAPE]()
seconds = time.perf_counter() - began
after = tracemalloc.get_traced_memory()[0] if TRACED else resident()
print(json.dumps([seconds / COUNT * 1e6, (after - before) / COUNT]))
"""


@dataclass
class Warm:
    """A process that repeats its calls when it is told to."""

    name: str
    process: subprocess.Popen[str]
    spent: dict[str, list[float]] = field(default_factory=dict)

    def again(self, *, counted: bool) -> None:
        """One round."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        for name, value in json.loads(self.process.stdout.readline()).items():
            if counted:
                self.spent.setdefault(name, []).append(value)


def calls(count: int = 10_000) -> str:
    """The table."""
    with tempfile.TemporaryDirectory() as top:
        warm = [_started("merkl", sys.executable, MERKL, top, count)]
        for name, (imported, cached) in PEERS.items():
            python = os.path.join(installed(name, top), "python")
            script = PEER.replace("IMPORT", imported).replace("CACHED", cached)
            warm.append(_started(name, python, script, top, count))
        for counted in [False] + [True] * ROUNDS:
            for each in warm:
                each.again(counted=counted)
        for each in warm:
            assert each.process.stdin is not None
            each.process.stdin.close()
            each.process.wait()
    rows = [(f"{each.name}, {part}", spent) for each in warm for part, spent in each.spent.items()]
    return _table(f"{count} different calls whose results are stored", rows, "µs a call")


def _started(name: str, python: str, script: str, top: str, count: int) -> Warm:
    place = os.path.join(top, f"run-{name}")
    os.makedirs(place)
    for file, text in (("warm.py", WARM + f"\nCOUNT = {count}\n"), ("script.py", script)):
        with open(os.path.join(place, file), "w", encoding="utf-8") as out:
            out.write(text)
    process = subprocess.Popen(
        [python, "script.py"],
        cwd=place,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise SystemExit(f"{name} did not start")
    return Warm(name, process)


def graph(count: int = 100_000) -> str:
    """The table."""
    spent: list[tuple[str, list[float]]] = []
    sizes: list[tuple[str, list[float]]] = []
    with tempfile.TemporaryDirectory() as top:
        with open(os.path.join(top, "script.py"), "w", encoding="utf-8") as out:
            out.write(GRAPH)
        for shape, title in (("chain", "a chain"), ("wide", "two Futures each")):
            runs = [_run(top, count, shape, "plain") for _ in range(ROUNDS)]
            spent.append((title, [seconds for seconds, _ in runs]))
            sizes.append((f"{title}, resident", [size for _, size in runs]))
            sizes.append((f"{title}, of Python's memory", [_run(top, count, shape, "traced")[1]]))
    title = f"A graph of {count} calls"
    return _table(title, spent, "µs a call") + "\n" + _table(f"{title}: memory", sizes, "bytes a call")


def _run(top: str, count: int, *how: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "script.py", str(count), *how],
        cwd=top,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    seconds, size = json.loads(done.stdout)
    return seconds, size


def _table(title: str, rows: Sequence[tuple[str, Sequence[float]]], unit: str) -> str:
    lines = [f"### {title}", "", f"| | median, {unit} | min … max |", "|---|---|---|"]
    for name, values in rows:
        spread = f"{min(values):.1f} … {max(values):.1f}"
        lines.append(f"| {name} | {statistics.median(values):.1f} | {spread} |")
    return "\n".join(lines) + "\n"
