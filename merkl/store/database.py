"""The store's database: opening, one connection per thread and process, transactions, and what if it is damaged.

It decides which file is the current database and when one is given up.  It knows no records and no blobs.

The invariant: an operation sees one whole transaction, or none.  A database that cannot be read is renamed to
``X.damaged-TIME`` and a new one is begun under a name that was never used, because a process that still has the old
one open removes its journal *by name* when it closes it.
"""

import contextlib
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from merkl.errors import StoreError
from merkl.events import Note
from merkl.journal import BESIDE, keep_journal
from merkl.pattern import pattern
from merkl.sqlite import sqlite3
from merkl.store import walindex
from merkl.store.faults import Damaged, database_error, is_busy, read_only, store_error
from merkl.store.schema import bring_up_to_date, create_tables, number_of

if TYPE_CHECKING:
    import mmap

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

BUSY_S: Final = 120.0  # Transactions take milliseconds; this long only behind a suspended process.
_NAME: Final = pattern(r"store-(\d+)\.db(\..*)?")
_OPENING: Final = "opening.lock"


class _Handle:
    """The connection of one thread.  ``lock`` is held while it is used, so that a fork can wait for its end."""

    __slots__ = ("connection", "cursor", "identity", "lock", "path", "thread")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.thread = weakref.ref(threading.current_thread())
        self.connection: sqlite3.Connection | None = None
        self.cursor: sqlite3.Cursor | None = None  # For queries of one row.
        self.path = ""
        self.identity: walindex.Identity | None = None  # While it may be open.

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = self.cursor = None
        if self.identity is not None:
            walindex.let_go(self.identity)
            self.identity = None


