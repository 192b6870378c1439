"""Running one call of a Python task, in a worker or here, and what it leaves as outputs.

It decides how a result is written.  It keeps no records.

The invariant: a call gets all it needs in its ``CallSpec``, so running it inline or in a worker gives the same result.
"""

import contextlib
import importlib
import io
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from merkl.dataclass import dataclass
from merkl.digest import Digest, encode
from merkl.errors import MerklError, SerializationError, StoreCorrupt, TaskFailed
from merkl.execute.company import company, left_nobody
from merkl.execute.scratch import Scratch, in_use
from merkl.execute.workplace import Staged
from merkl.lending import lend_to_threads
from merkl.nodes import Artifact, Future, using
from merkl.python import sources
from merkl.python.call import filled
from merkl.python.capture import staged_streams, streamed
from merkl.python.code import code_of, module_label
from merkl.python.forms import Labelled, unpacked
from merkl.python.inside import Inside
from merkl.python.items import Items, path_in_view, read_index, seen
from merkl.python.noting import SAID, said
from merkl.python.opened import FileObjectWriteFuture, OpenedFiles, opened_files
from merkl.python.outs import Captured, Outs, split_result
from merkl.python.placed import is_index
from merkl.python.project import Project
from merkl.python.references import is_own, shared_paths, stage_reference, staging_name
from merkl.python.spill import Spill
from merkl.python.stores import OPEN, Contents, Values
from merkl.python.task import PythonTask
from merkl.python.together import bundled
from merkl.room import FULL
from merkl.snapshot import process
from merkl.store.bundle import Slice, item_bytes
from merkl.store.pickles import PickleForm
from merkl.store.serializers import by_name, is_builtin, is_pickled, is_plain, serializer_for
from merkl.workspace.refs import DirRef, FileRef

if TYPE_CHECKING:  # Only with --check-deps.
    from merkl.tracing.window import Watch

# What a process needs for its first call of a Python task.
IN_FRAME: Final = 65_536  # Bytes: a smaller result comes back in the frame, a larger one as a file.
MOST_IN_FRAME: Final = 1 << 24  # Bytes: of many results only smaller ones come back so.
_AT_ONCE: Final = 256  # Inputs that are read together.
# Forms whose writers do better, or only, with a real one.
_NEED_A_FILE: Final = frozenset({"npy", "parquet"})


@dataclass(frozen=True, slots=True)
class CallSpec:
    """Everything a worker needs: the task, its arguments, and for each dependency a path or an artifact of the store."""

    arguments: Mapping[str, Any]
    inputs: tuple[bytes | Artifact | tuple[Artifact, bytes], ...]  # Both: a list with files.
    kinds: tuple[str, ...]
    stage: bytes
    tmp: bytes
    outs: Outs | None  # Of this call, if not every call of the task has the same.
    task: bytes
    root: bytes
    stores: tuple[str, ...]
    modules: tuple[str, ...]
    texts: str
    sender: int
    watch: "Watch | None" = None
    forms: bytes = b""  # What there is to know of serializers.


_common: dict[bytes, tuple[Any, ...]] = {}


def run_sent(common: bytes, *own: Any) -> bytes:
    """Run a call that was sent as what it has in common with others, its last fields, pickled once, and its own first ones."""
    known = _common.get(common)
    if known is None:
        if len(_common) > 100:
            _common.clear()
        known = _common[common] = pickle.loads(common)
    return run_call(CallSpec(*own, *known))


def run_parcelled(common: bytes, given: bytes, *own: Any) -> bytes:
    """As ``run_sent``, of a call that came from another machine: its arguments and outputs are unpickled here, in the process
    that has the project's modules."""
    _, root, _, modules, texts, sender, *_ = pickle.loads(common)
    _see_texts(Project(os.fsdecode(root), modules), texts, sender)
    arguments, outs = pickle.loads(given)
    return run_sent(common, arguments, *own, outs)


def run_written(common: bytes, given: bytes, *own: Any) -> bytes:
    """As ``run_parcelled``, of a call that a Merklfile made which was not loaded since: here, too, nothing of it is there."""
    _, root, _, modules, texts, *_ = pickle.loads(common)
    _see_texts(Project(os.fsdecode(root), modules), texts, 0)
    arguments, outs = pickle.loads(given)
    return run_sent(common, arguments, *own, outs)


_loaded: dict[bytes, PythonTask[Any, Any]] = {}


def forget_tasks() -> None:
    """Let go of the tasks that ran in this process: modules that they are in are going to be imported anew."""
    _loaded.clear()


