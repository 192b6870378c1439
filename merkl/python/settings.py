"""The options of a Python task.

It decides which options there are and which values of each.  It knows no functions.

The invariant: ``Settings`` that were made by ``settings_of`` are sound by themselves; only what depends on the function
is left to ask.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from merkl.errors import TaskError
from merkl.nodes import calling_place
from merkl.python.code import HashMode
from merkl.resources import USUAL, Needs, needs_of, nice_of, retries_of, seconds_of


class TaskOptions(TypedDict, total=False):
    """What ``@task`` takes, by name; what each means is said at ``task``."""

    outs: int | Sequence[str] | None
    version: str
    deps: Sequence[object]
    hash_mode: HashMode
    strict_source: bool
    cache: bool
    portable: bool
    timeout: float | None
    retries: int
    interactive: bool
    nice: int
    resources: Mapping[str, int | str]


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one Python task.  ``outs`` None means: as the return statements say."""

    outs: object = None
    version: str = ""
    deps: tuple[object, ...] = ()
    hash_mode: HashMode = HashMode.FIND_DEPS
    strict_source: bool = False
    cache: bool = True
    portable: bool = True
    timeout: float | None = None
    retries: int = 0
    interactive: bool = False
    nice: int = 0
    needs: Needs = USUAL


def settings_of(options: Mapping[str, Any], decorator: str = "@task") -> Settings:
    """Read the options that ``decorator`` was given.

    Raises:
        TaskError: there is no such option, or its value is none that it can have.
    """
    for name in options:
        if name not in TaskOptions.__annotations__:
            near = difflib.get_close_matches(name, TaskOptions.__annotations__, n=2)
            raise TaskError(
                f"{decorator} has no option {name!r}",
                hint=f"did you mean {' or '.join(near)}?" if near else "docs/python.md lists them",
                at=calling_place(),
            )
    made: dict[str, Any] = {name: value for name, value in options.items() if name != "resources"}
    readers: dict[str, Callable[[Any], Any]] = {
        "deps": tuple,
        "interactive": bool,
        "retries": retries_of,
        "nice": nice_of,
    }
    for name, read in readers.items():
        if name in made:
            made[name] = read(made[name])
    if "timeout" in made:
        made["timeout"] = seconds_of("timeout", made["timeout"])
    if "resources" in options:
        made["needs"] = needs_of(options["resources"])
    settings = Settings(**made)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    if not isinstance(settings.version, str):
        raise TaskError(
            f"version is a string, not {settings.version!r}", at=calling_place(), hint='version="1"'
        )
    if not isinstance(settings.hash_mode, HashMode):
        raise TaskError(f"hash_mode is one of {', '.join(HashMode.__members__)}, not {settings.hash_mode!r}")
    if settings.interactive and settings.timeout is not None:
        raise TaskError(
            "an interactive Python task runs inside merkl, where nothing can stop it after a timeout",
            hint="leave out timeout=, or interactive=True",
            at=calling_place(),
        )
    if settings.interactive and settings.nice:
        raise TaskError(
            "an interactive Python task runs inside merkl, which nice= would slow down for good",
            hint="leave out nice=, or interactive=True",
            at=calling_place(),
        )
