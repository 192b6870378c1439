"""The second store: what it looks like on the disk, and what it survives."""

import errno
import grp
import io
import json
import os
import shutil
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from shared_stores import remote as remote_at
from store_samples import finish, found, large, python, record

from merkl.digest import Digest, content_key_of, key_of
from merkl.errors import ConfigError, SchemaTooNew, StoreCorrupt, StoreError, StoreFull
from merkl.nodes import Artifact
from merkl.store import layered
from merkl.store.layered import Layered
from merkl.store.local import LocalStore
from merkl.store.memory import MemoryStore
from merkl.store.remote import whereabouts
from merkl.store.remote.codec import LARGEST, NotARecord, decode_record, encode_record
from merkl.store.remote.directory import DirectoryObjects
from merkl.store.remote.errors import RemoteError
from merkl.store.remote.packs import read_index, write_index
from merkl.store.remote.places import open_objects
from merkl.store.remote.remote import Remote
from merkl.store.remote.soundness import inspect
from merkl.store.remote.upload import Result, upload
from merkl.store.remote.whereabouts import Packed
from merkl.trust.trust import Trust


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    made = remote_at(tmp_path)
    yield made
    made.close()


def send(store: LocalStore, remote: Remote, *names: str, data: bytes = b"") -> list[Result]:
    """Make results here and send them."""
    results = []
    for name in names:
        made, blobs = record(name, data or name.encode() * 100, large(len(name)))
        store.publish([(made, True)], blobs)
        results.append(Result(made, [made.key]))
    remote.prepare()
    upload(results, store, remote)
    return results


def paths(share: Path) -> set[str]:
    return {str(path.relative_to(share)) for path in share.rglob("*") if path.is_file()}


# ---- formats -----------------------------------------------------------------------------------------------------------


def test_the_bytes_of_a_record_stay_what_they_are() -> None:
    digest, key = Digest(bytes(range(32))), key_of("pinned")
    made, _ = record(
        "compile",
        key=key,
        content=content_key_of("pinned"),
        outputs={"": Artifact("file", digest, 7, True, "", "a.o")},
        inputs=[digest],
        log=digest,
        discovered=found(h=None),
        arguments={"z": 1, "a": ["ü"]},
        builder="host:1",
    )

    text = encode_record(made, key)

    hexa, k, c = digest.hex(), key.hex(), content_key_of("pinned").hex()
    body = (
        "merkl record 1\n"
        f'{{"key":"{k}","content_key":"{c}","task":"compile","builder":"host:1","exit_code":0,'
        f'"started_ns":1700000000123456789,"seconds":1.5,"log":"{hexa}",'
        f'"outputs":[{{"name":"","kind":"file","digest":"{hexa}","size":7,"executable":true,"serializer":"","filename":"a.o"}}],'
        f'"inputs":["{hexa}"],"discovered":{{"h":null}},"arguments":{{"z":1,"a":["\\u00fc"]}},"dependencies":[],'
        f'"metadata":{{}},"filed":"{k}"}}\n'
    ).encode()
    assert text == body + b"blake3 " + Digest.of(body).hex().encode() + b"\n"
    assert decode_record(text, key) == made


