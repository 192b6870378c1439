"""The brotli example, built for real: after each edit the commands that run are those that gcc's own word asks for.

What a compilation reads is asked of ``gcc -MM``, apart from anything that merkl recorded.
"""

import fcntl
import os
import random
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.needs("gcc", "ar", "tar")

EXAMPLE = Path(__file__).parent.parent.parent / "examples/brotli"
LEFT_OUT = shutil.ignore_patterns(".merkl", "build", "vendor", "__pycache__", ".ruff_cache")
QUICK = "optimise=0"
REST = ["archive", "link", "compare"]


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example after a first build with ``QUICK``; made by whichever worker comes first."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    copy = shared / "brotli-built"
    with open(shared / "brotli-lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.exists():
            draft = shared / "brotli-draft"
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(EXAMPLE, draft, ignore=LEFT_OUT)
            fetch(draft)
            shutil.rmtree(draft / "vendor")  # From here on as for a new user.
            merkl(draft, "build", "-j2", QUICK)
            draft.rename(copy)
    return copy


def fetch(project: Path) -> None:
    """Put the sources in place; where PyPI cannot be reached, there is nothing to test."""
    done = merkl(project, "build", "vendor/brotli", check=False)
    if done.returncode:
        refuse = pytest.fail if os.environ.get("MERKL_REQUIRE_ALL") else pytest.skip
        refuse(f"brotli's source distribution could not be fetched:\n{done.stderr}")


def merkl(project: Path, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "merkl", *arguments]
    return subprocess.run(command, cwd=project, check=check, capture_output=True, text=True)


@pytest.fixture
def brotli(inside: Any, built_once: Path) -> "Brotli":
    """The example after its first build, moved to another place."""
    shutil.copytree(built_once, inside.path, dirs_exist_ok=True)
    return Brotli(inside)


class Brotli:
    """The built example; what ran is named by the C file of a compilation, and by the task of all else."""

    def __init__(self, project: Any) -> None:
        self.project = project
        self.path: Path = project.path
        self.sources = ["brot.c", *(str(p) for p in self.inside("vendor/brotli/c/[cde]*/*.c"))]
        self.labels = {
            node["label"]: node["files"][0]
            for node in self.json("dag", "--files", "--format=json")["nodes"]
            if node["task"] == "compile_c"
        }
        assert sorted(self.labels.values()) == sorted(self.sources)

    def inside(self, pattern: str) -> list[Path]:
        return sorted(path.relative_to(self.path) for path in self.path.glob(pattern))

    def json(self, *arguments: str) -> Any:
        import json

        return json.loads(self.project.merkl(*arguments, QUICK).stdout)

    def build(self, *arguments: str) -> dict[str, str]:
        """What became of each command that did not simply stand in the store."""
        ends = {}
        for event in self.project.events("-j2", QUICK, *arguments):
            if event["event"] in ("ran", "cutoff", "failed", "skipped"):
                ends[self.labels.get(event["label"], event["task"])] = event["event"]
        return ends

    def ran(self, *arguments: str) -> list[str]:
        return sorted(name for name, end in self.build(*arguments).items() if end == "ran")

    def would_run(self) -> list[str]:
        """What a dry run says of compilations."""
        import json

        lines = self.project.merkl("build", "--dry-run", "--json", QUICK).stdout.splitlines()
        return sorted(
            self.labels[event["label"]]
            for event in map(json.loads, lines)
            if event.get("label") in self.labels and event.get("event") == "would run"
        )

    def readers(self, header: str) -> list[str]:
        """The C files that read a header, by what the compiler says."""
        return sorted(source for source, read in self.dependencies().items() if header in read)

    def dependencies(self) -> dict[str, set[str]]:
        """What each C file reads, in the project."""
        done = subprocess.run(
            ["gcc", "-std=c99", "-Ivendor/brotli/c/include", "-MM", *self.sources],
            cwd=self.path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found: dict[str, set[str]] = {}
        for rule in done.stdout.replace("\\\n", " ").splitlines():
            source, *headers = shlex.split(rule.partition(":")[2])
            found[source] = {os.path.normpath(header) for header in headers}
        assert sorted(found) == sorted(self.sources)
        return found

    def append(self, header: str, text: str) -> str:
        """Add text to the end of a header; what it was before."""
        before = self.project.read(header)
        self.project.write(header, before + text)
        return str(before)


COMMON = "vendor/brotli/c/common/version.h"
HASH = "vendor/brotli/c/enc/hash.h"
OURS = "static const int ours __attribute__((used)) = 1;\n"  # Of this an object has something.


def test_the_first_build_compiled_everything_and_the_next_runs_nothing(brotli: Brotli) -> None:
    assert len(brotli.sources) > 30
    assert len([*brotli.path.glob(".merkl/store/*.db")]) == 1
    assert brotli.build() == {}
    assert brotli.project.merkl("why", QUICK).stdout.startswith("nothing would run")
    assert "noise, quality 11: 100000 bytes become" in brotli.project.read("build/compared.txt")

    for header in brotli.inside("vendor/brotli/c/*/*.h"):
        os.utime(brotli.path / header)
    assert brotli.build() == {}


def test_a_comment_in_a_header_runs_the_compilations_that_include_it_and_cuts_off_the_rest(
    brotli: Brotli,
) -> None:
    readers = brotli.readers(HASH)
    assert 1 < len(readers) < len(brotli.sources) / 2

    before = brotli.append(HASH, "/* A comment, after all that has a line number. */\n")
    why = brotli.project.merkl("why", QUICK).stdout
    assert why.count(f"  the file {HASH}, which it found while it ran, changed\n") == len(readers)
    assert brotli.would_run() == readers
    assert brotli.ran() == readers
    assert brotli.build() == {}

    brotli.project.write(HASH, before)
    assert brotli.build() == {}


def test_a_change_in_a_header_is_seen_although_the_keys_have_records_and_going_back_runs_nothing(
    brotli: Brotli,
) -> None:
    first = (brotli.path / "build/brot").read_bytes()
    readers = brotli.readers(COMMON)

    old = brotli.append(COMMON, OURS)
    new = old + OURS
    assert brotli.ran() == sorted([*readers, *REST])
    second = (brotli.path / "build/brot").read_bytes()
    assert second != first

    for text, program in ((old, first), (new, second), (old, first)):
        brotli.project.write(COMMON, text)
        assert brotli.build() == {}
        assert (brotli.path / "build/brot").read_bytes() == program


def test_every_header_runs_just_the_compilations_that_read_it(brotli: Brotli) -> None:
    read = brotli.dependencies()
    headers = sorted({header for found in read.values() for header in found})
    assert len(headers) > 50
    if not os.environ.get("MERKL_FULL"):
        headers = random.sample(headers, 8)
    for header in headers:
        before = brotli.append(header, "/* x */\n")
        assert brotli.would_run() == sorted(s for s in read if header in read[s]), header
        brotli.project.write(header, before)
    assert brotli.would_run() == []


def test_what_an_edit_leaves_is_what_a_build_from_clean_elsewhere_makes(
    brotli: Brotli, tmp_path: Path
) -> None:
    brotli.append(COMMON, OURS)
    brotli.append("vendor/brotli/c/enc/encode.c", "int of_our_own = 1;\n")
    brotli.build("program")
    clean = tmp_path / "a longer name"
    shutil.copytree(brotli.path, clean, ignore=shutil.ignore_patterns(".merkl", "build"))

    merkl(clean, "build", "-j2", "program", QUICK)

    for name in ("build/libbrotli.a", "build/brot"):
        assert (clean / name).read_bytes() == (brotli.path / name).read_bytes(), name
        assert os.fsencode(clean) not in (clean / name).read_bytes()


def test_a_new_source_file_is_noticed_and_sources_come_back_as_they_were_published(brotli: Brotli) -> None:
    brotli.project.write("vendor/brotli/c/enc/ours.c", "int ours;\n")
    brotli.labels["compile_c ours.c"] = "ours"
    assert brotli.ran() == [
        "archive",
        "link",
        "ours",
    ]  # Nobody calls what is in it: the program stays as it is.
    brotli.append(HASH, "/* mine */\n")

    brotli.project.merkl("build", "vendor/brotli")
    assert not (brotli.path / "vendor/brotli/c/enc/ours.c").exists()
    assert brotli.build() == {}
    brotli.project.merkl("restore", "vendor/brotli")
    assert brotli.project.read(HASH).endswith("/* mine */\n")
    assert brotli.ran() == brotli.readers(HASH)
