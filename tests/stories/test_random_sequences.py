"""Random sequences of what a user does with files beside git: no byte of the user's is lost, and ``status`` is right.

What merkl must know is worked out here a second time, by reading every file each time.  Commands run in this process.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from merkl.cli.main import run
from merkl.digest import Digest
from merkl.store.local import LocalStore
from merkl.store.remote.directory import DirectoryObjects
from merkl.store.remote.remote import Remote
from merkl.tree import Tree, TreeEntry

FULL = bool(os.environ.get("MERKL_FULL"))
MERKLFILE = """\
from merkl import bash_task, file, target

loud = bash_task("tr a-z A-Z < {file_arg('text')} > {out_file_arg('out')}")


@target(default=True)
def everything():
    loud(file("src.txt")) >> "out/kept.txt"
    loud(file("src.txt")) > "out/plain.txt"
"""
TRACKED = ("data/a", "data/b", "data/d")
INSIDE = ("data/d/x", "data/d/s/y")
KEPT = "out/kept.txt"  # With a sidecar.
OUTPUTS = (KEPT, "out/plain.txt")
EDITED = ("data/a", "data/b", *INSIDE, *OUTPUTS, "src.txt")
IDENTITY = {f"GIT_{who}_{what}": "n@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
GIT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, **IDENTITY}


def said_by(data: bytes) -> str | None:
    """The digest that a sidecar names; None if git left its markers in it."""
    named = re.findall(rb'(?m)^digest: "([0-9a-f]{64})"', data)
    return None if b"<<<<<<<" in data or len(named) != 1 else named[0].decode()


def what_is_at(path: Path) -> str | None:
    """The digest of a file or directory, by reading all of it; None if nothing is there."""
    if path.is_dir():
        below = sorted(path.rglob("*"), key=lambda each: os.fsencode(each.relative_to(path)))
        return Tree(tuple(_entry(each, path) for each in below)).digest.hex()
    return Digest.of(path.read_bytes()).hex() if path.exists() else None


def _entry(path: Path, top: Path) -> TreeEntry:
    name = os.fsencode(path.relative_to(top))
    if path.is_dir():
        return TreeEntry(name, "dir")
    data = path.read_bytes()
    return TreeEntry(name, "file", Digest.of(data), len(data), bool(path.stat().st_mode & 0o100))


CHANGES = st.tuples(
    st.sampled_from(["edit", "edit", "edit_back", "remove", "touch"]), st.sampled_from(EDITED)
)
COMMANDS = (
    ("save",), ("save",), ("commit",), ("switch",), ("switch",), ("discard",), ("stash",), ("unstash",),
    ("merge", "--ours"), ("merge", "--theirs"), ("merge", "--abort"), ("merge", "as it is"),
    ("track",), ("track", "data/a"), ("track", "data/d"), ("pull",), ("pull",), ("pull", "--force"), ("pull", "--force"), ("pull", "--force"), ("push",),
    ("build",), ("build",), ("gc",), ("gc",), ("restore", "data/a"), ("restore", "data/b"), ("restore", KEPT),
)  # fmt: skip


class Files(RuleBasedStateMachine):
    """One clone, a directory to push to, and a user."""

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp(prefix="merkl-story-"))
        self.root = self.top / "clone"
        self.root.mkdir()
        self.numbers = itertools.count()
        self.mine: set[bytes] = set()  # What the user wrote and has not given up.
        self.agreed: dict[str, str] = {}  # What was at each path when it last was what its sidecar says.
        self.placed: dict[str, str] = {}  # What merkl last made there.
        self.built_from: bytes | None = None  # What the outputs in place were built from, if that is known.
        self.git("init", "-q", "-b", "main")
        self.git("config", "merge.conflictStyle", "merge")
        self.write("Merklfile.py", MERKLFILE)
        self.write("merkl.yaml", "remote: {url: ../share}\njobs: 1\n")
        self.write(".gitignore", ".merkl/\n__pycache__/\n/out/plain.txt\n")
        (self.top / "share").mkdir()
        for path in ("data/a", "data/b", *INSIDE, "src.txt"):
            self.user_writes(path, f"first of {path}\n".encode())
        self.merkl("track", *TRACKED)
        self.build()
        self.git("add", "--all")
        self.git("commit", "-qm", "begin")
        self.git("branch", "other")
        self.status_is_that_of_the_model()

    def teardown(self) -> None:
        shutil.rmtree(self.top)

    # ---- programs ----------------------------------------------------------------------------------------------------

    def git(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            ["git", *words], cwd=self.root, env={**os.environ, **GIT}, capture_output=True, check=False
        )
        assert code is None or done.returncode == code, (words, done.stdout, done.stderr)
        return done

    def merkl(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run merkl; whatever it replaces must be somewhere else, and found there, when it returns."""
        before = self.in_place()
        surely_known = {path for path, state in self.model().items() if state in ("outdated", "fresh")}
        out, err = io.StringIO(), io.StringIO()
        here = os.getcwd()
        os.chdir(self.root)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run(words)
        finally:
            os.chdir(here)
        assert code in codes, (words, code, out.getvalue(), err.getvalue())
        after = self.in_place()
        for path, data in before.items():
            unit = "data/d" if path in INSIDE else path
            if data in self.mine and data not in after.values() and unit not in surely_known:
                assert self.is_named(data), f"{words} replaced what the user wrote at {path}: {data!r}"
        return out.getvalue()

    # ---- where bytes are ---------------------------------------------------------------------------------------------

    def write(self, path: str, data: bytes | str) -> None:
        where = self.root / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(data if isinstance(data, bytes) else data.encode())

    def in_place(self) -> dict[str, bytes]:
        found = {path: self.root / path for path in EDITED}
        return {path: where.read_bytes() for path, where in found.items() if where.is_file()}

    def in_git(self, data: bytes) -> bool:
        name = hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()
        return self.git("cat-file", "-e", name, code=None).returncode == 0

    @contextlib.contextmanager
    def store(self) -> Iterator[LocalStore]:
        opened = LocalStore(self.root / ".merkl/store")
        try:
            yield opened
        finally:
            opened.close()

    def in_history(self) -> set[bytes]:
        """The objects of all sidecars that were ever committed."""
        objects = self.git("rev-list", "--all", "--reflog", "--objects").stdout.split(b"\n")
        return {line.split(b" ")[0] for line in objects if line.endswith(b".merkl")}

    def at_tips(self) -> set[bytes]:
        """The objects of the sidecars in the last commit of all that has a name, in stashes and in the index: what gc keeps."""
        refs = self.git("for-each-ref", "--format=%(refname)").stdout.decode().split()
        refs += ["HEAD", "ORIG_HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD"]
        stashes = self.git("rev-list", "-g", "refs/stash", code=None).stdout.decode().split()
        rows = self.git("ls-files", "-s").stdout.split(b"\n")
        found = {row.split()[1] for row in rows if row.endswith(b".merkl")}
        for ref in (*refs, *(each + part for each in stashes for part in ("", "^2", "^3"))):
            rows = self.git("ls-tree", "-r", ref, code=None).stdout.split(b"\n")
            found |= {row.split()[2] for row in rows if row.endswith(b".merkl")}
        return found

    def named(self, names: set[bytes]) -> set[str]:
        """The digests of everything that those sidecars name and those here, and that was saved, with what is in directories."""
        texts = [path.read_bytes() for path in self.root.rglob("*.merkl") if path.is_file()]
        asked = subprocess.run(
            ["git", "cat-file", "--batch"],
            cwd=self.root,
            input=b"\n".join(names),
            capture_output=True,
            check=True,
        )
        found = set(re.findall(rb'(?m)^digest: "([0-9a-f]{64})"', asked.stdout + b"\n".join(texts)))
        digests = {each.decode() for each in found}
        with contextlib.closing(sqlite3.connect(self.root / ".merkl/index.db")) as index:
            digests |= {bytes(row[0]).hex() for row in index.execute("SELECT digest FROM saved")}
        with self.store() as store:
            for each in list(digests):
                data = store.read(Digest.parse(each))
                with contextlib.suppress(ValueError):
                    inside = Tree.decode(data or b"").entries
                    digests |= {entry.digest.hex() for entry in inside if entry.digest is not None}
        return digests

    def stored(self, data: bytes) -> bool:
        """Whether it is in the store, or was pushed."""
        with self.store() as store:
            if store.read(Digest.of(data)) == data:
                return True
        return Remote(DirectoryObjects(str(self.top / "share"))).read(Digest.of(data)) == data

    def is_named(self, data: bytes) -> bool:
        return self.in_git(data) or (
            self.stored(data) and Digest.of(data).hex() in self.named(self.in_history())
        )

    def user_gives_up(self, what: Callable[[], object]) -> None:
        """The user does something that may lose what only the work tree had."""
        what()
        left = set(self.in_place().values())
        self.mine = {data for data in self.mine if data in left or self.in_git(data) or self.stored(data)}

    def user_writes(self, path: str, data: bytes) -> None:
        self.user_gives_up(lambda: self.write(path, data))
        self.mine.add(data)

    # ---- what the user does ------------------------------------------------------------------------------------------

    @rule(changes=st.lists(CHANGES, max_size=3), command=st.sampled_from(COMMANDS))
    def step(self, changes: list[tuple[str, str]], command: tuple[str, ...]) -> None:
        """Change some files, then do one thing with git or merkl.  One rule, so that edits are never far apart."""
        for change, path in changes:
            getattr(self, change)(path)
        if changes:
            self.status_is_that_of_the_model()
        getattr(self, command[0])(*command[1:])

    def edit(self, path: str) -> None:
        self.user_writes(path, f"edit {next(self.numbers)} of {path}\n".encode())

    def edit_back(self, path: str) -> None:
        """Write what was written before, here or elsewhere."""
        again = sorted(self.mine)
        self.user_writes(path, again[next(self.numbers) % len(again)])

    def remove(self, path: str) -> None:
        if path == "src.txt":
            return  # Git keeps it, and a build needs it.
        self.user_gives_up(lambda: (self.root / path).unlink(missing_ok=True))

    def touch(self, path: str) -> None:
        if (self.root / path).exists():
            os.utime(self.root / path, ns=(next(self.numbers) * 10**9,) * 2)

    def commit(self) -> None:
        if not self.git("ls-files", "--unmerged").stdout:
            self.git("add", "--all")
            self.git("commit", "-qm", "more", "--allow-empty")

    def switch(self) -> None:
        branch = self.git("branch", "--show-current").stdout.strip()
        self.git("switch", "-q", "other" if branch == b"main" else "main", code=None)

    def discard(self) -> None:
        """Give up what git keeps and was changed, and with the sidecars what only they named."""
        self.user_gives_up(lambda: self.git("checkout", "-q", "--", ".", code=None))

    def stash(self) -> None:
        self.git("stash", "-q", code=None)

    def unstash(self) -> None:
        self.git("stash", "pop", "-q", code=None)

    def merge(self, side: str) -> None:
        branch = self.git("branch", "--show-current").stdout.strip()
        self.git("merge", "-q", "-m", "merged", "other" if branch == b"main" else "main", code=None)
        if not self.git("ls-files", "--unmerged").stdout or side == "as it is":
            return
        self.status_is_that_of_the_model()
        if side == "--abort":
            self.git("merge", "--abort", code=None)  # A conflict of a stash is no merge to abort.
        else:
            # After a stash that conflicts there is no merge, and this throws away what was edited since.
            self.user_gives_up(lambda: self.git("checkout", "-q", side, ".", code=None))
            self.git("add", "--all")
            self.git("commit", "-qm", "merged", code=None)

    # ---- what merkl does ---------------------------------------------------------------------------------------------

    def save(self) -> None:
        self.track()
        self.commit()

    def track(self, *paths: str) -> None:
        self.merkl("track", *paths, codes=(0, 2))

    def pull(self, *options: str) -> None:
        before = self.in_place()
        self.merkl("pull", *options, codes=(0, 2, 6))
        if before.get(KEPT) != self.in_place().get(KEPT):
            self.placed[KEPT] = what_is_at(self.root / KEPT) or ""
            self.built_from = None

    def push(self) -> None:
        self.merkl("push", codes=(0, 2, 6))

    def build(self) -> None:
        source = (self.root / "src.txt").read_bytes()
        self.merkl("build")
        self.built_from = source
        for path in OUTPUTS:
            self.placed[path] = Digest.of(source.upper()).hex()
            assert what_is_at(self.root / path) == self.placed[path]

    def restore(self, path: str) -> None:
        if "restored" in self.merkl("restore", path, codes=(0, 2)):
            self.placed.pop(path, None)

    def gc(self) -> None:
        """After a year.  What only a commit of the past names, the user has given up."""
        reached = self.named(self.at_tips())
        left = set(self.in_place().values())
        self.mine = {d for d in self.mine if d in left or Digest.of(d).hex() in reached or self.in_git(d)}
        database = max((self.root / ".merkl/store").glob("store-*.db"))
        with contextlib.closing(sqlite3.connect(database)) as store, store:
            for table in ("blob", "record"):
                store.execute(f"UPDATE {table} SET used_at = used_at - 31536000")
        self.merkl("gc", codes=(0, 2))

    # ---- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_of_the_users_is_lost(self) -> None:
        left = set(self.in_place().values())
        for data in self.mine - left:
            assert self.in_git(data) or self.stored(data), f"lost: {data!r}"

    def model(self) -> dict[str, str]:
        """How everything stands."""
        found: dict[str, str] = {}
        for path in (*TRACKED, *OUTPUTS):
            side, now = self.root / f"{path}.merkl", what_is_at(self.root / path)
            named = said_by(side.read_bytes()) if side.exists() else ""
            if named == "" and path not in self.placed:
                continue
            if named is None:
                found[path] = "conflicted"
            elif now is None:
                found[path] = "missing"
            elif now == named:
                found[path] = "fresh"
            elif now in (self.agreed.get(path), self.placed.get(path)):
                found[path] = "outdated" if named else "fresh"
            else:
                found[path] = "modified"
        return found

    @invariant()
    def status_is_that_of_the_model(self) -> None:
        expected = self.model()
        lines = map(json.loads, self.merkl("status", "--json").splitlines())
        said = {each["path"]: each["state"] for each in lines if each["event"] == "status"}
        old = self.built_from is not None and self.built_from != (self.root / "src.txt").read_bytes()
        for path in OUTPUTS:
            if (
                said.get(path) == "stale"
                and expected.get(path) == "fresh"
                and (old or self.built_from is None)
            ):
                said[path] = "fresh"
        assert said == expected
        for path, state in expected.items():
            if state == "fresh" and (self.root / f"{path}.merkl").exists():
                self.agreed[path] = what_is_at(self.root / path) or ""


def play(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Files,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def _imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.needs("git")
@pytest.mark.usefixtures("_imports")
def test_twelve_random_sequences_lose_nothing_and_status_is_right() -> None:
    play(12, 10)


@pytest.mark.full
@pytest.mark.needs("git")
@pytest.mark.usefixtures("_imports")
def test_many_long_random_sequences_lose_nothing_and_status_is_right() -> None:
    play(100, 50)
