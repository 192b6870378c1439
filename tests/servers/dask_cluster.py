"""A Dask scheduler and its workers: processes of their own, with directories and homes of their own, over TCP.

They share no directory with a project but what a test names.  Everything that was started is ended with the object.
"""

import contextlib
import datetime
import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WAIT_S = 60.0


class DaskCluster:
    """A scheduler at ``address``, and ``workers``.

    ``tls`` are certificates that ``certificates`` made.  ``prefix`` is what the command of each process begins with, by its
    name: ``scheduler``, ``worker-0``, …
    """

    def __init__(
        self,
        path: Path,
        workers: int = 2,
        *,
        threads: int = 2,
        tls: Mapping[str, str] | None = None,
        nanny: bool = False,
        host: str = "127.0.0.1",
        prefix: Mapping[str, Sequence[str]] | None = None,
        options: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.threads = threads
        self.tls = tls
        self._nanny = nanny
        self._host = host
        self._prefix = prefix or {}
        self._options = list(options)
        self._environ = dict(environ or {})
        self._count = 0
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self.address = ""
        try:
            self.start_scheduler()
            for _ in range(workers):
                self.start_worker()
            self.wait_for_workers(workers)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "DaskCluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_scheduler(self, port: int = 0) -> None:
        """Start the scheduler, at a port of its own choice unless it is to be where one was."""
        file = self._home("scheduler") / "address.json"
        file.unlink(missing_ok=True)
        words = ["dask_scheduler", "--host", f"{self._scheme}{self._host}", "--port", str(port)]
        words += ["--scheduler-file", str(file), "--no-dashboard", "--no-show", *self._tls_words]
        self.scheduler = self._start("scheduler", words)
        deadline = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(OSError, ValueError):
                self.address = json.loads(file.read_text())["address"]
                return
            self._still(self.scheduler, "scheduler", deadline)

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start one more worker; it need not be there yet."""
        name = f"worker-{self._count}"
        self._count += 1
        words = [
            "dask_worker",
            self.address,
            "--name",
            name,
            "--nthreads",
            str(self.threads),
            "--no-dashboard",
        ]
        words += ["--local-directory", str(self._home(name) / "scratch"), "--memory-limit", "0"]
        words += ["--nanny" if self._nanny else "--no-nanny", "--death-timeout", "60", *self._options]
        started = self._start(name, [*words, *self._tls_words])
        self.workers.append(started)
        return started

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many have registered: each says so in its own log."""
        deadline = time.monotonic() + WAIT_S
        while (found := sum("Registered to:" in self.log(f"worker-{n}") for n in range(self._count))) < count:
            for n, worker in enumerate(self.workers):
                self._still(worker, f"worker-{n} ({found} of {count} are there)", deadline)

    def kill_worker(self, index: int) -> None:
        """SIGKILL a worker, and with a nanny that as well."""
        _kill(self.workers[index])

    def kill_scheduler(self) -> None:
        """SIGKILL the scheduler."""
        assert self.scheduler is not None
        _kill(self.scheduler)

    def close(self) -> None:
        """End everything."""
        for process in [*self.workers, *([self.scheduler] if self.scheduler else [])]:
            _kill(process)

    def log(self, name: str) -> str:
        """What a process has printed."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / name / "log").read_text(errors="replace")
        return ""

    def setting(self, **more: Any) -> dict[str, Any]:
        """What merkl.yaml says of it."""
        security = {"security": {name: self.tls[name] for name in ("ca", "cert", "key")}} if self.tls else {}
        return {"engine": "dask", "address": self.address, **security, **more}

    @property
    def _scheme(self) -> str:
        return "tls://" if self.tls else ""

    @property
    def _tls_words(self) -> list[str]:
        if self.tls is None:
            return []
        return ["--tls-ca-file", self.tls["ca"], "--tls-cert", self.tls["cert"], "--tls-key", self.tls["key"]]

    def _home(self, name: str) -> Path:
        made = self.path / name
        made.mkdir(parents=True, exist_ok=True)
        return made

    def _start(self, name: str, words: list[str]) -> subprocess.Popen[bytes]:
        home = self._home(name)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(home),
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self._environ,
        }
        command = [
            *self._prefix.get(name, ()),
            sys.executable,
            "-m",
            f"distributed.cli.{words[0]}",
            *words[1:],
        ]
        with open(home / "log", "ab") as log:
            return subprocess.Popen(
                command, cwd=home, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )  # fmt: skip

    def _still(self, process: subprocess.Popen[bytes], what: str, deadline: float) -> None:
        assert process.poll() is None, f"the {what} ended: {self.log(what.partition(' ')[0])}"
        assert time.monotonic() < deadline, f"the {what} did not start: {self.log(what.partition(' ')[0])}"
        time.sleep(0.02)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those of its session that are its group still."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def certificates(path: Path, hosts: Sequence[str] = ("127.0.0.1",)) -> dict[str, str]:
    """An authority and one certificate by it, of these addresses, as PEM files: ``ca``, ``cert`` and ``key``."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    path.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)

    def made(subject: str, key: Any, issuer: str, signer: Any, *, authority: bool) -> Any:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host)) for host in hosts]),
                critical=False,
            )
        )
        return builder.sign(signer, hashes.SHA256())

    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    files = {
        "ca": made("authority", authority, "authority", authority, authority=True),
        "cert": made("cluster", own, "authority", authority, authority=False),
    }
    for name, certificate in files.items():
        (path / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (path / "key.pem").write_bytes(
        own.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return {name: str(path / f"{name}.pem") for name in ("ca", "cert", "key")}
