"""Builds with a second store: what is fetched, what is sent, and what happens when it fails."""

import hashlib
import json
import os
import random
import shutil
import signal
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from merkl.digest import Key
from merkl.store.check import check
from merkl.store.local import LocalStore
from merkl.store.records import needs
from merkl.store.remote.directory import DirectoryObjects
from merkl.store.remote.remote import Remote

FAULT_SEED = int(os.environ["MERKL_FAULT_SEED"])
CHAIN = """
    first = bash_task("(cat {file_arg('text', '.txt')}; seq 20000) > {out_file_arg('out', '.txt')}")
    second = bash_task("tail -n +2 {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")
    third = bash_task("(head -3 {file_arg('text', '.txt')}; seq 30000) > {out_file_arg('out', '.txt')}")

    @target(default=True)
    def c():
        third(second(first(file("source.txt")))) > "c.txt"
"""
MIXED = """
    large = bash_task("seq {arg('n')} 90000 > {out_file_arg('out', '.txt')}")
    little = bash_task("echo {arg('n')} > {out_file_arg('out', '.txt')}")
    folder = bash_task("out={out_dir_arg('out')}; mkdir -p $out/sub; seq 50000 > $out/long; seq {arg('n')} > $out/sub/short")
    loud = bash_task("echo said; echo {arg('n')} > {out_file_arg('out', '.txt')}")

    @target(default=True)
    def all(n: int = 1):
        large(n) > "build/large.txt"
        little(n) > "build/little.txt"
        folder(n) > "build/folder"
        loud(n) > "build/loud.txt"
"""
TASKS = ["folder", "large", "little", "loud"]


class Team:
    """Clones of one project, and the directory they share."""

    def __init__(self, inside: Any, root: Path) -> None:
        self.inside = inside
        self.root = root
        self.share = root / "share"
        self.share.mkdir()
        self.home_of: dict[str, str] = {}  # By clone, of those that belong to another user.

    def clone(self, name: str, merklfile: str, **settings: object) -> Path:
        """A clone called ``name`` that has nothing but the Merklfile and its settings."""
        path = self.root / name
        path.mkdir()
        (path / "Merklfile.py").write_text("from merkl import *\n" + _dedent(merklfile))
        (path / "merkl.yaml").write_text(json.dumps({"remote": {"url": "../share", **settings}}))
        (path / "source.txt").write_text("source\n")
        return path

    def of_another(self, clone: Path) -> Path:
        """Let a clone belong to another user."""
        home = self.root / f"home of {clone.name}"
        home.mkdir()
        self.home_of[clone.name] = str(home)
        return clone

    def key(self, clone: Path) -> str:
        """The public key of the user whom a clone belongs to."""
        return str(json.loads(self.merkl(clone, "key", "show", "--json"))["key"])

    def merkl(self, clone: Path, *words: str, code: int | None = 0) -> str:
        """What merkl prints, run in a clone by the user whom the clone belongs to."""
        home = self.home_of.get(clone.name, os.environ["HOME"])
        done = self.inside.merkl(*words, cwd=clone, code=code, env={**os.environ, "HOME": home})
        return str(done.stdout)

    def events(self, clone: Path, *words: str, code: int | None = 0) -> list[dict[str, Any]]:
        """The events of a build in a clone."""
        out = self.merkl(clone, "build", "--json", *words, code=code)
        return [json.loads(line) for line in out.splitlines()]

    def ran(self, clone: Path, *words: str, code: int | None = 0) -> list[str]:
        """What a build in a clone ran, sorted."""
        return sorted(e["task"] for e in self.events(clone, *words, code=code) if e["event"] == "ran")

    def notes(self, clone: Path, *words: str, code: int | None = 0) -> list[str]:
        """What a build in a clone noted."""
        return [e["text"] for e in self.events(clone, *words, code=code) if e["event"] == "note"]

    def objects(self, kind: str) -> list[Path]:
        """The objects of a kind in the share."""
        return sorted(path for path in (self.share / kind).rglob("*") if path.is_file())


def _dedent(text: str) -> str:
    return textwrap.dedent(text)


def contents(top: Path) -> dict[str, bytes]:
    """Every file below ``build``."""
    return {
        str(p.relative_to(top)): p.read_bytes() for p in sorted((top / "build").rglob("*")) if p.is_file()
    }


def blobs_here(clone: Path) -> int:
    """How many contents the store of a clone holds."""
    store = LocalStore(clone / ".merkl/store")
    try:
        return check(store).blobs
    finally:
        store.close()


@pytest.fixture
def team(inside: Any, tmp_path: Path) -> Team:
    (tmp_path / "team").mkdir()
    return Team(inside, tmp_path / "team")


