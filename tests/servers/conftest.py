"""Users of one bucket, and between them and it a proxy that can do what networks do."""

import json
import os
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.ceph_gateway import PROGRAMS
from servers.fault_proxy import FaultProxy

TWO = """
make = bash_task("{ echo {arg('word')}; head -c {arg('size', type=int)} /dev/zero; } > {out_file_arg('made', '.txt')}")

@target(default=True)
def all():
    make("small", size=1000) > "out/small.txt"
    make("large", size=400_000) > "out/large.txt"
"""


class Users:
    """Clones of one project, ``here`` and ``there``, whose remote is a bucket; commands run in this process.

    What goes to the bucket by ``objects``, ``read``, ``write`` and ``remove`` does not pass the proxy.
    """

    def __init__(self, inside: Any, root: Path, proxy: FaultProxy, server: Any) -> None:
        import obstore
        from obstore.store import S3Store

        self._inside, self._library = inside, obstore
        self.proxy, self.server, self.root = proxy, server, root
        self.bucket = server.new_bucket()
        self.url = f"s3://{self.bucket}/team"
        self._store = S3Store(
            self.bucket, prefix="team", endpoint=server.endpoint, client_options={"allow_http": True},
            access_key_id=server.credentials["AWS_ACCESS_KEY_ID"],
            secret_access_key=server.credentials["AWS_SECRET_ACCESS_KEY"], region="us-east-1",
        )  # fmt: skip
        self.here, self.there = root / "here", root / "there"
        self.notes: list[str] = []  # Of the last build.
        self.here.mkdir()
        self.there.mkdir()
        self.settings()
        self.merklfile(TWO)

    def settings(self, **more: Any) -> None:
        """Write the settings of both clones; who expects the remote to fail should not wait for long."""
        remote = {"url": self.url, "endpoint": self.proxy.endpoint, "timeout": 20, **more}
        for each in (self.here, self.there):
            (each / "merkl.yaml").write_text(json.dumps({"remote": remote}))

    def merklfile(self, text: str) -> None:
        """Write the Merklfile of both."""
        for each in (self.here, self.there):
            (each / "Merklfile.py").write_text("from merkl import *\n" + textwrap.dedent(text))

    def merkl(
        self, at: Path, *arguments: str, code: int | None = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run merkl in a clone, and check its exit code; ``env`` is added to the environment."""
        done: subprocess.CompletedProcess[str] = self._inside.merkl(
            *arguments, code=code, cwd=at, env={**os.environ, **env}
        )
        assert "Traceback" not in done.stderr
        return done

    def popen(self, at: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start merkl in a clone, as a process of its own."""
        process: subprocess.Popen[str] = self._inside.popen(*arguments, cwd=at)
        return process

    def build(self, at: Path, *arguments: str, code: int | None = 0, **env: str) -> list[str]:
        """Build in a clone; the names of the tasks that ran."""
        done = self.merkl(at, "build", "--json", *arguments, code=code, **env)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        self.notes = [event["text"] for event in events if event["event"] == "note"]
        return [event["task"] for event in events if event["event"] == "ran"]

    def forget(self, at: Path) -> None:
        """Let a clone have neither outputs nor a store."""
        subprocess.run(["rm", "-rf", at / ".merkl", at / "out"], check=True)

    def hand_over(self) -> None:
        """What git does: the sidecars of ``here`` come to ``there``."""
        for sidecar in self.here.rglob("*.merkl"):
            if sidecar.is_file():
                target = self.there / sidecar.relative_to(self.here)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(sidecar.read_bytes())

    def outputs(self, at: Path) -> dict[str, bytes]:
        """What is in ``out``."""
        return {path.name: path.read_bytes() for path in (at / "out").iterdir()}

    def objects(self, prefix: str = "") -> list[str]:
        """The names of all objects below a prefix."""
        listing = self._library.list(self._store, prefix or None)
        return sorted(each["path"] for some in listing for each in some)

    def read(self, name: str) -> bytes:
        """The bytes of an object."""
        return bytes(self._library.get(self._store, name).bytes())

    def write(self, name: str, data: bytes) -> None:
        """Put an object."""
        self._library.put(self._store, name, data)

    def remove(self, *names: str) -> None:
        """Remove objects."""
        self._library.delete(self._store, list(names))

    def expect_sound(self) -> None:
        """Everything in the bucket is whole, and says the same as a build without any cache."""
        self.proxy.clear()
        self.settings()
        assert "nothing is wrong" in self.merkl(self.here, "fsck", "--remote").stdout.splitlines()[-1]
        self.forget(self.there)
        self.build(self.there, "--require-remote")
        clean = self.root / "clean"
        clean.mkdir(exist_ok=True)
        (clean / "Merklfile.py").write_bytes((self.there / "Merklfile.py").read_bytes())
        self.build(clean)
        assert self.outputs(self.there) == self.outputs(clean)


@pytest.fixture(params=["moto", pytest.param("ceph", marks=[pytest.mark.full, pytest.mark.needs(*PROGRAMS)])])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server of buckets, whose credentials are in the environment."""
    found = request.getfixturevalue(request.param)
    for name, value in found.credentials.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def proxy(server: Any) -> Iterator[FaultProxy]:
    """A proxy in front of the server."""
    with FaultProxy(server.host, server.port) as between:
        yield between


@pytest.fixture
def users(inside: Any, tmp_path: Path, proxy: FaultProxy, server: Any) -> Users:
    return Users(inside, tmp_path, proxy, server)


@pytest.fixture
def pushed(users: Users) -> Users:
    """Users of whom ``here`` has built and pushed."""
    assert users.build(users.here, "--push") == ["make", "make"]
    users.proxy.clear()
    return users
