"""What a tool needs of a graph: its files, its command, and how to read from its output what it ran.

It decides nothing about scenarios.  Invariant: whatever a dialect writes comes from the graph alone, so all contenders have
the same commands on the same files.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.graph import SOURCE, Graph, Rule


@dataclass(frozen=True)
class Dialect:
    """A tool and its language.

    ``program`` comes from ``package``, if that is not empty, in an environment of its own, or else from the machine.
    ``line`` is a regular expression: what the tool prints for each command that it runs begins a line with it.
    ``begin`` are commands that a new project needs once.  ``state`` is what the tool keeps in a project.
    ``most`` and ``most_of_all`` are how many sources it is given, by default and if time does not matter; one that is not
    ``quick`` gets fewer rounds.  ``seconds_each`` is about what a target takes it, and ``seconds_idle`` one that is up to date.
    """

    name: str
    program: str
    words: tuple[str, ...]
    write: Callable[[Graph], Mapping[str, str]]
    line: str
    package: str = ""
    begin: tuple[tuple[str, ...], ...] = ()
    state: tuple[str, ...] = ()
    most: int = 100_000
    most_of_all: int = 100_000
    quick: bool = False
    seconds_each: float = 1e-3
    seconds_idle: float = 6e-6

    def ran(self, printed: str) -> int:
        """How many commands it says that it ran."""
        return len(re.findall(self.line, printed, re.MULTILINE))


def name_of(pattern: str) -> str:
    """A short name of what a pattern stands for: its directory, or the file's name without its suffix."""
    return pattern.partition("/")[0].partition(".")[0]


def in_python(pattern: str) -> str:
    """The pattern as Python text, where ``folder`` and ``stem`` are variables."""
    if "{" not in pattern:
        return f'"{pattern}"'
    return 'f"' + pattern.replace("{group}", "{stem[:-1]}") + '"'


def command_in_python(rule: Rule) -> str:
    """The command as an f-string, where ``inputs`` is a list and ``out`` the output."""
    return 'f"' + rule.command.format(inputs="{' '.join(inputs)}", output="{out}", stem="{stem}") + '"'


def inputs_in_python(rule: Rule) -> str:
    """A list, as Python text."""
    return f"[{', '.join(in_python(pattern) for pattern in rule.inputs)}]"


def loop_in_python(graph: Graph, indent: str = "") -> list[str]:
    """The head of a loop over the sources, which gives ``folder`` and ``stem``."""
    if any(SOURCE in rule.inputs for rule in graph.rules):
        lines = [
            'for path in sorted(Path("src").glob("*/*.txt")):',
            "    folder, stem = path.parent.name, path.stem",
        ]
    else:
        lines = [f"for n in range({graph.count}):", '    folder, stem = f"{n // 1000:03d}", f"{n:06d}"']
    return [indent + line for line in lines]
