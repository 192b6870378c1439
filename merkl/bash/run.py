"""Running one call of a bash task: its script, its environment, its outputs, and the message when it fails.

It decides what the command sees.  It keeps no records and places no files.

The invariant: the command writes only below its own ``stage`` and ``run`` directories, and nothing it leaves there is an
output unless it ended with an allowed exit code and made every output it declares.
"""

import os
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from merkl.bash.depfile import discovered_set, include_dirs, parse_depfile
from merkl.bash.placeholders import ArgFile, DepfileArg, FileArg, FilesArg, OutDirArg, OutFileArg, SecretArg
from merkl.bash.task import BashCall, FromDep, FromSource, Plain, Slot
from merkl.bash.template import Script
from merkl.digest import Digest
from merkl.errors import MerklError, SerializationError, TaskFailed
from merkl.execute.base import SCRIPT_FD, Ended, Exited, Job, NotStarted, ProcessJob
from merkl.execute.meaning import exit_meaning
from merkl.execute.workplace import Staged, Workplace
from merkl.nodes import Artifact, Node
from merkl.store.base import Discovered
from merkl.store.serializers import for_extension

PASSED_ON: Final = (
    b"PATH", b"HOME", b"USER", b"LOGNAME", b"SHELL", b"VIRTUAL_ENV", b"CONDA_PREFIX", b"SSH_AUTH_SOCK",
    b"SSL_CERT_FILE", b"SSL_CERT_DIR", b"http_proxy", b"https_proxy", b"no_proxy", b"HTTP_PROXY", b"HTTPS_PROXY",
    b"NO_PROXY",
)  # fmt: skip
FIXED: Final = {b"LC_ALL": b"C.UTF-8", b"TZ": b"UTC", b"PYTHONHASHSEED": b"0"}
SHELLS: Final = ("bash", "sh", "dash")
TAIL_BYTES: Final = 16_384  # Of a failed command's output, for the message.
TAIL_LINES: Final = 20


def prepare(node: Node, inputs: Sequence[Artifact], place: Workplace) -> ProcessJob:
    """Write what the command needs into its workplace and say how to start it.

    The script of a shell is not written: the job carries it, and ``keep`` writes it if somebody will want to look at it.
    """
    call = _call(node)
    values = _Values(node, inputs, place).all()
    script = _render(call, values, place)
    options = call.task.options
    path = place.run + b"/script"
    body: bytes | None = None
    if script.argv is not None:
        argv: Sequence[bytes] = [_program(script.argv[0], place), *script.argv[1:]]
    elif options.interpreter in SHELLS:
        body = _head(node, call) + script.body
        argv = _interpreter(options.interpreter, place)
    else:  # A traceback wants to show lines of a file.
        with open(os.path.join(place.root, path), "wb") as file:
            file.write(_head(node, call) + script.body)
        argv = [*_interpreter(options.interpreter, place), path]
    form = options.stdout or ("" if any(o.kind != "value" for o in node.outputs) else "str")
    return ProcessJob(
        argv=argv,
        env=_environment(call, place),
        cwd=place.root,
        log=os.path.join(place.root, place.log),
        stdout=os.path.join(place.root, _stdout_path(node, place)) if form else None,
        timeout=options.timeout,
        interactive=options.interactive,
        script=body,
        script_path=path,
    )


def keep(job: Job, place: Workplace) -> None:
    """Leave in the workplace what one needs to run a failed command again by hand."""
    if isinstance(job, ProcessJob) and job.script is not None:
        with open(os.path.join(place.root, job.script_path), "wb") as file:
            file.write(job.script)


def _call(node: Node) -> BashCall:
    assert isinstance(node.call, BashCall)
    return node.call


def _stdout_path(node: Node, place: Workplace) -> bytes:
    form = _call(node).task.options.stdout
    if form and form not in ("str", "bytes", "lines", "json"):
        return output_path(node, form, place)
    return place.run + b"/stdout"


def output_path(node: Node, name: str, place: Workplace) -> bytes:
    """Where a declared file or directory is staged, relative to the root."""
    return place.stage + b"/" + os.fsencode(node.output(name).filename)


