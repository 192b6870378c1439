"""What type checkers see of tasks and Futures; ``mypy --strict`` runs over it, nothing else does."""

from collections.abc import Generator, Mapping
from typing import Any, TypedDict, assert_type

from merkl import Future, batch, pipeline, task


class Ends(TypedDict):
    low: int


@task
def number(x: int) -> int:
    return x


@task
def text(x: int, y: str = "") -> str:
    return y * x


@task
def pair(x: int) -> tuple[int, str]:
    return x, ""


@task
def five() -> tuple[int, str, int, str, bytes]:
    return 1, "", 2, "", b""


@task
def parts() -> dict[str, float]:
    return {"a": 1.0}


@task
def ends() -> Ends:
    return {"low": 1}


@task
def many() -> tuple[int, ...]:
    return (1, 2)


@task
def nothing() -> None: ...


@task(outs=1)
def one() -> tuple[int, str]:
    return 1, ""


@task(outs=["a", "b"])
def named() -> dict[str, int]:
    return {"a": 1, "b": 2}


@task(outs=3, retries=1)
def three(n: int) -> list[int]:
    return [n] * 3


@task(outs=lambda n: n)
def told(n: int) -> list[int]:
    return [n] * n


@task(version="1", retries=2, check="all")
def optioned(x: int) -> list[int]:
    return [x]


@task
def untyped(x, y=1):  # type: ignore[no-untyped-def]
    return x


@batch(text)
def texts(items: list[tuple[int, str]]) -> list[str]:
    return [y * x for x, y in items]


@batch(pair)
def pairs(items: list[int]) -> list[tuple[int, str]]:
    return [(x, "") for x in items]


@batch
def squares(items: list[int]) -> list[int]:
    return [x * x for x in items]


@pipeline
def whole(x: int) -> Future[str]:
    return text(number(x))


@pipeline
def steps(x: int) -> Generator[Future[int], None, Future[str]]:
    yield number(x)
    return text(x)


def plain(x: int) -> float:
    return x


assert_type(number(3), Future[int])
assert_type(untyped(3), Any)
assert_type(number(number(3)), Future[int])
assert_type(text(number(3), y=text(1)), Future[str])
assert_type(pair(3), tuple[Future[int], Future[str]])
assert_type(five(), tuple[Future[int], Future[str], Future[int], Future[str], Future[bytes]])
assert_type(parts(), Future[dict[str, float]])
assert_type(parts()["a"], Future[float])
assert_type(ends(), Future[Ends])
assert_type(many(), Future[tuple[int, ...]])
assert_type(nothing(), Future[None])
assert_type(one(), Future[tuple[int, str]])
assert_type(named(), dict[str, Future[Any]])
assert_type(three(1), Any)
assert_type(told(3), Any)
assert_type(optioned(3), Future[list[int]])
assert_type(texts([(1, "a")]), list[Future[str]])
assert_type(pairs([1]), list[Any])
assert_type(squares([1, number(2)]), list[Future[int]])
assert_type(whole(3), Future[str])
assert_type(steps(3).eval(), str)
assert_type(number(3).eval(), int)
assert_type(pair(3)[1].v, str)
assert_type(number.function(3), int)
assert_type(task(plain)(2), Future[float])
assert_type(task(plain, version="2")(2), Future[float])
assert_type(number(3) > "out.txt", Future[int])
assert_type(number(3) >> "out.txt", Future[int])
assert_type(number(3) == number(3), bool)
number.function("3")  # type: ignore[arg-type]
number.function(number(3))  # type: ignore[arg-type]
task(version=3)  # type: ignore[call-overload]
task(outs=1.5)  # type: ignore[call-overload]


def reads(values: Mapping[str, Future[int]]) -> Future[int]:
    return values["a"]
