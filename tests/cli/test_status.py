"""``merkl status``: every state of a tracked file and of an output, made by real checkouts, merges and edits."""

import json
import os
import subprocess
import sys
import time

import pytest

from merkl.digest import Digest
from merkl.workspace.sidecar import Sidecar, render_sidecar, write_sidecar

CHAIN = """
    up = bash_task("tr a-z A-Z < {file_arg('text')} > {out_file_arg('o')}")
    count = bash_task("wc -c < {file_arg('text')} > {out_file_arg('o')}")

    @target(default=True)
    def all():
        loud = up("in.txt")
        loud >> "loud.txt"
        count(loud) > "count.txt"
"""
BOOBY_TRAP = "open('canary', 'w').close()\nraise RuntimeError('it was loaded')\n"


@pytest.fixture
def chain(project):
    """A project that was built: one output with a sidecar, one without."""
    project.merklfile(CHAIN)
    project.write("in.txt", "hello\n")
    project.build()
    return project


def stands(project, *words, **options):
    """What ``merkl status`` says, by path."""
    lines = project.merkl("status", "--json", *words, **options).stdout.splitlines()
    return {item["path"]: item for item in map(json.loads, lines) if item["event"] == "status"}


def states(project, *words, **options):
    return {path: item["state"] for path, item in stands(project, *words, **options).items()}


def track(project, path, text):
    """Write a file and a sidecar that agrees with it, as if they came from elsewhere."""
    data = text.encode()
    project.write(path, data)
    sidecar = Sidecar("file", Digest.of(data), len(data), 1_700_000_000_000_000_000)
    write_sidecar(str(project.path), path, sidecar)


def git(project, *words, code=0):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *words], cwd=project.path, capture_output=True, text=True)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_a_sidecar_that_leads_nowhere_is_unreadable_for_every_command(project):
    project.write("merkl.yaml", "")
    project.write("data", "mine\n")
    (project.path / "data.merkl").symlink_to("nothing")

    assert stands(project)["data"]["why"] == "data.merkl is a symbolic link that leads nowhere"
    for words in (["pull"], ["track", "data"]):
        done = project.merkl(*words, code=2)
        assert done.stderr.startswith("data.merkl is a symbolic link that leads nowhere\n  hint: remove it")
    assert project.read("data") == "mine\n" and os.readlink(project.path / "data.merkl") == "nothing"


@pytest.mark.needs("setpriv")
def test_a_tracked_file_that_may_not_be_read_is_called_by_its_name(project):
    project.write("merkl.yaml", "")
    track(project, "data", "text\n")
    who = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"] if os.geteuid() == 0 else []
    (project.path / "data").chmod(0)

    said = {}
    for command in ("status", "pull"):
        done = subprocess.run(
            [*who, sys.executable, "-m", "merkl", command], cwd=project.path, capture_output=True, text=True
        )
        said[command] = done.stdout + done.stderr

    assert "  data  data cannot be read: Permission denied\n" in said["status"]
    assert "cannot pull data: data cannot be read: Permission denied\n" in said["pull"]


# ---- without a Merklfile ---------------------------------------------------------------------------------------------


def test_after_a_build_everything_is_fresh_and_nothing_is_listed(chain):
    done = chain.merkl("status", "--check")

    assert done.stdout == "2 fresh\n"
    assert states(chain) == {"loud.txt": "fresh", "count.txt": "fresh"}


def test_the_merklfile_is_not_loaded_without_the_name_of_a_target(chain):
    chain.write("Merklfile.py", BOOBY_TRAP)

    assert set(states(chain).values()) == {"fresh"}
    assert set(states(chain, "loud.txt", "./count.txt")) == {"loud.txt", "count.txt"}
    assert states(chain, ".") == {"loud.txt": "fresh", "count.txt": "fresh"}
    assert not os.path.exists(chain.path / "canary")
    chain.merkl("status", "all", code=None)
    assert os.path.exists(chain.path / "canary")


