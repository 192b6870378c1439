"""Sidecars that are none, in front of every command that reads them: row 30 of the faults.

How each is worded: ``tests/workspace/test_sidecar.py``; what ``status`` says of each: ``tests/cli/test_status.py``.
"""

from pathlib import Path
from typing import Any

import pytest

from merkl.digest import Digest
from merkl.workspace.sidecar import Sidecar, render_sidecar

WHOLE = render_sidecar(Sidecar("file", Digest.of(b"old\n"), 4, 10**18))
OTHER = render_sidecar(Sidecar("file", Digest.of(b"other\n"), 6, 10**18))
SPOILT = {
    "empty": b"",
    "half": WHOLE[: len(WHOLE) // 2],
    "garbage": bytes(range(256)) * 4,
    "duplicate": WHOLE + WHOLE[WHOLE.index(b"size") :],
    "huge": WHOLE + b"#" * 100_000_000,
    "newer": WHOLE.replace(b"merkl: 1", b"merkl: 2"),
    "windows": WHOLE.replace(b"\n", b"\r\n"),
    "conflict": b"<<<<<<< ours\n" + WHOLE + b"=======\n" + OTHER + b">>>>>>> theirs\n",
    "a directory": None,
}
READERS = (
    ("status",), ("pull",), ("pull", "--force"), ("push",), ("track",), ("gc",), ("cache",), ("fsck",), ("build", "--pull"),
)  # fmt: skip


@pytest.mark.parametrize("kind", SPOILT)
def test_row_30_no_command_obeys_or_overwrites_a_sidecar_that_is_none(
    inside: Any, tmp_path: Path, kind: str
) -> None:
    inside.write("merkl.yaml", f"remote: {{url: {tmp_path / 'share'}}}\n")
    (tmp_path / "share").mkdir()
    inside.merklfile(
        """
        loud = bash_task("tr a-z A-Z < {file_arg('text')} > {out_file_arg('out')}")

        @target(default=True)
        def all():
            loud(file("well")) > "loud"
        """
    )
    inside.write("well", "well\n")
    inside.write("data", "old\n")
    inside.merkl("track", "well", "data")
    inside.write("data", "mine\n")
    sidecar = inside.path / "data.merkl"
    sidecar.unlink()
    spoilt = SPOILT[kind]
    if spoilt is None:
        sidecar.mkdir()
    else:
        sidecar.write_bytes(spoilt)

    for words in READERS:
        if kind == "windows" and words[0] in ("pull", "track"):
            continue  # It is a sidecar: these do what they always do.
        done = inside.merkl(*words, code=None)

        said = done.stdout + done.stderr
        assert "Traceback" not in said and "bug" not in said, said
        assert done.returncode in (0, 2, 6), said
        told = ("status", "pull", "track") if kind == "conflict" else ("status", "pull", "track", "gc")
        if kind not in ("windows", "a directory") and words[0] in told:  # gc keeps both sides of a conflict.
            assert "data.merkl:" in said, f"{words} names the sidecar and the line: {said}"
        if words[0] == "pull" and done.returncode == 0:
            assert kind == "a directory", "nobody is told that nothing was pulled"
        assert inside.read("data") == "mine\n", words
        assert sidecar.is_dir() if spoilt is None else sidecar.read_bytes() == spoilt, words
    assert inside.build() == ["loud"], "what needs no such sidecar is built"
