"""What is said of executors: machines besides this one on which tasks can run.

It decides which settings there are, and that none of them is a secret: credentials come from the environment and from the
files that the programs of a cloud read.  It opens nothing and imports no engine.

The invariant: an ``ExecutorConfig`` that exists either joins a scheduler or makes a cluster, never both.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from merkl.dataclass import dataclass, field, field_names
from merkl.errors import ConfigError, did_you_mean
from merkl.remotes import ELSEWHERE, RemoteConfig, is_secret
from merkl.sizes import size_of

LOCAL: Final = "local"  # This machine; no executor can have the name.
TIMEOUT_S: Final = 30.0
WAIT_S: Final = 300.0
LOSSES: Final = 3
KEEP: Final = 20_000_000_000
_LONGEST_S: Final = 86_400.0
_MOST_WORKERS: Final = 100_000
_ENGINES: Final = ("dask",)
_EXAMPLE: Final = "lab: {engine: dask, address: tcp://scheduler:8786}"
_MAKING: Final = "cluster: dask_jobqueue.SLURMCluster"
# Compiled when they are used: to do so takes longer than all else in here.
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"
_ADDRESS: Final = r"(?P<scheme>[a-z]+)://(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^\s:/@\[\]]+):(?P<port>\d{1,5})"
_CLASS: Final = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+"
_REFERENCE: Final = r"(?i)secret.?name|image.?pull|secret.?key.?ref"  # Of a secret that is elsewhere.
_SCHEMES: Final = ("tcp", "tls", "ucx", "ucxx", "ws", "wss")
_ENCRYPTED: Final = ("tls", "wss")


@dataclass(frozen=True, slots=True)
class Scale:
    """How many workers a cluster is to have; it follows the load between ``least`` and ``most``."""

    least: int
    most: int

    @property
    def fixed(self) -> bool:
        """Whether it is one number whatever the load."""
        return self.least == self.most


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files by which both sides of a connection know each other.  Paths are absolute; ``key`` may be in ``cert``."""

    ca: str
    cert: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class ExecutorConfig:
    """Where tasks run that name it.

    ``address`` is that of a scheduler that runs already; ``cluster`` is the class, by its dotted name, of one to make with
    ``options`` and to close at the end.  ``store`` is a directory that the workers see as well, absolute: the project's remote
    where no other is named, and what data travels by.  ``timeout`` is how many seconds an answer of the scheduler is waited
    for, ``wait`` for how many a build goes on without any worker, ``losses`` how many workers may die under one task before it
    fails.  ``files`` narrows, by patterns, which files of the project a task may discover there that finds its inputs itself.
    ``keep`` is how many bytes of contents a worker's machine keeps when it has no use for them.
    """

    name: str
    engine: str = _ENGINES[0]
    address: str = ""
    cluster: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    scale: Scale | None = None
    security: TlsFiles | None = None
    store: str = ""
    timeout: float = TIMEOUT_S
    wait: float | None = None
    losses: int = LOSSES
    files: tuple[str, ...] = ()
    keep: int = KEEP

    @property
    def patience(self) -> float:
        """For how many seconds a build goes on without a worker: for ever with a cluster, since a queue may take days."""
        if self.wait is not None:
            return self.wait
        return math.inf if self.cluster else WAIT_S

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self.address or self.cluster


_SETTINGS: Final = tuple(name for name in field_names(ExecutorConfig) if name != "name")


def executors_from(given: object, root: str, file: str) -> dict[str, ExecutorConfig]:
    """The section ``executors`` of ``file``, in the directory ``root``.

    Raises:
        ConfigError: one has a setting that is unknown, of the wrong type, or secret.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{file}: executors is a mapping, not {given!r:.80}", hint=f"executors: {{{_EXAMPLE}}}"
        )
    found = {}
    for name, settings in given.items():
        what = f"{file}: executors: {name}"
        if name == LOCAL:
            raise ConfigError(
                f"{what} is this machine, which needs no description", hint="give it another name"
            )
        if not isinstance(name, str) or not re.fullmatch(_NAME, name):
            raise ConfigError(
                f"{file}: executors: {name!r:.80} is no name of an executor",
                hint="a letter, then letters, digits, - _ and ., at most 64",
            )
        if not isinstance(settings, Mapping):
            raise ConfigError(f"{what} is a mapping, not {settings!r:.80}", hint=_EXAMPLE)
        found[name] = _executor(name, settings, root, what)
    return found


def shared_store(executors: Iterable[ExecutorConfig], remote: RemoteConfig | None, file: str) -> str:
    """The directory that data travels by, if one is named; it is the project's remote where there is no other.

    Raises:
        ConfigError: two of them, or one and the remote, are different places: results would be in one of them only.
    """
    named = {each.store: each for each in executors if each.store}
    places = [f"{file}: executors: {each.name}: store is {place}" for place, each in named.items()]
    if remote is not None and remote.url not in named:
        places.append(f"the remote is {remote.url}")
    if named and len(places) > 1:
        raise ConfigError(
            f"data travels by one place, and these differ: {' and '.join(places)}",
            hint="with a remote no store: is needed; without one, all have the same",
        )
    return next(iter(named), "")


def unknown_executor(what: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a target that is no executor; ``what`` says who named it."""
    names = sorted(known)
    if not names:
        hint = "give a number of tasks to run at once: --target 8; others would be described in merkl.yaml under executors:"
    else:
        hint = did_you_mean(
            name, [*names, LOCAL], f"merkl.yaml describes {', '.join(names)}; {LOCAL} is this machine"
        )
    return ConfigError(f"{what}: there is no executor {name!r}", hint=hint)


