"""Headers in every place and under every name, with the real compiler: what counts, and what it says when one is gone."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from merkl.bash.depfile import parse_depfile
from merkl.bash.includes import Asked, asked_for

GCC = pytest.mark.needs("gcc")

PROGRAM = """
    cc = bash_task('''{compiler} -Iinc -Iinc2 {flags} -MF {{depfile_arg()}} -c {{file_arg('source', '.c')}} -o {{out_file_arg('object', '.o')}}''')
    link = bash_task("gcc {{files_arg('objects')}} -o {{out_file_arg('exe')}}")

    @target(default=True)
    def program():
        link([cc(source) for source in files("src/*.c")]) > "program"
"""


def program(project: Any, main: str, *, flags: str = "-MMD", compiler: str = "gcc") -> None:
    """A program of one C file, whose ``main`` returns what an expression says."""
    includes, _, value = main.rpartition("\n")
    project.merklfile(PROGRAM.format(flags=flags, compiler=compiler))
    project.write("src/main.c", f"{includes}\nint main(void) {{ return {value}; }}\n")


def result(project: Any) -> int:
    return subprocess.run([project.path / "program"], check=False).returncode


RAN = ["cc", "link"]


@GCC
@pytest.mark.parametrize("flags", ["-MMD", "-MD", "-MMD -MP", "-MD -MP -MT 'other.o more.o' -MQ 'a$b.o'"])
def test_a_header_counts_whatever_form_the_depfile_has(inside: Any, flags: str) -> None:
    program(inside, '#include "a.h"\nA', flags=flags)
    inside.write("inc/a.h", '#include "deep/b.h"\n#define A B\n')
    inside.write("inc/deep/b.h", "#define B 3\n")
    assert inside.build() == RAN
    assert inside.build() == []
    inside.write("inc/deep/b.h", "#define B 4\n")
    assert inside.build() == RAN
    assert result(inside) == 4


@GCC
@pytest.mark.parametrize("flags", ["-MMD", "-MD"])
def test_a_header_that_takes_the_place_of_a_system_header_counts(inside: Any, flags: str) -> None:
    program(inside, "#include <limits.h>\nCHAR_BIT", flags=flags)
    assert inside.build() == RAN
    inside.write("inc2/unrelated.h", "")
    inside.build()
    assert inside.build() == []

    inside.write("inc2/limits.h", "#define CHAR_BIT 9\n")
    assert inside.build() == RAN
    assert result(inside) == 9
    (inside.path / "inc2/limits.h").unlink()
    assert inside.build() == []
    assert result(inside) == 8


@GCC
def test_only_a_name_in_quotes_is_looked_for_beside_the_file(inside: Any) -> None:
    program(inside, '#include "a.h"\n#include <b.h>\nA + B')
    inside.write("inc/a.h", "#define A 1\n")
    inside.write("inc2/b.h", "#define B 2\n")
    inside.build()

    inside.write("src/a.h", "#define A 10\n")
    assert inside.build() == RAN
    assert result(inside) == 12
    inside.write("inc/b.h", "#define B 20\n")
    assert inside.build() == RAN
    assert result(inside) == 30


@GCC
def test_what_has_include_asks_for_counts_when_it_comes_and_when_it_goes(inside: Any) -> None:
    program(
        inside,
        """
