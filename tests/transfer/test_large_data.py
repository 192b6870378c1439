"""Large data goes into the store and to its place at once: what arrives there is whole, or nothing is."""

import shutil
from pathlib import Path
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


def everything(at: Path) -> dict[str, bytes]:
    return {name: (at / name).read_bytes() for name in ("file", *(f"folder/{each}" for each in "abcd"))}


def half_made(at: Path) -> list[Path]:
    return [path for path in at.rglob("*") if ".merkl-tmp-" in path.name or path.parent.name == "incoming"]


def test_it_is_in_its_place_and_in_the_store(pushed: Any) -> None:
    pushed.merkl(pushed.there, "pull")

    assert everything(pushed.there) == everything(pushed.here)
    assert "nothing is wrong" in pushed.merkl(pushed.there, "fsck").stdout
    assert half_made(pushed.there) == []
    pushed.share.rename(pushed.share.with_name("away"))
    (pushed.there / "file").unlink()
    shutil.rmtree(pushed.there / "folder")
    pushed.merkl(pushed.there, "pull")
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


def test_what_a_killed_pull_had_of_it_goes_with_the_next(pushed: Any) -> None:
    pushed.merkl(pushed.there, "pull")
    shutil.rmtree(pushed.there / "folder")
    left = pushed.there / ".merkl/store/incoming/half"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(DATA[:1000])

    pushed.merkl(pushed.there, "pull")

    assert half_made(pushed.there) == []


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
