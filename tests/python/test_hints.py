"""Type hints of tasks: what fits what, what a call and a result are refused for, and what that costs."""

import collections.abc
import enum
import os
import pathlib
import subprocess
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, NewType, Optional, Protocol, TypedDict, TypeVar, Union

import pytest

from merkl import DirRef, FileRef, Future, MerklDict, MerklList, bash_task, pipeline, task
from merkl.errors import CallError, TaskError
from merkl.nodes import using
from merkl.python.checks import Checks
from merkl.python.fits import fits
from merkl.python.hints import Hints, hint_of, plain
from merkl.python.inside import Inside


class Animal:
    pass


class Dog(Animal):
    def bark(self) -> str:
        return "woof"


class Barks(Protocol):
    def bark(self) -> str: ...


class Named(Protocol):
    name: str


class Color(enum.Enum):
    RED = 1


class Ends(TypedDict):
    low: int
    high: str


class Wider(Ends):
    more: float


class Other(TypedDict):
    low: str
    high: str


class Pair(NamedTuple):
    left: int
    right: "str"


UserId = NewType("UserId", int)
T = TypeVar("T")
Number = TypeVar("Number", int, str)
Bounded = TypeVar("Bounded", bound=Animal)

FITTING = [
    (int, int), (bool, int), (int, float), (float, complex), (int, Any), (Any, int), (object, int), (int, object),
    (Dog, Animal), (int, int | None), (None, Optional[int]), (int | str, str | int | None), (int, Union[int, str]),  # noqa: UP007, UP045
    (list[int], list[int]), (list[bool], list[int]), (list, list[int]), (list[int], list), (list[Any], list[str]),
    (list[int], collections.abc.Sequence[int]), (list[int], typing.Sequence[float]), (set[int], collections.abc.Iterable[int]),
    (tuple[int, int], collections.abc.Sequence[int]), (tuple[int, ...], tuple[int, ...]), (tuple[int, str], tuple[int, str]),
    (tuple[int, ...], tuple[int, int]), (str, collections.abc.Sequence[str]), (dict[str, int], collections.abc.Mapping[str, int]),
    (dict[str, int], collections.abc.Iterable[str]), (dict[str, list[int]], dict[str, list[float]]), (range, list[int] | range),
    (Literal["a"], str), (Literal["a"], Literal["a", "b"]), (Literal[1, 2], int), (Literal[Color.RED], Color),
    (UserId, int), (UserId, UserId), (UserId, float), (int, T), (T, int), (int, Number), (Dog, Bounded),
    (Dog, Barks), (Dog, Named), (FileRef, str), (FileRef, Path), (DirRef, Path), (FileRef, os.PathLike), (Path, Path),
    (Ends, Ends), (Wider, Ends), (dict, Ends), (Ends, dict[str, Any]), (dict[str, int], Ends), (typing.NoReturn, int),
    (type[Dog], type[Animal]), (collections.abc.Callable[[int], str], collections.abc.Callable[..., str]),
    (Future[int], int), (int, Future[int]), (list[Future[int]], list[int]), (typing.Annotated[int, "m"], int),
    (int, collections.abc.Hashable), (typing.Callable, collections.abc.Callable[[int], int]), (list[str], typing.Self),
]  # fmt: skip

MISFITS = [
    (str, int), (float, int), (int, bool), (Animal, Dog), (int | None, int), (None, int), (int | str, int),
    (list[int], list[str]), (list[int], tuple[int, ...]), (list[int], collections.abc.Sequence[str]), (list[int], dict),
    (tuple[int, str], tuple[int, int]), (tuple[int, int], tuple[int, int, int]), (tuple[int, str], collections.abc.Sequence[int]),
    (dict[str, int], dict[str, str]), (dict[str, int], dict[int, int]), (dict[str, int], collections.abc.Iterable[int]),
    (dict[str, list[int]], dict[str, list[str]]), (str, collections.abc.Sequence[int]), (bytes, str), (int, list[int]),
    (Literal["a"], Literal["b"]), (str, Literal["a"]), (Literal["a", 1], str), (Literal[1], Literal[True]),
    (int, UserId), (UserId, str), (float, Number), (int, Bounded), (Animal, Barks), (str, FileRef), (str, Path), (FileRef, DirRef),
    (Other, Ends), (Ends, Wider), (list[int], Ends), (type[Animal], type[Dog]), (collections.abc.Callable[[int], str],
    collections.abc.Callable[[int], int]), (int, collections.abc.Callable[[int], int]), (Future[int], Future[str]),
    (list[Future[int]], list[str]), (typing.Annotated[int, "m"], str), (list, collections.abc.Hashable), (set[int], list[int]),
    (int, str | list[int]),
]  # fmt: skip