def test_an_output_is_stale_if_a_file_it_was_made_from_has_changed_since_the_last_build(chain):
    chain.write("in.txt", "other\n")

    found = stands(chain)

    assert {path: (item["state"], item["why"]) for path, item in found.items()} == {
        "loud.txt": ("stale", "in.txt changed"),
        "count.txt": ("stale", "in.txt changed"),
    }
    chain.build()
    assert set(states(chain).values()) == {"fresh"}


def test_an_output_is_fresh_again_when_its_input_is_what_it_was(chain):
    chain.write("in.txt", "other\n")
    assert set(states(chain).values()) == {"stale"}

    chain.write("in.txt", "hello\n")

    assert set(states(chain).values()) == {"fresh"}


def test_an_input_that_is_gone_makes_stale_and_says_so(chain):
    (chain.path / "in.txt").unlink()

    assert {item["why"] for item in stands(chain).values()} == {"in.txt is gone"}


@pytest.mark.needs("gcc")
def test_a_header_that_was_found_while_compiling_makes_stale(project):
    project.merklfile("""
        cc = bash_task("gcc -MD -MF {depfile_arg()} -c {file_arg('src')} -o {out_file_arg('o')}")

        @target(default=True)
        def all():
            cc("a.c") > "a.o"
    """)
    project.write("a.c", '#include "a.h"\nint x = A;\n')
    project.write("a.h", "#define A 1\n")
    project.build()
    assert states(project) == {"a.o": "fresh"}

    project.write("a.h", "#define A 2\n")

    assert stands(project)["a.o"]["why"] == "a.h changed"


def test_an_edited_output_is_modified_and_a_removed_one_is_missing(chain):
    chain.write("loud.txt", "mine\n")
    (chain.path / "count.txt").unlink()

    assert states(chain) == {"loud.txt": "modified", "count.txt": "missing"}
    done = chain.merkl("status")
    assert (
        "modified outputs (`merkl build` saves what you did, and replaces it):\n  loud.txt\n" in done.stdout
    )
    assert done.stdout.endswith("1 modified, 1 missing\n")


def test_a_touch_changes_nothing_and_the_stamp_is_learnt_again(chain):
    os.utime(chain.path / "loud.txt", (1, 1))
    os.utime(chain.path / "loud.txt.merkl", (1, 1))

    assert states(chain)["loud.txt"] == "fresh"


def test_an_output_of_a_target_that_is_no_more_is_not_missing(chain):
    chain.merklfile("""
        @target
        def other(): pass
    """)
    chain.merkl("list")
    (chain.path / "count.txt").unlink()

    assert states(chain) == {"loud.txt": "fresh"}


def test_check_ends_with_6_if_anything_is_not_fresh(chain):
    (chain.path / "count.txt").unlink()

    done = chain.merkl("status", "--check", code=6)

    assert "missing outputs" in done.stdout
    assert "1 of 2 paths" in done.stderr
    chain.merkl("status")


def test_a_project_that_keeps_nothing_says_so(project):
    project.merklfile("")

    assert project.merkl("status", "--check").stdout == "nothing is tracked or placed here\n"


def test_paths_are_shown_as_one_would_type_them_here(chain):
    track(chain, "sub/data.bin", "one")
    chain.write("sub/data.bin", "two")

    assert "  data.bin\n" in chain.merkl("status", cwd=chain.path / "sub").stdout
    assert states(chain, "data.bin", cwd=chain.path / "sub") == {"sub/data.bin": "modified"}
    assert states(chain, "data.bin.merkl", cwd=chain.path / "sub") == {"sub/data.bin": "modified"}


def test_a_path_that_is_nothing_to_merkl_is_an_error_that_says_so(chain):
    assert "no-such" in chain.merkl("status", "./no-such", code=2).stderr
    assert "outside the project" in chain.merkl("status", "/etc/passwd", code=2).stderr


def test_what_is_in_place_only_is_said_to_be_in_no_store(project):
    project.merklfile("")
    track(project, "data", "one")

    assert stands(project)["data"]["stored"] is False
    assert "in place only, not in the store" in project.merkl("status", "--check").stdout


