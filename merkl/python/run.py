"""Running one call of a Python task, in a worker or here, and what it leaves as outputs.

It decides how a result is written.  It keeps no records.

The invariant: a call gets all it needs in its ``CallSpec``, so running it inline or in a worker gives the same result.
"""

import contextlib
import importlib
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, cast

from merkl.digest import Digest, encode
from merkl.errors import MerklError, SerializationError, TaskFailed
from merkl.execute.workplace import Staged
from merkl.nodes import Artifact, using
from merkl.python import sources
from merkl.python.call import filled
from merkl.python.code import code_of, module_label
from merkl.python.inside import Inside
from merkl.python.outs import split_result
from merkl.python.project import Project
from merkl.python.spill import Spill
from merkl.python.task import PythonTask
from merkl.room import FULL
from merkl.store.local import LocalStore
from merkl.store.pickles import PickleForm
from merkl.store.serializers import by_name, serializer_for
from merkl.workspace.refs import DirRef, FileRef

if TYPE_CHECKING:  # Only with --check-deps.
    from merkl.tracing.window import Watch

IN_FRAME: Final = 65_536  # Bytes: a smaller result comes back in the frame, a larger one as a file.
_NEED_A_FILE: Final = frozenset(
    {"npy", "parquet"}
)  # Forms whose writers do better, or only, with a real one.


@dataclass(frozen=True, slots=True)
class CallSpec:
    """Everything a worker needs: the task, its arguments, and for each dependency a path or an artifact of the store."""

    task: bytes
    arguments: Mapping[str, Any]
    inputs: tuple[bytes | Artifact, ...]
    kinds: tuple[str, ...]
    root: bytes
    stage: bytes
    tmp: bytes
    stores: tuple[str, ...]
    modules: tuple[str, ...]
    texts: str
    sender: int
    watch: "Watch | None" = None

    def __reduce__(self) -> tuple[Any, ...]:
        # What a dataclass with slots has for this asks for its fields again each time.
        return CallSpec, _spec_fields(self)


_spec_fields: Final = attrgetter(*CallSpec.__slots__)


_loaded: dict[bytes, PythonTask[Any, Any]] = {}


def run_call(spec: CallSpec) -> bytes:
    """Run the function on its values and stage what it returned; the worker's side."""
    _see_sources(spec)
    task = _loaded.get(spec.task)
    if task is None:
        task = _loaded[spec.task] = pickle.loads(spec.task)
    values = _values(spec)
    arguments = {name: filled(value, values) for name, value in spec.arguments.items()}
    if not os.path.isdir(spec.tmp):
        os.makedirs(spec.tmp)
    before, os.environ["TMPDIR"], tempfile.tempdir = os.environ.get("TMPDIR"), os.fsdecode(spec.tmp), None
    inside = Inside(os.fsdecode(spec.root), spec.modules, task.name)
    try:
        with using(inside):
            if spec.watch is None:
                result = _apply(task, arguments)
            else:
                result = _watched(spec, spec.watch, task, arguments)
        staged = _stage_all(spec, task.name, split_result(result, task.outs, task.name))
    finally:
        tempfile.tempdir = None
        if before is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = before
    return pickle.dumps(staged, protocol=5)


_supplied: set[str] = set()


def _see_sources(spec: CallSpec) -> None:
    """Import the project's modules as the coordinator did: the same ones, in the same order, since some are imported
    for what that does, and from the texts it had, never from a ``.pyc``."""
    project = Project(os.fsdecode(spec.root), spec.modules)
    if not sources.installed(project):
        sources.install(project)
    if spec.texts and spec.sender != os.getpid() and spec.texts not in _supplied:
        _supplied.add(spec.texts)
        with open(spec.texts, "rb") as file:
            texts, modules = pickle.load(file)
        sources.supply(texts)
        for module in modules:
            try:
                importlib.import_module(module)
            except Exception:  # noqa: BLE001 - it did not fail there; if the task needs it, it will say so.
                continue


