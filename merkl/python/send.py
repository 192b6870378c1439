"""The coordinator's side of a Python call: the task, its arguments and its inputs packed for where it runs, and what came
of it unpacked.

It decides what travels by value.  It runs nothing.

The invariant: what is sent is what the call's key was made from, whatever was edited or rebound since.
"""

import errno
import functools
import itertools
import os
import pickle
import sys
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from merkl.errors import MerklError, SerializationError, TaskError, TaskFailed
from merkl.execute.base import CallJob, Ended, NotStarted, Raised, Returned, WorkerDied
from merkl.execute.meaning import exit_meaning
from merkl.execute.scratch import Scratch
from merkl.execute.secrets import make_private
from merkl.execute.workplace import Staged, Workplace
from merkl.nodes import Artifact, Call, Node
from merkl.python import outside, sources
from merkl.python.advice import advice, in_one_line, silent
from merkl.python.call import FromDep
from merkl.python.code import holds, module_label
from merkl.python.forms import packed
from merkl.python.parcel import Parcel, inputs_seen
from merkl.python.parts import Code
from merkl.python.project import Project, is_beside_us
from merkl.python.run import run_sent
from merkl.python.task import MERKLFILE_MODULE, PythonCall, PythonTask, by_value
from merkl.room import FULL

if TYPE_CHECKING:
    from merkl.python.trail import Watch

_LONGEST_LINE: Final = 4_000  # Characters of a line of an exception: its text may be a whole table.


class Row:
    """What calls of one build have in common that are prepared right after one another: it is looked at once for each task.

    Nothing of the user's may run between the first and the last of them.
    """

    __slots__ = ("_checked", "_common")

    def __init__(self) -> None:
        self._checked: tuple[PythonTask[Any, Any], Code | None] | None = None
        self._common: bytes | None = None

    def check(self, node: Node, call: PythonCall, place: Workplace) -> None:
        """Let what will be sent be what the key of ``node`` was made from.

        Raises:
            TaskError: a global was changed between the call and now.
        """
        checked = self._checked
        if checked is None or checked[0] is not call.task or checked[1] is not call.code:
            _check_code(node, call, _project(place.root, place.modules))
            _register_merklfiles()
            self._checked, self._common = (call.task, call.code), None

    def common(self, call: PythonCall, place: Workplace) -> bytes:
        """What is sent with each call of the task that was checked last."""
        if self._common is None:
            self._common = _common(call, place)
        return self._common


def prepare(
    node: Node, inputs: Sequence[Artifact], place: Workplace, row: Row | None = None, *, lodged: bool = False
) -> CallJob:
    """Pickle a call, which may be one of a ``row``; one that is ``lodged`` has no directories yet.

    Raises:
        TaskError: a global that the function uses was changed after the call.
        SerializationError: the function or an argument cannot be pickled.
    """
    call, row = _call(node), row or Row()
    row.check(node, call, place)
    seen = inputs_seen(node, inputs, place) if inputs else ()
    settings = call.task.settings
    try:
        outs = call.outs if callable(settings.outs) else None
        kinds = tuple([artifact.kind for artifact in inputs])
        arguments = call.arguments
        own = arguments, seen, kinds, place.stage, place.tmp, outs
        payload = _packed(arguments, (run_sent, (row.common(call, place), *own)))
    except MerklError as error:
        error.details.setdefault("task", f"{call.task_name}({call.subject})")
        error.details.setdefault("at", node.place)
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise  # The texts found no room; nothing is wrong with the call.
        raise _unsendable(call, node, error) from error
    log = os.path.join(place.root, place.log)
    if call.secrets:
        make_private(log)
    return CallJob(
        payload=payload,
        log=log,
        cwd=place.root,
        timeout=settings.timeout,
        interactive=settings.interactive,
        nice=settings.nice,
        variables=place.variables,
        scratch=Scratch(place.stage, place.run) if lodged else None,
    )


def parcel(node: Node, place: Workplace) -> Parcel:
    """A call as it goes to another machine, in the project that ``place`` is in.

    Raises:
        TaskError: as ``prepare``.
        SerializationError: likewise.
    """
    call = _call(node)
    _check_code(node, call, Project(os.fsdecode(place.root), place.modules))
    _register_merklfiles()
    outs = call.outs if callable(call.task.settings.outs) else None
    try:
        given = _packed(call.arguments, (call.arguments, outs))
        task = _pickled_task(call)
    except MerklError as error:
        error.details.setdefault("at", node.place)
        raise
    except Exception as error:
        raise _unsendable(call, node, error) from error
    settings = call.task.settings
    return Parcel(
        call.task_name,
        call.subject,
        tuple(call.secrets),
        task,
        packed(call.task.forms),
        given,
        settings.timeout,
        settings.nice,
    )


