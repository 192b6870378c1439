"""What a text says is told from how it is laid out, and the names it takes from outside are all found."""

import ast
import dis
import importlib.util
import sys
import textwrap
from types import CodeType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merkl.python.names import Import, Use, uses_of
from merkl.python.syntax import normal_form

# Real code of many hands, on every machine.
CORPUS = ["ast", "calendar", "dataclasses", "difflib", "functools", "heapq", "inspect", "logging", "statistics", "textwrap",
          "tokenize", "traceback", "types", "typing", "warnings"]  # fmt: skip


def text_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    with open(spec.origin, encoding="utf-8") as file:
        return file.read()


DEFINITIONS = [
    ast.get_source_segment(text, node) or ""
    for text in map(text_of, ["calendar", "heapq", "statistics", "textwrap", "functools"])
    for node in ast.parse(text).body
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.decorator_list
]


def form(text: str) -> bytes:
    return normal_form(ast.parse(text))


@given(st.sampled_from(DEFINITIONS))
def test_writing_a_definition_anew_from_its_tree_is_no_edit(text: str) -> None:
    anew = ast.unparse(ast.parse(text))
    assert form(anew) == form(text)


@given(st.data())
def test_comments_and_blank_lines_between_statements_are_no_edit(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(DEFINITIONS))
    lines = text.splitlines()
    starts = sorted({node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)})
    for line in sorted(data.draw(st.sets(st.sampled_from(starts), max_size=5)), reverse=True):
        lines[line - 1 : line - 1] = ["", f"# {data.draw(st.text('abc #', max_size=8))}", ""]
    assert form("\n".join(lines)) == form(text)


@given(st.data())
def test_a_change_of_one_name_or_constant_is_an_edit(data: st.DataObject) -> None:
    tree = ast.parse(data.draw(st.sampled_from(DEFINITIONS)))
    before = normal_form(tree)
    nodes = [
        n
        for n in ast.walk(tree)
        if isinstance(n, (ast.Name, ast.Attribute, ast.arg, ast.Compare, ast.Return))
    ]
    if not nodes:
        return
    match data.draw(st.sampled_from(nodes)):
        case ast.Name() as node:
            node.id += "_"
        case ast.Attribute() as node:
            node.attr += "_"
        case ast.arg() as node:
            node.arg += "_"
        case ast.Compare() as node:
            node.ops[0] = ast.IsNot() if not isinstance(node.ops[0], ast.IsNot) else ast.Is()
        case ast.Return() as node:
            node.value = ast.Constant(1) if node.value is None else None
    assert normal_form(tree) != before


def test_different_statements_never_share_a_form() -> None:
    texts = """
        x = 1|x = 1.0|x = True|x = '1'|x = b'1'|x = 1j|x = None|x = ...|x: int = 1|x += 1|x = (1,)|x = [1]|x = {1}
        x = {1: 2}|x = {**a}|x = {None: a}|x = -1|x = 1 - 1|x == 1|f(x)|f(*x)|f(**x)|f(x=x)|x[1]|x[1:]|x[:1]|x[1, ]
        del x|return_ = x|x = f''|x = ''|x = f'{x}'|x = f'{x!r}'|x = f'{x:1}'|x = f'{x}1'|x = '{x}'|x = f'{{x}}'
        lambda: x|lambda x: x|lambda x=1: x|lambda *x: x|lambda **x: x|lambda *, x: x|lambda x, /: x|lambda *, x=1: x
        lambda *, x, y=1: x|lambda *, x=1, y: x|x if x else y|x and y|x or y|not x|x < y < z|(x < y) < z
        [x for x in y]|{x for x in y}|(x for x in y)|[x for x in y if x]|[x for x in y for x in z]
        import x|import x as y|from x import y|from . import x|from .. import x|from .x import y|from x import *
        global x|nonlocal_ = x|assert x|assert x, y|raise x|raise x from y|raise|async_ = 1|(x := 1)
    """.replace("\n        ", "|").strip("| \n")
    forms: dict[bytes, str] = {}
    for text in texts.split("|"):
        assert forms.setdefault(form(text), text) == text
    assert len(forms) > 70


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f():\n    pass\n", "def f():\n    'doc'\n"),
        ("def f():\n    return 'a' 'b'\n", "def f():\n    return 'ab'\n"),
        ("def f():\n    return f'a' f'{x}' 'b'\n", "def f():\n    return f'a{x}b'\n"),
        ("x = 0x10", "x = 16"),
        ("x = 1_000", "x = 1000"),
        ("x = u'a'", "x = 'a'"),
        ("x = r'\\a'", "x = '\\\\a'"),
        ("if x:\n    y()\nelse:\n    pass\n", "if x:\n    y()\n"),
        ("if x:\n    pass\nelif y:\n    z()\n", "if x:\n    ...\nelse:\n    if y:\n        z()\n"),
    ],
)
def test_two_ways_to_say_the_same_have_one_form(one: str, other: str) -> None:
    assert form(one) == form(other)


