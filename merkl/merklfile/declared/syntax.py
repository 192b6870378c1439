"""YAML text as a tree of nodes, or an error in words that help.

It decides what is said of text that is no YAML.  It knows nothing of Merklfiles but that they are one document.

The invariant: every exception of the YAML library becomes an error that points into the text.
"""

import re
from typing import Any, Final

import yaml

from merkl.errors import MerklfileError
from merkl.merklfile.declared.document import Document, Span

_QUOTES: Final = (
    'text that holds ": " or " #", or begins with { [ * & ! % @ or `, needs quotes; inside {…} and […], also text that '
    "holds a comma or a bracket"
)
_HINTS: Final = (
    (r"flow mapping .*but got '[{\[]'", "text with a bracket needs quotes here", 'put them around all of it: "build/{image.stem}.png"'),
    (r"character '\\t' that cannot start", "a tab cannot indent YAML", "indent with spaces"),
    (r"single document in the stream", "a Merklfile is one YAML document", "take out the line ---"),
    (r"undefined alias", "", 'an alias needs an anchor before it, &name; text that begins with * needs quotes: "*.c"'),
    (r"alphabetic or numeric", "", 'text that begins with * or & needs quotes: "*.c"'),
    (r"unknown escape character", "", r"in double quotes \ begins an escape: use single quotes, or a block: run: |"),
    (r"mapping values are not allowed", "a second ': ' in one line", 'text that holds ": " needs quotes, or a block: run: |'),
    (r"could not find expected ':'", "a name without ': ' and a value", "name: value"),
    (r"that cannot start any token", "", 'quote it: "@…"'),
)  # fmt: skip


def compose(document: Document) -> yaml.Node | None:
    """The root of the document's tree; None if there is nothing in it.

    Raises:
        MerklfileError: it is no YAML, with line and column.
    """
    try:
        if yaml.__with_libyaml__:
            try:
                return _composed(document, yaml.CSafeLoader)
            except (yaml.YAMLError, ValueError):
                pass  # Read again by the slower reader, whose messages are the same everywhere.
        return _composed(document, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _worded(document, error) from None
    except yaml.reader.ReaderError as error:
        at = Span(error.position, error.position + 1)
        what = f"the character U+{ord(document.text[error.position]):04X} cannot stand in YAML"
        raise document.error(at, what, r'in double quotes it can be written as "\u…"') from None
    except RecursionError:
        raise document.error(Span(0, 1), "this is nested too deep", "take some levels out") from None


def _composed(document: Document, loader: Any) -> yaml.Node | None:
    found: yaml.Node | None = yaml.compose(document.text, Loader=loader)
    return found


def _worded(document: Document, error: yaml.MarkedYAMLError) -> MerklfileError:
    mark = error.problem_mark or error.context_mark
    at = mark.index if mark is not None else 0
    problem = error.problem or error.context or "this is not valid YAML"
    at = min(at, len(document.text.rstrip()))  # What is missing at the end is missing after the last word.
    for pattern, words, hint in _HINTS:
        if re.search(pattern, f"{error.context} {problem}"):
            return document.error(Span(at, at + 1), words or f"not valid YAML: {problem}", hint)
    context = error.context_mark
    if context is not None and "end of" in problem and "quoted scalar" in str(error.context):
        return document.error(
            Span(context.index, context.index + 1), "this quote is never closed", "close it"
        )
    what = f" {error.context}" if error.context and "while" in error.context else ""
    if context is not None and context.line != (mark.line if mark else -1):
        what += f" that begins in line {context.line + 1}"
    return document.error(Span(at, at + 1), f"not valid YAML{what}: {problem}", _QUOTES)
