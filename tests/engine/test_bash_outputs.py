"""Outputs of a bash task: their names, their places, what stdout is, and what is no output."""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest


def test_an_output_is_named_by_its_place_then_by_the_first_file_then_by_its_placeholder(inside: Any) -> None:
    inside.write("src/a.c", "")
    inside.merklfile(
        """
        cc = bash_task("basename {out_file_arg('obj', '.o')} > {out_file_arg('obj', '.o')}; : {file_arg('source', '.c')}")
        two = bash_task("for f in {out_file_arg('one', '.x')} {out_file_arg('two', '.x')} {out_file_arg('three')} {out_dir_arg('four')}/f; do basename $(dirname $f)/$(basename $f) > $f; done; : {file_arg('source')}")
        alone = bash_task("basename {out_file_arg('page', '.html')} > {out_file_arg('page', '.html')}")
        chain = bash_task("basename {out_file_arg('exe', '.exe')} > {out_file_arg('exe', '.exe')}; : {file_arg('object', '.o')}")

        @target(default=True)
        def all():
            cc("src/a.c") > "stem.txt"
            cc("src/a.c", obj="build/named.o")
            made = two("src/a.c")
            for name in ("one", "two", "three"):
                made[name] > f"{name}.txt"
            made["four"] > "four"
            alone() > "own.txt"
            chain(cc("src/a.c", obj="build/named.o")) > "chained.txt"
        """
    )
    inside.build()
    names = {
        "stem.txt": "a.o", "build/named.o": "named.o", "one.txt": "one.x", "two.txt": "two.x", "three.txt": "three",
        "four/f": "f", "own.txt": "page.html", "chained.txt": "named.exe",
    }  # fmt: skip
    assert {path: inside.read(path).strip() for path in names} == names


def test_outputs_of_one_name_are_refused_with_the_way_out(inside: Any) -> None:
    inside.merklfile(
        """
        two = bash_task("touch {out_file_arg('one', '.x')} {out_file_arg('two', '.x')}")

        @target
        def bad(): two(one="a/same.x", two="b/same.x")
        @target
        def good(): two(one="a/same.x", two="b/other.x")
        """
    )
    done = inside.merkl("build", "bad", code=2)
    assert "two: one and two would have one file name, same.x" in done.stderr
    assert "place one of them under another name, such as one='build/other.x'" in done.stderr
    assert inside.build("good") == ["two"]


def test_stdout_is_what_the_task_says_it_is(inside: Any) -> None:
    inside.merklfile(
        """
        text = bash_task("echo text; echo aside >&2")
        asked = bash_task("printf 'a b'", stdout=str)
        raw = bash_task(r"printf '\\377\\0'", stdout=bytes)
        lines = bash_task(r"printf 'one\\ntwo three\\r\\n\\nfour\\f five'", stdout="lines")
        data = bash_task("echo '{\\"a\\": [1, 2.5, null]}'", stdout="json")
        written = bash_task("echo {arg('x')}", stdout="{out_file_arg('report', '.txt')}")
        token = bash_task(f"echo {arg('x')}", stdout=out_file_arg("report", ".txt"))
        mentioned = bash_task("echo {arg('x')}; basename {out_file_arg('report', '.txt')}", stdout="{out_file_arg('report', '.txt')}")
        beside = bash_task("echo printed; echo made > {out_file_arg('file')}", stdout="lines")
        quiet = bash_task("true", stdout="lines")

        @task
        def show(*values): return [repr(value) for value in values]

        @target(default=True)
        def all():
            show(text(), asked(), raw(), lines(), data(), beside()["stdout"], quiet()) > "values.json"
            written("w") > "written.txt"
            token("t") > "token.txt"
            mentioned("m", report="named.txt")
            beside()["file"] > "beside.txt"
        """
    )
    inside.build("-j1")
    values = [
        "text\n",
        "a b",
        b"\xff\x00",
        ["one", "two three", "", "four\f five"],
        {"a": [1, 2.5, None]},
        ["printed"],
        [],
    ]
    assert json.loads(inside.read("values.json")) == [repr(value) for value in values]
    assert inside.read("written.txt") == "w\n" and inside.read("token.txt") == "t\n"
    assert inside.read("named.txt") == "m\nnamed.txt\n" and inside.read("beside.txt") == "made\n"
    assert inside.build() == []


