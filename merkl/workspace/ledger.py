"""What merkl remembers of its own doings in the workspace: outputs placed, edits saved, targets listed, steps judged.

It decides nothing.  The invariant: what it answers includes all that this process has told it, and what other processes
had committed when it was asked.
"""

import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from blake3 import blake3

from merkl.dataclass import dataclass
from merkl.digest import Digest, Key
from merkl.events import Note
from merkl.nodes import Kind, Part
from merkl.workspace.database import Database
from merkl.workspace.glances import Glances
from merkl.workspace.lineages import Lineages

_AT_ONCE: Final = 500  # Names in one query.


JOINT: Final = "joint"  # In ``value`` in place of a serializer: many stored values make the file together.


@dataclass(frozen=True, slots=True)
class Placement:
    """What merkl last put at a path, or saw there in agreement: ``target`` is who asked for it.

    ``value`` names the stored value that the file is a written form of; empty if its bytes are the stored ones.
    """

    kind: Kind
    digest: Digest
    executable: bool
    key: Key
    output: str
    target: str = ""
    sidecar: bool = False
    placed_ns: int = 0
    value: str = ""


@dataclass(frozen=True, slots=True)
class SavedEdit:
    """Something that merkl did not make, put into the store before it was replaced; ``size`` in bytes.

    Of a ``link`` the stored bytes are its text: what it leads to was not replaced.
    """

    path: str
    digest: Digest
    kind: Kind | Literal["link"]
    size: int
    saved_ns: int
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Agreed:
    """The data that was seen to be what its sidecar said: safe to replace, since the sidecar's digest names it."""

    kind: Kind
    digest: Digest
    executable: bool


@dataclass(frozen=True, slots=True)
class LastStep:
    """How a step was judged the last time: ``state`` is how it ended, ``log`` the path of what it printed."""

    key: Key
    content_key: Key | None
    seconds: float
    parts: Sequence[Part]
    log: str
    state: str


