"""Every back end and every combination of them that a store can be made of, by name."""

import atexit
import functools
from collections.abc import Callable
from pathlib import Path

from servers.moto_server import MotoServer

from merkl.remotes import RemoteConfig
from merkl.store.base import ContentStore, MerkleStore, Shared, Store
from merkl.store.cached import CacheStore
from merkl.store.caches import CombinedCache, MemoryCache, SqliteCache
from merkl.store.combined import Combined
from merkl.store.layered import Layered
from merkl.store.local import LocalStore
from merkl.store.memory import MemoryStore
from merkl.store.remote.backend import S3ContentBackend
from merkl.store.remote.contents import RemoteContents
from merkl.store.remote.directory import DirectoryObjects
from merkl.store.remote.objects import Objects
from merkl.store.remote.places import open_objects
from merkl.store.remote.records import RemoteRecords
from merkl.store.remote.remote import Remote

Make = Callable[[Path], Shared]


def remote(where: Path) -> Remote:
    """A remote in a directory that is there."""
    (where / "share").mkdir(exist_ok=True, parents=True)
    return Remote(DirectoryObjects(str(where / "share")), str(where / "state"))


@functools.cache
def _server() -> MotoServer:
    """An S3 server for all tests of a process, from the first that needs it."""
    server = MotoServer()
    atexit.register(server.close)
    return server


def bucket_settings() -> RemoteConfig:
    """A bucket that nobody has used."""
    return RemoteConfig(f"s3://{_server().new_bucket()}/a/b", endpoint=_server().endpoint, timeout=60)


def bucket_objects(settings: RemoteConfig | None = None) -> Objects:
    """Objects in a bucket, by default one that nobody has used."""
    settings = settings or bucket_settings()
    return open_objects(settings.url, "", settings)


def bucket(where: Path) -> Remote:
    """A remote in a bucket."""
    return Remote(bucket_objects(), str(where / "state"))


def contents_in_a_bucket(where: Path) -> CacheStore:
    """As a project puts it together: records here, contents in a bucket."""
    settings = bucket_settings()
    content = S3ContentBackend(settings.url, endpoint=settings.endpoint, timeout=60)
    return CacheStore(CombinedCache(merkle=SqliteCache(where / "c.db"), content=content))


def local(where: Path) -> LocalStore:
    """A store of this machine."""
    return LocalStore(where / "store")


def cache(_: Path) -> CacheStore:
    """The smallest cache that a project can bring along."""
    return CacheStore(MemoryCache())


def two_caches(where: Path) -> CacheStore:
    """One for records, another for contents."""
    return CacheStore(CombinedCache(merkle=SqliteCache(where / "c.db"), content=MemoryCache()))


SINGLE: dict[str, Make] = {"memory": lambda _: MemoryStore(), "local": local, "remote": remote}


def _merkle(kind: str, where: Path, content: ContentStore) -> MerkleStore:
    if kind != "remote":
        return SINGLE[kind](where / "records")
    (where / "records").mkdir(parents=True)
    holder: list[Combined] = []
    records = RemoteRecords(
        DirectoryObjects(str(where / "records")),
        lambda outputs: holder[0].present(kept := list(outputs)) == {each.digest for each in kept},
    )
    holder.append(Combined(merkle=records, content=content))
    return records


def _content(kind: str, where: Path) -> ContentStore:
    if kind != "remote":
        return SINGLE[kind](where / "contents")
    (where / "contents").mkdir(parents=True)
    return RemoteContents(DirectoryObjects(str(where / "contents")))


def _combined(merkle: str, content: str) -> Make:
    def make(where: Path) -> Shared:
        contents = _content(content, where)
        return Combined(merkle=_merkle(merkle, where, contents), content=contents)

    return make


COMBINED: dict[str, Make] = {
    f"records: {merkle}, contents: {content}": _combined(merkle, content)
    for merkle in SINGLE
    for content in SINGLE
}


def _layered(upper: Callable[[Path], Store], lower: Make) -> Callable[[Path], Layered]:
    return lambda where: Layered(upper(where / "upper"), lower(where / "lower"))


UPPER: dict[str, Callable[[Path], Store]] = {"memory": lambda _: MemoryStore(), "local": local}
TWO: dict[str, Callable[[Path], Layered]] = {
    f"{above} over {below}": _layered(UPPER[above], SINGLE[below]) for above in UPPER for below in SINGLE
}
BUCKETS: dict[str, Make] = {
    "bucket": bucket,
    "records: local, contents: bucket": lambda where: Combined(
        merkle=local(where / "records"), content=RemoteContents(bucket_objects())
    ),
    "S3ContentBackend": contents_in_a_bucket,
}
OVER_BUCKETS = {"local over bucket": _layered(local, bucket)}
THREE: dict[str, Callable[[Path], Layered]] = {
    f"memory over {name}": _layered(UPPER["memory"], TWO[name]) for name in TWO if name.startswith("local")
}
LAYERED = TWO | THREE | OVER_BUCKETS
STORES: dict[str, Callable[[Path], Store]] = {**UPPER, **LAYERED}
CACHES: dict[str, Make] = {"cache": cache, "two caches": two_caches}
OVER_CACHES: dict[str, Callable[[Path], Layered]] = {"local over a cache": _layered(local, cache)}
SHARED: dict[str, Make] = {**SINGLE, **BUCKETS, **COMBINED, **LAYERED, **CACHES, **OVER_CACHES}
