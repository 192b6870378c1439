"""``merkl doctor``: what merkl needs from this machine, and what is there.

It decides which lack is a fault (exit 1) and which only costs a feature or time.

The invariant: it changes nothing but a few files of its own that it removes again.
"""

import json
import os
import platform
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import click

from merkl import __version__
from merkl.bash.shell import bash_on, version_of
from merkl.cli.disks import disk_findings
from merkl.cli.finding import Finding, Verdict
from merkl.cli.opening import paint_of
from merkl.cli.options import Command, Options, options_of, shared
from merkl.config import Config, system_name
from merkl.errors import MerklError, TaskFailed
from merkl.report.words import one_line

_PACKAGES: Final = (
    "blake3", "click", "cloudpickle", "jinja2", "PyYAML", "xxhash",
)  # fmt: skip
_OPTIONAL: Final = {"numpy": "arrays as .npy", "pyarrow": "tables as Parquet"}
_STYLES: Final[dict[Verdict, str]] = {"ok": "good", "lacks": "warning", "broken": "bad"}
_FILES: Final = 64  # Descriptors that merkl itself may have open, and
_FILES_OF_A_JOB: Final = 8  # that a task that runs may need.
_INOTIFY: Final = "/proc/sys/fs/inotify"
_WATCHES: Final = 8_192  # Directories of a tree of some size.


@click.command(cls=Command, short_help="Check what merkl needs from this machine.")
@shared("json")
@click.pass_context
def command(context: click.Context) -> int:
    """Say which versions are here, where the store is, and what the file system can do; load no Merklfile.

    Of a remote, it is tried whether it answers, can be written, has the right time and keeps what was there first.

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
    yield bash_finding(os.environ.get("PATH", os.defpath))
    yield from _packages()
    import sqlite3

    yield Finding("sqlite", "ok", sqlite3.sqlite_version)
    yield _kernel()
    yield from _watches()
    yield _strace()
    try:
        config = options.config()
    except MerklError as error:
        yield Finding("settings", "broken", str(error).replace("\n", "; "))
        return
    yield open_files(config)
    yield from disk_findings(config)
    if config.remote is not None:
        from merkl.cli.remotes import remote_findings

        yield from remote_findings(config)
    if config.executors:
        from merkl.cli.executors import executor_findings

        yield from executor_findings(config)


def bash_finding(path: str) -> Finding:
    """Whether commands can run with this PATH."""
    try:
        found = bash_on(path)
    except TaskFailed as error:
        return Finding("bash", "broken", f"{error.headline}; {error.hint}")
    if found is None:
        return Finding("bash", "broken", "not on PATH: bash tasks cannot run")
    number = version_of(found)
    if number is None:
        return Finding("bash", "broken", f"{found} does not say its version")
    return Finding("bash", "ok", f"{number[0]}.{number[1]}, {found}")


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


# ---- the kernel ----------------------------------------------------------------------------------------------------


def _kernel() -> Finding:
    """What Linux has and others have not; each has a slower or weaker substitute."""
    lacks = []
    if not hasattr(os, "memfd_create") or not os.path.isdir("/dev/fd"):
        lacks.append("files in memory (scripts are written to disk)")
    if not _has_pidfds():
        lacks.append("descriptors of processes (commands are asked now and then whether they have ended)")
    if sys.platform != "linux":
        lacks.append("subreapers (a process that leaves its task's session outlives the build)")
    if lacks:
        return Finding("kernel", "lacks", f"no {'; no '.join(lacks)}")
    return Finding("kernel", "ok", "files in memory, descriptors of processes, subreapers")


def _has_pidfds() -> bool:
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return False
    try:
        os.close(opener(os.getpid()))
    except OSError:  # A kernel before 5.3, or a sandbox.
        return False
    return True


def open_files(config: Config) -> Finding:
    """Whether as many tasks can run at once as the settings say."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES + _FILES_OF_A_JOB * config.jobs
    text = "no limit" if soft == resource.RLIM_INFINITY else f"{soft:,} at once"
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return Finding("open files", "ok", text)
    most = (
        ""
        if hard == resource.RLIM_INFINITY or hard >= needed
        else f", which this user may not: {hard:,} is the most"
    )
    return Finding(
        "open files", "lacks", f"{text}, and -j{config.jobs} may need {needed:,} (ulimit -n {needed}{most})"
    )


def _watches() -> Iterator[Finding]:
    """How many directories can be watched for changes; nothing where there is no inotify."""
    try:
        watches, instances = (_number(f"{_INOTIFY}/max_user_{what}") for what in ("watches", "instances"))
    except (OSError, ValueError):
        return
    text = f"{watches:,} directories, by {instances:,} programs"
    few = f"{text}: few for a large tree (sysctl fs.inotify.max_user_watches=524288)"
    yield Finding("watches", "ok" if watches >= _WATCHES else "lacks", text if watches >= _WATCHES else few)


def _strace() -> Finding:
    """Whether ``build --check-deps`` can look at commands."""
    from merkl.tracing.strace import find_strace

    strace, lack = find_strace()
    if strace is None:
        return Finding("strace", "lacks", f"{lack}: build --check-deps sees less")
    slow = "" if strace.filters else ", an old one: build --check-deps is slow"
    return Finding("strace", "ok", f"{strace.program}{slow}")


def _number(path: str) -> int:
    with open(path, "rb") as file:
        return int(file.read())