class Placed:
    """What was put where, so that it can be asked whether something was: path, digest and key."""

    def __init__(self) -> None:
        self._sums: set[bytes] = set()  # Of a hundred thousand, all that they are would be much to keep.

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Take in path, digest and key of some."""
        self._sums.update(_sum(*row) for row in rows)

    def __contains__(self, placed: tuple[str, Digest, Key]) -> bool:
        path, digest, key = placed
        return _sum(os.fsencode(path), digest, key) in self._sums


def _sum(path: bytes, digest: bytes, key: bytes) -> bytes:
    return blake3(path + b"\0" + digest + key).digest(length=15)  # With what Python adds, 48 bytes.


class Ledger:
    """The tables of the project's ``index.db`` that are about merkl's doings.

    Paths are normalised.  Writing is cheap, and lasting only after ``flush``.
    """

    def __init__(self, state_dir: str) -> None:
        self._database: Final = Database(os.path.join(state_dir, "index.db"))
        self.lineages: Final = Lineages(self._database)
        self.glances: Final = Glances(self._database)
        self._placed: dict[bytes, Placement | None] = {}  # Written here and not yet flushed.

    @property
    def notes(self) -> list[Note]:
        """What the user should know of the state of the database; the reader may empty it."""
        return self._database.notes

    def flush(self) -> None:
        """Commit everything in one transaction."""
        self._database.flush()
        self._placed.clear()

    def close(self) -> None:
        """Commit everything and close the database."""
        self.flush()
        self._database.close()

    def placed(self, path: str) -> Placement | None:
        """What merkl put at ``path``."""
        raw = os.fsencode(path)
        if raw in self._placed:
            return self._placed[raw]
        found = _well_formed(self._database.rows(f"{_PLACEMENTS} WHERE path = ?", (raw,)))
        return found.get(path)

    def placed_now(self, paths: Iterable[str]) -> "Placed":
        """What merkl put at each of ``paths``, all from one look; for comparing only."""
        query = "SELECT path, digest, key FROM placement WHERE path IN"
        found = Placed()
        asked = iter(paths)
        while some := [os.fsencode(path) for path in itertools.islice(asked, _AT_ONCE)]:
            found.add(self._some(query, some))
        return found

    def all_placed(self) -> dict[str, Placement]:
        """Everything that merkl put somewhere, by path."""
        return _well_formed(self._database.rows(_PLACEMENTS))

    def set_placed(self, path: str, placement: Placement) -> None:
        """Remember that ``placement`` is now at ``path``."""
        raw = os.fsencode(path)
        self._placed[raw] = placement
        row = (raw, placement.kind, bytes(placement.digest), placement.executable, bytes(placement.key))
        when = placement.placed_ns or time.time_ns()
        more = (placement.output, placement.target, placement.sidecar, when, placement.value)
        self._database.write(_SET_PLACEMENT, row + more)

    def forget_placed(self, path: str) -> None:
        """Remember that what is at ``path``, if anything, is not merkl's."""
        raw = os.fsencode(path)
        self._placed[raw] = None
        self._database.write("DELETE FROM placement WHERE path = ?", (raw,))

    def agreed(self, paths: Iterable[str]) -> dict[str, Agreed]:
        """What each of ``paths`` had when it and its sidecar were last seen to agree, all from one look."""
        asked = [os.fsencode(path) for path in paths]
        query = "SELECT path, kind, digest, executable FROM agreed"
        if len(asked) > _AT_ONCE:
            wanted = set(asked)
            rows: Iterable[Sequence[Any]] = (row for row in self._database.rows(query) if row[0] in wanted)
        else:
            rows = self._some(f"{query} WHERE path IN", asked)
        return {
            os.fsdecode(path): Agreed(kind, Digest(digest), bool(executable))
            for path, kind, digest, executable in rows
            if _is_name(digest)
        }

    def set_agreed(self, path: str, agreed: Agreed) -> None:
        """Remember what ``path`` had when it and its sidecar were seen to agree."""
        row = (os.fsencode(path), agreed.kind, bytes(agreed.digest), agreed.executable)
        self._database.write("INSERT OR REPLACE INTO agreed VALUES (?, ?, ?, ?)", row)

    def forget_agreed(self, path: str) -> None:
        """Remember that nothing at ``path`` is merkl's to replace."""
        self._database.write("DELETE FROM agreed WHERE path = ?", (os.fsencode(path),))

    def saved(self, path: str | None = None) -> list[SavedEdit]:
        """The edits saved from ``path``, or from anywhere, the latest first."""
        query = "SELECT path, digest, kind, size, saved_ns, executable FROM saved"
        order = " ORDER BY saved_ns DESC, path"
        if path is None:
            rows = self._database.rows(query + order)
        else:
            rows = self._database.rows(f"{query} WHERE path = ?{order}", (os.fsencode(path),))
        return [
            SavedEdit(os.fsdecode(raw), Digest(digest), kind, size, when, bool(executable))
            for raw, digest, kind, size, when, executable in rows
            if _is_name(digest)
        ]

    def add_saved(self, edit: SavedEdit) -> None:
        """Remember a saved edit, at once and through a loss of power: the original is about to be replaced."""
        row = (
            os.fsencode(edit.path),
            edit.saved_ns,
            bytes(edit.digest),
            edit.kind,
            edit.size,
            edit.executable,
        )
        self._database.write("INSERT OR REPLACE INTO saved VALUES (?, ?, ?, ?, ?, ?)", row)
        self._database.flush(durable=True)

    def forget_saved(self, before_ns: int) -> None:
        """Forget the edits that were saved before then: their bytes may go."""
        self._database.write("DELETE FROM saved WHERE saved_ns < ?", (before_ns,))
        self._database.flush()

    def targets(self) -> list[dict[str, Any]]:
        """The last list of targets; empty if there has been none."""
        rows = self._database.rows("SELECT value FROM meta WHERE name = 'targets'")
        try:
            found = json.loads(rows[0][0]) if rows else []
        except (ValueError, TypeError):
            return []
        return found if isinstance(found, list) else []

    def set_targets(self, targets: Sequence[Mapping[str, Any]]) -> None:
        """Remember the list of targets: JSON values, as ``status`` and completion want them."""
        text = json.dumps([dict(target) for target in targets], sort_keys=True)
        self._database.write("INSERT OR REPLACE INTO meta VALUES ('targets', ?)", (text,))

    def asked(self) -> dict[str, list[str]]:
        """The keys, as hexadecimal text, of what each call of a function stood for that ``merkl run`` made."""
        rows = self._database.rows("SELECT value FROM meta WHERE name = 'asked'")
        try:
            found = json.loads(rows[0][0]) if rows else {}
        except (ValueError, TypeError):
            return {}
        return found if isinstance(found, dict) else {}

    def set_asked(self, asked: Mapping[str, Sequence[str]]) -> None:
        """Remember what calls of functions stood for."""
        text = json.dumps({call: list(keys) for call, keys in asked.items()})
        self._database.write("INSERT OR REPLACE INTO meta VALUES ('asked', ?)", (text,))

    def steps(self, labels: Iterable[str]) -> dict[str, LastStep]:
        """The last judgement of each step, by label; one that there is none of is left out."""
        found: dict[str, LastStep] = {}
        for label, *rest in self._some(f"{_STEPS} WHERE label IN", [os.fsencode(label) for label in labels]):
            step = _step(*rest)
            if step is not None:
                found[os.fsdecode(label)] = step
        return found

    def ran_last(self, labels: Iterable[str]) -> dict[str, bytes]:
        """The key, as bytes, of each step that did not fail when it was last tried, by label."""
        query = "SELECT label, key FROM step WHERE state = 'ran' AND label IN"
        return {
            os.fsdecode(label): key
            for label, key in self._some(query, [os.fsencode(label) for label in labels])
        }

    def seconds(self, labels: Iterable[str]) -> dict[str, float]:
        """How long each step took when it last ran, by label; without those that failed since."""
        query = "SELECT label, seconds FROM step WHERE state = 'ran' AND label IN"
        names = [os.fsencode(label) for label in labels]
        return {
            os.fsdecode(label): took
            for label, took in self._some(query, names)
            if isinstance(took, float) and took >= 0
        }

    def _some(self, query: str, names: Sequence[bytes]) -> Iterator[Sequence[Any]]:
        """The rows of ``query``, which ends in ``IN``, for those names."""
        for at in range(0, len(names), _AT_ONCE):
            some = names[at : at + _AT_ONCE]
            yield from self._database.rows(f"{query} ({','.join('?' * len(some))})", some)

    def ran(self) -> list[tuple[Key, Key | None]]:
        """The key and content key of every step that did not fail when it was last tried, each once."""
        rows = self._database.rows(
            "SELECT DISTINCT key, content_key FROM step WHERE state = 'ran' ORDER BY key"
        )
        return [
            (Key(key), Key(content) if _is_name(content) else None) for key, content in rows if _is_name(key)
        ]

    def have_run(self, keys: Sequence[Key]) -> bool:
        """Whether a step of one of those keys did not fail when it was last tried."""
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"SELECT 1 FROM step WHERE state = 'ran' AND key IN ({marks}) LIMIT 1"
            if self._database.rows(query, tuple(map(bytes, some))):
                return True
        return False

    def failed_logs(self) -> list[str]:
        """The logs of the steps that failed the last time they were tried."""
        rows = self._database.rows("SELECT log FROM step WHERE state = 'failed'")
        return [os.fsdecode(log) for (log,) in rows if log]

    def set_steps(self, steps: Mapping[str, LastStep]) -> None:
        """Remember how steps were judged, by label."""
        written: dict[int, str] = {}  # One step may have two labels.
        texts: dict[int, str] = {}  # Many steps may have one part, such as the code of their task.
        for label, step in steps.items():
            content_key = None if step.content_key is None else bytes(step.content_key)
            parts = written.get(id(step)) or _written_parts(step.parts, texts)
            written[id(step)] = parts
            row = (
                os.fsencode(label),
                bytes(step.key),
                content_key,
                step.seconds,
                parts,
                os.fsencode(step.log),
                step.state,
            )
            self._database.write(_SET_STEP, row)


