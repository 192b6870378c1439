"""Records that travel with a signature: their bytes, what is believed of them, and where they lie."""

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import found, record

from merkl.digest import Digest, Key, content_key_of, key_of
from merkl.errors import NotTrusted
from merkl.nodes import Artifact
from merkl.store.base import Record
from merkl.store.layered import Layered
from merkl.store.local import LocalStore
from merkl.store.remote.codec import NotARecord, canonical, encode_record, fields_of
from merkl.store.remote.directory import DirectoryObjects
from merkl.store.remote.remote import Remote
from merkl.store.remote.signed import decode_signed, encode_signed
from merkl.trust.entries import trusted, with_entry
from merkl.trust.signer import Origin
from merkl.trust.signing import SigningKey
from merkl.trust.trust import Trust, change_entries

ALICE, MALLORY = SigningKey(bytes(range(32))), SigningKey(b"m" * 32)
ORDER = 2**252 + 27742317777372353535851937790883648493
KEY = key_of("pinned")


def sample(**other: Any) -> Record:
    """A record with something in every field."""
    digest = Digest(bytes(range(32)))
    made, _ = record(
        "compile",
        key=KEY,
        content=content_key_of("pinned"),
        outputs={"": Artifact("file", digest, 7, True, "", "a.o")},
        inputs=[digest],
        log=digest,
        discovered=found(h=None),
        arguments={"z": 1, "a": ["ü"]},
        builder="host:1",
    )
    return replace(made, **other)


def signed(
    made: Record, *, by: SigningKey = ALICE, filed: Key | None = KEY, namespace: str = "team"
) -> bytes:
    return encode_signed(made, filed, namespace, by)


def by_hand(line: bytes, *, by: SigningKey = ALICE, head: bytes = b"merkl record 2\n") -> bytes:
    """Bytes that are well signed, whatever they say."""
    signature = by.sign(b"merkl signed record\0" + head + line + b"\n")
    return head + line + f"\ned25519 {by.signer.hex()} {signature.hex()}\n".encode()


def line_of(data: bytes) -> bytes:
    return data.split(b"\n")[1]


# ---- bytes -------------------------------------------------------------------------------------------------------------


def test_the_bytes_of_a_signed_record_stay_what_they_are() -> None:
    hexa, k, c = Digest(bytes(range(32))).hex(), KEY.hex(), content_key_of("pinned").hex()
    assert (
        signed(sample())
        == (
            "merkl record 2\n"
            f'{{"namespace":"team","key":"{k}","content_key":"{c}","task":"compile","builder":"host:1","exit_code":0,'
            f'"started_ns":1700000000123456789,"seconds":1.5,"log":"{hexa}",'
            f'"outputs":[{{"name":"","kind":"file","digest":"{hexa}","size":7,"executable":true,"serializer":"","filename":"a.o"}}],'
            f'"inputs":["{hexa}"],"discovered":{{"h":null}},"arguments":{{"z":1,"a":["\\u00fc"]}},"dependencies":[],'
            f'"metadata":{{}},"filed":"{k}"}}\n'
            "ed25519 03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8 "
            "da9757daa6da5d127b881c0f1141661b722e51479fd810e56dc1514005170fb1"
            "6f27b7467e85fa6acf458acdb9fedd74aa5af451ce2a6bff5d4f3911eb1f9e03\n"
        ).encode()
    )


def test_a_signed_record_comes_back_with_who_signed_it() -> None:
    made = sample()

    back = decode_signed(signed(made), KEY, "team", ALICE.signer)

    assert back == made
    assert back.origin == Origin(ALICE.signer, "team")
    assert made.origin is None


def malleable(data: bytes) -> bytes:
    """The same with the group's order added to half of the signature, which the equation does not notice."""
    body, _, last = data.removesuffix(b"\n").rpartition(b" ")
    signature = bytes.fromhex(last.decode())
    other = int.from_bytes(signature[32:], "little") + ORDER
    return body + b" " + (signature[:32] + other.to_bytes(32, "little")).hex().encode() + b"\n"


