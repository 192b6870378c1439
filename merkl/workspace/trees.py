"""Directories as trees: reading one, and making one again.

It decides what of a directory counts, and which directories can be kept at all.  It knows no memory and no store: the
digest of each file comes from a callback, its bytes from another.

The invariant: what ``read_tree`` accepts for saving, ``restore_tree`` makes again, and reading that gives the same tree.
"""

import os
import stat
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.errors import InputMissing, MerklError, PlacementError, TaskFailed
from merkl.tree import Tree, TreeEntry, leads_to
from merkl.workspace import folding
from merkl.workspace.copying import Content, copy_into, make_executable
from merkl.workspace.hashing import hash_file
from merkl.workspace.ignore import MERKLIGNORE, Rules
from merkl.workspace.missing import unreadable, what_is, wrong_kind
from merkl.workspace.paths import reserved, temporary

Reading: TypeAlias = Literal["source", "save", "edit", "track", "look"]
"""Why a directory is read.  ``source``: as an input; links are followed where they lead out, and what belongs to
version control or to merkl is left out, as is what ``.merklignore`` names.  ``save``: as an output; whatever could not
be restored is an error.  ``edit``: as the user's own; the same, but links may lead anywhere.  ``track``: as
data that others will pull; the same as ``save``.  ``look``: to see whether it is still what was placed; nothing is left out or followed."""

Take: TypeAlias = Callable[[bytes, os.stat_result], tuple[Digest, int]]
"""Gets the path of a regular file (or of a link to one) and its stat; returns the digest of its bytes, and how many they are,
which is another number than its stat has if it was changed meanwhile."""

Ahead: TypeAlias = Callable[[Sequence[tuple[bytes, os.stat_result]]], object]
"""Gets files of a directory that are going to be taken, by paths and stats."""

_AT_ONCE: Final = 16384  # Files that are taken together: more stats would need more memory than all else.
DEEPEST: Final = 200  # Directories within each other; nobody means more, and links can make it endless.


def read_tree(
    path: bytes,
    take: Take,
    reading: Reading,
    rules: Rules | None = None,
    shown: str = "",
    ahead: Ahead | None = None,
) -> Tree:
    """Read the directory at ``path``.  Errors call it ``shown``.

    ``rules`` are those in force above it, by paths that begin with ``shown``.  ``ahead`` is told before the first is taken.

    Raises:
        InputMissing: a source holds something that cannot be read, or is no file, directory or link.
        TaskFailed: what is to be saved (or looked at) holds something that cannot be kept.
    """
    shown = shown or os.fsdecode(path)
    reader = _Reader(take, ahead, reading, {})
    try:
        return reader.tree(path, shown, rules or Rules((MERKLIGNORE,) if reading == "source" else ()))
    except OSError as error:
        where = os.fsencode(error.filename) if error.filename else path
        name = shown + os.fsdecode(where[len(path) :]) if where.startswith(path) else os.fsdecode(where)
        if reading in ("source", "track"):
            raise unreadable(name, where, error) from None
        raise TaskFailed(f"{name} cannot be read: {error.strerror}") from None


def hash_one(path: bytes, _: os.stat_result) -> tuple[Digest, int]:
    """A ``Take`` that remembers nothing."""
    hashed = hash_file(path)
    return hashed.digest, hashed.stamp.size


def read_output_tree(path: bytes, take: Callable[[bytes], Digest], shown: str = "") -> Tree:
    """Read a directory that a task has made; ``take`` gets the path of each file and may move it away.

    Raises:
        TaskFailed: it holds something that could not be restored.
    """
    _open_up(path)
    return read_tree(path, lambda file, found: (take(file), found.st_size), "save", shown=shown)


def _open_up(directory: bytes) -> None:
    """Let us read what is in a directory and take it away: a copy of a view may be for reading only."""
    todo = [directory]
    while todo:
        folder = todo.pop()
        mode = stat.S_IMODE(os.lstat(folder).st_mode)
        if mode & 0o700 != 0o700:
            os.chmod(folder, mode | 0o700)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
                    if not mode & 0o400:
                        os.chmod(entry.path, mode | 0o400)


