"""Peers that come from a package index, each in an environment of its own, so that none is a dependency of merkl's.

It decides where they are: in one directory, for one run or for several.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable

from benchmarks.dialects import DIALECTS

LIBRARIES = ("joblib", "diskcache")


def installed(package: str, top: str) -> str:
    """Install ``package`` into an environment below ``top``, unless it is there; the directory of its programs."""
    programs = _programs(package, top)
    place = os.path.dirname(programs)
    if os.path.exists(os.path.join(place, "complete")):
        return programs
    subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
    install = [os.path.join(programs, "python"), "-m", "pip", "install", "--quiet", package]
    subprocess.run([*install, "--disable-pip-version-check"], check=True)
    with open(os.path.join(place, "complete"), "w", encoding="ascii"):
        return programs


def _programs(package: str, top: str) -> str:
    return os.path.join(top, f"venv-{package}", "bin")


def found(
    wanted: Iterable[str] | None, top: str, say: Callable[[str], None], *, install: bool = True
) -> tuple[dict[str, str], dict[str, str]]:
    """Paths of programs and of interpreters with a library, by name: of ``wanted``, or all.  One that cannot be had is left out.

    Without ``install`` they are where they would be.
    """
    names = None if wanted is None else {name.lower() for name in wanted}
    programs, pythons = {}, {}

    def place(package: str) -> str | None:
        return _tried(package, top, say) if install else _programs(package, top)

    for dialect in DIALECTS[1:]:
        if names is not None and dialect.name.lower() not in names:
            continue
        if not dialect.package:
            path = shutil.which(dialect.program)
            if path is None:
                say(f"{dialect.name} is not installed, and is left out")
            else:
                programs[dialect.name] = path
        elif (directory := place(dialect.package)) is not None:
            programs[dialect.name] = os.path.join(directory, dialect.program)
    for library in LIBRARIES:
        if (names is None or library in names) and (directory := place(library)) is not None:
            pythons[library] = os.path.join(directory, "python")
    return programs, pythons


def _tried(package: str, top: str, say: Callable[[str], None]) -> str | None:
    try:
        say(f"environment of {package}")
        return installed(package, top)
    except subprocess.CalledProcessError:
        say(f"{package} could not be installed, and is left out")
        return None
