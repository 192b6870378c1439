"""``merkl watch``: build, and build again whenever something that matters has changed.

It decides what is said of each round, and the exit code.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO, assert_never

import click

from merkl.cli.edge import SIGPIPE_EXIT
from merkl.cli.notify import notify
from merkl.cli.opening import paint_of
from merkl.cli.options import LOADS, Command, Options, options_of, remote, scheduling, shared, words_of
from merkl.cli.watched import Given
from merkl.config import find_root
from merkl.dataclass import dataclass
from merkl.errors import MerklfileError, UsageError
from merkl.events import Note
from merkl.report.json import VERSION, as_object
from merkl.report.words import duration, harmless, one_line, plural
from merkl.watching.choice import source_for
from merkl.watching.command import Command as Follower
from merkl.watching.watcher import Began, Done, Happening, Settings, Waiting, Watcher

_CLEAR = "\x1b[H\x1b[2J\x1b[3J"
_NAMED = 3  # Of paths and of tasks; more are counted.


@click.command(cls=Command, short_help="Build again whenever something changes.", epilog=LOADS)
@click.argument("words", nargs=-1, metavar="[TARGET…] [NAME=VALUE…] [-- ARGS…]")
@shared("jobs keep_going quiet output verbose json progress sets push require_remote target order")
@scheduling
@click.option(
    "--debounce",
    metavar="MS",
    type=click.IntRange(0, 60_000),
    default=50,
    help="Wait until nothing has changed for MS milliseconds.  [default: 50]",
)
@click.option(
    "--restart", is_flag=True, help="Stop a build when something changes that it reads, and begin anew."
)
@click.option("--poll", is_flag=True, help="Look every second, where the system brings no news of changes.")
@click.option(
    "--then",
    "then",
    metavar="CMD",
    help="Start CMD, with bash, after each good build; what still runs of it is ended first.",
)
@click.option("--clear", is_flag=True, help="Clear the terminal before each build.")
@click.option(
    "--notify",
    "notifies",
    is_flag=True,
    help="Tell the desktop, or ring the terminal's bell, after each build.",
)
@remote
@click.pass_context
def command(
    context: click.Context,
    words: tuple[str, ...],
    debounce: int,
    restart: bool,
    poll: bool,
    then: str | None,
    clear: bool,
    notifies: bool,
) -> int:
    """Build TARGETs, or the default target; and again whenever something that they were made from changes.

    What counts are the inputs and what commands found, the Merklfile with the modules and values it uses, the settings, the
    names that its patterns match, and the outputs themselves.  Ctrl-C ends it.  A build that fails does not.
    This loads the Merklfile, and so runs its code, once for each build.

    Exit code: 0 it was ended while it waited, 130 while it built, 2 there is no project.
    """
    options = options_of(context)
    _refuse_senseless(options)
    root, _ = options.place()
    if find_root(root) is None:
        raise MerklfileError(
            "no project here or above: no Merklfile, no .merkl", hint="`merkl init` makes one"
        )
    settings = Settings(
        root,
        "merkl.cli.watched",
        Given(options, tuple(words_of(context, words))),
        debounce / 1000,
        restart,
        _descriptor(sys.stdout),
    )
    follower = None
    if then is not None:
        follower = Follower(then, options.cwd, stdout=_descriptor(sys.stderr) if options.json else None)
    teller = _Teller(options, clear=clear and sys.stdout.isatty(), notifies=notifies)
    watcher = Watcher(settings, source_for(root, poll=poll))
    with _signals():
        return _watch(watcher, follower, teller)


def _descriptor(stream: TextIO) -> int:
    """The descriptor of a stream, or -1 if it has none, as in a notebook."""
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return -1


def _refuse_senseless(options: Options) -> None:
    for given, name, why in (
        (options.dry_run, "--dry-run", "`merkl why` says what would run"),
        (options.force, "--force", "`merkl build --force` runs everything once"),
        (options.rehash, "--rehash", "`merkl build --rehash` reads everything once"),
    ):
        if given:
            raise UsageError(f"{name} makes no sense for a watch", hint=why)


def _restart(follower: Follower) -> None:
    try:
        follower.restart()
    except OSError as error:
        raise UsageError(
            f"--then cannot start bash: {error.strerror}", hint="merkl doctor says what is missing"
        ) from None


class _Told(KeyboardInterrupt):
    """Somebody other than the user at the terminal wants an end, now."""


def _watch(watcher: Watcher, follower: Follower | None, teller: "_Teller") -> int:
    """Watch until that is ended; the exit code.  Nothing is left running."""
    try:
        for each in watcher.happenings():
            teller.tell(each)
            if follower is not None and isinstance(each, Done) and each.ended.ok and not each.cancelled:
                _restart(follower)
        return 0
    except BrokenPipeError:  # click would make an error of it.
        if (stdout := _descriptor(sys.stdout)) >= 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)  # What is left in the buffer goes nowhere.
        return SIGPIPE_EXIT
    except KeyboardInterrupt as reason:
        built = watcher.running
        if sys.stdout.isatty():
            sys.stdout.write("\n")  # After the ^C that the terminal shows.
        if not isinstance(reason, _Told):
            watcher.finish(told=_is_from_terminal())
        return 130 if built else 0
    finally:
        try:
            watcher.close()
        finally:
            if follower is not None:
                follower.close()


@contextmanager
def _signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the watch in order."""

    def told(_number: int, _frame: FrameType | None) -> None:
        raise _Told

    wanted = [
        number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN
    ]
    before = {number: signal.signal(number, told) for number in wanted}  # Ignored: under nohup.
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _is_from_terminal() -> bool:
    """Whether a SIGINT came, most likely, from a key: then all of our process group has got it."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


# ---- what is said --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Teller:
    """Says what happens, a line for each round."""

    options: Options
    clear: bool
    notifies: bool
    waited: bool = False  # What Ctrl-C does has been said.

    def tell(self, each: Happening) -> None:
        """Say one thing."""
        if self.options.json:
            self._write(json.dumps(as_json(each)))
            return
        match each:
            case Began():
                if self.clear:
                    sys.stdout.write(_CLEAR)
                    sys.stdout.flush()
            case Done():
                self._done(each)
            case Waiting():
                if not self.waited and not self.options.quiet:
                    patterns = f" and {plural(each.globs, 'pattern')}" if each.globs else ""
                    self._write(f"watching {plural(each.files, 'file')}{patterns}; Ctrl-C ends it")
                self.waited = True
            case Note():
                if not self.options.quiet:
                    sys.stderr.write(harmless(f"note: {each.text}") + "\n")
                    sys.stderr.write(harmless(f"  hint: {each.hint}") + "\n" if each.hint else "")
                    sys.stderr.flush()

    def _done(self, done: Done) -> None:
        text = f"{because(done)}: {outcome(done)}, {duration(done.ended.seconds)}"
        if not self.options.quiet:
            style = "warning" if done.cancelled else "good" if done.ended.ok else "bad"
            self._write(paint_of(self.options, sys.stdout)(text, style))
        if self.notifies and not done.cancelled:
            notify(text, sys.stdout)

    def _write(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def because(done: Done) -> str:
    """What a round is because of, in a few words."""
    if not done.changed:
        return "first build" if done.number == 1 else "build"
    return f"{_some(done.changed)} changed"


def outcome(done: Done) -> str:
    """How a round ended, in a few words."""
    ended = done.ended
    if done.cancelled:
        return "stopped, since more changed"
    parts = []
    if ended.failed:
        parts.append(f"{_some([label for label, _ in ended.failed])} failed")
    if ended.error:
        parts.append(one_line(ended.error))
    if ended.interrupted:
        parts.append("interrupted")
    if ended.ran:
        parts.append(f"{plural(len(ended.ran), 'task')} ran ({_some(ended.ran)})")
    if ended.placed and not ended.ran:
        parts.append(f"{plural(ended.placed, 'output')} placed")
    return "; ".join(parts) or "nothing to run"


def _some(names: Sequence[str]) -> str:
    shown = [one_line(name) for name in names[:_NAMED]]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {plural(rest, 'other')}" if rest else "")


def as_json(each: Happening) -> dict[str, Any]:
    """The object of what happened; see ``merkl.report.json``."""
    match each:
        case Began():
            return {
                "event": "change",
                "version": VERSION,
                "round": each.number,
                "changed": list(each.changed),
            }
        case Done():
            ended = each.ended
            return {
                "event": "round", "round": each.number, "changed": list(each.changed), "ran": list(ended.ran),
                "failed": [label for label, _ in ended.failed], "cached": ended.cached, "error": ended.error,
                "cancelled": each.cancelled, "ok": ended.ok and not each.cancelled, "seconds": ended.seconds,
            }  # fmt: skip
        case Waiting():
            return {"event": "watching", "files": each.files, "patterns": each.globs}
        case Note():
            return as_object(each)
        case other:
            assert_never(other)
