"""The example, built for real: what it makes, and which of its tasks an edit runs."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
FANNED_OUT = ("measure", "parse", "vocabulary")  # A call for each package.
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def example(project: Any) -> Any:
    """The example as a clone has it."""
    left_out = shutil.ignore_patterns(".merkl", "build", "__pycache__")
    shutil.copytree(EXAMPLES, project.path, ignore=left_out, dirs_exist_ok=True)
    return project


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example after a build."""
    copy = tmp_path_factory.mktemp("built") / "examples"
    shutil.copytree(EXAMPLES, copy, ignore=shutil.ignore_patterns(".merkl", "build", "__pycache__"))
    subprocess.run([sys.executable, "-m", "merkl", "-q", "build"], cwd=copy, check=True)
    return copy


@pytest.fixture
def built(project: Any, built_once: Path) -> Any:
    """The example after a build, moved to another place."""
    shutil.copytree(built_once, project.path, dirs_exist_ok=True)
    return project


def edit(project: Any, name: str, old: str, new: str) -> None:
    """Replace the one occurrence of a text."""
    text = project.read(name)
    assert text.count(old) == 1, f"{name} has {text.count(old)} times {old!r}"
    project.write(name, text.replace(old, new))


def outcomes(events: list[dict[str, Any]]) -> dict[str, str]:
    """What became of each task, by label."""
    ends = ("ran", "cached", "cutoff", "failed", "skipped")
    return {event["label"]: event["event"] for event in events if event["event"] in ends}


def test_from_clean_every_task_runs_and_every_file_is_there(example: Any) -> None:
    events = example.events()

    counts = Counter(event["task"] for event in events if event["event"] == "ran")
    packages = counts["measure"]
    assert packages >= 10
    assert counts == {**dict.fromkeys(FANNED_OUT, packages), "bars": 1, "wheel": 1, "in_common": 1, "page": 1}
    assert events[-1]["ran"] == sum(counts.values())
    assert {event["path"] for event in events if event["event"] == "placed"} == {
        str(path.relative_to(example.path)) for path in (example.path / "build").rglob("*") if path.is_file()
    }
    assert len(list((example.path / "build/words").iterdir())) == packages


def test_what_it_makes_is_well_formed_and_true(built: Any) -> None:
    bars = ElementTree.fromstring(built.read("build/sizes.svg"))
    wheel = ElementTree.fromstring(built.read("build/imports.svg"))
    page = ElementTree.fromstring(built.read("build/report.html").removeprefix("<!doctype html>\n"))

    packages = sorted(path.stem for path in (built.path / "build/sizes").iterdir())
    import json  # Any package of the report, to count by hand.

    counted = sum(len(path.read_bytes().splitlines()) for path in Path(json.__file__).parent.rglob("*.py"))
    words = [text.text for text in bars.iter(f"{SVG}text")]
    assert len(list(bars.iter(f"{SVG}rect"))) == len(packages)
    assert words[words.index("json") + 1] == f"{counted:,} lines"
    assert sorted(str(text.text) for text in wheel.iter(f"{SVG}text")) == packages
    assert len(list(wheel.iter(f"{SVG}path"))) > len(packages)
    assert page.find("head/title").text == "The standard library"  # type: ignore[union-attr]
    assert len(list(page.iter(f"{SVG}svg"))) == 2
    sizes = [int(str(row.find("td").text)) for row in page.iter("tr")]  # type: ignore[union-attr]
    assert len(sizes) == 12 and sizes == sorted(sizes, reverse=True)
    assert len(built.read("build/words.txt").splitlines()) == 20
    assert "import" in built.read("build/words/json.txt").split()


def test_the_second_build_runs_nothing_and_says_so(built: Any) -> None:
    assert built.build() == []
    assert re.fullmatch(r"\d+ tasks: \d+ cached in .*\n", built.merkl("build").stdout)
    assert built.merkl("why").stdout.startswith("nothing would run")


def test_deleted_outputs_come_back_without_running_anything(built: Any) -> None:
    before = built.read("build/report.html")
    shutil.rmtree(built.path / "build")

    assert built.build() == []
    assert built.read("build/report.html") == before


def test_an_edit_of_a_drawing_function_runs_what_draws_and_what_shows_it(built: Any) -> None:
    edit(built, "drawing.py", "60% 45%", "60% 40%")

    why = built.merkl("why").stdout
    assert "the code drawing.py:color changed" in why
    assert '+    return f"hsl({row * 137 % 360} 60% 40%)"' in why
    assert sorted(built.build()) == ["bars", "page", "wheel"]

    edit(built, "drawing.py", "60% 40%", "60% 45%")
    assert built.build() == []
    assert "60% 45%" in built.read("build/sizes.svg")


def test_a_rewritten_function_that_draws_the_same_runs_nothing_more(built: Any) -> None:
    edit(built, "drawing.py", "math.tau * row", "row * math.tau")

    events = built.events()

    found = outcomes(events)
    assert [label for label, end in found.items() if end == "ran"] == ["wheel build/imports.svg"]
    assert found["page build/report.html"] == "cutoff"


def test_comments_and_docstrings_run_nothing(built: Any) -> None:
    edit(built, "drawing.py", '"""A drawing of some shapes."""', '"""Shapes."""  # A comment.')
    edit(
        built,
        "Merklfile.py",
        "    functions, imports = list[list[Any]](), Counter[str]()",
        "\n    functions, imports = list[list[Any]](), Counter[str]()",
    )

    assert built.build() == []


def test_a_parameter_runs_only_what_takes_it(built: Any) -> None:
    assert built.build("words", "top=3") == ["in_common"]
    assert len(built.read("build/words.txt").splitlines()) == 3

    assert built.build() == []
    assert len(built.read("build/words.txt").splitlines()) == 20


def test_the_check_runs_each_time_and_fails_when_the_page_is_none(built: Any) -> None:
    assert built.build("check") == ["inspect"]
    assert built.build("check") == ["inspect"]

    edit(built, "Merklfile.py", 'return f"""<!doctype html>', 'return f"""<!DOCTYPE html>')
    failed = built.merkl("build", "check", code=1)
    assert "it begins with <!DOCTYPE html>" in failed.stderr
    assert "<!DOCTYPE html>" in built.read("build/report.html")
