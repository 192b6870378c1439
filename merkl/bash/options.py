"""The options of a bash task: what may be said, and what of it enters the key.

It decides which options are wrong, where they are written.  It knows no templates.

The invariant: an ``Options`` that exists is in order.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from merkl.config import system_name
from merkl.dataclass import dataclass
from merkl.errors import TaskError
from merkl.nodes import calling_place, session
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

FORMS: Final[Mapping[object, str]] = {None: "", str: "str", bytes: "bytes", "str": "str", "bytes": "bytes",
                                      "lines": "lines", "json": "json"}  # fmt: skip
VALUE_FORMS: Final = ("str", "bytes", "lines", "json")


@dataclass(frozen=True, slots=True)
class Options:
    """How a bash task runs.  Those marked so are no part of the key.

    ``stdout`` is one of ``VALUE_FORMS``, or empty; ``stdout_file`` is the output parameter that stdout goes to, or empty.
    """

    version: str = ""
    interpreter: str = "bash"
    strict: bool = True
    prelude: str = ""
    cwd: str = ""
    scratch: bool = False
    portable: bool = False
    ok_codes: tuple[int, ...] = (0,)
    env: tuple[tuple[str, str], ...] = ()
    stdout: str = ""
    stdout_file: str = ""
    timeout: float | None = None  # Not in the key; nor are those below.  Seconds.
    retries: int = 0
    interactive: bool = False
    eager: bool = False
    nice: int = 0
    needs: Needs = USUAL
    target: str = ""

    @property
    def identity(self) -> tuple[object, ...]:
        """What of the options enters the key."""
        return (
            self.version,
            self.interpreter,
            self.strict,
            self.prelude,
            self.cwd,
            self.scratch,
            self.ok_codes,
            self.env,
            (self.stdout, self.stdout_file),
            "" if self.portable else system_name(),
        )

    @property
    def shown(self) -> list[tuple[str, str]]:
        """What enters the key and has no other group there, by name, for people."""
        return [
            (name, str(value))
            for name, value in (
                ("version", self.version),
                ("interpreter", self.interpreter),
                ("prelude", self.prelude),
                ("cwd", self.cwd),
                ("stdout", self.stdout or self.stdout_file),
                ("strict", self.strict),
                ("scratch", self.scratch),
                ("ok_codes", self.ok_codes),
                ("portable", self.portable),
            )
        ]


def stdout_form(stdout: object) -> tuple[str, str]:
    """What stdout is: its form, or the template text that declares the file it goes to.

    Raises:
        TaskError: it is neither.
    """
    try:
        return FORMS[stdout], ""
    except (KeyError, TypeError):
        pass
    text = f"{stdout}" if not isinstance(stdout, str) else stdout
    if "out_file_arg" in text:
        return "", text
    raise TaskError(
        f"stdout={stdout!r} is no form of output",
        hint="use str, bytes, 'lines', 'json', or an output file: stdout=\"{out_file_arg('report', '.txt')}\"",
        at=calling_place(),
    )


def options_of(**given: Any) -> Options:
    """The options as they were given, each read by itself; ``resources`` are its ``needs``.

    Raises:
        TaskError: one is wrong.
    """
    readers: dict[str, Callable[[Any], Any]] = {
        "cwd": directory_of, "ok_codes": codes_of, "env": environment_of, "timeout": partial(seconds_of, "timeout"),
        "retries": retries_of, "nice": nice_of, "target": target_of,
        **{name: partial(text_of, name) for name in ("version", "interpreter", "prelude")},
        **{name: partial(flag_of, name) for name in ("strict", "scratch", "portable", "interactive", "eager")},
    }  # fmt: skip
    needs = needs_of(given.pop("resources"))
    return Options(
        needs=needs, **{name: readers[name](it) if name in readers else it for name, it in given.items()}
    )


def check_options(options: Options, *, is_argv: bool) -> Options:
    """Options that are in order.

    Raises:
        TaskError: one is wrong, or two do not fit.
    """
    place = calling_place()
    codes = options.ok_codes
    if not codes or not all(type(code) is int and 0 <= code <= 255 for code in codes):
        raise TaskError(f"ok_codes is a list of exit codes from 0 to 255, not {list(codes)!r}", at=place)
    if options.cwd.startswith("/") or options.cwd.split("/")[0] == "..":
        raise TaskError(f"cwd is a directory inside the project, not {options.cwd!r}", at=place)
    if options.cwd and options.scratch:
        raise TaskError("a task runs in cwd= or in scratch=True, not both", at=place)
    if options.interactive and (options.stdout or options.stdout_file):
        raise TaskError(
            "an interactive task writes to the terminal, so its stdout cannot be its result",
            hint="let the command write to an out_file_arg",
            at=place,
        )
    check_terminal(interactive=options.interactive, eager=options.eager, target=options.target)
    if is_argv and options.prelude:
        raise TaskError("prelude is lines of a script, and argv=[…] has none", at=place)
    return options


def text_of(name: str, value: object) -> str:
    """An option that is a string.

    Raises:
        TaskError: it is not, or holds a NUL byte.
    """
    if not isinstance(value, str):
        raise TaskError(f"{name} is a string, not {value!r}", at=calling_place())
    if "\0" in value:
        raise TaskError(f"{name} has a NUL byte: {value!r:.80}", at=calling_place())
    return value


def directory_of(cwd: object) -> str:
    """``cwd`` in its shortest spelling; empty for the project itself."""
    if isinstance(cwd, os.PathLike):
        cwd = os.fsdecode(cwd)
    text = text_of("cwd", cwd)
    return "" if os.path.normpath(text or ".") == "." else os.path.normpath(text)


def codes_of(codes: object) -> tuple[int, ...]:
    """``ok_codes``, in order, each once; a single number is a list of one.

    Raises:
        TaskError: it is no list.
    """
    if type(codes) is int:
        return (codes,)
    if isinstance(codes, (str, bytes)) or not isinstance(codes, (Sequence, set, frozenset, range)):
        raise TaskError(f"ok_codes is a list of exit codes, not {codes!r}", at=calling_place())
    try:
        return tuple(sorted(set(codes)))
    except TypeError:
        return tuple(codes)  # Whatever is wrong in it is said where all codes are checked.


def names_of(option: str, value: object, example: str) -> tuple[object, ...]:
    """An option that is a list, not one string taken apart.

    Raises:
        TaskError: it is no list.
    """
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TaskError(f"{option} is a list{example}", at=calling_place())
    return tuple(value)


def environment_of(env: Mapping[str, str] | Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The declared environment: a mapping as it is, a list of names with the values they have now.

    Raises:
        TaskError: something in it is no variable.
    """
    if isinstance(env, str):
        raise TaskError(f"env is a mapping, or a list of names such as [{env!r}]", at=calling_place())
    if not isinstance(env, Mapping):
        current = session()
        env = {name: value for name in env if (value := current.environment(name)) is not None}
    for name, value in env.items():
        wrong = not isinstance(name, str) or not isinstance(value, str) or not name
        if wrong or "=" in name or "\0" in name + value:
            raise TaskError(f"env: {name!r} cannot be set to {value!r}", at=calling_place())
    return tuple(sorted(env.items()))
