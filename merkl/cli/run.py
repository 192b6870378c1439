"""``merkl run``: call a function of a module with arguments from the command line, and build what it returns.

It decides which of the words are merkl's own options, what ``--no-cache`` and ``--clear`` mean, and the exit code, which
is that of a build.
"""

import contextlib
import functools
import inspect
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from merkl.cli.building import run_build
from merkl.cli.function_help import help_of
from merkl.cli.gc import is_shared
from merkl.cli.opening import Asked, evaluate_as, loaded_quietly, project_of, reporter_of, tell
from merkl.cli.options import Command, Options, building, options_of
from merkl.cli.profiling import profiled
from merkl.cli.spellings import options_after
from merkl.config import Config, find_root
from merkl.dataclass import replace
from merkl.engine.build import build
from merkl.engine.calling import Outcome, call_function, open_function
from merkl.engine.clearing import clear_chosen, remember_asked
from merkl.engine.evaluating import Quiet, value_of
from merkl.engine.judge import Judge
from merkl.engine.project import Project
from merkl.errors import UsageError
from merkl.events import Note
from merkl.merklfile.functions import Function, no_name
from merkl.merklfile.taken import parameters_of
from merkl.merklfile.typed import arguments_of, short_options, sorted_words
from merkl.nodes import Future, using
from merkl.report.ending import exit_code
from merkl.report.json import JsonLines
from merkl.report.result import Paths, as_json, lines_of
from merkl.report.words import plural
from merkl.store.builds import register_build
from merkl.store.removal import remove_tree
from merkl.workspace.refs import DirRef, FileRef


class OfFunction(Command):
    """A command whose first word names a function: what follows is sorted out when its parameters are known."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave all behind the function's name as it is, ``--`` too."""
        ctx.allow_interspersed_args = False
        return click.Command.parse_args(self, ctx, args)


