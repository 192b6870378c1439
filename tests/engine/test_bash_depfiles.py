"""Discovered inputs: real compilers, real headers, and what an edit of one makes run."""

import contextlib
import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from merkl.bash.depfile import Searched, discovered_set, include_dirs, parse_depfile
from merkl.bash.includes import Asked
from merkl.digest import Digest
from merkl.errors import InputChanged

GCC = pytest.mark.needs("gcc")

PROGRAM = """
    cc = bash_task("gcc -Iinc -Iinc2 {flags} -MD -MF {depfile_arg()} -c {file_arg('source', '.c')} -o {out_file_arg('object', '.o')}")
    link = bash_task("gcc {files_arg('objects')} -o {out_file_arg('exe')}")

    @target(default=True)
    def program():
        link([cc(source) for source in files("src/*.c")]) > "program"
""".replace("{flags}", "")


def write_program(project: Any) -> None:
    project.write(
        "src/main.c",
        '#include <stdio.h>\n#include "a.h"\nint b(void);\nint main(void) { printf("%d %d\\n", A, b()); }\n',
    )
    project.write("src/b.c", '#include "b.h"\nint b(void) { return B; }\n')
    project.write("inc/a.h", "#define A 1\n")
    project.write("inc2/b.h", "#define B 2\n")
    project.merklfile(PROGRAM)


def output(project: Any) -> str:
    return subprocess.run([project.path / "program"], capture_output=True, text=True, check=True).stdout


@GCC
def test_a_header_that_no_call_names_counts_from_the_first_build_on(inside: Any) -> None:
    write_program(inside)
    assert inside.build() == ["cc", "cc", "link"]
    assert output(inside) == "1 2\n"
    assert inside.build() == []

    inside.write("inc/a.h", "#define A 3\n")
    assert inside.build() == ["cc", "link"]
    assert output(inside) == "3 2\n"

    os.utime(inside.path / "inc/a.h")
    assert inside.build() == []

    inside.write("inc/a.h", "#define A 3 /* a comment */\n")
    assert inside.build() == ["cc"]  # The object is the same: the link is cut off.

    inside.write("inc/a.h", "#define A 1\n")
    assert inside.build() == []  # As it was in the beginning.
    assert output(inside) == "1 2\n"


@GCC
def test_a_header_that_goes_or_that_appears_where_the_compiler_looks_first_counts(inside: Any) -> None:
    write_program(inside)
    inside.build()

    inside.write("inc/b.h", "#define B 20\n")  # Before inc2 on the path.
    assert inside.build() == ["cc", "link"]
    assert output(inside) == "1 20\n"

    inside.write("src/b.h", "#define B 200\n")  # Beside the file that includes it.
    assert inside.build() == ["cc", "link"]
    assert output(inside) == "1 200\n"

    (inside.path / "src/b.h").unlink()
    (inside.path / "inc/b.h").unlink()
    assert inside.build() == []
    assert output(inside) == "1 2\n"

    inside.write("inc2/a.h", "#define A 9\n")  # After inc: nobody looks there.
    assert inside.build() == []

    inside.write(
        "inc/stdio.h", '#define printf(f, x, y) puts("mine")\nint puts(const char *);\n'
    )  # Before the system's.
    assert inside.build() == ["cc", "link"]
    assert output(inside) == "mine\n"
    (inside.path / "inc/stdio.h").unlink()

    (inside.path / "inc/a.h").unlink()
    assert inside.build() == ["cc", "link"]  # It finds the other.
    assert output(inside) == "9 2\n"
    (inside.path / "inc2/a.h").unlink()
    failed = inside.merkl("build", code=1)
    assert "a.h: No such file or directory" in failed.stderr


@GCC
def test_a_header_that_another_node_places_must_be_declared(inside: Any) -> None:
    inside.write("main.c", '#include "gen.h"\nint main(void) { return GEN; }\n')
    inside.merklfile(
        """
        gen = bash_task("echo '#define GEN 0' > {out_file_arg('header', '.h')}")
        undeclared = bash_task("gcc -Ibuild -MD -MF {depfile_arg()} -c {file_arg('source', '.c')} -o {out_file_arg('o', '.o')}; : {files_arg('also')}")
        declared = bash_task("gcc -I{{ file_arg('header') | parent }} -MD -MF {depfile_arg()} -c {file_arg('source', '.c')} -o {out_file_arg('o', '.o')}")
        tree = bash_task("mkdir {out_dir_arg('inc')}/sub; echo '#define GEN 0' > {out_dir_arg('inc')}/gen.h")
        by_dir = bash_task("gcc -I{dir_arg('inc')} -MD -MF {depfile_arg()} -c {file_arg('source', '.c')} -o {out_file_arg('o', '.o')}")

        @target
        def bad():
            header = gen(header="build/gen.h")
            undeclared("main.c", []) > "bad.o"
        @target
        def good():
            header = gen(header="build/gen.h")
            declared(header, "main.c") > "good.o"
        @target
        def also():
            by_dir(tree(), "main.c") > "also.o"
        """
    )
    done = inside.merkl("build", "-j1", "bad", code=1)
    assert "undeclared read build/gen.h, which gen build/gen.h makes, without declaring it" in done.stderr
    assert "hint: declare it with file_arg, or pass its directory with dir_arg" in done.stderr
    assert "at: Merklfile.py:" in done.stderr and "again: bash " in done.stderr
    assert inside.build("good", "-j1") == ["declared"]
    assert inside.build("good") == []
    assert inside.build("also") == ["tree", "by_dir"]
    assert inside.build("also") == []
    inside.write("build/gen.h", "broken")  # The workspace's copy is nothing to a node that reads a view.
    assert inside.build("good") == []