# ---- reading through ---------------------------------------------------------------------------------------------------


def test_another_clone_runs_nothing_and_has_the_same_files(team: Team) -> None:
    one, two = team.clone("one", MIXED), team.clone("two", MIXED)
    assert team.ran(one, "--push") == TASKS

    assert team.ran(two) == []

    assert contents(two) == contents(one) != {}
    assert team.ran(two) == []
    assert not list((team.share / "incoming").iterdir())


def test_only_the_bytes_that_something_needs_are_fetched(team: Team) -> None:
    one, two = team.clone("one", CHAIN), team.clone("two", CHAIN)
    assert team.ran(one, "--push") == ["first", "second", "third"]

    assert team.ran(two) == []
    assert (two / "c.txt").read_bytes() == (one / "c.txt").read_bytes()
    assert blobs_here(two) == 1, "the output of the last task, and no other"

    text = (two / "Merklfile.py").read_text().replace("head -3", "head -4")
    (two / "Merklfile.py").write_text(text)
    assert team.ran(two) == ["third"]
    assert blobs_here(two) == 3, "what the changed task reads and what it made as well"


def test_what_this_machine_knows_costs_the_remote_nothing(team: Team) -> None:
    text = MIXED
    one = team.clone("one", text)
    team.ran(one, "--push")
    team.share.rename(team.root / "elsewhere")

    assert team.notes(one) == [] == team.ran(one)
    shutil.rmtree(one / "build")
    assert team.notes(one) == []


@pytest.mark.needs("gcc")
def test_a_command_that_discovers_its_inputs_asks_only_if_they_changed(team: Team) -> None:
    text = """
        compile = bash_task(
            "gcc -MD -MF {depfile_arg()} -c {file_arg('source', '.c')} -o {out_file_arg('out', '.o')}"
        )

        @target(default=True)
        def all():
            compile(file("main.c")) > "build/main.o"
    """
    clones = [team.clone(name, text) for name in ("one", "two")]
    for clone in clones:
        (clone / "main.c").write_text('#include "a.h"\nint f(void) { return A; }\n')
        (clone / "a.h").write_text("#define A 1\n")
    one, two = clones
    assert team.ran(one, "--push") == ["compile"]
    (two / "a.h").write_text("#define A 2\n")
    assert team.ran(two, "--push") == ["compile"]
    shutil.copy(two / "a.h", one / "a.h")

    assert team.ran(one) == []
    assert contents(one) == contents(two)
    team.share.rename(team.root / "elsewhere")
    assert team.notes(one) == []


def test_early_cutoff_works_on_what_others_made(team: Team) -> None:
    text = """
        strip = bash_task("grep -v '^#' {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")
        shout = bash_task("tr a-z A-Z < {file_arg('text', '.txt')} > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            shout(strip(file("source.txt"))) > "build/out.txt"
    """
    one, two = team.clone("one", text), team.clone("two", text)
    assert team.ran(one, "--push") == ["shout", "strip"]
    (two / "source.txt").write_text("# a comment\nsource\n")

    assert team.ran(two) == ["strip"]
    assert contents(two) == contents(one)


def test_pickles_of_others_are_not_used_unless_that_is_allowed(team: Team) -> None:
    text = """
        @task
        def values():
            return {1j, 2j}

        @task
        def count(values):
            return len(values)

        @target(default=True)
        def all():
            count(values()) > "build/count.json"
    """
    one, two = team.clone("one", text), team.of_another(team.clone("two", text))
    three = team.of_another(team.clone("three", text))
    assert team.ran(one, "--push") == ["count", "values"]
    team.merkl(two, "key", "trust", team.key(one))
    team.merkl(three, "key", "trust", team.key(one), "--allow", "files,pickle")
    (two / "Merklfile.py").write_text(
        (two / "Merklfile.py").read_text().replace("len(values)", "len(values) + 0")
    )
    (three / "Merklfile.py").write_text((two / "Merklfile.py").read_text())

    (note,) = team.notes(two)
    assert note.endswith(f"for files only: `merkl key trust {team.key(one)} --allow files,pickle`"), note
    assert team.ran(two) == []
    assert team.ran(three) == ["count"]


def test_a_pickle_with_a_trap_is_never_read(team: Team, tmp_path: Path) -> None:
    text = """
        @task
        def values():
            return {1j, 2j}

        @task
        def count(values):
            return len(values)

        @target(default=True)
        def all():
            count(values()) > "build/count.json"
    """
    one, two = team.clone("one", text), team.of_another(team.clone("two", text))
    careless = team.of_another(team.clone("careless", text))
    team.ran(one, "--push")
    team.merkl(two, "key", "trust", team.key(one))
    team.merkl(careless, "key", "trust", team.key(one), "--allow", "files,pickle")
    canary = tmp_path / "canary"
    set_trap(team, "values", b"cos\nsystem\n(S'touch " + os.fsencode(canary) + b"'\ntR.")

    assert team.ran(two) == ["count", "values"]
    assert (two / "build/count.json").read_text().strip() == "2"
    assert not canary.exists()
    team.events(careless, code=None)
    assert canary.exists(), "the trap works"


