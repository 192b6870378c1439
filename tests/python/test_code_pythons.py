"""One digest on every supported Python: what this one finds, the others on the machine find too."""

import argparse
import ast
import calendar
import dataclasses
import difflib
import enum
import functools
import inspect
import logging
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from edits import EDITS
from fresh import write

import merkl

HERE = Path(merkl.__file__).parents[1]
# The other Pythons may lack blake3, a compiled package.  Any good hash shows whether they hash the same bytes.
STAND_IN = "from hashlib import blake2b\ndef blake3(data=b''):\n    return blake2b(data, digest_size=32)\n"
# Where parsers differ most.
SYNTAX = r"""
a = f"{x!r:>{w}}" f"{{}}" "b" f'{x=}' f"{x:}" f"" f"{x:%Y-%m}{y}" rf"\d{x}" f'''{
x
}'''
def f(a: int, /, b: "str" = 1, *c: *d, e, **g) -> None:
    try:
        x = (yield)
    except* (E, F) as e:
        pass
    match x:
        case {"k": [1, *_], **r} | C(a=-1 | 1 + 2j) as m if m: return lambda: (yield)
    with (a as b, c): return x[1:2, ...], x[*y], {**a}, [*b], (a := 1), not -x ** 2
class C(B, metaclass=M):
    x: int
    async def f(self): return [await y async for y in z if y]
"""
SHOW = """
import ast, importlib, sys
sys.path[:0] = sys.argv[1:3]
from merkl.digest import Digest
from merkl.python.code import code_of
from merkl.python.names import uses_of
from merkl.python.project import Project
from merkl.python.syntax import normal_form
before = set(sys.modules)
for place in sys.argv[3:]:
    if place.endswith(".py"):
        tree = ast.parse(open(place, encoding="utf-8").read())
        print(place, Digest.of(normal_form(tree, docstrings=True)), Digest.of(repr(uses_of(tree.body)).encode()))
        continue
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    print(place, code_of(importlib.import_module("tasks").task, Project(place)).digest)
    sys.path.remove(place)
    for name in set(sys.modules) - before:
        if place in repr(sys.modules[name]):
            del sys.modules[name]
"""
# Real code of many hands.
CORPUS = [
    argparse,
    ast,
    calendar,
    dataclasses,
    difflib,
    enum,
    functools,
    inspect,
    logging,
    pathlib,
    statistics,
    typing,
]


def pythons() -> dict[str, str]:
    """Interpreters of this machine that merkl supports, one of each version, by version."""
    places = [shutil.which(f"python3.{minor}") for minor in range(11, 20)]
    installed = Path(os.environ.get("PYENV_ROOT") or "/nowhere", "versions")
    places += [str(path) for path in sorted(installed.glob("3.*/bin/python"))]
    found: dict[str, str] = {}
    for place in [sys.executable, *filter(None, places)]:
        asked = [place, "-c", "import sys; print(sys.version_info >= (3, 11), *sys.version_info[:2])"]
        told = subprocess.run(asked, capture_output=True, text=True)
        supported, _, version = told.stdout.strip().partition(" ")
        if told.returncode == 0 and supported == "True":
            found.setdefault(version, place)
    return found


def test_every_python_on_the_machine_finds_the_same_digests(tmp_path: Path) -> None:
    found = pythons()
    if len(found) < 2:
        pytest.skip("there is only one supported Python here")
    stand_in = write(tmp_path / "stand_in", {"blake3.py": STAND_IN})
    places = [str(write(tmp_path / str(n), edit.files)) for n, edit in enumerate(EDITS)]
    places += [str(module.__file__) for module in CORPUS] + [
        str(write(tmp_path, {"syntax.py": SYNTAX}) / "syntax.py")
    ]
    seen = {}
    for version, python in found.items():
        told = subprocess.run(
            [python, "-B", "-c", SHOW, str(HERE), str(stand_in), *places], capture_output=True, text=True
        )
        assert told.returncode == 0, f"{version}: {told.stderr}"
        seen[version] = told.stdout.splitlines()
    here, *others = seen.values()
    assert len(here) == len(places)
    for other in others:
        assert other == here
