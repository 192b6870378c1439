"""Encodings of the numpy arrays that are not all plain elements: masked, structured, of objects, of text of any length.

It decides which two arrays are one value for a key.  It knows no keys, and imports no numpy: whoever has an array has.

The invariant: neither memory order nor padding nor what lies under a mask is in an encoding; dtype and shape are.
"""

import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from merkl.digest import Digest, Unencodable, array_digest, is_plain_dtype, tagged

Encode: TypeAlias = Callable[[object], bytes]

_VIEWED: Final = {"memmap": "", "matrix": "matrix", "recarray": "recarray"}  # As which a subclass counts.


def array_encoding(value: Any, encode: Encode) -> bytes | None:
    """The encoding of a numpy value, its members' made with ``encode``; None for what ``merkl.digest`` writes itself.

    Raises:
        Unencodable: a member of it has none.
    """
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.dtype):
        return None if is_plain_dtype(value) else _tagged(encode, "dtype", *_dtype(value))
    if isinstance(value, numpy.ma.MaskedArray):
        return _masked(numpy, value, encode)
    if isinstance(value, numpy.generic):
        if is_plain_dtype(value.dtype):
            return None
        return _tagged(encode, "scalar", elements(numpy.asarray(value), encode))
    if not isinstance(value, numpy.ndarray):
        return None
    kind = type(value)
    if kind is not numpy.ndarray:
        if kind.__name__ not in _VIEWED or kind.__module__.partition(".")[0] != "numpy":
            return None
        inner = encode(value.view(numpy.ndarray))
        name = _VIEWED[kind.__name__]
        return _tagged(encode, name, inner) if name else inner
    return None if is_plain_dtype(value.dtype) else _tagged(encode, "array", elements(value, encode))


def elements(array: Any, encode: Encode) -> bytes:
    """Dtype, shape and elements of any array."""
    numpy = sys.modules["numpy"]
    dtype = array.dtype
    if is_plain_dtype(dtype):
        members: object = bytes(array_digest(array))
    elif dtype.names is not None:
        members = [elements(array[name], encode) for name in dtype.names]
    elif dtype.kind == "O":
        try:
            members = bytes(Digest.of(encode(array.ravel().tolist())))
        except RecursionError:
            raise Unencodable(array, "contains itself") from None
    elif dtype.kind == "T":
        members = bytes(Digest.of(encode(array.ravel().tolist())))
    elif dtype.kind == "V":
        members = array.tobytes()
    elif dtype.kind in "fc":
        members = [_long_double(numpy, number) for number in array.ravel()]
    else:
        raise Unencodable(array)
    return encode((*_dtype(dtype), array.shape, members))


def _dtype(dtype: Any) -> tuple[object, ...]:
    if dtype.names is None:
        return (str(dtype) if dtype.kind == "T" else dtype.str,)
    fields = [(name, dtype.fields[name][1], *_field(dtype.fields[name][0])) for name in dtype.names]
    return ("struct", dtype.itemsize, fields)


def _field(dtype: Any) -> tuple[object, ...]:
    return (dtype.shape, *_dtype(dtype.base))


def _masked(numpy: Any, value: Any, encode: Encode) -> bytes | None:
    if type(value) is not numpy.ma.MaskedArray and value is not numpy.ma.masked:
        return None
    mask = numpy.ma.getmaskarray(value)
    data = numpy.array(value.data, subok=False)
    if mask.dtype.names is None:
        data[mask] = numpy.zeros((), data.dtype)[()]
    else:
        for name in mask.dtype.names:
            if mask.dtype[name].names is not None:
                raise Unencodable(value, "is masked inside a nested structure")
            data[name][mask[name]] = numpy.zeros((), data[name].dtype)[()]
    fill = elements(numpy.asarray(value.fill_value), encode)
    return _tagged(
        encode, "masked", elements(data, encode), elements(mask, encode), fill, bool(value.hardmask)
    )


def _long_double(numpy: Any, number: Any) -> str:
    """All digits of a number whose bytes have padding."""
    if number.dtype.kind == "c":
        return f"{_long_double(numpy, number.real)} {_long_double(numpy, number.imag)}"
    return str(numpy.format_float_scientific(number, unique=True, trim="-"))


def _tagged(encode: Encode, *parts: object) -> bytes:
    return tagged(b"A", encode(("numpy", *parts)))
