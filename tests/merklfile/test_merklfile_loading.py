import os
import sys

import pytest
from story import Project, a_project

from merkl.config import Config
from merkl.errors import MerklfileError, UsageError
from merkl.merklfile.loader import find_merklfile, load
from merkl.python import sources


@pytest.fixture
def project(tmp_path):
    with a_project(tmp_path) as found:
        yield found


def test_targets_are_found_in_the_order_of_the_file_and_none_is_called(project: Project):
    merklfile = project.load("""
        @target
        def second():
            raise AssertionError("called")

        @target(default=True)
        def first():
            raise AssertionError("called")
    """)

    assert list(merklfile.targets) == ["second", "first"]
    assert [target.name for target in merklfile.defaults] == ["first"]


def test_the_file_runs_in_the_projects_root_and_the_process_comes_back(
    project: Project, tmp_path, monkeypatch
):
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")

    project.load("""
        import os, pathlib
        pathlib.Path("here.txt").write_text(os.getcwd())
        os.chdir("/")
    """)

    assert (tmp_path / "here.txt").read_text() == str(project.root)
    assert os.getcwd() == str(tmp_path / "deep")


def test_modules_beside_the_merklfile_can_be_imported_and_come_first(project: Project):
    project.write("json.py", "WHO = 'the project'")
    project.write("mine/__init__.py", "from mine.deep import NAME")
    project.write("mine/deep.py", "NAME = 'deep'")
    sys.modules.pop("json", None)

    merklfile = project.load("import mine, json\nresult = target('x', [task(lambda: mine.NAME)()])")

    module = merklfile.files[merklfile.path].module
    assert (module.mine.NAME, module.json.WHO) == ("deep", "the project")
    assert sys.path[0] == str(project.root)
    del sys.modules["json"]


def test_the_module_is_there_while_it_runs(project: Project):
    merklfile = project.load("""
        import dataclasses, sys, pickle

        @dataclasses.dataclass
        class Point:
            x: "int"

        itself = sys.modules[__name__]
        back = pickle.loads(pickle.dumps(Point(1)))
    """)

    module = merklfile.files[merklfile.path].module
    assert module.itself is module is sys.modules["Merklfile"]
    assert module.back == module.Point(1)
    assert (module.__name__, module.__file__) == ("Merklfile", str(project.root / "Merklfile.py"))


def test_the_text_that_ran_is_the_one_that_counts_even_if_the_file_is_edited_meanwhile(project: Project):
    text = """
        import inspect, pathlib

        def helper():
            return 1

        pathlib.Path(__file__).write_text("nonsense(")
        source = inspect.getsource(helper)
    """
    merklfile = project.load(text)

    module = merklfile.files[merklfile.path].module
    assert module.source == "def helper():\n    return 1\n"
    found = sources.source_of(module.helper.__code__)
    assert found is not None
    assert "return 1" in found.text


def test_a_second_load_sees_edited_modules_and_knows_nothing_of_the_first(project: Project):
    project.write("lib.py", "VALUE = 'old'")
    text = "import lib\n@target\ndef {name}(): return lib.VALUE"
    first = project.load(text.format(name="one"))
    assert project.given(first, "one") == "old"

    project.write("lib.py", "VALUE = 'new, and longer'")
    second = project.load(text.format(name="two"))

    assert list(second.targets) == ["two"]
    assert list(first.targets) == ["one"]
    assert project.given(second, "two") == "new, and longer"
    assert project.given(first, "one") == "old"


def test_two_projects_with_helpers_of_one_name_do_not_mix(tmp_path):
    with a_project(tmp_path / "a") as a, a_project(tmp_path / "b") as b:
        for project, word in ((a, "from a"), (b, "from b")):
            project.write("shared_name.py", f"WORD = {word!r}")
            merklfile = project.load("import shared_name\n@target\ndef t(): return shared_name.WORD")
            assert project.given(merklfile, "t") == word


def test_a_merklfile_of_another_name_is_taken_if_it_is_asked_for(project: Project):
    project.write("other/build.py", "WHO = 1")

    merklfile = project.load(merklfile=str(project.root / "other/build.py"))

    assert merklfile.files[merklfile.path].module.WHO == 1


