"""Which source of news a watch listens to.

It decides by the system and by the file system; where there is doubt it says so.
"""

import os

from merkl.events import Note
from merkl.filesystem import file_system_of
from merkl.watching.news import Looking, Source


def source_for(root: str, *, poll: bool) -> Source:
    """The source for the project at ``root``; with ``poll`` one that looks again and again."""
    if poll:
        return Looking()
    try:
        source = _of_the_system()
    except OSError as error:
        looking = Looking()
        looking.notes.append(
            Note(
                f"the system brings no news of changes ({error.strerror}): merkl looks every second",
                "sysctl fs.inotify.max_user_instances says how many programs may listen",
            )
        )
        return looking
    system = file_system_of(root)
    if system.network:
        source.notes.append(
            Note(
                f"the project is on {system.kind}, where changes made on other machines bring no news",
                "merkl watch --poll looks for them",
            )
        )
    return source


def _of_the_system() -> Source:
    if os.uname().sysname == "Linux":
        from merkl.watching.inotify import Inotify

        return Inotify()
    from merkl.watching.observer import Watchdog

    return Watchdog()
