"""Pull and push when something goes wrong: FAULTS 13, 16, 21, 25 to 29, 49 and 56, and memory."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from merkl.engine import arriving, pull

REQUIRE_ALL = bool(os.environ.get("MERKL_REQUIRE_ALL"))
FULL = bool(os.environ.get("MERKL_FULL"))
SEED = int(os.environ["MERKL_FAULT_SEED"])


def start(at: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "merkl", *arguments], cwd=at, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def many(clones: Any, chance: random.Random) -> None:
    """Large and small files and a directory, with sidecars."""
    for number in range(3):
        clones.write(clones.here, f"large/{number}", chance.randbytes(3_000_000))
        clones.track(clones.here, f"large/{number}")
    for number in range(400):
        clones.write(clones.here, f"folder/{number % 7}/{number}", chance.randbytes(2_000))
    clones.track(clones.here, "folder")


def edit(clones: Any, chance: random.Random) -> None:
    clones.write(clones.here, f"large/{chance.randrange(3)}", chance.randbytes(3_000_000))
    for _ in range(20):
        number = chance.randrange(400)
        clones.write(clones.here, f"folder/{number % 7}/{number}", chance.randbytes(2_000))
    clones.write(clones.here, f"folder/new{chance.randrange(99)}/file", b"new")
    for path in ("large/0", "large/1", "large/2", "folder"):
        clones.track(clones.here, path)


def kill_after(at: Path, chance: random.Random, command: str, longest: float) -> None:
    process = start(at, command)
    time.sleep(0.12 + chance.random() * longest)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def drafts(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if ".merkl-tmp-" in path.name and ".merkl/" not in str(path)]


@pytest.mark.parametrize("part", range(8 if FULL else 1))
def test_row_13_pull_and_push_are_killed_at_any_moment_and_the_next_finishes(
    clones: Any, snapshot: Any, part: int
) -> None:
    chance = random.Random(f"{SEED} row 13 {part}")
    many(clones, chance)
    clones.merkl(clones.here, "push")
    clones.hand_over()
    clones.merkl(clones.there, "pull")
    for _ in range(3):
        edit(clones, chance)
        before = {name: snapshot(clones.there / name) for name in ("large",)}
        for _ in range(chance.choice((1, 2))):
            kill_after(clones.here, chance, "push", 0.5)
        clones.merkl(clones.here, "push")
        clones.hand_over()
        for _ in range(chance.choice((1, 2))):
            kill_after(clones.there, chance, "pull", 0.6)
            now = snapshot(clones.there / "large")
            for name, (_, data) in now.items():
                if ".merkl" not in name:  # The old one or the new one, whole.
                    assert data in (before["large"][name][1], (clones.here / "large" / name).read_bytes())
        done = clones.merkl(clones.there, "pull")
        assert "left" not in done.stdout
        for name in ("large", "folder"):
            assert snapshot(clones.there / name) == snapshot(clones.here / name)
        assert drafts(clones.there) == []


def test_row_13_what_arrived_before_a_kill_is_not_sent_again(clones: Any) -> None:
    for number in range(12):
        clones.write(clones.here, f"large/{number:02d}", os.urandom(4_000_000))
        clones.track(clones.here, f"large/{number:02d}")
    process = start(clones.here, "push")
    while not (arrived := {n: i for n, i in clones.sent().items() if n.startswith("blobs/")}):
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.communicate()

    clones.merkl(clones.here, "push")

    sent = clones.sent()
    assert {name: sent[name] for name in arrived} == arrived
    assert len([name for name in sent if name.startswith("blobs/")]) == 12


def test_ctrl_c_ends_a_push_soon_and_the_next_goes_on(clones: Any) -> None:
    for number in range(10):
        clones.write(clones.here, f"large/{number:02d}", os.urandom(6_000_000))
        clones.track(clones.here, f"large/{number:02d}")
    process = start(clones.here, "push")
    while not any(name.startswith("incoming/") for name in clones.sent()):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (0, 130) and "Traceback" not in err

    assert (
        "10 " in clones.merkl(clones.here, "push", "-v").stdout.splitlines()[-1] or process.returncode == 130
    )


# ---- disks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mounted() -> Iterator[Callable[[Path, str], Path]]:
    """Mount a file system in memory over a directory."""
    there: list[Path] = []

    def mount(where: Path, options: str) -> Path:
        where.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"mode=755,{options}", "merkl-test", str(where)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            (pytest.fail if REQUIRE_ALL else pytest.skip)(f"may not mount: {done.stderr.strip()}")
        there.append(where)
        return where

    yield mount
    for where in reversed(there):
        subprocess.run(["umount", "-l", str(where)], check=True)


def test_row_16_and_21_a_full_work_tree_on_another_file_system_keeps_what_it_had(
    clones: Any, snapshot: Any, mounted: Callable[[Path, str], Path]
) -> None:
    data = mounted(clones.there / "data", "size=3m")
    for name, size in (("small", 1_000), ("large", 2_000_000), ("folder/x", 1_000)):
        clones.write(clones.here, f"data/{name}", b"1" * size)
    paths = ("data/small", "data/large", "data/folder")
    for path in paths:
        clones.track(clones.here, path)
    clones.merkl(clones.here, "push")
    clones.hand_over()
    clones.merkl(clones.there, "pull")
    clones.write(clones.here, "data/small", b"2" * 1_000)
    clones.write(clones.here, "data/large", b"2" * 2_000_000)
    clones.write(clones.here, "data/folder/y", b"2" * 2_000_000)
    for path in paths:
        clones.track(clones.here, path)
    clones.merkl(clones.here, "push")
    clones.hand_over()
    before = snapshot(data)

    full = clones.merkl(clones.there, "pull", code=3)  # No task failed.

    assert "cannot write data/large: no space left on device" in full.stderr
    assert "cannot write data/folder" in full.stderr
    after = snapshot(data)
    assert after["small"][1] == b"2" * 1_000
    assert {n: after[n] for n in ("large", "folder/x")} == {n: before[n] for n in ("large", "folder/x")}
    assert drafts(clones.there) == []


@pytest.mark.parametrize("spare", [0, -(1 << 40)], ids=["seen before", "met on the way"])
def test_row_16_large_data_that_finds_no_room_in_the_work_tree_stays_in_the_store(
    clones: Any, mounted: Callable[[Path, str], Path], monkeypatch: pytest.MonkeyPatch, spare: int
) -> None:
    monkeypatch.setattr(pull, "LARGE", 1_000_000)
    monkeypatch.setattr(arriving, "_SPARE", spare)
    data = mounted(clones.there / "data", "size=3m")
    clones.write(clones.here, "data/large", random.Random(1).randbytes(6_000_000))
    clones.track(clones.here, "data/large")
    clones.merkl(clones.here, "push")
    clones.hand_over()

    full = clones.merkl(clones.there, "pull", code=3)

    assert "cannot write data/large: no space left on device" in full.stderr
    assert [path.name for path in data.iterdir()] == ["large.merkl"]
    subprocess.run(["mount", "-o", "remount,size=20m", str(data)], check=True)
    clones.share.rename(clones.share.with_name("away"))
    clones.merkl(clones.there, "pull")
    assert (data / "large").read_bytes() == (clones.here / "data/large").read_bytes()


def test_row_16_a_result_that_finds_no_room_in_the_work_tree_is_no_failed_task(
    clones: Any, mounted: Callable[[Path, str], Path]
) -> None:
    clones.merklfile(
        """
        large = bash_task("head -c 2000000 /dev/zero | tr '\\\\0' x > {out_file_arg('out')}")

        @target
        def made():
            large() > "build/large"
        """
    )
    clones.build(clones.here, "made")
    clones.merkl(clones.here, "push", "made")
    build = mounted(clones.there / "build", "size=1m")

    for command in (("pull", "made"), ("build", "--pull", "made")):
        full = clones.merkl(clones.there, *command, code=3)
        assert "cannot write build/large: no space left on device" in full.stderr
    assert list(build.iterdir()) == []


def test_row_21_the_store_lies_on_another_file_system(
    clones: Any, snapshot: Any, mounted: Callable[[Path, str], Path]
) -> None:
    mounted(clones.there / ".merkl", "size=64m")
    many(clones, random.Random(21))
    clones.merkl(clones.here, "push")
    clones.hand_over()

    clones.merkl(clones.there, "pull")

    assert snapshot(clones.there / "folder") == snapshot(clones.here / "folder")


# ---- damage ----------------------------------------------------------------------------------------------------------


def flipped(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    return bytes(data)


DAMAGES: dict[str, Callable[[Path], bytes]] = {
    "flipped": flipped,
    "empty": lambda path: b"",
    "half": lambda path: path.read_bytes()[: path.stat().st_size // 2],
    "longer": lambda path: path.read_bytes() + b"x",
}


def two_of_each(clones: Any) -> None:
    for name in ("one", "two"):
        clones.write(clones.here, f"large-{name}", name.encode() * 200_000)
        clones.write(clones.here, f"small-{name}", name)
    for path in ("large-one", "large-two", "small-one", "small-two"):
        clones.track(clones.here, path)
    clones.merkl(clones.here, "push")
    clones.hand_over()


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def damage_the_share(clones: Any, damage: str) -> set[str]:
    """Damage every blob and pack of the share in place; their names."""
    names = {name for name in clones.sent() if name.split("/")[0] in ("blobs", "packs")}
    assert {name.split("/")[0] for name in names} == {"blobs", "packs"}
    for name in names:
        overwrite(clones.share / name, DAMAGES[damage](clones.share / name))
    return names


DATA = ("large-one", "large-two", "small-one", "small-two")


@pytest.mark.parametrize("finder", ["pull", "fsck"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_rows_25_and_26_a_damaged_remote_gives_no_wrong_byte_and_is_healed_by_a_push(
    clones: Any, damage: str, finder: str
) -> None:
    two_of_each(clones)
    names = damage_the_share(clones, damage)

    if finder == "fsck":
        found = clones.merkl(clones.there, "fsck", "--remote", code=3).stdout
        assert all(f"damaged in the remote, set aside: {name}\n" in found for name in names)
    else:
        left = clones.merkl(clones.there, "pull", code=None)
        assert "Traceback" not in left.stderr and left.returncode in (3, 6)
        for path in DATA:
            if (clones.there / path).exists():
                assert (clones.there / path).read_bytes() == (clones.here / path).read_bytes()

    clones.merkl(clones.here, "push")
    clones.merkl(clones.there, "pull")
    for path in DATA:
        assert (clones.there / path).read_bytes() == (clones.here / path).read_bytes()
    clones.merkl(clones.here, "fsck", "--remote", code=3 if (finder, damage) == ("pull", "longer") else 0)


def test_what_is_sound_of_a_damaged_pack_stays_in_the_remote(clones: Any) -> None:
    two_of_each(clones)
    (pack,) = (clones.share / "packs").iterdir()
    data = pack.read_bytes()
    overwrite(pack, data.replace(b"one", b"onf"))

    clones.merkl(clones.there, "fsck", "--remote", code=3)

    assert (clones.share / "aside/packs" / pack.name).read_bytes() != data
    (kept,) = (clones.share / "packs").iterdir()
    assert kept.read_bytes() == b"two"
    assert "pushed 1 file, 3 bytes; 3 there already" in clones.merkl(clones.here, "push").stdout
    clones.merkl(clones.here, "fsck", "--remote")


def test_who_may_not_write_the_remote_does_not_believe_what_is_damaged_there_until_it_is_sent_again(
    clones: Any,
) -> None:
    two_of_each(clones)
    damage_the_share(clones, "empty")
    (clones.share / "aside").write_text("in the way: nothing can be set aside")

    found = clones.merkl(clones.here, "fsck", "--remote", code=3).stdout
    assert "set aside" not in found and "damaged in the remote: " in found
    assert "4 not in the remote" in clones.merkl(clones.here, "status", "--remote").stdout
    clones.merkl(clones.there, "pull", code=None)
    clones.merkl(clones.here, "push")

    assert "not in the remote" not in clones.merkl(clones.here, "status", "--remote").stdout
    clones.merkl(clones.there, "pull")
    for path in DATA:
        assert (clones.there / path).read_bytes() == (clones.here / path).read_bytes()


def test_status_and_push_see_that_the_remote_was_emptied(clones: Any) -> None:
    two_of_each(clones)
    for name in ("blobs", "packs", "index"):
        shutil.rmtree(clones.share / name)

    assert "4 not in the remote" in clones.merkl(clones.here, "status", "--remote").stdout
    clones.merkl(clones.here, "push")
    clones.merkl(clones.there, "pull")
    assert (clones.there / "small-one").read_bytes() == b"one"


@pytest.mark.parametrize("damage", [*DAMAGES, "swapped", "no blobs", "no database", "no wal"])
def test_rows_25_to_29_a_damaged_store_is_repaired_from_the_remote(clones: Any, damage: str) -> None:
    two_of_each(clones)
    clones.merkl(clones.there, "pull")
    for path in clones.there.glob("*-*"):
        if path.suffix != ".merkl":
            path.unlink()
    store = clones.there / ".merkl/store"
    blobs = [path for path in (store / "blobs").rglob("*") if path.is_file()]
    assert len(blobs) == 2
    if damage == "swapped":
        one, two = (path.read_bytes() for path in blobs)
        overwrite(blobs[0], two)
        overwrite(blobs[1], one)
    elif damage == "no blobs":
        shutil.rmtree(store / "blobs")
    elif damage.startswith("no "):
        for path in store.glob("*.db*"):
            if damage == "no database" or path.name.endswith("-wal"):
                path.unlink()
    else:
        for blob in blobs:
            overwrite(blob, DAMAGES[damage](blob))

    clones.merkl(clones.there, "pull")

    for path in ("large-one", "large-two", "small-one", "small-two"):
        assert (clones.there / path).read_bytes() == (clones.here / path).read_bytes()


def test_row_28_flipped_bytes_of_the_databases_give_no_wrong_byte(clones: Any) -> None:
    two_of_each(clones)
    clones.merkl(clones.there, "pull")
    chance = random.Random(f"{SEED} row 28")
    databases = [p for p in (clones.there / ".merkl").rglob("*.db") if p.stat().st_size]
    for _ in range(40 if FULL else 8):
        database = chance.choice(databases)
        before = database.read_bytes()
        data = bytearray(before)
        for _ in range(20):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        for name in ("-wal", "-shm"):
            database.with_name(database.name + name).unlink(missing_ok=True)
        database.write_bytes(bytes(data))
        (clones.there / "small-one").unlink(missing_ok=True)
        done = clones.merkl(clones.there, "pull", code=None)
        assert "Traceback" not in done.stderr, done.stderr
        for path in ("large-one", "large-two", "small-one", "small-two"):
            if (clones.there / path).exists():
                assert (clones.there / path).read_bytes() == (clones.here / path).read_bytes()
        for each in database.parent.glob("*.db*"):
            each.unlink()
        database.write_bytes(before)


def test_damaged_data_that_nobody_has_whole_is_named_with_the_file_that_was_set_aside(clones: Any) -> None:
    two_of_each(clones)
    clones.merkl(clones.there, "pull")
    shutil.rmtree(clones.share / "blobs")
    for blob in (clones.there / ".merkl/store/blobs").rglob("*/*"):
        overwrite(blob, flipped(blob))
    for name in ("large-one", "large-two"):
        (clones.there / name).unlink()
    shutil.rmtree(clones.there / ".merkl/remote")

    first = clones.merkl(clones.there, "pull", code=None)
    again = clones.merkl(clones.there, "pull", code=6)

    aside = list((clones.there / ".merkl/store/quarantine").iterdir())
    assert first.returncode in (3, 6) and len(aside) == 2
    for said in (first.stderr, again.stderr):
        assert "made again" not in said
        for name in ("large-one", "large-two"):
            assert f"cannot pull {name}: neither the store nor the remote has it undamaged" in said
            assert f"restore {name} from a backup" in said
        assert all(str(file) in said for file in aside)


# ---- several at once, names, memory ----------------------------------------------------------------------------------


def test_row_49_build_pull_push_and_status_at_once(clones: Any, snapshot: Any) -> None:
    clones.merklfile(
        """
        say = bash_task("echo {arg('n')} > {out_file_arg('out')}")

        @target(default=True, sidecar=True)
        def said():
            for n in range(12):
                say(n) > f"build/{n}.txt"
        """
    )
    many(clones, random.Random(49))
    clones.build(clones.here)
    clones.merkl(clones.here, "push")
    clones.hand_over()
    for _ in range(2):
        commands = ("build", "pull", "push", "status", "pull", "push")
        processes = [start(clones.there, command) for command in commands]
        for command, process in zip(commands, processes, strict=True):
            _, err = process.communicate(timeout=120)
            assert "Traceback" not in err, f"{command}: {err}"
            assert process.returncode in (0, 6), f"{command}: {err}"
    clones.merkl(clones.there, "pull")

    assert clones.build(clones.there) == []
    for name in ("large", "folder", "build"):
        assert snapshot(clones.there / name).keys() == snapshot(clones.here / name).keys()
    assert drafts(clones.there) == []


def test_row_56_names_that_are_no_text_go_both_ways(clones: Any, snapshot: Any) -> None:
    odd = os.fsdecode(b"caf\xe9 \xff\n$x'")
    clones.write(clones.here, odd, "a file")
    clones.write(clones.here, f"folder/{odd}/{odd}", "in a directory")
    clones.track(clones.here, odd)
    clones.track(clones.here, "folder")
    pushed = clones.merkl(clones.here, "push").stdout
    assert "caf\\xe9 \\xff\\n$x'" in pushed
    clones.hand_over()

    clones.merkl(clones.there, "pull", odd, "folder")

    assert (clones.there / odd).read_text() == "a file"
    assert snapshot(clones.there / "folder") == snapshot(clones.here / "folder")
    clones.write(clones.there, odd, "mine")
    forced = clones.merkl(clones.there, "pull", "--force", odd).stdout
    assert "`merkl restore $'caf\\xe9 \\xff\\x0a$x\\x27'` brings it back" in forced


def most_memory(at: Path, *arguments: str) -> int:
    """Run merkl to its end; the most memory it had, in bytes."""
    code = (
        "import runpy, sys\n"
        "sys.argv = ['merkl', *sys.argv[1:]]\n"
        "try:\n"
        "    runpy.run_module('merkl', run_name='__main__')\n"
        "finally:\n"
        # Not ru_maxrss: a child's begins with what its parent had.
        "    peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "    print('most', peak, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=at, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.rsplit("most ", 1)[1]) * 1024


def test_memory_is_bounded_whatever_the_size_of_a_file(clones: Any) -> None:
    size = 1 << 30 if FULL else 200_000_000
    piece = random.Random(1).randbytes(1 << 20)
    with open(clones.here / "huge", "wb") as file:
        for _ in range(size >> 20):
            file.write(piece)
    clones.track(clones.here, "huge")

    assert most_memory(clones.here, "push") < 150_000_000
    clones.hand_over()
    assert most_memory(clones.there, "pull") < 150_000_000

    assert (clones.there / "huge").stat().st_size == (clones.here / "huge").stat().st_size