def test_what_is_printed_must_be_what_was_promised(inside: Any) -> None:
    inside.merklfile(
        """
        text = bash_task(r"printf '\\377'", stdout=str)
        data = bash_task("echo '{a}'", stdout="json")
        lines = bash_task(r"printf '\\377'", stdout="lines")
        chatter = bash_task(r"printf 'chatter \\377'")

        @target
        def a(): text() > "a.txt"
        @target
        def b(): data() > "b.json"
        @target
        def c(): lines() > "c.json"
        @target
        def d(): chatter() > "d.txt"
        """
    )
    done = inside.merkl("build", "-k", "a", "b", "c", "d", code=1)
    assert "text printed what is not text" in done.stderr and "hint: take it as stdout=bytes" in done.stderr
    assert "data printed what is not JSON: Expecting property name" in done.stderr
    assert "lines printed what is not text" in done.stderr
    assert (inside.path / "d.txt").read_bytes() == b"chatter \xff"


def test_options_that_make_no_sense_are_refused_where_they_are_written(inside: Any) -> None:
    for option, text in {
        "stdout='txt'": "stdout='txt' is no form of output",
        "stdout=\"{file_arg('x')}{out_file_arg('y')}\"": "is not one output file",
        "ok_codes=[256]": "ok_codes is a list of exit codes from 0 to 255, not [256]",
        "ok_codes='1'": "ok_codes is a list of exit codes, not '1'",
        "ok_codes=[]": "ok_codes is a list of exit codes from 0 to 255, not []",
        "retries=-1": "retries is a number from 0 up, not -1",
        "retries=True": "retries is a number from 0 up, not True",
        "eager='yes'": "eager is True or False, not 'yes'",
        "interactive=1": "interactive is True or False, not 1",
        "literal=None": "literal is True or False, not None",
        "timeout=0": "timeout is a number of seconds above 0, not 0",
        "timeout='1'": "timeout is a number of seconds above 0, not '1'",
        "cwd='/tmp'": "cwd is a directory inside the project, not '/tmp'",
        "cwd='a/../../b'": "cwd is a directory inside the project, not '../b'",
        "cwd='a', scratch=True": "a task runs in cwd= or in scratch=True, not both",
        "tools='gcc'": "tools is a list of programs, such as ['gcc']",
        "deps='x'": "deps is a list, such as ['x']",
        "env='CC'": "env is a mapping, or a list of names such as ['CC']",
        "env={'A=B': '1'}": "env: 'A=B' cannot be set to '1'",
        "env={'A': 1}": "env: 'A' cannot be set to 1",
        "argv=['ls']": "a bash task takes a template or argv=[…], one of them",
        "version=1": "version is a string, not 1",
        "interpreter='perl'": "a template for perl must be a list of words",
    }.items():
        inside.merklfile(f"task_ = bash_task('true', {option})\n")
        done = inside.merkl("list", code=2)
        assert text in done.stderr, done.stderr
        assert "Merklfile.py:2" in done.stderr
    inside.merklfile("task_ = bash_task(argv=['ls'], prelude='x=1')\n")
    assert "prelude is lines of a script" in inside.merkl("list", code=2).stderr
    inside.merklfile("bash_task(\"touch {out_file_arg('stdout')}\", stdout=str)()\n")
    assert (
        "an output is called stdout, and what the command prints is too"
        in inside.merkl("list", code=2).stderr
    )


