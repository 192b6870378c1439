"""``merkl watch`` on a tree of 10,000 inputs: from the end of a write to the start of the rebuild.

Each of 100 edits is one write to one of the inputs, made when the watch waits.  The rebuild starts when the process that
loads the Merklfile is told to; the task starts later, when the graph is known.  Then 5,000 files are written at once.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

DEBOUNCE_MS = 50

MERKLFILE = """\
from merkl import bash_task, files, target

count = bash_task("cat {files_arg('inputs', '.txt')} | wc -c > {out_file_arg('out', '.txt')}")


@target(default=True)
def all():
    groups = {}
    for path in files("src/*/*.txt"):
        groups.setdefault(path.split("/")[1], []).append(path)
    for name, paths in groups.items():
        count(paths) > f"out/{name}.txt"
"""


def watch(scale: float, rounds: int) -> str:
    """100 edits among 10,000 inputs, as many times as there are rounds, and 5,000 files at once."""
    count, edits = round(10_000 * scale), 100 * rounds
    with tempfile.TemporaryDirectory() as root:
        paths = _write_tree(root, count)
        command = [sys.executable, "-m", "merkl", "watch", "--json", "--debounce", str(DEBOUNCE_MS)]
        with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
            try:
                events = _events(process)
                _until(events, "watching")
                starts, tasks = _edit(events, paths, edits)
                many = _edit_many(events, paths[: count // 2])
            finally:
                process.send_signal(signal.SIGINT)
    lines = [
        f"Watch: {edits} edits among {count:,} inputs, with a debounce of {DEBOUNCE_MS} ms; ms after the end of the write"
    ]
    for name, times in (("rebuild starts", starts), ("task starts", tasks)):
        late = statistics.quantiles(times, n=20)[-1]
        lines.append(f"  {name:<16} median {statistics.median(times) * 1000:6.0f}   95th {late * 1000:6.0f}")
    lines.append(f"  {count // 2:,} files written at once: {many}")
    return "\n".join(lines)


def _write_tree(root: str, count: int) -> list[str]:
    with open(os.path.join(root, "Merklfile.py"), "w", encoding="utf-8") as file:
        file.write(MERKLFILE)
    paths = []
    for number in range(count):
        path = os.path.join(root, "src", f"{number // 100:03d}", f"{number:05d}.txt")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(path, f"{number}\n")
        paths.append(path)
    return paths


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _events(process: "subprocess.Popen[str]") -> Iterator[tuple[float, dict[str, Any]]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield time.monotonic(), json.loads(line)


def _until(events: Iterator[tuple[float, dict[str, Any]]], kind: str) -> tuple[float, dict[str, Any]]:
    return next((when, event) for when, event in events if event["event"] == kind)


def _edit(
    events: Iterator[tuple[float, dict[str, Any]]], paths: list[str], edits: int
) -> tuple[list[float], list[float]]:
    chance = random.Random(1)
    starts, tasks = [], []
    for number in range(edits):
        _write(chance.choice(paths), f"edit {number}\n")
        wrote = time.monotonic()
        starts.append(_until(events, "change")[0] - wrote)
        tasks.append(_until(events, "running")[0] - wrote)
        _until(events, "watching")
    return starts, tasks


def _edit_many(events: Iterator[tuple[float, dict[str, Any]]], paths: list[str]) -> str:
    began = time.monotonic()
    for path in paths:
        _write(path, "another text\n")
    took = time.monotonic() - began
    rounds, ran, changed = 0, 0, 0
    for _, event in events:
        if event["event"] == "watching":
            break
        if event["event"] == "round":
            rounds += 1
            ran += len(event["ran"])
            changed += len(event["changed"])
    plural = "" if rounds == 1 else "s"
    return f"written in {took:.1f} s, {rounds} round{plural}, {changed:,} changes, {ran} tasks ran"
