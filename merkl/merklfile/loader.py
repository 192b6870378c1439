"""Loading a Merklfile, and the files that it includes.

It decides where a Merklfile is found, what its module is called and what its relative paths start from.  It knows no
targets by name and builds nothing.

The invariant: the text that is compiled is the text that tracebacks show and code digests read, whatever happens to the
file meanwhile.
"""

import contextlib
import importlib
import linecache
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

from merkl.config import MERKLFILE, MERKLFILE_YAML, Config, is_yaml
from merkl.errors import InputMissing, MerklfileError, NotYetKnown, UsageError
from merkl.lending import lend_to_threads
from merkl.merklfile.frames import user_code
from merkl.merklfile.registry import Here, LoadedFile, Merklfile, here, running, shown_path
from merkl.nodes import PathLike, Scope, Session, calling_place, scope, session, using, within
from merkl.python import outside, sources
from merkl.python.project import Project
from merkl.workspace.missing import unreadable
from merkl.workspace.paths import absolute, normalise

MODULE: Final = "Merklfile"  # Of the root's file; those it includes are ``Merklfile.`` and something.


def load(config: Config, session: Session, sets: Sequence[str] = ()) -> Merklfile:
    """Find the project's Merklfile and run it.  ``sets`` are parameters as ``name=value``.

    Modules of the project that an earlier load in this process imported are imported anew.

    Raises:
        MerklfileError: there is none, or its code is wrong; with the user's own frames.
        MerklError: any other that the code ran into, with these frames.
    """
    merklfile = Merklfile(find_merklfile(config), config, session, parsed_sets(sets))
    prepare(Project(config.root, session.project_modules))
    try:
        with acting(Here(merklfile)), user_code(shown_path(merklfile.path, config.root), merklfile):
            _run(merklfile, merklfile.path, MODULE, "", Here(merklfile))
    except NotYetKnown as unknown:
        merklfile.unknown = unknown
    return merklfile


@contextlib.contextmanager
def acting(place: Here) -> Iterator[None]:
    """Run the code inside as part of a load: in its session, and in the project's root directory."""
    with using(place.merklfile.session), running(place), outside.heard(), _in_directory(place.merklfile.root):
        yield


def parsed_sets(sets: Sequence[str]) -> dict[str, str]:
    """Values given as ``NAME=VALUE``, by name.

    Raises:
        UsageError: one is not written so.
    """
    found = {}
    for each in sets:
        name, sign, value = each.partition("=")
        if not sign or not name:
            raise UsageError(f"--set takes NAME=VALUE, not {each!r}", hint="--set train.lr=0.1")
        found[name] = value
    return found


# ---- finding -------------------------------------------------------------------------------------------------------


def find_merklfile(config: Config) -> str:
    """The absolute path of the project's Merklfile.

    Raises:
        MerklfileError: there is none.
    """
    root = config.root
    if not os.path.isdir(root):
        what = "is not a directory" if os.path.lexists(root) else "does not exist"
        raise MerklfileError(f"the directory {root} {what}", hint="-C takes the directory to work in")
    path = os.path.join(root, config.merklfile) if config.merklfile else _usual(root)
    if os.path.isfile(path):
        return _inside(os.path.normpath(path), root)
    if os.path.isdir(path):
        hint = (
            f"-f takes a file, such as {os.path.join(config.merklfile, MERKLFILE)}"
            if config.merklfile
            else ""
        )
        raise MerklfileError(f"{path} is a directory, not a Merklfile", hint=hint)
    if config.merklfile:
        missing = unreadable(config.merklfile, path, FileNotFoundError(2, ""))
        raise MerklfileError(f"there is no file {config.merklfile}, which -f names", hint=missing.hint)
    raise MerklfileError(
        f"no {MERKLFILE} or {MERKLFILE_YAML} here or above", hint=_rename(root) or "`merkl init` writes one"
    )


def has_merklfile(config: Config) -> bool:
    """Whether the project has a Merklfile."""
    names = (config.merklfile,) if config.merklfile else (MERKLFILE, MERKLFILE_YAML)
    return any(os.path.isfile(os.path.join(config.root, name)) for name in names)


