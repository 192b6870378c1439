"""Random graphs under random edits: what runs is what an independent model says, and the files are a clean build's."""

import os
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, event, given, settings
from random_projects import Edit, State, Task, disturb, edited, placed, rounds, states, write

from merkl import events
from merkl.config import load_config
from merkl.engine.build import build
from merkl.engine.evaluating import Quiet
from merkl.engine.request import open_merklfile, open_project, selected
from merkl.merklfile import loader
from merkl.nodes import walk

FULL = bool(os.environ.get("MERKL_FULL"))
Outs = tuple[object, ...]  # What a node made: for each output a text, or texts by name.


class Model:
    """Which tasks run and what is where afterwards, from edges and contents: two keys, open nodes, first record wins."""

    def __init__(self) -> None:
        self.ids: dict[object, int] = {}
        self.names: dict[int, tuple[Outs, Outs]] = {}  # By key: inputs and outputs of the first record.
        self.records: dict[
            object, list[tuple[dict[int, int], Outs]]
        ] = {}  # By content key: headers found, outputs.
        self.blobs: set[bytes] = set()

    def build(
        self, state: State, there: dict[str, object], forced: set[int]
    ) -> tuple[set[int], dict[str, object]]:
        """The tasks that run, and what lies at the placed paths then; ``there`` is what lies there now."""
        tasks, ran, outs = state.tasks, set[int](), dict[int, Outs]()
        own, key, opened = [], [], []
        for n, task in enumerate(tasks):
            files = tuple((s, state.sources[s]) for s in ((0,) if task.bash else ()) + task.files)
            own.append((n, state.const[n], state.code[n], task.deps, files))
            key.append(self.ids.setdefault((own[n], *(key[d] for d, _ in task.deps)), len(self.ids)))
            opened.append(task.header is not None or not task.cache or any(opened[d] for d, _ in task.deps))

        def know(n: int) -> Outs:
            if n not in outs:
                seen = tuple(know(d)[k] for d, k in tasks[n].deps)
                known = [made for was, made in [self.names.get(key[n], ((), ()))] if made and was == seen]
                for found, made in self.records.get((own[n], str(seen)), []):
                    if all(state.headers[h] == was for h, was in found.items()):
                        known.append(made)
                if known and n not in forced and tasks[n].cache:
                    outs[n] = known[0]
                else:
                    run(n, seen)
                if not opened[n]:
                    self.names.setdefault(key[n], (seen, self.records[own[n], str(seen)][0][1]))
            return outs[n]

        def run(n: int, seen: Outs) -> None:
            ran.add(n)
            for d, _ in tasks[n].deps:
                need(d)
            outs[n], found = result(state, n, seen)
            self.blobs |= blobs_of(tasks[n], outs[n])
            filed = self.records.setdefault((own[n], str(seen)), [])
            if tasks[n].cache and all(was != found for was, _ in filed):
                filed.append((found, outs[n]))

        def need(n: int) -> None:
            if not self.blobs.issuperset(blobs_of(tasks[n], know(n))):
                run(n, tuple(know(d)[k] for d, k in tasks[n].deps))

        reached = {n for n, task in enumerate(tasks) if task.placed or not task.cache} | state.roots
        for n in sorted(reached):
            know(n)
        for n in sorted(reached):
            if any(there.get(path) != outs[n][k] for k, path in state.places(n)):
                need(n)
        return ran, {path: outs[n][k] for n in reached for k, path in state.places(n)}


