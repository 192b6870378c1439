"""``deps=`` and the versions of installed packages: what changes a key, and that nothing else does."""

import sys
import textwrap
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from merkl import FileRef, bash_task, find_pip_version, pip_version_of, pipeline, task
from merkl.errors import TaskError, UnhashableArgument
from merkl.nodes import using
from merkl.python.inside import Inside
from merkl.python.versions import versions_of

BASE = """
    import json, helper, thirdparty
    from merkl import *
    from helper import function, Class
    from pathlib import Path
    import threading

    bash = bash_task("echo {arg('x')}", name="bash", portable=True)
    bash_versioned = bash_task("echo {arg('x')}", name="bash", portable=True, version="%(bash_version)s")

    @task
    def maker(n):
        return n + %(maker)s

    @task(version="%(version)s")
    def versioned():
        return 0

    @task(deps=["%(inner)s"])
    def deep():
        return 0

    @pipeline
    def pipe():
        return maker(1)

    def made(deps, **options):
        @task(deps=deps, **options)
        def f():
            return 1
        return f().hash

    def constructed(deps):
        @pipeline(deps=deps)
        def f():
            return 1
        return f()
"""
HELPER = """
    def function():
        return inner()

    def inner():
        return %(function)s

    def other():
        return %(other)s

    class Class:
        field = %(field)s

        def method(self):
            return 1
"""
USUAL = {
    "bash_version": "",
    "maker": "1",
    "version": "1",
    "inner": "a",
    "function": "1",
    "other": "1",
    "field": "1",
    "thirdparty": "1.0",
    "data": "1",
}


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The key of a task with some ``deps``, in a project that differs from the usual one in what is named."""
    count = iter(range(1000))

    class Asked(Inside):
        def construct(self, construction: Any) -> Any:
            return construction.key.hex()

    def key(deps: str, options: str = "", of: str = "made", **changed: str) -> str:
        values = {**USUAL, **changed}
        root = tmp_path / str(next(count))
        site = root / "site-packages"
        install(
            site, "ThirdParty-Dist", values["thirdparty"], {"thirdparty.py": "def f(): pass\nclass C: pass\n"}
        )
        for name, text in (("merklfile.py", BASE), ("helper.py", HELPER)):
            (root / name).write_text(textwrap.dedent(text) % values)
        (root / "data.txt").write_text(values["data"])
        (root / "tree").mkdir()
        (root / "tree/data.txt").write_text(values["data"])
        monkeypatch.chdir(root)
        with monkeypatch.context() as patch, using(Asked(str(root), (), "test")):
            patch.setattr(sys, "path", [str(root), str(site), *sys.path])
            for name in ("helper", "thirdparty"):
                sys.modules.pop(name, None)
            namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(root / "merklfile.py")}
            code = compile((root / "merklfile.py").read_text(), str(root / "merklfile.py"), "exec")
            exec(code, namespace)
            found: str = eval(f"{of}([{deps}], **dict({options}))", namespace)
        return found

    return key


def install(site: Path, name: str, version: str, files: dict[str, str]) -> None:
    """A distribution as pip would leave it."""
    record = ""
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
        record += f"{path},,\n"
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(record)


COUNTING = [
    ("helper.function", {"function": "2"}, {"other": "2"}),
    ("function", {"function": "2"}, {"field": "2"}),
    ("helper", {"other": "2"}, {"maker": "2"}),
    ("Class", {"field": "2"}, {"function": "2"}),
    ("maker", {"maker": "2"}, {"version": "2"}),
    ("versioned", {"version": "2"}, {"maker": "2"}),
    ("deep", {"inner": "b"}, {"maker": "2"}),
    ("bash_versioned", {"bash_version": "2"}, {"maker": "2"}),
    ("pipe", {"maker": "2"}, {"version": "2"}),
    ("maker(3)", {"maker": "2"}, {"version": "2"}),
    ("FileRef('data.txt')", {"data": "2"}, {"other": "2"}),
    ("DirRef('tree')", {"data": "2"}, {"other": "2"}),
    ("[{'file': FileRef('data.txt')}]", {"data": "2"}, {"other": "2"}),
    ("thirdparty", {"thirdparty": "1.1"}, {"other": "2"}),
    ("thirdparty.f", {"thirdparty": "1.1"}, {"other": "2"}),
    ("thirdparty.C", {"thirdparty": "1.1"}, {"other": "2"}),
    ("pip_version_of('ThirdParty-Dist')", {"thirdparty": "1.1"}, {"other": "2"}),
    ("pip_version_of(thirdparty.f)", {"thirdparty": "1.1"}, {"other": "2"}),
    ("find_pip_version(thirdparty)", {"thirdparty": "1.1"}, {"other": "2"}),
]  # fmt: skip


@pytest.mark.parametrize(("dep", "counts", "not_counts"), COUNTING, ids=[case[0] for case in COUNTING])
def test_a_dep_counts_and_nothing_beside_it(
    keys: Callable[..., str], dep: str, counts: dict[str, str], not_counts: dict[str, str]
) -> None:
    usual = keys(dep)

    assert keys(dep, **counts) != usual
    assert keys(dep, **not_counts) == usual
    assert keys("") == keys("", **counts)


@pytest.mark.parametrize(("dep", "counts", "not_counts"), [COUNTING[at] for at in (0, 5, 6, 7, 8, 13)])
def test_a_dep_of_a_pipeline_counts_as_one_of_a_task(
    keys: Callable[..., str], dep: str, counts: dict[str, str], not_counts: dict[str, str]
) -> None:
    usual = keys(dep, of="constructed")

    assert keys(dep, of="constructed", **counts) != usual
    assert keys(dep, of="constructed", **not_counts) == usual


def test_what_cannot_be_a_dep_of_a_task_cannot_be_one_of_a_pipeline(keys: Callable[..., str]) -> None:
    with pytest.raises(TaskError, match=r"deps\[1\] is the path 'data.txt'"):
        keys("1, Path('data.txt')", of="constructed")
    with pytest.raises(TaskError, match="deps is a list"):
        pipeline(deps="helper")  # type: ignore[call-overload]


def test_plain_values_count_by_value_and_type(keys: Callable[..., str]) -> None:
    texts = [
        "1",
        "1.0",
        "True",
        "'1'",
        "b'1'",
        "None",
        "[1]",
        "{'a': 1}",
        "{'a': 2}",
        "['a', 'b']",
        "'a', 'b'",
        "bash",
        "json",
        "",
    ]

    assert len({keys(text) for text in texts}) == len(texts)
    assert keys("{'a': 1, 'b': 2}") == keys("{'b': 2, 'a': 1}")


REFUSED = [
    ([1, threading.Lock()], UnhashableArgument, r"f: deps\[1\] is a lock, which has no stable encoding"),
    ([(n for n in (1,))], UnhashableArgument, r"f: deps\[0\] is a generator"),
    ([[1, {"a": threading.Lock()}]], UnhashableArgument, r"f: deps\[0\] is a list"),
]


@pytest.mark.parametrize(("deps", "error", "message"), REFUSED)
def test_what_has_no_meaning_is_refused_with_its_position(
    tmp_path: Path, deps: Any, error: type[Exception], message: str
) -> None:
    @task(deps=deps)
    def f() -> None:
        pass

    with using(Inside(str(tmp_path), (), "test")), pytest.raises(error, match=message):
        f()


def test_what_is_no_list_or_a_bare_path_is_refused_where_the_task_is_defined() -> None:
    with pytest.raises(TaskError, match="deps is a list, not 'numpy'"):
        task(deps="numpy")
    with pytest.raises(TaskError, match="deps is a list, not a set"):
        task(deps={1})  # type: ignore[call-overload]
    with pytest.raises(TaskError, match=r"deps\[1\] is the path 'data.csv', which says nothing") as caught:
        task(deps=[1, Path("data.csv")])
    assert "file('data.csv')" in caught.value.hint


# ---- the distribution behind an import ------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of installed packages, first on the path."""
    made = tmp_path / "site-packages"
    made.mkdir()
    monkeypatch.setattr(sys, "path", [str(made), *sys.path])
    before = set(sys.modules)
    yield made
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_functions_classes_and_modules_lead_to_their_distribution() -> None:
    import click
    import numpy
    import yaml

    for thing in (yaml, yaml.load, yaml.Loader, "yaml", "yaml.loader"):
        assert find_pip_version(thing) == pip_version_of("PyYAML")
    for numeric in (numpy, numpy.add, numpy.sum, numpy.ndarray, numpy.linalg.norm, numpy.ndarray.sum):
        assert find_pip_version(numeric) == pip_version_of("numpy") == pip_version_of(numeric)
    assert find_pip_version(click.command) == pip_version_of("click")


