"""The words of the command line: commands, their options, and what may follow each.

It decides nothing: click reads a command line, this only says for completion and for the list of commands what there is,
since importing click takes longer than a TAB may.  It knows no project.

The invariant: a test compares it with what click knows, so an option is never in one place only.
"""

from typing import Final, Literal, NamedTuple

# A command's line of help is here, so that the list of commands imports none of them.
COMMANDS: Final = {
    "build": "Build targets: run what no cache has got.",
    "run": "Call a function of a module, and build what it returns.",
    "watch": "Build again whenever something changes.",
    "list": "List the targets.",
    "why": "Say what would run, and what changed.",
    "status": "Say how tracked files and outputs stand.",
    "track": "Keep data in the store, and a sidecar in git.",
    "untrack": "Remove the sidecar of data; the data stays.",
    "pull": "Bring tracked files and results from store or remote.",
    "push": "Send tracked files and results to the remote.",
    "show": "Show a target's command, inputs, outputs and key.",
    "debug": "Show all that is known of a function, a call of it, or a key.",
    "log": "Print what tasks printed.",
    "dag": "Draw the graph.",
    "migrate": "Keep tracked outputs after a refactor that changed keys only.",
    "clean": "Remove outputs; the store keeps them.",
    "clear": "Forget results, so that they are made again.",
    "restore": "Bring back a file that you edited and merkl replaced.",
    "fsck": "Check every byte of the store.",
    "gc": "Free space in the store.",
    "cache": "Say what the store holds.",
    "key": "Say whose results count, and make a key of your own.",
    "init": "Write a first Merklfile.",
    "doctor": "Check what merkl needs from this machine.",
    "completion": "Print the script with which a shell completes merkl's words.",
}
HIDDEN: Final = {"merge-sidecar": "merge_sidecar", "dot": "dot"}
"""Commands that programs call, not people, or that have another name now, and the modules they are in."""

Value = Literal["", "dir", "file", "text"]
"""What an option takes: nothing, a directory, a file, or something that nobody can guess."""
Words = Literal["none", "request", "saved", "files", "function", "either"]
"""What a command's words are: none, targets with values and paths, paths with saved edits, any files, a function with its
arguments, or targets and functions."""


class Option(NamedTuple):  # Not a dataclass: to import that takes longer than all the rest.
    """An option; ``choices`` are the words that it takes, ``value`` what it takes otherwise."""

    names: tuple[str, ...]
    about: str
    value: Value = ""
    choices: tuple[str, ...] = ()

    @property
    def takes(self) -> bool:
        """Whether a value follows."""
        return bool(self.value or self.choices)


class Spelt(NamedTuple):
    """A command: which shared options its help shows, by their last names, its own options, and what its words are."""

    shown: str = ""
    own: tuple[Option, ...] = ()
    words: Words = "none"
    choices: tuple[str, ...] = ()
    without: str = ""  # A letter of a shared option that means something else here.


SHARED: Final = (
    Option(("-C", "--directory"), "Work as if started in DIR.", "dir"),
    Option(("-f", "--file"), "Read FILE instead of Merklfile.py or Merklfile.yaml.", "file"),
    Option(("-j", "--jobs"), "Run N tasks at once.", "text"),
    Option(("-k", "--keep-going"), "After a failure, run what does not need what failed."),
    Option(("-n", "--dry-run"), "Say what would be done, and do nothing."),
    Option(("-B", "--force"), "Run every task that is needed, whatever is cached."),
    Option(("-q", "--quiet"), "Print failures only."),
    Option(
        ("-o", "--output"), "When to show what tasks print; quiet is -q.", choices=("each", "live", "quiet")
    ),
    Option(("-v", "--verbose"), "Print every decision and the reason for it."),
    Option(("--json",), "Print JSON instead of text."),
    Option(("--color",), "When to color.", choices=("auto", "always", "never")),
    Option(("--progress",), "How to show progress.", choices=("auto", "plain", "none")),
    Option(("--set",), "Replace a value of a file read by params().", "text"),
    Option(("--rehash",), "Read every input again, also those that seem unchanged."),
)
HELP: Final = Option(("-h", "--help"), "Show this message and exit.")
TOP: Final = (Option(("--version",), "Show the version and exit."),)

