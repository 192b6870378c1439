"""Lists of items that a generator makes one by one, and tasks mapped over them."""

import json
import pickle
import shutil
import textwrap

import pytest

from merkl import MerklDict, MerklList, task
from merkl.config import load_config
from merkl.digest import Digest
from merkl.engine.project import Project
from merkl.errors import CallError, FutureAccessError, StoreCorrupt, TaskFailed, TaskOutsError
from merkl.nodes import Artifact, using
from merkl.python.inside import Inside
from merkl.python.items import index_of, one_by_one, read_index

PAGES = """
import time, pathlib

@task
def pages(path):
    for line in pathlib.Path(path).read_text().splitlines():
        yield line

@task
def size(page, more=0):
    return len(page) + more

@task
def total(sizes):
    return sum(sizes)

@target(default=True)
def all():
    sizes = size.map(pages(file("book.txt")))
    total(sizes) > "total.txt"
"""


@pytest.fixture
def book(inside):
    inside.write("book.txt", "a\nbb\nccc\n")
    inside.merklfile(PAGES)
    return inside


@pytest.mark.parametrize("slots", ["-j1", "-j2"])
def test_a_task_is_mapped_over_what_a_generator_makes(book, slots):
    ran = book.build(slots)

    assert sorted(ran) == ["pages", "size", "size", "size", "size.map", "total"]
    assert book.read("total.txt") == "6\n"
    assert book.build(slots) == []


def test_work_on_the_first_item_starts_before_the_second_is_made(inside):
    inside.merklfile("""
import time, pathlib

@task
def slowly(folder):
    yield 1
    until = time.monotonic() + 20
    while not pathlib.Path(folder, "first-done").exists():
        if time.monotonic() > until:
            raise TimeoutError("nobody worked on the first item")
        time.sleep(0.005)
    yield 2

@task
def work(n):
    if n == 1:
        pathlib.Path("first-done").touch()
    return n * 10

@target(default=True)
def all():
    work.map(slowly(".")) > "out.json"
""")
    assert sorted(inside.build("-j2")) == ["slowly", "work", "work", "work.map"]
    assert json.loads(inside.read("out.json")) == [10, 20]


def test_an_inserted_item_is_the_only_one_that_is_worked_on(book):
    book.build("-j1")
    book.write("book.txt", "a\nnew\nbb\nccc\n")

    assert sorted(book.build("-j1")) == ["pages", "size", "size.map", "total"]
    assert book.read("total.txt") == "9\n"


def test_items_of_a_list_that_was_interrupted_are_not_worked_on_again(book):
    stops = "        if line == 'ccc' and not pathlib.Path('go').exists():\n            raise RuntimeError\n        yield line\n"
    book.merklfile(PAGES.replace("        yield line\n", stops))
    assert book.build("-j1", "-k", code=1) == ["size", "size"]
    book.write("go", "")

    assert sorted(book.build("-j1")) == ["pages", "size", "size.map", "total"]


def evaluated(inside, text, *arguments):
    """What a script says of itself: its tasks are defined in a Merklfile, whose one target writes out.json."""
    inside.merklfile("import pathlib\n" + textwrap.dedent(text))
    ran = inside.build(*(arguments or ["-j1"]))
    return ran, json.loads(inside.read("out.json"))


NUMBERS = """
@task
def numbers(n):
    for i in range(n):
        yield i

@task
def double(n):
    return 2 * n

@task
def show(value):
    return repr(value)
"""


def test_maps_are_chained_item_by_item(inside):
    ran, out = evaluated(inside, NUMBERS + """
@task
def wait(n):
    import time
    until = time.monotonic() + 20
    pathlib.Path(f"waits{n}").touch()
    while n == 1 and not pathlib.Path("second0").exists():
        assert time.monotonic() < until
        time.sleep(0.005)
    return n

@task
def second(n):
    pathlib.Path(f"second{n}").touch()
    return n + 1

@target(default=True)
def all():
    second.map(wait.map(numbers(3))) > "out.json"
""", "-j2")  # fmt: skip
    assert out == [1, 2, 3]
    assert sorted(ran) == ["numbers", *["second"] * 3, "second.map", *["wait"] * 3, "wait.map"]


