"""Whether loading a Merklfile came to nodes, and to nothing else, from what was recorded.

It decides after which Merklfiles no graph is kept: those that saw what a Future is, such as its key, or that changed the
process in a way that reaches the tasks it starts.  What such a Merklfile did is not done by a build that does not run it.

The invariant: who cannot be told is taken for the user.
"""

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any, Final

from merkl.nodes import Future
from merkl.python import outside
from merkl.snapshot import recorder
from merkl.snapshot.asker import OURS, by_user
from merkl.snapshot.recording import Recording

_KEY: Final = "looked at a key"
_SHOWN: Final = ("__eq__", "__hash__", "__repr__", "hash", "node")


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Run the Merklfile's code inside; what makes it more than a list of nodes is noted in the recording that goes on."""
    recording = recorder.active()
    if recording is None:
        yield
        return
    with recorder.unheard():
        before = _surroundings()
    said = len(recording.out)
    originals = {name: vars(Future)[name] for name in _SHOWN}
    start = Thread.start
    for name, wrapper in _wrappers(recording, originals).items():
        setattr(Future, name, wrapper)
    Thread.start = _telling(recording, start, "started a thread")  # type: ignore[method-assign]
    try:
        yield
    finally:
        Thread.start = start  # type: ignore[method-assign]
        for name, original in originals.items():
            setattr(Future, name, original)
    with recorder.unheard():
        after = _surroundings()
    for what, found in after.items():
        if found != before[what]:
            recording.keep_no_graph(f"the Merklfile changed its {what}")
    if outside.anything_set():
        recording.keep_no_graph("the Merklfile set a name in another module")
    if len(recording.out) != said:
        recording.keep_no_graph("the Merklfile printed something")


def _wrappers(recording: Recording, originals: dict[str, Any]) -> dict[str, Any]:
    """Attributes of Futures that tell when the user's code reaches for them."""
    member = originals["node"]
    take, frame = member.__get__, sys._getframe

    def node(future: Future[Any]) -> Any:
        # Merkl's own code comes here often.
        if not frame(1).f_code.co_filename.startswith(OURS) and by_user():
            recording.keep_no_graph("the Merklfile looked at a node")
        return take(future)

    def shown(future: Future[Any]) -> str:
        # Also in an error's text, which the Merklfile may catch.
        recording.keep_no_graph(f"the Merklfile {_KEY}")
        text: str = originals["__repr__"](future)
        return text

    return {
        "node": property(node, member.__set__),
        "hash": property(_telling(recording, originals["hash"].fget)),
        "__repr__": shown,
        "__eq__": _telling(recording, originals["__eq__"]),
        "__hash__": _telling(recording, originals["__hash__"]),
    }


def _telling(recording: Recording, original: Callable[..., Any], what: str = _KEY) -> Callable[..., Any]:
    @functools.wraps(original)
    def asked(*args: Any) -> Any:
        if by_user():
            recording.keep_no_graph(f"the Merklfile {what}")
        return original(*args)

    return asked


def _surroundings() -> dict[str, object]:
    """What processes that are started here have from this one."""
    umask = os.umask(0o077)
    os.umask(umask)
    affinity, scheduler = getattr(os, "sched_getaffinity", None), getattr(os, "sched_getscheduler", None)
    numbers = sorted(signal.valid_signals())
    return {
        "umask": umask,
        "limits": _limits(),
        "priority": (os.getpriority(os.PRIO_PROCESS, 0), scheduler and scheduler(0)),
        "processors": affinity and affinity(0),
        "directory": _directory(),
        "environment": dict(os.environb),
        "signals": (list(map(signal.getsignal, numbers)), signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "user or group": (os.getuid(), os.geteuid(), os.getgid(), os.getegid(), os.getgroups()),
        "session": (os.getsid(0), os.getpgid(0)),
    }


def _limits() -> list[tuple[int, int]]:
    import resource

    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return [resource.getrlimit(getattr(resource, name)) for name in names]


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # It was removed.
        return ""
