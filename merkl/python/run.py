"""Running one call of a Python task, in a worker or here, and what it leaves as outputs.

It decides how a result is written.  It keeps no records.

The invariant: a call is pickled whole before it runs, so running it inline or in a worker gives the same result.
"""

import os
import pickle
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from merkl.errors import MerklError, SerializationError, TaskFailed
from merkl.execute.base import CallJob, Ended, NotStarted, Raised, Returned, WorkerDied
from merkl.execute.meaning import exit_meaning
from merkl.execute.workplace import Staged, Workplace
from merkl.nodes import Artifact, Node
from merkl.python import sources
from merkl.python.call import filled
from merkl.python.outs import split_result
from merkl.python.project import Project
from merkl.python.task import PythonCall, PythonTask
from merkl.store.local import LocalStore
from merkl.store.serializers import by_name, serializer_for
from merkl.workspace.refs import DirRef, FileRef

IN_FRAME: Final = 65_536  # Bytes: a smaller result comes back in the frame, a larger one as a file.


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
    store: str
    modules: tuple[str, ...] = ()


_pickled: dict[int, tuple[PythonTask[Any, Any], bytes]] = {}
_loaded: dict[bytes, PythonTask[Any, Any]] = {}


def prepare(node: Node, inputs: Sequence[Artifact], place: Workplace) -> CallJob:
    """Pickle a call.

    Raises:
        SerializationError: the function or an argument cannot be pickled.
    """
    import cloudpickle

    call = _call(node)
    seen: list[bytes | Artifact] = []
    for dep, artifact in zip(node.deps, inputs, strict=True):
        if artifact.kind == "value":
            seen.append(artifact)
        else:
            name = artifact.filename or dep.future.output or dep.future.node.name
            seen.append(place.view(artifact, os.fsencode(name)))
    try:
        spec = CallSpec(
            task=_pickled_task(call.task),
            arguments=call.arguments,
            inputs=tuple(seen),
            kinds=tuple(artifact.kind for artifact in inputs),
            root=place.root,
            stage=place.stage,
            tmp=place.tmp,
            store=place.store,
            modules=place.modules,
        )
        payload = cloudpickle.dumps((run_call, (spec,)))
    except Exception as error:
        raise SerializationError(
            f"{call.task_name} cannot be sent to a worker: {error}",
            at=node.place,
            hint="its function, its globals and its arguments must be picklable",
        ) from error
    return CallJob(
        payload=payload,
        log=os.path.join(place.root, place.log),
        cwd=place.root,
        timeout=call.task.settings.timeout,
    )


def _call(node: Node) -> PythonCall:
    assert isinstance(node.call, PythonCall)
    return node.call


def _pickled_task(task: PythonTask[Any, Any]) -> bytes:
    """The task as bytes, made once: the globals it uses are those at its first run in this build."""
    import cloudpickle

    known = _pickled.get(id(task))
    if known is None or known[0] is not task:
        known = _pickled[id(task)] = (task, cloudpickle.dumps(task))
    return known[1]


def run_call(spec: CallSpec) -> bytes:
    """Run the function on its values and stage what it returned; the worker's side."""
    _see_sources(Project(os.fsdecode(spec.root), spec.modules))
    task = _loaded.get(spec.task)
    if task is None:
        task = _loaded[spec.task] = pickle.loads(spec.task)
    values = [_value(spec, index) for index in range(len(spec.inputs))]
    arguments = {name: filled(value, values) for name, value in spec.arguments.items()}
    os.makedirs(spec.tmp, exist_ok=True)
    before, os.environ["TMPDIR"], tempfile.tempdir = os.environ.get("TMPDIR"), os.fsdecode(spec.tmp), None
    try:
        result = _apply(task, arguments)
        staged = [
            _stage(spec, task.name, name, value)
            for name, value in split_result(result, task.outs, task.name).items()
        ]
    finally:
        tempfile.tempdir = None
        if before is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = before
    return pickle.dumps(staged, protocol=5)


def _see_sources(project: Project) -> None:
    """Import the project's modules as the coordinator does: from their sources, never from a ``.pyc``."""
    if not sources.installed(project):
        sources.install(project)


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


