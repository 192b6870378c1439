"""Between completion and a shell: the line that is being typed, taken apart, and the answer in the shell's own terms.

It decides what bash's line editor takes for the word at the cursor, which zsh and fish tell by themselves.  What is
offered is decided in ``complete``.

The invariant: whatever a name consists of, it arrives as that one word and nothing in it is executed.  A name with a line
break cannot be told to a shell, and is left out.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from merkl.cli.complete import complete
from merkl.cli.offer import Answer, Candidate

_OPEN: Final = ("=", "/", ",")  # A word that ends so is not at its end: no space follows.
_SPECIAL: Final = frozenset(" \t\"'\\$`&;|<>()*?[]{}!#~^")


def main(arguments: Sequence[str]) -> int:
    """Answer the script of a shell: ``bash LINE BREAKS``, ``zsh WORD…`` or ``fish WORD…``; the exit code.

    The first line says what is offered: ``words``, ``open`` (one word, after which no space belongs), ``files`` or
    ``dirs``, each with the part of the word that stands before a path.  Each further line is a word, and text about it.
    """
    shell, words = (arguments[0], arguments[1:]) if arguments else ("", [])
    if shell == "bash" and len(words) == 2:
        lines: Iterable[str] = _for_bash(*words)
    elif shell in ("zsh", "fish"):
        answer = _listed(complete(words), words[-1] if words else "", native=True)
        lines = _described(answer, ":" if shell == "zsh" else "\t")
    else:
        return 2
    sys.stdout.buffer.write(b"".join(os.fsencode(line) + b"\n" for line in lines))
    sys.stdout.flush()
    return 0


def _described(answer: Answer, separator: str) -> Iterator[str]:
    yield f"{answer.kind}\t{answer.prefix}"
    for each in answer.words:
        text = each.text.replace("\\", "\\\\").replace(":", "\\:") if separator == ":" else each.text
        about = " ".join(each.about.split())
        if not _tells(text):
            continue
        yield f"{text}{separator}{about}" if about else text


def _tells(text: str) -> bool:
    return not any(char in text for char in "\n\t\r\0")


def _listed(answer: Answer, word: str, *, native: bool) -> Answer:
    """The answer, with files listed here unless the shell can do it: ``native``, and in its own directory."""
    if answer.kind == "words" or (native and answer.base == "."):
        return answer
    return Answer(words=tuple(_files(answer, word[len(answer.prefix) :])))


def _files(answer: Answer, typed: str) -> Iterator[Candidate]:
    folder, name = os.path.split(typed)
    lead = typed[: len(typed) - len(name)]
    try:
        with os.scandir(os.path.join(answer.base, os.path.expanduser(folder))) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        hidden = entry.name.startswith(".") and not name.startswith(".")
        if entry.name.startswith(name) and not hidden and (entry.is_dir() or answer.kind == "files"):
            yield Candidate(answer.prefix + lead + entry.name + ("/" if entry.is_dir() else ""))


# ---- bash ----------------------------------------------------------------------------------------------------------


class _Typed:
    """One word of a line: what it means, where in the line it starts, and the quote that is still open at its end.

    ``editing`` is how much of the meaning stands before what the line editor will replace.
    """

    __slots__ = ("editing", "quote", "started", "text")

    def __init__(self) -> None:
        self.text = ""
        self.started = False
        self.quote = ""
        self.editing = 0


def _for_bash(line: str, breaks: str) -> list[str]:
    words, redirected = _words(line, breaks)
    typed = words[-1]
    answer = Answer("files") if redirected else complete([each.text for each in words[1:]])
    # readline looks for a file whose name begins where its word does.
    answer = _listed(answer, typed.text, native=answer.prefix[-1:] in ("", "=" if "=" in breaks else ""))
    if answer.kind != "words":
        return [f"{answer.kind}\t"]
    texts = [each.text for each in answer.words if _tells(each.text)]
    kind = "open" if len(texts) == 1 and texts[0].endswith(_OPEN) else "words"
    # What was typed as a home directory must stay one.
    homely = typed.text.startswith("~")
    return [f"{kind}\t", *(_quoted(text[typed.editing :], typed.quote, homely=homely) for text in texts)]


def _words(line: str, breaks: str) -> tuple[list[_Typed], bool]:
    """The words of a simple command up to the cursor, the last being the one there; whether that is redirected to."""
    words: list[_Typed] = []
    current = _Typed()
    redirected = False
    position = 0
    while position < len(line):
        char = line[position]
        position += 1
        if current.quote:
            if char == current.quote:
                current.quote = ""
            elif (
                char == "\\"
                and current.quote == '"'
                and line[position : position + 1] in ('"', "\\", "$", "`")
            ):
                current.text += line[position]
                position += 1
            else:
                current.text += char
        elif char in "\"'":
            current.quote, current.started, current.editing = char, True, len(current.text)
        elif char == "\\":
            current.text += line[position : position + 1]
            current.started = True
            position += 1
        elif char in " \t\n<>":
            number = char in "<>" and current.text.isdigit()  # ``2>``
            if current.started and not redirected and not number:
                words.append(current)
            if current.started or char in "<>":
                redirected = char in "<>"
            current = _Typed()
        else:
            current.text += char
            current.started = True
            if char in breaks:
                current.editing = len(current.text)
    return [*words, current], redirected


def _quoted(text: str, quote: str, *, homely: bool) -> str:
    """``text`` as it is typed: inside an open quote, or outside of any; ``homely`` if it begins with a home directory."""
    if quote == "'":
        return text.replace("'", "'\\''")
    special = frozenset('"\\$`') if quote else _SPECIAL - {"~"} if homely else _SPECIAL
    return "".join(f"\\{char}" if char in special else char for char in text)
