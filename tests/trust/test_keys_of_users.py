"""Whose results are used: several users of one shared directory, and what each must say."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from merkl.cli.complete import complete
from merkl.digest import Digest
from merkl.store.find import find
from merkl.store.local import LocalStore
from merkl.store.remote.directory import DirectoryObjects
from merkl.store.remote.remote import Remote
from merkl.store.remote.upload import Result, upload
from merkl.tree import Tree, TreeEntry
from merkl.trust.signing import SigningKey
from merkl.trust.trust import Trust

TEXT = """
    @task
    def values():
        return {1j, 2j}

    @task
    def count(values):
        return len(values)

    hello = bash_task("echo hello > {out_file_arg('out', '.txt')}")

    @target(default=True)
    def all():
        count(values()) > "build/count.json"
        hello() > "build/hello.txt"
"""
TASKS = ["count", "hello", "values"]


class Users:
    """Users of one project, each with a HOME and a clone of their own."""

    def __init__(self, inside: Any, top: Path) -> None:
        self._inside = inside
        self.top = top
        (top / "share").mkdir()
        self.settings: dict[str, object] = {"remote": "../share"}
        self.env: dict[str, dict[str, str]] = {}
        self.text = TEXT

    def clone(self, who: str) -> Path:
        path = self.top / who
        if not path.exists():
            path.mkdir()
            (path / "Merklfile.py").write_text("from merkl import *\n" + textwrap.dedent(self.text))
        (path / "merkl.yaml").write_text(json.dumps(self.settings))
        return path

    def _environ(self, who: str) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.top / f"home of {who}"), **self.env.get(who, {})}

    def merkl(self, who: str, *words: str, code: int | None = 0) -> Any:
        return self._inside.merkl(*words, cwd=self.clone(who), code=code, env=self._environ(who))

    def apart(self, who: str, *words: str) -> Any:
        """As ``merkl``, in a process of its own."""
        command = [sys.executable, "-m", "merkl", *words]
        return subprocess.run(
            command, cwd=self.clone(who), env=self._environ(who), capture_output=True, text=True, check=True
        )

    def ran(self, who: str, *words: str, code: int | None = 0) -> list[str]:
        """The names of the tasks that a build ran; what it noted is in ``notes``."""
        out = self.merkl(who, "build", "--json", "-j1", *words, code=code).stdout
        events = [json.loads(line) for line in out.splitlines()]
        self.notes = [event["text"] for event in events if event["event"] == "note"]
        return sorted(event["task"] for event in events if event["event"] == "ran")

    def push_as(self, who: str, results: Callable[[LocalStore], list[Result]]) -> None:
        """Send what somebody makes up, well signed."""
        store = LocalStore(self.top / who / ".merkl/store")
        trust = Trust(environ={"HOME": str(self.top / f"home of {who}")})
        remote = Remote(DirectoryObjects(str(self.top / "share")), None, trust)
        try:
            remote.prepare()
            upload(results(store), store, remote)
        finally:
            remote.close()
            store.close()

    def key(self, who: str) -> str:
        return str(json.loads(self.merkl(who, "key", "show", "--json").stdout)["key"])


@pytest.fixture
def users(inside: Any, tmp_path: Path) -> Iterator[Users]:
    (tmp_path / "users").mkdir()
    yield Users(inside, tmp_path / "users")


def test_a_person_alone_configures_nothing(users: Users) -> None:
    assert users.ran("alice", "--push") == TASKS
    users.env["alice's second clone"] = {"HOME": str(users.top / "home of alice")}

    assert users.ran("alice's second clone") == []
    assert users.notes == []


def test_for_a_colleague_all_is_a_miss_until_one_command_and_then_nothing_runs(users: Users) -> None:
    users.ran("alice", "--push")
    alice = users.key("alice")

    assert users.ran("bob") == TASKS
    (line,) = users.notes
    assert line.startswith("3 results in ") and line.endswith(
        f" are signed by {alice}, whom you do not trust: `merkl key trust {alice}`"
    )
    for path in sorted((users.top / "bob/.merkl").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    users.merkl("bob", "key", "trust", alice, "--allow", "files,pickle", "--name", "alice")
    assert users.ran("bob") == []
    assert users.notes == []


def test_what_was_used_of_somebody_is_not_signed_by_who_used_it(users: Users) -> None:
    users.ran("alice", "--push")
    users.merkl("bob", "key", "trust", users.key("alice"), "--allow", "files,pickle")
    assert users.ran("bob", "--push") == []
    users.merkl("bob", "push")
    users.merkl("bob", "key", "new", code=None)
    users.merkl("carol", "key", "trust", users.key("bob"), "--allow", "files,pickle")

    assert users.ran("carol") == TASKS


def test_a_revoked_key_counts_no_more_where_its_results_are_here_already(users: Users) -> None:
    users.ran("alice", "--push")
    users.merkl("bob", "key", "trust", users.key("alice"), "--allow", "files,pickle")
    assert users.ran("bob") == []

    users.merkl("bob", "key", "revoke", users.key("alice"))

    assert users.ran("bob") == TASKS
    assert users.ran("bob") == []


def test_ci_trusts_what_its_environment_says_and_nothing_else(users: Users) -> None:
    main, pr = SigningKey.new(), SigningKey.new()
    users.env["main"] = {
        "MERKL_TRUST": f"{main.signer} allow=files,pickle",
        "MERKL_SIGNING_KEY": main.secret(),
    }
    users.env["pr"] = users.env["main"] | {"MERKL_SIGNING_KEY": pr.secret()}
    users.ran("pr", "--push")

    assert users.ran("main", "--push") == TASKS, "the pull request was first, and is not believed"
    assert users.notes == [
        f"3 results in {users.top / 'share'} are signed by {pr.signer}, whom MERKL_TRUST does not name"
    ]
    users.env["main again"] = users.env["main"]
    assert users.ran("main again") == []
    users.env["another pr"] = users.env["main"] | {"MERKL_SIGNING_KEY": SigningKey.new().secret()}
    assert users.ran("another pr") == [], "what main made serves a pull request"


def test_row_70_a_stripped_signature_is_a_miss_and_where_the_remote_is_required_an_error(
    users: Users,
) -> None:
    users.ran("alice", "--push")
    users.merkl("bob", "key", "trust", users.key("alice"), "--allow", "files,pickle")
    for path in [each for kind in ("records", "made") for each in (users.top / "share" / kind).rglob("*")]:
        if path.is_file():
            path.chmod(0o644)
            data = path.read_bytes()
            path.write_bytes(data[: data.index(b"ed25519")])

    done = users.merkl("bob", "build", "--require-remote", code=4)
    assert "it has no signature" in done.stderr and "merkl push" in done.stderr
    assert users.ran("bob") == TASKS
    assert any("it has no signature" in note for note in users.notes)


def test_a_signer_who_does_not_count_is_no_error_where_the_remote_is_required(users: Users) -> None:
    users.ran("alice", "--push")

    assert users.ran("bob", "--require-remote") == TASKS


def test_who_cannot_have_a_key_builds_and_is_told_that_nothing_was_pushed(users: Users) -> None:
    users.env["ci"] = {"MERKL_TRUST": ""}

    assert users.ran("ci", "--push") == TASKS
    assert any(
        "not pushed: under MERKL_TRUST records are signed with MERKL_SIGNING_KEY" in n for n in users.notes
    )
    users.merkl("ci", "push", code=2)


def test_a_secret_key_is_shown_to_no_task_and_kept_in_no_file(users: Users) -> None:
    key = SigningKey.new()
    users.env["ci"] = {"MERKL_TRUST": "", "MERKL_SIGNING_KEY": key.secret()}
    path = users.clone("ci") / "Merklfile.py"
    path.write_text(
        "from merkl import *\n"
        'show = bash_task(\'echo got ${MERKL_SIGNING_KEY-nothing}; env > {out_file_arg("out", ".txt")}\')\n'
        "@target(default=True)\ndef all():\n    show() > 'build/env.txt'\n"
    )
    users.ran("ci", "--push", "-v")
    done = [users.apart("ci", *words) for words in (("build",), ("build",), ("log",), ("key", "list"))]
    secret = key.secret().partition(":")[2]

    assert all(secret not in each.stdout + each.stderr for each in done)
    assert (users.top / "ci/build/env.txt").exists()
    files = [path for path in users.top.rglob("*") if path.is_file()]
    assert any("snapshots" in str(path) for path in files)
    assert [str(path) for path in files if secret.encode() in path.read_bytes()] == []


def test_what_a_project_proposes_counts_after_it_was_shown_and_accepted(users: Users) -> None:
    users.ran("alice", "--push")
    alice = users.key("alice")
    users.settings["trust"] = [f"{alice} allow=files,pickle name=alice"]
    users.clone("bob")

    done = users.merkl("bob", "key", "trust", "--from-project", code=2)
    assert alice in done.stderr and "nobody to ask" in done.stderr
    users.merkl("bob", "build", "-n")
    assert users.merkl("bob", "key", "list").stdout.count("proposed by this project") == 1
    done = users.merkl("bob", "key", "trust", "--from-project", "--yes")
    assert alice in done.stderr and "trusted 1 key" in done.stdout
    assert users.ran("bob") == []
    users.settings["trust"] = [f"{alice} allow=files,pickle", str(SigningKey.new().signer)]
    assert users.ran("bob") == TASKS
    assert not users.notes or "--from-project" in users.notes[0]


def test_a_proposal_alone_only_changes_the_command_that_is_offered(users: Users) -> None:
    users.ran("alice", "--push")
    users.settings["trust"] = [f"{users.key('alice')} allow=files,pickle"]

    assert users.ran("bob") == TASKS
    assert users.notes[0].endswith("whom you do not trust yet: `merkl key trust --from-project`")


def test_nobody_unpickles_what_does_not_count(
    users: Users, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 67: a trap in a pickle, in every command that meets it."""
    canary = tmp_path / "canary"
    users.ran("mallory")
    data = f"cos\nsystem\n(S\"touch '{canary}'\"\ntR.".encode()

    def poison(store: LocalStore) -> list[Result]:
        (made,) = [each for each in find(store) if each.task == "values"]
        ((name, artifact),) = made.outputs.items()
        outputs = {name: replace(artifact, digest=store.put([data]), size=len(data))}
        return [Result(replace(made, outputs=outputs), [made.key])]

    users.push_as("mallory", poison)
    assert not canary.exists()
    mallory = users.key("mallory")

    def all_commands(who: str) -> None:
        for words in (
            ["status"], ["status", "--remote"], ["pull"], ["pull", "all"], ["build", "-n"], ["why"], ["list"], ["gc", "-n"],
            ["fsck", "--remote"], ["push"], ["cache", "ls"], ["show", "all"], ["debug", "values"], ["dag"], ["key", "list"],
            ["build", "--pull"], ["build", "--frozen"],
        ):  # fmt: skip
            users.merkl(who, *words, code=None)
        monkeypatch.chdir(users.clone(who))
        assert {each.text for each in complete(("build", "a")).words} == {"all"}
        assert users.ran(who) == TASKS

    all_commands("stranger")
    users.merkl("bob", "key", "trust", mallory)
    all_commands("bob")
    assert not canary.exists()
    users.merkl("careless", "key", "trust", mallory, "--allow", "files,pickle")
    for words in (["status"], ["pull"], ["build", "-n"], ["gc", "-n"], ["list"], ["fsck"]):
        users.merkl("careless", *words, code=None)
    assert not canary.exists(), "only a consumer that runs loads it"
    users.merkl("careless", "build", "-j1", code=None)
    assert canary.exists(), "the trap works"


