"""Who signed a record, and in which namespace.

It decides how a public key is written.  It knows no signatures and no trust.

The invariant: one key has one text, and one namespace one name of an object.
"""

import re
from typing import Final

from merkl.dataclass import dataclass
from merkl.remotes import is_namespace

KIND: Final = "ed25519"
SECRET_VARIABLE: Final = "MERKL_SIGNING_KEY"  # What no task needs, and none is given.
_TEXT: Final = re.compile(f"{KIND}:([0-9a-f]{{64}})")


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
    """Where a record comes from that was not made here: who signed it, and in which namespace."""

    signer: Signer
    namespace: str

    @classmethod
    def parse(cls, text: str) -> "Origin":
        """Read what ``str`` wrote.

        Raises:
            ValueError: it did not.
        """
        signer, _, namespace = text.partition(" ")
        if not is_namespace(namespace):
            raise ValueError(f"{namespace[:100]!r} is no namespace")
        return cls(Signer.parse(signer), namespace)

    def __str__(self) -> str:
        return f"{self.signer} {self.namespace}"
