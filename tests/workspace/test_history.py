"""The sidecars that git keeps, wherever it keeps them."""

import os
import subprocess
from pathlib import Path

import pytest

from merkl.errors import WorkspaceError
from merkl.workspace.history import kept_sidecars
from merkl.workspace.sidecar import LARGEST

pytestmark = pytest.mark.needs("git")


class Repository:
    """A git repository of one person."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        root.mkdir()
        self.git("init", "-q", "-b", "main", *options)
        self.git("config", "user.name", "Somebody")
        self.git("config", "user.email", "somebody@example.org")

    def git(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(["git", *words], cwd=self.root, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout.strip()

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path = self.root / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f"{path.name}.merkl").write_text(text)

    def commit(self, **files: str) -> None:
        self.write(**files)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "some")

    def texts(self, below: str = "") -> list[str]:
        return sorted(each.data.decode() for each in kept_sidecars(str(self.root / below)))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def test_every_branch_and_tag_counts_by_its_last_commit(repository: Repository) -> None:
    repository.commit(a="first", sub__deep__b="deep")
    repository.git("tag", "light")
    repository.git("checkout", "-q", "-b", "other")
    repository.commit(a="second")
    repository.git("tag", "-a", "-m", "it", "annotated")
    repository.commit(a="third")
    repository.git("checkout", "-q", "main")
    repository.commit(c="main's")

    assert repository.texts() == ["deep", "first", "main's", "second", "third"]

    repository.git("branch", "-q", "-D", "other")
    assert repository.texts() == ["deep", "first", "main's", "second"]


def test_each_is_named_by_where_it_is(repository: Repository) -> None:
    repository.commit(sub__b="text")
    repository.write(new="staged")
    repository.git("add", "-A")

    names = {each.data: each.name for each in kept_sidecars(str(repository.root))}

    assert names == {b"text": "HEAD:sub/b.merkl", b"staged": "new.merkl (staged)"}


def test_stashes_count_all_of_them_with_their_index_and_untracked_files(repository: Repository) -> None:
    repository.commit(a="committed")
    repository.write(a="work tree")
    repository.git("stash", "-q")
    repository.write(a="staged", u="untracked")
    repository.git("add", "a.merkl")
    repository.write(a="work tree again")
    repository.git("stash", "-q", "-u")

    texts = repository.texts()

    assert texts == ["committed", "staged", "untracked", "work tree", "work tree again"]


def test_all_sides_of_a_conflict_count(repository: Repository) -> None:
    repository.commit(a="base")
    repository.git("checkout", "-q", "-b", "other")
    repository.commit(a="theirs")
    repository.git("checkout", "-q", "main")
    repository.commit(a="ours")
    repository.git("merge", "-q", "other", code=1)
    repository.git("branch", "-q", "-D", "other")

    assert repository.texts() == ["base", "ours", "theirs"]


def test_a_detached_head_another_work_tree_and_what_a_reset_left_count(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit(a="main's")
    repository.git("worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    other = tmp_path / "tree"
    (other / "a.merkl").write_text("other tree's")
    subprocess.run(["git", "commit", "-q", "-a", "-m", "x"], cwd=other, check=True)
    repository.commit(a="undone")
    repository.git("reset", "-q", "--hard", "HEAD~1")
    repository.git("checkout", "-q", "--detach")
    repository.commit(a="detached")

    assert repository.texts() == ["detached", "main's", "other tree's", "undone"]


def test_only_what_is_below_the_project_counts(repository: Repository) -> None:
    repository.commit(a="outside", sub__b="inside", sub__deep__c="deep", other__sub__d="no")

    assert repository.texts("sub") == ["deep", "inside"]


def test_a_content_that_other_files_have_too_is_found(repository: Repository) -> None:
    (repository.root / "copy.txt").write_text("same")
    repository.commit(a="same", z="same")

    assert repository.texts() == ["same"]


def test_names_that_are_no_text_and_contents_of_any_size(repository: Repository) -> None:
    (repository.root / os.fsdecode(b"\xff \n.merkl")).write_text("odd")
    (repository.root / ".merkl").mkdir()
    (repository.root / ".merkl" / "x.merkl").write_text("state")
    repository.commit(a="x" * 1_000_000, b="after it")

    found = {each.data[:8]: len(each.data) for each in kept_sidecars(str(repository.root))}

    assert found == {b"odd": 3, b"after it": 8, b"x" * 8: LARGEST + 1}


def test_a_repository_with_longer_names_of_objects(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository", "--object-format=sha256")
    repository.commit(a="one", sub__b="two")

    assert repository.texts() == ["one", "two"]


def test_many_sidecars_and_many_branches(repository: Repository) -> None:
    repository.commit(**{f"d{n % 7}__f{n}": f"{n}" for n in range(300)})
    head = repository.git("rev-parse", "HEAD")
    refs = "".join(f"create refs/heads/b{n} {head}\n" for n in range(500))
    subprocess.run(["git", "update-ref", "--stdin"], cwd=repository.root, input=refs.encode(), check=True)

    assert len(repository.texts()) == 300


def test_outside_a_repository_and_in_an_empty_one_there_are_none(
    repository: Repository, tmp_path: Path
) -> None:
    assert kept_sidecars(str(tmp_path)) == []
    assert repository.texts() == []


def test_a_repository_that_cannot_be_read_is_an_error(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit(a="text")
    (repository.root / ".git" / "HEAD").write_text("garbage")
    with pytest.raises(WorkspaceError, match="git rev-parse: "):
        kept_sidecars(str(repository.root))
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(WorkspaceError, match="no git on PATH"):
        kept_sidecars(str(repository.root))
