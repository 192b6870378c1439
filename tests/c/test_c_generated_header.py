"""A header that a Python task makes, included by three C files through ``dir_arg``."""

import subprocess
from collections import Counter
from typing import Any

import pytest

pytestmark = pytest.mark.needs("gcc")

MERKLFILE = """
    import os, tempfile

    @task
    def generate(names):
        # MARK
        where = os.path.join(tempfile.gettempdir(), "generated")
        os.mkdir(where)
        with open(os.path.join(where, "colors.h"), "w") as header:
            header.write("#pragma once\\n#include \\"own.h\\"\\n")
            header.writelines(f"#define {name.upper()} {number}\\n" for number, name in enumerate(names, START))
        return DirRef(where)

    START = 1
    cc = bash_task("gcc -Iinc -I{dir_arg('generated')} -Iinc2 -MD -MF {depfile_arg()} -c {file_arg('source', '.c')} -o {out_file_arg('object', '.o')}")
    link = bash_task("gcc {files_arg('objects')} -o {out_file_arg('exe')}")

    @target(default=True)
    def program():
        header = generate(["red", "green"])
        link([cc(header, source) for source in files("src/*.c")]) > "program"
"""


@pytest.fixture
def colors(inside: Any) -> Any:
    inside.merklfile(MERKLFILE)
    inside.write("src/main.c", """
        #include <stdio.h>
        #include "colors.h"
        int red(void), green(void);
        int main(void) { printf("%d %d %d\\n", red(), green(), OWN); }
    """)  # fmt: skip
    for name in ("red", "green"):
        inside.write(f"src/{name}.c", f'#include "colors.h"\nint {name}(void) {{ return {name.upper()}; }}\n')
    inside.write("inc2/own.h", "#define OWN 7\n")
    return inside


def edit(project: Any, old: str, new: str) -> None:
    text = project.read("Merklfile.py")
    assert text.count(old) == 1
    project.write("Merklfile.py", text.replace(old, new))


def output(project: Any) -> str:
    return subprocess.run([project.path / "program"], capture_output=True, text=True, check=True).stdout


def test_from_clean_two_at_a_time_the_header_is_there_before_what_includes_it(colors: Any) -> None:
    ran = colors.build("-j2")
    assert ran[0] == "generate" and ran[-1] == "link"
    assert Counter(ran) == {"generate": 1, "cc": 3, "link": 1}
    assert output(colors) == "1 2 7\n"
    assert colors.build("-j2") == []


def test_an_edit_of_the_generator_runs_on_as_far_as_bytes_change(colors: Any) -> None:
    colors.build("-j2")

    edit(colors, "# MARK", "# A comment.")
    assert colors.build("-j2") == []

    edit(colors, '"#pragma once\\n', '"#pragma" + " once\\n')  # Other code, the same header.
    events = colors.events("-j2")
    assert [e["task"] for e in events if e["event"] == "ran"] == ["generate"]
    assert events[-1]["ran"] == 1 and events[-1]["skipped"] == 0

    edit(colors, "START = 1", "START = 5")
    assert Counter(colors.build("-j2")) == {"generate": 1, "cc": 3, "link": 1}
    assert output(colors) == "5 6 7\n"

    edit(colors, "START = 5", "START = 1")
    assert colors.build("-j2") == []
    assert output(colors) == "1 2 7\n"

    edit(colors, '"#pragma" + " once\\n', '"/* made */ #pragma once\\n')  # Not the objects.
    assert Counter(colors.build("-j2")) == {"generate": 1, "cc": 3}


def test_a_header_that_a_generated_one_includes_is_followed(colors: Any) -> None:
    colors.build()
    colors.write("inc2/own.h", "#define OWN 8\n")
    assert "the file inc2/own.h, which it found while it ran, changed" in colors.merkl("why").stdout
    assert Counter(colors.build()) == {"cc": 3, "link": 1}
    assert output(colors) == "1 2 8\n"

    colors.write("inc/own.h", "#define OWN 9\n")  # Where the compiler looks first.
    assert Counter(colors.build()) == {"cc": 3, "link": 1}
    assert output(colors) == "1 2 9\n"

    colors.write("inc/colors.h", "#define RED 10\n#define GREEN 11\n#define OWN 12\n")
    assert Counter(colors.build()) == {"cc": 3, "link": 1}
    assert output(colors) == "10 11 12\n"

    (colors.path / "inc/colors.h").unlink()
    (colors.path / "inc/own.h").unlink()
    assert colors.build() == []
    assert output(colors) == "1 2 8\n"


UNDECLARED = """
    cc = bash_task("gcc -Igenerated -MMD -MF {depfile_arg()} -c {file_arg('source', '.c')} -o {out_file_arg('object', '.o')}")

    @task
    def generate(number):
        return f"#define N {number}\\n"

    @target
    def header():
        generate(1) > "generated/n.h"

    @target
    def alone():
        return cc("n.c")

    @target
    def both():
        header()
        return cc("n.c")
"""


def test_an_undeclared_header_that_the_build_makes_is_an_error_that_names_who_makes_it(inside: Any) -> None:
    inside.write("n.c", '#include "n.h"\nint n = N;\n')
    inside.merklfile(UNDECLARED)
    inside.build("header")

    for _ in range(2):
        failed = inside.merkl("build", "both", code=1)
        assert (
            "cc read generated/n.h, which generate generated/n.h makes, without declaring it" in failed.stderr
        )
        assert "hint: declare it with file_arg, or pass its directory with dir_arg" in failed.stderr


def test_a_result_of_an_undeclared_header_does_not_answer_where_the_header_is_made(inside: Any) -> None:
    """The header lies there as it was when it was compiled; in this build another takes its place."""
    inside.write("n.c", '#include "n.h"\nint n = N;\n')
    inside.merklfile(UNDECLARED)
    inside.build("header")
    assert inside.build("alone") == ["cc"]
    assert inside.build("alone") == []

    inside.write("Merklfile.py", inside.read("Merklfile.py").replace("generate(1)", "generate(2)"))
    failed = inside.merkl("build", "both", code=1)
    assert "cc read generated/n.h, which generate generated/n.h makes, without declaring it" in failed.stderr
    assert "generated/n.h, which it found while it ran" in inside.merkl("why", "both").stdout