_quoted: Final = json.encoder.encode_basestring_ascii  # What ``json.dumps`` makes of a text.


def _written_parts(parts: Sequence[Part], texts: dict[int, str]) -> str:
    """Parts as JSON; ``texts`` are those of parts by identity."""
    each: list[str] = []
    for part in parts:
        text = texts.get(id(part))
        if text is None:
            members = map(_quoted, (part.group, part.name, part.text, part.digest))
            text = texts[id(part)] = f"[{', '.join(members)}]"
        each.append(text)
    return f"[{', '.join(each)}]"


_PLACEMENTS: Final = (
    "SELECT path, kind, digest, executable, key, output, target, sidecar, placed_ns, value FROM placement"
)
_SET_PLACEMENT: Final = "INSERT OR REPLACE INTO placement VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_STEPS: Final = "SELECT label, key, content_key, seconds, parts, log, state FROM step"
_SET_STEP: Final = "INSERT OR REPLACE INTO step VALUES (?, ?, ?, ?, ?, ?, ?)"


def _is_name(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == 32


def _well_formed(rows: Iterable[Sequence[Any]]) -> dict[str, Placement]:
    """Placements by path, without rows that a damaged page has spoiled."""
    found = {}
    for path, kind, digest, executable, key, output, target, sidecar, placed_ns, value in rows:
        if (
            _is_name(digest)
            and _is_name(key)
            and kind in ("file", "dir", "value")
            and isinstance(path, bytes)
        ):
            found[os.fsdecode(path)] = Placement(
                kind,
                Digest(digest),
                bool(executable),
                Key(key),
                output,
                target,
                bool(sidecar),
                placed_ns,
                value,
            )
    return found


def _step(key: Any, content_key: Any, seconds: Any, parts: Any, log: Any, state: Any) -> LastStep | None:
    try:
        read = tuple(Part(*each) for each in json.loads(parts))
        other = None if content_key is None else Key(content_key)
        return LastStep(Key(key), other, float(seconds), read, os.fsdecode(log), str(state))
    except (ValueError, TypeError):
        return None
