"""Large graphs: what a build keeps in memory of each of its nodes."""

import gc
import subprocess
import sys
import tracemalloc
from pathlib import Path

from merkl.bash.task import bash_task
from merkl.config import load_config
from merkl.engine.build import build
from merkl.engine.project import Project
from merkl.engine.select import select
from merkl.events import BuildDone, BuildStarted, Event, Silent
from merkl.nodes import using

FEW, MANY = 50, 200
# Bytes of a node with two inputs and one output, as Python counts them.
PLANNED = 2_700
DONE = 3_600
PLANNED_AGAIN = 3_500  # With the records, and all that the index has.
KEPT = 500  # More than is freed, while that is written down which answers the next build.


class Weighed(Silent):
    """What is in memory when a build has been planned, and when it has ended."""

    planned = done = 0

    def report(self, event: Event) -> None:
        if isinstance(event, BuildStarted | BuildDone):
            gc.collect()
        if isinstance(event, BuildStarted):
            self.planned = tracemalloc.get_traced_memory()[0]
        if isinstance(event, BuildDone):
            self.done = tracemalloc.get_traced_memory()[0]


def built(top: Path, count: int) -> Weighed:
    """Build that many nodes in a new project, or once more."""
    (top / "src").mkdir(parents=True, exist_ok=True)
    (top / "header.txt").write_text("h\n")
    for n in range(count):
        (top / f"src/{n:06d}.txt").write_text(f"{n}\n")
    weighed = Weighed()
    gc.collect()
    tracemalloc.start()
    project = Project(load_config(str(top), environ={}))
    try:
        with using(project):
            join = bash_task(
                "cat {file_arg('source', '.txt')} {file_arg('header', '.txt')} > {out_file_arg('out', '.out')}"
            )
            for n in range(count):
                join(f"src/{n:06d}.txt", "header.txt") > f"out/{n:06d}.out"
        done, _ = build(project, select((), project.placements), weighed)
        assert done.ran + done.cached == count, done
    finally:
        project.close()
        tracemalloc.stop()
    return weighed


def test_a_node_takes_few_bytes_planned_and_built(tmp_path: Path) -> None:
    built(tmp_path / "first", 20)  # What is loaded and remembered once.
    few, many = built(tmp_path / "few", FEW), built(tmp_path / "many", MANY)

    assert (many.planned - few.planned) / (MANY - FEW) < PLANNED
    assert (many.done - few.done) / (MANY - FEW) < DONE


def test_a_node_of_a_build_with_nothing_to_do_takes_few_bytes(tmp_path: Path) -> None:
    for name, count in (("first", 20), ("few", FEW), ("many", MANY)):
        built(tmp_path / name, count)
    few, many = built(tmp_path / "few", FEW), built(tmp_path / "many", MANY)

    assert (many.planned - few.planned) / (MANY - FEW) < PLANNED_AGAIN


# Builds all, and says how many bytes there are when that has ended, and at most until what it leaves is written down.
BUILD = """
import gc, sys, tracemalloc
from merkl.__main__ import main
from merkl.cli.keeping import Keeping

keep = Keeping.end
def end(*args):
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    keep(*args)
    sys.__stdout__.write(f"{before} {tracemalloc.get_traced_memory()[1]}\\n")
Keeping.end = end
sys.argv[:] = ["merkl", "build", "-q"]
tracemalloc.start()
sys.exit(main())
"""
MERKLFILE = """
import os
from merkl import bash_task, target

os.environ["CHANGED"] = "1"  # So what is built cannot be kept, and the answer alone is.
join = bash_task("cat {file_arg('source', '.txt')} {file_arg('header', '.txt')} > {out_file_arg('out', '.out')}")

@target(default=True)
def all():
    for n in range(COUNT):
        join(f"src/{n:06d}.txt", "header.txt") > f"out/{n:06d}.out"
"""


def kept(top: Path, count: int) -> int:
    """The bytes that the end of a build with nothing to do needs at its peak, over what there is before."""
    (top / "src").mkdir(parents=True)
    (top / "header.txt").write_text("h\n")
    for n in range(count):
        (top / f"src/{n:06d}.txt").write_text(f"{n}\n")
    (top / "Merklfile.py").write_text(MERKLFILE.replace("COUNT", str(count)))
    snapshots = top / ".merkl/snapshots"
    command = [sys.executable, "-c", BUILD]
    for _ in range(20):  # Until all is old enough to be told from what is written later.
        printed = subprocess.run(command, cwd=top, check=True, capture_output=True, text=True).stdout
        if snapshots.is_dir() and any(snapshots.iterdir()):
            before, peak = map(int, printed.split())
            return peak - before
    raise AssertionError("there is no snapshot")


def test_a_node_takes_next_to_nothing_while_the_answer_of_the_next_build_is_written_down(
    tmp_path: Path,
) -> None:
    few, many = kept(tmp_path / "few", 10), kept(tmp_path / "many", 100)

    assert (many - few) / 90 < KEPT
