"""``merkl.cache_ls``: what is recorded of earlier runs, for programs.

It decides nothing but where records are looked for: in the store of the project's machine.  It runs nothing.
"""

from merkl.engine.project import Project
from merkl.errors import UsageError
from merkl.nodes import session
from merkl.store.base import Record
from merkl.store.find import find


def cache_ls(where: str = "", *, sort: str = "", limit: int | None = None) -> list[Record]:
    """The records that ``where`` is true of, such as ``"args.size = 128 and metadata.loss < 0.2"``; the latest first.

    ``sort`` is a field to go by, with a minus for the largest first; at most ``limit`` of them.

    Raises:
        UsageError: the question is none, or this is code of a task.
    """
    current = session()
    if not isinstance(current, Project):
        raise UsageError(
            "cache_ls was asked inside a task, whose result would depend on what else has run",
            hint="ask where the tasks are called, and pass on what is needed",
        )
    current._asked("asks what is recorded")
    return find(current.store, where, sort=sort, limit=limit)
