"""Merklfiles in YAML and Python that include each other, and which one a directory's is."""

from typing import Any

import pytest

COPY = "tasks: {copy: \"cp {file_arg('f')} {out_file_arg('o', '.txt')}\"}\n"
LIB = COPY + 'targets: {all: {each: {f: files("*.txt")}, call: copy, to: "build/{f.name}"}}\n'


def test_targets_and_tasks_of_an_included_file_are_known_by_its_prefix(inside: Any) -> None:
    inside.write("lib/Merklfile.yaml", LIB)
    inside.write("lib/a.txt", "a")
    inside.write(
        "Merklfile.yaml",
        "include: [lib]\n"
        'targets: {whole: {call: lib/copy, with: {f: "{lib/all}"}}, top: {each: {f: "{lib/all}"}, call: lib/copy, to: "{f.name}"}}\n',
    )

    assert inside.merkl("list").stdout == "lib/all\nwhole\ntop\n"
    assert inside.build("top") == ["copy", "copy"]
    assert inside.read("lib/build/a.txt") == inside.read("a.txt") == "a"
    assert inside.build("lib/all") == []


@pytest.mark.parametrize(
    "include", ['"lib"', "[lib/Merklfile.yaml]", "{lib: lib}", '\n  lib: "lib/Merklfile.yaml"']
)
def test_an_include_is_a_path_a_list_or_paths_by_prefix(inside: Any, include: str) -> None:
    inside.write("lib/Merklfile.yaml", LIB)
    inside.write("Merklfile.yaml", f"include: {include}\n")

    assert inside.merkl("list").stdout == "lib/all\n"


def test_a_prefix_can_be_chosen(inside: Any) -> None:
    inside.write("lib/rules.yaml", LIB)
    inside.write(
        "Merklfile.yaml",
        "include: {x: lib/rules.yaml}\ntargets: {t: {call: x/copy, with: {f: Merklfile.yaml}}}\n",
    )

    assert inside.merkl("list").stdout == "x/all\nt\n"
    assert inside.build("t") == ["copy"]


def test_python_tasks_are_called_from_yaml(inside: Any) -> None:
    inside.write(
        "py.py",
        "from merkl import *\n@task\ndef double(x: int, other=None) -> str:\n    return f'{2 * x} {other}'\n"
        "@task\ndef both(x: int):\n    return str(x), str(-x)\n"
        "@target\ndef made():\n    return double(4) > 'build/four'\n",
    )
    inside.write(
        "Merklfile.yaml",
        """
include: py.py
targets:
  t: {params: {x: 3}, call: py/double, to: build/x}
  u: {call: py/both, with: {x: 5}}
  v: {run: "cat {file_arg('f')} > {out_file_arg('o')}", with: {f: "{py/made}"}, to: build/v}
""",
    )

    assert sorted(inside.build("t", "u", "v")) == ["both", "double", "double", "v"]
    assert [inside.read("build/x"), inside.read("build/v")] == ["6 None", "8 None"]


def test_yaml_is_included_from_python_as_a_module(inside: Any) -> None:
    inside.write("lib/Merklfile.yaml", "vars: {sizes: [1, 2]}\n" + LIB)
    inside.write("lib/a.txt", "a")
    inside.write(
        "Merklfile.py",
        "from merkl import *\nlib = include('lib')\n"
        "@target\ndef t():\n    assert lib.sizes == [1, 2]\n    return [lib.copy(each) > 'build/copied' for each in lib.all()]\n",
    )

    assert inside.merkl("list").stdout == "lib/all\nt\n"
    assert inside.build("t") == ["copy", "copy"]
    assert inside.read("build/copied") == "a"


def test_an_included_file_can_name_a_target_that_comes_later(inside: Any) -> None:
    inside.write(
        "lib/Merklfile.yaml", COPY + "targets: {late: {call: copy, with: {f: target('top')}, after: top}}\n"
    )
    inside.write("Merklfile.yaml", "include: lib\ntargets: {top: {run: \"echo 1 > {out_file_arg('o')}\"}}\n")

    assert inside.build("lib/late") == ["top", "copy"]


def test_a_name_in_an_included_file_that_nothing_has_is_told_of_when_it_is_needed(inside: Any) -> None:
    inside.write("lib/Merklfile.yaml", COPY + "targets: {late: {call: copy, with: {f: target('tip')}}}\n")
    inside.write("Merklfile.yaml", "include: lib\n")

    said = inside.merkl("build", "lib/late", code=2).stderr

    assert said.startswith("lib/Merklfile.yaml:2:40: there is no target 'tip'\n")


def test_an_error_in_an_included_file_tells_who_included_it(inside: Any) -> None:
    inside.write("lib/Merklfile.yaml", "tasks: {copy: {}}\n")
    inside.write("Merklfile.yaml", "include:\n  - lib\n")

    assert inside.merkl("list", code=2).stderr == (
        "lib/Merklfile.yaml:1:9: the task copy has no command\n"
        "  source:\n"
        "    tasks: {copy: {}}\n"
        "            ^~~~\n"
        "  at:\n"
        "    Merklfile.yaml:2:5, in <module>\n"
        "      - lib\n"
        "        ^~~\n"
        "  hint: run: is a script, argv: a list of words: run: \"sort {file_arg('text')}\"\n"
    )


def test_files_that_include_each_other_are_an_error(inside: Any) -> None:
    inside.write("a.yaml", "include: Merklfile.yaml\n")
    inside.write("Merklfile.yaml", "include: a.yaml\n")

    said = inside.merkl("list", code=2).stderr

    assert said.startswith("Merklfiles include each other: Merklfile.yaml → a.yaml → Merklfile.yaml\n")


def test_two_merklfiles_in_one_directory_are_an_error_unless_one_is_named(inside: Any) -> None:
    inside.write("Merklfile.yaml", "targets: {y: {run: echo}}\n")
    inside.write("Merklfile.py", "from merkl import *\n@target\ndef p(): ...\n")
    (inside.path / "sub").mkdir()

    said = inside.merkl("list", code=2).stderr

    assert "there are two Merklfiles in " in said and "with -f" in said
    assert inside.merkl("-f", "Merklfile.yaml", "list").stdout == "y\n"
    assert inside.merkl("-f", "Merklfile.py", "list").stdout == "p\n"


def test_the_project_is_found_from_below_and_a_misspelt_name_is_told_of(inside: Any) -> None:
    inside.write("Merklfile.yaml", "targets: {y: {run: echo}}\n")
    (inside.path / "sub").mkdir()
    assert inside.merkl("-C", "sub", "list").stdout == "y\n"

    (inside.path / "Merklfile.yaml").rename(inside.path / "Merklfile.yml")

    said = inside.merkl("list", code=2).stderr
    assert said == (
        "no Merklfile.py or Merklfile.yaml here or above\n"
        "  hint: is it Merklfile.yml? rename it to Merklfile.yaml\n"
    )  # fmt: skip
    assert inside.merkl("-f", "Merklfile.yml", "list").stdout == "y\n"
