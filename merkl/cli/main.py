"""The command line's door: commands by name, and every error turned into text and an exit code.

It decides nothing about builds.

The invariant: a ``MerklError`` is shown as it words itself, a bug keeps its traceback, and each ends in its own exit code.
"""

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from merkl import __version__
from merkl.cli.options import options_of, shared
from merkl.cli.spellings import COMMANDS, HIDDEN
from merkl.errors import MerklError, UsageError, did_you_mean
from merkl.report.ready import ready_streams

SIGPIPE_EXIT: Final = 141  # What a shell reports of a program that writes to nobody.
_LENGTHY: Final = ("traceback", "output", "log")  # Of a task that failed.


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
    from merkl.cli.build import build_or_list

    return build_or_list(options_of(context))


def run(arguments: Sequence[str]) -> int:
    """Run a command line; the exit code."""
    ready_streams()
    try:
        code: Any = cli.main(args=list(arguments), prog_name="merkl", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except MerklError as error:
        return _show(error, arguments)
    except click.exceptions.Abort:
        return _interrupted()
    except click.ClickException as error:
        return _show(_worded(error), arguments)
    except BrokenPipeError:
        # What is left in the buffer goes nowhere, instead of into a message at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGPIPE_EXIT
    except KeyboardInterrupt:
        return _interrupted()
    except OSError as error:
        if _writes_out(error):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.stderr.write(f"cannot write the output: {error.strerror}\n")
            return 1
        if error.errno in (errno.EMFILE, errno.ENFILE):
            sys.stderr.write("too many open files\n  hint: a shell's limit is raised by `ulimit -n 1024`\n")
            return 1
        return show_bug()
    except Exception:  # noqa: BLE001  # The edge: what comes here is a bug.
        return show_bug()


def show_bug() -> int:
    """Show the error that is being handled as what it is; the exit code."""
    import traceback

    traceback.print_exc()
    sys.stderr.write("\nThis is a bug in merkl.  Please report it with the lines above and `merkl doctor`.\n")
    return 1


def _writes_out(error: OSError) -> bool:
    """Whether an error comes from writing to stdout or stderr, such as to a full disk; such an error names no file."""
    return error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EBADF)


def _show(error: MerklError, arguments: Sequence[str]) -> int:
    before = list(arguments)[: list(arguments).index("--")] if "--" in arguments else list(arguments)
    return show_error(error, json="--json" in before)


def show_error(error: MerklError, *, json: bool) -> int:
    """Show an error as it words itself; its exit code."""
    try:
        if json:
            from merkl.report.json import JsonLines, error_object

            JsonLines(sys.stdout).write(error_object(error))
        else:
            from merkl.report.words import harmless

            sys.stderr.write(harmless(error.shown(_LENGTHY if error.told else ())) + "\n")
    except BrokenPipeError:
        pass
    return error.exit_code


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


def _interrupted() -> int:
    sys.stderr.write("interrupted\n")
    return 130
