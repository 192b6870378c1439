"""Large data goes into the store and to its place at once: what arrives there is whole, or nothing is."""

from typing import Any

import pytest

from merkl.engine import arriving, pull

DATA = bytes(range(256)) * 8_000


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "LARGE", 150_000)
    monkeypatch.setattr(arriving, "_SPARE", 0)


@pytest.fixture
def pushed(clones: Any) -> Any:
    """A file, and a directory in which the same bytes are twice, and others."""
    clones.write(clones.here, "file", DATA)
    for name, data in (("a", DATA), ("b", DATA), ("c", DATA[1:]), ("d", b"small")):
        clones.write(clones.here, f"folder/{name}", data)
    for path in ("file", "folder"):
        clones.track(clones.here, path)
    clones.merkl(clones.here, "push")
    clones.hand_over()
    return clones


def everything(at: Any) -> dict[str, bytes]:
    return {name: (at / name).read_bytes() for name in ("file", *(f"folder/{each}" for each in "abcd"))}


def half_made(at: Any) -> list[Any]:
    left = [*at.glob("**/*merkl-tmp*"), *at.glob(".merkl/drafts/*"), *at.glob(".merkl/**/incoming/*")]
    return [path for path in left if path.is_file()]


def test_it_is_in_its_place_and_in_the_store(pushed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[int] = []
    real = arriving.Arriving.copy_to
    monkeypatch.setattr(
        arriving.Arriving, "copy_to", lambda self, to: came.append(real(self, to)) or came[-1]
    )

    pushed.merkl(pushed.there, "pull")

    assert sorted(came) == [len(DATA) - 1, len(DATA)], "what two paths have comes once"
    assert everything(pushed.there) == everything(pushed.here)
    assert "nothing is wrong" in pushed.merkl(pushed.there, "fsck").stdout
    pushed.share.rename(pushed.share.with_name("away"))
    for name in everything(pushed.there):
        (pushed.there / name).unlink()
    (pushed.there / "folder").rmdir()
    pushed.merkl(pushed.there, "restore", "file", "folder")
    assert everything(pushed.there) == everything(pushed.here)


def test_one_file_of_a_directory_comes_into_the_directory_that_is_there(pushed: Any) -> None:
    pushed.merkl(pushed.there, "pull")
    pushed.write(pushed.here, "folder/c", DATA[2:])
    pushed.track(pushed.here, "folder")
    pushed.merkl(pushed.here, "push")
    pushed.hand_over()
    kept = (pushed.there / "folder/a").stat().st_ino

    pushed.merkl(pushed.there, "pull")

    assert everything(pushed.there) == everything(pushed.here)
    assert (pushed.there / "folder/a").stat().st_ino == kept


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer"])
def test_damaged_data_is_put_nowhere(pushed: Any, damage: str) -> None:
    for blob in pushed.share.glob("blobs/*/*"):
        data = blob.read_bytes()
        damaged = {
            "flipped": data[:-1] + bytes([data[-1] ^ 1]),
            "cut": data[: len(data) // 2],
            "longer": data + b"x",
        }
        blob.chmod(0o644)
        blob.write_bytes(damaged[damage])

    done = pushed.merkl(pushed.there, "pull", code=None)

    assert done.returncode in (3, 6) and "Traceback" not in done.stderr
    assert not (pushed.there / "file").exists() and not (pushed.there / "folder").exists()
    assert half_made(pushed.there) == []
    assert "nothing is wrong" in pushed.merkl(pushed.there, "fsck").stdout


@pytest.mark.parametrize("room", [0, -(1 << 40)], ids=["it is known before", "it shows on the way"])
def test_a_work_tree_without_room_leaves_it_in_the_store(
    pushed: Any, room: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(arriving, "_SPARE", room)
    monkeypatch.setattr(arriving, "write_all", refusing)
    monkeypatch.setattr(pushed, "x", None, raising=False)