def _usual(directory: str) -> str:
    """The Merklfile of a directory, in Python if there is none.

    Raises:
        MerklfileError: there is one in Python, and one in YAML.
    """
    path, other = (os.path.join(directory, name) for name in (MERKLFILE, MERKLFILE_YAML))
    if not os.path.isfile(other):
        return path
    if os.path.isfile(path):
        raise MerklfileError(
            f"there are two Merklfiles in {directory}: {MERKLFILE} and {MERKLFILE_YAML}",
            hint="keep one of them, or say which with -f; one can include the other under another name",
        )
    return other


def _inside(path: str, root: str) -> str:
    # Code that is not the project's enters keys by name only, so an edit there would not be seen.
    if normalise(path, root, root).startswith("/"):
        raise MerklfileError(
            f"{path} is outside the project {root}",
            hint="move it inside, or put merkl.yaml into a directory above both",
        )
    return path


def _rename(root: str) -> str:
    """What to do about a file that was meant to be the Merklfile."""
    names = {
        "merklfile": MERKLFILE,
        "merklfile.py": MERKLFILE,
        "merklfile.yaml": MERKLFILE_YAML,
        "merklfile.yml": MERKLFILE_YAML,
    }
    meant = sorted(name for name in os.listdir(root) if name.casefold() in names)
    if meant and meant[0] in (MERKLFILE, MERKLFILE_YAML):
        broken = os.path.islink(os.path.join(root, meant[0]))
        return f"{meant[0]} is {'a link that leads nowhere' if broken else 'not a regular file'}"
    return f"is it {meant[0]}? rename it to {names[meant[0].casefold()]}" if meant else ""


# ---- the process ---------------------------------------------------------------------------------------------------

_last: list[tuple[Project, frozenset[str], Callable[[], None]]] = []


def prepare(project: Project) -> None:
    """Make this process ready to import the project's modules: as they are now, and with their texts recorded."""
    while _last:
        before, there, uninstall = _last.pop()
        uninstall()
        outside.forget()
        _forget_modules(before, there)
        if before.root != project.root and before.root in sys.path:
            sys.path.remove(before.root)
    if sys.path[:1] != [project.root]:
        sys.path.insert(0, project.root)
    importlib.invalidate_caches()
    _last.append((project, frozenset(sys.modules), sources.install(project)))


def _forget_modules(project: Project, there: frozenset[str]) -> None:
    for name, module in list(sys.modules.items()):
        names = getattr(module, "__dict__", {})
        if name.partition(".")[0] == MODULE or (name not in there and project.owns_module(names)):
            del sys.modules[name]
    if "merkl.python.run" in sys.modules:  # Where nothing has run, it is not imported for this.
        from merkl.python.run import forget_tasks

        forget_tasks()


@contextlib.contextmanager
def _in_directory(path: str) -> Iterator[None]:
    """Run the code inside in another directory, and be back afterwards wherever it went."""
    before = _current_directory()
    if before != path:
        os.chdir(path)
    try:
        yield
    finally:
        if before is not None and before != _current_directory():
            os.chdir(before)


def _current_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # It was removed.
        return None


# ---- running -------------------------------------------------------------------------------------------------------


def _run(merklfile: Merklfile, path: str, name: str, prefix: str, around: Here) -> LoadedFile:
    """Run one file as the module ``name``."""
    text = _read(path, merklfile.root)
    module = ModuleType(name)
    module.__file__ = path
    module.__spec__ = ModuleSpec(name, None, origin=path)
    included_by = around.file.path if around.file is not None else ""
    file = merklfile.files[path] = LoadedFile(path, name, prefix, module, included_by)
    # Without a time, so that the text stays the one that is compiled here.
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    start = _start(path, text, file, merklfile)
    sys.modules[name] = module
    base = normalise(os.path.dirname(path), merklfile.root, merklfile.root)
    try:
        with (
            within(Scope("" if base == "." else base)),
            running(Here(merklfile, file, (*around.stack, path))),
            lend_to_threads(),
        ):
            start()
    except BaseException:
        sys.modules.pop(name, None)
        del merklfile.files[path]
        raise
    return file


def _start(path: str, text: str, file: LoadedFile, merklfile: Merklfile) -> Callable[[], object]:
    """What runs a file once everything around it is ready."""
    if is_yaml(path):
        from merkl.merklfile.declared.document import Document
        from merkl.merklfile.declared.load import declare_all

        document = Document(path, shown_path(path, merklfile.root), text)
        return lambda: declare_all(document, file, merklfile, include)
    sources.record(path, text)
    code = compile(text, path, "exec", dont_inherit=True)
    names = file.module.__dict__

    def run() -> None:
        exec(code, names)  # The user's own code, which is what was asked for.
        outside.look(code, names, Project(merklfile.root, merklfile.session.project_modules))

    return run


