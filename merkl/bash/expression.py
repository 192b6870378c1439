"""Expressions in double braces: Jinja's syntax, with nothing in it that could differ between two runs.

It decides what may be written there and computes the results.  The text of an absolute path is a result, never part of an
expression's identity.

The invariant: every name in an expression is a placeholder in call position, so its result is a function of the
placeholders' values, and of the project's place if it says ``abspath``.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from merkl.bash.placeholders import MAKERS, TYPES, Placeholder, SecretArg, make, spell
from merkl.dataclass import dataclass
from merkl.errors import CallError, TemplateError, did_you_mean

if TYPE_CHECKING:
    from jinja2 import Environment, nodes

AbsPath: TypeAlias = Callable[[bytes], bytes]

_OWN: Final = ("abspath", "ext", "json", "name", "parent", "raw", "stem")
_FILTERS: Final = tuple(
    """
    abs batch capitalize count d default first float format int join last length list lower map max min reject replace
    reverse round select slice sort string sum title trim unique upper wordcount
    """.split()
)
_TESTS: Final = tuple(
    """
    boolean divisibleby eq equalto even false float ge gt in integer iterable le lower lt mapping ne none number odd
    sequence string true upper
    """.split()
)
_NODES: Final = frozenset(
    """
    Add And Compare Concat CondExpr Const Dict Div Filter FloorDiv Getitem Keyword List Mod Mul Neg Not Operand Or Pair
    Pos Pow Slice Sub Test Tuple
    """.split()
)


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression.  ``identity`` is of plain tuples and strings; ``number``: its last filter is ``int``."""

    source: str
    placeholders: tuple[Placeholder, ...]
    identity: tuple[object, ...]
    raw: bool
    number: bool
    plain: Placeholder | None = None  # The expression is this placeholder and nothing else.

    def result(self, values: Mapping[str, object], abspath: AbsPath) -> object:
        """Compute it: str, int, float, None, or a list of them.

        Raises:
            CallError: it cannot be computed from these values.
        """
        from jinja2 import Undefined

        names: dict[str, object] = {function: _reader(values) for function in MAKERS}
        try:
            found = _compiled(self.source)(_abspath=abspath, **names, **TYPES)
            return None if isinstance(found, Undefined) else _plain(found)
        except CallError:
            raise
        except Exception as error:
            raise CallError(f"{{{{ {self.source} }}}} cannot be computed: {error}") from error


def _reader(values: Mapping[str, object]) -> Callable[..., object]:
    def read(name: str = "depfile", *_: object, **__: object) -> object:
        return _text(values[name])

    return read


