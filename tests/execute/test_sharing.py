"""Slots and resources of builds that go on at once in one process: never too many, each in its turn, nobody for ever."""

import os
import random
import threading
from collections.abc import Iterator

import pytest

from merkl.execute.jobserver import Tokens, open_pipe
from merkl.execute.sharing import Sharer, aside, join

GPU = (("cpu", 1), ("gpu", 1))
TOTALS = {"cpu": 2, "gpu": 1, "licence": 1}


class Builds:
    """Builds of one project, and which of them were woken."""

    def __init__(self) -> None:
        self.all: list[Sharer] = []
        self.woken: list[int] = []

    def begin(self, slots: int = 2, tokens: Tokens | None = None) -> Sharer:
        sharer = join("/a/project", slots, tokens)
        number = len(self.all)
        sharer.wake = lambda: self.woken.append(number)
        self.all.append(sharer)
        return sharer


@pytest.fixture
def builds() -> Iterator[Builds]:
    builds = Builds()
    yield builds
    for sharer in builds.all:
        sharer.close()


def test_of_two_builds_no_more_run_than_the_slots_of_one_and_who_waits_is_woken(builds: Builds) -> None:
    one, two = builds.begin(), builds.begin()

    assert one.suffice(1)
    assert one.suffice(2)
    assert not two.suffice(1)
    assert one.is_wanted()
    assert builds.woken == []
    one.keep(1)
    assert builds.woken == [1]
    assert two.suffice(1)
    assert not one.suffice(2)


def test_who_waits_goes_before_who_asks_again(builds: Builds) -> None:
    one, two = builds.begin(), builds.begin()
    one.suffice(2)
    two.suffice(1)

    one.keep(1)

    assert not one.suffice(2)  # It has got into the line.
    assert two.suffice(1)
    two.keep(0)
    assert not two.suffice(1)
    assert one.suffice(2)


def test_who_no_longer_wants_what_it_lacked_holds_nobody_back(builds: Builds) -> None:
    one, two = builds.begin(), builds.begin()
    one.suffice(2)
    two.suffice(1)
    one.keep(1)
    two.settle()
    assert not one.suffice(2)

    two.settle()  # It has not asked again.

    assert builds.woken[-1] == 0
    assert one.suffice(2)


def test_a_gpu_is_never_given_to_two_builds_and_to_nobody_before_the_first_in_the_line(
    builds: Builds,
) -> None:
    one, two = builds.begin(), builds.begin()

    assert one.take(GPU, TOTALS, ["0"], 1) == (0,)
    assert two.take(GPU, TOTALS, ["0"], 1) is None
    assert two.used("cpu") == 1  # All or nothing.
    one.give_back(GPU, ["0"])
    assert one.lacking(GPU, TOTALS) == ["gpu"]
    assert two.take(GPU, TOTALS, ["0"], 1) == (0,)


def test_each_of_several_gpus_has_one_user(builds: Builds) -> None:
    one, two = builds.begin(), builds.begin()
    totals = {**TOTALS, "gpu": 3}

    assert one.take(GPU, totals, ["a", "b", "c"], 1) == (0,)
    assert two.take((("gpu", 2),), totals, ["a", "b", "c"], 2) == (1, 2)
    one.give_back(GPU, ["a"])
    assert two.take((("gpu", 1),), totals, ["a", "b", "c"], 1) == (0,)


def test_a_build_that_ends_gives_back_all_and_the_last_takes_the_jobserver_with_it(builds: Builds) -> None:
    tokens = open_pipe(2)
    assert tokens is not None
    one, two = builds.begin(2, tokens), builds.begin(4, open_pipe(4))
    assert one.tokens is two.tokens is tokens
    assert two.suffice(4)  # There are tokens for as many as the largest asks for.
    assert two.take(GPU, TOTALS, ["0"], 1) is not None

    two.close()
    two.close()

    assert one.take(GPU, TOTALS, ["0"], 1) == (0,)
    assert one.suffice(2)
    assert tokens.fd >= 0
    one.close()
    assert tokens.fd < 0
    assert builds.begin().tokens is None


