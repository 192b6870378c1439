"""``merkl init``: a first Merklfile, which builds with bash, coreutils and Python alone; or what git should know."""

import os
import sys
from typing import Final

import click

from merkl.cli.options import Command, Options, options_of, shared
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


_ATTRIBUTE: Final = b"*.merkl merge=merkl"
# Without merkl, as where git is started by another program, there is still git's own merge.
_DRIVER: Final = (
    "if command -v merkl >/dev/null 2>&1; then merkl merge-sidecar %O %A %B %P; "
    "else echo merkl is not on PATH, so git itself merges %P >&2; git merge-file -L ours -L base -L theirs %A %O %B; fi"
)


@click.command(cls=Command, short_help="Write a first Merklfile.")
@click.option("--git", "for_git", is_flag=True, help="Teach git to merge sidecars; write no Merklfile.")
@click.option(
    "--yaml", "as_yaml", is_flag=True, help="Write a Merklfile.yaml, for bash tasks without Python."
)
@click.option(
    "--schema", is_flag=True, help="Print the JSON schema of a Merklfile.yaml, for editors; write nothing."
)
@shared()
@click.pass_context
def command(context: click.Context, for_git: bool, as_yaml: bool, schema: bool) -> int:
    """Write a first Merklfile.py into the current directory, or into the one that -C names.

    It needs bash, coreutils and Python only.  A file that is there is not touched.

    With --git, a line in .gitattributes and a setting of this clone let git merge sidecars with merkl: two versions that
    name the same data are no conflict.  Every clone needs the setting.
    """
    if for_git:
        return _teach_git(options_of(context))
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


def _teach_git(options: Options) -> int:
    """Install the merge driver: which files it is for goes into .gitattributes, what it runs into the clone's settings."""
    import shutil

    from merkl.workspace import git
    from merkl.workspace.gitignore import repository_of
    from merkl.workspace.place import put_file

    cwd = os.path.realpath(options.cwd)
    top = repository_of(cwd)
    if top is None:
        raise UsageError("no git repository here or above", hint="git init")
    settings = {"merge.merkl.name": "sidecars of merkl", "merge.merkl.driver": _DRIVER}
    if not all(git.configure(top, name, value) for name, value in settings.items()):
        raise UsageError(
            "git does not take the setting merge.merkl.driver", hint="is `git` there? try: git config --list"
        )
    path = os.path.join(top, ".gitattributes")
    shown = os.path.relpath(path, options.cwd)
    try:
        with open(path, "rb") as file:
            known = file.read()
    except FileNotFoundError:
        known = b""
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error.strerror}", hint="see what it is") from None
    if _ATTRIBUTE not in [line.strip() for line in known.split(b"\n")]:
        end = b"\r\n" if b"\r\n" in known else b"\n"
        gap = end if known and not known.endswith(b"\n") else b""
        put_file(top, ".gitattributes", known + gap + _ATTRIBUTE + end)
        sys.stdout.write(f"wrote {shown}; now try: git add {shown}\n")
    sys.stdout.write("git merges sidecars with merkl in this clone\n")
    if shutil.which("merkl") is None:
        sys.stderr.write("note: merkl is not on PATH, and where git does not find it, git merges by itself\n")
    return 0


def _schema() -> str:
    from importlib.resources import files

    return files("merkl.merklfile").joinpath("Merklfile.schema.json").read_text(encoding="utf-8")
