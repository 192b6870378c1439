"""A request as it is typed: ``[TARGET…] [NAME=VALUE…] [-- ARGS…]``.

It decides what each word means: a target first, unless it is written as a path; and which targets get a value.  It calls
nothing.

The invariant: every word has had an effect, or is an error.
"""

import os
import shlex
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from merkl.dataclass import dataclass, field
from merkl.errors import MerklError, UnknownTarget, UsageError, did_you_mean
from merkl.merklfile.registry import Merklfile
from merkl.merklfile.targets import REQUIRED, Parameter, Target
from merkl.workspace.paths import absolute, normalise
from merkl.workspace.refs import DirRef, FileRef

REST: Final = "args"  # The parameter that gets what follows ``--``.


@dataclass(frozen=True, slots=True)
class TargetRequest:
    """One target to call, by its full name, with the values given for its parameters."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: targets, and paths that some node writes, normalised.

    ``others`` are the targets to call only to find out who writes ``paths``: all further ones that need no more
    arguments.  They are none if there are no paths.
    """

    targets: tuple[TargetRequest, ...] = ()
    paths: tuple[str, ...] = ()
    others: tuple[TargetRequest, ...] = ()


@dataclass(slots=True)
class _Words:
    """The words of a request by what they are."""

    targets: dict[str, Target[..., Any]] = field(default_factory=dict)
    paths: dict[str, None] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    rest: list[str] | None = None


def parse_request(words: Sequence[str], known: Merklfile, cwd: str) -> Request:
    """Read the words of a request that was typed in the directory ``cwd``.  Without a target or a path: the defaults.

    Raises:
        UsageError: a value or the words after ``--`` belong to no target that is asked for; or a value is not of its
            parameter's type, or a required one is not given.
    """
    sorted_out = _sort_out(words, known, cwd)
    named = list(sorted_out.targets.values())
    if not named and not sorted_out.paths:
        named = list(known.defaults)
    others = [t for t in known.targets.values() if t not in named] if sorted_out.paths else []
    _check_values(sorted_out.values, named, others, known)
    if sorted_out.rest is not None and not any(_find(t, REST) for t in named):
        raise UsageError(
            f"nothing takes the words after --: {' '.join(sorted_out.rest)}",
            hint=f"a target with a parameter {REST!r} does",
        )
    return Request(
        tuple(TargetRequest(t.name, _arguments(t, sorted_out, known, cwd)) for t in named),
        tuple(sorted_out.paths),
        tuple(
            TargetRequest(t.name, _arguments(t, sorted_out, known, cwd))
            for t in others
            if not _lacking(t, sorted_out.values)
        ),
    )


def _sort_out(words: Sequence[str], known: Merklfile, cwd: str) -> _Words:
    found = _Words()
    for index, word in enumerate(words):
        if word == "--":
            found.rest = list(words[index + 1 :])
            break
        name, sign, value = word.partition("=")
        if not word:
            raise UsageError("a word of the request is empty", hint="merkl build [TARGET…] [NAME=VALUE…]")
        if sign and name.replace("-", "_").isidentifier():
            found.values[name] = value
        elif not _is_path(word) and (target := known.find(word)) is not None:
            found.targets[target.name] = target
        else:
            found.paths[normalise(word, cwd, known.root)] = None
    return found


def _is_path(word: str) -> bool:
    """Whether the word is spelt as a path, so that no target is meant."""
    return word in (".", "..") or word.startswith(("/", "./", "../"))


# ---- values --------------------------------------------------------------------------------------------------------


def _find(target: Target[..., Any], name: str) -> Parameter | None:
    """The parameter of that name, in which ``-`` and ``_`` are one letter."""
    folded = name.replace("-", "_")
    return next((each for each in target.parameters if each.name == folded), None)


def _check_values(
    values: Mapping[str, str], named: list[Target[..., Any]], others: list[Target[..., Any]], known: Merklfile
) -> None:
    for name in values:
        if any(_find(target, name) for target in (*named, *others)):
            continue
        if not named and not others:
            takers = [target.name for target in known.targets.values() if _find(target, name)]
            hint = (
                f"merkl build {takers[0]} {name}={values[name]}"
                if takers
                else "`merkl list` shows the targets"
            )
            raise UsageError(f"{name}={values[name]} is given, but no target that takes it", hint=hint)
        parameters = list(dict.fromkeys(each.name for t in (*named, *others) for each in t.parameters))
        shown = " or ".join(target.name for target in named) or "any target"
        otherwise = f"it takes {', '.join(parameters)}" if parameters else f"{shown} takes no parameters"
        raise UsageError(
            f"no parameter named {name!r} in {shown}", hint=did_you_mean(name, parameters, otherwise)
        )


