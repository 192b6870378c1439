import os

import pytest
from story import Project, a_project

from merkl.errors import InputMissing, UsageError
from merkl.workspace.refs import FileRef


@pytest.fixture
def project(tmp_path):
    with a_project(tmp_path) as found:
        yield found


def value(project: Project, text: str):
    """What the expression gives in a Merklfile."""
    merklfile = project.load(f"value = {text}")
    return merklfile.files[merklfile.path].module.value


def test_a_file_is_named_relative_to_the_project_however_it_is_spelt(project: Project):
    project.write("data/a.txt")

    for text in (
        "'data/a.txt'",
        "'./data/../data//a.txt'",
        "b'data/a.txt'",
        f"{str(project.root)!r} + '/data/a.txt'",
    ):
        found = value(project, f"file({text})")
        assert (type(found), found) == (FileRef, "data/a.txt")


def test_a_file_outside_the_project_is_named_by_its_whole_path(project: Project, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "x"
    outside.write_text("")

    assert value(project, f"file({str(outside)!r})") == str(outside)


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("maim.c", "the input maim.c does not exist", "did you mean main.c?"),
        ("scr/util.c", "the input scr/util.c does not exist", "did you mean src?"),
        ("data/x", "the input data/x does not exist", "it is tracked: merkl pull data/x"),
        ("src", "the input src is a directory, and a file is needed", ""),
        ("fifo", "the input fifo is a fifo, and a file is needed", ""),
        ("dangling", "the input dangling is a symbolic link to nowhere, which does not exist",
         "make what it points to, or point it elsewhere"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_an_input_is_refused(project: Project, path, message, hint):
    project.write("main.c")
    project.write("src/util.c")
    project.write("data.merkl")
    os.mkfifo(project.root / "fifo")
    os.symlink("nowhere", project.root / "dangling")

    with pytest.raises(InputMissing) as caught:
        value(project, f"file({path!r})")

    assert (caught.value.headline, caught.value.hint) == (message, hint)


def test_a_pattern_gives_sorted_files_without_what_is_ignored(project: Project):
    for path in (
        "src/b.c",
        "src/a.c",
        "src/Z.c",
        "src/old/c.c",
        "src/gen.c",
        "src/tmp.c",
        ".merkl/x.c",
        "src/dir.c/x",
    ):
        project.write(path)
    project.write(".gitignore", "gen.c\n")
    project.write(".merklignore", "tmp.c\n")

    assert value(project, "files('src/*.c')") == ["src/Z.c", "src/a.c", "src/b.c"]
    assert value(project, "files('**/*.c')") == ["src/Z.c", "src/a.c", "src/b.c", "src/old/c.c"]
    assert {type(each) for each in value(project, "files('src/{a,b}.c')")} == {FileRef}
    assert value(project, "file('src/gen.c')") == "src/gen.c"


def test_a_new_file_is_matched_by_the_next_load_and_the_directories_looked_at_are_known(project: Project):
    project.write("src/a.c")
    project.write("src/.gitignore", "*.o")
    text = "value = files('src/*.c')"
    first = project.load(text)
    project.write("src/b.c")

    second = project.load(text)

    assert first.files[first.path].module.value == ["src/a.c"]
    assert second.files[second.path].module.value == ["src/a.c", "src/b.c"]
    assert "src" in first.listed
    assert "src/.gitignore" in first.read


def test_a_pattern_that_matches_nothing_is_an_empty_list_unless_it_must_match(project: Project):
    assert value(project, "files('src/*.c')") == []

    with pytest.raises(InputMissing, match=r"no file matches 'src/\*\.c' in \."):
        value(project, "files('src/*.c', required=True)")


@pytest.mark.parametrize("pattern", ["/etc/*.conf", "../*.c", "src/../../*.c", "{src,..}/*.c"])
def test_a_pattern_that_leads_out_is_refused(project: Project, pattern):
    with pytest.raises(UsageError) as caught:
        value(project, f"files({pattern!r})")

    assert caught.value.headline == f"the pattern {pattern!r} leads out of the project"
    assert "file()" in caught.value.hint