def _apply(task: PythonTask[Any, Any], arguments: Mapping[str, Any]) -> Any:
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in task.signature.parameters.items():
        value = arguments[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += value
        elif parameter.kind is parameter.VAR_KEYWORD:
            named |= value
        elif parameter.kind is parameter.KEYWORD_ONLY:
            named[name] = value
        else:
            positional.append(value)
    return task.function(*positional, **named)


def _watched(spec: CallSpec, watch: "Watch", task: PythonTask[Any, Any], arguments: Mapping[str, Any]) -> Any:
    from merkl.tracing.window import watched

    run = os.path.dirname(os.fsdecode(spec.tmp))
    return watched(watch, os.fsdecode(spec.root), run, _apply, task, arguments)


class Values(Protocol):
    """What is asked of a store here."""

    def has(self, digests: Iterable[Digest]) -> set[Digest]: ...
    def reader(self, digest: Digest) -> BinaryIO: ...


_stores: dict[tuple[int, str], Values] = {}


def _values(spec: CallSpec) -> list[Any]:
    # Another store holds what the first could not take, and is there only then.
    others = [directory for directory in spec.stores[1:] if os.path.isdir(directory)]
    return [_value(spec, index, others) for index in range(len(spec.inputs))]


def _value(spec: CallSpec, index: int, others: Sequence[str]) -> Any:
    given = spec.inputs[index]
    if isinstance(given, bytes):
        path = os.fsdecode(given)
        return DirRef(path) if spec.kinds[index] == "dir" else FileRef(path)
    for directory in others:
        if _store(directory).has([given.digest]):
            return load_value(_store(directory), given)
    return load_value(_store(spec.stores[0]), given)


def _store(directory: str) -> Values:
    here = (os.getpid(), directory)
    if here not in _stores:
        _stores[here] = LocalStore(directory)
    return _stores[here]


@contextlib.contextmanager
def lending(directory: str, store: Values) -> Iterator[None]:
    """Let calls that run in this process use a store that is open already."""
    here = (os.getpid(), directory)
    _stores[here] = store
    try:
        yield
    finally:
        _stores.pop(here, None)


def load_value(store: Values, artifact: Artifact) -> Any:
    """The value that an artifact is the written form of.

    Raises:
        StoreCorrupt: its bytes are gone or damaged.
    """
    with store.reader(artifact.digest) as file:
        return by_name(artifact.serializer).load(file)


def _stage_all(spec: CallSpec, task: str, results: Mapping[str, object]) -> list[Staged]:
    paths = [
        os.path.abspath(os.fsencode(ref)) for ref in results.values() if isinstance(ref, (FileRef, DirRef))
    ]
    staged = []
    for name, value in results.items():
        if isinstance(value, (FileRef, DirRef)):
            staged.append(_stage_reference(spec, task, name, value, paths))
        else:
            staged.append(_stage(spec, task, name, value))
    return staged


def _stage(spec: CallSpec, task: str, name: str, value: Any) -> Staged:
    _refuse_lost_files(spec, task, value, 0)
    serializer = serializer_for(value)
    path = spec.stage + b"/" + (os.fsencode(name) or b"result")
    whole = os.path.join(spec.root, path)
    data: bytes | None = None
    try:
        if serializer.name in _NEED_A_FILE:
            with open(whole, "wb") as file:
                serializer.dump(value, file)
                size = file.tell()
        else:
            with Spill(whole, IN_FRAME) as spill:
                into = cast(BinaryIO, spill)
                if isinstance(serializer, PickleForm):
                    into.write(_code_named(spec, serializer.dump_with_code(value, into)))
                else:
                    serializer.dump(value, into)
                size, data = spill.size, spill.small()
    except MerklError:
        raise
    except Exception as error:
        output = f"output {name!r}" if name else "result"
        what = f"{task}: its {output}, of type {type(value).__name__}"
        if isinstance(error, OSError) and error.errno in FULL:
            with contextlib.suppress(OSError):
                os.unlink(whole)  # Half a result helps nobody, and keeps the disk full.
            hint = "make room on the file system of .merkl; `merkl gc` removes what nothing needs any more"
            raise TaskFailed(f"{what}, cannot be written: {error.strerror}", hint=hint) from error
        raise SerializationError(
            f"{what}, cannot be stored: {error}", hint="return plain data, arrays or a FileRef"
        ) from error
    if data is not None:
        return Staged(name, "value", data=data, serializer=serializer.name, size=size)
    return Staged(name, "value", path=path, serializer=serializer.name, size=size)


def _code_named(spec: CallSpec, named: Sequence[object]) -> bytes:
    """What follows a pickle: a digest of the project's own code that it names, so that a value whose class was edited
    is another value for whoever reads it.  Nothing if it names none; unpickling stops before it."""
    project = Project(os.fsdecode(spec.root), spec.modules)
    own = [thing for thing in named if project.owns_module(vars(sys.modules.get(_module_of(thing), sys)))]
    if not own:
        return b""
    codes = sorted((module_label(thing, project), bytes(code_of(thing, project).digest)) for thing in own)
    return Digest.of(encode(codes))


def _module_of(thing: object) -> str:
    return str(getattr(thing, "__module__", ""))


def _refuse_lost_files(spec: CallSpec, task: str, value: object, depth: int) -> None:
    """A file that the task names inside another value, such as a list, would be gone with its TMPDIR."""
    if isinstance(value, (FileRef, DirRef)):
        if _is_own(spec, os.path.abspath(os.fsencode(value))):
            raise TaskFailed(
                f"{task} returned {value!r} inside another value, and its TMPDIR goes with the task",
                hint="return it as an output of its own, or put the files into one directory and return its DirRef",
            )
    elif type(value) in (list, tuple, dict, set) and depth < 3:
        for item in value.values() if isinstance(value, dict) else cast(Iterable[object], value):
            if type(item) not in (str, int, float, bool, bytes):
                _refuse_lost_files(spec, task, item, depth + 1)


def _is_own(spec: CallSpec, path: bytes) -> bool:
    """Whether a path lies in the call's TMPDIR or staging directory."""
    return path.startswith((spec.tmp + b"/", os.path.join(spec.root, spec.stage) + b"/"))


def _stage_reference(
    spec: CallSpec, task: str, name: str, ref: FileRef | DirRef, all_paths: Sequence[bytes]
) -> Staged:
    """Take a file or directory that the function names into staging: moved if it is this output's alone, else copied."""
    source = os.path.abspath(os.fsencode(ref))
    kind = "dir" if isinstance(ref, DirRef) else "file"
    if not (os.path.isdir(source) if kind == "dir" else os.path.isfile(source)):
        raise TaskFailed(
            f"{task} returned {ref!r}, and there is no such {'directory' if kind == 'dir' else 'file'}"
        )
    filename = os.path.basename(source)
    folder = spec.stage + b"/" + (os.fsencode(name) or b"result")
    target = os.path.join(spec.root, folder, filename)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    executable = kind == "file" and os.access(source, os.X_OK)
    named = sum(
        (path + b"/").startswith(source + b"/") or (source + b"/").startswith(path + b"/")
        for path in all_paths
    )
    if named == 1 and _is_own(spec, source) and not os.path.islink(source):
        os.rename(source, target)
    elif kind == "dir":
        shutil.copytree(os.fsdecode(source), os.fsdecode(target), symlinks=True)
    else:
        shutil.copyfile(source, target)
    return Staged(name, kind, os.fsdecode(filename), path=folder + b"/" + filename, executable=executable)  # type: ignore[arg-type]
