"""What a comparison was measured on: cores, memory, kernel and versions; no names and no paths."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping

VERSION = re.compile(r"\d+(?:\.\d+)+")


def machine(programs: Mapping[str, str]) -> dict[str, str]:
    """By name: the machine, the interpreter, and each of ``programs`` (name to path)."""
    found = {
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {_version(platform.release())}",
        "Python": platform.python_version(),
    }
    for name, program in programs.items():
        found[name] = _of_program(program)
    return found


def of_package(python: str, package: str) -> str:
    """The version of a package in the environment of ``python``."""
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _of_program(program: str) -> str:
    done = subprocess.run(
        [program, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/"
    )
    return _version(done.stdout + done.stderr)


def _version(text: str) -> str:
    found = VERSION.search(text)
    return found.group() if found else "unknown"
