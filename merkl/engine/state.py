"""The state of a project: its index, its store, the remote and the views, and what they say of its files.

It decides what is opened, over what, and where.  It knows no nodes' order, no tasks and no user code.

The invariant: index and store are opened when something first needs them, so that loading a Merklfile that names no file
touches neither.
"""

import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from merkl.config import Config
from merkl.digest import Digest, Key
from merkl.errors import InputMissing, NotTrusted
from merkl.events import Note
from merkl.nodes import Artifact, Node
from merkl.remotes import NAMESPACE
from merkl.signals import put_off
from merkl.trust.directories import why_unsafe
from merkl.workspace.drafts import end_drafts
from merkl.workspace.index import FileIndex

if TYPE_CHECKING:  # `merkl list` needs no store.
    from merkl.engine.owncaches import OwnCaches
    from merkl.engine.shelter import Shelter
    from merkl.store.base import Discovered, Record, Store
    from merkl.store.builds import BuildLease
    from merkl.store.layered import Layered
    from merkl.store.local import LocalStore
    from merkl.store.remote.remote import Remote
    from merkl.store.views import Views
    from merkl.trust.trust import Trust


class ProjectState:
    """What a project has on disk, for who builds in it and for who only looks after it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.root = config.root
        self.lease: BuildLease | None = None
        self.caches: OwnCaches | None = None  # Once a task has one of its own.
        self.passing: dict[Key, Record] = {}  # What interrupted tasks returned; it holds until a build ends.
        self.notes: list[Note] = []
        self._outside: dict[str, Digest | None] = {}

    @cached_property
    def index(self) -> FileIndex:
        """What is remembered of the workspace's files."""
        self._make_state()
        return FileIndex(self.root, self.config.state, rehash=self.config.rehash)

    @cached_property
    def store(self) -> "LocalStore":
        """Records and blobs of this machine."""
        from merkl.store.local import LocalStore

        self._make_state()
        store = LocalStore(self.config.store, accepts=self._accepts)  # Nothing is read there yet.
        self._refuse_unsafe(self.config.store)
        state = os.path.realpath(self.config.state)
        if not os.path.realpath(store.directory).startswith(state + os.sep):
            store.enter_user(state)
        return store

    @cached_property
    def remote(self) -> "Remote | None":
        """The store that others use too, if the project has one.  Not asked for anything yet."""
        if self.config.remote is None:
            return None
        from merkl.store.remote.places import open_objects
        from merkl.store.remote.remote import Remote

        objects = open_objects(self.config.remote.url, self.root, self.config.remote)
        state = os.path.join(self.config.state, "remote")
        return Remote(objects, state, self.trust, strict=self.config.remote.required)

    def _refuse_unsafe(self, directory: str) -> None:
        """Refuse a store in which somebody else may have put what this user would run.

        Raises:
            NotTrusted: it is such a store, and the user has not said that it may be used.
        """
        # First without asking what the user has said, which is seldom needed.
        if why_unsafe(directory) and (why := self.trust.why_unsafe_store(directory)):
            raise NotTrusted(
                f"the store {directory} {why}, so anything could have been put there",
                hint=f"if that is as it should be: {self.trust.allowing_store(directory)}",
            )

    def _accepts(self, record: "Record") -> bool:
        return self.trust.accepts(record.origin, pickles=record.runs_code)

    @cached_property
    def trust(self) -> "Trust":
        """Whose results count here."""
        from merkl.trust.proposals import proposal_of
        from merkl.trust.trust import Trust

        remote = self.config.remote
        namespace = NAMESPACE if remote is None else remote.namespace
        proposal = proposal_of((self.config.settings or {}).get("trust"), namespace)
        executors = [f"{each.name} {each.place}" for each in self.config.executors.values()]
        return Trust(namespace, proposal=proposal, root=self.root, executors=executors)

    @cached_property
    def results(self) -> "Store":
        """Records and blobs of this machine, and behind them those of the remote, if there is one."""
        settings = self.config.remote
        if self.caches is not None:
            from merkl.store.layered import Layered

            return Layered(self.store, self.caches, required=settings is not None and settings.required)
        return self.store if settings is None else self.over_remote(required=settings.required)

    def heed(self, node: Node, key: Key) -> None:
        """Hear under which content key a node is asked for."""
        if self.caches is not None:
            self.caches.heed(node, key)

    def expect_remote(self) -> None:
        """See that a required remote can be used, also by a build that does not ask it for results.

        Raises:
            StoreError: it cannot.
        """
        if self.remote is not None and self.config.remote is not None and self.config.remote.required:
            _ = self.remote.contents  # Which asks it once what it is.

    def over_remote(self, *, required: bool) -> "Layered":
        """The store of this machine over the remote, which there must be; ``required``: a fault of that is an error."""
        from merkl.store.layered import Layered

        assert self.remote is not None
        return Layered(self.store, self.remote, required=required)

    @cached_property
    def shelter(self) -> "Shelter":
        """The store, and beside it what it cannot take."""
        from merkl.engine.shelter import Shelter

        name = f"{self.lease.id if self.lease is not None else os.getpid()}-kept"
        directory = os.path.join(self.config.state, "run", name)
        return Shelter(self.results, directory, self.caches, self.passing)

    @cached_property
    def views(self) -> "Views":
        """Read-only paths to blobs; those made during a build are safe from gc while it lives."""
        return self._views_of(self.store)

    @cached_property
    def sheltered_views(self) -> "Views":
        """The same for what the store could not take."""
        return self._views_of(self.shelter.own())

    def _views_of(self, store: "LocalStore") -> "Views":
        from merkl.store.views import Views

        return Views(store, os.path.join(self.config.state, "view"), self.lease)

    def view(self, artifact: Artifact, name: bytes) -> bytes:
        """The absolute path of a read-only view of an artifact, called ``name``.

        Raises:
            StoreCorrupt: its bytes are gone or damaged.
        """
        self.shelter.bring([artifact])
        self.shelter.alone(artifact)
        views = self.sheltered_views if self.shelter.sheltered(artifact.digest) else self.views
        if artifact.kind == "dir":
            return views.tree(artifact.digest, name)
        return views.path(artifact.digest, name, artifact.executable)

    def damaged(self, paths: Sequence[bytes]) -> list[Digest]:
        """Which of the views at ``paths`` were changed since they were handed out."""
        opened = [self.__dict__[name] for name in ("views", "sheltered_views") if name in self.__dict__]
        return [digest for views in opened for digest in views.check(paths)]

    def hold(self, lease: "BuildLease | None") -> None:
        """Say which build uses the project from now on.  What a build could not store is kept until the next begins."""
        self.lease = lease
        self._outside.clear()
        for name in ("views", "sheltered_views"):
            self.__dict__.pop(name, None)
        if lease is not None:
            self._leave_shelter()

    def _leave_shelter(self) -> None:
        shelter = self.__dict__.pop("shelter", None)
        if shelter is not None:
            shelter.close()

    def _make_state(self) -> None:
        state = self.config.state
        try:
            os.makedirs(state, exist_ok=True)
            ignore = os.path.join(state, ".gitignore")
            # Empty if an earlier process was killed while it wrote it.
            if not os.path.exists(ignore) or os.path.getsize(ignore) == 0:
                with open(ignore, "w", encoding="ascii") as file:
                    file.write("*\n")
        except OSError:
            pass  # A read-only project: the index and the store say what follows from it.

    def close(self) -> None:
        """Write back what is remembered and close the databases, whoever asks for the end meanwhile.  Idempotent."""
        with put_off():
            self._close()

    def _close(self) -> None:
        self._leave_shelter()
        for name in ("index", "results", "store", "remote"):
            opened = self.__dict__.pop(name, None)
            if opened is not None:
                opened.close()
        self.__dict__.pop("trust", None)  # Who goes on may have been told of another key.
        end_drafts(self.root)
        for name in ("views", "sheltered_views"):
            self.__dict__.pop(name, None)

    def take_notes(self) -> list[Note]:
        """What index and store have to say to the user since the last call."""
        notes: list[Note] = []
        if "index" in self.__dict__:
            notes += self.index.notes
            self.index.notes.clear()
        for name in ("results", "store"):
            if name in self.__dict__:
                notes += self.__dict__[name].take_notes()
        if "shelter" in self.__dict__:
            notes += self.shelter.notes
            self.shelter.notes.clear()
        notes += self.notes
        self.notes.clear()
        return notes

    # ---- discovered inputs ---------------------------------------------------------------------------------------

    def digest_at(self, path: str) -> Digest | None:
        """The digest of the file at a normalised path now, or None if there is no regular file."""
        try:
            return self.index.source(path, "file").digest
        except InputMissing:
            return None

    def _digest_outside(self, path: str) -> Digest | None:
        """As ``digest_at``, asked once a build: a thousand C files name the same system headers."""
        if path not in self._outside:
            self._outside[path] = self.digest_at(path)
        return self._outside[path]

    def first_change(self, discovered: "Discovered") -> str | None:
        """The first path of a discovered set that is no longer what it was, or None."""
        for path, digest in discovered.files.items():
            if digest is None:
                changed = has_files(os.path.join(self.root, path))
            elif path.startswith("/"):
                changed = self._digest_outside(path) != digest
            else:
                changed = self.digest_at(path) != digest
            if changed:
                return str(path)
        return None


def has_files(path: str) -> bool:
    """Whether something is at a path that could be read: a directory counts only if there is a file in it."""
    if not os.path.lexists(path):
        return False
    if os.path.islink(path):
        return True
    try:
        with os.scandir(path) as entries:
            return any(has_files(entry.path) for entry in entries)
    except FileNotFoundError:
        return False
    except OSError:  # No directory, or one that cannot be read.
        return True