def test_a_package_that_several_share_is_told_by_the_longest_name(site: Path) -> None:
    install(site, "acme-one", "1", {"acme/one/__init__.py": "", "acme/one/deep.py": ""})
    install(site, "acme-two", "2", {"acme/two/__init__.py": ""})

    assert find_pip_version("acme.one.deep") == "acme-one 1"
    assert find_pip_version("acme.two") == "acme-two 2"
    assert find_pip_version("acme") == "acme-one 1, acme-two 2"


def test_a_distribution_with_the_name_of_anothers_module_is_not_taken_for_it(site: Path) -> None:
    install(site, "thing", "1", {"unrelated.py": ""})
    install(site, "real-thing", "2", {"thing/__init__.py": ""})

    assert find_pip_version("thing") == "real-thing 2"


def test_an_installation_in_place_is_found_by_its_directory(site: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inplace").mkdir(parents=True)
    (source / "inplace/__init__.py").write_text("def f(): pass")
    install(site, "in-place-dist", "3", {"in_place.pth": str(source)})
    (site / "in_place_dist-3.dist-info/direct_url.json").write_text(
        f'{{"url": "file://{source}", "dir_info": {{"editable": true}}}}'
    )
    sys.path.append(str(source))
    import inplace  # type: ignore[import-not-found]

    assert find_pip_version(inplace) == find_pip_version(inplace.f) == "in-place-dist 3"


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ("json", "the module json is a part of Python"),
        (len, "the module builtins is a part of Python"),
        (types.ModuleType("nowhere"), "the module nowhere is of no distribution"),
        (3, "takes a module, function or class, and 3 is none"),
        ("no_such_module", "the module no_such_module is of no distribution"),
    ],
)
def test_what_was_not_installed_is_refused(thing: object, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        find_pip_version(thing)


def test_what_pythons_own_modules_and_merkl_are_is_left_out() -> None:
    assert versions_of(["os.path", "json", "merkl.nodes", "no_such"]) == ()


# ---- auto_pip_versions ------------------------------------------------------------------------------------------------

REACHING = {
    "by a global": "import thirdparty\ndef used(): return thirdparty.f()",
    "by a name from it": "from thirdparty import f\ndef used(): return f()",
    "inside the function": "def used():\n    import thirdparty\n    return thirdparty.f()",
    "from it inside": "def used():\n    from thirdparty import f\n    return f()",
    "by a class": "import thirdparty\nclass Own(thirdparty.C): pass\ndef used(): return Own()",
    "by an object": "import thirdparty\nclient = thirdparty.C()\ndef used(): return client",
    "by a default": "import thirdparty\ndef used(how=thirdparty.f): return how()",
    "by a decorator": "import thirdparty\n@thirdparty.wrap\ndef used(): return 1",
}
AUTO = """
from merkl import task
import library

@task(auto_pip_versions=%s, %s)
def f():
    return library.used()
"""


@pytest.mark.parametrize(
    "option", ["", "version='1'", "hash_mode=HashMode.FUNCTION"], ids=["code", "version", "function"]
)
@pytest.mark.parametrize("how", REACHING)
def test_every_third_party_import_that_is_reached_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, option: str
) -> None:
    def key(version: str, other: str = "1", auto: bool = True) -> str:
        root = tmp_path / f"{version}-{other}-{auto}"
        site = root / "site-packages"
        text = "def f(): pass\nclass C: pass\ndef wrap(function): return function\n"
        install(site, "ThirdParty", version, {"thirdparty.py": text})
        install(site, "Other", other, {"other.py": text})
        (root / "library.py").write_text(
            f"import other\n{REACHING[how]}\ndef not_reached(): return other.f()\n"
        )
        (root / "script.py").write_text("from merkl import HashMode\n" + AUTO % (auto, option))
        with monkeypatch.context() as patch, using(Inside(str(root), (), "test")):
            patch.setattr(sys, "path", [str(root), str(site), *sys.path])
            for name in ("library", "thirdparty", "other"):
                sys.modules.pop(name, None)
            namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(root / "script.py")}
            exec(compile((root / "script.py").read_text(), str(root / "script.py"), "exec"), namespace)
            found: str = namespace["f"]().hash
        return found

    usual = key("1.0")
    assert key("1.1") != usual
    assert key("1.0", other="2") == usual
    assert key("1.0", auto=False) == key("1.1", auto=False) != usual


