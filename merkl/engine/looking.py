"""What a pipeline looked at, as digests, and whether it would be told the same now.

It decides which files it can say that of.  It knows no pipelines.

The invariant: equal digests mean that who looks finds the same.
"""

import os
from typing import Final

from merkl.digest import Digest, Unencodable, encode
from merkl.engine.project import Project
from merkl.merklfile.inputs import file, files
from merkl.merklfile.parameters import params


def answer_digest(answer: object) -> str | None:
    """The digest of what a function told a pipeline; None if it is nothing that has one."""
    if isinstance(answer, str):
        answer = str.__str__(answer)  # Of a reference, the path.
    try:
        return Digest.of(encode(answer)).hex()
    except (Unencodable, RecursionError):
        return None


def variable(name: str) -> str | None:
    """The digest of an environment variable's value; None if it is not set."""
    value = os.environ.get(name)
    return None if value is None else Digest.of(os.fsencode(value)).hex()


_MACHINE: Final = ("/proc/", "/sys/")


def read_file(project: Project, where: str) -> tuple[str, str | None] | str | None:
    """See ``Looks``."""
    if where.startswith(os.path.join(project.config.state, "view") + os.sep):
        return None  # What it is told of by ``.eval()``, whose digest is known.
    if where.startswith(_MACHINE) or (os.path.lexists(where) and not os.path.isfile(where)):
        return f"it reads {where}"
    name = project.path(where)
    return name, opened(project, name)


def opened(project: Project, path: str) -> str | None:
    """The digest of a file, by its name in the project; None if it is not there."""
    digest = project.digest_at(path)
    return None if digest is None else digest.hex()


def still(project: Project, kind: str, path: str, digest: str | None) -> bool:
    """Whether who looks now is told the same."""
    match kind:
        case "open":
            return opened(project, path) == digest
        case "env":
            return variable(path) == digest
        case "file":
            return answer_digest(file(path)) == digest
        case "files":
            return answer_digest(tuple(map(str.__str__, files(path)))) == digest
        case "params":
            return answer_digest(params(path).plain()) == digest
        case _:
            return False
