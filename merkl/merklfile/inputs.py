"""``file(path)`` and ``files(glob)``: the input files that a Merklfile names.

It decides what a path in a Merklfile means: it starts from the directory of the file it is written in.  It reads no
contents; a task that is given the reference does.

The invariant: what is returned is relative to the project, so that it means the same in every Merklfile.
"""

import os
import stat

from merkl.errors import InputMissing, UsageError
from merkl.merklfile.registry import here
from merkl.nodes import PathLike, scope, session
from merkl.snapshot import recorder
from merkl.workspace.listing import alternatives, glob_files
from merkl.workspace.missing import unreadable, wrong_kind
from merkl.workspace.paths import absolute, normalise
from merkl.workspace.refs import FileRef


def file(path: PathLike) -> FileRef:
    """The existing file at ``path``.

    Raises:
        InputMissing: there is none, or it is no regular file; with the name that was perhaps meant.
    """
    root = session().root
    found = normalise(path, os.path.join(root, scope().base), root)
    where = absolute(found, root)
    try:
        with recorder.for_source():  # What it is named for.
            mode = os.stat(where).st_mode
    except OSError as error:
        raise unreadable(found, where, error) from None
    if not stat.S_ISREG(mode):
        raise wrong_kind(found, mode, "a file")
    session().looked("file", os.fsdecode(path), found)
    return FileRef(found)


def files(pattern: str | bytes, *, required: bool = False) -> list[FileRef]:
    """The files inside the project that ``pattern`` matches, sorted; see ``merkl.workspace.listing`` for what it can say.

    Files that ``.merklignore`` or ``.gitignore`` names are left out.

    Raises:
        UsageError: the pattern leads out of the project, or is none.
        InputMissing: nothing matches, and ``required`` says that something must.
    """
    root = session().root
    base = os.path.normpath(os.path.join(root, scope().base))
    text = os.fsdecode(pattern)
    for alternative in alternatives(text):
        if alternative.startswith("/") or normalise(alternative, base, root).startswith("/"):
            raise UsageError(
                f"the pattern {text!r} leads out of the project",
                hint="give one inside; a single file outside can be named with file()",
            )
    listing = glob_files(root, base, pattern)
    current = here()
    if current is not None:
        current.merklfile.read.update(dict.fromkeys(listing.rules))
        current.merklfile.listed.update(dict.fromkeys(listing.directories))
        current.merklfile.globs[base, text] = listing.files
    if required and not listing.files:
        raise InputMissing(
            f"no file matches {text!r} in {normalise('.', base, root)}",
            hint="files that .gitignore or .merklignore names do not match",
        )
    session().looked("files", text, listing.files)
    return [FileRef(path) for path in listing.files]
