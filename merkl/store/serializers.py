"""How values become bytes and come back: which form a value is kept in.

It decides by exact type, asking one form after the other, pickle last.  What the forms look like is in ``forms`` and
``pickles``, and in ``written`` for the files that commands read.

The invariant: a form's name is in keys and records and never changes its meaning; another version of a form is another
name (``json2``).
"""

from collections.abc import Sequence
from typing import Final

from merkl.errors import SerializationError
from merkl.store.forms import ArrayForm, BytesForm, JsonForm, Serializer, TableForm, TextForm
from merkl.store.pickles import PickleForm
from merkl.store.written import FileForm, for_extension

__all__ = ["SERIALIZERS", "FileForm", "Serializer", "by_name", "for_extension", "serializer_for"]

# In the order they are asked; the last takes everything.
SERIALIZERS: Final[Sequence[Serializer]] = (
    BytesForm(),
    TextForm(),
    JsonForm(),
    ArrayForm(),
    TableForm(),
    PickleForm(),
)


def serializer_for(value: object) -> Serializer:
    """The first form that gives the value back exactly."""
    return next(form for form in SERIALIZERS if form.accepts(value))


def by_name(name: str) -> Serializer:
    """The form of that name.

    Raises:
        SerializationError: this merkl has none.
    """
    for form in SERIALIZERS:
        if form.name == name:
            return form
    raise SerializationError(
        f"a value was stored in a form, {name!r}, that this merkl does not know", hint="upgrade merkl"
    )
