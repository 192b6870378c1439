"""What somebody who may write to the bucket can put there: FAULTS 32, 63, 64, 66, 67, 69, 70, 71 and 74."""

import json
import os
import resource
from pathlib import Path

import pytest
from servers import fault_proxy as faults

from merkl.config import load_config
from merkl.digest import Digest
from merkl.engine.project import Project
from merkl.tree import Tree, TreeEntry
from merkl.workspace.sidecar import Sidecar, render_sidecar

EVIL = b"evil\n"
BAD_PATHS = [
    b"../escaped", b"/etc/merkl-escaped", b"a/../../escaped", b"a//..", b"..", b"a\0b", b".git/hooks/pre-commit",
    b".merkl/cache.db", b".g\xe2\x80\x8cit/config",
]  # fmt: skip
TRAP = """
import os

class Trap:
    def __reduce__(self):
        return (os.system, ("touch 'CANARY'",))
"""
PICKLED = """
from traps import Trap

@task
def trap():
    return Trap()

@task
def use(value) -> str:
    return "used"

@target(default=True)
def all():
    use(trap()) > "out/used.txt"
"""


# ---- paths -------------------------------------------------------------------------------------------------------------


def publish(users, path: str, entries: list[TreeEntry]) -> None:
    """Put a directory as ``entries`` say into the bucket, unchecked, and its sidecar beside ``path`` of ``there``."""
    project = Project(load_config(str(users.there)))
    try:
        assert project.remote is not None
        project.remote.prepare()
        project.remote.put([EVIL])
        digest = project.remote.put([Tree(tuple(entries)).encode()])
    finally:
        project.close()
    sidecar(users, path, Sidecar("dir", digest, 5, 10**18))


def sidecar(users, path: str, described: Sidecar) -> None:
    where = users.there / f"{path}.merkl"
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(render_sidecar(described))


def files_below(top: Path) -> dict[str, bytes]:
    """All files, but for merkl's own."""
    found = (
        path for path in top.rglob("*") if path.is_file() and ".merkl" not in path.relative_to(top).parts
    )
    return {str(path.relative_to(top)): path.read_bytes() for path in found}


def test_row_63_trees_with_paths_that_lead_elsewhere_are_not_pulled(users):
    for number, path in enumerate(BAD_PATHS):
        publish(users, f"data{number}", [TreeEntry(path, "file", Digest.of(EVIL), len(EVIL))])
    before = files_below(users.root)

    done = users.merkl(users.there, "pull", code=2)

    assert all(f"data{number}" in done.stderr for number in range(len(BAD_PATHS)))
    assert files_below(users.root) == before
    assert not os.path.lexists("/etc/merkl-escaped")


def test_rows_64_and_66_links_are_not_followed_out_of_the_project(users):
    (users.root / "outside").mkdir()
    (users.there / "link").symlink_to("../outside")
    publish(users, "unused", [])
    sidecar(users, "link/f", Sidecar("file", Digest.of(EVIL), len(EVIL), 10**18))
    outward = TreeEntry(b"d", "link", link=b"../outside")
    publish(users, "chained", [outward, TreeEntry(b"d/f", "file", Digest.of(EVIL), len(EVIL))])
    before = files_below(users.root)

    users.merkl(users.there, "pull", "chained", code=2)
    users.merkl(users.there, "pull", "link/f", code=None)

    assert files_below(users.root) == before
    assert list((users.root / "outside").iterdir()) in ([], [users.root / "outside/f.merkl"])


# ---- records -----------------------------------------------------------------------------------------------------------


def records(users) -> list[str]:
    return users.objects("records")


def test_row_69_a_record_under_another_key_or_namespace_does_not_count(pushed):
    one, other = records(pushed)
    pushed.write(one, pushed.read(other))
    pushed.remove(*pushed.objects("made"))

    assert pushed.build(pushed.there) == ["make"]
    assert pushed.outputs(pushed.there) == pushed.outputs(pushed.here)
    assert any("is not used" in note for note in pushed.notes)

    pushed.forget(pushed.there)
    for name in pushed.objects():
        pushed.write(name.replace("/default/", "/other/"), pushed.read(name))
    pushed.settings(namespace="other")
    assert sorted(pushed.build(pushed.there)) == ["make", "make"]
    pushed.forget(pushed.there)
    assert pushed.merkl(pushed.there, "build", "--require-remote", code=None).returncode in (3, 4)


