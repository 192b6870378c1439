"""What a target calls, and nobody asks for: it returned no Future and placed none.

It decides when that is worth a word.  The invariant: it says nothing of what ran while the target was called.
"""

from merkl.engine.project import Project
from merkl.events import Note


def tell_idle(project: Project, name: str, what: str = "") -> None:
    """Note that nothing of what ``name``, a ``what``, called would run, after it was found to ask for nothing."""
    node = project.first_made.get(name)
    if node is not None and not project.has_run:
        project.notes.append(
            Note(
                f"{what}{name} returned no Future and placed none, so what it calls does not run: "
                f"{node.name}, at {node.place.relative_to(project.root)}",
                'return what is to be built, or place it: future > "path"',
            )
        )
