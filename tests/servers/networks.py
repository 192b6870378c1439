"""Machines with networks of their own, on this one: network namespaces on a bridge, which only root can make.

A process in one reaches the others and us by TCP, and nothing else; what is ``hidden`` from it is an empty directory there.
A machine can be ``cut`` off, and ``joined`` again.  The invariant: what was made is removed on the way out.
"""

import os
import subprocess
from collections.abc import Sequence
from types import TracebackType

PROGRAMS = ("ip", "unshare", "mount")


class Networks:
    """Namespaces for these machines, each with an address; ``ours`` is that of this one."""

    def __init__(self, names: Sequence[str]) -> None:
        self._mark = f"mk{os.getpid() % 100_000}"
        self._net = f"10.213.{os.getpid() % 250 + 1}"
        self.ours = f"{self._net}.1"
        self.addresses = {name: f"{self._net}.{n}" for n, name in enumerate(names, 2)}
        self._links = {name: f"{self._mark}v{n}" for n, name in enumerate(names)}
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Networks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def prefix(self, name: str, *hidden: object) -> list[str]:
        """What a command begins with that runs on that machine, where those directories are empty."""
        mounts = "".join(f"mount -t tmpfs none '{path}' && " for path in hidden)
        inside = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{mounts}exec "$@"', "sh"]
        return ["ip", "netns", "exec", self._space(name), *inside]

    def cut(self, name: str) -> None:
        """Let nothing reach that machine, or come from it; nobody is told."""
        _ip("link", "set", self._links[name], "nomaster")

    def join(self, name: str) -> None:
        """Undo ``cut``."""
        _ip("link", "set", self._links[name], "master", self._bridge)

    def close(self) -> None:
        """Remove everything."""
        for name in self.addresses:
            _ip("netns", "del", self._space(name), check=False)
        for link in (*self._links.values(), self._bridge):
            _ip("link", "del", link, check=False)

    @property
    def _bridge(self) -> str:
        return f"{self._mark}b"

    def _space(self, name: str) -> str:
        return f"{self._mark}-{name}"

    def _make(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.ours}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for name, address in self.addresses.items():
            space, link = self._space(name), self._links[name]
            _ip("netns", "add", space)
            _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", link, "master", self._bridge, "up")
            _ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True, text=True)
