"""``merkl init``: a first Merklfile, which builds with bash, coreutils and Python alone."""

import os
import sys
from typing import Final

import click

from merkl.cli.options import Command, options_of, shared
from merkl.config import MERKLFILE, MERKLFILE_YAML, is_yaml
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


STARTER_YAML: Final = """\
# What this project can build: try `merkl list`, `merkl build` and `merkl why`.

tasks:
  # A command.  Placeholders become its parameters; out_file_arg is a file that it must write.
  sort_words:
    run: |
      tr -cs '[:alpha:]' '\\n' < {file_arg('text')} | sort | uniq -c | sort -rn > {out_file_arg('counts', '.txt')}
  most_used:
    run: sed {arg('n', type=int)}q {file_arg('counts')} > {out_file_arg('words', '.txt')}

targets:
  counts:
    doc: How often this file uses each word.
    call: sort_words
    with: {text: Merklfile.yaml}
  words:
    doc: "The words that it uses most: merkl build n=5."
    default: true
    params: {n: 10}
    call: most_used
    with: {counts: "{counts}"} # What the target above made; n is passed by itself.
    to: build/words.txt # Where the result is placed.
"""


@click.command(cls=Command, short_help="Write a first Merklfile.")
@click.option(
    "--yaml", "as_yaml", is_flag=True, help="Write a Merklfile.yaml, for bash tasks without Python."
)
@click.option(
    "--schema", is_flag=True, help="Print the JSON schema of a Merklfile.yaml, for editors; write nothing."
)
@shared()
@click.pass_context
def command(context: click.Context, as_yaml: bool, schema: bool) -> int:
    """Write a first Merklfile.py into the current directory, or into the one that -C names.

    It needs bash, coreutils and Python only.  A file that is there is not touched.
    """
    if schema:
        sys.stdout.write(_schema())
        return 0
    options = options_of(context)
    as_yaml = as_yaml or is_yaml(options.file or "")
    name = options.file or (MERKLFILE_YAML if as_yaml else MERKLFILE)
    path = os.path.join(options.cwd, name)
    shown = os.path.relpath(path)
    other = os.path.join(options.cwd, MERKLFILE if as_yaml else MERKLFILE_YAML)
    if options.file is None and os.path.exists(other):
        hint = "a project has one Merklfile; -f writes one under another name, which the first can include"
        raise UsageError(f"{os.path.relpath(other)} is there already", hint=hint)
    try:
        with open(path, "x", encoding="utf-8") as file:
            starter = STARTER_YAML if as_yaml else STARTER
            file.write(starter.replace(MERKLFILE_YAML if as_yaml else MERKLFILE, os.path.basename(path)))
    except FileExistsError:
        raise UsageError(f"{shown} is there already", hint="`merkl list` shows what it can build") from None
    except OSError as error:
        raise UsageError(f"{shown} cannot be written: {error.strerror}") from None
    sys.stdout.write(f"wrote {shown}; now try: merkl build\n")
    return 0


def _schema() -> str:
    from importlib.resources import files

    return files("merkl.merklfile").joinpath("Merklfile.schema.json").read_text(encoding="utf-8")
