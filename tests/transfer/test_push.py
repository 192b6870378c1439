"""``merkl push``: what it sends, what it does not send twice, and what it leaves."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from merkl.config import load_config
from merkl.engine.project import Project
from merkl.engine.roots import roots_of
from merkl.store.choice import Keep
from merkl.store.collect import collect

CHAIN = """
    first = bash_task("echo {arg('text')} > {out_file_arg('out')}")
    second = bash_task("tr a-z A-Z < {file_arg('text')} > {out_file_arg('out')}")
    third = bash_task("echo {arg('end')} | cat {file_arg('text')} - > {out_file_arg('out')}")

    @target(default=True)
    def chain():
        third(text=second(first("text")), end="end") > "build/chain.txt"

    @target
    def other():
        first("other") > "build/other.txt"
"""
FINDS = """
    finds = bash_task("cat header.h > {out_file_arg('out')}; echo 'o: header.h' > {depfile_arg()}", cwd=".")

    @target(default=True)
    def found():
        finds() > "build/found.txt"
"""


def blob_of(clones: Any, path: str) -> Path:
    name = clones.sidecar(clones.here, path).digest.hex()
    found: Path = clones.here / f".merkl/store/blobs/{name[:2]}/{name}"
    return found


def test_what_has_arrived_is_not_sent_again(clones: Any) -> None:
    clones.write(clones.here, "large", b"x" * 300_000)
    clones.write(clones.here, "small", b"x")
    for name in ("large", "small"):
        clones.track(clones.here, name)
    assert "pushed 2 files, 300.0 kB" in clones.merkl(clones.here, "push").stdout
    before = clones.sent()

    assert "2 there already" in clones.merkl(clones.here, "push").stdout

    assert clones.sent() == before


def test_one_edit_in_a_directory_sends_one_file(clones: Any) -> None:
    for number in range(30):
        clones.write(clones.here, f"data/{number}", bytes([number]) * 300_000)
    clones.track(clones.here, "data")
    clones.merkl(clones.here, "push")
    before = clones.sent()
    clones.write(clones.here, "data/7", b"edit" * 100_000)
    clones.track(clones.here, "data")

    clones.merkl(clones.here, "push")

    new = clones.sent().keys() - before.keys()
    assert sorted(name.split("/")[0] for name in new) == [
        "blobs",
        "index",
        "packs",
    ]  # The file; the tree, packed.


def test_only_the_paths_that_are_named_are_sent(clones: Any) -> None:
    clones.merklfile(CHAIN)
    clones.build(clones.here)
    for name in ("a/one", "a/two", "b/one"):
        clones.write(clones.here, name, name)
        clones.track(clones.here, name)

    out = clones.merkl(clones.here, "push", "a").stdout

    assert [line.split()[1] for line in out.splitlines()[:-1]] == ["a/one", "a/two"]
    assert not (clones.share / "made").exists()


def test_after_a_push_of_a_target_a_build_elsewhere_runs_nothing_and_after_an_edit_only_what_it_changes(
    clones: Any,
) -> None:
    clones.merklfile(CHAIN)
    clones.build(clones.here, "chain", "other")
    out = clones.merkl(clones.here, "push", "chain").stdout
    assert out.startswith("pushed 0 files and 3 results")

    assert clones.build(clones.there) == []
    assert clones.build(clones.there, "other") == ["first"]
    shutil.rmtree(clones.there / ".merkl")
    clones.merklfile(CHAIN.replace('end="end"', 'end="finish"'))
    assert clones.build(clones.there) == ["third"]


def test_without_words_the_results_of_all_last_builds_are_sent(clones: Any) -> None:
    clones.merklfile(CHAIN)
    clones.build(clones.here, "chain")
    clones.build(clones.here, "other")

    assert clones.merkl(clones.here, "push").stdout.startswith("pushed 0 files and 4 results")

    assert clones.build(clones.there, "chain", "other") == []


def test_the_result_that_a_sidecar_names_goes_with_it(clones: Any) -> None:
    clones.merklfile(CHAIN.replace("default=True", "default=True, sidecar=True"))
    clones.build(clones.here)

    out = clones.merkl(clones.here, "push", "build").stdout

    assert "1 file and 1 result" in out
    clones.hand_over()
    assert clones.build(clones.there) == []


def test_a_result_that_depends_on_what_it_found_is_sent_for_what_is_there_now(clones: Any) -> None:
    clones.merklfile(FINDS)
    for text in ("one", "two"):
        for at in (clones.here, clones.there):
            clones.write(at, "header.h", text)
        assert clones.build(clones.here) == ["finds"]

    assert "1 result" in clones.merkl(clones.here, "push").stdout

    assert clones.build(clones.there) == []
    clones.write(clones.there, "header.h", "one")
    assert clones.build(clones.there) == ["finds"]


def test_results_whose_bytes_are_gone_are_left_out_with_a_note(clones: Any) -> None:
    clones.merklfile('big = bash_task("seq 50000 > {out_file_arg(\'out\')}")\n' + "\n".join(
        ["@target(default=True)", "def all():", '    big() > "big.txt"']
    ))  # fmt: skip
    clones.build(clones.here)
    shutil.rmtree(clones.here / ".merkl/store/blobs")

    done = clones.merkl(clones.here, "push")

    assert "1 result not pushed" in done.stderr and "`merkl build` makes it again" in done.stderr
    assert not (clones.share / "made").exists()


# ---- what the store lacks --------------------------------------------------------------------------------------------


def test_data_that_only_the_workspace_has_is_stored_and_sent(clones: Any) -> None:
    clones.write(clones.here, "data", b"x" * 200_000)
    clones.write(clones.here, "folder/inside", b"inside")
    for name in ("data", "folder"):
        clones.track(clones.here, name, store=False)

    clones.merkl(clones.here, "push")
    clones.hand_over()
    clones.merkl(clones.there, "pull")

    assert (clones.there / "data").read_bytes() == b"x" * 200_000
    assert (clones.there / "folder/inside").read_bytes() == b"inside"


def test_data_that_is_nowhere_is_named_and_the_rest_is_sent(clones: Any) -> None:
    for name in ("a", "b"):
        clones.write(clones.here, name, name)
    clones.track(clones.here, "a", store=False)
    clones.track(clones.here, "b")
    clones.write(clones.here, "a", "mine")

    left = clones.merkl(clones.here, "push", code=6)

    assert "cannot push a: its data is not in the store, and what is there is something else" in left.stderr
    assert "pushed  b" in left.stdout
    (clones.here / "a").unlink()
    gone = clones.merkl(clones.here, "push", code=6).stderr
    assert "and is not there" in gone and "`merkl push a` on a machine that has it" in gone


def test_of_modified_data_that_is_sent_which_the_sidecar_names(clones: Any) -> None:
    clones.write(clones.here, "a", "tracked")
    clones.track(clones.here, "a")
    clones.write(clones.here, "a", "mine")

    clones.merkl(clones.here, "push")
    clones.hand_over()
    clones.merkl(clones.there, "pull")

    assert (clones.there / "a").read_text() == "tracked"


def test_a_damaged_content_is_not_sent_and_the_rest_is(clones: Any) -> None:
    for name in ("a", "b"):
        clones.write(clones.here, name, name.encode() * 300_000)
        clones.track(clones.here, name)
    (clones.here / "a").unlink()
    blob = blob_of(clones, "a")
    blob.chmod(0o644)
    blob.write_bytes(b"a" * 299_999 + b"?")

    left = clones.merkl(clones.here, "push", code=6)

    assert "cannot push a" in left.stderr and "pushed  b" in left.stdout
    assert [name for name in clones.sent() if name.startswith("blobs/")] == [
        f"blobs/{(digest := clones.sidecar(clones.here, 'b').digest.hex())[:2]}/{digest}"
    ]


# ---- how it speaks ---------------------------------------------------------------------------------------------------


def test_without_a_remote_the_line_to_add_is_named(clones: Any) -> None:
    (clones.here / "merkl.yaml").write_text("jobs: 1\n")

    error = clones.merkl(clones.here, "push", code=2).stderr

    assert "this project has no remote" in error and "remote: {url: /mnt/team/merkl}" in error


def test_a_dry_run_sends_nothing(clones: Any) -> None:
    clones.write(clones.here, "a", b"x" * 300_000)
    clones.track(clones.here, "a")

    out = clones.merkl(clones.here, "push", "-n").stdout

    assert out.splitlines() == ["would push  a  300.0 kB", "would push 1 file, 300.0 kB"]
    assert clones.sent() == {}


def test_a_remote_that_is_not_there_is_an_error_that_says_what_is_left(clones: Any) -> None:
    clones.write(clones.here, "a", "a")
    clones.track(clones.here, "a")
    shutil.rmtree(clones.share)

    error = clones.merkl(clones.here, "push", code=3).stderr

    assert "not pushed: a\n" in error and "`merkl push` goes on" in error


def test_json_has_an_object_for_each_path_and_one_for_results(clones: Any) -> None:
    clones.merklfile(CHAIN)
    clones.build(clones.here)
    clones.write(clones.here, "a", "text")
    clones.track(clones.here, "a")

    out = clones.merkl(clones.here, "push", "--json").stdout

    path, results = map(json.loads, out.splitlines())
    assert path == {"event": "pushed", "path": "a", "state": "moved", "bytes": 4, "saved": False}
    assert (results["results"], results["state"]) == (3, "moved")


VALUES = """
    @task
    def pairs():
        return [(1, 2)]

    @task
    def word():
        return "be"

    @target(default=True, sidecar=True)
    def both():
        pairs() >> "p.json"
        word() >> "w.json"
