"""``@batch``: what an item is, which key it has, and what is refused where it is written."""

import re

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from merkl import Future, bash_task, batch, task
from merkl.config import load_config
from merkl.engine.evaluating import evaluate
from merkl.engine.project import Project
from merkl.errors import BatchTaskError, CallError
from merkl.nodes import using

RUNS: list[list[int]] = []


@task
def double(n):
    return n * 2


@batch(double)
def doubles(ns):
    RUNS.append(list(ns))
    return [n * 2 for n in ns]


@task
def add(a, b, *, scale=1):
    return (a + b) * scale


@batch(add)
def adds(pairs, *, scale=1):
    return [(a + b) * scale for a, b in pairs]


@batch
def own(texts: list[str], suffix: str = "!") -> list[str]:
    return [text + suffix for text in texts]


@task(outs=["half", "rest"])
def halve(n):
    return {"half": n // 2, "rest": n % 2}


@batch(halve, retries=2)
def halves(ns):
    return [{"half": n // 2, "rest": n % 2} for n in ns]


@pytest.fixture
def session(tmp_path):
    project = Project(load_config(str(tmp_path), jobs=1))
    project.builder = evaluate
    with using(project):
        yield project
    project.close()


def test_an_item_has_the_key_of_a_call_of_the_single_task(session):
    inner = double(1)
    assert doubles([1, 2, inner, 1]) == [double(1), double(2), double(inner), double(1)]
    assert adds([(1, 2), (inner, 3)], scale=2) == [add(1, 2, scale=2), add(inner, 3, scale=2)]
    assert halves([3]) == [halve(3)]
    assert doubles([]) == []
    assert [each.eval() for each in doubles(n for n in (4, 5))] == [8, 10]
    assert double(4).in_cache()


def test_without_a_single_task_the_function_is_in_the_key(session):
    first, other = own(["a", "b"])
    assert isinstance(first, Future)
    assert own(["a"], suffix="?")[0] != first
    assert first != task(own.function)(["a"])
    assert (first.eval(), other.eval()) == ("a!", "b!")


def test_deps_of_a_batch_enter_the_keys_of_its_items(session):
    def many(ns):
        return [n * 2 for n in ns]

    with_code = batch(double, deps=[many])(many)
    assert with_code([1])[0] != double(1)
    assert with_code([1])[0].eval() == 2
    by_text = batch(double, deps=["2"])(many)
    assert by_text([1])[0] != with_code([1])[0]


def test_one_future_that_is_evaluated_runs_the_batch_for_itself_alone(session):
    RUNS.clear()
    made = doubles([31, 32, 33])
    assert made[1].eval() == 64
    assert RUNS == [[32]]
    assert session.evaluate(made) == [62, 64, 66]
    assert RUNS == [[32], [31, 33]]


@settings(max_examples=5, phases=[Phase.generate])
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 6), max_size=6), st.sets(st.integers(0, 6), max_size=2)), max_size=4
    )
)
def test_each_item_that_misses_is_passed_exactly_once(tmp_path_factory, steps):
    project = Project(load_config(str(tmp_path_factory.mktemp("property")), jobs=1))
    project.builder = evaluate
    known: set[int] = set()
    with using(project):
        for items, forgotten in steps:
            project.clear([double(n) for n in forgotten])
            known -= forgotten
            RUNS.clear()
            assert project.evaluate(doubles(items)) == [n * 2 for n in items]
            missing = [n for n in dict.fromkeys(items) if n not in known]
            assert ([missing] if missing else []) == RUNS
            known |= set(items)
    project.close()


def good(ns):
    return ns


def generator(ns):
    yield from ns


def other_default(pairs, *, scale=2):
    return pairs


def unknown(ns, *, speed=1):
    return ns


def variadic(*ns):
    return list(ns)


def nothing():
    return []


@task
def many_outs(n):
    yield n


@task
def needs_key(n, *, key):
    return n


@task
def variadic_single(*ns):
    return ns


touch = bash_task("touch {out_file_arg('made')}")


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (
            lambda: batch(double)(generator),
            "generator is a generator or a coroutine; a batch function returns a list",
        ),
        (lambda: batch(generator), "a batch function returns a list"),
        (lambda: batch(doubles), "doubles is a batch task itself"),
        (lambda: batch(double)(double), "double is a task already"),
        (lambda: batch(touch), "neither a function nor a Python task"),
        (lambda: batch(3), "3 is neither a function nor a Python task"),
        (
            lambda: batch(add)(other_default),
            "scale has the default 2 in other_default and the default 1 in add",
        ),
        (lambda: batch(double)(unknown), "unknown takes speed, which double(n) does not"),
        (lambda: batch(double)(variadic), "variadic takes *ns; a batch function names what it takes"),
        (lambda: batch(double)(nothing), "nothing() has no parameter for the list of items"),
        (lambda: batch(needs_key)(good), "needs_key needs key, which good does not take"),
        (lambda: batch(variadic_single)(good), "variadic_single(*ns) cannot be run in batches"),
        (lambda: batch(many_outs)(good), "many_outs makes many items"),
        (lambda: batch(double, outs=2)(good), "outs= is for the single task to say"),
        (lambda: batch(double, version="1")(good), "version= is for the single task to say"),
        (lambda: batch(double, interactive=True)(good), "cannot be interactive"),
        (lambda: doubles(double(1)), "doubles was called with a Future"),
        (lambda: doubles("abc"), "takes a list of items, or another iterable in a fixed order, not a str"),
        (lambda: doubles({1, 2}), "not a set"),
        (lambda: doubles(), "takes a list of items"),
        (lambda: doubles([1], 2), "takes its items, in one list, by position, and everything else by name"),
        (lambda: doubles(ns=[1]), "takes its items, in one list, by position"),
        (lambda: batch(good)(nothing), "takes a task, and good is a plain function"),
        (lambda: adds([(1, 2), 3]), "item 1 of adds is 3, and not a tuple of 2: a, b"),
    ],
)
def test_a_misuse_is_refused_where_it_is_written(session, declare, says):
    with pytest.raises(BatchTaskError, match=re.escape(says)):
        declare()


def test_other_arguments_have_to_fit(session):
    with pytest.raises(CallError, match="doubles has no parameter 'speed'"):
        doubles([1], speed=2)