def test_code_nested_deeper_than_python_recurses_has_a_form() -> None:
    deep = "\n".join(["if x == 0:\n    y = 0"] + [f"elif x == {n}:\n    y = {n}" for n in range(1, 600)])
    long = "x = " + " + ".join(f"a{n}" for n in range(2500))
    depth = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(20_000)  # For the parser's own conversion.
        trees = [ast.parse(deep), ast.parse(long)]
    finally:
        sys.setrecursionlimit(depth)
    assert len({normal_form(tree) for tree in trees}) == 2
    assert len(uses_of(trees[1].body)) == 2500


def loaded(code: CodeType) -> set[str]:
    """The global names that compiled code looks up or sets, in all functions inside it as well."""
    names = {
        i.argval for i in dis.get_instructions(code) if "GLOBAL" in i.opname and isinstance(i.argval, str)
    }
    return names.union(*(loaded(const) for const in code.co_consts if isinstance(const, CodeType)))


@pytest.mark.parametrize("module", CORPUS)
def test_every_global_that_the_compiler_sees_is_found_and_no_other(module: str) -> None:
    text = text_of(module)
    compiled = {
        c.co_firstlineno: c for c in compile(text, module, "exec").co_consts if isinstance(c, CodeType)
    }
    checked = 0
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        line = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        found = {use.chain[0] for use in uses_of([node]) if use.origin is None}
        expected = loaded(compiled[line])
        # What is behind ``if TYPE_CHECKING`` or an annotation of a local is read by us, not by the compiler.
        assert expected <= found, f"{node.name}: {expected - found} missed"
        annotated = {n.id for a in ast.walk(node) if isinstance(a, ast.AnnAssign) for n in ast.walk(a.annotation)
                     if isinstance(n, ast.Name)}  # fmt: skip
        declared = {name for g in ast.walk(node) if isinstance(g, ast.Global) for name in g.names}
        extra = found - expected - annotated - declared - {"__debug__"}
        assert not extra, f"{node.name}: {extra} are no globals"
        checked += 1
    assert checked


def used(text: str) -> set[str]:
    return {
        ".".join(use.chain) for use in uses_of(ast.parse(textwrap.dedent(text)).body) if use.origin is None
    }


def test_chains_follow_attributes_and_stop_at_calls() -> None:
    assert used("def f(): return a.b.c(d).e, x.y[z].w") == {"a.b.c", "d", "x.y", "z"}
    assert used("def f(): return getattr(m, 'n').o, getattr(m, k)") == {"m.n", "getattr", "m", "k"}


def test_scopes_hide_what_they_bind() -> None:
    assert used("def f(a, *b, c, **d): return a, b, c, d, e") == {"e"}
    assert used("def f():\n  for x in y: pass\n  with a as b, c as (d, *e): pass\n  return x, b, d, e") == {
        "y",
        "a",
        "c",
    }
    assert used("def f():\n  try: pass\n  except E as e: e\n  return [x for x in xs if (w := x)], w") == {
        "E",
        "xs",
    }
    assert used("def f(s):\n  match s:\n    case C(a=x) | {'k': x, **r} if g: return x, r") == {"C", "g"}
    assert used("def f():\n  def g(): return h\n  h = 1\n  return g") == set()
    assert used("def f():\n  class C:\n    a = a\n    b = a\n    def m(self): return a\n  return C") == {"a"}
    assert used("def f():\n  class C:\n    a = 1\n    b = [a for _ in a]\n  return C") == {"a"}
    assert used("def f():\n  class C:\n    a = 1\n    b = a\n  return C") == set()
    assert used("def f():\n  global x\n  x = 1") == {"x"}


def test_imports_inside_a_function_say_where_its_names_come_from() -> None:
    tree = ast.parse(
        "def f():\n  import a.b\n  from ..c import d as e\n  import unused\n  return a.b.g, e.h, i.j"
    )
    assert set(uses_of(tree.body)) == {
        Use(("b", "g"), Import("a", 0, "")),
        Use(("h",), Import("c", 2, "d")),
        Use((), Import("unused", 0, "")),
        Use(("i", "j")),
    }
