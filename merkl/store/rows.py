"""Records as rows of a table: how each column is written and read back.

It decides how a row shows that it is as it was written.  It runs no query.

The invariant: a row is believed only if its seal, a digest of all its other columns, fits.
"""

import functools
import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from sys import intern
from typing import Any, Final, Generic, TypeVar

from blake3 import blake3

from merkl.digest import Digest, Key
from merkl.nodes import Artifact
from merkl.store.base import Discovered, Record
from merkl.store.sole import sparing
from merkl.trust.signer import Origin

V = TypeVar("V")

_FIELDS: Final = (
    "content_key, found, key, task, builder, exit_code, started_ns, seconds, log, "
    "outputs, inputs, discovered, arguments, dependencies, metadata, origin"
)
_TEXTS: Final = (
    "task",
    "builder",
    "outputs",
    "inputs",
    "discovered",
    "arguments",
    "dependencies",
    "metadata",
    "origin",
)
# What is in no seal may have any type after damage.
_COLUMNS: Final = ", ".join(f"record.{name}" for name in _FIELDS.split(", "))
SELECT: Final = f"record.seal, CAST(record.used_at AS INTEGER), {_COLUMNS}"
_VALUES: Final = ", ".join("CAST(? AS TEXT)" if name in _TEXTS else "?" for name in _FIELDS.split(", "))
INSERT: Final = f"INSERT OR IGNORE INTO record (seal, used_at, {_FIELDS}) VALUES (?, ?, {_VALUES})"
_MOST: Final = 2**4096  # Python refuses to write larger integers in decimal.
_NOTHING: Final = bytes(32)
_NUMBERS: Final = struct.Struct(">qqd")

Row = tuple[Any, ...]


# Made once, where ``json.dumps`` makes one for each text.
_compact: Final = json.JSONEncoder(separators=(",", ":")).encode
_compact_values: Final = json.JSONEncoder(allow_nan=False, default=repr, separators=(",", ":")).encode


def to_json(value: object) -> str:
    """Write a value that is there to be looked at: what JSON does not know becomes its ``repr``.

    Only ASCII, so that names that are not UTF-8 survive as the escapes Python gave them.
    """
    try:
        return _compact_values(value)
    except (ValueError, TypeError, RecursionError):
        return _compact(_plain(value, 0))


def _plain(value: object, depth: int) -> object:
    if isinstance(value, int) and not -_MOST < value < _MOST:
        return hex(value)
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if depth < 50 and isinstance(value, Mapping):
        return {str(name): _plain(item, depth + 1) for name, item in value.items()}
    if depth < 50 and isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    return repr(value)[:1000]


def row_of(record: Record, now: int) -> Row:
    """The columns of ``record``, seal first; texts as bytes, as they are read back."""
    discovered = None if record.discovered is None else _discovered_text(record.discovered)
    fields = (
        bytes(record.content_key),
        b"" if discovered is None else bytes(Digest.of(discovered.encode())),
        bytes(record.key),
        record.task.encode("utf-8", "backslashreplace"),
        record.builder.encode("utf-8", "backslashreplace"),
        record.exit_code,
        record.started_ns,
        float(record.seconds) if math.isfinite(record.seconds) else 0.0,
        None if record.log is None else bytes(record.log),
        _outputs_text(record.outputs).encode(),
        _digests_text(record.inputs),
        None if discovered is None else discovered.encode(),
        _text_of(record.arguments),
        _text_of(record.dependencies),
        _text_of(record.metadata),
        None if record.origin is None else str(record.origin).encode(),
    )
    return (seal_of(fields), now, *fields)


def seal_of(fields: Sequence[Any]) -> bytes:
    """The digest of all columns but the first two of ``SELECT``."""
    content_key, found, key, task, builder, exit_code, started_ns, seconds, log, *texts, origin = fields
    numbers = _NUMBERS.pack(exit_code, started_ns, seconds)
    texts = [text or b"" for text in texts] + ([] if origin is None else [origin])
    # Fixed widths first, then texts without NUL.
    head = content_key + key + (found or _NOTHING) + (log or _NOTHING) + numbers
    return blake3(b"\0".join((head, task, builder, *texts))).digest()


def _outputs_text(outputs: Mapping[str, Artifact]) -> str:
    # By hand: there is one for every task.
    each = [
        f'{{"name":{_quoted(name)},"kind":{_quoted(made.kind)},"digest":"{made.digest.hex()}","size":{made.size},'
        f'"executable":{_TRUTH[made.executable]},"serializer":{_quoted(made.serializer)},'
        f'"filename":{_quoted(made.filename)}}}'
        for name, made in outputs.items()
    ]
    return f"[{','.join(each)}]"


_quoted: Final = functools.lru_cache(maxsize=256)(_compact)
_TRUTH: Final = ("false", "true")


def _discovered_text(discovered: Discovered) -> str:
    """Canonical, because its digest tells two records of one content key apart."""
    files = {path: None if digest is None else digest.hex() for path, digest in discovered.files.items()}
    return json.dumps({"files": files}, sort_keys=True, separators=(",", ":"))


