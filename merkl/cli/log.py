"""``merkl log``: what tasks printed.

It decides which of a task's outputs is the one to show: that of the attempt that failed last, else that of the record
that answers.
"""

import codecs
import os
import shutil
import sys
import time
from collections.abc import Collection, Iterator
from typing import BinaryIO

import click

from merkl.cli.either import OfEither, asked_either
from merkl.cli.opening import Asked, paint_of, tell
from merkl.cli.options import Options, options_of, shared, words_of
from merkl.engine.laststeps import last_steps
from merkl.engine.request import plan
from merkl.errors import StoreCorrupt
from merkl.nodes import walk
from merkl.report.running import Running, running_tasks
from merkl.report.tail import Tail
from merkl.report.words import harmless, one_line

_POLL = 0.2  # seconds


@click.command(cls=OfEither, short_help="Print what tasks printed.")
@click.argument("words", nargs=-1, metavar="[TARGET…|MODULE.FUNCTION…] [NAME=VALUE…]")
@click.option(
    "-f", "--follow", is_flag=True, help="Follow the tasks that run now, in another process, to their end."
)
@shared("sets", without="-f")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...], follow: bool) -> int:
    """Print what the tasks of TARGETs or functions, and those they need, printed when they ran.

    On a terminal control characters are spelt out; into a file or a pipe go the bytes as they were.
    This loads what is named, the Merklfile or a module, and so runs its code.
    """
    options = options_of(context)
    with asked_either(context, options, words_of(context, words)) as it:
        names = it.labels()
        if follow:
            return _follow(options, it.project.root, it.project.config.state, set(names.values()))
        found = 0
        for label, content in _contents(it):
            with content:
                found += 1
                _print(options, label, content, headed=len(names) > 1)
        if not found:
            sys.stderr.write("nothing was printed, or nothing has run yet\n")
        tell(options, it.project.take_notes())
    return 0


def _contents(it: Asked) -> Iterator[tuple[str, BinaryIO]]:
    """Every task that printed something, in the order of the code, and a reader of it."""
    judge = plan(it.project, it.chosen.selection)
    names = it.labels()
    last = last_steps(it.project, walk(it.chosen.selection.roots), names)
    records = it.project.store.by_key(list(names))
    for key, label in names.items():
        step = judge.steps.get(key)
        before = last.get(key)
        if before is not None and before.state == "failed" and before.log:
            try:
                yield label, open(os.path.join(it.project.root, before.log), "rb")
                continue
            except OSError:
                pass  # It has been swept away since.
        record = step.record if step is not None and step.record is not None else records.get(key)
        if record is not None and record.log is not None:
            try:
                content = it.project.store.open(record.log)
            except StoreCorrupt:
                content = None
            if content is not None:
                yield label, content


def _print(options: Options, label: str, content: BinaryIO, *, headed: bool) -> None:
    out = sys.stdout
    if headed:
        out.write(paint_of(options, out)(f"== {one_line(label)}", "strong") + "\n")
    out.flush()
    if not out.isatty():
        shutil.copyfileobj(content, out.buffer, 1 << 16)
        out.buffer.flush()
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while data := content.read(1 << 16):
        out.write(harmless(decoder.decode(data)))
    out.write(harmless(decoder.decode(b"", True)))


def _follow(options: Options, root: str, state: str, labels: Collection[str]) -> int:
    """Print what the running tasks among ``labels`` print, until none of them runs."""
    tails: dict[Running, Tail] = {}
    speaking: Running | None = None
    running = _running(state, labels)
    if not running:
        sys.stderr.write("none of these tasks runs now\n")
        return 0
    while running or tails:
        for task in running:
            tails.setdefault(task, Tail(os.path.join(root, task.log)))
        for task, tail in list(tails.items()):
            ended = task not in running
            pieces = list(tail.rest() if ended else tail.new_text())
            if pieces and task is not speaking:
                sys.stdout.write(paint_of(options, sys.stdout)(f"== {one_line(task.label)}", "strong") + "\n")
                speaking = task
            sys.stdout.write("".join(map(harmless, pieces)))
            if ended:
                tail.close()
                del tails[task]
        sys.stdout.flush()
        if running:
            time.sleep(_POLL)
            running = _running(state, labels)
    return 0


def _running(state: str, labels: Collection[str]) -> list[Running]:
    return [task for task in running_tasks(state) if task.label in labels]
