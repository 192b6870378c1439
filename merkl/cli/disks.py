"""What the file systems of a project and its store can do, tried out for ``merkl doctor``.

It decides which lack is a fault and which only costs a feature or time.

The invariant: it changes nothing but a few files of its own, which it removes again.
"""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Final

from merkl.cli.finding import Finding
from merkl.config import Config, find_root
from merkl.digest import Key
from merkl.errors import MerklError
from merkl.filesystem import FileSystem, clone, file_system_of
from merkl.report.words import plural, size
from merkl.store.locks import RunLocks

_FEW_BYTES: Final = 100_000_000
_FEW_INODES: Final = 10_000
_FINE_NS: Final = 20_000_000  # Stamps that are coarser than this keep merkl from believing them for a while.
_CLOCK_OFF_S: Final = 2.0


def disk_findings(config: Config) -> Iterator[Finding]:
    """The project, the store, and what is beneath them."""
    project = find_root(config.root)
    if project is None:
        yield Finding("project", "lacks", f"none here or above ({config.root}): `merkl init` makes one")
    else:
        yield Finding("project", "ok", project)
    store = _nearest(config.store)
    made = "" if store == config.store else ", not made yet"
    refused = "" if made else _refusal(config.store)
    yield Finding(
        "store",
        "broken" if refused else "ok",
        refused or f"{config.store}, {size(disk_size(config.store))}{made}",
    )
    yield from _file_systems(project or config.root, store)
    if not os.access(store, os.W_OK | os.X_OK):
        yield Finding("writing", "broken", f"{store} cannot be written: results are not kept")
        return
    yield room(store)
    with _scratch(store) as folder:
        if folder is None:
            yield Finding("writing", "broken", f"{store} cannot be written: results are not kept")
            return
        yield _locks(folder)
        yield _reflink(folder)
        yield _links(folder)
    yield from _of_project(project or config.root)


def _refusal(directory: str) -> str:
    """Why a store that is there cannot be used; empty if it can."""
    from merkl.store.local import LocalStore
    from merkl.trust.trust import Trust

    try:
        if why := Trust().why_unsafe_store(directory):
            return f"{directory} {why}: `{Trust().allowing_store(directory)}` lets it be used all the same"
        store = LocalStore(directory)
        store.by_key([Key(bytes(32))])
        store.close()
    except MerklError as error:
        return error.headline
    return ""


def _file_systems(project: str, store: str) -> Iterator[Finding]:
    """What project and store lie on; once if that is the same."""
    of_project, of_store = file_system_of(project), file_system_of(store)
    yield _kind("file system", of_project)
    if of_project != of_store:
        yield _kind("store's", of_store)
    if os.stat(store).st_dev != os.stat(project).st_dev:
        yield Finding("store's disk", "lacks", "not that of the project: outputs are copied instead of moved")


def _kind(what: str, found: FileSystem) -> Finding:
    if not found.network:
        return Finding(what, "ok", found.kind or "of a kind that the system does not tell")
    text = (
        f"{found.kind}, over a network: databases there have no write-ahead log, and locks are the server's"
    )
    advice = "a local store is quicker: `store:` in merkl.yaml, or MERKL_STORE"
    return Finding(what, "lacks", f"{text}; {advice}")


def room(store: str) -> Finding:
    """What is free where the store is."""
    found = os.statvfs(store)
    free = found.f_bavail * found.f_frsize
    text = size(free)
    few = free < _FEW_BYTES
    if found.f_files:  # Some file systems have no fixed number, and say 0.
        text += f" and {found.f_favail:,} inodes"
        few = few or found.f_favail < _FEW_INODES
    return Finding("free space", "lacks" if few else "ok", text)


def _nearest(path: str) -> str:
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


@contextlib.contextmanager
def _scratch(place: str) -> Iterator[str | None]:
    """A directory beside what is to be judged."""
    try:
        folder = tempfile.mkdtemp(prefix=".merkl-doctor-", dir=place)
    except OSError:
        yield None
        return
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# ---- below the store -----------------------------------------------------------------------------------------------


