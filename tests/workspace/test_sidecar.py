"""Sidecars are read exactly, written only when the data changes, and never hurt."""

import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from merkl.digest import Digest, Key
from merkl.errors import PlacementError, SidecarError
from merkl.workspace.sidecar import (
    LARGEST,
    Sidecar,
    parse_sidecar,
    read_sidecar,
    render_sidecar,
    sidecar_of,
    write_sidecar,
)

TRACKED = Sidecar("file", Digest.of(b"x"), 1, 1_700_000_000_123_456_789)
MADE = Sidecar(
    "value", Digest.of(b"y"), 2, -5, True, Key(bytes(range(32))), 'sm"all', "résumé: {x}\n\udcff", "json1"
)

EARLIEST, LATEST = -62_135_596_800 * 10**9, 253_402_300_799 * 10**9
NAMES = st.binary(min_size=32, max_size=32)
TEXTS = st.text(st.characters(exclude_categories=())).map(lambda text: text[:50])
SIDECARS = st.builds(
    Sidecar,
    kind=st.sampled_from(["file", "dir", "value"]),
    digest=NAMES.map(Digest),
    size=st.integers(0, 2**62),
    modified_ns=st.integers(EARLIEST, LATEST),
    executable=st.booleans(),
)
MADE_BY_NODES = st.builds(
    lambda plain, key, output, task, serializer: Sidecar(
        plain.kind,
        plain.digest,
        plain.size,
        plain.modified_ns,
        plain.executable,
        key,
        output,
        task,
        serializer,
    ),
    SIDECARS,
    NAMES.map(Key),
    TEXTS,
    TEXTS,
    TEXTS,
)


def test_the_format_is_pinned():
    assert render_sidecar(TRACKED).decode() == (
        f'merkl: 1\nkind: file\ndigest: "{Digest.of(b"x").hex()}"\nsize: 1\n'
        "modified: 2023-11-14T22:13:20.123456789Z\nexecutable: false\n"
    )
    assert render_sidecar(MADE).decode() == (
        f'merkl: 1\nkind: value\ndigest: "{Digest.of(b"y").hex()}"\nsize: 2\n'
        "modified: 1969-12-31T23:59:59.999999995Z\nexecutable: true\n"
        f'key: "{bytes(range(32)).hex()}"\noutput: "sm\\"all"\ntask: "r\\u00e9sum\\u00e9: {{x}}\\n\\udcff"\nserializer: "json1"\n'
    )


@given(SIDECARS | MADE_BY_NODES)
def test_what_is_written_is_read_again_and_is_yaml(sidecar):
    data = render_sidecar(sidecar)

    assert parse_sidecar(data, "x.merkl") == sidecar
    assert parse_sidecar(data.replace(b"\n", b"\r\n"), "x.merkl") == sidecar
    found = yaml.safe_load(data)
    assert (found["kind"], found["digest"], found["size"]) == (
        sidecar.kind,
        sidecar.digest.hex(),
        sidecar.size,
    )
    assert found["executable"] is sidecar.executable
    assert list(found)[:6] == ["merkl", "kind", "digest", "size", "modified", "executable"]


@given(SIDECARS | MADE_BY_NODES, st.data())
def test_a_spoilt_sidecar_is_an_error_or_another_whole_sidecar(sidecar, data):
    good = render_sidecar(sidecar)
    at = data.draw(st.integers(0, len(good) - 1))
    for bad in (
        good[:at],
        good[:at] + data.draw(st.binary(min_size=1, max_size=4)) + good[at + 1 :],
        good + good[at:],
    ):
        try:
            assert isinstance(parse_sidecar(bad, "x.merkl"), Sidecar)
        except SidecarError as error:
            assert "x.merkl:" in error.headline


@given(st.binary(max_size=400))
def test_noise_is_never_a_sidecar(noise):
    with pytest.raises(SidecarError, match=r"^x\.merkl:\d+: "):
        parse_sidecar(noise, "x.merkl")


