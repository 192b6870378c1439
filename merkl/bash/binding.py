"""Calls of a task: which argument is which parameter, and whether it fits.

It decides what a wrong call is.  It reads no files and knows no Futures: a caller says what is known of an object's name.

The invariant: what it returns has a value for every parameter, in the order of the template.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from merkl.bash.placeholders import (
    REQUIRED,
    Arg,
    ArgFile,
    DepfileArg,
    DirArg,
    EnvArg,
    FileArg,
    FilesArg,
    FlagArg,
    OutDirArg,
    OutFileArg,
    Placeholder,
    SecretArg,
    fits,
    one_of,
    spell,
)
from merkl.dataclass import dataclass
from merkl.errors import CallError, did_you_mean

if TYPE_CHECKING:  # It takes long to import, and a task that is kept is not called.
    import inspect

NameOf = Callable[[object], str | None]
"""Gets an object that is no path; returns the name of the file it stands for, if that is known."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a template asks for.  ``single`` are those that stand where exactly one word must be.

    ``positional`` are those that may be given by position, and ``required`` those of them that must be given.
    """

    placeholders: Mapping[str, Placeholder]
    single: frozenset[str]
    positional: tuple[str, ...]
    required: tuple[str, ...]

    @property
    def signature(self) -> "inspect.Signature":
        """Those without a default first; outputs, depfile, environment and secrets by keyword only."""
        from inspect import Parameter, Signature

        found = []
        for name in self.positional:
            placeholder = self.placeholders[name]
            hint = placeholder.type if isinstance(placeholder, Arg) and placeholder.type else Parameter.empty
            default = Parameter.empty if name in self.required else _default(placeholder)
            found.append(Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=hint))
        named = [name for name in self.placeholders if name not in self.positional]
        return Signature([*found, *(Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in named)])


def parameters_of(placeholders: Mapping[str, Placeholder], single: frozenset[str]) -> Parameters:
    """Put them in order: of those that may be given by position, the ones without a default come first."""
    named = (OutFileArg, OutDirArg, DepfileArg, EnvArg, SecretArg)
    placed = {name: _default(each) for name, each in placeholders.items() if not isinstance(each, named)}
    required = tuple(name for name, default in placed.items() if default is REQUIRED)
    optional = tuple(name for name, default in placed.items() if default is not REQUIRED)
    return Parameters(placeholders, single, required + optional, required)


def _default(placeholder: Placeholder) -> object:
    match placeholder:
        case FileArg(default=default) | DirArg(default=default):
            return default
        case Arg(default=default):
            return default
        case FlagArg():
            return False
        case _:
            return REQUIRED


def bind(
    parameters: Parameters,
    task: str,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    *,
    may_be_file: NameOf | None = None,
) -> dict[str, object]:
    """The arguments by parameter, defaults filled in, outputs and environment None if not given.

    Raises:
        CallError: the call does not fit; the message names task, parameter, what was passed, and the signature.
    """
    call = _Call(parameters, task, may_be_file or (lambda _: None))
    given = call.given(args, kwargs)
    return {
        name: call.value(placeholder, given.get(name, _ABSENT))
        for name, placeholder in parameters.placeholders.items()
    }


_ABSENT: Final = object()
_NO_FILES: Final = (bool, int, float, complex, list, tuple, dict, set, frozenset, bytearray)


class _Call:
    def __init__(self, parameters: Parameters, task: str, name_of: NameOf) -> None:
        self.parameters = parameters
        self.task = task
        self.name_of = name_of

    def fail(self, problem: str, hint: str = "") -> NoReturn:
        raise CallError(
            f"{self.task}: {problem}", hint=hint, signature=f"{self.task}{self.parameters.signature}"
        )

    def given(self, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
        positional = self.parameters.positional
        if len(args) > len(positional):
            surplus = _shown(args[len(positional)])
            by_name = [name for name in self.parameters.placeholders if name not in positional]
            hint = f"pass {', '.join(by_name)} by name" if by_name else ""
            self.fail(f"takes {len(positional)} arguments, not {len(args)}; nothing takes {surplus}", hint)
        given = dict(zip(positional, args, strict=False))
        for name, value in kwargs.items():
            if name not in self.parameters.placeholders:
                known = self.parameters.signature.parameters
                self.fail(f"there is no parameter {name!r}", did_you_mean(name, known))
            if name in given:
                self.fail(f"{name} was given twice: {_shown(given[name])} and {_shown(value)}")
            given[name] = value
        if len(args) < len(self.parameters.required) and (
            missing := [name for name in self.parameters.required if name not in given]
        ):
            self.fail(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
        return given

    def value(self, placeholder: Placeholder, value: Any) -> object:
        if value is _ABSENT:
            default = _default(placeholder)
            return None if default is REQUIRED else list(default) if isinstance(default, list) else default
        if isinstance(value, (str, bytes)) and (b"\0" if isinstance(value, bytes) else "\0") in value:  # type: ignore[operator]
            self.fail(f"{placeholder.name} has a NUL byte, which no word can hold: {_shown(value)}")
        match placeholder:
            case FileArg() | DirArg():
                return self.optional_file(placeholder, value)
            case FilesArg():
                return [self.file(placeholder, item, placeholder.ext) for item in _items(value)]
            case ArgFile():
                return [
                    item if _is_plain(item) else self.file(placeholder, item, None) for item in _items(value)
                ]
            case OutFileArg() | OutDirArg() | DepfileArg():
                ext = placeholder.ext if isinstance(placeholder, OutFileArg) else None
                return value if value is None else self.file(placeholder, value, ext)
            case EnvArg():
                if not isinstance(value, (str, type(None))):
                    self.fail(f"{placeholder.name} is a string or None, not {_shown(value)}")
                return value
            case SecretArg():
                if value is not None:
                    self.fail(
                        f"{placeholder.name} is a secret: it comes from the environment only", "export it"
                    )
                return value
            case FlagArg():
                return self.flag(placeholder, value)
            case _:
                return self.plain(placeholder, value)

    # ---- files ----

    def optional_file(self, placeholder: FileArg | DirArg, value: object) -> object:
        if value is None and placeholder.default is None:
            return None
        return self.file(placeholder, value, placeholder.ext if isinstance(placeholder, FileArg) else None)

    def file(self, placeholder: Placeholder, value: object, ext: str | tuple[str, ...] | None) -> object:
        """A path, or something that stands for one; its extension must be one that was asked for."""
        if value is None or isinstance(value, _NO_FILES):
            hint = "a path, a FileRef or a Future of a file"
            if value is None and isinstance(placeholder, (FileArg, DirArg)):
                hint += f"; default=None in {spell(placeholder)} would make it optional"
            if isinstance(value, (list, tuple)):
                hint = f"files_arg({placeholder.name!r}) takes several"
            self.fail(f"{placeholder.name} takes a file, not {_shown(value)}", hint)
        name: Any = os.fspath(value) if isinstance(value, (str, bytes, os.PathLike)) else self.name_of(value)
        if name is None:
            return value
        text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
        if not text or "\0" in text:
            self.fail(f"{placeholder.name} is no path: {_shown(value)}")
        if ext is not None and not text.endswith(ext):
            wanted = ext if isinstance(ext, str) else " or ".join(ext)
            self.fail(f"{placeholder.name} takes a {wanted} file, not {_shown(value)}")
        return value

    # ---- plain values ----

    def flag(self, placeholder: FlagArg, value: object) -> object:
        if type(value).__name__ == "bool_" or type(value).__name__ == "bool":
            return bool(value)
        if _is_plain(value) or value is None:
            self.fail(f"{placeholder.name} is True or False, not {_shown(value)}")
        return value

    def plain(self, placeholder: Arg, value: object) -> object:
        name = placeholder.name
        if isinstance(value, (list, tuple)) and placeholder.type is None and placeholder.choices is None:
            if name in self.parameters.single:
                hint = "a list is a whole word of the command, or is joined: {{ arg('x') | join(' ') }}"
                self.fail(f"{name} is one word, not the list {_shown(value)}", hint)
            return [self.scalar(placeholder, item) for item in value]
        if value is None and (placeholder.type is None or placeholder.default is None):
            if name in self.parameters.single:
                self.fail(f"{name} is part of a word, so it cannot be None")
            return None
        value = self.scalar(placeholder, value)
        if placeholder.choices is not None and _is_plain(value) and not one_of(value, placeholder.choices):
            choices = ", ".join(map(repr, placeholder.choices))
            near = (
                did_you_mean(value, [c for c in placeholder.choices if isinstance(c, str)])
                if isinstance(value, str)
                else ""
            )
            self.fail(f"{name} is one of {choices}, not {_shown(value)}", near)
        return value

    def scalar(self, placeholder: Arg, value: Any) -> object:
        """One value, freed of numpy's types; an object that is no plain value is the caller's affair."""
        name, type_ = placeholder.name, placeholder.type
        if isinstance(value, os.PathLike) and not isinstance(value, (str, bytes)):
            path = os.fspath(value)
            dash = path.startswith("-") if isinstance(path, str) else path.startswith(b"-")
            value = ("./" + path if isinstance(path, str) else b"./" + path) if dash else path
        elif not isinstance(value, (str, bytes, bool, int, float)) and value is not None:
            value = _number(value)
        if isinstance(value, (str, bytes)) and (b"\0" if isinstance(value, bytes) else "\0") in value:  # type: ignore[operator]
            self.fail(f"{name} has a NUL byte, which no word can hold: {_shown(value)}")
        if value is None or isinstance(value, (list, tuple, dict, set, frozenset)):
            what = f"of type {type_.__name__}" if type_ else "str, bytes, int, float, a path or None"
            self.fail(f"{name} is {what}, not {_shown(value)}")
        if not _is_plain(value):
            return value
        if type_ is None and isinstance(value, bool):
            hint = f"use flag_arg({name!r}, '--{name}'), or type=bool in an expression"
            self.fail(f"{name} is {value}, which is no word", hint)
        if type_ is not None and not fits(value, type_):
            self.fail(
                f"{name} is of type {type_.__name__}, not {_shown(value)}", _conversion_hint(value, type_)
            )
        return float(value) if type_ is float else value


def _conversion_hint(value: object, type_: type) -> str:
    if isinstance(value, str) and type_ in (int, float):
        return f"convert it where you call: {type_.__name__}({value!r})"
    return ""


def _number(value: Any) -> object:
    """What a number of another library is in plain Python; anything else as it is."""
    if type(value).__name__ in ("bool_", "bool") and type(value).__module__ == "numpy":
        return bool(value)
    import numbers

    if isinstance(value, numbers.Integral):  # By its class: a Future would refuse to be asked for its value.
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, bytes, bool, int, float))


def _items(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    return list(value) if isinstance(value, (GeneratorType, map, filter)) else [value]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
