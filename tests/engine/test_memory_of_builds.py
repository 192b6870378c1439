"""Large graphs: what a build keeps in memory of each of its nodes."""

import gc
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
