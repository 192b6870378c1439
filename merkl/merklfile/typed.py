"""The words after ``merkl run module.function``, as arguments of that function.

It decides which word goes to which parameter: one without a default is an argument, by its place, and one that has a
default is an option; each may be written ``--name VALUE``, ``--name=VALUE`` or ``name=VALUE``.  What a word means to a
type is ``conversion``'s to say.  It calls nothing.

The invariant: every word has had an effect, or is an error; and a long option that the function has is the function's.
"""

import inspect
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from merkl.dataclass import dataclass, field
from merkl.errors import MerklError, UsageError, did_you_mean
from merkl.merklfile.conversion import Unfit, Unwritable, collected, converted
from merkl.merklfile.functions import Function
from merkl.merklfile.taken import ANY, NAMED, Taken
from merkl.nodes import session
from merkl.workspace.paths import absolute, normalise
from merkl.workspace.refs import DirRef, FileRef

_NUMBER: Final = re.compile(r"-(\d|\.\d|inf$|nan$)", re.IGNORECASE)


# ---- words ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Words:
    """Words by what they are: values by parameter, those by place, those by names that only ``**kwargs`` takes, merkl's."""

    given: dict[str, list[str]] = field(default_factory=dict)
    placed: list[str] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)
    own: list[str] = field(default_factory=list)
    # Words right behind a flag, which were perhaps meant to be its value, by that flag.
    behind: dict[str, str] = field(default_factory=dict)


Takes = Mapping[str, bool]
"""merkl's own options by their names, and whether a value follows each."""


def short_options(words: Sequence[str], own: Takes) -> tuple[list[str], list[str]]:
    """The options of one letter, which are always merkl's, with their values; and the other words."""
    mine: list[str] = []
    others: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            return mine, [*others, word, *left]
        if not (word.startswith("-") and len(word) > 1 and word[1] != "-") or _NUMBER.match(word):
            others.append(word)
            continue
        mine.append(word)
        for at, letter in enumerate(word[1:], 2):
            if own.get(f"-{letter}"):
                mine += [next(left, "")] if at == len(word) else []
                break
    return [word for word in mine if word], others


def sorted_words(words: Sequence[str], function: Function, taken: Sequence[Taken], own: Takes) -> Words:
    """Sort words that have no options of one letter.

    Raises:
        UsageError: one belongs to nothing, or lacks its value, or stands twice.
    """
    return _Sorting(function, taken, own).sort(words)


class _Sorting:
    """The words of one call, being sorted."""

    def __init__(self, function: Function, taken: Sequence[Taken], own: Takes) -> None:
        self._function = function
        self._taken = {each.name: each for each in taken if each.kind not in (ANY, NAMED)}
        self._any_name = any(each.kind is NAMED for each in taken)
        self._own = own
        self._found = Words()

    def sort(self, words: Sequence[str]) -> Words:
        """See ``sorted_words``."""
        left = iter(words)
        flag = ""
        for word in left:
            name, sign, value = word.partition("=")
            if flag and not word.startswith("--"):
                self._found.behind[word] = flag
            flag = word if self._is_flag(word) else ""
            if word == "--":
                self._found.placed += left
            elif word.startswith("--"):
                self._option(name, value if sign else None, left)
            elif sign and name.replace("-", "_").isidentifier():
                self._assignment(name, value)
            else:
                self._found.placed.append(word)
        return self._found

    def _is_flag(self, word: str) -> bool:
        parameter = self._taken.get(word[2:].replace("-", "_"))
        return word.startswith("--") and parameter is not None and parameter.flag

    def _assignment(self, name: str, value: str) -> None:
        parameter = self._taken.get(name.replace("-", "_"))
        if parameter is not None:
            self._give(parameter, value)
        elif self._any_name:
            self._extra(name, value)
        else:
            near = did_you_mean(
                name.replace("-", "_"), self._taken, f"after -- {name}={value} is an argument as it is"
            )
            raise self._error(f"no parameter named {name!r} in {self._function.name}", near)

    def _option(self, name: str, value: str | None, left: Iterator[str]) -> None:
        folded = name[2:].replace("-", "_")
        parameter = self._taken.get(folded)
        opposite = self._taken.get(folded.removeprefix("no_")) if folded.startswith("no_") else None
        if parameter is not None:
            if parameter.flag and value is None:
                value = "true"
            self._give(parameter, self._value(name, left) if value is None else value)
        elif opposite is not None and opposite.flag:
            if value is not None:
                raise self._error(f"{name} takes no value", f"{opposite.option}={value}")
            self._give(opposite, "false")
        elif name in self._own:
            self._found.own.append(name if value is None else f"{name}={value}")
            if self._own[name] and value is None:
                self._found.own.append(self._value(name, left))
        elif self._any_name and folded.isidentifier():
            self._extra(folded, self._value(name, left) if value is None else value)
        else:
            raise self._error(f"{self._function.name} has no option {name}", self._near(name))

    def _near(self, name: str) -> str:
        """A hint that offers the options nearest to one that there is not: the function's own first."""
        own = [each.name.replace("_", "-") for each in self._taken.values()]
        flags = [f"no-{each.name.replace('_', '-')}" for each in self._taken.values() if each.flag]
        merkls = [each[2:] for each in self._own if each.startswith("--")]
        for known in ([*own, *flags], merkls):
            near = did_you_mean(name[2:].removeprefix("no-"), known) or did_you_mean(name[2:], known)
            if near:
                return re.sub(r"(mean|or) ", r"\1 --", near)
        return f"merkl run {self._function.name} --help shows its options"

    def _value(self, name: str, left: Iterator[str]) -> str:
        value = next(left, None)
        if value is None or (value.startswith("--") and len(value) > 2):
            raise self._error(
                f"{name} needs a value",
                f"{name}=VALUE" if value is None else f"is {value} it? {name}={value}",
            )
        return value

    def _give(self, parameter: Taken, value: str) -> None:
        given = self._found.given.setdefault(parameter.name, [])
        given.append(value)
        if len(given) > 1 and not parameter.several:
            raise self._error(
                f"{parameter.name} is given twice: {given[0]!r} and {given[1]!r}", "give it once"
            )

    def _extra(self, name: str, value: str) -> None:
        if name in self._found.extra:
            raise self._error(
                f"{name} is given twice: {self._found.extra[name]!r} and {value!r}", "give it once"
            )
        self._found.extra[name.replace("-", "_")] = value

    def _error(self, headline: str, hint: str) -> UsageError:
        return UsageError(headline, hint=hint, declared=self._function.declared or None)


