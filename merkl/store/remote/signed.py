"""Records with a signature: what travels through a place where others may write.

    merkl record 2
    {"namespace":"default","key":…,"filed":…}
    ed25519 <public key> <signature>

The second line is as that of an unsigned record, with the namespace in front.  The signature is of ``merkl signed record``, a
NUL byte and the first two lines: so of the format, the namespace, the key, the key that it is filed under, and all that the
record says of outputs, inputs and builder.

It decides what is believed of such bytes: nothing is parsed before the signature has been checked.  Whose signature counts is
not its business.

The invariant: of one record, namespace and key there is one text, and a signer's signature is of nothing else.
"""

import re
from typing import Any, Final

from merkl.dataclass import replace
from merkl.digest import Key
from merkl.store.base import Record
from merkl.store.remote.codec import LARGEST, NotARecord, canonical, fields_of, read_fields
from merkl.trust.signer import KIND, Origin, Signer
from merkl.trust.signing import SigningKey, is_signed

VERSION: Final = 2
_DOMAIN: Final = b"merkl signed record\0"
_HEAD: Final = b"merkl record %d\n" % VERSION
_LAST: Final = re.compile(rf"{KIND} ([0-9a-f]{{64}}) ([0-9a-f]{{128}})\n".encode())


def encode_signed(record: Record, filed: Key | None, namespace: str, key: SigningKey) -> bytes:
    """The bytes of a record that answers the key ``filed`` in a namespace, signed with ``key``."""
    body = _HEAD + canonical(_fields(record, filed, namespace)) + b"\n"
    signature = key.sign(_DOMAIN + body)
    return body + f"{KIND} {key.signer.hex()} {signature.hex()}\n".encode()


def _fields(record: Record, filed: Key | None, namespace: str) -> dict[str, Any]:
    return {"namespace": namespace, **fields_of(record), "filed": filed and filed.hex()}


def decode_signed(data: bytes, filed: Key | None, namespace: str, signer: Signer) -> Record:
    """Read a record that answers the key ``filed`` in a namespace, and that ``signer`` has signed.

    Raises:
        NotARecord: the bytes are not exactly those of one.
    """
    line = _checked(data, signer)
    record = read_fields(line, lambda read: _fields(read, filed, namespace))
    return replace(record, origin=Origin(signer, namespace))


def _checked(data: bytes, signer: Signer) -> bytes:
    """The line that says what a record says, once its signature was checked."""
    if len(data) > LARGEST:
        raise NotARecord(f"{len(data)} bytes are more than any record has")
    if not data.startswith(_HEAD):
        first = data[:40].partition(b"\n")[0].decode("latin-1")
        if not first.startswith("merkl record "):
            raise NotARecord("it does not begin as a record does")
        raise NotARecord(f"it has format {first[13:]!r}, and this merkl reads {VERSION}")
    line, ended, last = data[len(_HEAD) :].partition(b"\n")
    found = _LAST.fullmatch(last)
    if not ended or found is None:
        count = sum(each.startswith(KIND.encode()) for each in last.splitlines()[:2])
        raise NotARecord(
            "it has no signature" if not count else "it has more than the one signature of its name"
        )
    if bytes.fromhex(found[1].decode()) != signer:
        raise NotARecord("it is signed by another than its name says")
    if not is_signed(_DOMAIN + _HEAD + line + b"\n", bytes.fromhex(found[2].decode()), signer):
        raise NotARecord("its signature is not one of these bytes")
    return line
