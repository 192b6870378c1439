"""The memory of the workspace's files: which bytes each had when it was last read, and whether it still has them.

It decides when a remembered digest may be used without reading the file.  It is only memory, and can be lost at any time.

The invariant: a remembered digest is used without reading only if the file's stamp is the same and was settled when
the file was read: so old, by the file system's own clock, that any later write must have changed it.  An unsettled
stamp means that the file is read once more.
"""

import os
import stat
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal

import xxhash
from blake3 import blake3

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.errors import InputMissing, TaskFailed
from merkl.events import Note
from merkl.nodes import Artifact, Source
from merkl.snapshot import recorder
from merkl.stamp import Absent, Stamp, longest_write_ns, read_stamp
from merkl.tree import Tree
from merkl.workspace.glances import glance_at_tree
from merkl.workspace.hashing import Hashed, fast_hash, hash_file, hash_small, is_small, read_file
from merkl.workspace.ledger import Ledger
from merkl.workspace.missing import of_a_process, unreadable, what_is, wrong_kind
from merkl.workspace.paths import absolute
from merkl.workspace.remembered import Remembered

if TYPE_CHECKING:
    from merkl.workspace.expected import Expected
    from merkl.workspace.hashing import Small
    from merkl.workspace.trees import Reading

_STAMP: Final = struct.Struct("<QqqQI")  # size, mtime, ctime, inode, mode
_LIMIT: Final = 1 << 63
_ENTRY: Final = struct.Struct(f"<{_STAMP.size}s?16s32s8s")  # stamp, settled, fast, digest, check
_DIGEST: Final = slice(_ENTRY.size - 40, _ENTRY.size - 8)
_UNKNOWN_FAST: Final = bytes(16)
_MANY: Final = 256  # Of fewer files that must be read, each is read when it is asked for.
_CLOCK_FRESH_NS: Final = 5_000_000  # The clock is not asked again sooner.
_LONGEST_WRITE: Final = 1 << 31  # Bytes of one write call.
_ELSEWHERE_NS: Final = 2_000_000_000  # Another file system may have another clock.
_AHEAD_NS: Final = 60_000_000_000  # Clocks of two machines differ by less; more means that one was set back.


