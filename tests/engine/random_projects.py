"""Random projects for ``test_random_graphs``: what a user has written, how it is edited, and the files that say it.

Each task adds a constant and all that it reads, and makes a number that many sums share, so that many edits are cut off.
Its own number and that of the output are in what it makes, so no two outputs share a blob.
"""

import copy
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hypothesis import strategies as st

from merkl.digest import Digest
from merkl.store.local import LocalStore

SOURCES = 3  # s0.txt is read by every bash task.
HEADERS = 3
MOST = 60


@dataclass(frozen=True)
class Task:
    """One node.  ``deps`` are outputs of earlier ones: a node's number, and which of its outputs."""

    bash: bool
    makes: Literal["one", "two", "dir"]
    deps: tuple[tuple[int, int], ...]
    files: tuple[int, ...]
    header: int | None  # The first header that it discovers.
    cache: bool
    leaky: bool  # Reads hidden.txt, and does not say so.
    placed: bool


@dataclass
class State:
    """What a user has written."""

    tasks: list[Task]
    roots: set[int]
    sources: list[int] = field(default_factory=lambda: [0, 1, 2][:SOURCES])
    headers: list[int] = field(default_factory=lambda: [1, 3, 4][:HEADERS])
    const: list[int] = field(default_factory=list)
    code: list[int] = field(default_factory=list)
    comment: int = 0
    hidden: int = 0

    def merklfile(self) -> str:
        lines = [
            "import os",
            "from pathlib import Path",
            "from merkl import *",
            "def number(x):",
            "    if isinstance(x, int): return x",
            "    return sum(map(number, Path(x).iterdir())) if os.path.isdir(x) else int(Path(x).read_text())",
        ]
        for n, task in enumerate(self.tasks):
            lines += self._bash(n, task) if task.bash else self._python(n, task)
        lines += ["@target(default=True)", "def all():"]
        for n, task in enumerate(self.tasks):
            lines.append(f"    f{n} = {self._call(n, task)}")
            lines += [f"    {self.future(n, k)} > {path!r}" for k, path in self.places(n)]
        return "\n".join(
            [*lines, f"    return [{', '.join(self.future(n, 0) for n in sorted(self.roots))}]\n"]
        )

    def _bash(self, n: int, task: Task) -> list[str]:
        add = f"n=$((n + $(cat $f){' + 0' * self.code[n]}))"
        script = ["cat {file_arg('s0', '.txt')} > /dev/null; n={arg('const', type=int)}"]
        script.append(f"for f in {{files_arg('inputs', '.txt')}}; do {add}; done")
        dirs = [d for d, _ in task.deps if self.tasks[d].makes == "dir"]
        script += [f"for f in {{dir_arg('d{d}')}}/*; do {add}; done" for d in dirs]
        if task.leaky:
            script.append("f=hidden.txt; " + add)
        if task.header is not None:  # An odd header includes the next.
            chain = f'h={task.header}; all=; while :; do f=h$h.h; all="$all $f"; {add}; '
            script.append(chain + f"(($(cat $f) % 2 && h + 1 < {HEADERS})) || break; h=$((h+1)); done")
            script.append('echo "x:$all" > {depfile_arg()}')
        value = f"echo $(((n / 2 %% 500) * 256 + {4 * n} + %d))"
        out = {"one": "{out_file_arg('out', '.txt')}", "two": "{out_file_arg('out', '.txt')}"}
        script.append(f"{value % 0} > " + out.get(task.makes, "{out_dir_arg('out')}/x"))
        if task.makes == "two":
            script.append(f"{value % 1} > {{out_file_arg('more', '.txt')}}")
        if task.makes == "dir":
            script.append(f"((n % 2)) || {value % 1} > {{out_dir_arg('out')}}/y")
        text = "\n".join(script)
        return [f"n{n} = bash_task(r'''{text}''', name='n{n}', cache={task.cache})"]

    def _python(self, n: int, task: Task) -> list[str]:
        more = f", n // 2 % 500 * 256 + {4 * n + 1}" if task.makes == "two" else ""
        return [
            f"@task(cache={task.cache})",
            f"def n{n}(const, inputs):",
            f"    # {self.comment}",
            f"    n = const + sum(map(number, inputs)){' + 0' * self.code[n]}",
            f"    return n // 2 % 500 * 256 + {4 * n}{more}",
        ]

    def _call(self, n: int, task: Task) -> str:
        files = [f"file('s{s}.txt')" for s in task.files]
        if not task.bash:
            inputs = [self.future(d, k) for d, k in task.deps]
            return f"n{n}({self.const[n]}, [{', '.join(inputs + files)}])"
        plain = [self.future(d, k) for d, k in task.deps if self.tasks[d].makes != "dir"]
        dirs = [f", d{d}={self.future(d, k)}" for d, k in task.deps if self.tasks[d].makes == "dir"]
        inputs = f"inputs=[{', '.join(plain + files)}]"
        return f"n{n}('s0.txt', const={self.const[n]}, {inputs}{''.join(dirs)})"

    def future(self, n: int, k: int) -> str:
        """The expression for an output of a node."""
        if self.tasks[n].makes != "two":
            return f"f{n}"
        return f"f{n}[{['out', 'more'][k]!r}]" if self.tasks[n].bash else f"f{n}[{k}]"

    def places(self, n: int) -> list[tuple[int, str]]:
        """Where outputs of a node are placed."""
        if not self.tasks[n].placed:
            return []
        makes = self.tasks[n].makes
        return (
            [(0, f"out/{n}")]
            if makes == "dir"
            else [(k, f"out/{n}-{k}.txt") for k in range(1 + (makes == "two"))]
        )


