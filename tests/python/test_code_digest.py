"""The code digest beyond single edits: one name everywhere, what is loaded rather than what is on disk, memory."""

import builtins
import enum
import functools
import importlib.util
import keyword
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import numpy
import pytest
from fresh import code, imported, write
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from merkl.digest import encode
from merkl.errors import TaskError, UnhashableArgument
from merkl.python import sources
from merkl.python.code import HashMode, code_of, definition_of, definition_site, encode_hook, module_label
from merkl.python.project import Project

LIB = """\
import math
from dataclasses import dataclass
from pathlib import Path

SCALE = 3  # a comment
TABLE = {"a": [1, 2], "b": {3, "four"}}


@dataclass
class Row:
    \"\"\"One row.\"\"\"

    n: int = 1


def mean(xs, *, digits=2):
    \"\"\"The mean.\"\"\"
    return round(math.fsum(xs) / len(xs) * SCALE, digits)


def label(x):
    match x:
        case {"a": [first, *_], **rest}:
            return f"{first!r:>{SCALE}} and {rest=}" f"{{}} {x:}"
        case _:
            return Path("x"), (y := TABLE), [z for z in TABLE if z != y]
"""
TASKS = """\
import lib
from lib import Row


def task(xs):
    return lib.mean(xs), Row(), lib.label(xs), [lambda x: x + 1, lambda x: x + 2][0](3)
"""
SAMPLE = {"lib.py": LIB, "tasks.py": TASKS}
# Every Python must find this one; a change of it abandons all results of Python tasks.
SAMPLE_DIGEST = "fed0e19a3603de044c2fe8e9a91d88ff74df842ce1c575fcd912feccb216bea4"

SHOW = """
if __name__ == "__main__":
    from merkl.python.code import code_of
    from merkl.python.project import Project
    print(code_of(task, Project({root!r})).digest)
"""


def shown_by(*arguments: str, cwd: Path, **environment: str) -> str:
    """What a new process prints, started so that it finds this merkl."""
    here = Path(sources.__file__).parents[2]
    found = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(here), **environment},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_the_digest_of_a_sample_is_pinned(tmp_path: Path) -> None:
    assert code(write(tmp_path, SAMPLE)).digest.hex() == SAMPLE_DIGEST


def test_a_task_has_one_digest_as_a_script_under_m_imported_and_with_any_hash_seed(tmp_path: Path) -> None:
    write(tmp_path, {**SAMPLE, "tasks.py": TASKS + SHOW.format(root=str(tmp_path))})
    importing = f"from tasks import task; __name__ = '__main__'{SHOW.format(root=str(tmp_path))}"
    found = {
        "script": shown_by("tasks.py", cwd=tmp_path, PYTHONHASHSEED="1"),
        "script by its path": shown_by(str(tmp_path / "tasks.py"), cwd=tmp_path.parent, PYTHONHASHSEED="2"),
        "module": shown_by("-m", "tasks", cwd=tmp_path, PYTHONHASHSEED="3"),
        "imported": shown_by("-c", importing, cwd=tmp_path, PYTHONHASHSEED="4"),
        "imported from .pyc": shown_by("-c", importing, cwd=tmp_path),
    }
    assert set(found.values()) == {SAMPLE_DIGEST}, found


def test_a_function_that_was_pickled_by_value_has_the_digest_it_had(tmp_path: Path) -> None:
    write(tmp_path, SAMPLE)
    with imported(tmp_path) as tasks:
        cloudpickle.register_pickle_by_value(tasks)
        try:
            pickled = cloudpickle.dumps(tasks.task)
        finally:
            cloudpickle.unregister_pickle_by_value(tasks)
    (tmp_path / "task.pickle").write_bytes(pickled)
    worker = f"""
import pickle
from merkl.python.code import code_of
from merkl.python.project import Project
print(code_of(pickle.load(open("task.pickle", "rb")), Project({str(tmp_path)!r})).digest)
"""
    assert shown_by("-c", worker, cwd=tmp_path) == SAMPLE_DIGEST