def texts_of(place: Workplace) -> tuple[dict[str, str], list[str]]:
    """The texts that code was counted from, by path, and the project's modules that are imported, in that order."""
    return sources.texts(), _imported(place)


def _unsendable(call: PythonCall, node: Node, error: Exception) -> SerializationError:
    return SerializationError(
        f"{call.task_name} cannot be sent to a worker: {error}",
        at=node.place,
        hint="make what cannot be pickled inside the function, or in a module that it imports",
    )


@functools.lru_cache(maxsize=4)
def _project(root: bytes, modules: tuple[str, ...]) -> Project:
    """One object for all calls: code is looked up by it."""
    return Project(os.fsdecode(root), modules)


_last: tuple[tuple[Any, ...], bytes] = (), b""


def _common(call: PythonCall, place: Workplace) -> bytes:
    """The last fields of a ``CallSpec``, which the calls of a task in one build have in common, pickled."""
    global _last
    fields = (
        _pickled_task(call),
        place.root,
        place.stores,
        place.modules,
        _texts_file(place),
        os.getpid(),
        place.watch,
        packed(call.task.forms),
    )
    known = _last  # Another thread may have a build, too.
    if fields != known[0]:
        known = _last = fields, pickle.dumps(fields, protocol=5)
    return known[1]


def _packed(arguments: Mapping[str, Any], sent: object) -> bytes:
    """A call as bytes.  What cloudpickle would only send as pickle does goes without it, ten times as fast."""
    if all(map(_is_plain, arguments.values())):
        return pickle.dumps(sent, protocol=5)
    import cloudpickle

    data: bytes = cloudpickle.dumps(sent)
    return data


_PLAIN: Final = frozenset({str, int, float, bool, bytes, type(None), FromDep})


def _is_plain(value: object) -> bool:
    kind = type(value)
    if kind is list or kind is tuple:
        return all(map(_is_plain, cast(Iterable[object], value)))
    if kind is dict:
        return all(map(_is_plain, itertools.chain.from_iterable(cast(dict[object, object], value).items())))
    return kind in _PLAIN


def _call(node: Node) -> PythonCall:
    call = node.call
    assert isinstance(call, PythonCall)
    return call


_pickled: "weakref.WeakKeyDictionary[PythonTask[Any, Any], tuple[Code, bytes]]" = weakref.WeakKeyDictionary()


# The task whose code was last found to be that of the key, in which project, that code, and what it rests on.
_looked_last: "tuple[Project | None, PythonTask[Any, Any] | None, Code | None, Watch | None]" = (None,) * 4


def _check_code(node: Node, call: PythonCall, project: Project) -> None:
    """Compare what will be sent with what the key was made from, as far as it is sent by value.

    Raises:
        TaskError: a global was changed between the call and now, or from outside its module.
    """
    if outside.anything_set():
        _check_outside(node, call, project)
    function = call.task.function
    module = sys.modules.get(function.__module__)
    if call.code is None or module is None or not by_value(module):
        return
    global _looked_last
    where, task, was, watch = _looked_last  # Another thread may have a build, too.
    same = where is project and task is call.task and was is call.code
    if same and (watch is None or holds(watch, project)):
        return
    code = call.task.code(project)
    if code is call.code:
        _looked_last = project, call.task, code, call.task.watch(project)
        return
    label = module_label(function, project) + ":"
    before = {part.name: part for part in call.code.parts if part.name.startswith(label)}
    now = {part.name: part for part in code.parts if part.name.startswith(label)}
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        names = ", ".join(name.removeprefix(label) for name in changed)
        raise TaskError(
            f"{call.task_name} uses what was changed after it was called: {names}",
            at=node.place,
            hint="pass what differs from call to call as an argument",
        )


def _check_outside(node: Node, call: PythonCall, project: Project) -> None:
    """A call must not need what the Merklfile set in a module that a worker imports as it is.

    Raises:
        TaskError: it does.
    """
    if call.code is None:
        return
    foreign, watch = call.task.code(project).foreign, call.task.watch(project)
    found = outside.reached(watch.names if watch is not None else (), foreign)
    if found is not None:
        name, place = found
        raise TaskError(
            f"{call.task_name} uses {name}, which was set from outside its module",
            set=place,
            at=node.place,
            hint="a worker runs no Merklfile, so it would not see that: pass it as an argument, or set it in a module of the "
            "project that the task imports",
        )


def _pickled_task(call: PythonCall) -> bytes:
    """The task as bytes, made once for as long as its code, with the globals it uses, is the same."""
    import cloudpickle

    if call.code is None:
        data: bytes = cloudpickle.dumps(call.task)
        return data
    known = _pickled.get(call.task)
    if known is None or known[0].digest != call.code.digest:
        known = _pickled[call.task] = (call.code, cloudpickle.dumps(call.task))
    return known[1]


