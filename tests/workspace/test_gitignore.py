"""What merkl writes into .gitignore, judged by git itself."""

import os
import subprocess

import pytest

from merkl.errors import WorkspaceError
from merkl.workspace.gitignore import add_ignored, remove_ignored

pytestmark = pytest.mark.needs("git")


def git(root, *words, code=0):
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, check=False)
    assert code is None or done.returncode == code, done.stderr.decode()
    return done.stdout


def ignored(root, path):
    """Whether git ignores a path."""
    done = subprocess.run(["git", "check-ignore", "-q", "--", os.fsencode(path)], cwd=root, check=False)
    assert done.returncode in (0, 1)
    return done.returncode == 0


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q")
    return root


NAMES = [
    "plain", "with space", "trailing ", "trailing  ", " leading", "#comment", "!taken-back", "back\\slash", "end\\",
    "end\\ ", "star*", "what?", "[a]", "a[b", "new\nline", "carriage\r", "\ttab\t", "ümläut", "-dash", "**", "{a,b}",
    os.fsdecode(b"\xff\xfe"), "*.merkl", "…", "/".join("abc"),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_git_ignores_the_data_and_not_its_sidecar_nor_its_neighbours(repository, name):
    (repository / name).parent.mkdir(parents=True, exist_ok=True)

    assert add_ignored(str(repository), [name]) == {os.path.join(os.path.dirname(name), ".gitignore"): [name]}

    assert ignored(repository, name)
    assert not ignored(repository, name + ".merkl")
    assert not ignored(repository, name + "x")
    assert not ignored(repository, "x" + os.path.basename(name))
    assert not ignored(repository, "deeper/" + name)
    assert add_ignored(str(repository), [name]) == {}, "once is enough"

    remove_ignored(str(repository), [name])

    assert not ignored(repository, name)
    assert not (repository / os.path.dirname(name) / ".gitignore").exists()


def test_the_nearest_gitignore_is_used_and_else_one_beside_the_data(repository):
    (repository / "a/b/c").mkdir(parents=True)
    (repository / "d").mkdir()
    (repository / "a/.gitignore").write_text("*.tmp\n")

    added = add_ignored(str(repository), ["a/b/c/data", "d/data", "a/b/other"])

    assert added == {"a/.gitignore": ["a/b/c/data", "a/b/other"], "d/.gitignore": ["d/data"]}
    assert (repository / "a/.gitignore").read_text() == "*.tmp\n/b/c/data\n/b/other\n"
    assert all(ignored(repository, path) for path in ("a/b/c/data", "d/data", "a/b/other"))


def test_a_repository_inside_the_project_has_its_own(repository):
    (repository / ".gitignore").write_text("# ours\n")
    (repository / "inner/data").mkdir(parents=True)
    git(repository / "inner", "init", "-q")

    add_ignored(str(repository), ["inner/data/x"])

    assert ignored(repository / "inner", "data/x")
    assert (repository / ".gitignore").read_text() == "# ours\n"


def test_nothing_outside_the_project_is_written(repository):
    (repository / ".gitignore").write_text("")
    project = repository / "project"
    project.mkdir()

    add_ignored(str(project), ["data"])

    assert (project / ".gitignore").read_text() == "/data\n"
    assert (repository / ".gitignore").read_text() == ""


def test_outside_a_repository_nothing_is_written(tmp_path):
    assert add_ignored(str(tmp_path), ["data"]) == {}
    assert os.listdir(tmp_path) == []


def test_a_work_tree_of_its_own_is_a_repository_too(repository, tmp_path):
    (repository / "file").write_text("")
    git(repository, "add", ".")
    git(repository, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    git(repository, "worktree", "add", "-q", str(tmp_path / "tree"))

    add_ignored(str(tmp_path / "tree"), ["data"])

    assert ignored(tmp_path / "tree", "data")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"*.o\r\nbuild/\r\n", b"*.o\r\nbuild/\r\n/data\r\n"),
        (b"*.o", b"*.o\n/data\n"),
        (b"\xef\xbb\xbf# caf\xe9\n", b"\xef\xbb\xbf# caf\xe9\n/data\n"),
        (b"a\x0cb\x1cc\n", b"a\x0cb\x1cc\n/data\n"),
    ],
    ids=["CRLF", "without an end", "a mark and latin-1", "controls"],
)
def test_every_other_byte_stays(repository, before, after):
    file = repository / ".gitignore"
    file.write_bytes(before)

    add_ignored(str(repository), ["data"])
    assert file.read_bytes() == after
    assert ignored(repository, "data")

    remove_ignored(str(repository), ["data", "not there"])
    assert file.read_bytes() in (before, before + b"\n")


def test_only_the_whole_line_goes(repository):
    lines = "/data2\n#/data\n/data\n!/data\ndata\n"
    (repository / ".gitignore").write_text(lines)

    assert remove_ignored(str(repository), ["data"]) == {".gitignore": ["data"]}

    assert (repository / ".gitignore").read_text() == lines.replace("\n/data\n", "\n")


def test_a_link_is_refused_since_git_does_not_read_it(repository):
    (repository / "rules").write_text("")
    (repository / ".gitignore").symlink_to("rules")

    with pytest.raises(WorkspaceError, match=r"\.gitignore is a symbolic link"):
        add_ignored(str(repository), ["data"])

    assert (repository / "rules").read_text() == ""
