"""``merkl doctor``: what merkl needs from this machine, and what is there.

It decides which lack is a fault (exit 1) and which only costs a feature or time.

The invariant: it changes nothing but a few files of its own that it removes again.
"""

import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Literal

import click

from merkl import __version__
from merkl.cli.opening import paint_of
from merkl.cli.options import Command, Options, options_of, shared
from merkl.config import Config, find_root, system_name
from merkl.digest import Key
from merkl.errors import MerklError
from merkl.report.words import one_line, size
from merkl.store.locks import RunLocks
from merkl.workspace.copying import clone

Verdict = Literal["ok", "lacks", "broken"]
OLDEST_BASH: Final = (4, 4)
_PACKAGES: Final = (
    "blake3", "click", "cloudpickle", "jinja2", "PyYAML", "xxhash",
)  # fmt: skip
_OPTIONAL: Final = {"numpy": "arrays as .npy", "pyarrow": "tables as Parquet"}
_STYLES: Final[dict[Verdict, str]] = {"ok": "good", "lacks": "warning", "broken": "bad"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``broken`` means that merkl does not work, ``lacks`` that something is missing."""

    what: str
    verdict: Verdict
    text: str


@click.command(cls=Command, short_help="Check what merkl needs from this machine.")
@shared("json")
@click.pass_context
def command(context: click.Context) -> int:
    """Say which versions are here, where the store is, and what the file system can do; load no Merklfile.

    Exit code: 0 if merkl works here, 1 otherwise.
    """
    options = options_of(context)
    findings = list(_findings(options))
    if options.json:
        sys.stdout.write(
            json.dumps({"version": 1, "findings": [asdict(each) for each in findings]}, indent=2) + "\n"
        )
    else:
        paint = paint_of(options, sys.stdout)
        width = max(len(each.what) for each in findings)
        for each in findings:
            verdict = paint(f"{each.verdict:<6}", _STYLES[each.verdict])
            sys.stdout.write(f"{verdict}  {each.what:<{width}}  {one_line(each.text)}\n")
    return 1 if any(each.verdict == "broken" for each in findings) else 0


def _findings(options: Options) -> Iterator[Finding]:
    yield Finding(
        "merkl", "ok", f"{__version__}, in {os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}"
    )
    yield Finding("python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield Finding("system", "ok", f"{system_name()}, {platform.platform()}")
    yield bash_finding(shutil.which("bash"))
    yield from _packages()
    import sqlite3

    yield Finding("sqlite", "ok", sqlite3.sqlite_version)
    try:
        config = options.config()
    except MerklError as error:
        yield Finding("settings", "broken", str(error).replace("\n", "; "))
        return
    yield from _places(config)


def bash_finding(found: str | None) -> Finding:
    """Whether commands can run: bash has ``inherit_errexit`` since 4.4."""
    if found is None:
        return Finding("bash", "broken", "not on PATH: bash tasks cannot run")
    try:
        done = subprocess.run(
            [found, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("bash", "broken", f"{found} does not run: {error}")
    match = re.search(r"version (\d+)\.(\d+)(\S*)", done.stdout)
    if match is None:
        return Finding("bash", "broken", f"{found} does not say its version")
    number = f"{match[1]}.{match[2]}{match[3]}, {found}"
    if (int(match[1]), int(match[2])) < OLDEST_BASH:
        return Finding("bash", "broken", f"{number}: bash tasks need 4.4 or newer (macOS: brew install bash)")
    return Finding("bash", "ok", number)


def _packages() -> Iterator[Finding]:
    lacking = [name for name in _PACKAGES if _version(name) is None]
    if lacking:
        yield Finding("packages", "broken", f"not installed: {', '.join(lacking)}")
    else:
        yield Finding("packages", "ok", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    for name, use in _OPTIONAL.items():
        found = _version(name)
        lack = f"not installed: no {use} (pip install 'merkl[data]')"
        yield Finding(name, "lacks" if found is None else "ok", lack if found is None else found)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _refusal(directory: str) -> str:
    """Why a store that is there cannot be read; empty if it can."""
    from merkl.store.local import LocalStore

    try:
        store = LocalStore(directory)
        store.by_key([Key(bytes(32))])
        store.close()
    except MerklError as error:
        return error.headline
    return ""


def _places(config: Config) -> Iterator[Finding]:
    """The project, the store, and what their file systems can do."""
    project = find_root(config.root)
    if project is None:
        yield Finding("project", "lacks", f"none here or above ({config.root}): `merkl init` makes one")
    else:
        yield Finding("project", "ok", project)
    store = _nearest(config.store)
    made = "" if store == config.store else ", not made yet"
    refused = "" if made else _refusal(config.store)
    yield Finding(
        "store",
        "broken" if refused else "ok",
        refused or f"{config.store}, {size(disk_size(config.store))}{made}",
    )
    if not os.access(store, os.W_OK | os.X_OK):
        yield Finding("writing", "broken", f"{store} cannot be written: results are not kept")
        return
    free = shutil.disk_usage(store).free
    yield Finding("free space", "ok" if free > 100_000_000 else "lacks", size(free))
    with _scratch(store) as folder:
        if folder is None:
            yield Finding("writing", "broken", f"{store} cannot be written: results are not kept")
            return
        yield _locks(folder)
        yield _reflink(folder)
        if os.stat(store).st_dev != os.stat(config.root).st_dev:
            yield Finding(
                "store's disk", "lacks", "not that of the project: outputs are copied instead of moved"
            )


def _nearest(path: str) -> str:
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


@contextlib.contextmanager
def _scratch(store: str) -> Iterator[str | None]:
    """A directory beside what is to be judged."""
    try:
        folder = tempfile.mkdtemp(prefix=".merkl-doctor-", dir=store)
    except OSError:
        yield None
        return
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _locks(folder: str) -> Finding:
    """Whether one node can be kept from running twice."""
    key = Key(bytes(32))
    with open(os.path.join(folder, "flock"), "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return Finding("locks", "broken", f"flock does not work here: {error.strerror}")
    one, other = RunLocks(folder), RunLocks(folder)
    try:
        held = one.try_lock(key, "doctor")
        if held is not None and other.try_lock(key, "doctor") is None:
            return Finding("locks", "ok", "flock and byte locks work")
        return Finding("locks", "lacks", "no byte locks here: two builds at once may run a task twice")
    finally:
        one.close()
        other.close()


def _reflink(folder: str) -> Finding:
    source, target = (os.path.join(folder, name) for name in ("source", "target"))
    with open(source, "wb") as file:
        file.write(bytes(8192))
    with open(source, "rb") as reader, open(target, "wb") as writer:
        if clone(reader.fileno(), writer.fileno()):
            return Finding("reflink", "ok", "outputs share their blocks with the store")
    return Finding(
        "reflink", "lacks", "not on this file system: outputs in place are copies (XFS, Btrfs, APFS have it)"
    )


def disk_size(directory: str) -> int:
    """Bytes in all files below a directory; 0 if it is not there."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total
