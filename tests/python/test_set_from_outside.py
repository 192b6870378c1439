"""What a Merklfile sets in another module: no worker sees it, so no task may need it."""

import os
import textwrap
from typing import Any

import pytest

MODULE = """
    K = 1
    TABLE = {}
    _kept = None

    def add(x):
        return x + K

    def put(function):
        TABLE[function.__name__] = function
        return function

    def first():
        global _kept
        if _kept is None:
            _kept = "kept"
        return _kept
"""

MERKLFILE = """
    import os.path
    import {imported}
    from merkl import target, task

    {does}

    @task
    def made(x):
        return {value}

    @target(default=True)
    def all():
        made(1) > "made.txt"
"""


def written(project: Any, does: str, value: str, imported: str = "reg") -> None:
    project.write("reg.py", textwrap.dedent(MODULE))
    project.write("other.py", "import reg\nreg.K = 3\n")
    project.merklfile(MERKLFILE.format(does=does, value=value, imported=imported))


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
@pytest.mark.parametrize(
    ("does", "value", "name"),
    [
        ("reg.K = 7", "reg.add(x)", "reg.K"),
        ("reg.add = lambda x: 9", "reg.add(x)", "reg.add"),
        ("setattr(reg, 'K', 7)", "reg.K", "reg.K"),
        ("os.path.altsep = '!'", "os.path.altsep", "os.path.altsep"),
    ],
)
def test_a_task_that_uses_it_fails(inside: Any, does: str, value: str, name: str, jobs: str) -> None:
    written(inside, does, value)
    try:
        said = inside.merkl("build", jobs, code=2).stderr
    finally:
        os.path.altsep = None
    assert f"made uses {name}, which was set from outside its module\n    set: Merklfile.py:7" in said
    assert not (inside.path / "made.txt").exists()


def test_what_is_set_after_the_call_is_found_as_well(inside: Any) -> None:
    written(inside, "", "reg.add(x)")
    inside.merklfile(MERKLFILE.format(does="", value="reg.add(x)", imported="reg") + "        reg.K = 7\n")
    assert "made uses reg.K" in inside.merkl("build", "-j1", code=2).stderr


@pytest.mark.parametrize(
    ("does", "value", "made"),
    [
        ("reg.K = 7", "x", "1"),
        ("reg.K = 7; reg.K = 1", "reg.add(x)", "2"),
        ("reg.put(len)", "reg.add(x)", "2"),
        ("reg.first()", "reg.first()", "kept"),
        ("import other", "reg.add(x)", "4"),
        ("os.path.altsep = None", "os.path.basename('a/b')", "b"),
    ],
)
def test_what_no_task_uses_or_a_module_does_itself_is_fine(
    inside: Any, does: str, value: str, made: str
) -> None:
    written(inside, does, value)
    inside.merkl("build", "-q", "-j1")
    assert inside.read("made.txt").strip() == made


def test_a_task_that_sets_a_name_while_it_runs_is_left_alone(inside: Any) -> None:
    written(inside, "", "setattr(reg, 'K', 5) or x")
    inside.merkl("build", "-q", "-j1")
    assert inside.read("made.txt").strip() == "1"


def test_workers_import_what_another_module_has_set(project: Any) -> None:
    written(project, "import other", "reg.add(x)")
    project.build("-q", "-j2")
    assert project.read("made.txt").strip() == "4"
