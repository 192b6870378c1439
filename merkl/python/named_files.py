"""Files of the project as Futures, and Futures as files of the project: the function forms of what ``|`` and ``>`` do.

It decides what a file holds, by its extension.

The invariant: the key of such a Future covers the file's contents and path, like that of any task that is given the file.
"""

import io
import os
from typing import Any, TypeVar

from merkl.nodes import Future, PathLike, session
from merkl.python.task import task
from merkl.store.forms import JsonForm
from merkl.store.written import for_extension
from merkl.workspace.refs import DirRef, FileRef

T = TypeVar("T")


@task(version="1", check="off")
def read(path: FileRef) -> Any:
    """The contents of a file, as its extension says."""
    extension = os.path.splitext(path)[1].lower()
    with open(path, "rb") as file:
        if extension == ".jsonl":
            lines = JsonForm()
            return [lines.load(io.BytesIO(line)) for line in file if line.strip()]
        form = for_extension(extension).read
        return file.read() if form is None else form.load(file)


@task(version="1", check="off")
def file_of(path: FileRef) -> FileRef:
    """The file itself."""
    return path


@task(version="1", check="off")
def dir_of(path: DirRef) -> DirRef:
    """The directory itself."""
    return path


def read_future(path: "PathLike | Future[FileRef]") -> Future[Any]:
    """A Future of what a file holds: of ``.json`` and ``.jsonl`` the values, of ``.npy`` the array, of ``.parquet`` the
    table, of ``.txt`` and ``.csv`` the text, of any other the bytes.  A pickle is not loaded.

    Raises:
        InputMissing: it is not there.
    """
    future: Future[Any] = read(
        path if isinstance(path, Future) else FileRef(session().source(path, "file").path)
    )
    return future


def path_future(path: PathLike) -> Future[Any]:
    """A Future of a file, or of a directory, as a ``FileRef`` or ``DirRef``.

    Raises:
        InputMissing: it is not there.
    """
    source = session().source(path)
    future: Future[Any] = (
        dir_of(DirRef(source.path)) if source.kind == "dir" else file_of(FileRef(source.path))
    )
    return future


def write_future(future: Future[T], path: PathLike) -> Future[T]:
    """Let the output of a Future appear at ``path``, as ``future > path`` does."""
    return future > path
