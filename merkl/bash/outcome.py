"""What a command that ended has left: its outputs, its log, and the inputs it says it found.

It decides what is an output and what is a failure.  It stores nothing.

The invariant: nothing is an output unless the command ended with an allowed exit code and made every output it declares.
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from merkl.bash.failure import TAIL_BYTES, command_text, failure
from merkl.bash.seen import Seen, depfile_path, output_path
from merkl.bash.task import BashCall
from merkl.errors import TaskFailed
from merkl.execute.base import Ended, Exited, NotStarted
from merkl.execute.secrets import hide_in_file, secrets_of
from merkl.execute.workplace import Staged, Workplace
from merkl.nodes import Artifact, Node
from merkl.store.base import Discovered

if TYPE_CHECKING:
    from merkl.bash.depfile import Look

COPY_BYTES: Final = 1 << 20
CANNOT_RUN: Final = 126  # What a shell says of a program that it cannot start.
TOO_LONG: Final = "one argument or variable may have 128 KiB, and all together a quarter of `ulimit -s`: pass them in a file, with argfile"


def collect(node: Node, inputs: Sequence[Artifact], ended: Ended, place: Workplace) -> list[Staged]:
    """The outputs of a command that has ended.

    Raises:
        TaskFailed: its exit code is not allowed, or an output is missing or of the wrong kind.
    """
    return _Outcome(node, inputs, place).outputs(ended)


class _Outcome:
    def __init__(self, node: Node, inputs: Sequence[Artifact], place: Workplace) -> None:
        assert isinstance(node.call, BashCall)
        self.node = node
        self.inputs = inputs
        self.place = place
        self.options = node.call.task.options

    def fail(self, problem: str, hint: str = "", **details: object) -> TaskFailed:
        return failure(
            self.node, self.inputs, self.place, f"{self.node.name} {problem}", hint=hint, **details
        )

    def outputs(self, ended: Ended) -> list[Staged]:
        if isinstance(ended.how, NotStarted):
            raise self.not_started(ended.how.error)
        assert isinstance(ended.how, Exited)
        if ended.how.timed_out:
            raise self.fail(f"took longer than {self.options.timeout:g} s and was stopped")
        if ended.how.code not in self.options.ok_codes:
            raise self.fail(f"failed: {self.meaning(ended.how.code)}", self.hint_of(ended.how.code))
        return [
            self.printed(output.name) if output.kind == "value" else self.written(output.name)
            for output in self.node.outputs
        ]

    def meaning(self, code: int) -> str:
        """What an exit code says; a guess at a bare 1 only if the command said nothing itself."""
        try:
            spoke = os.stat(os.path.join(self.place.root, self.place.log)).st_size > 0
        except OSError:
            spoke = False
        from merkl.execute.meaning import exit_meaning

        return "exit code 1" if code == 1 and spoke else exit_meaning(code)

    def hint_of(self, code: int) -> str:
        """What to do about a program that could not be started by a shell: it says why in its own words only."""
        if code != CANNOT_RUN:
            return ""
        try:
            with open(os.path.join(self.place.root, self.place.log), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
                too_long = os.strerror(errno.E2BIG).encode() in file.read()
        except OSError:
            return ""
        return TOO_LONG if too_long else ""

    def not_started(self, error: OSError) -> TaskFailed:
        name = error.filename
        what = f"{os.fsdecode(name)}: " if isinstance(name, (str, bytes)) and name else ""
        hint = {
            errno.ENOENT: "is it installed, and on PATH?",
            errno.EACCES: "is it executable?",
            errno.E2BIG: TOO_LONG,
        }.get(error.errno or 0, "")
        return self.fail(f"could not be started: {what}{error.strerror or error}", hint)

    # ---- files and directories ----

    def written(self, name: str) -> Staged:
        output = self.node.output(name)
        path = output_path(self.node, name, self.place)
        where = os.path.join(self.place.root, path)
        placeholder = f"{'out_dir_arg' if output.kind == 'dir' else 'out_file_arg'}('{name}')"
        try:
            found = os.lstat(where)
        except FileNotFoundError:
            raise self.missing(placeholder, path) from None
        wanted = stat.S_ISDIR if output.kind == "dir" else stat.S_ISREG
        if not wanted(found.st_mode):
            what = _kind_name(found.st_mode)
            kind = "directory" if output.kind == "dir" else "file"
            hint = "copy what it links to (cp -L)" if stat.S_ISLNK(found.st_mode) else ""
            raise self.fail(f"made {what} where {placeholder} should be a {kind}", hint)
        if output.kind == "file":
            _make_own(where, found)
        executable = output.kind == "file" and bool(found.st_mode & 0o100)
        return Staged(name, output.kind, output.filename, path=path, executable=executable)

    def missing(self, placeholder: str, path: bytes) -> TaskFailed:
        made = sorted(os.listdir(os.path.join(self.place.root, self.place.stage)))
        others = ", ".join(os.fsdecode(other) for other in made[:5]) + (", …" if len(made) > 5 else "")
        return self.fail(
            f"did not make its output {placeholder}",
            f"the command must write to {placeholder}, here {os.fsdecode(path)}",
            beside=f"it made {others} there" if made else None,
        )

    # ---- stdout ----

    def printed(self, name: str) -> Staged:
        path = self.place.run + b"/stdout"
        form = self.node.output(name).form
        if self.options.interactive:  # The terminal has it.
            open(os.path.join(self.place.root, path), "ab").close()
        if not self.options.stdout:  # Nobody asked for it as a result: it is what a log is.
            hide_in_file(os.path.join(self.place.root, path), secrets_of(self.node.call, self.place.environ))
        if form == "bytes":
            return Staged(name, "value", path=path, serializer="bytes")
        if form == "str":
            return Staged(name, "value", path=path, serializer=self.text_or_bytes(path))
        with open(os.path.join(self.place.root, path), "rb") as file:
            data = file.read()
        import json

        try:
            text = data.decode()
            value = _lines(text) if form == "lines" else json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.fail(f"printed what is not {'text' if form == 'lines' else 'JSON'}: {error}") from None
        written = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "surrogatepass"
        )
        return Staged(name, "value", data=written, serializer="json")

    def text_or_bytes(self, path: bytes) -> str:
        """How to keep what was printed: as text, which is UTF-8; what nobody asked for may be bytes too."""
        import codecs

        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            with open(os.path.join(self.place.root, path), "rb") as file:
                while chunk := file.read(COPY_BYTES):
                    decoder.decode(chunk)
            decoder.decode(b"", True)
        except UnicodeDecodeError as error:
            if self.options.stdout:
                raise self.fail(f"printed what is not text: {error}", "take it as stdout=bytes") from None
            return "bytes"
        return "text"


def _lines(text: str) -> list[str]:
    """Lines end with a line feed, or with both; other characters that some take for line ends stay."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _kind_name(mode: int) -> str:
    for test, name in ((stat.S_ISDIR, "a directory"), (stat.S_ISLNK, "a symbolic link"), (stat.S_ISREG, "a file"),
                       (stat.S_ISFIFO, "a fifo"), (stat.S_ISSOCK, "a socket")):  # fmt: skip
        if test(mode):
            return name
    return "a device"


