"""What a command sees of its arguments: paths from the directory it runs in, words, lists in files.

It decides how an input is made readable: a source by its path, another node's output through a view, a plain value in a
file of its own, all of them as private copies with ``scratch=True``.  ``Seen`` names, and ``make_ready`` makes what it names.

The invariant: a ``Seen`` gives the same words before and after, so a message shows the command that ran.
"""

import os
from collections.abc import Sequence

from merkl.bash.options import Options
from merkl.bash.placeholders import ArgFile, DepfileArg, OutDirArg, OutFileArg, SecretArg
from merkl.bash.quoting import words_of
from merkl.bash.script import Script
from merkl.bash.slots import FromDep, FromSource, Plain, Slot
from merkl.bash.task import BashCall
from merkl.errors import SerializationError
from merkl.execute.workplace import Workplace
from merkl.nodes import Artifact, Node
from merkl.workspace.paths import reserved


class Seen:
    """The arguments of one attempt, as its command sees them.  Nothing is written but views."""

    def __init__(self, node: Node, inputs: Sequence[Artifact], place: Workplace) -> None:
        assert isinstance(node.call, BashCall)
        self.node = node
        self.call: BashCall = node.call
        self.inputs = inputs
        self.place = place
        options = self.call.task.options
        self.scratch = place.run + b"/scratch" if options.scratch else b""
        self._inside = self._names_in_scratch() if options.scratch else {}
        self._root, self._base = _real_directories(place.root, options, self.scratch)

    @property
    def directory(self) -> bytes:
        """Where the command runs, as an absolute path."""
        return self._base or self.place.root

    def script(self) -> Script:
        """The command with its values.

        Raises:
            MerklError: a value does not fit where it stands.
        """
        return self.call.task.template.render(
            self.values(), abspath=lambda path: os.path.normpath(os.path.join(self.directory, path))
        )

    def values(self) -> dict[str, object]:
        """What each placeholder stands for, without secrets."""
        found: dict[str, object] = {}
        for name, placeholder in self.call.task.template.placeholders.items():
            match placeholder:
                case OutFileArg() | OutDirArg():
                    found[name] = self.path(output_path(self.node, name, self.place))
                case DepfileArg():
                    found[name] = self.path(depfile_path(self.place))
                case ArgFile():
                    found[name] = self.path(list_path(name, self.place))
                case SecretArg():
                    pass
                case _:
                    found[name] = self.slot(self.call.slots[name])
        return found

    def path(self, path: bytes) -> bytes:
        """A path relative to the project, as it is from the directory the command runs in."""
        if not self._base or os.path.isabs(path):
            return path
        return os.path.relpath(os.path.join(self._root, path), self._base)

    def slot(self, slot: Slot | tuple[Slot, ...]) -> object:
        """A path, a value or a list of them."""
        if isinstance(slot, tuple):
            return [self.slot(item) for item in slot]
        match slot:
            case Plain(value):
                return value
            case FromSource(index):
                path = os.fsencode(self.node.sources[index].path)
                return path if self.scratch else self.path(path)
            case FromDep(index):
                return self.made(index) if self.node.deps[index].name else self.word(index)

    def made(self, index: int) -> bytes:
        """The path of what another node made."""
        return self._inside[index] if self.scratch else self.path(self.original(index))

    def original(self, index: int) -> bytes:
        """The same, relative to the project, before it is copied."""
        name = os.fsencode(self.node.deps[index].name)
        artifact = self.inputs[index]
        if artifact.kind == "value":
            return self.place.run + b"/in%d/" % index + name
        return self.place.view(artifact, name)

    def word(self, index: int) -> object:
        """A value that another node made, where the command wants a word; one final line break goes, as in ``$(…)``."""
        value = self.place.load(self.inputs[index])
        if isinstance(value, str):
            return value.removesuffix("\n")
        if isinstance(value, bytes):
            return value.removesuffix(b"\n")
        if isinstance(value, (bool, int, float, list, tuple, type(None))):
            return value
        raise SerializationError(
            f"a value of type {type(value).__name__} from {self.node.deps[index].future.node.name} is no word",
            hint="pass it to a file_arg with an extension such as '.json'",
        )

    def _names_in_scratch(self) -> dict[int, bytes]:
        """What copies of other nodes' outputs are called: their own names, apart from each other and from the sources."""
        taken = {os.fsencode(source.path).split(b"/")[0] for source in self.node.sources}
        found: dict[int, bytes] = {}
        for index, dep in enumerate(self.node.deps):
            if dep.name:
                name = os.fsencode(dep.name)
                folder = b""
                while (folder or name) in taken:
                    folder = folder + b"_" if folder else b"in%d" % index
                taken.add(folder or name)
                found[index] = folder + b"/" + name if folder else name
        return found


