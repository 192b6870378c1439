"""One key, one small value: what most questions to a store are, in one short query.

It decides which results can be had so, and when a short look is enough.  It knows no nodes, and what a value's bytes mean
is not its business.

The invariant: a short look that finds something found what ``by_key`` and ``open`` would have: a name has an answer only
as long as it names the same record, which the database itself sees to, and bytes are believed only if the answer's seal
fits them.  Whatever is not plain, whole and made here, or takes a write to note its use, is left to a longer look.
"""

import struct
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from blake3 import blake3

from merkl.digest import Digest, Key
from merkl.nodes import Artifact
from merkl.pattern import pattern
from merkl.sqlite import sqlite3
from merkl.store.base import Record
from merkl.store.rows import SELECT, seal_of
from merkl.store.schema import number_of

DAY_S: Final = 86_400

_ALL: Final = (
    "SELECT answer.number, answer.seal, answer.form, blob.bytes "
    "FROM answer LEFT JOIN blob ON blob.id = answer.blob"
)
_INSERT: Final = "INSERT OR REPLACE INTO answer (number, seal, form, used_at, blob) VALUES (?, ?, ?, ?, ?)"
_INSERT_BY_DIGEST: Final = (
    "INSERT OR REPLACE INTO answer (number, seal, form, used_at, blob) "
    "SELECT ?, ?, ?, ?, id FROM blob WHERE digest = ?"
)

_DIGEST_AT: Final = 1 + len('[{"name":"","kind":"value","digest":"')
_LONG: Final = (
    f"SELECT name.record, blob.bytes, {SELECT} FROM name JOIN record ON record.seal = name.record "
    f"LEFT JOIN blob ON blob.digest = merkl_unhex(substr(record.outputs, {_DIGEST_AT}, 64)) WHERE name.key = ?"
)
_ONE_VALUE: Final = pattern(
    rb'\[\{"name":"","kind":"value","digest":"([0-9a-f]{64})","size":([0-9]+),"executable":false,'
    rb'"serializer":"([a-z0-9.-]+)","filename":""\}\]'
)
_SEAL: Final = 2  # The places of what is looked at in a long row; what is sealed begins at ``_SEALED``.
_USED_AT: Final = 3
_SEALED: Final = 4
_OUTPUTS: Final = 13
_ORIGIN: Final = -1


class Answer(NamedTuple):
    """The bytes of the one output of a record, a value, and the form they are in: checked."""

    form: bytes
    data: bytes

    @property
    def serializer(self) -> str:
        """The form as an artifact names it."""
        return self.form.decode()

    def artifact(self) -> Artifact:
        """The output."""
        return Artifact("value", Digest.of(self.data), len(self.data), serializer=self.serializer)


def short_answer(row: tuple[Any, ...], key: Key) -> Answer | None:
    """What a row of ``ReadAhead`` says of a key, if it is about that one and whole, and the use of its record is noted already.

    Damage may have given what is in it any type; and some keys may have one number.
    """
    seal, form, data, used_at, _, _ = row
    try:
        if blake3(key + form + data).digest() == seal and used_at >= time.time() - DAY_S:
            return _new(Answer, (form, data))
    except TypeError:
        pass  # The bytes are in a file, or there is damage.
    return None


_new: Final = tuple.__new__


def long_answer(connection: sqlite3.Connection, key: Key) -> Answer | None:
    """What is filed under a key, if that is one small value, and its use is noted already: also if it has no short answer."""
    row = connection.execute(_LONG, (key,)).fetchone()
    if row is None or row[0] != row[_SEAL]:
        return None
    try:
        if seal_of(row[_SEALED:]) != row[_SEAL]:
            return None
    except (TypeError, ValueError, struct.error):
        return None
    found, data = _ONE_VALUE.fullmatch(row[_OUTPUTS]), row[1]
    if found is None or type(data) is not bytes or row[_USED_AT] < time.time() - DAY_S:
        return None
    if row[_ORIGIN] is not None:
        return None  # Whether it still counts is not for us to say.
    digest, _, serializer = found.groups()
    return Answer(serializer, data) if blake3(data).digest() == bytes.fromhex(digest.decode()) else None


def drop_unfit(connection: sqlite3.Connection) -> None:
    """Remove the answers that nobody would believe."""
    keys = {number_of(key): key for (key,) in connection.execute("SELECT key FROM name")}
    gone = [
        (number,)
        for number, *row in connection.execute(_ALL)
        if number not in keys or not _fits(keys[number], *row)
    ]
    connection.executemany("DELETE FROM answer WHERE number = ?", gone)


def _fits(key: bytes, seal: Any, form: Any, data: Any) -> bool:
    try:
        return bool(blake3(key + form + data).digest() == seal)
    except TypeError:
        return False


def _one_value(record: Record) -> Artifact | None:
    """The one output of a record whose key can have a short answer; None if it cannot."""
    if len(record.outputs) != 1 or record.origin is not None:
        return None  # Or it is from elsewhere: whether it still counts is asked each time.
    [(name, made)] = record.outputs.items()
    return None if name or made.kind != "value" or made.executable or made.filename else made


def keep_answers(
    connection: sqlite3.Connection, named: Iterable[Record], blobs: Mapping[Digest, bytes], now: int
) -> None:
    """As ``keep_answer`` of each, under its own key; ``blobs`` have just been stored."""
    rows = []
    for record in named:
        made = _one_value(record)
        data = None if made is None else blobs.get(made.digest)
        if made is None or data is None:
            keep_answer(connection, record.key, record, now)
            continue
        form = made.serializer.encode()
        seal = blake3(record.key + form + data).digest()
        rows.append((number_of(record.key), seal, form, now, bytes(made.digest)))
    connection.executemany(_INSERT_BY_DIGEST, rows)


def keep_answer(connection: sqlite3.Connection, key: Key, record: Record, now: int) -> None:
    """Let what a key names have a short answer, if it can; its record was used ``now``."""
    made = _one_value(record)
    if made is None:
        return
    row = connection.execute("SELECT id, bytes FROM blob WHERE digest = ?", (bytes(made.digest),)).fetchone()
    if row is None or type(row[1]) is not bytes or blake3(row[1]).digest() != made.digest:
        return
    form = made.serializer.encode()
    connection.execute(_INSERT, (number_of(key), blake3(key + form + row[1]).digest(), form, now, row[0]))
