"""Where each function, lambda, class and module variable of a text is defined.

It decides which piece of syntax a code object or a class came from.  It runs nothing and looks at no
values.

The invariant: a code object is given the syntax it was compiled from, or none; two lambdas on one line
are told apart by the columns that the compiler noted.
"""

import ast
import functools
from collections.abc import Iterator
from types import CodeType
from typing import Final

from merkl.digest import Digest
from merkl.python.names import Use, chain_of, uses_of
from merkl.python.parts import Reading
from merkl.python.sources import Source
from merkl.python.syntax import normal_form

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
OUR_NAME: Final = __name__.partition(".")[0]
_NAMED: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Definition:
    """Some syntax of a text, with what can be said of it without running anything.

    ``roots`` is one node for a function, a class or a whole module, and several for a variable: the
    statements that bind it and the conditions they stand under.
    """

    def __init__(
        self, source: Source, roots: tuple[ast.AST, ...], qualname: str, within: "Definition | None" = None
    ) -> None:
        self.source = source
        self.roots = roots
        self.qualname = qualname
        self.within = within  # The function around it, if any.
        self._digests: dict[Reading, Digest] = {}

    @property
    def line(self) -> int:
        """The first line, counted from 1, decorators included."""
        return min((first for first, _ in self._spans), default=1)

    @functools.cached_property
    def _spans(self) -> list[tuple[int, int]]:
        """First and last lines of the roots."""
        nodes = [n.context_expr if isinstance(n, ast.withitem) else n for n in self.roots]
        return sorted({(_first_line(n), n.end_lineno) for n in nodes if hasattr(n, "end_lineno")})

    @functools.cached_property
    def text(self) -> str:
        """The text of the definition, whole lines, as it stands in the file."""
        if isinstance(self.roots[0], ast.Module):
            return self.source.text
        lines = self.source.lines
        return "".join(line for first, last in self._spans for line in lines[first - 1 : last])

    def digest(self, reading: Reading) -> Digest:
        """The digest of as much of the text as counts."""
        known = self._digests.get(reading)
        if known is None:
            known = self._digests[reading] = self._read(reading)
        return known

    def _read(self, reading: Reading) -> Digest:
        if reading is Reading.RAW:
            return Digest.of(self.text.encode("utf-8", "surrogatepass"))
        docstrings = reading is Reading.DOCUMENTED
        # A function's own decorators are at work in what they returned; elsewhere they are part of the text.
        own = len(self.roots) == 1 and isinstance(self.roots[0], (ast.FunctionDef, ast.AsyncFunctionDef))
        forms = [normal_form(n, docstrings=docstrings, decorators=not own) for n in self.roots]
        return Digest.of(b"".join(forms))

    @functools.cached_property
    def uses(self) -> tuple[Use, ...]:
        """The names it takes from outside."""
        return uses_of(self.roots)

    @functools.cached_property
    def reads_docstrings(self) -> bool:
        """Whether it may look at a docstring, its own or another's."""
        return any(
            (isinstance(node, ast.Attribute) and node.attr in _DOCSTRING_READERS)
            or (isinstance(node, ast.Name) and node.id in _DOCSTRING_READERS)
            or (isinstance(node, ast.Constant) and node.value == "__doc__")
            for root in self.roots
            for node in ast.walk(root)
        )

    @functools.cached_property
    def decorators(self) -> tuple[tuple[str, Digest], ...]:
        """Each decorator's first name and what it says, but for those imported from merkl."""
        found = []
        for decorator in getattr(self.roots[0], "decorator_list", []):
            name = min(_root(decorator), default="")
            if not definitions_in(self.source).is_imported_from(name, OUR_NAME):
                found.append((name, Digest.of(normal_form(decorator))))
        return tuple(found)


_DOCSTRING_READERS: Final = frozenset({"__doc__", "getdoc"})


def _first_line(node: ast.AST) -> int:
    return min(getattr(n, "lineno", 1) for n in (node, *getattr(node, "decorator_list", [])))


@functools.cache
def definitions_in(source: Source) -> "Definitions":
    """The index of a text; made once."""
    return Definitions(source)