@click.command(cls=OfFunction, short_help="Call a function of a module, and build what it returns.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="MODULE.FUNCTION [ARGUMENTS]")
@building
@click.option("--no-cache", is_flag=True, help="Run everything, and keep no result in the cache.")
@click.option("--clear", is_flag=True, help="Forget the results of the function's own tasks first.")
@click.pass_context
def command(context: click.Context, /, words: tuple[str, ...], **flags: Any) -> int:
    """Call a task, a pipeline, a target or any function with ARGUMENTS, build what it returns, and print that.

    The function is named MODULE.FUNCTION, PATH/TO/FILE.py:FUNCTION or Merklfile.FUNCTION.  Its parameters without a
    default are arguments, in their order; those with one are options: --name VALUE, or NAME=VALUE.
    `merkl run MODULE.FUNCTION --help` shows them.  A long option behind the function's name is the function's if it has
    one of that name; merkl's own may always stand before it.  This imports the module, and so runs its code.

    Exit code: as for merkl build.
    """
    takes = {name: option.takes for option in options_after("run") for name in option.names}
    if not words:
        raise no_name(options_of(context).config().root)
    mine, others = short_options(words[1:], takes)
    flags = _reread(context, mine, flags)
    with profiled(flags["profile"]):
        return _run(context, words[0], others, flags, takes)


def _reread(context: click.Context, words: list[str], flags: dict[str, Any]) -> dict[str, Any]:
    """Take more options, which stood behind the function's name."""
    asks_help = [word for word in words if word in ("-h", "--help")]
    rest = [word for word in words if word not in asks_help]
    inner = context.command.make_context(context.info_name, rest, parent=context.parent)
    later = {name: value for name, value in inner.params.items() if name in flags and value}
    return {**flags, **later, "help": bool(asks_help) or flags.get("help", False)}


def _run(
    context: click.Context, word: str, words: list[str], given: dict[str, Any], takes: dict[str, bool]
) -> int:
    options = options_of(context)
    sets = set(options.sets)
    with project_of(options) as project:
        with loaded_quietly():
            function = open_function(project, word, options.cwd, options.sets)
        about, taken = parameters_of(function)
        sorted_out = sorted_words(words, function, taken, takes)
        flags = _reread(context, sorted_out.own, given)
        if flags["help"]:
            sys.stdout.write(help_of(context, "run", function, about, taken) + "\n")
            return 0
        options = options_of(context)
        if sets.issuperset(options.sets):
            with profiled(None if given["profile"] else flags["profile"]), _told(options, project, flags):
                with using(project):
                    bound = arguments_of(function, taken, sorted_out, options.cwd, command="run")
                code = _build(options, project, function, bound, flags)
                tell(options, project.take_notes())
                return code
    # A --set behind the function's name: its module may have read the value when it was imported.
    return _run(context, word, words, given, takes)


@contextlib.contextmanager
def _told(options: Options, project: Project, flags: dict[str, Any]) -> Iterator[None]:
    """Let the project go by all that was asked for; without a cache it has one of its own, which goes at the end."""
    if flags["no_cache"] and (flags["pull"] or options.frozen or options.push):
        other = "--pull" if flags["pull"] else "--frozen" if options.frozen else "--push"
        raise UsageError(f"--no-cache uses no cache, and {other} needs one", hint="leave out one of them")
    config = replace(options, frozen=options.frozen or flags["pull"]).config()
    project.only_looks, project.verbose = options.dry_run, options.verbose
    if not flags["no_cache"]:
        _renew(options, project, config)
        yield
        return
    with _private_store(config) as private:
        _renew(options, project, replace(config, store=private, remote=None))
        try:
            yield
        finally:
            project.close()


@contextlib.contextmanager
def _private_store(config: Config) -> Iterator[str]:
    """A directory for a store that nobody else uses; if this process is killed, the next build removes it."""
    with register_build(config.state) as lease:
        directory = os.path.join(config.state, "run", f"{lease.id}-store")
        try:
            yield directory
        finally:
            remove_tree(directory)


def _renew(options: Options, project: Project, config: Config) -> None:
    if config != project.config:
        project.close()
        project.config = config
    project.builder = functools.partial(evaluate_as, options)


def _build(
    options: Options,
    project: Project,
    function: Function,
    bound: inspect.BoundArguments,
    flags: dict[str, Any],
) -> int:
    code = 0
    if flags["pull"]:
        from merkl.cli.fetching import pull_tracked

        if options.force or flags["clear"]:
            raise UsageError("--pull runs nothing", hint="leave out --force and --clear")
        if find_root(project.root) is not None:
            code, _ = pull_tracked(options)
    with loaded_quietly():
        outcome = call_function(project, function, bound)
    it = Asked(project, function.within, outcome.chosen)
    if flags["clear"]:
        _clear(options, project, outcome)
    if options.dry_run:
        return max(code, run_build(options, it))
    if flags["pull"]:
        from merkl.cli.fetching import fetch_results

        missing = fetch_results(options, it, outcome.chosen.selection.placements)
        return max(code, missing) or _build_and_show(options, project, outcome, quietly=True)
    return max(code, _build_and_show(options, project, outcome))


def _clear(options: Options, project: Project, outcome: Outcome) -> None:
    """Forget what belongs to the call; say what of it does not go, or with ``-n`` what would."""
    from merkl.cli.clear import stays

    done = clear_chosen(
        project,
        outcome.chosen,
        [outcome.call],
        [],
        whole=True,
        shared=is_shared(project),
        dry_run=options.dry_run,
    )
    notes = [Note(f"--clear: {stays(done)}", hint="-B runs them again")] if done.stayed else []
    if options.dry_run and done.removed.records:
        notes.append(Note(f"--clear would first forget {plural(done.removed.records, 'result')}"))
    tell(options, notes)


def _build_and_show(options: Options, project: Project, outcome: Outcome, *, quietly: bool = False) -> int:
    selection = outcome.chosen.selection
    found: dict[Future[Any], Any] = {}
    if selection.roots:
        reporter = Quiet() if quietly else reporter_of(options, project)
        try:
            done, judged = build(
                project, selection, reporter, force=options.force, needs_bytes=_unplaced(outcome)
            )
        finally:
            reporter.close()
        code = exit_code(done)
        if code:
            return code
        remember_asked(project, outcome.call, outcome.chosen.own)
        with using(project):
            found = {future: _found(options, project, outcome, future, judged) for future in outcome.futures}
    if options.json:
        JsonLines(sys.stdout).write({"event": "result", "value": as_json(outcome.value, found)})
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines_of(outcome.value, found))
    return 0


def _unplaced(outcome: Outcome) -> list[Future[Any]]:
    """The Futures of which something other than a placed path is shown."""
    placed = {placement.future for placement in outcome.chosen.selection.placements}
    return [future for future in outcome.futures if future not in placed or _is_value(future)]


def _is_value(future: Future[Any]) -> bool:
    return future.node.output(future.output).kind == "value"


def _found(options: Options, project: Project, outcome: Outcome, future: Future[Any], judged: Judge) -> Any:
    """What a Future came to: a file at the paths where it was placed, else where a view of it is."""
    places = [each.path for each in outcome.chosen.selection.placements if each.future == future]
    artifact = judged.artifact(future)
    if artifact is not None and artifact.kind != "value" and places:
        return Paths(tuple(os.path.relpath(os.path.join(project.root, path), options.cwd) for path in places))
    value = value_of(project, future, judged)
    if isinstance(value, (FileRef, DirRef)) and artifact is not None and artifact.kind != "value":
        return Paths((os.path.relpath(value, options.cwd),))
    return value