_registered: set[str] = set()
_looked_at: tuple[int, str] = (0, "")  # How many modules there were, and the newest.


def _register_merklfiles() -> None:
    """Let cloudpickle send what a Merklfile defines as it is: nobody else could import it."""
    global _looked_at
    there = len(sys.modules), next(reversed(sys.modules))
    if there == _looked_at:
        return
    _looked_at = there
    import cloudpickle

    for name in [name for name in tuple(sys.modules) if name.partition(".")[0] == MERKLFILE_MODULE]:
        if name not in _registered:
            cloudpickle.register_pickle_by_value(sys.modules[name])
            _registered.add(name)


def _texts_file(place: Workplace) -> str:
    """A file with the texts that code was counted from, so that workers run these, whatever is edited meanwhile."""
    if not place.texts:
        return ""
    global _written
    path = f"{os.fsdecode(place.texts)}/{sources.generation()}"
    if path != _written and not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "wb") as file:
            pickle.dump((sources.texts(), _imported(place)), file)
        os.rename(path + ".new", path)
    _written = path
    return path


_written = ""  # It is there: it goes with its build, and no other has one of that name.


def _imported(place: Workplace) -> list[str]:
    """The project's modules that are imported here, in that order, without Merklfiles.

    Nor are those beside merkl in a checkout of its own: its tests are hundreds, and each call needs one at most.
    """
    project = Project(os.fsdecode(place.root), place.modules)
    return [
        name
        for name, module in tuple(sys.modules.items())
        if name != "__main__"
        and name.partition(".")[0] != MERKLFILE_MODULE
        and project.owns_module(getattr(module, "__dict__", {}))
        and not is_beside_us(getattr(module, "__file__", None), project.root)
    ]


# ---- afterwards ----------------------------------------------------------------------------------------------------


def collect(node: Node, ended: Ended, place: Workplace) -> tuple[list[Staged], bool, bool]:
    """The outputs of a call that has ended, and whether it left nothing in its directories, and nobody who could write there.

    Raises:
        TaskFailed: it raised, was stopped, or its worker died.
        MerklError: what it returned cannot be an output.
    """
    call = node.call
    if isinstance(ended.how, Returned):
        made: tuple[list[Staged], bool, bool] = pickle.loads(pickle.loads(ended.how.payload))
        return made
    label = f"{call.task_name}({call.subject})"
    match ended.how:
        case Raised(error, trace):
            if isinstance(error, MerklError):
                error.details.setdefault("task", label)
                error.details.setdefault("at", node.place)
                if isinstance(error, TaskError):  # It would be in the Merklfile, had the task not run.
                    error.exit_code = TaskFailed.exit_code
                raise error
            said = in_one_line(error)
            nothing = "NoneType" in said and silent(
                (dep.future.node for dep in node.deps), os.fsdecode(place.root)
            )
            raise TaskFailed(
                f"{call.task_name} raised {said}", task=label, at=node.place,
                hint=nothing or advice(error),
                traceback="\n".join(map(_short, trace.rstrip().splitlines())),
                output=_tail(place) or None, log=os.fsdecode(place.log),
            ) from error  # fmt: skip
        case WorkerDied(code, timed_out):
            what = (
                f"took longer than {_timeout(call):g} s"
                if timed_out
                else f"lost its process: {exit_meaning(code) if code < 0 else _left_with(code)}"
            )
            raise TaskFailed(
                f"{call.task_name} {what}", task=label, at=node.place, output=_tail(place) or None,
                log=os.fsdecode(place.log),
            )  # fmt: skip
        case NotStarted(error):
            raise TaskFailed(
                f"{call.task_name} could not be started: {error.strerror}",
                task=label,
                at=node.place,
                hint="a limit on processes was reached (ulimit -u): with -j1 most Python tasks need none of their own"
                if error.errno == errno.EAGAIN
                else "",
            )
        case other:
            raise AssertionError(f"a call ended as {other!r}")


def _timeout(call: Call) -> float:
    found = call.task.settings.timeout if isinstance(call, PythonCall) else getattr(call, "timeout", None)
    return 0.0 if found is None else found


def _left_with(code: int) -> str:
    """What is known of a worker that ended by itself in the middle of a call: an exit code means nothing more there."""
    return f"it ended with exit code {code} before the task returned, as after os._exit()"


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}… ({len(line)} characters)"


def _tail(place: Workplace) -> str:
    try:
        with open(os.path.join(place.root, place.log), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 16_384))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-20:])
    except OSError:
        return ""
