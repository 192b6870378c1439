"""Paths as values: what a task returns, and what an evaluated output is.

It decides nothing about contents and touches no disk.  The invariant: a reference is a ``str`` that holds a path, so
whatever takes a path takes it.
"""

import os

from merkl.errors import UsageError
from merkl.nodes import PathLike


class _PathRef(str):
    """A path that says what is, or will be, at its end.  Bytes that are no UTF-8 travel as surrogates."""

    __slots__ = ()

    def __new__(cls, path: PathLike) -> "_PathRef":
        text = os.fsdecode(path)
        if not text or "\0" in text:
            raise UsageError(f"{text!r} is no path", hint="a path is not empty and holds no NUL byte")
        return super().__new__(cls, text)

    @property
    def path(self) -> str:
        """The path as a plain string."""
        return str.__str__(self)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return os.path.basename(str.rstrip(self, "/"))

    @property
    def stem(self) -> str:
        """The last part of the path without its extension."""
        return os.path.splitext(self.name)[0]

    @property
    def parent(self) -> str:
        """The path of the directory that it is in."""
        return os.path.dirname(str.rstrip(self, "/")) or "."

    @property
    def ext(self) -> str:
        """The extension with its dot, as ``os.path.splitext`` sees it; empty if there is none."""
        return os.path.splitext(self)[1]

    suffix = ext  # As pathlib calls it.

    def __fspath__(self) -> str:
        return str.__str__(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str.__repr__(self)})"


class FileRef(_PathRef):
    """The path of a file."""

    __slots__ = ()

    def __new__(cls, path: PathLike) -> "FileRef":
        return super().__new__(cls, path)  # type: ignore[return-value]


class DirRef(_PathRef):
    """The path of a directory."""

    __slots__ = ()

    def __new__(cls, path: PathLike) -> "DirRef":
        return super().__new__(cls, path)  # type: ignore[return-value]
