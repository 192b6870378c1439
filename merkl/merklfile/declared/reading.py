"""Reading nodes of YAML as what is wanted: a mapping of known names, text, a number, a list.

It decides what of YAML is accepted: nothing that one reader takes for text and another for a number, a date or a truth
value.  It knows no names of options.

The invariant: whatever is refused is pointed at, with what to write instead.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NoReturn

import yaml

from merkl.dataclass import dataclass
from merkl.errors import did_you_mean
from merkl.merklfile.declared.document import Document, Span
from merkl.merklfile.declared.scalars import Locate, located

_TAG: Final = "tag:yaml.org,2002:"
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")  # YAML 1.2's, beyond 1.1's.
_TRUTHS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One name of a mapping and what is written for it."""

    key: yaml.ScalarNode
    value: yaml.Node

    @property
    def name(self) -> str:
        """The name, as it is written."""
        return str(self.key.value)


class Reader:
    """Reads the nodes of one document."""

    def __init__(self, document: Document) -> None:
        self.document = document

    # ---- places ----

    def span(self, node: yaml.Node) -> Span:
        """The stretch of a node."""
        return Span(node.start_mark.index, max(node.end_mark.index, node.start_mark.index + 1))

    def locate(self, node: yaml.ScalarNode) -> Locate:
        """Where the characters of a scalar's value are."""
        span = self.span(node)
        return located(self.document.text, span.start, span.end, node.style, node.value)

    def fail(self, where: yaml.Node | Span, message: str, hint: str = "") -> NoReturn:
        """Refuse what is there."""
        raise self.document.error(where if isinstance(where, Span) else self.span(where), message, hint)

    # ---- mappings ----

    def entries(self, node: yaml.Node, what: str, example: str) -> dict[str, Entry]:
        """The entries of a mapping in order, its merges last.  Nothing at all is an empty one."""
        if is_nothing(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{what} is a mapping of names, not {self.kind(node)}", f"write {example}")
        return self._entries(node, frozenset())

    def _entries(self, node: yaml.MappingNode, around: frozenset[int]) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        merged: list[Entry] = []
        for key, value in node.value:
            if key.tag == _TAG + "merge":
                merged += self._merged(value, around | {id(node)})
                continue
            if not isinstance(key, yaml.ScalarNode):
                self.fail(key, "a name is text", 'quote what begins with { or [: "{name}"')
            known = found.get(key.value)
            if known is not None:
                line = self.document.line_and_column(known.key.start_mark.index)[0]
                self.fail(key, f"{key.value!r} is given twice, first in line {line}", "take out one of them")
            found[key.value] = Entry(key, value)
        for entry in merged:
            found.setdefault(entry.name, entry)
        return found

    def _merged(self, node: yaml.Node, around: frozenset[int]) -> Iterator[Entry]:
        members = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for member in members:
            if not isinstance(member, yaml.MappingNode):
                self.fail(member, "<< merges mappings", "<<: *name, of a mapping that is marked &name")
            if id(member) in around:
                self.fail(member, "this mapping is merged into itself", "take the << out of it")
            yield from self._entries(member, around).values()

    def options(
        self,
        node: yaml.Node,
        what: str,
        known: Collection[str],
        foreign: Mapping[str, str],
        example: str,
    ) -> dict[str, Entry]:
        """The entries of a mapping, all of them known.  ``foreign`` says how other tools' words are spelt here."""
        found = self.entries(node, what, example)
        self.refuse_unknown(found, what, known, foreign)
        return found

    def refuse_unknown(
        self, found: Mapping[str, Entry], what: str, known: Collection[str], foreign: Mapping[str, str]
    ) -> None:
        """Refuse entries whose names are not known."""
        for name, entry in found.items():
            if name not in known:
                hint = foreign.get(name) or did_you_mean(name, known, f"there are {', '.join(known)}")
                self.fail(entry.key, f"{what} has no {name!r}", hint)

    # ---- scalars ----

    def kind(self, node: yaml.Node) -> str:
        """What a node is, for messages."""
        if isinstance(node, yaml.MappingNode):
            return "a mapping"
        if isinstance(node, yaml.SequenceNode):
            return "a list"
        if is_nothing(node):
            return "nothing"
        kinds = {"bool": "a truth value", "int": "a number", "float": "a number", "timestamp": "a date"}
        return kinds.get(node.tag.removeprefix(_TAG), "text")

    def text(self, node: yaml.Node, what: str) -> str:
        """A node that is text."""
        if isinstance(node, yaml.ScalarNode) and node.tag in (_TAG + "str", _TAG + "value"):
            return str(node.value)
        if not isinstance(node, yaml.ScalarNode):
            self.refuse_braces(node)
            self.fail(
                node, f"{what} is text, not {self.kind(node)}", "write one text, in quotes if it has brackets"
            )
        if is_nothing(node):
            self.fail(node, f"{what} is text, and nothing is written", 'an empty text is written ""')
        self.scalar(node)
        message = f"{what} is text, and {node.value} is {self.kind(node)}"
        raise self.document.error(self.span(node), message, f'write "{node.value}"')

    def flag(self, node: yaml.Node, what: str) -> bool:
        """A node that is true or false."""
        value = self.scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if not isinstance(value, bool):
            self.fail(
                node,
                f"{what} is true or false, not {self.shown(node)}",
                "write true or false, without quotes",
            )
        return value

    def number(self, node: yaml.Node, what: str) -> int | float:
        """A node that is a number."""
        value = self.scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(
                node,
                f"{what} is a number, not {self.shown(node)}",
                "write it in digits, without quotes or units",
            )
        return value

    def shown(self, node: yaml.Node) -> str:
        """A node as it is written if it is short, else what it is."""
        return (
            repr(node.value)
            if isinstance(node, yaml.ScalarNode) and len(node.value) < 40
            else self.kind(node)
        )

    def items(self, node: yaml.Node, what: str, example: str) -> list[yaml.Node]:
        """The members of a list."""
        if is_nothing(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.refuse_braces(node)
            self.fail(node, f"{what} is a list, not {self.kind(node)}", f"write {example}")
        return list(node.value)

    def scalar(self, node: yaml.ScalarNode) -> Any:
        """The value of a scalar: None, bool, int, float or str."""
        kind = node.tag.removeprefix(_TAG)
        text = str(node.value)
        match kind:
            case "null":
                return None
            case "str" | "value" | "merge":
                plain = node.style in (None, "") and self.document.text[node.start_mark.index] != "!"
                return float(text) if plain and _FLOAT.fullmatch(text) else text
            case "bool" if text.lower() in _TRUTHS:
                return _TRUTHS[text.lower()]
            case "bool":
                clear = "true" if text.lower() in ("yes", "on", "y") else "false"
                wrong = f"{text} is a truth value to some readers of YAML, and text to others"
                hint = f'write {clear}, or "{text}" for the text'
            case "int":
                return self._whole(node, text)
            case "float" if ":" not in text:
                return float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
            case "float":
                wrong, hint = f"{text} is a number to base 60 in YAML", f'write "{text}" for the text'
            case "timestamp":
                wrong, hint = (
                    f"{text} is a date in YAML, which no command takes",
                    f'write "{text}" for the text',
                )
            case _:
                wrong = f"the tag {node.tag.replace(_TAG, '!!')} has no meaning here"
                hint = "take it out; text that begins with ! needs quotes"
        raise self.document.error(self.span(node), wrong, hint)

    def _whole(self, node: yaml.ScalarNode, text: str) -> int:
        bare = text.replace("_", "").lstrip("+-")
        number = int(bare, 0) if re.fullmatch(r"0|[1-9]\d*|0x[0-9a-fA-F]+|0b[01]+", bare) else None
        if number is None:
            what = "to base 60" if ":" in text else "to base 8"
            message = f"{text} is a number {what} to some readers of YAML"
            self.fail(node, message, f'write "{text}" for the text, or the number in plain digits')
        return -number if text.startswith("-") else number

    def refuse_braces(self, node: yaml.Node) -> None:
        """Tell of ``{size}`` without quotes, which is a mapping to YAML."""
        if not isinstance(node, yaml.MappingNode) or not node.flow_style or not node.value:
            return
        if all(is_nothing(value) and value.value == "" for _, value in node.value):
            span = self.span(node)
            written = self.document.text[span.start : span.end]
            self.fail(node, f"{written} without quotes is a mapping to YAML", f'write "{written}"')


def is_nothing(node: yaml.Node) -> bool:
    """Whether nothing is written, or null."""
    return isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "null"
