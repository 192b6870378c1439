"""What a Merklfile does besides making nodes is done again by every build that is not answered at once."""

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from test_snapshots import Asked, merklfile

MERKLFILE = """
    import os
    import sys

    upper = bash_task("tr a-z A-Z < {{file_arg('text', '.txt')}} > {{out_file_arg('out', '.txt')}}")
    spread = bash_task("mkdir {{out_dir_arg('out')}}/in; cp {{file_arg('text')}} {{out_dir_arg('out')}}/in/it")
    say = bash_task("echo {{arg('words')}} > {{out_file_arg('out', '.txt')}}")

    @target(default=True)
    def all():
        made, other = upper("a.txt"), upper("b.txt")
        made > "out/made.txt"
        spread("b.txt") > "out/tree"
        say(f"{{{does}}}") > "out/said.txt"
"""


def kept(path: Path, does: str) -> tuple[bool, bool]:
    """Whether there is a snapshot, and a graph, of a build that did this while the Merklfile was loaded."""
    (path / "p").mkdir()
    asked = Asked(path / "p")
    asked.write("a.txt", "a\n"), asked.write("b.txt", "b\n"), asked.write("reg.py", "K = 1\n")
    merklfile(asked, MERKLFILE.format(does=does))
    for _ in range(3):
        assert asked.told("build", "-j1")[0] != "answered"
        time.sleep(0.04)
        if found := any((asked.path / ".merkl").glob("snapshots/*")):
            break
    return found, any((asked.path / ".merkl").glob("graphs/*"))


@pytest.mark.parametrize(
    "does",
    [
        "len([made, other])",
        "__import__('logging').INFO",  # Which is to run at the end.
        "os.umask(os.umask(0o022)) and made.__class__.__name__",
        "__import__('reg').K",
    ],
)
def test_who_makes_nodes_alone_has_a_graph(tmp_path: Path, does: str) -> None:
    assert kept(tmp_path, does) == (True, True)


_FULL = pytest.mark.full


@pytest.mark.parametrize(
    "does",
    [
        "made.hash",
        "made.node.key.hex()",
        "made == other",
        "len({made, other})",
        "__import__('copyreg').__newobj__ and made.__reduce_ex__(4)[2][1]['output']",
        "made.in_cache()",
        "__import__('merkl').cache_ls() and 1",
        "os.umask(0o077) and 1",
        "setattr(__import__('reg'), 'K', 2) or 1",
        "os.environ.update(SOME='1')",
        "__import__('signal').signal(15, __import__('signal').SIG_IGN) and 1",
        "__import__('threading').Thread(target=len, args=('',)).start()",
        "os.path.exists('out/made.txt')",
        "os.path.exists('out/tree/in/it')",
        pytest.param("repr([made])", marks=_FULL),
        pytest.param("made in [other]", marks=_FULL),
        pytest.param("made.metadata", marks=_FULL),
        pytest.param("len(__import__('merkl').graph(made).graph.nodes)", marks=_FULL),
        pytest.param(
            "os.nice(1)",
            marks=[
                _FULL,
                pytest.mark.skipif(os.nice(0) >= 19, reason="a process cannot be nicer than this one is"),
            ],
        ),
        pytest.param("__import__('resource').setrlimit(4, (0, 0))", marks=_FULL),
        pytest.param("os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])", marks=_FULL),
        pytest.param("os.unsetenv('LOGNAME')", marks=_FULL),
    ],
)
def test_who_does_more_has_none(tmp_path: Path, does: str) -> None:
    assert kept(tmp_path, does) == (True, False)


@pytest.mark.parametrize(
    "does",
    [
        "__import__('atexit').register(print, 'end', file=sys.stderr) and 1",
        pytest.param("__import__('weakref').finalize(__import__('ast').AST, len, '').alive", marks=_FULL),
        pytest.param("print('said')", marks=_FULL),
    ],
)
def test_what_is_said_or_done_at_the_end_is_never_left_out(tmp_path: Path, does: str) -> None:
    assert kept(tmp_path, does)[0] is False
