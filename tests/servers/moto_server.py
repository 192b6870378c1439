"""An S3 server for tests: moto, in a process of its own that ends with ours.

It decides nothing: it starts in about a second, keeps its buckets in memory, and takes any credentials.
"""

import secrets
import subprocess
import sys
import urllib.request
from types import TracebackType

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}

_SERVE = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
"""


class MotoServer:
    """A server that runs; ``host`` and ``port`` are where."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,  # Its end is the server's end, however we go.
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        assert words, "moto did not start: is merkl[dev] installed?"
        self.host, self.port = words[0], int(words[1])
        self.credentials = dict(CREDENTIALS)

    @property
    def endpoint(self) -> str:
        """Where the server answers."""
        return f"http://{self.host}:{self.port}"

    def new_bucket(self) -> str:
        """Make a bucket that nobody has used; its name."""
        name = f"bucket-{secrets.token_hex(6)}"
        with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")):
            return name

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> "MotoServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
