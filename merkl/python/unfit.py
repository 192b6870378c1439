"""A call whose arguments do not fit: what is wrong with them, in the words of whoever wrote the call.

It decides nothing of how arguments are bound; that they do not fit is known when it is asked.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

from merkl.errors import CallError, did_you_mean
from merkl.nodes import Place, session

_LONGEST: Final = 30  # Characters of a value.
_MOST: Final = 12  # Arguments that are shown.


def unfit(
    name: str,
    signature: inspect.Signature,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    at: Place,
    defined: Place | None = None,
    what: str = "",
) -> CallError:
    """The error for a call of ``name``, which ``what`` says the kind of (``"the target "``), with what it does not take."""
    said, hint = _wrong(signature, args, kwargs)
    passed = [*(shown(a, _LONGEST) for a in args), *(f"{k}={shown(v, _LONGEST)}" for k, v in kwargs.items())]
    if len(passed) > _MOST:
        passed[_MOST:] = ["…"]
    root = session().root
    return CallError(
        f"{what}{name} {said}",
        signature=f"{name}{written(signature.replace(return_annotation=signature.empty))}",
        passed=f"({', '.join(passed)})",
        defined=defined.relative_to(root) if defined is not None else None,
        at=at.relative_to(root),
        hint=hint,
    )


class _Hint(str):
    """A hint that is text, without quotation marks around it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def written(signature: inspect.Signature) -> str:
    """A signature as it stands in the source, also where annotations are not evaluated."""

    def plain(hint: Any) -> Any:
        return _Hint(hint) if isinstance(hint, str) else hint

    return str(
        signature.replace(
            parameters=[p.replace(annotation=plain(p.annotation)) for p in signature.parameters.values()],
            return_annotation=plain(signature.return_annotation),
        )
    )


def _wrong(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong, after the name of what was called, and a hint."""
    parameters = signature.parameters.values()
    kinds = {each.kind for each in parameters}
    by_position = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    unknown = [name for name in kwargs if name not in by_name]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        return f"has no parameter {unknown[0]!r}", did_you_mean(unknown[0], by_name - set(kwargs))
    if len(args) > len(by_position) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        takes = _count(len(by_position), "argument") if by_position else "no arguments"
        only = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        hint = f"pass by name: {', '.join(f'{name}=' for name in only)}" if only else ""
        return f"takes {takes}{' by position' if only else ''}, and got {len(args)}", hint
    filled = {p.name for p in by_position[: len(args)]}
    twice = [p.name for p in by_position[: len(args)] if p.name in kwargs and p.name in by_name]
    if twice:
        return f"got {twice[0]!r} twice, by position and by name", ""
    missing = [
        repr(p.name)
        for p in parameters
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and p.name not in filled
        and not (p.name in kwargs and p.name in by_name)
    ]
    return f"needs {' and '.join(missing)}, which {'was' if len(missing) == 1 else 'were'} not passed", ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def shown(value: object, most: int = 10_000) -> str:
    """A value as text, of at most so many characters; of its type where it has none."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # An int of many digits has none, and a class may do anything.
        text = f"<{type(value).__name__}>"
    return text if len(text) <= most else f"{text[: most - 1]}…"
