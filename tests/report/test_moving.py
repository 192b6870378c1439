"""The bar of ``pull`` and ``push``, and their last line."""

import os
import pty
import time
from typing import Any

import pytest

from merkl.report.cells import columns
from merkl.report.color import PLAIN
from merkl.report.moving import FRAME_S, Bar, bar_row, counted


def test_a_bar_says_how_many_bytes_have_come_and_how_long_the_rest_will_take() -> None:
    row = bar_row("pulling", 250_000_000, 1_000_000_000, 10.0, 99, PLAIN)

    assert row == "━" * 20 + "  25%  pulling 250.0 MB of 1.0 GB  about 30.0s left"


@pytest.mark.parametrize("width", range(1, 80))
def test_a_bar_fits_any_terminal(width: int) -> None:
    assert columns(bar_row("pushing", 999_999, 1_000_000, 99.0, width, PLAIN)) <= width


def test_more_bytes_than_were_expected_are_all_of_them() -> None:
    assert "100%  pulling 7 bytes of 7 bytes" in bar_row("pulling", 7, 5, 0.1, 99, PLAIN)
    assert "  0%" in bar_row("pulling", 0, 0, 0.0, 99, PLAIN)


def test_lines_stay_above_the_bar_and_it_goes_away_at_the_end() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as out:
        bar = Bar(out, "pulling", PLAIN)
        bar.expect(100)
        bar.out.write("pulled  a\n")
        time.sleep(FRAME_S)
        bar.came(50)
        bar.close()
    raw = b""
    try:
        while piece := os.read(master, 10_000):
            raw += piece
    except OSError:  # What Linux says at the end.
        pass
    os.close(master)
    shown = raw.decode()

    assert shown.index("0%  pulling 0 bytes of 100 bytes") < shown.index("pulled  a") < shown.index(" 50%")
    assert shown.endswith("\x1b[?25h")  # The cursor is visible again.


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("pulled", (2, 0, 0), 0, 1_500), "pulled 2 files, 1.5 kB"),
        (("pulled", (0, 3, 1), 0, 0), "pulled 0 files, 0 bytes; 3 fresh; 1 left"),
        (("pushed", (1, 3, 0), 7, 10), "pushed 1 file and 7 results, 10 bytes; 3 there already"),
    ],
)
def test_the_last_line_counts(arguments: Any, line: str) -> None:
    assert counted(*arguments, would=False) == line
    assert counted(*arguments, would=True).startswith(f"would {arguments[0][:4]} ")
