"""The pages of docs/ and the README: what they show is run, what they link to is there, and they name every option.

How a page is written:

* A block ```` ```python title="Merklfile.py" ```` (of any language) writes that file.
* A block ```` ```diff title="Merklfile.py" ```` edits it: the lines with ``-`` and with a space stand in it exactly once,
  and are replaced by those with ``+`` and with a space.
* A block ```` ```console ```` is run by one bash: ``$ command``, further lines of it with ``> ``, then what it prints to
  stdout and stderr.  Every command must succeed, unless ``$ echo $?`` follows it.
* In expected output ``…`` is any text within a line, and a line with nothing else is any number of lines.  Durations,
  sizes of files, and hexadecimal names of at least 8 digits need not agree, nor what was saved.  Lines such as ``[1/3] …``
  that follow one another may come in another order: of tasks that run at the same time, either may end first.
* All of a page happens in one directory, empty at first; after ``<!-- fresh -->`` a new one begins, and after
  ``<!-- fresh: examples -->`` one with a copy of that directory of the repository.
* A block of Python or console that is not to be run is marked ```` ```text ````: every other one is run.

With MERKL_WRITE_DOCS=1 output that does not agree is written into the page instead: read the difference before you keep it.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from merkl.cli.main import COMMANDS, cli
from merkl.report import json as json_events
from merkl.store.schema import _ANSWERS, _TABLES
from merkl.workspace.database import _SCHEMA

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = {
    "recipes-c": ["gcc", "ar"],
    "recipes": ["gcc", "make", "curl"],
    "checking": ["strace"],
    "comparison": ["make"],
    "running": ["make"],
    "pitfalls": ["tar"],
}  # Programs of a page that not every machine has.
WRITE = bool(os.environ.get("MERKL_WRITE_DOCS"))

FENCE = re.compile(r'^```(?P<language>\w+)?(?: title="(?P<title>[^"]+)")?$')
FRESH = re.compile(r"^<!-- fresh(?:: (?P<copied>\w+))? -->$")
VARIES = re.compile(r"(?P<time>\b\d+(?:\.\d+)? ?m?s\b)|(?P<size>\b\d+(?:\.\d+)? (?:[kMG]?B|bytes)\b)|(?P<hex>\b[0-9a-f]{8,64}\b)"
                    r"|(?P<any>…)")  # fmt: skip
ENDED = re.compile(r"(?P<count>\[\d+/\d+\]) (?P<task>.*)")  # The line of a task that has ended.
SAVINGS = re.compile(r" +\(save[sd] [^)]*\)")  # Said only of what took long enough.
PATTERNS = {
    "time": r"\d+(?:\.\d+)? ?m?s",
    "size": r"\d+(?:\.\d+)? (?:[kMG]?B|bytes)",
    "hex": "[0-9a-f]{8,64}",
    "any": ".*?",
}


@dataclass
class Block:
    """A fenced block, or a mark that a new directory begins.  ``line`` is that of its first line of content."""

    line: int
    language: str
    title: str
    lines: list[str]


@dataclass
class Command:
    """A command of a console block and the output that is shown; ``line`` is where the output begins."""

    line: int
    text: str
    shown: list[str]


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order; a mark is one with the language ``fresh``."""
    inside: Block | None = None
    for number, line in enumerate(page.read_text().split("\n"), 1):
        mark, fence = FRESH.match(line), FENCE.match(line)
        if inside is not None and line == "```":
            yield inside
            inside = None
        elif inside is not None:
            inside.lines.append(line)
        elif mark:
            yield Block(number, "fresh", mark["copied"] or "", [])
        elif line.startswith("```"):
            assert fence, f"{page.name}:{number}: a fence that says what no reader of it knows: {line}"
            inside = Block(number + 1, fence["language"] or "", fence["title"] or "", [])
    assert inside is None, f"{page.name}: a block is not closed"


def sections_of(page: Path) -> list[list[Block]]:
    """The blocks of a page by the directory that they happen in."""
    sections: list[list[Block]] = [[]]
    for block in blocks_of(page):
        if block.language == "fresh":
            sections.append([])
        sections[-1].append(block)
    return [section for section in sections if any(block.language == "console" for block in section)]


