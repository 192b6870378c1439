"""Answers that are read before they are asked for, since most programs ask in the order in which they filed.

It decides when and how far to read on: two questions whose answers lie one after the other begin it, and it goes further
the longer that lasts.  What a row says, and whether it is to be believed, is not its business.

The invariant: a row is given only as long as no transaction, of any process, has ended since it was read: it is what the
database would say.
"""

import mmap
from typing import Any, Final

from merkl.store.database import Database
from merkl.store.walindex import HEADER, is_whole

Row = tuple[Any, ...]

_LARGEST: Final = 4096  # Bytes of a value that is kept in memory.
_LEAST: Final = 16  # Rows at a time.
_MOST: Final = 256
_KEPT: Final = 1024  # Together not much more than 4 MiB.
_NEAR: Final = 8  # Results of tasks that ran beside each other are filed as they came.

_COLUMNS: Final = (
    "SELECT answer.seal, answer.form, blob.bytes, answer.used_at, answer.id, answer.number "
    "FROM answer CROSS JOIN blob ON blob.id = answer.blob"
)
SHORT: Final = f"{_COLUMNS} WHERE answer.number = ?"
_LONG: Final = (
    f"{_COLUMNS} WHERE answer.id > ? AND typeof(blob.bytes) = 'blob' AND length(blob.bytes) <= {_LARGEST} "
    "ORDER BY answer.id LIMIT ?"
)


class ReadAhead:
    """The answers in a database, each one row of six columns.  Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Rows by number; where the header of the database is, and what it was before they were read.
        self._read: tuple[dict[int, Row], mmap.mmap | None, bytes] = ({}, None, b"")
        self._rows = _LEAST
        self._after = self._before = 0  # Where the next question lies if it follows the last one.

    def row(self, number: tuple[int]) -> Row | None:
        """The row of a number, or None."""
        rows, header, was = self._read
        row = rows.get(number[0])
        if row is None or header is None:
            return self._asked(number)
        try:
            if header[:HEADER] == was:
                return row
        except ValueError:
            pass  # The database was closed meanwhile.
        self._read = {}, None, b""
        self._rows = _LEAST
        return self._asked(number)

    def _asked(self, number: tuple[int]) -> Row | None:
        row = self._database.row(SHORT, number)
        if row is None:
            return None
        at = row[4]
        if self._after < at < self._before:
            self._read_on(at)
        else:
            self._after, self._before, self._rows = at, at + _NEAR, _LEAST
        return row

    def _read_on(self, at: int) -> None:
        header = self._database.header()
        was = b"" if header is None else header[:HEADER]
        if not is_whole(was):
            return
        query = at - _NEAR, self._rows + _NEAR
        rows = self._database.read(lambda connection: connection.execute(_LONG, query).fetchall())
        if rows:
            found = {row[5]: row for row in rows}
            kept, seen, before = self._read
            if seen is header and before == was and len(kept) < _KEPT:
                kept.update(found)  # They hold as long.
            else:
                self._read = found, header, was
            self._after, self._before = at, rows[-1][4] + _NEAR
            self._rows = min(2 * self._rows, _MOST)