@pytest.mark.parametrize("lacking", ["outputs", "inputs"])
def test_a_record_of_the_trusted_that_no_step_can_use_is_one_miss(users: Users, lacking: str) -> None:
    users.ran("mallory")

    def spoil(store: LocalStore) -> list[Result]:
        nothing: Any = {"outputs": {}} if lacking == "outputs" else {"inputs": (Digest.of(b""),) * 9}
        return [Result(replace(made, **nothing), [made.key]) for made in find(store) if made.task in TASKS]

    users.push_as("mallory", spoil)
    users.merkl("bob", "key", "trust", users.key("mallory"), "--allow", "files,pickle")

    assert users.ran("bob") == TASKS
    assert users.ran("bob") == []


PIPELINE = """
    @task
    def number(n):
        print("ran")
        return n

    @pipeline
    def numbers(count: int):
        for n in range(count):
            number(n) > f"build/{n}.json"

    @target(default=True)
    def all():
        numbers(2)
"""


@pytest.mark.parametrize("allow", ["files", "files,pickle"])
def test_what_is_remembered_of_a_pipeline_calls_nothing_but_tasks_and_of_the_trusted(
    users: Users, tmp_path: Path, allow: str
) -> None:
    users.text = PIPELINE
    assert users.ran("mallory") == ["number", "number"]
    canary = tmp_path / "canary"

    def poison(store: LocalStore) -> list[Result]:
        (made,) = [each for each in find(store) if each.outputs and each.outputs.get("", None)
                   and each.outputs[""].serializer.startswith("pipeline/")]  # fmt: skip
        written = json.loads(store.read(made.outputs[""].digest) or b"")
        written["nodes"][0][0:3] = ["os:system", [f"touch '{canary}'"], {}]
        data = json.dumps(written).encode()
        digest = store.put([data])
        outputs = {"": replace(made.outputs[""], digest=digest, size=len(data))}
        return [Result(replace(made, outputs=outputs), [made.key])]

    users.push_as("mallory", poison)
    users.merkl("bob", "key", "trust", users.key("mallory"), "--allow", allow)

    assert users.ran("bob") == ["number", "number"]
    assert not canary.exists()