# ---- arguments -----------------------------------------------------------------------------------------------------


def arguments_of(
    function: Function, taken: Sequence[Taken], words: Words, cwd: str, *, command: str
) -> inspect.BoundArguments:
    """The arguments that sorted words mean; paths among them start from ``cwd``.  They stand behind ``merkl command``.

    Raises:
        UsageError: a value is not of its parameter's type, or one is missing, or there are too many.
        InputMissing: there is no such file.
    """
    _spread(function, taken, words)
    lacking = [each for each in taken if each.required and each.name not in words.given]
    if lacking:
        raise UsageError(
            f"{function.name} needs {' and '.join(each.name for each in lacking)}",
            declared=function.declared or None,
            hint=f"merkl {command} {function.name} {' '.join(_completed(taken, words))}",
        )
    found: dict[str, Any] = {}
    for each in taken:
        if each.kind is NAMED:
            found[each.name] = {
                name: _converted(function, name, [text], each, cwd) for name, text in words.extra.items()
            }
        elif each.name in words.given:
            value = _converted(function, each.name, words.given[each.name], each, cwd)
            found[each.name] = value
    bound = inspect.BoundArguments(function.signature, found)
    if any(each.kind in (ANY, inspect.Parameter.POSITIONAL_ONLY) for each in taken):
        bound.apply_defaults()  # What stands behind one that is left out has no place of its own otherwise.
    return bound


def _completed(taken: Sequence[Taken], words: Words) -> Iterator[str]:
    """The words that were given and those that lack, in the order of the parameters: arguments first."""
    for each in sorted(taken, key=lambda each: not each.placed):
        name = "" if each.placed else f"{each.option}="
        if each.name in words.given:
            yield from (f"{name}{shlex.quote(text)}" for text in words.given[each.name])
        elif each.required:
            yield each.option if each.flag else f"{name}{each.word}"


def _spread(function: Function, taken: Sequence[Taken], words: Words) -> None:
    """Give the words without a name to the parameters that take them: to one that takes several what the others leave."""
    waiting = [each for each in taken if each.placed and each.name not in words.given]
    left = list(words.placed)
    greedy = next((each for each in waiting if each.several), None)
    if greedy is not None:
        at = waiting.index(greedy)
        behind = [each for each in waiting[at + 1 :] if each.kind is not ANY]
        count = max(len(left) - at - len(behind), 0)
        if count or greedy.kind is ANY:
            words.given[greedy.name] = left[at : at + count]
            left = [*left[:at], *left[at + count :]]
            waiting = [*waiting[:at], *behind]
    if len(left) > len(waiting):
        able = sum(each.placed for each in taken)
        takes = f"{able or 'no'} argument{'s' * (able != 1)} without a name"
        raise UsageError(
            f"{function.name} takes {takes}, and {left[len(waiting)]!r} is one more",
            declared=function.declared or None,
            hint=_of_one_more(left[len(waiting)], taken, words),
        )
    for each, word in zip(waiting, left, strict=False):
        words.given[each.name] = [word]


def _of_one_more(word: str, taken: Sequence[Taken], words: Words) -> str:
    """What to do about a word that no argument is left for."""
    if word in words.behind:
        return f"the value of a flag stands behind =, as in {words.behind[word]}={word}"
    named = [each.name for each in taken if each.placed and each.kind is not ANY and each.name in words.given]
    if named:
        return f"{' and '.join(named)} {'is' if len(named) == 1 else 'are'} given by name"
    options = [each.option for each in taken if not each.placed and each.kind is not NAMED]
    return f"by name it takes {', '.join(options)}" if options else ""


def _converted(function: Function, name: str, texts: list[str], taken: Taken, cwd: str) -> object:
    path_of = _paths(function.within.root, cwd)
    shown = texts[0] if len(texts) == 1 else " ".join(texts)
    try:
        if taken.kind is ANY:
            return tuple(converted(text, taken.hint, path_of) for text in texts)
        if taken.several and len(texts) > 1:
            return collected(texts, taken.hint, path_of)
        return converted(texts[0], taken.hint, path_of)
    except Unfit as wanted:
        none_can = isinstance(wanted, Unwritable)
        raise UsageError(
            f"{function.name}: {name} takes {wanted}, not {shown!r}",
            declared=function.declared or None,
            hint="write a function that makes it of plain parameters" if none_can else "",
        ) from None
    except MerklError as error:  # There is no such file.
        error.details.setdefault("argument", f"{name} of {function.name}")
        raise


def _paths(root: str, cwd: str) -> Callable[[str, type], object]:
    def path_of(text: str, kind: type) -> object:
        path = normalise(text, cwd, root)
        if kind in (FileRef, DirRef):
            ref = kind(path)
            session().source(ref, "dir" if kind is DirRef else "file")  # Which says what is wrong with it.
            return ref
        # The function's code runs in the root.
        return kind(path if path.startswith("/") else os.path.relpath(absolute(path, root), root))

    return path_of
