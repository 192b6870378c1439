"""What workers are told while tasks run there: to begin nothing more, to interrupt or end what runs.

It decides how long that may take.  The invariant: nothing here raises, or waits for longer: who cannot be told hears that
its client is gone.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, Final

from merkl.cluster import worker
from merkl.cluster.opening import Opened

_TELL_S: Final = 5.0


def tell(found: Opened, session: str, what: str, epoch: int) -> None:
    """Let all workers hear of something; ``what`` as of ``worker.tell``."""

    async def told() -> None:
        await found.client.run(worker.tell, session, what, epoch, on_error="ignore", asynchronous=True)

    with contextlib.suppress(Exception):
        found.client.sync(told, callback_timeout=_TELL_S)


def cancel_unstarted(found: Opened, futures: Sequence[Any]) -> None:
    """Cancel those that no worker has got."""

    async def asked() -> Any:
        return await found.client.scheduler.processing(workers=None)  # `processing` cannot be awaited.

    with contextlib.suppress(Exception):
        processing = found.client.sync(asked, callback_timeout=_TELL_S)
        there = {key for keys in processing.values() for key in keys}
        cancel([future for future in futures if future.key not in there])


def cancel(futures: Sequence[Any]) -> None:
    """Cancel all."""
    for future in futures:
        with contextlib.suppress(Exception):
            future.cancel()