def _real_directories(root: bytes, options: Options, scratch: bytes) -> tuple[bytes, bytes]:
    """The project and the directory to run in, links resolved, since ``..`` follows what a directory really is.

    The second is empty for the project itself.
    """
    if scratch:
        return root, os.path.join(root, scratch)
    if options.cwd:
        return os.path.realpath(root), os.path.realpath(os.path.join(root, os.fsencode(options.cwd)))
    return root, b""


def output_path(node: Node, name: str, place: Workplace) -> bytes:
    """Where a declared file or directory is staged, relative to the project."""
    return place.stage + b"/" + os.fsencode(node.output(name).filename)


def depfile_path(place: Workplace) -> bytes:
    """Where a command writes what it read."""
    return place.run + b"/depfile"


def list_path(name: str, place: Workplace) -> bytes:
    """Where the words of an ``argfile`` are listed."""
    return place.run + b"/args-" + name.encode()


# ---- making it so --------------------------------------------------------------------------------------------------


def make_ready(seen: Seen) -> None:
    """Make everything that the arguments name: directories to fill, values as files, lists, private copies.

    Raises:
        MerklError: a value cannot be written in the form asked for.
        OSError: the system refused something.
    """
    node, place = seen.node, seen.place
    if seen.scratch:
        os.mkdir(os.path.join(place.root, seen.scratch))
        for source in node.sources:
            if not source.path.startswith("/"):
                _copy(seen, os.fsencode(source.path), os.fsencode(source.path))
    for index, dep in enumerate(node.deps):
        if dep.name:
            if seen.inputs[index].kind == "value":
                _write_value(seen, index)
            if seen.scratch:
                _copy(seen, seen.original(index), seen.made(index))
    for name, placeholder in seen.call.task.template.placeholders.items():
        if isinstance(placeholder, OutDirArg):
            os.mkdir(os.path.join(place.root, output_path(node, name, place)))
        elif isinstance(placeholder, ArgFile):
            _write_list(seen, name, placeholder)


def _write_value(seen: Seen, index: int) -> None:
    """A plain value as a file, in the form that its name's extension asks for."""
    path = os.path.join(seen.place.root, seen.original(index))
    os.mkdir(os.path.dirname(path))
    value = seen.place.load(seen.inputs[index])
    with open(path, "wb") as file:
        if isinstance(value, bytes):
            file.write(value)
        else:
            from merkl.store.serializers import for_extension

            for_extension(os.path.splitext(seen.node.deps[index].name)[1]).dump(value, file)
        os.fchmod(file.fileno(), 0o444)


def _write_list(seen: Seen, name: str, placeholder: ArgFile) -> None:
    slots = seen.call.slots[name]
    assert isinstance(slots, tuple)
    words: list[bytes] = []
    for slot in slots:
        found = words_of(seen.slot(slot), path=not isinstance(slot, Plain), what=f"an item of {name}")
        words += [found] if isinstance(found, bytes) else found or []
    with open(os.path.join(seen.place.root, list_path(name, seen.place)), "wb") as file:
        file.write(placeholder.encode(words, where=name))


def _copy(seen: Seen, path: bytes, name: bytes) -> None:
    """A private copy, which the command may write to, in the scratch directory."""
    source = os.path.join(seen.place.root, path)
    target = os.path.join(seen.place.root, seen.scratch, name)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.isdir(source):
        _copy_file(os.fsdecode(source), os.fsdecode(target))
        return
    import shutil

    shutil.copytree(
        os.fsdecode(source),
        os.fsdecode(target),
        symlinks=True,
        dirs_exist_ok=True,
        copy_function=_copy_file,
        ignore=lambda _, names: [name for name in names if reserved(os.fsencode(name))],
    )
    for folder, _, _ in os.walk(target):
        os.chmod(folder, 0o755)  # Those of a view are read-only.


def _copy_file(source: str, target: str) -> str:
    from merkl.workspace.copying import copy_into, make_executable

    with open(source, "rb") as content, open(target, "wb") as file:
        copy_into(content, file.fileno())
        if os.fstat(content.fileno()).st_mode & 0o100:
            make_executable(file.fileno())
    return target