def result(state: State, n: int, seen: Outs) -> tuple[Outs, dict[int, int]]:
    """What a task makes of its inputs, and the headers that it finds."""
    task, found, h = state.tasks[n], dict[int, int](), state.tasks[n].header
    while h is not None:
        found[h] = state.headers[h]
        h = h + 1 if found[h] % 2 and h + 1 < len(state.headers) else None
    numbers = [int(text) for each in seen for text in (each.values() if isinstance(each, dict) else [each])]
    total = state.const[n] + sum(numbers) + sum(state.sources[s] for s in task.files) + sum(found.values())
    total += state.hidden if task.leaky else 0
    one, two = (f"{total // 2 % 500 * 256 + 4 * n + k}\n" for k in (0, 1))
    if task.makes == "dir":
        return ({"x": one} if total % 2 else {"x": one, "y": two},), found
    return ((one, two) if task.makes == "two" else (one,)), found


def blobs_of(task: Task, outs: Outs) -> set[bytes]:
    """The contents that an output's bytes are stored as."""
    texts = [text for each in outs for text in (each.values() if isinstance(each, dict) else [each])]
    return {str(text).encode() if task.bash else str(text).strip().encode() for text in texts}


class Ran(Quiet):
    """Keeps the names of what ran."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def report(self, event: events.Event) -> None:
        super().report(event)
        if isinstance(event, events.Ran):
            self.names.append(event.node.name)


def build_here(root: Path, forced: Collection[int] = ()) -> list[str]:
    """Build a project's default target in this process; the names of the tasks that ran."""
    project = open_project(load_config(str(root), environ={}, jobs=1))
    try:
        merklfile = open_merklfile(project)
        reporter = Ran()
        selection = selected(project, merklfile, [], str(root)).selection
        keys = (node.key for node in walk(selection.roots) if int(node.name[1:]) in forced)
        build(project, replace(selection, forced=frozenset(keys)), reporter)
    finally:
        project.close()
    assert not reporter.errors, reporter.errors
    return reporter.names


@contextmanager
def directory() -> Iterator[Path]:
    """A directory for one project; the process is left as it was."""
    path, modules = list(sys.path), set(sys.modules)
    with tempfile.TemporaryDirectory() as name:
        try:
            yield Path(os.path.realpath(name))
        finally:
            while loader._last:
                loader._last.pop()[2]()
            sys.path[:] = path
            for module in set(sys.modules) - modules:
                if module.partition(".")[0] == "Merklfile":
                    del sys.modules[module]


def live(root: Path, state: State, story: list[list[Edit]]) -> State:
    """Build, edit, build, …, and compare each build with the model; the last state."""
    model, history = Model(), [state]
    for edits in ([], *story):
        forced = set[int]()
        for what, which, number in edits:
            state = edited(state, history, what, which, number)
            disturb(root, state, model.blobs, what, which, number)
            some = (
                sorted(state.roots) if what == "force" else [n for n, t in enumerate(state.tasks) if t.leaky]
            )
            if what in ("force", "vary") and some:
                forced |= set(range(len(state.tasks))) if number == 0 else {some[which % len(some)]}
        history.append(state)
        write(root, state)
        for force in (forced, set[int]()):
            expected, files = model.build(state, placed(root, state), force)
            ran = build_here(root, force)
            event(f"ran {min(len(ran), 9)}{'+' * (len(ran) > 9)} of {len(state.tasks)}")
            assert sorted(ran) == sorted(f"n{n}" for n in expected)
            assert placed(root, state) == files
    return state


lengths = settings(
    max_examples=250 if FULL else 7,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@lengths
@given(states(leaky=False), rounds(leaky=False))
def test_what_runs_is_what_the_model_says_and_the_files_are_those_of_a_clean_build(
    state: State, story: list[list[Edit]]
) -> None:
    with directory() as root, directory() as clean:
        state = live(root, state, story)
        write(clean, state)
        build_here(clean)

        assert placed(clean, state) == placed(root, state)
        assert len(placed(root, state)) == sum(len(state.places(n)) for n in range(len(state.tasks)))


@lengths
@given(states(leaky=True), rounds(leaky=True))
def test_of_tasks_whose_results_vary_the_first_result_stays(state: State, story: list[list[Edit]]) -> None:
    with directory() as root:
        live(root, state, story)
