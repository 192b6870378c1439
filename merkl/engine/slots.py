"""How many tasks run at once, and with whom on this machine that is shared.

It decides whether a build takes part in the jobserver of a make that started it, has one of its own for the makes that its
tasks start, or neither.  It starts nothing.
"""

import os
from typing import TYPE_CHECKING

from merkl import events
from merkl.config import Config
from merkl.dataclass import dataclass
from merkl.errors import ConfigError
from merkl.store.builds import register_build

if TYPE_CHECKING:  # Only with more than one slot, or under make.
    from merkl.execute.jobserver import Tokens


@dataclass(frozen=True, slots=True)
class Slots:
    """``count`` tasks at once, each beside the first with one of ``tokens``, if there are any.  Whoever has it closes them."""

    count: int
    tokens: "Tokens | None" = None
    note: events.Note | None = None


def slots_of(config: Config) -> Slots:
    """The slots of a build.  What -j, --target or MERKL_JOBS says is a limit under make, too.

    Raises:
        ConfigError: the jobserver cannot be had in the form that merkl.yaml asks for.
    """
    if config.jobserver == "off":
        return Slots(config.jobs)
    if os.environ.get("MAKEFLAGS"):
        from merkl.execute.jobserver import heard, join

        make = heard(os.environ)
        if make.auth:
            tokens = join(make.auth)
            if tokens is not None:
                return Slots(config.jobs, tokens)
            if not config.jobs_asked:
                note = events.Note(
                    "the jobserver of make is not open to merkl, so one task runs at a time",
                    "write + before the line of the Makefile that runs merkl, or give merkl -j N",
                )
                return Slots(1, None, note)
        elif make.alone and not config.jobs_asked:
            return Slots(1)
    return Slots(config.jobs, _own(config) if config.jobs > 1 else None)


def _own(config: Config) -> "Tokens | None":
    from merkl.execute.jobserver import open_pipe

    return open_pipe(config.jobs) if config.jobserver == "pipe" else _own_fifo(config)


def _own_fifo(config: Config) -> "Tokens":
    from merkl.execute.jobserver import open_fifo

    run = os.path.join(config.state, "run")
    if run.split() != [run]:
        raise ConfigError(
            "merkl.yaml: jobserver: fifo needs a project whose path has no spaces",
            hint="jobserver: pipe",
            at=run,
        )
    lease = register_build(config.state)  # It may outlast this build, for those that go on beside it.
    try:
        os.makedirs(run, exist_ok=True)
        return open_fifo(config.jobs, os.path.join(run, f"{lease.id}-jobserver"), lease.close)
    except OSError as error:
        lease.close()
        raise ConfigError(
            f"merkl.yaml: jobserver: fifo: no named pipe can be made: {error.strerror}",
            hint="jobserver: pipe",
            at=run,
        ) from error
