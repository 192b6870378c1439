"""``cache=``, ``cache_in_memory=``, ``cache_temporarily``: caches of a task's own, in addition to the project's store."""

import contextlib
import importlib.util
import itertools
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from merkl import (
    BaseCache,
    CombinedCache,
    FileRef,
    Future,
    MemoryCache,
    S3ContentBackend,
    SqliteCache,
    batch,
    task,
)
from merkl.config import load_config
from merkl.engine.evaluating import evaluate
from merkl.engine.pipelines import Pipelines
from merkl.engine.project import Project
from merkl.errors import TaskError
from merkl.nodes import using
from merkl.python.task import PythonTask
from merkl.store.caches import OwnCache

EXAMPLE = Path(__file__).parents[2] / "examples/pipeline"
Machine = Callable[[str], contextlib.AbstractContextManager[Project]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A project without any state, by name: a machine that has only what its caches have."""

    @contextlib.contextmanager
    def opened(name: str, jobs: int = 1) -> Iterator[Project]:
        root = tmp_path / name
        (root / ".merkl").mkdir(parents=True, exist_ok=True)
        project = Project(load_config(str(root), environ={}, jobs=jobs))
        project.builder, project.make_pipelines = evaluate, Pipelines
        with using(project):
            try:
                yield project
            finally:
                project.close()

    return opened


class Counting(MemoryCache):
    """What it was asked, too."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def get(self, name: str) -> bytes | None:
        self.asked.append(name)
        return super().get(name)


def tasks(log: Path, cache: Any, **options: Any) -> tuple[Any, Any, Any]:
    """Three tasks that say when they run; the first two have the cache."""

    @task(cache=cache, version="1", **options)
    def first(n: int, log: str) -> list[int]:
        with open(log, "a") as file:
            file.write("first ")
        return [n] * 3

    @task(cache=cache, version="1", **options)
    def file(numbers: list[int], log: str) -> FileRef:
        import os

        with open(log, "a") as said:
            said.write("file ")
        path = os.path.join(os.environ["TMPDIR"], "n.txt")
        with open(path, "w") as out:
            out.write(str(numbers) * 100_000)
        return FileRef(path)

    @task(version="1")
    def last(path: FileRef, log: str) -> int:
        with open(log, "a") as said, open(path) as file:
            said.write("last ")
            return len(file.read())

    return first, file, last


def call(log: Path, made: tuple[Any, Any, Any]) -> Future[int]:
    first, file, last = made
    return last(file(first(1, str(log)), str(log)), str(log))


@pytest.mark.parametrize("jobs", [1, 2])
def test_another_machine_runs_only_what_its_caches_lack(machine: Any, tmp_path: Path, jobs: int) -> None:
    log, cache = tmp_path / "log", Counting()
    made = tasks(log, cache)
    with machine("one", jobs):
        assert call(log, made).eval() == 900_000
    assert log.read_text() == "first file last "
    keys = call_keys(machine, log, made)

    with machine("two", jobs):
        assert call(log, made).eval() == 900_000  # ``last``, which has no such cache, reads the file from it.

    assert log.read_text() == "first file last last "
    assert keys["last"] not in cache.asked


def call_keys(machine: Any, log: Path, made: Any) -> dict[str, str]:
    with machine("keys"):
        last = call(log, made)
        file = last.node.deps[0].future
        return {"last": last.hash, "file": file.hash, "first": file.node.deps[0].future.hash}


def test_keys_do_not_depend_on_the_cache(machine: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"

    keys = [call_keys(machine, log, tasks(log, cache)) for cache in (True, MemoryCache(), None)]

    assert keys[0] == keys[1] == keys[2]


def test_without_a_cache_a_task_runs_in_every_build(machine: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    made = tasks(log, None)

    with machine("one"):
        assert call(log, made).eval() == call(log, made).eval() == 900_000

    assert log.read_text() == "first file last first file "


def test_a_cache_that_fails_is_a_warning_and_fails_nothing(machine: Any, tmp_path: Path) -> None:
    class Broken(BaseCache):
        def get(self, name: str) -> bytes | None:
            raise ConnectionError("nobody answers")

        def add(self, name: str, data: bytes, about: Any) -> None:
            raise AssertionError("it was given up")

    log = tmp_path / "log"
    with machine("one") as project:
        future = call(log, tasks(log, Broken()))
        notes: list[str] = []
        project.builder = lambda opened, futures: evaluate(
            opened, futures, make_reporter=lambda: Heard(notes)
        )
        assert future.eval() == 900_000
    assert notes == ["going on without the cache Broken: ConnectionError: nobody answers"]


class Heard:
    """A reporter that keeps what is said."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.errors: list[BaseException] = []

    def report(self, event: Any) -> None:
        if type(event).__name__ == "Note":
            self.notes.append(event.text)

    def tick(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None: ...


def test_a_cache_that_gives_other_bytes_makes_the_task_run(machine: Any, tmp_path: Path) -> None:
    class Liar(MemoryCache):
        lies = False

        def get(self, name: str) -> bytes | None:
            data = super().get(name)
            return b"?" + data[1:] if self.lies and data else data

        def remove(self, name: str) -> None: ...

    log, liar = tmp_path / "log", Liar()
    made = tasks(log, liar)
    with machine("one"):
        call(log, made).eval()
    liar.lies = True

    with machine("two"):
        assert call(log, made).eval() == 900_000

    assert log.read_text() == "first file last " * 2


def test_what_lies_about_contents_only_is_found_out_when_they_are_read(machine: Any, tmp_path: Path) -> None:
    class Liar(MemoryCache):
        def get(self, name: str) -> bytes | None:
            data = super().get(name)
            return data[:-1] if data is not None and len(data) == 900_000 else data

        def remove(self, name: str) -> None: ...

    log, liar = tmp_path / "log", Liar()
    made = tasks(log, liar)
    with machine("one"):
        call(log, made).eval()

    with machine("two"):
        assert call(log, made).eval() == 900_000

    assert log.read_text() == "first file last file last "


def test_clearing_clears_a_tasks_own_cache_too(machine: Any, tmp_path: Path) -> None:
    log, cache = tmp_path / "log", MemoryCache()
    made = tasks(log, cache)
    with machine("one"):
        first = made[0](1, str(log))
        first.eval()
        first.clear_cache()
        assert not first.in_cache()
    with machine("two"):
        assert made[0](1, str(log)).eval() == [1, 1, 1]
        assert made[0](1, str(log)).in_cache()

    assert log.read_text() == "first first "


def test_a_batch_and_mapped_calls_ask_the_cache_of_their_task(machine: Any, tmp_path: Path) -> None:
    cache, log = MemoryCache(), tmp_path / "log"

    @task(cache=cache, version="1")
    def double(n: int, log: str) -> int:
        with open(log, "a") as file:
            file.write(f"{n} ")
        return 2 * n

    @task(version="1", outs=list)
    def numbers() -> Iterator[int]:
        yield from range(3)

    @batch(double)
    def doubles(ns: list[int], log: list[str]) -> list[int]:
        return [double.function(n, each) for n, each in zip(ns, log, strict=True)]

    for name in ("one", "two"):
        with machine(name):
            assert double.map([7, 8], log=str(log))[1].eval() == 16
            assert list(double.map(numbers(), log=str(log)).eval()) == [0, 2, 4]

    assert sorted(log.read_text().split()) == ["0", "1", "2", "8"]


def test_values_in_memory_are_the_same_objects_until_they_are_cleared(machine: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first, _, _ = tasks(log, True, cache_in_memory=True)
    plain, _, _ = tasks(log, True)

    with machine("one"):
        future = first(1, str(log))
        assert future.eval() is first(1, str(log)).eval()
        assert plain(2, str(log)).eval() is not plain(2, str(log)).eval()
        future.clear_cache()
        assert future.eval() == [1, 1, 1]

    assert log.read_text() == "first first first "


def test_what_is_cached_temporarily_goes_with_the_build_and_what_was_made_of_it_stays(
    machine: Any, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    first, file, last = tasks(log, True)

    with machine("one") as project:
        made = file(first(1, str(log)), str(log)).cache_temporarily()
        end = last(made, str(log))
        assert end.eval() == 900_000
        assert not made.in_cache()
        assert end.in_cache() and end.eval() == 900_000
        assert not any(path.is_file() for path in Path(project.store.directory, "blobs").rglob("*"))
    with machine("one"):
        again = last(file(first(1, str(log)), str(log)).cache_temporarily(), str(log))
        assert again.eval() == 900_000

    assert log.read_text() == "first file last "


def test_only_caches_are_put_together() -> None:
    with pytest.raises(TaskError, match="puts two caches together, and content is 'records'"):
        CombinedCache(merkle=MemoryCache(), content="records")  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [3, 1, "yes", MemoryCache])
def test_a_cache_is_a_cache(wrong: Any) -> None:
    with pytest.raises(TaskError, match="cache is "):
        task(cache=wrong)(len)


# ---- every pairing -------------------------------------------------------------------------------------------------


class OnlyBytes(BaseCache):
    """Two methods, and it is a cache."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        return self.kept.get(name)

    def add(self, name: str, data: bytes, about: Any) -> None:
        self.kept[name] = data


class Folder(OnlyBytes):
    """A directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def get(self, name: str) -> bytes | None:
        file = self.path / name
        return file.read_bytes() if file.exists() else None

    def add(self, name: str, data: bytes, about: Any) -> None:
        (self.path / name).write_bytes(data)


class Forgetful(OnlyBytes):
    """Keeps nothing."""

    def add(self, name: str, data: bytes, about: Any) -> bool:  # type: ignore[override]
        return False


KINDS: dict[str, Callable[[Path], BaseCache]] = {
    "bytes": lambda _: OnlyBytes(),
    "folder": lambda path: Folder(path),
    "sqlite": lambda path: SqliteCache(path.with_suffix(".db")),
    "forgetful": lambda _: Forgetful(),
}


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Any]:
    """The module of ``examples/pipeline``."""
    pytest.importorskip("numpy")
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("build", ".*", "__pycache__"))
    spec = importlib.util.spec_from_file_location("pipeline_with_caches", folder / "pipeline.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["pipeline_with_caches"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["pipeline_with_caches"]


def in_a_bucket(server: Any, monkeypatch: pytest.MonkeyPatch) -> BaseCache:
    """Contents in a bucket that nobody has used."""
    for name, value in server.credentials.items():
        monkeypatch.setenv(name, value)
    return S3ContentBackend(f"s3://{server.new_bucket()}/x", endpoint=server.endpoint, timeout=60)


@pytest.mark.parametrize(
    ("merkle", "content"), [*itertools.product(KINDS, KINDS), *((kind, "bucket") for kind in KINDS)]
)
def test_the_example_pipeline_runs_on_every_pairing(
    machine: Any,
    tmp_path: Path,
    example: Any,
    merkle: str,
    content: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if content == "bucket":
        contents = in_a_bucket(request.getfixturevalue("moto"), monkeypatch)
    else:
        contents = KINDS[content](tmp_path / "contents")
    cache = CombinedCache(merkle=KINDS[merkle](tmp_path / "records"), content=contents)
    for each in vars(example).values():
        if isinstance(each, PythonTask):
            each.settings = replace(each.settings, own=OwnCache(cache))
    scores, ran = [], []
    for _ in range(2):
        shutil.rmtree(tmp_path / "example/.merkl", ignore_errors=True)
        shutil.rmtree(tmp_path / "example/build", ignore_errors=True)
        with machine("example") as project:
            done: list[str] = []
            project.builder = lambda opened, futures, done=done: evaluate(
                opened, futures, make_reporter=lambda: Ran(done)
            )
            scores.append(example.pipeline(200, 1).eval())
            ran.append(done)

    assert scores[0] == scores[1]
    assert len(ran[0]) == 9
    assert ran[1] == (ran[0] if "forgetful" in (merkle, content) else [])


class Ran(Heard):
    """A reporter that keeps which tasks ran."""

    def report(self, event: Any) -> None:
        if type(event).__name__ == "Ran":
            self.notes.append(event.node.name)


def test_the_command_line_clears_a_tasks_own_cache_too(inside: Any) -> None:
    inside.write(
        "own.py",
        "from merkl import BaseCache\nimport os\nfrom pathlib import Path\n\n\nclass Own(BaseCache):\n"
        "    def get(self, name):\n"
        "        return Path('own', name).read_bytes() if os.path.exists('own/' + name) else None\n\n"
        "    def add(self, name, data, about):\n"
        "        os.makedirs('own', exist_ok=True)\n"
        "        with open('own/' + name, 'wb') as file:\n            file.write(data)\n\n"
        "    def remove(self, name):\n"
        "        if os.path.exists('own/' + name):\n            os.unlink('own/' + name)\n",
    )
    inside.merklfile(
        """
        from own import Own

        @task(cache=Own())
        def made(n):
            return [n]

        @target(default=True)
        def it():
            made(1) > "one.json"

        @target
        def other():
            made(2) > "two.json"
        """
    )
    assert inside.build("it", "other", "-j1") == ["made", "made"]
    shutil.rmtree(inside.path / ".merkl")
    assert "nothing would run" in inside.merkl("build", "it", "other", "-n").stdout
    assert inside.build("it", "other", "-j1") == []

    inside.merkl("clear", "it")

    assert inside.build("it", "other", "-j1") == ["made"]


def test_behind_the_caches_of_tasks_there_is_the_remote(inside: Any) -> None:
    (inside.path.parent / "share").mkdir()
    inside.write("merkl.yaml", "remote: ../share\n")
    inside.merklfile(
        """
        @task(cache=SqliteCache("own.db"))
        def first(n):
            return list(range(n))

        @task
        def second(numbers):
            return sum(numbers)

        @task
        def third(numbers, total):
            return [len(numbers), total]

        @target(default=True)
        def it():
            numbers = first(100_000)
            third(numbers, second(numbers)) > "out.json"
        """
    )
    assert inside.build("-j1", "--push") == ["first", "second", "third"]
    shutil.rmtree(inside.path / ".merkl")
    assert inside.build("-j1") == []
    text = inside.read("Merklfile.py")
    shutil.rmtree(inside.path / ".merkl")
    inside.write("Merklfile.py", text.replace("[len(numbers), total]", "[total, len(numbers)]"))
    assert inside.build("-j2") == ["third"]
    shutil.rmtree(inside.path.parent / "share")
    (inside.path.parent / "share").mkdir()
    shutil.rmtree(inside.path / ".merkl")
    inside.write("Merklfile.py", text.replace("[len(numbers), total]", "[total]"))
    assert inside.build("-j1") == ["second", "third"]
