"""What a comparison was measured on: cores, memory, kernel and versions; no names and no paths."""

import functools
import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.results import Result

VERSION = re.compile(r"\d+(?:\.\d+)+")


def machine() -> dict[str, str]:
    """By name: what two runs must have in common to be shown together."""
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {_version(platform.release())}",
        "Python": platform.python_version(),
    }


def versions(programs: Mapping[str, str], pythons: Mapping[str, str]) -> dict[str, str]:
    """Of tools (name to path), and of libraries (name to the interpreter of its environment)."""
    found = {name: _of_program(program) for name, program in programs.items()}
    if "merkl" in found:
        found["merkl"] += f"+{sources()}"
    return found | {name: _of_package(python, name) for name, python in pythons.items()}


@functools.cache
def sources() -> str:
    """A short digest of merkl's modules: two states of a checkout have the same version."""
    place = _printed([sys.executable, "-c", "import merkl; print(merkl.__file__)"])
    digest = hashlib.sha256()
    for path in sorted(Path(place).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def described(machine: Mapping[str, str], results: Iterable[Result]) -> str:
    """In a line; a tool that was measured in several versions is named with all of them."""
    tools: dict[str, dict[str, None]] = {}
    for result in results:
        for name, version in result.versions.items():
            tools.setdefault(name, {})[version] = None
    words = [f"{name} {value}" for name, value in machine.items()]
    for name, several in tools.items():
        plain = [version.partition("+")[0] for version in several] if len(several) == 1 else several
        words.append(f"{name} {' and '.join(plain)}")
    return ", ".join(words)


def _of_package(python: str, package: str) -> str:
    return _printed([python, "-c", f"import importlib.metadata as m; print(m.version({package!r}))"])


def _printed(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout.strip()


def _of_program(program: str) -> str:
    done = subprocess.run(
        [program, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/"
    )
    return _version(done.stdout + done.stderr)


def _version(text: str) -> str:
    found = VERSION.search(text)
    return found.group() if found else "unknown"
