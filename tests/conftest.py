"""What every test can rely on: no settings of the machine leak in, and missing programs are spoken of."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

REQUIRE_ALL = bool(os.environ.get("MERKL_REQUIRE_ALL"))
FULL = bool(os.environ.get("MERKL_FULL"))
# Where the faults of tests/faults fall; processes of pytest-xdist inherit it.
FAULT_SEED = os.environ.setdefault("MERKL_FAULT_SEED", str(random.SystemRandom().randrange(10**6)))

if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(
        signal.SIGHUP, lambda *_: None
    )  # Under nohup: what tests start is not, since a handler ends with exec.

# The machine is shared, so a slow example says nothing about the code.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=100)
hypothesis.settings.register_profile("full", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("full" if FULL else "quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if FULL:
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what it takes to let the same faults fall again."""
    terminalreporter.write_line(f"faults were chosen by MERKL_FAULT_SEED={FAULT_SEED}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    wanted = [program for mark in item.iter_markers("needs") for program in mark.args]
    missing = sorted({program for program in wanted if shutil.which(program) is None})
    if missing and REQUIRE_ALL:
        pytest.fail(f"needs {', '.join(missing)}, and MERKL_REQUIRE_ALL is set", pytrace=False)
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(scope="session", autouse=True)
def _a_home_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty HOME, and no merkl or color settings, for the tests and the processes they start."""
    saved = dict(os.environ)
    prefixes = ("MERKL_", "XDG_")
    for name in [name for name in os.environ if name.startswith(prefixes)]:
        del os.environ[name]
    for name in "NO_COLOR FORCE_COLOR CLICOLOR_FORCE PYTHONPATH MAKEFLAGS CUDA_VISIBLE_DEVICES".split():
        os.environ.pop(name, None)
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory that can be written to in another file system than that of the tests."""
    for each in map(Path, ("/dev/shm", "/var/tmp")):
        if os.access(each, os.W_OK) and each.stat().st_dev != tmp_path.stat().st_dev:
            return each
    pytest.skip("there is no second file system to write to")


@pytest.fixture(autouse=True)
def _no_session_of_another_test() -> Iterator[None]:
    """The session that a Future gets outside a build is kept by the process; each test finds its own."""
    nodes = sys.modules.get("merkl.nodes")
    if nodes is not None:
        nodes._current.set(None)
    yield


@pytest.fixture(autouse=True)
def _no_module_of_another_test(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test imported from a directory of its own goes with it: another one may have a module of the same name."""
    known, searched = set(sys.modules), list(sys.path)
    yield
    temporary = str(tmp_path_factory.getbasetemp())
    for name in sys.modules.keys() - known:
        file = getattr(sys.modules[name], "__file__", None)
        if isinstance(file, str) and file.startswith(temporary):
            del sys.modules[name]
    sys.path[:] = [path for path in sys.path if path in searched or not path.startswith(temporary)]


class ProjectDir:
    """A project in a directory of its own, worked on through the command line as a user would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._started: list[subprocess.Popen[str]] = []

    def close(self) -> None:
        """End what a test that failed left running.  A pipe left open would fail another test, when it is collected."""
        for process in self._started:
            with contextlib.suppress(OSError), process:
                if process.poll() is None:
                    process.kill()

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file of the project."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def merklfile(self, text: str) -> None:
        """Write the Merklfile, with every public name imported."""
        self.write("Merklfile.py", "from merkl import *\n" + textwrap.dedent(text))

    def read(self, name: str) -> str:
        """The text of a file of the project."""
        return (self.path / name).read_text()

    def popen(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start merkl."""
        process = subprocess.Popen(
            [sys.executable, "-m", "merkl", *arguments],
            **{"cwd": self.path, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
               "text": True, **options},
        )  # fmt: skip
        self._started.append(process)
        return process

    def merkl(
        self, *arguments: str, code: int | None = 0, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run merkl to its end and check its exit code (None: any)."""
        process = self.popen(*arguments, **options)
        out, err = process.communicate(timeout=1200 if FULL else 120)
        assert code is None or process.returncode == code, f"exit {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def events(self, *arguments: str, code: int | None = 0, **options: Any) -> list[dict[str, Any]]:
        """The events of ``merkl build``."""
        done = self.merkl("build", "--json", *arguments, code=code, **options)
        assert done.stdout or not done.stderr, done.stderr  # A bug of ours, whatever the code.
        return [json.loads(line) for line in done.stdout.splitlines()]

    def build(self, *arguments: str, code: int | None = 0, **options: Any) -> list[str]:
        """Build, and return the names of the tasks that really ran, in the order in which they ended."""
        return [e["task"] for e in self.events(*arguments, code=code, **options) if e["event"] == "ran"]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[ProjectDir]:
    """An empty project."""
    (tmp_path / "project").mkdir()
    made = ProjectDir(tmp_path / "project")
    yield made
    made.close()


@pytest.fixture
def inside(
    project: ProjectDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> ProjectDir:
    """An empty project whose commands run in this process; otherwise as ``project``.  ``env`` replaces the environment."""
    from merkl.cli.main import run

    monkeypatch.chdir(project.path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def merkl(
        *arguments: str, code: int | None = 0, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        before, here = dict(os.environ), os.getcwd()
        capsys.readouterr()
        try:
            if env is not None:
                os.environ.clear()
                os.environ.update(env)
            os.chdir(cwd or here)
            ended = run(arguments)
        finally:
            os.chdir(here)
            os.environ.clear()
            os.environ.update(before)
        got = capsys.readouterr()
        assert code is None or ended == code, f"exit {ended}\n{got.out}\n{got.err}"
        return subprocess.CompletedProcess(arguments, ended, got.out, got.err)

    monkeypatch.setattr(project, "merkl", merkl)
    return project


@pytest.fixture(scope="session")
def moto() -> Iterator[Any]:
    """An S3 server: ``servers.moto_server.MotoServer``."""
    from servers.moto_server import MotoServer

    with MotoServer() as server:
        yield server


@pytest.fixture(scope="session")
def ceph() -> Iterator[Any]:
    """A real object gateway: ``servers.ceph_gateway.CephGateway``.  For tests with the mark ``full``."""
    from servers.ceph_gateway import CephGateway

    with CephGateway() as server:
        yield server


@pytest.fixture(scope="session")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A scheduler and two workers that nobody kills: ``servers.dask_cluster.DaskCluster``."""
    from servers.dask_cluster import DaskCluster

    with DaskCluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


@pytest.fixture
def proxy(moto: Any) -> Iterator[Any]:
    """A ``servers.fault_proxy.FaultProxy`` in front of ``moto``."""
    from servers.fault_proxy import FaultProxy

    with FaultProxy(moto.host, moto.port) as between:
        yield between