@pytest.mark.parametrize(("given", "wanted"), FITTING, ids=str)
def test_it_fits(given: Any, wanted: Any) -> None:
    assert fits(plain(given), plain(wanted))


@pytest.mark.parametrize(("given", "wanted"), MISFITS, ids=str)
def test_it_does_not_fit(given: Any, wanted: Any) -> None:
    assert not fits(plain(given), plain(wanted))


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[None]:
    """Tasks can be called; nothing runs."""
    with using(Inside(str(tmp_path), (), "test")):
        yield


@task
def count(n: int) -> list[int]:
    return list(range(n))


@task
def ends(values: typing.Sequence[int]) -> dict[str, float]:
    return {"low": min(values), "high": max(values)}


@task
def halves(values: list[int]) -> tuple[list[int], str]:
    return values, "rest"


@task
def typed() -> Ends:
    return {"low": 1, "high": "2"}


@task
def mixed(a: "list[int]", *rest: int, b: float | None = None, c: int = None, **more: str) -> None:  # type: ignore[assignment]  # noqa: RUF013
    pass


@task
def unhinted(a, b=1):  # type: ignore[no-untyped-def]
    return a


@task
def reads(path: pathlib.Path, also: str = "") -> str:
    return str(path)


@task
def exactly(values: list[int], *, mode: Literal["fast", "slow"] = "fast") -> None:
    pass


def test_a_future_carries_the_hint_of_what_it_is(calls: None) -> None:
    low, (first, rest) = ends(count(3))["low"], halves([1])

    assert [hint_of(f) for f in (count(1), low, first, rest)] == [list[int], float, list[int], str]
    assert [hint_of(f) for f in typed().values()] in ([int, str], [str, int])
    assert hint_of(unhinted(1)) is Any


def test_a_named_tuple_gives_each_part_its_own() -> None:
    def pair() -> Pair:
        return Pair(1, "a")

    hints = Checks("pair", made := _hints(pair), _PLACE, whole=False) and made

    assert [hints.output("0"), hints.output("1"), hints.output("2")] == [int, str, Any]


@task
def words(text: str) -> Iterator[str]:
    yield from text.split()


@task(outs=dict)
def sizes(text: str) -> Iterator[tuple[str, int]]:
    yield from ((word, len(word)) for word in text.split())


@task(outs=list)
def numbers(count: int) -> list[int]:
    return list(range(count))


@task
def upper(word: str) -> str:
    return word.upper()


@task
def doubled(number: int) -> int:
    return 2 * number


@task
def added(each: MerklList[int], named: MerklDict[int] | None = None) -> int:
    return sum(each)


def test_an_item_has_the_hint_of_what_its_list_is_made_of(calls: None) -> None:
    texts = upper.map(upper.map(words("a b")))
    for refused in (
        lambda: doubled(words("a b")[0]),
        lambda: doubled.map(words("a b")),
        lambda: doubled.map(texts),
        lambda: doubled(texts[1]),
        lambda: doubled(numbers(2)[0]) | upper,
        lambda: upper.map(sizes("a b")),
        lambda: upper(sizes("a b")["a"]),
    ):
        with pytest.raises(CallError, match=r"will be (str|int), which .* gives, and its hint is (str|int)"):
            refused()
    doubled.map(sizes("a b"))
    added(numbers(2))
    added(doubled.map(numbers(2)), named=doubled.map(sizes("a b")))
    added([1, 2])


