"""Encodings of tables and columns: pandas frames, series and indexes, and pyarrow tables and arrays.

It decides which two tables are one value for a key.  It imports neither library: whoever has a table has.

The invariant: names, types, order and values count, and how they lie in memory does not: chunks, slices, blocks, the
bytes under a missing value.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from merkl.digest import Digest, Unencodable, array_digest, tagged, type_name
from merkl.python.arrays import Encode


def frame_encoding(value: Any, encode: Encode) -> bytes | None:
    """The encoding of a value of pandas or pyarrow; None if it is of no kind known here.

    Raises:
        Unencodable: a member of it has none.
    """
    library = type(value).__module__.partition(".")[0]
    name = type(value).__name__
    known = _KINDS.get((library, name))
    if known is None and library == "pyarrow" and isinstance(value, sys.modules["pyarrow"].Array):
        known, name = _chunked, "Array"
    if known is None:
        return None
    if known is _index and name != "MultiIndex":
        name = "Index"  # Which kind of index it is follows from the type of its values.
    return tagged(b"A", encode((library, name, *known(value, encode))))


# ---- pandas --------------------------------------------------------------------------------------------------------


def _frame(value: Any, encode: Encode) -> tuple[object, ...]:
    columns = [_named(f"[{name!r}]", value.iloc[:, i].array, encode) for i, name in enumerate(value.columns)]
    return (*_index(value.columns, encode), *_index(value.index, encode), columns, *_state(value, encode))


def _series(value: Any, encode: Encode) -> tuple[object, ...]:
    column = _column(value.array, encode)
    return encode(value.name), *_index(value.index, encode), column, *_state(value, encode)


def _state(value: Any, encode: Encode) -> tuple[object, ...]:
    return encode(dict(value.attrs)), bool(value.flags.allows_duplicate_labels)


def _index(index: Any, encode: Encode) -> tuple[object, ...]:
    if type(index).__name__ == "MultiIndex":
        levels = [_column(index.get_level_values(i).array, encode) for i in range(index.nlevels)]
        return "multi", encode(list(index.names)), levels
    return "", encode(index.name), getattr(index, "freqstr", None), _column(index.array, encode)


def _named(where: str, array: Any, encode: Encode) -> tuple[object, ...]:
    try:
        return _column(array, encode)
    except Unencodable as error:
        error.where = where + error.where
        raise


def _column(array: Any, encode: Encode) -> tuple[object, ...]:
    """The values of a pandas array, of whichever type."""
    numpy, dtype = sys.modules["numpy"], array.dtype
    kind = type(dtype).__name__
    # Dates and times are of numpy.
    if isinstance(dtype, numpy.dtype) or kind in ("NumpyEADtype", "PandasDtype"):
        return "numpy", encode(numpy.asarray(array))
    if kind == "CategoricalDtype":
        return kind, bool(dtype.ordered), *_index(dtype.categories, encode), encode(array.codes)
    if kind in ("DatetimeTZDtype", "PeriodDtype"):
        return kind, str(dtype), encode(array.asi8)
    if kind == "IntervalDtype":
        return kind, str(dtype), _column(array.left.array, encode), _column(array.right.array, encode)
    if kind == "SparseDtype":
        return kind, encode(dtype.fill_value), encode(numpy.asarray(array))
    if kind == "StringDtype":
        if dtype.storage == "pyarrow":
            texts: tuple[object, ...] = _arrow([array.__arrow_array__()], encode)
        else:
            texts = (_members(array.to_numpy(dtype=object, na_value=None).tolist(), encode),)
        return kind, dtype.storage, encode(dtype.na_value), *texts
    if kind == "ArrowDtype":
        return kind, str(dtype.pyarrow_dtype), *_arrow([array.__arrow_array__()], encode)
    if type(dtype).__module__.startswith("pandas.") and hasattr(dtype, "numpy_dtype"):  # Int64, boolean, …
        present = array.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        return kind, encode(present), encode(numpy.asarray(array.isna()))
    return type_name(type(dtype)), str(dtype), _members(list(array), encode)


def _members(items: list[object], encode: Encode) -> bytes:
    return bytes(Digest.of(encode(items)))


def _timestamp(value: Any, encode: Encode) -> tuple[object, ...]:
    zone = getattr(value, "tz", None)
    return encode(value.asm8), None if zone is None else str(zone)


# ---- pyarrow -------------------------------------------------------------------------------------------------------


def _table(value: Any, encode: Encode) -> tuple[object, ...]:
    columns = []
    for name, column in zip(value.column_names, value.columns, strict=True):
        chunks = column.chunks if hasattr(column, "chunks") else [column]
        try:
            columns.append(_arrow(_unified(column, chunks), encode))
        except Unencodable as error:
            error.where = f"[{name!r}]{error.where}"
            raise
    fields = [(f.name, str(f.type), f.nullable, encode(dict(f.metadata or {}))) for f in value.schema]
    return fields, encode(dict(value.schema.metadata or {})), value.num_rows, columns


def _chunked(value: Any, encode: Encode) -> tuple[object, ...]:
    return str(value.type), *_arrow(_unified(value, getattr(value, "chunks", [value])), encode)


def _unified(column: Any, chunks: Sequence[Any]) -> Sequence[Any]:
    """Chunks that share a dictionary, if they are encoded by one."""
    if len(chunks) > 1 and sys.modules["pyarrow"].types.is_dictionary(column.type):
        unified: Sequence[Any] = column.unify_dictionaries().chunks
        return unified
    return chunks


def _arrow(chunks: Sequence[Any], encode: Encode) -> tuple[object, ...]:
    """The values of an array in chunks of one type: which are missing, and what the others are."""
    pyarrow = sys.modules["pyarrow"]
    # What belongs to a chunked array in one piece, as ``ArrowDtype`` keeps it.
    chunks = [one for chunk in chunks for one in (chunk.chunks if hasattr(chunk, "chunks") else [chunk])]
    rows = sum(map(len, chunks))
    if not rows:
        return (0,)
    types, kind = pyarrow.types, chunks[0].type
    if isinstance(kind, pyarrow.BaseExtensionType):
        return ("extension", *_arrow([chunk.storage for chunk in chunks], encode))
    if types.is_null(kind):
        return (rows,)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return (_members([item for chunk in chunks for item in chunk.to_pylist()], encode),)
    missing = array_digest(*(chunk.is_null().to_numpy(zero_copy_only=False) for chunk in chunks))
    present = [chunk.drop_null() if chunk.null_count else chunk for chunk in chunks]
    return rows, bytes(missing), *_present([chunk for chunk in present if len(chunk)], encode)


def _present(chunks: Sequence[Any], encode: Encode) -> tuple[object, ...]:
    """The values of chunks without missing ones."""
    if not chunks:
        return ()
    types, kind = sys.modules["pyarrow"].types, chunks[0].type
    if types.is_dictionary(kind):
        return _arrow([chunks[0].dictionary], encode), _arrow([chunk.indices for chunk in chunks], encode)
    if types.is_struct(kind):
        parts = [chunk.flatten() for chunk in chunks]
        return tuple(_arrow([part[i] for part in parts], encode) for i in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind):
        lengths = array_digest(*(chunk.value_lengths().to_numpy() for chunk in chunks))
        return bytes(lengths), _arrow([chunk.flatten() for chunk in chunks], encode)
    if types.is_boolean(kind):
        return (bytes(array_digest(*(chunk.to_numpy(zero_copy_only=False) for chunk in chunks))),)
    if types.is_string(kind) or types.is_binary(kind):
        return _texts("i4", chunks)
    if types.is_large_string(kind) or types.is_large_binary(kind):
        return _texts("i8", chunks)
    if types.is_floating(kind):
        return (bytes(array_digest(*(_buffer(chunk, f"f{kind.bit_width // 8}") for chunk in chunks))),)
    if types.is_primitive(kind) or types.is_decimal(kind):
        width = kind.bit_width // 8
        return (bytes(array_digest(*(_buffer(chunk, "u1", width) for chunk in chunks))),)
    return (_members([item for chunk in chunks for item in chunk.to_pylist()], encode),)


def _buffer(chunk: Any, dtype: str, each: int = 1) -> Any:
    """What a chunk of numbers holds, without a copy."""
    numbers = sys.modules["numpy"].frombuffer(chunk.buffers()[1], dtype)
    return numbers[chunk.offset * each : (chunk.offset + len(chunk)) * each]


def _texts(dtype: str, chunks: Sequence[Any]) -> tuple[object, ...]:
    numpy = sys.modules["numpy"]
    lengths, texts = [], []
    for chunk in chunks:
        _, places, data = chunk.buffers()
        ends = numpy.frombuffer(places, dtype)[chunk.offset : chunk.offset + len(chunk) + 1]
        lengths.append(numpy.diff(ends))
        if data is not None:
            texts.append(numpy.frombuffer(data, "u1")[ends[0] : ends[-1]])
    return bytes(array_digest(*lengths)), bytes(array_digest(*texts))


_ARRAYS: Final = (
    "Categorical IntegerArray FloatingArray BooleanArray StringArray ArrowStringArray DatetimeArray TimedeltaArray "
    "PeriodArray IntervalArray SparseArray ArrowExtensionArray NumpyExtensionArray"
).split()
_INDEXES: Final = (
    "Index RangeIndex MultiIndex CategoricalIndex DatetimeIndex TimedeltaIndex PeriodIndex IntervalIndex"
).split()
_KINDS: Final[dict[tuple[str, str], Callable[[Any, Encode], tuple[object, ...]]]] = {
    ("pandas", "DataFrame"): _frame,
    ("pandas", "Series"): _series,
    **{("pandas", name): _index for name in _INDEXES},
    **{("pandas", name): _column for name in _ARRAYS},
    **{("pandas", name): _timestamp for name in ("Timestamp", "Timedelta")},
    ("pandas", "Period"): lambda value, _: (value.freqstr, int(value.ordinal)),
    ("pandas", "Interval"): lambda value, encode: (encode(value.left), encode(value.right), value.closed),
    ("pandas", "NAType"): lambda *_: (),
    ("pandas", "NaTType"): lambda *_: (),
    ("pyarrow", "Table"): _table,
    ("pyarrow", "RecordBatch"): _table,
    ("pyarrow", "ChunkedArray"): _chunked,
}
