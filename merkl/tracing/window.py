"""What a Python call touches: from when its function is entered until it is left.

It decides which line of the user's code an access belongs to, and leaves out what Python does by itself to import, and
what merkl does.  What the audit hook does not see (C extensions, child processes) ``strace`` does, where there is one.

The invariant: before and after nothing is noted, and the function sees what it would see if nobody looked.
"""

import contextlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any, Final, ParamSpec, TypeVar

from merkl.dataclass import dataclass
from merkl.tracing.accesses import Access, Deed
from merkl.tracing.strace import Strace

NOTED: Final = "noted"
TRACE: Final = "trace"
_MERKL: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_FOREIGN: Final = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Watch:
    """That a call is to be watched, and with what besides the audit hook."""

    strace: Strace | None


@dataclass(frozen=True, slots=True)
class Noted:
    """What was seen.  ``modules`` are the files of what was imported in the end; ``traced`` if strace looked on."""

    accesses: tuple[Access, ...]
    modules: frozenset[bytes]
    traced: bool


def watched(
    watch: Watch,
    root: str,
    run: str,
    function: Callable[Parameters, Result],
    *arguments: Parameters.args,
    **named: Parameters.kwargs,
) -> Result:
    """Call ``function``, and write what this process did to files meanwhile into the directory ``run``.

    ``function`` is merkl's own, and the user's code is what it calls.
    """
    process = os.getpid()
    with contextlib.ExitStack() as stack:
        traced = False
        if watch.strace is not None:
            trace = os.path.join(os.path.abspath(run), TRACE)
            traced = stack.enter_context(watch.strace.watching_us(os.fsencode(trace)))
        notes = stack.enter_context(_taking_notes(root, function))
        try:
            return function(*arguments, **named)
        finally:
            notes.closed = True
            if os.getpid() == process:  # Not a child that was forked in there.
                noted = Noted(tuple(notes.taken), _module_files(root), traced)
                with open(os.path.join(run, NOTED), "wb") as file:
                    pickle.dump(noted, file)


def read_noted(run: bytes) -> Noted | None:
    """What ``watched`` left in the directory ``run``; None if the process died before, or was never there."""
    try:
        with open(os.path.join(run, os.fsencode(NOTED)), "rb") as file:
            noted: Noted = pickle.load(file)
    except (FileNotFoundError, EOFError, pickle.UnpicklingError):
        return None
    return noted


