"""The command lines that are typed most: a build, with the options that many builds have.

They are read without click, which takes longer to import than a small build takes.  It decides which these are; whatever else
there is, and whatever may be wrong, click reads.

The invariant: what is read here, click would read as the same options and words.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

FLAGS: Final = {
    "-k": "keep_going", "--keep-going": "keep_going", "-n": "dry_run", "--dry-run": "dry_run", "-B": "force", "--force": "force",
    "-q": "quiet", "--quiet": "quiet", "-v": "verbose", "--verbose": "verbose",
}  # fmt: skip
JOBS: Final = ("-j", "--jobs")
_DIGITS: Final = frozenset("0123456789")


def read(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]] | None:
    """The options of a plain build, as ``Options`` names them, and its words; None if it is none."""
    if list(arguments[:1]) != ["build"]:
        return None
    options: dict[str, Any] = {}
    words: list[str] = []
    rest = iter(arguments[1:])
    for word in rest:
        if word in FLAGS:
            options[FLAGS[word]] = True
        elif word in JOBS or (word[:2] == "-j" and word[2:]):
            jobs = _number(next(rest, "") if word in JOBS else word[2:])
            if jobs is None:
                return None
            options["jobs"] = jobs
        elif word[:1] == "-" or not word:
            return None
        else:
            words.append(word)
    return options, words


def _number(text: str) -> int | None:
    plain = 0 < len(text) < 5 and text[0] != "0" and _DIGITS.issuperset(text)
    return int(text) if plain else None


def runner(arguments: Sequence[str]) -> Callable[[], int]:
    """What runs a command line and returns the exit code; what reads it has been imported."""
    found = read(arguments)
    if found is None and arguments:
        from merkl.cli.main import run

        return lambda: run(arguments)
    from merkl.cli.edge import ended

    options, words = found or ({}, None)
    return lambda: ended(lambda: _build(options, words), arguments)


def _build(given: dict[str, Any], words: list[str] | None) -> int:
    from merkl.cli.building import build_once, build_or_list
    from merkl.cli.given import Options

    options = Options(**given).settled()
    return build_or_list(options) if words is None else build_once(options, words)
