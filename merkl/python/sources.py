"""The text that running code was compiled from, which need not be what the file says now.

It decides whether a text may stand for a code object: either the loader handed the text over when it
compiled it, or the text, compiled again, gives that very code object.  It knows nothing of what the
text means.

The invariant: a text that cannot be shown to be a code object's own is never returned for it.
"""

import functools
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from merkl.python.project import Project, is_foreign

if TYPE_CHECKING:
    import ast


class Source:
    """The text of one file at one time.  Parsed and compiled when first asked."""

    def __init__(self, filename: str, text: str, *, proven: bool) -> None:
        self.filename = filename
        self.text = text
        self.proven = proven  # Whether the loader itself gave it to us.

    def holds(self, code: CodeType) -> bool:
        """Whether compiling the text gives ``code``, byte for byte and line for line."""
        return any(code == other for other in self._codes.get((code.co_name, code.co_firstlineno), ()))

    @functools.cached_property
    def lines(self) -> list[str]:
        """The lines with their ends, numbered from 0, as the compiler counts them: a form feed ends none."""
        return [line + "\n" for line in self.text.split("\n")]

    @functools.cached_property
    def parses(self) -> bool:
        """Whether the text is Python at all; one that was read while it was being edited may not be."""
        try:
            return self.tree is not None
        except (SyntaxError, ValueError, RecursionError):
            return False

    @functools.cached_property
    def tree(self) -> "ast.Module":
        """The syntax tree of the whole text."""
        import ast

        parsed: ast.Module = _quietly(ast.parse, self.text, self.filename)
        return parsed

    @functools.cached_property
    def _codes(self) -> dict[tuple[str, int], list[CodeType]]:
        found: dict[tuple[str, int], list[CodeType]] = {}
        try:
            todo = [_quietly(compile, self.text, self.filename, "exec", dont_inherit=True)]
        except (SyntaxError, ValueError, RecursionError):
            return {}  # The file was edited, or compiles only through somebody's loader.
        while todo:
            code = todo.pop()
            found.setdefault((code.co_name, code.co_firstlineno), []).append(code)
            todo += [const for const in code.co_consts if isinstance(const, CodeType)]
        return found


def _quietly(compiler: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Compile without repeating the warnings that the first compilation gave."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compiler(*args, **options)


_seen: dict[str, list[Source]] = {}  # By absolute file name; the newest text last.
_lock = threading.Lock()


def record(filename: str, text: str) -> None:
    """Remember ``text`` as what the code of ``filename`` is about to be compiled from."""
    _add(filename, text, proven=True)


def _add(filename: str, text: str, *, proven: bool) -> None:
    path = _absolute(filename)
    with _lock:
        texts = _seen.setdefault(path, [])
        if not texts or texts[-1].text != text or (proven and not texts[-1].proven):
            texts.append(Source(path, text, proven=proven))


def texts() -> dict[str, str]:
    """The newest text known of each file that code was taken from."""
    with _lock:
        return {path: known[-1].text for path, known in _seen.items() if known and not path.startswith("<")}


def generation() -> int:
    """A number that rises whenever ``texts`` has something new."""
    with _lock:
        return sum(map(len, _seen.values()))


_supplied: dict[str, str] = {}


def supply(given: Mapping[str, str]) -> None:
    """Import modules from these texts from now on, whatever their files say: a worker runs the code that was counted."""
    _supplied.update((_absolute(path), text) for path, text in given.items())


def _absolute(filename: str) -> str:
    return filename if filename.startswith("<") else os.path.abspath(filename)


def source_of(code: CodeType) -> Source | None:
    """The text that ``code`` was compiled from, or None if nobody has it any more."""
    return next((s for s in reversed(_texts(code.co_filename)) if _stands_for(s, code)), None)


def _stands_for(source: Source, code: CodeType) -> bool:
    alone = len(_seen[source.filename]) == 1
    return (source.proven and alone) or source.holds(code)


def source_of_module(namespace: Mapping[str, Any]) -> Source | None:
    """The text that a module ran, or None if the text there is does not fit its functions."""
    filename = namespace.get("__file__")
    if not isinstance(filename, str) or not filename.endswith(".py"):
        return None
    path = _absolute(filename)
    made_here = (
        value.__code__
        for value in list(namespace.values())
        if isinstance(value, FunctionType) and _absolute(value.__code__.co_filename) == path
    )
    witness = next(made_here, None)
    return source_of(witness) if witness else source_of_file(path)


def source_of_file(filename: str) -> Source | None:
    """The newest text known of a file: what was recorded, or else what was read when first asked."""
    return next((source for source in reversed(_texts(filename)) if source.parses), None)


def _texts(filename: str) -> list[Source]:
    path = _absolute(filename)
    if path not in _seen and (text := _read(path)) is not None:
        _add(path, text, proven=False)
    return _seen.get(path, [])


def _read(path: str) -> str | None:
    """The text of a Python file, or of a cell that an interactive shell keeps in ``linecache``."""
    if path.startswith("<") or not os.path.isfile(path):
        import linecache

        return "".join(linecache.getlines(path)) or None
    from importlib.util import decode_source

    try:
        with open(path, "rb") as file:
            return decode_source(file.read())
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


class _RecordingLoader(SourceFileLoader):
    """Python's own loader, which compiles anew each time and hands on what it compiles.

    A ``.pyc`` is believed by the source's size and its mtime in whole seconds, so an edit can hide behind one.
    """

    def exec_module(self, module: ModuleType) -> None:
        from merkl.python.outside import importing

        with importing(module):
            super().exec_module(module)

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        text = _supplied.get(_absolute(path))
        if text is None:
            return self.source_to_code(self.get_data(path), path)
        record(path, text)
        code: CodeType = compile(text, path, "exec", dont_inherit=True)
        return code

    def source_to_code(self, data: Any, path: Any, **options: Any) -> CodeType:  # type: ignore[override]
        from importlib.util import decode_source

        code: CodeType = super().source_to_code(data, path, **options)
        if isinstance(data, (bytes, bytearray, memoryview)):
            record(os.fsdecode(path), decode_source(bytes(data)))
        return code


class _RecordingFinder:
    """Finds what ``PathFinder`` finds, and lets the project's modules be read by ``_RecordingLoader``.

    What is not the project's it leaves to the next: that may be the finder of another project.
    """

    def __init__(self, project: Project) -> None:
        self.project = project

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that ``PathFinder`` would give; only the loader may be ours."""
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            if self.project.owns(spec.origin, name):
                spec.loader = _RecordingLoader(spec.loader.name, spec.loader.path)
            elif any(isinstance(other, _RecordingFinder) and other is not self for other in sys.meta_path):
                return None
        return spec


def installed(project: Project) -> bool:
    """Whether the project's sources are being recorded in this process."""
    return any(isinstance(finder, _RecordingFinder) and finder.project == project for finder in sys.meta_path)


def install(project: Project) -> Callable[[], None]:
    """Record the project's sources from now on; returns what ends it.

    Modules of the project that are already there are read now, the closest one gets to what their loader
    read.  A module that Python loads from a ``.pyc`` is read when first needed.  The text of neither is
    believed before it is compiled and compared.
    """
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        filename = names.get("__file__")
        if not isinstance(filename, str) or not filename.endswith(".py") or is_foreign(filename):
            continue
        if project.owns_module(names):
            _texts(filename)
    finder = _RecordingFinder(project)
    places = [i for i, other in enumerate(sys.meta_path) if other is PathFinder]
    sys.meta_path.insert(places[0] if places else len(sys.meta_path), finder)

    def uninstall() -> None:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)

    return uninstall