def test_what_a_build_has_does_not_count_while_it_waits_for_another(builds: Builds) -> None:
    outer = builds.begin(1)
    outer.suffice(1)
    outer.take(GPU, TOTALS, ["0"], 1)

    with aside("/a/project"):
        inner = builds.begin(1)
        assert inner.suffice(1)
        assert inner.take(GPU, TOTALS, ["0"], 1) == (0,)
        inner.close()

    assert not builds.begin(1).suffice(1)


def test_of_builds_within_builds_each_is_aside_once(builds: Builds) -> None:
    builds.begin().suffice(1)

    with aside("/a/project"):
        builds.begin().suffice(1)
        with aside("/a/project"):
            inner = builds.begin()
            assert inner.suffice(2)
            assert not inner.suffice(3)
            inner.close()
    assert not builds.begin().suffice(1)


def test_who_took_less_than_it_lacked_is_woken_for_the_rest(builds: Builds) -> None:
    totals = {"memory": 10}
    one, two = builds.begin(), builds.begin()
    two.take((("memory", 5),), totals, [], 0)
    assert one.lacking((("memory", 8),), totals) == ["memory"]
    two.give_back((("memory", 5),))
    assert one.take((("memory", 2),), totals, [], 0) == ()
    builds.woken.clear()

    one.settle()  # It still wants eight.
    assert two.take((("memory", 1),), totals, [], 0) is None
    two.withdraw()

    assert builds.woken == [0]
    assert one.take((("memory", 6),), totals, [], 0) == ()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_child_that_was_forked_shares_nothing(builds: Builds) -> None:
    builds.begin(1).suffice(1)

    child = os.fork()
    if child == 0:
        os._exit(0 if builds.begin(1).suffice(1) else 1)

    assert os.waitpid(child, 0)[1] == 0


KINDS = (
    (("cpu", 1),), (("cpu", 2),), GPU, (("cpu", 1), ("licence", 1)), (("cpu", 1), ("gpu", 1), ("licence", 1)),
)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_whatever_builds_want_none_waits_for_ever_and_never_is_too_much_taken(
    builds: Builds, seed: int
) -> None:
    errors: list[str] = []
    in_use = {"jobs": 0, **dict.fromkeys(TOTALS, 0)}
    lock = threading.Lock()

    def count(needs: tuple[tuple[str, int], ...], sign: int) -> None:
        with lock:
            for name, need in (*needs, ("jobs", 1)):
                in_use[name] += sign * need
                if in_use[name] > {**TOTALS, "jobs": 2}[name]:
                    errors.append(f"{in_use[name]} {name}")

    def build(number: int) -> None:
        chance, news = random.Random(seed * 10 + number), threading.Event()
        sharer = join("/a/project", 2, None)
        sharer.wake = news.set
        todo = [chance.choice(KINDS) for _ in range(60)]
        running: list[tuple[tuple[str, int], ...]] = []
        while todo or running:
            news.clear()
            while todo and not sharer.lacking(todo[-1], TOTALS) and sharer.suffice(len(running) + 1):
                if sharer.take(todo[-1], TOTALS, ["0"], int("gpu" in dict(todo[-1]))) is None:
                    break
                running.append(todo.pop())
                count(running[-1], 1)
            sharer.settle()
            sharer.keep(len(running))
            if running:
                ended = running.pop(chance.randrange(len(running)))
                count(ended, -1)
                sharer.keep(len(running))
                sharer.give_back(ended, ["0"] if "gpu" in dict(ended) else [])
            elif todo and not news.wait(5):
                errors.append(f"{todo[-1]} was never given")
                break
        sharer.close()

    threads = [threading.Thread(target=build, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors
