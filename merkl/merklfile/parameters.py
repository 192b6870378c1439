"""``params(path)``: values from a YAML, TOML or JSON file, some of them set on the command line.

It decides what the text of such a file means: as in YAML 1.1, save that ``1e-3`` is a number, and that a name given
twice in one section is an error.  It knows no tasks: a parameter enters a key when a task is given it.

The invariant: a value set on the command line replaces one that is in the file, and never adds a name.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from merkl.digest import Digest
from merkl.errors import MerklfileError, UsageError, did_you_mean
from merkl.merklfile.registry import Merklfile, here
from merkl.merklfile.sections import Params
from merkl.nodes import PathLike, scope, session
from merkl.pattern import pattern
from merkl.workspace.missing import unreadable
from merkl.workspace.paths import absolute, normalise


def params(path: PathLike) -> Params:
    """Read a file of parameters; ``path`` starts from the directory of the Merklfile.

    Raises:
        InputMissing: there is no such file.
        MerklfileError: it cannot be read as what its extension says, with file and line; or holds no mapping.
    """
    root = session().root
    shown = normalise(path, os.path.join(root, scope().base), root)
    read = _READERS.get(os.path.splitext(shown)[1].lower())
    if read is None:
        raise MerklfileError(
            f"{shown} is not called like a file of parameters", hint=f"its name ends in {', '.join(_READERS)}"
        )
    data = _bytes(shown, absolute(shown, root))
    found = read(_text(shown, data), shown)
    if found is None:  # An empty YAML file.
        found = {}
    if not isinstance(found, dict):
        raise MerklfileError(f"{shown} must hold a mapping of names to values, not a {type(found).__name__}")
    current = here()
    if current is not None:
        current.merklfile.read[shown] = None
        current.merklfile.values[shown] = Digest.of(data)
        _override(found, shown, current.merklfile)
    session().looked("params", os.fsdecode(path), found)
    return Params(found, shown)


def check_sets(merklfile: Merklfile) -> None:
    """Check that some file had each parameter that was set.

    Raises:
        UsageError: none had, with the name that was perhaps meant.
    """
    for name in merklfile.sets:
        if name in merklfile.matched:
            continue
        if not merklfile.parameters:
            raise UsageError(
                f"--set {name}: the Merklfile reads no parameters", hint='params("params.yaml") does'
            )
        known = [each for names in merklfile.parameters.values() for each in names]
        raise UsageError(
            f"--set {name}: no parameter of that name in {' or '.join(merklfile.parameters)}",
            hint=did_you_mean(name, known, f"there are {', '.join(known[:10])}"),
        )


def _override(found: dict[Any, Any], shown: str, merklfile: Merklfile) -> None:
    merklfile.parameters[shown] = list(_dotted(found))
    for name, text in merklfile.sets.items():
        place = _holder(found, name.split("."))
        if place is not None:
            section, key = place
            section[key] = _yaml(text, f"--set {name}")
            merklfile.matched.add(name)


def _dotted(section: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _holder(section: Any, parts: list[str]) -> tuple[dict[Any, Any], object] | None:
    """The section that holds a dotted name, and its key there; the text of a key counts, so ``1`` finds both 1 and "1"."""
    for index, part in enumerate(parts):
        key = next((key for key in section if str(key) == part), None) if isinstance(section, dict) else None
        if key is None:
            return None
        if index == len(parts) - 1:
            return section, key
        section = section[key]
    return None


def _bytes(shown: str, where: str) -> bytes:
    try:
        with open(where, "rb") as file:
            return file.read()
    except OSError as error:
        raise unreadable(shown, where, error) from None


def _text(shown: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise MerklfileError(f"{shown}:{line}: not valid UTF-8") from None


# ---- one reader per extension --------------------------------------------------------------------------------------


def _wrong(shown: str, kind: str, line: int | None, problem: str) -> MerklfileError:
    where = shown if line is None else f"{shown}:{line}"
    return MerklfileError(f"{where}: not valid {kind}: {problem}")


_FLOAT: Final = pattern(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def _yaml_loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Also takes ``1e-3`` for a number, as YAML 1.2 does, and refuses a name given twice."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: dict[Any, int] = {}
            for key_node, _ in node.value:
                if key_node.tag == "tag:yaml.org,2002:merge":
                    continue
                key = self.construct_object(key_node, deep=True)
                line = key_node.start_mark.line
                if not isinstance(key, (str, int, float, bool)):
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key!r} cannot be a name", key_node.start_mark
                    )
                if key in seen:
                    problem = f"{key!r} is given twice, first in line {seen[key] + 1}"
                    raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
                seen[key] = line
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(f"(?:{_FLOAT.pattern})$"), list("-+.0123456789")
    )
    return Loader


def _yaml(text: str, shown: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=_yaml_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it cannot be read"
        raise _wrong(shown, "YAML", mark.line + 1 if mark else None, problem) from None
    except (yaml.YAMLError, ValueError) as error:  # A character that YAML refuses; a date that is none.
        raise _wrong(shown, "YAML", None, str(error).split("\n")[0]) from None


def _toml(text: str, shown: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", place)
        line = int(found[1]) if found else text.count("\n") + 1 if place else None
        raise _wrong(shown, "TOML", line, problem) from None


def _json(text: str, shown: str) -> Any:
    import json

    def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise _wrong(shown, "JSON", None, f"{name!r} is given twice in one object")
            found[name] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise _wrong(shown, "JSON", error.lineno, error.msg) from None


_READERS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    ".yaml": _yaml, ".yml": _yaml, ".toml": _toml, ".json": _json,
}  # fmt: skip
