"""Records found by what they say: arguments, metadata, sizes, times.

It decides their order.  What can be asked is said in ``query``.

The invariant: a record that is found is one whose seal fits; asking changes nothing, not even when it was last used.
"""

from collections.abc import Iterator

from merkl.sqlite import sqlite3
from merkl.store.base import Record
from merkl.store.local import LocalStore
from merkl.store.query import Sql, compiled, field_of
from merkl.store.rows import SELECT, record_of


def find(store: LocalStore, where: str = "", *, sort: str = "", limit: int | None = None) -> list[Record]:
    """The records that ``where`` is true of, all without it: the latest first, or by the field ``sort``.

    ``-field`` sorts the largest first; a record that lacks the field comes last.

    Raises:
        UsageError: there is no such question, or no such field.
    """
    condition = compiled(where) if where.strip() else Sql("1")
    descending = sort.startswith("-")
    by = field_of(sort.removeprefix("-")) if sort else Sql("record.started_ns")
    down = " DESC" if descending or not sort else ""
    query = (
        f"SELECT {SELECT} FROM record WHERE {condition.text} "
        f"ORDER BY {by.text} IS NULL, {by.text}{down}, record.id{down}"
    )

    def ask(connection: sqlite3.Connection) -> list[Record]:
        found: list[Record] = []
        for record in _sound(connection.execute(query, (*condition.values, *by.values, *by.values))):
            if limit is not None and len(found) >= limit:
                break
            found.append(record)
        return found

    return store.database.read(ask)


def _sound(rows: sqlite3.Cursor) -> Iterator[Record]:
    for row in rows:
        if (record := record_of(row)) is not None:
            yield record