def test_a_file_edited_after_it_was_imported_counts_as_it_was_imported(tmp_path: Path) -> None:
    project = Project(str(tmp_path))
    uninstall = sources.install(project)
    try:
        with imported(write(tmp_path, SAMPLE)) as tasks:
            (tmp_path / "lib.py").write_text(LIB.replace("* SCALE", "/ SCALE"))
            (tmp_path / "tasks.py").write_text("# moved down\n" + TASKS)
            assert code_of(tasks.task, project).digest.hex() == SAMPLE_DIGEST
    finally:
        uninstall()


def test_an_edited_file_that_nobody_recorded_is_not_taken_for_what_runs(tmp_path: Path) -> None:
    project = Project(str(tmp_path))
    with imported(write(tmp_path, SAMPLE)) as tasks:
        (tmp_path / "lib.py").write_text(LIB.replace("* SCALE", "/ SCALE"))
        found = code_of(tasks.task, project)
    edited = code(write(tmp_path / "edited", {**SAMPLE, "lib.py": LIB.replace("* SCALE", "/ SCALE")}))
    assert found.digest not in (edited.digest, SAMPLE_DIGEST)
    mean = next(part for part in found.parts if part.name == "lib.py:mean")
    assert "no text" in mean.source


def test_a_file_that_has_become_nonsense_is_not_read(tmp_path: Path) -> None:
    files = {
        "lib.py": "class Thing:\n    n = 1\nLIMIT = 3\n",
        "tasks.py": "from lib import Thing, LIMIT\ndef task():\n    return Thing, LIMIT\n",
    }
    with imported(write(tmp_path, files)) as tasks:
        (tmp_path / "lib.py").write_text("class Thing(:\n")
        assert code_of(tasks.task, Project(str(tmp_path))).digest


def test_a_text_recorded_by_a_loader_serves_code_without_a_file(tmp_path: Path) -> None:
    filename = str(tmp_path / "Merklfile.py")
    text = "def helper(x):\n    return x\ndef task(x):\n    return helper(x)\n"
    sources.record(filename, text)
    namespace = {"__name__": "merklfile", "__file__": filename}
    exec(compile(text, filename, "exec"), namespace)
    found = code_of(namespace["task"], Project(str(tmp_path)))
    assert [part.name for part in found.parts] == ["Merklfile.py:helper", "Merklfile.py:task"]
    assert found.parts[1].source == "def task(x):\n    return helper(x)\n"
    assert found.parts[1].where == "Merklfile.py:3"


def test_a_second_version_of_a_recorded_file_leaves_the_code_of_the_first_its_text(tmp_path: Path) -> None:
    filename = str(tmp_path / "Merklfile.py")
    versions = []
    for number in (1, 2):
        text = f"def task(x):\n    return x + {number}\n"
        sources.record(filename, text)
        namespace: dict[str, object] = {"__name__": "merklfile", "__file__": filename}
        exec(compile(text, filename, "exec"), namespace)
        versions.append(namespace["task"])
    texts = [code_of(task, Project(str(tmp_path))).parts[0].source for task in versions]
    assert texts == ["def task(x):\n    return x + 1\n", "def task(x):\n    return x + 2\n"]


def test_code_without_a_text_counts_by_its_bytecode_and_still_leads_to_its_helpers(tmp_path: Path) -> None:
    def made(body: str, helper: str) -> object:
        with imported(
            write(tmp_path / f"{body}{helper}".replace(" ", ""), {"lib.py": helper_text(helper)}), "lib"
        ) as lib:
            namespace = {"__name__": "__main__", "lib": lib}
            exec(f"def task(x):\n    return {body}", namespace)
            return code_of(
                namespace["task"], Project(str(tmp_path / f"{body}{helper}".replace(" ", "")))
            ).digest

    def helper_text(body: str) -> str:
        return f"def helper(x):\n    return {body}\n"

    assert made("lib.helper(x)", "x") == made("lib.helper(x)", "x")
    assert made("lib.helper(x)", "x") != made("-lib.helper(x)", "x")
    assert made("lib.helper(x)", "x") != made("lib.helper(x)", "-x")


