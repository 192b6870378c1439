"""Views: read-only paths through which nodes read blobs.

It decides how a blob becomes a file (a clone, else a hard link, else a copy) and when one that is there is believed.

The invariant: a path that is handed out had the blob's bytes at that moment: by the settled stamp noted when it was
last hashed, else by hashing it now.  A view that was changed is set aside and made anew; it is never handed out.

    <directory>/<digest>/<name>      <digest>.x for one that is executable: a name has room for one mode only
    <directory>/.new/                views being made       .aside/     views that were changed
"""

import errno
import os
from collections.abc import Callable, Iterable
from typing import BinaryIO, Final

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.errors import StoreCorrupt, StoreError
from merkl.events import Note
from merkl.filesystem import clone
from merkl.sqlite import sqlite3
from merkl.stamp import Stamp
from merkl.store.blobs import check_file, pack_stamp
from merkl.store.builds import BuildLease, draft_of
from merkl.store.faults import store_error
from merkl.store.local import LocalStore
from merkl.store.removal import remove_tree
from merkl.store.streams import FileClock, hash_file, sink_for, write_all
from merkl.store.treecheck import has_tree, refuse_escapes, tree_evidence, tree_in
from merkl.tree import Tree

_CHEAP: Final = 1_000_000  # Bytes that are rather hashed once more than doubted.
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class _Handed:
    """A view as it was handed out; ``tree`` if it is a directory's."""

    digest: Digest
    evidence: bytes
    settled: bool
    size: int
    tree: Tree | None = None


