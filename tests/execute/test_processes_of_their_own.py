"""What a job is given of the machine for itself: room, variables, a niceness; and what nobody after it has."""

import os
import pickle

import pytest
from executor_bench import finish, is_alive, log_of

from merkl.execute.base import Exited, Returned


def value(ended):
    assert isinstance(ended.how, Returned), ended.how
    return pickle.loads(ended.how.payload)


def what_it_has():
    return os.environ.get("SHARE"), os.getpriority(os.PRIO_PROCESS, 0), os.getpid()


def test_there_is_room_while_fewer_jobs_run_than_there_are_slots(executor, bench):
    assert executor.has_room()
    for _ in range(executor.slots):
        assert executor.has_room()
        executor.start(bench.bash("sleep 30"))
    assert not executor.has_room()

    executor.kill()
    ended = []
    while len(ended) < executor.slots:
        ended += executor.wait(10)
    assert executor.has_room()


def test_a_call_with_variables_has_them_and_others_do_not(executor, bench):
    jobs = [
        bench.call(what_it_has, variables={"SHARE": share} if share else {}) for share in ("a", "", "b", "")
    ]

    seen = [value(finish(executor, job)[0]) for job in jobs]

    assert [share for share, _, _ in seen] == ["a", None, "b", None]
    assert "SHARE" not in os.environ


def test_a_process_of_its_own_is_no_other_calls_and_ends_with_the_call(executor, bench):
    before, own, after = (
        value(finish(executor, bench.call(what_it_has, variables=variables))[0])[2]
        for variables in ({}, {"SHARE": "1"}, {})
    )

    assert own not in (before, after, os.getpid())
    assert before == after
    while is_alive(own):
        executor.wait(0.01)


def test_an_interactive_call_has_its_variables_right_here_and_only_meanwhile(executor, bench, monkeypatch):
    monkeypatch.setenv("OLD", "as it was")

    def both():
        return os.environ["SHARE"], os.environ["OLD"], os.getpid()

    (ended,) = finish(executor, bench.call(both, variables={"SHARE": "1", "OLD": "new"}, interactive=True))

    assert value(ended) == ("1", "new", os.getpid())
    assert "SHARE" not in os.environ
    assert os.environ["OLD"] == "as it was"


@pytest.mark.parametrize("nice", [1, 4, 19])
def test_a_command_is_nice_from_its_beginning_and_so_is_all_that_it_starts(executor, bench, nice):
    own = os.getpriority(os.PRIO_PROCESS, 0)
    jobs = [bench.bash("nice; (nice); nice &\nwait", nice=nice) for _ in range(5)]

    assert {ended.how for ended in finish(executor, *jobs)} == {Exited(0)}

    assert {word for job in jobs for word in log_of(job).split()} == {str(min(19, own + nice))}
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_a_nice_call_leaves_the_next_one_as_it_was(executor, bench):
    own = os.getpriority(os.PRIO_PROCESS, 0)

    nices = [value(finish(executor, bench.call(what_it_has, nice=nice))[0])[1] for nice in (0, 5, 0)]

    assert nices == [own, min(19, own + 5), own]


def test_a_nice_command_that_is_not_there_is_reported_as_any_other(executor, bench):
    job = bench.bash("true", nice=3)
    missing = type(job)([b"/no/such/program"], job.env, job.cwd, job.log, nice=3)

    (ended,) = finish(executor, missing)

    assert ended.how.error.filename == b"/no/such/program"
