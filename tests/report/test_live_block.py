"""The rows of the live block and how long a build will still take: pure functions of what is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkl.bash.task import bash_task
from merkl.report.block import Progress, Task, rows
from merkl.report.cells import columns, cut
from merkl.report.color import PLAIN, painter
from merkl.report.left import TimeLeft


def block(progress, tasks=(), width=80, height=24):
    return rows(progress, tasks, width, height, PLAIN)


def test_the_block_says_how_far_the_build_is_and_what_runs_for_how_long():
    tasks = [Task("train build/model.json", 72.0, 130.4), Task("cc a.o", 0.34)]

    assert block(Progress(7, 14, left=134.8), tasks) == [
        "[7/14] 2 running, about 2m15s left",
        "  1m12s of 2m10s   train build/model.json",
        "   0.3s            cc a.o",
    ]


def test_without_times_of_earlier_runs_there_is_no_room_for_them():
    assert block(Progress(0, 1), [Task("cc a.o", 12.0)])[1] == "  12.0s  cc a.o"


def test_failures_are_counted():
    assert block(Progress(3, 9, failed=2), [Task("cc a.o", 1.0)])[0] == "[3/9] 1 running, 2 failed"


def test_a_task_during_which_nothing_is_drawn_says_since_when_it_runs():
    assert (
        block(Progress(0, 1), [Task("train", 0.0, 61.0, since="14:03:22")])[1]
        == " since 14:03:22 of 1m01s   train"
    )


def test_twenty_columns_keep_the_counter_the_times_and_both_ends_of_the_name():
    found = block(Progress(7, 14, left=100.0), [Task("cc build/objects/encoder/a.o", 3.21, 5.0)], width=20)

    assert found == ["[7/14] 1 running", "   3.2s  cc …der/a.o"]


def test_what_does_not_fit_is_counted():
    tasks = [Task(f"t{n}", float(n)) for n in range(40)]

    found = block(Progress(0, 40), tasks, height=10)

    assert len(found) == 10
    assert found[8].endswith("  t7")
    assert found[9] == "  … and 32 more"


@pytest.mark.parametrize("height", range(1, 8))
@pytest.mark.parametrize("count", range(9))
def test_the_block_is_never_higher_than_it_may_be(height, count):
    found = block(Progress(0, 9), [Task(f"t{n}", 0.0) for n in range(count)], height=height)

    named = sum("  t" in row for row in found)
    assert len(found) == min(height, 1 + count)
    assert height == 1 or named == count or found[-1] == f"  … and {count - named} more"


LABELS = st.text() | st.text("日本語ｗ한🎉👨‍👩‍👧🇩🇪e\u0301\ufe0f☁\u202e\x1b\x07\t\n a/.")


@given(LABELS, st.integers(1, 90), st.booleans())
def test_no_row_is_wider_than_it_may_be_and_none_has_a_control_character(label, width, expected):
    tasks = [Task(label, 1e6, 4.0 if expected else None)]

    for row in rows(Progress(10**6, 10**6, 5, 1e5), tasks, width, 24, PLAIN):
        assert columns(row) <= width
        assert row.isprintable() or not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in row)


def test_colors_take_no_columns():
    plain = block(Progress(1, 2, 1, 9.0), [Task("cc a.o", 1.0, 2.0)], width=30)
    colored = rows(Progress(1, 2, 1, 9.0), [Task("cc a.o", 1.0, 2.0)], 30, 24, painter(True))

    import re

    assert [re.sub(r"\x1b\[[\d;]*m", "", row) for row in colored] == plain
    assert colored != plain


@pytest.mark.parametrize(
    ("text", "width"),
    [("abc", 3), ("日本", 4), ("e\u0301", 1), ("🎉", 2), ("🇩🇪", 4), ("☁\ufe0f", 2), ("ｗ", 2), ("…", 1)],
)
def test_wide_characters_count_twice_and_marks_not_at_all(text, width):
    assert columns(text) == width


@given(LABELS, st.integers(0, 40))
def test_a_text_that_fits_stays_as_it_is_and_another_is_cut(text, most):
    found = cut(text, most)

    assert columns(found) <= most
    assert found == text or columns(text) > most


# ---- how long it will still take -----------------------------------------------------------------------------------


@pytest.fixture
def chain(project):
    """Three nodes that need each other, and a fourth that needs none."""
    make = bash_task("cat {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}", name="copy")
    first = bash_task("echo {arg('n')} > {out_file_arg('out', '.txt')}", name="first")
    one, four = first(1), first(4)
    two = make(one)
    return [one.node, two.node, make(two).node, four.node]


def test_tasks_that_need_each_other_take_the_sum_of_their_times_whatever_the_slots(chain):
    left = TimeLeft(dict.fromkeys(chain, 10.0), slots=8)

    assert left.seconds({}) == 30.0
    assert left.seconds({chain[0].key: 4.0, chain[3].key: 4.0}) == 26.0
    assert (
        left.seconds({chain[0].key: 15.0}) == 20.0
    )  # It takes longer than last time; the others are still to come.
    left.ended(chain[0].key)
    assert left.seconds({chain[1].key: 1.0}) == 19.0


def test_with_one_slot_all_of_it_counts(chain):
    left = TimeLeft(dict.fromkeys(chain, 10.0), slots=1)

    assert left.seconds({chain[0].key: 4.0}) == 36.0
    for node in chain:
        left.ended(node.key)
    assert left.seconds({}) == 0.0


def test_nothing_is_said_while_a_task_is_left_that_never_ran(chain):
    left = TimeLeft({**dict.fromkeys(chain, 10.0), chain[3]: None}, slots=2)

    assert left.seconds({}) is None
    left.ended(chain[3].key)
    assert left.seconds({}) == 30.0
