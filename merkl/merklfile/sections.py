"""A section of a parameters file: a dict that cannot be changed, and whose entries are attributes too.

It decides nothing.  The invariant: what is in it are plain values, lists of them, and sections.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

from merkl.errors import did_you_mean


class NoSuchParameter(KeyError, AttributeError):
    """A parameters file has no entry of that name; words itself, which a ``KeyError`` does not."""

    def __str__(self) -> str:
        return str(self.args[0])


class Params(dict[Any, Any]):
    """One section: ``section.name`` or ``section["name"]``, the latter also for names that a dict has, such as ``items``.

    A task that is given a whole section gets it as a plain dict.  ``where`` names file and section, for messages.
    """

    __slots__ = ("_where",)

    _where: str

    def __init__(self, entries: Mapping[Any, Any], where: str = "") -> None:
        object.__setattr__(self, "_where", where)
        super().__init__({name: _frozen(value, f"{where}: {name}") for name, value in entries.items()})

    def plain(self) -> dict[Any, Any]:
        """The same as dicts all the way down."""
        return {name: plain(value) for name, value in self.items()}

    def copy(self) -> dict[Any, Any]:
        """A plain dict, which can be changed."""
        return self.plain()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks for its own.
            raise AttributeError(name)
        return self[name]

    def __missing__(self, name: object) -> NoReturn:
        hint = did_you_mean(str(name), map(str, self), f"there are {', '.join(map(str, self)) or 'none'}")
        raise NoSuchParameter(f"{self._where} has no {name!r}; {hint}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self if isinstance(name, str))]

    def __reduce__(self) -> Any:
        return Params, (self.plain(), self._where)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            f"{self._where or 'a section of parameters'} cannot be changed here; edit the file, use --set, or take a .copy()"
        )

    __setitem__ = __delitem__ = __setattr__ = __delattr__ = _refuse
    __ior__ = clear = pop = popitem = setdefault = update = _refuse


def _frozen(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return Params(value, where)
    if isinstance(value, list):
        return [_frozen(item, f"{where}[{index}]") for index, item in enumerate(value)]
    return value


def plain(value: Any) -> Any:
    """``value`` with every section in it, and in its lists, as a plain dict."""
    if isinstance(value, Params):
        return value.plain()
    return [plain(item) for item in value] if type(value) is list else value