def _head(node: Node, call: BashCall) -> bytes:
    """The lines of the script before the template's own."""
    options = call.task.options
    lines = [f"# {call.task_name}, {os.path.basename(node.place.file)}:{node.place.line}"]
    if options.interpreter == "bash":
        if options.strict:
            lines += ["set -euo pipefail", "shopt -s inherit_errexit"]
        lines.append("umask 022")
    elif options.interpreter in ("sh", "dash"):
        lines += ["set -eu"] if options.strict else []
        lines.append("umask 022")
    head = "\n".join(lines).encode() + b"\n"
    directory = options.cwd if options.cwd else ""
    if options.interpreter in SHELLS:
        head += b"exec %d<&-\n" % SCRIPT_FD
        if directory:
            head += b"cd -- '" + os.fsencode(directory).replace(b"'", b"'\\''") + b"'\n"
        elif options.scratch:
            head += b'cd -- "$MERKL_SCRATCH"\n'
    return head + (options.prelude.encode() + b"\n" if options.prelude else b"")


class _Values:
    """What each parameter is for the command: paths as it shall see them."""

    def __init__(self, node: Node, inputs: Sequence[Artifact], place: Workplace) -> None:
        self.node = node
        self.inputs = inputs
        self.place = place
        self.call = _call(node)
        self.placeholders = self.call.task.template.placeholders
        options = self.call.task.options
        scratch = place.run + b"/scratch"
        self.base = scratch if options.scratch else os.fsencode(options.cwd)
        self.scratch = os.path.join(place.root, scratch) if options.scratch else None

    def all(self) -> dict[str, object]:
        if self.scratch is not None:
            os.mkdir(self.scratch)
        values: dict[str, object] = {}
        for name, placeholder in self.placeholders.items():
            match placeholder:
                case OutFileArg() | OutDirArg():
                    values[name] = self.seen(self.out(name, isinstance(placeholder, OutDirArg)))
                case DepfileArg():
                    values[name] = self.seen(self.place.run + b"/depfile")
                case SecretArg():
                    pass
                case ArgFile():
                    values[name] = self.seen(self.argfile(name, placeholder, self.call.slots[name]))
                case _:
                    ext = placeholder.ext if isinstance(placeholder, (FileArg, FilesArg)) else None
                    values[name] = self.slot(self.call.slots[name], ext)
        return values

    def seen(self, path: bytes) -> bytes:
        """A path relative to the root, as the command sees it from the directory it runs in."""
        return os.path.relpath(path, self.base) if self.base and not os.path.isabs(path) else path

    def out(self, name: str, directory: bool) -> bytes:
        path = output_path(self.node, name, self.place)
        if directory:
            os.mkdir(os.path.join(self.place.root, path))
        return path

    def slot(self, slot: Slot | tuple[Slot, ...], ext: object) -> object:
        if isinstance(slot, tuple):
            return [self.slot(item, ext) for item in slot]
        match slot:
            case Plain(value):
                return value
            case FromSource(index):
                return self.source(index)
            case FromDep(index):
                return self.dep(index)

    def source(self, index: int) -> bytes:
        path = os.fsencode(self.node.sources[index].path)
        return (
            self.copied(path, path)
            if self.scratch is not None and not os.path.isabs(path)
            else self.seen(path)
        )

    def copied(self, path: bytes, name: bytes) -> bytes:
        """The name of a private copy in the scratch directory."""
        assert self.scratch is not None
        target = os.path.join(self.scratch, name)
        if not os.path.lexists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            source = os.path.join(self.place.root, path)
            if os.path.isdir(source):
                shutil.copytree(os.fsdecode(source), os.fsdecode(target), symlinks=True)
                for folder, _, files in os.walk(target):
                    for entry in (folder, *(os.path.join(folder, file) for file in files)):
                        if not os.path.islink(entry):
                            os.chmod(entry, os.stat(entry).st_mode | 0o200)
            else:
                shutil.copyfile(source, target)
                os.chmod(target, 0o755 if os.stat(source).st_mode & 0o100 else 0o644)
        return name

    def dep(self, index: int) -> object:
        artifact, name = self.inputs[index], os.fsencode(self.node.deps[index].name)
        if not name:
            return _as_word(self.place.load(artifact), self.node, index)
        if artifact.kind == "value":
            path = self.written(artifact, index, name)
        else:
            path = self.place.view(artifact, name)
        if self.scratch is not None:
            inside = (
                name if not os.path.lexists(os.path.join(self.scratch, name)) else b"%d/%s" % (index, name)
            )
            return self.copied(path, inside)
        return self.seen(path)

    def written(self, artifact: Artifact, index: int, name: bytes) -> bytes:
        """A plain value as a file, in the form that its name's extension asks for."""
        folder = self.place.run + b"/in%d" % index
        os.mkdir(os.path.join(self.place.root, folder))
        value = self.place.load(artifact)
        if isinstance(value, bytes):
            data_form = None
        else:
            data_form = for_extension(os.fsdecode(os.path.splitext(name)[1]))
        path = folder + b"/" + name
        with open(os.path.join(self.place.root, path), "wb") as file:
            if data_form is None:
                file.write(value)
            else:
                data_form.dump(value, file)
        os.chmod(os.path.join(self.place.root, path), 0o444)
        return path

    def argfile(self, name: str, placeholder: ArgFile, slot: Slot | tuple[Slot, ...]) -> bytes:
        items = self.slot(slot if isinstance(slot, tuple) else (slot,), None)
        assert isinstance(items, list)
        words = [
            item if isinstance(item, bytes) else os.fsencode(str(item)) for item in items if item is not None
        ]
        path = self.place.run + b"/args-" + name.encode()
        with open(os.path.join(self.place.root, path), "wb") as file:
            file.write(placeholder.encode(words, where=f"{self.call.task_name}: {name}"))
        return path