FORGERIES = {
    "signature stripped": lambda data: data.rsplit(b"ed25519", 1)[0],
    "a thousand signatures": lambda data: data + data.splitlines(keepends=True)[-1] * 1000,
    "another byte": lambda data: data.replace(b'"exit_code":0', b'"exit_code":1'),
    "another encoding": lambda data: data.replace(b'"exit_code":0', b'"exit_code": 0'),
    "a key twice": lambda data: data.replace(b'"exit_code":0', b'"exit_code":0,"exit_code":0'),
    "cut off": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
}


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("signature stripped", "a key twice") else pytest.param(name, marks=pytest.mark.full)
        for name in FORGERIES
    ],
)
def test_row_70_a_record_that_was_tampered_with_is_a_miss_and_an_error_where_the_remote_is_required(
    pushed, name
):
    for each in [*records(pushed), *pushed.objects("made")]:
        pushed.write(each, FORGERIES[name](pushed.read(each)))

    assert sorted(pushed.build(pushed.there)) == ["make", "make"]
    assert pushed.outputs(pushed.there) == pushed.outputs(pushed.here)
    pushed.forget(pushed.there)
    assert pushed.merkl(pushed.there, "build", "--require-remote", code=None).returncode in (3, 4)


@pytest.fixture
def homes(users, tmp_path: Path) -> dict[str, dict[str, str]]:
    """The environments of users who have a HOME of their own, by name."""
    found = {}
    for name in ("builder", "colleague", "stranger"):
        (tmp_path / name).mkdir()
        found[name] = {"HOME": str(tmp_path / name)}
    return found


def key_of(users, env: dict[str, str]) -> str:
    """The public key of a user who has pushed."""
    return json.loads(users.merkl(users.here, "key", "show", "--json", **env).stdout)["key"]


def test_three_users_of_one_bucket(users, homes):
    users.build(users.here, "--push", **homes["builder"])
    signer = key_of(users, homes["builder"])

    assert sorted(users.build(users.there, **homes["colleague"])) == ["make", "make"]
    [line] = users.notes
    assert line.startswith(f"2 results in {users.url} are signed by {signer}")
    assert line.endswith(f"`merkl key trust {signer}`")

    users.merkl(users.there, "key", "trust", signer, **homes["colleague"])
    users.forget(users.there)
    assert users.build(users.there, **homes["colleague"]) == [] and users.notes == []

    users.forget(users.there)
    assert users.build(users.there, **homes["stranger"], MERKL_TRUST=f"{signer} allow=files") == []
    users.forget(users.there)
    assert len(users.build(users.there, **homes["colleague"], MERKL_TRUST="")) == 2


def test_row_71_whoever_fills_the_slots_of_main_first_does_not_take_them(users, homes):
    users.build(users.there, "--push", **homes["stranger"])
    stranger = users.objects("records")
    for name in stranger:  # And damages whatever else may be in the way.
        users.write(name.rpartition("/")[0], b"evil")
        users.write(name.rpartition("/")[0] + "/evil", b"evil")

    assert len(users.build(users.here, "--push", **homes["builder"])) == 2

    trust = {"MERKL_TRUST": f"{key_of(users, homes['builder'])} allow=files"}
    users.forget(users.there)
    assert users.build(users.there, "--require-remote", **homes["colleague"], **trust) == []
    assert users.notes == []


