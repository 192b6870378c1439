"""A table of edits of small projects, each with whether it changes the code that ``tasks.task`` runs.

Every project has a ``tasks.py``, mostly a ``lib.py``, and sometimes more.  An edit replaces one piece of text
in one file.
"""

from dataclasses import dataclass
from textwrap import dedent


@dataclass(frozen=True)
class Edit:
    name: str
    changes: bool
    old: str
    new: str
    file: str
    files: dict[str, str]


def edit(name: str, changes: bool, old: str, new: str, file: str = "lib.py", **texts: str) -> Edit:
    """``texts`` are the files: ``tasks``, ``lib``; two underscores stand for a slash."""
    files = {f"{stem.replace('__', '/')}.py": dedent(text).lstrip("\n") for stem, text in texts.items()}
    files = {path.replace("/init.py", "/__init__.py"): text for path, text in files.items()}
    if files[file].count(old) != 1:
        raise ValueError(f"{name}: {old!r} is not once in {file}")
    return Edit(name, changes, old, new, file, files)


CALLS_HELPER = "from lib import helper\ndef task(x):\n    return helper(x)\n"
FOREIGN = {
    "site-packages__foreign": """
        import functools
        class Limit:
            def __init__(self, n):
                self.n = n
        def limited(limit):
            def deco(fn):
                @functools.wraps(fn)
                def inner(x):
                    return fn(x) * limit.n * 1
                return inner
            return deco
    """
}
HELPER = "def helper(x):\n    return x + 1\n"