@GCC
def test_headers_are_found_from_the_directory_the_compiler_runs_in(inside: Any) -> None:
    inside.write("sub/src/a.c", '#include "x y.h"\n#include "up.h"\nint f(void) { return X + U; }\n')
    inside.write("sub/inc dir/x y.h", "#define X 1\n")
    inside.write("up/up.h", "#define U 1\n")
    inside.merklfile(
        """
        cc = bash_task("gcc -I 'inc dir' -I../up -MD -MF {depfile_arg('deps')} -c {file_arg('source', '.c')} -o {out_file_arg('object', '.o')}", cwd="sub")
        target("all", cc("sub/src/a.c"))
        """
    )
    assert inside.build("all") == ["cc"]
    for header in ("sub/inc dir/x y.h", "up/up.h"):
        inside.write(header, inside.read(header) + "// more\n")
        assert inside.build("all") == ["cc"], header
    inside.write("sub/src/up.h", "#define U 2\n")
    assert inside.build("all") == ["cc"]
    assert inside.build("all") == []


@GCC
def test_system_headers_count_and_nothing_of_merkls_own_is_recorded(inside: Any, tmp_path: Path) -> None:
    (tmp_path / "system").mkdir()
    (tmp_path / "system/s.h").write_text("#define S 1\n")
    inside.write("a.c", '#include <s.h>\n#include "gen.h"\nint a = S + G;\n')
    inside.merklfile(
        f"""
        gen = bash_task("echo '#define G 1' > {{out_dir_arg('d')}}/gen.h")
        cc = bash_task("gcc -isystem {tmp_path}/system -I{{dir_arg('d')}} -MD -MF {{depfile_arg()}} -c {{file_arg('source', '.c')}} -o {{out_file_arg('object', '.o')}}")
        target("all", cc(gen(), "a.c"))
        """
    )
    assert inside.build("all") == ["gen", "cc"]
    (tmp_path / "system/s.h").write_text("#define S 2\n")
    assert inside.build("all") == ["cc"]
    [database] = inside.path.glob(".merkl/store/*.db")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT CAST(discovered AS TEXT) FROM record WHERE discovered IS NOT NULL")
        found = [json.loads(row[0])["files"] for row in rows]
    assert len(found) == 2
    assert all(
        f"{tmp_path}/system/s.h" in files and not any(".merkl" in path for path in files) for files in found
    )


def test_a_header_that_is_edited_while_the_compiler_runs_gives_no_result(inside: Any) -> None:
    inside.write("a.h", "old")
    inside.merklfile(
        """
        cc = bash_task("cp a.h {out_file_arg('o')}; test -e done || { touch done; echo new > a.h; }; echo 'o: a.h' > {depfile_arg()}")
        late = bash_task("echo x > {out_file_arg('o')}; test -e late/b.h || { mkdir late; touch late/b.h; }; echo 'o: late2/b.h' > {depfile_arg()}; : -Ilate -Ilate2")
        target("all", cc() > "o")
        target("late", late())
        """
    )
    done = inside.merkl("build", "all", code=1)
    assert "a.h changed while cc was using it; its result was not kept" in done.stderr
    assert "hint: build again" in done.stderr
    assert inside.build("all") == ["cc"]
    assert inside.read("o") == "new\n"
    inside.write("late2/b.h", "")
    assert "late/b.h changed while late was using it" in inside.merkl("build", "late", code=1).stderr
    assert inside.build("late") == ["late"]


def test_a_depfile_that_is_not_written_is_an_error(inside: Any) -> None:
    inside.merklfile(
        'target("all", bash_task(": {depfile_arg()}; touch {out_file_arg(\'o\')}", name="cc")())\n'
    )
    done = inside.merkl("build", "all", code=1)
    assert "cc did not write its depfile" in done.stderr
    assert "hint: pass depfile_arg() to the compiler, as in: gcc -MD -MF {depfile_arg()}" in done.stderr


