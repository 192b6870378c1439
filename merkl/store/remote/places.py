"""Which place a URL names.

It decides which kinds of places there are.  It asks none of them anything.
"""

import os
import re
from typing import Final

from merkl.errors import ConfigError
from merkl.remotes import RemoteConfig
from merkl.root import STATE_DIR
from merkl.store.remote.directory import DirectoryObjects
from merkl.store.remote.objects import Objects

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SAME: Final = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az"}
_PREFIX: Final = re.compile(r"[A-Za-z0-9._=+@ -]+(/[A-Za-z0-9._=+@ -]+)*")


def open_objects(url: str, root: str, settings: RemoteConfig | None = None) -> Objects:
    """The place that a URL names, used as ``settings`` say; a relative path starts from ``root``.

    Raises:
        ConfigError: there is no such kind of place.
    """
    found = _SCHEME.match(url)
    scheme = "file" if found is None else found[1].lower()
    rest = url if found is None else url[found.end() :]
    if scheme == "file":
        return _directory(rest, root)
    if scheme in _SAME:
        return _bucket(_SAME[scheme], rest, settings or RemoteConfig(url))
    raise ConfigError(
        f"remote: {scheme}:// is no place that this merkl knows",
        hint="a bucket, such as s3://bucket/prefix, gs://… or az://…; or a directory, such as /mnt/team/merkl",
    )


def _directory(path: str, root: str) -> Objects:
    directory = os.path.join(root, os.path.expanduser(path))
    where = os.path.realpath(directory)
    state, own = os.path.join(os.path.realpath(root), STATE_DIR), os.path.realpath(root)
    if where == own or (where + os.sep).startswith(state + os.sep) or ".git" in where.split(os.sep):
        raise ConfigError(
            f"remote: {path} has a use of its own",
            hint="name a directory for the remote alone",
        )
    return DirectoryObjects(directory)


def _bucket(scheme: str, rest: str, settings: RemoteConfig) -> Objects:
    from merkl.store.remote.bucket import BucketObjects

    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    dotted = any(part in (".", "..") for part in prefix.split("/"))
    if not re.fullmatch(r"[A-Za-z0-9._-]+", bucket):
        raise ConfigError(
            f"remote: {f'{scheme}://{rest}'!r:.100} names no bucket",
            hint=f"such as {scheme}://bucket, or {scheme}://bucket/prefix",
        )
    if dotted or (prefix and not _PREFIX.fullmatch(prefix)):
        raise ConfigError(
            f"remote: {prefix!r:.100} is no prefix for objects in a bucket",
            hint="words of letters, digits and . _ = + @ - and spaces, with / between them, and no . or .. alone",
        )
    return BucketObjects(scheme, bucket, prefix, settings)
