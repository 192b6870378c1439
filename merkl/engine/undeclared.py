"""``--check-deps``: what a task used and did not declare.

It decides what a task may use: its sources and tools, the views of what it depends on, its own staging directory and
TMPDIR, what its depfile names, the code that its key covers, and whatever lies outside of the project.

The invariant: nothing here changes what a task does or sees; only with ``strict`` its result is refused.
"""

import functools
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, Protocol

from merkl import events
from merkl.bash.task import BashCall
from merkl.dataclass import dataclass, replace
from merkl.digest import Digest, Key
from merkl.engine.declaring import GIT, STATE, advice
from merkl.errors import UndeclaredUse, UsageError
from merkl.events import Reporter, Use
from merkl.execute.base import Job, ProcessJob
from merkl.execute.workplace import Workplace
from merkl.nodes import Node
from merkl.store.base import Discovered
from merkl.tracing.accesses import FAINT, Access, Deed, settled
from merkl.tracing.strace import Strace, find_strace
from merkl.tracing.trace import accesses
from merkl.tracing.window import TRACE, Watch, read_noted

_WHOLE: Final = (os.fsencode(GIT), b"node_modules")  # Directories of which one line is told.
_STATE: Final = os.fsencode(STATE) + b"/"
_VIEWS: Final = _STATE + b"view/"
_SHARED: Final = (_VIEWS, _STATE + b"stage/", _STATE + b"run/")  # What a call might wrongly use.
_INSTALLED: Final = (b"pyvenv.cfg", b"conda-meta")  # What tells an environment of programs.
_MOST_NAMED: Final = 3