BOGUS = b"ed25519 " + b"0" * 64 + b" " + b"1" * 128 + b"\n"
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "no signature": lambda data: data[: data.index(b"ed25519")],
    "an empty line for it": lambda data: data[: data.index(b"ed25519")] + b"\n",
    "an unsigned record": lambda data: encode_record(sample(), KEY),
    "a digest instead": lambda data: (
        (body := data[: data.index(b"ed25519")]) + b"blake3 " + Digest.of(body).hex().encode() + b"\n"
    ),
    "a second signature": lambda data: data + BOGUS,
    "a thousand bogus ones before it": lambda data: (
        data[: data.index(b"ed25519")] + BOGUS * 1000 + data[data.index(b"ed25519") :]
    ),
    "somebody else's": lambda data: by_hand(line_of(data), by=MALLORY),
    "somebody else's in her name": lambda data: by_hand(line_of(data), by=MALLORY).replace(
        MALLORY.signer.hex().encode(), ALICE.signer.hex().encode()
    ),
    "S + L": malleable,
    "capital digits": lambda data: (
        (at := data.index(b"ed25519")) and data[: at + 8] + data[at + 8 :].upper()
    ),
    "no end": lambda data: data.removesuffix(b"\n"),
    "something after it": lambda data: data + b"\n",
    "another format": lambda data: by_hand(line_of(data), head=b"merkl record 3\n"),
    "another domain": lambda data: (
        (body := data[: data.index(b"ed25519")])
        + f"ed25519 {ALICE.signer.hex()} {ALICE.sign(body).hex()}\n".encode()
    ),
    "another namespace": lambda data: signed(sample(), namespace="other"),
    "another key": lambda data: signed(sample(), filed=key_of("other")),
    "no key": lambda data: signed(sample(), filed=None),
    "a space": lambda data: by_hand(line_of(data).replace(b":", b": ", 1)),
    "a name twice": lambda data: by_hand(line_of(data).replace(b'{"namespace"', b'{"key":"","namespace"', 1)),
    "another order": lambda data: by_hand(
        canonical(dict(reversed(json.loads(line_of(data)).items())))
    ),
    "a name more": lambda data: by_hand(canonical(json.loads(line_of(data)) | {"more": 1})),
    "no namespace": lambda data: by_hand(canonical(fields_of(sample()) | {"filed": KEY.hex()})),
    "no JSON": lambda data: by_hand(b"[" * 100_000),
    "a path": lambda data: by_hand(line_of(data).replace(b'"a.o"', b'"../../a.o"')),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_row_70_what_its_signer_would_not_have_written_so_is_no_record(change: str) -> None:
    data = CHANGES[change](signed(sample()))

    with pytest.raises(NotARecord):
        decode_signed(data, KEY, "team", ALICE.signer)


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_row_70_no_bit_of_a_signed_record_can_be_changed(at: int, bit: int) -> None:
    data = bytearray(signed(sample()))
    data[at % len(data)] ^= 1 << bit

    with pytest.raises(NotARecord):
        decode_signed(bytes(data), KEY, "team", ALICE.signer)


