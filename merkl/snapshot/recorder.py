"""What this process looks at while it finds out that there is nothing to do.

It decides what counts as having been looked at, and after what no snapshot may be made.  Three recorders are on from the
start of a command until it ends: an audit hook (files opened, directories listed, processes, sockets, libraries,
databases), a mapping behind ``os.environ``, and wrappers of ``os.stat`` and its kin, which raise no audit event.

The clock, randomness, the user's id, the number of processors, and what an extension in C reads by itself are not seen.

The invariant: what cannot be recorded spoils the recording, so that there is no snapshot.
"""

import atexit
import contextlib
import os
import posix
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from merkl.snapshot.asker import HERE, by_user, is_imported
from merkl.snapshot.files import WRAPPED
from merkl.snapshot.names import Finder
from merkl.snapshot.recording import Recording, active, begin, end

__all__ = ["active", "drop", "for_source", "put_aside", "start", "stop", "unheard", "vouching"]

_hooked: Final[list[bool]] = []


def start(request: tuple[Any, ...]) -> Recording:
    """Record from now on what decides the answer to a request."""
    from merkl.snapshot.audit import hook

    stop()
    recording = Recording(request)
    begin(recording)
    _patch(recording)
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(hook)
    return recording


def drop() -> None:
    """Record no more, and forget what was: it would say nothing of the next time, and takes memory."""
    recording = active()
    stop()
    if recording is not None:
        recording.forget()


def put_aside() -> None:
    """Record no more, as something is going to run; what was looked at until now is for whoever waits for that, or forgotten."""
    recording = active()
    if recording is None or recording.when_put_aside is None:
        drop()
    else:
        stop()
        recording.when_put_aside()


def stop() -> None:
    """Record no more."""
    if end():
        while _undo:
            _undo.pop()()


class _ForSource:
    """Entered for each input that is named: as a generator it would take as long as the look itself."""

    def __enter__(self) -> None:
        if (recording := active()) is not None:
            recording.for_source = True

    def __exit__(self, *_: object) -> None:
        if (recording := active()) is not None:
            recording.for_source = False


_for_source: Final = _ForSource()


def for_source() -> contextlib.AbstractContextManager[None]:
    """The code inside looks at an input that was named, for its bytes."""
    return _for_source


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Run the code inside, which decides nothing of the answer."""
    recording = active()
    if recording is None:
        yield
        return
    recording.paused = True
    try:
        yield
    finally:
        recording.paused = False


@contextlib.contextmanager
def vouching(program: str) -> Iterator[None]:
    """Run the code inside, which starts ``program``, a path, to learn its version.

    A program's answer comes from its own bytes.  That of a script comes from anything.
    """
    recording = active()
    if recording is None:
        yield
        return
    try:
        with open(program, "rb") as file:
            script = file.read(2) == b"#!"
    except OSError:
        script = True
    if script:
        recording.spoil(f"{program} is a script, which was asked for its version")
    recording.paused = True
    try:
        yield
    finally:
        recording.paused = False


_undo: Final[list[Callable[[], None]]] = []


def _patch(recording: Recording) -> None:
    from merkl.snapshot.surroundings import Stdin, Variables, heard_err, heard_out, hearing

    _reach_takers()
    for name, (wrapper, original) in WRAPPED.items():
        # For good: who has taken hold of one could not pickle it if it were no longer found by its name.
        for module in (os, posix):
            setattr(module, name, wrapper)
        for able in (
            os.supports_dir_fd,
            os.supports_fd,
            os.supports_follow_symlinks,
            os.supports_effective_ids,
        ):
            if original in able:
                able.add(wrapper)
    _replace(posix, "environ", Variables(recording, posix.environ))
    view: Any = os.environ
    both: Any = os.environb
    view._data = both._data = Variables(recording, view._data)

    def plain() -> None:
        view._data = both._data = dict.copy(view._data)

    _undo.append(plain)
    for stream, heard in ((sys.stdout, heard_out), (sys.stderr, heard_err)):
        if stream is not None:
            _replace(stream, "write", hearing(recording, stream.write, heard))
    finder = Finder(recording)
    _replace(finder.kind, "find_spec", finder.find_spec)
    _replace(atexit, "register", _registering(recording))
    if sys.stdin is not None:
        _replace(sys, "stdin", Stdin(recording, sys.stdin))


def _registering(recording: Recording) -> Callable[..., Any]:
    """``atexit.register``; what the user's code does at the end is not done by an answer."""
    original = atexit.register

    def register(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if not is_imported() and by_user():
            recording.spoil("code of the Merklfile is to run at the end")
        return original(function, *args, **kwargs)

    return register


def _reach_takers() -> None:
    """Also for modules that took one by ``from os import stat`` before, such as those that Python imports as it starts."""
    wrappers = {id(original): wrapper for wrapper, original in WRAPPED.values()}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or file.startswith(HERE):
            continue
        for name, value in list(vars(module).items()):
            if id(value) in wrappers:
                setattr(module, name, wrappers[id(value)])


def _replace(holder: Any, name: str, value: Any) -> None:
    """Set an attribute until the recording ends, unless somebody else has set it by then."""
    before, own_before = getattr(holder, name), name in vars(holder)
    setattr(holder, name, value)

    def restore() -> None:
        if vars(holder).get(name) is value:
            if own_before:
                setattr(holder, name, before)
            else:
                delattr(holder, name)

    _undo.append(restore)
