"""What TAB offers: the words that may stand where the cursor is.

It decides that from the words before the cursor, the last list of targets and what was placed, all of which merkl wrote
down when it last loaded the Merklfile.  It knows no shell.

The invariant: it runs no code of the project and changes nothing; the list may be old, and then so is the answer.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from merkl.cli.offer import Answer, Candidate, Memory
from merkl.cli.spellings import COMMANDS, SPELT, Option, options_after, shown_after
from merkl.root import find_root

_REST: Final = "args"  # The parameter that takes what follows ``--``.


def complete(words: Sequence[str]) -> Answer:
    """What the last of ``words`` may become; they begin after the program's name, and the last may be empty."""
    line = _Line()
    for word in words[:-1]:
        line.take(word)
    return _at(line, words[-1] if words else "")


class _Line:
    """What the words before the cursor say.  ``waiting`` is an option whose value comes next."""

    __slots__ = ("before", "command", "directory", "file", "rest", "waiting", "words")

    def __init__(self) -> None:
        self.command: str | None = None
        self.waiting: Option | None = None
        self.directory = ""
        self.file = ""
        self.words: list[str] = []
        self.before = ""  # The word before.
        self.rest = False  # After ``--``.

    def take(self, word: str) -> None:
        """Read one more word."""
        self.before = word
        if self.waiting is not None:
            self._value(self.waiting, word)
            self.waiting = None
        elif self.rest:
            return
        elif word == "--":
            self.rest = True
        elif word.startswith("--"):
            name, sign, value = word.partition("=")
            self._option(name, value if sign else None)
        elif word.startswith("-") and len(word) > 1:
            self._letters(word)
        elif self.command is None:
            self.command = word
        else:
            self.words.append(word)

    def find(self, name: str) -> Option | None:
        """The option of that name here."""
        return next((each for each in options_after(self.command) if name in each.names), None)

    def _option(self, name: str, value: str | None) -> None:
        option = self.find(name)
        if option is None or not option.takes:
            return
        if value is None:
            self.waiting = option
        else:
            self._value(option, value)

    def _letters(self, word: str) -> None:
        """``-kn``, ``-j4``: letters up to one that takes a value, which is the remainder or the next word."""
        for at, letter in enumerate(word[1:], 2):
            option = self.find(f"-{letter}")
            if option is not None and option.takes:
                self._option(f"-{letter}", word[at:] or None)
                return

    def _value(self, option: Option, value: str) -> None:
        if "--directory" in option.names:
            self.directory = os.path.join(self.directory, os.path.expanduser(value))
        elif "--file" in option.names:
            self.file = os.path.expanduser(value)

    @property
    def base(self) -> str:
        """The directory that paths of the request start from."""
        return self.directory or "."

    @property
    def root(self) -> str | None:
        """The project's root, as the commands find it."""
        if not self.file:
            return find_root(self.base)
        path = os.path.abspath(os.path.join(self.base, self.file))
        around = find_root(self.base)
        if around is not None and path.startswith(around.rstrip(os.sep) + os.sep):
            return around
        return find_root(os.path.dirname(path))


def _at(line: _Line, word: str) -> Answer:
    if line.waiting is not None:
        return _option_value(line, line.waiting, "", word)
    if line.rest:
        return Answer("files", base=line.base)
    if line.words and (found := _of_function(line, word)) is not None:
        return found
    if word.startswith("--") and "=" in word:
        name, _, value = word.partition("=")
        option = line.find(name)
        return Answer() if option is None else _option_value(line, option, f"{name}=", value)
    if word.startswith("-"):
        option = line.find(word[:2]) if len(word) > 2 and word[1] != "-" else None
        if option is not None and option.takes:
            return _option_value(line, option, word[:2], word[2:])
        return _matching(word, _options(line.command, word))
    if line.command is None:
        return _matching(word, (Candidate(name, about) for name, about in COMMANDS.items()))
    spelt = SPELT.get(line.command)
    if spelt is None:
        return Answer()
    if spelt.choices:
        return _matching(word, map(Candidate, () if line.words else spelt.choices))
    root = _root_of(line, spelt.words)
    if spelt.words == "files":
        return Answer("files", base=line.base)
    if spelt.words == "none" or root is None:
        return Answer()
    if spelt.words == "function" and line.words:
        return Answer("files", base=line.base)
    with Memory(root, line.base) as memory:
        if spelt.words == "function":
            return _matching(word, _functions(root, memory))
        if (
            spelt.words == "either"
            and "." in word
            and (found := _matching(word, _functions(root, memory))).words
        ):
            return found
        return memory.saved(word) if spelt.words == "saved" else _request(line, memory, word)


def _root_of(line: _Line, words: str) -> str | None:
    """Where the project is: for functions, whose commands need none, the directory itself if there is none."""
    return line.root or (os.path.abspath(line.base) if words == "function" else None)