EDITS = [
    # How a helper is reached.
    edit("helper through a module", True, "+ 1", "+ 2", lib=HELPER, tasks="""
        import lib
        def task(x):
            return lib.helper(x)
    """),
    edit("helper imported by name", True, "+ 1", "+ 2", lib=HELPER, tasks=CALLS_HELPER),
    edit("helper imported inside the function", True, "+ 1", "+ 2", lib=HELPER, tasks="""
        def task(x):
            from lib import helper
            return helper(x)
    """),
    edit("module imported inside the function", True, "+ 1", "+ 2", lib=HELPER, tasks="""
        def task(x):
            import lib as library
            return library.helper(x)
    """),
    edit("module imported inside for its effect", True, "SET = 1", "SET = 2", lib="SET = 1\n", tasks="""
        def task(x):
            import lib
            return x
    """),
    edit("submodule through its package", True, "+ 1", "+ 2", "pkg/sub.py", pkg__init="", pkg__sub=HELPER, tasks="""
        import pkg.sub
        def task(x):
            return pkg.sub.helper(x)
    """),
    edit("submodule that only the function imports", True, "+ 1", "+ 2", "pkg/sub.py", pkg__init="", pkg__sub=HELPER,
         tasks="""
        def task(x):
            import pkg.sub
            return pkg.sub.helper(x)
    """),
    edit("package without __init__", True, "+ 1", "+ 2", "space/sub.py", space__sub=HELPER, tasks="""
        import space.sub as s
        def task(x):
            return s.helper(x)
    """),
    edit("relative import inside a package", True, "+ 1", "+ 2", "pkg/sub.py", pkg__init="", pkg__sub=HELPER,
         pkg__middle="""
        def middle(x):
            from .sub import helper
            return helper(x)
    """, tasks="from pkg.middle import middle\ndef task(x):\n    return middle(x)\n"),
    edit("re-export through __init__", True, "+ 1", "+ 2", "pkg/deep.py", pkg__init="from .deep import helper\n",
         pkg__deep=HELPER, tasks="import pkg\ndef task(x):\n    return pkg.helper(x)\n"),
    edit("star import", True, "+ 1", "+ 2", lib=HELPER, tasks="""
        from lib import *
        def task(x):
            return helper(x)
    """),
    edit("alias", True, "+ 1", "+ 2", lib=HELPER, tasks="""
        from lib import helper as h
        other = h
        def task(x):
            return other(x)
    """),
    edit("local alias", True, "+ 1", "+ 2", lib=HELPER, tasks="""
        import lib
        def task(x):
            run = lib.helper
            return run(x)
    """),
    edit("helper of a helper of a helper", True, "+ 1", "+ 2", lib=HELPER + """
def second(x):
    return helper(x)
def third(x):
    return second(x)
""", tasks="from lib import third\ndef task(x):\n    return third(x)\n"),
    edit("two functions that call each other", True, "n - 1", "n - 2", lib="""
        def even(n):
            return n == 0 or odd(n - 1)
        def odd(n):
            return n != 0 and even(n -1)
    """, tasks="from lib import even\ndef task(x):\n    return even(x)\n"),
    edit("helper in a default", True, "+ 1", "+ 2", lib=HELPER, tasks="""
        from lib import helper
        def task(x, run=helper):
            return run(x)
    """),
    edit("helper passed as an argument", True, "+ 1", "+ 2", lib=HELPER, tasks="""
        import lib
        def task(xs):
            return list(map(lib.helper, xs))
    """),
    edit("constant getattr of a module", True, "+ 1", "+ 2", lib=HELPER, tasks="""
        import lib
        def task(x):
            return getattr(lib, "helper")(x)
    """),
    edit("computed getattr of a module", True, "+ 1", "+ 2", lib=HELPER, tasks="""
        import lib
        def task(x):
            return getattr(lib, "hel" + "per")(x)
    """),
    edit("computed name in globals(), which nobody can see", False, "+ 1", "+ 2", "tasks.py", tasks=HELPER + """
def task(x):
    return globals()["hel" + "per"](x)
"""),
    edit("computed name of a module, which nobody can see", False, "+ 1", "+ 2", lib=HELPER, tasks="""
        import importlib
        def task(x):
            return vars(importlib.import_module("l" + "ib"))["helper"](x)
    """),
    edit("module handed about as a value", True, "+ 1", "+ 2", lib=HELPER, tasks="""
        import lib
        def run(module, x):
            return module.helper(x)
        def task(x):
            return run(lib, x)
    """),
    edit("module attribute made on demand", True, "+ 1", "+ 2", lib="""
        def __getattr__(name):
            return lambda x: x + 1
    """, tasks="import lib\ndef task(x):\n    return lib.anything(x)\n"),
    edit("module swapped for one with the same functions", True, "import lib as l", "import lob as l", "tasks.py",
         lib=HELPER, lob=HELPER, tasks="import lib as l\ndef task(x):\n    return l.helper(x)\n"),
    edit("two helpers change places", True, "a(1) - b(1)", "b(1) - a(1)", "tasks.py", lib="""
        def a(x): return x
        def b(x): return -x
    """, tasks="from lib import a, b\ndef task():\n    return a(1) - b(1)\n"),
    edit("two aliases change places", True, "one, two = a, b", "one, two = b, a", lib="""
        def a(x): return x
        def b(x): return -x
        one, two = a, b
    """, tasks="from lib import one, two\ndef task():\n    return one(1) - two(1)\n"),
    # Decorators, partials, lambdas, closures.
    edit("the project's own decorator", True, "+ 1", "+ 2", lib="""
        def deco(fn):
            def inner(x):
                return fn(x) + 1
            return inner
    """, tasks="from lib import deco\n@deco\ndef helper(x):\n    return x\ndef task(x):\n    return helper(x)\n"),
    edit("what the own decorator decorates", True, "return x\n", "return x + 1\n", "tasks.py", lib="""
        def deco(fn):
            def inner(x):
                return fn(x) + 1
            return inner
    """, tasks="from lib import deco\n@deco\ndef helper(x):\n    return x\ndef task(x):\n    return helper(x)\n"),
    edit("decorator with functools.wraps on the task itself", True, "+ 1", "+ 2", lib="""
        import functools
        def deco(fn):
            @functools.wraps(fn)
            def inner(x):
                return fn(x) + 1
            return inner
    """, tasks="from lib import deco\n@deco\ndef task(x):\n    return x\n"),
    edit("the task under a decorator with functools.wraps", True, "return x\n", "return -x\n", "tasks.py", lib="""
        import functools
        def deco(fn):
            @functools.wraps(fn)
            def inner(x):
                return fn(x) + 1
            return inner
    """, tasks="from lib import deco\n@deco\ndef task(x):\n    return x\n"),
    edit("argument of a decorator", True, "@times(2)", "@times(3)", "tasks.py", lib="""
        def times(n):
            def deco(fn):
                return lambda x: [fn(x) for _ in range(n)]
            return deco
    """, tasks="from lib import times\n@times(2)\ndef helper(x):\n    return x\ndef task(x):\n    return helper(x)\n"),
    edit("argument of another package's decorator", True, "Limit(2)", "Limit(3)", "tasks.py", **FOREIGN, tasks="""
        import sys, os
        sys.path.append(os.path.join(os.path.dirname(__file__), "site-packages"))
        from foreign import Limit, limited
        sys.path.pop()
        @limited(Limit(2))
        def helper(x):
            return x
        def task(x):
            return helper(x)
    """),
    edit("under another package's decorator", True, "return x\n", "return -x\n", "tasks.py", **FOREIGN, tasks="""
        import sys, os
        sys.path.append(os.path.join(os.path.dirname(__file__), "site-packages"))
        from foreign import Limit, limited
        sys.path.pop()
        @limited(Limit(2))
        def helper(x):
            return x
        def task(x):
            return helper(x)
    """),
    edit("another package's decorator, which is not followed", False, "* 1", "* 2", "site-packages/foreign.py",
         **FOREIGN, tasks="""
        import sys, os
        sys.path.append(os.path.join(os.path.dirname(__file__), "site-packages"))
        from foreign import Limit, limited
        sys.path.pop()
        @limited(Limit(2))
        def helper(x):
            return x
        def task(x):
            return helper(x)
    """),
    edit("decorator that is a class", True, "+ 1", "+ 2", lib="""
        class Deco:
            def __init__(self, fn):
                self.fn = fn
            def __call__(self, x):
                return self.fn(x) + 1
    """, tasks="from lib import Deco\n@Deco\ndef helper(x):\n    return x\ndef task(x):\n    return helper(x)\n"),
    edit("what a class decorates", True, "return x\n", "return -x\n", "tasks.py", lib="""
        class Deco:
            def __init__(self, fn):
                self.fn = fn
            def __call__(self, x):
                return self.fn(x) + 1
    """, tasks="from lib import Deco\n@Deco\ndef helper(x):\n    return x\ndef task(x):\n    return helper(x)\n"),
    edit("under functools.lru_cache", True, "+ 1", "+ 2", lib="import functools\n@functools.lru_cache\n" + HELPER,
         tasks=CALLS_HELPER),
    edit("case of functools.singledispatch", True, "* 2", "* 3", lib="""
        import functools
        @functools.singledispatch
        def helper(x):
            return x
        @helper.register
        def _(x: int):
            return x * 2
    """, tasks=CALLS_HELPER),
    edit("function in a partial", True, "+ 1", "+ 2", lib=HELPER, tasks="""
        import functools, lib
        run = functools.partial(lib.helper, 1)
        def task():
            return run()
    """),
    edit("argument in a partial", True, "helper, 1", "helper, 2", "tasks.py", lib=HELPER, tasks="""
        import functools, lib
        run = functools.partial(lib.helper, 1)
        def task():
            return run()
    """),
    edit("function in a partial that is imported by name", True, "+ 1", "+ 2",
         lib="import functools\n" + HELPER + "run = functools.partial(helper, 1)\n",
         tasks="from lib import run\ndef task():\n    return run()\n"),
    edit("lambda", True, "x + 1", "x + 2", lib="helper = lambda x: x + 1\n", tasks=CALLS_HELPER),
    edit("first of two lambdas on a line", True, "x + 1", "x + 3", lib="helper, other = (lambda x: x + 1), (lambda x: x + 2)\n",
         tasks=CALLS_HELPER),
    edit("second of two lambdas on a line, unused", False, "x + 2", "x + 3",
         lib="helper, other = (lambda x: x + 1), (lambda x: x + 2)\n", tasks=CALLS_HELPER),
    edit("inner of two lambdas", True, "y + x", "y - x", lib="helper = (lambda x: lambda y: y + x)(3)\n",
         tasks=CALLS_HELPER),
    edit("nested function", True, "+ 1", "+ 2", "tasks.py", tasks="""
        def task(x):
            def inner(y):
                return y + 1
            return inner(x)
    """),
    edit("helper that only a nested function calls", True, "+ 1", "+ 2", lib=HELPER, tasks="""
        from lib import helper
        def task(x):
            def inner(y):
                return helper(y)
            return inner(x)
    """),
    edit("value in a closure", True, "adder(1)", "adder(2)", lib="""
        def adder(n):
            def add(x):
                return x + n
            return add
        helper = adder(1)
    """, tasks=CALLS_HELPER),
    edit("closure values change places", True, "adder(1), adder(2)", "adder(2), adder(1)", lib="""
        def adder(n):
            return lambda x: x + n
        first, second = adder(1), adder(2)
    """, tasks="from lib import first, second\ndef task(x):\n    return first(x) - 2 * second(x)\n"),
    edit("function in a closure", True, "x + 1", "x + 2", lib="""
        def one(x):
            return x + 1
        def twice(fn):
            return lambda x: fn(fn(x))
        helper = twice(one)
    """, tasks=CALLS_HELPER),
    edit("an object without a value in a closure", True, '"a+"', '"b+"', lib="""
        import re
        def maker():
            found = [re.compile("a+").finditer]
            return lambda x: list(found[0](x))
        helper = maker()
    """, tasks=CALLS_HELPER),
    edit("default", True, "n=1", "n=2", "tasks.py", tasks="def task(x, n=1):\n    return x + n\n"),
    edit("value of a default", True, "N = 1", "N = 2", lib="N = 1\n", tasks="""
        from lib import N
        def task(x, n=N):
            return x + n
    """),
    edit("keyword default of a helper", True, "n=1", "n=2", lib="def helper(x, *, n=1):\n    return x + n\n",
         tasks=CALLS_HELPER),
    edit("annotation that is a class of the project", True, "int = 1", "int = 2", lib="""
        from dataclasses import dataclass
        @dataclass
        class Settings:
            n: int = 1
    """, tasks="from lib import Settings\ndef task(settings: Settings | None):\n    return settings\n"),
    # Classes.
    edit("method", True, "+ 1", "+ 2", lib="""
        class Thing:
            def run(self, x):
                return x + 1
    """, tasks="from lib import Thing\ndef task(x):\n    return Thing().run(x)\n"),
    edit("helper of a method", True, "+ 1", "+ 2", lib=HELPER + """
class Thing:
    def run(self, x):
        return helper(x)
""", tasks="from lib import Thing\ndef task(x):\n    return Thing().run(x)\n"),
    edit("class attribute", True, "n = 1", "n = 2", lib="""
        class Thing:
            n = 1
    """, tasks="from lib import Thing\ndef task(x):\n    return Thing().n\n"),
    edit("class attribute that is computed", True, "SOURCE = 1", "SOURCE = 2", lib="""
        SOURCE = 1
        def read():
            return globals()["SOURCE"]
        class Thing:
            n = read()
    """, tasks="from lib import Thing\ndef task(x):\n    return Thing.n\n"),
    edit("base class", True, "+ 1", "+ 2", lib="""
        class Base:
            def run(self, x):
                return x + 1
        class Thing(Base):
            pass
    """, tasks="from lib import Thing\ndef task(x):\n    return Thing().run(x)\n"),
    edit("property", True, "return 1", "return 2", lib="""
        class Thing:
            @property
            def n(self):
                return 1
    """, tasks="from lib import Thing\ndef task(x):\n    return Thing().n\n"),
    edit("cached property", True, "return 1", "return 2", lib="""
        import functools
        class Thing:
            @functools.cached_property
            def n(self):
                return 1
    """, tasks="from lib import Thing\ndef task(x):\n    return Thing().n\n"),
    edit("static method", True, "+ 1", "+ 2", lib="""
        class Thing:
            @staticmethod
            def run(x):
                return x + 1
    """, tasks="from lib import Thing\nrun = Thing.run\ndef task(x):\n    return run(x)\n"),
    edit("class method", True, "+ 1", "+ 2", lib="""
        class Thing:
            @classmethod
            def run(cls, x):
                return x + 1
    """, tasks="from lib import Thing\nrun = Thing.run\ndef task(x):\n    return run(x)\n"),
    edit("other method of a bound method's class", True, "+ 1", "+ 2", lib="""
        class Thing:
            def run(self, x):
                return self.step(x)
            def step(self, x):
                return x + 1
        run = Thing().run
    """, tasks="from lib import run\ndef task(x):\n    return run(x)\n"),
    edit("state of a bound method's object", True, "Thing(1)", "Thing(2)", lib="""
        class Thing:
            def __init__(self, n):
                self.n = n
            def run(self, x):
                return x + self.n
        run = Thing(1).run
    """, tasks="from lib import run\ndef task(x):\n    return run(x)\n"),
    edit("decorator of a class", True, "order=False", "order=True", lib="""
        from dataclasses import dataclass
        @dataclass(order=False)
        class Thing:
            n: int
    """, tasks="from lib import Thing\ndef task(x):\n    return Thing(1) < Thing(2)\n"),
    edit("dataclass field", True, "n: int", "n: float", lib="""
        from dataclasses import dataclass
        @dataclass
        class Thing:
            n: int
    """, tasks="from lib import Thing\ndef task(x):\n    return Thing(x)\n"),
    edit("default of a dataclass field", True, "= 1", "= 2", lib="""
        from dataclasses import dataclass
        @dataclass
        class Thing:
            n: int = 1
    """, tasks="from lib import Thing\ndef task(x):\n    return Thing()\n"),
    edit("method of a global instance", True, "+ 1", "+ 2", lib="""
        class Thing:
            def run(self, x):
                return x + 1
        thing = Thing()
    """, tasks="from lib import thing\ndef task(x):\n    return thing.run(x)\n"),
    edit("method of a global dataclass instance", True, "+ 1", "+ 2", lib="""
        from dataclasses import dataclass
        @dataclass
        class Thing:
            n: int
            def run(self, x):
                return x + 1
        thing = Thing(1)
    """, tasks="from lib import thing\ndef task(x):\n    return thing.run(x)\n"),
    edit("fields of a named tuple", True, '"x y"', '"y x"', lib="""
        from collections import namedtuple
        Point = namedtuple("Point", "x y")
    """, tasks="from lib import Point\ndef task(x):\n    return Point(1, 2)\n"),
    edit("class made inside a function", True, "make(1)", "make(2)", lib="""
        def make(n):
            class Thing:
                def run(self, x):
                    return x + n
            return Thing
        Thing = make(1)
    """, tasks="from lib import Thing\ndef task(x):\n    return Thing().run(x)\n"),
    # Variables.
    edit("global constant", True, "N = 1", "N = 2", lib="N = 1\n", tasks="""
        import lib
        def task(x):
            return x + lib.N
    """),
    edit("global constant of a helper", True, "N = 1", "N = 2", lib="N = 1\ndef helper(x):\n    return x + N\n",
         tasks=CALLS_HELPER),
    edit("global constant that is computed", True, "M = 1", "M = 2", lib="M = 1\nN = M * 10\n", tasks="""
        from lib import N
        def task(x):
            return x + N
    """),
    edit("another way to the same constant", False, "N = 4", "N = 2 + 2", lib="N = 4\n", tasks="""
        from lib import N
        def task(x):
            return x + N
    """),
    edit("global dict", True, '"a": 1', '"a": 2', lib='TABLE = {"a": 1}\n', tasks="""
        from lib import TABLE
        def task(x):
            return TABLE[x]
    """),
    edit("function in a global dict", True, "+ 1", "+ 2", lib=HELPER + 'TABLE = {"a": helper}\n', tasks="""
        from lib import TABLE
        def task(x):
            return TABLE[x](1)
    """),
    edit("order of a global dict", False, '{"a": 1, "b": 2}', '{"b": 2, "a": 1}', lib='TABLE = {"a": 1, "b": 2}\n', tasks="""
        from lib import TABLE
        def task(x):
            return TABLE[x]
    """),
    edit("enum member", True, "RED = 1", "RED = 2", lib="import enum\nclass Color(enum.Enum):\n    RED = 1\n", tasks="""
        from lib import Color
        def task(x):
            return Color.RED
    """),
    edit("method of an enum whose member is a global", True, "return 1", "return 2", lib="""
        import enum
        class Color(enum.Enum):
            RED = 1
            def code(self):
                return 1
        DEFAULT = Color.RED
    """, tasks="from lib import DEFAULT\ndef task(x):\n    return DEFAULT.code()\n"),
    edit("name of a logger", True, '"one"', '"two"', lib='import logging\nlog = logging.getLogger("one")\n', tasks="""
        from lib import log
        def task(x):
            log.info(x)
    """),
    edit("compiled pattern", True, '"a+"', '"b+"', lib='import re\nPATTERN = re.compile("a+")\n', tasks="""
        from lib import PATTERN
        def task(x):
            return PATTERN.match(x)
    """),
    edit("client made by a call", True, "Client(1)", "Client(2)", lib="""
        class Client:
            def __init__(self, n):
                self.lock = object()
                self.n = n
        client = Client(1)
    """, tasks="import lib\ndef task(x):\n    return lib.client.n\n"),
    edit("argument of a client that is made by a call", True, "N = 1", "N = 2", lib="""
        N = 1
        class Client:
            def __init__(self, n):
                self.lock = object()
                self.n = n
        client = Client(N)
    """, tasks="import lib\ndef task(x):\n    return lib.client.n\n"),
    edit("client filled by later statements", True, "n = 1", "n = 2", lib="""
        import types
        client = types.SimpleNamespace()
        client.n = 1
    """, tasks="import lib\ndef task(x):\n    return lib.client.n\n"),
    edit("client under a condition", True, "if 1:", "if 2:", lib="""
        import types
        if 1:
            client = types.SimpleNamespace()
    """, tasks="import lib\ndef task(x):\n    return lib.client\n"),
    edit("global that a function rebinds", True, "total = 1", "total = 2", lib="""
        total = 0
        def helper(x):
            global total
            total = 1
            return total
    """, tasks=CALLS_HELPER),
    edit("global that is a path in the project, and the project moves", False, "# here", "# there", lib="""
        import os, pathlib
        HERE = os.path.dirname(__file__)  # here
        DATA = pathlib.Path(__file__).parent / "data"
    """, tasks="import lib\ndef task(x):\n    return lib.HERE, lib.DATA, __file__\n"),
    edit("name that becomes bound", True, "pass", "missing = 1", lib="pass\ndef helper(x):\n    return missing\n",
         tasks=CALLS_HELPER),
    edit("name that hides a builtin", True, "pass", "len = id", lib="pass\ndef helper(x):\n    return len(x)\n",
         tasks=CALLS_HELPER),
    edit("function of another package", True, "math import sin", "cmath import sin", "tasks.py", tasks="""
        from math import sin
        def task(x):
            return sin(x)
    """),
    edit("another spelling of the same import", False, "from math import sin", "import math; sin = math.sin",
         "tasks.py", tasks="from math import sin\ndef task(x):\n    return sin(x)\n"),
    edit("attribute of a function", True, "limit = 1", "limit = 2", lib=HELPER + "helper.limit = 1\n", tasks="""
        from lib import helper
        def task():
            return helper.limit
    """),
    # What does not count.
    edit("same-named helper elsewhere", False, "+ 1", "+ 2", "other.py", lib=HELPER, other=HELPER, tasks="""
        import other
        from lib import helper
        def task(x):
            return helper(x)
    """),
    edit("same-named method of a class not used", False, "* 1", "* 2", lib=HELPER + """
class Other:
    def helper(self, x):
        return x * 1
""", tasks=CALLS_HELPER),
    edit("unused function in the same module", False, "* 1", "* 2", lib=HELPER + "def unused(x):\n    return x * 1\n",
         tasks=CALLS_HELPER),
    edit("unused constant in the same module", False, "= 1\n", "= 2\n", lib="N = 1\n" + HELPER, tasks=CALLS_HELPER),
    edit("new function above", False, "def helper", "def new(): pass\n\n\ndef helper", lib=HELPER, tasks=CALLS_HELPER),
    edit("comment", False, "+ 1", "+ 1  # one more", lib=HELPER, tasks=CALLS_HELPER),
    edit("type comment", False, "y = 1", "y = 1  # type: int", "tasks.py", tasks="def task():\n    y = 1\n    return y\n"),
    edit("blank lines", False, "    return", "\n\n    return", lib=HELPER, tasks=CALLS_HELPER),
    edit("formatting", False, "return x + 1", "return (\n        x\n        +   0x1\n    )", lib=HELPER, tasks=CALLS_HELPER),
    edit("quotes", False, "'it'", '"it"', "tasks.py", tasks="def task():\n    return 'it'\n"),
    edit("docstring", False, '"""One."""', '"""Two."""', lib='def helper(x):\n    """One."""\n    return x\n',
         tasks=CALLS_HELPER),
    edit("docstring of the task", False, '"""One."""', "pass", "tasks.py", tasks='def task():\n    """One."""\n'),
    edit("docstring of a class", False, '"""One."""', '"""Two."""', lib='class Thing:\n    """One."""\n    n = 1\n',
         tasks="from lib import Thing\ndef task():\n    return Thing\n"),
    edit("docstring that is read", True, '"""One."""', '"""Two."""', lib='def helper(x):\n    """One."""\n    return x\n',
         tasks="from lib import helper\ndef task():\n    return helper.__doc__\n"),
    edit("docstring of a module that is read", True, '"""One."""', '"""Two."""', lib='"""One."""\n',
         tasks="import lib\ndef task():\n    return lib.__doc__\n"),
    edit("name of a local variable", True, "y = x\n    return y", "z = x\n    return z", "tasks.py",
         tasks="def task(x):\n    y = x\n    return y\n"),
]  # fmt: skip
