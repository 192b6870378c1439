"""What type checkers see: mypy, strict, over calls with ``assert_type`` and over the example pipeline."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def mypy(*paths: str, cwd: Path = ROOT) -> str:
    """What mypy says; it finds what the run over the package has left in its cache."""
    settings = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    command = [sys.executable, "-m", "mypy", "--strict", *settings, *paths]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_calls_futures_and_their_values_have_the_types_that_are_asserted() -> None:
    examples = [f"examples/pipeline/{name}" for name in ("pipeline.py", "Merklfile.py")]

    assert mypy("tests/python/typing_of_calls.py", *examples).startswith(
        "Success: no issues found in 3 source files"
    )


@pytest.mark.parametrize("name", ["Merklfile.py", "brotli/Merklfile.py", "poems/in_python.py"])
def test_the_other_examples_have_types_that_fit(name: str) -> None:
    folder, _, file = f"examples/{name}".rpartition("/")

    assert mypy(file, cwd=ROOT / folder).startswith("Success: no issues found")


def test_a_wrong_type_is_seen(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from merkl import task\n@task\ndef f(x: int) -> int: return x\nf(3).eval().upper()\nf(f(3)).v + 'a'\n"
    )

    said = mypy(str(wrong))

    assert 'wrong.py:4: error: "int" has no attribute "upper"' in said
    assert 'wrong.py:5: error: Unsupported operand types for + ("int" and "str")' in said