WRONG = """
    missing = bash_task("touch {{ out_file_arg('a') | parent }}/other; : {out_file_arg('a')}")
    nothing = bash_task(": {out_file_arg('a')}")
    directory = bash_task("mkdir {out_file_arg('a')}")
    link = bash_task("ln -s /etc/passwd {out_file_arg('a')}")
    fifo = bash_task("mkfifo {out_file_arg('a')}")
    file_for_dir = bash_task("rmdir {out_dir_arg('a')}; touch {out_dir_arg('a')}")
    no_dir = bash_task("rmdir {out_dir_arg('a')}")
    escaping = bash_task("ln -s ../../../../secret {out_dir_arg('a')}/link")
    absolute = bash_task("ln -s /etc/passwd {out_dir_arg('a')}/link")
    device = bash_task("mkfifo {out_dir_arg('a')}/pipe")
    git = bash_task("mkdir {out_dir_arg('a')}/.git; touch {out_dir_arg('a')}/.git/config")

    for made in (missing, nothing, directory, link, fifo, file_for_dir, no_dir, escaping, absolute, device, git):
        target(made.name, made())
"""


@pytest.mark.parametrize(
    ("name", "texts"),
    {
        "missing": ["missing did not make its output out_file_arg('a')", "beside: it made other there",
                    "hint: the command must write to out_file_arg('a'), here .merkl/stage/"],
        "nothing": ["nothing did not make its output out_file_arg('a')"],
        "directory": ["directory made a directory where out_file_arg('a') should be a file"],
        "link": ["link made a symbolic link where out_file_arg('a') should be a file", "hint: copy what it links to (cp -L)"],
        "fifo": ["fifo made a fifo where out_file_arg('a') should be a file"],
        "file_for_dir": ["file_for_dir made a file where out_dir_arg('a') should be a directory"],
        "no_dir": ["no_dir did not make its output out_dir_arg('a')"],
        "escaping": ["a/link is a symbolic link to ../../../../secret, which does not exist", "cannot be kept"],
        "absolute": ["a/link is a symbolic link to /etc/passwd, an absolute path"],
        "device": ["a/pipe is a fifo", "hint: remove it at the end of the task"],
        "git": ["a/.git belongs to version control or to merkl"],
    }.items(),
)  # fmt: skip
def test_an_output_that_is_not_what_was_declared_fails_the_task(
    inside: Any, name: str, texts: list[str]
) -> None:
    inside.merklfile(WRONG)
    done = inside.merkl("build", name, code=1)
    for text in texts:
        assert text in done.stderr, done.stderr
    assert "at: Merklfile.py:" in done.stderr
    assert not (inside.path / "a").exists()


def test_a_failure_leaves_what_was_in_place(inside: Any) -> None:
    inside.merklfile(
        """
        make = bash_task("echo half > {out_file_arg('a')}; test {arg('n')} != 2; echo {arg('n')} > {out_file_arg('a')}")

        @target(default=True)
        def all(n: int = 1):
            make(str(n)) > "a.txt"
        """
    )
    inside.build()
    inside.merkl("build", "n=2", code=1)
    assert inside.read("a.txt") == "1\n"
    assert inside.build("n=3") == ["make"]
    assert inside.read("a.txt") == "3\n"


def test_outputs_that_are_linked_to_each_other_become_files_of_their_own(inside: Any) -> None:
    inside.merklfile(
        """
        link = bash_task('''
            head -c {arg('size')} /dev/zero > $TMPDIR/kept
            for f in {out_file_arg('one')} {out_file_arg('two')} {out_dir_arg('dir')}/a {out_dir_arg('dir')}/b; do
                ln $TMPDIR/kept $f
            done
        ''')

        @target(default=True)
        def all():
            for size in ("1", "300000"):
                made = link(size)
                for name in made:
                    made[name] > f"{size}.{name}"
        """
    )
    inside.build()
    paths = [
        inside.path / f"{size}.{name}" for size in (1, 300_000) for name in ("one", "two", "dir/a", "dir/b")
    ]
    assert len({path.stat().st_ino for path in paths}) == len(paths)
    assert [path.stat().st_nlink for path in paths] == [1] * len(paths)
    assert all(path.stat().st_mode & 0o200 for path in paths)
    (inside.path / "300000.one").write_bytes(b"edited")
    shutil.rmtree(inside.path / "300000.dir")
    assert inside.build() == []
    assert {path.read_bytes() for path in paths} == {b"\0", bytes(300_000)}
    inside.merkl("fsck")


