"""A function by its name: ``module.function``, ``path/to/file.py:function`` or ``Merklfile.function``.

It decides which module a name means, and imports it as code of the project.  It calls nothing.

The invariant: what goes wrong while a module is imported is told in the user's own lines, as when a Merklfile is loaded.
"""

import functools
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Final

from merkl.bash.task import BashTask
from merkl.config import MERKLFILE, MERKLFILE_YAML
from merkl.dataclass import dataclass, replace
from merkl.errors import MerklfileError, UsageError, did_you_mean
from merkl.merklfile import offered
from merkl.merklfile.frames import user_code
from merkl.merklfile.loader import MODULE, acting, load, prepare
from merkl.merklfile.registry import Here, Merklfile, shown_path
from merkl.merklfile.targets import Target
from merkl.nodes import Future, Place, Session
from merkl.python.project import Project
from merkl.workspace.paths import normalise

_SHOWN: Final = 12  # Names in a list of what there is.


@dataclass(frozen=True, slots=True)
class Function:
    """Something that can be called for Futures: a task, a pipeline, a batch, a target, or a plain function.

    ``name`` is as people write it, ``steps.train``; ``within`` is the load that its code belongs to.
    """

    name: str
    value: Callable[..., Any]
    within: Merklfile

    @property
    def signature(self) -> inspect.Signature:
        """What it can be given."""
        if isinstance(self.value, BashTask):
            return self.value.template.signature
        found = getattr(self.value, "signature", None)
        return found if isinstance(found, inspect.Signature) else inspect.signature(self.value)

    @property
    def inner(self) -> object:
        """The function that decorators and tasks are around, which has the docstring and the hints."""
        value = self.value
        while isinstance(value, functools.partial):
            value = value.func
        return inspect.unwrap(getattr(value, "function", value))

    @property
    def place(self) -> Place | None:
        """Where it is defined; None if nobody knows."""
        code = getattr(self.inner, "__code__", None)
        if isinstance(code, CodeType):
            return Place(code.co_filename, code.co_firstlineno)
        place = getattr(self.value, "place", None)
        return place if isinstance(place, Place) else None

    @property
    def declared(self) -> str:
        """The file and line where it is defined, for people; empty if nobody knows."""
        return "" if self.place is None else self.within.shown(self.place)


def find_function(
    word: str, session: Session, merklfile: Merklfile, cwd: str, *, anew: bool = True
) -> Function:
    """Import the module that ``word`` names, and find the function in it.

    ``merklfile`` is the registry for what the module declares; paths start from ``cwd``.  ``anew`` says that nothing was
    loaded into it, and imports modules of the project again that were imported for an earlier command.

    Raises:
        MerklfileError: there is no such module or function, or what is called so cannot be run; or the module's code is
            wrong, with the user's own frames.
    """
    path, colon, name = word.rpartition(":")
    if colon:
        return _in_file(path, name, session, merklfile, cwd, anew=anew)
    module, _, name = word.partition(".")
    if module == MODULE:
        return _in_merklfile(name, session, merklfile)
    if word.endswith(".py") and os.path.isfile(os.path.join(cwd, word)):
        raise _unknown(f"{word} is a file, not a function", word[:-3].replace("/", "."), merklfile.root)
    if not name or not all(part.isidentifier() for part in word.split(".")):
        raise _unknown(f"{word!r} is not the name of a function in a module", word, merklfile.root)
    if anew:
        prepare(Project(merklfile.root, session.project_modules))
    found, names = _imported(word.split("."), merklfile)
    return _function(found, names, found.__name__, merklfile)


def _in_merklfile(name: str, session: Session, merklfile: Merklfile) -> Function:
    if not name:
        raise _unknown("a function of the Merklfile is called Merklfile.NAME", MODULE, merklfile.root)
    sets = [f"{key}={value}" for key, value in merklfile.sets.items()]
    loaded = merklfile if merklfile.path else load(merklfile.config, session, sets)
    return _function(loaded.files[loaded.path].module, name.split("."), MODULE, loaded)


def _in_file(
    path: str, name: str, session: Session, merklfile: Merklfile, cwd: str, *, anew: bool
) -> Function:
    root = merklfile.root
    where = normalise(path, cwd, root)
    full = os.path.join(root, where)
    if where in (MERKLFILE, MERKLFILE_YAML) or (
        merklfile.config.merklfile and where == normalise(merklfile.config.merklfile, root, root)
    ):
        return _in_merklfile(name, session, merklfile)
    if not os.path.isfile(full):
        known = [shown_path(each, root) for each, _ in offered.modules_in(root)]
        raise MerklfileError(
            f"there is no file {path}", hint=did_you_mean(where, known, "merkl run path/to/file.py:function")
        )
    if where.startswith("/"):
        # Code that is not the project's enters keys by name only, so an edit there would not be seen.
        raise MerklfileError(
            f"{path} is outside the project {root}", hint="work in its directory, or with -C there"
        )
    if not name:
        raise _unknown(f"{path}: is followed by the name of a function", word=path, root=root)
    if anew:
        prepare(Project(root, session.project_modules))
    parts = where.removesuffix(".py").split("/")
    if where.endswith(".py") and all(part.isidentifier() for part in parts):
        parts = parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts
        module, rest = _imported([*parts, ""], merklfile)
        found = getattr(module, "__file__", None)
        if rest == [""] and found and os.path.samefile(found, full):
            function = _function(module, name.split("."), shown_path(full, root), merklfile, ":")
            # As whoever names the module calls it.
            return replace(function, name=f"{module.__name__}.{name}")
    module = _run_file(full, parts[-1], merklfile)
    return _function(module, name.split("."), shown_path(full, root), merklfile, ":")