def _text(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return [_text(item) for item in value] if isinstance(value, (list, tuple)) else value


def _plain(value: object) -> object:
    if isinstance(value, Iterator):
        value = list(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bool):
        raise CallError("it is true or false, which is no word", hint="write {{ 'word' if … }}")
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise CallError(f"it is a {type(value).__name__}, which is no word")


# ---- compiling -----------------------------------------------------------------------------------------------------


def compile_expression(source: str) -> Expression:
    """Check and compile what stands between double braces.

    Raises:
        TemplateError: it is no expression, or uses what is not allowed.
    """
    from jinja2 import TemplateError as JinjaError
    from jinja2 import nodes

    if source.startswith(("-", "+", "%", "#")):
        raise TemplateError("white space control has no place here", hint="write {{ … }} without - or +")
    environment = _environment()
    try:
        tree = environment.parse(f"{{{{ {source} }}}}")
    except JinjaError as error:
        raise TemplateError(
            f"{{{{ {source} }}}} is no expression: {error.message}", hint=_LITERAL_HINT
        ) from None
    except RecursionError:
        raise TemplateError("this expression is nested too deep") from None
    body = tree.body[0].nodes if len(tree.body) == 1 and isinstance(tree.body[0], nodes.Output) else []
    if len(body) != 1 or isinstance(body[0], nodes.TemplateData):
        raise TemplateError("{{ … }} must hold one expression", hint=_LITERAL_HINT)
    root: nodes.Node = body[0]
    raw = isinstance(root, nodes.Filter) and root.name == "raw"
    inner = root.node if raw and isinstance(root, nodes.Filter) and root.node is not None else root
    walk = _Walk()
    try:
        identity = walk.identity(inner)
    except RecursionError:
        raise TemplateError("this expression is nested too deep") from None
    plain = walk.found[0] if isinstance(inner, nodes.Call) else None
    if plain is None:
        walk.refuse_secrets()
    return Expression(
        source=source,
        placeholders=tuple(walk.found),
        identity=identity,
        raw=raw,
        number=isinstance(inner, nodes.Filter) and inner.name == "int",
        plain=plain,
    )


@cache
def _compiled(source: str) -> Any:
    return _environment().compile_expression(source, undefined_to_none=False)


_LITERAL_HINT: Final = "a literal {{ is written {{ '{{' }}, or give the task literal=True"


class _Walk:
    """One pass over an expression: what it names, and what it is."""

    def __init__(self) -> None:
        self.found: list[Placeholder] = []

    def identity(self, node: "nodes.Node") -> tuple[object, ...]:
        kind = type(node).__name__
        if kind == "Call":
            return ("placeholder", self.call(node).name)
        if kind == "Name":
            name = getattr(node, "name", "")
            if name in MAKERS:
                raise TemplateError(f"{name} must be called", hint=f"{name}('name')")
            hint = did_you_mean(name, MAKERS, f"a value comes from a placeholder: arg('{name}')")
            raise TemplateError(f"{name} is not known in {{{{ … }}}}", hint=f"{hint}. {_LITERAL_HINT}")
        if kind not in _NODES:
            hint = "use filters, such as {{ file_arg('x') | stem }}" if kind == "Getattr" else _LITERAL_HINT
            raise TemplateError(f"{_WORDS.get(kind, kind)} cannot stand in {{{{ … }}}}", hint=hint)
        self.check_name(kind, getattr(node, "name", ""))
        return (kind, *(self.part(getattr(node, name)) for name in node.fields if name != "ctx"))

    def part(self, value: object) -> object:
        if isinstance(value, (list, tuple)):
            return tuple(self.part(item) for item in value)
        if value is None or isinstance(value, (bool, float)):
            return ("constant", type(value).__name__, repr(value))
        if isinstance(value, (str, int)):
            return value
        return self.identity(value)  # type: ignore[arg-type]

    def check_name(self, kind: str, name: str) -> None:
        known: Sequence[str] = (*_FILTERS, *_OWN) if kind == "Filter" else _TESTS
        if kind == "Filter" and name == "raw":
            raise TemplateError("raw must be the last filter", hint="{{ arg('x') | raw }}")
        if kind in ("Filter", "Test") and name not in known:
            hint = did_you_mean(name, known, f"there are {', '.join(sorted(known))}")
            raise TemplateError(f"there is no {kind.lower()} {name!r} here", hint=hint)

    def call(self, node: Any) -> Placeholder:
        function = getattr(node.node, "name", "") if type(node.node).__name__ == "Name" else ""
        if function not in MAKERS:
            what = function or "this"
            hint = did_you_mean(
                function, MAKERS, "only placeholders can be called; the rest is done with filters"
            )
            raise TemplateError(f"{what}(…) cannot be called in {{{{ … }}}}", hint=hint)
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise TemplateError("* has no place in a placeholder", hint="its arguments are literals")
        kwargs = {item.key: _literal(item.value, item.key == "type") for item in node.kwargs}
        placeholder = make(function, [_literal(item, False) for item in node.args], kwargs)
        self.found.append(placeholder)
        return placeholder

    def refuse_secrets(self) -> None:
        for placeholder in self.found:
            if isinstance(placeholder, SecretArg):
                hint = f"use it by itself: {{{spell(placeholder)}}}"
                raise TemplateError("a secret cannot be part of an expression", hint=hint)


_WORDS: Final = {"Getattr": "a dot", "Assign": "=", "NSRef": "a dot"}


def _literal(node: Any, is_type: bool) -> object:
    kind = type(node).__name__
    if is_type and kind == "Name":
        if node.name in TYPES:
            return TYPES[node.name]
        raise TemplateError(f"type={node.name} is not known", hint=f"take one of {', '.join(TYPES)}")
    if kind == "Const":
        return node.value
    if kind in ("List", "Tuple"):
        return [_literal(item, False) for item in node.items]
    if kind == "Neg" and type(node.node).__name__ == "Const" and isinstance(node.node.value, (int, float)):
        return -node.node.value
    raise TemplateError("a placeholder's arguments must be literals", hint="arg('size', type=int, default=3)")


# ---- the environment -----------------------------------------------------------------------------------------------


@cache
def _environment() -> "Environment":
    from jinja2 import StrictUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import SandboxedEnvironment

    class Sandbox(SandboxedEnvironment):
        # ``map(attribute=…)`` and its kin come here; the attributes of a value are no part of it.
        def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ARG002
            raise SecurityError(f"no attribute {attribute!r} in {{{{ … }}}}")

        def getitem(self, obj: Any, argument: Any) -> Any:
            if not isinstance(obj, (str, list, tuple, dict)):
                raise SecurityError(f"a {type(obj).__name__} has no items")
            return obj[argument]

    environment = Sandbox(undefined=StrictUndefined, autoescape=False)
    environment.globals.clear()
    own = {"raw": lambda value: value, "stem": _each(_stem), "name": _each(os.path.basename), "json": _json,
           "parent": _each(lambda path: os.path.dirname(path) or "."), "ext": _each(lambda path: os.path.splitext(path)[1])}  # fmt: skip
    environment.filters = (
        {name: environment.filters[name] for name in _FILTERS} | own | {"abspath": _abspath_filter()}
    )
    environment.tests = {name: environment.tests[name] for name in _TESTS}
    return environment


def _each(change: Callable[[str], str]) -> Callable[[object], object]:
    """A filter that changes one path, or each of a list; None stays None."""

    def changed(value: object) -> object:
        if value is None:
            return None
        if isinstance(value, (list, tuple)):
            return [changed(item) for item in value]
        if isinstance(value, Iterator):
            return [changed(item) for item in list(value)]
        if not isinstance(value, str):
            raise CallError(f"a path was expected, not {value!r}")
        return change(value)

    return changed


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _json(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _abspath_filter() -> Callable[..., object]:
    from jinja2 import pass_context

    def filtered(context: Any, value: object) -> object:
        def absolute(path: str) -> str:
            found: bytes = context["_abspath"](path.encode("utf-8", "surrogateescape"))
            return found.decode("utf-8", "surrogateescape")

        return _each(absolute)(value)

    return pass_context(filtered)