class Views:
    """The views of one project, of the blobs of ``store``.  Used from one thread.

    ``lease``, which may be set later, is told of every blob that is read, so that gc spares it.
    """

    def __init__(self, store: LocalStore, directory: str | bytes, lease: BuildLease | None = None) -> None:
        self.lease = lease
        self._store = store
        self._directory = os.path.abspath(os.fsencode(directory))
        self._clock = FileClock(self._directory)
        self._handed: dict[bytes, _Handed] = {}
        self._clones = True  # Until the file system has refused.

    def path(self, digest: Digest, name: bytes, executable: bool = False) -> bytes:
        """The absolute path of a file with the bytes of ``digest``, called ``name``.

        Raises:
            StoreCorrupt: they are gone from the store, or damaged.
            StoreError: the view cannot be made.
        """
        path = self._place(digest, name, b".x" if executable else b"")
        if self.lease is not None:
            self.lease.lists(digest)
        if not self._holds_file(path, digest, executable):
            self._make(path, lambda draft: self._write(draft, digest, executable))
            stamp = Stamp.of(os.lstat(path))
            self._handed[path] = _Handed(digest, pack_stamp(stamp), False, stamp.size)
        return path

    def tree(self, digest: Digest, name: bytes) -> bytes:
        """The absolute path of a directory, called ``name``, as the tree blob ``digest`` says.

        Raises:
            StoreCorrupt: it, or a file in it, is gone from the store or damaged.
            StoreError: the view cannot be made.
        """
        path = self._place(digest, name, b"")
        if self.lease is not None:
            self.lease.lists(digest)
        tree = self._read_tree(digest)
        if not self._holds_tree(path, digest, tree):
            if self._make(path, lambda draft: self._write_tree(draft, tree)):
                os.chmod(path, 0o555)  # Not before it has its place: moving a directory writes to it.
            elif not self._holds_tree(path, digest, tree):
                raise StoreError(f"two builds fight over the view {os.fsdecode(path)}", hint="build again")
            evidence, _ = tree_evidence(path, 0)
            self._handed[path] = _Handed(digest, evidence, False, tree.size, tree)
        return path

    def check(self, paths: Iterable[bytes]) -> list[Digest]:
        """Look again at views after a node that read them has ended: the digests of those that were changed.

        They are set aside, and so is a blob that was changed through its view.
        """
        changed: list[Digest] = []
        for path in paths:
            path = os.path.abspath(path)
            handed = self._handed.get(path)
            if handed is not None and not self._is_unchanged(path, handed):
                changed.append(handed.digest)
                reader = self._store.fetch(handed.digest)  # Hashes the blob, if the change shows there.
                if reader is not None:
                    reader.close()
        return changed

    def _place(self, digest: Digest, name: bytes, suffix: bytes) -> bytes:
        if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
            raise ValueError(f"{name!r} cannot be the name of a view")
        return b"%s/%s%s/%s" % (self._directory, digest.hex().encode(), suffix, name)

    # Believing what is there.

    def _holds_file(self, path: bytes, digest: Digest, executable: bool) -> bool:
        try:
            stamp = Stamp.of(os.lstat(path))
        except (FileNotFoundError, NotADirectoryError):
            return False
        evidence = pack_stamp(stamp)
        if stamp.mode & 0o7777 == _mode(executable) and self._evidence_of(path, digest) == evidence:
            self._handed[path] = _Handed(digest, evidence, True, stamp.size)
            return True
        return self._holds_after_hashing(path, digest, executable)

    def _holds_after_hashing(self, path: bytes, digest: Digest, executable: bool) -> bool:
        try:
            fd = os.open(path, _READ)
        except OSError:
            self._set_aside(path)
            return False
        try:
            if not Stamp.of(os.fstat(fd)).is_file:
                self._set_aside(path)
                return False
            fits, settled = check_file(fd, digest, self._clock)
            if not fits:
                self._set_aside(path)
                return False
            if os.fstat(fd).st_mode & 0o7777 != _mode(executable):
                os.fchmod(fd, _mode(executable))
                settled = None
            stamp = Stamp.of(os.fstat(fd))
        finally:
            os.close(fd)
        self._believe(path, _Handed(digest, settled or pack_stamp(stamp), settled is not None, stamp.size))
        return True

    def _holds_tree(self, path: bytes, digest: Digest, tree: Tree) -> bool:
        if not os.path.lexists(path):
            return False
        at_ns = self._clock.now_ns()
        evidence, settled = tree_evidence(path, at_ns)
        if self._evidence_of(path, digest) == evidence:
            self._handed[path] = _Handed(digest, evidence, True, tree.size, tree)
            return True
        if not has_tree(path, tree):
            self._set_aside(path)
            return False
        # Another build that links a file of it elsewhere changes its stamp, and no byte.
        settled = settled and tree_evidence(path, 0)[0] == evidence
        self._believe(path, _Handed(digest, evidence, settled, tree.size, tree))
        return True

    def _is_unchanged(self, path: bytes, handed: _Handed) -> bool:
        executable = os.path.dirname(path).endswith(b".x")
        try:
            if handed.tree is not None:
                unmoved = tree_evidence(path, 0)[0] == handed.evidence
            else:
                unmoved = pack_stamp(Stamp.of(os.lstat(path))) == handed.evidence
        except OSError:
            unmoved = False
        if unmoved and (handed.settled or handed.size > _CHEAP):
            return True
        if handed.tree is not None:
            return self._holds_tree(path, handed.digest, handed.tree)
        return os.path.lexists(path) and self._holds_after_hashing(path, handed.digest, executable)

    def _believe(self, path: bytes, handed: _Handed) -> None:
        self._handed[path] = handed
        if handed.settled:
            inside = path[len(self._directory) + 1 :]
            self._store.remember_view(self._directory, inside, handed.digest, handed.evidence)

    def _evidence_of(self, path: bytes, digest: Digest) -> bytes | None:
        """The settled evidence under which a view was last believed, in this process or an earlier one."""
        handed = self._handed.get(path)
        if handed is not None and handed.settled:
            return handed.evidence
        inside = path[len(self._directory) + 1 :]
        query = "SELECT stamp FROM view WHERE directory = ? AND path = ? AND digest = ?"
        row = self._store.database.read(
            lambda connection: connection.execute(query, (self._directory, inside, digest)).fetchone()
        )
        return None if row is None else row[0]

    def _set_aside(self, path: bytes) -> None:
        """Take away a view that is not what it was; nothing that somebody may have written is deleted."""
        aside = os.path.join(self._directory, b".aside", os.urandom(8).hex().encode())
        try:
            self._make_folders(os.path.dirname(path))
            if os.path.isdir(path) and not os.path.islink(path):
                os.chmod(path, 0o755)
            os.rename(path, aside)
        except FileNotFoundError:
            return
        except OSError as error:
            raise store_error(error, path) from error
        self._handed.pop(path, None)
        text = f"a view, {os.fsdecode(path)}, had been changed; it was moved to {os.fsdecode(aside)} and made anew"
        self._store.note(Note(text, "views are for reading only"))

    # Making what is not.

    def _make(self, path: bytes, write: Callable[[bytes], None]) -> bool:
        """Write a draft and give it its name; False if another build has just made the same directory."""
        draft = os.path.join(self._directory, b".new", draft_of(self.lease).encode())
        try:
            self._make_folders(os.path.dirname(path))
            write(draft)
            os.rename(draft, path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and os.path.isdir(path):
                return False
            raise store_error(error, path) from error
        finally:
            remove_tree(draft)  # Still there after a failure, or if it was another name of the same file.
        return True

    def _make_folders(self, folder: bytes) -> None:
        """Make sure of the directories that a view is made in: any may have been removed at any time."""
        for needed in (
            folder,
            os.path.join(self._directory, b".new"),
            os.path.join(self._directory, b".aside"),
        ):
            if not os.path.isdir(needed):
                os.makedirs(needed, exist_ok=True)

    def _write(self, draft: bytes, digest: Digest, executable: bool) -> None:
        with self._store.reader(digest) as source:
            if hasattr(source, "getbuffer"):
                self._copy(draft, digest, source.read(), executable)
            elif not self._clone(draft, source, executable) and not self._link(
                draft, digest, source, executable
            ):
                self._copy(draft, digest, source, executable)

    def _clone(self, draft: bytes, source: BinaryIO, executable: bool) -> bool:
        if not self._clones:
            return False
        fd = _create(draft)
        try:
            self._clones = clone(source.fileno(), fd)
            if self._clones:
                os.fchmod(fd, _mode(executable))
            else:
                os.unlink(draft)
        finally:
            os.close(fd)
        return self._clones

    def _link(self, draft: bytes, digest: Digest, source: BinaryIO, executable: bool) -> bool:
        """Give the blob's file, just believed through ``source``, another name; False if it must be a copy."""
        blob = self._store.blobs.path(digest)
        believed = Stamp.of(os.fstat(source.fileno()))
        mode = _mode(executable)

        def link(connection: sqlite3.Connection) -> bool:
            # Linking and chmod change ctime: nobody else may do so between the comparison and the note.
            found = os.lstat(blob)
            if Stamp.of(found) != believed:
                raise FileNotFoundError(blob)
            if found.st_nlink > 1 and found.st_mode & 0o7777 != mode:
                return False
            connection.execute("UPDATE blob SET stamp = NULL WHERE digest = ?", (digest,))
            os.link(blob, draft)
            if found.st_mode & 0o7777 != mode:
                os.chmod(blob, mode)
            return True

        try:
            return self._store.database.write(link)
        except (OSError, StoreError):
            # Another file system or owner, too many links, a store for reading only, a moment's race.
            remove_tree(draft)
            return False

    def _copy(self, draft: bytes, digest: Digest, source: "BinaryIO | bytes", executable: bool) -> None:
        fd = _create(draft)
        try:
            if isinstance(source, bytes):
                write_all(fd, source)
            elif hash_file(source.fileno(), sink_for(source.fileno(), fd))[0] != digest:
                raise StoreCorrupt(f"a blob, {digest.short}, changed in the store while it was being copied")
            os.fchmod(fd, _mode(executable))
        except OSError as error:
            raise store_error(error, draft) from error
        finally:
            os.close(fd)

    def _read_tree(self, digest: Digest) -> Tree:
        with self._store.reader(digest) as file:
            tree = tree_in(file.read(), digest)
        refuse_escapes(tree, digest)
        return tree

    def _write_tree(self, draft: bytes, tree: Tree) -> None:
        os.mkdir(draft, 0o755)
        for entry in tree.entries:
            path = os.path.join(draft, entry.path)
            if entry.kind == "dir":
                os.mkdir(path, 0o755)
            elif entry.kind == "link":
                os.symlink(entry.link, path)
            else:
                assert entry.digest is not None
                self._write(path, entry.digest, entry.executable)
        for entry in reversed(tree.entries):
            if entry.kind == "dir":
                os.chmod(os.path.join(draft, entry.path), 0o555)


def _mode(executable: bool) -> int:
    return 0o555 if executable else 0o444


def _create(path: bytes) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
