"""``merkl pull``: the data of sidecars, from the store of this machine or from the remote, to where it belongs.

It decides what may be replaced, and what is fetched together.  It runs nothing, reads no value and loads no Merklfile.

The invariant: what is replaced is what merkl knew there, or is in a store, or was put into one just before; and a path has
the old data or the new, whole.
"""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from merkl.dataclass import dataclass, field
from merkl.digest import Digest
from merkl.engine.arriving import LARGE, Arriving
from merkl.engine.left import link_in_place, modified, never_placed, one_of_two
from merkl.engine.lost import damaged_everywhere, in_no_cache
from merkl.engine.project import Project
from merkl.engine.replacing import save_edit, save_link
from merkl.engine.standing import Standing, agree, is_what, standing
from merkl.engine.transfer import Gate, Moved, Stopped, Transfer, Watcher, artifact_of, sidecar_gone
from merkl.errors import (
    MerklError,
    OutOfDate,
    PlacementError,
    StoreCorrupt,
    StoreError,
    TaskFailed,
)
from merkl.nodes import Artifact, Kind
from merkl.stamp import Absent, Stamp
from merkl.store.base import Store
from merkl.store.layered import Layered
from merkl.tree import Tree
from merkl.workspace import ledger
from merkl.workspace.copying import Content
from merkl.workspace.drafts import sweep_drafts
from merkl.workspace.index import Other
from merkl.workspace.patching import apply_patch, is_between, patch_between
from merkl.workspace.paths import absolute
from merkl.workspace.place import link_at, place_file, place_tree
from merkl.workspace.reach import NothingThere, parent_of
from merkl.workspace.sidecar import Sidecar

_AT_ONCE: Final = 64_000_000  # Bytes fetched before they are placed.
_MOST: Final = 500  # Paths fetched before they are placed.


@dataclass(frozen=True, slots=True)
class _Job:
    """A path whose data is to be put there; ``lacking`` are the contents that this machine lacks, with their sizes.

    ``lost`` are those that the remote lacks too.
    """

    stood: Standing
    sidecar: Sidecar
    lacking: dict[Digest, int] = field(default_factory=dict)
    lost: frozenset[Digest] = frozenset()

    @property
    def size(self) -> int:
        """The bytes to fetch."""
        return sum(self.lacking.values())


def pull(
    project: Project, paths: Sequence[str], watcher: Watcher, *, force: bool = False, dry_run: bool = False
) -> Transfer:
    """Bring the data at ``paths``, each with a sidecar, to what its sidecar says.

    Modified data is left, unless ``force``: then it is saved first.  With ``dry_run`` nothing is written.
    """
    return _Pull(project, watcher, force, dry_run).run(paths)


