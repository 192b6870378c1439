"""Durations, sizes and foreign text as people read them."""

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkl.events import BuildDone
from merkl.report.words import duration, harmless, one_line, plural, size, summary


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (-1, "0.0s"), (1.24, "1.2s"), (59.94, "59.9s"), (59.96, "1m"), (135, "2m15s"), (1860, "31m"),
     (3599.6, "1h"), (3900, "1h05m"), (86_400, "1d"), (266_400, "3d02h")],
)  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1500, "1.5 kB"), (999_960, "1.0 MB"), (3.2e9, "3.2 GB"),
     (5e15, "5000.0 TB")],
)  # fmt: skip
def test_a_size_is_in_powers_of_a_thousand(count, text):
    assert size(int(count)) == text


def test_a_count_agrees_with_its_noun():
    assert [plural(0, "task"), plural(1, "task"), plural(2, "task")] == ["0 tasks", "1 task", "2 tasks"]


def test_the_last_line_of_a_build():
    done = BuildDone(ran=3, cached=10, cutoff=0, failed=1, skipped=0, seconds=135.0, saved=1860.0)

    assert summary(done) == "14 tasks: 10 cached, 3 ran, 1 failed in 2m15s (saved 31m)"


def test_the_last_line_names_every_kind_of_ending_and_only_those_that_happened():
    everything = BuildDone(1, 1, 1, 1, 1, seconds=1.0, saved=0.9, interrupted=["a", ""])

    assert (
        summary(everything)
        == "6 tasks: 1 cached, 1 cut off, 1 ran, 1 failed, 1 skipped, 1 interrupted in 1.0s"
    )
    assert summary(BuildDone(0, 0, 0, 0, 0, seconds=0.0, saved=0.0)) == "0 tasks in 0.0s"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07", "^[]0;title^G"),
        ("\x1b[2J", "^[[2J"),
        ("1%\r2%\r\n", "1%\n2%\n"),
        ("a\x9bb\x7f", "a\\x9bb\\x7f"),
        ("evil\u202etxt", "evil\\u202etxt"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("café\ttab\nline", "café\ttab\nline"),
    ],
)
def test_control_characters_are_spelt_out(text, shown):
    assert harmless(text) == shown


@given(st.text() | st.binary().map(os.fsdecode))
def test_no_control_character_and_no_surrogate_gets_through(text):
    for char in harmless(text):
        assert char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs")
    assert "\n" not in one_line(text)
