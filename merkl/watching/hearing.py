"""From news to changes: listen where something matters, wait until a change of it is whole, and say what changed.

It decides when a change is whole: nothing has come for the debounce (longer if many files changed), nothing that matters is being written, git is done.

The invariant: what was heard is kept until it has been compared with what the latest round depended on.
"""

import errno
import itertools
import os
import select
import time
from collections.abc import Collection, Sequence
from typing import Final

from merkl.errors import MerklfileError
from merkl.filesystem import being_written
from merkl.watching.compare import Comparison, News
from merkl.watching.matters import Matters
from merkl.watching.news import Heard, Source
from merkl.workspace.paths import absolute, normalise

LONGEST_S: Final = 30.0  # Writes that never pause are not waited for any longer.
PATIENCE_S: Final = 2.0  # A file that somebody holds open without writing is not waited for any longer.
_GLANCE_S: Final = 0.1  # Between two glances that must agree, where no news comes.
_MOST_ASKED: Final = 1000  # Files that are asked whether they are being written.
_GIT: Final = ".git"
_GIT_LOCK: Final = ".git/index.lock"


class Hearing:
    """News of one project, from ``source``.  ``debounce`` in seconds; ``reader`` is a descriptor that somebody reads."""

    def __init__(self, root: str, source: Source, debounce: float, reader: int = -1) -> None:
        self.source = source
        self._root = root
        self._debounce = debounce
        self._reader = reader
        self._comparison = Comparison(Matters(root))
        self._news = News()
        self._touched: set[str] = set()  # Files that matter, of which there is news.
        self._last = 0.0  # When (monotonic) something came that matters.

    @property
    def matters(self) -> Matters:
        """What is listened for."""
        return self._comparison.matters

    @property
    def lost(self) -> bool:
        """Whether some news was lost, so that everything is to be looked at."""
        return self._news.everything

    def listen_for(self, matters: Matters) -> None:
        """From now on this matters; what was heard before is still to be compared with it."""
        self._comparison = Comparison(matters)
        self._listen()

    def hear(self, others: Sequence[int] = (), timeout: float | None = None) -> bool:
        """Wait for news, for one of the descriptors ``others``, or for the time; whether there is news that matters.

        Raises:
            BrokenPipeError: nobody reads any more.
            MerklfileError: the project's directory is gone.
        """
        listener = select.poll()
        for fd in (*others, self.source.fileno()):
            if fd >= 0:
                listener.register(fd, select.POLLIN)
        if self._reader >= 0:
            listener.register(self._reader, 0)
        for fd, event in listener.poll(None if timeout is None else max(timeout, 0.0) * 1000):
            if fd == self._reader and event & (select.POLLERR | select.POLLHUP):
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return self._take(self.source.hear())

    def rest(self, seconds: float, known: Collection[str]) -> tuple[str, ...]:
        """Only hear for a while, or until something changes that is not ``known``; what else has changed."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.hear(timeout=left) and not set(known).issuperset(self.changes_so_far()):
                return self.whole_changes()
        return ()

    def changes(self) -> tuple[str, ...]:
        """What has changed, of all that was heard; it is heard no more."""
        while True:
            news, self._news, self._touched = self._news, News(), set()
            changed = self._comparison.changes(news) if self._comparison.concerns(news) else []
            if changed:
                return tuple(changed)
            self._listen()  # Directories may have come and gone; what is in new ones is news.
            if not self._comparison.concerns(self._news):
                return ()

    def whole_changes(self) -> tuple[str, ...]:
        """The same, once they are whole."""
        heard = self._news
        if not self.changes():
            return ()
        self._news.add(heard)
        self.settle()
        return self.changes()

    def changes_so_far(self) -> list[str]:
        """Some of what has changed, of all that was heard; it is still to be compared."""
        return self._comparison.changes(self._news) if self._comparison.concerns(self._news) else []

    def wait(self) -> bool:
        """Wait until there is news that may matter; whether some was lost."""
        while True:
            every = self.source.look_every
            if self._comparison.concerns(self._news) or self.hear(timeout=every):
                return self._news.everything
            if every is not None and self._comparison.touched():
                self._news.everything = True
                return False
            self._news = News()

    def settle(self) -> None:
        """Hear until the change is whole."""
        first = time.monotonic()
        looks = self.source.look_every is not None
        glance = self._comparison.glance() if looks else None
        if looks:
            self._last = first
        while (now := time.monotonic()) - first < LONGEST_S:
            if now < (until := self._last + self._pause()):
                self.hear(timeout=until - now)
            elif glance is not None and glance != (glance := self._comparison.glance()):
                self._last = now
            elif now - self._last < PATIENCE_S and self._is_busy():
                self.hear(timeout=self._last + PATIENCE_S - now)
            else:
                return

    def _pause(self) -> float:
        """For how many seconds nothing must come.

        Whoever writes thousands of files, such as git, pauses longer between two of them than an editor does.
        """
        times = 1 + max(len(self._touched) - 1, 0).bit_length()
        least = 0.0 if self.source.look_every is None else _GLANCE_S
        return max(self._debounce * times, least)

    def _is_busy(self) -> bool:
        if os.path.lexists(absolute(_GIT_LOCK, self._root)):
            return True
        files = self._comparison.awaited(self._news)
        return any(being_written(absolute(path, self._root)) for path in itertools.islice(files, _MOST_ASKED))

    def _listen(self) -> None:
        """Listen where news of what matters would show; what is in a place that is new has to be looked at."""
        directories = self.matters.directories()
        if os.path.isdir(git := absolute(_GIT, self._root)):
            directories.add(git)
        new = self.source.watch(directories)
        self._news.moved.update(normalise(directory, self._root, self._root) for directory in new)

    def _take(self, heard: Heard) -> bool:
        """Add what was heard to the news; whether any of it may matter.

        Raises:
            MerklfileError: the project's directory is gone.
        """
        if not os.path.isdir(self._root):
            raise MerklfileError(
                f"the project's directory {self._root} is gone", hint="go where it is now: merkl watch"
            )
        news = News(
            {normalise(path, self._root, self._root) for path in heard.paths},
            {normalise(path, self._root, self._root) for path in heard.listed},
            {normalise(path, self._root, self._root) for path in heard.moved},
            heard.missed,
        )
        for directory in heard.moved:
            self.source.again(directory)
        if heard.moved:
            self._listen()
        touched = self._comparison.files_in(news)
        self._touched |= touched
        matters = bool(touched) or self._comparison.concerns(news) or _GIT_LOCK in news.paths
        self._news.add(news)
        if matters:
            self._last = time.monotonic()
        return matters
