"""Why a step will or will not run, in words, from its verdict and from what is remembered of its last time.

It decides wording only.  The invariant: everything said comes from the verdict that the build itself acts on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.engine.judge import Judge
from merkl.engine.step import (
    Cached,
    CutOff,
    Forced,
    FoundChanged,
    NeverRan,
    OutputGone,
    RunsAlways,
    Step,
    Verdict,
    Waits,
)
from merkl.nodes import Node, Part


def reason(step: Step) -> str:
    """A few words for a step that runs: ``never ran``, ``forced``, …"""
    verdict = step.verdict
    return "" if verdict is None else describe(verdict)


def describe(verdict: Verdict) -> str:
    """A verdict in a few words."""
    match verdict:
        case Cached(record):
            return f"cached, saves {record.seconds:.1f} s"
        case CutOff(record):
            return f"cut off: its inputs have the same bytes as before, saves {record.seconds:.1f} s"
        case NeverRan():
            return "runs: no result of it is known"
        case FoundChanged(path, _):
            return f"runs: {path}, which it reads, changed"
        case OutputGone(output):
            return f"runs: the store has lost its output {output}".rstrip()
        case Forced():
            return "runs: forced"
        case RunsAlways():
            return "runs: it is not cached"
        case Waits(first):
            return f"may run: depends on what {first.name} makes"
        case other:
            assert_never(other)


def discovered(step: Step) -> Mapping[str, Digest | None]:
    """What a step's result goes by that it found while it ran; for one that is to run because of these, the last time."""
    record = step.verdict.record if isinstance(step.verdict, FoundChanged) else step.record
    return {} if record is None or record.discovered is None else record.discovered.files


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between a call now and the last time: ``what`` names it, ``lines`` show it."""

    what: str
    lines: tuple[str, ...] = ()


def all_parts(node: Node, labels: Mapping[Any, str]) -> list[Part]:
    """Everything that entered a node's key, its sources and dependencies too."""
    parts = node.call.parts()
    for source in node.sources:
        mode = ", executable" if source.executable else ""
        parts.append(Part("file", source.path, f"{source.digest.short}{mode}", source.digest.hex()))
    for index, dep in enumerate(node.deps):
        made = dep.future.node
        output = f".{dep.future.output}" if dep.future.output else ""
        parts.append(Part("input", f"{index} {_label_of(made, labels)}{output}", dep.name, made.key.hex()))
    return parts


def _label_of(node: Node, labels: Mapping[Any, str]) -> str:
    try:
        return labels[node.key]  # Not get(), which would ask for none that are made when they are asked for.
    except KeyError:
        return node.name


def as_json(parts: Sequence[Part]) -> list[list[str]]:
    """Parts as they are kept in the index."""
    return [[part.group, part.name, part.text, part.digest] for part in parts]


def changes(before: Sequence[Sequence[str]], now: Sequence[Part]) -> list[Change]:
    """What differs between the parts of the last time and those of now."""
    old = _keyed((group, name, text, digest) for group, name, text, digest in before)
    new = _keyed((part.group, part.name, part.text, part.digest) for part in now)
    found: list[Change] = []
    unshown: list[Change] = []  # A digest differs and the text does not: something it reaches is the reason.
    for place, (text, digest) in new.items():
        group, name, _ = place
        if place not in old:
            found.append(Change(f"{_called(group, name)} is new", _value(group, text)))
        elif group == "code" and old[place][0] == text and old[place][1] != digest:
            unshown.append(Change(f"{_called(group, name)} reaches something that changed"))
        elif old[place] != (text, digest):
            found.append(_difference(group, name, old[place][0], text))
    for place, (text, _) in old.items():
        if place not in new:
            found.append(Change(f"{_called(place[0], place[1])} is gone", _value(place[0], text)))
    return found or unshown


def _keyed(parts: Any) -> dict[tuple[str, str, int], tuple[str, str]]:
    """By group and name; a name that stands several times (files of a list) by its place too."""
    found: dict[tuple[str, str, int], tuple[str, str]] = {}
    for group, name, text, digest in parts:
        count = 0
        while (group, name, count) in found:
            count += 1
        found[group, name, count] = (text, digest)
    return found


_NOUNS = {
    "template": "the template of",
    "option": "the option",
    "argument": "the argument",
    "file": "the file",
    "input": "the input",
    "code": "the code",
    "environment": "the environment variable",
    "tool": "the tool",
    "dependency": "the extra dependency",
    "system": "the system",
}


def _called(group: str, name: str) -> str:
    if group == "input":
        name = name.partition(" ")[2]
    return f"{_NOUNS.get(group, group)} {name}".rstrip()


def _value(group: str, text: str) -> tuple[str, ...]:
    return () if group in ("code", "template", "file", "input") or not text else (text,)


def _difference(group: str, name: str, old: str, new: str) -> Change:
    what = f"{_called(group, name)} changed"
    if group in ("code", "template") and old != new:
        import difflib

        diff = difflib.unified_diff(old.splitlines(), new.splitlines(), "before", "now", lineterm="", n=1)
        return Change(what, tuple(line for line in diff if not line.startswith(("---", "+++"))))
    if group in ("file", "input", "code") or old == new:
        return Change(what)
    return Change(what, (f"{old}  →  {new}",))


def step_changes(
    step: Step, judge: Judge, before: Sequence[Sequence[str]] | None, labels: Mapping[Any, str]
) -> list[Change]:
    """Why a step runs, in detail: what differs from the last time it was part of a build."""
    if before is None:
        return [Change("it never ran before")]
    found = changes(before, all_parts(step.node, labels))
    verdict = judge.verdict(step)
    if isinstance(verdict, FoundChanged):
        return [Change(f"the file {verdict.path}, which it found while it ran, changed")]
    if isinstance(verdict, (OutputGone, Forced, RunsAlways)):
        return [Change(describe(verdict).removeprefix("runs: ")), *found]
    return found or [Change("no result of it is in the store")]