def _of_function(line: _Line, word: str) -> Answer | None:
    """What a function that was named takes at the cursor; None if nothing is known of that."""
    spelt = SPELT.get(line.command or "")
    named = next(
        (each for each in reversed(line.words) if "=" not in each and ("." in each or ":" in each)), ""
    )
    if not named or spelt is None or spelt.words not in ("function", "either"):
        return None
    if (root := _root_of(line, spelt.words)) is None:
        return None
    from merkl.merklfile.spelt import parameters_in

    known = {each.name: each for each in parameters_in(root, line.base, named)}
    name, sign, value = word.partition("=")
    parameter = known.get(_folded(name.removeprefix("--")))
    prefix = f"{name}="
    if not sign:
        parameter, prefix, value = known.get(_folded(line.before.removeprefix("--"))), "", word
        if parameter is not None and (parameter.flag or not line.before.startswith("--")):
            parameter = None
    if parameter is not None:
        if parameter.path:
            return Answer("dirs" if parameter.path == "dir" else "files", prefix=prefix, base=line.base)
        return _matching(prefix + value, (Candidate(prefix + each) for each in parameter.choices))
    if sign or not word.startswith("--") or not known:
        return None
    offered = [Candidate(each.option, each.hint) for each in known.values()]
    offered += [
        Candidate(f"--no-{each.option[2:]}", each.hint)
        for each in known.values()
        if each.flag and word.startswith("--n")
    ]
    own = {each.text for each in offered}
    offered += [each for each in _options(line.command, word) if each.text not in own]
    return _matching(word, offered)


def _functions(root: str, memory: "Memory") -> Iterator[Candidate]:
    """The functions that a command may be given: those of modules, and the targets of the Merklfile."""
    from merkl.merklfile.offered import functions_in

    found = dict.fromkeys(functions_in(root), "")
    for each in memory.targets():
        if "/" not in each["name"] and each["name"].isidentifier():
            found[f"Merklfile.{each['name']}"] = str(each.get("doc", ""))
    return (Candidate(name, about) for name, about in found.items())


def _matching(word: str, candidates: Iterable[Candidate]) -> Answer:
    return Answer(words=tuple(each for each in candidates if each.text.startswith(word)))


def _options(command: str | None, word: str) -> Iterator[Candidate]:
    for option in shown_after(command):
        for name in option.names:
            if name.startswith("--") or word == "-" or word == name:
                yield Candidate(name, option.about)


def _option_value(line: _Line, option: Option, prefix: str, value: str) -> Answer:
    if option.value in ("dir", "file"):
        # Another -C starts from the one before, as does -f.
        return Answer("dirs" if option.value == "dir" else "files", prefix=prefix, base=line.base)
    return _matching(prefix + value, (Candidate(prefix + choice) for choice in option.choices))


# ---- targets and values --------------------------------------------------------------------------------------------


def _request(line: _Line, memory: "Memory", word: str) -> Answer:
    targets = memory.targets()
    names = {_folded(each["name"]): each for each in targets}
    named = [names[_folded(each)] for each in line.words if _folded(each) in names]
    paths = [each for each in line.words if "=" not in each and _folded(each) not in names]
    taking = named or [each for each in targets if each.get("default") and "/" not in each["name"]]
    if paths:  # A path is made by whichever target makes it.
        taking = targets
    name, sign, value = word.partition("=")
    if sign and _folded(name).isidentifier():
        found = next((p for p in _parameters(taking or targets) if p["name"] == _folded(name)), None)
        return Answer() if found is None else _value(found, f"{name}=", value, line.base)
    if word in (".", "..") or word.startswith(("/", "./", "../")):
        return Answer(words=tuple(memory.placed(word)))
    given = {_folded(each.partition("=")[0]) for each in line.words if "=" in each}
    offered = [
        Candidate(_as_typed(each["name"], word), str(each.get("doc", "")))
        for each in targets
        if each not in named
    ]
    offered += [
        Candidate(f"{_as_typed(each['name'], word)}=", _about(each))
        for each in _parameters(taking)
        if each["name"] != _REST and each["name"] not in given
    ]
    if word or not targets:
        offered += memory.placed(word)
    once: dict[str, Candidate] = {}
    for each in offered:
        once.setdefault(each.text, each)
    return _matching(word, once.values())


def _parameters(targets: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({p["name"]: p for each in targets for p in each.get("parameters", ())}.values())


def _about(parameter: dict[str, Any]) -> str:
    hint, default = str(parameter.get("hint", "")), parameter.get("default")
    if parameter.get("required"):
        return f"{hint} (required)".strip()
    # Of other types the list has Python's notation only, which nobody would type.
    simple = isinstance(default, (bool, int)) or (
        isinstance(default, str) and default and hint in ("", "str")
    )
    return (
        f"{hint} (default: {str(default).lower() if default in (True, False) else default})".strip()
        if simple
        else hint
    )


def _value(parameter: dict[str, Any], prefix: str, value: str, base: str) -> Answer:
    if parameter.get("several"):
        before, comma, _ = value.rpartition(",")
        prefix, value = prefix + before + comma, value[len(before + comma) :]
    if parameter.get("path"):
        return Answer("dirs" if parameter["path"] == "dir" else "files", prefix=prefix, base=base)
    choices = [str(each) for each in parameter.get("choices", ())]
    return _matching(prefix + value, (Candidate(prefix + each) for each in choices))


def _folded(name: str) -> str:
    """A name in which ``-`` and ``_`` are one letter."""
    return name.replace("-", "_")


def _as_typed(name: str, word: str) -> str:
    """``name``, with its beginning spelt as it was typed."""
    return word + name[len(word) :] if _folded(name).startswith(_folded(word)) else name
