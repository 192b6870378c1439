"""Records as bytes that travel: one encoding, whoever wrote it.

    merkl record 1
    {"arguments":…}
    blake3 <hexadecimal>

The second line is JSON without spaces, in ASCII, its names in the order that is here; the third is the digest of what stands before it.
``filed`` in it is the key that the record answers, which may be another than its own; null if it stands under none.

It decides what is believed of bytes that somebody else wrote: exactly what ``encode_record`` could have written, for the key
that was asked for.  The invariant: ``decode_record(encode_record(r)) == r``, and nothing is unpickled or run.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from merkl.digest import Digest, Key
from merkl.nodes import Artifact
from merkl.store.base import Discovered, Record
from merkl.store.rows import to_json

VERSION: Final = 1
LARGEST: Final = 64 << 20  # Bytes of one record; arguments are in it, data is not.
_HEAD: Final = b"merkl record %d\n"
_KINDS: Final = ("file", "dir", "value")
_LONGEST: Final = 255  # Bytes of a file's name.
_WHOLE: Final = 2**63  # No number in it is as large as this.
T = TypeVar("T")


class NotARecord(ValueError):
    """Bytes are not what ``encode_record`` writes; the text says why."""


def encode_record(record: Record, filed: Key | None = None) -> bytes:
    """The bytes of a record that answers the key ``filed``."""
    fields = {**fields_of(record), "filed": filed and filed.hex()}
    body = _HEAD % VERSION + canonical(fields) + b"\n"
    return body + b"blake3 " + Digest.of(body).hex().encode() + b"\n"


def canonical(value: object) -> bytes:
    """JSON in the one way that there is here."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def fields_of(record: Record) -> dict[str, Any]:
    """What a record says, as JSON, in the order in which it is written."""
    found = record.discovered
    return {
        "key": record.key.hex(),
        "content_key": record.content_key.hex(),
        "task": record.task,
        "builder": record.builder,
        "exit_code": record.exit_code,
        "started_ns": record.started_ns,
        "seconds": record.seconds if math.isfinite(record.seconds) else 0.0,
        "log": record.log and record.log.hex(),
        "outputs": [_described(name, made) for name, made in record.outputs.items()],
        "inputs": [digest.hex() for digest in record.inputs],
        "discovered": None if found is None else {p: d and d.hex() for p, d in sorted(found.files.items())},
        "arguments": _plain(dict(record.arguments)),
        "dependencies": _plain(list(record.dependencies)),
        "metadata": _plain(dict(record.metadata)),
    }


def _described(name: str, made: Artifact) -> dict[str, Any]:
    return {
        "name": name,
        "kind": made.kind,
        "digest": made.digest.hex(),
        "size": made.size,
        "executable": made.executable,
        "serializer": made.serializer,
        "filename": made.filename,
    }


def _plain(value: object) -> Any:
    """As a store writes it: what JSON does not know becomes its ``repr``."""
    return json.loads(to_json(value))


# ---- reading -----------------------------------------------------------------------------------------------------------


def decode_record(data: bytes, filed: Key | None = None) -> Record:
    """Read a record that answers the key ``filed``.

    Raises:
        NotARecord: the bytes are not exactly those of one, or it answers another key.
    """
    if len(data) > LARGEST:
        raise NotARecord(f"{len(data)} bytes are more than any record has")
    head, _, rest = data.partition(b"\n")
    if not head.startswith(b"merkl record "):
        raise NotARecord("it does not begin as a record does")
    if head + b"\n" != _HEAD % VERSION:
        raise NotARecord(f"it has format {head[13:40].decode('latin-1')!r}, and this merkl reads {VERSION}")
    line, _, last = rest.partition(b"\n")
    body = data[: len(head) + len(line) + 2]
    if last != b"blake3 " + Digest.of(body).hex().encode() + b"\n":
        raise NotARecord("its digest is not that of its bytes")
    return read_fields(line, lambda read: {**fields_of(read), "filed": filed and filed.hex()})


def read_fields(line: bytes, write: Callable[[Record], dict[str, Any]]) -> Record:
    """The record that a line of JSON describes; ``write`` says what the line must have been made of.

    Raises:
        NotARecord: it is not, byte for byte.
    """
    try:
        record = _record_of(_typed(dict, json.loads(line.decode("ascii"))))
        if canonical(write(record)) != line:
            raise NotARecord(_why_not(line, write(record)))
        return record
    except NotARecord:
        raise
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise NotARecord(f"it is damaged: {error}") from None


def _why_not(line: bytes, wanted: Mapping[str, Any]) -> str:
    """Why a line is not what it should be: it is of something else, or of the same in another spelling."""
    found = json.loads(line)
    if found.get("namespace", "") != wanted.get("namespace", ""):
        return "it is of another namespace"
    if found.get("filed") != wanted["filed"]:
        return "it has the name of another"
    return "it is not written in the one way there is"


def _record_of(fields: Mapping[str, Any]) -> Record:
    outputs = [_output(each) for each in _typed(list, fields["outputs"])]
    if len(dict(outputs)) != len(outputs):
        raise NotARecord("two outputs have one name")
    return Record(
        key=Key.parse(_typed(str, fields["key"])),
        content_key=Key.parse(_typed(str, fields["content_key"])),
        task=_typed(str, fields["task"]),
        outputs=dict(outputs),
        inputs=[_digest(each) for each in _typed(list, fields["inputs"])],
        seconds=float(_number(fields["seconds"])),
        started_ns=_whole(fields["started_ns"]),
        log=_optional(_digest, fields["log"]),
        exit_code=_whole(fields["exit_code"]),
        discovered=_optional(_discovered, fields["discovered"]),
        arguments=_typed(dict, fields["arguments"]),
        dependencies=_typed(list, fields["dependencies"]) or (),
        metadata=_typed(dict, fields["metadata"]),
        builder=_typed(str, fields["builder"]),
    )


def _output(each: Any) -> tuple[str, Artifact]:
    fields = _typed(dict, each)
    kind, filename, size = fields["kind"], _typed(str, fields["filename"]), _whole(fields["size"])
    if kind not in _KINDS:
        raise NotARecord(f"{kind!r} is no kind of output")
    if "/" in filename or filename in (".", "..") or len(_path(filename)) > _LONGEST:
        raise NotARecord(f"{filename!r} is no name of a file")
    if size < 0:
        raise NotARecord("an output has a negative size")
    executable, serializer = _typed(bool, fields["executable"]), _typed(str, fields["serializer"])
    artifact = Artifact(kind, _digest(fields["digest"]), size, executable, serializer, filename)
    return _typed(str, fields["name"]), artifact


def _discovered(value: Any) -> Discovered:
    files = _typed(dict, value)
    for path in files:
        _path(path)
    return Discovered({path: _optional(_digest, digest) for path, digest in files.items()})


def _path(text: str) -> bytes:
    """What the system is given for a name: one that it cannot be given is none."""
    if "\0" in text:
        raise NotARecord(f"{text!r} is no name of a file")
    return os.fsencode(text)


def _digest(value: Any) -> Digest:
    return Digest.parse(_typed(str, value))


def _optional(read: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else read(value)


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise NotARecord(f"{value!r} is no number")
    return float(value)


def _whole(value: Any) -> int:
    number = _typed(int, value)
    if not -_WHOLE <= number < _WHOLE:
        raise NotARecord(f"{number} is no number that a store can keep")
    return number


def _typed(kind: type[T], value: Any) -> T:
    if type(value) is not kind:
        raise NotARecord(f"{str(value)[:40]!r} is no {kind.__name__}")
    return value
