"""Keys that could be confused, and secrets that could leak: rows 73 and 74 of the faults.

Beside these: the encoding of values on its own, under hypothesis and fifty hash seeds (``test_digest_injective``,
``test_digest``), and each place a secret could be in, one by one (``test_bash_secrets``).
"""

import math
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from merkl.execute.secrets import Veil

FULL = bool(os.environ.get("MERKL_FULL"))

# ---- row 73 --------------------------------------------------------------------------------------------------------

CONFUSABLE = """
    import math

    show = bash_task("printf '<%s>' {arg('a')} > {out_file_arg('o')}")
    two = bash_task("printf '<%s>' {arg('a')} {arg('b')} > {out_file_arg('o')}")

    @task
    def say(value, other=None) -> str:
        return f"{type(value).__name__} {value!r} {other!r}"

    WORDS = [["a b"], ["a", "b"], ["ab"], ["a", "b", ""], "a b", [], [""], "", 1, "1", 1.0, -1, "01", b"\\\\xff", "\\\\udcff \\\\udcff", None]
    VALUES = [
        {"a": "bc"}, {"ab": "c"}, {"a": "b", "c": ""}, ["a b"], ["a", "b"], ("a", "b"), 1, "1", True, 1.0, b"1", [1], [[1]], {1}, {"1"},
        frozenset({1}), None, "", b"", [], (), {}, set(), 0, False, 0.0, -0.0, "None", "nan", math.nan, math.inf, -math.inf, 1e16, 10**16,
        {1: 2}, {"1": 2}, {True: 2}, [("a", 1)], {"a": 1}, 2**64, -(2**64), "a\\\\0b", ["a\\\\0b"], ["a", "\\\\0b"],
    ]

    @target(default=True)
    def all():
        for number, words in enumerate(WORDS):
            show(words) > f"build/show{number}"
        two("a", "bc") > "build/two1"
        two("ab", "c") > "build/two2"
        two("abc", "") > "build/two3"
        for number, value in enumerate(VALUES):
            say(value) > f"build/say{number}.txt"
        say("a", "bc") > "build/saytwo1.txt"
        say("ab", "c") > "build/saytwo2.txt"
        say({"x", "y", "z", 1, 2, None}) > "build/set.txt"
"""
WORDS = [["a b"], ["a", "b"], ["ab"], ["a", "b", ""], ["a b"], [], [""], [""], ["1"], ["1"], ["1.0"], ["-1"], ["01"], ["\udcff"], ["\udcff \udcff"], []]  # fmt: skip


def test_row_73_arguments_that_look_alike_have_results_of_their_own(
    inside: Any, proven: Callable[..., None]
) -> None:
    inside.merklfile(CONFUSABLE.replace("\\\\", "\\"))
    inside.build("-j1")
    for number, words in enumerate(WORDS):
        expected = b"".join(b"<%s>" % os.fsencode(word) for word in words or [""])
        assert (inside.path / f"build/show{number}").read_bytes() == expected, number
    assert [inside.read(f"build/two{n}") for n in (1, 2, 3)] == ["<a><bc>", "<ab><c>", "<abc><>"]
    values: list[Any] = [
        {"a": "bc"}, {"ab": "c"}, {"a": "b", "c": ""}, ["a b"], ["a", "b"], ("a", "b"), 1, "1", True, 1.0, b"1", [1], [[1]], {1},
        {"1"}, frozenset({1}), None, "", b"", [], (), {}, set(), 0, False, 0.0, -0.0, "None", "nan", math.nan, math.inf, -math.inf,
        1e16, 10**16, {1: 2}, {"1": 2}, {True: 2}, [("a", 1)], {"a": 1}, 2**64, -(2**64), "a\0b", ["a\0b"], ["a", "\0b"],
    ]  # fmt: skip
    for number, value in enumerate(values):
        assert inside.read(f"build/say{number}.txt").rstrip("\n") == f"{type(value).__name__} {value!r} None"
    assert inside.read("build/saytwo1.txt").startswith("str 'a' 'bc'")
    assert inside.build("-j1") == []
    text = inside.read("Merklfile.py")
    assert '    say({"x"' in text
    inside.write("Merklfile.py", text.replace('    say({"x"', '    # say({"x"'))
    (inside.path / "build/set.txt").unlink()  # Its text is in the order of one process's hashes.
    proven()


PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.0, 1.0, -1.0, 0.5, math.inf]),
    st.sampled_from(["", "a", "b", "ab", "1", "True", "None", " "]), st.sampled_from([b"", b"a", b"1"]),
)  # fmt: skip
NESTED = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner), st.tuples(inner, inner),
        st.dictionaries(st.sampled_from(["a", "b", "ab", 1]), inner, max_size=2),
        st.frozensets(st.sampled_from(["a", "b", 1, None]), max_size=3),
    ),
    max_leaves=5,
)  # fmt: skip


def spelt(value: Any) -> str:
    """The value with the types of all its parts: two values have one spelling exactly if nobody can tell them apart."""
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{spelt(k)}:{spelt(v)}" for k, v in value.items())) + "}"
    if isinstance(value, frozenset):
        return "frozenset(" + ",".join(sorted(map(spelt, value))) + ")"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({','.join(map(spelt, value))})"
    return f"{type(value).__name__}:{value!r}"


@settings(max_examples=5000 if FULL else 150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(NESTED, NESTED), st.tuples(NESTED, NESTED))
@example((["a b"], None), (["a", "b"], None))
@example((1, None), (True, None))
@example(("", None), (None, None))
def test_row_73_two_calls_have_one_key_exactly_if_their_arguments_are_the_same(
    keys_of: Callable[..., str], one: tuple[Any, Any], other: tuple[Any, Any]
) -> None:
    same = [spelt(each) for each in one] == [spelt(each) for each in other]
    assert (keys_of(*one) == keys_of(*other)) == same


