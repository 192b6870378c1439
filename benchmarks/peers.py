"""Peers that come from a package index, each in an environment of its own, so that none is a dependency of merkl's.

It decides where they are: in one directory for one run, which goes with it.
"""

import os
import subprocess
import sys


def installed(package: str, top: str) -> str:
    """Install ``package`` into a new environment below ``top``; the directory of its programs."""
    place = os.path.join(top, f"venv-{package}")
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    programs = os.path.join(place, "bin")
    install = [os.path.join(programs, "python"), "-m", "pip", "install", "--quiet", package]
    subprocess.run([*install, "--disable-pip-version-check"], check=True)
    return programs
