"""A graph in a directory, in one dialect: written, edited, cleaned, and checked after each round.

Invariant: the check asks the files, not the tool: each output holds just what the graph says, and no more outputs were
written than commands the tool says it ran.
"""

import os
import shutil
import subprocess
from collections.abc import Callable

from benchmarks.dialects import Dialect
from benchmarks.graph import Graph, text_of
from benchmarks.turns import Contender, Failed, environ

Stamp = tuple[int, ...]


class Project:
    """``place`` holds the sources and the tool's own files; ``program`` is the path of the tool.

    What is there already stays, but for inputs that were edited.
    """

    def __init__(self, graph: Graph, dialect: Dialect, place: str, program: str) -> None:
        self.graph, self.dialect, self.place, self.program = graph, dialect, place, program
        self.edits: dict[str, str] = {}
        self._stamps: dict[str, Stamp | None] = {}
        self._seen: dict[str, tuple[Stamp, str]] = {}  # Outputs that were read, and what they held.
        new = not os.path.exists(place)
        for path in graph.inputs():
            self._provide(path, text_of(path))
        for name, text in dialect.write(graph).items():
            self._provide(name, text)
        self._directories()
        for words in dialect.begin if new else ():
            subprocess.run([program, *words], cwd=place, env=environ(), check=True, stdout=subprocess.DEVNULL)

    def contender(
        self, prepare: Callable[[], None], commands: int | None, *, again: bool = False
    ) -> Contender:
        """One that must leave every output right in each round; ``commands``: having run just so many.

        ``again``: all was built before, so that outputs may come from a cache, without a command.
        """

        def begin() -> None:
            prepare()
            self._stamps = self._stamped()

        command = [self.program, *self.dialect.words]
        return Contender(self.dialect.name, command, self.place, begin, self._checker(commands, again))

    def clean(self) -> None:
        """Leave neither outputs nor what the tool remembers; its directories are there, as some tools make none."""
        for top in {target.output.partition("/")[0] for target in self.graph.targets}:
            shutil.rmtree(os.path.join(self.place, top), ignore_errors=True)
        for name in self.dialect.state:
            path = os.path.join(self.place, name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.unlink(path)
        self._seen.clear()
        self._directories()

    def edit(self, path: str, text: str) -> None:
        """Give an input another text."""
        self.edits[path] = text
        self._write(path, text)

    def touch(self, path: str) -> None:
        """Give an input a new time and the same text."""
        os.utime(os.path.join(self.place, path))

    def _checker(self, commands: int | None, again: bool) -> Callable[[str], int]:
        def check(printed: str) -> int:
            ran = self.dialect.ran(printed)
            if commands is not None and ran != commands:
                raise Failed(
                    f"{self.dialect.name} ran {ran} commands, not {commands}, of {self.graph.name!r}:\n{printed[-1000:]}"
                )
            stamps = self._stamped()
            for path, text in self.graph.expected(self.edits).items():
                if (held := self._held(path, stamps[path])) != text:
                    raise Failed(f"{self.dialect.name} left {path} with {held!r}, not {text!r}")
            written = sum(_written(stamp) != _written(self._stamps[path]) for path, stamp in stamps.items())
            if written > ran and not again:
                raise Failed(f"{self.dialect.name} wrote {written} outputs, and speaks of {ran} commands")
            return ran

        return check

    def _held(self, path: str, stamp: Stamp | None) -> str | None:
        """What an output holds; it is not read again while its stamp, with the time of the last change, is the same."""
        if stamp is None:
            return None
        seen = self._seen.get(path)
        if seen is None or seen[0] != stamp:
            seen = self._seen[path] = stamp, self._read(path) or ""
        return seen[1]

    def _stamped(self) -> dict[str, Stamp | None]:
        return {target.output: self._stamp(target.output) for target in self.graph.targets}

    def _stamp(self, path: str) -> Stamp | None:
        try:
            status = os.stat(os.path.join(self.place, path))
        except FileNotFoundError:
            return None
        return (status.st_ino, status.st_mtime_ns, status.st_size, status.st_ctime_ns)

    def _directories(self) -> None:
        for directory in {target.directory for target in self.graph.targets}:
            os.makedirs(os.path.join(self.place, directory), exist_ok=True)

    def _read(self, path: str) -> str | None:
        try:
            with open(os.path.join(self.place, path), encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _provide(self, path: str, text: str) -> None:
        if self._read(path) != text:
            self._write(path, text)

    def _write(self, path: str, text: str) -> None:
        full = os.path.join(self.place, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="ascii") as file:
            file.write(text)


def _written(stamp: Stamp | None) -> Stamp | None:
    """Without the time of the last change, which a new mode or link changes too."""
    return None if stamp is None else stamp[:3]
