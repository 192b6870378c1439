"""The names that a piece of syntax takes from outside itself.

It decides, from scopes alone, which names are local and which are globals or closure variables, and
follows each outside name along its attributes: ``m.sub.f(x)`` uses the chain ``m``, ``sub``, ``f``.
It knows no objects: what a chain stands for is looked up elsewhere.

The invariant: a name that the syntax may read from outside is reported; at worst one is reported
that is never read.
"""

import ast
from collections.abc import Iterable
from typing import Final

from merkl.dataclass import dataclass

Chain = tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Import:
    """What an import statement inside a function binds: a module, or a member of one."""

    module: str
    level: int  # Leading dots.
    member: str  # Empty for ``import module``.


@dataclass(frozen=True, slots=True)
class Use:
    """A chain that starts at an outside name, or, with ``origin``, at what a local import bound."""

    chain: Chain
    origin: Import | None = None

    def order(self) -> tuple[object, ...]:
        """A sort key."""
        origin = self.origin
        return (
            self.chain,
            origin is not None,
            (origin.module, origin.level, origin.member) if origin else (),
        )


def uses_of(roots: Iterable[ast.AST]) -> tuple[Use, ...]:
    """What ``roots`` use from outside, each chain once, sorted.

    Of a root that is a function only its body is read: defaults and annotations are values by the time
    anybody asks, and a decorator's work is in what it returned.  Of a root that is a class, all is read.
    """
    reader = _Reader()
    reader.read(list(roots))
    return tuple(sorted(reader.found(), key=Use.order))


def chain_of(node: ast.AST) -> Chain:
    """``a.b.c`` as a chain; empty if the expression does not begin with a name."""
    rest: list[str] = []
    while isinstance(node, ast.Attribute):
        rest.append(node.attr)
        node = node.value
    return (node.id, *reversed(rest)) if isinstance(node, ast.Name) else ()


_OUTER, _FUNCTION, _CLASS, _COMPREHENSION = range(4)


class _Scope:
    """Names bound in one block.  The outer scope binds nothing: all its names come from outside."""

    __slots__ = ("bound_at", "elsewhere", "global_names", "imports", "kind", "parent")

    def __init__(self, kind: int, parent: "_Scope | None") -> None:
        self.kind = kind
        self.parent = parent
        self.bound_at: dict[str, int] = {}
        self.elsewhere: set[str] = set()  # Declared nonlocal.
        self.global_names: set[str] = set()
        self.imports: dict[str, list[Import]] = {}

    def binder(self) -> "_Scope":
        """The scope where ``:=`` binds."""
        scope = self
        while scope.kind == _COMPREHENSION and scope.parent is not None:
            scope = scope.parent
        return scope


