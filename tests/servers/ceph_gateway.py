"""A real object gateway for tests and measurements: Ceph's, of Debian's radosgw, ceph-mon, ceph-osd and ceph-common.

    python tests/servers/ceph_gateway.py [DIRECTORY]      starts one, prints its endpoint and keys, ends with its input

A monitor, one OSD that keeps everything in memory, and a gateway, all on 127.0.0.1 and in one directory.  It decides no
more than that no data is kept twice and nobody needs a ticket.

The invariant: its processes end with ours, however we end.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from types import TracebackType

PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool", "setpriv")
_START_S = 120.0

_CONF = """\
[global]
fsid = {fsid}
run dir = {top}
log to file = false
log to stderr = true
err to stderr = true
debug default = 0
debug rgw = 0
mon cluster log to file = false
mon host = v1:127.0.0.1:{mon}
ms bind msgr2 = false
ms bind ipv4 = true
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = true
mon allow pool delete = true
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
mon data avail warn = 1
mon osd full ratio = 0.99
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
mon max pg per osd = 1000
osd crush chooseleaf type = 0
osd objectstore = memstore
osd class update on start = false
osd crush update on start = false
memstore device bytes = {memory}
osd max object name len = 1024
admin socket = {top}/$name.asok
[mon.a]
mon data = {top}/mon
[osd.0]
osd data = {top}/osd
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw data = {top}/rgw
rgw enable apis = s3
rgw enable ops log = false
rgw enable usage log = false
rgw thread pool size = 64
rgw gc obj min wait = 1
rgw gc processor period = 5
rgw gc processor max time = 5
rgw verify ssl = false
"""


class CephGateway:
    """A gateway that runs.  ``memory`` is the most bytes that it keeps; ``endpoint`` and ``credentials`` are how to use it."""

    def __init__(self, *, memory: int = 8 << 30, directory: str | None = None) -> None:
        self.directory = directory or tempfile.mkdtemp(prefix="merkl-ceph-")
        self._conf = os.path.join(self.directory, "ceph.conf")
        self._log = os.path.join(self.directory, "log")
        self._processes: list[subprocess.Popen[bytes]] = []
        self.host, self.port = "127.0.0.1", _free_port()
        access, secret = secrets.token_hex(10), secrets.token_hex(20)
        self.credentials = {
            "AWS_ACCESS_KEY_ID": access,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": "us-east-1",
        }
        try:
            self._start(memory, access, secret)
        except BaseException:
            self.close()
            raise

    @property
    def endpoint(self) -> str:
        """Where the gateway answers."""
        return f"http://{self.host}:{self.port}"

    def new_bucket(self) -> str:
        """Make a bucket that nobody has used; its name."""
        import boto3

        name = f"bucket-{secrets.token_hex(6)}"
        boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.credentials["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.credentials["AWS_SECRET_ACCESS_KEY"],
            region_name=self.credentials["AWS_REGION"],
        ).create_bucket(Bucket=name)
        return name

    def close(self) -> None:
        """End it and forget all that it kept."""
        for process in reversed(self._processes):
            process.kill()  # Nothing of it is worth keeping.
            process.wait()
        self._processes.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> "CephGateway":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- starting ------------------------------------------------------------------------------------------------

    def _start(self, memory: int, access: str, secret: str) -> None:
        for name in ("mon", "osd", "rgw"):
            os.makedirs(os.path.join(self.directory, name))
        fsid, mon, monmap = str(uuid.uuid4()), _free_port(), os.path.join(self.directory, "monmap")
        text = _CONF.format(fsid=fsid, top=self.directory, mon=mon, port=self.port, memory=memory)
        with open(self._conf, "w", encoding="utf-8") as file:
            file.write(text)
        self._run("monmaptool", "--create", "--addv", "a", f"[v1:127.0.0.1:{mon}]", "--fsid", fsid, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._serve("ceph-mon", "-i", "a")
        own = str(uuid.uuid4())
        self._until(lambda: self._try("ceph", "osd", "new", own), "the monitor")
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", own)
        # The OSD could do this itself, but now and then it asks before it knows which cluster it is in, and gives up.
        self._run("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=here")
        self._serve("ceph-osd", "-i", "0")
        self._until(lambda: b'"num_up_osds":1' in self._out("ceph", "osd", "stat", "-f", "json"), "the OSD")
        user = ("--uid", "merkl", "--display-name", "merkl", "--access-key", access, "--secret-key", secret)
        self._run("radosgw-admin", "user", "create", *user, "--max-buckets", "100000")
        self._serve("radosgw", "-n", "client.rgw")
        self._until(self._answers, "the gateway")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.endpoint, timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def _command(self, program: str, *words: str) -> list[str]:
        return [program, *(() if program == "monmaptool" else ("-c", self._conf)), *words]

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            self._command(program, *words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=_START_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program} {words[0]} failed: {done.stdout.decode(errors='replace')[-2000:]}")

    def _try(self, *words: str) -> bool:
        with contextlib.suppress(RuntimeError):
            self._run(*words)
            return True
        return False

    def _out(self, *words: str) -> bytes:
        return subprocess.run(
            self._command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=_START_S, check=False,
        ).stdout  # fmt: skip

    def _serve(self, *words: str) -> None:
        with open(self._log, "ab") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command(*words), "-f"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._processes.append(process)

    def _until(self, ready: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + _START_S
        while not ready():
            if time.monotonic() > limit or any(process.poll() is not None for process in self._processes):
                with open(self._log, encoding="utf-8", errors="replace") as log:
                    raise RuntimeError(f"{what} did not start:\n{log.read()[-4000:]}")
            time.sleep(0.2)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def main() -> None:
    """Start a gateway, say how to use it, and end it with the input."""
    with CephGateway(directory=sys.argv[1] if len(sys.argv) > 1 else None) as gateway:
        print(f"export MERKL_REMOTE=s3://{gateway.new_bucket()} AWS_ENDPOINT_URL={gateway.endpoint}", end="")
        print("".join(f" {name}={value}" for name, value in gateway.credentials.items()), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