@pytest.fixture
def keys_of(inside: Any) -> Any:
    """The key of a call of a Python task with two arguments."""
    import importlib.util

    inside.write("calls.py", "from merkl import task\n@task\ndef say(one, other):\n    return 1\n")
    spec = importlib.util.spec_from_file_location("calls_of_row_73", inside.path / "calls.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["calls_of_row_73"] = module
    try:
        spec.loader.exec_module(module)
        yield lambda one, other: module.say(one, other).node.key.hex()
    finally:
        del sys.modules["calls_of_row_73"]


KEYS = """
import sys
from merkl import bash_task, task
@task
def say(value, more=None):
    return {"x", "y", value} if value == 1 else 2
show = bash_task("echo {arg('a')} {arg('b', default=None)}")
words = {"x", "y", "z", "", "xy", 1, None, 2.5, (1, "2"), b"z"}
values = [words, frozenset(words), {str(i): i for i in range(50)}, {i: {str(i), i} for i in range(20)}, [words, {"a": words}]]
calls = [say(value) for value in values] + [say(1, more=words), show(["a", "b"], b="c"), show("x")]
print(*[call.node.key.hex() for call in calls])
"""


def test_row_73_keys_are_the_same_under_many_hash_seeds(tmp_path: Path) -> None:
    (tmp_path / "Merklfile.py").touch()
    (tmp_path / "keys.py").write_text(KEYS)
    seen = set()
    for start in range(0, 50 if FULL else 10, 5):
        running = [
            subprocess.Popen(
                [sys.executable, "keys.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
                env={**os.environ, "PYTHONHASHSEED": str(seed)},
            )
            for seed in range(start, start + 5)
        ]  # fmt: skip
        for process in running:
            out, _ = process.communicate(timeout=120)
            assert process.returncode == 0
            seen.add(out)
    assert len(seen) == 1
    assert len(set(seen.pop().split())) == 8


# ---- row 74 --------------------------------------------------------------------------------------------------------

CANARY = "c4n4ry\"$(id)'-in-the `coal` mine"
LINES = "-----BEGIN-----\nfirst-l1ne-of-the-key\nsecond-l1ne-of-the-key\n-----END-----\n"
ELSEWHERE = "c4n4ry-of-somebody-else"

SECRETIVE = """
    use = bash_task("test -n {secret_arg('TOKEN')}; test -n {secret_arg('KEY')}; echo used > {out_file_arg('o')}", tools=["true"])
    loud = bash_task("echo {secret_arg('TOKEN')}; echo {secret_arg('KEY')} >&2; set -x; : {secret_arg('TOKEN')}; echo x > {out_file_arg('o')}")
    value = bash_task("echo {secret_arg('TOKEN')} > /dev/null; wc -c <<< {secret_arg('TOKEN')}", stdout=str)
    split = bash_task("printf %s {secret_arg('TOKEN')} | head -c 9; sleep 0.5; printf %s {secret_arg('TOKEN')} | tail -c +10", cache=False)
    fails = bash_task("set -x; curl -H {secret_arg('TOKEN')} nowhere://; cat <<< {secret_arg('KEY')}; exit 3; : {out_file_arg('o')}")
    missing = bash_task("touch {{ out_file_arg('o') | parent }}/$(sed -n 2p <<< {secret_arg('KEY')})")
    named = bash_task("mkdir {out_dir_arg('d')}/x; mkfifo {out_dir_arg('d')}/x/$(sed -n 2p <<< {secret_arg('KEY')})")
    again = bash_task("echo {secret_arg('TOKEN')} >&2; exit 1", retries=1, cache=False)
    slow = bash_task("echo begun; echo {secret_arg('TOKEN')}; echo > begun; cat <<< {secret_arg('KEY')}; sleep {arg('s')}; echo {secret_arg('TOKEN')}", cache=False)
    snake = bash_task("raise ValueError({secret_arg('TOKEN')})", interpreter="python3", cache=False)

    @target
    def good(): return use(o="build/used"), loud(o="build/loud"), value() > "build/value", split()
    for name, made in dict(fails=fails(), missing=missing(), named=named(), again=again(), snake=snake(), slow=slow(3), endless=slow(60)).items():
        target(name, made)
"""


def environment(home: Path) -> dict[str, str]:
    """Secrets that are declared, and others that are only there."""
    (home / ".netrc").write_text(f"machine example.org login me password {ELSEWHERE}\n")
    userinfo = f"http://me:{ELSEWHERE}@localhost:1"
    return {
        **os.environ,
        "TOKEN": CANARY,
        "KEY": LINES,
        "OTHER": ELSEWHERE,
        "http_proxy": userinfo,
        "HOME": str(home),
    }


def traces(project: Any, *texts: str) -> list[str]:
    """Where one of the secrets can be read: files of the project, its state and store, and what was said."""
    pieces = [CANARY, "c4n4ry", "first-l1ne", "second-l1ne", ELSEWHERE]
    found = [f"said: {text}" for text in texts for piece in pieces if piece in text]
    for path in project.path.rglob("*"):
        if path.is_file() and path.name != "Merklfile.py":
            data = path.read_bytes()
            found += [str(path) for piece in pieces if piece.encode() in data]
        found += [str(path) for piece in pieces if piece in path.name and "stage" not in path.parts]
    return found


def test_row_74_a_secret_is_nowhere_whatever_becomes_of_the_task(
    inside: Any, proven: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside.merklfile(SECRETIVE)
    home = tmp_path / "home"
    home.mkdir()
    env = environment(home)
    said = []

    def merkl(*words: str, code: int | None = 0) -> None:
        done = inside.merkl(*words, code=code, env=env)
        said.extend([done.stdout, done.stderr])

    merkl("build", "-v", "-j1", "good")
    assert inside.read("build/value").strip() == str(len(CANARY) + 1)
    for name in ("fails", "missing", "named", "again", "snake"):
        for more in ((), ("--json",), ("-v",)):
            merkl("build", "-j1", name, *more, code=1)
        merkl("log", name)
        merkl("why", name)
    for command in ("why", "show", "log", "dag"):
        merkl(command, "good")
    merkl("show", "--json", "good")
    merkl("list")
    merkl("gc", "--dry-run")
    merkl("fsck")
    assert "***" in "".join(said)
    assert traces(inside, *said) == []
    monkeypatch.setenv("TOKEN", "x" * len(CANARY))  # Another runs nothing, and its length is in a result.
    monkeypatch.setenv("KEY", "another")
    proven("good")
    assert traces(inside) == []


def wait_for(path: Path, build: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert build.poll() is None, build.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def test_row_74_who_follows_a_running_task_sees_no_secret(project: Any, tmp_path: Path) -> None:
    """Though he has no such secret himself: what must not be shown is known to the build alone."""
    project.merklfile(SECRETIVE)
    (tmp_path / "home").mkdir()
    build = project.popen("build", "-j1", "slow", env=environment(tmp_path / "home"))
    wait_for(project.path / "begun", build)

    followed = project.merkl("log", "-f", "slow")
    out, err = build.communicate(timeout=60)
    assert build.returncode == 0, err
    assert followed.stdout.splitlines()[:3] == ["== slow s=3", "begun", "***"], followed.stdout
    assert followed.stdout.count("***") >= 3 and "-----BEGIN" not in followed.stdout
    assert traces(project, followed.stdout, followed.stderr, out, err) == []


def test_row_74_what_a_task_prints_before_its_secrets_are_taken_out_is_for_its_user_alone(
    project: Any, tmp_path: Path
) -> None:
    project.merklfile(SECRETIVE)
    (tmp_path / "home").mkdir()
    build = project.popen("build", "-j1", "endless", env=environment(tmp_path / "home"))
    try:
        wait_for(project.path / "begun", build)
        holding = [
            path for path in project.path.rglob("*") if path.is_file() and b"c4n4ry" in path.read_bytes()
        ]
        holding = [path for path in holding if path.name != "Merklfile.py"]
        assert {path.name for path in holding} == {"stdout"}  # What goes to the log is as private.
        private = [*holding, *(path.with_name("log") for path in holding)]
        assert [stat.S_IMODE(path.stat().st_mode) for path in private] == [0o600] * 2
    finally:
        build.send_signal(signal.SIGINT)
        said = build.communicate(timeout=60)
    assert build.returncode == 130
    assert traces(project, *said) == []


def test_row_74_after_a_kill_the_next_build_removes_what_was_printed(
    project: Any, proven: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.merklfile(SECRETIVE)
    (tmp_path / "home").mkdir()
    build = project.popen("build", "-j1", "slow", env=environment(tmp_path / "home"))
    wait_for(project.path / "begun", build)
    build.kill()
    build.communicate()
    for name in ("TOKEN", "KEY"):
        monkeypatch.setenv(name, "another")
    proven("good")
    assert traces(project) == []


SECRETS = st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=3, unique=True).map(
    lambda found: sorted(found, key=lambda secret: (-len(secret), secret))
)


@given(SECRETS, st.lists(st.one_of(st.integers(0, 2), st.binary(max_size=4)), max_size=8), st.integers(1, 9))
@example([b"abab"], [b"x", 0, b"ab"], 3)
@example([b"abcdef", b"abc"], [0, 1], 4)
def test_row_74_bytes_that_come_in_pieces_hold_no_secret(
    secrets: list[bytes], parts: list[Any], step: int
) -> None:
    data = b"".join(secrets[part % len(secrets)] if isinstance(part, int) else part for part in parts)
    at_once, in_pieces = Veil(secrets), Veil(secrets)
    whole = at_once.take(data) + at_once.rest()
    shown = [in_pieces.take(data[at : at + step]) for at in range(0, len(data), step)]

    assert b"".join(shown) + in_pieces.rest() == whole
    for piece in whole.split(b"***"):
        assert not any(secret in piece for secret in secrets) or any(
            set(secret) <= set(b"*") for secret in secrets
        )
    if not any(secret in data for secret in secrets):
        assert whole == data