def test_a_helper_that_is_defined_further_down_counts_as_well(tmp_path: Path) -> None:
    text = """
from merkl.python.code import code_of
from merkl.python.project import Project
import os

def task(x):
    return helper(x)

EARLY = code_of(task, Project(os.path.dirname(__file__)))

def helper(x, n=LATER if 0 else 1):
    return second(x) + 1

def second(x):
    return x * 2
"""

    def early(name: str, old: str, new: str) -> bytes:
        with imported(write(tmp_path / name, {"tasks.py": text.replace(old, new)})) as tasks:
            return bytes(tasks.EARLY.digest)

    assert early("same", "", "") == early("comment", "+ 1", "+ 1  # one")
    assert early("same", "", "") != early("helper", "+ 1", "+ 2")
    assert early("same", "", "") != early("second", "* 2", "* 3")


def test_a_class_without_a_text_counts_by_what_it_is_made_of(tmp_path: Path) -> None:
    def made(text: str) -> bytes:
        namespace: dict[str, object] = {"__name__": "__main__"}
        exec(text, namespace)
        return bytes(code_of(namespace["task"], Project(str(tmp_path))).digest)

    text = "class Thing:\n    n = 1\n    def run(self):\n        return 1\ndef task():\n    return Thing().run()\n"
    plain = "class Thing:\n    n = 1\ndef task():\n    return Thing()\n"
    assert made(text) == made(text) and made(plain) == made(plain)
    assert (
        len({made(text), made(text.replace("n = 1", "n = 2")), made(text.replace("return 1", "return 2"))})
        == 3
    )
    assert made(plain) != made(plain.replace("n = 1", "n = 2"))


def test_a_class_made_by_a_call_counts_by_what_it_was_made_of(tmp_path: Path) -> None:
    project = Project(str(tmp_path))
    text = "from collections import namedtuple\nimport dataclasses\nPoint = namedtuple('Point', 'x y')\nRow = dataclasses.make_dataclass('Row', [('n', int, 1)])\n"

    def seen(name: str, text: str) -> tuple[bytes, bytes]:
        with imported(write(tmp_path / name, {"tasks.py": text})) as tasks:
            return code_of(tasks.Point, project).digest, code_of(tasks.Row, project).digest

    assert seen("one", text)[0] == seen("one", text + "\n")[0]
    assert seen("one", text)[0] != seen("two", text.replace("x y", "y x"))[0]
    assert seen("one", text)[1] != seen("three", text.replace("1)", "2)"))[1]


