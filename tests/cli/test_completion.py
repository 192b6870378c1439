"""What TAB offers, asked in real shells too."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pexpect
import pytest

from merkl.cli.complete import complete
from merkl.cli.main import cli
from merkl.cli.offer import Answer
from merkl.cli.spellings import COMMANDS, SPELT, Option, options_after, shown_after

SHELLS = ("bash", "zsh", "fish")
BREAKS = " \t\n\"'><=;|&(:"  # bash's own COMP_WORDBREAKS.

MERKLFILE = '''
    import enum
    import pathlib
    from typing import Literal, Optional
    from merkl import bash_task, target, DirRef

    class Color(enum.Enum):
        RED = "red"
        BLUE = "blue"

    write = bash_task("echo {arg('text')} > {out_file_arg('out', '.txt')}")

    @target(default=True)
    def poem(loud: bool = True, color: Color = Color.RED, mode: Literal["fast", "slow"] = "fast",
             data: pathlib.Path = pathlib.Path("."), where: Optional[DirRef] = None, count: int = 3,
             tags: list[Literal["a", "b"]] = [], line_width: int = 80):
        """The poem's length."""
        write("1") > "build/one two.txt"
        write("2") > "build/sub/$(touch canary).txt"

    @target(name="co:lon")
    def colon(rate: float):
        """Needs a rate."""
        write(str(rate)) > "colon.txt"

    @target
    def build_docs(args: list[str] = ()):
        """Takes more."""
        write(" ".join(args)) > "docs.txt"
