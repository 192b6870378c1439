"""Pushes that are killed, and pushes of one thing by two: what a bucket has is whole at every moment."""

import os
import signal
import subprocess
import threading

import pytest
from servers import fault_proxy as faults

LATER = """
@target(default=True)
def all():
    when = bash_task("date +%s%N > {out_file_arg('when', '.txt')}")
    when() > "out/when.txt"
"""


def killed_at(users, number, *, before):
    """A push that is killed when its request of that number comes, or has been done; whether it was."""
    users.proxy.clear()
    holder: list[subprocess.Popen[str]] = []
    begun = threading.Event()

    def kill():
        begun.wait(60)
        os.kill(holder[0].pid, signal.SIGKILL)

    fault = faults.before(kill) if before else faults.after(kill)
    rule = users.proxy.rule(fault, skip=number, count=1)
    holder.append(users.popen(users.here, "push"))
    begun.set()
    out, err = holder[0].communicate(timeout=120)
    assert holder[0].returncode in ((0, -signal.SIGKILL) if rule.hits else (0,)), (out, err)
    users.proxy.clear()
    return bool(rule.hits)


def expect_whole(users):
    """Each record that is there has all its bytes, and what a build takes from there is right."""
    found = users.merkl(users.here, "fsck", "--remote", code=None).stdout
    assert "incomplete in the remote" not in found and "damaged in the remote" not in found
    users.forget(users.there)
    users.build(users.there)
    assert users.notes == []
    assert users.outputs(users.there) == users.outputs(users.here)


def sweep(users, numbers, ways=(True, False)):
    users.build(users.here)
    (users.here / "data.bin").write_bytes(b"data" * 100_000)
    users.merkl(users.here, "track", "data.bin")
    for number in numbers:
        for before in ways:
            if there := users.objects():
                users.remove(*there)
            hit = killed_at(users, number, before=before)
            expect_whole(users)
            users.merkl(users.here, "push")
            users.expect_sound()
            assert users.build(users.there) == []
        if not hit:
            return number
    return None


def test_a_push_that_is_killed_leaves_no_promise_and_the_next_goes_on(users):
    sweep(users, [10], ways=[True])


@pytest.mark.full
def test_a_push_that_is_killed_at_any_request_leaves_no_promise(users):
    assert (sweep(users, range(1000)) or 0) > 10


def test_of_two_who_push_one_key_at_once_one_wins_for_all(users):
    users.merklfile(LATER)
    for at in (users.here, users.there):
        users.build(at, MERKL_REMOTE=str(users.root))  # An empty directory: neither hears of the other.
    made = [users.outputs(users.here), users.outputs(users.there)]
    assert made[0] != made[1]
    both = threading.Barrier(2, timeout=60)
    users.proxy.rule(faults.before(both.wait), "PUT .*/made/", count=2)

    pushes = [users.popen(at, "push") for at in (users.here, users.there)]
    for push in pushes:
        out, err = push.communicate(timeout=60)
        assert push.returncode == 0, (out, err)

    users.proxy.clear()
    users.forget(users.there)
    assert users.build(users.there) == []
    assert users.outputs(users.there) in made
    assert "nothing is wrong" in users.merkl(users.there, "fsck", "--remote").stdout
    users.forget(users.here)
    assert users.build(users.here) == []
    assert users.outputs(users.here) == users.outputs(users.there)


def exit_codes(users, rounds):
    """Build, push and pull, so many times each, as processes; those that crashed or ended otherwise than they should."""
    (users.here / "data.bin").write_bytes(b"data" * 100_000)
    users.merkl(users.here, "track", "data.bin")
    users.hand_over()
    wrong = []
    for number in range(rounds):
        fails = number % 5 == 1  # One of five meets a bucket that refuses.
        if fails:
            users.proxy.rule(faults.failing(403, "AccessDenied"))
        users.forget(users.here)
        users.forget(users.there)
        (users.there / "data.bin").unlink(missing_ok=True)
        for at, words, code in (
            (users.here, ["build", "--push", *(["--require-remote"] if fails else [])], 3 if fails else 0),
            (users.here, ["push"], 3 if fails else 0),
            (users.there, ["pull"], 3 if fails else 0),
        ):
            process = users.popen(at, *words)
            out, err = process.communicate(timeout=60)
            if process.returncode != code or "Traceback" in err or "panicked" in err or "Fatal" in err:
                wrong.append((words, process.returncode, out, err))
        users.proxy.clear()
    return wrong


def test_commands_end_as_they_should_and_do_not_crash(users):
    assert exit_codes(users, 2) == []


@pytest.mark.full
def test_commands_end_as_they_should_fifty_times(users):
    assert exit_codes(users, 50) == []