def test_the_layout_of_a_remote_stays_what_it_is(tmp_path: Path, remote: Remote) -> None:
    store = LocalStore(tmp_path / "here")
    made, blobs = record("f", b"small", b"tiny", large(1, 300_000))
    store.publish([(made, True)], {digest: data for digest, data in blobs.items() if len(data) < 1000})
    store.put([large(1, 300_000)])
    remote.prepare()
    upload([Result(made, [made.key])], store, remote)

    share = tmp_path / "share"
    whole = b"".join(data for _, data in sorted(blobs.items()) if len(data) < 1000)
    pack = Digest.of(whole).hex()
    first, second = sorted(digest for digest, data in blobs.items() if len(data) < 1000)
    index = b"merkl index 1\0" + struct.pack(
        ">32sQQ32sQQ", first, 0, len(blobs[first]), second, len(blobs[first]), len(blobs[second])
    )
    blob, key, content = Digest.of(large(1, 300_000)).hex(), made.key.hex(), made.content_key.hex()
    me = Trust().signing_key().signer.hex()
    assert paths(share) == {
        "merkl-remote",
        f"blobs/{blob[:2]}/{blob}",
        f"packs/{pack}",
        f"index/{pack}.{Digest.of(index).hex()[:16]}",
        f"records/default/{key[:2]}/{key}/{me}",
        f"made/default/{content[:2]}/{content}/none.{me}",
        f"signers/default/{me}",
    }
    assert (share / f"packs/{pack}").read_bytes() == whole
    assert (share / f"index/{pack}.{Digest.of(index).hex()[:16]}").read_bytes() == index
    mark = json.loads((share / "merkl-remote").read_text())
    assert mark["merkl"] == 2 and len(mark["id"]) == 32
    store.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields | {"more": 1},
        lambda fields: fields | {"started_ns": 2**63},
        lambda fields: fields | {"exit_code": True},
        lambda fields: fields | {"seconds": "1"},
        lambda fields: fields | {"seconds": 10**400},
        lambda fields: {"filed": None} | fields,
        lambda fields: fields | {"outputs": fields["outputs"] * 2},
        lambda fields: fields | {"outputs": [fields["outputs"][0] | {"filename": "../x"}]},
        lambda fields: fields | {"outputs": [fields["outputs"][0] | {"filename": "x" * 256}]},
        lambda fields: fields | {"outputs": [fields["outputs"][0] | {"filename": "\ud800"}]},
        lambda fields: fields | {"outputs": [fields["outputs"][0] | {"kind": "socket"}]},
        lambda fields: fields | {"outputs": [fields["outputs"][0] | {"size": -1}]},
        lambda fields: fields | {"discovered": {"a\0b": None}},
        lambda fields: fields | {"key": "00"},
        lambda fields: [fields],
    ],
)  # fmt: skip
def test_a_record_that_merkl_would_not_write_is_none(change: object) -> None:
    made, _ = record("f", b"1")
    fields = json.loads(encode_record(made).split(b"\n")[1])
    body = b"merkl record 1\n" + json.dumps(change(fields), separators=(",", ":")).encode() + b"\n"  # type: ignore[operator]

    with pytest.raises(NotARecord):
        decode_record(body + b"blake3 " + Digest.of(body).hex().encode() + b"\n")


def test_a_record_answers_only_the_key_that_it_was_filed_under(remote: Remote, tmp_path: Path) -> None:
    one, two = key_of(1), key_of(2)
    remote.file(record("f", key=one)[0])
    me = Trust().signing_key().signer.hex()
    names = {key: tmp_path / f"share/records/default/{key.hex()[:2]}/{key.hex()}/{me}" for key in (one, two)}
    names[two].parent.mkdir(parents=True)
    shutil.copy(names[one], names[two])

    assert remote.by_key([one, two]).keys() == {one}
    (note,) = remote.take_notes()
    assert "it has the name of another" in note.text