def test_who_is_trusted_for_files_spares_others_the_tasks_of_a_pipeline(users: Users) -> None:
    users.text = PIPELINE
    assert users.ran("alice", "--push") == ["number", "number"]
    users.merkl("bob", "key", "trust", users.key("alice"))

    assert users.ran("bob") == []
    assert users.notes == []


def test_a_store_that_others_can_write_to_is_refused_with_the_command_that_allows_it(users: Users) -> None:
    users.ran("alice")
    store = users.top / "alice/.merkl/store"
    store.chmod(0o777)

    done = users.merkl("alice", "build", code=4)

    assert "can be written to by everybody" in done.stderr
    assert f"merkl key trust --store {store}" in done.stderr
    assert "can be written to by everybody" in users.merkl("alice", "doctor", code=1).stdout
    users.merkl("alice", "key", "trust", "--store", str(store))
    assert users.ran("alice") == []
    users.merkl("alice", "key", "revoke", "--store", str(store))
    users.merkl("alice", "cache", code=4)


def test_a_new_key_of_ones_own_leaves_the_old_results_usable_until_it_is_revoked(users: Users) -> None:
    users.ran("alice", "--push")
    old = users.key("alice")
    users.merkl("alice", "key", "new", code=2)
    users.merkl("alice", "key", "revoke", old, code=2)

    users.merkl("alice", "key", "new", "--replace")

    users.env["second"] = users.env["third"] = {"HOME": str(users.top / "home of alice")}
    assert users.key("alice") != old
    assert users.ran("second") == []
    users.merkl("alice", "key", "revoke", old)
    assert users.ran("third") == TASKS