def test_a_future_that_does_not_fit_names_both_sides_and_both_places(calls: None) -> None:
    future = count(3)
    with pytest.raises(CallError) as caught:
        reads(future)

    error = caught.value
    assert (
        error.headline
        == "reads: the argument 'path' will be list[int], which count gives, and its hint is Path"
    )
    assert list(error.details) == ["at", "task", "given"]
    line = future.node.place.line
    assert str(error.details["at"]).endswith(f"test_hints.py:{line + 2}")
    assert str(error.details["given"]).startswith("count, called at ")
    assert f"test_hints.py:{line}, defined at " in str(error.details["given"])
    assert str(error.details["task"]).endswith(f"test_hints.py:{reads.place.line}")


def test_the_same_future_is_refused_each_time_and_a_fitting_one_never(calls: None) -> None:
    for _ in range(3):
        ends(count(3))
        with pytest.raises(CallError):
            count(count(3))


def test_pipelines_are_checked_as_tasks_are(calls: None) -> None:
    @pipeline
    def both(numbers: list[int]) -> Any:
        return ends(numbers)

    both(count(3))
    with pytest.raises(
        CallError, match="both: the argument 'numbers' is 3, of type int, and its hint is list"
    ):
        both(3)
    with pytest.raises(CallError, match="both: the argument 'numbers' will be str, which reads gives"):
        both(reads(Path("a")))


def test_futures_are_found_inside_containers(calls: None) -> None:
    first, rest = halves([1])

    mixed([1, ends([1])["low"]]) if False else ends([count_one(), 2])
    with pytest.raises(
        CallError, match="a Future inside the argument 'values' will be str, which halves gives"
    ):
        ends([1, rest])
    with pytest.raises(CallError, match="inside the argument"):
        unnest({"a": [first, rest]})
    unnest({"a": [first, first]})


@task
def count_one() -> int:
    return 1


@task
def unnest(nested: dict[str, list[list[int]]]) -> None:
    pass


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        (([1], 2, "x"), {}, "mixed: the argument 'rest' is 'x', of type str, and its hint is int"),
        (([1],), {"b": "x"}, "mixed: the argument 'b' is 'x', of type str, and its hint is float | None"),
        (([1],), {"k": 3}, "mixed: the argument 'more' is 3, of type int, and its hint is str"),
        ((["a"],), {}, "mixed: the argument 'a' is ['a'], of type list, and its hint is list[int]"),
        (((1,),), {}, "mixed: the argument 'a' is (1,), of type tuple, and its hint is list[int]"),
        (
            ("x" * 100,),
            {},
            f"mixed: the argument 'a' is '{'x' * 78}…, of type str, and its hint is list[int]",
        ),
        ((None,), {}, "mixed: the argument 'a' is None, and its hint is list[int]"),
    ],
)
def test_a_constant_that_does_not_fit_is_refused_where_it_is_passed(
    calls: None, arguments: Any, named: Any, message: str
) -> None:
    with pytest.raises(CallError) as caught:
        mixed(*arguments, **named)

    assert caught.value.headline == message
    assert caught.value.details["reason"]


def test_what_fits_is_accepted(calls: None) -> None:
    mixed([1, True], 2, 3, b=None, c=4, k="x")
    mixed([], b=1)
    mixed([1], c=None)
    unhinted(object)
    reads(FileRef("x"), also=FileRef("x")) if os.path.exists("x") else None
    exactly([1], mode="slow")
    with pytest.raises(CallError, match="and its hint is Literal"):
        exactly([1], mode="medium")


def test_the_default_looks_at_the_first_item_and_all_at_every_one(calls: None) -> None:
    @task(check="all")
    def whole(values: list[int]) -> None:
        pass

    @task(check="off")
    def none(values: list[int]) -> None:
        pass

    ends([1, "a"])
    with pytest.raises(CallError) as caught:
        whole([1, "a"])
    assert caught.value.details["reason"] == "item 1 of list is not an instance of int"
    none("a")
    none(reads("x", also="y")) if False else none(count_one())


def test_any_other_word_for_check_is_refused() -> None:
    with pytest.raises(TaskError, match="check is 'all', 'first' or 'off', not 'some'"):
        task(check="some")  # type: ignore[call-overload]


