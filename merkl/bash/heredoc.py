"""Here documents: where a body ends, and what in it the shell expands.

It decides nothing about the command that reads one; it remembers which that is.

The invariant: a body ends at the line where the shell ends it, whatever the text in it looks like.
"""

from merkl.bash.cursor import HOLE, Form, Word
from merkl.bash.dollar import Inside
from merkl.bash.lexer import Lexer
from merkl.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Body:
    """A here document whose text is taken as it is: the lines from ``start`` to ``end``, before the delimiter's own."""

    start: int
    end: int
    delimiter: str
    tabs: bool  # Tabs at the beginning of its lines are dropped.


@dataclass(slots=True)
class Waiting:
    """A here document whose body begins at the next line."""

    delimiter: str
    quoted: bool
    tabs: bool
    at: int
    words: list[Word]  # Of the command that reads it; complete when the command is.


class HereDocuments(Lexer):
    """Reads bodies of here documents."""

    def __init__(self, text: str, *, bash: bool) -> None:
        super().__init__(text, bash=bash)
        self.depth = 0  # Of commands inside words.
        self.bodies: list[Body] = []  # Those that are not expanded.
        # Holes in here documents, and for which command.
        self.inputs: list[tuple[list[Word], tuple[int, ...]]] = []

    def here_document(self, waiting: Waiting) -> None:
        """Read the lines of a body and the delimiter's, and the expansions in it unless the delimiter was quoted."""
        start = line = self.at
        while line < self.end:
            stop = self.text.find("\n", line, self.end)
            stop = self.end if stop < 0 else stop
            text = self.text[line:stop]
            if not waiting.quoted:
                while stop < self.end and (len(text) - len(text.rstrip("\\"))) % 2:
                    # A continued line is one line; that is so before the delimiter is looked for.
                    more = self.text.find("\n", stop + 1, self.end)
                    more = self.end if more < 0 else more
                    text = text[:-1] + self.text[stop + 1 : more]
                    stop = more
            if (text.lstrip("\t") if waiting.tabs else text) == waiting.delimiter:
                self.here_text(start, line, waiting)
                self.at = min(stop + 1, self.end)
                return
            line = stop + 1
        hint = (
            "the delimiter stands alone on its line" if not waiting.tabs else "only tabs may stand before it"
        )
        raise self.wrong(
            f"the here document <<{waiting.delimiter} has no line {waiting.delimiter} that ends it",
            hint,
            waiting.at,
        )

    def here_text(self, start: int, stop: int, waiting: Waiting) -> None:
        if waiting.quoted:
            self.bodies.append(Body(start, stop, waiting.delimiter, waiting.tabs))
            found = tuple(at for at in range(start, stop) if self.text[at] == HOLE)
            if found and self.depth > 1:
                # bash reads a command inside a word twice, and no version is right about all bytes.
                hint = f"write <<{waiting.delimiter} without quotes, and \\$ for a dollar sign that is meant"
                what = "a placeholder cannot stand in a quoted here document inside $( … )"
                raise self.wrong(what, hint, found[0])
            self.forms.update(dict.fromkeys(found, Form.LITERAL))
            self.inputs.append((waiting.words, found))
            return
        end, self.end, self.at = self.end, stop, start
        holes, self.holes = self.holes, []
        while self.at < self.end:
            match self.char():
                case "\0":
                    self.hole(Form.HERE)
                case "\\":
                    self.no_hole_after("a backslash", 1, "write two backslashes for one that is meant")
                    self.at += 2
                case "$":
                    self.expansion(Inside.HERE)
                case "`":
                    self.backticks(True)
                case _:
                    self.at += 1
        self.inputs.append((waiting.words, tuple(self.holes)))
        self.end, self.holes = end, holes
