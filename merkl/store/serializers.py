"""How values become bytes and come back: which form a value is kept in.

It decides by exact type, asking one form after the other, pickle last.  What the forms look like is in ``forms`` and
``pickles``, and in ``written`` for the files that commands read; those of a project are learned from ``merkl.python.forms``.

The invariant: a form's label is in keys and records and never changes its meaning; another version of a form is another
name (``json2``), or another version in the label (``gz@2``).
"""

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Final

from merkl.errors import SerializationError, TaskError
from merkl.store.forms import (
    ArrayForm,
    BytesForm,
    JsonForm,
    ParquetForm,
    Serializer,
    TableForm,
    TextForm,
)
from merkl.store.pickles import PickleForm
from merkl.store.written import FileForm, for_extension

__all__ = [
    "SERIALIZERS",
    "FileForm",
    "IdentitySerializer",
    "Serializer",
    "WrappedSerializer",
    "by_name",
    "for_extension",
    "is_builtin",
    "is_own_extension",
    "is_pickled",
    "learn",
    "learned",
    "named",
    "serializer_for",
]

# In the order they are asked; the last takes everything.
SERIALIZERS: Final[Sequence[Serializer]] = (
    BytesForm(),
    TextForm(),
    JsonForm(),
    ArrayForm(),
    TableForm(),
    PickleForm(),
)
_BUILTIN: Final[dict[str, Serializer]] = {form.name: form for form in (*SERIALIZERS, ParquetForm())}
_PICKLED: Final = "pickle+"  # Before the label of a form that has a pickle inside.
WITH_PICKLE: Final = " with pickle"  # After that of a list, or of a bundle, in which one is.

_learned: dict[str, Serializer] = {}  # The project's own, by label.
_latest: dict[str, tuple[str, Serializer]] = {}  # The same by name: those that were learned last.


class IdentitySerializer(BytesForm):
    """Bytes, and what has a buffer of bytes, as they are; they come back as ``bytes``."""

    def accepts(self, value: object) -> bool:
        """``bytes``, ``bytearray`` and ``memoryview``."""
        return isinstance(value, bytes | bytearray | memoryview)


class WrappedSerializer:
    """Another serializer with something around it.

    ``wrap`` makes of a value one that ``inner`` takes, and ``unwrap`` undoes it; ``file(file, "wb")`` and
    ``file(file, "rb")`` give ``inner`` another file to write to or read from, such as one that compresses.
    """

    def __init__(
        self,
        inner: Serializer | str,
        *,
        name: str,
        wrap: Callable[[Any], Any] | None = None,
        unwrap: Callable[[Any], Any] | None = None,
        file: Callable[[BinaryIO, str], Any] | None = None,
        extensions: Sequence[str] = (),
        version: str = "",
    ) -> None:
        if (wrap is None) != (unwrap is None):
            raise TaskError(f"the serializer {name!r} has only one of wrap and unwrap", hint="give both")
        if isinstance(extensions, str):
            raise TaskError(
                f"extensions is a list, not {extensions!r}",
                hint=f"extensions=[{extensions!r}]",
                serializer=name,
            )
        self.inner = named(inner)
        self.name = name
        self.extensions = tuple(extensions)
        self.version = version
        self._wrap = wrap
        self._unwrap = unwrap
        self._file = file

    def accepts(self, value: object) -> bool:
        """Whatever ``inner`` accepts; with ``wrap``, what that makes of it."""
        return self._wrap is not None or self.inner.accepts(value)

    def dump(self, value: Any, file: BinaryIO) -> None:
        """Wrap the value and let ``inner`` write it."""
        wrapped = value if self._wrap is None else self._wrap(value)
        if not self.inner.accepts(wrapped):
            raise SerializationError(
                f"the serializer {self.name!r} is around {self.inner.name!r}, which does not take {type(wrapped).__name__}"
            )
        if self._file is None:
            self.inner.dump(wrapped, file)
            return
        with self._file(file, "wb") as outer:
            self.inner.dump(wrapped, outer)

    def load(self, file: BinaryIO) -> Any:
        """Let ``inner`` read the value and unwrap it."""
        if self._file is None:
            value = self.inner.load(file)
        else:
            with self._file(file, "rb") as outer:
                value = self.inner.load(outer)
        return value if self._unwrap is None else self._unwrap(value)