def test_a_new_key_does_not_take_back_that_the_old_one_was_revoked(users: Users) -> None:
    users.merkl("alice", "key", "new")
    old = users.key("alice")
    file = users.top / "home of alice/.config/merkl/trusted"
    file.write_text(f"revoked {old}\n")  # As on a machine to which the file of another came.

    assert "revoked by you" in users.merkl("alice", "key", "list").stdout.splitlines()[0]
    doctor = users.merkl("alice", "doctor", code=None).stdout
    assert f"{old}, of " in doctor and "what it signs is not used" in doctor
    users.merkl("alice", "key", "new", "--replace")

    assert users.key("alice") != old
    assert file.read_text() == f"revoked {old}\n"


@pytest.mark.parametrize(
    "words",
    [
        ("trust",), ("trust", "x"), ("trust", "ed25519:00"), ("revoke",), ("show", "x"), ("list", "--allow", "files"),
        ("new", "--store", "x"), ("trust", "ed25519:" + "0" * 64, "--allow", "pickle"), ("show",), ("list", "--replace"),
        ("trust", "ed25519:" + "0" * 64, "--from-project"), ("trust", "--from-project"), ("frobnicate",), (),
        ("trust", "ed25519:" + "0" * 64, "--namespace", "a/b"), ("trust", "ed25519:" + "0" * 64, "--name", "a b"),
    ],
)  # fmt: skip
def test_a_wrong_key_command_says_what_would_be_right(users: Users, words: tuple[str, ...]) -> None:
    done = users.merkl("alice", "key", *words, code=2)

    assert "Traceback" not in done.stderr and done.stderr
    assert not (users.top / "home of alice/.config/merkl").exists()


