"""A C program is built by ``make -j4``, and merkl, which makes some of its sources, is one step of it: they share the slots."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.needs("gcc"), pytest.mark.needs("make")]

MAKEFILE = """\
MERKL := {merkl}
OBJECTS := main.o part1.o part2.o part3.o part4.o table1.o table2.o table3.o table4.o

app: $(OBJECTS)
\tgcc -o $@ $(OBJECTS)

%.o: %.c
\t@bash step.sh gcc -c -o $@ $<

table1.c table2.c table3.c table4.c: tables
\t@:

.PHONY: tables
tables:
\t+$(MERKL) build -q
"""
STEP = """
echo "$EPOCHREALTIME + $1" >> times
sleep 0.15
code=0; "$@" || code=$?
echo "$EPOCHREALTIME - $1" >> times
exit $code
"""
MERKLFILE = """
    table = bash_task('''
        bash step.sh true
        { echo "const int table{arg('n')}[] = {"; seq -s , "$(cat {file_arg('limit')})"; echo "};"; } > {out_file_arg('out', '.c')}
    ''')

    @target(default=True)
    def tables():
        for n in range(1, 5):
            table(n, "limit") > f"table{n}.c"
"""
MAIN = """
#include <stdio.h>
extern const int table1[], table2[], table3[], table4[];
int part1(int), part2(int), part3(int), part4(int);
int main(void) {
    printf("%d\\n", part1(table1[0]) + part2(table2[1]) + part3(table3[2]) + part4(table4[3]));
    return 0;
}
"""


def write(project: Any) -> None:
    merkl = f"{sys.executable} -m merkl"
    project.write("Makefile", MAKEFILE.format(merkl=merkl))
    project.write("step.sh", STEP)
    project.merklfile(MERKLFILE)
    project.write("limit", "9")
    project.write("main.c", MAIN)
    for n in range(1, 5):
        project.write(f"part{n}.c", f"int part{n}(int x) {{ return {n} * x; }}\n")


def make(project: Any, *words: str) -> str:
    """Run make as its user does; what it said."""
    done = subprocess.run(
        ["make", *words],
        cwd=project.path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "jobserver" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def most_at_once(times: Path, of: tuple[str, ...] = ("gcc", "true")) -> int:
    """The largest number of steps, of make's or of merkl's, that ran at one time."""
    running = most = 0
    for _, sign, kind in sorted(line.split() for line in times.read_text().splitlines()):
        if kind in of:
            running += 1 if sign == "+" else -1
            most = max(most, running)
    assert running == 0
    return most


def compiled(project: Any) -> int:
    """How many files gcc has compiled since this was last asked."""
    text = project.read("times")
    project.write("times", "")
    return text.count("+ gcc")


def test_make_and_merkl_share_four_slots_and_each_builds_only_what_changed(project: Any) -> None:
    write(project)
    make(project, "-j4")
    app = subprocess.run([project.path / "app"], capture_output=True, text=True, check=True)
    assert app.stdout == f"{1 * 1 + 2 * 2 + 3 * 3 + 4 * 4}\n"
    assert most_at_once(project.path / "times") <= 4
    assert most_at_once(project.path / "times", of=("true",)) > 1, "make gave merkl some of its slots"
    assert compiled(project) == 9

    make(project, "-j4")
    assert compiled(project) == 0, "merkl had nothing to do, and touched nothing"
    project.write("limit", "12")
    make(project, "-j4")
    assert compiled(project) == 4
    project.write("part1.c", "int part1(int x) { return 100 * x; }\n")
    make(project, "-j4")
    assert compiled(project) == 1
    app = subprocess.run([project.path / "app"], capture_output=True, text=True, check=True)
    assert app.stdout == f"{100 + 2 * 2 + 3 * 3 + 4 * 4}\n"


def test_a_step_that_fails_in_merkl_fails_in_make_and_gives_every_slot_back(project: Any) -> None:
    write(project)
    project.merklfile(MERKLFILE.replace("bash step.sh true", "bash step.sh true; [ {arg('n')} != 3 ]"))
    done = subprocess.run(
        ["make", "-j4", "-k"],
        cwd=project.path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )

    assert done.returncode == 2
    assert "table failed" in done.stderr and "tables] Error 1" in done.stderr
    # make itself counts its tokens when it ends.
    assert "INTERNAL" not in done.stderr and "jobserver tokens" not in done.stderr, done.stderr
    assert (project.path / "part4.o").exists(), "with -k the rest is made"

    project.merklfile(MERKLFILE)
    make(project, "-j4")
    assert (project.path / "app").exists()
