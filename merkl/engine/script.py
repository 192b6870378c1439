"""The session of a plain script or a notebook: what stands behind a Future where no ``merkl build`` runs.

It decides which directory is the project.
"""

import os
import sys

from merkl.config import find_root, load_config
from merkl.engine.build import evaluate
from merkl.engine.project import Project
from merkl.python import sources
from merkl.python.project import Project as CodeProject


def script_session() -> Project:
    """A session for the nearest project from the script's directory upward; without one, for that directory itself."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    start = os.path.dirname(os.path.abspath(script)) if script else os.getcwd()
    root = find_root(start)
    if root is None:
        root = start
        print(f"merkl: results are kept in {os.path.join(start, '.merkl')}", file=sys.stderr)  # noqa: T201
    project = Project(load_config(root), base=os.getcwd())
    project.builder = evaluate
    sources.install(CodeProject(project.root, project.project_modules))
    return project
