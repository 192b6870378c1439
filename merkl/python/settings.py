"""The options of a Python task.

It decides which options there are and which values of each.  It knows no functions.

The invariant: ``Settings`` that were made by ``settings_of`` are sound by themselves; only what depends on the function
is left to ask.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, TypedDict

from merkl.dataclass import dataclass, field
from merkl.errors import TaskError, TaskOutsError, did_you_mean
from merkl.nodes import Place, calling_place
from merkl.python.capture import CaptureOption, capture_of
from merkl.python.code import HashMode
from merkl.python.extras import deps_of
from merkl.resources import (
    USUAL,
    Needs,
    check_terminal,
    flag_of,
    needs_of,
    nice_of,
    retries_of,
    seconds_of,
    target_of,
)
from merkl.store.caches import BaseCache, OwnCache
from merkl.store.serializers import Serializer, named

OutsOption: TypeAlias = (
    int | Sequence[str] | Callable[..., int | Sequence[str]] | type[list[Any]] | type[dict[Any, Any]] | None
)


class OtherOptions(TypedDict, total=False):
    """What ``@task`` takes besides ``outs``, by name; what each means is said at ``task``."""

    together: bool
    version: str
    code_version: str
    hash_key: str
    ignore_args: Sequence[str]
    deps: Sequence[object]
    auto_pip_versions: bool
    hash_mode: HashMode
    strict_source: bool
    check: Literal["all", "first", "off"]
    cache: bool | BaseCache | None
    cache_args: bool | None
    cache_metadata: bool
    cache_in_memory: bool
    cache_interrupted: bool
    eager: bool
    portable: bool
    timeout: float | None
    retries: int
    interactive: bool
    nice: int
    resources: Mapping[str, int | str]
    target: str
    serializer: Serializer | str
    serializers: Mapping[str, Serializer | str]


class TaskOptions(OtherOptions, total=False):
    """What ``@task`` takes."""

    outs: OutsOption
    capture: CaptureOption | None


_FLAGS: Final = frozenset(
    "together auto_pip_versions strict_source cache_metadata cache_interrupted eager portable interactive".split()
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one Python task.

    ``outs`` None means: as the return statements say; ``cache_args`` None: of the arguments, plain values are recorded.
    """

    outs: object = None
    capture: tuple[tuple[str, str], ...] = ()
    together: bool = False
    version: str = ""
    hash_key: str = ""
    ignore_args: tuple[str, ...] = ()
    deps: tuple[object, ...] = ()
    auto_pip_versions: bool = False
    hash_mode: HashMode = HashMode.FIND_DEPS
    strict_source: bool = False
    check: Literal["all", "first", "off"] = "first"
    cache: bool = True
    own: OwnCache | None = None
    cache_args: bool | None = None
    cache_metadata: bool = True
    cache_interrupted: bool = False
    eager: bool = False
    portable: bool = True
    timeout: float | None = None
    retries: int = 0
    interactive: bool = False
    nice: int = 0
    needs: Needs = USUAL
    target: str = ""
    serializer: Serializer | None = None
    serializers: Mapping[str, Serializer] = field(default_factory=dict)

    @property
    def names_code(self) -> bool:
        """Whether a name or a version stands in the key instead of the code."""
        return bool(self.version or self.hash_key)


