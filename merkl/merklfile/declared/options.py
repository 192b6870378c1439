"""The names that a Merklfile in YAML may use, and what is written for each.

It decides nothing else.  The invariant: ``TASK_OPTIONS`` are the options of ``bash_task``; a test compares them, and the
JSON schema, with it.
"""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["text", "flag", "number", "texts", "values", "environment", "codes", "amounts"]

TASK_OPTIONS: Final[Mapping[str, Kind]] = {
    "version": "text",
    "stdout": "text",
    "tools": "texts",
    "deps": "values",
    "env": "environment",
    "ok_codes": "codes",
    "timeout": "number",
    "retries": "number",
    "interpreter": "text",
    "strict": "flag",
    "prelude": "text",
    "cwd": "text",
    "scratch": "flag",
    "cache": "flag",
    "portable": "flag",
    "literal": "flag",
    "interactive": "flag",
    "eager": "flag",
    "nice": "number",
    "resources": "amounts",
    "target": "text",
}
COMMAND: Final = ("run", "argv")
TASK: Final = (*COMMAND, *TASK_OPTIONS)
CALL: Final = ("each", "zip", "call", "with", "to")
STEP: Final = ("id", *CALL, "sidecar", *TASK)
TARGET: Final = (
    "doc", "params", "default", "always", "after", "sidecar", "targets", "steps", *CALL, *TASK,
)  # fmt: skip
PARAMETER: Final = ("type", "default", "choices")
FILE: Final = ("include", "vars", "tasks", "targets")

# What other tools call it, or bash_task in Python.
_COMMON: Final = {
    "cmd": "the command is run:", "cmds": "one command is run:, several are steps:", "command": "the command is run:",
    "script": "the command is run:", "shell": "the program that runs it is interpreter:", "dir": "the directory is cwd:",
    "workdir": "the directory is cwd:", "working-directory": "the directory is cwd:", "timeout-minutes": "it is timeout:, in seconds",
    "environment": "it is env:", "ok-codes": "it is ok_codes:", "name": "the name is what stands before the colon",
}  # fmt: skip
FOREIGN_TASK: Final = {
    **_COMMON,
    "inputs": "inputs are placeholders in the command: {file_arg('name')}",
    "outs": "outputs are placeholders in the command: {out_file_arg('name')}",
    "outputs": "outputs are placeholders in the command: {out_file_arg('name')}",
    "doc": "a target has a doc:, a task has none; # begins a comment",
    "params": "parameters are placeholders in the command: {arg('name')}; params: are a target's",
    "with": "a task's arguments are given where a target calls it, beside call:",
}
FOREIGN_CALL: Final = {
    **_COMMON,
    "uses": "the task is call:", "task": "the task is call:", "args": "arguments are with:", "inputs": "arguments are with:",
    "matrix": "it is each:", "foreach": "it is each:", "for": "it is each:", "strategy": "it is each:",
    "out": "where an output is placed is to:", "outs": "where outputs are placed is to:", "output": "where an output is placed is to:",
    "outputs": "where outputs are placed is to:", "description": "it is doc:", "desc": "it is doc:", "vars": "a target has params:, the file has vars:",
    "needs": "targets that end before are after:; what a task is given from another target is with: {name: \"{target}\"}",
    "depends_on": "targets that end before are after:; what a task is given from another target is with: {name: \"{target}\"}",
    "tasks": "it is steps:", "value": "other targets are targets:",
}  # fmt: skip
FOREIGN_FILE: Final = {
    "includes": "it is include:", "variables": "they are vars:", "env": "env: is an option of a task", "params": "params: belong to a target; values for the whole file are vars:",
    "stages": "they are targets:", "jobs": "they are targets:", "version": "there is none", "default": "write default: true in the target",
}  # fmt: skip
