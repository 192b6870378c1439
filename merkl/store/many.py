"""Files of many values, one after the other: ``.jsonl``, ``.json`` as a list, ``.csv`` as rows.

It decides which bytes each value adds.  It knows no store, and holds one value at a time.

The invariant: the same values in the same order give the same bytes, everywhere.
"""

import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, Final

from merkl.errors import SerializationError
from merkl.store.written import is_cell

_HINT: Final = "many values can be written to .jsonl, .json and .csv"


def check_many(path: str) -> None:
    """See that many values can be written to a file of that name.

    Raises:
        SerializationError: they cannot.
    """
    extension = os.path.splitext(path)[1]
    if extension.lower() not in _WRITERS:
        raise SerializationError(
            f"several values cannot be written to {path}: a {extension or 'nameless'} file holds one",
            hint=_HINT,
        )


def is_row_by_row(path: str) -> bool:
    """Whether a file of one value looks as one of many does."""
    return os.path.splitext(path)[1].lower() in (".jsonl", ".csv")


def write_many(path: str, values: Iterable[Any], file: BinaryIO) -> None:
    """Write ``values`` as the extension of ``path`` asks for.

    Raises:
        SerializationError: one of them cannot be.
    """
    check_many(path)
    _WRITERS[os.path.splitext(path)[1].lower()](values, file)


def _lines(values: Iterable[Any], file: BinaryIO) -> None:
    for index, value in enumerate(values):
        file.write(_text(index, value) + b"\n")


def _list(values: Iterable[Any], file: BinaryIO) -> None:
    before = b"[\n"
    for index, value in enumerate(values):
        file.write(before + _text(index, value))
        before = b",\n"
    file.write(b"\n]\n")


def _text(index: int, value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(
            f"value {index}, of type {type(value).__qualname__}, cannot be written as JSON: {error}",
            hint="numbers, text, None, and lists, tuples and dicts of them can, without NaN",
        ) from None


def _rows(values: Iterable[Any], file: BinaryIO) -> None:
    """Each value is a row, a list of rows, or text; rows that are dicts have the names of the first, which are written
    above it."""
    names: list[Any] | None = None
    for index, value in enumerate(values):
        if isinstance(value, str):
            file.write(value.encode() if value.endswith("\n") or not value else f"{value}\n".encode())
            continue
        is_row = isinstance(value, Mapping) or not isinstance(value, list | tuple) or not _holds_rows(value)
        with io.StringIO(newline="") as text:
            import csv

            writer = csv.writer(text, lineterminator="\n")
            for row in (value,) if is_row else value:
                if isinstance(row, Mapping):
                    if names is None:
                        names = list(row)
                        writer.writerow(names)
                    if list(row) != names:
                        raise _no_row(
                            index, f"has the names {', '.join(map(str, row))}, and the first has others"
                        )
                    row = list(row.values())
                if not isinstance(row, list | tuple) or not all(map(is_cell, row)):
                    raise _no_row(index, f"of type {type(value).__qualname__}, is no row")
                writer.writerow(row)
            file.write(text.getvalue().encode())


def _holds_rows(value: list[Any] | tuple[Any, ...]) -> bool:
    return bool(value) and all(isinstance(row, list | tuple | Mapping) for row in value)


def _no_row(index: int, what: str) -> SerializationError:
    return SerializationError(
        f"value {index} {what}" if what.startswith("has") else f"value {index}, {what}",
        hint="a row is a dict, or a list of text, numbers and None; all dicts have the same names in the same order",
    )


_WRITERS: Final[Mapping[str, Callable[[Iterable[Any], BinaryIO], None]]] = {
    ".jsonl": _lines,
    ".json": _list,
    ".csv": _rows,
}
