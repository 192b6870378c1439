"""What the judge asks of others: of a store, and of the files there are.

It decides nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from merkl.digest import Digest, Key
from merkl.nodes import Artifact, Node
from merkl.store.base import Discovered, Record


class Lookup(Protocol):
    """What the judge asks of a store."""

    def by_key(self, keys: Sequence[Key]) -> dict[Key, Record]: ...
    def by_content_key(self, keys: Sequence[Key]) -> dict[Key, list[Record]]: ...
    def present(self, artifacts: Iterable[Artifact]) -> set[Digest]: ...
    def read(self, digest: Digest) -> bytes | None: ...


FindChange: TypeAlias = Callable[[Discovered], str | None]
"""The first path of a discovered set that is no longer what it was, or None."""

Further: TypeAlias = Callable[[Sequence[Key]], Mapping[Key, Sequence[Record]]]
"""Records of content keys that cost more to ask for than those of ``Lookup``."""

Heed: TypeAlias = Callable[[Node, Key], object]
"""Told under which content key a node is about to be asked for."""
