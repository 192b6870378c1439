"""The directories that attempts run in: one for what they make, and one for their log and their temporary files.

It decides when those of an attempt that has ended serve another.

The invariant: an attempt gets directories that are empty, under names never used before; but for brief calls, which may get
those of their worker: these are empty too (``merkl.execute.scratch``).
"""

import os

from merkl.store.removal import remove_tree


class Directories:
    """Those of one build, by its name; ``below`` is the project's root with a slash, and paths are relative to it."""

    def __init__(self, below: bytes, build: str) -> None:
        self._below = below
        self._build = build
        self._count = 0
        self._spare: list[tuple[bytes, bytes]] = []  # Of attempts that left nothing.

    def take(self) -> tuple[bytes, bytes]:
        """A pair of empty directories: for what is made, and for the rest.

        Those of an attempt that left nothing are renamed: a directory or a file costs more to make than all else here.
        """
        stage, run = self.name()
        if self._spare:
            for old, new in zip(self._spare.pop(), (stage, run), strict=True):
                os.rename(self._below + old, self._below + new)
        else:
            os.mkdir(self._below + stage)
            os.mkdir(self._below + run)
            os.mkdir(self._below + run + b"/tmp")
        return stage, run

    def name(self) -> tuple[bytes, bytes]:
        """The names of a pair that somebody else makes, if it turns out to be needed."""
        self._count += 1
        name = f"{self._build}-{self._count:06d}".encode()
        return b".merkl/stage/" + name, b".merkl/run/" + name

    def give_back(self, stage: bytes, run: bytes, *, silent: bool = False, empty: bool = False) -> None:
        """Empty the directories of an attempt that has ended; where that is not simple, remove them.

        ``silent``: its log is empty, and nothing else was put beside its temporary files.  ``empty``: there are none of
        these, and nothing is in ``stage``.
        """
        try:
            for name in () if empty else self._left(stage):
                os.unlink(self._below + stage + b"/" + name)
            for name in () if silent else self._left(run):
                path = self._below + run + b"/" + name
                if name == b"log" and os.stat(path).st_size == 0:
                    continue  # It is written over by the next.
                if name != b"tmp":
                    os.unlink(path)
            if not empty and self._left(run + b"/tmp"):
                raise OSError
            self._spare.append((stage, run))
        except OSError:
            self.remove(stage, run)

    def remove(self, stage: bytes, run: bytes) -> None:
        """Remove the directories of an attempt that has ended, with what is in them."""
        for folder in (run, stage):
            remove_tree(os.fsdecode(self._below + folder))

    def _left(self, folder: bytes) -> list[bytes]:
        return os.listdir(self._below + folder)

    def close(self) -> None:
        """Remove the spare ones."""
        for stage, run in self._spare:
            try:
                os.rmdir(self._below + stage)
                for name in self._left(run):
                    (os.rmdir if name == b"tmp" else os.unlink)(self._below + run + b"/" + name)
                os.rmdir(self._below + run)
            except OSError:  # Something outlived its task.
                self.remove(stage, run)
        self._spare.clear()
