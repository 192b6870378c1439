"""One JSON object per line, for programs.

It decides the schema, which is versioned.  Each line is complete and is written at once; nothing else is written to the
stream.  Text is ASCII: other characters are escaped, and a byte of a path that is not UTF-8 is a lone surrogate from
``\\udc80`` to ``\\udcff``, as ``os.fsdecode`` makes it.

Version 1.  Every object has ``event``; a program ignores events and members that it does not know.  ``label`` names one
task's call for people and stays the same when its key changes; ``task`` is the task's name; ``key`` is hexadecimal;
``seconds`` and ``saved`` are numbers of seconds; paths are relative to the project.

===============  =============================================================================================
``event``        members
===============  =============================================================================================
``start``        ``version`` 1, ``merkl`` (its version), ``build``, ``total``, ``to_run`` (tasks that will or may run),
                 ``targets`` (names)
``hashing``      ``bytes of``: so many of so many bytes have been hashed; once a second, while that holds up all else, before
                 ``start``
``grown``        ``total``: more tasks have turned out to be needed, as of a list whose length was not known
``running``      ``task label key attempt why log``
``ran``          ``task label key seconds exit_code``
``cached``       ``task label key seconds`` (0) ``saved``
``cutoff``       ``task label key seconds`` (0) ``saved``
``failed``       ``task label key seconds error hint details exit_code log``; ``error`` is one line, ``details`` an object of
                 texts, ``exit_code`` that of the kind of error
``skipped``      ``task label key seconds`` (0) ``because`` (the label of what failed)
``interrupted``  ``task label key``: Ctrl-C stopped it
``waiting``      ``task label key holder``
``retrying``     ``task label key attempt delay reason``
``undeclared``   ``task label key uses faint strict``; each of ``uses`` and ``faint`` has ``deed path at advice``; with ``strict``
                 (true) a ``failed`` follows.  With ``--check-deps`` only
``placed``       ``task label key path``
``saved``        ``path``: an edited file, put into the store before it was replaced
``note``         ``text hint``
``would run``    ``task label key why`` and, unless it would run here, ``target``, the name of an executor; from ``build --dry-run`` and ``why`` only, which print no ``start`` or ``done``
``may run``      likewise: it depends on what others make; ``why`` adds ``changes`` to both
``would place``  ``path``: an output that is known and not there; from ``build --dry-run`` only
``would save``   likewise, and what is there would be saved before it is replaced
``status``       ``path state why hint tracked made target stored`` and, with ``--remote``, ``shared``; from ``status`` only
``done``         ``ran cached cutoff failed skipped`` (how many tasks) ``seconds saved interrupted`` (labels) ``ok``
``pulled``       ``path state bytes saved``, and of a path that was left ``error hint details exit_code``; from ``pull``, and
                 from ``build --pull`` before ``start``
``pushed``       likewise; for results of tasks ``results`` (how many) instead of ``path`` and ``saved``
``migrate``      ``path task before old new refused hint``; from ``migrate`` only
``track``        ``path change kind digest size moved gitignore``; from ``track`` and ``untrack`` only
``result``       ``value``: what a function returned; a file is ``{"path": …}``, what JSON has no way to say ``{"repr": …}``; from ``run`` only
``change``       ``version`` 1, ``round changed``: a build of ``watch`` begins, because of these paths
``round``        ``round changed ran failed cached error cancelled ok seconds``: it is over; ``ran`` and ``failed`` are labels
``watching``     ``files patterns`` (how many matter): ``watch`` has nothing to do
``error``        ``error hint details exit_code``: what ended the command before a build began or after it, or a build of ``watch``
===============  =============================================================================================

Every task of a build gets exactly one of ``ran``, ``cached``, ``cutoff``, ``failed``, ``skipped``, unless it was
interrupted.  ``start`` is the first line and ``done`` the last; of ``watch`` each build has ``change`` before and ``round`` after.

The invariant: the first object of a stream has the version, and no object is ever changed without another one.
"""

import json
from dataclasses import asdict
from typing import Any, Final, TextIO, assert_never

