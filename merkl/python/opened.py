"""Files that a task writes as its outputs, and readers of results.

It decides what becomes of a file that a task opened by ``merkl_open``: taken if the task returned it, removed if not.

The invariant: a file's digest is that of the bytes in the order in which they were written, so nothing is read again; what
was left by an exception is no output.
"""

import io
import os
from collections.abc import Iterable
from contextvars import ContextVar
from types import TracebackType
from typing import IO, Any, AnyStr, BinaryIO, Final, Generic, Literal, TypeAlias, cast, overload

from blake3 import blake3

from merkl.dataclass import dataclass, field
from merkl.digest import Digest
from merkl.errors import OutputTypeError, TaskError, TaskFailed
from merkl.execute.workplace import Staged
from merkl.lending import lent
from merkl.nodes import calling_place

_BUFFER: Final = 1 << 20  # Bytes.
TextMode: TypeAlias = Literal["w", "wt", "x", "xt"]
BinaryMode: TypeAlias = Literal["wb", "xb"]


@dataclass(slots=True)
class OpenedFiles:
    """The files that one running task has opened; ``stage`` is where they lie, relative to ``root``."""

    task: str
    root: bytes
    stage: bytes
    files: "list[FileObjectWriteFuture[Any]]" = field(default_factory=list)

    def close(self) -> None:
        """Close all, and remove those that no output was made of."""
        for file in self.files:
            file.give_up()


opened_files: Final[ContextVar[OpenedFiles | None]] = ContextVar("merkl_opened_files", default=None)


