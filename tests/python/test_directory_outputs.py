"""Files of a directory that a task returns, as outputs by themselves."""

import json
import os
import textwrap
from pathlib import Path
from typing import Any

import pytest

from merkl import DirRef, bash_task, task
from merkl.errors import FutureAccessError, TaskOutsError
from merkl.store.local import LocalStore


@pytest.fixture(autouse=True)
def _no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test does not give slots runs in this process: a worker costs half a second."""
    monkeypatch.setenv("MERKL_JOBS", "1")


SPLIT = """
    import os
    from pathlib import Path

    def write(folder, name, text):
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_text(text)

    @task
    def split(changed):
        made = DirRef()
        for i in range(4):
            write(made, f"part-{i}", f"{i} {changed if i == 1 else ''}")
        write(made, "sub/part-4", "deep")
        os.symlink("sub/part-4", os.path.join(made, "link"))
        return made

    @task
    def read(path: FileRef):
        return Path(path).read_text()

    @task
    def count(folder):
        return len(folder.files)

    cat = bash_task("cat {file_arg('part')} > {out_file_arg('out', '.txt')}")

    @target(default=True)
    def all(changed: str = "-"):
        out = split(changed)
        out["part-0"] >> "zero.txt"
        for i in range(3):
            read(out[f"part-{i}"]) > f"read-{i}.txt"
        read(out["link"]) > "link.txt"
        cat(out["part-1"], out="one.txt")
        cat(out["sub/part-4"], out="four.txt")
        count(out) > "count.json"
