"""Paths as values: what a task returns, and what an evaluated output is.

It decides nothing about what becomes of the files: whoever runs the task does.

The invariant: a reference is a ``str`` that holds a path, so whatever takes a path takes it.
"""

import copyreg
import os
from collections.abc import Iterable, Mapping
from typing import Final, SupportsIndex

from merkl.errors import UsageError
from merkl.nodes import PathLike

_FILE: Final = "file"  # What a new file is called if nobody says.
_FOLDER: Final = "files"


class _PathRef(str):
    """A path that says what is, or will be, at its end.  Bytes that are no UTF-8 travel as surrogates."""

    __slots__ = ("_rm",)

    _rm: bool

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

    @property
    def suffix(self) -> str:
        """The extension, as pathlib calls it."""
        return self.ext

    @property
    def rm_after_caching(self) -> bool:
        """Whether what is at the path is to be removed once a build has it safe in the store."""
        return getattr(self, "_rm", False)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        # What is removed afterwards is of the call that says so, and no part of a value.
        return copyreg.__newobj__, (type(self), str.__str__(self))  # type: ignore[attr-defined]

    def __fspath__(self) -> str:
        return str.__str__(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str.__repr__(self)})"


class FileRef(_PathRef):
    """The path of a file.  Without one, of a new file, as ``get_new_file`` makes it.

    ``ext`` is the extension that the file goes by once it is kept, whatever it is called at the path.  With
    ``rm_after_caching`` the file is removed once a task that returned it has its bytes in the store.
    """

    __slots__ = ("_ext",)

    _ext: str

    def __new__(
        cls, path: PathLike | None = None, *, ext: str | None = None, rm_after_caching: bool = False
    ) -> "FileRef":
        checked = None if ext is None else _checked_ext(ext)
        ref: FileRef = super().__new__(cls, _new_path(f"{_FILE}{checked or ''}") if path is None else path)  # type: ignore[assignment]
        if checked is not None and os.path.splitext(ref)[1] != checked:
            ref._ext = checked
        if rm_after_caching:
            ref._rm = True
        return ref

    @classmethod
    def get_new_file(cls, name: str = "", *, ext: str = "") -> "FileRef":
        """The path of a file that is to be written: in the task's own directory, outside one in a temporary one.

        Give it a whole ``name``, or only an extension.
        """
        return cls(_new_path(_checked_name(name) if name else f"{_FILE}{_checked_ext(ext)}"))

    @property
    def ext(self) -> str:
        """The extension with its dot, as it was given or as ``os.path.splitext`` sees it; empty if there is none."""
        return getattr(self, "_ext", None) or super().ext

    @property
    def kept_name(self) -> str:
        """What the file is called once it is kept: its name, with the extension that was asked for."""
        given = getattr(self, "_ext", None)
        return self.name if given is None else self.stem + given

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        given = getattr(self, "_ext", None)
        return super().__reduce_ex__(protocol) if given is None else (_with_ext, (str.__str__(self), given))


class DirRef(_PathRef):
    """The path of a directory.  Without one, of a new and empty one: the task's own, outside one a temporary one."""

    __slots__ = ()

    def __new__(cls, path: PathLike | None = None, *, rm_after_caching: bool = False) -> "DirRef":
        new = path is None
        ref: DirRef = super().__new__(cls, _new_path(_FOLDER) if path is None else path)  # type: ignore[assignment]
        if new:
            os.mkdir(ref)
        if rm_after_caching:
            ref._rm = True
        return ref

    def get_new_file(self, name: str = "", *, ext: str = "") -> FileRef:
        """The path of a file that is to be written in this directory; directories above it are made.

        Without a name it gets one that none has yet.  ``DirRef.get_new_file("a.txt")``, of no directory in particular, is
        the same as ``FileRef.get_new_file("a.txt")``.
        """
        if not isinstance(self, DirRef):
            return FileRef.get_new_file(self, ext=ext)  # type: ignore[unreachable]
        if name:
            path = os.path.join(self, _checked_name(name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            return FileRef(path)
        end, count = _checked_ext(ext), 0
        while os.path.lexists(path := os.path.join(self, f"{_FILE}-{count}{end}")):
            count += 1
        with open(path, "xb"):
            return FileRef(path)

    @property
    def files(self) -> list[FileRef]:
        """The files in it and in what it holds, sorted by their paths."""
        found = [os.path.join(folder, name) for folder, _, names in os.walk(self) for name in names]
        return [FileRef(path) for path in sorted(found, key=os.fsencode)]

    def load_files(self) -> dict[str, bytes]:
        """The bytes of each file, by its path in the directory."""
        loaded = {}
        for file in self.files:
            with open(file, "rb") as opened:
                loaded[os.path.relpath(file, self)] = opened.read()
        return loaded

    def add_file_ref(self, file_ref: PathLike, name: str | None = None) -> FileRef:
        """Copy a file into the directory, under its own name or another; where it is then.

        Raises:
            UsageError: there is something of that name already, or the name leads out of the directory.
        """
        ref = file_ref if isinstance(file_ref, FileRef) else FileRef(file_ref)
        path = os.path.join(self, _checked_name(ref.kept_name if name is None else name))
        if os.path.lexists(path):
            raise UsageError(
                f"{os.path.relpath(path, self)!r} is in {self!r} already",
                hint="give the other a name: add_file_ref(ref, name=…)",
            )
        os.makedirs(os.path.dirname(path), exist_ok=True)
        import shutil  # Only here, as ``tempfile`` below: `merkl list` needs neither.

        # No hard link: what a task reads is merkl's, and must not be changed through another name.
        shutil.copyfile(ref, path)
        if os.access(ref, os.X_OK):
            os.chmod(path, os.stat(path).st_mode | 0o111)
        return FileRef(path)


def combine_file_refs(file_refs: Iterable[PathLike] | Mapping[str, PathLike]) -> DirRef:
    """A new directory with copies of some files, under their own names or those of a mapping.

    Raises:
        UsageError: two would have one name.
    """
    named: Iterable[tuple[str | None, PathLike]] = (
        file_refs.items() if isinstance(file_refs, Mapping) else [(None, ref) for ref in file_refs]
    )
    combined = DirRef()
    for name, ref in named:
        try:
            combined.add_file_ref(ref, name)
        except UsageError as error:
            if not error.headline.endswith("already"):
                raise
            raise UsageError(
                f"two files would be called {os.path.basename(os.fsdecode(ref))!r} in one directory",
                hint="give them names: combine_file_refs({'first': a, 'second': b})",
            ) from None
    return combined


def _with_ext(path: str, ext: str) -> FileRef:
    return FileRef(path, ext=ext)


def _new_path(name: str) -> str:
    """A path at which there is nothing.  In a task the directory for temporary files is its own."""
    import tempfile

    path = os.path.join(tempfile.mkdtemp(prefix="merkl-"), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def _checked_name(name: str) -> str:
    if not name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise UsageError(
            f"{name!r} is no name of a file in a directory", hint='such as "part-0", or "sub/part-0"'
        )
    return name


def _checked_ext(ext: str) -> str:
    """An extension with its dot."""
    if not isinstance(ext, str) or ext == "." or "/" in ext or "\0" in ext:
        raise UsageError(f"ext={ext!r} is no extension", hint='such as ".png"')
    return ext if ext.startswith(".") or not ext else f".{ext}"