@pytest.mark.parametrize("slots", ["-j1", "-j2"])
def test_a_dict_keeps_its_names_and_their_order(inside, slots):
    _, out = evaluated(inside, NUMBERS + """
@task(outs=dict)
def lengths(text):
    for word in text.split():
        yield word, len(word)

@target(default=True)
def all():
    found = double.map(lengths("to be/or not"))
    found > "out.json"
    show(found["be/or"]) > "one.txt"
    show(found) > "all.txt"
""", slots)  # fmt: skip
    assert out == {"to": 4, "be/or": 10, "not": 6} and list(out) == ["to", "be/or", "not"]
    assert inside.read("one.txt") == "10"
    assert inside.read("all.txt") == "MerklDict({'to': 4, 'be/or': 10, 'not': 6})"


def test_one_item_is_a_future_and_an_item_that_is_not_there_is_an_error(inside):
    ran, out = evaluated(inside, NUMBERS + """
@target(default=True)
def all():
    double(numbers(3)[2]) > "out.json"

@target
def none():
    double(numbers(3)[3]) > "none.json"
""")  # fmt: skip
    assert (ran, out) == (["numbers", "double"], 4)

    failed = inside.merkl("build", "-j1", "none", code=None)
    assert failed.returncode and "numbers made 3 items, and none is '3'" in failed.stdout + failed.stderr


def test_a_list_that_is_one_value_is_taken_apart(inside):
    text = (
        NUMBERS
        + """
@task
def values():
    return [3, 1]

@target(default=True)
def all():
    double.map(values()) > "out.json"
"""
    )
    assert evaluated(inside, text) == (["values", "items", "double", "double", "double.map"], [6, 2])
    inside.merklfile(text.replace("[3, 1]", "dict(a=1)"))
    assert "mapped over a Future whose value is of type dict" in inside.merkl("build", "-j1", code=1).stderr


def test_items_and_results_can_be_files(inside):
    text = (
        NUMBERS
        + """
@task
def parts(n):
    for i in range(n):
        path = pathlib.Path(os.environ["TMPDIR"], "part.txt")
        path.write_text(str(i))
        yield FileRef(path)

@task
def copied(path):
    new = pathlib.Path(os.environ["TMPDIR"], "copy.md")
    new.write_text("# " + pathlib.Path(path).read_text())
    return FileRef(new)

@task
def joined(paths, more):
    return [pathlib.Path(path).read_text() for path in [*paths, *more]]

@target(default=True)
def all():
    made = parts(2)
    copies = copied.map(made)
    joined(copies, made) > "out.json"
    copies > "copies"
"""
    )
    _, out = evaluated(inside, "import os\n" + text, "-j1")
    assert out == ["# 0", "# 1", "0", "1"]
    assert inside.read("copies/00000001.file/copy.md") == "# 1"
    assert inside.build("-j1") == []


def test_a_batch_takes_all_items_at_once(inside):
    _, out = evaluated(inside, NUMBERS + """
@batch(double)
def doubles(ns):
    with open("batches", "a") as file:
        file.write(f"{len(ns)} ")
    return [2 * n for n in ns]

@target(default=True)
def all():
    doubles.map(numbers(3)) > "out.json"
""", "-j1")  # fmt: skip
    assert out == [0, 2, 4]
    assert inside.read("batches") == "3 "


def test_a_pipeline_that_maps_is_remembered(inside):
    inside.write("steps.py", "from merkl import *\n" + NUMBERS + """
@pipeline
def doubled(n):
    return double.map(numbers(n))
""")  # fmt: skip
    text = "from steps import doubled\n\n@target(default=True)\ndef all():\n    doubled(3) > 'out.json'\n"
    assert evaluated(inside, text, "-j1")[1] == [0, 2, 4]
    inside.merklfile(text + "\n")
    assert inside.build("-j1") == []
    assert "not remembered" not in inside.merkl("build", "-v").stdout


@pytest.mark.parametrize("slots", ["-j1", "-j2"])
def test_a_generator_that_is_tried_again_may_make_other_items(inside, slots):
    _, out = evaluated(inside, NUMBERS + """
@task(retries=1)
def tries(n):
    times = pathlib.Path("times")
    with times.open("a") as file:
        file.write("x")
    yield times.read_text()
    if times.read_text() == "x":
        raise RuntimeError("the first time")
    yield "end"

@target(default=True)
def all():
    show.map(tries(1)) > "out.json"
""", slots)  # fmt: skip
    assert out == ["'xx'", "'end'"]
    assert inside.build(slots) == []