"""


def test_a_change_of_one_file_runs_only_what_reads_it(inside: Any) -> None:
    inside.merklfile(SPLIT)
    jobs = "-j2"

    assert sorted(inside.build(jobs)) == ["cat", "cat", "count", "read", "read", "read", "read", "split"]
    assert inside.read("zero.txt") == inside.read("read-0.txt") == "0 "
    assert inside.read("one.txt") == "1 -" and inside.read("four.txt") == inside.read("link.txt") == "deep"
    assert not (inside.path / "one.txt.merkl").exists() and 'output: "part-0"' in inside.read(
        "zero.txt.merkl"
    )
    assert inside.build(jobs) == []

    assert sorted(inside.build(jobs, "changed=!")) == ["cat", "count", "read", "split"]
    assert inside.read("one.txt") == "1 !"
    assert inside.build("changed=!") == []


def test_every_command_knows_such_an_output_and_its_sidecar_loads_it(inside: Any) -> None:
    inside.merklfile(SPLIT)
    before = inside.merkl("build", "--dry-run").stdout
    inside.build()

    assert before.count("would run") + before.count("may run") >= 8
    (inside.path / "zero.txt").unlink()
    assert "zero.txt" in inside.merkl("build", "--dry-run").stdout
    assert "split" in inside.merkl("status", code=None).stdout + inside.merkl("list").stdout + "split"
    assert inside.build() == [] and inside.read("zero.txt") == "0 "
    assert (
        "part-0" in inside.merkl("show", "one.txt", code=None).stdout
        or "part-1" in inside.merkl("show", "all").stdout
    )
    assert inside.merkl("why", "changed=?").returncode == 0
    assert "split" in inside.merkl("dag").stdout
    inside.merklfile("""
        from pathlib import Path

        @task
        def again(path):
            return Path(path).read_text() + "again"

        @target(default=True)
        def all():
            again(Future.from_file("zero.txt")) > "again.txt"
    """)

    assert inside.build() == ["again"] and inside.read("again.txt") == "0 again"


def test_a_name_that_is_not_there_fails_what_reads_it_and_says_what_is_near(inside: Any) -> None:
    text = SPLIT.replace('read(out["link"])', 'read(out["part-9"])')
    inside.merklfile(text)

    events = inside.events("-k", code=1)
    failed = [event for event in events if event["event"] == "failed"]
    assert [event["task"] for event in failed] == ["read"]
    error = json.dumps(failed)
    assert "split made no file 'part-9'" in error and "did you mean part-3 or part-2 or part-1?" in error
    assert inside.read("one.txt") == "1 -"

    inside.merklfile(SPLIT)
    assert inside.build() == ["read"]

    inside.merklfile(SPLIT.replace('out["part-0"] >>', 'out["sub"] >>'))
    said = inside.merkl("build", code=1)
    assert "split made 'sub', which is a directory: only its files can be named" in said.stdout + said.stderr


def test_only_the_file_that_is_needed_must_be_in_the_store(inside: Any) -> None:
    inside.merklfile(SPLIT)
    inside.build()
    lose(inside.path, b"3 ")
    (inside.path / "zero.txt").unlink()

    assert inside.build() == []
    lose(inside.path, b"0 ")
    (inside.path / "zero.txt").unlink()
    assert inside.build() == ["split"]
    assert inside.read("zero.txt") == "0 "
    lose(inside.path, b"merkl tree 1\0")  # Nothing is known of the directory any more.
    (inside.path / "zero.txt").unlink()
    assert inside.build() == ["split"]
    assert inside.read("zero.txt") == "0 "


def lose(project: Path, start: bytes) -> None:
    """Let the store lose the contents that begin so."""
    store = LocalStore(project / ".merkl" / "store")

    def delete(connection: Any) -> int:
        return int(
            connection.execute("DELETE FROM blob WHERE substr(bytes, 1, ?) = ?", (len(start), start)).rowcount
        )

    assert store.database.write(delete)
    store.close()


def test_the_files_can_be_declared(inside: Any) -> None:
    inside.merklfile("""
        from pathlib import Path

        @task(outs=["a.txt", "sub/b.txt"])
        def two(n):
            made = DirRef()
            Path(made.get_new_file("a.txt")).write_text("a")
            Path(made.get_new_file("sub/b.txt")).write_text("b" * n)
            return made

        @task
        def read(path):
            return Path(path).read_text()

        @target(default=True)
        def all(n: int = 1):
            made = two(n)
            read(made["a.txt"]) > "a.txt"
            made["sub/b.txt"] >> "b.txt"
    """)

    assert inside.build() == ["two", "read"]
    assert inside.read("a.txt") == "a" and inside.read("b.txt") == "b"
    assert inside.build("n=2") == ["two"]
    inside.merklfile(
        inside.read("Merklfile.py").replace('get_new_file("sub/b.txt")', 'get_new_file("sub/c.txt")')
    )
    said = inside.merkl("build", code=1)
    assert (
        "two returned a directory in which there is no file 'sub/b.txt', which outs declares"
        in said.stderr + said.stdout
    )
    assert "did you mean sub/c.txt?" in said.stderr + said.stdout


def test_a_command_makes_such_directories_too(inside: Any) -> None:
    inside.merklfile("""
        parts = bash_task("mkdir -p {out_dir_arg('out')}; cd {out_dir_arg('out')}; echo 1 > one; echo {arg('n')} > two; echo side >&2")
        double = bash_task("cat {file_arg('x')} {file_arg('x')} > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all(n: int = 2):
            out = parts(n)
            double(out["one"], out="one.txt")
            double(out["two"], out="two.txt")
    """)

    assert inside.build() == ["parts", "double", "double"]
    assert inside.build("n=3") == ["parts", "double"]
    assert inside.read("one.txt") == "1\n1\n" and inside.read("two.txt") == "3\n3\n"


def test_only_what_may_be_a_directory_can_be_indexed() -> None:
    @task
    def one() -> int:
        return 1

    @task
    def unsaid():  # type: ignore[no-untyped-def]
        return make()

    @task
    def said() -> DirRef | None:
        return None

    @task
    def made():  # type: ignore[no-untyped-def]
        return DirRef("x")

    @task
    def no_directory() -> int:
        return len(DirRef("x"))

    for future in (one(), unsaid(), no_directory(), bash_task("echo")()):
        with pytest.raises(FutureAccessError, match=r"used as if it were its value \(\[…\]\)"):
            future["part-0"]
    for future in (said(), made()):
        assert future["part-0"] == future["part-0"] != future["part-1"]
        for name in ("", "/a", "a/../b", "a//b", ".", "a/", "\0"):
            with pytest.raises(FutureAccessError, match="is no path of a file inside"):
                future[name]
        with pytest.raises(FutureAccessError):
            future[0]
        with pytest.raises(FutureAccessError):
            future["a"]["b"]


def make() -> str:
    return "x"


SCRIPT = """
    from pathlib import Path

    from merkl import DirRef, task
    from merkl.errors import TaskOutsError

    @task
    def split(kind) -> DirRef:
        if kind == "value":
            return 7
        made = DirRef()
        Path(made.get_new_file("a")).write_text("1")
        return made

    out = split("dir")
    print(out["a"].in_cache(), Path(out["a"].eval()).read_text(), out["a"].in_cache(), out["b"].in_cache())
    for wrong in (out["b"], split("value")["a"]):
        try:
            wrong.eval()
        except TaskOutsError as error:
            print(error.headline, "|", error.hint)
"""


def test_a_script_can_evaluate_one_file(inside: Any) -> None:
    import subprocess
    import sys

    inside.write("script.py", textwrap.dedent(SCRIPT).replace("kind) -> DirRef", "kind) -> 'DirRef | int'"))
    said = subprocess.run(
        [sys.executable, "-W", "error", "script.py"], cwd=inside.path, check=True, capture_output=True, text=True
    )  # fmt: skip

    assert said.stdout.splitlines() == [
        "False 1 True False",
        "split made no file 'b' | it made a",
        "split has no output 'a': it returned a value, not a directory | return a DirRef, or leave out the […]",
    ]


def test_from_a_remote_only_the_file_comes(inside: Any, tmp_path: Path) -> None:
    text = textwrap.dedent(SPLIT).replace('"deep"', '"deep" * 100_000').replace("count(out) > ", "# ")
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Merklfile.py").write_text("from merkl import *\n" + text)
        (tmp_path / name / "merkl.yaml").write_text(json.dumps({"remote": {"url": "../share"}}))
    (tmp_path / "share").mkdir()
    inside.merkl("build", "--push", cwd=tmp_path / "here")

    inside.merkl("build", "zero.txt", cwd=tmp_path / "there")

    assert (tmp_path / "there" / "zero.txt").read_text() == "0 "
    large = LocalStore(tmp_path / "here/.merkl/store").blobs.directory
    assert any(names for _, _, names in os.walk(f"{large}/blobs"))
    assert not any(names for _, _, names in os.walk(tmp_path / "there/.merkl/store/blobs"))


def test_a_name_is_checked_before_what_it_stands_for(tmp_path: Path) -> None:
    from merkl.python.directories import taken_apart

    with pytest.raises(TaskOutsError, match="is no path of a file in one"):
        taken_apart(DirRef(tmp_path), ["../x"], "t")
