"""Imports point one way.

Every import counts: inside functions, under ``TYPE_CHECKING``, relative, or by
``import_module("merkl.…")`` with a literal name.  The package's ``__init__`` and ``__main__`` are in
no layer: they may reach everything, but only from inside functions, so that importing them costs
nothing; and nothing inside the package may import them, save for ``__version__``.
"""

import ast
import graphlib
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import merkl

PACKAGE = Path(merkl.__file__).parent

LAYERS = """
    fieldmethods
    dataclass pattern sqlite
    errors stamp hashers signals
    digest holes room sizes filesystem root snapshot tracebacks lending gauge
    tree journal remotes
    executors
    nodes config
    events resources
    trust
    workspace store tracing
    execute
    bash python
    merklfile
    engine
    report watching cluster
    programs
    cli
"""  # Each line may import the lines above it, words on a line not each other.

LEVEL = {word: level for level, line in enumerate(LAYERS.split("\n")) for word in line.split()}

PURE = (
    "merkl.errors",
    "merkl.digest",
    "merkl.tree",
    "merkl.nodes",
    "merkl.events",
    "merkl.bash.binding",
    "merkl.bash.compiler",
    "merkl.bash.cursor",
    "merkl.bash.dollar",
    "merkl.bash.grammar",
    "merkl.bash.hazards",
    "merkl.bash.heredoc",
    "merkl.bash.placeholders",
    "merkl.bash.pythontext",
    "merkl.bash.script",
    "merkl.bash.spelling",
    "merkl.bash.template",
    "merkl.bash.lexer",
    "merkl.bash.expression",
    "merkl.bash.quoting",
    "merkl.engine.judge",
    "merkl.engine.known",
    "merkl.engine.lists",
    "merkl.engine.lookup",
    "merkl.engine.select",
    "merkl.engine.step",
)  # These decide; others act.

# What reaches the disk, processes, the network or the clock.  Of ``os``, only what turns names into
# other names is allowed in a pure module, and ``open`` and its like are not.
WORLDLY = """
    asyncio concurrent ctypes fcntl fileinput ftplib glob gzip http io linecache mmap multiprocessing pathlib posix
    pty random select selectors shutil signal smtplib socket sqlite3 ssl subprocess tarfile tempfile threading time
    tokenize urllib watchdog zipfile
"""
NAMING = """
    PathLike fsdecode fsencode fspath sep altsep
    path basename commonpath dirname isabs join normpath split splitext
"""
ACTING = frozenset({"open", "input", "print", "exec", "eval", "__import__"})


@dataclass(frozen=True, slots=True)
class Import:
    """``module`` imports ``target``, a module of the package or of another, on ``line``."""

    module: str
    target: str
    line: int
    at_once: bool  # When the importing module is loaded.


