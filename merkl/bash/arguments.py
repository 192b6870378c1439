"""The arguments of one call: which are files, which come from other nodes, and what the outputs are called.

It decides names of outputs.  It hashes files through the session and knows no options but where stdout goes.

The invariant: everything that a command can see of an argument is in a slot, in a source or in a dependency.
"""

import os
from collections.abc import Mapping
from typing import Any, Literal, assert_never

from merkl.bash.options import Options
from merkl.bash.placeholders import (
    Arg,
    ArgFile,
    DepfileArg,
    DirArg,
    EnvArg,
    FileArg,
    FilesArg,
    FlagArg,
    OutDirArg,
    OutFileArg,
    Placeholder,
    SecretArg,
)
from merkl.bash.slots import FromDep, FromSource, Plain, Slot, from_source
from merkl.dataclass import dataclass, field
from merkl.errors import CallError
from merkl.execute.secrets import Secret
from merkl.nodes import Dep, Future, Output, PathLike, Place, Source, scope, session


@dataclass(slots=True)
class Arguments:
    """What the arguments of a call come to; ``take`` fills it.

    ``places`` are where outputs were asked to go, by name; ``first_file`` is the last part of the first file's name, or
    of the first directory's if there is no file.
    """

    task: str
    place: Place
    slots: dict[str, Slot | tuple[Slot, ...]] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    deps: list[Dep] = field(default_factory=list)
    places: dict[str, PathLike] = field(default_factory=dict)
    first_file: str = ""
    first_dir: str = ""

    def take(self, placeholders: Mapping[str, Placeholder], values: Mapping[str, object]) -> None:
        """Sort the values of a call.

        Raises:
            CallError: a value cannot be what it is passed for.
            InputMissing: a file is not there.
        """
        for name, placeholder in placeholders.items():
            value = values.get(name)
            match placeholder:
                case DirArg():
                    self.slots[name] = self.files(placeholder, value)
                    self.first_dir = self.first_dir or self.seen_name(self.slots[name])
                case FileArg() | FilesArg() | ArgFile():
                    self.slots[name] = self.files(placeholder, value)
                    self.first_file = self.first_file or self.seen_name(self.slots[name])
                case OutFileArg() | OutDirArg():
                    if value is not None:
                        self.places[name] = self.out_place(name, value)
                case DepfileArg() | SecretArg():
                    pass
                case EnvArg():
                    self.slots[name] = Plain(self.variable(placeholder, value))
                case Arg() | FlagArg():
                    self.slots[name] = self.plain(value)
                case other:
                    assert_never(other)

        self.first_file = self.first_file or self.first_dir

    def fail(self, problem: str, hint: str = "") -> CallError:
        return CallError(f"{self.task}: {problem}", hint=hint, at=self.place)

    def out_place(self, name: str, value: object) -> PathLike:
        if not isinstance(value, (str, bytes, os.PathLike)):
            raise self.fail(f"{name} is the path where the output is to appear, not {value!r}")
        return value

    def variable(self, placeholder: EnvArg, value: object) -> object:
        if value is None:
            value = session().environment(placeholder.name)
        if value is None:
            value = placeholder.default
        if not isinstance(value, (str, type(None))):
            raise CallError(
                f"{self.task} needs the environment variable {placeholder.name}, which is not set",
                at=self.place,
                hint=f"export {placeholder.name}=… or give it a default: env_arg('{placeholder.name}', '…')",
            )
        return value

    # ---- files ----

    def files(self, placeholder: Placeholder, value: object) -> Slot | tuple[Slot, ...]:
        if value is None:
            return Plain(None)
        if isinstance(placeholder, ArgFile):
            items = value if isinstance(value, (list, tuple)) else [value]
            return tuple(self.item(placeholder, item) for item in items)
        if isinstance(placeholder, FilesArg):
            items = value if isinstance(value, (list, tuple)) else [value]
            return tuple(self.file(placeholder, item, "file") for item in items)
        return self.file(placeholder, value, "dir" if isinstance(placeholder, DirArg) else "file")

    def item(self, placeholder: ArgFile, value: object) -> Slot:
        """A line of a list: a file, or a word.  A word that names a file stays as it is, and the file counts too."""
        if type(value) is str:
            if self.is_file(value):
                self.sources.append(session().source(value, "file"))
            return Plain(value)
        if isinstance(value, (int, float)):
            return Plain(value)
        return self.file(placeholder, value, "file")

    def is_file(self, word: str) -> bool:
        """Whether a word is the path of a file; asked in a way that is cheap for the many that are not."""
        return os.path.isfile(os.path.join(session().root, scope().base, word))

    def file(self, placeholder: Placeholder, value: Any, kind: Literal["file", "dir"]) -> Slot:
        if not isinstance(value, Future):
            self.sources.append(session().source(value, kind))
            return from_source(len(self.sources) - 1)
        output = value.node.output(value.output)
        if {output.kind, kind} == {"file", "dir"}:
            is_dir = output.kind == "dir"
            raise self.fail(
                f"{placeholder.name} takes a {'file' if is_dir else 'directory'}, and "
                f"{value!r} is a {'directory' if is_dir else 'file'}",
                "dir_arg takes directories, file_arg takes files",
            )
        filename = output.filename or f"{output.name or value.node.name}{first_ext(placeholder)}"
        self.deps.append(Dep(value, os.path.basename(filename)))
        return FromDep(len(self.deps) - 1)

    def seen_name(self, slot: Slot | tuple[Slot, ...]) -> str:
        """The last part of the name that the command sees for a single file."""
        match slot:
            case FromSource(index):
                return os.path.basename(self.sources[index].path)
            case FromDep(index):
                return self.deps[index].name
            case _:
                return ""

    # ---- values ----

    def plain(self, value: object) -> Slot | tuple[Slot, ...]:
        if isinstance(value, Future):
            self.deps.append(Dep(value))
            return FromDep(len(self.deps) - 1)
        if isinstance(value, (list, tuple)):
            return tuple(slot for item in value if isinstance(slot := self.plain(item), (Plain, FromDep)))
        if isinstance(value, os.PathLike):
            return Plain(os.fspath(value))
        if isinstance(value, Secret):
            raise self.fail(
                f"{value!r} is an argument of Python tasks",
                f"a command has secrets in its text: {{secret_arg({value.name!r})}}",
            )
        return Plain(value)

    def extra(self, dep: object) -> object:
        """What a member of ``deps=`` is in the key: a Future, a file or directory, or a plain value."""
        if isinstance(dep, Future):
            self.deps.append(Dep(dep))
            return ("dep", len(self.deps) - 1)
        if isinstance(dep, os.PathLike):
            self.sources.append(session().source(dep))
            return ("source", len(self.sources) - 1)
        return ("value", dep)

    # ---- outputs ----

    def outputs(self, declared: Mapping[str, OutFileArg | OutDirArg], options: Options) -> list[Output]:
        """What the call makes: what is ``declared``, and what it prints if that is asked for, or if nothing is.

        Raises:
            CallError: two outputs would have one name.
        """
        names = self.names(declared)
        found = [
            Output(name, "dir" if isinstance(p, OutDirArg) else "file", names[name])
            for name, p in declared.items()
        ]
        if not found or options.stdout:
            found.append(Output("stdout" if found else "", "value", form=options.stdout or "str"))
        if len(found) > 1 and len({output.name for output in found}) < len(found):
            raise self.fail(
                "an output is called stdout, and what the command prints is too",
                "give the placeholder another name",
            )
        return found

    def names(self, declared: Mapping[str, Placeholder]) -> dict[str, str]:
        """Each output's file name: the last part of the place given, else the first file's stem, else its own name."""
        stem = os.path.splitext(self.first_file)[0]
        names = {}
        for name, placeholder in declared.items():
            ext = first_ext(placeholder)
            if name in self.places:
                names[name] = os.path.basename(os.path.normpath(os.fsdecode(self.places[name])))
            else:
                names[name] = (stem if stem and ext else name) + ext
        if len(names) == 1:
            return names
        taken = list(names.values())
        for name, placeholder in declared.items():
            if taken.count(names[name]) > 1 and name not in self.places:
                names[name] = name + first_ext(placeholder)
        if len(set(names.values())) < len(names):
            twice = sorted(name for name in names if list(names.values()).count(names[name]) > 1)
            raise CallError(
                f"{self.task}: {' and '.join(twice)} would have one file name, {names[twice[0]]}",
                at=self.place,
                hint="place one of them under another name, such as "
                f"{twice[0]}='build/other{os.path.splitext(names[twice[0]])[1]}'",
            )
        return names


def first_ext(placeholder: Placeholder) -> str:
    """The extension that a placeholder asks for, or the first of them; empty if it takes any."""
    ext = getattr(placeholder, "ext", None)
    return "" if not ext else ext if isinstance(ext, str) else ext[0]