def run_call(spec: CallSpec) -> bytes:
    """Run the function on its values and stage what it returned; the worker's side.

    What comes back is pickled: the staged outputs, whether the directories of the call are empty, and whether it left nobody
    who could still write there.
    """
    place, met = in_use(), None
    if place is not None:
        spec = _placed(spec, place)
    else:
        met = company()
    _see_sources(spec)
    unpacked(spec.forms)
    task = _loaded.get(spec.task)
    if task is None:
        task = _loaded[spec.task] = pickle.loads(spec.task)
    values = _values(spec)
    arguments = {name: filled(value, values) for name, value in spec.arguments.items()}
    if place is None and not os.path.isdir(spec.tmp):
        os.makedirs(spec.tmp)
    before, os.environ["TMPDIR"] = os.environ.get("TMPDIR"), os.fsdecode(spec.tmp)
    _forget_tempdir()
    inside = Inside(os.fsdecode(spec.root), spec.modules, task.name, spec.arguments)
    opened = OpenedFiles(task.name, spec.root, spec.stage)
    token, noting = opened_files.set(opened), said.set({})
    try:
        with using(inside), lend_to_threads():
            outs = spec.outs or task.outs
            if isinstance(outs, Items):
                staged = [_itemised(spec, task, outs, arguments)]
            else:
                streams = outs.streams if isinstance(outs, Captured) else ()
                with streamed(streams, spec.root, spec.stage):
                    result = _applied(spec, task, arguments)
                if task.checks is not None:
                    task.checks.result(result)
                outputs = (
                    split_result(result, outs, task.name) if spec.outs else task.split(result, arguments)
                )
                staged = _stage_all(spec, task.name, outputs, together=task.settings.together)
                staged += staged_streams(streams, spec.root, spec.stage)
            if (noted := said.get()) and task.settings.cache_metadata:
                staged.append(Staged(SAID, "value", data=json.dumps(noted).encode()))
    finally:
        opened_files.reset(token)
        said.reset(noting)
        opened.close()
        _forget_tempdir()
        if before is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = before
    alone = met is not None and left_nobody(met)
    return pickle.dumps((staged, alone and _left_nothing(spec), alone), protocol=5)


def _placed(spec: CallSpec, place: Scratch) -> CallSpec:
    """The same in the directories that its worker lets it have."""
    tmp = os.path.join(spec.root, place.run, b"tmp")
    return CallSpec(
        spec.arguments, spec.inputs, spec.kinds, place.stage, tmp, spec.outs, spec.task, spec.root, spec.stores,
        spec.modules, spec.texts, spec.sender, spec.watch, spec.forms,
    )  # fmt: skip


def _left_nothing(spec: CallSpec) -> bool:
    """Whether the directories of the call are empty.

    Where calls end side by side that is seen sooner than by the one coordinator.
    """
    try:
        return not os.listdir(spec.tmp) and not os.listdir(os.path.join(spec.root, spec.stage))
    except OSError:
        return False


def _forget_tempdir() -> None:
    """Let ``tempfile`` look at ``TMPDIR`` again, if it is there: to import it takes long, and most calls need none."""
    if (loaded := sys.modules.get("tempfile")) is not None:
        loaded.tempdir = None  # type: ignore[attr-defined]


_supplied: set[str] = set()


def _see_sources(spec: CallSpec) -> None:
    """Import the project's modules as the coordinator did: the same ones, in the same order, since some are imported
    for what that does, and from the texts it had, never from a ``.pyc``."""
    _see_texts(Project(os.fsdecode(spec.root), spec.modules), spec.texts, spec.sender)


def _see_texts(project: Project, path: str, sender: int) -> None:
    if not sources.installed(project):
        sources.install(project)
    if path and sender != os.getpid() and path not in _supplied:
        _supplied.add(path)
        with open(path, "rb") as file:
            _import(file.read())


def take_texts(project: Project, written: bytes) -> None:
    """Import the project's modules as a worker does, from such texts as a file has that is sent to one."""
    if not sources.installed(project):
        sources.install(project)
    process.has_run_code = True
    _import(written)


def _import(written: bytes) -> None:
    texts, modules = pickle.loads(written)
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


def _itemised(
    spec: CallSpec, task: PythonTask[Any, Any], items: Items, arguments: Mapping[str, Any]
) -> Staged:
    """Run a function whose result is many items; a generator does its work only as they are asked for."""
    from merkl.python.streaming import send_items

    def stage(name: str, value: Any, in_frame: int) -> Staged:
        if isinstance(value, (FileRef, DirRef)):
            return stage_reference(spec, task.name, name, value, set())
        return _stage(spec, task.name, name, value, in_frame, output="")

    def run(task: PythonTask[Any, Any], arguments: Mapping[str, Any]) -> Staged:
        here = spec.sender == os.getpid()
        return send_items(task.name, items, _apply(task, arguments), IN_FRAME, stage, here=here)

    return cast(Staged, _applied(spec, task, arguments, run))


