"""Random graphs under random edits: what runs is what an independent model says, and the bytes are a clean build's."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merkl import events
from merkl.config import load_config
from merkl.digest import Digest
from merkl.engine.build import Quiet, build
from merkl.engine.request import open_merklfile, open_project, selected
from merkl.merklfile import loader

FULL = bool(os.environ.get("MERKL_FULL"))
SOURCES = ("a.txt", "b.txt")


@dataclass(frozen=True)
class Task:
    """One node: it adds ``const``, its inputs and its files, and halves the sum, so that many edits are cut off.

    Its number is in its result, so that no two nodes share a blob.
    """

    bash: bool
    deps: tuple[int, ...]
    files: tuple[int, ...]
    placed: bool


@st.composite
def graphs(draw: st.DrawFn) -> list[Task]:
    tasks = []
    for number in range(draw(st.integers(1, 12))):
        earlier = st.lists(st.integers(0, number - 1), max_size=3, unique=True) if number else st.just([])
        files = st.lists(st.sampled_from(range(len(SOURCES))), max_size=2, unique=True)
        tasks.append(
            Task(draw(st.booleans()), tuple(draw(earlier)), tuple(sorted(draw(files))), draw(st.booleans()))
        )
    return tasks


# An edit: what is edited, which of them, and to what.
EDITS = st.tuples(
    st.sampled_from(["source", "const", "code", "comment", "delete", "hand", "lose"]),
    st.integers(0, 11),
    st.integers(0, 3),
)
ROUNDS = st.lists(st.lists(EDITS, max_size=3), min_size=1, max_size=4)


@dataclass
class State:
    """What a user has written."""

    tasks: list[Task]
    sources: list[int]
    const: list[int]
    code: list[int]
    comment: int = 0

    def merklfile(self) -> str:
        lines = [
            "from merkl import *",
            "from pathlib import Path",
            "def number(x): return x if isinstance(x, int) else int(Path(x).read_text())",
        ]
        for n, task in enumerate(self.tasks):
            if task.bash:
                lines.append(
                    f"n{n} = bash_task(\"n={{arg('const', type=int)}}; for f in {{files_arg('inputs', '.txt')}}; "
                    f'do n=$((n + $(cat "$f") + {"0 + " * self.code[n]}0)); done; : {n}; '
                    f"echo $((n / 2 * 16 + {n})) > {{out_file_arg('out', '.txt')}}\", name=\"n{n}\")".replace(
                        '"$f"', "$f"
                    )
                )
            else:
                plus = " + 0" * self.code[n]
                lines += ["@task", f"def n{n}(const, inputs):", f"    # {self.comment}"]
                lines += [f"    return (const + sum(number(x) for x in inputs){plus}) // 2 * 16 + {n}"]
        lines += ["@target(default=True)", "def all():"]
        for n, task in enumerate(self.tasks):
            inputs = [f"f{d}" for d in task.deps] + [f"file({SOURCES[s]!r})" for s in task.files]
            lines.append(f"    f{n} = n{n}({self.const[n]}, [{', '.join(inputs)}])")
            if task.placed:
                lines.append(f'    f{n} > "out/{n}.txt"')
        lines.append(f"    return [{', '.join(f'f{n}' for n in range(len(self.tasks)))}]")
        return "\n".join(lines) + "\n"


@dataclass
class Model:
    """Which tasks run, from nothing but edges and contents."""

    ids: dict[object, int] = field(default_factory=dict)
    keys: set[int] = field(default_factory=set)
    contents: set[object] = field(default_factory=set)
    blobs: set[bytes] = field(default_factory=set)

    def build(self, state: State, there: dict[int, str]) -> set[int]:
        """The tasks that run; ``there`` is what lies at the placed paths."""
        tasks, ran, known = state.tasks, set[int](), set[int]()
        value, key, content, blob = [0] * len(tasks), [0] * len(tasks), [()] * len(tasks), [b""] * len(tasks)
        for n, task in enumerate(tasks):
            files = tuple((s, state.sources[s]) for s in task.files)
            value[n] = (
                state.const[n] + sum(value[d] for d in task.deps) + sum(v for _, v in files)
            ) // 2 * 16 + n
            blob[n] = b"%d\n" % value[n] if task.bash else b"%d" % value[n]
            own = (n, state.const[n], state.code[n], files)
            merkle = (own, tuple(key[d] for d in task.deps))
            key[n] = self.ids.setdefault(merkle, len(self.ids))
            content[n] = (own, tuple(blob[d] for d in task.deps))  # type: ignore[assignment]

        def know(n: int) -> None:
            if n in known:
                return
            known.add(n)
            if key[n] in self.keys:
                return
            for d in tasks[n].deps:
                know(d)
            if content[n] not in self.contents:
                run(n)
            self.keys.add(key[n])
            self.contents.add(content[n])

        def run(n: int) -> None:
            if n not in ran:
                ran.add(n)
                for d in tasks[n].deps:
                    know(d)
                    need_bytes(d)
                self.blobs.add(blob[n])

        def need_bytes(n: int) -> None:
            if blob[n] not in self.blobs:
                run(n)

        for n in range(len(tasks)):
            know(n)
        for n, task in enumerate(tasks):
            if task.placed and there.get(n) != f"{value[n]}\n":
                need_bytes(n)
        return ran


class Ran(Quiet):
    """Keeps the names of what ran."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def report(self, event: events.Event) -> None:
        super().report(event)
        if isinstance(event, events.Ran):
            self.names.append(event.node.name)


