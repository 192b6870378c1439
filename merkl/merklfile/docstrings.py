"""What a docstring says of each parameter: in Google's, numpy's and Sphinx's way of writing.

It decides where the description of a function ends and that of its parameters begins.

The invariant: it only looks for the names that it is given, so that whatever else a docstring has stays text.
"""

import inspect
import re
import textwrap
from collections.abc import Iterable
from typing import Final

_GOOGLE: Final = re.compile(
    r"^(Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments|Other Parameters):\s*$"
)
_SECTION: Final = re.compile(
    r"^(Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments|Other Parameters|Returns?|Yields?|Raises|Examples?|Notes?"
    r"|Attributes|See Also|References|Warnings?|Warns|Todo):\s*$"
)
_SPHINX: Final = re.compile(r"^:(?P<kind>\w+)(?:\s+(?P<words>[^:]*))?:\s*(?P<text>.*)$")
_PARAMETER: Final = frozenset({"param", "parameter", "arg", "argument", "key", "keyword"})


def described(doc: str | None, names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """The text of a docstring without its sections, and what is said of each of ``names``, in one line each."""
    lines = inspect.cleandoc(doc or "").split("\n")
    known = set(names)
    text: list[str] = []
    found: dict[str, list[str]] = {}
    index = 0
    while index < len(lines):
        line = lines[index]
        if _SPHINX.match(line):
            index = _sphinx(lines, index, found)
        elif _underlined(lines, index):
            index = _numpy(lines, index + 2, found, line.strip())
        elif _SECTION.match(line):
            index = _google(lines, index + 1, found if _GOOGLE.match(line) else {})
        else:
            text.append(line)
            index += 1
    about = {name: " ".join(" ".join(said).split()) for name, said in found.items() if name in known}
    return "\n".join(text).strip("\n"), {name: said for name, said in about.items() if said}


def _sphinx(lines: list[str], index: int, found: dict[str, list[str]]) -> int:
    """Read ``:param int name: text`` and the indented lines below it; the next line."""
    match = _SPHINX.match(lines[index])
    assert match is not None
    words = (match["words"] or "").split()
    said = found.setdefault(words[-1].lstrip("*"), []) if match["kind"] in _PARAMETER and words else []
    said.append(match["text"])
    index += 1
    while index < len(lines) and lines[index][:1] in (" ", "\t"):
        said.append(lines[index].strip())
        index += 1
    return index


def _underlined(lines: list[str], index: int) -> bool:
    if index + 1 >= len(lines):
        return False
    below = lines[index + 1].strip()
    return bool(lines[index].strip()) and len(below) >= 3 and set(below) == {"-"}


def _numpy(lines: list[str], index: int, found: dict[str, list[str]], title: str) -> int:
    """Read ``name : type`` with indented lines below each, up to the next section; the next line."""
    wanted = title in ("Parameters", "Other Parameters")
    said: list[list[str]] = []
    while index < len(lines) and not _underlined(lines, index):
        line = lines[index]
        if line.strip() and line[:1] not in (" ", "\t"):
            names = [name.strip().lstrip("*") for name in line.partition(":")[0].split(",")]
            said = [found.setdefault(name, []) for name in names] if wanted else []
        else:
            for each in said:
                each.append(line.strip())
        index += 1
    return index


def _google(lines: list[str], index: int, found: dict[str, list[str]]) -> int:
    """Read ``name (type): text`` below a section's title, with deeper lines below each; the next line."""
    start = index
    while index < len(lines) and (not lines[index].strip() or lines[index][:1] in (" ", "\t")):
        index += 1
    said: list[str] = []
    for line in textwrap.dedent("\n".join(lines[start:index])).split("\n"):
        if line[:1] not in (" ", "\t", ""):
            match = re.match(r"\*{0,2}(\w+)\s*(\(.*?\))?\s*:\s*(.*)$", line)
            said = found.setdefault(match[1], []) if match else []
            said.append(match[3] if match else line)
        else:
            said.append(line.strip())
    return index