_SCHEDULING: Final = (
    Option(
        ("--target",), "Where to run: N tasks at once here, as -j N, or an executor of merkl.yaml.", "text"
    ),
    Option(("--order",), "Which task starts first.", choices=("code", "critical-path")),
)

_RUNNING: Final = (
    *_SCHEDULING,
    Option(("--check-deps",), "Tell what tasks use and do not declare."),
    Option(("--strict-deps",), "Fail a task that uses what it does not declare."),
    Option(("--frozen",), "Fail rather than run a task."),
    Option(("--pull",), "Run nothing: place what some cache has."),
    Option(("--push",), "Send results to the remote as they come."),
    Option(("--require-remote",), "Fail if the remote cannot be used."),
    Option(("--profile",), "Write to FILE where merkl's own time went, for pstats.", "file"),
)

SPELT: Final = {
    "build": Spelt(
        "jobs keep-going dry-run force quiet output verbose json progress set rehash",
        _RUNNING,
        words="request",
    ),
    "run": Spelt(
        "jobs keep-going dry-run force quiet output verbose json progress set rehash",
        (
            *_RUNNING,
            Option(("--no-cache",), "Run everything, and keep no result in the cache."),
            Option(("--clear",), "Forget the results of the function's own tasks first."),
        ),
        words="function",
    ),
    "watch": Spelt(
        "jobs keep-going quiet output verbose json progress set",
        (
            *_SCHEDULING,
            Option(("--debounce",), "Wait until nothing has changed for MS milliseconds.", "text"),
            Option(("--restart",), "Stop a build when something changes that it reads, and begin anew."),
            Option(("--poll",), "Look every second, where the system brings no news of changes."),
            Option(
                ("--then",),
                "Start CMD, with bash, after each good build; what still runs of it is ended first.",
                "text",
            ),
            Option(("--clear",), "Clear the terminal before each build."),
            Option(("--notify",), "Tell the desktop, or ring the terminal's bell, after each build."),
            Option(("--push",), "Send results to the remote as they come."),
            Option(("--require-remote",), "Fail if the remote cannot be used."),
        ),
        words="request",
    ),
    "list": Spelt("json"),
    "why": Spelt("force verbose json set rehash", words="either"),
    "status": Spelt(
        "verbose json set rehash",
        (
            Option(("--remote",), "Say also what is not in the remote."),
            Option(("--check",), "Exit with 6 if anything is not fresh or, with --remote, not there."),
        ),
        words="request",
    ),
    "pull": Spelt(
        "dry-run quiet verbose json progress set rehash",
        (Option(("--force",), "Replace modified files too; each is saved first."),),
        words="request",
        without="--force",
    ),
    "push": Spelt("dry-run quiet verbose json progress set rehash", words="request"),
    "track": Spelt(
        "dry-run quiet json rehash",
        (Option(("--move",), "Leave the data in the store only; merkl pull brings it back."),),
        words="files",
    ),
    "untrack": Spelt("dry-run quiet json", words="files"),
    "show": Spelt("json set", words="either"),
    "debug": Spelt("json set", words="function"),
    "log": Spelt(
        "set",
        (Option(("-f", "--follow"), "Follow the tasks that run now, in another process, to their end."),),
        words="either",
        without="-f",
    ),
    "dag": Spelt(
        "json set",
        (
            Option(("--format",), "How to draw it.", choices=("text", "json", "dot", "mermaid", "svg")),
            Option(("--files",), "Draw the input files too, and headers that were found."),
        ),
        words="either",
    ),
    "clean": Spelt(
        "dry-run quiet set",
        (Option(("--stale",), "Remove what merkl placed once and no target places now."),),
        words="request",
    ),
    "clear": Spelt(
        "dry-run quiet set",
        (Option(("--all-except",), "Forget every result but those of what is named."),),
        words="either",
    ),
    "restore": Spelt(
        "dry-run quiet",
        (Option(("--version",), "The version to bring back, instead of the latest.", "text"),),
        words="saved",
    ),
    "fsck": Spelt(
        "quiet json",
        (
            Option(("--repair",), "Remove leftovers, and results whose bytes are gone."),
            Option(("--remote",), "Read everything in the remote too."),
            Option(("--sample",), "With --remote: read about so much of it, such as 5%.", "text"),
        ),
    ),
    "gc": Spelt(
        "dry-run quiet json",
        (
            Option(("--keep-days",), "Keep results used in the last DAYS: 30, 12h, 2w.", "text"),
            Option(("--max-size",), "Forget results until the store has at most SIZE: 500MB, 10G.", "text"),
            Option(("--saved-edits",), "Forget edits of yours, too, that were saved before these days."),
            Option(("--skip-unreadable",), "Go on although a sidecar cannot be read."),
            Option(("--remote",), "Free space in the remote instead."),
            Option(("--branch",), "With --remote: of git, keep what NAME tracks only.", "text"),
        ),
    ),
    "cache": Spelt(
        "verbose json",
        (
            Option(("--where",), "With ls: what must be true of a record.", "text"),
            Option(("--sort",), "With ls: the field to go by; -FIELD for the largest first.", "text"),
            Option(("--limit",), "With ls: at most so many records.", "text"),
            Option(("--of",), "The file of a SqliteCache, instead of the store.", "file"),
        ),
        choices=("ls",),
    ),
    "key": Spelt(
        "json",
        (
            Option(("--allow",), "With trust: files, or files,pickle.", "text"),
            Option(("--namespace",), "With trust: where it counts; * for everywhere.", "text"),
            Option(("--name",), "With trust: whose key it is.", "text"),
            Option(("--from-project",), "With trust: the keys that merkl.yaml proposes."),
            Option(("--store",), "With trust, revoke: a store that others can write to.", "dir"),
            Option(("--print",), "With new: print a key for CI, and keep none."),
            Option(("--replace",), "With new: instead of the key there is."),
            Option(("-y", "--yes"), "Do not ask."),
        ),
        choices=("new", "show", "trust", "list", "revoke"),
    ),
    "migrate": Spelt(
        "dry-run quiet json set rehash",
        (Option(("-y", "--yes"), "Do not ask."),),
        words="request",
    ),
    "init": Spelt(
        "",
        (
            Option(("--git",), "Teach git to merge sidecars; write no Merklfile."),
            Option(("--yaml",), "Write a Merklfile.yaml, for bash tasks without Python."),
            Option(("--schema",), "Print the JSON schema of a Merklfile.yaml, for editors; write nothing."),
        ),
    ),
    "doctor": Spelt("json"),
    "completion": Spelt(choices=("bash", "zsh", "fish")),
}


def options_after(command: str | None) -> tuple[Option, ...]:
    """Every option that may stand there: before the command's name (None), or after it."""
    if command is None:
        return (*SHARED, *TOP, HELP)
    spelt = SPELT.get(command, Spelt())
    shared = (
        Option(tuple(n for n in each.names if n != spelt.without), each.about, each.value, each.choices)
        for each in SHARED
    )
    return (*spelt.own, *shared, HELP)


def shown_after(command: str | None) -> tuple[Option, ...]:
    """Those of them that help shows, and so completion offers."""
    if command is None:
        return options_after(None)
    spelt = SPELT.get(command, Spelt())
    shown = {f"--{name}" for name in spelt.shown.split()}
    return tuple(
        each
        for each in options_after(command)
        if each in spelt.own or each is HELP or each.names[-1] in shown
    )
