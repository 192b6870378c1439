"""Which outputs were made from which files, as of the last build that placed them: the tables ``lineage`` and ``origin``.

It decides nothing: a lineage is bytes here.  The invariant: a path has one origin, and few lineages are kept that no path
comes from.
"""

import itertools
import os
from collections.abc import Iterable
from typing import Final

from merkl.digest import Key
from merkl.workspace.database import Database

_AT_ONCE: Final = 1000
_LEFT: Final = 64  # Lineages, among them some that nothing comes from.


class Lineages:
    """What one ``index.db`` knows of the ancestors of outputs.  Writing is lasting after the database's ``flush``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def covers(self, name: bytes, count: int) -> bool:
        """Whether ``count`` paths come from the lineage of that name: all of its paths, if it has so many."""
        query = "SELECT COUNT(*) FROM origin JOIN lineage ON id = lineage WHERE lineage = ?"
        [(known,)] = self._database.rows(query, (name,))
        return bool(known == count)

    def set(
        self,
        name: bytes,
        value: bytes | bytearray,
        made: Iterable[tuple[str, Key, int]],
        *,
        of_all: bool = True,
    ) -> None:
        """Remember a lineage, and for each of its paths the node that makes it: its key, and its number there.

        One that is not ``of_all`` that was asked for leaves behind those that nothing comes from, until there are many: to
        find them, every path is looked at.
        """
        write = self._database.write
        write("INSERT OR REPLACE INTO lineage VALUES (?, ?)", (name, value))
        rows = ((os.fsencode(path), bytes(key), name, number) for path, key, number in made)
        while some := list(itertools.islice(rows, _AT_ONCE)):  # There may be more than fit into memory twice.
            self._database.write_all("INSERT OR REPLACE INTO origin VALUES (?, ?, ?, ?)", some)
        if not of_all and self._count() < _LEFT:
            return
        write("DELETE FROM origin WHERE path NOT IN (SELECT path FROM placement)", ())
        write("DELETE FROM lineage WHERE id NOT IN (SELECT lineage FROM origin)", ())

    def _count(self) -> int:
        [(count,)] = self._database.committed("SELECT COUNT(*) FROM lineage")
        return int(count)

    def of(self, paths: Iterable[str]) -> dict[bytes, tuple[bytes, dict[str, int]]]:
        """The lineages that some paths come from, by name: each value, and the number of each path's node in it.

        A path where merkl has put something else since comes from none.
        """
        wanted = set(paths)
        found: dict[bytes, tuple[bytes, dict[str, int]]] = {}
        query = "SELECT path, lineage, node FROM origin JOIN placement USING (path) WHERE origin.key = placement.key"
        for raw, name, node in self._database.rows(query):
            path = os.fsdecode(raw)
            if path not in wanted:
                continue
            if name not in found:
                rows = self._database.rows("SELECT value FROM lineage WHERE id = ?", (name,))
                found[name] = (rows[0][0] if rows else b"", {})
            found[name][1][path] = node
        return found
