"""``merkl init``: a first Merklfile, which builds with bash, coreutils and Python alone."""

import os
import sys
from typing import Final

import click

from merkl.cli.options import Command, options_of, shared
from merkl.config import MERKLFILE
from merkl.errors import UsageError

STARTER: Final = '''\
"""What this project can build: try `merkl list`, `merkl build` and `merkl why`."""

from merkl import bash_task, file, target, task

# A command.  Placeholders become its parameters; out_file_arg is a file that it must write.
sort_words = bash_task(
    "tr -cs '[:alpha:]' '\\\\n' < {file_arg('text')} | sort | uniq -c | sort -rn > {out_file_arg('counts', '.txt')}"
)


@task
def most_used(counts, n: int) -> str:
    """The n words that are used most, one on a line.  `counts` is the file that sort_words wrote."""
    with open(counts) as file:
        return "".join(next(file, "") for _ in range(n))


@target(default=True)
def words(n: int = 10):
    """The words that the Merklfile itself uses most: merkl build n=5."""
    counts = sort_words(file("Merklfile.py"))  # A call runs nothing: it returns a Future.
    most_used(counts, n) > "build/words.txt"  # Where the result is placed.
'''


@click.command(cls=Command, short_help="Write a first Merklfile.")
@shared()
@click.pass_context
def command(context: click.Context) -> int:
    """Write a first Merklfile.py into the current directory, or into the one that -C names.

    It needs bash, coreutils and Python only.  A file that is there is not touched.
    """
    options = options_of(context)
    path = os.path.join(options.cwd, options.file or MERKLFILE)
    shown = os.path.relpath(path)
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(STARTER)
    except FileExistsError:
        raise UsageError(f"{shown} is there already", hint="`merkl list` shows what it can build") from None
    except OSError as error:
        raise UsageError(f"{shown} cannot be written: {error.strerror}") from None
    sys.stdout.write(f"wrote {shown}; now try: merkl build\n")
    return 0
