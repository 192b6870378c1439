"""``merkl push``: data of sidecars and results of builds, from the store of this machine to the remote.

It decides which results a request means, and what of them is missing there.  It runs nothing.

The invariant: contents go before the records that name them, a record only when all that it names has arrived; what has
arrived is not sent again.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import BinaryIO, Final

from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.engine.judge import Judge
from merkl.engine.project import Project
from merkl.engine.sidecars import keep
from merkl.engine.standing import standing
from merkl.engine.step import State
from merkl.engine.transfer import (
    Gate,
    Moved,
    Stopped,
    Transfer,
    Watcher,
    artifact_of,
    no_remote,
    sidecar_gone,
)
from merkl.errors import (
    InputMissing,
    MerklError,
    OutOfDate,
    SidecarError,
    StoreCorrupt,
    StoreError,
    TaskFailed,
)
from merkl.events import Note
from merkl.nodes import Artifact, Node
from merkl.store.base import Record
from merkl.store.records import leaves, needs
from merkl.store.remote.remote import Remote
from merkl.store.remote.upload import Result, keep_old, relied_on
from merkl.workspace.sidecar import Sidecar, read_sidecar

_AT_ONCE: Final = 500  # Sidecars, or results, that are sent before the next are looked at.
_DAMAGED: Final = 100  # Contents found damaged while they were sent, after which it is the disk's fault.


@dataclass(frozen=True, slots=True)
class _Load:
    """What belongs together: the data of a sidecar at ``path``, or one result.  ``contents`` have their sizes, if known."""

    path: str
    contents: Mapping[Digest, int | None]
    result: Result | None = None


def push(
    project: Project,
    paths: Sequence[str],
    results: Iterable[Result],
    watcher: Watcher,
    *,
    dry_run: bool = False,
) -> Transfer:
    """Send the data of the sidecars at ``paths``, with what made it, and ``results``.  With ``dry_run`` nothing is sent.

    Raises:
        ConfigError: there is no remote.
    """
    if project.remote is None:
        raise no_remote()
    return _Push(project, project.remote, watcher, dry_run).run(paths, results)


def results_of(project: Project, nodes: Iterable[Node]) -> Iterator[Result]:
    """The results that the store of this machine has of some nodes: all that a build of them would find here."""
    kept = [node for node in nodes if node.cache and node.given is None]
    by_key = project.store.by_key([node.key for node in kept if not node.open])
    yield from (Result(record, tuple({key, record.key})) for key, record in by_key.items())
    rest = [node for node in kept if node.key not in by_key]
    judge = Judge(project.store, project.first_change)
    judge.want(rest)
    for node in rest:
        step = judge.steps[node.key]
        if step.state is State.KNOWN and step.record is not None:
            yield Result(step.record, () if node.open else tuple({node.key, step.record.key}))


def constructions_of(project: Project) -> tuple[list[Result], list[Node]]:
    """What is remembered of the pipelines that were called since the project was opened, and what these evaluated."""
    if project.pipelines is None:
        return [], []
    records = project.store.by_key(list(project.pipelines.keys))
    return [Result(record, (key,)) for key, record in records.items()], list(project.pipelines.evaluated)


def last_results(project: Project) -> Iterator[Result]:
    """The results of all steps that ended well when this project last tried them, by what is remembered of them."""
    steps = iter(project.index.ran())
    while some := list(itertools.islice(steps, _AT_ONCE)):
        by_key = project.store.by_key([key for key, _ in some])
        rest = [content for key, content in some if key not in by_key and content is not None]
        for key, record in by_key.items():
            yield Result(record, tuple({key, record.key}))
        for records in project.store.by_content_key(rest).values():
            # Of an open step there is a record for each set of files that it found: those that are as they were count.
            now = (
                r for r in records if r.discovered is not None and project.first_change(r.discovered) is None
            )
            yield from (Result(record, ()) for record in now)


class _Push:
    def __init__(self, project: Project, remote: Remote, watcher: Watcher, dry_run: bool) -> None:
        self._project = project
        self._store = project.store
        self._remote = remote
        self._watcher = watcher
        self._dry_run = dry_run
        self._gate = Gate(watcher)
        self._done = Transfer()
        self._sent: set[Digest] = set()  # By us, or told to be there; not asked for again.
        self._filed: set[bytes] = set()

    def run(self, paths: Sequence[str], results: Iterable[Result]) -> Transfer:
        """Do it all."""
        todo = list(paths)
        given = iter(results)
        some: list[Result] = []
        try:
            if not self._dry_run:
                self._remote.prepare()
            self._remote.look_again()
            for start in range(0, len(todo), _AT_ONCE):
                self._push_sidecars(todo[start : start + _AT_ONCE])
            while some := list(itertools.islice(given, _AT_ONCE)):
                self._push_results(some)
        except StoreError as error:
            self._done.break_off(error, todo)
            self._done.unsent = [
                result.record.task
                for result in (*some, *given)
                if self._remote.records.is_ours(result.record) and not self._is_filed(result)
            ]
        except Stopped:
            raise KeyboardInterrupt from None
        except BaseException:
            self._gate.shut()
            raise
        finally:
            self._done.notes += self._remote.take_notes()
        return self._done

    def _end(self, moved: Moved) -> None:
        self._done.moved.append(moved)
        self._watcher.ended(moved)

    # ---- sidecars ----------------------------------------------------------------------------------------------------

    def _push_sidecars(self, paths: Sequence[str]) -> None:
        described: dict[str, Sidecar] = {}
        for path in paths:
            try:
                sidecar = read_sidecar(self._project.root, path)
            except SidecarError as error:
                self._end(Moved(path, "left", error=error))
                continue
            if sidecar is None:
                self._end(Moved(path, "left", error=sidecar_gone(path)))
            else:
                described[path] = sidecar
        self._take_in(described)
        loads = [_Load(path, self._contents(artifact_of(sidecar))) for path, sidecar in described.items()]
        sizes, lost = self._send(loads)
        for load in loads:
            path = load.path
            if lost & load.contents.keys():
                self._end(Moved(path, "left", error=self._in_no_store(path, described[path])))
                continue
            size = sum(sizes.pop(digest, 0) for digest in load.contents)
            self._end(
                Moved(path, ("would move" if self._dry_run else "moved") if size else "unchanged", size)
            )
        keys = [sidecar.key for sidecar in described.values() if sidecar.key is not None]
        records = self._store.by_key(keys)
        if records:
            self._push_results([Result(record, tuple({key, record.key})) for key, record in records.items()])

    def _take_in(self, described: Mapping[str, Sidecar]) -> None:
        """Store what only the workspace has: data that is as its sidecar says, and in no store."""
        if self._dry_run:
            return
        artifacts = {path: artifact_of(sidecar) for path, sidecar in described.items()}
        here = self._store.present(artifacts.values())
        absent = {path: each for path, each in artifacts.items() if each.digest not in here}
        there = self._remote.present(absent.values()) if absent else set()
        wanted = [path for path, each in absent.items() if each.digest not in there]
        for stood in standing(self._project, wanted):
            if stood.state == "fresh":
                try:
                    keep(self._store, self._project.root, stood.path, artifacts[stood.path].kind)
                except (InputMissing, TaskFailed):
                    continue  # It changed just now.

    def _in_no_store(self, path: str, sidecar: Sidecar) -> MerklError:
        [stood] = standing(self._project, [path])
        if self._dry_run and stood.state == "fresh":
            return OutOfDate(f"{path} is not in the store yet", hint="`merkl push` stores and sends it")
        missing = stood.state == "missing"
        makes = f"`merkl track {path}` tracks what is there"
        if sidecar.key is not None:
            makes = "`merkl build` the target that makes it"
        elif missing:
            makes = f"`merkl push {path}` on a machine that has it"
        where = "and is not there" if missing else "and what is there is something else"
        return OutOfDate(f"cannot push {path}: its data is not in the store, {where}", hint=makes)

    def _contents(self, artifact: Artifact) -> dict[Digest, int | None]:
        """What an artifact needs, with the sizes that are known."""
        needed: dict[Digest, int | None] = {artifact.digest: None}
        if artifact.kind == "dir":
            needed |= leaves(self._tree(artifact.digest) or b"")
        return needed

    def _tree(self, digest: Digest) -> bytes | None:
        here = self._store.read(digest)
        return self._remote.read(digest) if here is None else here

    # ---- results -----------------------------------------------------------------------------------------------------

    def _push_results(self, given: Sequence[Result]) -> None:
        is_ours = self._remote.records.is_ours
        results = [result for result in given if is_ours(result.record)]
        if len(results) < len(given):
            self._look_for_others([result.record for result in given if not is_ours(result.record)])
        loads = [self._load(result) for result in results if not self._is_filed(result)]
        sizes, lost = self._send(loads)
        whole = [load for load in loads if not lost & load.contents.keys()]
        if not self._dry_run:
            self._remote.file_many(
                (load.result.record, load.result.keys) for load in whole if load.result is not None
            )
        self._filed.update(key for result in results for key in (*result.keys, result.record.content_key))
        if whole:
            size = sum(sizes.values())
            self._end(Moved("", "would move" if self._dry_run else "moved", size, count=len(whole)))
        if len(loads) > len(whole):
            count = len(loads) - len(whole)
            text = f"{count} result{'s' * (count != 1)} not pushed: what they made is no longer in the store"
            self._done.notes.append(Note(text, "`merkl build` makes it again"))

    def _look_for_others(self, records: Sequence[Record]) -> None:
        """See whether the results of others, which are theirs to sign, are there."""
        there = self._remote.by_content_key([record.content_key for record in records])
        count = sum(record.content_key not in there for record in records)
        if count:
            text = f"{count} result{'s' * (count != 1)} not pushed: somebody else made and signed {'them' if count > 1 else 'it'}"
            self._done.notes.append(Note(text, "`merkl push` where that was; or -B makes them here"))

    def _is_filed(self, result: Result) -> bool:
        return bool(result.keys) and all(key in self._filed for key in result.keys)

    def _load(self, result: Result) -> _Load:
        record = result.record
        sizes = {
            artifact.digest: artifact.size for artifact in record.outputs.values() if artifact.kind != "dir"
        }
        return _Load("", {digest: sizes.get(digest) for digest in needs(record, self._tree)}, result)

    # ---- contents ----------------------------------------------------------------------------------------------------

    def _send(self, loads: Sequence[_Load]) -> tuple[dict[Digest, int], set[Digest]]:
        """Send what is missing of some loads, without those that are not whole here; what went, and what is nowhere.

        Raises:
            StoreError: the remote cannot take it.
        """
        went: dict[Digest, int] = {}
        for _ in range(_DAMAGED):
            asked = {
                digest: size
                for load in loads
                for digest, size in load.contents.items()
                if digest not in self._sent
            }
            there = relied_on(self._remote, self._store, asked)
            self._sent |= there.relied
            missing = asked.keys() - there.relied
            lost = missing - self._store.has(missing)
            whole = {digest for load in loads if not lost & load.contents.keys() for digest in load.contents}
            todo = {digest: self._size(digest, asked[digest]) for digest in sorted(missing & whole)}
            if self._dry_run:
                return todo, set(lost)
            self._watcher.expect(sum(todo.values()))

            def send(digests: Iterable[Digest], todo: Mapping[Digest, int] = todo) -> None:
                known = ((digest, todo[digest]) for digest in digests)
                arrived = partial(self._arrived, went)
                self._remote.contents.send(known, self._read, arrived)

            try:
                send(todo)
                keep_old(self._remote, there.old & todo.keys(), send)
            except StoreCorrupt:
                continue  # It has been set aside, so now it is lost.
            return went, set(lost)
        raise StoreCorrupt("many contents of the store are damaged", hint="`merkl fsck` looks at all of them")

    def _size(self, digest: Digest, known: int | None) -> int:
        size = self._store.size(digest) if known is None else known
        return 0 if size is None else size

    def _read(self, digest: Digest) -> BinaryIO:
        return self._gate.reading(self._store.reader(digest))

    def _arrived(self, went: dict[Digest, int], digest: Digest, size: int) -> None:
        went[digest] = size
        self._sent.add(digest)
