"""``merkl status``: how tracked files and outputs stand.

It decides wording and the exit code of ``--check``; what is said of a path is the engine's.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import click

from merkl.cli.hashing import hashing_shown
from merkl.cli.options import Command, Options, options_of, shared, words_of
from merkl.engine.naming import named
from merkl.engine.project import Project
from merkl.engine.survey import STATES, Survey, Surveyed, survey, survey_chosen
from merkl.errors import OutOfDate
from merkl.events import Note
from merkl.report.color import painter, wanted
from merkl.report.words import harmless, one_line, plural
from merkl.root import STATE_DIR
from merkl.snapshot import recorder

if TYPE_CHECKING:
    from merkl.report.color import When

_Group = tuple[str, Callable[[Surveyed], bool], str]


def _is(state: str, **also: bool) -> Callable[[Surveyed], bool]:
    return lambda each: (
        each.state == state and all(getattr(each, name) is value for name, value in also.items())
    )


_GROUPS: Final[tuple[_Group, ...]] = (
    ("conflicted", _is("conflicted"), ""),
    ("unreadable", _is("unreadable"), ""),
    ("modified", _is("modified", made=False), "`merkl track` keeps what you did, `merkl pull --force` undoes it"),
    ("modified outputs", _is("modified", made=True), "`merkl build` saves what you did, and replaces it"),
    ("outdated", _is("outdated", tracked=True), "`merkl pull` replaces them"),
    ("outdated outputs", _is("outdated", tracked=False), "`merkl build` replaces them"),
    ("stale", _is("stale"), "`merkl build` makes them"),
    ("missing", _is("missing", tracked=True), "`merkl pull` brings them"),
    ("missing outputs", _is("missing", tracked=False), "`merkl build` places them"),
    ("not in the store", lambda each: _lacks(each) and each.state != "fresh", "`merkl pull` looks in the remote"),
    ("in place only, not in the store", lambda each: _lacks(each) and each.state == "fresh", "`merkl push` stores and sends them"),
    ("not in the remote", lambda each: each.shared is False, "`merkl push` sends them"),
    ("fresh", _is("fresh"), ""),
)  # fmt: skip


def _lacks(each: Surveyed) -> bool:
    return each.stored is False and each.shared is not False


@click.command(cls=Command, short_help="Say how tracked files and outputs stand.")
@click.argument("words", nargs=-1, metavar="[PATH|TARGET…] [NAME=VALUE…]")
@click.option("--remote", is_flag=True, help="Say also what is not in the remote.")
@click.option(
    "--check", is_flag=True, help="Exit with 6 if anything is not fresh or, with --remote, not there."
)
@shared("verbose json sets rehash")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...], remote: bool, check: bool) -> int:
    """Say how files with a sidecar and outputs stand that are at PATHs or belong to TARGETs, or all; run no task.

    What is fresh is listed with -v only.  Without a TARGET no Merklfile is loaded, and an output is stale as of the last
    build: if a file that it was made from has changed since.  With a TARGET this loads the Merklfile, and so runs its
    code; then a change of code or of an argument counts too.

    Exit code: 0 unless --check found something, then 6; 2 and 3 as for build.
    """
    options = options_of(context)
    seen, notes, clock_ns = _look(options, words_of(context, words), remote)
    found = seen.found
    _print(options, seen)
    for note in notes:
        hint = f"\n  hint: {note.hint}" if note.hint else ""
        sys.stderr.write(f"note: {note.text}{hint}\n")
    _keep_snapshot(options, seen, clock_ns)
    wrong = [each for each in found if each.state != "fresh" or each.shared is False]
    if check and wrong:
        total = plural(len(found) + seen.untouched, "path")
        raise OutOfDate(
            f"{len(wrong)} of {total} not fresh", hint="`merkl status` names the next command for each"
        )
    return 0


def _look(options: Options, words: Sequence[str], remote: bool) -> tuple[Survey, list[Note], int]:
    """What there is to say, by path, what the user should know besides, and the time by the project's file system, if all
    that was looked at is recorded."""
    config = options.existing()
    brief = not (options.verbose or options.json or remote)
    _record(brief and not words and not options.rehash and config.snapshot)
    project = Project(config)
    seen, clock_ns = Survey(()), 0
    try:
        asked = named(project, words, options.cwd)
        if asked.paths or not asked.request:
            with hashing_shown(options):
                seen = survey(project, asked.paths, remote=remote, brief=brief and not asked.request)
        notes = project.take_notes()
        if recorder.active() is not None:
            clock_ns = project.index.clock_ns()
    finally:
        project.close()
    if not asked.request:
        return seen, notes, clock_ns
    from merkl.cli.opening import asked as opened

    with opened(options, asked.request) as it:
        found = {each.path: each for each in seen.found}
        with hashing_shown(options):
            found |= {each.path: each for each in survey_chosen(it.project, it.chosen, remote=remote)}
        notes += it.project.take_notes()
    return Survey(sorted(found.values(), key=lambda each: os.fsencode(each.path))), notes, 0


def _record(wanted: bool) -> None:
    """Go on recording what is looked at, or stop."""
    recording = recorder.active()
    if not wanted:
        recorder.stop()
    elif recording is not None:
        recording.at_a_glance = True


def _keep_snapshot(options: Options, seen: Survey, clock_ns: int) -> None:
    """Write down what showed that all is fresh, so that the next one is answered at once."""
    recording = recorder.active()
    recorder.stop()
    if recording is None or not clock_ns or any(each.state != "fresh" or _lacks(each) for each in seen.found):
        return
    from merkl.snapshot.keep import Looks, keep

    config = options.config()
    index = os.path.join(config.root, STATE_DIR, "index.db")
    if recording.is_other(index):
        return  # What was learnt now decides the next time.
    # A store says of a large content that it is there by its file.
    blobs = os.path.join(config.store, "blobs", "")
    recording.keep_below(blobs)
    looks = Looks(recording, root=config.root, store=config.store, clock_ns=clock_ns)
    keep(looks, summary=("".join(recording.out), ""), only_ask=False)


def _print(options: Options, seen: Survey) -> None:
    found = seen.found
    if options.json:
        for each in found:
            sys.stdout.write(json.dumps(_as_object(each)) + "\n")
        return
    paint = painter(wanted(cast("When", options.color), sys.stdout, os.environ))
    root = options.config().root
    for title, belongs, command_next in _GROUPS:
        group = [each for each in found if belongs(each)]
        if group and (title != "fresh" or options.verbose):
            sys.stdout.write(f"{paint(title, 'strong')}{f' ({command_next})' if command_next else ''}:\n")
            sys.stdout.write(
                "".join(
                    _line(each, title, os.path.relpath(os.path.join(root, each.path), options.cwd))
                    for each in group
                )
            )
    sys.stdout.write(_counts(seen) + "\n")


def _line(each: Surveyed, title: str, shown: str) -> str:
    of_state = title.partition(" ")[0] == each.state  # Why is said once, in the group of its state.
    why = f"  {one_line(each.why)}" if each.why and of_state else ""
    hint = f"\n    hint: {harmless(each.hint)}" if each.hint and of_state else ""
    return f"  {one_line(shown)}{why}{hint}\n"


def _counts(seen: Survey) -> str:
    """The last line: ``2 modified, 1 missing, 12 fresh``."""
    found = seen.found
    if not found and not seen.untouched:
        return "nothing is tracked or placed here"
    states = Counter[str](each.state for each in found)
    states["fresh"] += seen.untouched
    counts = [f"{states[state]} {state}" for state in STATES if states[state]]
    absent = sum(each.shared is False for each in found)
    return ", ".join(counts + [f"{absent} not in the remote"] * bool(absent))


def _as_object(each: Surveyed) -> dict[str, Any]:
    more = {} if each.shared is None else {"shared": each.shared}
    return {
        "event": "status", "path": each.path, "state": each.state, "why": each.why, "hint": each.hint,
        "tracked": each.tracked, "made": each.made, "target": each.target, "stored": each.stored, **more,
    }  # fmt: skip