#include "a.h"
#if __has_include(<opt/opt.h>)
#define OPT 10
#else
#define OPT 0
#endif
A + OPT""",
    )
    inside.write("inc/a.h", '#if __has_include("more.h")\n#include "more.h"\n#else\n#define A 1\n#endif\n')
    assert inside.build() == RAN
    assert result(inside) == 1

    inside.write("inc2/opt/opt.h", "")  # Only asked for, never read.
    assert inside.build() == RAN
    assert result(inside) == 11
    inside.write("inc/more.h", "#define A 2\n")
    assert inside.build() == RAN
    assert result(inside) == 12
    inside.write("inc/opt/opt.h", "")  # There is one already, but this one comes first.
    assert inside.build() == ["cc"]

    shutil.rmtree(inside.path / "inc/opt")
    (inside.path / "inc/more.h").unlink()
    assert inside.build() == []
    assert result(inside) == 11
    (inside.path / "inc2/opt/opt.h").unlink()
    assert inside.build() == []
    assert result(inside) == 1


@GCC
def test_a_name_that_leads_up_counts_where_it_is_looked_for_first(inside: Any) -> None:
    program(inside, '#include "../shared/a.h"\nA')
    inside.write("shared/a.h", "#define A 1\n")
    inside.write("inc/sub/x.h", "")
    inside.build()
    inside.write("inc/sub/y.h", "")
    assert inside.build() == []

    program(inside, "#include <../own/a.h>\nA")
    inside.write("inc2/x.h", "")
    inside.write("own/a.h", "#define A 5\n")
    inside.build()
    assert result(inside) == 5
    inside.write("own/a.h", "#define A 6\n")
    assert inside.build() == RAN


@GCC
def test_a_deleted_header_is_told_by_the_compiler_and_a_restored_one_runs_nothing(inside: Any) -> None:
    program(inside, '#include "a.h"\nA')
    inside.write("inc/a.h", "#define A 1\n")
    inside.build()
    os.rename(inside.path / "inc/a.h", inside.path / "kept")

    failed = inside.merkl("build", code=1)
    assert "a.h: No such file or directory" in failed.stderr
    assert "cc failed: exit code 1" in failed.stderr and "at: Merklfile.py:" in failed.stderr
    assert result(inside) == 1

    os.rename(inside.path / "kept", inside.path / "inc/a.h")
    assert inside.build() == []


@GCC
def test_a_renamed_header_runs_what_names_it_and_nothing_is_missed(inside: Any) -> None:
    program(inside, '#include "a.h"\nint f(void);\nA + f()')
    inside.write("src/f.c", '#include "a.h"\nint f(void) { return A; }\n')
    inside.write("src/g.c", "int g(void) { return 0; }\n")
    inside.write("inc/a.h", "#define A 1\n")
    inside.build()
    os.rename(inside.path / "inc/a.h", inside.path / "inc/renamed.h")
    for name in ("src/main.c", "src/f.c"):
        inside.write(name, inside.read(name).replace("a.h", "renamed.h"))

    assert inside.build() == ["cc", "cc"]  # The objects are the same.
    inside.write("inc/renamed.h", "#define A 2\n")
    assert inside.build() == ["cc", "cc", "link"]
    assert result(inside) == 4


@GCC
def test_names_with_any_bytes_that_a_line_of_c_can_hold_are_followed(inside: Any) -> None:
    names = [b"a b.h", b"two  .h", b"tab\t.h", b"c#d.h", b"e$f.h", b"$$.h", b"\xff.h", b"-g.h", b"it's.h", b"q\\r.h",
             b"back\\ slash.h", b"two\\\\ of.h", b"h\\#.h", b"100%.h", b"a:b.h", b"~.h", b"x*?[y].h", b"(z).h", b"\xc3\xa9.h"]  # fmt: skip
    inside.merklfile(PROGRAM.format(flags="-MMD -MP", compiler="gcc"))
    text = b"".join(b'#include "%s"\n' % name for name in names) + b"int main(void) { return 0; }\n"
    inside.write("src/main.c", text)
    paths = [Path(os.fsdecode(os.path.join(os.fsencode(inside.path), b"inc", name))) for name in names]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_text("")
    assert inside.build() == RAN
    assert inside.build() == []
    for path in paths:
        path.write_text(f"extern int edited{paths.index(path)};\n")
        assert inside.build() == ["cc"], path


@GCC
def test_headers_named_by_absolute_paths_count_inside_the_project_and_outside(
    inside: Any, tmp_path: Path
) -> None:
    outside = tmp_path / "elsewhere/o.h"
    outside.parent.mkdir()
    outside.write_text("#define O 1\n")
    program(inside, f'#include "{outside}"\n#include "{inside.path}/any/i.h"\nO + I')
    inside.write("any/i.h", "#define I 10\n")
    assert inside.build() == RAN

    outside.write_text("#define O 2\n")
    assert inside.build() == RAN
    inside.write("any/i.h", "#define I 20\n")
    assert inside.build() == RAN
    assert result(inside) == 22
    outside.write_text("#define O 1\n")
    inside.write("any/i.h", "#define I 10\n")
    assert inside.build() == []


@GCC
def test_a_moved_project_has_the_same_objects_and_runs_nothing(inside: Any, tmp_path: Path) -> None:
    flags = """-MMD -g -ffile-prefix-map="$PWD"=."""
    program(inside, '#include "a.h"\n#include <assert.h>\n(assert(A), __FILE__[0])', flags=flags)
    inside.write("inc/a.h", "#define A 1\n")
    inside.build()
    [object_] = inside.path.glob(".merkl/view/*/main.o")
    assert os.fsencode(tmp_path) not in object_.read_bytes()

    moved = type(inside)(tmp_path / "another place")
    shutil.copytree(inside.path, moved.path)
    assert moved.build() == []

    shutil.rmtree(moved.path / ".merkl")
    (moved.path / "program").unlink()
    assert moved.build() == RAN
    assert (moved.path / "program").read_bytes() == (inside.path / "program").read_bytes()


@GCC
def test_several_compilations_in_one_task_have_one_depfile(inside: Any) -> None:
    inside.merklfile("""
        both = bash_task('''
            gcc -Iinc -MMD -MF "$TMPDIR/a.d" -c {file_arg('a', '.c')} -o "$TMPDIR/a.o"
            gcc -Iinc -MMD -MF "$TMPDIR/b.d" -c {file_arg('b', '.c')} -o "$TMPDIR/b.o"
            cat "$TMPDIR"/[ab].d > {depfile_arg()}
            gcc "$TMPDIR"/[ab].o -o {out_file_arg('exe')}
        ''')
        target("all", both("main.c", "f.c") > "program", default=True)
    """)
    inside.write("main.c", '#include "a.h"\nint f(void);\nint main(void) { return A + f(); }\n')
    inside.write("f.c", '#include "b.h"\nint f(void) { return B; }\n')
    inside.write("inc/a.h", "#define A 1\n")
    inside.write("inc/b.h", "#define B 2\n")
    assert inside.build() == ["both"]
    for header in ("inc/a.h", "inc/b.h"):
        inside.write(header, inside.read(header).replace(" 1", " 3").replace(" 2", " 4"))
        assert inside.build() == ["both"], header
    assert result(inside) == 7


@GCC
def test_the_commands_that_only_look_name_the_headers(inside: Any) -> None:
    import json

    program(inside, '#include "a.h"\n#include <limits.h>\nA', flags="-MD")
    inside.write("inc/a.h", "#define A 1\n")
    before = json.loads(inside.merkl("dag", "--files", "--format=json").stdout)
    assert before["nodes"][0]["files"] == ["src/main.c"]
    inside.build()

    drawn = json.loads(inside.merkl("dag", "--files", "--format=json").stdout)
    assert drawn["nodes"][0]["files"] == ["src/main.c", "inc/a.h"]  # None of the system's.
    assert "    inc/a.h\n" in inside.merkl("dag", "--files").stdout
    assert "inc/a.h" not in inside.merkl("dag").stdout
    assert 'label="inc/a.h"' in inside.merkl("dag", "--files", "--format=dot").stdout

    inside.write("inc/a.h", "#define A 2\n")
    drawn = json.loads(inside.merkl("dag", "--files", "--format=json").stdout)
    assert drawn["nodes"][0]["files"] == ["src/main.c", "inc/a.h"]  # As when it last ran.
    assert "would run  cc" in (why := inside.merkl("why").stdout)
    assert "  the file inc/a.h, which it found while it ran, changed\n" in why
    assert (
        "would run  cc main.c: inc/a.h, which it reads, changed"
        in inside.merkl("build", "--dry-run", "-v").stdout
    )


@GCC
def test_show_lists_what_was_found(inside: Any) -> None:
    import json

    inside.write("a.c", '#include "a.h"\n#include <limits.h>\nint a = A;\n')
    inside.write("a.h", "#define A 1\n")
    inside.merklfile("""
        cc = bash_task("gcc -Iinc -MD -MF {depfile_arg()} -c {file_arg('source', '.c')} -o {out_file_arg('object', '.o')}")
        target("object", cc("a.c"), default=True)
    """)
    assert "  found" not in inside.merkl("show").stdout
    inside.build()

    shown = inside.merkl("show").stdout
    found = shown.partition("  found\n")[2].partition("  outputs\n")[0]
    assert "    a.h  " in found and "/limits.h  " in found and "a.c" not in found
    [task] = json.loads(inside.merkl("show", "--json").stdout)["tasks"]
    assert task["discovered"]["a.h"] and task["discovered"]["inc"] is None


def test_what_clang_writes_with_phony_targets_is_understood() -> None:
    assert parse_depfile(b"main.o: src/main.c \\\n  inc/a\\ b\\#c$$.h inc/x.h\n\ninc/a\\ b\\#c$$.h:\n\ninc/x.h:\n") == [
        b"src/main.c", b"inc/a b#c$.h", b"inc/x.h",
    ]  # fmt: skip


def test_depfiles_keep_backslashes_as_make_does() -> None:
    assert parse_depfile(b"o: a\\ b c\\\\\\ d e\\f g\\\\h i\\#j \\$$k l\\\\ m\n") == [
        b"a b", b"c\\ d", b"e\\f", b"g\\\\h", b"i#j", b"\\$k", b"l\\", b"m",
    ]  # fmt: skip


def test_a_text_asks_for_the_names_in_its_includes_and_tests() -> None:
    text = b"""
        # include "a b.h" // here
        #include<sys/c.h>
        %: include "digraph.h"
        #include_next <next.h>
        #include MACRO
        // #include "comment.h"
        x = "#include \\"string.h\\"";
        #if defined(A) && __has_include (<t.h>) || __has_include("t.h") || __has_include(MACRO)
        #include "\xff.h"
    """
    assert asked_for(text) == (
        Asked("a b.h", True), Asked("sys/c.h", False), Asked("digraph.h", True), Asked("next.h", False),
        Asked("\udcff.h", True), Asked("t.h", False, tested=True), Asked("t.h", True, tested=True),
    )  # fmt: skip
