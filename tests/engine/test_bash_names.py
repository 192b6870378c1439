"""Names that hurt: of inputs, of outputs, of the project itself."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NAMES = [
    b"a b", b"it's", b'"', b"$(touch pwned)", b"`touch pwned`", b"-n", b"--help", b"*", b"a\nb", b"\n", b"\ttab", b"\\",
    b"~", b"#", b"a;b", b"&", b"\xff\xfe", "ü".encode(), b"{arg('x')}", b"{{ x }}", b"%s", b"!", b"\x01\x7f", b"x" * 200, b" ",
]  # fmt: skip


def here(project: Any, *parts: bytes) -> bytes:
    return os.path.join(os.fsencode(project.path), *parts)


def test_files_of_any_name_go_in_and_come_out(inside: Any) -> None:
    os.makedirs(here(inside, b"in"))
    for number, name in enumerate(NAMES):
        with open(here(inside, b"in", name), "wb") as file:
            file.write(b"%d" % number)
    inside.merklfile(
        """
        import os
        copy = bash_task("cat {file_arg('x')} > {out_file_arg('y')}; cp {file_arg('x')} {out_dir_arg('d')}/")
        name = bash_task("basename -- {file_arg('x')}; cat -- {file_arg('x')}", stdout=bytes)
        listed = bash_task("xargs -0 cat < {argfile('files', null=True)}; xargs -0 cat < <(printf '%s\\\\0' {files_arg('also')})")

        @target(default=True)
        def all():
            made = []
            for each in sorted(os.listdir(b"in")):
                copied = copy(b"in/" + each, y=b"out/" + each)
                copied["d"] > b"dir/" + each
                name(copied["y"]) > b"name/" + each + b".bin"
                made.append(copied["y"])
            listed(made, made) > "listed.txt"
        """
    )
    ran = inside.build()
    assert len(ran) == 2 * len(NAMES) + 1
    for number, name in enumerate(NAMES):
        for place in ((b"out", name), (b"dir", name, name)):
            with open(here(inside, *place), "rb") as file:
                assert file.read() == b"%d" % number
        with open(here(inside, b"name", name + b".bin"), "rb") as file:
            assert file.read() == name + b"\n%d" % number
    assert sorted(inside.read("listed.txt")) == sorted(
        "".join(str(number) for number in range(len(NAMES))) * 2
    )
    assert not (inside.path / "pwned").exists()
    assert inside.build() == []


def test_files_at_the_top_whose_names_look_like_options_or_variables_are_paths(inside: Any) -> None:
    for name in (b"-e", b"--version", b"=x", b"a=b"):
        with open(here(inside, name), "wb") as file:
            file.write(name + b"\n")
    inside.merklfile(
        """
        cat = bash_task("cat {files_arg('files')}; cat {file_arg('one')}; cat \\"{file_arg('one')}\\"; xargs cat < {argfile('listed')}")
        within = bash_task("cat {files_arg('files')}", cwd="sub")
        python = bash_task("import sys; print([open(name).read() for name in {files_arg('files')}], {file_arg('one')})", interpreter="python3")

        @target(default=True)
        def all():
            names = ["-e", "--version", "=x", "a=b"]
            cat(names, "-e", [file(name) for name in names]) > "cat.txt"
            within(names) > "within.txt"
            python(names, "-e") > "python.txt"
        """
    )
    (inside.path / "sub").mkdir()
    inside.build()
    everything = "-e\n--version\n=x\na=b\n"
    assert inside.read("cat.txt") == everything + "-e\n-e\n" + everything
    assert inside.read("within.txt") == everything
    assert inside.read("python.txt") == "['-e\\n', '--version\\n', '=x\\n', 'a=b\\n'] ./-e\n"


def test_a_nul_byte_is_refused_where_the_call_is_written(inside: Any) -> None:
    for call in (
        "show('a\\0b')",
        "show(b'a\\0b')",
        "show('x', f='a\\0b')",
        "show('x', o='a\\0b')",
        "show('x', E='a\\0b')",
    ):
        inside.merklfile(
            f"""
            show = bash_task("echo {{arg('x')}} {{file_arg('f', default=None)}} {{env_arg('E', '')}} > {{out_file_arg('o')}}")
            {call}
            """
        )
        done = inside.merkl("list", code=2)
        assert "NUL" in done.stderr and "Merklfile.py:4" in done.stderr, done.stderr


PROJECTS = ['it\'s a "b" $(touch pwned) `id`', "new\nline *?[x]", "-dash:%s{x}", "\udcff\udcfe ü"]


@pytest.mark.parametrize("name", PROJECTS)
def test_a_project_may_lie_in_a_directory_of_any_name(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    root.mkdir()
    (root / "src").mkdir()
    (root / "sub").mkdir()
    (root / "src/a b.txt").write_text("a")
    (root / "Merklfile.py").write_text(
        "from merkl import *\n"
        'make = bash_task(\'mktemp > /dev/null; cat {file_arg("x")} {{ file_arg("x") | abspath }} > {out_file_arg("o")}; cp {file_arg("x")} {out_dir_arg("d")}\')\n'
        'use = bash_task(\'cat {file_arg("x")} {{ file_arg("x") | abspath }} {dir_arg("d")}/*\', cwd=\'sub\')\n'
        'copy = bash_task(\'cat {file_arg("x")} {file_arg("y")}; echo >> {file_arg("x")}\', scratch=True)\n'
        "snake = bash_task('print(open({file_arg(\"x\")}).read())', interpreter='python3')\n"
        "fails = bash_task('cat {file_arg(\"x\")}; exit 5')\n"
        "@target(default=True)\n"
        "def all():\n"
        "    made = make('src/a b.txt')\n"
        "    use(made['o'], made['d']) > 'use.txt'\n"
        "    copy('src/a b.txt', made['o']) > 'copy.txt'\n"
        "    snake(made['o']) > 'snake.txt'\n"
        "@target\n"
        "def bad(): return fails(make('src/a b.txt')['o'])\n"
    )

    def merkl(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "merkl", *words]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, errors="surrogateescape")

    done = merkl("build")
    assert done.returncode == 0, done.stderr
    assert (root / "use.txt").read_text() == "aaaaa"
    assert (root / "copy.txt").read_text() == "aaa"
    assert (root / "snake.txt").read_text() == "aa\n"
    assert "3 cached" in merkl("build").stdout
    done = merkl("build", "bad")
    again = next(
        line.split(": ", 1)[1] for line in done.stderr.splitlines() if line.strip().startswith("again:")
    )
    by_hand = subprocess.run(again, shell=True, cwd=root, capture_output=True, text=True)
    assert (by_hand.returncode, by_hand.stdout) == (5, "aa"), by_hand.stderr
    assert not (root / "pwned").exists()


def test_the_names_of_task_and_merklfile_stay_names(inside: Any) -> None:
    inside.write(
        "odd\nname\ntouch pwned.py",
        "from merkl import *\ntarget('all', bash_task('false', name='x\\ntouch pwned')())\n",
    )
    done = inside.merkl("build", "-f", "odd\nname\ntouch pwned.py", "all", code=1)
    again = next(
        line.split(": ", 1)[1] for line in done.stderr.splitlines() if line.strip().startswith("again:")
    )
    assert subprocess.run(again, shell=True, cwd=inside.path, capture_output=True).returncode == 1
    assert not (inside.path / "pwned").exists() and not (inside.path / "pwned.py").exists()
