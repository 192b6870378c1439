"""The command line's door: commands by name, as click reads them.

It decides nothing about builds.
"""

from collections.abc import Sequence

import click

from merkl import __version__
from merkl.cli.edge import ended
from merkl.cli.options import options_of, shared
from merkl.cli.spellings import COMMANDS, HIDDEN
from merkl.errors import UsageError, did_you_mean


class Commands(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name."""
        if cmd_name not in COMMANDS and cmd_name not in HIDDEN:
            return None
        import importlib

        module = HIDDEN.get(cmd_name, cmd_name)
        command: click.Command = importlib.import_module(f"merkl.cli.{module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names.

        Raises:
            UsageError: there is none.
        """
        name = args[0]
        if name not in COMMANDS and name not in HIDDEN:
            otherwise = f"a target is built with: merkl build {name}"
            raise UsageError(f"no command named {name!r}", hint=did_you_mean(name, COMMANDS, otherwise))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list without importing what is in it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@shared("*")
@click.version_option(__version__, message="merkl %(version)s")
@click.pass_context
def cli(context: click.Context) -> int | None:
    """Build what a Merklfile describes, and run only what no cache has got.

    Without a command, the default target is built; if there is none, the targets are listed.  The options stand
    before or after the command.  Everything but --help, --version, track, untrack, restore, fsck, gc, cache, key,
    init, doctor and completion loads the Merklfile, and so runs its code; status, pull and push only if a target is named.
    """
    if context.invoked_subcommand is not None:
        return None
    from merkl.cli.building import build_or_list

    return build_or_list(options_of(context))


def run(arguments: Sequence[str]) -> int:
    """Run a command line; the exit code."""
    return ended(lambda: _run(list(arguments)), arguments)


def _run(arguments: list[str]) -> int | None:
    try:
        code: int | None = cli.main(args=arguments, prog_name="merkl", standalone_mode=False)
        return code
    except click.exceptions.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        raise _worded(error) from None


def _worded(error: click.ClickException) -> UsageError:
    """An error of the command line's syntax, in our words."""
    if isinstance(error, click.NoSuchOption):
        return UsageError(f"no option named {error.option_name}", hint=_near_option(error) or _help_of(error))
    hint = _help_of(error) if isinstance(error, click.UsageError) else ""
    text = error.format_message().rstrip(".")
    return UsageError(text[:1].lower() + text[1:], hint=hint)


def _near_option(error: click.NoSuchOption) -> str:
    known = error.ctx.command.get_params(error.ctx) if error.ctx is not None else []
    return did_you_mean(error.option_name, [name for each in known for name in each.opts if name[:2] == "--"])


def _help_of(error: click.UsageError) -> str:
    return f"{error.ctx.command_path} --help" if error.ctx is not None else "merkl --help"
