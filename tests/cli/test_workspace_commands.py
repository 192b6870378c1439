"""``clean``, ``clear``, ``restore``, ``fsck``, ``gc``, ``init`` and ``doctor``."""

import contextlib
import json
import os
import sqlite3

import pytest

from merkl.cli.doctor import bash_finding
from merkl.cli.gc import bytes_of, days_of
from merkl.errors import UsageError


def ran(done):
    return [o["task"] for o in map(json.loads, done.out.splitlines()) if o["event"] == "ran"]


def test_clean_removes_outputs_and_the_store_gives_them_back(poem):
    poem("build")

    assert poem("clean", "-n").out == "would remove build/lines.txt\nwould remove build/loud.txt\n"
    assert len(poem.files()) == 4
    assert poem("clean").out == "removed build/lines.txt\nremoved build/loud.txt\n"
    assert poem.files() == ["Merklfile.py", "poem.txt"]
    assert ran(poem("build", "--json")) == []
    assert len(poem.files()) == 4


def test_clean_of_a_target_leaves_the_others(poem):
    poem("build")

    assert poem("clean", "build/loud.txt").out == "removed build/loud.txt\n"
    assert poem.files() == ["Merklfile.py", "build/lines.txt", "poem.txt"]
    assert poem("clean", "build/loud.txt").out == "nothing to remove\n"


def test_clean_saves_what_was_edited_and_leaves_what_merkl_never_placed(poem):
    poem("build")
    (poem.root / "build/lines.txt").write_text("mine\n")
    (poem.root / "build/other.txt").write_text("also mine\n")

    done = poem("clean")

    assert "bring it back with: merkl restore build/lines.txt" in done.out
    assert poem.files() == ["Merklfile.py", "build/other.txt", "poem.txt"]
    poem("restore", "build/lines.txt")
    assert (poem.root / "build/lines.txt").read_text() == "mine\n"


def test_clean_never_touches_a_file_that_lies_where_an_output_would_go(poem):
    (poem.root / "build").mkdir()
    (poem.root / "build/loud.txt").write_text("mine\n")

    assert poem("clean", "poem").out == "nothing to remove\n"
    assert (poem.root / "build/loud.txt").read_text() == "mine\n"


def test_stale_outputs_are_those_that_no_target_places_now(poem):
    poem("build")
    text = (poem.root / "Merklfile.py").read_text()
    (poem.root / "Merklfile.py").write_text(text.replace("build/loud.txt", "build/LOUD.txt"))
    poem("build")

    assert poem("clean", "--stale", "-n").out == "would remove build/loud.txt\n"
    assert poem("clean", "--stale").out == "removed build/loud.txt\n"
    assert poem.files() == ["Merklfile.py", "build/LOUD.txt", "build/lines.txt", "poem.txt"]


def test_clean_stale_leaves_what_run_placed_while_its_module_is_there(poem):
    steps = poem.root / "steps.py"
    steps.write_text(
        "from merkl import task\n@task\ndef one():\n    return 1\ndef all():\n    one() > 'one.txt'\n"
    )
    poem("run", "-q", "steps.all")

    assert poem("clean", "--stale", "-n").out == "nothing to remove\n"
    steps.unlink()
    assert poem("clean", "--stale").out == "removed one.txt\n"


def test_clean_stale_knows_functions_in_classes_and_in_files_that_cannot_be_imported(poem):
    (poem.root / "steps.py").write_text(
        "from merkl import task\n@task\ndef one():\n    return 1\n"
        "class All:\n    @staticmethod\n    def of():\n        one() > 'one.txt'\n"
    )
    odd = poem.root / "odd-steps.py"
    odd.write_text("from steps import one\ndef all():\n    one() > 'odd.txt'\n")
    poem("run", "-q", "steps.All.of")
    poem("run", "-q", "odd-steps.py:all")

    assert poem("clean", "--stale", "-n").out == "nothing to remove\n"
    odd.unlink()
    assert poem("clean", "--stale").out == "removed odd.txt\n"