def _module_files(root: str) -> frozenset[bytes]:
    found = set()
    for module in tuple(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.startswith(root.rstrip(os.sep) + os.sep):
            found.add(os.fsencode(os.path.realpath(file)))
    return frozenset(found)


# ---- the audit hook --------------------------------------------------------------------------------------------------


class _Notes:
    """What the hook has seen.  The user's own code lies in ``root``, and ``entrance`` is the function that calls it."""

    def __init__(self, root: str, entrance: CodeType | None) -> None:
        self.roots = tuple({path.rstrip(os.sep) + os.sep for path in (root, os.path.realpath(root))})
        self.entrance = entrance
        self.taken: dict[Access, None] = {}
        self.closed = False
        self.busy = False

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        reader = _EVENTS.get(event)
        if reader is None or self.closed or self.busy:
            return
        self.busy = True  # To look at a path may raise events.
        try:
            line = self.users_line(sys._getframe(2))
            if line is not None:
                for deed, path in reader(arguments):
                    self.taken[Access(deed, path, line)] = None
        except (OSError, ValueError, TypeError):
            pass  # The call that is about to be made will say what is wrong with its arguments.
        finally:
            self.busy = False

    def variable(self, name: str) -> None:
        """A variable of the environment was looked up."""
        if self.closed or self.busy or name == "TMPDIR":
            return
        line = self.users_line(sys._getframe(2), directly=True)
        if line:
            self.taken[Access("variable", os.fsencode(name), line)] = None

    def users_line(self, frame: FrameType | None, *, directly: bool = False) -> str | None:
        """The line of the user's code that an access comes from; empty if it cannot be told.

        None if it is not the user's: the import system reads modules, a traceback their texts, and merkl what is its own.
        With ``directly`` only the standard library's wrappers may stand between.
        """
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith("<frozen importlib") or file.endswith(os.sep + "linecache.py"):
                return None
            if frame.f_code is self.entrance:
                return ""
            if file.startswith(_MERKL):
                return None
            for root in self.roots:
                if file.startswith(root) and not any(part in file for part in _FOREIGN):
                    return f"{file.removeprefix(root)}:{frame.f_lineno}"
            if directly and not file.startswith("<frozen "):
                return None
            frame = frame.f_back
        return ""


_current: _Notes | None = None
_installed = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    notes = _current
    if notes is not None:
        notes.hear(event, arguments)


@contextlib.contextmanager
def _taking_notes(root: str, entrance: Callable[..., object]) -> Iterator[_Notes]:
    global _current, _installed
    if not _installed:
        sys.addaudithook(_hook)  # It cannot be taken away again.
        _installed = True
    notes = _Notes(root, getattr(entrance, "__code__", None))
    with _seen_environment(notes):
        _current = notes
        try:
            yield notes
        finally:
            _current = None


def _absolute(path: Any, directory: Any = -1) -> bytes:
    """A path as the system will understand it.

    Raises:
        TypeError: it is a descriptor, which was noted when it was opened.
    """
    if isinstance(path, int):
        raise TypeError("a descriptor")
    name = os.fsencode(os.curdir if path is None else path)
    start = os.getcwdb()
    if isinstance(directory, int) and directory >= 0:
        start = os.readlink(b"/proc/self/fd/%d" % directory)
    return os.path.normpath(os.path.join(start, name))


_Deeds = Iterator[tuple[Deed, bytes]]


def _open(arguments: tuple[Any, ...]) -> _Deeds:
    path, _, flags = arguments
    name = _absolute(path)
    if isinstance(flags, int) and flags & _WRITES:
        yield "wrote", name
    elif not os.path.isdir(name):
        yield ("read" if os.path.lexists(name) else "sought"), name


def _connect(arguments: tuple[Any, ...]) -> _Deeds:
    if arguments[0] not in (":memory:", b":memory:", ""):
        yield "read", _absolute(str(arguments[0]).removeprefix("file:").partition("?")[0])


def _listing(arguments: tuple[Any, ...]) -> _Deeds:
    yield "listed", _absolute(arguments[0])


def _removal(arguments: tuple[Any, ...]) -> _Deeds:
    path, *directory = arguments
    if os.path.lexists(name := _absolute(path, *directory[:1])):
        yield "removed", name


def _making(arguments: tuple[Any, ...]) -> _Deeds:
    path, _, *directory = arguments
    if not os.path.lexists(name := _absolute(path, *directory[:1])):
        yield "made", name


def _rename(arguments: tuple[Any, ...]) -> _Deeds:
    old, new, *directories = arguments
    yield "removed", _absolute(old, *directories[:1])
    yield "wrote", _absolute(new, *directories[1:2])


def _link(arguments: tuple[Any, ...]) -> _Deeds:
    old, new, *directories = arguments
    yield "read", _absolute(old, *directories[:1])
    yield "wrote", _absolute(new, *directories[1:2])


def _symlink(arguments: tuple[Any, ...]) -> _Deeds:
    _, new, *directory = arguments
    yield "wrote", _absolute(new, *directory[:1])


def _truncation(arguments: tuple[Any, ...]) -> _Deeds:
    yield "wrote", _absolute(arguments[0])


# Python's table of audit events says what each is called with.
_EVENTS: Final[Mapping[str, Callable[[tuple[Any, ...]], _Deeds]]] = {
    "open": _open,
    "sqlite3.connect": _connect,
    "os.listdir": _listing,
    "os.scandir": _listing,
    "os.remove": _removal,
    "os.rmdir": _removal,
    "os.mkdir": _making,
    "os.rename": _rename,
    "os.link": _link,
    "os.symlink": _symlink,
    "os.truncate": _truncation,
}


# ---- the environment -------------------------------------------------------------------------------------------------


class _Variables(dict[Any, Any]):
    """The data behind ``os.environ``, saying which variables are looked up by name; a copy of all of them is none."""

    def __init__(self, values: Mapping[Any, Any], notes: _Notes) -> None:
        super().__init__(values)
        self.notes = notes
        self.copied: set[Any] = set()
        self.own: set[Any] = set()  # What the code set itself.

    def __setitem__(self, name: Any, value: Any) -> None:
        self.own.add(name)
        super().__setitem__(name, value)

    def __getitem__(self, name: Any) -> Any:
        if name in self.copied:
            self.copied.discard(name)
        elif name not in self.own:
            self.notes.variable(os.fsdecode(name))
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[Any]:
        self.copied = set(self.keys())
        return super().__iter__()


@contextlib.contextmanager
def _seen_environment(notes: _Notes) -> Iterator[None]:
    """Note which variables the user's code looks up.  What it sets stays set, as without this."""
    environ: Any = os.environ
    data: dict[Any, Any] = vars(environ).get("_data", {})
    if type(data) is not dict or getattr(os.environb, "_data", None) is not data:
        yield  # Somebody has put something else there.
        return
    environb: Any = os.environb
    environ._data = environb._data = _Variables(data, notes)
    try:
        yield
    finally:
        left = dict(dict.items(environ._data))
        environ._data = environb._data = data
        if left != data:
            data.clear()
            data.update(left)
