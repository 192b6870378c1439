"""What a call of a Python task costs when its result is stored already.

Different calls are made and evaluated in one warm process, in turns with processes that do the same with the peers'
decorators.  Invariant: each pass gives the right values, and runs no function.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.results import Result, Row
from benchmarks.setting import Setting
from benchmarks.steps import Step
from benchmarks.turns import Failed, environ

WARM = """\
import json, os, sys, time


def ran():
    with open("ran", "ab", buffering=0) as file:
        file.write(b".")


def timed(parts):
    spent = {}
    for name, part in parts.items():
        began = time.perf_counter()
        part()
        spent[name] = (time.perf_counter() - began) / COUNT
    return spent


def serve(parts):
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps({"spent": timed(parts), "ran": os.path.getsize("ran")}), flush=True)


def right(total):
    assert total == COUNT * (COUNT - 1) // 2, total
"""

MERKL = """\
from warm import COUNT, ran, right, serve
from merkl import task


@task(outs=1)
def record(n, text):
    ran()
    return {"n": n, "text": text}


@task
def every(records):
    return len(records)


made = [record(n, "x") for n in range(COUNT)]
every(made).eval()


def build():
    made[:] = [record(n, "x") for n in range(COUNT)]


def value():
    right(sum(future.eval()["n"] for future in made))


def both():
    right(sum(record(n, "x").eval()["n"] for n in range(COUNT)))


if __name__ == "__main__":
    serve({"the call and its key": build, "its value": value, "": both})
"""

PEER = """\
from warm import COUNT, ran, right, serve
IMPORT


@CACHED
def record(n, text):
    ran()
    return {"n": n, "text": text}


def call():
    right(sum(CALL["n"] for n in range(COUNT)))


if __name__ == "__main__":
    call()
    serve({"": call})
"""

PEERS = {
    "joblib": (
        'from joblib import Memory\nmemory = Memory("kept", verbose=0)',
        "memory.cache",
        'record(n, "x")',
    ),
    "diskcache": ('from diskcache import Cache\ncache = Cache("kept")', "cache.memoize()", 'record(n, "x")'),
    "redun": (
        "import logging\nfrom redun import Scheduler, task\nredun_namespace = 'bench'\nscheduler = Scheduler()\nlogging.disable()",
        "task()",
        'scheduler.run(record(n, "x"))',
    ),
}
COUNT, FEW = 10_000, 200  # Calls; and of a peer whose call takes milliseconds.


@dataclass
class Warm:
    """A process that repeats its calls when it is told to."""

    name: str
    count: int
    process: "subprocess.Popen[str]"
    spent: dict[str, list[float]] = field(default_factory=dict)

    def again(self, *, counted: bool) -> None:
        """One round."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        told = self.process.stdout.readline()
        if not told:
            raise Failed(f"{self.name} ended before its calls did")
        answer = json.loads(told)
        if answer["ran"] != self.count:
            raise Failed(f"{self.name} ran functions whose results it has")
        for name, value in answer["spent"].items():
            if counted:
                self.spent.setdefault(name, []).append(value)

    def end(self) -> None:
        """Tell it that there is no more to do."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def calls(setting: Setting) -> Iterator[Step]:
    """Seconds a call."""
    count = setting.most(COUNT)
    pythons = {"merkl": sys.executable, **setting.pythons}
    if "redun" in setting.programs:
        pythons["redun"] = os.path.join(os.path.dirname(setting.programs["redun"]), "python")
    title = f"{count:,} different Python calls whose results are stored"
    key = f"calls-{count}"
    yield Step(
        title,
        (key,),
        frozenset(pythons),
        20 + 2.5 * setting.rounds,
        lambda: [Result(key, title, _rows(setting, pythons, count), "merkl", note=NOTE)],
    )


NOTE = "Time of one call.  redun's were fewer, as they take long."


def _rows(setting: Setting, pythons: Mapping[str, str], count: int) -> list[Row]:
    warm: list[Warm] = []
    try:
        for name, python in pythons.items():
            place = os.path.join(setting.top, f"calls-{name}")
            shutil.rmtree(place, ignore_errors=True)
            warm.append(_started(name, python, place, min(count, FEW) if name == "redun" else count))
        for counted in [False] + [True] * setting.rounds:
            for each in warm:
                each.again(counted=counted)
    finally:
        for each in warm:
            each.end()
    return [
        Row(f"{each.name}: {part}" if part else each.name, values)
        for each in warm
        for part, values in each.spent.items()
    ]


def _started(name: str, python: str, place: str, count: int) -> Warm:
    if name == "merkl":
        script = MERKL
    else:
        imported, cached, call = PEERS[name]
        script = PEER.replace("IMPORT", imported).replace("CACHED", cached).replace("CALL", call)
    os.makedirs(place)
    for file, text in (("warm.py", WARM + f"\n\nCOUNT = {count}\n"), ("script.py", script)):
        with open(os.path.join(place, file), "w", encoding="utf-8") as out:
            out.write(text)
    with open(os.path.join(place, "errors"), "w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [python, "script.py"],
            cwd=place,
            env=environ(),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        process.kill()
        with open(os.path.join(place, "errors"), encoding="utf-8") as told:
            raise Failed(f"{name} did not start:\n{told.read()[-2000:]}")
    return Warm(name, count, process)