def _lacking(target: Target[..., Any], values: Iterable[str]) -> list[str]:
    """The required parameters that ``values`` do not give."""
    given = {name.replace("-", "_") for name in values}
    return [p.name for p in target.parameters if p.required and p.name not in given and p.name != REST]


def _arguments(target: Target[..., Any], words: _Words, known: Merklfile, cwd: str) -> dict[str, Any]:
    lacking = _lacking(target, words.values)
    if lacking:
        raise UsageError(
            f"the target {target.name} needs {' and '.join(lacking)}",
            declared=known.shown(target.place),
            hint=f"merkl build {target.name} {' '.join(f'{name}=…' for name in lacking)}",
        )
    hints = types_of(target)
    arguments: dict[str, Any] = {}
    for name, text in words.values.items():
        parameter = _find(target, name)
        if parameter is not None:
            arguments[parameter.name] = _value(target, parameter, text, hints, known, cwd)
    rest = _find(target, REST)
    if rest is not None and (words.rest is not None or (rest.required and REST not in arguments)):
        arguments[REST] = _rest(words.rest or [], rest, hints.get(REST))
    return arguments


def _rest(words: list[str], parameter: Parameter, hint: object) -> object:
    """The words after ``--``, as a list unless the parameter is of a tuple or of one string."""
    kind = typing.get_origin(hint) or hint
    if parameter.several or kind is tuple or isinstance(parameter.default, tuple):
        return tuple(words)
    return shlex.join(words) if hint is str or isinstance(parameter.default, str) else words


def types_of(target: Target[..., Any]) -> dict[str, object]:
    """The types of the parameters that have a hint; hints that name nothing known are left out."""
    import inspect

    return hints_of(inspect.unwrap(target.function))


def hints_of(function: object) -> dict[str, object]:
    """The types that a function's hints say, by parameter, as ``types_of``."""
    try:
        return dict(typing.get_type_hints(function))
    except Exception:  # noqa: BLE001  # Evaluating a hint that is written as text runs the user's code.
        return {
            name: value
            for name, value in getattr(function, "__annotations__", {}).items()
            if not isinstance(value, str)
        }


def type_of(parameter: Parameter, hints: Mapping[str, object]) -> object:
    """The type of a parameter's values: its hint, or what its default stands for."""
    hint = hints.get(parameter.name)
    if parameter.several:  # The hint is of each one.
        return types.GenericAlias(tuple, (str if hint is None else hint, ...))
    if hint is not None:
        return hint
    if parameter.default is REQUIRED:
        return str
    from merkl.merklfile.conversion import hint_of

    return hint_of(parameter.default)


def _value(
    target: Target[..., Any],
    parameter: Parameter,
    text: str,
    hints: Mapping[str, object],
    known: Merklfile,
    cwd: str,
) -> object:
    from merkl.merklfile.conversion import Unfit, converted  # Only where there is something to convert.

    def path_of(text: str, kind: type) -> object:
        path = normalise(text, cwd, known.root)
        if kind in (FileRef, DirRef):
            return kind(path)
        # A path as such means, in the target's code, one that starts from its Merklfile.
        base = os.path.join(known.root, target.declared.base)
        return kind(path if path.startswith("/") else os.path.relpath(absolute(path, known.root), base))

    try:
        return converted(text, type_of(parameter, hints), path_of)
    except Unfit as wanted:
        raise UsageError(
            f"{target.name}: {parameter.name} takes {wanted}, not {text!r}",
            declared=known.shown(target.place),
        ) from None


# ---- nothing of that name ------------------------------------------------------------------------------------------


def unknown(
    path: str, known: Merklfile, written: Iterable[str], failures: Sequence[MerklError] = ()
) -> MerklError:
    """The error for a path, asked for as a target, that no node writes.

    ``written`` are the paths that nodes do write; ``failures`` what kept some targets from saying which they write.
    """
    error = UnknownTarget(path, dict.fromkeys([*known.targets, *written]))
    if failures:
        error.details["besides"] = f"not every target could be asked what it makes: {failures[0].headline}"
    return error
