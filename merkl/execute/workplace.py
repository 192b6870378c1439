"""Where one attempt of one node runs, and what it leaves there.

It decides nothing: the engine makes a workplace, the task's package prepares a job in it and collects the outputs.
Paths of ``stage`` and ``run`` are relative to the project's root, which is the job's current directory, and have the same
length for every attempt, so that commands that embed an output's path in it give files of one size.
"""

import os
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from merkl.dataclass import dataclass, field
from merkl.digest import Digest
from merkl.nodes import Artifact, Kind

if TYPE_CHECKING:  # Only with --check-deps.
    from merkl.tracing.window import Watch


@dataclass(frozen=True, slots=True)
class Workplace:
    """Directories and openings to the store for one attempt.

    ``stage`` is empty and gets the outputs; ``run`` gets the script, the log and ``tmp``.  ``view`` makes an artifact
    readable under a file name and returns its path, relative to the root; ``load`` reads a value.  ``stores`` are the
    directories to look for a value in, in this order; ``modules`` are those that count as the project's own besides what
    is in it; ``texts`` is a directory of the build's own for the texts of the code it runs.  With ``watch`` a Python call is looked at.  ``variables`` say in its
    environment what it was given of the machine.
    """

    root: bytes
    stage: bytes
    run: bytes
    environ: Mapping[bytes, bytes]
    view: Callable[[Artifact, bytes], bytes]
    load: Callable[[Artifact], Any]
    stores: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    texts: bytes = b""
    watch: "Watch | None" = None
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> bytes:
        """The file that stdout and stderr go to."""
        return self.run + b"/log"

    @property
    def tmp(self) -> bytes:
        """The attempt's own TMPDIR, as an absolute path."""
        return os.path.join(self.root, self.run, b"tmp")


@dataclass(frozen=True, slots=True)
class Staged:
    """One output of an attempt that ended well, not yet in the store.

    Either ``data`` holds the bytes, or ``path`` is a file or directory, absolute or relative to the root, that may be
    moved away.  ``digest`` is given if it is known already.  ``remove`` is an absolute path at which the same is still to be
    found, and which is to go once it is safe in the store.
    """

    name: str
    kind: Kind
    filename: str = ""
    data: bytes | None = None
    path: bytes | None = None
    executable: bool = False
    serializer: str = ""
    digest: Digest | None = None
    size: int = 0
    remove: bytes | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # What a dataclass with slots has for this asks for its fields again each time.
        return Staged, _staged_fields(self)


_staged_fields: Final = attrgetter(*Staged.__slots__)
