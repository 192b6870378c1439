"""What ``strace -f -y`` wrote, read back as accesses.

It decides what a system call does to which file.  It knows no project and touches nothing but the trace.

The invariant: an access is told only of a call that did it; one that failed because nothing was there is ``sought``.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from merkl.dataclass import dataclass, field
from merkl.tracing.accesses import Access, Deed

_LINE: Final = re.compile(rb"(\d+) +(.*)", re.DOTALL)
_CALL: Final = re.compile(
    rb'(\w+)\(((?:[^"<)]++|<[^>]*+>|"(?:[^"\\]++|\\.)*+"|\)(?!\s+= )|<)*+)'
    rb"\)\s+= (-?\d+|\?)(?:<([^>]*)>(?:\(deleted\))?)?(?: (E[A-Z0-9]+))?",
    re.DOTALL,
)
_RESUMED: Final = re.compile(rb"<\.\.\. \w+ resumed>(.*)", re.DOTALL)
_UNFINISHED: Final = b" <unfinished ...>"
# A name, after the directory that it starts from if that is one of the arguments.
_NAME: Final = re.compile(
    rb'(?:(?:AT_FDCWD|-?\d+)(?:<([^>]*)>(?:\(deleted\))?)?, )?"((?:[^"\\]|\\.)*)"', re.DOTALL
)
_DESCRIPTOR: Final = re.compile(rb"\d+<([^>]*)>")
_ESCAPE: Final = re.compile(rb"\\([0-7]{1,3}|x[0-9a-f]{2}|.)", re.DOTALL)
_LETTERS: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f"}
_WRITES: Final = (b"O_WRONLY", b"O_RDWR", b"O_CREAT", b"O_TRUNC")
_ABSENT: Final = (b"ENOENT", b"ENOTDIR")
_STARTS: Final = re.compile(rb"clone|fork")
_CHILDREN: Final = (b"clone", b"clone3", b"fork", b"vfork")


@dataclass(frozen=True, slots=True)
class _Done:
    """A system call that has returned: ``value`` as text, ``opened`` the path behind a descriptor, ``error`` its name."""

    pid: int
    call: bytes
    arguments: bytes
    value: bytes
    opened: bytes
    error: bytes


@dataclass(slots=True)
class _Process:
    """What is to be known of a process; threads share one ``_Process``."""

    cwd: bytes
    is_python: bool = False


@dataclass(slots=True)
class _Reader:
    cwd: bytes
    is_python: bool
    parents: Mapping[int, tuple[int, bool]]
    processes: dict[int, _Process] = field(default_factory=dict)

    def process(self, pid: int) -> _Process:
        """A process; one that was not met before is as its parent is now."""
        line = [pid]
        while line[-1] not in self.processes and line[-1] in self.parents:
            line.append(self.parents[line[-1]][0])
        known = self.processes.setdefault(line.pop(), _Process(self.cwd, self.is_python))
        while line:
            child = line.pop()
            is_thread = self.parents[child][1]
            known = self.processes[child] = known if is_thread else _Process(known.cwd, known.is_python)
        return known

    def access(self, done: _Done) -> Iterator[Access]:
        process = self.process(done.pid)
        if done.call in (b"chdir", b"fchdir"):
            if done.value == b"0":
                process.cwd = next(iter(_paths(done, process.cwd)), process.cwd)
            return
        if done.call in (b"execve", b"execveat") and done.value == b"0":
            name = next(iter(_paths(done, process.cwd)), b"")
            process.is_python = os.path.basename(name).startswith((b"python", b"pypy"))
        for deed, path in _deeds(done, process.cwd):
            yield Access(deed, path, by_python=process.is_python)


def accesses(path: bytes, cwd: bytes, *, is_python: bool = False) -> Iterator[Access]:
    """The accesses that the trace at ``path`` tells of, in order.  The first process began in ``cwd``.

    A trace that ends in the middle of a line, because strace was killed, is read as far as it goes.
    """
    reader = _Reader(cwd, is_python, dict(_parents(path)))
    for done in _calls(path):
        yield from reader.access(done)


def _parents(path: bytes) -> Iterator[tuple[int, tuple[int, bool]]]:
    """Of each process that was started, and each thread: who started it, and whether it shares its directory."""
    for done in _calls(path, only=_STARTS):
        if done.call in _CHILDREN and done.value.isdigit():
            yield int(done.value), (done.pid, b"CLONE_FS" in done.arguments)


def _calls(path: bytes, only: re.Pattern[bytes] | None = None) -> Iterator[_Done]:
    """The calls in the order in which they returned: all, or those in whose lines ``only`` is found."""
    begun: dict[int, bytes] = {}
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        return  # It was not even started.
    with file:
        for raw in file:
            if only is not None and not only.search(raw):
                continue
            line = _LINE.match(raw.rstrip(b"\n"))
            if line is None:
                continue
            pid, text = int(line[1]), line[2]
            if text.endswith(_UNFINISHED):
                begun[pid] = text.removesuffix(_UNFINISHED)
                continue
            resumed = _RESUMED.match(text)
            if resumed is not None:
                text = begun.pop(pid, b"") + resumed[1]
            call = _CALL.match(text)
            if call is not None:
                yield _Done(pid, call[1], call[2], call[3], _plain(call[4] or b""), call[5] or b"")


def _plain(text: bytes) -> bytes:
    """A name as it is, from one in which special characters are escaped."""
    if b"\\" not in text:
        return text
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(match: re.Match[bytes]) -> bytes:
    what = match[1]
    if what[:1].isdigit():
        return bytes([int(what, 8) & 255])
    if what.startswith(b"x"):
        return bytes([int(what[1:], 16)])
    return _LETTERS.get(what, what)


def _paths(done: _Done, cwd: bytes) -> Sequence[bytes]:
    """The absolute paths that a call names, in order."""
    if done.call in (b"fchdir", b"getdents", b"getdents64"):
        known = _DESCRIPTOR.match(done.arguments)
        return [_plain(known[1])] if known is not None else []
    found = []
    for match in _NAME.finditer(done.arguments):
        name = _plain(match[2])
        if name:  # An empty name means the descriptor itself, which was opened before.
            found.append(_joined(_plain(match[1] or b"") or cwd, name))
    return found


def _joined(folder: bytes, name: bytes) -> bytes:
    """The absolute path of a name, without dots, and with single slashes also at its beginning."""
    path = name if name.startswith(b"/") else folder + b"/" + name
    if b"/." not in path and b"//" not in path:
        return path.rstrip(b"/") or b"/"
    path = os.path.normpath(path)
    return path[1:] if path.startswith(b"//") else path


# ---- what each call does ---------------------------------------------------------------------------------------------


def _deeds(done: _Done, cwd: bytes) -> Iterator[tuple[Deed, bytes]]:
    if done.call == b"connect":
        if address := _address(done.arguments):
            yield "connected", address
        return
    rule = _RULES.get(done.call)
    paths = _paths(done, cwd) if rule is not None else ()
    if rule is None or not paths:
        return
    if done.error:
        if done.error in _ABSENT and rule is not _changed:
            yield "sought", paths[0]
        return
    yield from rule(done, paths)


def _opened(done: _Done, paths: Sequence[bytes]) -> Iterator[tuple[Deed, bytes]]:
    path, flags = done.opened or paths[0], done.arguments.rpartition(b'"')[2]
    if done.call != b"creat" and not any(flag in flags for flag in _WRITES):
        if b"O_DIRECTORY" not in flags and b"O_PATH" not in flags:
            yield "read", path
        return
    if b"O_RDWR" in flags and b"O_TRUNC" not in flags and b"O_CREAT" not in flags:
        yield "read", path
    yield "wrote", path


def _changed(done: _Done, paths: Sequence[bytes]) -> Iterator[tuple[Deed, bytes]]:
    match done.call:
        case b"rename" | b"renameat" | b"renameat2":
            yield "removed", paths[0]
            yield "wrote", paths[-1]
        case b"link" | b"linkat":
            yield "read", paths[0]
            yield "wrote", paths[-1]
        case b"symlink" | b"symlinkat" | b"mknod" | b"mknodat" | b"truncate":
            yield "wrote", paths[-1]
        case b"mkdir" | b"mkdirat":
            yield "made", paths[0]
        case _:
            yield "removed", paths[0]


def _ran(_: _Done, paths: Sequence[bytes]) -> Iterator[tuple[Deed, bytes]]:
    yield "ran", paths[0]


def _listed(_: _Done, paths: Sequence[bytes]) -> Iterator[tuple[Deed, bytes]]:
    yield "listed", paths[0]


def _examined(_: _Done, paths: Sequence[bytes]) -> Iterator[tuple[Deed, bytes]]:
    yield "examined", paths[0]


_Rule = Callable[[_Done, Sequence[bytes]], Iterator[tuple[Deed, bytes]]]
_RULES: Final[Mapping[bytes, _Rule]] = {
    **dict.fromkeys((b"open", b"openat", b"openat2", b"creat"), _opened),
    **dict.fromkeys(
        (b"rename", b"renameat", b"renameat2", b"link", b"linkat", b"symlink", b"symlinkat", b"mknod", b"mknodat",
         b"truncate", b"mkdir", b"mkdirat", b"unlink", b"unlinkat", b"rmdir"), _changed,
    ),
    **dict.fromkeys((b"execve", b"execveat"), _ran),
    **dict.fromkeys((b"getdents", b"getdents64"), _listed),
    **dict.fromkeys(
        (b"stat", b"lstat", b"newfstatat", b"fstatat64", b"statx", b"access", b"faccessat", b"faccessat2", b"readlink",
         b"readlinkat"), _examined,
    ),
}  # fmt: skip


def _address(arguments: bytes) -> bytes:
    """``host:port`` of a connection over a network; empty of one that stays on this machine."""
    host = re.search(rb'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', arguments)
    port = re.search(rb"sin6?_port=htons\((\d+)\)", arguments)
    if host is None or port is None:
        return b""
    return (host[1] or b"[" + host[2] + b"]") + b":" + port[1]
