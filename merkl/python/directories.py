"""Python tasks that return a directory whose files are outputs by themselves.

It decides what is known of that before the task has run, and takes a directory apart where its files were declared.

The invariant: nothing here enters a key; a name of a file does, as the name of an output.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import Any, Final, Literal, get_args

from merkl.errors import TaskOutsError
from merkl.nodes import Output
from merkl.workspace.refs import DirRef, FileRef

_MAKERS: Final = frozenset({"DirRef", "combine_file_refs"})
_SAY_NOTHING: Final = (Any, object, "Any", "object", "typing.Any")


def outputs_of(
    names: Sequence[str],
    function: Callable[..., Any],
    *,
    together: bool,
    task: str,
    dynamic: bool = False,
) -> tuple[Output, ...]:
    """The outputs that a call's node declares, where the call has those ``names`` (empty for a single one).

    Of a ``dynamic`` number of outputs there may be one, which is then kept as any other.

    Raises:
        TaskOutsError: there is only one to be kept together.
    """
    if together and (not dynamic or "" not in names):
        if "" in names:
            raise TaskOutsError(
                f"{task} has one output, and together=True keeps many in one place",
                hint="say how many there are: outs=1000, or outs=[…]; or leave out together=True",
            )
        return (Output("", "value", holds="items"),)
    holds: Literal["files", ""] = "files" if may_return_directory(function) else ""
    return tuple([Output(name, "value", holds=holds) for name in names])


def may_return_directory(function: Callable[..., Any]) -> bool:
    """Whether files of a result may be named: by its return hint, else whether the code makes directories at all."""
    hint = getattr(function, "__annotations__", {}).get("return", Any)
    if not any(hint is each or hint == each for each in _SAY_NOTHING):
        return "DirRef" in hint if isinstance(hint, str) else _names_directory(hint)
    code = getattr(function, "__code__", None)
    return isinstance(code, CodeType) and _mentions(code)


def _names_directory(hint: object) -> bool:
    if isinstance(hint, type) and issubclass(hint, DirRef):
        return True
    return any(
        "DirRef" in part if isinstance(part, str) else _names_directory(part) for part in get_args(hint)
    )


def _mentions(code: CodeType) -> bool:
    if not _MAKERS.isdisjoint((*code.co_names, *code.co_freevars)):
        return True
    return any(_mentions(inner) for inner in code.co_consts if isinstance(inner, CodeType))


def taken_apart(directory: DirRef, names: Sequence[str], task: str) -> Mapping[str, FileRef]:
    """The files of a returned directory that ``outs`` declares, by name.

    Raises:
        TaskOutsError: one is not there, or its name is no path inside.
    """
    found = {}
    for name in names:
        if os.path.isabs(name) or any(part in ("", ".", "..") for part in name.split("/")):
            raise TaskOutsError(
                f"{task} returned a directory, and its output {name!r} is no path of a file in one",
                hint='such as "part-0", or "sub/part-0"',
            )
        path = os.path.join(directory, name)
        if not os.path.isfile(path):
            there = [os.path.relpath(file, directory) for file in directory.files]
            import difflib

            near = difflib.get_close_matches(name, there, n=3)
            shown = ", ".join(there[:6]) + (", …" if len(there) > 6 else "")
            raise TaskOutsError(
                f"{task} returned a directory in which there is no file {name!r}, which outs declares",
                hint=f"did you mean {' or '.join(near)}?" if near else f"it holds {shown or 'no files'}",
            )
        found[name] = FileRef(path)
    return found
