"""Caches that projects bring along: what one is, two that are ready, and how two are put together.

It decides what a cache is asked and told.  It does not trust one: whoever reads from it checks digests.

The invariant: a cache may forget anything at any time, and may keep nothing at all; no key depends on it.
"""

import contextlib
import io
import os
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from merkl.dataclass import dataclass
from merkl.errors import TaskError
from merkl.nodes import calling_place

if TYPE_CHECKING:  # Workers have no use for it.
    import sqlite3

_SMALL: Final = 1 << 20  # Bytes of what is handed over as bytes; larger things come as files.


@dataclass(frozen=True, slots=True)
class About:
    """What is known of bytes that a cache is given.

    ``kind`` is ``record`` for what happened when a task ran, or ``content`` for bytes of a result; ``key`` the hash of the
    Future that they belong to, ``digest`` that of the bytes, both hexadecimal; ``metadata`` what the task said with
    ``merkl.metadata``.
    """

    kind: str
    task: str
    key: str
    digest: str
    size: int
    metadata: Mapping[str, Any]


class BaseCache:
    """Bytes by name: write ``get`` and ``add``, and it is a cache.

    A name is 64 hexadecimal digits.  What has the name of a Future's hash says what its task made, and by which digests;
    what has the name of a digest are those bytes.  A cache need not tell them apart.  It may be called from several threads,
    but never from two at once.
    """

    def get(self, name: str) -> bytes | None:
        """The bytes of that name, or None if they are not here."""
        raise NotImplementedError(f"{type(self).__name__}.get")

    def add(self, name: str, data: bytes, about: About) -> bool | None:
        """Keep bytes; False says that they were not kept."""
        raise NotImplementedError(f"{type(self).__name__}.add")

    def has(self, name: str) -> bool:
        """Whether the bytes of that name are here."""
        return self.get(name) is not None

    def remove(self, name: str) -> None:
        """Forget the bytes of that name; a cache that cannot does nothing."""

    def get_fileobject(self, name: str) -> BinaryIO | None:
        """A reader of the bytes of that name, for what is too large for memory."""
        data = self.get(name)
        return None if data is None else io.BytesIO(data)

    def add_fileobject(self, name: str, file: BinaryIO, about: About) -> bool | None:
        """Keep what a binary file holds; it is asked to for more than a megabyte."""
        return self.add(name, file.read(), about)

    @property
    def records(self) -> "BaseCache":
        """Where records are kept."""
        return self

    @property
    def contents(self) -> "BaseCache":
        """Where the bytes of results are kept."""
        return self


class CombinedCache(BaseCache):
    """Records in one cache, the bytes of results in another: of any kind each."""

    def __init__(self, *, merkle: BaseCache, content: BaseCache) -> None:
        given: dict[str, object] = {"merkle": merkle, "content": content}
        for name, each in given.items():
            if not isinstance(each, BaseCache):
                raise TaskError(
                    f"CombinedCache puts two caches together, and {name} is {each!r:.60}",
                    hint="such as CombinedCache(merkle=SqliteCache('records.db'), content=MyCache())",
                    at=calling_place(),
                )
        self.merkle = merkle
        self.content = content

    @property
    def records(self) -> BaseCache:
        """Where records are kept."""
        return self.merkle.records

    @property
    def contents(self) -> BaseCache:
        """Where the bytes of results are kept."""
        return self.content.contents

    def get(self, name: str) -> bytes | None:
        """The bytes of that name, in either."""
        data = self.records.get(name)
        return self.contents.get(name) if data is None else data

    def add(self, name: str, data: bytes, about: About) -> bool | None:
        """Keep bytes where they belong."""
        return (self.records if about.kind == "record" else self.contents).add(name, data, about)

    def remove(self, name: str) -> None:
        """Forget the bytes of that name in both."""
        self.records.remove(name)
        self.contents.remove(name)


class MemoryCache(BaseCache):
    """Bytes in this process, for as long as it lives."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        """The bytes of that name, or None."""
        return self._kept.get(name)

    def add(self, name: str, data: bytes, about: About) -> bool | None:  # noqa: ARG002
        """Keep bytes."""
        self._kept[name] = data
        return True

    def remove(self, name: str) -> None:
        """Forget them."""
        self._kept.pop(name, None)


@dataclass(frozen=True, slots=True)
class Usage:
    """How much a cache holds of one function: results, and bytes in all."""

    results: int
    bytes: int


class SqliteCache(BaseCache):
    """Bytes in one SQLite file, which several processes may use at a time, and which can be copied."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"SqliteCache({self.path!r})"

    @contextlib.contextmanager
    def _opened(self) -> "Iterator[sqlite3.Connection]":
        import sqlite3

        # Anew each time: nothing is open in a process that forks, or when the file is replaced.
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with self._lock, contextlib.closing(sqlite3.connect(self.path, timeout=60)) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS entry (name TEXT PRIMARY KEY, kind TEXT NOT NULL, task TEXT NOT NULL, "
                "hash TEXT NOT NULL, size INTEGER NOT NULL, data BLOB NOT NULL)"
            )
            with connection:
                yield connection

    def get(self, name: str) -> bytes | None:
        """The bytes of that name, or None."""
        with self._opened() as connection:
            row = connection.execute("SELECT data FROM entry WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def has(self, name: str) -> bool:
        """Whether they are here, without reading them."""
        with self._opened() as connection:
            return connection.execute("SELECT 1 FROM entry WHERE name = ?", (name,)).fetchone() is not None

    def add(self, name: str, data: bytes, about: About) -> bool | None:
        """Keep bytes; more than SQLite takes are not kept."""
        import sqlite3

        values = (name, about.kind, about.task, about.key, len(data), data)
        try:
            with self._opened() as connection:
                connection.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?)", values)
        except (sqlite3.DataError, OverflowError):
            return False
        return True

    def add_fileobject(self, name: str, file: BinaryIO, about: About) -> bool | None:
        """Keep what a file holds, unless that is more than a row can hold."""
        return False if about.size > 900_000_000 else self.add(name, file.read(), about)

    def remove(self, name: str) -> None:
        """Forget them."""
        with self._opened() as connection:
            connection.execute("DELETE FROM entry WHERE name = ?", (name,))

    def usage(self) -> dict[str, Usage]:
        """How much it holds of each function, the largest first."""
        with self._opened() as connection:
            rows = connection.execute(
                "SELECT task, COUNT(DISTINCT CASE kind WHEN 'record' THEN hash END), SUM(size) FROM entry "
                "GROUP BY task ORDER BY SUM(size) DESC, task"
            ).fetchall()
        return {task: Usage(results, size) for task, results, size in rows}


def is_small(size: int) -> bool:
    """Whether so many bytes are handed to a cache as bytes."""
    return size <= _SMALL


class OwnCache:
    """What a task asks for besides the project's store: a cache of its own, or to keep values in memory.

    A worker that gets the task gets none of it: a cache is asked where the build is.
    """

    __slots__ = ("cache", "in_memory")

    def __init__(self, cache: BaseCache | None = None, *, in_memory: bool = False) -> None:
        self.cache = cache
        self.in_memory = in_memory

    def __reduce__(self) -> tuple[type["OwnCache"], tuple[()]]:
        return OwnCache, ()