@st.composite
def states(draw: st.DrawFn, *, leaky: bool) -> State:
    """A project.  A leaky one has all nodes among its roots, so that it does not matter which is judged first."""
    tasks: list[Task] = []
    count = draw(st.sampled_from([3, 10, 25, MOST]))
    for _ in range(count):
        bash = draw(st.booleans())
        special = draw(st.sampled_from(range(20)))
        makes = draw(st.sampled_from(["one", "one", "two", *(["dir"] if bash else [])]))
        tasks.append(
            Task(
                bash=bash,
                makes=makes,
                deps=draw(_deps(tasks)),
                files=tuple(sorted(draw(st.sets(st.integers(1, SOURCES - 1), max_size=2)))),
                header=draw(st.integers(0, HEADERS - 1)) if bash and special in (0, 1, 2) else None,
                cache=special != 3,
                leaky=leaky and bash and special > 8,
                placed=draw(st.booleans()),
            )
        )
    roots = set(range(count)) if leaky else draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=6))
    return State(tasks, roots, const=[3] * count, code=[0] * count)


def _deps(tasks: list[Task]) -> st.SearchStrategy[tuple[tuple[int, int], ...]]:
    if not tasks:
        return st.just(())
    recent = st.integers(max(0, len(tasks) - 8), len(tasks) - 1)
    return st.lists(recent, max_size=3, unique=True).map(
        lambda found: tuple((d, (d + len(tasks)) % (1 + (tasks[d].makes == "two"))) for d in found)
    )


SOUND = ["source", "header", "const", "code", "comment", "touch", "edge", "back", "delete", "hand", "force"]
# What is edited, which of them, and to what.
Edit = tuple[str, int, int]


def rounds(*, leaky: bool) -> st.SearchStrategy[list[list[Edit]]]:
    """Edits between builds.  Which result of a leaky task is lost decides what others see, so there none is."""
    what = [*SOUND, *["vary"] * 8] if leaky else [*SOUND, "lose", "lose"]
    edits = st.tuples(st.sampled_from(what), st.integers(0, MOST - 1), st.integers(0, 4))
    return st.lists(st.lists(edits, min_size=1, max_size=3), min_size=1, max_size=5)


def write(root: Path, state: State) -> None:
    """Bring the files of a project to what ``state`` says."""
    files = {f"s{i}.txt": number for i, number in enumerate(state.sources)}
    files |= {f"h{i}.h": number for i, number in enumerate(state.headers)}
    texts = {name: f"{number}\n" for name, number in {**files, "hidden.txt": state.hidden}.items()}
    for name, text in {**texts, "Merklfile.py": state.merklfile()}.items():
        path = root / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def edited(state: State, history: list[State], what: str, which: int, number: int) -> State:
    """The state after an edit of what the user has written; any other edit leaves it as it is."""
    if what == "back":
        return copy.deepcopy(history[which % len(history)])
    state = copy.deepcopy(state)
    n = which % len(state.tasks)
    match what:
        case "source":
            state.sources[which % SOURCES] = number
        case "header":
            state.headers[which % HEADERS] = number
        case "const":
            state.const[n] = number
        case "code":
            state.code[n] = number
        case "comment":
            state.comment = number
        case "vary":
            state.hidden = number
        case "edge" if n:  # The last dependency goes, or one comes.
            task = state.tasks[n]
            deps = task.deps[:-1] if task.deps else ((n - 1, 0),)
            state.tasks[n] = Task(**{**vars(task), "deps": deps})
    return state


def disturb(root: Path, state: State, blobs: set[bytes], what: str, which: int, number: int) -> None:
    """Do to the files and to the store what an edit asks for."""
    n = which % len(state.tasks)
    paths = [root / path for _, path in state.places(n) if (root / path).exists()]
    if what == "touch":
        os.utime(root / f"s{which % SOURCES}.txt")
    elif what == "delete" and paths:
        shutil.rmtree(paths[0]) if paths[0].is_dir() else paths[0].unlink()
    elif what == "hand" and paths:
        (paths[-1] / "z" if paths[-1].is_dir() else paths[-1]).write_text(f"edited {number}")
    elif what == "lose" and blobs:
        lost = sorted(blobs)[(which * 7 + number) % len(blobs)]
        blobs.discard(lost)
        store = LocalStore(root / ".merkl/store")
        digest = Digest.of(lost)
        store.database.write(
            lambda connection: connection.execute("DELETE FROM blob WHERE digest = ?", (digest,))
        )
        store.close()
        shutil.rmtree(root / ".merkl/view", ignore_errors=True)


def placed(root: Path, state: State) -> dict[str, object]:
    """What lies where outputs are placed: a text, or for a directory its texts by name."""
    found: dict[str, object] = {}
    for n in range(len(state.tasks)):
        for _, name in state.places(n):
            path = root / name
            if path.is_dir():
                found[name] = {each.name: each.read_text() for each in path.iterdir()}
            elif path.exists():
                found[name] = path.read_text()
    return found
