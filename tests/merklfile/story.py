"""A project in a directory of the test's own, with a session that only writes down what it is told."""

import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from merkl.config import Config
from merkl.merklfile import loader
from merkl.merklfile.arguments import Request, parse_request
from merkl.merklfile.calls import Calls, call
from merkl.merklfile.registry import Merklfile
from merkl.nodes import Future, Node, scope
from merkl.workspace.paths import normalise

# On one line, so that the user's second line is the file's second line.
NAMES = (
    "from merkl.merklfile.declare import target; from merkl.merklfile.inputs import file, files; "
    "from merkl.merklfile.loader import include; from merkl.merklfile.parameters import params; "
    "from merkl.python.task import task; from merkl.workspace.refs import FileRef\n"
)
ECHO = "@task\ndef echo(value):\n    return value\n"


class Recorder:
    """A session that makes nothing: it remembers nodes and placements with the target they belong to."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.project_modules: tuple[str, ...] = ()
        self.nodes: list[tuple[str, str]] = []
        self.placements: list[tuple[str, str]] = []

    def made(self, node: Node, called: object = None) -> None:
        self.nodes.append((node.name, scope().target))

    def looked(self, kind: str, path: str, answer: object) -> None:
        pass

    def place(self, future: Future[Any], path: Any, sidecar: bool) -> None:
        where = normalise(path, os.path.join(self.root, scope().base), self.root)
        self.placements.append((where, scope().target))


class Project:
    """Files below ``root``, and loads of the Merklfile among them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.session = Recorder(str(root))

    def write(self, path: str, text: str = "") -> Path:
        """Write a file; a Merklfile gets the public names in its first line, so its own text begins in the second."""
        where = self.root / path
        where.parent.mkdir(parents=True, exist_ok=True)
        text = textwrap.dedent(text).lstrip("\n")
        where.write_text(NAMES + text if where.name == "Merklfile.py" else text)
        return where

    def load(self, text: str | None = None, *, sets: tuple[str, ...] = (), **config: Any) -> Merklfile:
        if text is not None:
            self.write("Merklfile.py", text)
        self.session = Recorder(str(self.root))
        return loader.load(Config(str(self.root), **config), self.session, sets)  # type: ignore[arg-type]

    def ask(self, merklfile: Merklfile, *words: str, cwd: str = "") -> Request:
        return parse_request(words, merklfile, str(self.root / cwd))

    def call(self, merklfile: Merklfile, *words: str) -> Calls:
        return call(self.ask(merklfile, *words), merklfile)

    def given(self, merklfile: Merklfile, *words: str) -> Any:
        """What the first target that is called returns, such as the values it was given."""
        return next(called.value for called in self.call(merklfile, *words).called if called.requested)


@contextmanager
def a_project(root: Path) -> Iterator[Project]:
    """A project that leaves the process as it was."""
    path, modules, cwd = list(sys.path), set(sys.modules), os.getcwd()
    yield Project(root.resolve())
    assert os.getcwd() == cwd
    while loader._last:
        loader._last.pop()[2]()
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(root)):
            del sys.modules[name]