class _Pull:
    def __init__(self, project: Project, watcher: Watcher, force: bool, dry_run: bool) -> None:
        self._project = project
        self._watcher = watcher
        self._force = force
        self._dry_run = dry_run
        self._synced = False
        self._gate = Gate(watcher)
        self._done = Transfer()
        self._layered: Layered | None = None
        if project.config.remote is not None:
            self._layered = project.over_remote(required=True)
            self._layered.came = self._gate.passed
        self._store: Store = project.store if self._layered is None else self._layered

    def run(self, paths: Sequence[str]) -> Transfer:
        """Do it all."""
        jobs: list[_Job] = []
        try:
            if not self._dry_run:
                sweep_drafts(self._project.root)
                self._project.store.sweep()
            jobs = list(self._jobs(paths))
            self._watcher.expect(sum(job.size for job in jobs if not job.lost))
            while jobs:
                batch = _batch(jobs)
                self._fetch(batch)
                for job in batch:
                    self._place(job)
                del jobs[: len(batch)]
                self._project.index.flush()
        except StoreError as error:
            self._done.break_off(error, paths)
        except BaseException:
            self._gate.shut()
            raise
        finally:
            self._close()
        return self._done

    def _close(self) -> None:
        self._project.index.flush()
        if self._layered is not None:
            self._done.notes += self._layered.take_notes()
            self._layered.close()

    def _end(self, path: str, moved: Moved) -> None:
        assert moved.path == path
        self._done.moved.append(moved)
        self._watcher.ended(moved)

    def _leave(self, path: str, error: MerklError) -> None:
        self._end(path, Moved(path, "left", error=error))

    # ---- what there is to do -----------------------------------------------------------------------------------------

    def _jobs(self, paths: Sequence[str]) -> Iterator[_Job]:
        """What is to be fetched and placed; of the rest it is said at once what becomes of it."""
        twins = one_of_two(self._project.root, paths)
        todo: list[tuple[Standing, Sidecar]] = []
        for stood in standing(self._project, paths):
            if stood.path in twins:
                self._leave(stood.path, twins[stood.path])
            elif stood.sidecar is None:
                self._leave(stood.path, stood.error or sidecar_gone(stood.path))
            elif stood.state == "fresh":
                if not self._dry_run:
                    _give_time(self._project, stood.path, stood.sidecar)
                self._end(stood.path, Moved(stood.path, "unchanged"))
            elif (refusal := self._refusal(stood, stood.sidecar)) is not None:
                self._leave(stood.path, refusal)
            else:
                todo.append((stood, stood.sidecar))
        yield from self._lacking(todo)

    def _refusal(self, stood: Standing, sidecar: Sidecar) -> MerklError | None:
        """Why nothing may be put there, if so."""
        never = never_placed(stood.path)
        if never is not None:
            return never
        if stood.link:
            return None if self._force else link_in_place(stood)
        if isinstance(stood.found, Other):
            return PlacementError(
                f"cannot pull {stood.path}: {stood.found.what}", hint="see `ls -ld`, or move it away"
            )
        if stood.state == "modified" and not self._force and not self._is_half_pulled(stood, sidecar):
            return modified(self._project, stood.path, sidecar)
        return None

    def _is_half_pulled(self, stood: Standing, sidecar: Sidecar) -> bool:
        """Whether a directory is what a pull leaves that was killed: each file the one from before or the one that it brought."""
        before = self._project.index.agreed([stood.path]).get(stood.path)
        if (
            before is None
            or not before.kind == sidecar.kind == "dir"
            or not isinstance(stood.found, Artifact)
            or stood.found.kind != "dir"
        ):
            return False
        old, new = self._tree_of(before.digest), self._tree_of(sidecar.digest)
        return old is not None and new is not None and is_between(self._tree_at(stood.path), old, new)

    def _tree_at(self, path: str) -> Tree:
        return self._project.index.tree(path, "look")

    def _tree_of(self, digest: Digest) -> Tree | None:
        """The tree of that name, from here or from the remote; None if it is in neither, or is no tree."""
        data = self._project.store.read(digest)
        if data is None and self._layered is not None:
            data = self._layered.lower.read(digest) if self._dry_run else self._layered.read(digest)
        try:
            return None if data is None else Tree.decode(data)
        except ValueError:
            return None

    def _lacking(self, todo: Sequence[tuple[Standing, Sidecar]]) -> Iterator[_Job]:
        """What this machine lacks of each, and what the remote lacks too; asked for all together."""
        needs = [self._needs(sidecar) for _, sidecar in todo]
        asked = {digest for each in needs for digest in each}
        missing = asked - self._project.store.has(asked)
        there = self._layered.lower.has(missing) if self._layered is not None and missing else set()
        counted: set[Digest] = set()  # What two paths lack is fetched once.
        for (stood, sidecar), needed in zip(todo, needs, strict=True):
            own = {digest: size for digest, size in needed.items() if digest in missing}
            lost = frozenset(own.keys() - there)
            if not lost:
                own = {digest: size for digest, size in own.items() if digest not in counted}
                counted |= own.keys()
            yield _Job(stood, sidecar, own, lost)

    def _needs(self, sidecar: Sidecar) -> dict[Digest, int]:
        """The contents of what a sidecar describes, with their sizes."""
        if sidecar.kind != "dir":
            return {sidecar.digest: sidecar.size}
        tree = self._tree_of(sidecar.digest)
        inside = () if tree is None else tree.entries
        files = {
            entry.digest: entry.size for entry in inside if entry.kind == "file" and entry.digest is not None
        }
        return files | {sidecar.digest: 0}

    # ---- doing it ----------------------------------------------------------------------------------------------------

    def _fetch(self, batch: Sequence[_Job]) -> None:
        """Bring the contents of some jobs, and the records of what a node made, so that a build needs no remote for them."""
        if self._layered is None or self._dry_run:
            return
        try:
            wanted = [job for job in batch if not job.lost]
            alone = {digest for job in wanted for digest, size in job.lacking.items() if size >= LARGE}
            self._layered.bring([artifact_of(job.sidecar) for job in wanted], leave=alone)
            self._layered.by_key([job.sidecar.key for job in wanted if job.sidecar.key is not None])
        except Stopped:
            raise KeyboardInterrupt from None

    def _place(self, job: _Job) -> None:
        path = job.stood.path
        if job.lost:
            error = in_no_cache(self._project, path, job.sidecar, remote=self._layered is not None)
            self._leave(path, error)
            return
        if self._dry_run:
            saved = self._force and job.stood.state == "modified"
            self._end(path, Moved(path, "would move", job.size, saved, link=job.stood.link))
            return
        try:
            saved = self._make_way(job)
            self._put(job)
        except StoreCorrupt as corrupt:
            remote = self._layered is not None
            self._leave(path, damaged_everywhere(self._project, path, job.sidecar, corrupt, remote=remote))
        except StoreError:
            raise
        except TaskFailed as refused:  # What is there cannot be saved; no task has to do with it.
            self._leave(path, PlacementError(f"cannot pull {path}: {refused.headline}", hint=refused.hint))
        except MerklError as refused:
            self._leave(path, refused)
        else:
            self._end(path, Moved(path, "moved", job.size, saved, link=job.stood.link))

    def _make_way(self, job: _Job) -> bool:
        """See that what is at the path now may be replaced, and save it if need be; whether it was saved."""
        path, found = job.stood.path, job.stood.found
        self._look_again(job)
        if job.stood.link:
            save_link(self._project, path, job.stood.link)
            return True
        if isinstance(found, Absent):
            return False
        assert isinstance(found, Artifact)
        row = job.stood.placed
        if job.stood.state != "modified":
            if row is not None and is_what(row, found):
                return False
            # It was seen with another sidecar, which names it; whether anybody has its bytes is another question.
            if self._store.present([found]):
                self._outlive_power()
                return False
        elif not self._force:
            return False  # Half pulled: all of it is in one of two directories that are known.
        save_edit(self._project, path, found)
        return True

    def _outlive_power(self) -> None:
        """Before what is in place goes, see that the store's copy, soon the only one, is on the disk; once for all."""
        if not self._synced:
            os.sync()  # All of it was stored before: one call costs less than one for each file.
            self._synced = True

    def _look_again(self, job: _Job) -> None:
        """See that at the path is still what was found there.

        Raises:
            OutOfDate: it is not.
        """
        stood, project = job.stood, self._project
        same = link_at(project.root, stood.path) == stood.link
        if same and not stood.link:  # What a link leads to stays.
            if isinstance(stood.found, Absent):
                same = not os.path.lexists(absolute(stood.path, project.root))
            else:
                same = project.index.look(stood.path) == stood.found
        if not same:
            raise OutOfDate(
                f"{stood.path} was changed while it was pulled, and is left as it is",
                hint=f"`merkl pull {stood.path}` looks again",
            )

    def _put(self, job: _Job) -> None:
        path, sidecar, project = job.stood.path, job.sidecar, self._project
        replace = bool(job.stood.link) or not isinstance(job.stood.found, Absent)
        if sidecar.kind == "dir":
            self._put_tree(job, replace)
        else:
            with self._content(job, sidecar.digest) as content:
                stamp = place_file(
                    project.root,
                    path,
                    content,
                    executable=sidecar.executable,
                    mtime_ns=sidecar.modified_ns,
                    replace=replace,
                    last_look=partial(self._look_again, job),
                )
            project.index.seen(path, stamp, sidecar.digest)
        agree(project, path, sidecar)
        if sidecar.key is not None:
            kind: Kind = "dir" if sidecar.kind == "dir" else "file"
            placed = ledger.Placement(
                kind, sidecar.digest, sidecar.executable, sidecar.key, sidecar.output, sidecar=True
            )
            project.index.set_placed(path, placed)

    def _content(self, job: _Job, digest: Digest) -> Content:
        size = job.lacking.get(digest, 0)
        if size < LARGE or self._layered is None or self._project.store.has([digest]):
            return self._store.reader(digest)
        return Arriving(self._layered, digest, size, self._project.store.directory)

    def _put_tree(self, job: _Job, replace: bool) -> Stamp:
        path, root, when = job.stood.path, self._project.root, job.sidecar.modified_ns
        tree = self._tree_of(job.sidecar.digest)
        if tree is None:
            raise PlacementError(
                f"cannot pull {path}: what its sidecar names is no directory",
                hint="get the sidecar from version control",
            )
        found = job.stood.found
        look, content = partial(self._look_again, job), partial(self._content, job)
        if isinstance(found, Artifact) and found.kind == "dir" and not job.stood.link:
            patch = patch_between(self._tree_at(path), tree)
            if patch is not None:
                stamp = apply_patch(root, path, patch, tree, content, mtime_ns=when, last_look=look)
                if stamp is not None:
                    return stamp
        return place_tree(root, path, tree, content, mtime_ns=when, replace=replace, last_look=look)


def _batch(jobs: Sequence[_Job]) -> list[_Job]:
    """The first jobs, as many as are fetched together."""
    batch: list[_Job] = []
    size = 0
    for job in jobs[:_MOST]:
        if batch and size + job.size > _AT_ONCE:
            break
        batch.append(job)
        size += job.size
    return batch


def _give_time(project: Project, path: str, sidecar: Sidecar) -> None:
    """Give fresh data the time of its sidecar.  A time is no state: where it cannot be set, it stays."""
    try:
        with parent_of(project.root, path, create=False) as (directory, name):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            try:
                if os.fstat(fd).st_mtime_ns != sidecar.modified_ns:
                    os.utime(fd, ns=(sidecar.modified_ns, sidecar.modified_ns))
                    if sidecar.kind != "dir":
                        project.index.seen(path, Stamp.of(os.fstat(fd)), sidecar.digest)
            finally:
                os.close(fd)
    except (OSError, MerklError, NothingThere):
        return
