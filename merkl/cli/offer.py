"""What completion offers, and what of that merkl remembers: the last list of targets, and paths.

It decides nothing; ``complete`` does.

The invariant: it only reads, and is silent if it cannot.
"""

import json
import os
import sqlite3
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from merkl.root import STATE_DIR

_BUSY: Final = 0.2  # seconds to wait for another process that writes the index


class Candidate(NamedTuple):  # Not a dataclass: to import that takes longer than all the rest.
    """A whole word that may stand there, and a line about it."""

    text: str
    about: str = ""


class Answer(NamedTuple):
    """What may stand where the cursor is: ``words``; or any file or directory after ``prefix``, from ``base``."""

    kind: Literal["words", "files", "dirs"] = "words"
    words: tuple[Candidate, ...] = ()
    prefix: str = ""
    base: str = "."


class Memory:
    """What the index of the project at ``root`` says, for words typed in ``base``.  Reads only; silent if it cannot."""

    def __init__(self, root: str, base: str) -> None:
        self._root = os.path.abspath(root)
        self._base = os.path.abspath(base)
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> "Memory":
        path = os.path.join(self._root, STATE_DIR, "index.db")
        uri = "file:" + "".join(f"%{byte:02x}" for byte in os.fsencode(path)) + "?mode=ro"
        # Nobody writes, and SQLite need not make files to find that out.
        if not os.path.exists(f"{path}-wal"):
            uri += "&immutable=1"
        try:
            self._connection = sqlite3.connect(uri, uri=True, timeout=_BUSY, isolation_level=None)
        except sqlite3.Error:
            pass
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def targets(self) -> list[dict[str, Any]]:
        """The last list of targets."""
        rows = self._rows("SELECT value FROM meta WHERE name = 'targets'")
        try:
            found = json.loads(rows[0][0]) if rows else []
        except (ValueError, TypeError):
            return []
        return [each for each in found if isinstance(each, dict) and isinstance(each.get("name"), str)]

    def placed(self, word: str) -> list[Candidate]:
        """Paths of outputs that begin with ``word``, up to the end of their next directory."""
        return self._paths("SELECT path FROM placement WHERE path >= ? AND path < ?", word)

    def saved(self, word: str) -> Answer:
        """Paths of which an edit was saved."""
        query = "SELECT DISTINCT path FROM saved WHERE path >= ? AND path < ?"
        return Answer(words=tuple(self._paths(query, word)))

    def _paths(self, query: str, word: str) -> list[Candidate]:
        typed, name = os.path.split(word)
        folder = os.path.normpath(os.path.join(self._base, typed))
        inside = os.path.relpath(folder, self._root) + os.sep
        if inside.startswith(".." + os.sep):  # An output elsewhere is known by its whole path.
            inside = folder.rstrip(os.sep) + os.sep
        start = os.fsencode(("" if inside == "./" else inside) + name)
        lead = word[: len(word) - len(name)]
        found: dict[str, None] = {}
        for (path,) in self._rows(query, (start, start + b"\xff\xff")):
            tail = os.fsdecode(path[len(start) - len(os.fsencode(name)) :])
            step, slash, _ = tail.partition("/")
            found[lead + step + slash] = None
        return [Candidate(each) for each in found]

    def _rows(self, query: str, values: Sequence[bytes] = ()) -> list[Any]:
        try:
            return [] if self._connection is None else self._connection.execute(query, values).fetchall()
        except sqlite3.Error:
            return []
