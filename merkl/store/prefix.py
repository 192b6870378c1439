"""Records by the beginning of a key, as people type it.

It decides nothing.  The invariant: it changes nothing, not even when a record was used last.
"""

from merkl.digest import Key
from merkl.sqlite import sqlite3
from merkl.store.base import Record
from merkl.store.local import LocalStore
from merkl.store.rows import SELECT, record_of


def records_from(store: LocalStore, digits: str) -> list[tuple[Key, Record]]:
    """The records of which a key, or the content key, begins with these hexadecimal digits; each with that key."""
    pattern = digits.upper() + "%"

    def query(connection: sqlite3.Connection) -> dict[tuple[bytes, bytes], Record]:
        found: dict[tuple[bytes, bytes], Record] = {}
        named = f"SELECT name.key, {SELECT} FROM name JOIN record ON seal = name.record WHERE hex(name.key) LIKE ?"
        content = f"SELECT record.content_key, {SELECT} FROM record WHERE hex(content_key) LIKE ?"
        own = f"SELECT record.key, {SELECT} FROM record WHERE hex(record.key) LIKE ?"
        for statement in (named, own, content):
            for key, *row in connection.execute(statement, (pattern,)):
                record = record_of(tuple(row))
                if record is not None:
                    found.setdefault((bytes(key), row[0]), record)
        return found

    return [(Key(key), record) for (key, _), record in store.database.read(query).items()]
