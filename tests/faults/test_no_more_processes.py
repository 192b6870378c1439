"""A user who has as many processes and threads as a limit allows: merkl goes on alone, or says so."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.needs("prlimit", "setpriv"),
    pytest.mark.skipif(sys.platform != "linux", reason="the limit is one on threads only on Linux"),
]

# The limit is not one for root, nor for whoever may set limits.
OTHER = [
    "setpriv",
    "--reuid=65534",
    "--clear-groups",
    "--inh-caps=-all,+dac_override",
    "--ambient-caps=-all,+dac_override",
]


def alone(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run merkl where its process may have neither children nor threads."""
    other = OTHER if os.geteuid() == 0 else []
    for each in [path, *path.iterdir()] if other else []:
        os.chown(each, 65534, 65534)
    command = [*other, "prlimit", "--nproc=1", sys.executable, "-m", "merkl", *arguments]
    return subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=120)


@pytest.fixture
def limited(project: Any) -> Iterator[Any]:
    """A project that the other user may reach."""
    probe = [
        *(OTHER if os.geteuid() == 0 else []),
        "prlimit",
        "--nproc=1",
        sys.executable,
        "-c",
        "import os; os.fork()",
    ]
    if subprocess.run(probe, capture_output=True).returncode == 0:
        pytest.skip("this machine lets processes start beyond the limit")
    with tempfile.TemporaryDirectory() as path:
        project.path = Path(path)
        yield project


def test_large_files_are_hashed_in_one_thread(limited: Any) -> None:
    (limited.path / ".merkl").mkdir()
    limited.write("big", os.urandom(1 << 20) * 20)
    tracked = alone(limited.path, "track", "big")
    assert tracked.returncode == 0, tracked.stderr
    (limited.path / "big").unlink()
    pulled = alone(limited.path, "pull")
    assert pulled.returncode == 0, pulled.stderr
    assert (limited.path / "big").stat().st_size == 20 << 20


def test_what_needs_a_process_fails_by_name_and_all_else_is_done(limited: Any) -> None:
    limited.merklfile("""
        here = task(lambda x: x)
        nice = task(nice=1)(lambda x: x + 1)
        say = bash_task("echo > {out_file_arg('out', '.txt')}")

        @target
        def all():
            here(1) > "here.txt"
            say() > "said.txt"
            nice(1) > "nice.txt"
    """)
    done = alone(limited.path, "build", "-j1", "-k", "all")
    assert (limited.path / "here.txt").exists(), done.stderr
    assert "say could not be started" in done.stderr
    assert done.stderr.count("Resource temporarily unavailable") == 2
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)

    done = alone(limited.path, "build", "-j2", "-B", "here.txt")
    assert "a limit on processes was reached (ulimit -u): with -j1" in done.stderr
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
