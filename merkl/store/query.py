"""What is asked for of records: ``args.size = 128 and metadata.loss < 0.2``, as SQL.

It decides which questions there are.  It opens no database.

    either      = both {"or" both}
    both        = single {"and" single}
    single      = "not" single | "(" either ")" | comparison
    comparison  = value ("=" | "!=" | "<" | "<=" | ">" | ">=" | "like" | "not like") value
    value       = field | number | 'text' | "text" | true | false | null
    field       = task | key | started | seconds | size | args.NAME | metadata.NAME

The invariant: nothing of the question's text gets into the SQL: names and values are parameters.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from merkl.dataclass import dataclass
from merkl.errors import UsageError, did_you_mean

_MOST: Final = 400  # Words of one question: SQLite nests a thousand expressions.
_DEEPEST: Final = 40

_PLAIN: Final = {
    "task": "CAST(record.task AS TEXT)",
    "key": "lower(hex(record.key))",
    "seconds": "record.seconds",
    "started": "strftime('%Y-%m-%d %H:%M:%S', record.started_ns / 1000000000, 'unixepoch')",
    "size": (
        "(SELECT coalesce(sum(json_extract(each.value, '$.size')), 0) FROM "
        "json_each(CASE WHEN json_valid(CAST(record.outputs AS TEXT)) THEN CAST(record.outputs AS TEXT) END) AS each)"
    ),
}
_INSIDE: Final = {"args": "arguments", "metadata": "metadata"}
_WORD: Final = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\w.]))|(?P<text>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")"
    r"|(?P<name>[^\W\d]\w*(?:\.\w+)*)|(?P<sign><=|>=|!=|<>|==|=|<|>|\(|\)))"
)
_INDEX: Final = re.compile("[0-9]{1,9}")  # Of a list.
_KEYWORDS: Final = ("and", "or", "not", "like", "true", "false", "null")


@dataclass(frozen=True, slots=True)
class Sql:
    """An expression and the values of its parameters."""

    text: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class _Value:
    """One side of a comparison; ``kind`` is ``field`` if only the record says what it is, else ``number``, ``text`` or ``null``."""

    sql: Sql
    kind: str


@dataclass(frozen=True, slots=True)
class _Word:
    kind: str
    text: str
    at: int


def compiled(question: str) -> Sql:
    """The condition that a question means, on the rows of ``record``.

    Raises:
        UsageError: it is none; with a caret below what is wrong.
    """
    return _Reader(question).whole()


def field_of(name: str) -> Sql:
    """What a field is in SQL.

    Raises:
        UsageError: there is no such field.
    """
    reader = _Reader(name)
    value = reader.value()
    if value.kind != "field" or reader.word.kind != "end":
        raise reader.wrong("one field is named here", 0)
    return value.sql


class _Reader:
    def __init__(self, question: str) -> None:
        self._question = question
        self._words = self._split()
        self._at = 0
        self._depth = 0

    def _split(self) -> list[_Word]:
        words: list[_Word] = []
        at, text = 0, self._question
        while text[at:].strip():
            found = _WORD.match(text, at)
            if found is None:
                at += len(text[at:]) - len(text[at:].lstrip())
                quote = text[at] in "'\""
                raise self.wrong(
                    "this quotation mark is never closed" if quote else "this means nothing here", at
                )
            kind = found.lastgroup or ""
            words.append(_Word(kind, found[kind], found.start(kind)))
            at = found.end()
            if len(words) > _MOST:
                raise self.wrong("this is too long a question", words[-1].at)
        return [*words, _Word("end", "", len(text))]

    def wrong(self, what: str, at: int, hint: str = "") -> UsageError:
        """The error that points at a place of the question."""
        shown = self._question.translate({9: " ", 10: " ", 13: " "})
        start = max(0, at - 60)
        line = ("…" if start else "") + shown[start : start + 120]
        return UsageError(
            f"--where: {what}\n  {line}\n  {' ' * (at - start + bool(start))}^",
            hint=hint or 'such as --where "args.size = 128 and metadata.loss < 0.2"',
        )

    @property
    def word(self) -> _Word:
        """The next word."""
        return self._words[self._at]

    def _is(self, *texts: str) -> bool:
        return self.word.kind in ("name", "sign") and self.word.text.lower() in texts

    def _take(self) -> _Word:
        word = self.word
        self._at += word.kind != "end"
        return word

    def whole(self) -> Sql:
        """All of it."""
        made = self._either()
        if self.word.kind != "end":
            raise self.wrong("`and` or `or` is missing here", self.word.at)
        return made

    def _either(self) -> Sql:
        return self._joined("or", self._both)

    def _both(self) -> Sql:
        return self._joined("and", self._single)

    def _joined(self, by: str, part: Callable[[], Sql]) -> Sql:
        made = [part()]
        while self._is(by):
            self._take()
            made.append(part())
        if len(made) == 1:
            return made[0]
        return Sql(
            "(" + f" {by.upper()} ".join(each.text for each in made) + ")",
            tuple(value for each in made for value in each.values),
        )

    def _single(self) -> Sql:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self.wrong("this is nested too deeply", self.word.at)
        try:
            if self._is("not"):
                self._take()
                inner = self._single()
                return Sql(f"(NOT {inner.text})", inner.values)
            if self._is("("):
                opened = self._take()
                inner = self._either()
                if not self._is(")"):
                    raise self.wrong("this parenthesis is never closed", opened.at)
                self._take()
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Sql:
        start = self.word.at
        left = self.value()
        at = self.word.at
        negated = self._is("not")
        if negated:
            self._take()
        if not self._is("=", "==", "!=", "<>", "<", "<=", ">", ">=", "like") or (
            negated and not self._is("like")
        ):
            raise self.wrong("a comparison is missing here: = != < <= > >= or like", at)
        sign = {"==": "=", "<>": "!="}.get(self.word.text.lower(), self.word.text.lower())
        self._take()
        right = self.value()
        left, right = _dated(left, right), _dated(right, left)
        if "field" not in (left.kind, right.kind):
            raise self.wrong("nothing of a record is compared here", start)
        if "null" in (left.kind, right.kind):
            return self._with_null(left if right.kind == "null" else right, sign, at)
        if sign == "like":
            return _guarded(left, right, "NOT LIKE" if negated else "LIKE", "text")
        if sign == "!=":
            same = _guarded(left, right, "=")
            known = " AND ".join(f"{each.sql.text} IS NOT NULL" for each in (left, right))
            values = (*left.sql.values, *right.sql.values, *same.values)
            return Sql(f"({known} AND NOT {same.text})", values)
        return _guarded(left, right, sign)

    def _with_null(self, other: _Value, sign: str, at: int) -> Sql:
        if sign not in ("=", "!="):
            raise self.wrong("null is compared with = and != only", at)
        return Sql(f"({other.sql.text} IS {'NOT ' if sign == '!=' else ''}NULL)", other.sql.values)

    def value(self) -> _Value:
        """A field or a literal."""
        word = self._take()
        match word.kind:
            case "number":
                whole = re.fullmatch(r"-?\d+", word.text) and abs(int(word.text)) < 2**63
                return _Value(Sql("?", (int(word.text) if whole else float(word.text),)), "number")
            case "text":
                quote = word.text[0]
                return _Value(Sql("?", (word.text[1:-1].replace(quote * 2, quote),)), "text")
            case "name" if word.text.lower() in ("true", "false"):
                return _Value(Sql("?", (int(word.text.lower() == "true"),)), "number")
            case "name" if word.text.lower() == "null":
                return _Value(Sql("NULL"), "null")
            case "name" if word.text.lower() not in _KEYWORDS:
                return _Value(self._field(word), "field")
            case "end":
                raise self.wrong("something is missing here", word.at)
            case _:
                raise self.wrong(f"{word.text!r} is no field, number or text", word.at)

    def _field(self, word: _Word) -> Sql:
        first, _, rest = word.text.partition(".")
        if rest and first in _INSIDE:
            names = rest.split(".")
            column = f"CAST(record.{_INSIDE[first]} AS TEXT)"
            found = f"json_extract(CASE WHEN json_valid({column}) THEN {column} END, ?)"
            path = "$" + "".join(f'."{name}"' for name in names)
            if not any(map(_INDEX.fullmatch, names)):
                return Sql(found, (path,))
            inside = "$" + "".join(f"[{name}]" if _INDEX.fullmatch(name) else f'."{name}"' for name in names)
            return Sql(f"coalesce({found}, {found})", (path, inside))
        if word.text in _PLAIN:
            return Sql(_PLAIN[word.text])
        known = [f"{name}.{rest}" for name in _INSIDE] if rest else [*_PLAIN]
        fields = [*_PLAIN, *(f"{name}.NAME" for name in _INSIDE)]
        hint = did_you_mean(word.text, known, f"fields are {', '.join(fields)}.")
        raise self.wrong(
            f"there is no field {word.text!r}",
            word.at,
            f"{hint} A text stands in quotation marks: '{word.text}'",
        )


def _dated(value: _Value, beside: _Value) -> _Value:
    """A text that is compared with ``started``, as that is written: ``2030-01-01T12:00Z`` has a space instead."""
    if value.kind != "text" or beside.sql.text != _PLAIN["started"]:
        return value
    text = re.sub(r"(?<=[\d%_])T(?=[\d%_]|$)", " ", value.sql.values[0]).removesuffix("Z")
    return _Value(Sql("?", (text,)), "text")


def _guarded(left: _Value, right: _Value, sign: str, must: str = "") -> Sql:
    """A comparison that is false, and not unknown, where the sides are of different kinds, or one is not there."""
    conditions, values = [], list[Any]()
    literal = must or next((each.kind for each in (left, right) if each.kind != "field"), "")
    for each in (left, right):
        if each.kind == "field" and literal:
            kinds = "('text')" if literal == "text" else "('integer', 'real')"
            conditions.append(f"typeof({each.sql.text}) IN {kinds}")
            values += each.sql.values
        elif must and each.kind != must:
            return Sql("(0)")
    if not literal:
        for each in (left, right):
            conditions.append(f"{each.sql.text} IS NOT NULL")
            values += each.sql.values
        conditions.append(f"(typeof({left.sql.text}) = 'text') = (typeof({right.sql.text}) = 'text')")
        values += [*left.sql.values, *right.sql.values]
    conditions.append(f"{left.sql.text} {sign} {right.sql.text}")
    values += [*left.sql.values, *right.sql.values]
    return Sql(f"({' AND '.join(conditions)})", tuple(values))
