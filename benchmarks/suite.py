"""``python -m benchmarks suite``: merkl and its peers in all scenarios, as a table and a picture.

    --rounds N           timed rounds of each contender (7)
    --sizes N,N,…        numbers of targets (1000,10000,100000); of files: the largest
    --only NAME,NAME,…   scenarios: startup, nothing, leaf, shared, tiny, first, calls, track
    --peers NAME,NAME,…  make, ninja, doit, scons, snakemake, redun, dvc, joblib, diskcache; "none" for none
    --everything         larger graphs for slow peers too; without, a run with all peers takes more than an hour
    --out DIR            where results.json, table.md and plot.svg go (benchmarks-out); scenarios measured there before,
                         on the same machine with the same versions, are kept
    --environments DIR   where the peers' environments are kept, to be used again; else they go when it ends
    --docs               write the table and the picture into docs/ too

It decides the order of scenarios and what becomes of their results.  A scenario in which a contender does not do what it
should is left out, and the exit code is 1.
"""

import argparse
import os
import subprocess
import tempfile
from collections.abc import Callable, Collection, Sequence

from benchmarks import results
from benchmarks.calls import calls
from benchmarks.dialects import DIALECTS
from benchmarks.machine import machine, of_package
from benchmarks.peers import LIBRARIES, found
from benchmarks.plot import plot
from benchmarks.reaching import reached
from benchmarks.results import Result
from benchmarks.scenarios import first, leaf, nothing, shared, tiny
from benchmarks.setting import Setting
from benchmarks.startup import startup
from benchmarks.table import table
from benchmarks.track import track
from benchmarks.turns import MERKL, ROUNDS, Failed

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
SCENARIOS: dict[str, Callable[[Setting], list[Result]]] = {
    "startup": startup,
    "nothing": nothing,
    "leaf": leaf,
    "shared": shared,
    "tiny": tiny,
    "first": first,
    "calls": calls,
    "track": track,
}
TOOLS = ("git",)


def suite(words: Sequence[str]) -> int:
    """Run it; the exit code."""
    asked = _asked(words)
    os.makedirs(asked.out, exist_ok=True)
    failed = False
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as top:
        setting = Setting(
            top, {"merkl": MERKL}, rounds=asked.rounds, sizes=asked.sizes, everything=asked.everything
        )
        programs, setting.pythons = found(asked.peers, asked.environments or top, setting.say)
        setting.programs.update(programs)
        described = _described(setting)
        kept = os.path.join(asked.out, "results.json")
        measured = results.load(kept, described)
        for name in asked.only:
            try:
                for result in SCENARIOS[name](setting):
                    measured[result.key] = result
            except (Failed, subprocess.CalledProcessError) as error:
                setting.say(f"{name} FAILED: {error}")
                failed = True
            results.save(kept, described, measured)
            _write(asked.out, described, measured)
        setting.say(f"written to {asked.out}: results.json, table.md, plot.svg")
    print(reached(measured))
    if asked.docs:
        publish(os.path.join(ROOT, "docs"), asked.out)
    return int(failed)


def publish(docs: str, out: str) -> None:
    """Put table and picture into the page that shows them."""
    page = os.path.join(docs, "benchmarks.md")
    with open(page, encoding="utf-8") as file:
        before, _, rest = file.read().partition(BEGIN)
    after = rest.partition(END)[2]
    with open(os.path.join(out, "table.md"), encoding="utf-8") as file:
        text = f"{before}{BEGIN}\n\n{file.read()}\n{END}{after}"
    with open(os.path.join(out, "plot.svg"), encoding="utf-8") as file:
        picture = file.read()
    for path, content in ((page, text), (os.path.join(docs, "benchmarks.svg"), picture)):
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)


def _asked(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--sizes", type=_sizes, default=(1000, 10_000, 100_000))
    parser.add_argument("--only", type=_names(SCENARIOS), default=tuple(SCENARIOS))
    peers = [*(dialect.name.lower() for dialect in DIALECTS[1:]), *LIBRARIES]
    parser.add_argument("--peers", type=_names([*peers, "none"]), default=None)
    parser.add_argument("--everything", action="store_true")
    parser.add_argument("--out", type=os.path.abspath, default=os.path.abspath("benchmarks-out"))
    parser.add_argument("--environments", type=os.path.abspath)
    parser.add_argument("--docs", action="store_true")
    return parser.parse_args(words)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(word) for word in text.split(",")))


def _names(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    def names(text: str) -> tuple[str, ...]:
        asked = text.split(",")
        unknown = [name for name in asked if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return tuple(name for name in known if name in asked)

    return names


def _described(setting: Setting) -> dict[str, str]:
    described = machine({**setting.programs, **{tool: tool for tool in TOOLS}})
    for library, python in setting.pythons.items():
        described[library] = of_package(python, library)
    return described


def _write(out: str, described: dict[str, str], measured: dict[str, Result]) -> None:
    ordered = list(measured.values())
    words = ", ".join(f"{name} {value}" for name, value in described.items())
    parts = [f"Measured with {words}.\n", "### What it must reach, and reaches\n", reached(measured)]
    texts = {"table.md": "\n".join([*parts, *map(table, ordered)]), "plot.svg": plot(ordered)}
    for name, text in texts.items():
        with open(os.path.join(out, name), "w", encoding="utf-8") as file:
            file.write(text)
