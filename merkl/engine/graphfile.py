"""A kept graph as files: of its long parts only what somebody looks at is read, and what a small build changes is beside it.

It decides how a graph lies on the disk, and not what is in it.

The invariant: what is read has the checksum under which it was written, or it counts as not there.  Both files are replaced
whole, and a snapshot names what they hold together: after a crash between two of the three, there is no graph.
"""

import contextlib
import marshal
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from merkl.engine.kept import Kept
from merkl.snapshot.answer import STATE, checksum
from merkl.snapshot.writing import write_file

DIRECTORY: Final = "graphs"  # In a project's ``.merkl``.
_CHANGES: Final = ".changes"  # After the name of a graph: what is other there since.
_GRAPHS: Final = 8  # Kept in a project.
_ROWS: Final = ("keys", "said", "sources")  # Where each row ends, and all of them.
_LATER: Final = ("saved", "undone", "unsure")  # What changes besides rows.
_PIECE: Final = 16_384  # Bytes, each with a checksum of its own.
_PART: Final = 4  # Changes that take more than this part of a graph are written into it.
_SUM: Final = 8  # Bytes of a checksum.


class Damaged(OSError):
    """A file is not what was written."""


class Pieces:
    """Bytes in a file that are read, and checked, where somebody looks."""

    __slots__ = ("_file", "_length", "_read", "_start", "_sums")

    def __init__(self, file: "_File", start: int, length: int, sums: bytes) -> None:
        self._file = file
        self._start = start
        self._length = length
        self._sums = sums
        self._read: dict[int, bytes] = {}

    def __getitem__(self, at: slice) -> bytes:
        start, stop, _ = at.indices(self._length)
        if start >= stop:
            return b""
        first = start // _PIECE
        data = b"".join(map(self._piece, range(first, (stop - 1) // _PIECE + 1)))
        return data[start - first * _PIECE : stop - first * _PIECE]

    def _piece(self, number: int) -> bytes:
        data = self._read.get(number)
        if data is None:
            at = number * _PIECE
            data = os.pread(self._file.fd, min(_PIECE, self._length - at), self._start + at)
            if checksum(data) != self._sums[number * _SUM : (number + 1) * _SUM]:
                raise Damaged("a kept graph is damaged")
            self._read[number] = data
        return data


class _File:
    """An open file, which ends with the last one that reads it; another may take its place meanwhile."""

    __slots__ = ("fd",)

    def __init__(self, path: str) -> None:
        self.fd = -1
        self.fd = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


def write_graph(root: str, name: str, head: Mapping[str, Any]) -> bytes:
    """Write a graph; its checksum, or nothing if it has what cannot be written."""
    parts = {key: head[key][1] for key in _ROWS} | {"placed": head["placed"]}
    short = {**head, "placed": b"", **{key: head[key][0] for key in _ROWS}}
    short["parts"] = {key: (len(data), _sums(data)) for key, data in parts.items()}
    try:
        data = marshal.dumps(short, 4)
    except ValueError:
        return b""
    found = checksum(data)
    directory = os.path.join(root, STATE, DIRECTORY)
    write_file(directory, name, b"".join([len(data).to_bytes(_SUM), data, *parts.values()]), _GRAPHS)
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(directory, name + _CHANGES))
    return found


def _sums(data: bytes) -> bytes:
    return b"".join([checksum(data[at : at + _PIECE]) for at in range(0, len(data), _PIECE)])


def write_changes(root: str, name: str, kept: Kept) -> bytes:
    """Write what has become of a graph; the checksum of both, or nothing if it has what cannot be written."""
    rows = {"keys": kept.keys, "said": kept.said_of, "sources": kept.sources}
    changes = {key: kept.head[key] for key in _LATER} | {key: row.fresh for key, row in rows.items()}
    try:
        data = marshal.dumps({"base": kept.head["base"], **changes}, 4)
    except ValueError:
        return b""
    if len(data) * _PART > kept.head["size"]:
        head = {key: value for key, value in kept.written().items() if key not in ("base", "size")}
        return write_graph(root, name, head)
    write_file(os.path.join(root, STATE, DIRECTORY), name + _CHANGES, data, _GRAPHS)
    return bytes(kept.head["base"] + checksum(data))


def read_graph(
    root: str, name: str, expected: bytes, read_calls: Callable[[bytes], dict[str, Any] | None]
) -> Kept | None:
    """The graph that has the checksum ``expected``, if it is there; ``read_calls`` gets that of its Python calls."""
    try:
        head = _head(os.path.join(root, STATE, DIRECTORY, name), expected[:_SUM])
        changes = _changes(os.path.join(root, STATE, DIRECTORY, name + _CHANGES), expected)
    except OSError:
        return None
    head.update({key: changes[key] for key in _LATER if key in changes})
    return Kept(head, lambda: read_calls(head["calls"]), {key: changes.get(key, {}) for key in _ROWS})


def _head(path: str, expected: bytes) -> dict[str, Any]:
    file = _File(path)
    length = int.from_bytes(os.pread(file.fd, _SUM, 0))
    size = os.fstat(file.fd).st_size
    data = os.pread(file.fd, length, _SUM) if length <= size else b""
    if checksum(data) != expected:
        raise Damaged("a kept graph is damaged, or another one")
    head: dict[str, Any] = marshal.loads(data)
    at = _SUM + length
    for key, (long, sums) in head.pop("parts").items():
        pieces = Pieces(file, at, long, sums)
        head[key] = (head[key], pieces) if key in _ROWS else pieces
        at += long
    return {**head, "base": expected, "size": size}


def _changes(path: str, expected: bytes) -> dict[str, Any]:
    if len(expected) == _SUM:
        return {}
    with open(path, "rb") as file:
        data = file.read()
    if checksum(data) != expected[_SUM:]:
        raise Damaged("what changed in a kept graph is damaged")
    changes: dict[str, Any] = marshal.loads(data)
    if changes["base"] != expected[:_SUM]:
        raise Damaged("it is of another graph")
    return changes