@dataclass(frozen=True, slots=True)
class Other:
    """Something is there that can be neither an input nor an output; ``what`` says what."""

    what: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What was remembered of a file besides its stamp; ``fast`` is all zeros if it was never computed."""

    settled: bool
    fast: bytes
    digest: Digest


class FileIndex(Ledger):
    """The files of the project at ``root``, an absolute path; remembered in ``state_dir``, which must exist.

    Paths are normalised: relative to the project, or absolute.  ``rehash`` reads every file once more.
    """

    def __init__(self, root: str, state_dir: str, *, rehash: bool = False) -> None:
        super().__init__(state_dir)
        self.root: Final = root
        self._rehash: Final = rehash
        self._clock_file: Final = os.path.join(state_dir, "clock")
        self._prefix: Final = os.fsencode(root.rstrip("/")) + b"/"
        self.hashed = 0  # Files whose digest was found by reading them.
        self._device: int | None = None
        self._told_of_clock = False
        self._clock = (0, 0)  # The file system's time, and our monotonic time when it was asked; both in ns.
        self._known: Final = Remembered(self._database)
        self._named: dict[str, Source] = {}  # Settled; many calls may name one file.
        self._fresh: set[bytes] = set()  # Read by this process, so that ``rehash`` reads them once.
        self._directories: dict[str, tuple[Digest, bytes]] = {}
        self._expected: Expected | None = None  # Once there are many.
        self._seed_value: int | None = None

    def source(self, path: str | bytes, kind: Literal["file", "dir", "any"] = "any") -> Source:
        """Stamp and hash a file or directory that is named as an input; links are followed.

        Raises:
            InputMissing: it is not there, cannot be read, or is of another kind; or something in it is no file.
        """
        with recorder.for_source():
            return self._source(os.fsdecode(path), kind)

    def _source(self, path: str, kind: Literal["file", "dir", "any"]) -> Source:
        where = absolute(path, self.root)
        refusal = of_a_process(where)
        if refusal is not None:
            raise refusal
        try:
            found = os.stat(where)
        except OSError as error:
            self._known.forget(os.fsencode(path))
            raise unreadable(path, where, error) from None
        if stat.S_ISREG(found.st_mode):
            if kind == "dir":
                raise wrong_kind(path, found.st_mode, "a directory")
            known = self._named.get(path)
            if known is not None and _is_that(found, known.stamp):
                return known
            raw = os.fsencode(path)
            stamp, digest = self._digest(raw, where, found)
            source = Source(path, "file", digest, stamp.executable, stamp)
            if self._is_settled(raw):
                self._named[path] = source
            return source
        if not stat.S_ISDIR(found.st_mode) or kind == "file":
            raise wrong_kind(path, found.st_mode, "a file" if kind == "file" else "a file or a directory")
        tree, stamps = self._read_tree(path, "source")
        self._directories[path] = tree.digest, stamps
        return Source(path, "dir", tree.digest, False, Stamp.of(found))

    def still(self, source: Source) -> bool:
        """Whether a source is what it was: not even touched since, let alone edited.

        A file that was edited and edited back counts as changed, since a task may have read it in between.
        """
        try:
            if source.kind == "dir":
                tree, stamps = self._read_tree(source.path, "source")
                known = self._directories.get(source.path)
                untouched = known is None or known[0] != tree.digest or known[1] == stamps
                return tree.digest == source.digest and untouched
            where = absolute(source.path, self.root)
            found = os.stat(where)
            if self._named.get(source.path) is source and not self._rehash:
                return _is_that(found, source.stamp)
            path = os.fsencode(source.path)
            if Stamp.of(found) != source.stamp:
                return False
            return self._digest(path, where, found)[1] == source.digest
        except (OSError, InputMissing):
            return False

    def look(self, path: str | bytes) -> Artifact | Absent | Other:
        """What is at a path now.  A link to a file counts as the file; in a directory, as a link."""
        path = os.fsdecode(path)
        where = absolute(path, self.root)
        try:
            found = os.stat(where)
            if stat.S_ISREG(found.st_mode):
                stamp, digest = self._digest(os.fsencode(path), where, found)
                return Artifact("file", digest, stamp.size, stamp.executable)
            if stat.S_ISDIR(found.st_mode):
                return self._look_into(path, where)
            return Other(f"{path} is {what_is(found.st_mode)}")
        except (FileNotFoundError, NotADirectoryError):
            self._known.forget(os.fsencode(path))
            return Absent()
        except OSError as error:
            return Other(f"{path} cannot be read: {error.strerror}")
        except (InputMissing, TaskFailed) as error:
            return Other(error.headline.removeprefix("the input "))  # It may be anything here.

    def _look_into(self, path: str, where: str) -> Artifact:
        recording = recorder.active()
        if recording is None or not recording.at_a_glance:
            return self._glance_into(path, where)
        recording.glance_at_tree(where)
        with recorder.unheard():
            return self._glance_into(path, where)

    def _glance_into(self, path: str, where: str) -> Artifact:
        name = b"d" + os.fsencode(path)
        before = glance_at_tree(where, self.clock_ns())
        found = None if self._rehash else self.glances.found(name, before)
        if found is not None:
            return Artifact("dir", Digest(found[:32]), int.from_bytes(found[32:], "little"))
        tree, _ = self._read_tree(path, "look")
        digest, size = tree.digest, tree.size
        if before.settled:
            after = glance_at_tree(where, self.clock_ns())
            self.glances.keep(name, before, after, bytes(digest) + size.to_bytes(8, "little"))
        return Artifact("dir", digest, size)

    def tree(self, path: str, reading: "Reading" = "source") -> Tree:
        """The directory at ``path``, read as an input is, or otherwise.

        Raises:
            InputMissing: as for ``source``.
            TaskFailed: it holds what cannot be read, or kept.
        """
        return self._read_tree(path, reading)[0]

    def seen(self, path: str | bytes, stamp: Stamp, digest: Digest) -> None:
        """Remember the digest of a file just written; ``stamp`` was read from its open descriptor after all else."""
        # Never settled: it was written just now, and a write after that may have left the stamp as it is.
        self._remember(os.fsencode(path), _packed(stamp), False, _UNKNOWN_FAST, digest)

    def known(self, path: bytes, found: os.stat_result) -> Digest | None:
        """The digest of the file whose stat is ``found``, if it need not be read for that."""
        return self._believed(path, _packed(found))

    def remembered(self, path: str) -> tuple[Stamp, bool, Digest] | None:
        """The stamp that a file had when it was read or written last, whether a write since then must show in it, and the digest."""
        raw = os.fsencode(path)
        value = self._known.get(raw)
        known = None if value is None else self._intact(raw, value)
        if value is None or known is None:
            return None
        return Stamp(*_STAMP.unpack_from(value)), known.settled, known.digest

    def digest(self, path: bytes, where: bytes, found: os.stat_result) -> tuple[Digest, int]:
        """The digest of the file at ``where``, remembered as that of ``path``, and its size; ``found`` is its stat.

        Raises:
            InputMissing: as for ``source``.
        """
        stamp, digest = self._digest(path, where, found)
        return digest, stamp.size

    def spare(self, *, memory: bool) -> None:
        """Keep in memory little of what is remembered of files, or as much as is of use again.

        What is asked for one by one over a long time is as well looked up in the database.
        """
        if memory:
            self._expected = None
        self._known.spare(memory=memory)

    def expect(self, paths: Sequence[str]) -> None:
        """Some normalised paths, sorted by bytes, are perhaps going to be asked for, in this order."""
        if len(paths) < _MANY:
            return
        if self._expected is None:
            from merkl.workspace.expected import Expected

            self._expected = Expected()
        self._expected.add(paths)

    def _go_on(self, path: bytes) -> None:
        """Read what is expected after a file that had to be read."""
        if self._expected is not None and (paths := self._expected.after(os.fsdecode(path))):
            with recorder.unheard():  # Nobody has asked yet.
                self._read_expected(paths)

    def _read_expected(self, paths: Sequence[str]) -> None:
        """As ``ahead``; what is there is looked at by whoever reads it."""
        from merkl import gauge
        from merkl.workspace.many import each_of

        clock, seed = self.clock_ns(), self._seed()
        self._known.read_all()  # Who reads must not ask the database.

        def read(path: str) -> tuple[bytes, bytes] | None:
            name, where = os.fsencode(path), absolute(path, self.root)
            try:
                found = os.stat(where)
            except OSError:
                return None
            stamp = _packed(found)
            if not is_small(found) or not self._must_read(name, stamp):
                return None
            (small,) = hash_small([(where, found)], seed)
            if small is None:
                return None
            settled = self._settled_by(Stamp.of(found), found.st_dev, clock)
            return name, _entry(name, stamp, settled, small[1], small[0], seed)

        for entries in each_of(paths, read):
            gauge.came(sum(_size_of(value) for _, value in entries))
            self._remember_all(entries)

    def ahead(self, files: Iterable[tuple[bytes, str | bytes, os.stat_result]]) -> None:
        """Read those of many files that must be read, with other processes; each by its name, where it is, and its stat.

        What is asked of them next is then known.  Large files are left to be read when they are asked for.
        """
        for _ in self.read_many([each for each in files if is_small(each[2])], keep=False):
            pass

    def read_many(
        self, files: Sequence[tuple[bytes, str | bytes, os.stat_result]], *, keep: bool = True
    ) -> Iterator[list[tuple[int, Digest, bytes]]]:
        """As ``ahead``, for small files; of those that were read the number, the digest and the bytes, some at a time.

        Of few none is read.
        """
        todo: list[tuple[int, bytes]] = []
        for n, (path, _, found) in enumerate(files):
            stamp = _packed(found)
            if self._must_read(path, stamp):
                todo.append((n, stamp))
        if len(todo) < _MANY:
            return
        from merkl.workspace.many import hash_many

        if max(files[n][2].st_ctime_ns for n, _ in todo) > self._clock[0] - _ELSEWHERE_NS:
            self.clock_ns()  # Read before the bytes are.
        clock, seed = self._clock[0], self._seed()

        def note(at: int, small: "Small") -> tuple[bytes, bytes]:
            n, stamp = todo[at]
            path, _, found = files[n]
            settled = self._settled_by(Stamp.of(found), found.st_dev, clock)
            return _entry(path, stamp, settled, small[1], small[0], seed), small[2]

        for start, notes in hash_many([files[n][1:] for n, _ in todo], seed, note, keep=keep):
            read = [(todo[at][0], *each) for at, each in enumerate(notes, start) if each is not None]
            self._remember_all([(files[n][0], value) for n, value, _ in read])
            yield [(n, _new(Digest, value[_DIGEST]), data) for n, value, data in read]

    def _remember_all(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        self._known.set_all(entries)
        if self._rehash:
            self._fresh.update(path for path, _ in entries)
        self.hashed += len(entries)

    def _must_read(self, path: bytes, stamp: bytes) -> bool:
        return self._believed(path, stamp) is None

    def read(self, path: bytes, where: bytes, found: os.stat_result) -> tuple[Digest, bytes]:
        """The digest of the small file at ``where``, read once more, and its bytes; ``found`` is its stat.

        Raises:
            InputMissing: as for ``source``.
        """
        self._settled(Stamp.of(found), found.st_dev)  # The clock is read before the bytes are.
        clock = self._clock[0]
        hashed, data = read_file(where, self._seed(), os.fsdecode(path), found)
        self._learn(path, hashed, self._settled_by(hashed.stamp, found.st_dev, clock))
        return hashed.digest, data

    def stored(self, path: bytes, where: bytes, found: os.stat_result, store: Callable[[], Digest]) -> Digest:
        """The digest that ``store`` finds while it copies the large file at ``where``; ``found`` is its stat.

        Raises:
            InputMissing: the file changed meanwhile.
        """
        stamp = Stamp.of(found)
        settled = self._settled(stamp, found.st_dev)
        digest = store()
        if read_stamp(where) != stamp:
            hint = "try again when its writer is done"
            raise InputMissing(f"{os.fsdecode(path)} changed while it was being stored", hint=hint)
        self._learn(path, Hashed(digest, _UNKNOWN_FAST, stamp), settled)
        return digest

    def clock_ns(self) -> int:
        """The time by the file system's own clock: what a file written now gets as its mtime.

        Where none can be written, our clock two seconds ago.
        """
        fs, asked = self._clock
        now = time.monotonic_ns()
        if fs and now - asked < _CLOCK_FRESH_NS:
            return fs
        try:
            fd = os.open(self._clock_file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                os.utime(fd)
                found = os.fstat(fd)
            finally:
                os.close(fd)
            fs, self._device = found.st_mtime_ns, found.st_dev
        except OSError:
            fs = time.time_ns() - _ELSEWHERE_NS
        self._clock = fs, now
        return fs

    def _digest(self, path: bytes, where: str | bytes, found: os.stat_result) -> tuple[Stamp, Digest]:
        """The digest of the file at ``where``, from memory if its stamp allows that, and its stamp then."""
        stamp = Stamp.of(found)
        packed = _packed(stamp)
        value = self._known.get(path)
        if value is None or not value.startswith(packed) or (self._rehash and path not in self._fresh):
            return self._hash(path, where, found)
        known = self._intact(path, value)
        if known is None:
            return self._hash(path, where, found)
        if known.settled:
            return stamp, known.digest
        if known.fast == _UNKNOWN_FAST:
            return self._hash(path, where, found)
        settled = self._settled(stamp, found.st_dev)  # Asked before the bytes are read.
        fast, now = fast_hash(where, self._seed(), os.fsdecode(path), found)
        if fast != known.fast or now != stamp:
            return self._hash(path, where, found)
        if settled:
            self._remember(path, packed, True, fast, known.digest)
        self._go_on(path)
        return stamp, known.digest

    def _hash(self, path: bytes, where: str | bytes, found: os.stat_result) -> tuple[Stamp, Digest]:
        self._settled(Stamp.of(found), found.st_dev)  # The clock is read before the bytes are.
        clock = self._clock
        hashed = hash_file(where, self._seed(), os.fsdecode(path), found)
        settled = self._settled_by(hashed.stamp, found.st_dev, clock[0])
        self._learn(path, hashed, settled)
        self._go_on(path)
        return hashed.stamp, hashed.digest

    def _learn(self, path: bytes, hashed: Hashed, settled: bool) -> None:
        self.hashed += 1
        self._remember(path, _packed(hashed.stamp), settled, hashed.fast, hashed.digest)
        if self._rehash:
            self._fresh.add(path)

    def _settled(self, stamp: Stamp, device: int) -> bool:
        # The last time we know of will do if it is late enough: asking costs more than a small file.
        if self._settled_by(stamp, device, self._clock[0]):
            return True
        now = self.clock_ns()
        if stamp.ctime_ns - now > _AHEAD_NS and not self._told_of_clock:
            self._told_of_clock = True
            self.notes.append(_FUTURE)
        return self._settled_by(stamp, device, now)

    def _settled_by(self, stamp: Stamp, device: int, clock: int) -> bool:
        elsewhere = 0 if device == self._device else _ELSEWHERE_NS
        return stamp.settled(clock - elsewhere - longest_write_ns(min(stamp.size, _LONGEST_WRITE)))

    def _read_tree(self, path: str, reading: "Reading") -> tuple[Tree, bytes]:
        """A directory, and a digest of the stamps of all files it takes in."""
        from merkl.workspace.ignore import MERKLIGNORE, rules_above
        from merkl.workspace.trees import read_tree

        stamps = blake3()

        def name_of(where: bytes) -> bytes:
            return where[len(self._prefix) :] if where.startswith(self._prefix) else where

        def take(where: bytes, found: os.stat_result) -> tuple[Digest, int]:
            name, packed = name_of(where), _packed(found)
            known = self._believed(name, packed)
            if known is not None:
                stamps.update(packed)
                return known, found.st_size
            stamp, digest = self._digest(name, where, found)
            stamps.update(_packed(stamp))
            return digest, stamp.size

        def ahead(files: Sequence[tuple[bytes, os.stat_result]]) -> None:
            self.ahead([(name_of(where), where, found) for where, found in files])

        rules = rules_above(self.root, path, (MERKLIGNORE,)) if reading == "source" else None
        tree = read_tree(os.fsencode(absolute(path, self.root)), take, reading, rules, path, ahead)
        return tree, stamps.digest()

    def _believed(self, path: bytes, stamp: bytes) -> Digest | None:
        """What ``_digest`` finds without reading, as quickly as it can be said."""
        value = self._known.get(path)
        if value is None or not value.startswith(stamp) or value[_STAMP.size] != 1:
            return None
        if self._rehash and path not in self._fresh:
            return None
        seed = self._seed_value if self._seed_value is not None else self._seed()
        if xxhash.xxh3_64_digest(path + value[:-8], seed=seed) != value[-8:]:
            return None
        return _new(Digest, value[_DIGEST])

    def _intact(self, path: bytes, value: bytes) -> _Known | None:
        """What was remembered, unless a page of the database has been damaged without SQLite's noticing."""
        seed = self._seed_value if self._seed_value is not None else self._seed()
        if xxhash.xxh3_64_digest(path + value[:-8], seed=seed) != value[-8:]:
            return None
        _, settled, fast, digest, _ = _ENTRY.unpack(value)
        return _Known(settled, fast, _new(Digest, digest))

    def _is_settled(self, path: bytes) -> bool:
        """Whether the digest remembered last may be used for as long as the stamp is the same."""
        value = self._known.get(path)
        return value is not None and value[_STAMP.size] == 1

    def _remember(self, path: bytes, stamp: bytes, settled: bool, fast: bytes, digest: Digest) -> None:
        self._known.set(path, _entry(path, stamp, settled, fast, digest, self._seed()))

    def _seed(self) -> int:
        """This project's secret, so that nobody can prepare two files with one fast hash."""
        if self._seed_value is None:
            rows = self._database.rows("SELECT value FROM meta WHERE name = 'seed'")
            usable = rows and isinstance(rows[0][0], bytes) and len(rows[0][0]) == 8
            raw = rows[0][0] if usable else os.urandom(8)
            if not usable:
                self._database.write("INSERT OR REPLACE INTO meta VALUES ('seed', ?)", (raw,))
            self._seed_value = int.from_bytes(raw, "little")
        return self._seed_value