def test_what_a_target_with_required_parameters_placed_is_not_stale(merkl):
    merkl.merklfile(
        """
        from merkl import bash_task, target
        @target
        def one(n: int):
            bash_task("echo {arg('n')} > {out_file_arg('o')}", name="say")(n) > f"out/{n}"
        """
    )
    merkl("build", "one", "n=1")

    done = merkl("clean", "--stale")

    assert done.out == "nothing to remove\n"
    assert "what one placed is kept" in done.err


def test_clear_forgets_the_named_results_and_nothing_else(poem):
    poem("build")

    assert poem("clear", "build/lines.txt").out.startswith(
        "forgot count build/lines.txt\nremoved 1 result and "
    )
    assert ran(poem("build", "--json")) == ["count"]
    assert poem("clear", "poem", "-n").out.count("would forget") == 2
    assert ran(poem("build", "--json")) == []
    assert "\nremoved 2 results and " in poem("clear", "poem").out
    assert ran(poem("build", "--json")) == ["upper", "count"]


def test_clear_leaves_the_results_of_targets_that_the_named_one_calls(merkl):
    merkl.merklfile(
        """
        from merkl import bash_task, target
        make = bash_task("echo made > {out_file_arg('o', '.txt')}", name="make")
        use = bash_task("cat {file_arg('f')} > {out_file_arg('o', '.txt')}", name="use")
        @target
        def made():
            return make()
        @target
        def used():
            return use(made()), made()
        """
    )
    merkl("build", "used")

    assert merkl("clear", "used").out.startswith("forgot use o.txt\nremoved 1 result and ")
    assert ran(merkl("build", "used", "--json")) == ["use"]


def test_restore_lists_what_was_saved_and_brings_back_the_version_that_is_named(poem):
    poem("build")
    path = poem.root / "build/lines.txt"
    for text in ("first\n", "second\n"):
        path.write_text(text)
        poem("build")

    listed = poem("restore").out.splitlines()
    assert [line.split()[-1] for line in listed] == ["build/lines.txt"] * 2
    assert poem("restore", "-n", "build/lines.txt").out.startswith(
        "would restore build/lines.txt as it was on "
    )

    assert poem("restore", "build/lines.txt").code == 0
    assert path.read_text() == "second\n"
    digest = listed[1].split()[2]
    assert poem("restore", "build/lines.txt", "--version", digest).code == 0
    assert path.read_text() == "first\n"
    assert poem("restore", "build/lines.txt", "--version", "0000").code == 2
    assert poem("restore", "build/line.txt").err.endswith("did you mean build/lines.txt?\n")


def test_restore_says_that_nothing_was_replaced(poem):
    poem("build")

    assert poem("restore").out == "nothing of yours was replaced\n"


def test_fsck_finds_a_damaged_blob_and_the_next_build_makes_it_again(poem):
    poem("build")
    assert poem("fsck").out.endswith(": nothing is wrong\n")
    database = next((poem.root / ".merkl/store").glob("store-*.db"))
    connection = sqlite3.connect(database)
    connection.execute("UPDATE blob SET bytes = x'00' WHERE size > 20")
    connection.commit()
    connection.close()

    done = poem("fsck")

    assert done.code == 3
    assert done.out.startswith("damaged, set aside: ")
    (poem.root / "build/loud.txt").unlink()
    assert ran(poem("build", "--json")) == ["upper"]
    assert json.loads(poem("fsck", "--json").out)["clean"] is True


def test_gc_keeps_what_is_in_place_and_frees_what_is_old(poem):
    poem("build")
    dry = json.loads(poem("gc", "-n", "--keep-days", "0", "--json").out)
    poem("gc", "--keep-days", "0")

    assert dry["records"] == 0  # Used within this second, or in place.
    assert ran(poem("build", "--json")) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [("500MB", 500_000_000), ("10G", 10_000_000_000), ("1.5GiB", 1_610_612_736), ("7", 7), ("2kb", 2000)],
)
def test_a_size_is_read_as_it_is_written(text, count):
    assert bytes_of(text) == count


@pytest.mark.parametrize(("text", "days"), [("30d", 30), ("12h", 0.5), ("2w", 14), ("3", 3)])
def test_an_age_is_read_as_it_is_written(text, days):
    assert days_of(text) == days