def modules(package: Path) -> dict[str, Path]:
    """Every module under ``package`` by dotted name; a package goes by its own name, without ``__init__``."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, path: Path, known: dict[str, Path]) -> Iterator[Import]:
    """Every import in one module; ``from p import m`` is of ``p.m`` if that is a module."""
    tree = ast.parse(path.read_bytes(), str(path))
    deferred = {id(inner) for node in ast.walk(tree) if _defers(node) for inner in ast.walk(node)}
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        for target in _targets(node, package, known):
            yield Import(name, target, getattr(node, "lineno", 0), id(node) not in deferred)


def _defers(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def _targets(node: ast.AST, package: str, known: dict[str, Path]) -> Iterator[str]:
    match node:
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom():
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                is_module = inner in known or inner == "merkl.__version__"
                yield inner if is_module else module
        case ast.Call(
            func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(str(literal)), *_]
        ):
            if called in ("import_module", "__import__"):
                yield literal


def violations(package: Path) -> list[str]:
    """What is wrong with the imports of ``package``, one line each."""
    known = modules(package)
    wrong = []
    for name, path in known.items():
        for found in imports_of(name, path, known):
            if found.target.partition(".")[0] == "merkl" and (reason := _objection(found)):
                wrong.append(f"{name}:{found.line} imports {found.target}: {reason}")
    return list(dict.fromkeys(wrong))  # One line may import several names.


def _objection(found: Import) -> str:
    source, target = found.module, found.target
    if source in ("merkl", "merkl.__main__"):
        return "the package's own doors import inside functions only" if found.at_once else ""
    if target == "merkl.__version__":
        return ""
    if target in ("merkl", "merkl.__main__"):
        return "that is the door, not a layer"
    here, there = source.split(".")[1], target.split(".")[1]
    if here not in LEVEL or there not in LEVEL:
        return f"{here if here not in LEVEL else there} is in no layer"
    if here != there and LEVEL[there] == LEVEL[here]:
        return "they are on one line"
    return "that is below it" if LEVEL[there] > LEVEL[here] else ""


def cycle(package: Path) -> list[str]:
    """The names of modules that import each other in a ring, or an empty list."""
    known = modules(package)
    doors = {"merkl", "merkl.__main__"}
    graph = {
        name: {
            found.target
            for found in imports_of(name, path, known)
            if found.target in known.keys() - doors - {name}
        }
        for name, path in known.items()
        if name not in doors
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def worldly(name: str, path: Path) -> list[str]:
    """Where one module reaches out of itself, one line each."""
    wrong = []
    for found in imports_of(name, path, {}):
        if found.target.partition(".")[0] in WORLDLY.split():
            wrong.append(f"{name}:{found.line} imports {found.target}")
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        match node:
            case ast.Attribute(
                value=ast.Name(id="os") | ast.Attribute(value=ast.Name(id="os"), attr="path"), attr=attribute
            ):
                reached = "" if attribute in NAMING.split() else f"os.{attribute}"
            case ast.ImportFrom(module="os" | "os.path" | "posixpath", names=names):
                reached = ", ".join(f"os.{alias.name}" for alias in names if alias.name not in NAMING.split())
            case ast.Import(names=names):
                reached = ", ".join(f"{alias.name} as {alias.asname}" for alias in names if _hides_os(alias))
            case ast.Call(func=ast.Name(id=called)):
                reached = called if called in ACTING else ""
            case _:
                reached = ""
        if reached:
            wrong.append(f"{name}:{node.lineno} uses {reached}")
    return wrong


def _hides_os(alias: ast.alias) -> bool:
    return alias.name.partition(".")[0] in ("os", "posixpath") and alias.asname is not None


def test_imports_point_one_way():
    assert violations(PACKAGE) == []


def test_no_modules_import_each_other():
    assert cycle(PACKAGE) == []


def test_pure_modules_do_not_touch_the_world():
    known = modules(PACKAGE)
    assert [line for name in PURE if name in known for line in worldly(name, known[name])] == []


def test_the_table_of_pure_modules_names_only_modules_that_exist():
    assert set(PURE) <= modules(PACKAGE).keys()


def sample(root: Path, **files: str) -> Path:
    """A package ``merkl`` of these files, ``bash__run`` being ``bash/run.py``."""
    for name, text in files.items():
        path = root / "merkl" / (name.replace("__", "/") if name != "__init__" else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(textwrap.dedent(text))
        for folder in path.relative_to(root).parents[:-1]:
            (root / folder / "__init__.py").touch()
    return root / "merkl"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import merkl.nodes", "below"),
        ("from merkl import nodes", "below"),
        ("from merkl.nodes import Node", "below"),
        ("from . import nodes", "below"),
        ("from .nodes import Node", "below"),
        ("def f():\n    from merkl.nodes import Node", "below"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from merkl.nodes import Node", "below"),
        ("import importlib\ndef f():\n    importlib.import_module('merkl.nodes')", "below"),
        ("class C:\n    try:\n        import merkl.bash.run\n    except ImportError:\n        pass", "below"),
        ("from merkl.holes import has_holes", "on one line"),
        ("from merkl import task", "the door"),
        ("import merkl", "the door"),
        ("import merkl.unheard_of", "unheard_of is in no layer"),
    ],
)
def test_the_check_sees_an_import_that_points_the_other_way(tmp_path, text, reason):
    package = sample(tmp_path, digest=text, nodes="", holes="", bash__run="")

    [line] = violations(package)

    assert line.startswith("merkl.digest:")
    assert reason in line


def test_the_check_allows_what_is_above_and_what_is_beside_in_one_folder(tmp_path):
    package = sample(
        tmp_path,
        errors="import sys",
        digest="from merkl.errors import MerklError\nfrom merkl import __version__",
        bash__run="from .quoting import quote\nfrom ..digest import Digest\nfrom merkl.bash import quoting",
        bash__quoting="from merkl import errors",
        __init__="def __getattr__(name):\n    import merkl.bash.run",
    )

    assert violations(package) == []
    assert cycle(package) == []


def test_the_check_sees_a_module_that_is_in_no_layer(tmp_path):
    assert (
        "helpers is in no layer" in violations(sample(tmp_path, helpers="import merkl.errors", errors=""))[0]
    )


def test_the_check_sees_a_door_that_is_not_lazy(tmp_path):
    package = sample(tmp_path, errors="", __init__="from merkl.errors import MerklError")

    assert "inside functions only" in violations(package)[0]


def test_the_check_sees_a_cycle_inside_a_folder_even_if_only_types_are_imported(tmp_path):
    package = sample(
        tmp_path,
        bash__run="def f():\n    from merkl.bash import task",
        bash__task="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from merkl.bash.run import run",
    )

    assert violations(package) == []
    assert set(cycle(package)) == {"merkl.bash.run", "merkl.bash.task"}


@pytest.mark.parametrize(
    "text",
    [
        "import subprocess",
        "from pathlib import Path",
        "import concurrent.futures",
        "def f():\n    import tempfile",
        "import os\nos.stat('x')",
        "import os\nf = os.open",
        "import os\nos.environ",
        "import os\nos.path.exists('x')",
        "from os import listdir",
        "from os.path import realpath",
        "import os as system",
        "import os.path as p",
        "open('x')",
        "exec('1')",
        "import importlib\nimportlib.import_module('socket')",
    ],
)
def test_the_check_sees_a_pure_module_that_touches_the_world(tmp_path, text):
    package = sample(tmp_path, nodes=text)

    assert worldly("merkl.nodes", package / "nodes.py") != []


def test_the_check_lets_a_pure_module_work_on_names(tmp_path):
    text = "import os\nfrom os import fsencode\nos.fsdecode(b'x')\nos.path.join('a', 'b')\nimport dataclasses"

    assert worldly("merkl.nodes", sample(tmp_path, nodes=text) / "nodes.py") == []


def test_the_page_on_the_design_names_every_module_and_has_these_layers():
    page = (PACKAGE.parent / "docs" / "design.md").read_text()
    named = set(
        re.findall(
            r"(?:^|\s)([\w.]+(?:/|\.py))\s", page.partition("```text\nmerkl/\n")[2].partition("```")[0]
        )
    )
    there = {path.name + "/" * path.is_dir() for path in PACKAGE.iterdir() if path.name[:1] not in "._"}
    there = {name for name in there if name.endswith((".py", "/"))}

    assert there <= named
    assert f"```text\n{textwrap.dedent(LAYERS).strip()}\n```" in page