"""


@pytest.mark.parametrize("how", ["push", "build --push"])
def test_values_placed_in_another_form_than_the_stores_go_over_too(clones: Any, how: str) -> None:
    clones.merklfile(VALUES)
    if how == "push":
        clones.merkl(clones.here, "build")
        for path in ("p.json", "w.json"):
            (clones.here / path).unlink()  # The store has them, also for a `pull` here.
        clones.merkl(clones.here, "push")
    else:
        clones.merkl(clones.here, *how.split())
    clones.hand_over()
    clones.merkl(clones.there, "pull")
    assert (clones.there / "p.json").read_text().split() == ["[[1,", "2]]"]
    assert (clones.there / "w.json").read_text() == '"be"\n'


def test_gc_keeps_a_written_value_while_a_sidecar_names_it(clones: Any) -> None:
    clones.merklfile(VALUES)
    clones.merkl(clones.here, "build")
    kept, free = (clones.sidecar(clones.here, path).digest for path in ("p.json", "w.json"))
    (clones.here / "w.json.merkl").unlink()
    project = Project(load_config(str(clones.here)))
    try:
        roots = roots_of(project)
        assert project.store.has([kept, free]) == {kept, free}
        collect(project.store, Keep(digests=frozenset(roots.digests), grace_s=-1))
        assert project.store.has([kept, free]) == {kept}
    finally:
        project.close()


def test_a_build_that_pushes_sends_what_earlier_ones_remembered_of_pipelines(clones):
    clones.merklfile(
        """
        make = bash_task("echo {arg('n')} > {out_file_arg('o', '.txt')}")

        @pipeline
        def several(count: int):
            print("called")
            for n in range(count):
                make(n) > f"{n}.txt"

        @target(default=True)
        def all():
            several(2)
        """
    )
    assert "called" in clones.merkl(clones.here, "build").stderr
    assert "called" not in clones.merkl(clones.here, "build", "--push").stderr

    assert "called" not in clones.merkl(clones.there, "build", "--require-remote").stderr
    assert clones.build(clones.there) == []
