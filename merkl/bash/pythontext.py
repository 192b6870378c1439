"""Where a value can stand in a Python program that is a template.

It decides whether a hole is in a place where an expression can be; it does not check the program.  The invariant: a hole
that it allows is neither in a string nor in a comment, and touches no name or number.
"""

import re
from typing import Final

from merkl.bash.cursor import HOLE, ShellSyntax
from merkl.pattern import pattern

_OPENING: Final = pattern(r"""#[^\n]*|\b([A-Za-z]{0,2})('''|\"\"\"|'|")|('''|\"\"\"|'|")""")
_TOUCHING: Final = pattern(r"""[\w'"\\\0]""")


def read_python(text: str) -> list[bool]:
    """For each hole, whether it must be put in parentheses.

    Raises:
        ShellSyntax: a hole cannot stand where it is.
    """
    at = 0
    while HOLE in text[at:] and (found := _OPENING.search(text, at)) is not None:
        quote = found[2] or found[3]
        if quote is None:
            _refuse_hole(text, found.start(), found.end(), "a comment")
            at = found.end()
            continue
        line = "" if len(quote) == 3 else "\n"
        body = re.compile(rf"((?:\\.|[^\\{line}])*?){quote}", re.DOTALL).match(text, found.end())
        if body is None:
            raise ShellSyntax(found.start(), "this string is never closed")
        prefix = (found[1] or "").lower()
        _refuse_hole(text, found.start(), body.end(), "a string")
        plain = body[1].replace("{{", "").replace("}}", "")
        if ("f" in prefix or "t" in prefix) and plain.count("{") != plain.count("}"):
            raise ShellSyntax(
                found.start(), "an f-string with quotes in its braces cannot be read with certainty"
            )
        at = body.end()
    return [_in_parentheses(text, found.start()) for found in re.finditer(HOLE, text)]


def _refuse_hole(text: str, start: int, stop: int, what: str) -> None:
    if (at := text.find(HOLE, start, stop)) >= 0:
        hint = "use it as an expression: name = {arg('name')}"
        raise ShellSyntax(at, f"a placeholder cannot stand in {what}", hint)


def _in_parentheses(text: str, at: int) -> bool:
    before, after = text[:at], text[at + 1 :]
    if (before and _TOUCHING.match(before[-1])) or _TOUCHING.match(after[:1]):
        raise ShellSyntax(
            at, "a placeholder touches a name, a number or a string", "it is an expression by itself"
        )
    left, right = before.rstrip(" \t")[-1:], after.lstrip(" \t")[:1]
    return left not in ("", *"(,[=:{\n") or right not in ("", *",)]}\n;#:")