def test_an_output_that_cannot_be_read_is_made_readable(inside: Any) -> None:
    inside.merklfile(
        """
        make = bash_task("echo x > {out_file_arg('a')}; chmod 000 {out_file_arg('a')}")
        show = bash_task("cat {file_arg('a')}")

        @target(default=True)
        def all():
            made = make() > "a.txt"
            show(made) > "b.txt"
        """
    )
    inside.build()
    assert inside.read("a.txt") == inside.read("b.txt") == "x\n"
    assert os.stat(inside.path / "a.txt").st_mode & 0o600 == 0o600


WITHOUT_POWERS = [
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search,-fowner",
    "--inh-caps=-dac_override,-dac_read_search",
]


def test_a_copy_of_a_read_only_input_is_an_output_like_any_other(inside: Any) -> None:
    """As somebody who is not root, or has given up root's powers over modes."""
    inside.merklfile(
        """
        make = bash_task("mkdir -p {out_dir_arg('d')}/s/t; head -c 300000 /dev/zero > {out_dir_arg('d')}/s/big; echo x > {out_dir_arg('d')}/s/t/small")
        copy = bash_task("cp -r {dir_arg('d')} {out_dir_arg('o')}/; chmod 0 {out_dir_arg('o')}/d/s/t/small {out_dir_arg('o')}/d/s; mkdir $TMPDIR/x; touch $TMPDIR/x/y; chmod 0 $TMPDIR/x")
        edit = bash_task("echo y >> {dir_arg('d')}/s/t/small; rm {dir_arg('d')}/s/big; cat {dir_arg('d')}/s/t/small > {out_file_arg('o')}; chmod 0 {out_file_arg('o')} {dir_arg('d')}", scratch=True)

        @target(default=True)
        def all():
            d = make()
            copy(d) > "copy"
            edit(d) > "edited"
        """
    )
    prefix = [] if os.geteuid() else WITHOUT_POWERS
    if prefix and shutil.which("setpriv") is None:
        pytest.skip("root, without setpriv to be less")
    command = [*prefix, sys.executable, "-m", "merkl", "build"]
    done = subprocess.run(command, cwd=inside.path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert inside.read("copy/d/s/t/small") == "x\n" and inside.read("edited") == "x\ny\n"
    assert (inside.path / "copy/d/s/big").stat().st_size == 300_000
    assert os.listdir(inside.path / ".merkl/run") == os.listdir(inside.path / ".merkl/stage") == []


def test_an_output_is_named_after_the_first_file_and_not_after_a_directory_before_it(inside: Any) -> None:
    inside.write("gen/a.h", "")
    inside.write("src/one.c", "")
    inside.merklfile(
        """
        cc = bash_task("cat {dir_arg('gen')}/a.h {file_arg('source', '.c')} > {out_file_arg('object', '.o')}; basename {out_file_arg('object', '.o')}")
        pack = bash_task("ls {dir_arg('gen')} > {out_file_arg('names', '.txt')}; basename {out_file_arg('names', '.txt')}")

        @target(default=True)
        def all():
            cc("gen", "src/one.c") > "build/one"
            pack("gen") > "build/two"
        """
    )
    done = inside.merkl("build", "-j1")
    assert "one.o" in done.stdout and "gen.txt" in done.stdout
