"""Settings: merkl.yaml, environment variables and flags, merged into one frozen ``Config``.

It decides where the project begins and which setting wins: a flag, then the environment, then merkl.yaml, then the
default.  It knows no command line: the flags come as a mapping.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from merkl.errors import ConfigError, did_you_mean

MERKLFILE: Final = "Merklfile.py"
CONFIG_FILE: Final = "merkl.yaml"
STATE_DIR: Final = (
    ".merkl"  # In the project's root: index, views, staging, and the store unless it is shared.
)


@dataclass(frozen=True, slots=True)
class Config:
    """What a build is told.  Paths are absolute.

    ``jobs`` is how many tasks run at once; ``project_modules`` are dotted prefixes of modules that count as the
    project's own code wherever their files are.
    """

    root: str
    merklfile: str | None = None
    store: str = ""
    jobs: int = 1
    keep_going: bool = False
    dry_run: bool = False
    force: bool = False
    rehash: bool = False
    project_modules: tuple[str, ...] = ()
    settings: Mapping[str, Any] | None = None  # merkl.yaml's own content, for sections read elsewhere.

    @property
    def state(self) -> str:
        """The project's ``.merkl`` directory."""
        return os.path.join(self.root, STATE_DIR)


_KNOWN: Final = (
    "store",
    "jobs",
    "project_modules",
    "keep_going",
    "target",
    "snapshot",
    "remote",
    "executors",
)


def find_root(start: str) -> str | None:
    """The nearest directory from ``start`` upward that has a Merklfile, merkl.yaml or ``.merkl``, or None."""
    here = os.path.abspath(start)
    while True:
        for name in (MERKLFILE, "Merklfile.yaml", CONFIG_FILE, STATE_DIR):
            if os.path.lexists(os.path.join(here, name)):
                return here
        parent = os.path.dirname(here)
        if parent == here:
            return None
        here = parent


def load_config(root: str, *, environ: Mapping[str, str] | None = None, **flags: Any) -> Config:
    """Merge the settings of the project at ``root``.  A flag that is None was not given.

    Raises:
        ConfigError: merkl.yaml cannot be read, or has an unknown or ill-typed setting; or MERKL_JOBS is no number.
    """
    environ = os.environ if environ is None else environ
    settings = _read_settings(os.path.join(root, CONFIG_FILE))
    merged: dict[str, Any] = {
        "jobs": _default_jobs(),
        "store": os.path.join(root, STATE_DIR, "store"),
        "settings": settings,
    }
    if "jobs" in settings:
        merged["jobs"] = _positive(settings["jobs"], f"{CONFIG_FILE}: jobs")
    if environ.get("MERKL_JOBS"):
        merged["jobs"] = _positive(environ["MERKL_JOBS"], "MERKL_JOBS")
    store = environ.get("MERKL_STORE") or settings.get("store")
    if store:
        if not isinstance(store, str):
            raise ConfigError(f"{CONFIG_FILE}: store is a path, not {store!r}")
        merged["store"] = os.path.join(root, os.path.expanduser(store))
    if "keep_going" in settings:
        merged["keep_going"] = bool(settings["keep_going"])
    modules = settings.get("project_modules", ())
    if isinstance(modules, str) or not all(isinstance(module, str) for module in modules):
        raise ConfigError(f"{CONFIG_FILE}: project_modules is a list of module names, not {modules!r}")
    merged["project_modules"] = tuple(modules)
    return replace(
        Config(root=root, **merged), **{name: value for name, value in flags.items() if value is not None}
    )


def _default_jobs() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _positive(value: object, what: str) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigError(f"{what} is a number of tasks from 1 up, not {value!r}")
    return number


def _read_settings(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{CONFIG_FILE} cannot be read: {error}", file=path) from error
    import yaml  # Only where there is something to read: it costs 14 ms.

    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{CONFIG_FILE} is not valid YAML: {getattr(error, 'problem', error)}", at=f"{path}{line}"
        ) from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{CONFIG_FILE} must be a mapping of settings", file=path)
    for name in settings:
        if name not in _KNOWN:
            raise ConfigError(
                f"{CONFIG_FILE} has an unknown setting {name!r}",
                hint=did_you_mean(str(name), _KNOWN),
                file=path,
            )
    return settings


def system_name() -> str:
    """The kind of machine that results of commands belong to, such as ``linux-x86_64-gnu``."""
    machine = os.uname().machine
    try:
        libc = "gnu" if os.confstr("CS_GNU_LIBC_VERSION") else "other"
    except (ValueError, OSError):  # musl, macOS
        libc = "musl" if sys.platform == "linux" else "system"
    return f"{sys.platform}-{machine}-{libc}"
