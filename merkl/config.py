"""Settings: merkl.yaml, environment variables and flags, merged into one frozen ``Config``.

It decides where the project begins and which setting wins: a flag, then the environment, then merkl.yaml, then the
default.  It knows no command line: the flags come as a mapping.
"""

import functools
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from merkl.dataclass import dataclass, field, replace
from merkl.errors import ConfigError, did_you_mean
from merkl.remotes import RemoteConfig as RemoteConfig
from merkl.remotes import remote_from
from merkl.root import CONFIG_FILE as CONFIG_FILE
from merkl.root import MERKLFILE as MERKLFILE
from merkl.root import MERKLFILE_YAML as MERKLFILE_YAML
from merkl.root import STATE_DIR as STATE_DIR
from merkl.root import find_root as find_root
from merkl.sizes import size_of
from merkl.snapshot.answer import processors

if TYPE_CHECKING:
    from merkl.executors import ExecutorConfig

QUIET: Final = "quiet"
OUTPUTS: Final = ("each", "live", QUIET)  # When to show what tasks print; the first is the default.
CRITICAL_PATH: Final = "critical-path"
ORDERS: Final = ("code", CRITICAL_PATH)  # Which ready task starts first; likewise.
JOBSERVERS: Final = ("pipe", "fifo", "off")  # In which form children see the jobserver; likewise.


@dataclass(frozen=True, slots=True)
class Config:
    """What a build is told.  Paths are absolute.

    ``jobs`` is how many tasks run at once, ``jobs_asked`` if somebody said so for this build; a ``frozen`` build fails rather than run one; with ``check_deps`` it tells what tasks use and do not declare, with ``strict_deps`` as well it refuses that; ``project_modules`` are dotted prefixes of modules that count as the
    project's own code wherever their files are.  ``target`` is the executor of tasks that name none, empty for this machine;
    with ``only_here`` those run here as well that name one.
    """

    root: str
    merklfile: str | None = None
    store: str = ""
    jobs: int = 1
    jobs_asked: bool = False
    order: str = ORDERS[0]
    jobserver: str = JOBSERVERS[0]
    keep_going: bool = False
    dry_run: bool = False
    force: bool = False
    rehash: bool = False
    frozen: bool = False
    check_deps: bool = False
    strict_deps: bool = False
    project_modules: tuple[str, ...] = ()
    remote: RemoteConfig | None = None
    executors: Mapping[str, "ExecutorConfig"] = field(default_factory=dict)
    target: str = ""
    only_here: bool = False
    output: str = OUTPUTS[0]
    snapshot: bool = True
    log_limit: int = 16_000_000  # Bytes of a log that the store keeps: its first and its last half of them.
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
    "log_limit",
    "output",
    "target",
    "snapshot",
    "remote",
    "trust",
    "executors",
    "order",
    "jobserver",
    "resources",
)


def is_yaml(path: str) -> bool:
    """Whether a Merklfile is one in YAML, by its name."""
    return path.endswith((".yaml", ".yml"))


def load_config(root: str, *, environ: Mapping[str, str] | None = None, **flags: Any) -> Config:
    """Merge the settings of the project at ``root``.  A flag that is None was not given.

    Raises:
        ConfigError: merkl.yaml cannot be read, or has an unknown or ill-typed setting; or MERKL_JOBS is no number; or
            there is no such target to run on.
    """
    environ = os.environ if environ is None else environ
    settings = _read_settings(os.path.join(root, CONFIG_FILE))
    merged: dict[str, Any] = {
        **_jobs(settings, environ, flags),
        **_executors(settings, root, flags.pop("target", None)),
        "store": os.path.join(root, STATE_DIR, "store"),
        "settings": settings,
    }
    store = environ.get("MERKL_STORE") or settings.get("store")
    if store:
        if not isinstance(store, str):
            raise ConfigError(f"{CONFIG_FILE}: store is a path, not {store!r}")
        merged["store"] = os.path.join(root, os.path.expanduser(store))
    merged["remote"] = remote_from(settings.get("remote"), environ.get("MERKL_REMOTE", ""), CONFIG_FILE)
    if merged.get("executors"):
        from merkl.executors import shared_store

        store = shared_store(merged["executors"].values(), merged["remote"], CONFIG_FILE)
        merged["remote"] = merged["remote"] or (RemoteConfig(store) if store else None)
    for flag in ("push", "required"):
        if flags.pop(flag, None):
            merged["remote"] = _asked_of(merged["remote"], flag)
    for name in ("keep_going", "snapshot"):
        if name in settings:
            if not isinstance(settings[name], bool):
                raise ConfigError(f"{CONFIG_FILE}: {name} is true or false, not {settings[name]!r}")
            merged[name] = settings[name]
    modules = settings.get("project_modules", [])
    if not isinstance(modules, list) or not all(isinstance(module, str) for module in modules):
        raise ConfigError(f"{CONFIG_FILE}: project_modules is a list of module names, not {modules!r}")
    merged["project_modules"] = tuple(modules)
    for name, words in (("output", OUTPUTS), ("order", ORDERS), ("jobserver", JOBSERVERS)):
        if name in settings:
            merged[name] = _word(name, settings[name], words)
    if "log_limit" in settings:
        merged["log_limit"] = _size(settings["log_limit"], f"{CONFIG_FILE}: log_limit")
    return replace(
        Config(root=root, **merged), **{name: value for name, value in flags.items() if value is not None}
    )


