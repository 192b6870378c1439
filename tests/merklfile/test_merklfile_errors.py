import sys
import textwrap

import pytest
from story import Project, a_project

from merkl.errors import InputMissing, MerklfileError


@pytest.fixture
def project(tmp_path):
    with a_project(tmp_path) as found:
        yield found


def message(project: Project, text: str, *words: str) -> str:
    """What a person reads when the Merklfile of this text is loaded, and a target called."""
    with pytest.raises(MerklfileError) as caught:
        project.call(project.load(text), *words)
    return str(caught.value)


def lines(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


def test_an_exception_shows_the_users_own_frames_and_nothing_of_ours(project: Project):
    project.write("helpers.py", "import json\ndef read(text):\n    return json.loads(text)\n")

    text = message(project, """
        from helpers import read

        def settings():
            return read("{")

        settings()
    """)  # fmt: skip

    assert text == lines("""
        Merklfile.py raised json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)
          at:
            Merklfile.py:7, in <module>
              settings()
            Merklfile.py:5, in settings
              return read("{")
            helpers.py:3, in read
              return json.loads(text)
    """)  # fmt: skip


def test_an_exception_in_a_target_names_the_target_and_keeps_its_cause(project: Project):
    project.write("lib/Merklfile.py", "@target\ndef inner(x=0):\n    return 1 / x\n")
    merklfile = project.load("lib = include('lib')\n@target\ndef outer():\n    return lib.inner()")

    with pytest.raises(MerklfileError) as caught:
        project.call(merklfile, "outer")

    assert str(caught.value) == lines("""
        the target outer raised ZeroDivisionError: division by zero
          at:
            Merklfile.py:5, in outer
              return lib.inner()
            lib/Merklfile.py:4, in inner
              return 1 / x
    """)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.exit_code == 2


def test_an_exception_that_is_no_exception_is_told_the_same_way_and_ctrl_c_is_not(project: Project):
    merklfile = project.load(
        "class Mine(BaseException): pass\n"
        "@target\ndef one():\n    raise Mine('no')\n"
        "@target\ndef two():\n    raise KeyboardInterrupt\n"
    )

    with pytest.raises(MerklfileError, match=r"the target one raised Merklfile\.Mine: no"):
        project.call(merklfile, "one")
    with pytest.raises(KeyboardInterrupt):
        project.call(merklfile, "two")


def test_an_error_while_a_module_is_imported_shows_no_frame_of_the_import_system(project: Project):
    project.write("broken.py", "value = undefined_name\n")

    assert message(project, "def f():\n    import broken\nf()") == lines("""
        Merklfile.py raised NameError: name 'undefined_name' is not defined
          at:
            Merklfile.py:4, in <module>
              f()
            Merklfile.py:3, in f
              import broken
            broken.py:1, in <module>
              value = undefined_name
    """)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "x = 1\n    y = 2\n",
            """
            Merklfile.py:3: IndentationError: unexpected indent
              source:
                y = 2
                ^
            """,
        ),
        (
            "def f():\n    return = 3\n",
            """
            Merklfile.py:3: invalid syntax
              source:
                return = 3
                       ^
            """,
        ),
        (
            "def f():\n    print('a' 'b' c 'd')\n",
            """
            Merklfile.py:3: invalid syntax. Perhaps you forgot a comma?
              source:
                print('a' 'b' c 'd')
                      ^^^^^^^^^
            """,
        ),
        (
            "x = (1,\n",
            """
            Merklfile.py:2: '(' was never closed
              source:
                x = (1,
                    ^
            """,
        ),
    ],
)
def test_wrong_syntax_is_shown_with_its_line_and_a_caret(project: Project, text, expected):
    assert message(project, text) == lines(expected)


def test_wrong_syntax_in_an_imported_file_also_shows_who_imports_it(project: Project):
    project.write("broken.py", "x = = 1\n")

    assert message(project, "import broken") == lines("""
        broken.py:1: invalid syntax
          source:
            x = = 1
                ^
          at:
            Merklfile.py:2, in <module>
              import broken
    """)


def test_a_module_that_is_not_installed_is_hinted_at_with_this_environment(project: Project):
    text = message(project, "import no_such_module_anywhere")

    assert text.startswith(
        "Merklfile.py raised ModuleNotFoundError: No module named 'no_such_module_anywhere'"
    )
    assert text.endswith(f"hint: is it installed in this environment? merkl runs with {sys.executable}")


def test_a_message_of_several_lines_and_notes_are_shown_whole(project: Project):
    text = message(project, """
        error = ValueError("first\\nsecond")
        error.add_note("a note")
        raise error
    """)  # fmt: skip

    assert text == lines("""
        Merklfile.py raised ValueError: first
          message:
            ValueError: first
            second
            a note
          at:
            Merklfile.py:4, in <module>
              raise error
    """)


def test_a_deep_recursion_is_shown_by_its_ends(project: Project):
    text = message(project, "def f(n):\n    return f(n + 1)\nf(0)")

    assert text.startswith("Merklfile.py raised RecursionError: maximum recursion depth exceeded")
    assert "more …" in text
    assert len(text.split("\n")) < 50


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"x = '\xff'\n", "Merklfile.py:1: not valid utf-8"),
        (b"x = 1\0\n", "Merklfile.py holds a NUL byte, which Python code cannot"),
        (b"# coding: klingon\n", "Merklfile.py: unknown encoding: klingon"),
    ],
)
def test_a_file_that_is_no_text_is_spoken_of(project: Project, data, expected):
    (project.root / "Merklfile.py").write_bytes(data)

    with pytest.raises(MerklfileError) as caught:
        project.load()

    assert caught.value.headline == expected


def test_an_error_of_ours_keeps_its_class_and_gets_the_users_frames(project: Project):
    project.write("data/table.csv")
    merklfile = project.load(
        "def source(name):\n    return file(f'data/{name}')\n@target\ndef t():\n    return source('tabel.csv')"
    )

    with pytest.raises(InputMissing) as caught:
        project.call(merklfile, "t")

    assert str(caught.value) == lines("""
        the input data/tabel.csv does not exist
          at:
            Merklfile.py:6, in t
              return source('tabel.csv')
            Merklfile.py:3, in source
              return file(f'data/{name}')
          hint: did you mean data/table.csv?
    """)