@dataclass(frozen=True, slots=True)
class _Reader:
    """``outside`` remembers the digest of each directory outside that a link led to, None while it is being read."""

    take: Take
    ahead: Ahead | None
    reading: Reading
    outside: dict[tuple[int, int], Digest | None]

    def tree(self, path: bytes, shown: str, rules: Rules) -> Tree:
        entries: dict[bytes, TreeEntry] = {}
        files: list[tuple[bytes, os.stat_result]] = []
        links: list[bytes] = []
        todo: list[tuple[bytes, int, Rules]] = [(b"", 0, rules)]
        while todo:
            directory, depth, rules = todo.pop()
            if depth > DEEPEST:
                raise self.refused(
                    shown, directory, f"lies more than {DEEPEST} directories deep", "make it flatter"
                )
            names, inside = self.names(path, directory, shown, rules)
            for name in names:
                inner = directory + b"/" + name if directory else name
                found = os.lstat(path + b"/" + inner)
                entry = None if stat.S_ISREG(found.st_mode) else self.entry(path, shown, inner, found)
                is_dir = entry is not None and entry.kind == "dir"
                if inside.files and inside.ignored_by(_under(shown, inner), is_dir):
                    continue
                if entry is None:
                    files.append((inner, found))
                    continue
                entries[inner] = entry
                if is_dir:
                    todo.append((inner, depth + 1, inside))
                else:
                    links.append(inner)
            if len(files) >= _AT_ONCE:
                self.files(path, entries, files)
                files = []
        self.files(path, entries, files)
        for link in sorted(links):
            entries[link] = self.link(path, shown, entries, entries[link])
        return Tree(tuple(entries[name] for name in sorted(entries)))

    def names(self, path: bytes, directory: bytes, shown: str, rules: Rules) -> tuple[list[bytes], Rules]:
        """The names in a directory that count, and the rules inside it."""
        where = path + b"/" + directory if directory else path
        names = os.listdir(where)
        if self.reading in ("save", "edit", "track"):
            for name in filter(reserved, names):
                raise self.refused(
                    shown,
                    directory + b"/" + name if directory else name,
                    "belongs to version control or to merkl, and is never placed",
                    "remove it at the end of the task",
                )
        elif self.reading == "source":
            names = [name for name in names if not reserved(name) and not temporary(name)]
            if MERKLIGNORE.encode() in names:
                rules = rules.entering(_under(shown, directory), (MERKLIGNORE,), os.fsdecode(where))
        return names, rules

    def entry(self, path: bytes, shown: str, name: bytes, found: os.stat_result) -> TreeEntry:
        """What is there and is no file."""
        if stat.S_ISDIR(found.st_mode):
            return TreeEntry(name, "dir")
        if stat.S_ISLNK(found.st_mode):
            return TreeEntry(name, "link", link=os.readlink(path + b"/" + name))
        raise self.refused(shown, name, f"is {what_is(found.st_mode)}", "remove it at the end of the task")

    def files(
        self, path: bytes, entries: dict[bytes, TreeEntry], files: Sequence[tuple[bytes, os.stat_result]]
    ) -> None:
        """Take files that were found, together, since other processes may help with many."""
        if self.ahead is not None:
            self.ahead([(path + b"/" + name, found) for name, found in files])
        for name, found in files:
            digest, size = self.take(path + b"/" + name, found)
            entries[name] = TreeEntry(name, "file", digest, size, bool(found.st_mode & 0o100))

    def link(self, path: bytes, shown: str, entries: dict[bytes, TreeEntry], entry: TreeEntry) -> TreeEntry:
        """Judge a link once all entries are known; a source's gets the digest of what lies outside."""
        if self.reading in ("look", "edit") or leads_to(entries, entry.path) is not None:
            return entry
        if self.reading in ("save", "track"):
            text = os.fsdecode(entry.link)
            if entry.link.startswith(b"/"):
                problem = f"is a symbolic link to {text}, an absolute path"
            elif os.path.lexists(path + b"/" + entry.path.rpartition(b"/")[0] + b"/" + entry.link):
                problem = f"is a symbolic link to {text}, which leads out of the directory or back to itself"
            else:
                problem = f"is a symbolic link to {text}, which does not exist"
            hint = "link to something inside by a relative path, or copy it (`cp -L`)"
            raise self.refused(shown, entry.path, problem, hint)
        where = path + b"/" + entry.path
        try:
            found = os.stat(where)
        except OSError:  # It leads nowhere: its text is all there is to it.
            return entry
        if stat.S_ISDIR(found.st_mode):
            return TreeEntry(entry.path, "link", self.directory_outside(where, found), link=entry.link)
        if not stat.S_ISREG(found.st_mode):
            raise wrong_kind(_under(shown, entry.path), found.st_mode)
        executable = bool(found.st_mode & 0o100)
        digest, _ = self.take(where, found)
        return TreeEntry(entry.path, "link", digest, executable=executable, link=entry.link)

    def directory_outside(self, where: bytes, found: os.stat_result) -> Digest | None:
        identity = found.st_dev, found.st_ino
        if identity not in self.outside:
            self.outside[identity] = None  # Met again while it is read, it counts by the text of the link.
            self.outside[identity] = self.tree(where, os.fsdecode(where), Rules((MERKLIGNORE,))).digest
        return self.outside[identity]

    def refused(self, shown: str, name: bytes, problem: str, hint: str) -> MerklError:
        full = _under(shown, name)
        if self.reading == "source":
            return InputMissing(
                f"the input {full} {problem}", hint="a directory that is an input holds files and links only"
            )
        if self.reading == "track":
            hint = hint.replace("remove it at the end of the task", "move it elsewhere")
            return InputMissing(f"{full} {problem}, so {shown} cannot be tracked", hint=hint)
        if self.reading != "save":
            return TaskFailed(f"{full} {problem}, so {shown} cannot be saved", hint="move it elsewhere")
        return TaskFailed(f"the output {full} {problem}, so it cannot be kept", hint=hint)