'''


@pytest.fixture
def built(merkl):
    """A project that was built once, and some files."""
    merkl.merklfile(MERKLFILE)
    done = merkl("build")
    assert done.code == 0, done.err
    (merkl.root / "files").mkdir()
    for name in ("one.csv", "two words.csv", "files/inside.csv"):
        (merkl.root / name).write_text("x")
    return merkl


def offered(*words: str) -> set[str]:
    return {each.text for each in complete(words).words}


# ---- what is offered ---------------------------------------------------------------------------------------------------


def test_commands_come_first(built):
    assert offered("") == COMMANDS.keys()
    assert offered("cl") == {"clean", "clear"}
    assert offered("-j4", "--color", "never", "-kn", "cl") == {"clean", "clear"}


def test_a_request_has_targets_and_the_parameters_of_the_default_ones(built):
    assert offered("build", "") == {
        "poem", "co:lon", "build_docs", "loud=", "color=", "mode=", "data=", "where=", "count=", "tags=", "line_width=",
    }  # fmt: skip


def test_the_parameters_are_those_of_the_targets_that_are_named_without_those_given(built):
    assert offered("build", "co:lon", "") == {"poem", "build_docs", "rate="}
    assert offered("why", "poem", "count=2", "co") == {"co:lon", "color="}
    assert offered("build", "build_docs", "ar") == set()


def test_in_names_a_dash_is_an_underscore(built):
    assert offered("build", "build-d") == {"build-docs"}
    assert offered("build", "line-w") == {"line-width="}


def test_values_are_those_of_the_type(built):
    assert offered("build", "loud=") == {"loud=true", "loud=false"}
    assert offered("build", "color=B") == {"color=BLUE"}
    assert offered("build", "mode=f") == {"mode=fast"}
    assert offered("build", "tags=a,") == {"tags=a,a", "tags=a,b"}
    assert offered("build", "count=") == set()
    assert complete(["build", "data=o"]) == Answer("files", prefix="data=")
    assert complete(["build", "where="]) == Answer("dirs", prefix="where=")


@pytest.mark.parametrize("word", ["loud=true", "color=BLUE", "mode=slow", "tags=a,b", "where=build"])
def test_every_value_that_is_offered_is_accepted(built, word):
    assert built("build", "--dry-run", word).code == 0


def test_outputs_are_offered_a_directory_at_a_time(built):
    assert offered("show", "build/") == {"build/one two.txt", "build/sub/"}
    assert offered("show", "./build/s") == {"./build/sub/"}
    assert offered("show", "bui") == {"build_docs", "build/"}
    assert offered("show", str(built.root / "build/o")) == {str(built.root / "build/one two.txt")}


def test_outputs_start_from_the_directory_that_one_is_in(built, monkeypatch):
    monkeypatch.chdir(built.root / "build")
    assert offered("show", "o") == {"one two.txt"}
    assert offered("show", "../build/o") == {"../build/one two.txt"}
    assert offered("-C", "sub", "show", "$") == {"$(touch canary).txt"}


def test_the_project_is_the_one_that_the_options_say(built, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert offered("build", "po") == set()
    assert offered("-C", "project", "build", "po") == {"poem"}
    assert offered("build", "--directory=project", "po") == {"poem"}
    assert offered("-f", "project/Merklfile.py", "build", "po") == {"poem"}
    assert offered("log", "-f", "-Cproject", "po") == {"poem"}  # There -f takes no value.


def test_options_are_those_that_the_command_shows(built):
    assert offered("gc", "--m") == {"--max-size"}
    assert offered("gc", "--reh") == set()
    assert offered("build", "--re") == {"--rehash", "--require-remote"}
    assert {"-j", "--jobs"} <= offered("build", "-")
    assert offered("--color", "a") == {"auto", "always"}
    assert offered("dag", "--format=m") == {"--format=mermaid"}
    assert complete(["build", "-C", ""]).kind == "dirs"
    assert complete(["--file="]) == Answer("files", prefix="--file=")


def test_after_two_dashes_there_are_files(built):
    assert complete(["build", "build_docs", "--", "--o"]) == Answer("files")


def test_other_commands_have_words_of_their_own(built):
    assert offered("completion", "") == set(SHELLS)
    assert offered("completion", "bash", "") == set()
    assert offered("gc", "") == offered("init", "") == offered("nonsense", "") == set()
    assert offered("restore", "") == set()
    (built.root / "build/one two.txt").write_text("mine")
    assert built("build", "--force").code == 0
    assert offered("restore", "") == {"build/"}
    assert offered("restore", "build/") == {"build/one two.txt"}


def test_a_list_that_is_damaged_or_not_there_offers_nothing(built):
    (built.root / ".merkl/index.db").write_bytes(b"no database" * 100)
    assert offered("build", "") == set()
    (built.root / ".merkl/index.db").unlink()
    assert offered("build", "po") == set()
    assert not (built.root / ".merkl/index.db").exists()


def test_it_runs_no_code_of_the_project_and_writes_nothing(built):
    (built.root / "Merklfile.py").write_text("open('canary', 'w')\n")
    for wal in ("index.db-wal", "index.db-shm"):
        (built.root / ".merkl" / wal).unlink(missing_ok=True)
    before = built.files(), sorted(os.listdir(built.root / ".merkl"))

    found = asked(built.root, "fish", "build", "")

    assert found[1].startswith("poem\t")
    assert before == (built.files(), sorted(os.listdir(built.root / ".merkl")))


def asked(root: Path, *words: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "merkl", "--complete", *words],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_it_imports_no_click_and_no_engine(built):
    code = (
        "import sys; sys.argv = ['merkl', '--complete', 'fish', 'build', '']\n"
        "from merkl.__main__ import main\nmain()\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=built.root, capture_output=True, text=True, check=True
    )
    assert "poem" in done.stdout
    found = set(done.stderr.split())
    assert not found & {
        "click",
        "yaml",
        "dataclasses",
        "blake3",
        "xxhash",
        "subprocess",
        "merkl.nodes",
        "merkl.workspace",
    }


# ---- the table of spellings ------------------------------------------------------------------------------------------


def taken(parameter: click.Option) -> object:
    if parameter.is_flag:
        return False
    return tuple(parameter.type.choices) if isinstance(parameter.type, click.Choice) else True


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_the_spellings_are_those_that_click_reads(name):
    top = click.Context(cli, **cli.context_settings)
    command = cli if name is None else cli.get_command(top, name)
    assert command is not None
    context = top if name is None else click.Context(command, parent=top)
    parameters = [each for each in command.get_params(context) if isinstance(each, click.Option)]

    known = {tuple(sorted(p.opts)): taken(p) for p in parameters}
    spelt = {tuple(sorted(o.names)): o.choices or o.takes for o in options_after(name)}
    shown = {tuple(sorted(p.opts)) for p in parameters if not p.hidden}
    help_of = {tuple(sorted(p.opts)): re.sub(r"  \[default: .*\]$", "", p.help or "") for p in parameters}

    assert spelt == known, "keep merkl/cli/spellings.py in step"
    assert {tuple(sorted(o.names)) for o in shown_after(name)} == shown
    assert {tuple(sorted(o.names)): o.about for o in options_after(name)} == help_of
    arguments = [each for each in command.get_params(context) if isinstance(each, click.Argument)]
    if name is not None:
        assert bool(arguments) == (SPELT[name].words != "none" or bool(SPELT[name].choices))
        for each in arguments:
            if isinstance(each.type, click.Choice):
                assert tuple(each.type.choices) == SPELT[name].choices


def test_an_option_takes_a_value_if_it_says_of_what():
    assert [Option(("-x",), "").takes, Option(("-x",), "", "dir").takes] == [False, True]


# ---- in the shells -----------------------------------------------------------------------------------------------------


def test_an_unknown_shell_is_named(built):
    done = built("completion", "tcsh")

    assert done.code == 2
    assert "'bash', 'zsh', 'fish'" in done.err


def as_bash_sees_it(root: Path, line: str, breaks: str = BREAKS) -> list[str]:
    return asked(root, "bash", line, breaks)


def test_bash_gets_what_its_line_editor_replaces(built):
    root = built.root
    assert as_bash_sees_it(root, "merkl build co:") == ["words\t", "lon"]
    assert as_bash_sees_it(root, "merkl build loud=t") == ["words\t", "true"]
    assert as_bash_sees_it(root, "merkl build loud=t", " \t\n") == ["words\t", "loud=true"]
    assert as_bash_sees_it(root, "merkl build lou") == ["open\t", "loud="]
    assert as_bash_sees_it(root, "merkl show build/o") == ["words\t", r"build/one\ two.txt"]
    assert as_bash_sees_it(root, 'merkl show "build/o') == ["words\t", "build/one two.txt"]
    assert as_bash_sees_it(root, "merkl show build/sub/") == ["words\t", r"build/sub/\$\(touch\ canary\).txt"]
    assert as_bash_sees_it(root, 'merkl show "build/sub/') == ["words\t", r"build/sub/\$(touch canary).txt"]
    assert as_bash_sees_it(root, "merkl show 'build/sub/") == ["words\t", "build/sub/$(touch canary).txt"]
    assert as_bash_sees_it(root, r"merkl show build/one\ t") == ["words\t", r"build/one\ two.txt"]
    assert as_bash_sees_it(root, "merkl build data=o") == ["files\t"]
    assert as_bash_sees_it(root, "merkl build data=o", " \t\n") == ["words\t", "data=one.csv"]
    assert as_bash_sees_it(root, "merkl build 2> o") == ["files\t"]
    assert as_bash_sees_it(root, "merkl 2>log buil") == ["words\t", "build"]
    assert as_bash_sees_it(root, "merkl -C files build data=") == ["words\t", "inside.csv"]
    assert as_bash_sees_it(root, "merkl -C files build -- ") == ["words\t", "inside.csv"]
    assert as_bash_sees_it(root, "merkl -C ./fi") == ["dirs\t"]
    assert as_bash_sees_it(root, "merkl -Cfi") == ["open\t", "-Cfiles/"]


class Shell:
    """A shell at a terminal, with merkl's completion; ``after`` is the line that TAB makes of what was typed."""

    def __init__(self, name: str, root: Path) -> None:
        begin = {
            "bash": "bind 'set enable-bracketed-paste off'; bind 'set bell-style none'; PS1='P''> '; "
            'set +o history; eval "$(merkl completion bash)"',
            "zsh": "unsetopt zle_bracketed_paste prompt_sp beep auto_remove_slash; PS1='P''> '; autoload -Uz compinit; compinit -u -D; "
            'eval "$(merkl completion zsh)"; bindkey -e',
        }[name]
        flags = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[name]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.terminal = pexpect.spawn(
            name, flags, cwd=str(root), env={**os.environ, "PATH": path, "TERM": "dumb", "LC_ALL": "C.UTF-8"},
            encoding="utf-8", timeout=30, dimensions=(50, 200),
        )  # fmt: skip
        self.terminal.sendline(begin + "; echo READ''Y")
        self.terminal.expect("READY\r\n")
        self.terminal.expect("P> ")

    def after(self, typed: str, wanted: str) -> None:
        """Type, press TAB, and let the shell say what the line's words are now."""
        # The words are printed and not run: the beginning of the line is put before them.
        self.terminal.send(typed + "\t")
        self.terminal.expect_exact(typed[:8])
        self.terminal.send("\x01printf '[%s]' \x05\r")  # Ctrl-A, Ctrl-E
        self.terminal.expect(r"\[merkl\](.*?)P> ")
        assert self.terminal.match is not None
        found = self.terminal.match[1].strip("\r\n")
        assert found == wanted, f"{typed!r}"


STORIES = [
    ("merkl bui", "[build]"),
    ("merkl build po", "[build][poem]"),
    ("merkl build co:", "[build][co:lon]"),
    ("merkl build poem loud=t", "[build][poem][loud=true]"),
    ("merkl build mo", "[build][mode=]"),
    ("merkl show build/o", "[show][build/one two.txt]"),
    ("merkl show build/one\\ t", "[show][build/one two.txt]"),
    ('merkl show "build/o', "[show][build/one two.txt]"),
    ("merkl show 'build/o", "[show][build/one two.txt]"),
    ("merkl show build/sub/", "[show][build/sub/$(touch canary).txt]"),
    ("merkl show 'build/sub/", "[show][build/sub/$(touch canary).txt]"),
    ("merkl build data=tw", "[build][data=two words.csv]"),
    ("merkl build -- on", "[build][--][one.csv]"),
    ("merkl --col", "[--color]"),
    ("merkl --color=n", "[--color=never]"),
    ("merkl -C fi", "[-C][files/]"),
    ("merkl -C files why po", "[-C][files][why][poem]"),
    ("merkl completion f", "[completion][fish]"),
    ("merkl nonsense x", "[nonsense][x]"),
]


@pytest.mark.parametrize("name", [pytest.param("bash"), pytest.param("zsh", marks=pytest.mark.needs("zsh"))])
def test_tab_at_a_terminal(built, name):
    shell = Shell(name, built.root)
    try:
        for typed, wanted in STORIES:
            shell.after(typed, wanted)
    finally:
        shell.terminal.close(force=True)
    assert not (built.root / "canary").exists()


@pytest.mark.needs("fish")
def test_what_fish_offers(built, tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = tmp_path / "merkl.fish"
    script.write_text(built("completion", "fish").out)

    def fish(line: str) -> list[str]:
        command = "source $argv[1]; complete -C $argv[2]"
        done = subprocess.run(
            ["fish", "--no-config", "-c", command, str(script), line],
            cwd=built.root, env={**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        return [each.partition("\t")[0] for each in done.stdout.splitlines()]

    assert "doctor\tCheck" in "".join(asked(built.root, "fish", "doc"))
    assert fish("merkl bui") == ["build"]
    assert fish("merkl build po") == ["poem"]
    assert fish("merkl build co:") == ["co:lon"]
    assert fish("merkl build poem loud=") == ["loud=true", "loud=false"]
    assert fish('merkl show "build/o') == ["build/one two.txt"]
    assert fish("merkl show build/one\\ t") == ["build/one two.txt"]
    assert fish("merkl show build/sub/") == ["build/sub/$(touch canary).txt"]
    assert fish("merkl build data=tw") == ["data=two words.csv"]
    assert fish("merkl build -- on") == ["one.csv"]
    assert fish("merkl -C fi") == ["files/"]
    assert fish("X=1 merkl --color=n") == ["--color=never"]
    assert fish("merkl -C files why po") == ["poem"]
    assert fish("merkl gc ") == []
    assert not (built.root / "canary").exists()