_stores: dict[tuple[int, str], LocalStore] = {}


def _value(spec: CallSpec, index: int) -> Any:
    given = spec.inputs[index]
    if isinstance(given, bytes):
        path = os.fsdecode(given)
        return DirRef(path) if spec.kinds[index] == "dir" else FileRef(path)
    here = (os.getpid(), spec.store)
    if here not in _stores:
        _stores[here] = LocalStore(spec.store)
    return load_value(_stores[here], given)


def load_value(store: LocalStore, artifact: Artifact) -> Any:
    """The value that an artifact is the written form of.

    Raises:
        StoreCorrupt: its bytes are gone or damaged.
    """
    with store.reader(artifact.digest) as file:
        return by_name(artifact.serializer).load(file)


def _stage(spec: CallSpec, task: str, name: str, value: Any) -> Staged:
    if isinstance(value, (FileRef, DirRef)):
        return _stage_reference(spec, task, name, value)
    serializer = serializer_for(value)
    path = spec.stage + b"/" + (os.fsencode(name) or b"result")
    try:
        with open(os.path.join(spec.root, path), "w+b") as file:
            serializer.dump(value, file)
            size = file.tell()
            if size <= IN_FRAME:
                file.seek(0)
                return Staged(name, "value", data=file.read(), serializer=serializer.name, size=size)
    except MerklError:
        raise
    except Exception as error:
        output = f"output {name!r}" if name else "result"
        raise SerializationError(
            f"{task}: its {output}, of type {type(value).__name__}, cannot be stored: {error}",
            hint="return plain data, arrays or a FileRef",
        ) from error
    return Staged(name, "value", path=path, serializer=serializer.name, size=size)


def _stage_reference(spec: CallSpec, task: str, name: str, ref: FileRef | DirRef) -> Staged:
    """Take a file or directory that the function names into staging: moved if it is the call's own, else copied."""
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
    if source.startswith((spec.tmp + b"/", os.path.join(spec.root, spec.stage) + b"/")):
        os.rename(source, target)
    elif kind == "dir":
        shutil.copytree(os.fsdecode(source), os.fsdecode(target), symlinks=True)
    else:
        shutil.copyfile(source, target)
    return Staged(name, kind, os.fsdecode(filename), path=folder + b"/" + filename, executable=executable)  # type: ignore[arg-type]


# ---- afterwards ----------------------------------------------------------------------------------------------------


def collect(node: Node, ended: Ended, place: Workplace) -> list[Staged]:
    """The outputs of a call that has ended.

    Raises:
        TaskFailed: it raised, was stopped, or its worker died.
        MerklError: what it returned cannot be an output.
    """
    call = _call(node)
    label = f"{call.task_name}({call.subject})"
    match ended.how:
        case Returned(payload):
            staged: list[Staged] = pickle.loads(pickle.loads(payload))
            return staged
        case Raised(error, trace):
            if isinstance(error, MerklError):
                error.details.setdefault("task", label)
                error.details.setdefault("at", node.place)
                raise error
            last = trace.strip().splitlines()[-1] if trace.strip() else repr(error)
            raise TaskFailed(
                f"{call.task_name} raised {last}", task=label, at=node.place, traceback=trace.rstrip(),
                output=_tail(place) or None, log=os.fsdecode(place.log),
            ) from error  # fmt: skip
        case WorkerDied(code, timed_out):
            what = (
                f"took longer than {call.task.settings.timeout:g} s"
                if timed_out
                else f"lost its process: {exit_meaning(code)}"
            )
            raise TaskFailed(
                f"{call.task_name} {what}", task=label, at=node.place, output=_tail(place) or None,
                log=os.fsdecode(place.log),
            )  # fmt: skip
        case NotStarted(error):
            raise TaskFailed(
                f"{call.task_name} could not be started: {error.strerror}", task=label, at=node.place
            )
        case other:
            raise AssertionError(f"a call ended as {other!r}")


def _tail(place: Workplace) -> str:
    try:
        with open(os.path.join(place.root, place.log), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 16_384))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-20:])
    except OSError:
        return ""
