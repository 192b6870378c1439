"""Values as words, and the few places where their bytes meet a language's syntax.

It decides how a value is written as bytes, and how bytes are quoted: in an assignment, in a reference, in a message, in
Python.  It knows no templates.

The invariant: in shell text, bytes of a value stand only between single quotes, in an assignment of the script's head, or in
a here document whose text the shell does not expand.
"""

import os
from typing import Final, TypeAlias

from merkl.bash.cursor import Form
from merkl.errors import CallError
from merkl.pattern import pattern

Words: TypeAlias = bytes | list[bytes] | None
"""What a value is for a command: one word, several, or none."""


def words_of(value: object, *, path: bool, what: str) -> Words:
    """A value as words; ``path`` guards paths that begin with a dash.

    Raises:
        CallError: it is no word.
    """
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return [_one(item, path, what) for item in value]
    return _one(value, path, what)


def _one(value: object, path: bool, what: str) -> bytes:
    word = _bytes(value, what)
    if b"\0" in word:
        raise CallError(f"{what} has a NUL byte, which no word can hold: {word[:80]!r}")
    if (path or isinstance(value, os.PathLike)) and word.startswith(b"-"):
        return b"./" + word
    return word


def _bytes(value: object, what: str) -> bytes:
    if isinstance(value, os.PathLike) and not isinstance(value, str):
        value = os.fspath(value)
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, str):
        try:
            return str.encode(value, "utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise CallError(f"{what} is no text that has bytes: {str.__repr__(value)[:80]}") from None
    if isinstance(value, bool):
        raise CallError(
            f"{what} is {value}, which is no word", hint="flag_arg gives a word for true and none for false"
        )
    try:
        if isinstance(value, float):
            return float.__repr__(value).encode()
        if isinstance(value, int):
            return int.__repr__(value).encode()
    except ValueError:  # Python's limit of digits.
        raise CallError(f"{what} is a number with too many digits") from None
    raise CallError(
        f"{what} is {'missing' if value is None else f'a {type(value).__name__}'}, which is no word",
        hint="a word is str, bytes, int, float or a path",
    )


def assignment(variable: str, words: Words) -> bytes:
    """The line that gives a shell variable its value."""
    if isinstance(words, bytes):
        return b"%s=%s\n" % (variable.encode(), quoted(words))
    return b"%s=(%s)\n" % (variable.encode(), b" ".join(quoted(word) for word in words or ()))


def quoted(word: bytes) -> bytes:
    """Between single quotes."""
    return b"'" + word.replace(b"'", b"'\\''") + b"'"


def reference(variable: str, form: Form, *, several: bool) -> str:
    """What stands in the script for a hole; ``several``: it may be no word or more than one."""
    match form:
        case Form.WORD if several:
            return f'"${{{variable}[@]}}"'
        case Form.WORD | Form.BARE:
            return f'"${{{variable}}}"'
        case Form.SINGLE:
            return f"'\"${{{variable}}}\"'"
        case Form.ANSI:
            return f"'\"${{{variable}}}\"$'"
        case Form.NUMBER:
            return f"(${{{variable}}})"  # A sign must not meet another.
        case _:
            return f"${{{variable}}}"


# ---- for messages --------------------------------------------------------------------------------------------------

_SAFE: Final = pattern(rb"[A-Za-z0-9@%_+=:,./-]+")
_IN_DOUBLE: Final = pattern(rb'([\\"$`])')


def shown_word(word: bytes) -> str:
    """A word as one would type it in bash, with nothing in it that a terminal would obey."""
    if _SAFE.fullmatch(word):
        return word.decode()
    text = _readable(word)
    if text is not None:
        return "'" + text.replace("'", "'\\''") + "'"
    escaped = "".join(
        char
        if char.isprintable() and char not in "\\'" and not "\udc80" <= char <= "\udcff"
        else _escape(char)
        for char in word.decode("utf-8", "surrogateescape")
    )
    return f"$'{escaped}'"


def _escape(char: str) -> str:
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", "'": "\\'"}.get(char)
    return short or "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def _readable(word: bytes) -> str | None:
    text = word.decode("utf-8", "surrogateescape")
    return text if text.isprintable() else None  # Surrogates are not printable.


def shown_in(form: Form, word: bytes) -> str:
    """A value inside its template's text, for messages."""
    match form:
        case Form.WORD | Form.BARE | Form.INDEX | Form.NUMBER:
            return shown_word(word)
        case Form.SINGLE:
            return shown_plain(word).replace("'", "'\\''")
        case Form.DOUBLE:
            return shown_plain(_IN_DOUBLE.sub(rb"\\\1", word))
        case _:
            return shown_plain(word)


def shown_plain(word: bytes) -> str:
    """Bytes as text, without quotes; line breaks and tabs stay, other controls are escaped."""
    text = word.decode("utf-8", "surrogateescape")
    return "".join(char if char.isprintable() or char in "\n\t" else _escape(char) for char in text)


# ---- Python --------------------------------------------------------------------------------------------------------


def python_literal(value: object, *, path: bool, what: str) -> str:
    """A value as an expression of Python, in ASCII.

    Raises:
        CallError: a value of this type cannot be written so.
    """
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(python_literal(item, path=path, what=what) for item in value)}]"
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f"float('{float.__repr__(value)}')"
    if isinstance(value, bytes) and not path:
        return ascii(bytes(value))
    word = _one(value, path, what)
    if isinstance(value, (int, float)):
        return word.decode()
    return ascii(word.decode("utf-8", "surrogateescape"))