def _run_file(path: str, name: str, merklfile: Merklfile) -> ModuleType:
    """Import a file that no dotted name leads to."""
    from importlib.machinery import SourceFileLoader

    spec = importlib.util.spec_from_file_location(name, path, loader=SourceFileLoader(name, path))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    shown = shown_path(path, merklfile.root)
    with acting(Here(merklfile)), user_code(shown, merklfile):
        spec.loader.exec_module(module)
    return module


def _imported(parts: list[str], merklfile: Merklfile) -> tuple[ModuleType, list[str]]:
    """The longest module that the beginning of a dotted name is, imported, and what is left of the name: one part at least."""
    module: ModuleType | None = None
    with acting(Here(merklfile)):
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            if module is not None and (not hasattr(module, "__path__") or (last and hasattr(module, part))):
                return module, parts[index:]
            name = ".".join(parts[: index + 1])
            if not part or importlib.util.find_spec(name) is None:
                break
            with user_code(f"the module {name}", merklfile):
                module = importlib.import_module(name)
            if index == 0:
                _refuse_another(module, part, merklfile.root)
        else:
            assert module is not None
            full = ".".join(parts)
            raise MerklfileError(f"{full} is a module, not a function", hint=_which(full, module, "."))
    if module is None:
        raise _unknown(f"there is no module {parts[0]}", ".".join(parts), merklfile.root)
    return module, parts[index:]


def _refuse_another(module: ModuleType, name: str, root: str) -> None:
    """Refuse a module that is not the one in the project, since another of that name was there first."""
    file = getattr(module, "__file__", None) or ""
    for own in (os.path.join(root, f"{name}.py"), os.path.join(root, name, "__init__.py")):
        if os.path.isfile(own) and not (os.path.isfile(file) and os.path.samefile(own, file)):
            raise MerklfileError(
                f"the module {name} is Python's own or merkl's, so {shown_path(own, root)} cannot be imported",
                hint="rename it",
            )
        if os.path.isfile(own):
            return


def _function(
    module: ModuleType, names: list[str], shown: str, merklfile: Merklfile, between: str = "."
) -> Function:
    value: Any = module
    for name in names:
        try:
            value = getattr(value, name)
        except AttributeError:
            there = _callables(module)
            headline = f"no function {'.'.join(names)!r} in {shown}"
            if not there:  # A package, say, whose modules have them.
                raise _unknown(headline, f"{shown}.{'.'.join(names)}", merklfile.root) from None
            otherwise = f"it has {', '.join(there[:_SHOWN])}"
            raise MerklfileError(headline, hint=did_you_mean(names[-1], there, otherwise)) from None
    full = f"{shown}{between}{'.'.join(names)}"
    if isinstance(value, ModuleType):
        raise MerklfileError(f"{full} is a module, not a function", hint=_which(full, value, between))
    if isinstance(value, Future):
        raise MerklfileError(f"{full} is a Future, not a function", hint="write a function that returns it")
    if isinstance(value, type) or not callable(value):
        what = "a class" if isinstance(value, type) else f"a value of type {type(value).__name__}"
        raise MerklfileError(f"{full} is {what}, not a function", hint=_which(shown, module, between))
    function = Function(full, value, merklfile)
    if inspect.iscoroutinefunction(function.inner) and not isinstance(value, Target):
        raise MerklfileError(
            f"{full} is an async function, which merkl does not run", declared=function.declared or None
        )
    try:
        function.signature  # noqa: B018 - to see whether there is one
    except (ValueError, TypeError):
        raise MerklfileError(
            f"{full} does not say which arguments it takes", hint="write a function around it"
        ) from None
    return function


def _callables(module: ModuleType) -> list[str]:
    """The names of what a module has to run: tasks and the like, and the functions that are defined there."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and not isinstance(value, (type, Future, BuiltinFunctionType))
        and type(value).__module__ != "typing"  # ``Optional`` and the like.
        and not (isinstance(value, FunctionType) and value.__module__ != module.__name__)
    ]


def _which(shown: str, module: ModuleType, between: str) -> str:
    there = _callables(module)
    return f"it has {', '.join(f'{shown}{between}{name}' for name in there[:_SHOWN])}" if there else ""


def _unknown(headline: str, word: str, root: str) -> UsageError:
    """The error for a name that leads nowhere, with those that were perhaps meant."""
    known = offered.functions_in(root)
    tail = word.rpartition(".")[2]
    same = [each for each in known if each.rpartition(".")[2] == tail]
    if same:
        return MerklfileError(headline, hint=f"did you mean {' or '.join(same[:3])}?")
    inside = [each for each in known if each.startswith(f"{word}.")]
    if inside:
        return MerklfileError(headline, hint=f"there are {', '.join(inside[:_SHOWN])}")
    otherwise = f"there are {', '.join(known[:_SHOWN])}" if known else "merkl run MODULE.FUNCTION"
    return MerklfileError(headline, hint=did_you_mean(word, known, otherwise))


def no_name(root: str, command: str = "run") -> UsageError:
    """The error for a command that was given no function, with those there are."""
    known = offered.functions_in(root)
    functions = "\n".join(known[:_SHOWN]) + (
        f"\n… {len(known) - _SHOWN} more …" if len(known) > _SHOWN else ""
    )
    return UsageError(
        f"{command} takes the name of a function",
        hint=f"merkl {command} {known[0] if known else 'MODULE.FUNCTION'}",
        functions=functions or None,
    )