def test_a_key_for_ci_is_printed_and_kept_nowhere(users: Users) -> None:
    printed = json.loads(users.merkl("alice", "key", "new", "--print", "--json").stdout)

    assert SigningKey.parse(printed["secret"]).signer == SigningKey.parse(printed["secret"]).signer
    assert str(SigningKey.parse(printed["secret"]).signer) == printed["key"]
    assert not (users.top / "home of alice").exists()
    lines = users.merkl("alice", "key", "new", "--print").stdout.splitlines()
    assert lines[0].startswith("MERKL_SIGNING_KEY=ed25519-secret:") and "merkl key trust ed25519:" in lines[1]


NESTED = """
    @task(outs=list)
    def several():
        return [1, 2]

    @task
    def use(items):
        return repr([list(each) if hasattr(each, "__iter__") else each for each in items])

    @target(default=True)
    def all():
        use(several()) > "build/used.txt"
"""


def test_a_list_inside_of_a_list_brings_no_pickle_along(users: Users, tmp_path: Path) -> None:
    users.text = NESTED
    canary = tmp_path / "canary"
    assert users.ran("mallory") == ["several", "use"]
    data = f"cos\nsystem\n(S\"touch '{canary}'\"\ntR.".encode()

    def poison(store: LocalStore) -> list[Result]:
        (made,) = [each for each in find(store) if each.task == "several"]
        ((name, artifact),) = made.outputs.items()
        trap = store.put([data])
        inner = Tree((TreeEntry(b"00000000.pickle", "file", trap, len(data)),)).encode()
        entries = (
            TreeEntry(b"00000000.list with pickle", "file", store.put([inner]), len(inner)),
            TreeEntry(b"00000001.bytes", "file", trap, len(data)),  # So that it is fetched.
        )
        tree = Tree(entries)
        outputs = {name: replace(artifact, digest=store.put([tree.encode()]), size=tree.size)}
        return [Result(replace(made, outputs=outputs), [made.key])]

    users.push_as("mallory", poison)
    users.merkl("bob", "key", "trust", users.key("mallory"))
    users.ran("bob", code=None)

    assert not canary.exists()


