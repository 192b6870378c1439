"""The session of code that runs inside a task.

It decides what such code may ask of merkl: the key of a call, which needs no build.

The invariant: nothing that a task asks here can make its result depend on more than its key says, so no value of a
Future is to be had.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Literal, NoReturn

from merkl.dataclass import dataclass, field
from merkl.errors import FutureAccessError, TaskFailed
from merkl.execute.secrets import Secret
from merkl.nodes import Artifact, Construction, Future, Node, PathLike, Source, calling_place
from merkl.python.call import secrets_in
from merkl.stamp import Stamp
from merkl.workspace.hashing import hash_file
from merkl.workspace.paths import absolute, normalise
from merkl.workspace.trees import hash_one, read_tree


@dataclass(slots=True)
class Inside:
    """A ``Session`` in which keys are the same as outside, and nothing is built, placed or forgotten."""

    root: str
    project_modules: tuple[str, ...]
    task: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    _secrets: frozenset[str] | None = None  # The names of those in the arguments, once somebody has asked.

    def made(self, node: Node, called: object = None) -> None:
        """Nodes made inside a task belong to no build."""

    def begin(self, nodes: Sequence[Node]) -> None:
        """Nothing is started: what a task calls belongs to no build."""

    def construct(self, construction: Construction) -> Any:
        """Pipelines are run: to make nodes needs no build."""
        return construction.run()

    def first(self, futures: Sequence[Future[Any]]) -> None:
        """Nothing is run, so there is no order."""

    def looked(self, kind: Literal["file", "files", "params"], path: str, answer: object) -> None:
        """What a task looks at is its own business."""

    def source(self, path: PathLike, kind: Literal["file", "dir", "any"] = "any") -> Source:
        """Stamp and hash a named input."""
        name = normalise(path, self.root, self.root)
        where = absolute(name, self.root)
        if kind == "dir" or (kind == "any" and os.path.isdir(where)):
            tree = read_tree(os.fsencode(where), hash_one, "source", shown=name)
            return Source(name, "dir", tree.digest, False, Stamp.of(os.stat(where)))
        hashed = hash_file(where, shown=name)
        return Source(name, "file", hashed.digest, hashed.stamp.executable, hashed.stamp)

    def environment(self, name: str) -> str | None:
        """A variable as the task sees it."""
        return os.environ.get(name)

    def tool(self, spec: str) -> str:
        """Refused."""
        self._refuse(f"asked for the tool {spec!r}")

    def place(self, future: Future[Any], path: PathLike, sidecar: bool) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse(f"placed {future.node.name} at {os.fsdecode(path)!r}")

    def evaluate(self, futures: Sequence[Future[Any]]) -> list[Any]:
        """Refused: what the value depends on would not be in the key of the task that asks."""
        self._refuse(f"asked for the value of {', '.join(future.node.name for future in futures)}")

    def open(
        self,
        future: Future[Any],
        mode: str,  # noqa: ARG002
        encoding: str | None,  # noqa: ARG002
        newline: str | None,  # noqa: ARG002
    ) -> IO[Any]:
        """Refused, as for ``evaluate``."""
        self._refuse(f"opened the result of {future.node.name}")

    def metadata(self, future: Future[Any]) -> dict[str, Any]:
        """Refused, as for ``evaluate``."""
        self._refuse(f"asked what is recorded of {future.node.name}")

    def keep_briefly(self, future: Future[Any]) -> None:
        """Nothing is built here."""

    def artifact(self, future: Future[Any]) -> Artifact | None:
        """Refused, as for ``evaluate``."""
        self._refuse(f"asked whether {future.node.name} has run")

    def clear(self, futures: Sequence[Future[Any]]) -> None:
        """Refused."""
        self._refuse(f"cleared {', '.join(future.node.name for future in futures)}")

    def from_file(self, path: PathLike) -> Future[Any]:
        """Refused."""
        self._refuse(f"loaded the Future of {os.fsdecode(path)!r}")

    def when_done(self, future: Future[Any], callback: Callable[[Future[Any]], object]) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse(f"waited for {future.node.name}")

    def may_see(self, secret: Secret) -> None:
        """See that a secret whose value is asked for is somewhere in the arguments: then it is hidden, and looked for.

        Raises:
            TaskFailed: it is not.
        """
        if self._secrets is None:
            self._secrets = frozenset(secrets_in(self.arguments))
        if secret.name not in self._secrets:
            raise TaskFailed(
                f"{self.task} asks for the value of {secret!r}, which is none of its arguments",
                hint="pass it as an argument, or as a default: else it could stay in the log, or in the result",
            )

    def _refuse(self, what: str) -> NoReturn:
        raise FutureAccessError(
            f"{self.task} {what} while it ran, which a task cannot do",
            hint="pass the Future to the task as an argument; to run another task's function right here, "
            "call its .function(…)",
            at=calling_place(),
        )
