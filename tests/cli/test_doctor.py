"""What ``merkl doctor`` finds on disks and machines that lack something."""

import json
import os
import resource
import time

import pytest

from merkl.cli import disks
from merkl.cli.doctor import open_files
from merkl.config import Config
from merkl.filesystem import file_system_of


def findings(merkl, *words):
    done = merkl("doctor", "--json", *words)
    return done.code, {each["what"]: each for each in json.loads(done.out)["findings"]}


def test_a_network_file_system_is_named_and_what_it_costs(poem, monkeypatch):
    monkeypatch.setenv("MERKL_FILE_SYSTEM", "nfs4")

    code, found = findings(poem)

    assert code == 0
    assert found["file system"]["verdict"] == "lacks"
    assert found["file system"]["text"].startswith(
        "nfs4, over a network: databases there have no write-ahead log"
    )
    assert "store:" in found["file system"]["text"]


def test_where_the_store_is_elsewhere_both_are_looked_at(poem, monkeypatch, elsewhere):
    monkeypatch.setenv("MERKL_STORE", f"{elsewhere}/no-such-store")

    _, found = findings(poem)

    assert found["store's"]["text"] == file_system_of(str(elsewhere)).kind
    assert "store's disk" in found


def test_names_that_are_one_to_the_file_system_are_told(poem, monkeypatch):
    real = os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: real(path) or real(path.lower()))

    _, found = findings(poem)

    assert found["names"]["verdict"] == "lacks"
    assert found["names"]["text"].startswith("upper and lower case are one name here")


@pytest.mark.parametrize(("grain", "said"), [(10**9, "to within 1 s"), (2 * 10**9, "to within 2 s")])
def test_coarse_stamps_are_told(poem, monkeypatch, grain, said):
    real = os.utime

    def coarse(path, ns):
        real(path, ns=tuple(each - each % grain for each in ns))

    monkeypatch.setattr(disks.os, "utime", coarse)

    _, found = findings(poem)

    assert found["stamps"]["verdict"] == "lacks"
    assert found["stamps"]["text"].startswith(said)


@pytest.mark.parametrize(("shift", "side"), [(-90, "ahead of"), (90, "behind")])
def test_a_file_system_with_another_clock_is_told(poem, monkeypatch, shift, side):
    real = time.time
    monkeypatch.setattr(disks.time, "time", lambda: real() + shift)

    _, found = findings(poem)

    assert found["clock"]["verdict"] == "lacks"
    assert f"90 seconds {side} this machine's clock" in found["clock"]["text"]


def test_a_disk_without_inodes_is_told(tmp_path, monkeypatch):
    class Full:
        f_bavail, f_frsize, f_files, f_favail = 10**9, 4096, 10**6, 12

    monkeypatch.setattr(disks.os, "statvfs", lambda path: Full)

    assert (disks.room(str(tmp_path)).verdict, disks.room(str(tmp_path)).text) == (
        "lacks",
        "4.1 TB and 12 inodes",
    )


def test_too_few_open_files_are_told_with_what_to_type():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        found = open_files(Config("/", jobs=40))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert found.verdict == "lacks"
    assert "100 at once, and -j40 may need 384 (ulimit -n 384" in found.text
    assert open_files(Config("/", jobs=1)).verdict == "ok"


def test_a_system_without_what_linux_has_is_told_what_stands_in(poem, monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.setattr("sys.platform", "darwin")

    _, found = findings(poem)

    assert found["kernel"]["verdict"] == "lacks"
    for what in ("files in memory", "descriptors of processes", "subreapers"):
        assert what in found["kernel"]["text"]


def test_an_old_bash_is_a_fault_and_says_what_to_install(poem, tmp_path, monkeypatch):
    program = tmp_path / "bin/bash"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'GNU bash, version 3.2.57(1)-release'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))

    code, found = findings(poem)

    assert code == 1
    assert found["bash"]["verdict"] == "broken"
    assert f"{program} is 3.2, and bash tasks need 4.4" in found["bash"]["text"]
    assert "brew install bash" in found["bash"]["text"]


def test_it_leaves_nothing_behind(poem):
    poem("build")
    before = sorted(os.listdir(poem.root / ".merkl")), poem.files()

    findings(poem)

    assert before == (sorted(os.listdir(poem.root / ".merkl")), poem.files())