def _applied(
    spec: CallSpec,
    task: PythonTask[Any, Any],
    arguments: Mapping[str, Any],
    run: Callable[[PythonTask[Any, Any], Mapping[str, Any]], Any] = _apply,
) -> Any:
    """Run the function, looked at if it is to be."""
    if spec.watch is None:
        return run(task, arguments)
    from merkl.tracing.window import watched

    folder = os.path.dirname(os.fsdecode(spec.tmp))
    return watched(spec.watch, os.fsdecode(spec.root), folder, run, task, arguments)


def _values(spec: CallSpec) -> list[Any]:
    if not spec.inputs:
        return []
    # Another store holds what the first could not take, and is there only then.
    others = [directory for directory in spec.stores[1:] if os.path.isdir(directory)]
    values: list[Any] = []
    small: Mapping[Digest, bytes] = {}
    for index in range(len(spec.inputs)):
        if index % _AT_ONCE == 0 and not others:
            small = _small(spec, spec.inputs[index : index + _AT_ONCE])
        values.append(_value(spec, index, others, small))
    return values


def _small(
    spec: CallSpec, inputs: Sequence[bytes | Artifact | tuple[Artifact, bytes]]
) -> Mapping[Digest, bytes]:
    """The bytes of those values among some inputs that are short, if there are several."""
    digests = [
        given.digest
        for given in inputs
        if isinstance(given, Artifact) and not (isinstance(given, Slice) or is_index(given))
    ]
    return _store(spec.stores[0]).small(digests) if len(digests) > 1 else {}


def _value(spec: CallSpec, index: int, others: Sequence[str], small: Mapping[Digest, bytes]) -> Any:
    given = spec.inputs[index]
    if isinstance(given, tuple):
        return _list_of(spec, *given, others)
    if isinstance(given, bytes):
        path = os.fsdecode(given)
        return DirRef(path) if spec.kinds[index] == "dir" else FileRef(path)
    for directory in others:
        if _store(directory).has([given.blob if isinstance(given, Slice) else given.digest]):
            return load_value(_store(directory), given)
    if not isinstance(given, Slice) and (data := small.get(given.digest)) is not None and not is_index(given):
        _before_reading_of(given.serializer)
        return _loaded_from(io.BytesIO(data), given.serializer)
    return load_value(_store(spec.stores[0]), given)


def _list_of(spec: CallSpec, index: Artifact, view: bytes, others: Sequence[str]) -> Any:
    """The items of a list; those that are files are read through ``view``."""
    directory = next((each for each in others if _store(each).has([index.digest])), spec.stores[0])
    store = _store(directory)
    items: dict[str, Artifact | FileRef] = {}
    for number, (name, made) in enumerate(read_index(index, store.read).items()):
        file = os.path.join(os.fsdecode(view), path_in_view(number, made))
        items[name] = FileRef(file) if made.kind == "file" else made
    return seen(
        items, index.serializer, lambda one: one if isinstance(one, FileRef) else load_value(store, one)
    )


def _store(directory: str) -> Values:
    here = (os.getpid(), directory)
    if here not in OPEN:
        from merkl.store.local import LocalStore  # To import it takes long, and many calls read nothing.

        OPEN[here] = LocalStore(directory)
    return OPEN[here]


_before_reading: list[Callable[[], None]] = []


@contextlib.contextmanager
def reading_with(load_project: Callable[[], None]) -> Iterator[None]:
    """Call this before the first value is read that only the project's modules may be able to read: for a process that has
    not loaded the Merklfile."""
    _before_reading[:] = [load_project]
    try:
        yield
    finally:
        _before_reading.clear()


def _before_reading_of(serializer: str) -> None:
    if _before_reading and not is_plain(serializer):
        _before_reading.pop()()


def load_value(store: Contents, artifact: Artifact) -> Any:
    """The value that an artifact is the written form of.

    Raises:
        StoreCorrupt: its bytes are gone or damaged.
    """
    if is_index(artifact):
        return seen(
            read_index(artifact, store.read), artifact.serializer, lambda made: load_value(store, made)
        )
    _before_reading_of(artifact.serializer)
    if isinstance(artifact, Slice):
        return _loaded_from(io.BytesIO(item_bytes(store, artifact)), artifact.serializer)
    with store.reader(artifact.digest) as file:
        if is_pickled(artifact.serializer):
            return _loaded_from(_unchanging(file, artifact.digest), artifact.serializer)
        return _loaded_from(file, artifact.serializer)


