"""``merkl.watch``: building again and again, for programs.

It decides what a program is told of a round.  The build itself happens in a process of its own, which prints nothing; so the
program's own modules are never reloaded.
"""

import os
from collections.abc import Iterator

from merkl.config import find_root
from merkl.dataclass import dataclass
from merkl.errors import MerklfileError
from merkl.nodes import PathLike
from merkl.watching.choice import source_for
from merkl.watching.quiet import Given
from merkl.watching.watcher import Done, Settings, Watcher


@dataclass(frozen=True, slots=True)
class WatchRound:
    """One build of a watch.  ``number`` counts from 1; ``changed`` are the paths it is because of, none for the first.

    ``ran`` are the labels of tasks; ``failed`` has for each that failed why.  ``error`` is what went wrong otherwise, such as
    in the Merklfile.  ``cancelled``: something changed meanwhile, and another round follows.
    """

    number: int
    changed: tuple[str, ...]
    ran: tuple[str, ...]
    failed: dict[str, str]
    cached: int
    error: str
    seconds: float
    cancelled: bool = False

    @property
    def ok(self) -> bool:
        """Whether all that was asked for is there now."""
        return not (self.failed or self.error or self.cancelled)


def watch(
    *targets: str,
    directory: PathLike = ".",
    jobs: int | None = None,
    debounce: int = 50,
    restart: bool = False,
    poll: bool = False,
) -> Iterator[WatchRound]:
    """Build ``targets``, or the default one, and again whenever something that matters has changed; yield each round.

    ``targets`` are words as on the command line, from ``directory``.  ``debounce`` is how many milliseconds nothing must
    change before a round begins.  With ``restart`` a change ends the round that runs; without, the next follows it.
    ``poll`` looks every second instead of waiting for news from the system.

    The rounds do not end by themselves: leave the loop, or close the iterator, which ends what runs.

    Raises:
        MerklfileError: there is no project at ``directory`` or above it; or it was removed.
    """
    cwd = os.path.abspath(os.fsdecode(directory))
    root = find_root(cwd)
    if root is None:
        raise MerklfileError(f"no project in {cwd} or above", hint="`merkl init` makes one")
    given = Given(root, cwd, targets, jobs)
    settings = Settings(root, "merkl.watching.quiet", given, debounce / 1000, restart)
    return _rounds(settings, poll=poll)


def _rounds(settings: Settings, *, poll: bool) -> Iterator[WatchRound]:
    watcher = Watcher(settings, source_for(settings.root, poll=poll))
    try:
        for each in watcher.happenings():
            if isinstance(each, Done):
                ended = each.ended
                yield WatchRound(
                    each.number, each.changed, ended.ran, dict(ended.failed), ended.cached, ended.error,
                    ended.seconds, each.cancelled,
                )  # fmt: skip
    finally:
        watcher.close()
