"""Records in the database: found, filed, named, forgotten.

It decides what makes two records the same one, and which of two stays.  It opens no transaction: every function takes
the connection of one.

The invariant: a record is known by its content key and the digest of what it discovered; the first one wins, and the
first name of a key, unless blobs of it are lost.  A row that does not fit its seal is no record.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from merkl.digest import Digest, Key
from merkl.nodes import Artifact
from merkl.sqlite import sqlite3
from merkl.store.answers import DAY_S, keep_answer, keep_answers
from merkl.store.base import Record
from merkl.store.rows import INSERT, SELECT, Row, record_of, row_of
from merkl.store.schema import number_of
from merkl.tree import Tree

_CHUNK: Final = 500  # Parameters of one query.
_NAME: Final = "INSERT OR IGNORE INTO name (key, record, answer) VALUES (?, ?, ?)"

ReadLarge = Callable[[Digest], bytes | None]  # How to read a blob that lies in a file.
ReadTree = Callable[[Digest], bytes | None]  # How to read any blob.
Counts = Callable[[Record], bool]  # Whether a record that came from elsewhere still counts.


def _chunks(names: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(names), _CHUNK):
        # Of keys and digests the module would ask for each how it is to be written.
        yield [bytes(name) for name in names[start : start + _CHUNK]]


def by_key(
    connection: sqlite3.Connection, keys: Sequence[Key]
) -> tuple[dict[Key, Record], dict[bytes, list[Key]], list[bytes]]:
    """The records under those keys; the seals of those whose use is to be noted, with the keys that they were asked by; the
    seals of those to remove."""
    found: dict[Key, Record] = {}
    old: dict[bytes, list[Key]] = {}
    bad: list[bytes] = []
    asked = {key: key for key in keys}
    yesterday = int(time.time()) - DAY_S
    for chunk in _chunks(keys):
        query = (
            f"SELECT name.key, name.record, {SELECT} FROM name JOIN record ON record.seal = name.record "
            f"WHERE name.key IN ({','.join('?' * len(chunk))})"
        )
        for key, named, *row in connection.execute(query, chunk):
            name, seal = asked.get(key), row[0]
            if name is None or seal != named:
                continue  # A damaged index leads anywhere.
            record = record_of(row, asked)
            if record is None:
                bad.append(seal)
                continue
            found[name] = record
            if row[1] < yesterday:
                old.setdefault(seal, []).append(name)
    return found, old, bad


def by_content_key(
    connection: sqlite3.Connection, keys: Sequence[Key]
) -> tuple[dict[Key, list[Record]], dict[bytes, list[Key]], list[bytes]]:
    """As ``by_key``, with every record of a content key, oldest first."""
    found: dict[Key, list[Record]] = {}
    old: dict[bytes, list[Key]] = {}
    bad: list[bytes] = []
    asked = frozenset(keys)
    yesterday = int(time.time()) - DAY_S
    for chunk in _chunks(keys):
        query = f"SELECT {SELECT} FROM record WHERE content_key IN ({','.join('?' * len(chunk))}) ORDER BY record.id"
        for row in connection.execute(query, chunk):
            record = record_of(row)
            if record is None:
                bad.append(row[0])
                continue
            if record.content_key not in asked:
                continue
            found.setdefault(record.content_key, []).append(record)
            if row[1] < yesterday:
                old[row[0]] = []
    return found, old, bad


def file_record(
    connection: sqlite3.Connection,
    record: Record,
    under_key: bool,
    now: int,
    large: ReadLarge,
    counts: Counts,
) -> tuple[Record, bytes]:
    """File ``record`` unless one of the same identity is there, whole, and counts; the one that is there now, and its seal.

    One that was made here takes the place of one from elsewhere that says the same.
    """
    row = row_of(record, now)
    kept, seal = record, row[0]
    if not connection.execute(INSERT, row).rowcount:
        first = connection.execute(
            f"SELECT {SELECT} FROM record WHERE content_key = ? AND found = ?", (row[2], row[3])
        ).fetchone()
        known = record_of(first) if first and first[2:4] == row[2:4] else None
        if known and counts(known) and _stays(connection, known, record, large):
            kept, seal = known, first[0]
            connection.execute("UPDATE record SET used_at = ? WHERE seal = ?", (now, seal))
        else:
            _replace(connection, first and first[0], row)
    if under_key:
        add_name(connection, record.key, kept, seal, now, large, counts)
    return kept, seal


def file_records(
    connection: sqlite3.Connection,
    results: Sequence[tuple[Record, bool]],
    blobs: Mapping[Digest, bytes],
    now: int,
    large: ReadLarge,
    counts: Counts,
) -> list[Record]:
    """As ``file_record`` of each, and faster where none of them is here; ``blobs`` have just been stored."""
    rows = [row_of(record, now) for record, _ in results]
    if len(rows) > 1 and connection.executemany(INSERT, rows).rowcount == len(rows):
        named = [
            (record, row[0]) for (record, under_key), row in zip(results, rows, strict=True) if under_key
        ]
        names = [(bytes(record.key), seal, number_of(record.key)) for record, seal in named]
        if not names or connection.executemany(_NAME, names).rowcount == len(names):
            keep_answers(connection, [record for record, _ in named], blobs, now)
            return [record for record, _ in results]
    # Some are here, or some of these were until now: who asks for those again finds them as they are.
    return [
        file_record(connection, record, under_key, now, large, counts)[0] for record, under_key in results
    ]


def _stays(connection: sqlite3.Connection, known: Record, record: Record, large: ReadLarge) -> bool:
    if known.outputs == record.outputs:
        return known.origin is None or record.origin is not None
    if known.origin is not None and record.origin is None and known.outputs.keys() != record.outputs.keys():
        return False  # No step can use that one, whoever signed it.
    return is_whole(connection, known, large)


def _replace(connection: sqlite3.Connection, old: bytes | None, row: Row) -> None:
    connection.execute("DELETE FROM record WHERE content_key = ? AND found = ?", (row[2], row[3]))
    connection.execute(INSERT.replace("OR IGNORE", "OR REPLACE"), row)
    if old is not None:
        connection.execute("UPDATE name SET record = ? WHERE record = ?", (row[0], old))


def add_name(
    connection: sqlite3.Connection,
    key: Key,
    record: Record,
    seal: bytes,
    now: int,
    large: ReadLarge,
    counts: Counts,
) -> None:
    """Let ``key`` name the record; the first name of a key stays, unless it leads to nothing that counts and is whole."""
    if not connection.execute(_NAME, (bytes(key), seal, number_of(key))).rowcount:
        (other,) = connection.execute("SELECT record FROM name WHERE key = ?", (key,)).fetchone()
        if other != seal:
            first = connection.execute(f"SELECT {SELECT} FROM record WHERE seal = ?", (other,)).fetchone()
            known = record_of(first) if first and first[0] == other else None
            if known and counts(known) and is_whole(connection, known, large):
                return
            connection.execute("UPDATE name SET record = ? WHERE key = ?", (seal, key))
    keep_answer(connection, key, record, now)


def is_whole(connection: sqlite3.Connection, record: Record, large: ReadLarge) -> bool:
    """Whether every blob of its outputs is here, by name; those inside directories too."""
    return not missing_blobs(connection, record.outputs.values(), large)


def missing_blobs(
    connection: sqlite3.Connection, outputs: Iterable[Artifact], large: ReadLarge
) -> list[Digest]:
    """The blobs that those outputs need and the database does not know."""
    lost = []
    for artifact in outputs:
        row = connection.execute("SELECT bytes FROM blob WHERE digest = ?", (artifact.digest,)).fetchone()
        if row is None:
            lost.append(artifact.digest)
        elif artifact.kind == "dir":
            tree = large(artifact.digest) if row[0] is None else row[0]
            lost += [digest for digest in leaves(tree or b"") if not _knows(connection, digest)]
    return lost


def _knows(connection: sqlite3.Connection, digest: Digest) -> bool:
    return connection.execute("SELECT 1 FROM blob WHERE digest = ?", (digest,)).fetchone() is not None


def needs(record: Record, read: ReadTree) -> set[Digest]:
    """Every blob that a record promises: outputs, what is in directories, and what it printed."""
    needed = {artifact.digest for artifact in record.outputs.values()}
    for artifact in record.outputs.values():
        if artifact.kind == "dir":
            needed.update(leaves(read(artifact.digest) or b""))
    if record.log is not None:
        needed.add(record.log)
    return needed


def leaves(tree: bytes) -> dict[Digest, int]:
    """The contents that an encoded directory names, each with its bytes; none if it is no such encoding."""
    try:
        entries = Tree.decode(tree).entries
    except ValueError:
        return {}
    return {entry.digest: entry.size for entry in entries if entry.kind == "file" and entry.digest}


def forget(connection: sqlite3.Connection, keys: Sequence[Key]) -> int:
    """Remove the records of those keys or content keys, and all their names; how many records went."""
    seals: set[bytes] = set()
    for chunk in _chunks(keys):
        marks = ",".join("?" * len(chunk))
        for (seal,) in connection.execute(f"SELECT record FROM name WHERE key IN ({marks})", chunk):
            seals.add(seal)
        for (seal,) in connection.execute(f"SELECT seal FROM record WHERE content_key IN ({marks})", chunk):
            seals.add(seal)
    return remove(connection, seals)


def remove(connection: sqlite3.Connection, seals: Iterable[bytes]) -> int:
    """Remove records by seal, with all their names; how many were there."""
    gone = connection.executemany("DELETE FROM record WHERE seal = ?", [(seal,) for seal in seals]).rowcount
    if gone > 0:
        connection.execute("DELETE FROM name WHERE record NOT IN (SELECT seal FROM record)")
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('removals', ?)", (os.urandom(16).hex(),))
    return max(gone, 0)


def removals(connection: sqlite3.Connection) -> str:
    """What is another text after each removal: as long as it is the same, what was filed is still there."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'removals'").fetchone()
    return "" if row is None else bytes(row[0]).decode("ascii", "replace")