def test_a_list_that_is_not_cached_is_made_in_every_build(inside):
    text = (
        NUMBERS
        + """
@task(cache=False)
def fresh(n):
    yield from range(n)

@target(default=True)
def all():
    show.map(fresh(2)) > "out.json"
"""
    )
    assert evaluated(inside, text, "-j1")[0] == ["fresh", "show", "show", "show.map"]
    assert inside.build("-j1") == ["fresh"]


def test_a_task_with_several_outputs_is_mapped_to_several_lists(inside):
    _, out = evaluated(inside, NUMBERS + """
@task
def halves(n, by):
    return n // by, n % by

@target(default=True)
def all():
    whole, rest = halves.map(numbers(5), by=double(1))
    show.map(rest) > "out.json"
    double(whole[4]) > "one.json"
""", "-j1")  # fmt: skip
    assert out == ["0", "1", "0", "1", "0"]
    assert inside.read("one.json") == "4\n"


def test_an_item_that_fails_leaves_the_others_and_no_list(inside):
    text = (
        NUMBERS
        + """
@task
def strict(n):
    if n == 1 and not pathlib.Path("go").exists():
        raise ValueError("not this one")
    return n

@target(default=True)
def all():
    strict.map(numbers(4)) > "out.json"
"""
    )
    inside.merklfile("import pathlib\n" + text)
    done = inside.events("-j1", "-k", code=1)
    assert [e["task"] for e in done if e["event"] == "ran"].count("strict") == 3
    assert [e["label"] for e in done if e["event"] in ("failed", "skipped")] == [
        "strict numbers n=4[1]",
        "strict.map out.json",
    ]
    inside.write("go", "")
    assert inside.build("-j1") == ["strict", "strict.map"]


def test_items_that_the_store_has_lost_are_made_again(book):
    book.build("-j1")
    book.write("Merklfile.py", book.read("Merklfile.py").replace("len(page)", "len(page) + 1"))
    project = Project(load_config(str(book.path)))
    project.store.database.write(lambda c: c.execute("DELETE FROM blob WHERE bytes = ?", (b"bb",)))
    project.close()
    assert sorted(book.build("-j1")) == ["pages", "size", "size", "size", "size.map", "total"]
    assert book.read("total.txt") == "9\n"


def test_a_list_is_kept_checked_and_sent_with_all_its_items(inside, tmp_path):
    text = (
        NUMBERS
        + """
@task(outs=dict)
def long(n):
    for i in range(n):
        yield str(i), str(i) * 200_000

@target(default=True)
def all():
    show.map(double.map(long(3))) >> "out.json"
"""
    )
    inside.merklfile(text.replace("2 * n", "2 * n[:4]"))
    inside.write("merkl.yaml", json.dumps({"remote": {"url": str(tmp_path / "share")}}))
    (tmp_path / "share").mkdir()
    inside.build("-j1")
    inside.merkl("gc")
    inside.merkl("fsck")
    inside.merkl("push")
    shutil.rmtree(inside.path / ".merkl")
    (inside.path / "out.json").unlink()
    assert inside.build("-j1") == []
    assert inside.read("out.json")
    inside.merklfile(text.replace("2 * n", "3 * n[:4]"))
    assert sorted(set(inside.build("-j1"))) == ["double", "double.map", "show", "show.map"]


def test_a_list_of_pickles_says_so():
    item = Artifact("value", Digest.of(b"x"), 1, serializer="pickle")
    tree, serializer, _ = index_of({"0": item}, "list")
    assert serializer == "list with pickle"
    index = Artifact("dir", tree.digest, 1, serializer=serializer)
    assert read_index(index, lambda _: tree.encode()) == {"0": item}
    with pytest.raises(StoreCorrupt):
        read_index(Artifact("dir", tree.digest, 1, serializer="list"), lambda _: tree.encode())


def test_a_list_is_a_file_of_its_values_or_a_directory_of_its_items(inside):
    inside.merklfile(NUMBERS + """
cat = bash_task("cat {file_arg('list', '.json')} > {out_file_arg('out', '.txt')}")
ls = bash_task("ls {dir_arg('list')} > {out_file_arg('out', '.txt')}")

@target(default=True)
def all():
    made = double.map(numbers(3))
    cat(made) > "cat.txt"
    ls(made) > "ls.txt"
    made > "one.jsonl"
    made > "each"
""")  # fmt: skip
    inside.build("-j1")

    assert json.loads(inside.read("cat.txt")) == [0, 2, 4]
    assert inside.read("ls.txt") == "00000000.json\n00000001.json\n00000002.json\n"
    assert inside.read("one.jsonl") == "0\n2\n4\n"
    assert inside.read("each/00000002.json") == "4"
    assert inside.build("-j1") == []


