"""What a digest is of, and which files have none."""

import os
import socket
import threading

import pytest
import xxhash
from blake3 import blake3

from merkl.digest import Digest
from merkl.errors import InputMissing
from merkl.stamp import Stamp
from merkl.workspace.hashing import fast_hash, hash_file


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (9 << 20) + 7])
def test_a_digest_is_of_all_the_bytes(tmp_path, size):
    data = bytes(i * 7 & 255 for i in range(997)) * (size // 997 + 1)
    path = tmp_path / "data"
    path.write_bytes(data[:size])

    hashed = hash_file(os.fsencode(path), 5)

    assert hashed.digest == Digest(blake3(data[:size]).digest())
    assert hashed.fast == xxhash.xxh3_128_digest(data[:size], seed=5)
    assert hashed.stamp == Stamp.of(path.stat())
    assert fast_hash(os.fsencode(path), 5) == (hashed.fast, hashed.stamp)


@pytest.mark.parametrize(
    "kind", ["fifo", "socket", "directory", "device", "kernel", "endless", "missing", "dangling", "loop"]
)
def test_what_is_no_ordinary_file_is_named_and_does_not_hang(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)  # A socket's path must be short.
    path, words = (
        "thing",
        {"device": "character device", "kernel": "kernel", "endless": "kernel"}.get(kind, kind),
    )
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)
        case "directory":
            os.mkdir(path)
        case "device":
            path = "/dev/zero"
        case "kernel":
            path = "/proc/cpuinfo"
        case "endless":
            path = "/proc/kcore" if os.path.exists("/proc/kcore") else "/proc/self/status"
        case "missing":
            words = "does not exist"
        case "dangling":
            os.symlink("nowhere", path)
            words = "symbolic link to nowhere, which does not exist"
        case "loop":
            os.symlink(path, path)
            words = "back to itself"
    if path.startswith("/proc") and not os.path.exists(path):
        pytest.skip("needs /proc")

    with pytest.raises(InputMissing, match=words) as error:
        hash_file(path, 0)

    assert path in error.value.headline


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("src/mian.c", "did you mean src/main.c?"),
        ("SRC/main.c", "did you mean src?"),
        ("src/MAIN.C", "did you mean src/main.c?"),
        ("sorce/main.c", "did you mean src?"),
        ("src/qqqq", ""),
    ],
)
def test_a_misspelt_input_gets_the_name_that_was_perhaps_meant(tmp_path, asked, hint):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.c").touch()

    with pytest.raises(InputMissing) as error:
        hash_file(str(tmp_path / asked), 0, asked)

    assert asked in error.value.headline
    assert error.value.hint == hint


def test_a_file_cut_short_while_it_is_read_kills_nobody(tmp_path):
    path = tmp_path / "shrinking"
    stop = threading.Event()

    def cut():
        while not stop.is_set():
            os.truncate(path, 0)
            os.truncate(path, 32 << 20)

    path.touch()
    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        for _ in range(10):
            try:
                hash_file(str(path), 0)
            except InputMissing:
                continue
    finally:
        stop.set()
        cutter.join()
    assert hash_file(str(path), 0).stamp.size in (0, 32 << 20)
