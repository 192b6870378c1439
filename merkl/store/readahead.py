"""Answers that are read before they are asked for, since most programs ask in the order in which they filed.

It decides when and how far to read on: two questions whose answers lie near each other begin it, and it goes further the
longer that lasts.  What a row says, and whether it is to be believed, is not its business.

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
_NEAR: Final = (
    8  # Results of tasks that ran beside each other are filed as they came; of many, half as far as is read.
)

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
        # Rows by number; where the header of the database is, and what it was before they were read; and the latest of them.
        self._read: tuple[dict[int, Row], mmap.mmap | None, bytes, dict[int, Row]] = ({}, None, b"", {})
        self._rows = _LEAST
        self._low = self._high = 0  # Between these the next question lies if it follows the last ones.
        self._last = self._last_but_one = -1  # Where the last two answers lie that were asked for one by one.
        self._end = 0  # Up to here all has been read; 0 where the last question was the first.

    def row(self, number: tuple[int]) -> Row | None:
        """The row of a number, or None."""
        rows, header, was, _ = self._read
        row = rows.get(number[0])
        if row is None or header is None:
            return self._asked(number)
        try:
            if header[:HEADER] == was:
                return row
        except ValueError:
            pass  # The database was closed meanwhile.
        self._read = {}, None, b"", {}
        self._rows, self._end = _LEAST, 0
        return self._asked(number)

    def _asked(self, number: tuple[int]) -> Row | None:
        row = self._database.row(SHORT, number)
        if row is None:
            return None
        at = row[4]
        follows = self._low < at < self._high or at == self._last_but_one + 1  # Two workers took turns.
        self._last, self._last_but_one = at, self._last
        if not follows:
            self._low, self._high, self._end, self._rows = at - _NEAR, at + _NEAR, 0, _LEAST
        elif at > self._end:
            self._read_on(at)
        return row

    def _read_on(self, at: int) -> None:
        header = self._database.header()
        was = b"" if header is None else header[:HEADER]
        if not is_whole(was):
            return
        kept, seen, before, latest = self._read
        holds = seen is header and before == was
        start = self._end if holds and self._end else at - _NEAR
        query = start, self._rows + _NEAR
        rows = self._database.read(lambda connection: connection.execute(_LONG, query).fetchall())
        if not rows:
            self._end = at  # What lies here is too large, and all that comes after it.
        else:
            found = {row[5]: row for row in rows}
            if holds and len(kept) < _KEPT:
                kept.update(found)  # They hold as long.
            else:
                kept = latest | found if holds else found
            self._read = kept, header, was, found
            self._low, self._end = start, rows[-1][4]
            self._rows = min(2 * self._rows, _MOST)
            self._high = self._end + max(_NEAR, self._rows // 2)
