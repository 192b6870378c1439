"""Files and directories that a Python task returns, taken into staging.

It decides whether they are moved or copied.

The invariant: what lies outside the call's own directories stays as it is; what is to be removed later is only named here.
"""

import os
from collections.abc import Iterable
from typing import Final, Protocol

from merkl.errors import TaskFailed
from merkl.execute.workplace import Staged
from merkl.workspace.paths import reserved
from merkl.workspace.refs import DirRef, FileRef

_LONGEST: Final = 200  # Bytes of a name; file systems allow 255.


class Places(Protocol):
    """The directories of a call: ``stage`` relative to ``root``, the others absolute."""

    @property
    def root(self) -> bytes: ...
    @property
    def stage(self) -> bytes: ...
    @property
    def tmp(self) -> bytes: ...


def staging_name(output: str) -> bytes:
    """What an output is called in the staging directory: its own name, if no path could make more of that."""
    name = os.fsencode(output) or b"result"
    if b"/" in name or name.startswith(b".") or b"\0" in name or len(name) > _LONGEST:
        from merkl.digest import Digest

        return b".named-" + Digest.of(name).hex().encode()
    return name


def is_own(places: Places, path: bytes) -> bool:
    """Whether a path lies in the call's TMPDIR or staging directory."""
    return path.startswith((places.tmp + b"/", os.path.join(places.root, places.stage) + b"/"))


def shared_paths(values: Iterable[object]) -> set[bytes]:
    """The absolute paths among results that another result names too, or that lie in one another."""
    paths = sorted(_absolute(ref) + b"/" for ref in values if isinstance(ref, (FileRef, DirRef)))
    shared: set[bytes] = set()
    outer = b""
    for path in paths:  # What lies in a directory comes right after it.
        if outer and path.startswith(outer):
            shared |= {outer[:-1], path[:-1]}
        else:
            outer = path
    return shared


def stage_reference(
    places: Places, task: str, output: str, ref: FileRef | DirRef, shared: set[bytes]
) -> Staged:
    """Take a file or directory that the function names into staging: moved if it is this output's alone, else copied.

    Raises:
        TaskFailed: it is not there.
    """
    source = _absolute(ref)
    is_dir = isinstance(ref, DirRef)
    if not (os.path.isdir(source) if is_dir else os.path.isfile(source)):
        hint = "write it before it is returned; a path is relative to the project's directory"
        if os.path.exists(source):
            hint = (
                "it is a file: return FileRef(path)" if is_dir else "it is a directory: return DirRef(path)"
            )
        raise TaskFailed(
            f"{task} returned {ref!r}, and there is no such {'directory' if is_dir else 'file'}", hint=hint
        )
    filename = os.path.basename(source) if isinstance(ref, DirRef) else os.fsencode(ref.kept_name)
    folder = places.stage + b"/" + staging_name(output)
    target = os.path.join(places.root, folder, filename)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    executable = not is_dir and os.access(source, os.X_OK)
    own = is_own(places, source)
    if own and source not in shared and not os.path.islink(source):
        os.rename(source, target)
    elif is_dir:
        # One from outside as it would be as an input; the project's own has the staging directory in it.
        leave_out = None if own else _reserved
        from shutil import copytree  # Few calls need it, and each worker would import it.

        copytree(os.fsdecode(source), os.fsdecode(target), symlinks=True, ignore=leave_out)
    else:
        from shutil import copyfile

        copyfile(source, target)
    remove = source if ref.rm_after_caching and not own else None
    path, name = folder + b"/" + filename, os.fsdecode(filename)
    return Staged(output, "dir" if is_dir else "file", name, path=path, executable=executable, remove=remove)


def _reserved(_: str, names: list[str]) -> list[str]:
    """Which names belong to merkl or to version control."""
    return [name for name in names if reserved(os.fsencode(name))]


def _absolute(ref: FileRef | DirRef) -> bytes:
    return os.path.abspath(os.fsencode(ref))
