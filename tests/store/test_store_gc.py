"""gc and fsck: what goes, what stays, what is found."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from store_samples import blob_path, finish, large, overwrite, python, record, tree_of

from merkl.digest import Digest, content_key_of, key_of
from merkl.errors import StoreFull
from merkl.nodes import Artifact
from merkl.store import collect as gc
from merkl.store.base import Record
from merkl.store.builds import live_builds, register_build, sweep_stale
from merkl.store.check import check
from merkl.store.choice import Choice, Keep
from merkl.store.collect import collect
from merkl.store.local import LocalStore
from merkl.store.removal import remove_tree
from merkl.store.views import Views


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def age(store: LocalStore, days: float, *digests: Digest) -> None:
    """Let those blobs, or everything, be last used some days ago."""
    then = int(time.time() - days * 86_400)
    if digests:
        rows = [(then, digest) for digest in digests]
        store.database.write(lambda c: c.executemany("UPDATE blob SET used_at = ? WHERE digest = ?", rows))
        return
    store.database.write(
        lambda c: [c.execute(f"UPDATE {t} SET used_at = ?", (then,)) for t in ("blob", "record")]
    )


def publish(store: LocalStore, name: str, *data: bytes, seconds: float = 1.0) -> Record:
    for item in data:
        store.put([item])
    made, _ = record(name, *data, seconds=seconds)
    return store.publish([(made, True)], {})[0]


def test_only_what_no_record_and_no_root_names_goes(store: LocalStore) -> None:
    kept = publish(store, "f", b"small output", large(1))
    log = store.put([b"log"])
    logged, _ = record("g", log=log)
    store.file(logged, under_key=False)
    rooted = store.put([large(2)])
    loose = [store.put([b"loose"]), store.put([large(3)])]
    age(store, 1)

    done = collect(store, Keep(digests=frozenset([rooted])))

    assert (done.records, done.blobs, done.freed) == (0, 2, 5 + len(large(3)))
    assert store.has(loose) == set()
    assert store.has([rooted, log]) == {rooted, log}
    assert store.by_key([kept.key]) == {kept.key: kept}
    assert store.read(Digest.of(large(1))) == large(1)
    assert done.left == sum(len(data) for data in (b"small output", large(1), b"log", large(2)))
    assert list(Path(store.directory, "trash").iterdir()) == []


def test_what_was_used_within_the_hour_stays(store: LocalStore) -> None:
    fresh, confirmed = store.put([large(1)]), store.put([b"confirmed"])
    old = store.put([b"old"])
    age(store, 0.05)
    store.put([large(1)])
    store.put([b"confirmed"])

    assert collect(store).blobs == 1
    assert store.has([fresh, confirmed, old]) == {fresh, confirmed}


def test_a_dry_run_says_the_same_and_removes_nothing(store: LocalStore) -> None:
    publish(store, "f", large(1))
    publish(store, "g", b"small")
    loose = store.put([large(2)])
    age(store, 40)
    keep = Keep(older_than_days=30, keys=frozenset([key_of("g")]))

    planned = collect(store, keep, dry_run=True)

    assert (planned.records, planned.blobs) == (1, 2)
    assert store.has([loose, Digest.of(large(1))]) == {loose, Digest.of(large(1))}
    assert collect(store, keep) == planned


def test_records_go_by_age_unless_they_were_used_or_are_roots(store: LocalStore) -> None:
    old, used, rooted, aliased = (
        publish(store, name, name.encode()) for name in ("old", "used", "root", "alias")
    )
    store.alias(key_of("other name"), aliased)
    age(store, 40)
    store.by_key([used.key])
    store.close()  # Writes down what was used.

    done = collect(store, Keep(keys=frozenset([rooted.key, key_of("other name")]), older_than_days=30))

    assert done.records == 1
    keys = [old.key, used.key, rooted.key, aliased.key, key_of("other name")]
    assert set(store.by_key(keys)) == set(keys[1:])
    assert store.has([Digest.of(n) for n in (b"old", b"used", b"root", b"alias")]) == {
        Digest.of(n) for n in (b"used", b"root", b"alias")
    }
    assert store.by_content_key([old.content_key]) == {}


def test_what_is_cheap_to_make_again_goes_first(store: LocalStore) -> None:
    for name, seconds in (("cheap", 0.1), ("dear", 1000.0), ("middling", 10.0)):
        publish(store, name, large(len(name)), seconds=seconds)
    age(store, 2)

    done = collect(store, Keep(max_size=len(large()) * 2))

    assert done.records == done.blobs == 1
    assert set(store.by_key([key_of(n) for n in ("cheap", "dear", "middling")])) == {
        key_of("dear"),
        key_of("middling"),
    }
    age(store, 2)  # They have just been used.
    collect(store, Keep(max_size=len(large())))
    assert set(store.by_key([key_of(n) for n in ("cheap", "dear", "middling")])) == {key_of("dear")}
    assert collect(store, Keep(max_size=0)).records == 0, "used within the hour"
    age(store, 2)
    assert collect(store, Keep(max_size=0)).left == 0


def test_what_a_kept_record_was_made_from_stays(store: LocalStore) -> None:
    made: dict[str, Record] = {}
    for name, needs in (("a", ()), ("b", ("a",)), ("c", ("b", "a")), ("d", ("c",)), ("other", ("a",))):
        store.put([name.encode()])
        deps: list[object] = [{"node": key_of(each).hex(), "task": each, "output": ""} for each in needs]
        one, _ = record(name, name.encode(), dependencies=[{"file": "x", "digest": "00"}, *deps])
        made[name] = store.file(one)
    store.alias(key_of("c by another name"), made["c"])
    age(store, 40)

    done = collect(store, Keep(keys=frozenset([key_of("c by another name")]), older_than_days=30))

    assert done.records == 2
    assert set(store.by_key([key_of(name) for name in made])) == {key_of(name) for name in "abc"}


def test_a_record_is_noted_as_used_when_it_is_found(store: LocalStore) -> None:
    used = publish(store, "f", large(1))
    age(store, 40)
    other = LocalStore(store.directory)

    assert other.by_content_key([used.content_key]) == {used.content_key: [used]}

    assert collect(store, Keep(older_than_days=30, max_size=0)).records == 0
    assert other.read(Digest.of(large(1))) == large(1)
    other.close()


def test_a_killed_gc_leaves_files_without_rows_for_the_next(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, again = store.put([large(1)]), store.put([large(2)])
    age(store, 2)
    monkeypatch.setattr(gc, "_move_files", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        collect(store)
    monkeypatch.undo()
    assert check(store, repair=True).is_clean
    store.put([large(2)])

    assert collect(store, Keep(grace_s=-5, digests=frozenset([again]))).blobs == 1
    assert store.has([digest, again]) == {again}


def test_what_is_confirmed_is_safe_for_an_hour(store: LocalStore) -> None:
    digests = [store.put([large(1)]), store.put([b"small"]), store.put([large(2)]), store.put([b"not asked"])]
    absent, lost = Digest.of(b"absent"), store.put([large(3)])
    blob_path(store, lost).unlink()
    age(store, 2)

    assert store.confirm([*digests[:3], absent, lost]) == set(digests[:3])

    assert collect(store).blobs == 1
    assert store.has(digests) == set(digests[:3])


def test_a_blob_that_a_staying_record_shares_stays(store: LocalStore) -> None:
    publish(store, "old", b"shared", b"own")
    kept = publish(store, "kept", b"shared")
    age(store, 40)

    collect(store, Keep(keys=frozenset([kept.key]), older_than_days=1))

    assert store.has([Digest.of(b"shared"), Digest.of(b"own")]) == {Digest.of(b"shared")}


@pytest.mark.parametrize("files", [2, 1500])
def test_the_files_of_a_directory_stay_with_it(store: LocalStore, files: int) -> None:
    contents = {b"d/%d" % n: b"%d" % n for n in range(files)}
    tree = tree_of(contents)
    blobs = {Digest.of(data): data for data in contents.values()}
    saved = tree_of({b"e/saved": b"saved by hand"})
    store.put([tree.encode()])
    store.put([saved.encode()])
    store.put([b"saved by hand"])
    made, _ = record("tree", outputs={"": Artifact("dir", tree.digest, tree.size)})
    store.publish([(made, True)], blobs)
    age(store, 2)

    assert collect(store, Keep(trees=frozenset([saved.digest]))).blobs == 0
    assert store.present([made.outputs[""]]) == {tree.digest}
    assert collect(store).blobs == 2
    store.forget([made.key])
    assert collect(store).blobs == files + 1


def test_a_blob_that_is_stored_again_while_gc_decides_stays(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [store.put([large(1)]), store.put([b"small"]), store.put([b"not again"])]
    used = publish(store, "f", b"of f")
    age(store, 40)
    real = gc._forget

    def meanwhile(store: LocalStore, keep: Keep, chosen: Choice) -> tuple[int, list[Digest]]:
        assert len(chosen.blobs) == 4 and len(chosen.records) == 1
        store.put([large(1)])
        store.put([b"small"])
        new, _ = record("new", b"not again")
        store.publish([(used, True), (new, True)], {})
        return real(store, keep, chosen)

    monkeypatch.setattr(gc, "_forget", meanwhile)

    done = collect(store, Keep(older_than_days=1))

    assert (done.records, done.blobs) == (0, 0)
    assert store.has([*digests, Digest.of(b"of f")]) == {*digests, Digest.of(b"of f")}
    assert store.by_key([used.key]) == {used.key: used}


def test_a_file_that_lost_its_row_goes_when_it_is_old(store: LocalStore) -> None:
    digest = store.put([large(1)])
    store.database.write(lambda c: c.execute("DELETE FROM blob"))

    assert collect(store).blobs == 0
    assert collect(store, Keep(grace_s=-5)).blobs == 1
    assert not blob_path(store, digest).exists()


def test_what_a_build_has_just_stored_or_confirmed_is_never_taken(store: LocalStore) -> None:
    code = """
    import sys
    from merkl.store.local import LocalStore
    from store_samples import large, record
    store = LocalStore(sys.argv[1])
    me = int(sys.argv[2])
    stored = []
    for n in range(240):
        # In orders that differ, so that one finds here what another has confirmed, and gc has taken the rest.
        n = (n * (7, 11, 13)[me]) % 240
        data = large(n) if n % 4 == 0 else b"%d" % n
        stored.append((store.put([data]), data))
        digest, data = stored[-1]
        assert store.read(digest) == data
    assert all(store.read(digest) == data for digest, data in stored)
    assert store.take_notes() == []
    """
    for n in range(240):
        store.put([large(n) if n % 4 == 0 else b"%d" % n])
    age(store, 1)
    running = [python(code, store.directory, me) for me in range(3)]
    removed = 0
    while any(process.poll() is None for process in running):
        planned = collect(store, dry_run=True)
        removed += planned.blobs and collect(store, Keep(digests=_half(store))).blobs
    for process in running:
        finish(process)

    assert removed
    assert check(store).is_clean
    assert check(store).blobs == 240


def _half(store: LocalStore) -> frozenset[Digest]:
    """Half of what is there, so that gc has something to do for a while."""
    rows = store.database.read(lambda c: c.execute("SELECT digest FROM blob ORDER BY random()").fetchall())
    return frozenset(Digest(digest) for (digest,) in rows[::2])


def test_stray_files_go_but_not_those_being_written(store: LocalStore, tmp_path: Path) -> None:
    incoming = Path(store.directory, "incoming")
    code = """
    import os, sys
    from merkl.store.local import LocalStore
    from store_samples import large
    store = LocalStore(sys.argv[1])
    def slow():
        yield large()
        print("writing", flush=True)
        sys.stdin.readline()
        yield large()
    print(store.put(slow()))
    """
    killed, living = python(code, store.directory), python(code, store.directory)
    for process in (killed, living):
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
    killed.kill()
    killed.communicate()
    assert len(list(incoming.iterdir())) == 2

    collect(store, Keep(grace_s=-5))

    assert len(list(incoming.iterdir())) == 1
    out, _ = living.communicate("\n")
    assert store.read(Digest.parse(out.strip())) == large() * 2


def test_room_in_the_database_is_given_back(store: LocalStore) -> None:
    for n in range(60):
        store.put([large(n, 90_000)])
    age(store, 1)
    store.close()
    (database,) = Path(store.directory).glob("store-*.db")
    before = database.stat().st_size

    collect(store)
    store.close()

    assert database.stat().st_size < before / 10


def test_views_go_with_their_blobs_unless_a_live_build_reads_them(store: LocalStore, tmp_path: Path) -> None:
    state = tmp_path / "state"
    read, unread, kept = store.put([large(1)]), store.put([large(2)]), store.put([large(3)])
    with register_build(str(state)) as lease:
        paths = [Views(store, state / "view").path(digest, b"x", True) for digest in (unread, kept)]
        paths.append(Views(store, state / "view", lease).path(read, b"x"))
        age(store, 1)

        done = collect(store, Keep(digests=frozenset([kept])), state_dirs=[str(state)])

        assert (done.blobs, done.views) == (1, 1)
        assert [os.path.exists(path) for path in paths] == [False, True, True]
    assert collect(store, Keep(digests=frozenset([kept])), state_dirs=[str(state)]).views == 1


def test_a_full_store_can_be_collected(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    (tmp_path / "disk").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1500k", "merkl-test", str(tmp_path / "disk")]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        store = LocalStore(tmp_path / "disk" / "store")
        with pytest.raises(StoreFull):
            for n in range(100):
                store.put([large(n)])
        assert collect(store, Keep(grace_s=-5)).blobs > 5
        store.put([large(1)])
        store.close()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)


# fsck.


def test_a_good_store_is_clean(store: LocalStore) -> None:
    publish(store, "f", b"small", large(1))
    orphan = store.put([b"orphan"])
    progress: list[tuple[int, int]] = []

    findings = check(store, progress=lambda done, total: progress.append((done, total)))

    assert findings.is_clean
    assert (findings.blobs, findings.bytes) == (3, 5 + 6 + len(large(1)))
    assert findings.orphans == [orphan]
    assert progress == [(1, 3), (2, 3), (3, 3)]


def test_fsck_finds_what_is_bad_lost_and_left_over(store: LocalStore) -> None:
    bad, lost, fine = (
        publish(store, name, large(n), b"%d" % n) for n, name in enumerate(("bad", "lost", "fine"))
    )
    store.read(Digest.of(large(0)))
    overwrite(blob_path(store, Digest.of(large(0))), large(9))
    blob_path(store, Digest.of(large(1))).unlink()
    store.database.write(
        lambda c: c.execute("UPDATE blob SET bytes = x'00' WHERE digest = ?", (Digest.of(b"0"),))
    )
    stray = Path(store.directory, "incoming", "0123")
    stray.write_bytes(b"half")
    os.utime(stray)
    misnamed = blob_path(store, Digest.of(large(2))).with_name("misnamed")
    misnamed.write_bytes(b"?")

    findings = check(store)

    assert sorted(findings.bad) == sorted([Digest.of(large(0)), Digest.of(b"0")])
    missing = {each.task: set(each.missing) for each in findings.incomplete}
    assert missing == {"bad": {Digest.of(large(0)), Digest.of(b"0")}, "lost": {Digest.of(large(1))}}
    assert not findings.is_clean
    assert set(store.by_key([bad.key, lost.key, fine.key])) == {bad.key, lost.key, fine.key}

    assert check(store, repair=True).incomplete
    assert set(store.by_key([bad.key, lost.key, fine.key])) == {fine.key}
    assert check(store).is_clean
    assert store.read(Digest.of(large(2))) == large(2)


def test_fsck_removes_leftovers_only_when_asked_and_old(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put([large(1)])
    stray = Path(store.directory, "incoming", "0123")
    stray.write_bytes(b"half")
    assert check(store).stray == []
    later = time.time() + 120
    monkeypatch.setattr(time, "time", lambda: later)

    assert check(store).stray == [str(stray)]
    assert stray.exists()
    check(store, repair=True)
    assert not stray.exists()


def test_fsck_counts_records_that_were_altered(store: LocalStore) -> None:
    made = publish(store, "f", b"x")
    store.database.write(lambda c: c.execute("UPDATE record SET exit_code = 7"))

    assert check(store).bad_records == 1
    assert store.by_key([made.key]) == {}
    assert check(store).is_clean


def test_fsck_replaces_a_database_whose_structure_is_broken(store: LocalStore) -> None:
    for n in range(200):
        publish(store, f"n{n}", b"%d" % n)
    big = store.put([large(1)])
    store.database.read(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    store.close()
    (database,) = Path(store.directory).glob("store-*.db")
    data = bytearray(database.read_bytes())
    at = len(data) // 4096 // 2 * 4096
    data[at : at + 8] = b"\x0d\x00\x00\xff\xff\x00\x00\x00"
    database.write_bytes(data)

    assert check(store).database_damaged
    assert len(store.take_notes()) == 1
    assert check(store).is_clean
    assert store.read(big) == large(1)


# Builds.


def test_a_build_is_alive_until_it_ends(tmp_path: Path) -> None:
    state = str(tmp_path)
    assert live_builds(state) == set()
    one, two = register_build(state), register_build(state)
    assert len(one.id) == 8 and int(one.id, 16) >= 0

    assert live_builds(state) == {one.id, two.id}
    one.close()
    one.close()
    assert live_builds(state) == {two.id}
    two.close()
    assert os.listdir(tmp_path / "builds") == []


def test_a_killed_build_is_not_alive_and_what_it_left_is_swept(tmp_path: Path) -> None:
    code = """
    import os, sys
    from merkl.store.builds import register_build
    lease = register_build(sys.argv[1])
    for folder in ("stage", "run"):
        for n in range(2):
            path = f"{sys.argv[1]}/{folder}/{lease.id}-{n:06d}/deep/er"
            os.makedirs(path)
            open(path + "/file", "w").close()
            os.chmod(path, 0o500)
    print(lease.id, flush=True)
    sys.stdin.read()
    """
    dead, alive = python(code, tmp_path), python(code, tmp_path)
    assert dead.stdout is not None and alive.stdout is not None
    dead_id, alive_id = dead.stdout.readline().strip(), alive.stdout.readline().strip()
    dead.kill()
    dead.communicate()

    assert live_builds(str(tmp_path)) == {alive_id}
    assert sweep_stale(str(tmp_path), older_than_s=60) == 0
    assert sweep_stale(str(tmp_path), keep=lambda: {f"{dead_id}-000001"}) == 2

    assert sorted(os.listdir(tmp_path / "stage")) == sorted(
        [f"{dead_id}-000001", f"{alive_id}-000000", f"{alive_id}-000001"]
    )
    assert sweep_stale(str(tmp_path)) == 2
    alive.communicate("")
    assert sweep_stale(str(tmp_path)) == 4
    assert os.listdir(tmp_path / "run") == []


def test_many_builds_register_at_once(tmp_path: Path) -> None:
    code = """
    import sys
    from merkl.store.builds import live_builds, register_build
    for _ in range(100):
        with register_build(sys.argv[1]) as lease:
            assert lease.id in live_builds(sys.argv[1])
    """
    for process in [python(code, tmp_path) for _ in range(3)]:
        finish(process)
    assert os.listdir(tmp_path / "builds") == []


def test_removing_a_tree_follows_no_link_and_needs_no_right_to_write(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(outside)
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "a" / "fifo")
    (tree / "a" / "b" / "f").write_text("x")
    os.chmod(tree / "a" / "b", 0)
    os.chmod(tree / "a", 0o500)

    assert remove_tree(tree)

    assert not tree.exists()
    assert (outside / "precious").read_text() == "x"
    (tmp_path / "link").symlink_to(outside)
    assert remove_tree(bytes(tmp_path / "link"))
    assert (outside / "precious").exists()
    assert remove_tree(tmp_path / "absent")


def test_removing_a_tree_of_any_depth(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    os.mkdir(tmp_path / "deep")
    for _ in range(3000):
        inner = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
        os.mkdir("deep", dir_fd=here)
    os.close(here)

    removed = remove_tree(tmp_path / "deep")
    if not removed:  # So that the directory of the tests can be removed.
        shutil.rmtree(tmp_path / "deep", ignore_errors=True)

    assert removed


def test_collect_says_nothing_of_content_keys_it_was_not_asked_for(store: LocalStore) -> None:
    kept = publish(store, "f", b"x")

    assert collect(store, Keep(keys=frozenset([content_key_of("other")]))).records == 0
    assert store.by_key([kept.key]) == {kept.key: kept}