def _digests_text(digests: Sequence[Digest]) -> bytes:
    return b'["%s"]' % '","'.join([digest.hex() for digest in digests]).encode() if digests else b"[]"


def _text_of(value: object) -> bytes:
    # To ask for ``Mapping`` and its like takes longer than all else here.
    kind = type(value)
    if kind is _LazyMapping or kind is _LazySequence:
        return value.text  # type: ignore[attr-defined, no-any-return]  # From a store into another: as it is.
    if not value and (kind is dict or kind is list or kind is tuple):
        return b"{}" if kind is dict else b"[]"
    return to_json(value).encode()


def record_of(row: Sequence[Any], known: Mapping[Key, Key] = {}) -> Record | None:
    """Read a row of ``SELECT``, or None if it is not what was written.

    Where its key is among those ``known``, the record shares that one: a large graph has many.
    """
    fields = row[2:]
    try:
        if seal_of(fields) != row[0]:
            return None
    except (TypeError, ValueError, struct.error):
        return None
    content_key, _, key, task, builder, exit_code, started_ns, seconds, log, *texts = fields
    outputs, inputs, discovered, arguments, dependencies, metadata, origin = texts
    nothing, none = _NOTHING_BY_NAME, _NO_ITEMS  # Most records have much of that.
    return Record(
        key=known.get(key) or _new(Key, key),  # The seal has vouched for their lengths.
        content_key=_new(Key, content_key),
        task=intern(task.decode()),
        outputs=_outputs_of(outputs),  # The one text that is always looked at.
        inputs=none if inputs == b"[]" else _LazySequence(inputs, _digest),
        seconds=seconds,
        started_ns=started_ns,
        log=None if log is None else Digest(log),
        exit_code=exit_code,
        discovered=None if discovered is None else _discovered_of(discovered),
        arguments=nothing if arguments == b"{}" else _LazyMapping(arguments, _object),
        dependencies=none if dependencies == b"[]" else _LazySequence(dependencies, _same),
        metadata=nothing if metadata == b"{}" else _LazyMapping(metadata, _object),
        builder=intern(builder.decode()),
        origin=None if origin is None else _origin_of(origin),
    )


@functools.lru_cache(maxsize=64)
def _origin_of(text: bytes) -> Origin:
    return Origin.parse(text.decode())


_new: Final = bytes.__new__


_decode: Final = json.JSONDecoder().raw_decode  # As ``loads``, of a text without spaces around it.


def _from_json(text: bytes) -> Any:
    return _decode(text.decode())[0]


def _object(text: bytes) -> dict[str, Any]:
    value: dict[str, Any] = _from_json(text)
    return value


def _outputs_of(text: bytes) -> Mapping[str, Artifact]:
    return sparing({intern(each["name"]): _artifact(each) for each in _from_json(text)})


def _artifact(each: dict[str, Any]) -> Artifact:
    digest = _new(Digest, bytes.fromhex(each["digest"]))
    kind: Any = intern(each["kind"])  # There are a hundred thousand of these, of a few kinds.
    return Artifact(
        kind, digest, each["size"], each["executable"], intern(each["serializer"]), each["filename"]
    )


def _discovered_of(text: bytes) -> Discovered:
    files = _from_json(text)["files"]
    return Discovered({path: digest and _digest(digest) for path, digest in files.items()})


def _digest(text: str) -> Digest:
    return Digest(bytes.fromhex(text))


def _same(value: Any) -> Any:
    return value


class _LazyMapping(Mapping[str, V], Generic[V]):
    """A JSON text that is read into a mapping when it is first looked at: few parts of most records ever are."""

    __slots__ = ("_parse", "_value", "text")

    def __init__(self, text: bytes, parse: Callable[[bytes], dict[str, V]]) -> None:
        self.text = text
        self._parse = parse
        self._value: dict[str, V] | None = None

    def _read(self) -> dict[str, V]:
        if self._value is None:
            self._value = self._parse(self.text)
        return self._value

    def __getitem__(self, name: str) -> V:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return repr(self._read())


class _LazySequence(Sequence[V], Generic[V]):
    """As ``_LazyMapping`` for an array; equal to any list or tuple of the same items."""

    __slots__ = ("_read_item", "_value", "text")

    def __init__(self, text: bytes, read_item: Callable[[Any], V]) -> None:
        self.text = text
        self._read_item = read_item
        self._value: list[V] | None = None

    def _read(self) -> list[V]:
        if self._value is None:
            items = () if self.text == b"[]" else _from_json(self.text)
            self._value = [self._read_item(item) for item in items]
        return self._value

    def __getitem__(self, index: Any) -> Any:
        return self._read()[index]

    def __len__(self) -> int:
        return len(self._read())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list | tuple | _LazySequence) and self._read() == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._read())


_NOTHING_BY_NAME: Final = _LazyMapping[Any](b"{}", _object)
_NO_ITEMS: Final = _LazySequence[Any](b"[]", _same)