def test_the_remote_is_asked_only_on_demand(chain, tmp_path):
    assert "no remote" in chain.merkl("status", "--remote", code=2).stderr
    (tmp_path / "shared").mkdir()
    chain.write("merkl.yaml", f"remote: {{url: {tmp_path / 'shared'}}}\n")

    assert chain.merkl("status").stdout == "2 fresh\n"
    assert (
        "not in the remote (`merkl push` sends them):\n  count.txt\n  loud.txt\n"
        in chain.merkl("status", "--remote").stdout
    )
    chain.merkl("status", "--remote", "--check", code=6)


def test_status_runs_and_unpickles_nothing(project):
    project.merklfile("""
        @task
        def value():
            open("ran", "a").write("x")
            return ["a", 1]

        @target(default=True)
        def all():
            value() > "value.json"
    """)
    project.build()
    project.write("Merklfile.py", BOOBY_TRAP)
    (project.path / "ran").unlink()

    assert states(project) == {"value.json": "fresh"}
    assert stands(project)["value.json"]["stored"] is True
    assert not (project.path / "ran").exists()


# ---- with a target's name ----------------------------------------------------------------------------------------------


def test_with_a_target_a_change_of_code_counts_too(chain):
    chain.merklfile(CHAIN.replace("wc -c", "wc -m"))

    assert set(states(chain).values()) == {"fresh"}
    found = stands(chain, "all")
    assert {path: item["state"] for path, item in found.items()} == {
        "loud.txt": "fresh",
        "count.txt": "stale",
    }
    assert found["count.txt"]["why"] == "the template of count changed"


def test_with_a_target_what_depends_on_a_stale_one_may_run(chain):
    chain.write("in.txt", "other\n")

    found = stands(chain, "all")

    assert found["loud.txt"]["why"] == "the file in.txt changed"
    assert (found["count.txt"]["state"], found["count.txt"]["why"]) == ("stale", "depends on what up makes")


def test_with_a_target_an_output_known_only_to_the_store_is_missing(chain):
    (chain.path / "count.txt").unlink()

    found = stands(chain, "all")

    assert (found["count.txt"]["state"], found["count.txt"]["stored"]) == ("missing", True)


def test_going_back_to_an_earlier_input_is_outdated_since_nothing_would_run(chain):
    chain.write("in.txt", "other\n")
    chain.build()
    chain.write("in.txt", "hello\n")

    assert states(chain, "all") == {"loud.txt": "outdated", "count.txt": "fresh"}
    assert chain.build() == []
    assert set(states(chain, "all").values()) == {"fresh"}


# ---- beside git --------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(project):
    """A git repository with a tracked file of which there are two versions, on two branches."""
    project.merklfile("")
    project.write(".gitignore", "/.merkl\n/data\n")
    git(project, "init", "-q")
    track(project, "data", "one")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "one")
    assert states(project) == {"data": "fresh"}
    git(project, "switch", "-qc", "other")
    track(project, "data", "two")
    git(project, "commit", "-qam", "two")
    assert states(project) == {"data": "fresh"}
    return project


@pytest.mark.needs("git")
def test_another_branch_makes_outdated_and_going_back_makes_fresh(repository):
    git(repository, "switch", "-q", "main")
    assert states(repository) == {"data": "outdated"}

    git(repository, "switch", "-q", "other")

    assert states(repository) == {"data": "fresh"}


@pytest.mark.needs("git")
def test_data_that_agreed_with_no_sidecar_is_modified_on_every_branch(repository):
    repository.write("data", "mine")
    assert states(repository) == {"data": "modified"}

    git(repository, "switch", "-q", "main")

    assert states(repository) == {"data": "modified"}
    repository.write("data", "one")
    assert states(repository) == {"data": "fresh"}


@pytest.mark.needs("git")
def test_a_stash_of_the_sidecar_makes_outdated_until_it_is_popped(repository):
    track(repository, "data", "three")
    assert states(repository) == {"data": "fresh"}

    git(repository, "stash", "-q")
    assert states(repository) == {"data": "outdated"}

    git(repository, "stash", "pop", "-q")
    assert states(repository) == {"data": "fresh"}