def _executor(name: str, settings: Mapping[Any, Any], root: str, what: str) -> ExecutorConfig:
    for key in settings:
        if key not in _SETTINGS:
            if is_secret(str(key)):
                raise ConfigError(f"{what}: {key} does not belong in a file that others read", hint=ELSEWHERE)
            raise ConfigError(f"{what} has no setting {key!r}", hint=did_you_mean(str(key), _SETTINGS))
    made: dict[str, Any] = dict(settings)
    _check_engine(settings, what)
    _check_place(settings, what)
    readers: dict[str, Callable[[object, str], object]] = {
        "options": _options, "scale": _scale, "losses": _losses, "files": _patterns, "keep": _keep,
        "timeout": partial(_seconds, "timeout"), "wait": partial(_seconds, "wait"),
    }  # fmt: skip
    for key, read in readers.items():
        if settings.get(key) is not None:
            made[key] = read(settings[key], what)
    if settings.get("security") is not None:
        made["security"] = _tls(settings["security"], root, what)
    if settings.get("store") is not None:
        made["store"] = _path(settings["store"], root, f"{what}: store")
    return ExecutorConfig(name, **{key: value for key, value in made.items() if value is not None})


def _check_engine(settings: Mapping[Any, Any], what: str) -> None:
    engine = settings.get("engine")
    if engine is None:
        raise ConfigError(f"{what} does not say which engine it is", hint=f"engine: dask, as in {_EXAMPLE}")
    if engine not in _ENGINES:
        raise ConfigError(
            f"{what}: there is no engine {engine!r}",
            hint=did_you_mean(str(engine), _ENGINES, f"engines are: {', '.join(_ENGINES)}"),
        )


def _check_place(settings: Mapping[Any, Any], what: str) -> None:
    """See that it says which scheduler, once, and nothing that does not go with that."""
    address, cluster = settings.get("address"), settings.get("cluster")
    if address is not None and cluster is not None:
        raise ConfigError(
            f"{what} has both an address and a cluster: the one joins a scheduler, the other makes one",
            hint="leave out one of them",
        )
    if address is None and cluster is None:
        raise ConfigError(
            f"{what} says neither where its scheduler is nor how to make one",
            hint=f"address: tcp://scheduler:8786, or {_MAKING}",
        )
    if cluster is not None:
        _check_class(cluster, what)
        return
    _check_address(address, settings.get("security") is not None, what)
    for name in ("options", "scale"):
        if settings.get(name) is not None:
            raise ConfigError(
                f"{what}: {name} is for a cluster that merkl makes, and {address} is there already",
                hint=f"leave it out, or write {_MAKING} instead of address",
            )


def _check_class(cluster: object, what: str) -> None:
    if not isinstance(cluster, str) or not re.fullmatch(_CLASS, cluster):
        raise ConfigError(
            f"{what}: cluster is a class with its module, not {cluster!r:.80}", hint=f"such as {_MAKING}"
        )


def _check_address(address: object, secured: bool, what: str) -> None:
    match = re.fullmatch(_ADDRESS, address) if isinstance(address, str) else None
    if match is None:
        if isinstance(address, str) and "@" in address:
            raise ConfigError(
                f"{what}: address has a user or a password in it, which is not shown",
                hint="security: is for TLS files",
            )
        raise ConfigError(
            f"{what}: address is that of a scheduler with its port, not {address!r:.80}",
            hint="such as tcp://scheduler:8786, or tls://scheduler:8786 with security:",
        )
    if match["scheme"] not in _SCHEMES:
        raise ConfigError(
            f"{what}: {match['scheme']}:// is no way to a scheduler",
            hint=did_you_mean(
                match["scheme"], _SCHEMES, f"there are {', '.join(f'{one}://' for one in _SCHEMES)}"
            ),
        )
    if not 1 <= int(match["port"]) <= 65_535:
        raise ConfigError(f"{what}: {match['port']} is no port", hint="a scheduler's own is 8786")
    if secured and match["scheme"] not in _ENCRYPTED:
        raise ConfigError(
            f"{what}: security is for connections with TLS, and {match['scheme']}:// has none",
            hint=f"address: tls://{match['host']}:{match['port']}, if the scheduler has been started with TLS",
        )