def set_trap(team: Team, task: str, trap: bytes) -> None:
    """Let the remote have, of all results, only one of ``task`` that is ``trap``."""
    remote = Remote(DirectoryObjects(str(team.share)))
    keys = [Key.parse(path.parent.name) for path in team.objects("records")]
    records = remote.by_key(keys)
    for path in [*team.objects("records"), *team.objects("made")]:
        path.unlink()
    digest = remote.put([trap])
    for record in records.values():
        if record.task == task:
            ((name, artifact),) = record.outputs.items()
            outputs = {name: replace(artifact, digest=digest, size=len(trap))}
            remote.file(replace(record, outputs=outputs))
    remote.close()


# ---- sending -----------------------------------------------------------------------------------------------------------


def test_results_are_sent_without_being_asked_for_if_the_settings_say_so(team: Team) -> None:
    one, two = team.clone("one", MIXED, push=True), team.clone("two", MIXED)

    team.ran(one)

    assert team.ran(two) == []


def test_a_remote_that_fails_costs_one_note_and_nothing_else(team: Team) -> None:
    one = team.clone("one", MIXED)
    team.share.rmdir()

    events = team.events(one, "--push")

    notes = [event["text"] for event in events if event["event"] == "note"]
    assert len(notes) == 2, notes
    assert "going on without the remote" in notes[1] and "is not there" in notes[1]
    assert "4 results not pushed" in notes[0]
    assert sorted(event["task"] for event in events if event["event"] == "ran") == TASKS
    assert not team.share.exists()


@pytest.mark.parametrize("how", [("--require-remote",), (), ("-B", "--require-remote")])
def test_a_remote_that_is_required_and_fails_is_an_error(team: Team, how: tuple[str, ...]) -> None:
    one = team.clone("one", MIXED, required=not how)
    team.share.rmdir()

    done = team.inside.merkl("build", *how, cwd=one, code=3)

    assert "is not there" in done.stderr and "mounted" in done.stderr
    assert not (one / "build").exists()


def test_sending_to_a_required_remote_that_fails_is_an_error(team: Team) -> None:
    one = team.clone("one", MIXED)
    (team.share / "blobs").write_text("in the way")
    (team.share / "packs").write_text("in the way")

    done = team.inside.merkl("build", "--push", "--require-remote", cwd=one, code=3)

    assert "cannot be used" in done.stderr
    assert contents(one) != {}, "what was built is there all the same"


def test_a_required_remote_to_send_to_is_asked_also_when_there_is_nothing_to_do(team: Team) -> None:
    one = team.clone("one", MIXED)
    team.events(one)
    team.share.rmdir()

    done = team.inside.merkl("build", "--push", "--require-remote", cwd=one, code=3)

    assert "is not there" in done.stderr
    assert team.events(one, "--require-remote")[-1]["event"] == "done", "what is here needs no remote"


def test_without_a_remote_there_is_nothing_to_send_to(inside: Any) -> None:
    inside.merklfile("@target(default=True)\ndef all(): pass\n")

    for option in ("--push", "--require-remote"):
        done = inside.merkl("build", option, code=2)
        assert f"{option} needs a remote" in done.stderr and "MERKL_REMOTE" in done.stderr


def test_ctrl_c_while_results_are_sent_leaves_a_share_that_works(team: Team, project: Any) -> None:
    text = (
        MIXED
        + """
    @target
    def slow():
        for n in range(40):
            large(n) > f"build/{n}.txt"
    """
    )
    one, two = team.clone("one", text), team.clone("two", text)
    rng = random.Random(FAULT_SEED)
    for _ in range(4):
        with project.popen(
            "build", "-q", "--push", "-j2", "slow", cwd=one, start_new_session=True
        ) as process:
            time.sleep(rng.uniform(0.3, 2.0))
            os.killpg(process.pid, rng.choice([signal.SIGINT, signal.SIGKILL]))
            process.communicate(timeout=60)
        sound(team)
    team.ran(one, "--push", "slow")
    assert set(team.ran(two, "slow")) <= {"large"}
    assert contents(two) == contents(one)
    sound(team)