class _Hashing(io.RawIOBase):
    """A file that can only be written to, at its end; each byte is hashed as it is written."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "xb", buffering=0)
        self.hasher = blake3()
        self.size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Any, /) -> int:
        written = self._file.write(data) or 0
        self.hasher.update(memoryview(data)[:written])
        self.size += written
        return written

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class FileObjectWriteFuture(Generic[AnyStr]):
    """A file that becomes an output when the task returns it; made by ``merkl_open``.

    It is written from its start to its end: it cannot seek or be read.
    """

    def __init__(self, path: bytes, ext: str, mode: str, **text: Any) -> None:
        self.path: Final = path
        self.ext: Final = ext
        self.mode: Final = mode
        self._raw = _Hashing(os.fsdecode(path))
        buffered = io.BufferedWriter(self._raw, _BUFFER)
        self._file: Any = buffered if "b" in mode else io.TextIOWrapper(buffered, **text)
        self._failed = False
        self._outputs = 0

    def write(self, data: AnyStr, /) -> int:
        """Write some more."""
        try:
            written: int = self._file.write(data)
        except TypeError:
            wants, other = ("bytes", "w") if "b" in self.mode else ("text", "wb")
            raise OutputTypeError(
                f"merkl_open({self.mode!r}) takes {wants}, and got {type(data).__name__}",
                hint=f"mode={other!r} takes {'text' if other == 'w' else 'bytes'}",
                at=calling_place(),
            ) from None
        return written

    def writelines(self, lines: Iterable[AnyStr], /) -> None:
        """Write each of some."""
        self._file.writelines(lines)

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._file.flush()

    def tell(self) -> int:
        """How many bytes were written."""
        self._file.flush()
        return self._raw.size

    def close(self) -> None:
        """End the file; nothing can be written any more."""
        self._file.close()

    @property
    def closed(self) -> bool:
        """Whether it was ended."""
        return bool(self._file.closed)

    def writable(self) -> bool:
        """True."""
        return True

    def readable(self) -> bool:
        """False."""
        return False

    def seekable(self) -> bool:
        """False: what was written has been hashed."""
        return False

    def __enter__(self) -> "FileObjectWriteFuture[AnyStr]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._failed = self._failed or kind is not None
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError(
            "a file that is being written cannot be part of another value: return it as an output"
        )

    def staged(self, task: str, output: str) -> Staged:
        """What it is as an output of the task that wrote it.

        Raises:
            TaskFailed: an exception ended it, or somebody else wrote to it.
        """
        self.close()
        called = f"output {output!r}" if output else "result"
        if self._failed:
            raise TaskFailed(
                f"{task}: its {called} is a file that an exception ended before all was written",
                hint="return it only if its with block ended well",
            )
        if os.stat(self.path).st_size != self._raw.size:
            raise TaskFailed(f"{task}: its {called} is a file that was changed after it was written")
        path = self.path
        if self._outputs:  # Each is moved into the store.
            path += b"-%d" % self._outputs
            os.link(self.path, path)
        self._outputs += 1
        digest = Digest(self._raw.hasher.digest())
        name = f"{output or 'result'}{self.ext}".replace("/", "_")
        return Staged(output, "file", name, path=path, digest=digest, size=self._raw.size)

    def give_up(self) -> None:
        """Close it, and remove it unless it became an output."""
        try:
            self.close()
        except OSError:
            pass  # The disk is full: what is lost belongs to no output.
        if not self._outputs:
            try:
                os.unlink(self.path)
            except OSError:
                pass


@overload
def merkl_open(
    mode: TextMode = ..., *, ext: str = ..., encoding: str = ..., errors: str = ..., newline: str | None = ...
) -> FileObjectWriteFuture[str]: ...
@overload
def merkl_open(mode: BinaryMode, *, ext: str = ...) -> FileObjectWriteFuture[bytes]: ...


def merkl_open(
    mode: str = "w",
    *,
    ext: str = "",
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> FileObjectWriteFuture[Any]:
    """Open a new file in a task, which becomes an output if the task returns it, and is removed if not.

    Text is UTF-8 with line ends as they are unless ``encoding`` and ``newline`` say otherwise.

    Raises:
        TaskError: there is no such mode or extension, or no task is running.
    """
    if mode not in ("w", "wt", "x", "xt", "wb", "xb"):
        raise TaskError(
            f"merkl_open writes a new file, and {mode!r} is no mode for that",
            hint='mode="wb" for bytes, "w" for text; future.open("rb") reads',
            at=calling_place(),
        )
    if ext and (not isinstance(ext, str) or not ext.startswith(".") or "/" in ext or "\0" in ext):
        raise TaskError(
            f"ext is an extension with its dot, and {ext!r} is none", hint='ext=".bin"', at=calling_place()
        )
    text = {"encoding": encoding, "errors": errors, "newline": newline}
    if "b" in mode:
        if given := [name for name, value in text.items() if value is not None]:
            raise TaskError(f"a file of bytes has no {given[0]}", at=calling_place())
        text = {}
    else:
        text |= {"encoding": encoding or "utf-8", "newline": "" if newline is None else newline}
    opened = opened_files.get() or lent(opened_files)
    if opened is None:
        raise TaskError(
            "merkl_open opens an output of a task, and no task is running here",
            hint="call it in the task's function; future.open() reads a result",
            at=calling_place(),
        )
    path = os.path.join(opened.root, opened.stage, b".opened-%d" % len(opened.files))
    file: FileObjectWriteFuture[Any] = FileObjectWriteFuture(path, ext, mode, **text)
    opened.files.append(file)
    return file


class FileObjectReadFuture(io.BufferedIOBase):
    """A reader of a result's bytes, from the store; made by ``future.open("rb")``.  It can seek."""

    def __init__(self, reader: BinaryIO) -> None:
        self._reader = reader

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Some of the bytes, or all that are left."""
        return self._reader.read(-1 if size is None else size)

    def read1(self, size: int = -1, /) -> bytes:
        """Some of the bytes, or all that are left."""
        return self._reader.read(size)

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer."""
        view = memoryview(buffer).cast("B")
        data = self._reader.read(len(view))
        view[: len(data)] = data
        return len(data)

    def readinto1(self, buffer: Any, /) -> int:
        """Fill a buffer."""
        return self.readinto(buffer)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to another place."""
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        """The place."""
        return self._reader.tell()

    def close(self) -> None:
        """Let go of it."""
        if not self.closed:
            self._reader.close()
        super().close()


def reading(reader: BinaryIO, mode: str, encoding: str | None, newline: str | None) -> IO[Any]:
    """A reader of a result in the mode asked for."""
    binary = cast(BinaryIO, FileObjectReadFuture(reader))
    if mode == "rb":
        return binary
    return io.TextIOWrapper(binary, encoding=encoding or "utf-8", newline=newline)