def settings_of(options: Mapping[str, Any], decorator: str = "@task") -> Settings:
    """Read the options that ``decorator`` was given.

    Raises:
        TaskError: there is no such option, or its value is none that it can have.
    """
    for name in options:
        if name not in TaskOptions.__annotations__:
            import difflib

            near = difflib.get_close_matches(name, TaskOptions.__annotations__, n=2)
            raise TaskError(
                f"{decorator} has no option {name!r}",
                hint=f"did you mean {' or '.join(near)}?" if near else "docs/python.md lists them",
                at=calling_place(),
            )
    if "version" in options and "code_version" in options:
        raise TaskError(
            f"{decorator} was given both version= and code_version=, which are the same",
            hint="leave out one of them",
            at=calling_place(),
        )
    made: dict[str, Any] = {name: value for name, value in options.items() if name != "resources"}
    if "code_version" in made:
        made["version"] = made.pop("code_version")
    readers: dict[str, Callable[[Any], Any]] = {
        "deps": deps_of,
        "capture": capture_of,
        "retries": retries_of,
        "nice": nice_of,
        "target": target_of,
        "ignore_args": _ignored_of,
        "serializer": named,
        "serializers": _serializers_of,
    }
    for name, read in readers.items():
        if name in made:
            made[name] = read(made[name])
    for name in _FLAGS & made.keys():
        flag_of(name, made[name])
    if "timeout" in made:
        made["timeout"] = seconds_of("timeout", made["timeout"])
    if "resources" in options:
        made["needs"] = needs_of(options["resources"])
    made |= _cache_of(made.pop("cache", True), made.pop("cache_in_memory", False))
    settings = Settings(**made)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    for name, value in (("version", settings.version), ("hash_key", settings.hash_key)):
        if not isinstance(value, str):
            raise TaskError(f"{name} is a string, not {value!r}", at=calling_place(), hint=f'{name}="1"')
    mode: object = settings.hash_mode
    if not isinstance(mode, HashMode):
        modes = ", ".join(f"HashMode.{name}" for name in HashMode.__members__)
        raise TaskError(f"hash_mode is one of {modes}, not {mode!r:.80}", at=calling_place())
    if settings.check not in ("all", "first", "off"):
        raise TaskError(
            f"check is 'all', 'first' or 'off', not {settings.check!r}",
            hint='of a list, "first" looks at the first item',
            at=calling_place(),
        )
    if settings.capture and (settings.interactive or settings.together):
        why = "together=True: a stream is kept by itself"
        if settings.interactive:
            why = "interactive=True: what it prints goes to the terminal"
        raise TaskOutsError(
            f"capture= does not go with {why}", hint="leave out one of them", at=calling_place()
        )
    if settings.cache_args not in (True, False, None):
        raise TaskError(
            f"cache_args is True or False, not {settings.cache_args!r:.60}",
            hint="True records all of the arguments that JSON can say, False none of them",
            at=calling_place(),
        )
    if settings.interactive and settings.timeout is not None:
        raise TaskError(
            "an interactive Python task runs inside merkl, where nothing can stop it after a timeout",
            hint="leave out timeout=, or interactive=True",
            at=calling_place(),
        )
    check_terminal(interactive=settings.interactive, eager=settings.eager, target=settings.target)
    if settings.interactive and settings.nice:
        raise TaskError(
            "an interactive Python task runs inside merkl, which nice= would slow down for good",
            hint="leave out nice=, or interactive=True",
            at=calling_place(),
        )


def _cache_of(cache: object, in_memory: object) -> dict[str, Any]:
    """What ``cache`` and ``cache_in_memory`` mean: whether results are kept, and where besides the store."""
    if isinstance(cache, type) and issubclass(cache, BaseCache):
        raise TaskError(
            f"cache is a cache, and {cache.__name__} is a class of them",
            hint=f"cache={cache.__name__}(…)",
            at=calling_place(),
        )
    if cache is not None and not isinstance(cache, bool | BaseCache):
        raise TaskError(
            f"cache is True, False, None or a cache, not {cache!r:.60}",
            hint="class MyCache(merkl.BaseCache), with get and add; docs/python.md has one",
            at=calling_place(),
        )
    own = cache if isinstance(cache, BaseCache) else None
    made = OwnCache(own, in_memory=bool(in_memory)) if own is not None or in_memory else None
    return {"cache": own is not None or bool(cache), "own": made}


def _serializers_of(given: object) -> dict[str, Serializer]:
    if not isinstance(given, Mapping):
        raise TaskError(
            f"serializers is a dict from outputs and parameters to serializers, not {given!r:.80}",
            hint='serializers={"frame": "parquet"}; for the only output, serializer="parquet"',
            at=calling_place(),
        )
    return {str(name): named(serializer) for name, serializer in given.items()}


def _ignored_of(names: object) -> tuple[str, ...]:
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise TaskError(
            f"ignore_args is a list of names of parameters, not {names!r:.80}",
            hint='ignore_args=["verbose"]',
            at=calling_place(),
        )
    given: list[object] = list(names)
    for name in given:
        if not isinstance(name, str):
            raise TaskError(
                f"ignore_args holds names of parameters, and {name!r:.80} is none",
                hint='ignore_args=["verbose"]',
                at=calling_place(),
            )
    return tuple(map(str, given))


def check_ignored(settings: Settings, signature: inspect.Signature, task: str, at: Place) -> None:
    """See that what a task ignores are its parameters, or names that its ``**`` parameter takes.

    Raises:
        TaskError: one is neither.
    """
    parameters = signature.parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in settings.ignore_args:
        if name not in parameters:
            raise TaskError(
                f"{task}: ignore_args names {name!r}, which is no parameter of {task}{signature}",
                hint=did_you_mean(name, parameters, f"its parameters are {', '.join(parameters) or 'none'}"),
                at=at,
            )