GOOD = render_sidecar(MADE)
LINES = GOOD.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"", 1, "empty"),
        (b"\n\n", 1, "empty"),
        (GOOD[:-4], 10, "in the middle of a line"),
        (b"".join(LINES[:4]), 5, "without saying 'modified'"),
        (b"".join(LINES[:8]), 9, "without saying 'task'"),
        (b"\x80\x81garbage\n", 1, "bytes that no sidecar has"),
        (b"garbage\n", 1, "does not begin with 'merkl: 1'"),
        (b"kind: file\n", 1, "does not begin with 'merkl: 1'"),
        (GOOD + b"kind: file\n", 11, "'kind' twice"),
        (GOOD + b"colour: red\n", 11, "not part of a sidecar"),
        (GOOD + b"!!python/object:os.system\n", 11, "not part of a sidecar"),
        (GOOD.replace(b"merkl: 1", b"merkl: 2"), 1, "format 2"),
        (GOOD.replace(b"merkl: 1", b"merkl: one"), 1, "number"),
        (GOOD.replace(b"size: 2", b"size: -2"), 4, "number"),
        (GOOD.replace(b"size: 2", b"size: 1e9"), 4, "number"),
        (GOOD.replace(b"size: 2", "size: ٢".encode()), 4, "bytes that no sidecar has"),
        (GOOD.replace(b"kind: value", b"kind: fifo"), 2, "file or dir or value"),
        (GOOD.replace(b"executable: true", b"executable: yes"), 6, "true or false"),
        (GOOD.replace(b"1969-12-31", b"1969-13-31"), 5, "modified"),
        (GOOD.replace(b"999999995Z", b"9999Z"), 5, "a time such as"),
        (GOOD.replace(Digest.of(b"y").hex().encode(), b"abc"), 3, "64"),
        (GOOD.replace(b'"json1"', b"json1"), 10, "double quotes"),
        (GOOD.replace(b'"json1"', b'["json1"]'), 10, "double quotes"),
        (b"<<<<<<< HEAD\n" + GOOD, 1, "conflict"),
        (b"".join(LINES[:2]) + b"<<<<<<< HEAD\r\n" + b"".join(LINES[2:]), 3, "conflict"),
        (b"".join(LINES[:2]) + b"=======\n" + b"".join(LINES[2:]), 3, "conflict"),
        (b"#" * (LARGEST + 1), 1, "bytes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(data, line, words):
    with pytest.raises(SidecarError) as error:
        parse_sidecar(data, "data/x.csv.merkl")

    assert error.value.headline.startswith(f"data/x.csv.merkl:{line}: ")
    assert words in error.value.headline
    assert error.value.hint


def test_a_huge_sidecar_is_refused_without_being_read(tmp_path):
    with open(tmp_path / "x.merkl", "wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(SidecarError, match=r"x\.merkl:1: .* 1099511627776 bytes"):
        read_sidecar(str(tmp_path), "x")


@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_a_sidecar_that_is_no_file_is_named(tmp_path, kind):
    (os.mkfifo if kind == "fifo" else os.mkdir)(tmp_path / "x.merkl")

    with pytest.raises(SidecarError, match=r"x\.merkl is no file"):
        read_sidecar(str(tmp_path), "x")


def test_no_sidecar_is_no_error(tmp_path):
    (tmp_path / "file").touch()

    assert read_sidecar(str(tmp_path), "x") is None
    assert read_sidecar(str(tmp_path), "file/x") is None


@pytest.mark.parametrize(
    ("new", "written"),
    [
        (Sidecar("file", TRACKED.digest, 1, 99, False, Key(bytes(32)), "o", "renamed_task", ""), False),
        (Sidecar("file", Digest.of(b"z"), 1, 99), True),
        (Sidecar("dir", TRACKED.digest, 1, 99), True),
        (Sidecar("file", TRACKED.digest, 1, 99, True), True),
        (Sidecar("file", TRACKED.digest, 1, 99, False, Key(bytes(32)), "o", "t", "npy1"), True),
    ],
)
def test_a_sidecar_is_rewritten_only_if_the_data_is_other_data(tmp_path, new, written):
    root = str(tmp_path)
    assert write_sidecar(root, "d/x", TRACKED, durable=True) == TRACKED
    before = (tmp_path / "d/x.merkl").stat()

    kept = write_sidecar(root, "d/x", new)

    assert kept == (new if written else TRACKED)
    assert read_sidecar(root, "d/x") == kept
    assert ((tmp_path / "d/x.merkl").stat().st_ino != before.st_ino) == written
    assert os.listdir(tmp_path / "d") == ["x.merkl"]


def test_a_sidecar_that_cannot_be_understood_is_not_overwritten(tmp_path):
    (tmp_path / "x.merkl").write_bytes(b"<<<<<<< HEAD\n" + GOOD)

    with pytest.raises(SidecarError, match="conflict"):
        write_sidecar(str(tmp_path), "x", TRACKED)

    assert (tmp_path / "x.merkl").read_bytes() == b"<<<<<<< HEAD\n" + GOOD


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb", b"n" * 249])
def test_data_of_any_name_can_have_a_sidecar(tmp_path, name):
    write_sidecar(str(tmp_path), os.fsdecode(name), MADE)

    assert read_sidecar(str(tmp_path), os.fsdecode(name)) == MADE
    assert os.listdir(os.fsencode(tmp_path)) == [name + b".merkl"]


def test_a_name_too_long_for_a_sidecar_is_said_to_be():
    assert sidecar_of("d/" + "x" * 249) == "d/" + "x" * 249 + ".merkl"
    with pytest.raises(PlacementError, match="too long"):
        sidecar_of("d/" + "x" * 250)


def test_a_time_no_calendar_has_becomes_the_nearest_it_has():
    for ns, year in ((2**70, "9999-12-31"), (-(2**70), "0001-01-01")):
        data = render_sidecar(Sidecar("file", TRACKED.digest, 1, ns))
        assert f"modified: {year}T".encode() in data
        assert render_sidecar(parse_sidecar(data, "x")) == data
