"""What a call of a task is: its outputs, the operators of its Futures, what of its arguments and code is in its key."""

import copy
import gc
import math
import pickle
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from merkl import Future, task
from merkl.config import load_config
from merkl.engine.evaluating import evaluate
from merkl.engine.project import Project
from merkl.errors import (
    CallError,
    FutureAccessError,
    MerklError,
    MerklfileError,
    PlacementError,
    TaskError,
    TaskOutsError,
    UsageError,
)
from merkl.nodes import using


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project in which Futures can be evaluated right here."""
    (tmp_path / "merkl.yaml").touch()
    monkeypatch.chdir(tmp_path)
    project = Project(load_config(str(tmp_path), environ={}, jobs=1))
    project.builder = evaluate
    with using(project):
        yield project
    project.close()


@task
def number(n: Any) -> Any:
    return n


@task
def pair(n: Any) -> Any:
    return n, n + 1


@task
def named(n: Any) -> Any:
    return {"low": n, "high": n + 1}


# ---- how many outputs ----------------------------------------------------------------------------------------------


def test_a_tuple_literal_gives_a_tuple_a_dict_literal_a_dict_and_all_else_one(session: Project) -> None:
    @task
    def keys_that_are_no_text(n: Any) -> Any:
        return {1: n, 2: n}

    @task
    def starred(items: Any) -> Any:
        return 1, *items

    @task
    def computed(n: Any) -> Any:
        made = [n, n]
        return tuple(made)

    first, second = pair(1)
    assert (first.eval(), second.eval()) == (1, 2)
    ends = named(3)
    assert sorted(ends) == ["high", "low"]
    assert ends["high"].eval() == 4
    assert keys_that_are_no_text(1).eval() == {1: 1, 2: 1}
    assert starred([2]).eval() == (1, 2)
    assert computed(1).eval() == (1, 1)


def disagreeing() -> None:
    @task
    def some(n: Any) -> Any:
        if n:
            return 1, 2
        return {"a": n}


def two_of_one_name() -> None:
    task(outs=["a", "a"])(lambda: 1)


@pytest.mark.parametrize(
    ("define", "says"),
    [
        (disagreeing, "some returns a dict of a and a tuple of 2"),
        (lambda: task(outs=0)(lambda: 1), "outs=0 is no number of outputs"),
        (lambda: task(outs=-2)(lambda: 1), "outs=-2 is no number of outputs"),
        (lambda: task(outs=True)(lambda: 1), "outs=True is neither a number nor a list of names"),
        (lambda: task(outs=1.5)(lambda: 1), "outs=1.5 is neither"),  # type: ignore[arg-type]
        (lambda: task(outs=[])(lambda: 1), "outs=[] is neither"),
        (lambda: task(outs="ab")(lambda: 1), "outs='ab' is neither"),
        (lambda: task(outs=["a", 2])(lambda: 1), "outs names are strings, and 2 is none"),  # type: ignore[list-item]
        (two_of_one_name, "a name stands twice in outs=['a', 'a']"),
        (lambda: task(outs=lambda k: k)(lambda data, k: 1), "outs= takes (k), and the task takes (data, k)"),
        (lambda: task(outs=lambda k, data: k)(lambda data, k: 1), "outs= takes (k, data), and the task"),
        (lambda: task(outs=lambda data, *k: k)(lambda data, k: 1), "outs= takes (data, *k), and the task"),
    ],
)
def test_outs_that_cannot_be_are_refused_where_the_task_is_defined(
    define: Callable[[], object], says: str
) -> None:
    with pytest.raises(TaskOutsError) as refused:
        define()
    assert says in str(refused.value)


def test_outs_may_be_told_by_a_function_of_the_arguments(session: Project) -> None:
    @task(outs=lambda data, k=2: k)
    def split(data: Any, k: int = 2) -> Any:
        return [data[i::k] for i in range(k)]

    @task(outs=lambda *names, prefix: [prefix + name for name in names])
    def by_name(*names: str, prefix: str) -> Any:
        return {prefix + name: name for name in names}

    data = number([1, 2, 3, 4, 5])
    assert [part.eval() for part in split(data, 3)] == [[1, 4], [2, 5], [3]]
    assert [part.eval() for part in split(data)] == [[1, 3, 5], [2, 4]]
    assert split(data, 1).eval() == [[1, 2, 3, 4, 5]]
    assert {name: f.eval() for name, f in by_name("a", "b", prefix="x-").items()} == {"x-a": "a", "x-b": "b"}
    assert split(data, 2)[0].hash != split(data, 3)[0].hash


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (lambda n: 0, "what outs= returned cannot be: outs=0 is no number"),
        (lambda n: [1], "what outs= returned cannot be: outs names are strings, and 1 is none"),
        (lambda n: None, "what outs= returned cannot be: outs=None is neither"),
        (lambda n: n / 0, "raised ZeroDivisionError"),
        (lambda n: len(n), "raised TypeError"),
    ],
)
def test_what_a_function_for_outs_says_is_checked_at_each_call(
    session: Project, said: Callable[[Any], Any], says: str
) -> None:
    @task(outs=said)
    def some(n: Any) -> Any:
        return n

    with pytest.raises(TaskOutsError) as refused:
        some(3)
    assert says in str(refused.value) and "some: " in str(refused.value)
    assert "test_calls.py:" in str(refused.value)


def test_a_function_for_outs_that_needs_the_value_of_a_future_is_told_so(session: Project) -> None:
    @task(outs=lambda n: len(n))
    def some(n: Any) -> Any:
        return n

    with pytest.raises(TaskOutsError, match="raised FutureAccessError"):
        some(number([1]))


def test_fewer_results_than_outs_fail_the_task_and_say_both(session: Project) -> None:
    @task(outs=3)
    def some() -> Any:
        return [1, 2]

    @task(outs=lambda k: k)
    def told(k: int) -> Any:
        return [1, 2]

    for future in (some()[0], told(3)[0]):
        with pytest.raises(TaskOutsError, match="should return 3 values, and returned 2"):
            future.eval()


# ---- Futures -------------------------------------------------------------------------------------------------------

NEEDS_VALUE: dict[str, Callable[[Any], object]] = {
    "bool": bool,
    "not": lambda f: not f,
    "and": lambda f: f and 1,
    "len": len,
    "iter": iter,
    "for": list,
    "unpacking": lambda f: (lambda *a: a)(*f),
    "in": lambda f: 1 in f,
    "[]": lambda f: f[0],
    "[]=": lambda f: f.__setitem__(0, 1),
    "del": lambda f: f.__delitem__(0),
    "<": lambda f: f < 1,
    "<=": lambda f: f <= "x",
    ">=": lambda f: f >= "x",
    "+": lambda f: f + 1,
    "reflected +": lambda f: 1 + f,
    "+ of text": lambda f: "a" + f,
    "sum": lambda f: sum([f]),
    "-": lambda f: -f,
    "unary +": lambda f: +f,
    "~": lambda f: ~f,
    "*": lambda f: 2 * f,
    "/": lambda f: f / 2,
    "%": lambda f: f % 2,
    "% of text": lambda f: f % (),
    "**": lambda f: 2**f,
    "@": lambda f: f @ f,
    "&": lambda f: f & 1,
    "^": lambda f: 1 ^ f,
    "<<": lambda f: f << 1,
    "reflected >>": lambda f: 1 >> f,
    "| with no task": lambda f: f | 3,
    "reflected |": lambda f: 3 | f,
    "| of Futures": lambda f: f | f,
    "str": str,
    "f-string": lambda f: f"{f}",
    "format": lambda f: f"{f:>3}",
    "int": int,
    "float": float,
    "complex": complex,
    "bytes": bytes,
    "range": range,
    "round": round,
    "abs": abs,
    "divmod": lambda f: divmod(f, 2),
    "floor": math.floor,
    "attribute": lambda f: f.shape,
    "join": lambda f: ",".join(f),
    "sorted": lambda f: sorted([f, f]),
}


@pytest.mark.parametrize("use", NEEDS_VALUE)
def test_an_operator_that_needs_the_value_says_what_to_do(session: Project, use: str) -> None:
    with pytest.raises(FutureAccessError) as refused:
        NEEDS_VALUE[use](number(1))
    assert "pass it to a task, or call .eval()" in str(refused.value)


def test_a_future_compares_by_key_and_output_and_never_raises(session: Project) -> None:
    first, second = pair(1)
    assert first == pair(1)[0] and hash(first) == hash(pair(1)[0])
    assert first != second and first != pair(2)[0]
    assert not first == 1 and first != "x" and first != None  # noqa: E711, SIM201
    assert {first: "a", second: "b"}[pair(1)[1]] == "b"
    assert len({first, second, *pair(1)}) == 2
    assert first in [second, first]
    assert "shape" not in dir(first) and not hasattr(first, "shape") and not hasattr(first, "__array__x")
    assert repr(second) == f"<Future pair.1 {second.node.key.short}>"
    assert first.hash == first.node.key.hex()


def test_an_array_compares_with_a_future_and_computes_nothing_with_it(session: Project) -> None:
    numpy, future = pytest.importorskip("numpy"), number(1)
    array = numpy.arange(2)
    assert (array == future) is False and (array != future) is True and future not in [array]
    for use in (lambda: array + future, lambda: numpy.sqrt(future), lambda: numpy.array(future)):
        with pytest.raises(FutureAccessError, match="pass it to a task"):
            use()


def test_a_copy_of_a_future_is_the_future_and_a_pickle_equals_it(session: Project) -> None:
    future = number(number(1))
    assert copy.copy(future) is future
    assert copy.deepcopy({"a": [future]})["a"][0] is future
    again = pickle.loads(pickle.dumps(future))
    assert again == future and again.node.deps[0].future == number(1)
    assert Future[int](future.node, "") == future


def test_a_future_has_a_value_and_knows_whether_it_is_there(session: Project) -> None:
    future, seen = number(1), []
    assert not future.in_cache()
    assert future.on_completed(seen.append) is future and seen == []
    assert future.v == future.eval() == 1
    assert future.in_cache() and seen == [future]
    future.on_completed(seen.append)
    assert len(seen) == 2
    future.clear_cache()
    assert not future.in_cache()


def test_what_is_called_on_completion_and_raises_ends_the_build_with_its_line(session: Project) -> None:
    future = number(1).on_completed(lambda made: made + 1)
    with pytest.raises(FutureAccessError):
        future.eval()
    failing = number(2).on_completed(lambda made: 1 / (made.v - 2))
    with pytest.raises(MerklfileError, match=r"of number raised ZeroDivisionError(?s:.*)test_calls.py:\d"):
        failing.eval()
    assert failing.eval() == 2  # The result was kept.
    with pytest.raises(UsageError, match="takes a function of a Future, not 3"):
        number(3).on_completed(3)  # type: ignore[arg-type]


@task
def wrapped(n: int) -> Any:
    return types.SimpleNamespace(inside=number(n))


def test_a_future_is_no_part_of_a_result(session: Project) -> None:
    with pytest.raises(MerklError, match="Future"):
        wrapped(1).eval()


def test_an_argument_that_cannot_be_shown_is_one_all_the_same(session: Project) -> None:
    assert number(10**5_000).eval() == 10**5_000
    with pytest.raises(CallError, match="<int>"):
        number(1, 10**5_000)


# ---- pipes and places ----------------------------------------------------------------------------------------------


def test_pipes_call_tasks_and_place_what_comes_out(session: Project, tmp_path: Path) -> None:
    made = number(1) | number | (lambda f: number([f])) > "one.json"
    assert made == number([number(number(1))])
    again = number(2) | number >> "two.json"
    both = number(3) | (number > "three.json") >> "also three.json"
    twice = number(4) > b"four.json"
    assert (twice > tmp_path / "also four.json") is twice
    again.eval(), both.eval(), twice.eval(), made.eval()
    here = {path.name for path in tmp_path.iterdir()} - {".merkl", "merkl.yaml"}
    assert here == {
        *("one.json", "two.json", "two.json.merkl", "three.json", "also three.json", "also three.json.merkl"),
        *("four.json", "also four.json"),
    }


def test_places_that_cannot_be_say_what_to_write(session: Project) -> None:
    future = number(1)
    with pytest.raises(FutureAccessError, match='write two statements: f > "x" and then f > "y"'):
        future > "x" > "y"  # type: ignore[operator]
    with pytest.raises(FutureAccessError, match="write two statements"):
        future | number > "x" > "y"
    with pytest.raises(FutureAccessError, match="write two statements"):
        number > "x" > "y"  # type: ignore[operator]
    for wrong in (3, None, future, ["x"]):
        with pytest.raises(TypeError, match="takes a path, not"):
            future > wrong  # type: ignore[operator]
        with pytest.raises(PlacementError, match="takes a path, not"):
            number >> wrong  # type: ignore[operator]
    with pytest.raises(
        PlacementError, match="only one output can be placed at 'x', and this task has several"
    ):
        future | (pair > "x")


# ---- what stands for the code --------------------------------------------------------------------------------------


def one(n: Any) -> Any:
    return n


def other(n: Any) -> Any:
    return [n]


def key(function: Callable[..., Any], **options: Any) -> str:
    made: Future[Any] = task(**options)(function)(1)
    return made.hash


def test_a_hash_key_and_a_version_stand_for_the_code_and_deps_still_count(session: Project) -> None:
    assert key(one, hash_key="k") == key(other, hash_key="k") != key(one)
    assert (
        key(one, hash_key="k", version="1") == key(other, hash_key="k", version="1") != key(one, hash_key="k")
    )
    assert key(one, hash_key="k", version="1") != key(one, hash_key="k", version="2")
    assert key(one, version="1") != key(other, version="1")  # Of another name.
    assert key(other, hash_key="one", version="1") == key(
        one, version="1"
    )  # Renamed, and its results are kept.
    assert key(one, version="1") == key(one, code_version="1")
    assert key(one, hash_key="k", deps=["x"]) != key(one, hash_key="k", deps=["y"])
    assert key(one, hash_key="k", deps=[one]) != key(one, hash_key="k", deps=[other])
    made = task(hash_key="k", version="1")(one)(1)
    shown = [(part.group, part.name, part.text) for part in made.node.call.parts()]
    assert shown == [("option", "hash_key", "k"), ("option", "version", "1"), ("argument", "n", "1")]
    assert made.eval() == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"version": 1}, "version is a string, not 1"),
        ({"version": None}, "version is a string, not None"),
        ({"code_version": 1.0}, "version is a string, not 1.0"),
        ({"hash_key": b"k"}, "hash_key is a string, not b'k'"),
        ({"version": "1", "code_version": "1"}, "both version= and code_version=, which are the same"),
        ({"ignore_args": "verbose"}, "ignore_args is a list of names of parameters, not 'verbose'"),
        ({"ignore_args": [1]}, "ignore_args holds names of parameters, and 1 is none"),
        ({"ignore_args": ["m"]}, "one: ignore_args names 'm', which is no parameter of one(n"),
    ],
)
def test_options_that_cannot_be_are_refused_where_the_task_is_defined(options: Any, says: str) -> None:
    with pytest.raises(TaskError) as refused:
        task(**options)(one)
    assert says in str(refused.value)
    assert "test_calls.py" in str(refused.value)


# ---- arguments that do not count -----------------------------------------------------------------------------------


def test_an_ignored_argument_reaches_the_function_and_no_key(session: Project) -> None:
    @task(ignore_args=["verbose", "rest", "level"], check="off", outs=1)
    def some(n: int, verbose: bool = False, *rest: int, **more: int) -> Any:
        return n, verbose, rest, more

    first = some(1, True, 5, 6, level=3, size=4)
    assert first.eval() == (1, True, (5, 6), {"level": 3, "size": 4})
    assert first == some(1, False, size=4) == some(1, size=4, level="x")
    assert some(1).hash not in (first.hash, some(2).hash)
    assert some(1, level=2) == some(1)
    assert some(1, False, 9, size=4, level=9).eval() == first.eval()
    shown = [(part.name, part.text) for part in first.node.call.parts() if part.group == "argument"]
    assert shown == [("n", "1"), ("more", "{'size': 4}")] and first.node.call.subject == "n=1"

    @task(ignore_args=["more"])
    def every(n: int, **more: Any) -> Any:
        return n

    assert every(1, a=1) == every(1, b=2) != every(2)


def test_a_future_in_an_ignored_argument_is_refused(session: Project) -> None:
    @task(ignore_args=["verbose", "level"])
    def some(n: int, verbose: Any = False, **more: Any) -> Any:
        return n

    for pass_it in (
        lambda f: some(1, f),
        lambda f: some(1, verbose=[{"a": f}]),
        lambda f: some(1, level=f),
    ):
        with pytest.raises(CallError, match=", and holds a Future, whose value"):
            pass_it(number(1))


def test_a_call_that_does_not_fit_names_signature_and_arguments(session: Project) -> None:
    with pytest.raises(CallError) as refused:
        number(1, 2)
    assert "number takes 1 argument, and got 2" in str(refused.value)
    assert "passed: (1, 2)" in str(refused.value)


def test_a_graph_deep_as_it_may_be_is_made_and_read_without_recursion(session: Project) -> None:
    future = number(0)
    for _ in range(5_000):
        future = number(future)
    assert hash(future) and repr(future) and future == number(future.node.deps[0].future)
    assert copy.deepcopy([future])[0] is future
    assert not future.in_cache()


# ---- large graphs --------------------------------------------------------------------------------------------------


@task(outs=1)
def joined(a: Any, b: Any) -> Any:
    return a, b


def chain_of(length: int) -> Future[Any]:
    future: Future[Any] = joined(0, 0)
    for n in range(length):
        future = joined(future, n)
    return future


def test_a_call_in_a_large_graph_is_three_objects_to_the_garbage_collector(session: Project) -> None:
    chain_of(1)
    gc.collect()
    before = len(gc.get_objects())
    future = chain_of(1000)
    gc.collect()
    assert len(gc.get_objects()) - before < 3.1 * 1000
    assert future.node.call.subject == "b=999"


def test_what_is_made_of_a_node_only_when_it_is_asked_for_is_what_the_call_was(session: Project) -> None:
    first, second = number(1), number(2)
    both = joined(first, 5)
    assert both.node.call is both.node.call and both.node.deps is both.node.deps
    assert repr(both.node.call.arguments) == "{'a': <input 0>, 'b': 5}"  # type: ignore[attr-defined]
    assert [dep.future for dep in joined(second, first).node.deps] == [second, first]
    assert [dep.future for dep in joined(first, number(1)).node.deps] == [first]
    assert [dep.future for dep in joined(first, [second, first, {"k": 3}]).node.deps] == [first, second]
    assert joined(first, [second, first]).eval() == (1, [2, 1])
    assert joined([second], first).eval() == ([2], 1)
    assert joined((first, 7), first).eval() == ((1, 7), 1)
    assert joined(first, second).eval() == (1, 2) and joined(first, first).eval() == (1, 1)