@pytest.mark.parametrize("text", ["", "x", "-1", "1e3", "5 parsecs"])
def test_what_is_no_size_and_no_age_is_refused(text):
    with pytest.raises(UsageError):
        bytes_of(text)
    with pytest.raises(UsageError):
        days_of(text)


def test_init_writes_a_merklfile_that_builds_and_is_cached_afterwards(merkl):
    assert merkl("init").out == "wrote Merklfile.py; now try: merkl build\n"
    first, second = merkl("build"), merkl("build")

    assert first.out.splitlines()[-1].startswith("2 tasks: 2 ran")
    assert "cached" in second.out
    assert len((merkl.root / "build/words.txt").read_text().splitlines()) == 10
    assert merkl("build", "n=3").code == 0
    assert len((merkl.root / "build/words.txt").read_text().splitlines()) == 3


def test_init_never_overwrites(merkl):
    merkl.merklfile("mine\n")

    done = merkl("init")

    assert (done.code, done.err.splitlines()[0]) == (2, "Merklfile.py is there already")
    assert (merkl.root / "Merklfile.py").read_text() == "mine\n"


def test_doctor_says_what_is_here_and_changes_nothing(poem):
    done = poem("doctor")

    assert done.code == 0
    for what in ("merkl", "python", "bash", "sqlite", "store", "locks", "reflink"):
        assert any(line.split()[1] == what for line in done.out.splitlines())
    assert os.listdir(poem.root) and poem.files() == ["Merklfile.py", "poem.txt"]
    assert not (poem.root / ".merkl").exists()


def test_doctor_says_that_a_store_is_of_a_newer_merkl(poem):
    poem("build")
    [database] = poem.root.glob(".merkl/store/store-*.db")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
        connection.commit()

    done = poem("doctor")
    said = done.out
    assert done.code == 1
    assert "newer" in next(line for line in said.splitlines() if "store" in line and "broken" in line)


def test_doctor_as_json(poem):
    found = json.loads(poem("doctor", "--json").out)

    assert {each["verdict"] for each in found["findings"]} <= {"ok", "lacks"}


def test_doctor_says_what_a_broken_setting_is(poem):
    (poem.root / "merkl.yaml").write_text("jbos: 3\n")

    done = poem("doctor")

    assert done.code == 1
    assert "broken  settings" in done.out
    assert "unknown setting 'jbos'" in done.out
    assert "did you mean jobs?" in done.out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jobs: 1\njobs: 2\n", "merkl.yaml: 'jobs' is given twice, first in line 1"),
        ("remote:\n  url: a\n  url: b\n", "merkl.yaml: 'url' is given twice, first in line 2"),
        ("executors: &a {b: *a}\njobs: 0\n", "merkl.yaml: jobs is a number of tasks from 1 up, not 0"),
        ("keep_going: 'no'\n", "merkl.yaml: keep_going is true or false, not 'no'"),
        ("project_modules: 3\n", "merkl.yaml: project_modules is a list of module names, not 3"),
        ("project_modules:\n", "merkl.yaml: project_modules is a list of module names, not None"),
        ("jobs: 2024-13-45\n", "merkl.yaml is not valid YAML: month must be in 1..12"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_an_error_that_names_it(poem, text, message):
    (poem.root / "merkl.yaml").write_text(text)

    done = poem("list")

    assert done.code == 2
    assert done.err.startswith(message)


def test_settings_in_a_pipe_are_refused_and_not_waited_for(poem):
    os.mkfifo(poem.root / "merkl.yaml")

    done = poem("list")

    assert done.code == 2
    assert done.err.startswith("merkl.yaml is not a regular file")


@pytest.mark.parametrize(
    ("says", "verdict"),
    [("GNU bash, version 5.2.15(1)-release", "ok"), ("GNU bash, version 4.4.0", "ok"), ("GNU bash, version 3.2.57(1)", "broken"),
     ("something else", "broken")],
)  # fmt: skip
def test_doctor_wants_a_bash_that_has_inherit_errexit(tmp_path, says, verdict):
    program = tmp_path / "bash"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)

    assert bash_finding(str(tmp_path)).verdict == verdict
    assert bash_finding(str(tmp_path / "elsewhere")).verdict == "broken"
