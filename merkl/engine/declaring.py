"""How a task would declare what it uses: the words to add, in Python or in YAML.

It decides what fits the kind of task and the deed.  It touches no disk.
"""

import json
import os
import re
from typing import Final

from merkl.bash.task import BashCall
from merkl.config import is_yaml
from merkl.nodes import Node
from merkl.tracing.accesses import Deed

GIT: Final = ".git"
STATE: Final = ".merkl"


def advice(node: Node, deed: Deed, path: str, maker: str | None) -> str:
    """What to add so that ``deed`` to ``path``, which the task ``maker`` makes if there is one, is declared."""
    match deed:
        case "variable":
            return f"pass it as an argument: os.environ[{path!r}]"
        case "connected" | "sought" | "examined":
            return ""
        case "removed":
            return "a task may remove only what it made"
        case "wrote" | "made":
            return _output(node, deed, path)
        case "read" | "ran" | "listed":
            return _input(node, deed, path, maker)


def _input(node: Node, deed: Deed, path: str, maker: str | None) -> str:
    is_command = isinstance(node.call, BashCall)
    if maker is not None:
        return f"{maker} makes it: pass its Future" + (f" to {_placeholder(path)}" if is_command else "")
    if path == GIT or path.endswith("/" + GIT):
        return "pass what the task needs of it, such as a commit, as an argument"
    if path.startswith(STATE):
        return "it is merkl's own: pass the Future of the task that makes it"
    if deed == "listed" and is_command:
        return f"{{dir_arg({_name(path)!r})}} in the command, or pass the files to {{files_arg({_name(path)!r})}}"
    if deed == "listed":
        return f"pass files({_quoted('*' if path == '.' else path + '/*')}) as an argument"
    if deed == "ran" and is_command:
        tool = path if "/" in path else f"./{path}"
        return f"{_option(node, 'tools', _quoted(tool))}"
    declared = _option(node, "deps", f"file({_quoted(path)})")
    return (
        f"{declared}, or {_placeholder(path)} in the command"
        if is_command
        else f"{declared}, or pass file({_quoted(path)}) as an argument"
    )


def _output(node: Node, deed: Deed, path: str) -> str:
    if not isinstance(node.call, BashCall):
        return "write it below tempfile.gettempdir(), and return its FileRef if it is a result"
    name, extension = _name(path), os.path.splitext(path)[1]
    placeholder = f"out_dir_arg({name!r})" if deed == "made" else f"out_file_arg({name!r}, {extension!r})"
    return f"{{{placeholder}}} in the command, or a name below $TMPDIR"


def _placeholder(path: str) -> str:
    return f"{{file_arg({_name(path)!r}, {os.path.splitext(path)[1]!r})}}"


def _option(node: Node, name: str, value: str) -> str:
    return f"{name}: [{value}]" if is_yaml(node.place.file) else f"{name}=[{value}]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _name(path: str) -> str:
    """A name for a parameter, from that of a file."""
    name = re.sub(r"\W+", "_", os.path.splitext(os.path.basename(path))[0]).strip("_")
    return name if name.isidentifier() else f"file_{name}".rstrip("_")
