"""The options that every command takes, before or after the command's name.

It decides how they are spelt and merged: what stands after the command wins, and ``--set`` adds up.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from merkl.cli.given import Options as Options
from merkl.config import ORDERS, OUTPUTS

_META: Final = "merkl.options"
C = TypeVar("C", bound=Callable[..., Any])


_SHARED: Final = (
    click.option("-C", "--directory", metavar="DIR", help="Work as if started in DIR."),
    click.option("-f", "--file", metavar="FILE", help="Read FILE instead of Merklfile.py or Merklfile.yaml."),
    click.option("-j", "--jobs", metavar="N", type=click.IntRange(min=1), help="Run N tasks at once.  [default: one for each core]"),
    click.option("-k", "--keep-going", is_flag=True, help="After a failure, run what does not need what failed."),
    click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
    click.option("-B", "--force", is_flag=True, help="Run every task that is needed, whatever is cached."),
    click.option("-q", "--quiet", is_flag=True, help="Print failures only."),
    click.option("-o", "--output", type=click.Choice(OUTPUTS), help="When to show what tasks print; quiet is -q.  [default: each]"),
    click.option("-v", "--verbose", is_flag=True, help="Print every decision and the reason for it."),
    click.option("--json", is_flag=True, help="Print JSON instead of text."),
    click.option("--color", type=click.Choice(["auto", "always", "never"]), help="When to color.  [default: auto]"),
    click.option("--progress", type=click.Choice(["auto", "plain", "none"]), help="How to show progress.  [default: auto]"),
    click.option("--set", "sets", metavar="NAME=VALUE", multiple=True, help="Replace a value of a file read by params()."),
    click.option("--rehash", is_flag=True, help="Read every input again, also those that seem unchanged."),
)  # fmt: skip


def scheduling(command: C) -> C:
    """Add the options that say where tasks run, and in which order."""
    order = click.option(
        "--order", type=click.Choice(ORDERS), help="Which task starts first.  [default: code]"
    )
    target = click.option(
        "--target",
        metavar="N|NAME",
        help="Where to run: N tasks at once here, as -j N, or an executor of merkl.yaml.",
    )
    return target(order(command))


def remote(command: C) -> C:
    """Add the options that say how a build uses the remote."""
    push = click.option("--push", is_flag=True, help="Send results to the remote as they come.")
    required = click.option("--require-remote", is_flag=True, help="Fail if the remote cannot be used.")
    return push(required(command))


_BUILDING: Final = (
    click.option("--check-deps", is_flag=True, help="Tell what tasks use and do not declare."),
    click.option("--strict-deps", is_flag=True, help="Fail a task that uses what it does not declare."),
    click.option("--frozen", is_flag=True, help="Fail rather than run a task."),
    click.option("--pull", is_flag=True, help="Run nothing: place what some cache has."),
    remote,
    click.option("--profile", metavar="FILE", help="Write to FILE where merkl's own time went, for pstats."),
)


def building(command: C) -> C:
    """Add the options of a command that builds once; ``pull`` and ``profile`` are passed to it."""
    for option in reversed(_BUILDING):
        command = option(command)
    return shared(
        "jobs keep_going dry_run force quiet output verbose json progress sets rehash frozen push require_remote"
        " target order check_deps strict_deps"
    )(scheduling(command))


def shared(shown: str = "", *, without: str = "") -> Callable[[C], C]:
    """Add the shared options to a command.

    Its help shows those named in ``shown`` (or all, for ``*``); a letter that the command means otherwise is ``without``.
    """
    visible = shown.split()

    def add(command: C) -> C:
        for option in reversed(_SHARED):
            command = option(command)
        for parameter in getattr(command, "__click_params__", getattr(command, "params", [])):
            _adopt(parameter, visible, without)
        return command

    return add


def _adopt(parameter: click.Parameter, visible: list[str], without: str) -> None:
    if parameter.name not in Options.__dataclass_fields__ or not isinstance(parameter, click.Option):
        return
    parameter.expose_value = False
    parameter.callback = _keep
    parameter.hidden = visible != ["*"] and parameter.name not in visible
    parameter.opts = [option for option in parameter.opts if option != without]


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if parameter.name is None or context.get_parameter_source(parameter.name) is ParameterSource.DEFAULT:
        return
    given: dict[str, Any] = context.meta.setdefault(_META, {})
    if parameter.name == "sets":
        value = (*given.get("sets", ()), *value)  # type: ignore[misc]
    given[parameter.name] = value


def options_of(context: click.Context) -> Options:
    """What was given before and after the command's name; ``-q`` and ``-o quiet`` are one.

    Raises:
        UsageError: ``-q`` and another ``-o`` were given.
    """
    return Options(**context.meta.get(_META, {})).settled()


EVERYWHERE: Final = "Options of merkl itself, such as -C DIR, may stand here too: see merkl --help."
LOADS: Final = "This loads the Merklfile, and so runs its code."


class Command(click.Command):
    """A command whose help ends with where further options are; ``rest`` in ``context.meta`` is what followed ``--``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what follows ``--`` apart: click would take it for more targets."""
        if "--" in args:
            index = args.index("--")
            args, ctx.meta["merkl.rest"] = args[:index], args[index + 1 :]
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Say where the options that are not listed are described."""
        formatter.write_paragraph()
        formatter.write_text(EVERYWHERE)


class OfPaths(Command):
    """A command whose words are all paths: one after ``--`` is a path too, and may begin with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave ``--`` to click."""
        return click.Command.parse_args(self, ctx, args)


def words_of(context: click.Context, words: tuple[str, ...]) -> list[str]:
    """The words of a request, with ``--`` and what followed it."""
    rest = context.meta.get("merkl.rest")
    return [*words] if rest is None else [*words, "--", *rest]