@pytest.mark.needs("git")
def test_a_merge_that_conflicts_is_said_with_the_line_and_the_next_command(repository):
    git(repository, "switch", "-q", "main")
    track(repository, "data", "three")
    assert states(repository) == {"data": "fresh"}
    git(repository, "commit", "-qam", "three")

    git(repository, "-c", "merge.merkl.driver=false", "merge", "-q", "other", code=None)

    item = stands(repository)["data"]
    assert item["state"] == "conflicted"
    assert item["why"].startswith("data.merkl:3: ")
    assert "git checkout --ours data.merkl" in item["hint"]
    git(repository, "checkout", "-q", "--theirs", "data.merkl")
    assert states(repository) == {"data": "outdated"}


@pytest.mark.needs("git")
def test_a_clone_misses_what_its_sidecars_describe(repository, tmp_path):
    git(repository, "clone", "-q", ".", str(tmp_path / "clone"))
    repository.path = tmp_path / "clone"

    item = stands(repository)["data"]
    assert (item["state"], item["stored"]) == ("missing", False)
    repository.merkl("status", "--check", code=6)


# ---- sidecars that are none ----------------------------------------------------------------------------------------------

WHOLE = render_sidecar(Sidecar("file", Digest.of(b"one"), 3, 0))
SPOILT = {
    "empty": (b"", "data.merkl:1: ", "version control"),
    "half": (WHOLE[: len(WHOLE) // 2], "data.merkl:", "version control"),
    "garbage": (os.urandom(1000), "data.merkl:1: ", "version control"),
    "a duplicate": (WHOLE + WHOLE[WHOLE.index(b"size") :], "data.merkl:7: ", "version control"),
    "too large": (WHOLE + b"#" * 100_000_000, "data.merkl:1: ", "version control"),
    "newer": (WHOLE.replace(b"merkl: 1", b"merkl: 2"), "data.merkl:1: ", "upgrade merkl"),
    "in conflict": (
        b"<<<<<<< HEAD\n" + WHOLE + b"=======\n>>>>>>> x\n",
        "data.merkl:1: ",
        "git checkout --ours",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_sidecar_that_is_none_is_named_with_its_line_and_the_next_step(project, name):
    data, where, hint = SPOILT[name]
    project.merklfile("")
    project.write("data", "one")
    project.write("data.merkl", data)
    track(project, "well", "two")

    done = project.merkl("status", "--check", code=6)

    state = "conflicted" if name == "in conflict" else "unreadable"
    assert f"{state}:\n  data  {where}" in done.stdout
    assert hint in done.stdout
    assert "Traceback" not in done.stderr
    assert states(project) == {"data": state, "well": "fresh"}


def test_a_sidecar_with_the_line_ends_of_windows_is_one(project):
    project.merklfile("")
    project.write("data", "one")
    project.write("data.merkl", WHOLE.replace(b"\n", b"\r\n"))

    assert states(project) == {"data": "fresh"}


def test_a_name_that_is_no_text_or_moves_the_cursor_is_shown_harmless(project):
    project.merklfile("")
    name = os.fsdecode(b"d\xff\x1b[2J\n")
    track(project, name, "one")
    project.write(name, "two")

    assert states(project) == {name: "modified"}
    assert "  d\\xff^[[2J\\n\n" in project.merkl("status").stdout


# ---- many --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(project):
    """Files in one directory, so old that their stamps are settled, seen to be fresh."""
    project.merklfile("")
    for number in range(40):
        track(project, f"data/{number}", f"text {number}")
    time.sleep(4.2)
    assert project.merkl("status").stdout.endswith("40 fresh\n")
    return project


def test_many_files_are_seen_at_a_glance_and_each_change_of_one_is_seen(many):
    assert many.merkl("status", "--check").stdout == "40 fresh\n"

    many.write("data/7", "TEXT 7")
    assert "  data/7\n" in many.merkl("status").stdout
    (many.path / "data/8").unlink()
    (many.path / "data/9.merkl").write_bytes(b"")
    (many.path / "data/10.merkl").unlink()
    assert many.merkl("status").stdout.endswith("1 unreadable, 1 modified, 1 missing, 36 fresh\n")


def test_a_change_that_keeps_size_and_time_is_seen_at_a_glance(many):
    path = many.path / "data/7"
    found = path.stat()
    path.write_text("text 8")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    assert "  data/7\n" in many.merkl("status").stdout


def test_many_that_were_only_touched_are_fresh(many):
    for path in (many.path / "data").iterdir():
        os.utime(path, (1, 1))

    assert many.merkl("status", "--check").stdout.endswith("40 fresh\n")


def test_a_directory_is_seen_at_a_glance_and_each_change_in_it_is_seen(project):
    project.merklfile("")
    for name in ("tree/in/a", "tree/b"):
        project.write(name, name)
    (project.path / "tree/c").symlink_to("b")
    remember_directory(project, "tree")
    time.sleep(4.2)
    for _ in range(2):
        assert project.merkl("status").stdout.endswith("1 fresh\n")

    def changed(change, undo):
        change()
        assert states(project) == {"tree": "modified"}
        undo()
        assert states(project) == {"tree": "fresh"}

    changed(lambda: project.write("tree/in/a", "TREE/IN/A"), lambda: project.write("tree/in/a", "tree/in/a"))
    changed(lambda: (project.path / "tree/new").mkdir(), lambda: (project.path / "tree/new").rmdir())
    changed(lambda: (project.path / "tree/b").chmod(0o755), lambda: (project.path / "tree/b").chmod(0o644))
    link = project.path / "tree/c"
    changed(lambda: (link.unlink(), link.symlink_to("in")), lambda: (link.unlink(), link.symlink_to("b")))


def remember_directory(project, path):
    """Write the sidecar that agrees with a directory."""
    from merkl.config import load_config
    from merkl.engine.project import Project

    opened = Project(load_config(str(project.path)))
    found = opened.index.look(path)
    opened.close()
    write_sidecar(str(project.path), path, Sidecar("dir", found.digest, found.size, 0))


# ---- what pull does --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "state", "after"),
    [
        (lambda path: None, "fresh", "two"),
        (lambda path: os.utime(path, (1, 1)), "fresh", "two"),
        (lambda path: write_sidecar(str(path.parent), "data", OTHER), "outdated", "three"),
        (lambda path: path.unlink(), "missing", "two"),
        (lambda path: path.write_text("mine"), "modified", "mine"),
        (lambda path: path.chmod(0o755), "modified", "two"),
    ],
    ids=["fresh", "touched", "outdated", "missing", "modified", "executable"],
)
def test_pull_does_with_each_state_what_status_says(project, change, state, after):
    project.merklfile("")
    track(project, "data", "two")
    assert states(project) == {"data": "fresh"}
    keep_in_store(project, b"two", b"three")
    change(project.path / "data")
    assert states(project) == {"data": state}

    project.merkl("pull", code=6 if state == "modified" else 0)

    assert project.read("data") == after
    assert states(project) == {"data": state if state == "modified" else "fresh"}


OTHER = Sidecar("file", Digest.of(b"three"), 5, 0)


def keep_in_store(project, *contents):
    from merkl.config import load_config
    from merkl.engine.project import Project

    opened = Project(load_config(str(project.path)))
    for content in contents:
        opened.store.put([content])
    opened.close()


@pytest.mark.parametrize("data", [".", "..", ".git", ".merkl"])
def test_a_file_that_could_only_be_the_sidecar_of_what_is_never_data_is_none(project, data):
    project.write("merkl.yaml", "")
    project.write(f"{data}.merkl", "merkl: 1\n")
    project.write("kept.txt", "kept\n")
    project.merkl("track", "kept.txt")

    done = project.merkl("status", "--check", "-v")

    assert "kept.txt" in done.stdout and "1 fresh" in done.stdout