def sound(team: Team) -> None:
    """Every record of the share can be read, and all that it names is there and good."""
    remote = Remote(DirectoryObjects(str(team.share)))
    keys = [Key.parse(path.parent.name) for path in team.objects("records")]
    records = remote.by_key(keys)
    assert records.keys() == set(keys)
    for record in records.values():
        for digest in needs(record, remote.read):
            assert remote.read(digest) is not None
    assert remote.take_notes() == []
    remote.close()


# ---- frozen ------------------------------------------------------------------------------------------------------------


def test_a_frozen_build_places_what_is_cached_and_runs_nothing(team: Team) -> None:
    one, two = team.clone("one", CHAIN), team.clone("two", CHAIN)

    done = team.inside.merkl("build", "--frozen", cwd=one, code=6)
    assert "3 tasks would run" in done.stderr
    assert "first" in done.stderr and "no result of it is known" in done.stderr
    assert "may run" in done.stderr and "--frozen" in done.stderr
    assert not (one / "c.txt").exists()

    team.ran(one, "--push")
    assert team.ran(two, "--frozen") == []
    assert (two / "c.txt").read_bytes() == (one / "c.txt").read_bytes()
    (two / "source.txt").write_text("changed\n")
    assert "first" in team.inside.merkl("build", "--frozen", cwd=two, code=6).stderr


def test_a_frozen_build_that_loses_bytes_on_the_way_fails(team: Team) -> None:
    one = team.clone("one", CHAIN)
    team.ran(one)
    for path in (one / ".merkl/store/blobs").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"damaged")
    (one / "c.txt").unlink()

    done = team.inside.merkl("build", "--frozen", cwd=one, code=6)

    assert "the build is frozen" in done.stderr
    assert not (one / "c.txt").exists()


# ---- damage ------------------------------------------------------------------------------------------------------------

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "one bit": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]
    ),
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "one byte more": lambda data: data + b"\0",
}


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def state(top: Path) -> str:
    return hashlib.sha256(repr(contents(top)).encode()).hexdigest()


# A remote in which everything is, and the state of the clone that it came from.
_pushed: list[tuple[Path, str]] = []


@pytest.fixture
def pushed(team: Team, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Everything is in the remote; the state of the clone that built it.  Made once for each worker of the suite."""
    if not _pushed:
        one = team.clone("one", MIXED)
        team.ran(one, "--push")
        kept = tmp_path_factory.mktemp("pushed")
        shutil.copytree(team.share, kept / "share", symlinks=True)
        _pushed.append((kept / "share", state(one)))
    else:
        shutil.copytree(_pushed[0][0], team.share, symlinks=True, dirs_exist_ok=True)
    return _pushed[0][1]


@pytest.mark.parametrize("kind", ["records", "made", "index", "packs", "blobs", "merkl-remote"])
@pytest.mark.parametrize("damage", [*DAMAGES, "swapped", "gone"])
def test_row_25_26_27_what_is_damaged_in_the_remote_is_a_miss(
    team: Team, pushed: str, kind: str, damage: str
) -> None:
    paths = [team.share / kind] if kind == "merkl-remote" else team.objects(kind)
    assert paths
    if damage == "swapped":
        others = team.objects("records") if len(paths) == 1 else paths[1:] + paths[:1]
        texts = [other.read_bytes() for other in others]
        for path, text in zip(paths, texts, strict=False):
            overwrite(path, text)
    else:
        for path in paths:
            path.unlink() if damage == "gone" else overwrite(path, DAMAGES[damage](path.read_bytes()))
    two = team.clone("two", MIXED)

    events = team.events(two)

    assert state(two) == pushed
    ran = sorted(event["task"] for event in events if event["event"] == "ran")
    told = [e["text"] for e in events if e["event"] == "note" and "in the remote" in e["text"]]
    harmless = damage == "gone" or (kind, damage) == (
        "packs",
        "one byte more",
    )  # Nothing reads what is too much.
    assert len(set(told)) == len(told) <= max(len(paths), 4)
    assert harmless or told or kind in ("made", "merkl-remote"), "each kind of damage is told"
    match kind:
        case "records" | "made":
            assert ran == [], "the record is there once more, by the other name"
        case "blobs":  # A small content that was sent alone, because of when its task ended, is in no pack.
            assert {"folder", "large"} <= set(ran)
        case "index" | "packs":
            assert set(ran) <= {"folder", "little", "loud"} and (ran or damage == "one byte more")
        case _:
            assert ran in ([], TASKS)
    if kind != "merkl-remote":  # Whoever sends results afterwards repairs it.
        three, four = team.clone("three", MIXED), team.clone("four", MIXED)
        team.ran(three, "--push")
        assert team.ran(four) == []
        assert state(three) == state(four) == pushed