def test_outputs_of_commands_are_files_and_text(calls: None) -> None:
    made = bash_task("echo > {out_file_arg('out', '.txt')}")()
    said = bash_task("echo", stdout="lines")()
    count_words(said)
    reads(made, also=made)
    with pytest.raises(CallError, match="will be FileRef, which echo gives"):
        count(made)
    with pytest.raises(CallError, match=r"will be list\[str\], which echo gives"):
        ends(said)


@task
def count_words(lines: list[str]) -> int:
    return len(lines)


def test_arrays_are_told_by_what_they_hold(calls: None) -> None:
    import numpy as np
    from numpy.typing import NDArray

    @task
    def whole(n: int) -> NDArray[np.int64]:
        return np.zeros(n, np.int64)

    @task
    def real(values: NDArray[np.float64]) -> None:
        pass

    real(np.zeros(3))
    with pytest.raises(CallError, match=r"will be .*int64.*, which whole gives"):
        real(whole(3))
    with pytest.raises(CallError) as caught:
        real([1.0])  # A list is no array.
    assert caught.value.details["reason"] == "list is not an instance of ndarray"


def test_hints_that_are_futures_mean_their_values(calls: None) -> None:
    @task
    def double(n: Future[int]) -> Future[int]:
        return n * 2  # type: ignore[operator]

    double(double(3))
    with pytest.raises(CallError, match=r"its hint is .*Future\[int\]"):
        double("3")


def test_a_name_that_is_not_there_yet_is_no_hint_until_it_is(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "later"}
    exec("def f(x: 'Later', y: 'Nope') -> 'Later': ...", namespace)
    hints = _hints(namespace["f"])

    assert hints.parameter("x") is Any and hints.returned is Any
    namespace["Later"] = int

    assert hints.parameter("x") is int and hints.returned is int
    assert hints.parameter("y") is Any


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type aliases are of Python 3.12")
def test_aliases_stand_for_what_they_name() -> None:
    namespace: dict[str, Any] = {}
    exec("type Numbers = list[int]\ntype Json = dict[str, Json] | int", namespace)

    assert plain(namespace["Numbers"]) == list[int]
    assert not fits(list[str], plain(namespace["Numbers"]))
    assert fits(dict[str, dict[str, int]], plain(namespace["Json"]))


RESULTS = """
    from typing import Iterator

    @task
    def number(text: str) -> int:
        return text

    @task(check="off")
    def unchecked(text: str) -> int:
        return text

    @task
    def pair() -> tuple[int, str]:
        return 1, 2

    @target
    def all():
        %s > "out.txt"
"""


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_a_result_that_does_not_fit_fails_the_task(inside: Any, jobs: str) -> None:
    inside.merklfile(RESULTS % "number('three')")
    done = inside.merkl("build", "all", jobs, code=1)

    assert "number returned 'three', of type str, and its hint is int" in done.stderr
    assert "reason: str is not an instance of int" in done.stderr
    assert "defined: Merklfile.py:5" in done.stderr and "at: Merklfile.py:19" in done.stderr


def test_parts_of_a_result_are_checked_and_check_off_checks_nothing(inside: Any) -> None:
    inside.merklfile(RESULTS % "pair()[0]")
    assert "item 1 of tuple is not an instance of str" in inside.merkl("build", "all", "-j1", code=1).stderr
    inside.merklfile(RESULTS % "unchecked('three')")
    assert inside.build("all", "-j1") == ["unchecked"]
    assert inside.read("out.txt") == "three"


def test_the_check_is_not_in_the_key(calls: None) -> None:
    def f(x: int) -> int:
        return x

    assert task(f)(1).hash == task(check="off")(f)(1).hash == task(check="all")(f)(1).hash


def test_typeguard_is_imported_only_for_what_needs_it(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys
        from merkl import task

        @task
        def f(x: int, y: list[str], z: dict[str, float] | None = None) -> int:
            return x

        assert f(f(1, ["a"], {"b": 1}), []).eval() == 1
        print("typeguard" in sys.modules)
        try:
            f("1", [])
        except Exception as error:
            print(type(error).__name__, "typeguard" in sys.modules)
    """)
    (tmp_path / "script.py").write_text(script)
    (tmp_path / ".merkl").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["False", "CallError", "True"]


def _hints(function: Any) -> Hints:
    import inspect

    return Hints(function, inspect.signature(function))


_PLACE = count.place