def _word(name: str, given: object, words: tuple[str, ...]) -> str:
    given = "off" if given is False else given  # As YAML reads it.
    if given not in words:
        raise ConfigError(f"{CONFIG_FILE}: {name} is {', '.join(words[:-1])} or {words[-1]}, not {given!r}")
    return str(given)


def _jobs(
    settings: Mapping[str, Any], environ: Mapping[str, str], flags: dict[str, Any]
) -> dict[str, int | bool]:
    """How many tasks run at once: ``jobs``, which is taken out of ``flags``, and a ``target`` that is a number are one."""
    asked = _one_of(
        ("-j", flags.pop("jobs", None), _positive),
        ("--target", _number(flags.get("target")), _positive),
    )
    if asked is None and environ.get("MERKL_JOBS"):
        asked = _positive(environ["MERKL_JOBS"], "MERKL_JOBS")
    if asked is not None:
        return {"jobs": asked, "jobs_asked": True}
    written = _one_of(
        (f"{CONFIG_FILE}: jobs", settings.get("jobs"), _positive),
        (f"{CONFIG_FILE}: target", _number(settings.get("target")), _positive),
    )
    return {"jobs": processors() if written is None else written}


def _one_of(*given: tuple[str, object, Callable[[object, str], int]]) -> int | None:
    """The number that is given under one name, or under two if they agree."""
    found = [(read(value, what), what) for what, value, read in given if value is not None]
    if len({number for number, _ in found}) > 1:
        said = " and ".join(f"{what} is {number}" for number, what in found)
        raise ConfigError(f"these say the same thing, and differ: {said}", hint="leave out one of them")
    return found[0][0] if found else None


def _number(target: object) -> object:
    """A target that says how many tasks run at once here; None if it names an executor."""
    return target if str(target).isdecimal() else None


def _executors(settings: Mapping[str, Any], root: str, flag: object) -> dict[str, Any]:
    """The executors there are, and which is that of tasks that name none."""
    written = settings.get("target")
    asked = [("--target", flag), (f"{CONFIG_FILE}: target", written)]
    only_here = flag == "local"
    if settings.get("executors") is None and all(_is_here(target) for _, target in asked):
        return {"only_here": only_here}
    from merkl.executors import executors_from, unknown_executor

    found = executors_from(settings.get("executors"), root, CONFIG_FILE)
    for what, target in asked:
        if not _is_here(target) and (not isinstance(target, str) or target not in found):
            raise unknown_executor(what, str(target), found)
    chosen = written if flag is None else flag
    return {"executors": found, "target": "" if _is_here(chosen) else chosen, "only_here": only_here}


def with_target(config: Config, target: object) -> Config:
    """The same, as ``--target`` with the name of an executor, or with ``local``, would have it.

    Raises:
        ConfigError: there is no such executor.
    """
    if target == "local":
        return replace(config, target="", only_here=True)
    if not isinstance(target, str) or target not in config.executors:
        from merkl.executors import unknown_executor

        raise unknown_executor("target", str(target), config.executors)
    return replace(config, target=target, only_here=False)


def _is_here(target: object) -> bool:
    """Whether a target is this machine: none at all, its name, or a number of tasks at once."""
    return target is None or target == "local" or _number(target) is not None


def _asked_of(remote: RemoteConfig | None, flag: str) -> RemoteConfig:
    if remote is None:
        option = "--push" if flag == "push" else "--require-remote"
        raise ConfigError(
            f"{option} needs a remote, and there is none",
            hint="write remote: {url: /mnt/team/merkl} into merkl.yaml, or set MERKL_REMOTE",
        )
    return replace(remote, push=True) if flag == "push" else replace(remote, required=True)


def _positive(value: object, what: str) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigError(f"{what} is a number of tasks from 1 up, not {value!r}")
    return number


def _size(value: object, what: str) -> int:
    count = size_of(str(value))
    if count is None:
        raise ConfigError(f"{what} is a size such as 16MB, not {value!r}")
    return count


def _read_settings(path: str) -> dict[str, Any]:
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # To open a pipe would wait for ever.
            raise ConfigError(f"{CONFIG_FILE} is not a regular file", file=path)
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{CONFIG_FILE} cannot be read: {error}", file=path) from error
    import yaml  # Only where there is something to read: it costs 14 ms.

    try:
        settings = yaml.safe_load(text)
        _expect_names_once(yaml.compose(text), path, set())
    except ValueError as error:  # A date that is none.
        raise ConfigError(f"{CONFIG_FILE} is not valid YAML: {error}", at=path) from error
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


def _expect_names_once(node: Any, path: str, done: set[int]) -> None:
    """Refuse a mapping that gives a name twice: YAML would quietly take the last.  An alias may lead back to ``done``."""
    if getattr(node, "id", "") != "mapping" or id(node) in done:
        return
    done.add(id(node))
    seen: dict[Any, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.value in seen:
            raise ConfigError(
                f"{CONFIG_FILE}: {key.value!r} is given twice, first in line {seen[key.value]}",
                at=f"{path}:{line}",
                hint="take out one of them",
            )
        seen[key.value] = line
        _expect_names_once(value, path, done)


@functools.cache
def system_name() -> str:
    """The kind of machine that results of commands belong to, such as ``linux-x86_64-gnu``."""
    machine = os.uname().machine
    try:
        libc = "gnu" if os.confstr("CS_GNU_LIBC_VERSION") else "other"
    except (ValueError, OSError):  # musl, macOS
        libc = "musl" if sys.platform == "linux" else "system"
    return f"{sys.platform}-{machine}-{libc}"
