"""The public surface: ``merkl.__all__``, no more and no less, at no cost until it is used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import merkl

PACKAGE = Path(merkl.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def in_a_fresh_process(code: str) -> str:
    """What ``code`` prints in an interpreter of its own, warnings being errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    ).stdout


def test_the_public_names_are_exactly_all():
    assert sorted(name for name in dir(merkl) if not name.startswith("_")) == sorted(
        name for name in merkl.__all__ if not name.startswith("_")
    )


def test_all_names_nothing_twice():
    assert len(set(merkl.__all__)) == len(merkl.__all__)


def test_every_public_name_resolves_and_stays_the_same_object():
    for name in merkl.__all__:
        assert getattr(merkl, name) is getattr(merkl, name)


def test_a_star_import_gives_exactly_all():
    code = "before = set(dir()); from merkl import *; print(*sorted(set(dir()) - before - {'before'}))"

    assert in_a_fresh_process(code).split() == sorted(merkl.__all__)


@pytest.mark.parametrize("name", ["no_such_name", "_private", "__no_dunder__"])
def test_any_other_name_is_an_attribute_error_that_names_it(name):
    with pytest.raises(AttributeError, match=name):
        getattr(merkl, name)


def test_using_the_public_names_and_their_modules_adds_no_public_name():
    code = (
        "import merkl, pkgutil, importlib\n"
        "before = set(dir(merkl))\n"
        "for name in merkl.__all__: getattr(merkl, name)\n"
        "print(*sorted(set(dir(merkl)) - before))"
    )

    assert in_a_fresh_process(code).split() == []


def test_no_public_name_is_hidden_by_a_module_of_the_same_name():
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}

    assert set(merkl.__all__) & (modules | folders) == set()


def test_importing_merkl_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import merkl; print(*sorted(set(sys.modules) - before))"

    assert in_a_fresh_process(code).split() == ["merkl"]


def test_the_package_tells_type_checkers_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_bytes()))


def test_every_module_can_be_imported():
    for path in MODULES:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