def commands_of(block: Block) -> list[Command]:
    """The commands of a console block."""
    commands: list[Command] = []
    for number, line in enumerate(block.lines, block.line):
        if line.startswith("$ "):
            commands.append(Command(number + 1, line[2:], []))
        elif line.startswith("> ") and not commands[-1].shown:
            commands[-1].text += "\n" + line[2:]
            commands[-1].line += 1
        else:
            commands[-1].shown.append(line)
    return commands


def pattern_of(shown: list[str]) -> str:
    """A regular expression that what is really printed must match."""
    lines = []
    for line in shown:
        if line.strip() == "…":
            lines.append("(?:[^\n]*\n)*?")
            continue
        pieces, last = [], 0
        line = SAVINGS.sub("", line)
        for found in VARIES.finditer(line):
            pieces += [re.escape(line[last : found.start()]), PATTERNS[found.lastgroup or ""]]
            last = found.end()
        lines.append("".join([*pieces, re.escape(line[last:]), r"[ ]*\n"]))
    return "".join(lines)


def agrees(shown: list[str], printed: str) -> bool:
    """Whether what a command printed is what is shown of it, but for the order in which tasks ended."""
    return bool(re.fullmatch(pattern_of(shown), SAVINGS.sub("", "".join(in_order_of(shown, printed)))))


def in_order_of(shown: list[str], printed: str) -> Iterator[str]:
    """The lines that were printed, with tasks that ended one after another in the order in which they are shown."""
    places = {found["task"]: place for place, line in enumerate(shown) if (found := ENDED.fullmatch(line))}

    def place(task: str) -> int:
        fits = (
            at
            for text, at in places.items()
            if re.fullmatch(pattern_of([text]), SAVINGS.sub("", task) + "\n")
        )
        return next(fits, len(shown))

    for ended, group in itertools.groupby(
        printed.splitlines(keepends=True), lambda line: bool(ENDED.match(line))
    ):
        lines = list(group)
        if ended:
            found = [each for line in lines if (each := ENDED.match(line))]
            tasks = sorted((each["task"] for each in found), key=place)
            lines = [f"{each['count']} {task}\n" for each, task in zip(found, tasks, strict=True)]
        yield from lines


def write(directory: Path, block: Block, where: str) -> None:
    """Write or edit the file of a block."""
    path = directory / block.title
    if block.language != "diff":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(block.lines) + "\n")
        return
    old = "".join(line[1:] + "\n" for line in block.lines if line[:1] in "- ")
    new = "".join(line[1:] + "\n" for line in block.lines if line[:1] in "+ ")
    text = path.read_text()
    assert text.count(old) == 1, f"{where}: what this edits stands {text.count(old)} times in {block.title}"
    path.write_text(text.replace(old, new))


