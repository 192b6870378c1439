"""Who signed a record, and in which namespace.

It decides how a public key is written.  It knows no signatures and no trust.

The invariant: one key has one text, and one namespace one name of an object.
"""

from collections.abc import Iterable
from typing import Final

from merkl.dataclass import dataclass
from merkl.pattern import pattern
from merkl.remotes import is_namespace

KIND: Final = "ed25519"
SECRET_VARIABLE: Final = "MERKL_SIGNING_KEY"  # What no task needs, and none is given.
_BETWEEN: Final = ", "
_OF_PARTS: Final = {"files": False, "code": True}
_TEXT: Final = pattern(f"{KIND}:([0-9a-f]{{64}})")


class Signer(bytes):
    """The public key of somebody who signs: 32 bytes of ed25519."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> "Signer":
        if len(raw) != 32:
            raise ValueError(f"a key of {KIND} has 32 bytes, not {len(raw)}")
        return super().__new__(cls, raw)

    @classmethod
    def parse(cls, text: str) -> "Signer":
        """Read ``ed25519:`` and 64 hexadecimal digits.

        Raises:
            ValueError: ``text`` is anything else.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ValueError(f"{text[:100]!r} is no public key: it is {KIND}: and 64 hexadecimal digits")
        return cls(bytes.fromhex(found[1]))

    def __str__(self) -> str:
        return f"{KIND}:{self.hex()}"

    def __repr__(self) -> str:
        return f"Signer({self.hex()[:12]}…)"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record comes from that was not made here: who signed it, and in which namespace.

    What was put together from parts that several signed has the ``others``, too; ``runs_code`` says of one of several whether
    a part of theirs does.
    """

    signer: Signer
    namespace: str
    runs_code: bool | None = None
    others: tuple["Origin", ...] = ()

    @property
    def each(self) -> tuple["Origin", ...]:
        """One for each who signed, this one first."""
        return (self, *self.others)

    @classmethod
    def parse(cls, text: str) -> "Origin":
        """Read what ``str`` wrote.

        Raises:
            ValueError: it did not.
        """
        one, *rest = [cls._parse_one(each) for each in text.split(_BETWEEN)]
        return cls(one.signer, one.namespace, one.runs_code, tuple(rest))

    @classmethod
    def _parse_one(cls, text: str) -> "Origin":
        signer, _, rest = text.partition(" ")
        namespace, stated, runs_code = rest.partition(" ")
        if not is_namespace(namespace):
            raise ValueError(f"{namespace[:100]!r} is no namespace")
        if stated and runs_code not in _OF_PARTS:
            raise ValueError(f"{runs_code[:100]!r} says nothing of parts")
        return cls(Signer.parse(signer), namespace, _OF_PARTS[runs_code] if stated else None)

    @classmethod
    def of_parts(cls, parts: Iterable[tuple["Origin | None", bool]]) -> "Origin | None":
        """Where something comes from that is put together: of each part where it comes from, and whether it runs code."""
        found: dict[tuple[Signer, str], bool] = {}
        for origin, runs_code in parts:
            for each in () if origin is None else origin.each:
                name = each.signer, each.namespace
                does = runs_code if each.runs_code is None else each.runs_code
                found[name] = found.get(name, False) or does
        if len(found) < 2:
            return next((cls(*name) for name in found), None)
        one, *rest = sorted(found.items())
        return cls(*one[0], one[1], tuple(cls(*name, does) for name, does in rest))

    def __str__(self) -> str:
        return _BETWEEN.join(each._one() for each in self.each)

    def _one(self) -> str:
        stated = next((f" {word}" for word, meant in _OF_PARTS.items() if meant is self.runs_code), "")
        return f"{self.signer} {self.namespace}{stated}"
