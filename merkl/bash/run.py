"""Starting one call of a bash task: its script, its environment, and what is left when it failed.

It decides what a command runs in.  What it sees of its arguments is ``seen``'s, what it left is ``outcome``'s.

The invariant: a command writes only below its own ``stage`` and ``run`` directories, unless it goes elsewhere by itself.
"""

import os
from collections.abc import Sequence
from typing import Final

from merkl.bash.failure import again_path
from merkl.bash.quoting import quoted
from merkl.bash.seen import Seen, make_ready, output_path
from merkl.bash.shell import bash_on
from merkl.bash.task import BashCall
from merkl.errors import MerklError, TaskFailed
from merkl.execute.base import SCRIPT_FD, Job, ProcessJob
from merkl.execute.secrets import VARIABLE, make_private
from merkl.execute.workplace import Workplace
from merkl.nodes import Artifact, Node

PASSED_ON: Final = (
    b"PATH", b"HOME", b"USER", b"LOGNAME", b"SHELL", b"VIRTUAL_ENV", b"CONDA_PREFIX", b"SSH_AUTH_SOCK",
    b"SSL_CERT_FILE", b"SSL_CERT_DIR", b"http_proxy", b"https_proxy", b"no_proxy", b"HTTP_PROXY", b"HTTPS_PROXY",
    b"NO_PROXY",
)  # fmt: skip
TERMINAL: Final = (b"TERM", b"COLORTERM", b"TERMINFO", b"NO_COLOR")  # For a task that gets the terminal.
FIXED: Final = {b"LC_ALL": b"C.UTF-8", b"TZ": b"UTC", b"PYTHONHASHSEED": b"0"}
SHELLS: Final = ("bash", "sh", "dash")


def prepare(node: Node, inputs: Sequence[Artifact], place: Workplace) -> ProcessJob:
    """Write what the command needs into its workplace and say how to start it.

    The script of a shell is not written: the job carries it, and ``keep`` writes it if somebody will want to look at it.

    Raises:
        MerklError: a value does not fit where it stands, a secret is not set, the directory to run in is not there.
    """
    try:
        return _prepared(Seen(node, inputs, place))
    except MerklError as error:
        error.details.setdefault("task", f"{node.name} {node.call.subject}".rstrip())
        error.details.setdefault("at", node.place)
        raise


def _prepared(seen: Seen) -> ProcessJob:
    place, options = seen.place, seen.call.task.options
    if seen.call.secrets:
        for path in (place.log, place.run + b"/stdout"):
            make_private(os.path.join(place.root, path))
    if options.cwd and not os.path.isdir(seen.directory):
        raise TaskFailed(
            f"{seen.node.name} runs in {options.cwd}, which is not a directory",
            hint="make it, or change cwd=",
        )
    make_ready(seen)
    script = seen.script()
    at_root = seen.directory == place.root
    path = place.run + b"/script" if at_root else os.path.join(place.root, place.run, b"script")
    body: bytes | None = None
    if script.argv is not None:
        argv: Sequence[bytes] = [_program(script.argv[0], seen), *script.argv[1:]]
    else:
        body = _head(seen) + script.body
        argv = [_program(options.interpreter.encode(), seen)]
        if options.interpreter == "bash":
            argv = [*argv, b"--noprofile", b"--norc"]
        elif options.interpreter not in SHELLS:  # A traceback wants to show lines of a file.
            with open(os.path.join(place.root, path), "wb") as file:
                file.write(body)
            body, argv = None, [*argv, path]
    return ProcessJob(
        argv=argv,
        env=_environment(seen.call, place),
        cwd=seen.directory,
        log=os.path.join(place.root, place.log),
        stdout=_stdout(seen),
        timeout=options.timeout,
        interactive=options.interactive,
        nice=options.nice,
        script=body,
        script_path=path,
    )


def _stdout(seen: Seen) -> bytes | None:
    """The file of its own that stdout goes to, or None: to the log."""
    options, place = seen.call.task.options, seen.place
    if options.stdout_file:
        return os.path.join(place.root, output_path(seen.node, options.stdout_file, place))
    if any(output.kind == "value" for output in seen.node.outputs):
        return os.path.join(place.root, place.run, b"stdout")
    return None


