"""One key, one small value: what most questions to a store are, in one query.

It decides when a short look is enough.  It knows no nodes, and what a value's bytes mean is not its business.

The invariant: a short look that finds something found what ``by_key`` and ``open`` would have, checked as they check it;
whatever is not plain and whole, or takes a write to note its use, it leaves to them.
"""

import re
import sqlite3
import struct
import time
from typing import Final, NamedTuple

from blake3 import blake3

from merkl.digest import Digest, Key
from merkl.nodes import Artifact
from merkl.store.records import DAY_S
from merkl.store.rows import SELECT, seal_of

_DIGEST_AT: Final = 1 + len('[{"name":"","kind":"value","digest":"')
_QUERY: Final = (
    f"SELECT name.record, blob.bytes, {SELECT} FROM name JOIN record ON record.seal = name.record "
    f"LEFT JOIN blob ON blob.digest = merkl_unhex(substr(record.outputs, {_DIGEST_AT}, 64)) WHERE name.key = ?"
)
_ONE_VALUE: Final = re.compile(
    rb'\[\{"name":"","kind":"value","digest":"([0-9a-f]{64})","size":([0-9]+),"executable":false,'
    rb'"serializer":"([a-z0-9.-]+)","filename":""\}\]'
)
_SEAL: Final = 2  # The places of what is looked at in a row; what is sealed begins at ``_SEALED``.
_USED_AT: Final = 3
_SEALED: Final = 4
_OUTPUTS: Final = 13
_INPUTS: Final = 14


class Answer(NamedTuple):
    """The one output of a record, a value, and its bytes: not yet checked."""

    digest: bytes
    size: int
    serializer: str
    data: bytes

    def checked(self) -> bool:
        """Whether the bytes are those that were recorded."""
        return blake3(self.data).digest() == self.digest

    def artifact(self) -> Artifact:
        """The output."""
        return Artifact("value", Digest(self.digest), self.size, serializer=self.serializer)


def answer(connection: sqlite3.Connection, key: Key, inputs: int) -> Answer | None:
    """What is filed under a key, if that is one small value, made from so many inputs, and its use is noted already."""
    row = connection.execute(_QUERY, (key,)).fetchone()
    if row is None or row[0] != row[_SEAL]:
        return None
    try:
        if seal_of(row[_SEALED:]) != row[_SEAL]:
            return None
    except (TypeError, ValueError, struct.error):
        return None
    found, data = _ONE_VALUE.fullmatch(row[_OUTPUTS]), row[1]
    if (
        found is None
        or type(data) is not bytes
        or row[_USED_AT] < time.time() - DAY_S
        or row[_INPUTS].count(b'"') != 2 * inputs
    ):
        return None
    digest, size, serializer = found.groups()
    return Answer(bytes.fromhex(digest.decode()), int(size), serializer.decode(), data)