def test_a_key_that_was_revoked_is_not_said_to_be_trusted_with_the_project(users: Users) -> None:
    one, two = (str(SigningKey.new().signer) for _ in range(2))
    users.settings["trust"] = [one, two]
    users.merkl("bob", "key", "revoke", one)

    done = users.merkl("bob", "key", "trust", "--from-project", "--yes")

    assert "trusted 1 key" in done.stdout and "revoked by you" in done.stderr.splitlines()[0]
    assert "revoked by you" in next(
        line for line in users.merkl("bob", "key", "list").stdout.splitlines() if line.startswith(one)
    )
    users.merkl("carol", "key", "revoke", one)
    users.merkl("carol", "key", "revoke", two)
    refused = users.merkl("carol", "key", "trust", "--from-project", "--yes", code=2)
    assert (
        "you revoked every key" in refused.stderr
        and "project" not in (users.top / "home of carol/.config/merkl/trusted").read_text()
    )


def test_under_merkl_trust_every_command_offered_can_be_done(users: Users) -> None:
    users.ran("ci")
    store = users.top / "ci/.merkl/store"
    store.chmod(0o777)
    users.settings["trust"] = [str(SigningKey.new().signer)]
    users.env["ci"] = {"MERKL_TRUST": ""}

    hint = users.merkl("ci", "build", code=4).stderr.splitlines()[-1]
    assert hint.endswith(f'store "{store}" in MERKL_TRUST') and "key trust" not in hint
    assert "says nothing under MERKL_TRUST" in users.merkl("ci", "key", "list").stdout
    assert "MERKL_SIGNING_KEY" in users.merkl("ci", "key", "show", code=2).stderr
    users.env["ci"]["MERKL_TRUST"] = f'store "{store}"; {SigningKey.new().signer}'
    assert users.ran("ci") == []


def test_who_stands_at_home_can_make_and_trust_keys(users: Users) -> None:
    home = users.top / "home"
    home.mkdir()
    env = {**os.environ, "HOME": str(home)}
    for words in (["new"], ["trust", str(SigningKey.new().signer)], ["list"], ["new", "--replace"]):
        done = users._inside.merkl("key", *words, cwd=home, code=0, env=env)
    assert (home / ".config/merkl/trusted").read_text().count("my-earlier-key") == 1
    env["MERKL_SIGNING_KEY"] = SigningKey.new().secret()
    done = users._inside.merkl("key", "new", "--replace", cwd=home, code=2, env=env)
    assert "of MERKL_SIGNING_KEY" in done.stderr and "--print" in done.stderr


TREE = """
    tree = bash_task("echo hello > {out_dir_arg('out')}/hello.txt")

    @target(default=True)
    def all():
        tree() > "build/tree"
"""
LIES = {
    "no directory": b"hello",
    "a path that leads out": Tree((TreeEntry(b"../../escaped", "file", Digest.of(b""), 0),)).encode(),
    "a link that leads out": Tree((TreeEntry(b"out", "link", link=b"../../.."),)).encode(),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_directory_that_leads_elsewhere_is_not_placed_whoever_signed_it(users: Users, lie: str) -> None:
    """Rows 63, 64 and 66, in records that are well signed."""
    users.text = TREE
    users.ran("mallory")

    def poison(store: LocalStore) -> list[Result]:
        (made,) = find(store)
        ((name, artifact),) = made.outputs.items()
        store.put([b""])
        outputs = {name: replace(artifact, digest=store.put([LIES[lie]]), size=5)}
        return [Result(replace(made, outputs=outputs), [made.key])]

    users.push_as("mallory", poison)
    users.merkl("bob", "key", "trust", users.key("mallory"))

    if "link" in lie:
        assert "outside its directory" in users.merkl("bob", "build", "-j1", code=2).stderr
        assert not (users.top / "bob/build/tree/out").is_symlink()
    else:
        assert users.ran("bob") == ["tree"]
        assert (users.top / "bob/build/tree/hello.txt").read_text() == "hello\n"
    assert not list(users.top.rglob("escaped*"))
