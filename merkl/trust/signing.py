"""Signatures with ed25519: made, and checked.

It decides which bytes count as a signature of a message: one encoding of each, so nobody makes a second from a first.
PyNaCl does the arithmetic, and is imported when there is something to sign or to check.

The invariant: a secret is never in a text that somebody may see, so not in ``repr`` and in no message.
"""

import secrets
from typing import Any, Final

from merkl.errors import ConfigError
from merkl.trust.signer import KIND, Signer

SIGNATURE: Final = 64  # Bytes.
SEED: Final = 32  # Bytes.
_SECRET: Final = f"{KIND}-secret:"
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493  # Of the group: RFC 8032, section 5.1.


class SigningKey:
    """A secret key, and the public one that goes with it: ``signer``, if it is known already.

    Raises:
        ConfigError, when it signs: they do not go together.
    """

    __slots__ = ("_key", "_seed", "signer")

    def __init__(self, seed: bytes, signer: Signer | None = None) -> None:
        self._seed = seed
        self._key: Any = None  # Who only wants to know whose key it is needs no arithmetic.
        self.signer = Signer(bytes(_nacl().SigningKey(seed).verify_key)) if signer is None else signer

    @classmethod
    def new(cls) -> "SigningKey":
        """A key that nobody had before."""
        return cls(secrets.token_bytes(SEED))

    @classmethod
    def parse(cls, text: str) -> "SigningKey":
        """Read what ``secret`` wrote, and maybe the public key after it.

        Raises:
            ValueError: it is anything else; the message does not quote it.
        """
        secret, *public = text.split()[:3] or [""]
        digits = secret.removeprefix(_SECRET)
        try:
            seed = bytes.fromhex(digits)
        except ValueError:
            seed = b""
        if not secret.startswith(_SECRET) or len(digits) != 2 * SEED or len(seed) != SEED or len(public) > 1:
            raise ValueError(f"it is no secret key: that is {_SECRET} and {2 * SEED} hexadecimal digits")
        return cls(seed, Signer.parse(public[0]) if public else None)

    def secret(self) -> str:
        """The secret as text: for the file that it is kept in, and for nobody else."""
        return _SECRET + self._seed.hex()

    def derived(self, purpose: str) -> "SigningKey":
        """Another key, which nobody can make who does not have this one, and from which nobody can tell this one."""
        from blake3 import blake3

        seed = blake3(self._seed, derive_key_context="merkl signing key of an executor 1")
        return SigningKey(seed.update(purpose.encode()).digest())

    def is_pair(self) -> bool:
        """Whether the public key is the one that goes with the secret one."""
        return bytes(_nacl().SigningKey(self._seed).verify_key) == self.signer

    def sign(self, message: bytes) -> bytes:
        """The signature of a message."""
        if self._key is None:
            key = _nacl().SigningKey(self._seed)
            if bytes(key.verify_key) != self.signer:
                raise ConfigError(
                    "the secret key to sign with and the public one beside it are not of one pair",
                    hint="`merkl key new --replace` makes another",
                )
            self._key = key
        return bytes(self._key.sign(message).signature)

    def __repr__(self) -> str:
        return f"SigningKey({self.signer!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a secret key is not pickled")


def is_signed(message: bytes, signature: bytes, signer: Signer) -> bool:
    """Whether ``signature`` is the one that ``signer`` would have made for a message, as far as that can be told."""
    if len(signature) != SIGNATURE or int.from_bytes(signature[32:], "little") >= _ORDER:
        # Adding the order to the second half would give a second signature: RFC 8032, section 8.4.
        return False
    nacl = _nacl()
    try:
        nacl.VerifyKey(bytes(signer)).verify(message, signature)
    except (nacl.exc.CryptoError, ValueError):
        return False
    return True


def _nacl() -> Any:
    try:
        import nacl.signing
    except ImportError:
        raise ConfigError(
            "a remote needs PyNaCl, which checks who signed what is there, and it is not installed",
            hint="pip install 'merkl[remote]'",
        ) from None
    return nacl.signing