def _under(shown: str, name: bytes) -> str:
    """The path of ``name`` in the directory ``shown``, spelt as ``normalise`` would."""
    if not name:
        return shown
    return os.fsdecode(name) if shown == "." else f"{shown}/{os.fsdecode(name)}"


def restore_tree(
    tree: Tree, directory: int, open_blob: Callable[[Digest], Content], shown: str, *, own: bool = False
) -> None:
    """Fill an empty directory, given by its descriptor, that nobody else writes to.

    ``open_blob`` returns a reader of the bytes of a digest.  ``own`` says that the tree was read from the user's own
    directory, so that its links may lead anywhere.

    Raises:
        PlacementError: an entry could lead out of the directory, or belongs to version control or to merkl.
        OSError: the system refused something.
    """
    try:
        tree.check()
    except ValueError as error:
        raise PlacementError(f"cannot place the directory {shown}: {error}") from None
    for one, other in folding.twins(os.fsdecode(entry.path) for entry in tree.entries):
        if folding.one_below(directory, one, other):
            raise PlacementError(
                f"cannot place the directory {shown}: {one} and {other} in it are one file on this file system",
                hint="let the task give one of them another name",
            )
    entries = {entry.path: entry for entry in tree.entries}
    for entry in tree.entries:
        may_restore(entries, entry, shown, own)
        if entry.kind == "dir":
            os.mkdir(entry.path, dir_fd=directory)
        else:
            restore_entry(entry, directory, entry.path, open_blob, shown)


def may_restore(entries: dict[bytes, TreeEntry], entry: TreeEntry, shown: str, own: bool = False) -> None:
    """See that one of ``entries``, a whole tree's by path, may be made in the directory called ``shown``.

    Raises:
        PlacementError: it could lead out of the directory, or belongs to version control or to merkl.
    """
    name = f"{shown}/{os.fsdecode(entry.path)}"
    if reserved(entry.path.rpartition(b"/")[2]):
        raise PlacementError(f"cannot place {name}: it belongs to version control or to merkl")
    if entry.kind == "link" and not own and leads_to(entries, entry.path) is None:
        raise PlacementError(
            f"cannot place {name}: it is a symbolic link to {os.fsdecode(entry.link)!r}, outside its directory"
        )


def restore_entry(
    entry: TreeEntry, directory: int, name: bytes, open_blob: Callable[[Digest], Content], shown: str
) -> None:
    """Make a file or link of the directory called ``shown``, as ``name`` in an open directory."""
    if entry.kind == "link":
        os.symlink(entry.link, name, dir_fd=directory)
        return
    assert entry.digest is not None  # Tree.check has seen to it.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o666, dir_fd=directory)
    try:
        with open_blob(entry.digest) as blob:
            size = copy_into(blob, fd)
        if size != entry.size:
            raise PlacementError(
                f"cannot place {shown}/{os.fsdecode(entry.path)}: {size} bytes instead of {entry.size}"
            )
        if entry.executable:
            make_executable(fd)
    finally:
        os.close(fd)
