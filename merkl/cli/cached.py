"""``merkl cache ls``: records, by what they say.

It decides how they are shown; what can be asked is said in ``store.query``.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from merkl.report.words import duration, one_line, plural, size
from merkl.store.base import Record

_SHOWN = 100  # Characters of arguments and metadata.


def show(records: Sequence[Record], *, as_json: bool, whole: bool) -> None:
    """Print records; ``whole`` also prints what is usually cut short."""
    if as_json:
        for record in records:
            sys.stdout.write(json.dumps(_object(record)) + "\n")
        return
    for record in records:
        said = _said(record.arguments)
        added = f"  [{_said(record.metadata)}]" if record.metadata else ""
        text = f"({said}){added}"
        if not whole and len(text) > _SHOWN:
            text = f"{text[: _SHOWN - 1]}…"
        started = time.strftime("%Y-%m-%d %H:%M", time.gmtime(record.started_ns / 1e9))
        line = f"{record.key.short}  {started}  {duration(record.seconds):>7}  {size(bytes_of(record)):>8}"
        sys.stdout.write(f"{line}  {one_line(record.task)}{one_line(text)}\n")
    if not records:
        sys.stdout.write("no record\n")
    elif len(records) > 1:
        sys.stdout.write(f"{plural(len(records), 'record')}\n")


def bytes_of(record: Record) -> int:
    """How many bytes its outputs have."""
    return sum(made.size for made in record.outputs.values())


def _said(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False, default=repr)}" for name, value in values.items()
    )


def _object(record: Record) -> dict[str, object]:
    return {
        "task": record.task, "key": record.key.hex(), "content_key": record.content_key.hex(),
        "arguments_hash": record.arguments_hash, "dependencies_hash": record.dependencies_hash,
        "args": dict(record.arguments), "dependencies": list(record.dependencies), "metadata": dict(record.metadata),
        "started": record.started_ns / 1e9, "seconds": record.seconds, "size": bytes_of(record),
        "outputs": {name: made.digest.hex() for name, made in record.outputs.items()},
    }  # fmt: skip
