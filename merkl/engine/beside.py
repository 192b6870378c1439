"""Sidecars of outputs that a build places, and git, which is to keep them and not the outputs.

It decides what a sidecar says of an output.  Where there is to be one is the placement's.

The invariant: a sidecar describes what is at the path, and the store has that before it; nothing is written where it said so
already.
"""

import os

from merkl import events
from merkl.digest import Digest
from merkl.engine.joint import maker_of
from merkl.engine.placement import Placement
from merkl.engine.project import Project
from merkl.errors import WorkspaceError
from merkl.events import Reporter
from merkl.nodes import Artifact
from merkl.stamp import Stamp
from merkl.workspace.gitignore import add_ignored
from merkl.workspace.sidecar import Sidecar, write_sidecar


class Beside:
    """The sidecars that one build writes."""

    def __init__(self, project: Project, reporter: Reporter) -> None:
        self._project = project
        self._reporter = reporter
        self._written: list[str] = []
        self._kept: list[Digest] = []  # For new sidecars.

    def take_kept(self) -> list[Digest]:
        """What is in the store for the sake of sidecars alone, and those are new, since the last time."""
        kept, self._kept = self._kept, []
        return kept

    def write(self, placement: Placement, artifact: Artifact, *, new: bool) -> None:
        """Write the sidecar of an output that is in its place; ``new`` if it was made in this build."""
        where = os.path.join(self._project.root, placement.path)
        found = self._project.index.look(placement.path)
        kind, digest, size = artifact.kind, artifact.digest, artifact.size
        if isinstance(found, Artifact):
            digest, size = found.digest, found.size
            kind = found.kind
            self._keep(placement.path, found, artifact, new=new)
        node = placement.future.node
        modified = os.stat(where).st_mtime_ns
        sidecar = Sidecar(
            kind, digest, size, modified, artifact.executable, *maker_of(placement), node.name,
            artifact.serializer,
        )  # fmt: skip
        kept = write_sidecar(self._project.root, placement.path, sidecar, resolve=True)
        self._written.append(placement.path)
        if kept.modified_ns != modified:
            os.utime(where, ns=(kept.modified_ns, kept.modified_ns))
            if kind != "dir":
                self._project.index.seen(placement.path, Stamp.of(os.stat(where)), digest)

    def _keep(self, path: str, found: Artifact, artifact: Artifact, *, new: bool) -> None:
        """Let the store have what a sidecar names where that is the bytes of no output, such as a value in another form."""
        if found.kind != "file" or (found.digest == artifact.digest and type(artifact) is Artifact):
            return
        if not self._project.shelter.has([found.digest]):
            self._project.shelter.put_file(os.path.join(self._project.root, path))
            new = True
        if new:
            self._kept.append(found.digest)

    def tell_git(self) -> None:
        """Keep out of git what has a sidecar there."""
        try:
            added = add_ignored(self._project.root, self._written)
        except WorkspaceError as error:
            note = events.Note(f"git may take in outputs that have a sidecar: {error.headline}", error.hint)
            self._reporter.report(note)
            return
        for file, paths in added.items():
            what = paths[0] if len(paths) == 1 else f"{len(paths)} outputs"
            self._reporter.report(events.Note(f"git now ignores {what}, and keeps the sidecar: see {file}"))