_Work = tuple[ast.AST, _Scope]
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class _Reader:
    """One pass that notes bindings and uses; what a use means is settled when all bindings are known."""

    def __init__(self) -> None:
        self._outer = _Scope(_OUTER, None)
        self._uses: list[tuple[Chain, _Scope, int]] = []
        self._scopes: list[_Scope] = []
        self._clock = 0  # Position in evaluation order, which matters in class bodies only.

    def read(self, roots: list[ast.AST]) -> None:
        todo: list[_Work] = []
        for root in reversed(roots):
            if isinstance(root, (*_FUNCTIONS, ast.Lambda)):
                todo += reversed(self._body(root, self._outer))
            else:
                todo.append((root, self._outer))
        while todo:  # A stack, not recursion: generated code nests deeper than Python's limit.
            todo += reversed(self._step(*todo.pop()))

    def found(self) -> set[Use]:
        uses: set[Use] = set()
        used: set[Import] = set()
        for chain, scope, at in self._uses:
            imports = self._imports(chain[0], scope, at)
            if imports is None:
                uses.add(Use(chain))
            else:
                used |= set(imports)
                uses |= {Use(chain[1:], origin) for origin in imports}
        for scope in self._scopes:  # Imported for what importing does.
            for origins in scope.imports.values():
                uses |= {Use((), origin) for origin in origins if origin not in used}
        return uses

    def _imports(self, name: str, scope: _Scope, at: int) -> list[Import] | None:
        """What imports bind ``name``, as seen from ``scope``; None if it comes from outside."""
        here: _Scope | None = scope
        while here is not None and here.kind != _OUTER:
            if name in here.global_names:
                return None
            bound = here.bound_at.get(name)
            visible = bound is not None and name not in here.elsewhere
            if visible and (here.kind != _CLASS or (here is scope and bound is not None and bound <= at)):
                return here.imports.get(name, [])
            here = here.parent
        return None

    def _scope(self, kind: int, parent: _Scope) -> _Scope:
        self._scopes.append(scope := _Scope(kind, parent))
        return scope

    def _bind(self, name: str | None, scope: _Scope, origin: Import | None = None) -> None:
        if name is None or scope.kind == _OUTER:
            return
        self._clock += 1
        scope.bound_at.setdefault(name, self._clock)
        if origin is not None:
            scope.imports.setdefault(name, []).append(origin)

    def _use(self, chain: Chain, scope: _Scope) -> None:
        self._clock += 1
        self._uses.append((chain, scope, self._clock))

    def _step(self, node: ast.AST, scope: _Scope) -> list[_Work]:
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                self._use((name,), scope)
            case ast.Name(id=name):
                self._bind(name, scope)
            case ast.Attribute() if chain := chain_of(node):
                self._use(chain, scope)
            case ast.Call(func=ast.Name(id="getattr"), args=[of, ast.Constant(value=str(name)), *_]):
                if not (chain := chain_of(of)):
                    return _all(node, scope)
                self._use((*chain, name), scope)
                return [(child, scope) for child in (node.func, *node.args[1:], *node.keywords)]
            case ast.NamedExpr(target=ast.Name(id=name)):
                self._bind(name, scope.binder())
                return [(node.value, scope)]
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                return self._definition(node, scope)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                inner = self._scope(_COMPREHENSION, scope)
                first, *_ = node.generators
                return [(first.iter, scope), *((c, inner) for c in _parts(node) if c is not first.iter)]
            case _:
                return self._statement(node, scope)
        return []

    def _statement(self, node: ast.AST, scope: _Scope) -> list[_Work]:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    module = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._bind(alias.asname or module, scope, Import(module, 0, ""))
            case ast.ImportFrom(names=names):
                for alias in names:
                    origin = Import(node.module or "", node.level, alias.name)
                    self._bind(alias.asname or alias.name, scope, origin)
            case ast.Global(names=names):
                scope.global_names |= set(names)
                for name in names:
                    self._use((name,), scope)
            case ast.Nonlocal(names=names):
                scope.elsewhere |= set(names)
            case ast.MatchMapping(rest=name):
                self._bind(name, scope)
            case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
                self._bind(node.name, scope)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign() if node.value is not None:
                if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                    self._use((node.target.id,), scope)
                rest = [c for c in ast.iter_child_nodes(node) if c is not node.value]
                return [(child, scope) for child in (node.value, *rest)]
            case _ if type(node).__name__ in ("TypeVar", "ParamSpec", "TypeVarTuple"):
                self._bind(getattr(node, "name"), scope)  # noqa: B009  # Not in every Python's ast.
        return _all(node, scope)

    def _definition(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda, scope: _Scope
    ) -> list[_Work]:
        if isinstance(node, ast.Lambda):
            return [*_header(node.args, scope), *self._body(node, scope)]
        work: list[_Work] = [(child, scope) for child in node.decorator_list]
        outside = scope
        if parameters := getattr(node, "type_params", []):
            scope = self._scope(_FUNCTION, scope)
            work += [(child, scope) for child in parameters]
        if isinstance(node, ast.ClassDef):
            work += [(child, scope) for child in (*node.bases, *node.keywords)]
            inner = self._scope(_CLASS, scope)
            work += [(child, inner) for child in node.body]
        else:
            work += [*_header(node.args, scope), *([(node.returns, scope)] if node.returns else [])]
            work += self._body(node, scope)
        self._bind(node.name, outside)
        return work

    def _body(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: _Scope) -> list[_Work]:
        inner = self._scope(_FUNCTION, scope)
        for argument in _arguments(node.args):
            self._bind(argument.arg, inner)
        for parameter in getattr(node, "type_params", []):
            self._bind(parameter.name, inner)
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        return [(child, inner) for child in body]


def _all(node: ast.AST, scope: _Scope) -> list[_Work]:
    return [(child, scope) for child in ast.iter_child_nodes(node)]


def _parts(node: ast.AST) -> list[ast.AST]:
    """A comprehension's parts, with its ``for`` clauses taken apart and its targets first."""
    clauses = [c for c in ast.iter_child_nodes(node) if isinstance(c, ast.comprehension)]
    parts: list[ast.AST] = [part for c in clauses for part in (c.target, c.iter, *c.ifs)]
    return parts + [c for c in ast.iter_child_nodes(node) if not isinstance(c, ast.comprehension)]


def _arguments(args: ast.arguments) -> list[ast.arg]:
    extra = [a for a in (args.vararg, args.kwarg) if a is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *extra]


def _header(args: ast.arguments, scope: _Scope) -> list[_Work]:
    """A signature's defaults and annotations, which are evaluated outside the function."""
    values = [*args.defaults, *args.kw_defaults, *(a.annotation for a in _arguments(args))]
    return [(value, scope) for value in values if value is not None]