@settings(max_examples=20)
@given(name=st.from_regex(r"[a-z_]{1,12}", fullmatch=True), constant=st.integers())
def test_an_unused_function_may_be_called_anything(
    name: str, constant: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assume(
        not keyword.iskeyword(name)
        and name not in {"math", "dataclass", "mean", "label"}
        and name not in dir(builtins)
    )
    root = write(
        tmp_path_factory.mktemp("any"),
        {**SAMPLE, "lib.py": LIB + f"\n\ndef {name}():\n    return {constant}\n"},
    )
    assert code(root).digest.hex() == SAMPLE_DIGEST


def extension() -> Path | None:
    """A compiled module of the standard library, which nobody else here imports."""
    for name in ("_lsprof", "_bz2", "_crypt", "_zoneinfo", "audioop", "_curses_panel"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".so"):
            return Path(spec.origin)
    return None


@pytest.mark.skipif(extension() is None, reason="this Python has no extension modules in files")
def test_an_extension_module_of_the_project_counts_by_its_file(tmp_path: Path) -> None:
    compiled = extension()
    assert compiled is not None
    name = compiled.name.partition(".")[0]
    text = f"import {name}\ndef task():\n    return {name}.anything()\n{SHOW.format(root=str(tmp_path))}"
    write(tmp_path, {"tasks.py": text})
    found = []
    for tail in (b"", b"", b"rebuilt"):
        (tmp_path / compiled.name).write_bytes(compiled.read_bytes() + tail)
        found.append(shown_by("tasks.py", cwd=tmp_path))
    assert found[0] == found[1] != found[2]


def test_each_hash_mode_counts_as_much_as_it_says(tmp_path: Path) -> None:
    edits = {
        "nothing": SAMPLE,
        "task": {**SAMPLE, "tasks.py": TASKS.replace("x + 1", "x + 9")},
        "file": {**SAMPLE, "tasks.py": TASKS + "\n\ndef other():\n    return 1\n"},
        "helper": {**SAMPLE, "lib.py": LIB.replace("digits=2", "digits=3")},
        "comment": {**SAMPLE, "tasks.py": TASKS.replace("):\n    return", "):\n    # why\n    return")},
    }
    roots = {name: write(tmp_path / name, files) for name, files in edits.items()}

    def seen(mode: HashMode, strict: bool) -> list[str]:
        before = code(roots["nothing"], mode, strict=strict).digest
        return [name for name in edits if code(roots[name], mode, strict=strict).digest != before]

    assert seen(HashMode.FUNCTION, False) == ["task"]
    assert seen(HashMode.MODULE, False) == ["task", "file"]
    assert seen(HashMode.FIND_DEPS, False) == ["task", "helper"]
    assert seen(HashMode.FUNCTION, True) == ["task", "comment"]
    assert seen(HashMode.MODULE, True) == ["task", "file", "comment"]
    assert seen(HashMode.FIND_DEPS, True) == ["task", "helper", "comment"]


def test_parts_say_what_counts_where_it_is_and_in_readable_form(tmp_path: Path) -> None:
    parts = {part.name: part for part in code(write(tmp_path, SAMPLE)).parts}
    assert sorted(parts) == [
        "lib.py:Row",
        "lib.py:SCALE",
        "lib.py:TABLE",
        "lib.py:label",
        "lib.py:mean",
        "tasks.py:task",
    ]
    assert parts["lib.py:SCALE"].source == "SCALE = 3\n"
    assert parts["lib.py:SCALE"].where == "lib.py:5"
    assert parts["lib.py:mean"].source.startswith("def mean(xs, *, digits=2):\n")
    assert parts["lib.py:mean"].where == "lib.py:16"


def test_a_digest_taken_again_follows_rebound_names_and_values_changed_in_place(tmp_path: Path) -> None:
    with imported(write(tmp_path, SAMPLE)) as tasks:
        project = Project(str(tmp_path))
        lib = sys.modules["lib"]
        first = code_of(tasks.task, project)
        assert code_of(tasks.task, project) is first
        lib.SCALE = 4
        second = code_of(tasks.task, project)
        lib.TABLE["a"].append(5)
        third = code_of(tasks.task, project)
        lib.SCALE = 3
        lib.TABLE["a"].pop()
        assert len({first.digest, second.digest, third.digest}) == 3
        assert code_of(tasks.task, project).digest == first.digest


def test_a_thousand_tasks_share_the_walk_of_their_library(tmp_path: Path) -> None:
    steps = "".join(f"def step{n}(x):\n    return step{n + 1}(x) + {n}\n" for n in range(200))
    tasks = "".join(f"def task{n}(x):\n    return lib.step0(x) + {n}\n" for n in range(1000))
    root = write(
        tmp_path, {"lib.py": steps + "def step200(x):\n    return x\n", "tasks.py": "import lib\n" + tasks}
    )
    with imported(root) as module:
        project = Project(str(root))
        started = time.process_time()
        code_of(module.task0, project)
        once = time.process_time() - started
        started = time.process_time()
        found = {code_of(getattr(module, f"task{n}"), project).digest for n in range(1, 1000)}
        assert len(found) == 999
        # Walked anew each time, it would take several hundred times as long as once.
        assert time.process_time() - started < 100 * once


def test_threads_find_the_same_digest(tmp_path: Path) -> None:
    with imported(write(tmp_path, SAMPLE)) as tasks:
        found: list[str] = []
        project = Project(str(tmp_path))
        threads = [
            threading.Thread(target=lambda: found.append(code_of(tasks.task, project).digest.hex()))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(found) == {SAMPLE_DIGEST} and len(found) == 8


# --- code among arguments --------------------------------------------------------------------------------

ARGUMENTS = """\
import enum, functools
from collections import namedtuple
from dataclasses import dataclass

def helper(x):
    return x + 1

def other(x):
    return helper(x)

class Thing:
    def run(self, x):
        return helper(x)

@dataclass
class Row:
    n: int = 1
    def double(self):
        return helper(self.n)

class Color(enum.Enum):
    RED = 1
    def code(self):
        return helper(1)

VALUES = [
    other, Thing, Thing.run, Thing().run, functools.partial(other, 2), lambda x: helper(x), Row(2), Color.RED,
    functools.lru_cache(other), [other], {"run": Thing},
]
"""


def test_an_argument_that_is_code_counts_with_all_it_reaches(tmp_path: Path) -> None:
    def encoded(name: str, text: str) -> list[bytes]:
        root = write(tmp_path / name, {"tasks.py": text})
        with imported(root) as tasks:
            hook = encode_hook(Project(str(root)))
            return [encode(value, hook) for value in tasks.VALUES]

    before = encoded("before", ARGUMENTS)
    assert encoded("again", ARGUMENTS) == before
    assert len(set(before)) == len(before)
    after = encoded("after", ARGUMENTS.replace("x + 1", "x + 2"))
    assert [a == b for a, b in zip(before, after, strict=True)] == [False] * len(before)


def test_an_argument_of_another_package_counts_by_reference(tmp_path: Path) -> None:
    hook = encode_hook(Project(str(tmp_path)))
    values = [os.path.join, json_dumps(), int, numpy.sin, str.upper, functools.reduce, numpy.float32, os]
    assert len({encode(value, hook) for value in values}) == len(values)


def json_dumps() -> object:
    import json

    return json.dumps


@dataclass
class Loop:
    inner: object = None


class Shade(enum.Enum):
    DARK = threading.Lock()


def test_an_argument_without_a_stable_meaning_is_refused(tmp_path: Path) -> None:
    hook = encode_hook(Project(os.path.dirname(__file__)))
    loop = Loop()
    loop.inner = loop
    for value in (
        threading.Lock(),
        object(),
        loop,
        Shade.DARK,
        functools.partial(threading.Lock).func().acquire,
    ):
        with pytest.raises(UnhashableArgument):
            encode(value, hook)


def test_what_has_no_code_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no code can be found"):
        code_of(3, Project(str(tmp_path)), HashMode.FUNCTION)


# --- names -----------------------------------------------------------------------------------------------


def test_messages_name_file_and_line_and_keys_name_the_file(tmp_path: Path) -> None:
    with imported(write(tmp_path, {**SAMPLE, "pkg/__init__.py": "def inside(): pass\n"})) as tasks:
        project = Project(str(tmp_path))
        assert definition_site(tasks.task, project) == "tasks.py:5"
        assert definition_site(functools.partial(tasks.task), project) == "tasks.py:5"
        assert module_label(tasks.task, project) == module_label(tasks, project) == "tasks.py"
        assert module_label(tasks.lib.Row, project) == "lib.py"
        assert type(definition_of(tasks.task)).__name__ == "FunctionDef"
        with imported(tmp_path, "pkg") as package:
            assert module_label(package.inside, project) == "pkg/__init__.py"
        assert module_label(os.path.join, project) == "posixpath"