def _as_word(value: object, node: Node, index: int) -> object:
    """A Future's value where the command wants a word; one final line break goes, as in ``$(…)``."""
    if isinstance(value, str):
        return value.removesuffix("\n")
    if isinstance(value, bool) or not isinstance(value, (bytes, int, float, list, type(None))):
        name = node.deps[index].future.node.name
        raise SerializationError(
            f"{node.name} cannot use a value of type {type(value).__name__} from {name} as a word",
            hint="pass it to a file_arg with an extension such as '.json'",
        )
    return value


def _render(call: BashCall, values: Mapping[str, object], place: Workplace) -> Script:
    return call.task.template.render(
        values, abspath=lambda path: os.path.normpath(os.path.join(place.root, path))
    )


def _interpreter(name: str, place: Workplace) -> list[bytes]:
    program = _program(name.encode(), place)
    return [program, b"--noprofile", b"--norc"] if name == "bash" else [program]


_found: dict[tuple[bytes, bytes], bytes] = {}


def _program(name: bytes, place: Workplace) -> bytes:
    path = place.environ.get(b"PATH", os.fsencode(os.defpath))
    if (name, path) not in _found:
        found = shutil.which(os.fsdecode(name), path=os.fsdecode(path))
        _found[name, path] = os.fsencode(found) if found else name
    return _found[name, path]


def _environment(call: BashCall, place: Workplace) -> dict[bytes, bytes]:
    env = {name: place.environ[name] for name in PASSED_ON if name in place.environ}
    env |= FIXED
    env[b"TMPDIR"] = place.tmp
    env |= {os.fsencode(name): os.fsencode(value) for name, value in call.task.options.env}
    for placeholder in call.task.template.placeholders.values():
        if isinstance(placeholder, SecretArg):
            env[b"MERKL_SECRET_" + placeholder.name.encode()] = _secret(placeholder.name, call, place)
    if call.task.options.scratch:
        env[b"MERKL_SCRATCH"] = os.path.join(place.root, place.run, b"scratch")
    return env


def _secret(name: str, call: BashCall, place: Workplace) -> bytes:
    value = place.environ.get(name.encode())
    if value is None:
        raise TaskFailed(
            f"{call.task_name} needs the secret {name}, which is not in the environment",
            hint=f"export {name}=…",
        )
    return value


# ---- afterwards ----------------------------------------------------------------------------------------------------


