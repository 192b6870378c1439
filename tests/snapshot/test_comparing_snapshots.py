"""How the files of a snapshot are laid out and compared, by one process and by several."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merkl.snapshot import answer
from merkl.snapshot.layout import laid_out, looked_at, with_stamps

STAMPS = st.one_of(st.sampled_from([2, -1, (1, 2, 3)]), st.tuples(*[st.integers(0, 2**63 - 1)] * 6))
PATHS = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from(["", "/", "a/", "a//", "/abs/", "ä/\udcff/"]),
    st.sampled_from(["x", "y", "z", "long name", "\udc80"]),
)
FILES = st.dictionaries(PATHS, STAMPS)


@settings(deadline=None)
@given(FILES, st.lists(FILES, max_size=3))
def test_what_is_laid_out_and_changed_is_read_again_as_it_is(files, changes):
    laid = laid_out(files.items())
    for change in changes:
        again = {path: stamp for path, stamp in change.items() if path in files}
        files = files | again
        laid = with_stamps(laid, again)

    assert sorted(looked_at(laid), key=repr) == sorted(files.items(), key=repr)


# Compares a tree of some directories, after what is to change has changed; says what was found, and by how many processes.
COMPARE = """
import os, sys
from merkl.snapshot import answer
from merkl.snapshot.layout import laid_out

names = [f"{d}/{n}" for d in "abcdef" for n in range(60)]
for name in names:
    os.makedirs(os.path.dirname(name), exist_ok=True)
    open(name, "w").close()
os.symlink("a/0", "link")
def stamp(name, look=os.stat):
    try:
        return answer.full_stamp(look(name))
    except OSError as error:
        return error.errno
files = laid_out([*((name, stamp(name)) for name in names), ("a", answer.kind_stamp(os.stat("a"))), ("none", 2)])
links = laid_out([("link", stamp("link", os.lstat)), ("nolink", 2)])
answer._SPLIT, answer.processors = SPLIT, lambda: 3
forks, fork = [], os.fork
def counted():
    pid = fork()
    forks.append(pid)
    return pid
os.fork = counted
def compared(most=1000, meanwhile=None):
    found = answer._changed(os.getcwd(), files, links, most, meanwhile)
    return None if found is None else tuple(map(sorted, found))
here = os.getcwd()
"""


def compare(place: Path, split: int, text: str) -> list[str]:
    code = COMPARE.replace("= SPLIT,", f"= {split},")
    code += textwrap.dedent(text) + "\nassert os.getcwd() == here\n"
    code += "try: os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError: print('no child', len(forks))\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(("split", "helpers"), [(10_000, 0), (100, 2)])
class TestOneProcessOrSeveral:
    def test_all_that_changed_is_found_and_nothing_else(self, tmp_path, split, helpers):
        said = compare(
            tmp_path,
            split,
            """
            print(compared())
            open("b/7", "w").write("more")
            os.unlink("c/8")
            os.chmod("f/59", 0o600)
            os.unlink("link"); os.symlink("a/1", "link")
            open("none", "w").close(); os.symlink("x", "nolink")
            open("a/new", "w").close()  # Of that directory, only that it is one was asked.
            print(compared())
            os.rename("d", "away")
            found, _ = compared()
            print(sorted(name for name in found if name[0] == "d") == sorted(n for n in names if n[0] == "d"))
            """,
        )

        assert said == [
            "([], [])",
            "(['b/7', 'c/8', 'f/59', 'none'], ['link', 'nolink'])",
            "True",
            f"no child {3 * helpers}",
        ]

    def test_too_much_is_no_answer(self, tmp_path, split, helpers):
        said = compare(
            tmp_path,
            split,
            """
            for name in names: os.utime(name)
            print(compared(0), compared(100), len(compared(400)[0]))
            """,
        )

        assert said == ["None None 360", f"no child {3 * helpers}"]

    def test_a_process_that_dies_leaves_nothing_behind_and_no_answer(self, tmp_path, split, helpers):
        said = compare(
            tmp_path,
            split,
            """
            ours, whole = os.getpid(), answer._compare
            def dying(*args):
                if os.getpid() != ours:
                    os.kill(os.getpid(), 9)
                whole(*args)
            answer._compare = dying
            try:
                print(compared())
            except EOFError:
                print("no answer")
            """,
        )

        assert said == ["no answer" if helpers else "([], [])", f"no child {helpers}"]


@pytest.mark.parametrize("changed", ["a/3", "f/59", "none", "link"])
def test_while_others_look_for_more_something_else_is_done_once(tmp_path, changed):
    said = compare(
        tmp_path,
        100,
        f"""
        done = []
        def meanwhile():
            done.append(os.getcwd() == here)
        print(compared(meanwhile=meanwhile), done)
        os.path.lexists({changed!r}) and os.unlink({changed!r})
        os.symlink("a/2", {changed!r})
        finds = answer._finds_any
        def late(root, shares, changed, most):  # The others get all that is left, and tell.
            if not changed:
                import select
                assert select.select([shares._news[0]], [], [], 30)[0]
            return finds(root, shares, changed, most)
        answer._finds_any = late
        found = compared(meanwhile=meanwhile)
        print({changed!r} in (found[1] if {changed!r} == "link" else found[0]), sum(map(len, found)), done)
        print(compared(0, meanwhile), done)
        """,
    )

    assert said == ["([], []) []", "True 1 [True]", "None [True]", "no child 6"]


def test_a_process_with_threads_forks_none(tmp_path):
    said = compare(
        tmp_path,
        100,
        """
        import threading
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()
        print(compared())
        done.set(); thread.join()
        """,
    )

    assert said == ["([], [])", "no child 0"]


def test_who_has_seen_enough_lets_nobody_take_another_share():
    groups = [(True, (b"", b"name", b"", 1))] * 50
    shares, of_another = answer._Shares(groups, True), answer._Shares(groups, False)
    of_another._pipe = os.dup(shares._pipe)  # As a process that is forked has it.
    of_another._news = tuple(map(os.dup, shares._news))
    assert shares.take() and of_another.take()

    answer._compare("/", of_another, [(True, "changed")], 0)

    assert not shares.take()
    shares.close()
