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

# The limit is not one for root, nor for whoever may set limits; it counts all processes of a user.
USER = 40_000 + os.getpid() % 20_000
OTHER = [
    "setpriv",
    f"--reuid={USER}",
    "--clear-groups",
    "--inh-caps=-all,+dac_override",
    "--ambient-caps=-all,+dac_override",
]


def alone(path: Path, *arguments: str, beside: int = 0) -> subprocess.CompletedProcess[str]:
    """Run merkl where its process may have neither children nor threads, or at most so many of both."""
    other = OTHER if os.geteuid() == 0 else []
    for each in [path, *path.iterdir()] if other else []:
        os.chown(each, USER, USER)
    command = [*other, "prlimit", f"--nproc={1 + beside}", sys.executable, "-m", "merkl", *arguments]
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


@pytest.mark.skipif(
    os.geteuid() != 0, reason="the user's other processes count, and nobody knows how many there are"
)
def test_where_there_is_room_for_one_process_all_wait_for_it(limited: Any) -> None:
    limited.merklfile("""
        same = task(lambda x: str(x))
        say = bash_task("echo {arg('n')} > {out_file_arg('out', '.txt')}")

        @target
        def all():
            for n in range(3):
                same(n) > f"same{n}.txt"
                say(n) > f"said{n}.txt"
    """)
    done = alone(limited.path, "build", "-j2", "all", beside=1)
    assert (done.returncode, done.stderr) == (0, "")
    assert "6 tasks: 6 ran" in done.stdout