def collect(node: Node, inputs: Sequence[Artifact], ended: Ended, place: Workplace) -> list[Staged]:
    """The outputs of a command that has ended.

    Raises:
        TaskFailed: its exit code is not allowed, or an output is missing or of the wrong kind.
    """
    call = _call(node)
    if isinstance(ended.how, NotStarted):
        problem = f"{call.task_name} could not be started: {ended.how.error.strerror}"
        raise failure(node, inputs, place, problem, hint=_start_hint(ended.how.error))
    assert isinstance(ended.how, Exited)
    code = ended.how.code
    if ended.how.timed_out:
        raise failure(
            node, inputs, place, f"{call.task_name} took longer than {call.task.options.timeout:g} s"
        )
    if code not in call.task.options.ok_codes:
        raise failure(node, inputs, place, f"{call.task_name} failed: {exit_meaning(code)}")
    return [_staged(node, inputs, output.name, place) for output in node.outputs]


def _start_hint(error: OSError) -> str:
    return "is the interpreter installed, and on PATH?" if isinstance(error, FileNotFoundError) else ""


def _staged(node: Node, inputs: Sequence[Artifact], name: str, place: Workplace) -> Staged:
    output = node.output(name)
    if output.kind == "value":
        return _stdout_value(node, inputs, name, place)
    path = output_path(node, name, place)
    placeholder = f"{'out_dir_arg' if output.kind == 'dir' else 'out_file_arg'}('{name}')"
    try:
        found = os.lstat(os.path.join(place.root, path))
    except FileNotFoundError:
        made = sorted(os.listdir(os.path.join(place.root, place.stage)))
        beside = f"it made {', '.join(os.fsdecode(other) for other in made[:5])} there" if made else None
        raise failure(
            node, inputs, place, f"{node.name} did not make its output {placeholder}", beside=beside,
            hint=f"the command must write to {placeholder}, here {os.fsdecode(path)}",
        ) from None  # fmt: skip
    wanted = stat.S_ISDIR if output.kind == "dir" else stat.S_ISREG
    if not wanted(found.st_mode):
        what = _kind_name(found.st_mode)
        raise failure(
            node, inputs, place, f"{node.name} made {what} where {placeholder} should be a {output.kind}"
        )
    executable = output.kind == "file" and bool(found.st_mode & 0o100)
    return Staged(name, output.kind, output.filename, path=path, executable=executable)


def _kind_name(mode: int) -> str:
    for test, name in ((stat.S_ISDIR, "a directory"), (stat.S_ISLNK, "a symbolic link"), (stat.S_ISREG, "a file"),
                       (stat.S_ISFIFO, "a fifo"), (stat.S_ISSOCK, "a socket")):  # fmt: skip
        if test(mode):
            return name
    return "a device"


def _stdout_value(node: Node, inputs: Sequence[Artifact], name: str, place: Workplace) -> Staged:
    path = place.run + b"/stdout"
    form = node.output(name).form
    if form == "bytes":
        return Staged(name, "value", path=path, serializer="bytes")
    if form == "str":
        return Staged(name, "value", path=path, serializer="text")
    with open(os.path.join(place.root, path), "rb") as file:
        data = file.read()
    import json

    try:
        text = data.decode()
        value = text.splitlines() if form == "lines" else json.loads(text)
    except ValueError as error:
        raise failure(node, inputs, place, f"{node.name} printed what is not {form}: {error}") from None
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return Staged(name, "value", data=written, serializer="json")