def test_why_names_the_package_that_changed(inside: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site = inside.path / "site-packages"
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    install(site, "ThirdParty", "1.0", {"thirdparty.py": "def f(): return 1\n"})
    inside.merklfile("""
        import thirdparty

        @task(auto_pip_versions=True, deps=[{"unit": "mm"}])
        def f():
            return f"{thirdparty.f()}"

        @target(default=True)
        def all():
            f() > "out.txt"
    """)
    assert inside.build("-j1") == ["f"]
    assert inside.build("-j1") == []
    (site / "ThirdParty-1.0.dist-info").rename(site / "ThirdParty-1.1.dist-info")
    metadata = site / "ThirdParty-1.1.dist-info/METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "1.1"))
    from merkl.python import versions

    versions._version.cache_clear()  # As in the next process.
    versions._versions.cache_clear()
    said = inside.merkl("why").stdout

    assert "ThirdParty" in said and "1.0" in said and "1.1" in said
    assert inside.build("-j1") == ["f"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    @task(deps=[FileRef("missing.txt")])
    def f() -> None:
        pass

    with using(Inside(str(tmp_path), (), "test")), pytest.raises(Exception, match=r"missing\.txt"):
        f()


def test_commands_count_by_what_they_run(tmp_path: Path) -> None:
    def key(template: str, **options: Any) -> str:
        @task(deps=[bash_task(template, name="same", **options)])
        def f() -> int:
            return 1

        return str(f().hash)

    with using(Inside(str(tmp_path), (), "test")):
        assert key("echo 1") == key("echo 1", retries=2) != key("echo 2")
        assert key("echo 1", deps=["a"]) != key("echo 1", deps=["b"])
