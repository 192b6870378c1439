"""Very many inputs, and very long ones: row 62 of the faults.

Beside these: what counts of a list of very many inputs (``test_bash_values``).
"""

import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest

FULL = bool(os.environ.get("MERKL_FULL"))
MANY = 200_000 if FULL else 10_000


def test_row_62_very_many_inputs_are_words_of_a_script_or_lines_of_a_file(
    inside: Any, proven: Callable[..., None]
) -> None:
    (inside.path / "in").mkdir()
    for number in range(MANY):
        with open(inside.path / f"in/{number:06d}", "wb") as file:
            file.write(b"%d\n" % number)
    inside.merklfile(
        """
        builtin = bash_task("for each in {files_arg('fs')}; do read -r line < $each; echo $line; done > {out_file_arg('o')}")
        listed = bash_task("xargs -0 cat < {argfile('fs', null=True)} > {out_file_arg('o')}")

        @target(default=True)
        def all():
            builtin(files("in/*"), o="build/builtin")
            listed(files("in/*"), o="build/listed")
        """
    )
    assert sorted(inside.build("-j1")) == ["builtin", "listed"]
    everything = "".join(f"{number}\n" for number in range(MANY))
    assert inside.read("build/builtin") == inside.read("build/listed") == everything
    proven()


def test_row_62_more_words_than_the_system_takes_are_an_error_that_names_argfile(inside: Any) -> None:
    inside.merklfile(
        """
        program = bash_task("/bin/echo {arg('words')} > {out_file_arg('o')}")
        target("all", program(["x" * 90] * 100_000, o="build/out"), default=True)
        """
    )
    said = inside.merkl("build", "-j1", code=1).stderr
    assert "Argument list too long" in said
    assert "hint: one argument or variable may have 128 KiB" in said and "with argfile" in said


@pytest.mark.parametrize("length", [100_000, 140_000, 200_000])
def test_row_62_one_long_argument_or_variable_works_or_is_an_error_that_names_the_limit(
    inside: Any, proven: Callable[..., None], length: int
) -> None:
    inside.merklfile(
        f"""
        long = "x" * {length}
        within = bash_task("printf %s {{arg('a')}} > {{out_file_arg('o')}}")
        program = bash_task("/usr/bin/printf %s {{arg('a')}} > {{out_file_arg('o')}}")
        exported = bash_task("printf %s ${{#LONG}} > {{out_file_arg('o')}}", env={{"LONG": long}})
        asked = bash_task("printf %s {{env_arg('LONG')}} > {{out_file_arg('o')}}")
        filed = bash_task("cat {{argfile('a')}} > {{out_file_arg('o')}}")

        @target(default=True)
        def all():
            within(long, o="build/within")
            asked(o="build/asked", LONG=long)
            filed([long], o="build/filed")

        @target
        def other():
            program(long, o="build/program")

        @target
        def variable():
            exported(o="build/exported")
        """
    )
    assert sorted(inside.build("-j1")) == ["asked", "filed", "within"]
    assert inside.read("build/within") == inside.read("build/asked") == "x" * length
    for name, made in (("other", "program"), ("variable", "exported")):
        done = inside.merkl("build", "-j1", name, code=None)
        if done.returncode:
            assert length > 128 << 10
            assert "rgument list too long" in done.stderr
            assert (
                "hint: one argument or variable may have 128 KiB" in done.stderr and "argfile" in done.stderr
            )
        else:
            assert inside.read(f"build/{made}") == ("x" * length if made == "program" else str(length))
    shutil.rmtree(inside.path / "build")
    if length == 200_000:
        proven()