class Looked(Protocol):
    """What is asked of an attempt."""

    node: Node
    place: Workplace
    job: Job | None
    views: Mapping[tuple[bytes, bool, Digest], bytes]


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What a task may use, by absolute paths: those files, and what is below those directories.

    ``own`` are directories in which it may do what it likes; ``of_calls`` if it is a Python call.
    """

    files: frozenset[bytes]
    below: tuple[bytes, ...]
    own: tuple[bytes, ...]
    of_call: bool

    def has(self, path: bytes) -> bool:
        return path in self.files or (path + b"/").startswith(self.below)


class Check:
    """Looks at each task of one build that runs."""

    def __init__(
        self, root: str, reporter: Reporter, labels: Mapping[Key, str], nodes: Iterable[Node], *, strict: bool
    ) -> None:
        """Find out what there is to look with.

        Raises:
            UsageError: it is ``strict``, there are commands, and nothing to look at them with.
        """
        self.reporter = reporter
        self.labels = labels
        self.strict = strict
        self.strace, self.lack = _strace_on(os.environ.get("PATH"))
        if strict and self.strace is None and any(isinstance(node.call, BashCall) for node in nodes):
            raise UsageError(
                f"--strict-deps cannot look at commands: {self.lack}",
                hint="install strace, or use --check-deps, which looks at Python tasks without it",
            )
        self.watch = Watch(self.strace)
        self._root = os.path.realpath(os.fsencode(root))
        self._given_root = os.fsencode(root)
        self._prefix = self._root.rstrip(b"/") + b"/"
        self._checked = self._found = self._blind = 0
        self._unseen: Counter[str] = Counter()  # By why.

    def watched(self, attempt: Looked, job: Job) -> Job:
        """The job, under strace if it is a command."""
        if not isinstance(job, ProcessJob) or self.strace is None or job.interactive:
            return job
        if not os.access(job.argv[0], os.X_OK):
            return job  # It will not start, and says so best by itself.
        trace = os.path.join(self._given_root, attempt.place.run, os.fsencode(TRACE))
        return replace(job, argv=[*self.strace.prefix(trace), *job.argv])

    def look(
        self,
        attempt: Looked,
        discovered: Discovered | None,
        placed_by: Callable[[str], str | None],
        *,
        failed: bool = False,
    ) -> None:
        """Report what an attempt that ended used and did not declare.

        Raises:
            UndeclaredUse: it did, it is to be refused, and it has not ``failed`` already.
        """
        node = attempt.node
        seen = self._accesses(attempt)
        if isinstance(seen, str):
            self._unseen[seen] += 1
            return
        self._checked += 1
        strong, faint = self._judged(seen, self._allowed(attempt, discovered))
        uses = [self._use(node, access, placed_by) for access in strong]
        self._found += bool(uses)
        refused = self.strict and bool(uses) and not failed
        label = self.labels[node.key]
        if uses or faint:
            others = [self._use(node, access, placed_by) for access in faint]
            self.reporter.report(events.Undeclared(node, label, uses, others, refused))
        if refused:
            raise _refusal(node, label, uses)

    def notes(self, answered: int) -> Iterator[events.Note]:
        """What to say when all has ended, and the store has ``answered`` for that many tasks."""
        for why, count in self._unseen.items():
            yield events.Note(f"{_tasks(count)} ran without being looked at: {why}")
        if self._blind:
            lack = self.lack or "strace could not attach to them"
            what = "what child processes and C extensions of Python tasks use was not seen"
            yield events.Note(f"{what}: {lack}")
        if self._found:
            found = f"{_tasks(self._found)} of {self._checked} that ran used what is not declared"
        else:
            found = f"{_tasks(self._checked)} ran and used nothing undeclared" if self._checked else ""
        asleep = f"{_tasks(answered)} did not run and could not be looked at" if answered else ""
        hint = "merkl build --check-deps -B runs all of them" if answered else ""
        if found or asleep:
            yield events.Note("; ".join(filter(None, (found, asleep))), hint)

    # ---- what was done ----

    def _accesses(self, attempt: Looked) -> list[Access] | str:
        """What an attempt did, in the end, or why nobody looked."""
        run = os.path.join(self._given_root, attempt.place.run)
        trace = os.path.join(run, os.fsencode(TRACE))
        if isinstance(attempt.node.call, BashCall):
            if self.strace is None:
                return self.lack
            if attempt.node.call.interactive:
                return "a command that has the terminal is left alone"
            if not os.path.exists(trace):
                return "it did not start"
            assert isinstance(attempt.job, ProcessJob)
            return list(settled(accesses(trace, attempt.job.cwd)))
        noted = read_noted(run)
        if noted is None:
            return "its process died"
        self._blind += not noted.traced
        found = settled(chain(accesses(trace, self._root, is_python=True), noted.accesses))
        return [access for access in found if access.path not in noted.modules or access.deed == "wrote"]

    def _allowed(self, attempt: Looked, discovered: Discovered | None) -> _Allowed:
        node, place = attempt.node, attempt.place
        named = [source.path for source in node.sources if source.kind == "file"]
        named += [path for path in discovered.files if path] if discovered is not None else []
        if isinstance(node.call, BashCall):
            tools = [shutil.which(spec.split()[0]) for spec, _ in node.call.tools if spec.split()]
            named += [tool for tool in tools if tool is not None]
        views = [os.path.join(self._root, path) for path in attempt.views.values()]
        trees = [os.fsencode(source.path) for source in node.sources if source.kind == "dir"]
        own = [place.stage, place.run]
        return _Allowed(
            files=frozenset([*views, *self._both(map(os.fsencode, named))]),
            below=tuple(path + b"/" for path in [*views, *self._both(trees)]),
            own=tuple(os.path.join(self._root, path) + b"/" for path in own),
            of_call=not isinstance(node.call, BashCall),
        )

    def _both(self, paths: Iterable[bytes]) -> Iterator[bytes]:
        """Each path as it is named, and what is really there."""
        for path in paths:
            named = os.path.normpath(os.path.join(self._root, path))
            yield named
            yield os.path.realpath(named)

    # ---- what of it is undeclared ----

    def _judged(self, seen: Sequence[Access], allowed: _Allowed) -> tuple[list[Access], list[Access]]:
        """What is undeclared, and what is faintly so; paths are relative to the project, each deed to each told once."""
        found: dict[tuple[str, bytes], Access] = {}
        for access in seen:
            path = access.path if access.deed in ("connected", "variable") else self._told(access, allowed)
            if path:
                found.setdefault((access.deed, path), replace(access, path=path))
        strong = [access for access in found.values() if access.deed not in FAINT]
        paths = {access.path for access in strong}
        above = {path[: path.rfind(b"/")] for path in paths}
        strong = [access for access in strong if not (access.deed == "made" and access.path in above)]
        faint = [access for access in found.values() if access.deed in FAINT and access.path not in paths]
        order = functools.partial(sorted, key=lambda access: (access.path, access.deed))
        return order(strong), order(faint)

    def _told(self, access: Access, allowed: _Allowed) -> bytes:
        """The path under which an access is told, relative to the project; empty if it is none of our business."""
        path = self._placed(access.path)
        if not (path + b"/").startswith(self._prefix) or (path + b"/").startswith(allowed.own):
            return b""
        name = path[len(self._prefix) :]
        if b"/__pycache__/" in b"/" + name + b"/":
            source = _source_of(path)
            if access.deed not in ("read", "ran") or not source:
                return b""
            path, name = source, source[len(self._prefix) :]
        if name.startswith(_STATE) and allowed.of_call and not name.startswith(_SHARED):
            return b""  # The store is read on behalf of the call, and by merkl itself beside it.
        if access.deed not in ("wrote", "made", "removed") and (
            allowed.has(path) or allowed.has(os.path.realpath(path))
        ):
            return b""
        if self._is_noise(access, path) or self._is_installed(os.path.dirname(path)):
            return b""
        return _whole(name, access.deed) or b"."

    def _placed(self, path: bytes) -> bytes:
        """A path with links in its directory resolved, if that is what it takes to see that it is in the project."""
        if path.startswith(self._prefix) or path == self._root:
            return path
        if self._root == self._given_root:
            return path
        return os.path.join(_real(os.path.dirname(path)), os.path.basename(path))

    def _is_noise(self, access: Access, path: bytes) -> bool:
        if access.deed == "listed":
            return access.by_python and not access.at
        if access.deed in ("examined", "read", "sought") and os.path.isdir(path):
            return True
        return access.deed == "made" and not os.path.isdir(path)

    def _is_installed(self, folder: bytes) -> bool:
        """Whether a directory belongs to an environment of installed programs, such as a virtual environment."""
        while (folder + b"/").startswith(self._prefix):
            if _has_mark(folder):
                return True
            if folder == self._root:
                break
            folder = os.path.dirname(folder)
        return False

    def _use(self, node: Node, access: Access, placed_by: Callable[[str], str | None]) -> Use:
        path = os.fsdecode(access.path)
        maker = placed_by(path) if access.deed in ("read", "ran", "listed") else None
        return Use(access.deed, path, access.at, advice(node, access.deed, path, maker))


@functools.cache
def _strace_on(path: str | None) -> tuple[Strace | None, str]:
    """Tried once for all that a Merklfile evaluates."""
    return find_strace(path)


@functools.cache
def _real(folder: bytes) -> bytes:
    return os.path.realpath(folder)


@functools.lru_cache(maxsize=10_000)
def _has_mark(folder: bytes) -> bool:
    return any(os.path.lexists(os.path.join(folder, mark)) for mark in _INSTALLED)


def _source_of(path: bytes) -> bytes:
    """The text that a ``.pyc`` was compiled from; empty if it is none."""
    folder, name = os.path.split(path)
    stem, dot, _ = name.partition(b".")
    return os.path.join(os.path.dirname(folder), stem + b".py") if dot and name.endswith(b".pyc") else b""


def _whole(name: bytes, deed: Deed) -> bytes:
    """The path, up to a directory of which only one line is told."""
    if name.startswith(_STATE) and (deed == "listed" or not name.startswith(_VIEWS)):
        return _STATE.rstrip(b"/")
    parts = name.split(b"/")
    for index, part in enumerate(parts):
        if part in _WHOLE:
            return b"/".join(parts[: index + 1])
    return name


def _tasks(count: int) -> str:
    return f"{count} task" if count == 1 else f"{count} tasks"


def _refusal(node: Node, label: str, uses: Sequence[Use]) -> UndeclaredUse:
    paths = list(dict.fromkeys(use.path for use in uses))
    more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    lines = [
        f"{use.deed} {use.path}"
        + (f" ({use.at})" if use.at else "")
        + (f": {use.advice}" if use.advice else "")
        for use in uses
    ]
    return UndeclaredUse(
        f"{node.name} uses what it does not declare: {', '.join(paths[:_MOST_NAMED])}{more}",
        hint="declare it, or build with --check-deps, which only tells",
        task=label,
        at=node.place,
        undeclared="\n".join(lines),
    )