_new: Final = bytes.__new__  # The layout of an entry vouches for the length.
_FUTURE: Final = Note(
    "some files were changed later than it is now: was the clock set back? They are read again in every build until then",
    "see what `date` says; `touch` gives a file the time it is now",
)


def _entry(path: bytes, stamp: bytes, settled: bool, fast: bytes, digest: bytes, seed: int) -> bytes:
    """What is remembered of a file."""
    body = _ENTRY.pack(stamp, settled, fast, digest, b"")[:-8]
    return body + xxhash.xxh3_64_digest(path + body, seed=seed)


def _size_of(value: bytes) -> int:
    """The size of a file that is remembered."""
    return int.from_bytes(value[:8], "little")


def _is_that(found: os.stat_result, stamp: Stamp) -> bool:
    """Whether a stat says what ``stamp`` says."""
    return (
        found.st_ctime_ns == stamp.ctime_ns
        and found.st_mtime_ns == stamp.mtime_ns
        and found.st_size == stamp.size
        and found.st_ino == stamp.inode
        and found.st_mode == stamp.mode
    )


def _packed(stamp: Stamp | os.stat_result) -> bytes:
    if isinstance(stamp, Stamp):
        size, mtime, ctime, inode, mode = stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode, stamp.mode
    else:
        size, mtime, ctime = stamp.st_size, stamp.st_mtime_ns, stamp.st_ctime_ns
        inode, mode = stamp.st_ino, stamp.st_mode
    try:
        return _STAMP.pack(size, mtime, ctime, inode, mode)
    except struct.error:  # Some file systems take years that 64 bits of nanoseconds do not.
        return _STAMP.pack(size, mtime % _LIMIT, ctime % _LIMIT, inode, mode)
