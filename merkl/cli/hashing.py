"""How commands show that they hash files.

It decides whether: on a terminal, or in a stream of events.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from merkl.cli.given import Options
from merkl.report.color import can_redraw, painter, wanted

if TYPE_CHECKING:
    from merkl.report.color import When
    from merkl.report.hashed import HashingBar, HashingEvents


@contextlib.contextmanager
def hashing_shown(options: Options) -> Iterator[None]:
    """Show what the code inside hashes, if that takes long; nothing else may be drawn meanwhile."""
    make = _shown(options)
    if make is None:
        yield
        return
    from merkl import gauge

    shown: list[HashingBar | HashingEvents] = []

    def told(came: int, expected: int) -> None:
        if not shown:  # Few commands hash much.
            shown.append(make())
        shown[0].told(came, expected)

    try:
        with gauge.watched(told):
            yield
    finally:
        for each in shown:
            each.close()


def _shown(options: Options) -> "Callable[[], HashingBar | HashingEvents] | None":
    out, err = sys.stdout, sys.stderr  # Before code of the user's gets others.
    if out is None or options.progress == "none" or (options.quiet and not options.json):
        return None
    if options.json:

        def events() -> "HashingEvents":
            from merkl.report.hashed import HashingEvents

            return HashingEvents(out)

        return events
    if options.progress != "auto" or not can_redraw(out, os.environ):
        return None

    def bar() -> "HashingBar":
        from merkl.report.hashed import HashingBar

        return HashingBar(out, err, painter(wanted(cast("When", options.color), out, os.environ)))

    return bar
