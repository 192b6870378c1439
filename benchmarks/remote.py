"""Push and pull through a real object gateway: one large file, and many small ones; against bare obstore, and against DVC.

It decides what is compared: obstore puts and gets the same bytes as objects, one per file, with as many threads as serve it
best, and makes no sidecar, no digest and no copy in a store.  DVC is in an environment of its own.

Each push goes to a place that nobody has written to; each pull starts with neither data nor cache.
"""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.peers import installed
from benchmarks.turns import MERKL, Contender, report, run_in_turns

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LARGE = 100 << 20  # Bytes.
SMALL = (2000, 10_000)  # Files, and bytes of each.

BARE = """\
import os, sys
from concurrent.futures import ThreadPoolExecutor
import obstore
from obstore.store import S3Store
what, bucket, prefix = sys.argv[1], os.environ["BUCKET"], open("prefix").read()
store = S3Store(bucket, prefix=prefix, endpoint=os.environ["AWS_ENDPOINT_URL"], client_options={"allow_http": True})
def put(name):
    with open(f"data/{name}", "rb") as file:
        obstore.put(store, name, file)
def get(name):
    with open(f"data/{name}", "wb") as file:
        for piece in obstore.get(store, name).stream(min_chunk_size=4 << 20):
            file.write(piece)
if what == "get":
    os.makedirs("data", exist_ok=True)
    names = [each["path"] for some in obstore.list(store) for each in some]
else:
    names = os.listdir("data")
with ThreadPoolExecutor(32) as pool:
    for _ in pool.map({"put": put, "get": get}[what], names):
        pass
"""


def remote(scale: float, rounds: int) -> str:
    """Push and pull of 100 MiB in one file, and of 2,000 files of 10 kB."""
    sys.path.append(os.path.join(ROOT, "tests"))
    from servers.ceph_gateway import PROGRAMS, CephGateway

    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        packages = "radosgw ceph-mon ceph-osd ceph-common"
        return f"### Push and pull\n\nnot installed: {', '.join(missing)} (apt-get install {packages})\n"
    with tempfile.TemporaryDirectory() as top, CephGateway(memory=14 << 30) as gateway:
        dvc = shutil.which("dvc") or os.path.join(installed("dvc[s3]", top), "dvc")
        named = {"AWS_ENDPOINT_URL": gateway.endpoint, "BUCKET": gateway.new_bucket(), "HOME": top}
        with _environment({**gateway.credentials, **named}):
            large = _Place(Path(top, "large"), dvc, 1, int(LARGE * scale))
            small = _Place(Path(top, "small"), dvc, int(SMALL[0] * scale), SMALL[1])
            return "\n".join([*large.measured(rounds), *small.measured(rounds)])


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    saved = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("AWS_", "MERKL_", "XDG_"))]:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


class _Place:
    """The same data in three projects: ``bare``, ``merkl`` and ``dvc``."""

    _serial = itertools.count()

    def __init__(self, top: Path, dvc: str, count: int, size: int) -> None:
        self.top, self.dvc, self.count, self.size = top, dvc, count, size
        for name in ("bare", "merkl", "dvc"):
            (top / name / "data").mkdir(parents=True)
        for n in range(count):
            _write([top / name / "data" / f"{n}.bin" for name in ("bare", "merkl", "dvc")], size)
        self.names = {f"{n}.bin" for n in range(count)}
        (top / "merkl/Merklfile.py").write_text("")
        self._run("merkl", MERKL, "track", "-q", "data")
        self._run("dvc", dvc, "init", "-q", "--no-scm")
        self._run("dvc", dvc, "config", "core.analytics", "false")
        self._run("dvc", dvc, "add", "-q", "data")

    def measured(self, rounds: int) -> Iterator[str]:
        """The two tables."""
        if self.count == 1:
            what = f"of one file of {self.size >> 20:,} MiB"
        else:
            what = f"of {self.count:,} files of {self.size // 1000} kB"
        for verb, bare in (("push", "put"), ("pull", "get")):
            prepare = self._fresh if verb == "push" else self._emptied
            contenders = [
                Contender(f"obstore {bare}", [sys.executable, "-c", BARE, bare], self._at("bare"), prepare("bare")),
                Contender(f"merkl {verb}", [MERKL, verb, "-q"], self._at("merkl"), prepare("merkl")),
                Contender(f"dvc {verb}", [self.dvc, verb, "-q"], self._at("dvc"), prepare("dvc")),
            ]  # fmt: skip
            run_in_turns(contenders, rounds, warm=rounds > 1)
            for name in ("bare", "merkl", "dvc"):
                found = {
                    path.name
                    for path in (self.top / name / "data").iterdir()
                    if path.stat().st_size == self.size
                }
                assert found == self.names, f"{name} lost some of its files"
            yield report(f"{verb.capitalize()} {what}", contenders, f"obstore {bare}")

    def _at(self, name: str) -> str:
        return str(self.top / name)

    def _run(self, name: str, *command: str) -> None:
        subprocess.run(command, cwd=self.top / name, check=True, stdout=subprocess.DEVNULL)

    def _fresh(self, name: str) -> Callable[[], None]:
        """Let the next push go where nobody has written, and free what the last one took."""

        def prepare() -> None:
            place = self.top / name
            before = place / "prefix"
            if before.exists():
                _delete(before.read_text())
            prefix = f"{name}-{next(self._serial)}"
            before.write_text(prefix)
            url, endpoint = f"s3://{os.environ['BUCKET']}/{prefix}", os.environ["AWS_ENDPOINT_URL"]
            if name == "merkl":
                (place / "merkl.yaml").write_text(f"remote:\n  url: {url}\n  endpoint: {endpoint}\n")
            elif name == "dvc":
                remote = f"['remote \"r\"']\n    url = {url}\n    endpointurl = {endpoint}\n"
                (place / ".dvc/config").write_text(
                    f"[core]\n    analytics = False\n    no_scm = True\n    remote = r\n{remote}"
                )

        return prepare

    def _emptied(self, name: str) -> Callable[[], None]:
        """Leave neither data nor what a cache has of it."""

        def prepare() -> None:
            for each in ("data", ".merkl", ".dvc/cache", ".dvc/tmp"):
                shutil.rmtree(self.top / name / each, ignore_errors=True)

        return prepare


def _write(paths: Sequence[Path], size: int) -> None:
    """The same random bytes into several files, in pieces: a large process would count as the peak of those it starts."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        while size > 0:
            piece = os.urandom(min(size, 1 << 20))
            size -= len(piece)
            for file in files:
                file.write(piece)


def _delete(prefix: str) -> None:
    import obstore
    from obstore.store import S3Store

    endpoint = os.environ["AWS_ENDPOINT_URL"]
    store = S3Store(
        os.environ["BUCKET"], prefix=prefix, endpoint=endpoint, client_options={"allow_http": True}
    )
    for some in obstore.list(store):
        obstore.delete(store, [each["path"] for each in some])