def build_here(root: Path) -> list[str]:
    """Build a project's default target in this process; the names of the tasks that ran."""
    project = open_project(load_config(str(root), environ={}, jobs=1))
    try:
        merklfile = open_merklfile(project)
        reporter = Ran()
        build(project, selected(project, merklfile, [], str(root)).selection, reporter)
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


def write(root: Path, state: State) -> None:
    (root / "Merklfile.py").write_text(state.merklfile())
    for name, number in zip(SOURCES, state.sources, strict=True):
        path = root / name
        if not path.exists() or path.read_text() != f"{number}\n":
            path.write_text(f"{number}\n")


def placed(root: Path) -> dict[int, str]:
    return {int(path.stem): path.read_text() for path in root.glob("out/*.txt")}


def apply(root: Path, state: State, model: Model, edits: Sequence[tuple[str, int, int]]) -> None:
    from merkl.store.local import LocalStore

    for what, which, number in edits:
        which %= len(state.tasks)
        path = root / f"out/{which}.txt"
        if what == "source":
            state.sources[which % len(SOURCES)] = number
        elif what == "const":
            state.const[which] = number
        elif what == "code":
            state.code[which] = number
        elif what == "comment":
            state.comment = number
        elif what == "delete":
            path.unlink(missing_ok=True)
        elif what == "hand" and path.exists():
            path.write_text(f"edited {number}")
        elif what == "lose" and model.blobs:
            lost = sorted(model.blobs)[which % len(model.blobs)]
            model.blobs.discard(lost)
            store = LocalStore(root / ".merkl/store")
            digest = Digest.of(lost)
            store.database.write(lambda c, d=digest: c.execute("DELETE FROM blob WHERE digest = ?", (d,)))  # type: ignore[misc]
            store.close()
            shutil.rmtree(root / ".merkl/view", ignore_errors=True)


@settings(
    max_examples=500 if FULL else 15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(graphs(), ROUNDS)
def test_an_incremental_build_runs_what_it_must_and_gives_what_a_clean_one_gives(
    tasks: list[Task], rounds: list[list[tuple[str, int, int]]]
) -> None:
    state = State(tasks, [1, 2], [3] * len(tasks), [0] * len(tasks))
    model = Model()
    with directory() as root:
        for edits in ([], *rounds):
            apply(root, state, model, edits)
            write(root, state)
            expected = model.build(state, placed(root))

            ran = build_here(root)

            assert sorted(ran) == sorted(f"n{n}" for n in expected)
            assert build_here(root) == []
        with directory() as clean:
            write(clean, state)
            build_here(clean)
            assert placed(clean) == placed(root)
            assert sorted(placed(root)) == [n for n, task in enumerate(tasks) if task.placed]
