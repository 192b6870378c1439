"""``capture``: the streams of a Python task as outputs beside its result."""

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from merkl import FileRef, Future, batch, task
from merkl.errors import BatchTaskError, CallError, TaskOutsError
from merkl.python.hints import hint_of

TALKS = """
    import ctypes
    import os
    import subprocess
    import sys

    @task(capture=("stdout", "stderr"))
    def talks(n):
        print("python", n)
        subprocess.run(["sh", "-c", "echo child; echo bad >&2"], check=True)
        os.write(1, b"ends\\r\\n")
        print("warned", file=sys.stderr)
        ctypes.CDLL(None).printf(b"from C\\n")
        return n + 1, n + 2

    @task(capture={"stdout": bytes})
    def raw():
        os.write(1, b"\\xff\\0")
        print("not captured", file=sys.stderr)
        return "made"

    @task
    def seen(result, text):
        return [result, text]

    @target(default=True)
    def all():
        (low, high), out, err = talks(1)
        out > "out.txt"
        err > "err.txt"
        made = raw()
        made.stdout > "raw.bin"
        seen(high, out) > "seen.json"
        seen(made.result, made.stdout) > "raw.pickle"
"""
OUT = b"python 1\nchild\nends\r\nfrom C\n"


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_all_that_is_written_to_a_stream_is_an_output(inside: Any, jobs: str) -> None:
    inside.merklfile(TALKS)
    inside.build(jobs)

    assert (inside.path / "out.txt").read_bytes() == OUT
    assert inside.read("err.txt") == "bad\nwarned\n"
    assert (inside.path / "raw.bin").read_bytes() == b"\xff\0"
    assert json.loads(inside.read("seen.json")) == [3, OUT.decode()]

    log = inside.merkl("log", "out.txt").stdout
    assert sorted(log.split()) == sorted("python 1 child bad ends warned from C".split())


def test_streams_that_are_known_come_from_the_store(inside: Any) -> None:
    inside.merklfile(TALKS)
    inside.build("-j1")
    (inside.path / "out.txt").unlink()
    (inside.path / "raw.bin").unlink()

    assert inside.build("-j1") == []
    assert (inside.path / "out.txt").read_bytes() == OUT
    assert (inside.path / "raw.bin").read_bytes() == b"\xff\0"


def test_a_stream_cuts_off_what_reads_it_like_any_output(inside: Any) -> None:
    inside.merklfile(TALKS)
    inside.build("-j1")
    inside.merklfile(TALKS.replace("return n + 1, n + 2", "return 2 * n, n + 2"))
    assert inside.build("-j1") == ["talks"]
    inside.merklfile(TALKS.replace('"python"', '"snake"'))
    assert inside.build("-j1") == ["talks", "seen"]


