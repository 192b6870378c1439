"""The value of an answer that the store gave at once.

It decides nothing but how bytes that are here already become a value again.
"""

import io
import json
from collections.abc import Iterable
from typing import Any, BinaryIO, Final

from merkl.digest import Digest
from merkl.python.run import load_value
from merkl.store.answers import Answer

_scan: Final = json.scanner.make_scanner(json.JSONDecoder())  # type: ignore[attr-defined]


def value_of(answer: Answer) -> Any:
    """The value, read as ``load_value`` reads it."""
    form, data = answer
    if form == b"json":
        return _scan(data.decode(), 0)[0]  # As ``JsonForm`` wrote it, without spaces around.
    if form == b"text":
        return data.decode()
    return load_value(_AtHand(data), answer.artifact())


class _AtHand:
    """The one blob that is asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def has(self, digests: Iterable[Digest]) -> set[Digest]:
        """It is."""
        return set(digests)

    def read(self, digest: Digest) -> bytes | None:  # noqa: ARG002
        """All of it."""
        return self._data

    def part(self, digest: Digest, start: int, size: int, *, of: Digest) -> bytes | None:  # noqa: ARG002
        """Some of it."""
        return self._data[start : start + size]

    def reader(self, digest: Digest) -> BinaryIO:  # noqa: ARG002
        """A reader of it."""
        return io.BytesIO(self._data)
