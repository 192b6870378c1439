"""News from systems other than Linux, by the package watchdog.

It decides which of its events may matter.  On macOS they come late, in no certain order, and none says that some were
dropped: so everything is looked at now and then besides.

The invariant: what an event says happened is not relied on, only that something did at its path.
"""

import os
import threading
from collections.abc import Set
from typing import Any, Final

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from merkl.events import Note
from merkl.watching.matters import is_ours
from merkl.watching.news import Heard

_LOOK_S: Final = 10.0
_READS: Final = frozenset({"opened", "closed_no_write"})


class Watchdog(FileSystemEventHandler):
    """A ``Source``: one observer of the topmost directories, with all that is in them."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._lock = threading.Lock()
        self._heard = Heard()
        self._watched: set[str] = set()
        self._handles: dict[str, Any] = {}
        self._observer = Observer()
        self._observer.start()

    def fileno(self) -> int:
        """See ``Source``."""
        return self._reader

    @property
    def look_every(self) -> float | None:
        """See ``Source``."""
        return _LOOK_S

    def watch(self, directories: Set[str]) -> set[str]:
        """See ``Source``."""
        new = set(directories - self._watched)
        self._watched = set(directories)
        there = {each for each in directories if os.path.isdir(each)}
        tops = {each for each in there if not _is_inside(each, there)}
        for gone in self._handles.keys() - tops:
            self._observer.unschedule(self._handles.pop(gone))
        for top in tops - self._handles.keys():
            self._handles[top] = self._observer.schedule(self, top, recursive=True)
        return new

    def again(self, directory: str) -> None:
        """See ``Source``."""
        inside = directory.rstrip("/") + "/"
        again = {each for each in self._watched if each == directory or each.startswith(inside)}
        self._watched -= again
        for each in again & self._handles.keys():
            self._observer.unschedule(self._handles.pop(each))

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Take an event, in a thread of the observer."""
        if event.event_type in _READS:
            return
        with self._lock:
            for raw in (event.src_path, event.dest_path):
                path = os.fsdecode(raw)
                if not path or any(is_ours(part) for part in path.split("/")):
                    continue
                self._heard.paths.add(path)
                if event.event_type != "modified":
                    self._heard.listed.add(os.path.dirname(path))
                    if path in self._watched:
                        self._heard.moved.add(path)
            if self._heard.paths:
                self._ring()

    def _ring(self) -> None:
        try:
            os.write(self._writer, b".")
        except BlockingIOError:
            pass  # It rings already.

    def hear(self) -> Heard:
        """See ``Source``."""
        try:
            os.read(self._reader, 1 << 16)
        except BlockingIOError:
            return Heard()
        with self._lock:
            heard, self._heard = self._heard, Heard()
        return heard

    def close(self) -> None:
        """See ``Source``."""
        if self._reader < 0:
            return
        self._observer.stop()
        self._observer.join()
        for fd in (self._reader, self._writer):
            os.close(fd)
        self._reader = self._writer = -1


def _is_inside(directory: str, others: Set[str]) -> bool:
    while (above := os.path.dirname(directory)) != directory:
        if above in others:
            return True
        directory = above
    return False
