"""Following a file that grows."""

from hypothesis import given
from hypothesis import strategies as st

from merkl.report.tail import Tail


def test_a_flood_has_its_middle_left_out_and_says_so(tmp_path):
    line = b"x" * 99 + b"\n"
    (tmp_path / "log").write_bytes(line * 50_000)

    text = "".join(Tail(str(tmp_path / "log")).new_text())

    assert text.startswith("… 4.0 MB are left out here: while the task runs, all is in ")
    assert text.partition("\n")[0].endswith("/log")
    assert text.endswith(line.decode())
    assert len(text) < 1_100_000


def test_a_flood_that_goes_on_is_shown_ever_less_of(tmp_path):
    line = b"x" * 99 + b"\n"
    tail, shown = Tail(str(tmp_path / "log")), []
    with open(tmp_path / "log", "wb", buffering=0) as log:
        for _ in range(40):
            log.write(line * 20_000)
            shown.append(len("".join(tail.new_text())))
        log.write(line * 20_000 + b"the end\n")
        assert "".join(tail.rest()).endswith("\nthe end\n")
    assert sum(shown) < 2_500_000 and 4_000 < shown[-1] < 5_000


def test_who_prints_little_is_never_cut_and_a_flood_is_forgiven(tmp_path):
    line = b"x" * 99 + b"\n"
    tail = Tail(str(tmp_path / "log"))
    with open(tmp_path / "log", "wb", buffering=0) as log:
        for _ in range(10):
            log.write(line * 20_000)
            "".join(tail.new_text())
        for count in [40] * 10 + [5_000]:  # As it goes on, as much as it was at first.
            log.write(line * count)
            assert "".join(tail.new_text()).encode() == line * count


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