def run(directory: Path, commands: list[Command]) -> list[tuple[str, int]]:
    """What each command prints, and its exit code."""
    mark = "end-of-a-command"
    script = "".join(
        f"{{ {command.text}\n}} 2>&1; status=$?; echo {mark} $status; (exit $status)\n"
        for command in commands
    )
    path = f"{directory.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "LC_ALL": "C.UTF-8", "COLUMNS": "100"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    parts = re.split(rf"{mark} (\d+)\n", done.stdout)
    return list(zip(parts[::2], map(int, parts[1::2]), strict=False))


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory whose ``bin`` has this merkl, and the Python that it is installed for."""
    (tmp_path / "bin").mkdir()
    for name, words in (("merkl", "-m merkl "), ("python", "")):
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


SECTIONS = [
    pytest.param(page, number, id=f"{page.stem}-{number}", marks=pytest.mark.needs(*NEEDS.get(page.stem, ())))
    for page in PAGES
    for number, _ in enumerate(sections_of(page))
]


def test_only_tasks_that_end_together_may_change_places() -> None:
    shown = ["[1/3] one  0.0s", "[2/3] two  0.0s", "", "[3/3] last  0.1s"]

    assert agrees(shown, "[1/3] two  0.3s\n[2/3] one  0.2s\n\n[3/3] last  0.1s\n")
    assert not agrees(shown, "[1/3] two  0.3s\n[2/3] two  0.2s\n\n[3/3] last  0.1s\n")
    assert not agrees(shown, "[2/3] one  0.3s\n[1/3] two  0.2s\n\n[3/3] last  0.1s\n")
    assert not agrees(shown, "[1/3] last  0.3s\n[2/3] two  0.2s\n\n[3/3] one  0.1s\n")


@pytest.mark.parametrize(("page", "number"), SECTIONS)
def test_what_a_page_shows_is_what_happens(page: Path, number: int, tools: Path) -> None:
    directory = tools / "poem"
    directory.mkdir()
    wrong = []
    for block in sections_of(page)[number]:
        where = f"{page.name}:{block.line}"
        if block.language == "fresh" and block.title:
            shutil.copytree(
                ROOT / block.title, directory / block.title, ignore=shutil.ignore_patterns(".merkl", "build")
            )
        elif block.title:
            write(directory, block, where)
        elif block.language == "console":
            commands = commands_of(block)
            results = run(directory, commands)
            assert len(results) == len(commands), f"{where}: bash did not come to the end of the block"
            for index, (command, (printed, code)) in enumerate(zip(commands, results, strict=True)):
                asked = index + 1 < len(commands) and commands[index + 1].text == "echo $?"
                if code and not asked:
                    wrong.append((command, printed + f"(it failed: exit code {code})\n"))
                elif not agrees(command.shown, printed):
                    wrong.append((command, printed))
    if WRITE and not any("This is a bug in merkl" in printed for _, printed in wrong):
        rewrite(page, wrong)
    assert not wrong or WRITE, "\n".join(
        f"{page.name}:{command.line}: $ {command.text}\n--- shown\n{chr(10).join(command.shown)}\n--- happens\n{printed}"
        for command, printed in wrong
    )


def rewrite(page: Path, wrong: list[tuple[Command, str]]) -> None:
    """Put what really happens into the page."""
    lines = page.read_text().split("\n")
    for command, printed in reversed(wrong):
        lines[command.line - 1 : command.line - 1 + len(command.shown)] = printed.splitlines()
    page.write_text("\n".join(lines))


def test_every_block_of_python_and_console_is_run() -> None:
    loose = [
        f"{page.name}:{block.line}"
        for page in PAGES
        for block in blocks_of(page)
        if block.language in ("python", "diff", "bash", "sh", "") and not block.title
    ]
    in_no_section = [
        f"{page.name}:{block.line}"
        for page in PAGES
        for block in blocks_of(page)
        if block.title and block.language != "fresh" and not any(block in each for each in sections_of(page))
    ]

    assert not loose, f"mark what is not to be run as text, or give it a title: {loose}"
    assert not in_no_section, f"files that no command of their section uses: {in_no_section}"


# ---- links -----------------------------------------------------------------------------------------------------------


def prose_of(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def anchors_of(page: Path) -> set[str]:
    """What the headings of a page can be linked by."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in PAGES])
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)

    assert not broken


def test_every_page_can_be_reached_from_the_index() -> None:
    index = ROOT / "docs/index.md"
    linked = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(index))}

    assert {page.name for page in index.parent.glob("*.md")} - {"index.md"} <= linked


# ---- formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(_TABLES, id="store"),
        pytest.param("".join(f"{each};\n" for each in _ANSWERS), id="answers"),
        pytest.param(_SCHEMA, id="index"),
    ],
)
def test_the_page_of_the_formats_has_the_tables_as_they_are(schema: str) -> None:
    assert f"```sql\n{textwrap.dedent(schema).strip()}\n```" in (ROOT / "docs/formats.md").read_text()


def test_the_page_of_the_formats_names_just_the_events_there_are() -> None:
    section = (ROOT / "docs/formats.md").read_text().partition("## JSON events")[2]
    first_cells = re.findall(r"^\| (`.*?) \|", section, flags=re.M)

    named = {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}
    assert named - {"event"} == set(
        re.findall(r"^``([a-z ]+)`` {2,}", json_events.__doc__ or "", flags=re.M)
    ) - {"event"}


# ---- the command line ------------------------------------------------------------------------------------------------


def options_of(command: click.Command) -> set[str]:
    """Every visible spelling of a command's options."""
    return {
        name
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for name in parameter.opts
    } - {"-h", "--help"}


def test_the_page_of_the_command_line_names_just_what_there_is() -> None:
    text = (ROOT / "docs/cli.md").read_text()
    context = click.Context(cli)
    sections = dict(re.findall(r"^## `merkl ?([a-z]*).*?`$\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S))

    assert list(sections) == ["", *COMMANDS]
    for name, section in sections.items():
        command = cli.get_command(context, name) if name else cli
        assert command is not None
        named = set(
            re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", "\n".join(re.findall(r"^\| (.*?) \|", section, re.M)))
        )
        assert named == options_of(command), f"merkl {name}"
