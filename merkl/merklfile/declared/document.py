"""The text of a Merklfile in YAML, and positions in it.

It decides how an error points into the text.  It knows no YAML.

The invariant: a position is an index into ``text``; people see it as a line and a column, both from 1.
"""

from merkl.bash.spelling import pointed
from merkl.dataclass import dataclass
from merkl.errors import MerklfileError
from merkl.nodes import Place


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the text, from ``start`` up to ``end``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """A file's text.  ``path`` is absolute, ``shown`` for people; line breaks are single newlines."""

    path: str
    shown: str
    text: str

    def line_and_column(self, index: int) -> tuple[int, int]:
        """A position as people count: line and column from 1."""
        return self.text.count("\n", 0, index) + 1, index - self.text.rfind("\n", 0, index)

    def place(self, span: Span) -> Place:
        """The line that a stretch begins in."""
        return Place(self.path, self.line_and_column(span.start)[0])

    def error(self, span: Span, message: str, hint: str = "") -> MerklfileError:
        """An error that names file, line and column, and shows the line with a caret."""
        line, column = self.line_and_column(span.start)
        return MerklfileError(
            f"{self.shown}:{line}:{column}: {message}",
            hint=hint,
            source=self.pointed(span),
        )

    def pointed(self, span: Span) -> str:
        """The line of a stretch, without its indentation, and a caret below."""
        begin = self.text.rfind("\n", 0, span.start) + 1
        stop = self.text.find("\n", span.start)
        line = self.text[begin : len(self.text) if stop < 0 else stop]
        cut = min(len(line) - len(line.lstrip(" ")), span.start - begin)
        return pointed(line[cut:], span.start - begin - cut, span.end - begin - cut)
