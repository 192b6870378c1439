"""Following a file that grows."""

from hypothesis import given
from hypothesis import strategies as st

from merkl.report.tail import Tail


def test_a_flood_has_its_middle_left_out_and_says_so(tmp_path):
    line = b"x" * 99 + b"\n"
    (tmp_path / "log").write_bytes(line * 50_000)

    text = "".join(Tail(str(tmp_path / "log")).new_text())

    assert text.startswith("… 4.0 MB are left out here\n")
    assert text.endswith(line.decode())
    assert len(text) < 1_100_000


def test_a_line_without_end_does_not_fill_the_memory(tmp_path):
    (tmp_path / "log").write_bytes(b"x" * 300_000)
    tail = Tail(str(tmp_path / "log"))

    given_out = "".join(tail.new_text())

    assert len(given_out) >= 200_000
    assert (given_out + "".join(tail.rest())) == "x" * 300_000 + "\n"
    tail.close()


def test_a_file_that_is_not_there_yet_has_nothing_to_say(tmp_path):
    tail = Tail(str(tmp_path / "log"))

    assert list(tail.new_text()) == []
    assert list(tail.rest()) == []


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=6))
def test_text_that_comes_in_pieces_is_given_once_and_whole(tmp_path_factory, pieces):
    log = tmp_path_factory.mktemp("tail") / "log"
    whole = "".join(pieces).encode()
    tail, got = Tail(str(log)), ""
    for cut in range(0, len(whole) + 1, 3):  # Cuts characters in two.
        log.write_bytes(whole[:cut])
        got += "".join(tail.new_text())
    log.write_bytes(whole)
    got += "".join(tail.rest())
    tail.close()

    expected = whole.decode()
    assert got == expected + ("" if not expected or expected.endswith("\n") else "\n")