class Database:
    """The database in a store's directory.  Safe to share between threads; a forked child opens its own.

    ``note`` is told what the user should know.
    """

    def __init__(self, directory: str, note: Callable[[Note], None]) -> None:
        self._directory = directory
        self._note = note
        self._local = threading.local()
        self._guard = threading.RLock()
        self._handles: list[_Handle] = []
        self._path = ""  # The current file; another one after damage.
        self.read_only = False
        # Made here, and not written to yet.  The first transaction begins its log, which need not be synced for that: there
        # is nothing behind its header that could be taken for a part of it.
        self._fresh = False
        _databases.add(self)
        # A store that is dropped, or the end of the process.
        weakref.finalize(self, _close_all, self._handles)

    @property
    def path(self) -> str:
        """The current file; empty before the first use."""
        return self._path

    def read(self, operation: Operation[T]) -> T:
        """Run ``operation``, which only reads, and return its result."""
        handle: _Handle | None = getattr(self._local, "handle", None)
        if handle is not None:
            with handle.lock:
                if handle.connection is not None and handle.path == self._path:
                    try:
                        return operation(handle.connection)
                    except (sqlite3.Error, Damaged, UnicodeDecodeError):
                        pass  # It is run again, and this time what is wrong is seen to.
        return self._run(operation)

    def row(self, query: str, parameters: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The one row of a query, or None: as ``read``, where the way there is what takes the time."""
        try:
            handle: _Handle = self._local.handle
            with handle.lock:
                if handle.cursor is not None and handle.path == self._path:
                    found: tuple[Any, ...] | None = handle.cursor.execute(query, parameters).fetchone()
                    return found
        except (AttributeError, sqlite3.Error, UnicodeDecodeError):
            pass  # There is no connection yet, or something is wrong, which is then seen to.

        def asked(connection: sqlite3.Connection) -> tuple[Any, ...] | None:
            row: tuple[Any, ...] | None = connection.execute(query, parameters).fetchone()
            return row

        return self.read(asked)

    def header(self) -> "mmap.mmap | None":
        """What changes with each transaction that ends, of any process; None if there is no such thing.

        A look at it raises ``ValueError`` after this process has closed the database.
        """
        (mode,) = self.read(lambda connection: connection.execute("PRAGMA journal_mode").fetchone())
        handle: _Handle = self._local.handle
        with handle.lock:
            if mode != b"wal" or self.read_only or handle.identity is None or handle.path != self._path:
                return None
            if handle.connection is None or handle.connection.in_transaction:
                return None  # What it reads now may never be so.
            return walindex.header_of(handle.identity, handle.path)

    def write(self, operation: Operation[T], *, durable: bool = False) -> T:
        """Run ``operation`` in one transaction that nobody else can write during.

        It may run twice, if the database has to be begun anew.  ``durable`` outlives a loss of power.
        """

        def transaction(connection: sqlite3.Connection) -> T:
            if self.read_only:
                raise read_only(self._directory)
            fresh, self._fresh = self._fresh, False
            care = "FULL" if durable else "OFF" if fresh and _is_wal(connection) else ""
            if care:
                connection.execute(f"PRAGMA synchronous = {care}")
            try:
                connection.execute("BEGIN IMMEDIATE")
                result = operation(connection)
                connection.execute("COMMIT")
                return result
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if care:
                    connection.execute("PRAGMA synchronous = NORMAL")

        return self._run(transaction)

    def close(self) -> None:
        """Close the connections of all threads.  The next use opens anew."""
        _close_all(self._handles)

    def set_aside(self, why: str) -> None:
        """Give up the current database: rename it and tell the user.  The next use begins a new one."""
        with self._guard, self._opening():
            if self._path == self._current():  # Else another process has done it.
                self._rename_damaged(why)
            self._path = ""

    def vacuum(self) -> None:
        """Give what is free inside the file back to the file system."""
        # As a script, which runs to its end; ``execute`` would free one page.
        script = "PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(PASSIVE)"
        self.read(lambda connection: connection.executescript(script))

    def _run(self, operation: Operation[T]) -> T:
        deadline = time.monotonic() + BUSY_S
        damage = 0
        while True:
            handle = self._handle()
            with handle.lock:
                try:
                    return operation(self._connection(handle))
                except sqlite3.Error as error:
                    if is_busy(error) and time.monotonic() < deadline:
                        time.sleep(0.01)
                        continue
                    problem = database_error(error, self._directory)
                    if problem is None:
                        raise
                    if isinstance(problem, StoreError) and not self._seems_read_only(error):
                        raise problem from error
                except Damaged as error:
                    problem = error
                except UnicodeDecodeError as error:
                    problem = Damaged(str(error))  # SQLite's own message, of a schema that is no text.
                handle.close()
                damage += 1
                if damage > 3:
                    raise StoreError("the store's database is damaged again and again", path=self._directory)
                if handle.path == self._path:
                    self.set_aside(str(problem))

    def _seems_read_only(self, error: sqlite3.Error) -> bool:
        """Whether SQLite will not write what we may write: the file was moved away, or says of itself that it is newer."""
        return (
            error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY
            and os.access(self._directory, os.W_OK)
            and (not os.path.exists(self._path) or os.access(self._path, os.W_OK))
        )

    def _handle(self) -> _Handle:
        handle: _Handle | None = getattr(self._local, "handle", None)
        if handle is None:
            handle = self._local.handle = _Handle()
            with self._guard:
                for other in list(self._handles):
                    thread = other.thread()
                    if thread is None or not thread.is_alive():
                        other.close()
                        self._handles.remove(other)
                self._handles.append(handle)
        return handle

    def _connection(self, handle: _Handle) -> sqlite3.Connection:
        if handle.connection is not None and handle.path == self._path:
            return handle.connection
        handle.close()
        with self._guard:
            try:
                handle.path = self._path = self._path or self._current() or self._create()
                handle.identity = walindex.hold(self._path)
                handle.connection = self._open(self._path)
                handle.cursor = handle.connection.cursor()
            except OSError as error:
                raise store_error(error, self._directory) from error
        return handle.connection

    def _current(self) -> str:
        """The path of the newest database, empty if there is none."""
        numbers = [
            int(m[1]) for name in os.listdir(self._directory) if (m := _NAME.fullmatch(name)) and not m[2]
        ]
        return os.path.join(self._directory, f"store-{max(numbers)}.db") if numbers else ""

    def _open(self, path: str) -> sqlite3.Connection:
        try:
            connection = _checked(path, "mode=rw")
        except sqlite3.OperationalError as error:
            code = error.sqlite_errorcode & 0xFF
            if code not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
            if not os.path.lexists(path):
                self._path = ""
                raise Damaged("it has disappeared") from error
            if not os.path.isfile(path):
                raise Damaged("it is no file") from error
            if os.access(self._directory, os.W_OK):
                raise
            return self._open_read_only(path)
        self.read_only = not os.access(self._directory, os.W_OK)
        return connection

    def _open_read_only(self, path: str) -> sqlite3.Connection:
        self.read_only = True
        try:
            return _checked(path, "mode=ro")
        except sqlite3.OperationalError:
            # Without a journal beside it, and no right to make one.  Whatever is read is checked.
            return _checked(path, "mode=ro&immutable=1")

    def _create(self) -> str:
        """Make a new, empty database, unless another process does so first; its path."""
        if not os.access(self._directory, os.W_OK):
            raise read_only(self._directory)
        with self._opening():
            current = self._current()
            if current:
                return current
            used = [int(match[1]) for name in os.listdir(self._directory) if (match := _NAME.fullmatch(name))]
            path = os.path.join(self._directory, f"store-{max(used, default=0) + 1}.db")
            for name in os.listdir(self._directory):
                if name.startswith("new-"):  # Of a process that was killed: this one has the lock.
                    _unlink(os.path.join(self._directory, name))
            draft = os.path.join(self._directory, f"new-{os.urandom(8).hex()}.db")
            try:
                with contextlib.closing(_connect(draft, "mode=rwc")) as connection:
                    create_tables(connection, self._directory)
                _sync(draft)
                os.rename(draft, path)
                self._fresh = True
            except BaseException:
                for end in ("", *BESIDE):
                    _unlink(draft + end)
                raise
            return path

    def _rename_damaged(self, why: str) -> None:
        aside = f"{self._path}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        try:
            os.rename(self._path, aside)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(
                f"the store's database is damaged ({why}) and may not be replaced by this user",
                path=self._path,
            ) from error
        for end in BESIDE:
            try:
                os.rename(self._path + end, aside + end)
            except FileNotFoundError:
                pass
        text = f"the store's database was damaged ({why}); it was moved to {aside}, and a new one was begun"
        self._note(Note(text, "`merkl fsck` checks the rest of the store"))

    def _opening(self) -> "_Flock":
        return _Flock(os.path.join(self._directory, _OPENING))


def _close_all(handles: list[_Handle]) -> None:
    # A thread takes the lock of its handle first, then the guard; so this must not be called with the guard.
    for handle in list(handles):
        with handle.lock:
            handle.close()


class _Flock:
    """An exclusive lock between processes for as long as the block lasts."""

    __slots__ = ("_fd", "_path")

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise store_error(error, self._path) from error
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _connect(path: str, how: str) -> sqlite3.Connection:
    # The path as a URI, every byte escaped: SQLite takes any name so, and does not make a file that is not there.
    uri = "file:" + "".join(f"%{byte:02x}" for byte in os.fsencode(path)) + "?" + how
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.create_function("merkl_unhex", 1, _unhex, deterministic=True)  # SQLite has one since 3.41.
    connection.create_function("merkl_number", 1, number_of, deterministic=True)
    connection.text_factory = bytes  # A damaged text must not fail before it can be checked.
    try:
        for pragma in (
            "synchronous = NORMAL",
            "cell_size_check = ON",
            "wal_autocheckpoint = 4000",
        ):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_wal(connection: sqlite3.Connection) -> bool:
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    return bool(mode == b"wal")


def _unhex(text: object) -> bytes | None:
    try:
        return bytes.fromhex(text.decode() if isinstance(text, bytes) else str(text))
    except ValueError:
        return None


def _checked(path: str, how: str) -> sqlite3.Connection:
    connection = _connect(path, how)
    try:
        if how == "mode=rw":
            keep_journal(connection, os.path.dirname(path))
        bring_up_to_date(connection, path, writable=how == "mode=rw")
    except BaseException:
        connection.close()
        raise
    return connection


def _sync(path: str) -> None:
    """See that what was written outlives a loss of power.  The file is open nowhere: else its locks would go."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


# A connection must not be carried through a fork: SQLite keeps its locks by process, but its memory of them is
# copied.  So every connection is closed just before, when it is idle, and both sides open their own when they need one.

_databases: "weakref.WeakSet[Database]" = weakref.WeakSet()
_frozen: list[Database] = []
_held: list[Callable[[], None]] = []


def _before_fork() -> None:
    for database in list(_databases):
        for handle in list(database._handles):
            handle.lock.acquire()
            _held.append(handle.lock.release)
            if handle.connection is not None and not handle.connection.in_transaction:
                handle.close()
        database._guard.acquire()
        _held.append(database._guard.release)
        _frozen.append(database)
    walindex.guard.acquire()
    _held.append(walindex.guard.release)


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()()
    _frozen.clear()


def _after_fork_in_child() -> None:
    mine = threading.current_thread()
    for database in _frozen:
        database._handles[:] = [handle for handle in database._handles if handle.thread() is mine]
    _after_fork_in_parent()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