def test_a_script_gets_the_streams_as_values(inside: Any) -> None:
    inside.write(
        "script.py",
        "from merkl import task\n"
        "@task(capture='stderr', outs=['a', 'b'])\n"
        "def f():\n"
        "    import sys; print('hidden'); print('seen', file=sys.stderr)\n"
        "    return {'a': 1, 'b': 2}\n"
        "made = f()\n"
        "assert made.result['b'].eval() == 2, made\n"
        "result, err = made\n"
        "print(repr(err.eval()))\n",
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "script.py"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "'seen\\n'\n", done.stderr


LEFT = """
    import os
    import subprocess
    import sys

    @task(capture=("stdout", "stderr"))
    def leaves():
        subprocess.run(["sh", "-c", "sleep 20 &"])
        print("printed")
        return 1

    @task(capture="stdout")
    def fails():
        print("before it failed")
        raise ValueError("no")

    @task(capture="stdout")
    def much():
        for _ in range(300):
            os.write(1, b"x" * 100_000 + b"\\n")
        return 1

    @task(capture="stdout")
    def not_text():
        os.write(1, b"caf\\xc3\\xa9 caf\\xe9\\r\\n" + b"x" * (1 << 20) + b"\\xc3\\xa9 \\xc3")

    @task
    def size(text):
        return len(text)

    @target
    def left():
        leaves().stdout > "out.txt"

    @target
    def failed():
        fails().result > "failed.txt"

    @target
    def odd():
        not_text().stdout > "odd.txt"

    @target
    def large():
        size(much().stdout) > "size.json"
"""


def test_a_process_that_a_task_left_behind_holds_nothing_up(inside: Any) -> None:
    inside.merklfile(LEFT)
    started = time.monotonic()
    inside.build("-j2", "left")
    assert inside.read("out.txt") == "printed\n" and time.monotonic() - started < 15


def test_what_a_task_printed_before_it_failed_is_in_its_message(inside: Any) -> None:
    inside.merklfile(LEFT)
    done = inside.merkl("build", "-j1", "failed", code=1)
    assert "before it failed" in done.stdout + done.stderr
    assert len(os.listdir("/proc/self/fd")) < 100


def test_a_stream_may_be_large(inside: Any) -> None:
    inside.merklfile(LEFT)
    inside.build("-j1", "large")
    assert inside.read("size.json") == f"{300 * 100_001}\n"


def test_bytes_of_a_stream_that_are_no_text_are_shown_as_python_shows_them(inside: Any) -> None:
    inside.merklfile(LEFT)
    inside.merkl("build", "-j1", "-q", "odd")
    text = (inside.path / "odd.txt").read_bytes()
    assert text == "café caf\\xe9\r\n".encode() + b"x" * (1 << 20) + "é \\xc3".encode()


def test_streams_of_mapped_and_interrupted_tasks_and_of_pipelines(inside: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("BUILDER", str(os.getpid()))
    inside.write("press", "")
    inside.merklfile("""
        import os
        import signal
        import time

        @task
        def numbers():
            yield from range(3)

        @task(capture="stdout")
        def shout(n: int) -> int:
            print(f"{n}!")
            return n

        @task(capture="stdout")
        def train():
            print("training")
            try:
                if os.path.exists("press"):
                    os.kill(int(os.environ["BUILDER"]), signal.SIGINT)
                    time.sleep(60)
            except KeyboardInterrupt:
                print("stopped")
            return 1

        @pipeline
        def whole():
            made = train()
            yield made.result
            return made

        @task
        def joined(texts):
            return "".join(texts)

        @target(default=True)
        def all():
            joined(shout.map(numbers()).stdout) > "shouted.txt"
            whole().stdout > "trained.txt"
    """)
    inside.build("-j1")
    assert inside.read("shouted.txt") == "0!\n1!\n2!\n"
    assert inside.read("trained.txt") == "training\nstopped\n"

    (inside.path / "press").unlink()
    assert inside.build("-j1") == ["train"]
    assert inside.read("trained.txt") == "training\n"
    assert inside.build("-j1") == []


# ---- definitions -------------------------------------------------------------------------------------------------------


def test_the_shape_of_what_a_call_returns(inside: Any) -> None:
    @task(capture=("stderr", "stdout"))
    def one(n: int) -> float:
        return n / 2

    made = one(1)
    assert made._fields == ("result", "stdout", "stderr")
    assert hint_of(made.result) is float and hint_of(made.stdout) is str
    assert isinstance(made.stderr, Future) and made.stderr.hash == made.result.hash

    @task(capture={"stdout": bytes, "stderr": str})
    def raw(n: int) -> float:
        return n / 2

    assert hint_of(raw(1).stdout) is bytes and hint_of(raw(1).stderr) is str

    @task
    def wants(text: int) -> None: ...

    with pytest.raises(CallError):
        wants(made.stdout)


def test_what_is_captured_is_in_the_key(inside: Any) -> None:
    def f(n):  # type: ignore[no-untyped-def]
        return {"result": n, "other": n}

    options: list[dict[str, Any]] = [
        {}, {"capture": "stdout"}, {"capture": ["stderr"]}, {"capture": {"stdout": bytes}}, {"outs": 1},
        {"outs": 1, "capture": "stdout"}, {"outs": ["result", "other"], "capture": "stderr"},
    ]  # fmt: skip
    keys = set()
    for each in options:
        made = task(f, **each)(1)
        while not isinstance(made, Future):
            made = next(iter(made.values() if isinstance(made, dict) else made))
        keys.add(made.hash)
    assert len(keys) == len(options)
    assert task(f, capture=())(1) == task(f)(1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"capture": "stdin"}, "capture= names 'stdin', which is no stream"),
        ({"capture": ("stdout", "sterr")}, "capture= names 'sterr', which is no stream"),
        ({"capture": ["stdout", "stdout"]}, "capture= names a stream twice"),
        ({"capture": {"stdout": int}}, "capture= makes str or bytes of stdout, not <class 'int'>"),
        ({"capture": True}, "capture= is the names of streams, not True"),
        (
            {"capture": "stdout", "outs": ["stdout", "a"]},
            "f has an output 'stdout', which is what capture= calls its",
        ),
        ({"capture": "stdout", "outs": list}, "f makes many items, which are there before it has ended"),
        ({"capture": "stdout", "outs": 3, "together": True}, "capture= does not go with together=True"),
        ({"capture": "stdout", "interactive": True}, "capture= does not go with interactive=True"),
    ],
)
def test_what_cannot_be_captured_is_said_where_the_task_is_defined(options: Any, said: str) -> None:
    def f(n):  # type: ignore[no-untyped-def]
        return [n]

    with pytest.raises(TaskOutsError) as caught:
        task(**options)(f)
    assert caught.value.headline.startswith(said), caught.value.headline
    assert caught.value.hint


def test_what_a_batch_prints_belongs_to_no_item() -> None:
    with pytest.raises(BatchTaskError, match="captures its streams"):

        @batch(capture="stdout")
        def many(items):  # type: ignore[no-untyped-def]
            return [FileRef(item) for item in items]
