"""The door to this package: nothing of it is imported before a build has executors.

It decides nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # To import these takes long, and most builds need none.
    from merkl.engine.away import Away
    from merkl.engine.project import Project


def away(project: "Project") -> "Away":
    """What takes nodes of a project to other machines."""
    from merkl.cluster.client import Clusters

    return Clusters(project)