def test_a_coding_line_is_obeyed(project: Project):
    text = "# -*- coding: latin-1 -*-\nNAME = 'caf\u00e9'\n"
    (project.root / "Merklfile.py").write_bytes(text.encode("latin-1"))

    merklfile = project.load()

    assert merklfile.files[merklfile.path].module.NAME == "café"


@pytest.mark.parametrize(
    ("existing", "config", "message", "hint"),
    [
        ([], {}, "no Merklfile.py or Merklfile.yaml here or above", "`merkl init` writes one"),
        (["Merklfile"], {}, "no Merklfile.py or Merklfile.yaml here or above", "is it Merklfile? rename it to Merklfile.py"),
        (["merklfile.py"], {}, "no Merklfile.py or Merklfile.yaml here or above", "is it merklfile.py? rename it to Merklfile.py"),
        (["Merklfile.py/x"], {}, "{root}/Merklfile.py is a directory, not a Merklfile", ""),
        (["lib/x"], {"merklfile": "lib"}, "{root}/lib is a directory, not a Merklfile",
         "-f takes a file, such as lib/Merklfile.py"),
        (["build.py"], {"merklfile": "biuld.py"}, "there is no file biuld.py, which -f names", "did you mean build.py?"),
        ([], {"root": "gone"}, "the directory {root}/gone does not exist", "-C takes the directory to work in"),
        (["file"], {"root": "file"}, "the directory {root}/file is not a directory", "-C takes the directory to work in"),
    ],
)  # fmt: skip
def test_a_merklfile_that_is_not_there_is_spoken_of(project: Project, existing, config, message, hint):
    for path in existing:
        project.write(path, "x")
    root = os.path.join(project.root, config.pop("root", ""))

    with pytest.raises(MerklfileError) as caught:
        find_merklfile(Config(root.rstrip("/"), **config))

    assert caught.value.headline == message.format(root=project.root)
    assert caught.value.hint == hint


def test_a_merklfile_outside_the_project_is_refused_because_its_code_would_not_count(tmp_path):
    with a_project(tmp_path / "inner") as project:
        project.root.mkdir()
        (tmp_path / "other.py").write_text("")

        with pytest.raises(MerklfileError, match="is outside the project"):
            project.load(merklfile=str(tmp_path / "other.py"))


@pytest.mark.parametrize("setting", ["lr", "=1", ""])
def test_a_setting_without_a_name_or_a_value_is_refused(project: Project, setting):
    with pytest.raises(UsageError, match="--set takes NAME=VALUE"):
        project.load("", sets=(setting,))


def test_a_merklfile_that_exits_is_an_error_and_an_interrupt_is_let_through(project: Project):
    with pytest.raises(MerklfileError, match="SystemExit: 0"):
        project.load("raise SystemExit(0)")
    with pytest.raises(KeyboardInterrupt):
        project.load("raise KeyboardInterrupt")


def test_a_failed_load_leaves_no_module_behind(project: Project):
    with pytest.raises(MerklfileError):
        project.load("1 / 0")

    assert "Merklfile" not in sys.modules


def test_the_session_of_the_load_is_used_whatever_else_is_current(project: Project):
    merklfile = project.load(ECHO_TARGET)

    project.call(merklfile, "t")

    assert project.session.nodes == [("echo", "t")]
    assert load(Config(str(project.root)), project.session).targets.keys() == {"t"}  # type: ignore[arg-type]


ECHO_TARGET = """
    @task
    def echo(value):
        return value

    @target
    def t():
        return echo(1)
"""


def test_a_merklfile_that_is_a_pipe_or_leads_nowhere_is_not_to_be_renamed_to_its_own_name(
    project: Project,
) -> None:
    path = os.path.join(project.root, "Merklfile.py")
    for make, what in (
        (os.mkfifo, "not a regular file"),
        (lambda p: os.symlink("nowhere", p), "a link that leads nowhere"),
    ):
        make(path)

        with pytest.raises(MerklfileError) as caught:
            find_merklfile(Config(project.root))

        assert caught.value.hint == f"Merklfile.py is {what}"
        os.unlink(path)
