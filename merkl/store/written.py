"""The form of a plain value in a file that a command will read, as the file's extension asks for.

It decides what is written, for which values, and what ``merkl.read`` gives of a file with that extension.  Its names are in
keys, like those of serializers.

The invariant: one value has one text, everywhere.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Final

from merkl.dataclass import dataclass
from merkl.errors import SerializationError
from merkl.store.forms import ArrayForm, JsonForm, ParquetForm, Serializer, TextForm
from merkl.store.pickles import PickleForm


@dataclass(frozen=True, slots=True)
class FileForm:
    """What a file with ``extension`` holds; ``takes`` says in words which values.

    ``read`` is the form that such a file is read in; None: its bytes, as of a pickle, which is not loaded.
    """

    name: str
    extension: str
    takes: str
    write: Callable[[Any, BinaryIO], bool]  # False, with nothing written, for a value it does not take.
    read: Serializer | None = None

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write the value.

        Raises:
            SerializationError: it has no such form; the message says which values have.
        """
        if not self.write(value, file):
            kind = type(value).__qualname__
            raise SerializationError(
                f"a value of type {kind} cannot be written to a {self.extension or 'nameless'} file, "
                f"which takes {self.takes}",
                hint=f"values can be written as {', '.join(sorted(_FORMS))}",
            )


def for_extension(extension: str) -> FileForm:
    """The form of a file with that extension (``".json"``, in any case); of one not known, text and bytes as they are."""
    return _FORMS.get(extension.lower()) or FileForm(
        "file-plain", extension, "text and bytes", lambda value, file: _plain(value, file)
    )


def writes_text_as_it_is(extension: str) -> bool:
    """Whether a text is written to such a file as its UTF-8, and nothing else."""
    return for_extension(extension).name in ("file-plain", "file-text", "file-csv")


def _plain(value: object, file: BinaryIO) -> bool:
    if isinstance(value, str):
        try:
            file.write(value.encode())
        except UnicodeEncodeError:
            return False
        return True
    if isinstance(value, bytes | bytearray):
        file.write(value)
        return True
    return False


def _text(value: object, file: BinaryIO) -> bool:
    """One number is written as a line, so that ``read`` in a shell takes it; text as it is."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        file.write(f"{value!r}\n".encode())
        return True
    return _plain(value, file)


def _json(value: object, file: BinaryIO) -> bool:
    import json

    if isinstance(value, bytes | bytearray):
        return _plain(value, file)  # Made elsewhere, and JSON already.
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    file.write(text + b"\n")
    return True


def _csv(value: object, file: BinaryIO) -> bool:
    """Rows as lists or tuples of text, numbers and None, or as dicts that all have the names of the first."""
    import csv
    import io

    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray):
        return _plain(value, file)
    rows: list[Sequence[object]] = []
    for row in value:
        if isinstance(row, Mapping):
            if not rows:
                rows.append(list(row))
            if list(row) != list(value[0]):
                return False
            rows.append(list(row.values()))
        elif isinstance(row, list | tuple):
            rows.append(row)
        else:
            return False
    if not all(is_cell(cell) for row in rows for cell in row):
        return False
    with io.StringIO(newline="") as text:
        csv.writer(text, lineterminator="\n").writerows(rows)
        file.write(text.getvalue().encode())
    return True


def is_cell(cell: object) -> bool:
    """Whether a value can stand in a row of a table."""
    return cell is None or isinstance(cell, str | int) or (isinstance(cell, float) and math.isfinite(cell))


def _npy(value: object, file: BinaryIO) -> bool:
    form = ArrayForm()
    if form.accepts(value):
        form.dump(value, file)
        return True
    return False


def _parquet(value: object, file: BinaryIO) -> bool:
    form = ParquetForm()
    if form.accepts(value):
        form.dump(value, file)
        return True
    return False


def _pickle(value: object, file: BinaryIO) -> bool:
    PickleForm().dump(value, file)
    return True


_FORMS: Final = {
    form.extension: form
    for form in (
        FileForm(
            "file-json",
            ".json",
            "numbers, text, None, and lists, tuples and dicts of them, without NaN",
            _json,
            JsonForm(),
        ),
        FileForm("file-text", ".txt", "text, bytes and numbers", _text, TextForm()),
        FileForm("file-csv", ".csv", "a list of rows, or text", _csv, TextForm()),
        FileForm("file-npy", ".npy", "numpy arrays of plain elements", _npy, ArrayForm()),
        FileForm(
            "file-parquet", ".parquet", "frames, and pyarrow tables of flat columns", _parquet, ParquetForm()
        ),
        FileForm("file-pickle", ".pickle", "whatever pickle takes", _pickle),
        FileForm("file-pickle", ".pkl", "whatever pickle takes", _pickle),
    )
}
