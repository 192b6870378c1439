"""The sidecars that git keeps: in branches, tags and stashes, in the index, and in an operation that is under way.

It decides where to look: at the last commit of everything that has a name, not at what came before.  It knows no store.

The invariant: it answers for all of them or raises; what git cannot tell is never taken for absent.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Final

from merkl.dataclass import dataclass
from merkl.errors import UsageError, WorkspaceError
from merkl.pattern import pattern
from merkl.workspace.sidecar import LARGEST, SUFFIX

# What git may need again in the middle of a merge, a rebase, or after a reset.
_HEADS: Final = (
    "HEAD",
    "MERGE_HEAD",
    "ORIG_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "REBASE_HEAD",
)
_ENTRY: Final = pattern(rb"([0-7]+) ([^\0]+)\0")
_END: Final = os.fsencode(SUFFIX)
_TREE: Final = b"40000"  # The mode of a directory.
_AT_ONCE: Final = 50  # Objects asked for before an answer is read: so few that they fit into a pipe.


@dataclass(frozen=True, slots=True)
class Kept:
    """The bytes of a sidecar in the repository; ``name`` tells a person which."""

    name: str
    data: bytes


def kept_sidecars(root: str, branches: Sequence[str] = ()) -> list[Kept]:
    """Every sidecar below a project's root that git keeps, each content once; nothing if it is in no repository.

    With ``branches``, or other names of commits, only what these have.

    Raises:
        WorkspaceError: it is in one, and git does not answer.
        UsageError: there are ``branches``, and not all of them are there.
    """
    if not _in_repository(root):
        if branches:
            raise UsageError(
                f"{branches[0]} is no branch: the project is in no git repository",
                hint="without --branch, what the sidecars here name is kept",
            )
        return []
    prefix = _git(root, "rev-parse", "--show-prefix").removesuffix(b"\n")
    width = 32 if _git(root, "rev-parse", "--show-object-format").strip() == b"sha256" else 20
    for branch in branches:
        _git(
            root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{branch}^{{commit}}", what=branch
        )
    found = {} if branches else _staged(root)
    with _Objects(root, width) as objects:
        found |= objects.sidecars_below(
            list(branches) or _tips(root), [part for part in prefix.split(b"/") if part]
        )
        return [Kept(found[name], data) for name, data in objects.read(list(found), b"blob")]


def _in_repository(root: str) -> bool:
    here = root
    while not os.path.lexists(os.path.join(here, ".git")):
        above = os.path.dirname(here)
        if above == here:
            return False
        here = above
    return True


def _tips(root: str) -> list[str]:
    """The names of all commits to look at; some may be no commits, or not there."""
    refs = _git(root, "for-each-ref", "--format=%(refname)").decode("utf-8", "surrogateescape").splitlines()
    tips = [*_HEADS, *refs]
    if "refs/stash" in refs:
        stashes = _git(root, "rev-list", "-g", "refs/stash").decode("ascii").split()
        tips += [commit + part for commit in stashes for part in ("", "^2", "^3")]  # Index, untracked files.
    listed = _git(root, "worktree", "list", "--porcelain").decode("utf-8", "surrogateescape").splitlines()
    return tips + [line.removeprefix("HEAD ") for line in listed if line.startswith("HEAD ")]


def _staged(root: str) -> dict[str, str]:
    """The sidecars of the index by object, in all stages of a conflict."""
    found = {}
    for row in _git(root, "ls-files", "-s", "-z").split(b"\0"):
        about, _, path = row.partition(b"\t")
        if _is_sidecar(path) and _END not in path.split(b"/"):
            found[about.split()[1].decode("ascii")] = f"{os.fsdecode(path)} (staged)"
    return found


def _is_sidecar(path: bytes) -> bool:
    name = os.path.basename(path)
    return name.endswith(_END) and name != _END


class _Objects:
    """``git cat-file --batch``, for as long as the block lasts; objects have names of ``width`` bytes."""

    def __init__(self, root: str, width: int) -> None:
        import subprocess  # To import it takes long, and few builds look there.

        self._width = width
        self._process = subprocess.Popen(
            [_program(), "cat-file", "--batch"],
            cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self) -> "_Objects":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def sidecars_below(self, tips: Sequence[str], parts: Sequence[bytes]) -> dict[str, str]:
        """The sidecars' blobs, each with a name for people, in the directory ``parts`` of the commits ``tips``."""
        level = {f"{tip}^{{tree}}": f"{tip}:" for tip in tips}
        for part in parts:
            level = {
                this: f"{shown}{name}/"
                for shown, mode, raw, name, this in self._trees(level)
                if raw == part and mode == _TREE
            }
        found: dict[str, str] = {}
        done: set[str] = set()
        while level:
            below: dict[str, str] = {}
            for shown, mode, raw, name, this in self._trees(level):
                if mode == _TREE and raw != _END and this not in done:
                    done.add(this)  # Most trees are those of another commit too.
                    below[this] = f"{shown}{name}/"
                elif mode.startswith(b"100") and _is_sidecar(raw):
                    found.setdefault(this, shown + name)
            level = below
        return found

    def _trees(self, level: Mapping[str, str]) -> Iterator[tuple[str, bytes, bytes, str, str]]:
        """The entries of trees: what shows the tree, mode, name, the name as text, and object of each."""
        for asked, data in self.read(list(level), b"tree"):
            at = 0
            while (head := _ENTRY.match(data, at)) is not None:
                at = head.end() + self._width
                yield level[asked], head[1], head[2], os.fsdecode(head[2]), data[head.end() : at].hex()

    def read(self, names: Sequence[str], kind: bytes) -> Iterator[tuple[str, bytes]]:
        """Those objects that are there and of that kind, by the names they were asked for; of a blob no more than fits."""
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            given, answers = self._process.stdin, self._process.stdout
            assert given is not None and answers is not None
            given.write(b"".join(os.fsencode(name) + b"\n" for name in some))
            given.flush()
            for name in some:
                words = answers.readline().split()
                if not words:
                    raise _silent("git cat-file ended")
                if len(words) != 3 or words[2] in (b"missing", b"ambiguous"):
                    continue  # There is no such commit.
                data = _taken(answers, int(words[2]), LARGEST + 1 if kind == b"blob" else None)
                if words[1] == kind:
                    yield name, data


def _taken(answers: IO[bytes], size: int, most: int | None) -> bytes:
    """The bytes of an answer, or the first of them; the rest is passed over, and the line end after it."""
    data = answers.read(size if most is None else min(size, most))
    rest = size + 1 - len(data)
    while rest > 0 and (piece := answers.read(min(rest, 1 << 20))):
        rest -= len(piece)
    return data


def _program() -> str:
    import shutil

    git = shutil.which("git")
    if git is None:
        raise _silent("there is no git on PATH")
    return git


def _git(root: str, *words: str, what: str = "") -> bytes:
    """What git answers; an error names ``what`` as a commit that is not there."""
    import subprocess

    done = subprocess.run(
        [_program(), *words], cwd=root, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode and what:
        raise UsageError(
            f"git knows no commit {what}", hint="`git branch --all` lists the branches, after `git fetch`"
        )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise _silent(f"git {words[0]}: {said[0] if said else f'exit {done.returncode}'}")
    return done.stdout


def _silent(why: str) -> WorkspaceError:
    return WorkspaceError(
        f"the project is in a git repository that cannot be asked for its sidecars: {why}",
        hint="see that `git status` works here: what a branch tracks must stay in the store",
    )
