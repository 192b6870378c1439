"""What a process of ours finds in its environment, beyond what its job says: the jobserver, and what a worker was given.

It decides who is told of a jobserver.  It takes no token.

The invariant: no process is told of descriptors that it does not have, nor of the key that signs results.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from merkl.dataclass import replace
from merkl.execute.base import JOBSERVER_FDS, ProcessJob
from merkl.trust.signer import SECRET_VARIABLE

if TYPE_CHECKING:  # Only with more than one slot, or under make.
    from merkl.execute.jobserver import Tokens

_FLAGS: Final = b"MAKEFLAGS"


def of_worker(variables: Mapping[str, str], tokens: "Tokens | None") -> dict[bytes, bytes]:
    """The environment of a worker: ours, and ``variables``.

    It gets no descriptors, and programs that it starts from Python would not either, so it can have a named pipe only.
    """
    env = dict(os.environb)
    env.pop(SECRET_VARIABLE.encode(), None)
    env |= {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
    if tokens is not None and tokens.passed_on is None:
        env[_FLAGS] = os.fsencode(tokens.flags)
    elif b"--jobserver" in env.get(_FLAGS, b""):
        words = env[_FLAGS].split(b" ")
        env[_FLAGS] = b" ".join(word for word in words if not word.startswith(b"--jobserver"))
    return env


def told_of_jobserver(job: ProcessJob, tokens: "Tokens | None") -> tuple[ProcessJob, list[tuple[int, int]]]:
    """A job that finds the jobserver, unless its own environment names one, and our descriptors for it with their numbers there."""
    if tokens is None or _FLAGS in job.env:
        return job, []
    told = replace(job, env={**job.env, _FLAGS: os.fsencode(tokens.flags)})
    return told, list(zip(tokens.passed_on or (), JOBSERVER_FDS, strict=False))