from merkl import __version__, events
from merkl.errors import MerklError
from merkl.events import Event
from merkl.nodes import Node
from merkl.report.ready import say

VERSION: Final = 1


class JsonLines(events.Silent):
    """A reporter that writes objects to ``out``."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def report(self, event: Event) -> None:
        """Write one object."""
        self.write(as_object(event))

    def write(self, item: dict[str, Any]) -> None:
        """Write an object as a line."""
        say(self._out, json.dumps(item, default=str) + "\n")


def as_object(event: Event) -> dict[str, Any]:
    """The object of an event."""
    match event:
        case events.BuildStarted():
            return {
                  "event": "start", "version": VERSION, "merkl": __version__, "build": event.build,
                  "total": event.total, "to_run": event.to_run, "targets": list(event.targets),
            }  # fmt: skip
        case events.Grown():
            return {"event": "grown", "total": event.total}
        case events.Started():
            more = {"attempt": event.attempt, "why": event.why, "log": event.log}
            return {"event": "running", **_of(event.node, event.label), **more}
        case events.Ran():
            more = {"seconds": event.seconds, "exit_code": event.exit_code}
            return {"event": "ran", **_of(event.node, event.label), **more}
        case events.Cached():
            return {"event": "cached", **_of(event.node, event.label), "seconds": 0, "saved": event.saved}
        case events.CutOff():
            return {"event": "cutoff", **_of(event.node, event.label), "seconds": 0, "saved": event.saved}
        case events.Failed():
            more = {"seconds": event.seconds, **error_members(event.error), "log": event.log}
            return {"event": "failed", **_of(event.node, event.label), **more}
        case events.Skipped():
            return {
                "event": "skipped",
                **_of(event.node, event.label),
                "seconds": 0,
                "because": event.because,
            }
        case events.Interrupted():
            return {"event": "interrupted", **_of(event.node, event.label)}
        case events.Waiting():
            return {"event": "waiting", **_of(event.node, event.label), "holder": event.holder}
        case events.Retrying():
            more = {"attempt": event.attempt, "delay": event.delay, "reason": event.reason}
            return {"event": "retrying", **_of(event.node, event.label), **more}
        case events.Undeclared():
            return {
                "event": "undeclared",
                **_of(event.node, event.label),
                "uses": [asdict(use) for use in event.uses],
                "faint": [asdict(use) for use in event.faint],
                "strict": event.strict,
            }
        case events.Placed():
            return {"event": "placed", **_of(event.node, event.label), "path": event.path}
        case events.Saved():
            return {"event": "saved", "path": event.path, **({"link": event.link} if event.link else {})}
        case events.Note():
            return {"event": "note", "text": event.text, "hint": event.hint}
        case events.BuildDone():
            return _done(event)
        case other:
            assert_never(other)


def planned(kind: str, node: Node, label: str, why: str, target: str = "") -> dict[str, Any]:
    """The object of a task that would or may run, on the executor ``target`` if not here."""
    return {"event": kind, **_of(node, label), "why": why, **({"target": target} if target else {})}


def error_object(error: BaseException) -> dict[str, Any]:
    """The object of an error that ended a command."""
    return {"event": "error", **error_members(error)}


def error_members(error: BaseException) -> dict[str, Any]:
    """An error as the members of an object."""
    if isinstance(error, MerklError):
        details = {name: str(value) for name, value in error.details.items()}
        return {
            "error": error.headline,
            "hint": error.hint,
            "details": details,
            "exit_code": error.exit_code,
        }
    return {"error": f"{type(error).__name__}: {error}", "hint": "", "details": {}, "exit_code": 1}


def _of(node: Node, label: str) -> dict[str, Any]:
    return {"task": node.name, "label": label, "key": node.key.hex()}


def _done(event: events.BuildDone) -> dict[str, Any]:
    interrupted = [label for label in event.interrupted if label]
    counts = {name: getattr(event, name) for name in ("ran", "cached", "cutoff", "failed", "skipped")}
    ok = not event.failed and not event.interrupted
    return {
        "event": "done", **counts, "seconds": event.seconds, "saved": event.saved,
        "interrupted": interrupted, "ok": ok,
    }  # fmt: skip
