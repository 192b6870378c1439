"""The programs that tasks name as their tools: what of them enters keys.

It decides what stands for a program: its digest, or what it says of its version.

The invariant: each is looked at once, so that it has one answer while a project is open.
"""

import os
import subprocess
from collections.abc import Callable

from merkl.errors import InputMissing
from merkl.snapshot.recorder import vouching
from merkl.workspace.index import FileIndex


class Tools:
    """The tools that a project was asked about; ``index`` gives the index when it is needed first."""

    def __init__(self, index: Callable[[], FileIndex]) -> None:
        self._index = index
        self._known: dict[str, str] = {}

    def answer(self, spec: str) -> str:
        """A program's digest, or what a command line that asks for its version prints.

        Raises:
            InputMissing: it is not there, or does not say.
        """
        known = self._known.get(spec)
        if known is None:
            known = self._known[spec] = self._look(spec)
        return known

    def files(self) -> list[str]:
        """The programs behind the tools that were asked about, as absolute paths without links."""
        import shutil

        found = (shutil.which(spec.split()[0]) for spec in self._known)
        return sorted({os.path.realpath(path) for path in found if path is not None})

    def _look(self, spec: str) -> str:
        import shutil

        words = spec.split()
        found = shutil.which(words[0]) if words else None
        if found is None:
            raise InputMissing(
                f"the tool {words[0] if words else spec!r} is not on PATH",
                hint="install it, or take it out of tools=",
            )
        if len(words) == 1:
            return self._index().source(os.path.realpath(found), "file").digest.hex()
        try:
            with vouching(found):
                done = subprocess.run(
                    [found, *words[1:]], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise InputMissing(f"the tool {spec!r} did not say its version: {error}") from None
        return (done.stdout or done.stderr).decode("utf-8", "replace").strip()