def test_names_with_any_bytes_in_a_depfile_are_followed(inside: Any) -> None:
    names = [b"a b.h", b"c#d.h", b"e$f.h", b"\xff.h", b"-g.h", b"tab\th.h"]
    inside.write("Merklfile.py", "")
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(inside.path), name))).write_text("1")
    quoted = [
        name.replace(b"$", b"$$").replace(b"#", b"\\#").replace(b" ", b"\\ ").replace(b"\t", b"\\\t")
        for name in names
    ]
    inside.write("deps", b"o: \\\n " + b" \\\n ".join(quoted) + b"\n\na\\ b.h:\n")
    inside.merklfile(
        """
        cc = bash_task("cp deps {depfile_arg()}; touch {out_file_arg('o')}")
        target("all", cc())
        """
    )
    assert inside.build("all") == ["cc"]
    assert inside.build("all") == []
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(inside.path), name))).write_text("2")
        assert inside.build("all") == ["cc"], name


def test_depfiles_are_read_as_make_reads_them() -> None:
    assert parse_depfile(b"a.o: b.c \\\n  c\\ d.h e\\#f.h g$$h.h\\\r\n i.h\n\nb.c:\nc\\ d.h:\n") == [
        b"b.c", b"c d.h", b"e#f.h", b"g$h.h", b"i.h",
    ]  # fmt: skip
    assert parse_depfile(b"a.o b.o : x\n") == [b"x"]
    assert parse_depfile(b"a.o: x y x\nb.o: y z") == [b"x", b"y", b"z"]
    assert parse_depfile(b"") == parse_depfile(b"no rule\n") == []


def test_include_directories_are_taken_from_a_command_in_the_order_they_are_searched() -> None:
    command = """gcc -Ia -I b -I'c d' -I"e f" -isystem g -iquote h -idirafter i -I./j/ -Ik\\ l -c "-Inot" x-Inot; cpp -Ia -I'it'\\''s'"""
    assert include_dirs(command) == ["h", "a", "b", "c d", "e f", "j", "k l", "it's", "g", "i"]


class Files:
    """A project of files that are there, of which one may be new."""

    def __init__(self, *there: str, new: str = "") -> None:
        self.there = {path for name in there for path in self.above(name)}
        self.new = new
        self.texts: dict[str, list[Asked]] = {}

    @staticmethod
    def above(path: str) -> list[str]:
        parts = path.split("/")
        return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]

    def digest(self, path: str) -> Digest | None:
        return Digest.of(path.encode()) if path in self.there else None

    def is_there(self, path: str) -> bool:
        return path in self.there

    def changed(self, path: str) -> bool:
        return path == self.new

    def asked(self, path: str) -> list[Asked]:
        return self.texts.get(path, [])


def absent(found: list[str], searched: list[str], files: Files) -> list[str]:
    known = discovered_set(found, Searched(searched, searched), files, "cc").files
    return sorted(path for path, digest in known.items() if digest is None)


def test_what_must_stay_absent_is_where_the_compiler_looked_before() -> None:
    files = Files("src/a.c", "inc/x.h", "inc2/sub/y.h", "/usr/include/sys/z.h")
    assert absent(["src/a.c", "inc2/sub/y.h"], ["inc", "inc2"], files) == [
        "inc/sub",
        "inc2/sub/sub",
        "src/sub",
    ]
    assert absent(["src/a.c", "inc/x.h"], ["inc", "inc2"], files) == ["src/x.h"]
    assert absent(["src/a.c"], ["inc"], files) == []
    assert absent(["src/a.c", "/usr/include/sys/z.h"], ["inc"], files) == [
        "inc/include", "inc/sys", "inc/z.h", "src/include", "src/sys", "src/z.h",
    ]  # fmt: skip
    assert absent(["a.c", "/opt/y.h"], ["/opt"], Files("a.c", "/opt/y.h")) == ["y.h"]


def test_what_appeared_meanwhile_makes_the_result_worthless() -> None:
    files = Files("src/a.c", "inc/x.h", "inc2/x.h", new="inc/x.h")
    with pytest.raises(InputChanged, match=r"inc/x\.h changed while cc"):
        discovered_set(["src/a.c", "inc2/x.h"], Searched(["inc", "inc2"], ["inc", "inc2"]), files, "cc")
    files.new = ""
    assert (
        "inc/x.h"
        not in discovered_set(
            ["src/a.c", "inc2/x.h"], Searched(["inc", "inc2"], ["inc", "inc2"]), files, "cc"
        ).files
    )
