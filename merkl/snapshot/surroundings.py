"""Stand-ins for what a process has around it besides files: variables, and the three standard streams.

They decide nothing: each does what the original does, and tells the recording.
"""

from collections.abc import Callable, Iterator
from typing import Any

from merkl.snapshot.recording import Recording


class Variables(dict[bytes, bytes]):
    """What ``os.environ`` and ``os.environb`` are views of."""

    def __init__(self, recording: Recording, data: dict[bytes, bytes]) -> None:
        super().__init__(data)
        self._recording = recording

    def _all(self) -> None:
        if not self._recording.paused:
            self._recording.all_variables = True

    def _one(self, name: object) -> None:
        if not self._recording.paused and isinstance(name, bytes):
            self._recording.variables.add(name)

    def __getitem__(self, name: bytes) -> bytes:
        self._one(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._one(name)
        return super().__contains__(name)

    def get(self, name: bytes, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def __iter__(self) -> Iterator[bytes]:
        self._all()
        return super().__iter__()

    def __len__(self) -> int:
        self._all()
        return super().__len__()

    def keys(self) -> Any:
        return dict(self.items()).keys()

    def values(self) -> Any:
        return dict(self.items()).values()

    def items(self) -> Any:
        self._all()
        return super().items()

    def copy(self) -> dict[bytes, bytes]:
        return dict(self.items())


def hearing(
    recording: Recording, write: Callable[[str], int], heard: Callable[[Recording, str], None]
) -> Callable[[str], int]:
    """A stream's ``write`` that also tells what is written."""

    def hear(text: str) -> int:
        heard(recording, text)
        return write(text)

    return hear


def heard_out(recording: Recording, text: str) -> None:
    """Remember what was said, to say it again."""
    recording.out.append(text)


def heard_err(recording: Recording, text: str) -> None:
    """Something was said that is not said again."""
    recording.said = recording.said or bool(text)


class Stdin:
    """``sys.stdin``, all of it; who uses more than tells what kind of stream it is may be told something."""

    def __init__(self, recording: Recording, stream: Any) -> None:
        self._recording = recording
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        if name not in (
            "fileno",
            "isatty",
            "encoding",
            "errors",
            "closed",
            "name",
            "mode",
        ):
            self._recording.spoil("standard input was used")
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line: str = self.readline()
        if not line:
            raise StopIteration
        return line