def serializer_for(value: object) -> Serializer:
    """The first form that gives the value back exactly."""
    return next(form for form in SERIALIZERS if form.accepts(value))


def named(serializer: object) -> Serializer:
    """The serializer that a user means: one itself, or the name of one.

    Raises:
        TaskError: it is neither, or has the name of one of merkl's own.
    """
    if isinstance(serializer, str):
        found = _BUILTIN.get(serializer) or (_latest.get(serializer) or ("", None))[1]
        if found is None:
            names = ", ".join([*_BUILTIN, *_latest])
            raise TaskError(f"there is no serializer {serializer!r}", hint=f"there are {names}")
        return found
    name = getattr(serializer, "name", None)
    if (
        isinstance(serializer, type)
        or name is None
        or not all(callable(getattr(serializer, it, None)) for it in ("dump", "load"))
    ):
        raise TaskError(
            f"a serializer has a name, dump(value, file) and load(file), and {serializer!r:.80} does not",
            hint=f"pass an object, such as {serializer.__name__}()"
            if isinstance(serializer, type)
            else "pass an object, or one of the names " + ", ".join(_BUILTIN),
        )
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise TaskError(
            f"the name of a serializer is of letters, digits, '.', '-' and '_', and {name!r:.80} is not",
            serializer=repr(serializer),
        )
    if name in _BUILTIN and not is_builtin(serializer):
        raise TaskError(f"{name!r} is the name of a serializer of merkl's", hint="give yours another name")
    return serializer  # type: ignore[return-value]  # As far as can be seen.


def is_builtin(serializer: object) -> bool:
    """Whether it is one of merkl's own, whose name says all."""
    return any(type(serializer) is type(form) for form in _BUILTIN.values()) or (
        type(serializer) in (TableForm, IdentitySerializer)
    )


def learn(label: str, serializer: Serializer) -> str:
    """Remember a serializer by its label, for values that were written with it; the label as it is in records."""
    inside: Any = serializer
    while isinstance(inside, WrappedSerializer):
        inside = inside.inner
    if isinstance(inside, PickleForm) and not is_builtin(serializer):
        label = _PICKLED + label
    if not is_builtin(serializer):
        _learned[label] = serializer
        _latest[serializer.name] = label, serializer
    return label


def learned() -> dict[str, Serializer]:
    """All that were learned, by label."""
    return dict(_learned)


def is_pickled(label: str) -> bool:
    """Whether to read a value in that form is to load a pickle, or what may lead to one: a list inside of a list."""
    return label == "pickle" or label.startswith(_PICKLED) or WITH_PICKLE in label


def is_plain(label: str) -> bool:
    """Whether a value in that form can be read without any code of the user's."""
    return label in _BUILTIN and not is_pickled(label)


def is_own_extension(label: str, extension: str) -> bool:
    """Whether files with that extension hold what a serializer of the project's own writes, as it is."""
    found = _learned.get(label)
    return found is not None and extension != "" and extension.lower() in getattr(found, "extensions", ())


def by_name(label: str) -> Serializer:
    """The form of that label.

    Raises:
        SerializationError: there is none here.
    """
    found = _BUILTIN.get(label) or _learned.get(label)
    if found is not None:
        return found
    plain = label.removeprefix(_PICKLED)
    name, _, version = plain.partition("@")
    name = name.partition("#")[0]
    latest = _latest.get(name)
    # The code of one without a version may have been edited since: it is its author's to read what it wrote before.
    if (
        latest is not None
        and not version
        and "@" not in latest[0]
        and is_pickled(latest[0]) <= is_pickled(label)
    ):
        # What does not say that it is a pickle was let in without that being asked, and is not read as one.
        return latest[1]
    if name == label:
        hint = "upgrade merkl, or import the module that defines this serializer"
    else:
        hint = "import the module that defines it; if it has been changed, `merkl clear` what was stored"
    raise SerializationError(f"a value was stored in a form, {plain!r}, that is not known here", hint=hint)