def discover(
    node: Node, place: Workplace, inputs: Sequence[Artifact], placed_by: Callable[[str], str | None],
    digest_of: Callable[[str], Digest | None],
) -> Discovered | None:  # fmt: skip
    """The inputs that the command says it found, or None if it has no depfile.

    Raises:
        TaskFailed: it wrote none, or it read an output of another node in the workspace.
    """
    call = _call(node)
    if not node.discovers:
        return None
    path = os.path.join(place.root, place.run, b"depfile")
    try:
        with open(path, "rb") as file:
            named = parse_depfile(file.read())
    except FileNotFoundError:
        raise failure(
            node, inputs, place, f"{call.task_name} did not write its depfile",
            hint="pass depfile_arg() to the compiler, as in: gcc -MD -MF {depfile_arg('deps')}",
        ) from None  # fmt: skip
    found: dict[str, None] = {}
    cwd = os.path.join(place.root, os.fsencode(call.task.options.cwd))
    for name in named:
        absolute = os.path.normpath(os.path.join(cwd, name))
        inside = absolute.startswith(place.root + b"/")
        relative = absolute[len(place.root) + 1 :] if inside else absolute
        if inside and relative.startswith(b".merkl/"):
            continue  # A view belongs to a declared input; staging and run directories are the command's own.
        shown = os.fsdecode(relative)
        maker = placed_by(shown)
        if maker is not None:
            raise failure(
                node, inputs, place, f"{call.task_name} read {shown}, which {maker} makes, without declaring it",
                hint="declare it with file_arg, or pass its directory with dir_arg",
            )  # fmt: skip
        found[shown] = None
    shown_command = command_text(node, inputs, place)
    searched = [os.path.normpath(os.path.join(call.task.options.cwd, d)) for d in include_dirs(shown_command)]
    return discovered_set(found, searched, digest_of)


def command_text(node: Node, inputs: Sequence[Artifact], place: Workplace) -> str:
    """The command with its values, for people."""
    scratchless = _Shown(node, inputs, place)
    return _render(_call(node), scratchless.all(), place).shown


class _Shown(_Values):
    """The values once more, without writing anything."""

    def all(self) -> dict[str, object]:
        self.scratch = None
        values: dict[str, object] = {}
        for name, placeholder in self.placeholders.items():
            if isinstance(placeholder, (OutFileArg, OutDirArg)):
                values[name] = self.seen(output_path(self.node, name, self.place))
            elif isinstance(placeholder, DepfileArg):
                values[name] = self.seen(self.place.run + b"/depfile")
            elif isinstance(placeholder, ArgFile):
                values[name] = self.seen(self.place.run + b"/args-" + name.encode())
            elif not isinstance(placeholder, SecretArg):
                values[name] = self.slot(self.call.slots[name], None)
        return values

    def dep(self, index: int) -> object:
        name = os.fsencode(self.node.deps[index].name)
        if not name:
            return "…"
        artifact = self.inputs[index]
        if artifact.kind == "value":
            return self.seen(self.place.run + b"/in%d/" % index + name)
        return self.seen(self.place.view(artifact, name))


def failure(
    node: Node, inputs: Sequence[Artifact], place: Workplace, headline: str, *, hint: str = "", **details: Any
) -> TaskFailed:
    """The message for a command that went wrong, with all that one needs to look into it."""
    call = _call(node)
    try:
        shown = command_text(node, inputs, place)
    except MerklError:
        shown = call.task.template.text
    again = " ".join(os.fsdecode(word) for word in _again(call, place))
    return TaskFailed(
        headline,
        task=f"{call.task_name} {call.subject}".rstrip(),
        at=node.place,
        command=_shorten(shown),
        **details,
        output=tail(place) or None,
        log=os.fsdecode(place.log),
        staging=os.fsdecode(place.stage),
        again=again,
        hint=hint,
    )


def _again(call: BashCall, place: Workplace) -> list[bytes]:
    if call.task.options.interpreter and call.task.template.is_argv:
        return [b"see command"]
    words = [
        b"bash --noprofile --norc"
        if call.task.options.interpreter == "bash"
        else call.task.options.interpreter.encode()
    ]
    if call.task.options.scratch:
        words.insert(0, b"MERKL_SCRATCH=" + place.run + b"/scratch")
    return [*words, place.run + b"/script"]


def _shorten(text: str, most: int = 1200) -> str:
    text = text.strip("\n")
    return text if len(text) <= most else f"{text[: most - 200]} … {text[-190:]}"


def tail(place: Workplace) -> str:
    """The last lines of what the command printed, stdout first where it has a file of its own."""
    parts = []
    for path in (place.run + b"/stdout", place.log):
        try:
            with open(os.path.join(place.root, path), "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL_BYTES))
                data = file.read()
        except OSError:
            continue
        if data:
            parts.append("\n".join(data.decode("utf-8", "replace").splitlines()[-TAIL_LINES:]))
    return "\n".join(parts)