def _locks(folder: str) -> Finding:
    """Whether one node can be kept from running twice."""
    key = Key(bytes(32))
    with open(os.path.join(folder, "flock"), "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return Finding("locks", "broken", f"flock does not work here: {error.strerror}")
    one, other = RunLocks(folder), RunLocks(folder)
    try:
        held = one.try_lock(key, "doctor")
        if held is not None and other.try_lock(key, "doctor") is None:
            return Finding("locks", "ok", "flock and byte locks work")
        return Finding("locks", "lacks", "no byte locks here: two builds at once may run a task twice")
    finally:
        one.close()
        other.close()


def _reflink(folder: str) -> Finding:
    source, target = (os.path.join(folder, name) for name in ("source", "target"))
    with open(source, "wb") as file:
        file.write(bytes(8192))
    with open(source, "rb") as reader, open(target, "wb") as writer:
        if clone(reader.fileno(), writer.fileno()):
            return Finding("reflink", "ok", "outputs share their blocks with the store")
    where = "merkl clones on Linux only" if sys.platform != "linux" else "XFS and Btrfs have it"
    return Finding("reflink", "lacks", f"not here: outputs in place are copies ({where})")


def _links(folder: str) -> Finding:
    """How commands get to see what other tasks made."""
    source = os.path.join(folder, "linked")
    with open(source, "wb"):
        pass
    try:
        os.link(source, f"{source}.2")
    except OSError as error:
        return Finding("hard links", "lacks", f"{error.strerror}: what tasks read is copied for them")
    if os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0):
        text = "mounted noexec: a program that a task made cannot be run by another"
        return Finding("hard links", "lacks", text)
    return Finding("hard links", "ok", "what tasks read is linked, where it cannot be cloned")


# ---- below the project ---------------------------------------------------------------------------------------------


def _of_project(project: str) -> Iterator[Finding]:
    state = os.path.join(project, ".merkl")
    with _scratch(state if os.path.isdir(state) else project) as folder:
        if folder is None:
            yield Finding("workspace", "broken", f"{project} cannot be written: nothing can be placed")
            return
        yield _names(folder)
        yield _stamps(folder)
        yield _clock(folder)


def _names(folder: str) -> Finding:
    """Whether names that people tell apart are apart for the file system."""
    twins = {
        "upper and lower case": ("case", "CASE"),
        "composed and decomposed letters": ("\u00e9", "e\u0301"),
    }
    one = []
    for what, (name, twin) in twins.items():
        try:
            with open(os.path.join(folder, name), "wb"):
                pass
        except (OSError, UnicodeEncodeError):
            continue  # A file system of plain ASCII has no such twins.
        if os.path.lexists(os.path.join(folder, twin)):
            one.append(what)
    if one:
        return Finding(
            "names", "lacks", f"{' and '.join(one)} are one name here: of two such outputs one would be lost"
        )
    return Finding("names", "ok", "every name is a name of its own")


def _stamps(folder: str) -> Finding:
    """How finely files are stamped."""
    path = os.path.join(folder, "stamp")
    wanted = 1_234_567_891_999_999_999
    with open(path, "wb"):
        pass
    os.utime(path, ns=(wanted, wanted))
    lost = abs(wanted - os.stat(path).st_mtime_ns)
    if lost < _FINE_NS:
        return Finding("stamps", "ok", "nanoseconds" if not lost else f"to within {size_of_ns(lost + 1)}")
    text = f"to within {size_of_ns(lost + 1)}: a file that was just written is read again until it is older"
    return Finding("stamps", "lacks", text)


def size_of_ns(ns: int) -> str:
    """A length of time, roughly: the next unit up."""
    for unit, length in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if ns >= length:
            return f"{-(-ns // length)} {unit}"
    return f"{ns} ns"


def _clock(folder: str) -> Finding:
    """Whether the clock that stamps files, which may be a server's, is ours."""
    path = os.path.join(folder, "now")
    before = time.time()
    with open(path, "wb") as file:
        file.write(b"x")
    stamp = os.stat(path).st_mtime_ns / 1e9
    after = time.time()
    off = stamp - after if stamp > after else before - stamp if stamp < before else 0.0
    if off <= _CLOCK_OFF_S:
        return Finding("clock", "ok", "files are stamped by this machine's clock")
    side = "ahead of" if stamp > after else "behind"
    text = f"files are stamped {plural(round(off), 'second')} {side} this machine's clock: merkl goes by their stamps"
    return Finding("clock", "lacks", text)


def disk_size(directory: str) -> int:
    """Bytes in all files below a directory; 0 if it is not there."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total