def _unchanging(file: BinaryIO, digest: Digest) -> BinaryIO:
    """The bytes of a pickle, which run when they are read: the very ones that were checked, out of anybody's reach."""
    data = file.read()
    if Digest.of(data) != digest:
        raise StoreCorrupt(
            f"a pickle in the store is not what was recorded ({digest.short})",
            hint="`merkl fsck` looks at the whole store",
        )
    return io.BytesIO(data)


def _loaded_from(file: BinaryIO, form: str) -> Any:
    serializer = by_name(form)
    try:
        return serializer.load(file)
    except (MerklError, OSError, MemoryError):
        raise
    except Exception as error:
        raise SerializationError(
            f"a stored value cannot be read in the form {form!r}: {type(error).__name__}: {error}",
            hint="`merkl clear` what made it, if what reads this form was changed",
        ) from error


def _stage_all(
    spec: CallSpec, task: str, results: Mapping[str, object], *, together: bool = False
) -> list[Staged]:
    staged = _each_staged(spec, task, results)
    single = list(results) == [""]  # Of a number of outputs that a call decides, it may be one.
    return bundled(spec.root, spec.stage, task, staged) if together and not single else list(staged)


def _each_staged(spec: CallSpec, task: str, results: Mapping[str, object]) -> Iterator[Staged]:
    shared = shared_paths(results.values())
    in_frame = max(1024, min(IN_FRAME, MOST_IN_FRAME // max(1, len(results))))
    for name, value in results.items():
        if isinstance(value, (FileRef, DirRef)):
            yield stage_reference(spec, task, name, value, shared)
        else:
            yield _stage(spec, task, name, value, in_frame)


def _stage(
    spec: CallSpec, task: str, name: str, value: Any, in_frame: int, *, output: str | None = None
) -> Staged:
    """Write a value; ``output`` is the output that it is of, if that has another name."""
    if isinstance(value, FileObjectWriteFuture):
        return value.staged(task, name)
    _refuse_lost_files(spec, task, value, 0)
    label, serializer = _serializer(spec, task, name if output is None else output, value)
    path = spec.stage + b"/" + staging_name(name)
    whole = os.path.join(spec.root, path)
    data: bytes | None = None
    try:
        if label in _NEED_A_FILE or not is_builtin(serializer):
            with open(whole, "wb") as file:
                serializer.dump(value, file)
            size = os.stat(whole).st_size  # The serializer may have closed the file.
        else:
            with Spill(whole, in_frame) as spill:
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
        return Staged(name, "value", data=data, serializer=label, size=size)
    return Staged(name, "value", path=path, serializer=label, size=size)


def _serializer(spec: CallSpec, task: str, name: str, value: Any) -> Labelled:
    """The serializer of an output, and its label."""
    sent = unpacked(spec.forms)
    try:
        found = sent.serializer_of(name, value) if sent is not None else None
    except SerializationError as error:
        error.details["output"] = f"{task}, {name!r}" if name else task
        raise
    if found is not None:
        return found
    serializer = serializer_for(value)
    return serializer.name, serializer


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
    """A file that the task names inside another value, such as a list, would be gone with its TMPDIR; and a Future has no
    value here."""
    if isinstance(value, Future):
        raise TaskFailed(
            f"{task} returned {value!r}, and a task cannot return Futures: what they need would not be in its key",
            hint=f"call {value.node.name}.function(…) in it, or pass it the Future as an argument",
        )
    if isinstance(value, FileObjectWriteFuture):
        raise TaskFailed(
            f"{task} returned a file of merkl_open inside another value, where it cannot be an output",
            hint="return it as an output of its own: return {'model': file, 'loss': loss}",
        )
    if isinstance(value, (FileRef, DirRef)):
        if is_own(spec, os.path.abspath(os.fsencode(value))):
            raise TaskFailed(
                f"{task} returned {value!r} inside another value, and its TMPDIR goes with the task",
                hint="return it as an output of its own, or put the files into one directory and return its DirRef",
            )
    elif type(value) in (list, tuple, dict, set) and depth < 3:
        for item in value.values() if isinstance(value, dict) else cast(Iterable[object], value):
            if type(item) not in (str, int, float, bool, bytes):
                _refuse_lost_files(spec, task, item, depth + 1)