def test_more_signers_than_are_listed_hide_nobody_who_counts(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, blobs = record("f", key=key_of(1))
    remote.prepare()
    remote.put(blobs.values())
    remote.file(made)
    monkeypatch.setattr("merkl.store.remote.slots._MOST", 5)
    monkeypatch.setattr("merkl.store.remote.records._ASKED", 0)
    me = Trust().signing_key().signer.hex()
    mine = [path for path in (tmp_path / "share").rglob(f"*{me}") if path.is_file()]
    assert len(mine) == 3
    for path in mine:
        for number in range(20):
            path.with_name(path.name.replace(me, f"{number:064x}")).touch()
    fresh = remote_at(tmp_path)

    assert fresh.by_key([made.key]) == {made.key: made}
    assert fresh.by_content_key([made.content_key]) == {made.content_key: [made]}
    fresh.close()


def test_an_index_that_promises_the_impossible_is_not_used() -> None:
    for start, length in ((0, 2**40), (2**63, 1)):
        data = write_index([(Digest.of(b"x"), Packed("p", start, length))])
        assert read_index(f"p.{Digest.of(data).hex()[:16]}", data) is None


def test_a_record_without_end_is_not_read_whole(remote: Remote, tmp_path: Path) -> None:
    made, _ = record("f")
    remote.file(made)
    path = next((tmp_path / "share/records").rglob(f"{made.key.hex()}/*"))
    path.chmod(0o644)
    os.truncate(path, LARGEST * 100)

    assert remote.by_key([made.key]) == {}
    assert "more than any record has" in remote.take_notes()[0].text


@pytest.mark.parametrize("text", ["", "{}", '{"merkl": "1", "id": ""}', "\0", '{"merkl": true, "id": 3}'])
def test_another_directory_is_no_remote(tmp_path: Path, remote: Remote, text: str) -> None:
    (tmp_path / "share/merkl-remote").write_text(text)

    for act in (lambda: remote.by_key([key_of(1)]), lambda: remote.put([b"x"]), remote.prepare):
        with pytest.raises(RemoteError, match="is not a merkl remote"):
            act()


def test_what_a_newer_merkl_made_is_left_alone(tmp_path: Path, remote: Remote) -> None:
    (tmp_path / "share/merkl-remote").write_text(json.dumps({"merkl": 3, "id": "0" * 32}))

    with pytest.raises(SchemaTooNew, match="newer merkl"):
        remote.by_key([key_of(1)])


# ---- several at once ---------------------------------------------------------------------------------------------------

PUSHER = """
    import sys
    from merkl.digest import content_key_of, key_of
    from merkl.store.local import LocalStore
    from merkl.store.remote.directory import DirectoryObjects
    from merkl.store.remote.remote import Remote
    from merkl.store.remote.upload import Result, upload
    from store_samples import record

    share, here, me, rounds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    store, remote = LocalStore(here), Remote(DirectoryObjects(share), here + "-state")
    remote.prepare()
    for r in range(rounds):
        made, blobs = record("f", b"from %s %d" % (me.encode(), r), key=key_of(r), content=content_key_of(r))
        store.publish([(made, True)], blobs)
        sys.stdin.readline()
        upload([Result(made, [made.key])], store, remote)
        print(remote.by_key([made.key])[made.key].outputs["out0"].digest, flush=True)
    remote.close(), store.close()
    """


def test_of_two_who_send_one_result_at_once_the_first_wins(tmp_path: Path, remote: Remote) -> None:
    rounds = 200
    both = [python(PUSHER, tmp_path / "share", tmp_path / me, me, rounds) for me in ("a", "b")]
    for _ in range(rounds):
        for process in both:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        said = {process.stdout.readline() for process in both if process.stdout is not None}
        assert len(said) == 1, "both see the same record"
    for process in both:
        finish(process)

    records = remote.by_key([key_of(r) for r in range(rounds)])
    assert len(records) == rounds
    assert all(remote.read(each.outputs["out0"].digest) for each in records.values())
    assert remote.take_notes() == []
    assert list((tmp_path / "share/incoming").iterdir()) == []


def work_on(share: Path, here: Path, me: str) -> None:
    """Send a result of one's own and one that all send, and read what is there."""
    store, remote = LocalStore(here / "store"), Remote(DirectoryObjects(str(share)), str(here / "state"))
    (own, _) = send(store, remote, f"own {me}", "common")
    assert own.record.key in remote.by_key([own.record.key])
    for result in (own, Result(record("common", b"common" * 100, large(6))[0], [])):
        assert all(remote.read(each.digest) for each in result.record.outputs.values())
    remote.close()
    store.close()


def as_user(user: int, group: int, home: str, work: Callable[[], None]) -> int:
    """Run ``work`` in a child of that user with a umask that keeps everything private; its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
            os.umask(0o077)
            os.environ["HOME"] = home
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - it must not go on as a second pytest.
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_a_team_shares_a_directory_whatever_their_umask() -> None:
    group = grp.getgrall()[-1].gr_gid
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        share = Path(top, "share")
        share.mkdir()
        os.chown(share, -1, group)
        share.chmod(0o2770)
        for user, me in ((31_001, "a"), (31_002, "b"), (31_001, "c")):
            here, home = Path(top, me), Path(top, str(user))
            for each in (here, home):
                each.mkdir(exist_ok=True)
                os.chown(each, user, group)
            assert as_user(user, group, str(home), lambda here=here, me=me: work_on(share, here, me)) == 0

        for path in share.rglob("*"):
            known = path.stat()
            assert known.st_gid == group, path
            assert stat.S_IMODE(known.st_mode) == (0o2770 if path.is_dir() else 0o440), path


@pytest.mark.needs("strace")
def test_a_file_system_without_hard_links_will_do(tmp_path: Path, remote: Remote) -> None:
    (tmp_path / "run.py").write_text(
        "import os, sys; sys.path[:0] = [sys.argv[1], os.path.dirname(sys.argv[1])]\nimport textwrap\n"
        "from test_remote import PUSHER\nsys.argv[:] = sys.argv[1:]\nexec(textwrap.dedent(PUSHER))\n"
    )
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=link,linkat", "-e", "inject=link,linkat:error=EPERM",
         sys.executable, str(tmp_path / "run.py"), os.path.dirname(__file__), str(tmp_path / "share"), str(tmp_path / "a"), "a", "3"],
        input="\n" * 9, text=True, capture_output=True, timeout=100,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "INJECTED" in (tmp_path / "trace").read_text()
    assert len(remote.by_key([key_of(r) for r in range(3)])) == 3
    assert paths(tmp_path / "share/incoming") <= {"lock"}


# ---- faults ------------------------------------------------------------------------------------------------------------


def test_what_a_dead_writer_left_is_removed_in_time(tmp_path: Path, remote: Remote) -> None:
    remote.put([b"x"])
    old, new = (tmp_path / "share/incoming" / name for name in ("old", "new"))
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (0, 0))

    remote.prepare()

    assert paths(tmp_path / "share/incoming") == {"new"}


def test_a_share_that_is_not_mounted_is_not_made(tmp_path: Path) -> None:
    gone = Remote(DirectoryObjects(str(tmp_path / "absent")))

    for act in (lambda: gone.by_key([key_of(1)]), lambda: gone.put([b"x"]), gone.prepare):
        with pytest.raises(RemoteError, match="is not there") as raised:
            act()
        assert "mounted" in raised.value.hint
    assert not (tmp_path / "absent").exists()
    gone.close()


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EIO])
def test_every_refusal_says_what_to_do(tmp_path: Path, number: int) -> None:
    error = DirectoryObjects(str(tmp_path))._failed(OSError(number, os.strerror(number)), "packs/x")

    assert error.hint and str(tmp_path) in str(error)
    assert isinstance(error, StoreFull) == (number == errno.ENOSPC)
    assert isinstance(error, StoreError)


@pytest.mark.parametrize("fault", ["damaged", "locked", "a directory"])
def test_what_is_remembered_of_a_remote_may_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    store, first = LocalStore(tmp_path / "here"), remote_at(tmp_path)
    (result,) = send(store, first, "f")
    first.close()
    (database,) = (tmp_path / "state").glob("*.db")
    second = remote_at(tmp_path)
    holder = None
    if fault == "damaged":
        database.write_bytes(b"SQLite format 3\0" + b"\xff" * 10_000)
    elif fault == "locked":
        holder = sqlite3.connect(database)
        holder.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(whereabouts, "_WAIT_S", 0.1)
    else:
        database.unlink()
        database.mkdir()

    assert second.read(result.record.outputs["out0"].digest) == b"f" * 100
    assert second.take_notes() == []
    if holder is not None:
        holder.close()
    second.close()
    store.close()


def test_many_small_files_come_together(tmp_path: Path, remote: Remote) -> None:
    store = LocalStore(tmp_path / "here")
    made, blobs = record("many", *(b"%d" % n * 50 for n in range(400)))
    store.publish([(made, True)], blobs)
    remote.prepare()
    upload([Result(made, [made.key])], store, remote)
    assert len(paths(tmp_path / "share/packs")) == 1
    (got,) = remote.many(blobs)
    assert got == blobs
    above = Layered(MemoryStore(), remote)

    assert above.bring(made.outputs.values()) == sum(map(len, blobs.values()))
    assert above.upper.has(blobs) == blobs.keys()
    store.close()


def test_a_content_of_a_remote_that_went_away_is_not_said_to_be_lost(tmp_path: Path, remote: Remote) -> None:
    store = LocalStore(tmp_path / "here")
    made, blobs = record("made", b"m" * 50)
    store.publish([(made, True)], blobs)
    remote.prepare()
    upload([Result(made, [made.key])], store, remote)
    above = Layered(MemoryStore(), remote)
    assert above.by_key([made.key])
    shutil.rmtree(tmp_path / "share")

    with pytest.raises(StoreCorrupt, match="the remote is not asked any more"):
        above.reader(made.outputs["out0"].digest)

    assert "going on without the remote" in above.take_notes()[0].text
    store.close()


def test_what_a_process_found_a_later_one_can_fetch_however_large_it_is(
    tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layered, "_UNRECORDED", 1000)
    store = LocalStore(tmp_path / "here")
    results = [send(store, remote, name, data=name.encode() * 2000)[0].record for name in ("one", "two")]
    upper = MemoryStore()
    assert Layered(upper, remote).by_key([each.key for each in results]).keys() == {
        each.key for each in results
    }

    later = Layered(upper, remote)
    one, two = (each.outputs["out0"].digest for each in results)
    assert later.read(one) is None  # Nothing has said here how large it is.
    later.by_key([results[0].key])
    assert later.read(one) == b"one" * 2000
    later.by_content_key([results[1].content_key])
    assert later.read(two) == b"two" * 2000
    store.close()


class FlippedOnce(DirectoryObjects):
    """A share whose network gives each pack and blob wrongly the first time that it is read."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self._read: set[str] = set()

    def open(self, name: str) -> BinaryIO | None:
        """As it is, or with its first byte changed."""
        file = super().open(name)
        if file is None or name in self._read or name.split("/")[0] not in ("packs", "blobs"):
            return file
        self._read.add(name)
        with file:
            data = bytearray(file.read())
        data[0] ^= 1
        return io.BytesIO(data)


def test_what_is_sound_when_it_is_read_again_is_not_set_aside(tmp_path: Path, remote: Remote) -> None:
    store = LocalStore(tmp_path / "here")
    made, blobs = record("f", b"small", large(1, 300_000))
    store.publish([(made, True)], {digest: data for digest, data in blobs.items() if len(data) < 1000})
    store.put([large(1, 300_000)])
    remote.prepare()
    upload([Result(made, [made.key])], store, remote)
    before = paths(tmp_path / "share")

    for reader in (lambda other: inspect(other).aside, lambda other: [other.read(each) for each in blobs]):
        other = Remote(FlippedOnce(str(tmp_path / "share")))
        found = reader(other)
        assert paths(tmp_path / "share") == before
        assert other.has(blobs) == blobs.keys() and all(other.read(d) == data for d, data in blobs.items())
        other.close()
    assert b"small" in found
    store.close()


def test_of_a_damaged_pack_what_is_good_is_used(tmp_path: Path, remote: Remote) -> None:
    store = LocalStore(tmp_path / "here")
    made, blobs = record("many", *(b"%d" % n * 50 for n in range(40)))
    store.publish([(made, True)], blobs)
    remote.prepare()
    upload([Result(made, [made.key])], store, remote)
    (pack,) = (tmp_path / "share/packs").iterdir()
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[70] ^= 1
    pack.write_bytes(data)

    (got,) = remote.many(blobs)

    assert len(got) == 39 and all(blobs[digest] == each for digest, each in got.items())
    assert len(remote.take_notes()) == 1
    upload([Result(replace(made, key=key_of("again")), [])], store, remote)
    assert all(remote.read(digest) == each for digest, each in blobs.items())
    store.close()


@pytest.mark.parametrize("url", [".", ".git", ".git/merkl", ".merkl/store", "file://.merkl"])
def test_a_directory_that_has_a_use_of_its_own_is_no_remote(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="has a use of its own"):
        open_objects(url, str(tmp_path))
    assert open_objects("../share", str(tmp_path)).url == os.path.abspath(tmp_path / "../share")


def test_writers_who_are_the_first_in_a_new_share_do_not_disturb_each_other(tmp_path: Path) -> None:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for turn in range(60):
            share = tmp_path / str(turn)
            share.mkdir()
            start = threading.Barrier(8)

            def write(number: int, share: Path = share, start: threading.Barrier = start) -> bool:
                objects = DirectoryObjects(str(share))
                start.wait()
                return objects.create(f"records/{number % 3:02x}/{number}", b"x")

            with ThreadPoolExecutor(8) as pool:
                assert all(pool.map(write, range(8)))
    finally:
        sys.setswitchinterval(usual)
