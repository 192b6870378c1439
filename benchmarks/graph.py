"""The neutral description of a scenario: sources, and rules that make a target of each.

It decides what is built and what the outputs must hold; it does not know who builds it.  A target is one command, its
inputs, one output; sources and outputs are in directories of a thousand.  Every dialect and every check is made from this.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

PER_FOLDER = 1000
PER_GROUP = 10
SOURCE = "src/{folder}/{stem}.txt"


@dataclass(frozen=True, slots=True)
class Rule:
    """One command for each source.

    Patterns hold ``{folder}``, ``{stem}`` and ``{group}`` of the source; one without any is a file that all read.  An input
    may be the output of an earlier rule.  ``command`` holds ``{inputs}``, ``{output}`` and perhaps ``{stem}``.
    ``result`` is the text the output must hold, given those of the inputs and the stem.
    """

    name: str
    command: str
    inputs: tuple[str, ...]
    output: str
    result: Callable[[Sequence[str], str], str]


@dataclass(frozen=True, slots=True)
class Target:
    """One command, ready for a shell, with paths relative to the project."""

    rule: Rule
    command: str
    inputs: tuple[str, ...]
    output: str
    stem: str

    @property
    def directory(self) -> str:
        """Where the output goes."""
        return self.output.rpartition("/")[0]


@dataclass(frozen=True)
class Graph:
    """``count`` sources, and the rules that are applied to each of them, in order."""

    name: str
    count: int
    rules: tuple[Rule, ...]
    jobs: int = 2
    bash: bool = False  # Whether all sides run commands by bash.
    targets: list[Target] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        targets = [_target(rule, place) for place in self.places() for rule in self.rules]
        object.__setattr__(self, "targets", targets)

    def places(self) -> Iterator[dict[str, str]]:
        """What the patterns hold, for each source."""
        for n in range(self.count):
            stem = f"{n:06d}"
            yield {"folder": f"{n // PER_FOLDER:03d}", "stem": stem, "group": f"{n // PER_GROUP:05d}"}

    def inputs(self) -> list[str]:
        """The files that are there before anything is built, each once."""
        made = {target.output for target in self.targets}
        return list(dict.fromkeys(i for target in self.targets for i in target.inputs if i not in made))

    def expected(self, edits: Mapping[str, str]) -> dict[str, str]:
        """What each output must hold, if the inputs named in ``edits`` hold what is said there."""
        made: dict[str, str] = {}
        for target in self.targets:
            texts = [made[i] if i in made else edits.get(i) or text_of(i) for i in target.inputs]
            made[target.output] = target.rule.result(texts, target.stem)
        return made

    def sized(self, count: int) -> "Graph":
        """The same with another number of sources."""
        return Graph(self.name, count, self.rules, self.jobs, self.bash)


def text_of(path: str) -> str:
    """What an input holds at first."""
    return f"text of {path}\n"


def _target(rule: Rule, place: Mapping[str, str]) -> Target:
    inputs = tuple(pattern.format_map(place) for pattern in rule.inputs)
    output = rule.output.format_map(place)
    command = rule.command.format(inputs=" ".join(inputs), output=output, stem=place["stem"])
    return Target(rule, command, inputs, output, place["stem"])


def _joined(texts: Sequence[str], _: str) -> str:
    return "".join(texts)


def _without_comments(texts: Sequence[str], _: str) -> str:
    return "".join(line for text in texts for line in text.splitlines(True) if not line.startswith("#"))


JOIN = Rule(
    "join",
    "cat {inputs} > {output}",
    ("group/{folder}/{group}.txt", SOURCE),
    "out/{folder}/{stem}.out",
    _joined,
)
READ = Rule(
    "read",
    "grep -hv '^#' {inputs} > {output}",
    ("shared.txt", SOURCE),
    "mid/{folder}/{stem}.mid",
    _without_comments,
)
AFTER = Rule("after", "cat {inputs} > {output}", (READ.output,), "out/{folder}/{stem}.out", _joined)
COPY = Rule("copy", "cp {inputs} {output}", (SOURCE,), "out/{folder}/{stem}.out", _joined)
ECHO = Rule("echo", "echo {stem} > {output}", (), "out/{folder}/{stem}.out", lambda _, stem: f"{stem}\n")

WIDE = Graph("wide", 10_000, (JOIN,))  # A leaf of the groups is read by ten.
SHARED = Graph("shared", 1000, (READ, AFTER))
COPIES = Graph("copies", 10_000, (COPY,))
TINY = Graph("tiny", 1000, (ECHO,), bash=True)
