"""A request of targets and paths, or of functions of modules with their arguments: for commands that take both.

It decides by names alone which a word is: a function if it is written ``module.function`` and the project has such a
module, or ``file.py:function``.  What follows such a word, up to the next one, are its arguments.

The invariant: a word that is an option of nobody is an error, as in every command.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence

import click

from merkl.cli.opening import Asked, chosen, loaded, loaded_quietly, project_of
from merkl.cli.options import Command, Options
from merkl.dataclass import dataclass
from merkl.engine.calling import call_function, open_function
from merkl.engine.project import Project
from merkl.engine.request import Chosen
from merkl.engine.select import select
from merkl.merklfile.offered import binds
from merkl.merklfile.registry import Merklfile
from merkl.merklfile.taken import parameters_of
from merkl.merklfile.typed import arguments_of, sorted_words
from merkl.nodes import using


class OfEither(Command):
    """A command that leaves options it does not know to the functions that are named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options that are merkl's."""
        ctx.ignore_unknown_options = True
        return super().parse_args(ctx, args)


@dataclass(frozen=True, slots=True)
class Called:
    """A function as it was named, and the words behind it."""

    name: str
    words: tuple[str, ...]


def parted(words: Sequence[str], root: str, cwd: str) -> tuple[list[str], list[Called]]:
    """The words of a request of targets and paths, and the functions behind them."""
    request: list[str] = []
    calls: list[tuple[str, list[str]]] = []
    rest = False
    for word in words:
        rest = rest or word == "--"
        if not rest and names_function(word, root, cwd):
            calls.append((word, []))
        else:
            (calls[-1][1] if calls else request).append(word)
    return request, [Called(name, tuple(inner)) for name, inner in calls]


def names_function(word: str, root: str, cwd: str) -> bool:
    """Whether a word is written as the name of a function of a module that the project has."""
    path, colon, name = word.rpartition(":")
    if colon:
        return name.replace(".", "").isidentifier() and os.path.isfile(os.path.join(cwd, path))
    parts = word.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return False
    if parts[0] == "Merklfile":
        return True
    where = root
    for part, inner in itertools.pairwise(parts):
        where = os.path.join(where, part)
        candidates = (f"{where}.py", os.path.join(where, "__init__.py"))
        module = next(filter(os.path.isfile, candidates), "")
        if module:  # A file may be called like a module, with an ending.
            return not os.path.lexists(os.path.join(cwd, word)) or binds(module, inner) or len(parts) > 2
    return False


@dataclass(frozen=True, slots=True)
class Either(Asked):
    """What targets, paths and functions came to; ``names`` are those of the functions, ``calls`` with their arguments."""

    names: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


@contextlib.contextmanager
def asked_either(
    context: click.Context, options: Options, words: Sequence[str], *, runs: bool = False
) -> Iterator[Either]:
    """What the words ask for, chosen: targets and paths of the Merklfile, and functions.

    Raises:
        NoSuchOption: a word is an option of neither.
        MerklError: the request or the user's code is wrong.
    """
    with project_of(options, runs=runs) as project:
        request, calls = parted(words, project.root, options.cwd)
        refuse_options(context, request)
        yield either(options, project, request, calls, command=context.info_name or "")


def refuse_options(context: click.Context, words: Sequence[str]) -> None:
    """Refuse options among words that are no function's."""
    for word in words:
        if word == "--":
            return
        if word.startswith("-") and word != "-":
            raise click.NoSuchOption(word.partition("=")[0], ctx=context)


def either(
    options: Options, project: Project, request: Sequence[str], calls: Sequence[Called], *, command: str
) -> Either:
    """What targets, paths and functions ask for together; without any, what ``merkl build`` would build."""
    parts: list[Chosen] = []
    names: list[str] = []
    called: list[str] = []
    merklfile: Merklfile | None = None
    if request or not calls:
        merklfile = loaded(options, project)
        parts.append(chosen(options, project, merklfile, request))
    for each in calls:
        with loaded_quietly(), using(project):
            function = open_function(project, each.name, options.cwd, options.sets, beside=merklfile)
            _, taken = parameters_of(function)
            words = sorted_words(each.words, function, taken, {})
            bound = arguments_of(function, taken, words, options.cwd, command=command)
            outcome = call_function(project, function, bound)
        parts.append(outcome.chosen)
        names += outcome.chosen.selection.targets
        called.append(outcome.call)
        merklfile = merklfile or function.within
    assert merklfile is not None
    together = parts[0] if len(parts) == 1 else _together(parts)
    return Either(project, merklfile, together, tuple(names), tuple(called))


def _together(parts: Sequence[Chosen]) -> Chosen:
    selections = [part.selection for part in parts]
    joined = select(
        [],
        [placement for each in selections for placement in each.placements],
        effects=[node for each in selections for node in each.roots],
        forced=frozenset(key for each in selections for key in each.forced),
        after={key: nodes for each in selections for key, nodes in each.after.items()},
        targets=[name for each in selections for name in each.targets],
    )
    own = {node.key: node for part in parts for node in part.own}
    return Chosen(joined, tuple(own.values()))
