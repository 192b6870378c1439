"""What a graph of Python calls costs to make: 100,000 calls with Futures as arguments, none of which runs."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence

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


def graph(scale: float, rounds: int) -> str:
    """Making 100,000 calls with Futures as arguments, none of which runs."""
    count = round(100_000 * scale)
    spent: list[tuple[str, list[float]]] = []
    sizes: list[tuple[str, list[float]]] = []
    with tempfile.TemporaryDirectory() as top:
        with open(os.path.join(top, "script.py"), "w", encoding="utf-8") as out:
            out.write(GRAPH)
        for shape, title in (("chain", "a chain"), ("wide", "two Futures each")):
            runs = [_run(top, count, shape, "plain") for _ in range(rounds)]
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
