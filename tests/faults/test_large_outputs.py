"""Row 24: outputs and logs far larger than memory should be; merkl's own memory stays small, and nothing hangs.

Quick: 256 MiB with holes, 4,000 files, logs of 80 MB; full: 10 GiB, 200,000 files, a log of 1 GiB, a line of 500 MB.
What the display does with a log as it grows: ``tests/report/test_tail.py``.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merkl.engine.longlog import bounded

LIMIT = 300_000_000  # Bytes of memory; the row's.
MOST = 100_000_000  # Where it does not grow at all: tight enough that the quick forms would notice a log held in memory.
MiB = 1 << 20
KEPT = 16_000_000  # Bytes of a log that the store keeps.
full = pytest.mark.full

MEASURED = """
import sys
from merkl.cli.main import run
code = run(sys.argv[2:])
with open("/proc/self/status") as status, open(sys.argv[1], "w") as out:
    out.write(next(line.split()[1] for line in status if line.startswith("VmHWM")))
sys.exit(code)
"""


def measured(project: Any, *words: str, code: int = 0, most: int = MOST) -> tuple[bytes, bytes, float]:
    """Run merkl: what it printed, and how long it took; its own peak of memory, without tasks', is checked."""
    report = project.path.parent / "peak"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(report), *words],
        cwd=project.path, stdin=subprocess.DEVNULL, capture_output=True, timeout=900,
    )  # fmt: skip
    seconds = time.monotonic() - began
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    peak = int(report.read_text()) * 1024
    print(f"{' '.join(words)}: {peak / 1e6:.0f} MB, {seconds:.1f} s")
    assert peak < most
    return done.stdout, done.stderr, seconds


def room_of(path: Path) -> int:
    """Bytes that a file or directory takes on disk."""
    return int(subprocess.run(["du", "-sB1", str(path)], capture_output=True, text=True).stdout.split()[0])