def _options(given: object, what: str) -> dict[str, Any]:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ConfigError(
            f"{what}: options are what the class is made with, by name, not {given!r:.80}",
            hint="options: {cores: 8, memory: 32GB}",
        )
    _check_no_secret(given, f"{what}: options", set())
    return dict(given)


def _check_no_secret(given: object, what: str, seen: set[int]) -> None:
    """Refuse a secret at any depth; YAML's aliases may make a cycle of what was ``seen``."""
    if id(given) in seen:
        return
    if isinstance(given, Mapping):
        seen.add(id(given))
        for name, value in given.items():
            plain = isinstance(value, str | int | float) and not isinstance(value, bool)
            if plain and is_secret(str(name)) and not re.search(_REFERENCE, str(name)):
                raise ConfigError(
                    f"{what}: {name} does not belong in a file that others read", hint=ELSEWHERE
                )
            _check_no_secret(value, what, seen)
    elif isinstance(given, list):
        seen.add(id(given))
        for value in given:
            _check_no_secret(value, what, seen)


def _scale(given: object, what: str) -> Scale:
    if isinstance(given, Mapping):
        for name in given:
            if name not in ("min", "max"):
                raise ConfigError(f"{what}: scale has no {name!r}", hint="scale: {min: 0, max: 20}")
        least, most = given.get("min", 0), given.get("max")
    else:
        least = most = given
    for number in (least, most):
        if type(number) is not int or not 0 <= number <= _MOST_WORKERS:
            raise ConfigError(
                f"{what}: scale is a number of workers, or the fewest and the most, not {given!r:.80}",
                hint="scale: 20, or scale: {min: 0, max: 20}",
            )
    assert isinstance(least, int) and isinstance(most, int)
    if most < 1 or most < least:
        raise ConfigError(
            f"{what}: with scale: {given!r} there would be no worker", hint="scale: 1 is the least"
        )
    return Scale(least, most)


def _seconds(name: str, given: object, what: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= _LONGEST_S:
        raise ConfigError(f"{what}: {name} is a number of seconds up to {_LONGEST_S:.0f}, not {given!r:.60}")
    return float(given)


def _losses(given: object, what: str) -> int:
    if type(given) is not int or not 0 <= given <= 1000:
        raise ConfigError(
            f"{what}: losses is how many workers may die under a task, from 0 to 1000, not {given!r:.60}"
        )
    return given


def _keep(given: object, what: str) -> int:
    size = size_of(str(given)) if type(given) is int or isinstance(given, str) else None
    if size is None:
        raise ConfigError(f"{what}: keep is a size, not {given!r:.60}", hint="such as keep: 20GB")
    return size


def _patterns(given: object, what: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(each, str) and each for each in given):
        raise ConfigError(
            f"{what}: files is a list of patterns, not {given!r:.80}", hint='files: ["include/**/*.h"]'
        )
    return tuple(given)


def _tls(given: object, root: str, what: str) -> TlsFiles:
    hint = "security: {ca: ca.pem, cert: client.pem, key: client.key}"
    names = field_names(TlsFiles)
    if not isinstance(given, Mapping):
        raise ConfigError(f"{what}: security is a mapping of files, not {type(given).__name__}", hint=hint)
    for name in given:
        if name not in names:
            raise ConfigError(f"{what}: security has no {name!r}", hint=did_you_mean(str(name), names, hint))
    for name in ("ca", "cert"):
        if given.get(name) is None:
            raise ConfigError(f"{what}: security does not say which file is its {name}", hint=hint)
    found = {name: text for name, text in given.items() if text is not None}
    return TlsFiles(**{name: _path(text, root, f"{what}: security: {name}") for name, text in found.items()})


def _path(given: object, root: str, what: str) -> str:
    if isinstance(given, str) and "-----BEGIN" in given:
        raise ConfigError(f"{what} is a file's path, and this is what should be in that file")
    if not isinstance(given, str) or not given or "\0" in given:
        raise ConfigError(f"{what} is a path, not {given!r:.80}")
    return os.path.normpath(os.path.join(root, os.path.expanduser(given)))