def _head(seen: Seen) -> bytes:
    """The lines of the script before the template's own."""
    options, node = seen.call.task.options, seen.node
    where = f"{node.name}, {os.path.basename(node.place.file)}:{node.place.line}"
    lines = ["# " + "".join(char if char.isprintable() else "?" for char in where)]
    if options.interpreter in SHELLS:
        if options.strict and options.interpreter == "bash":
            lines += ["set -euo pipefail", "shopt -s inherit_errexit"]
        elif options.strict:
            lines.append("set -eu")
        lines += ["umask 022", f"exec {SCRIPT_FD}<&-"]
    if options.prelude:
        lines.append(options.prelude)
    return "\n".join(lines).encode("utf-8", "surrogateescape") + b"\n"


_found: dict[tuple[bytes, bytes], bytes] = {}


def _program(name: bytes, seen: Seen) -> bytes:
    """The absolute path of a program; what it cannot be found by is left to the system to complain about."""
    if b"/" in name:
        return os.path.join(seen.directory, name)
    declared = dict(seen.call.task.options.env).get("PATH")
    path = (
        seen.place.environ.get(b"PATH", os.fsencode(os.defpath))
        if declared is None
        else os.fsencode(declared)
    )
    if (name, path) not in _found:
        where = os.fsdecode(path)
        found = bash_on(where) if name == b"bash" else _which(os.fsdecode(name), where)
        _found[name, path] = os.path.abspath(os.fsencode(found)) if found else name
    return _found[name, path]


def _which(name: str, where: str) -> str | None:
    import shutil  # Slow to load, and few tasks are in another language.

    return shutil.which(name, path=where)


def _environment(call: BashCall, place: Workplace) -> dict[bytes, bytes]:
    passed_on = (*PASSED_ON, *TERMINAL) if call.interactive else PASSED_ON
    env = {name: place.environ[name] for name in passed_on if name in place.environ}
    env |= FIXED
    env[b"TMPDIR"] = place.tmp
    env |= {os.fsencode(name): os.fsencode(value) for name, value in place.variables.items()}
    env |= {os.fsencode(name): os.fsencode(value) for name, value in call.task.options.env}
    for name in call.secrets:
        value = place.environ.get(name.encode())
        if value is None:
            raise TaskFailed(
                f"{call.task_name} needs the secret {name}, which is not in the environment",
                hint=f"export {name}=…",
            )
        env[os.fsencode(VARIABLE + name)] = value
    return env


# ---- for a command that failed -------------------------------------------------------------------------------------


def keep(node: Node, job: Job, place: Workplace) -> None:
    """Leave in the workplace what one needs to look into a command that failed and to run it again by hand."""
    if not isinstance(job, ProcessJob):
        return
    argv = [*job.argv]
    if job.script is not None:
        argv.append(os.path.join(place.root, place.run, b"script"))
        with open(argv[-1], "wb") as file:
            file.write(job.script)
    with open(os.path.join(place.root, again_path(place)), "wb") as file:
        file.write(_again(node, job, argv))


def _again(node: Node, job: ProcessJob, argv: Sequence[bytes]) -> bytes:
    """A script that starts ``argv`` in the same directory and environment; what is private is taken anew from there."""
    assert isinstance(node.call, BashCall)
    variables = dict(node.call.task.options.env)
    words = [b"exec env -i"]
    words += [_variable(name, value, os.fsdecode(name) in variables) for name, value in job.env.items()]
    words += [quoted(word) for word in argv]
    head = b"umask 022\ncd -- %s || exit\n" % quoted(job.cwd)
    return head + b" \\\n  ".join(words) + b" < /dev/null\n"


def _variable(name: bytes, value: bytes, declared: bool) -> bytes:
    """A word that sets a variable: as it is, or to what whoever types has in his own environment."""
    if declared or name in FIXED or name == b"TMPDIR":
        return quoted(name + b"=" + value)
    prefix = VARIABLE.encode()
    if name.startswith(prefix):
        return b'"%s=${%s?}"' % (name, name.removeprefix(prefix))
    return b'${%s+"%s=$%s"}' % (name, name, name)
