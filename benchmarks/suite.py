"""``python -m benchmarks suite``: merkl and its peers in all scenarios, as a table and a picture.

    --quick              1,000 targets, three rounds, the quick peers: two or three minutes
    --rounds N           timed rounds of each contender (7)
    --sizes N,N,…        numbers of targets (1000,10000,100000); of files: the largest
    --only NAME,NAME,…   scenarios: startup, nothing, leaf, shared, tiny, tinypython, calls, first, track, memory
    --peers NAME,NAME,…  make, ninja, doit, scons, snakemake, redun, dvc, joblib, diskcache; "none" for none.
                         With one of the slow ones, most scenarios are measured with 100 targets by all tools too
    --everything         larger graphs for slow peers: hours
    --plan               print what would be measured, and about how long it takes on a quiet machine
    --missing            leave out what --out has already, of this merkl and with these peers
    --out DIR            where results.json, table.md and plot.svg go (benchmarks-out); what was measured there before,
                         on the same machine, is shown with what is measured now
    --work DIR           where projects are kept when it ends, to be used again by the next run; else they go
    --environments DIR   where the peers' environments are kept, to be used again; else they go when it ends
    --docs               write the table and the picture into docs/ too

It decides the order of steps, the shortest first, and what becomes of their results.  A step in which merkl does not do
what it should is left out, a peer that does not is left out of its step; either way the exit code is 1.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence

from benchmarks import published, results
from benchmarks.calls import calls
from benchmarks.dialects import DIALECTS
from benchmarks.machine import machine, versions
from benchmarks.memory import memory
from benchmarks.peers import LIBRARIES, found
from benchmarks.published import ROOT
from benchmarks.reaching import reached
from benchmarks.results import Result
from benchmarks.scenarios import first, leaf, nothing, shared, tiny
from benchmarks.setting import Setting
from benchmarks.startup import startup
from benchmarks.steps import Step
from benchmarks.table import table
from benchmarks.tinypython import tinypython
from benchmarks.track import track
from benchmarks.turns import MERKL, ROUNDS, Failed

SCENARIOS: dict[str, Callable[[Setting], Iterator[Step]]] = {
    "startup": startup,
    "nothing": nothing,
    "leaf": leaf,
    "shared": shared,
    "tiny": tiny,
    "tinypython": tinypython,
    "calls": calls,
    "first": first,
    "track": track,
    "memory": memory,
}
TOOLS = ("git",)  # What is compared with wherever it is there.
QUICK = {
    "sizes": (1000,),
    "rounds": 3,
    "peers": ("make", "ninja", "joblib", "diskcache"),
    "out": "benchmarks-quick",
}
USUAL = {"sizes": (1000, 10_000, 100_000), "rounds": ROUNDS, "peers": None, "out": "benchmarks-out"}


def suite(words: Sequence[str]) -> int:
    """Run it; the exit code."""
    asked = _asked(words)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as top:
        work = asked.work or top
        if not asked.plan:
            os.makedirs(work, exist_ok=True)
        setting = Setting(
            work, {"merkl": MERKL}, rounds=asked.rounds, sizes=asked.sizes, everything=asked.everything
        )
        programs, setting.pythons = found(
            asked.peers, asked.environments or top, setting.say, install=not asked.plan
        )
        setting.programs.update(programs)
        setting.versions = _versions(setting)
        try:
            return _measured(setting, asked)
        except results.OtherMachine:
            print(
                f"{asked.out} has results of another machine: name another directory by --out",
                file=sys.stderr,
            )
            return 2
        except KeyboardInterrupt:
            setting.say(f"stopped; what was measured is in {asked.out}, and --missing goes on from there")
            return 130


def _versions(setting: Setting) -> dict[str, str]:
    """Of all tools; empty of one that is not there, as none is installed for a plan."""
    programs = setting.programs | {name: name for name in TOOLS}
    lacking = {name for name, path in (programs | setting.pythons).items() if shutil.which(path) is None}
    there = [
        {name: path for name, path in each.items() if name not in lacking}
        for each in (programs, setting.pythons)
    ]
    return dict.fromkeys(lacking, "") | versions(*there)


def _measured(setting: Setting, asked: argparse.Namespace) -> int:
    here, kept = machine(), os.path.join(asked.out, "results.json")
    measured = results.load(kept, here)
    steps = [step for name in asked.only for step in SCENARIOS[name](setting)]
    if asked.missing:
        steps = [step for step in steps if not _complete(step, setting, measured)]
    steps.sort(key=lambda step: step.seconds)
    _say_plan(setting, steps)
    if asked.plan:
        return 0
    os.makedirs(asked.out, exist_ok=True)
    shown: list[str] = []
    for number, step in enumerate(steps, 1):
        left = sum(step.seconds for step in steps[number - 1 :])
        setting.say(f"{number} of {len(steps)}: {step.title}; about {_minutes(left)} left")
        try:
            for result in step.run():
                shown.append(table(result))
                _keep(setting, measured, result)
                results.save(kept, here, measured)
                published.write(asked.out, here, measured)
        except (Failed, subprocess.CalledProcessError) as error:
            setting.say(f"{step.title} FAILED: {error}")
            setting.failures.append(step.title)
    print("\n".join([*shown, reached(measured)]))
    setting.say(f"written to {asked.out}: results.json, table.md, plot.svg")
    if asked.docs:
        published.publish(os.path.join(ROOT, "docs"), asked.out)
    if setting.failures:
        setting.say(f"FAILED: {', '.join(dict.fromkeys(setting.failures))}")
    return int(bool(setting.failures))


def _keep(setting: Setting, measured: dict[str, Result], result: Result) -> None:
    """With the versions of the tools in its rows."""
    names = [row.name.lower() for row in result.rows]
    result.versions = {
        tool: version
        for tool, version in setting.versions.items()
        if any(name.startswith(tool.lower()) for name in names)
    }
    kept = results.merged(measured.get(result.key), result)
    if kept is not result:
        setting.say(f"  {result.key} was measured with more peers before: that is kept")
    measured[result.key] = kept


def _complete(step: Step, setting: Setting, measured: dict[str, Result]) -> bool:
    """Whether all its results are there, of this merkl and with all its tools."""
    wanted = {name: version for name, version in setting.versions.items() if name in step.tools}
    found = [measured.get(key) for key in step.keys]
    versions = {
        name: version for result in found if result is not None for name, version in result.versions.items()
    }
    return None not in found and wanted.items() <= versions.items()


def _say_plan(setting: Setting, steps: Sequence[Step]) -> None:
    for step in steps:
        setting.say(f"  {_minutes(step.seconds):>7}  {step.title}")
    setting.say(
        f"{len(steps)} steps, on a quiet machine of two cores about {_minutes(sum(s.seconds for s in steps))}"
    )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


def _asked(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=_count)
    parser.add_argument("--sizes", type=_sizes)
    parser.add_argument("--only", type=_names(SCENARIOS), default=tuple(SCENARIOS))
    peers = [*(dialect.name.lower() for dialect in DIALECTS[1:]), *LIBRARIES, *TOOLS]
    parser.add_argument("--peers", type=_names([*peers, "none"]))
    for flag in ("--everything", "--plan", "--missing", "--docs"):
        parser.add_argument(flag, action="store_true")
    for flag in ("--out", "--work", "--environments"):
        parser.add_argument(flag, type=os.path.abspath)
    asked = parser.parse_args(words)
    for name, value in (QUICK if asked.quick else USUAL).items():
        if getattr(asked, name) is None:
            setattr(asked, name, os.path.abspath(str(value)) if name == "out" else value)
    return asked


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({_count(word) for word in text.split(",")}))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _names(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    def names(text: str) -> tuple[str, ...]:
        asked = text.split(",")
        unknown = [name for name in asked if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return tuple(name for name in known if name in asked)

    return names
