"""Records and helpers that the tests of the store share."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from merkl.digest import Digest, Key, content_key_of, key_of
from merkl.nodes import Artifact
from merkl.store.base import Discovered, Record
from merkl.store.local import LocalStore
from merkl.tree import Tree, TreeEntry

LARGE = 100_001  # Bytes; the first size that is kept in a file.


def large(seed: int = 0, size: int = LARGE) -> bytes:
    """Bytes that differ by ``seed`` and are kept in a file."""
    return (b"%d " % seed * size)[:size]


def record(
    name: str, *data: bytes, key: Key | None = None, content: Key | None = None, **other: Any
) -> tuple[Record, dict[Digest, bytes]]:
    """A record of a node called ``name`` that made ``data``, and the blobs."""
    outputs = {
        f"out{n}": Artifact("file", Digest.of(item), len(item), filename=f"{n}.txt")
        for n, item in enumerate(data)
    }
    made = Record(
        key=key or key_of(name),
        content_key=content or content_key_of(name),
        task=name,
        outputs=other.pop("outputs", outputs),
        inputs=other.pop("inputs", [Digest.of(b"input")]),
        seconds=other.pop("seconds", 1.5),
        started_ns=1_700_000_000_123_456_789,
        **other,
    )
    return made, {Digest.of(item): item for item in data}


def found(**files: bytes | None) -> Discovered:
    """A discovered set of files with those contents."""
    return Discovered({name: None if data is None else Digest.of(data) for name, data in files.items()})


def tree_of(files: dict[bytes, bytes], links: dict[bytes, bytes] | None = None) -> Tree:
    """A directory with those files, those links, and every directory they need."""
    dirs = {part for path in files for part in _parents(path)}
    entries = [TreeEntry(path, "dir") for path in dirs]
    entries += [TreeEntry(path, "file", Digest.of(data), len(data)) for path, data in files.items()]
    entries += [TreeEntry(path, "link", link=target) for path, target in (links or {}).items()]
    return Tree(tuple(sorted(entries, key=lambda entry: entry.path)))


def _parents(path: bytes) -> list[bytes]:
    parts = path.split(b"/")[:-1]
    return [b"/".join(parts[: n + 1]) for n in range(len(parts))]


def blob_path(store: LocalStore, digest: Digest) -> Path:
    """Where a large blob lies."""
    return Path(store.blobs.path(digest))


def overwrite(path: Path | bytes | str, data: bytes) -> None:
    """Write into a file in place, also if it is read-only."""
    where = os.fsencode(path)
    mode = os.stat(where).st_mode
    os.chmod(where, 0o644)
    with open(where, "r+b") as file:
        file.truncate(len(data))
        file.write(data)
    os.chmod(where, mode)


def python(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A process that runs ``code`` with this directory's modules at hand."""
    head = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", head + textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What a process printed; it must end well."""
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0, out
    return out