@pytest.mark.parametrize(
    "how",
    ["trusted for files", *(pytest.param(how, marks=pytest.mark.full) for how in ("unsigned", "untrusted"))],
)
def test_row_67_a_pickle_of_somebody_who_may_not_send_any_is_never_read(users, homes, tmp_path, how):
    canary = tmp_path / "canary"
    for at in (users.here, users.there):
        (at / "traps.py").write_text(TRAP.replace("CANARY", str(canary)))
    users.merklfile(PICKLED)
    users.build(users.here, "--push", **homes["builder"])
    assert canary.exists(), "the trap works"
    canary.unlink()
    signer = key_of(users, homes["builder"])
    env = {**homes["colleague"], "MERKL_TRUST": f"{signer} allow=files" if how == "trusted for files" else ""}
    if how == "unsigned":
        for name in [*users.objects("records"), *users.objects("made")]:
            users.write(name, FORGERIES["signature stripped"](users.read(name)))

    looks = ["status --remote all", "pull all", "gc --remote", "build --dry-run", "build --pull"]
    more = ["status", "pull", "gc", "why", "list", "fsck --remote", "debug"]
    for words in looks if how == "trusted for files" else [*looks, *more]:
        users.merkl(users.there, *words.split(), code=None, **env)
        assert not canary.exists(), words
    users.merklfile(users.there.joinpath("Merklfile.py").read_text().replace('"used"', '"used again"'))
    assert "trap" in users.build(users.there, code=None, **env)  # Not taken from there, but run here.


# ---- sizes -------------------------------------------------------------------------------------------------------------


def test_row_32_what_swells_to_more_than_was_recorded_is_no_content(pushed):
    import zstandard

    from merkl.store.remote.squeezing import HEAD

    [name] = pushed.objects("blobs")
    bomb = zstandard.ZstdCompressor().compress(bytes(300 << 20))
    for size in (6 + 400_000, 300 << 20, 2**63):
        pushed.write(name, HEAD + size.to_bytes(8, "big") + bomb)
        pushed.forget(pushed.there)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        assert pushed.build(pushed.there) == ["make"]

        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
        assert pushed.outputs(pushed.there) == pushed.outputs(pushed.here)
    pushed.write(name, zstandard.ZstdCompressor().compress(b"something else"))
    pushed.forget(pushed.there)
    assert pushed.build(pushed.there) == ["make"]


# ---- secrets -----------------------------------------------------------------------------------------------------------


def test_row_74_credentials_and_secrets_are_nowhere_but_where_they_belong(users, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary-of-a-token")
    secret = users.server.credentials["AWS_SECRET_ACCESS_KEY"]
    if secret == "testing":  # It takes any.
        secret = "canary-of-a-key"
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("TOKEN", "canary-of-a-task")
    users.proxy.keep_bodies = True
    users.merklfile("""
        use = bash_task("echo {arg('n')} > {out_file_arg('o')}; test -n {secret_arg('TOKEN')}; exit {arg('code', type=int)}")

        @target(default=True)
        def all():
            use(1, code=0) > "out/good"

        @target
        def bad():
            use(2, code=3) > "out/bad"
    """)
    said = []
    for words in (
        ["build", "-v", "--push"],
        ["build", "-v", "bad"],
        ["push", "-v"],
        ["doctor"],
        ["log", "bad"],
    ):
        done = users.merkl(users.here, *words, code=None)
        said.append(done.stdout + done.stderr)
    users.proxy.rule(faults.failing(403, "SignatureDoesNotMatch", "canary-of-a-server"))
    for words in (["push", "-v"], ["doctor"], ["build", "-v", "-B", "--push"]):
        done = users.merkl(users.here, *words, code=None)
        said.append(done.stdout + done.stderr)
    traffic = [repr(each).encode() + each.body for each in users.proxy.requests]
    users.proxy.clear()
    kept = [path.read_bytes() for path in users.here.rglob("*") if path.is_file()]
    stored = [users.read(name) for name in users.objects()]

    # Amazon wants that one sent.
    sent = [each.replace(b"canary-of-a-token", b"") for each in traffic]

    assert users.objects("records") and sent
    for where in (" ".join(said).encode(), *kept, *stored, *sent):
        assert b"canary" not in where and secret.encode() not in where


@pytest.mark.parametrize("where", ["url", "endpoint"])
def test_row_74_a_password_in_an_address_is_refused_and_not_repeated(users, where):
    address = {"url": "s3://user:canary@bucket/team", "endpoint": "http://user:canary@127.0.0.1:1"}[where]
    users.settings(**{where: address})

    for words in (["build"], ["push"], ["doctor"]):
        done = users.merkl(users.here, *words, code=None)
        assert done.returncode in (1, 2) and "canary" not in done.stdout + done.stderr
