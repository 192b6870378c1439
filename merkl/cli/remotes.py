"""What the remote of a project can do, and which keys count there, tried out for ``merkl doctor``.

It decides which lack is a fault: none is for who only builds, unless the remote is required.

The invariant: it writes nothing there but one empty object of its own, which it removes again.
"""

import os
import secrets
import time
from collections.abc import Iterator
from typing import Final

from merkl.cli.finding import Finding, Verdict
from merkl.config import Config
from merkl.engine.project import Project
from merkl.errors import MerklError, StoreError
from merkl.remotes import RemoteConfig
from merkl.report.words import plural
from merkl.store.remote.objects import Objects
from merkl.store.remote.remote import Remote
from merkl.trust.personal import TRUST, key_file
from merkl.trust.signer import SECRET_VARIABLE
from merkl.trust.trust import Trust

_CLOCK_OFF_S: Final = 60.0


def remote_findings(config: Config) -> Iterator[Finding]:
    """The remote, its clock and conditional writes, and the keys; nothing if there is no remote."""
    settings = config.remote
    if settings is None:
        return
    project = Project(config)
    try:
        assert project.remote is not None
        yield from _place(project.remote, settings)
        yield from _keys(project.trust)
    except MerklError as error:  # Of the settings: the place was not asked.
        yield Finding("remote", "broken", _said(error))
    finally:
        project.close()


def _place(remote: Remote, settings: RemoteConfig) -> Iterator[Finding]:
    lacks: Verdict = "broken" if settings.required else "lacks"
    began = time.monotonic()
    try:
        made = remote.is_made()
    except StoreError as error:
        yield Finding("remote", lacks, _said(error))
        return
    took = 1000 * (time.monotonic() - began)
    text = "" if made else ", and nobody has pushed there yet"
    yield Finding("remote", "ok", f"{remote.url} answers in {took:.0f} ms{text}")
    name = f"incoming/{secrets.token_hex(16)}"
    try:
        yield from _written(remote.objects, name)
    except StoreError as error:
        yield Finding(
            "pushing", "broken" if settings.push else "lacks", f"only reading works: {_said(error)}"
        )
    finally:
        _remove(remote.objects, name)


def _written(objects: Objects, name: str) -> Iterator[Finding]:
    before = time.time()
    objects.create(name, b"")
    after = time.time()
    found = objects.look(name)
    if found is None:
        yield Finding("pushing", "broken", "what was just written is not there")
        return
    yield Finding("pushing", "ok", "objects can be written")
    # Most places say whole seconds only.
    off = max(before - 1 - found.modified, found.modified - after - 1, 0)
    side = "behind" if found.modified < before else "ahead of"
    good = "as this machine's, as far as one can tell"
    text = f"{off:,.0f} seconds {side} this machine's clock: requests are refused, or gc takes young for old"
    yield Finding(
        "remote's clock", "ok" if off < _CLOCK_OFF_S else "lacks", good if off < _CLOCK_OFF_S else text
    )
    if objects.create(name, b""):
        text = "ignored: of two results pushed for one key the last stays"
        yield Finding("conditions", "lacks", text)
    else:
        yield Finding("conditions", "ok", "what is there is not written over")


def _remove(objects: Objects, name: str) -> None:
    try:
        objects.remove([name])
    except StoreError:
        pass  # Said already, or it was not written.


def _keys(trust: Trust) -> Iterator[Finding]:
    try:
        own = trust.own()
        counting = trust.signers()
    except MerklError as error:
        yield Finding("keys", "broken", _said(error))
        return
    where = SECRET_VARIABLE if os.environ.get(SECRET_VARIABLE) else key_file(os.environ)
    if own is not None and own not in counting:
        text = f"{own}, of {where}, is revoked by you: what it signs is not used; `merkl key new --replace`"
        yield Finding("signing key", "lacks", text)
    elif own is not None:
        yield Finding("signing key", "ok", f"{own}, of {where}")
    elif TRUST in os.environ:
        yield Finding(
            "signing key",
            "lacks",
            f"under {TRUST} it comes from {SECRET_VARIABLE}, which is not set: no push",
        )
    else:
        yield Finding("signing key", "ok", "none yet: the first push makes it")
    others = len(counting) - (own in counting)
    count = plural(others, "key") if others else "no key"
    yield Finding("trusted keys", "ok", f"{count} of others in the namespace {trust.namespace}")


def _said(error: MerklError) -> str:
    return f"{error.headline}; {error.hint}" if error.hint else error.headline