def _make_own(path: bytes, found: os.stat_result) -> None:
    """Make a file one that is ours alone and can be read: a command may have linked it from elsewhere."""
    if found.st_nlink > 1:
        import shutil

        copy = path + b".copy"
        shutil.copyfile(path, copy)
        os.chmod(copy, stat.S_IMODE(found.st_mode) | 0o600)
        os.replace(copy, path)
    elif found.st_mode & 0o600 != 0o600:
        os.chmod(path, stat.S_IMODE(found.st_mode) | 0o600)


def close_log(node: Node, place: Workplace) -> None:
    """Complete the log of a command that has ended: what went to a stdout of its own comes last, and secrets go.

    To be called once.
    """
    log, stdout = (os.path.join(place.root, path) for path in (place.log, place.run + b"/stdout"))
    try:
        with open(stdout, "rb") as printed, open(log, "ab") as file:
            import shutil

            shutil.copyfileobj(printed, file, COPY_BYTES)
    except FileNotFoundError:
        pass
    hide_in_file(log, secrets_of(node.call, place.environ))


# ---- discovered inputs ---------------------------------------------------------------------------------------------


def discover(
    node: Node,
    inputs: Sequence[Artifact],
    place: Workplace,
    placed_by: Callable[[str], str | None],
    look: "Look",
) -> Discovered:
    """The inputs that the command says it found.

    Raises:
        TaskFailed: it wrote no depfile, or it read an output of another node in the workspace.
        InputChanged: one of them was edited meanwhile.
    """
    from merkl.bash.depfile import Searched, discovered_set, include_dirs, parse_depfile

    outcome, seen = _Outcome(node, inputs, place), Seen(node, inputs, place)
    try:
        with open(os.path.join(place.root, depfile_path(place)), "rb") as file:
            named = parse_depfile(file.read())
    except FileNotFoundError:
        raise outcome.fail(
            "did not write its depfile",
            "pass depfile_arg() to the compiler, as in: gcc -MD -MF {depfile_arg()}",
        ) from None
    roots = tuple({place.root + b"/", os.path.realpath(place.root) + b"/"})
    found: dict[str, None] = {}
    views: dict[str, None] = {}
    for name in named:
        path = os.fsdecode(_normal(name, seen.directory, roots))
        if path.startswith(".merkl/"):
            views[path] = None
            continue  # A view belongs to a declared input; staging and run directories are the command's own.
        maker = placed_by(path)
        if maker is not None:
            raise outcome.fail(
                f"read {path}, which {maker} makes, without declaring it",
                "declare it with file_arg, or pass its directory with dir_arg",
            )
        found[path] = None
    command = command_text(node, inputs, place)
    quoted, angled = (
        [
            os.fsdecode(_normal(os.fsencode(folder), seen.directory, roots))
            for folder in include_dirs(command, for_angled=for_angled)
        ]
        for for_angled in (False, True)
    )
    return discovered_set(found, Searched(quoted, angled), look, node.name, views=views)


def _normal(name: bytes, directory: bytes, roots: tuple[bytes, ...]) -> bytes:
    """A path that a command in ``directory`` named: relative to the project, or absolute if it lies outside."""
    path = os.path.join(directory, name)
    if b".." in path.split(b"/"):  # ``..`` follows what a directory really is.
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    path = os.path.normpath(path)
    for root in roots:
        if path.startswith(root):
            return path[len(root) :]
        if path + b"/" == root:
            return b"."
    return path