def test_a_generator_has_one_output():
    def numbers(n):
        yield n

    with pytest.raises(TaskOutsError, match="numbers is a generator, whose one output is a list"):
        task(outs=2)(numbers)
    with pytest.raises(TaskOutsError):
        task(outs=["a"])(numbers)


def test_a_coroutine_is_no_task(inside):
    inside.merklfile("@task\nasync def later():\n    pass\n\n@target\ndef all():\n    later()\n")
    assert "later is a coroutine, which a task cannot be" in inside.merkl("build", "all", code=2).stderr


@pytest.mark.parametrize(
    ("form", "result", "said"),
    [
        ("list", 5, "should return or yield the items of a list, and returned 5"),
        ("list", "text", "should return or yield the items of a list, and returned 'text'"),
        ("dict", [1], "should yield pairs of a name and a value, and yielded 1"),
        ("dict", [(1, 2)], "should yield pairs of a name and a value, and yielded (1, 2)"),
        ("dict", [("a", 2), ("a", 3)], "yielded the name 'a' twice"),
        ("dict", 5, "should return a dict, or yield pairs, and returned 5"),
    ],
)
def test_what_has_no_items_is_said_to_have_none(form, result, said):
    with pytest.raises(TaskFailed) as failed:
        list(one_by_one(result, form, "words"))
    assert failed.value.headline == f"words {said}"


def test_an_item_that_is_a_directory_is_an_error(inside):
    inside.merklfile("""
@task
def folders(n):
    yield DirRef(".")

@target(default=True)
def all():
    folders(1) > "out"
""")
    said = inside.merkl("build", "-j1", code=1).stderr
    assert "folders made an item that is a directory, which cannot be an item of a list" in said


def test_a_list_that_is_read_is_a_sequence_of_its_values():
    read = []

    def load(item):
        read.append(item)
        return item * 2

    values = MerklList([1, 2, 3], load)
    assert read == []
    assert (values[1], values[-1], len(values)) == (4, 6, 3) and read == [2, 3]
    assert list(values[1:]) == [4, 6] and isinstance(values[1:], MerklList)
    assert values == [2, 4, 6] == values and values != [2, 4] and 4 in values
    assert pickle.loads(pickle.dumps(values)) == [2, 4, 6]
    assert repr(MerklList(range(9), load)) == "MerklList([0, 2, 4, 6, 8, …])"
    named = MerklDict({"a": 1, "b": 2}, load)
    assert named == {"a": 2, "b": 4} and list(named) == ["a", "b"] and named["b"] == 4
    assert pickle.loads(pickle.dumps(named)) == {"a": 2, "b": 4}


def test_items_of_a_list_are_named_by_numbers(tmp_path):
    @task
    def numbers(n):
        yield n

    with using(Inside(str(tmp_path), (), "a task")):
        refuse_other_names(numbers)


def refuse_other_names(numbers):
    with pytest.raises(FutureAccessError, match="its items are named by numbers"):
        numbers(1)["a"]
    with pytest.raises(FutureAccessError, match="its items are named by text"):
        task(outs=dict)(numbers.function)(1)[0]
    with pytest.raises(CallError, match=r"numbers.map takes a list, a dict, or the Future of one, and got 5"):
        numbers.map(5)


def test_a_serializer_of_the_task_writes_each_item(inside):
    _, out = evaluated(
        inside,
        """
import gzip
zipped = WrappedSerializer("json", name="zipped", file=lambda file, mode: gzip.GzipFile(fileobj=file, mode=mode, mtime=0))

@task(serializer=zipped)
def numbers(n):
    for i in range(n):
        yield [i]

@task
def first(row):
    return row[0]

@target(default=True)
def all():
    made = numbers(2)
    first.map(made) > "out.json"
    made > "each"
""",
    )
    assert out == [0, 1]
    assert [path.name.partition("#")[0] for path in sorted((inside.path / "each").iterdir())] == [
        "00000000.zipped",
        "00000001.zipped",
    ]
