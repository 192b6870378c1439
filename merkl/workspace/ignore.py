"""Which files are not looked at: the rules of ``.merklignore`` and ``.gitignore``.

It decides by path and rule files alone.  Patterns mean what they mean to git: the last one that matches wins, a file in
a deeper directory wins over one above it, and nothing below an ignored directory can be taken back.  Only rule files
from the project's root downward count, never a user's own settings, so that the same files are seen on every machine.

The invariant: ``Rules`` are those in force in one directory, and never change.
"""

import os
from collections.abc import Container
from typing import Final, Literal, TypeAlias

from merkl.dataclass import dataclass
from merkl.errors import ConfigError
from merkl.workspace.paths import GITIGNORE
from merkl.workspace.patterns import MeaninglessPattern, Patterns, read_patterns

RuleName: TypeAlias = Literal[".merklignore", ".gitignore"]
MERKLIGNORE: Final = ".merklignore"
_LARGEST: Final = 1 << 20  # bytes of a rule file


@dataclass(frozen=True, slots=True)
class _RuleFile:
    """One rule file; ``prefix`` is the length of its directory's path with the slash."""

    name: RuleName
    prefix: int
    patterns: Patterns


@dataclass(frozen=True, slots=True)
class Rules:
    """The rule files in force in one directory, the deepest first.  ``names`` are those that are honoured at all."""

    names: tuple[RuleName, ...] = ()
    files: tuple[_RuleFile, ...] = ()

    def entering(self, path: str, listing: Container[str], where: str) -> "Rules":
        """The rules inside the directory ``path``, whose names are ``listing``; it is at ``where`` on the disk.

        Raises:
            ConfigError: a rule file there cannot be read, or holds a pattern that means nothing.
        """
        found = [name for name in self.names if name in listing]
        if not found:
            return self
        prefix = len(path) + 1 if path not in ("", ".") else 0
        read = [_RuleFile(name, prefix, _read(os.path.join(where, name))) for name in found]
        return Rules(self.names, (*read, *self.files))

    def ignored_by(self, path: str, directory: bool) -> RuleName | None:
        """The kind of rule file that says to ignore ``path``, in the directory the rules are of; None if none does.

        ``.merklignore`` is asked first, and a ``!pattern`` there takes back what ``.gitignore`` ignores.
        """
        for name in self.names:
            for rules in self.files:
                if rules.name != name:
                    continue
                verdict = rules.patterns.verdict(path[rules.prefix :], directory)
                if verdict is not None:
                    return name if verdict else None
        return None

    def without_git(self) -> "Rules":
        """The same without what ``.gitignore`` files say."""
        return Rules((MERKLIGNORE,), tuple(rules for rules in self.files if rules.name == MERKLIGNORE))


def rules_above(root: str, directory: str, names: tuple[RuleName, ...]) -> Rules:
    """The rules of the directories above ``directory``, a normalised path, from the project's root downward.

    Git's rules do not count inside a directory with a sidecar: git ignores it because merkl keeps it.

    Raises:
        ConfigError: as for ``Rules.entering``.
    """
    rules = Rules(names)
    if directory == "." or directory.startswith("/"):
        return rules
    at, where = "", root
    for part in directory.split("/"):
        names_here = _Existing(where)
        rules = rules.entering(at, names_here, where)
        if GITIGNORE in names and f"{part}.merkl" in names_here:
            rules = rules.without_git()
        at, where = f"{at}/{part}".lstrip("/"), f"{where}/{part}"
    return rules


@dataclass(frozen=True, slots=True)
class _Existing:
    """The names in a directory, asked for one by one."""

    where: str

    def __contains__(self, name: object) -> bool:
        return os.path.lexists(f"{self.where}/{name}")


def _read(path: str) -> Patterns:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            data = os.read(fd, _LARGEST + 1)
        finally:
            os.close(fd)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise ConfigError(f"{path} is larger than {_LARGEST} bytes", hint="is it a list of patterns?")
    lines = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).replace("\r\n", "\n").split("\n")
    try:
        return read_patterns(lines, lenient=path.endswith(GITIGNORE))
    except MeaninglessPattern as error:
        raise ConfigError(f"{path}:{error.number}: {error.line!r} matches nothing: {error.reason}") from None
