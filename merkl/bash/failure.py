"""The message for a command that went wrong: all that one needs to look into it, and nothing that must stay secret.

It decides what is shown.  The invariant: every path it names exists, and the command after ``again`` does the same again.
"""

import os
from collections.abc import Sequence
from typing import Any, Final

from merkl.bash.seen import Seen
from merkl.errors import MerklError, TaskFailed
from merkl.execute.secrets import hide_in_error, secrets_of, without
from merkl.execute.workplace import Workplace
from merkl.nodes import Artifact, Node

TAIL_BYTES: Final = 16_384  # Of a failed command's output, for the message.
TAIL_LINES: Final = 20
MOST_SHOWN: Final = 1_200  # Characters of a command.


def failure(
    node: Node, inputs: Sequence[Artifact], place: Workplace, headline: str, *, hint: str = "", **details: Any
) -> TaskFailed:
    """The error for a command that ran."""
    error = TaskFailed(headline, hint=hint, **details)
    complete(error, node, inputs, place)
    return error


def complete(error: TaskFailed, node: Node, inputs: Sequence[Artifact], place: Workplace) -> None:
    """Add to an error what is always said; what it says already stays, after the command.  Idempotent."""
    if "command" in error.details:
        return
    said = {**error.details}
    import shlex

    said.pop("at", None)
    error.details = {
        "task": f"{node.name} {node.call.subject}".rstrip(),
        "at": node.place,
        "command": _shortened(command_text(node, inputs, place)),
        **said,
        "output": _tail(node, place),
        "log": _typed(place, place.log),
        "staging": _typed(place, place.stage),
        "again": f"bash {shlex.quote(_typed(place, again_path(place)))}",
    }
    if not error.details["output"]:
        del error.details["output"]
    hide_in_error(error, secrets_of(node.call, place.environ))


def command_text(node: Node, inputs: Sequence[Artifact], place: Workplace) -> str:
    """The command with its values, for people; the template, if a value cannot be had any more."""
    seen = Seen(node, inputs, place)
    try:
        return seen.script().shown
    except MerklError:
        return seen.call.task.template.text


def again_path(place: Workplace) -> bytes:
    """The script that runs a command again by hand, relative to the project."""
    return place.run + b"/again"


def _typed(place: Workplace, path: bytes) -> str:
    """A path of the project as one would type it where merkl was started."""
    path = os.path.join(place.root, path)
    try:
        return os.path.relpath(os.fsdecode(path))
    except FileNotFoundError:  # That directory is gone.
        return os.fsdecode(path)


def _shortened(text: str) -> str:
    text = text.strip("\n")
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 200]} … {text[-190:]}"


def _tail(node: Node, place: Workplace) -> str:
    """The last lines of what the command printed, stdout first where it has a file of its own."""
    secrets = secrets_of(node.call, place.environ)
    more = sum(map(len, secrets[:1]))  # So that none begins before what is read.
    parts = []
    for path in (place.run + b"/stdout", place.log):
        try:
            with open(os.path.join(place.root, path), "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL_BYTES - more))
                data = without(file.read(), secrets)
        except OSError:
            continue
        if data:
            lines = data.decode("utf-8", "replace").splitlines()
            parts.append("\n".join(lines[-TAIL_LINES:])[-TAIL_BYTES:])
    return "\n".join(parts)
