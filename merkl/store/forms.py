"""The plain forms that values are kept in: bytes, text, JSON, arrays, tables.

Each decides which values it gives back exactly.  It knows no store.

The invariant: a value comes back equal and of the same types, at every depth, in the same order; a form does not
accept what it would not give back so (JSON takes no tuple).  A name is in keys and records, and never changes meaning.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO, Final, Protocol, cast

from merkl.errors import SerializationError


class Serializer(Protocol):
    """A form that values are kept in.  ``extensions`` are those of files that hold it.

    One of a project's own has ``name``, ``dump`` and ``load``; ``version``, a string, if it is to count in keys instead of
    its code; and the rest if the defaults here will not do.
    """

    name: str
    extensions: Sequence[str] = ()

    def accepts(self, value: object) -> bool:  # noqa: ARG002 - this is the default.
        """Whether the value comes back exactly as it is."""
        return True

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write the value.

        Raises:
            SerializationError: it cannot be written so after all.
        """

    def load(self, file: BinaryIO) -> Any:
        """Read the value.

        Raises:
            SerializationError: the bytes are not of this form, or need something that is not installed.
        """


class BytesForm:
    """Bytes as they are."""

    name = "bytes"
    extensions: Sequence[str] = (".bin",)

    def accepts(self, value: object) -> bool:
        """Exactly ``bytes``."""
        return type(value) is bytes

    def dump(self, value: bytes, file: BinaryIO) -> None:
        """Write them."""
        file.write(value)

    def load(self, file: BinaryIO) -> bytes:
        """Read all."""
        return file.read()


class TextForm:
    """Text in UTF-8, line ends as they are."""

    name = "text"
    extensions: Sequence[str] = (".txt",)

    def accepts(self, value: object) -> bool:
        """Exactly ``str``, without the lone surrogates that UTF-8 has no place for."""
        return type(value) is str and _is_unicode(value)

    def dump(self, value: str, file: BinaryIO) -> None:
        """Write it."""
        file.write(value.encode())

    def load(self, file: BinaryIO) -> str:
        """Read all."""
        try:
            return file.read().decode()
        except UnicodeDecodeError as error:
            raise _unreadable(self, error) from error


class JsonForm:
    """Plain data: None, bool, int, float, str, and lists and dicts of them with text as keys; order is kept."""

    name = "json"
    extensions: Sequence[str] = (".json",)

    def accepts(self, value: object) -> bool:
        """Exactly those types at every depth; no NaN, no infinity, no number that JSON readers refuse."""
        return _is_plain(value, 0)

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write it without spaces."""
        import json

        file.write(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())

    def load(self, file: BinaryIO) -> Any:
        """Read it."""
        import json

        try:
            return json.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise _unreadable(self, error) from error


class ArrayForm:
    """numpy arrays of plain elements, as ``.npy``."""

    name = "npy"
    extensions: Sequence[str] = (".npy",)

    def accepts(self, value: object) -> bool:
        """Exactly ``numpy.ndarray``, of numbers, booleans, times or fixed-width text."""
        numpy = sys.modules.get("numpy")
        if numpy is None or type(value) is not numpy.ndarray:
            return False
        dtype = cast(Any, value).dtype
        return dtype.kind in "biufcSUmM" and dtype.metadata is None

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write it, without a second copy in memory."""
        from numpy.lib import format as npy

        npy.write_array(file, value, allow_pickle=False)

    def load(self, file: BinaryIO) -> Any:
        """Read it; what only a pickle could hold is refused."""
        npy = _imported("numpy.lib.format", self)
        try:
            return npy.read_array(file, allow_pickle=False)
        except (ValueError, EOFError, SyntaxError) as error:
            raise _unreadable(self, error) from error


class TableForm:
    """Tables of pyarrow, as Parquet.  (A pandas frame has an index that Parquet would not give back exactly.)"""

    name = "parquet"
    extensions: Sequence[str] = (".parquet",)

    def accepts(self, value: object) -> bool:
        """Exactly ``pyarrow.Table`` of flat columns."""
        pyarrow = sys.modules.get("pyarrow")
        if pyarrow is None or type(value) is not pyarrow.Table:
            return False
        types = pyarrow.types
        flat = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
        names = cast(Any, value).schema.names
        return len(set(names)) == len(names) > 0 and all(
            any(test(field.type) for test in flat) and not types.is_float16(field.type)
            for field in cast(Any, value).schema
        )

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write it."""
        _imported("pyarrow.parquet", self).write_table(value, file)

    def load(self, file: BinaryIO) -> Any:
        """Read it."""
        parquet = _imported("pyarrow.parquet", self)
        try:
            return parquet.read_table(file)
        except (OSError, ValueError) as error:
            raise _unreadable(self, error) from error


class ParquetForm(TableForm):
    """As ``TableForm``, and frames of pandas, where a task asks for it: their index goes where pandas looks for it."""

    def accepts(self, value: object) -> bool:
        """Also exactly ``pandas.DataFrame``."""
        pandas = sys.modules.get("pandas")
        return super().accepts(value) or (pandas is not None and type(value) is pandas.DataFrame)

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Write it; a frame with a mark that tells it from a table.

        Raises:
            SerializationError: a frame has a column that Parquet has no type for.
        """
        if super().accepts(value):
            super().dump(value, file)
            return
        pyarrow = _imported("pyarrow", self)
        try:
            table = pyarrow.Table.from_pandas(value)
            marked = table.replace_schema_metadata({**(table.schema.metadata or {}), _FRAME: b"pandas"})
            super().dump(marked, file)
        except (pyarrow.ArrowException, TypeError, ValueError) as error:
            raise SerializationError(f"a frame cannot be written as Parquet: {error}") from error

    def load(self, file: BinaryIO) -> Any:
        """Read it."""
        table = super().load(file)
        if _FRAME not in (table.schema.metadata or {}):
            return table
        _imported("pandas", self)
        return table.to_pandas()


_FRAME: Final = b"merkl.frame"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_MOST: Final = 2**4096  # Python refuses to read integers of more than 4,300 digits.
_DEEPEST: Final = 100


def _is_plain(value: object, depth: int) -> bool:
    kind = type(value)
    if value is None or kind is bool:
        return True
    if kind is int:
        return -_MOST < cast(int, value) < _MOST
    if kind is float:
        return math.isfinite(cast(float, value))
    if kind is str:
        return _is_unicode(cast(str, value))
    if depth > _DEEPEST:
        return False
    if kind is list:
        return _are_plain(cast(list[object], value), depth + 1)
    if kind is dict:
        items = cast(dict[object, object], value)
        return (
            all(type(name) is str and _is_unicode(name) for name in items)
            # Equal names that are different texts do not exist; order is kept by both sides.
            and _are_plain(list(items.values()), depth + 1)
        )
    return False


def _are_plain(items: list[object], depth: int) -> bool:
    kinds = set(map(type, items))
    if kinds <= {bool, type(None)}:
        return True
    if kinds == {float}:  # Long lists of numbers are common.
        return all(map(math.isfinite, cast(list[float], items)))
    return all(_is_plain(item, depth) for item in items)


def _imported(module: str, form: Serializer) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise SerializationError(
            f"a value in the form {form.name!r} needs {package}, which is not installed here",
            hint="pip install 'merkl[data]'",
        ) from error


def _unreadable(form: Serializer, error: Exception) -> SerializationError:
    return SerializationError(f"stored bytes are not of the form {form.name!r}: {error}")
