"""Rows that are read from where they lie."""

from hypothesis import given, settings
from hypothesis import strategies as st

from merkl.engine.rows import Numbers, Texts


@given(st.lists(st.binary(max_size=5), max_size=8), st.data())
def test_texts_come_back_as_they_were_written_or_replaced(rows, data):
    texts = Texts(Texts.write(rows), {})
    before = list(rows)
    for row in range(len(rows)):
        if data.draw(st.booleans()):
            texts[row] = rows[row] = data.draw(st.binary(max_size=5))

    again = Texts(texts.written(), {})
    later = Texts(Texts.write(before), texts.fresh)

    assert [later[row] for row in range(len(rows))] == rows
    assert [texts[row] for row in range(len(rows))] == rows == [again[row] for row in range(len(again))]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_rows_are_found_by_a_number_and_by_those_that_follow(data):
    rows = [
        data.draw(st.lists(st.integers(0, max(number - 1, 0)), max_size=3)) if number else []
        for number in range(data.draw(st.integers(0, 18)))
    ]
    numbers = Numbers(Numbers.write(rows))
    wanted = data.draw(st.sets(st.integers(0, 20)))
    following = {number for number in wanted if number < len(rows)}
    first = set(following)
    for number, row in enumerate(rows):
        if following.intersection(row):
            following.add(number)

    assert [list(numbers[number]) for number in range(len(rows))] == rows
    assert numbers.having(wanted) == {number for number, row in enumerate(rows) if wanted.intersection(row)}
    assert numbers.following(first) == following