def _read(path: str, root: str) -> str:
    from importlib.util import decode_source

    shown = shown_path(path, root)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise MerklfileError(f"{shown} cannot be read: {error.strerror}") from None
    if b"\0" in data:
        what = "YAML" if is_yaml(path) else "Python code"
        raise MerklfileError(f"{shown} holds a NUL byte, which {what} cannot")
    try:
        if is_yaml(path):
            return data.decode("utf-8-sig").replace("\r\n", "\n")
        return decode_source(data)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise MerklfileError(_not_text(data, shown, error), hint="save it as UTF-8") from None


def _not_text(data: bytes, shown: str, error: SyntaxError | UnicodeDecodeError) -> str:
    if isinstance(error, SyntaxError):  # Without a line: it comes from looking for a coding line.
        try:
            data.decode()
        except UnicodeDecodeError as found:
            error = found
        else:
            return f"{shown}: {error.msg}"
    return f"{shown}:{data[: error.start].count(10) + 1}: not valid {error.encoding}"


def include(path: PathLike, *, prefix: str | None = None) -> Any:
    """Run another Merklfile and return its module; run once, however often it is included.

    ``path`` starts from the including file's directory and may be that of a directory with a Merklfile.  Its targets are
    called ``prefix/name``, after the directory it lies in unless ``prefix`` says otherwise, and its relative paths start
    from there.

    Raises:
        InputMissing: there is no such file.
        MerklfileError: it is being run already, or is known by another prefix, or its code is wrong.
    """
    current = here()
    if current is None:
        current = Here(_of_a_script())
    merklfile = current.merklfile
    inner = _included_path(path, merklfile.root)
    if inner in current.stack:
        names = [
            shown_path(each, merklfile.root) for each in (*current.stack[current.stack.index(inner) :], inner)
        ]
        raise MerklfileError(f"Merklfiles include each other: {' → '.join(names)}")
    full = _full_prefix(inner, prefix, current)
    known = merklfile.files.get(inner)
    if known is not None:
        if prefix is not None and known.prefix != full:
            raise MerklfileError(
                f"{shown_path(inner, merklfile.root)} is included as {known.prefix or 'the root'!r} and as {full!r}",
                first=shown_path(known.included_by, merklfile.root),
                hint="include it once, or with one prefix",
            )
        return known.module
    with acting(current):
        return _run(merklfile, inner, _module_name(inner, merklfile.root), full, current).module


def _of_a_script() -> Merklfile:
    """A registry for code that runs outside a load, as a script that includes a Merklfile does."""
    current = session()
    return Merklfile(calling_place().file, Config(current.root), current)


def _included_path(path: PathLike, root: str) -> str:
    base = os.path.join(root, scope().base)
    inner = absolute(normalise(path, base, root), root)
    if os.path.isdir(inner):
        inner = _usual(inner)
    if not os.path.isfile(inner):
        missing = unreadable(shown_path(inner, root), inner, FileNotFoundError(2, ""))
        raise InputMissing(f"there is no Merklfile {shown_path(inner, root)}", hint=missing.hint)
    return _inside(inner, root)


def _full_prefix(inner: str, prefix: str | None, current: Here) -> str:
    outer = current.file.prefix if current.file is not None else ""
    if prefix is None:
        whole = os.path.splitext(inner)[0] if is_yaml(inner) else inner.removesuffix(".py")
        if os.path.basename(inner) in (MERKLFILE, MERKLFILE_YAML):
            whole = os.path.dirname(inner)
        around = os.path.join(current.merklfile.root, scope().base)
        prefix = os.path.relpath(whole, around)
        if prefix.startswith(os.pardir) or prefix == os.curdir:  # Not below the including file.
            prefix = os.path.basename(whole)
    return "/".join(part for part in (outer, prefix) if part)


def _module_name(path: str, root: str) -> str:
    """One name for one path: a dot stands for a slash, so one in a name is written in another way."""
    shown = normalise(path, root, root).removesuffix(".py")
    return f"{MODULE}.{shown.replace('.', '%2e').replace('/', '.')}"