def test_keys_of_small_order_sign_nothing() -> None:
    """With such a key a signature of one message fits many."""
    from merkl.trust.signer import Signer
    from merkl.trust.signing import is_signed

    for point in (bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"):
        assert not is_signed(b"message", point + bytes(32), Signer(point))


# ---- in a remote -------------------------------------------------------------------------------------------------------


class Place:
    """A directory that several people share, each with a HOME of their own."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.share = top / "share"
        self.share.mkdir()
        self._opened: list[Remote] = []

    def trust(self, who: str, namespace: str = "default") -> Trust:
        return Trust(namespace, environ={"HOME": str(self.top / who)})

    def remote(self, who: str, namespace: str = "default", *, strict: bool = False) -> Remote:
        objects = DirectoryObjects(str(self.share))
        made = Remote(objects, str(self.top / who / "state"), self.trust(who, namespace), strict=strict)
        self._opened.append(made)
        return made

    def lets(self, who: str, whom: str, allow: str = "files", namespace: str = "default") -> None:
        """Let one trust another."""
        entry = trusted(self.trust(whom).signing_key().signer, allow, namespace, whom)
        change_entries({"HOME": str(self.top / who)}, lambda entries: with_entry(entries, entry))

    def slot(self, key: Key, who: str, namespace: str = "default") -> Path:
        signer = self.trust(who).signing_key().signer.hex()
        return self.share / f"records/{namespace}/{key.hex()[:2]}/{key.hex()}/{signer}"

    def close(self) -> None:
        for each in self._opened:
            each.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def filed(remote: Remote, made: Record) -> Record:
    remote.prepare()
    return remote.file(made)


def test_only_records_of_those_who_count_are_found_and_of_the_others_there_is_one_line(place: Place) -> None:
    results = [record(name)[0] for name in ("f", "g")]
    for each in results:
        filed(place.remote("alice"), each)
    bob = place.remote("bob")
    keys, contents = [r.key for r in results], [r.content_key for r in results]

    assert bob.by_key(keys) == {} == bob.by_content_key(contents)
    (note,) = bob.take_notes()
    alice = place.trust("alice").signing_key().signer
    assert note.text == (
        f"2 results in {bob.url} are signed by {alice}, whom you do not trust: `merkl key trust {alice}`"
    )
    assert note.hint == ""
    place.lets("bob", "alice")
    bob = place.remote("bob")
    assert set(bob.by_key(keys)) == set(keys)
    assert set(bob.by_content_key(contents)) == set(contents)
    assert bob.take_notes() == []


def test_whoever_is_trusted_for_files_only_gives_no_pickles(place: Place) -> None:
    pickled = Artifact("value", Digest.of(b"p"), 1, serializer="pickle")
    made = record("f", outputs={"": pickled})[0]
    filed(place.remote("alice"), made)
    place.lets("bob", "alice")
    bob = place.remote("bob")

    assert bob.by_key([made.key]) == {} == bob.by_content_key([made.content_key])
    (note,) = bob.take_notes()
    assert note.text.endswith("--allow files,pickle`") and "1 result in" in note.text
    place.lets("bob", "alice", "files,pickle")
    assert place.remote("bob").by_key([made.key]) == {made.key: made}


def test_a_key_counts_in_the_namespace_for_which_it_is_trusted(place: Place) -> None:
    made = record("f")[0]
    for namespace in ("one", "two"):
        filed(place.remote("alice", namespace), made)
    place.lets("bob", "alice", namespace="one")

    assert place.remote("bob", "one").by_key([made.key]) == {made.key: made}
    assert place.remote("bob", "two").by_key([made.key]) == {}
    place.lets("bob", "alice", namespace="*")
    assert place.remote("bob", "two").by_key([made.key]) == {made.key: made}


@pytest.mark.parametrize("how", ["another key", "another namespace", "another signer", "no signature"])
def test_row_69_a_record_in_the_wrong_slot_is_a_miss_and_an_error_where_the_remote_is_required(
    place: Place, how: str
) -> None:
    made, other = record("f")[0], record("g")[0]
    namespace = "other" if how == "another namespace" else "default"
    who = "mallory" if how == "another signer" else "alice"
    filed(place.remote(who, namespace), other if how == "another key" else made)
    filed(place.remote("alice"), record("h")[0])
    source = place.slot(other.key if how == "another key" else made.key, who, namespace)
    slot = place.slot(made.key, "alice")
    slot.parent.mkdir(parents=True, exist_ok=True)
    data = source.read_bytes()
    slot.write_bytes(data[: data.index(b"ed25519")] if how == "no signature" else data) if (
        source != slot
    ) else None
    if how == "no signature":
        slot.chmod(0o644)
        slot.write_bytes(data[: data.index(b"ed25519")])
    place.lets("bob", "alice")
    bob = place.remote("bob")

    assert bob.by_key([made.key]) == {}
    assert any("is not used" in note.text for note in bob.take_notes())
    with pytest.raises(NotTrusted):
        place.remote("bob", strict=True).by_key([made.key])
    filed(place.remote("alice"), made)
    assert bob.by_key([made.key]) == {made.key: made}, "a push writes it anew"


def test_row_71_whoever_fills_the_slots_first_takes_nobody_elses(place: Place) -> None:
    poison = record("f", b"poison")[0]
    made = record("f", b"good")[0]
    pr, main = place.remote("pr"), place.remote("main")
    filed(pr, poison)
    slot = place.slot(made.key, "main")
    for path in (slot, slot.parent / ("0" * 64), slot.parent / "junk"):
        path.write_bytes(place.slot(poison.key, "pr").read_bytes())

    assert main.by_key([made.key]) == {}
    assert main.by_content_key([made.content_key]) == {}
    assert filed(main, made) == made
    assert place.remote("main").by_key([made.key]) == {made.key: made}
    assert place.remote("main").by_content_key([made.content_key]) == {made.content_key: [made]}
    assert place.remote("pr").by_key([made.key]) == {made.key: poison}


def test_of_many_who_count_each_is_found(place: Place) -> None:
    team = [f"user-{number}" for number in range(6)]
    made = {who: record(who)[0] for who in team}
    for who in team:
        filed(place.remote(who), made[who])
        place.lets("bob", who)
    bob = place.remote("bob")

    assert bob.by_key([each.key for each in made.values()]) == {each.key: each for each in made.values()}
    assert bob.by_key([key_of("nothing")]) == {}


def test_what_somebody_else_signed_is_not_signed_again(place: Place) -> None:
    made = record("f")[0]
    filed(place.remote("alice"), made)
    place.lets("bob", "alice")
    bob = place.remote("bob")
    (theirs,) = bob.by_key([made.key]).values()

    bob.file(theirs)
    bob.alias(key_of("other"), theirs)

    assert not place.slot(made.key, "bob").exists()
    assert place.remote("alice").by_key([key_of("other")]) == {}
    assert not bob.records.is_ours(theirs) and bob.records.is_ours(made)


def test_a_revoked_key_counts_no_more_also_for_what_is_here_already(place: Place) -> None:
    from merkl.trust.entries import Revoked

    made = record("f")[0]
    filed(place.remote("alice"), made)
    place.lets("bob", "alice")
    environ = {"HOME": str(place.top / "bob")}

    def look() -> dict[Key, Record]:
        trust = place.trust("bob")
        upper = LocalStore(
            place.top / "bob/store", accepts=lambda r: trust.accepts(r.origin, pickles=r.holds_pickles)
        )
        above = Layered(upper, place.remote("bob"))
        try:
            return above.by_key([made.key])
        finally:
            upper.close()

    assert look() == {made.key: made}
    signer = place.trust("alice").signing_key().signer
    change_entries(environ, lambda entries: with_entry(entries, Revoked(signer)))
    assert look() == {}


# ---- in the store of this machine --------------------------------------------------------------------------------------


ORIGIN = Origin(ALICE.signer, "team")


def test_the_store_remembers_where_a_record_came_from(tmp_path: Path) -> None:
    made, blobs = record("f", b"1")
    with contextlib.closing(LocalStore(tmp_path / "s")) as store:
        store.publish([(replace(made, origin=ORIGIN), True)], blobs)
    with contextlib.closing(LocalStore(tmp_path / "s")) as store:
        assert store.by_key([made.key])[made.key].origin == ORIGIN
        assert [r.origin for r in store.by_content_key([made.content_key])[made.content_key]] == [ORIGIN]


def test_what_does_not_count_is_as_if_it_were_not_here_and_gives_way(tmp_path: Path) -> None:
    theirs, _ = record("f", b"theirs")
    ours, blobs = record("f", b"ours")
    with contextlib.closing(LocalStore(tmp_path / "s")) as careless:
        careless.publish([(replace(theirs, origin=ORIGIN), True)], {Digest.of(b"theirs"): b"theirs"})
    with contextlib.closing(LocalStore(tmp_path / "s", accepts=lambda _: False)) as store:
        assert store.by_key([ours.key]) == {} == store.by_content_key([ours.content_key])
        assert store.publish([(ours, True)], blobs) == [ours]
        assert store.by_key([ours.key]) == {ours.key: ours}
        store.file(replace(theirs, origin=ORIGIN))
        assert store.by_key([ours.key]) == {ours.key: ours}


def test_what_was_made_here_takes_the_place_of_what_says_the_same(tmp_path: Path) -> None:
    made, blobs = record("f", b"1")
    with contextlib.closing(LocalStore(tmp_path / "s")) as store:
        store.publish([(replace(made, origin=ORIGIN), True)], blobs)
        store.file(made)
        assert store.by_key([made.key])[made.key].origin is None
        store.file(replace(made, origin=ORIGIN))
        assert store.by_key([made.key])[made.key].origin is None


def test_a_value_from_elsewhere_is_not_answered_in_one_look(tmp_path: Path) -> None:
    value = {"": Artifact("value", Digest.of(b"1"), 1, serializer="json")}
    made, _ = record("f", outputs=value, inputs=[])
    with contextlib.closing(LocalStore(tmp_path / "s")) as store:
        store.publish([(replace(made, origin=ORIGIN), True)], {Digest.of(b"1"): b"1"})
        assert store.answer(made.key) is None
        store.file(made)
        assert store.answer(made.key) is not None


def of_version_1(directory: Path) -> Record:
    """A store as merkl made it before records had an origin."""
    made, blobs = record("f", b"1")
    with contextlib.closing(LocalStore(directory)) as store:
        store.publish([(made, True)], blobs)
    with contextlib.closing(sqlite3.connect(directory / "store-1.db")) as connection:
        connection.executescript(
            "BEGIN; DROP TRIGGER unnamed; DROP TRIGGER renamed; DROP TABLE answer; ALTER TABLE name DROP COLUMN answer;"
            "ALTER TABLE record DROP COLUMN origin; UPDATE meta SET value = '1' WHERE name = 'schema';"
            "PRAGMA user_version = 1; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)"
        )
    return made


def test_a_store_of_an_earlier_merkl_is_brought_up_to_date(tmp_path: Path) -> None:
    made = of_version_1(tmp_path / "s")
    for _ in range(2):
        with contextlib.closing(LocalStore(tmp_path / "s")) as store:
            assert store.by_key([made.key]) == {made.key: made}
            assert store.by_key([made.key])[made.key].origin is None
            store.file(replace(record("g")[0], origin=ORIGIN))
            assert store.take_notes() == []


def test_a_store_of_an_earlier_merkl_that_may_only_be_read_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = of_version_1(tmp_path / "s")
    before = (tmp_path / "s/store-1.db").read_bytes()
    with contextlib.closing(LocalStore(tmp_path / "s")) as store:
        store.database._open = store.database._open_read_only  # type: ignore[method-assign]
        assert store.by_key([made.key]) == {made.key: made}
        assert store.answer(made.key) is None
        assert store.by_content_key([made.content_key]) == {made.content_key: [made]}
    assert (tmp_path / "s/store-1.db").read_bytes() == before


def test_the_signers_of_a_place_are_looked_up_again_when_asked(place: Place) -> None:
    made = record("f")[0]
    place.lets("bob", "alice")
    bob = place.remote("bob")
    bob.prepare()
    assert bob.by_key([made.key]) == {}
    filed(place.remote("alice"), made)

    bob.look_again()

    assert bob.by_key([made.key]) == {made.key: made}
    assert os.listdir(place.share / "signers/default")