class Definitions:
    """An index of one text."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._functions: dict[tuple[str, int], list[Definition]] = {}
        self._classes: dict[str, list[Definition]] = {}
        self._bindings: dict[str, list[ast.AST]] = {}
        self._stars: list[ast.ImportFrom] = []
        self._index(source.tree)
        for statement, conditions in _top_level(source.tree):
            if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
                self._stars.append(statement)
            for name in _bound(statement):
                self._bindings.setdefault(name, []).extend((*conditions, *_binding(statement)))

    def _index(self, tree: ast.Module) -> None:
        todo: list[tuple[ast.AST, str, Definition | None]] = [(tree, "", None)]
        while todo:
            node, prefix, within = todo.pop()
            if isinstance(node, ast.Global) and within is not None:
                for name in node.names:
                    self._bindings.setdefault(name, []).append(within.roots[0])
            if isinstance(node, (*_NAMED, ast.Lambda)):
                name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
                here = Definition(self._source, (node,), prefix + name, within)
                if isinstance(node, ast.ClassDef):
                    self._classes.setdefault(here.qualname, []).append(here)
                    prefix = f"{here.qualname}."
                else:
                    self._functions.setdefault((name, here.line), []).append(here)
                    prefix, within = f"{here.qualname}.<locals>.", here
            todo += [(child, prefix, within) for child in ast.iter_child_nodes(node)]

    @functools.cached_property
    def module(self) -> Definition:
        """The whole text."""
        return Definition(self._source, (self._source.tree,), "<module>")

    def function(self, code: CodeType) -> Definition | None:
        """The definition that ``code`` was compiled from."""
        found = self._functions.get((code.co_name, code.co_firstlineno), [])
        if len(found) > 1:
            found = _by_columns(found, code)
        return found[0] if len(found) == 1 else None

    def classes(self, qualname: str) -> list[Definition]:
        """The definitions of a class; several where its text gives alternatives."""
        return self._classes.get(qualname, [])

    def variable(self, name: str) -> Definition | None:
        """The statements that bind or fill a module variable, in the order of the text."""
        return self._variables.get(name)

    @functools.cached_property
    def _variables(self) -> dict[str, Definition]:
        return {
            name: Definition(self._source, tuple(dict.fromkeys(nodes)), name)
            for name, nodes in self._bindings.items()
        }

    def is_imported_from(self, name: str, package: str) -> bool:
        """Whether an import statement of the module binds ``name`` to the package or to something in it."""
        for node in self._bindings.get(name, []):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(module.partition(".")[0] == package for module in modules):
                return True
        return False

    def imported(self, name: str) -> list[ast.ImportFrom]:
        """The ``from … import`` statements that may have brought in ``name``, if nothing else binds it."""
        nodes = self._bindings.get(name)
        if nodes is None:
            return self._stars
        imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        return imports if len(imports) == len(nodes) else []


def _by_columns(found: list[Definition], code: CodeType) -> list[Definition]:
    """Of several lambdas on one line, the innermost whose body holds all that ``code`` executes."""
    starts, ends = [], []
    for first_line, last_line, first_column, last_column in code.co_positions():
        if None in (first_line, last_line, first_column, last_column):
            continue
        if (first_line, first_column) != (last_line, last_column):  # The prologue has no width.
            starts.append((first_line, first_column))
            ends.append((last_line, last_column))
    if not starts:
        return found  # The compiler was told to note no columns.
    holding = []
    for definition in found:
        body = getattr(definition.roots[0], "body")  # noqa: B009  # All are lambdas.
        first, last = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
        if first <= min(starts) and max(ends) <= last:
            holding.append((first, definition))
    return [max(holding, key=lambda pair: pair[0])[1]] if holding else []


def _top_level(tree: ast.Module) -> Iterator[tuple[ast.stmt, tuple[ast.AST, ...]]]:
    """Every statement that runs at import, with the conditions it stands under."""
    todo: list[tuple[ast.stmt, tuple[ast.AST, ...]]] = [(s, ()) for s in reversed(tree.body)]
    while todo:
        statement, conditions = todo.pop()
        yield statement, conditions
        if isinstance(statement, _NAMED):
            continue
        head = tuple(c for c in ast.iter_child_nodes(statement) if isinstance(c, (ast.expr, ast.withitem)))
        blocks: list[ast.AST] = [
            statement,
            *getattr(statement, "handlers", []),
            *getattr(statement, "cases", []),
        ]
        inner = [s for b in blocks for s in ast.iter_child_nodes(b) if isinstance(s, ast.stmt)]
        todo += [(s, conditions + head) for s in reversed(inner)]


def _binding(statement: ast.stmt) -> tuple[ast.AST, ...]:
    """The part of a statement that binds: of a compound one its head, for its blocks come by themselves."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        defaults = [d for d in (*statement.args.defaults, *statement.args.kw_defaults) if d is not None]
        return (*statement.decorator_list, *defaults, statement)
    if any(isinstance(child, ast.stmt) for child in ast.iter_child_nodes(statement)):
        if isinstance(statement, ast.ClassDef):
            return (statement,)
        return tuple(c for c in ast.iter_child_nodes(statement) if not isinstance(c, ast.stmt))
    return (statement,)


def _bound(statement: ast.stmt) -> set[str]:
    """The names that one statement, without its blocks, binds or fills."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {statement.name}
        case ast.Import(names=names):
            return {alias.asname or alias.name.partition(".")[0] for alias in names}
        case ast.ImportFrom(names=names):
            return {alias.asname or alias.name for alias in names}
        case ast.Expr(value=ast.Call(func=ast.Attribute() | ast.Subscript() as called)):
            return _root(called) | _walrus(statement)
    bound = _walrus(statement)
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, (ast.stmt, ast.excepthandler)):
            continue
        if isinstance(child, ast.withitem):
            bound |= _targets(child.optional_vars) if child.optional_vars else set()
        elif isinstance(getattr(child, "ctx", None), (ast.Store, ast.Del)):
            bound |= _targets(child)
    return bound


def _targets(target: ast.AST) -> set[str]:
    if isinstance(target, (ast.Tuple, ast.List)):
        return {name for element in target.elts for name in _targets(element)}
    return _root(target.value if isinstance(target, ast.Starred) else target)


def _root(node: ast.AST) -> set[str]:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _walrus(statement: ast.stmt) -> set[str]:
    heads = [c for c in ast.iter_child_nodes(statement) if isinstance(c, ast.expr)]
    return {
        name
        for head in heads
        for node in ast.walk(head)
        if isinstance(node, ast.NamedExpr)
        for name in chain_of(node.target)
    }
