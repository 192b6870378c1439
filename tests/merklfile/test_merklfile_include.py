import pytest
from story import ECHO, Project, a_project

from merkl.errors import InputMissing, MerklfileError


@pytest.fixture
def project(tmp_path):
    with a_project(tmp_path) as found:
        yield found


def test_an_included_files_targets_are_called_after_its_directory(project: Project):
    project.write("lib/Merklfile.py", "include('sub/Merklfile.py')\n@target(default=True)\ndef build(): ...")
    project.write("lib/sub/Merklfile.py", "@target\ndef build(): ...")
    project.write("tools/rules.py", "from merkl.merklfile.declare import target\n@target\ndef build(): ...")

    merklfile = project.load("""
        include("lib/Merklfile.py")
        include("tools/rules.py")
        @target
        def build(): ...
    """)

    assert list(merklfile.targets) == ["lib/sub/build", "lib/build", "tools/rules/build", "build"]
    assert merklfile.defaults == ()


def test_a_prefix_can_be_chosen_and_a_directory_included(project: Project):
    project.write("lib/Merklfile.py", "include('sub', prefix='deep')\n@target\ndef one(): ...")
    project.write("lib/sub/Merklfile.py", "@target\ndef two(): ...")
    project.write("plain/Merklfile.py", "@target\ndef three(): ...")

    merklfile = project.load("include('lib', prefix='x')\ninclude('plain', prefix='')")

    assert list(merklfile.targets) == ["x/deep/two", "x/one", "three"]


def test_its_paths_start_from_its_own_directory_at_load_and_in_its_targets(project: Project):
    project.write("lib/data.txt")
    project.write("lib/Merklfile.py", ECHO + "\n".join([
        "DATA = file('data.txt')",
        "@target",
        "def build():",
        "    echo(1) > 'out/b.txt'",
        "    return [file('data.txt'), files('*.txt'), file('../top.txt')]",
    ]))  # fmt: skip
    project.write("top.txt")

    merklfile = project.load("""
        lib = include("lib/Merklfile.py")
        @target
        def outer():
            return [lib.DATA, lib.build(), file("top.txt")]
    """)

    assert project.given(merklfile, "outer") == [
        "lib/data.txt",
        ["lib/data.txt", ["lib/data.txt"], "top.txt"],
        "top.txt",
    ]
    assert project.session.placements == [("lib/out/b.txt", "lib/build")]


def test_what_is_included_returns_its_module_and_runs_once(project: Project):
    project.write("lib/Merklfile.py", "import builtins\nCOUNT = [1]\ndef double(x): return 2 * x")
    project.write("other/Merklfile.py", "lib = include('../lib/Merklfile.py')")

    merklfile = project.load("""
        lib = include("lib/Merklfile.py")
        again = include("lib/../lib/Merklfile.py")
        other = include("other")
        answer = lib.double(21)
    """)
    module = merklfile.files[merklfile.path].module

    assert module.lib is module.again is module.other.lib
    assert module.answer == 42
    assert module.lib.__name__ == "Merklfile.lib.Merklfile"
    assert [file.prefix for file in merklfile.files.values()] == ["", "lib", "other"]


def test_files_of_like_names_are_different_modules(project: Project):
    for path in ("a/b.py", "a.b.py", "a/b/Merklfile.py"):
        project.write(path, f"WHO = {path!r}")

    merklfile = project.load("found = [include(p).WHO for p in ('a/b.py', 'a.b.py', 'a/b')]")

    assert merklfile.files[merklfile.path].module.found == ["a/b.py", "a.b.py", "a/b/Merklfile.py"]
    assert len({file.name for file in merklfile.files.values()}) == 4


def test_a_file_beside_or_above_the_including_one_is_called_after_its_directory(project: Project):
    project.write("lib/Merklfile.py", "include('../shared/Merklfile.py')")
    project.write("shared/Merklfile.py", "@target\ndef build(): ...")

    assert list(project.load("include('lib')").targets) == ["lib/shared/build"]


def test_an_included_directory_is_not_on_the_import_path(project: Project):
    project.write("lib/Merklfile.py", "import beside")
    project.write("lib/beside.py")

    with pytest.raises(MerklfileError, match="No module named 'beside'"):
        project.load("include('lib')")


def test_files_that_include_each_other_are_refused(project: Project):
    project.write("a/Merklfile.py", "include('../b')")
    project.write("b/Merklfile.py", "include('../a')")

    with pytest.raises(MerklfileError) as caught:
        project.load("include('a')")

    assert caught.value.headline == (
        "Merklfiles include each other: a/Merklfile.py → b/Merklfile.py → a/Merklfile.py"
    )
    assert str(caught.value.details["at"]).split("\n")[::2] == [
        "Merklfile.py:2, in <module>",
        "a/Merklfile.py:2, in <module>",
        "b/Merklfile.py:2, in <module>",
    ]


def test_a_file_has_one_prefix(project: Project):
    project.write("lib/Merklfile.py")

    with pytest.raises(MerklfileError) as caught:
        project.load("include('lib')\ninclude('lib', prefix='y')")

    assert caught.value.headline == "lib/Merklfile.py is included as 'lib' and as 'y'"


def test_a_missing_or_outside_file_is_an_error_at_the_line_that_includes_it(project: Project, tmp_path):
    project.write("lib/Merklfile.py")

    with pytest.raises(InputMissing) as caught:
        project.load("include('lip/Merklfile.py')")

    assert str(caught.value) == "\n".join([
        "there is no Merklfile lip/Merklfile.py",
        "  at:",
        "    Merklfile.py:2, in <module>",
        "      include('lip/Merklfile.py')",
        "  hint: did you mean lib?",
    ])  # fmt: skip
    outside = tmp_path.parent / f"{tmp_path.name}-outside.py"
    outside.write_text("")
    with pytest.raises(MerklfileError, match="is outside the project"):
        project.load(f"include('../{outside.name}')")


def test_a_file_that_fails_is_not_taken_for_loaded(project: Project):
    project.write("lib/Merklfile.py", "1 / 0")

    with pytest.raises(MerklfileError, match="ZeroDivisionError"):
        project.load("""
            try:
                include("lib")
            except ZeroDivisionError:
                pass
            include("lib")
        """)
