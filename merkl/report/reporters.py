"""What shows a build to people: lines, and on a terminal a live block below them.

It decides by what it is told, the streams and the environment.  It imports no option parser, so a small build can do without one.
"""

import functools
import os
import sys
from typing import TYPE_CHECKING, cast

from merkl.engine.logged import keep_from_root
from merkl.events import Reporter
from merkl.report.color import When, can_redraw, painter, wanted

if TYPE_CHECKING:
    from merkl.report.lines import Shown


def reporter_for(root: str, shown: "Shown", color: str, progress: str) -> Reporter:
    """The reporter for stdout and stderr; ``color`` and ``progress`` are what the options of that name say."""
    from merkl.report.lines import Lines

    keep_from_root()
    when = cast(When, color)
    paint, err_paint = (painter(wanted(when, stream, os.environ)) for stream in (sys.stdout, sys.stderr))
    make = functools.partial(Lines, root=root, shown=shown, paint=paint, err_paint=err_paint)
    if progress == "auto" and shown.output != "quiet" and can_redraw(sys.stdout, os.environ):
        from merkl.report.live import Live

        return Live(make, sys.stdout, sys.stderr, paint)
    return make(sys.stdout, sys.stderr)
