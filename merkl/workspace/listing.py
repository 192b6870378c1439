"""The files that a pattern matches.

``*``, ``?`` and ``[…]`` match within one name, ``**`` as a whole name matches any number of directories, and ``{a,b}``
either of both.  A name that begins with a dot is matched only by a pattern that does too.  ``**`` does not go through
symbolic links to directories; a name that is spelt, or matched by ``*``, does.

It decides which files match and which rules leave one out; it reads no file but rule files.  What belongs to merkl or
to version control never matches, nor does what ``.merklignore`` or ``.gitignore`` names: except for data that has a
sidecar beside it (git ignores it because merkl keeps it), and except for a path without any wildcard.

The invariant: the result depends only on names, links and rule files, and is sorted by bytes.
"""

import functools
import itertools
import os
from collections.abc import Iterator
from typing import Final

from merkl.dataclass import dataclass
from merkl.errors import UsageError
from merkl.pattern import names_like, pattern
from merkl.snapshot.names import asks_for
from merkl.workspace.ignore import MERKLIGNORE, Rules, rules_above
from merkl.workspace.paths import GITIGNORE, absolute, normalise, reserved, temporary

_MAGIC: Final = pattern(r"[*?\[{]")
_MOST_ALTERNATIVES: Final = 1000


def is_pattern(text: str) -> bool:
    """Whether some text is more than the name of one file."""
    return _MAGIC.search(text) is not None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a pattern matched, and what the answer depends on, as normalised paths.

    A new match shows as a change of one of ``directories`` or of one of the rule files in ``rules``; among both may be
    some that do not exist yet.
    """

    files: tuple[str, ...]
    directories: tuple[str, ...]
    rules: tuple[str, ...]


def glob_files(root: str, base: str, pattern: str | bytes) -> Listing:
    """List the regular files that match ``pattern``, which starts from the absolute directory ``base``.

    Raises:
        UsageError: the pattern is empty, or holds a NUL byte or too many alternatives.
        ConfigError: a rule file cannot be read.
    """
    text = os.fsdecode(pattern)
    if "\0" in text:
        raise UsageError(f"a pattern cannot hold a NUL byte: {text!r}")
    walks = _Walks(root)
    for alternative in alternatives(text):
        match = _MAGIC.search(alternative)
        fixed = alternative[: alternative.rfind("/", 0, match.start()) + 1] if match else alternative
        start = normalise(fixed, base, root) if fixed or not match else normalise(".", base, root)
        parts = [part for part in alternative[len(fixed) :].split("/") if part not in ("", ".")]
        if ".." in parts:
            raise UsageError(f"the pattern {text!r} has a .. after a wildcard", hint="put it before")
        walks.match(start, parts)
    return walks.result()


def alternatives(pattern: str) -> list[str]:
    """The patterns without braces that ``pattern`` stands for; a brace without a comma or a partner is a letter.

    Raises:
        UsageError: there are too many.
    """
    todo, done = [pattern], []
    while todo:
        text = todo.pop()
        found = _first_brace(text)
        if found is None:
            done.append(text)
            continue
        start, commas, end = found
        edges = [start, *commas, end]
        todo += [text[:start] + text[a + 1 : b] + text[end + 1 :] for a, b in itertools.pairwise(edges)]
        if len(todo) + len(done) > _MOST_ALTERNATIVES:
            raise UsageError(f"the pattern {pattern[:80]!r} stands for more than {_MOST_ALTERNATIVES} others")
    return done


def _first_brace(text: str) -> tuple[int, list[int], int] | None:
    """Where the first pair of braces with a comma inside is: start, the commas between its parts, end."""
    open_at: list[tuple[int, list[int]]] = []
    best: tuple[int, list[int], int] | None = None
    for at, letter in enumerate(text):
        if letter == "{":
            open_at.append((at, []))
        elif letter == "," and open_at:
            open_at[-1][1].append(at)
        elif letter == "}" and open_at:
            start, commas = open_at.pop()
            if commas and (best is None or start < best[0]):
                best = (start, commas, at)
    return best


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    is_dir: bool
    is_link: bool
    is_file: bool


class _Walks:
    """All the walks of one pattern; each directory is read once."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._files: set[str] = set()
        self._directories: dict[str, tuple[list[_Entry], Rules]] = {}
        self._rule_files: set[str] = set()
        self._asked: set[str] = set()
        self._been: set[tuple[str, int, tuple[str, ...]]] = set()

    def result(self) -> Listing:
        by_bytes = functools.partial(sorted, key=os.fsencode)
        directories = self._asked.union(self._directories)
        return Listing(*(tuple(by_bytes(paths)) for paths in (self._files, directories, self._rule_files)))

    def match(self, start: str, parts: list[str]) -> None:
        if any(reserved(part) for part in os.fsencode(start).split(b"/")):
            return
        if not parts:
            self._literal(start)
            return
        self._rule_files.update(
            os.path.join(above, name) for above in _above(start) for name in (MERKLIGNORE, GITIGNORE)
        )
        pattern = tuple(parts)
        todo = [(start, 0, rules_above(self._root, start, (MERKLIGNORE, GITIGNORE)))]
        while todo:
            directory, at, rules = todo.pop()
            if (directory, at, pattern) in self._been:
                continue
            self._been.add((directory, at, pattern))
            todo += self._step(directory, at, pattern, rules)

    def _literal(self, path: str) -> None:
        self._asked.add(os.path.dirname(path) or ".")
        if os.path.isfile(absolute(path, self._root)):
            self._files.add(path)

    def _step(
        self, directory: str, at: int, pattern: tuple[str, ...], rules: Rules
    ) -> Iterator[tuple[str, int, Rules]]:
        """Match ``pattern[at:]`` in one directory: keep its files, and yield the directories to go on with."""
        part, last = pattern[at], at == len(pattern) - 1
        entries, inside = self._entries(directory, rules)
        if part == "**" and not last:
            yield directory, at + 1, rules
        asks_for(absolute(directory, self._root), part, last=last)
        fits = names_like("*" if part == "**" else part)
        sidecars = {entry.name for entry in entries if entry.name.endswith(".merkl")}
        for entry in entries:
            name = entry.name
            if not fits(name) or (last and name in sidecars and not part.endswith(".merkl")):
                continue
            if not (entry.is_dir or (last and entry.is_file)):
                continue
            path = name if directory == "." else f"{directory.rstrip('/')}/{name}"
            ignored = inside.ignored_by(path, entry.is_dir) if inside.files else None
            tracked = f"{name}.merkl" in sidecars
            if ignored == MERKLIGNORE or (ignored and not tracked):
                continue
            if not entry.is_dir:
                self._files.add(path)
            elif (part == "**" and not entry.is_link) or (part != "**" and not last):
                yield path, at + (part != "**"), inside.without_git() if tracked else inside

    def _entries(self, directory: str, rules: Rules) -> tuple[list[_Entry], Rules]:
        """What is in a directory, without what is not ours to match, and the rules inside it."""
        known = self._directories.get(directory)
        if known is not None:
            return known
        where = absolute(directory, self._root)
        try:
            with os.scandir(where) as found:
                entries = [_entry(each) for each in found if not _hidden(os.fsencode(each.name))]
        except OSError:
            entries = []
        names = {entry.name for entry in entries if entry.name in (MERKLIGNORE, GITIGNORE)}
        inside = rules.entering(directory, names, where)
        self._rule_files.update(name if directory == "." else f"{directory}/{name}" for name in names)
        self._directories[directory] = entries, inside
        return entries, inside


def _above(path: str) -> list[str]:
    """The directories of the project above a normalised path, the project's own as an empty text."""
    if path == "." or path.startswith("/"):
        return []
    parts = path.split("/")
    return ["/".join(parts[:at]) for at in range(len(parts))]


def _entry(found: "os.DirEntry[str]") -> _Entry:
    try:
        return _Entry(found.name, found.is_dir(), found.is_symlink(), found.is_file())
    except OSError:  # A link that leads back to itself.
        return _Entry(found.name, False, True, False)


def _hidden(name: bytes) -> bool:
    return reserved(name) or temporary(name)