@pytest.mark.parametrize("size", [256 * MiB, pytest.param(10 * 1024 * MiB, marks=full)])
def test_row_24_a_large_output_with_holes_stays_one(project: Any, size: int, tmp_path: Path) -> None:
    project.merklfile(
        """
        sparse = bash_task('''
            out={out_file_arg('out', '.img')}
            truncate -s {arg('size', type=int)} "$out"
            printf middle | dd of="$out" bs=1 seek=$(({arg('size', type=int)} / 2 + 12345)) conv=notrunc status=none
        ''')
        measure = bash_task("stat -Lc %s {file_arg('image')} > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all(size: int):
            image = sparse(size) > "build/disk.img"
            measure(image) > "build/size.txt"
        """
    )
    placed = project.path / "build/disk.img"

    measured(project, "build", f"size={size}")

    assert project.read("build/size.txt") == f"{size}\n"
    for again in (False, True):
        if again:
            placed.unlink()
            assert b"2 cached" in measured(project, "build", f"size={size}")[0]
        assert placed.stat().st_size == size
        with placed.open("rb") as file:
            file.seek(size // 2 + 12345)
            assert file.read(12) == b"middle\0\0\0\0\0\0"
        assert room_of(project.path) < 5 * MiB
    measured(project, "fsck")
    clean = tmp_path / "clean"
    clean.mkdir()
    (clean / "Merklfile.py").write_bytes((project.path / "Merklfile.py").read_bytes())
    project.merkl("build", f"size={size}", cwd=clean)
    assert subprocess.run(["cmp", "-s", str(placed), str(clean / "build/disk.img")]).returncode == 0


@pytest.mark.needs("mount")
def test_row_24_holes_are_kept_on_the_way_to_another_file_system(
    project: Any, mount: Callable[..., Path]
) -> None:
    store, build = mount(".merkl/store", "size=3m"), mount("build", "size=3m")
    project.merklfile(
        """
        sparse = bash_task("truncate -s 200M {out_file_arg('out', '.img')}; echo end >> {out_file_arg('out', '.img')}")

        @target(default=True)
        def all():
            sparse() > "build/disk.img"
        """
    )
    out = project.merkl("build").stdout

    assert "not cached" not in out
    assert (build / "disk.img").stat().st_size == 200 * MiB + 4
    assert room_of(build) < MiB and room_of(store) < MiB
    (build / "disk.img").unlink()
    assert project.build() == []
    with (build / "disk.img").open("rb") as file:
        file.seek(-8, os.SEEK_END)
        assert file.read() == b"\0\0\0\0end\n"


@pytest.mark.parametrize("count", [4_000, pytest.param(200_000, marks=full)])
def test_row_24_very_many_tiny_outputs(project: Any, proven: Callable[..., None], count: int) -> None:
    project.merklfile(
        """
        many = bash_task('''
            out={out_dir_arg('out')}
            mkdir -p "$out"
            cd "$out"
            seq {arg('count')} | split -l 1 -a 6 -d - f
        ''')

        @target(default=True)
        def all(count: int = 500):
            many(count) > "build/many"
        """
    )
    most = MOST if count < 100_000 else LIMIT  # A directory is one value, with an entry for each file.
    measured(project, "build", f"count={count}", most=most)

    top = project.path / "build/many"
    assert len(os.listdir(top)) == count
    assert (top / f"f{count - 1:06}").read_text() == f"{count}\n"
    subprocess.run(["rm", "-rf", str(top)], check=True)
    assert b"1 cached" in measured(project, "build", f"count={count}", most=most)[0]
    assert len(os.listdir(top)) == count
    measured(project, "build", f"count={count}", most=most)
    proven()


LOUD = """
    zeros = bash_task("head -c {arg('count')} /dev/zero; echo end; echo x > {out_file_arg('out', '.txt')}")
    line = bash_task("head -c {arg('count')} /dev/zero | tr '\\\\0' y; echo x > {out_file_arg('out', '.txt')}")
    lines = bash_task("head -c {arg('count')} < <(yes 'a line of twenty-six letters'); echo x > {out_file_arg('out', '.txt')}")
    value = bash_task("head -c {arg('count')} < <(yes 'a line of twenty-six letters')")
    fails = bash_task("head -c {arg('count')} < <(yes 'a line of twenty-six letters'); exit 7; : {out_file_arg('out', '.txt')}")

    @task
    def python(count):
        import os
        piece = b"a line of twenty-six letters\\n" * 4096
        while count > 0:
            count -= os.write(1, piece[:count])
        return "x\\n"

    @target
    def one(task: str, count: int):
        globals()[task](count) > "build/out.txt"
"""


@pytest.mark.parametrize(
    ("task", "count"),
    [
        ("zeros", 80 * MiB), ("line", 80 * MiB), ("lines", 80 * MiB), ("value", 80 * MiB), ("python", 80 * MiB),
        *(pytest.param(task, 1024 * MiB, marks=full) for task in ("zeros", "lines", "value", "python")),
        pytest.param("line", 500_000_000, marks=full),
    ],
)  # fmt: skip
def test_row_24_a_very_long_log_is_kept_in_part(
    project: Any, proven: Callable[..., None], task: str, count: int
) -> None:
    project.merklfile(LOUD)
    words = ("one", f"task={task}", f"count={count}")

    out, err, _ = measured(project, "build", *words)

    assert len(out) + len(err) < 20_000_000  # What is shown meanwhile is bounded too.
    log, _, _ = measured(project, "log", *words)
    assert KEPT // 2 < len(log) <= KEPT + 200
    head, notice, tail = log.partition("… ".encode())
    assert b" bytes are left out here; `log_limit` in merkl.yaml says how many are kept" in tail[:100]
    assert notice and head[-1:] in (b"\n", b"\0")
    if task in ("lines", "value", "python"):
        assert head.count(b"a line of twenty-six letters\n") * 29 == len(head)
    if task == "zeros":
        assert log.endswith(b"\0\0\0end\n")
    left_out = int(tail[: tail.index(b" bytes")].replace(b",", b""))
    printed = count + (4 if task == "zeros" else 0)
    assert abs(left_out + len(log) - printed) < 300
    assert room_of(project.path) < 40 * MiB + (2 * count if task == "value" else 0)
    assert b"1 cached" in measured(project, "build", *words)[0]
    if count < 200 * MiB:
        proven(*words)


def test_row_24_a_failed_task_keeps_its_whole_log(project: Any) -> None:
    project.merklfile(LOUD)
    words = ("one", "task=fails", f"count={40 * MiB}")

    _, err, _ = measured(project, "build", *words, code=1)

    assert b"exit code 7" in err and err.count(b"a line of twenty-six letters") <= 30
    (log,) = (project.path / ".merkl/run").glob("*/log")
    assert log.stat().st_size == 40 * MiB
    assert len(measured(project, "log", *words)[0]) == 40 * MiB


NASTY = {
    "NUL": b"a\0b\0\0c\n",
    "escape sequences": b"\x1b[2J\x1b[1;31mred\x1b]0;title\x07\x1b[?1049h\x1b[5A\n",
    "no UTF-8": b"\xff\xfe\xc3(\xa0\xa1 \xf0\x28\x8c\x28\n",
    "control characters": bytes(range(32)) + b"\x7f\xc2\x80\xc2\x9b31m\n",
    "no end of line": b"one\rtwo\x08\x08",
    "right to left": "abc\u202edef\u2066\n".encode(),
}


BAD = {*map(chr, (*range(32), *range(0x7F, 0xA0))), "\u202e", "\u2066"} - {"\n", "\t"}


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("code", [0, 1])
def test_row_24_whatever_a_task_prints_reaches_the_log_and_no_terminal(
    project: Any, proven: Callable[..., None], nasty: str, code: int
) -> None:
    project.write("nasty", NASTY[nasty])
    project.merklfile(
        """
        say = bash_task("cat {file_arg('what')}; : > {out_file_arg('out', '.txt')}; exit {arg('code')}")

        @target(default=True)
        def all(code: int = 0):
            say("nasty", code=code) > "build/out.txt"
        """
    )
    words = [sys.executable, "-m", "merkl", "build", f"code={code}"]
    done = subprocess.run(words, cwd=project.path, capture_output=True)

    assert done.returncode == code
    shown = (done.stdout + done.stderr).decode()
    assert not [c for c in shown if c in BAD]
    json_words = [*words, "--json"]
    events = subprocess.run(json_words, cwd=project.path, capture_output=True).stdout
    assert events.isascii() and all(json.loads(line) for line in events.splitlines())
    log = subprocess.run(
        [sys.executable, "-m", "merkl", "log", f"code={code}"], cwd=project.path, capture_output=True
    )
    assert log.stdout == NASTY[nasty]
    if not code:
        proven()


def test_row_24_how_much_of_a_log_is_kept_can_be_set(project: Any, proven: Callable[..., None]) -> None:
    project.merklfile(LOUD)
    project.write("merkl.yaml", "log_limit: 10kB\n")
    words = ("one", "task=lines", "count=1000000")

    project.merkl("build", *words)

    log = project.merkl("log", *words).stdout
    assert 9_000 < len(log) < 10_200 and "left out here" in log
    project.write("merkl.yaml", "log_limit: lots\n")
    refused = project.merkl("build", *words, code=2)
    assert "merkl.yaml: log_limit is a size such as 16MB, not 'lots'" in refused.stderr
    project.write("merkl.yaml", "log_limit: 2000000\n")
    assert project.build(*words) == []  # It is in no key.
    proven(*words)


@pytest.mark.parametrize("limit", [0, 1, 2, 7, 30, 31, 59, 60, 61, 100, 1000])
@pytest.mark.parametrize(
    "data", [b"", b"x", b"x" * 61, b"12345\n" * 10, b"\n" * 61, b"x" * 40 + b"\n" + b"y" * 40]
)
def test_row_24_what_is_kept_of_a_log_are_its_ends(tmp_path: Path, limit: int, data: bytes) -> None:
    log = tmp_path / "log"
    log.write_bytes(data)

    kept = Path(os.fsdecode(bounded(os.fsencode(log), limit))).read_bytes()

    if len(data) <= limit:
        assert kept == data
        return
    head, _, rest = kept.partition("… ".encode())
    count, _, tail = rest.partition(b" bytes are left out")
    tail = tail.partition("…\n".encode())[2]
    assert data.startswith((head, head[:-1]))
    assert data.endswith(tail)
    start = len(head) if data.startswith(head) else len(head) - 1
    assert int(count) == len(data) - start - len(tail)
    assert start <= limit // 2 and len(tail) <= limit - limit // 2
    assert log.read_bytes() == data
