"""Commands that make code of their words, so that no quoting can help.

It decides which words of a simple command are read a second time: as commands, or as arithmetic, in which a subscript may
hold a command.  It sees words as they are written; a command whose name is computed, and programs that it does not know,
are beyond it.
"""

import os
import re
from collections.abc import Iterator, Sequence
from typing import Final

from merkl.bash.cursor import Word

# Builtins of the shell.
EVALUATING: Final = frozenset(
    """
    . alias bind compgen complete declare eval export getopts let local mapfile read readarray readonly source trap
    typeset unset
    """.split()
)
_SHELLS: Final = frozenset("sh bash dash ash ksh mksh zsh fish su runuser".split())
REMOTE: Final = frozenset("ssh slogin rsh".split())
# They run what some of their words say.
_RUNNERS: Final = frozenset(
    """
    env sudo doas nice ionice nohup timeout time setsid stdbuf xargs chroot unshare strace ltrace exec command builtin
    find parallel watch
    """.split()
)
_DECLARING: Final = frozenset("declare typeset local readonly export".split())
_NAME_AFTER: Final = {"printf": ("-v",), "wait": ("-p",), "test": ("-v", "-R"), "[": ("-v", "-R")}
_VALUED: Final = frozenset("-o +o -O +O --rcfile --init-file -s -u -g -G --shell --user --group".split())

# Assigning to these evaluates what is assigned.
COUNTING: Final = frozenset("HISTCMD LINENO OPTIND RANDOM SECONDS SRANDOM BASHPID PPID EUID UID".split())
RUNNING: Final = frozenset("PS0 PS1 PS2 PS4 PROMPT_COMMAND BASH_ENV ENV".split())

NUMERIC_TESTS: Final = frozenset("-eq -ne -lt -le -gt -ge".split())
NAMING_TESTS: Final = frozenset(("-v", "-R"))


def evaluates(command: bytes) -> bool:
    """Whether a command of that name takes its words for code."""
    return any(command == name.encode() for name in EVALUATING)


def evaluated(words: Sequence[Word]) -> Iterator[tuple[Word, str]]:
    """Each word of a simple command that is read again as code, and by what."""
    words = _without_prefixes(words)
    if not words:
        return
    name = words[0].value or ""
    if name in EVALUATING:
        yield from ((word, name) for word in words[1:])
        return
    for option in _NAME_AFTER.get(name, ()):
        for index, word in enumerate(words[1:], 1):
            after = words[index + 1] if index + 1 < len(words) else None
            if word.value == option and after is not None:
                yield after, f"{name} {option}"
            elif name in ("printf", "wait") and word.text.lstrip("\"'\\").startswith(option):
                yield word, f"{name} {option}"
    yield from _started(words)


def counting(words: Sequence[Word]) -> Iterator[str]:
    """The variables that a command declares to be integers or names of others."""
    words = _without_prefixes(words)
    if words and words[0].value in _DECLARING:
        options = [word.text for word in words[1:] if word.text.startswith("-")]
        if any("i" in option or "n" in option for option in options):
            yield from (word.text.partition("=")[0].rstrip("+") for word in words[1:])


def reads_code(words: Sequence[Word]) -> str:
    """The shell that a command starts to read commands from its input, or an empty string."""
    words = _without_prefixes(words)
    runs_others = bool(words) and _base(words[0]) in _RUNNERS
    for index, word in enumerate(words):
        base = _base(word)
        if base in _SHELLS | REMOTE | {"source", "."} and (index == 0 or runs_others):
            arguments = words[index + 1 :]
            plain = [w for w in arguments if not w.text.startswith(("-", "+"))]
            given = bool(plain) and base in _SHELLS and not any(w.value == "-s" for w in arguments)
            return "" if given and base not in ("su", "runuser") else base
    return ""


def _without_prefixes(words: Sequence[Word]) -> Sequence[Word]:
    while len(words) > 1 and words[0].value in ("command", "builtin", "-p"):  # That one is of ``time``.
        words = words[1:]
        while len(words) > 1 and (words[0].value or "").startswith("-"):
            words = words[1:]
    return words


def _started(words: Sequence[Word]) -> Iterator[tuple[Word, str]]:
    """What a shell or a remote shell, started by this command, takes as code."""
    runs_others = _base(words[0]) in _RUNNERS
    for index, word in enumerate(words):
        base = _base(word)
        if base in REMOTE and (index == 0 or runs_others):
            yield from ((other, base) for other in words[index + 1 :])
            return
        following = words[index + 1].value or "" if index + 1 < len(words) else ""
        if base in _SHELLS and (index == 0 or runs_others or following.startswith("-")):
            yield from ((code, f"{base} -c") for code in _code_of(base, words[index + 1 :]))


def _base(word: Word) -> str:
    return os.path.basename(word.value or "")


def _code_of(shell: str, words: Sequence[Word]) -> Iterator[Word]:
    """The words of ``-c CODE`` among the arguments of a shell."""
    asked, skip = False, False
    for word in words:
        text = word.value or ""
        if skip:
            skip = False
        elif text in _VALUED:
            skip = True
        elif re.fullmatch(r"-[A-Za-z]*c[A-Za-z]*|--command", text):
            asked = True
        elif asked and not re.match(r"[-+]", text):
            yield word
            return
        elif not text.startswith(("-", "+")) and shell not in ("su", "runuser"):
            return  # A script; what follows are its own arguments.
