"""The options of a bash task: what each does to the command, seen from outside."""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest


def test_declared_tools_count_by_their_bytes_or_by_what_they_say(inside: Any, tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()

    def install(version: str, comment: str = "") -> None:
        tool = bin_ / "mytool"
        tool.write_text(f"#!/bin/sh\n# {comment}\necho {version}\n")
        tool.chmod(0o755)

    environment = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}"}
    inside.merklfile(
        """
        by_bytes = bash_task("mytool", tools=["mytool"])
        by_version = bash_task("mytool", tools=["mytool --version"])
        unaware = bash_task("mytool")

        @target(default=True)
        def all():
            for task_ in (by_bytes, by_version, unaware):
                task_() > f"{task_.name}.txt"
        """
    )
    missing = inside.merkl("build", code=2)
    assert "the tool 'mytool' is not on PATH" in missing.stderr and "at" in missing.stderr
    install("1")
    assert sorted(inside.build(env=environment)) == ["by_bytes", "by_version", "unaware"]
    assert inside.build(env=environment) == []
    install("1", comment="built again")
    assert inside.build(env=environment) == ["by_bytes"]
    install("2")
    assert sorted(inside.build(env=environment)) == ["by_bytes", "by_version"]
    assert inside.read("by_version.txt") == "2\n"
    install("1")
    assert inside.build(env=environment) == []  # Both are known.
    assert inside.read("by_version.txt") == "1\n"


def test_codes_that_are_allowed_are_no_failure(inside: Any) -> None:
    inside.merklfile(
        """
        grep = bash_task("grep -c {arg('what')} data.txt > {out_file_arg('out')}", ok_codes=[0, 1])

        @target
        def found(): grep("a") > "a.txt"
        @target
        def none(): grep("z") > "z.txt"
        @target
        def wrong(): grep("[") > "w.txt"
        """
    )
    inside.write("data.txt", "a\nb\na\n")
    inside.merkl("build", "found", "none")
    assert (inside.read("a.txt"), inside.read("z.txt")) == ("2\n", "0\n")
    assert "grep failed: exit code 2" in inside.merkl("build", "wrong", code=1).stderr


def test_a_task_that_takes_too_long_is_asked_to_end_and_then_killed(inside: Any) -> None:
    inside.merklfile(
        """
        polite = bash_task("trap 'echo asked > asked; exit 0' TERM; sleep 60 & wait; touch {out_file_arg('a')}", timeout=0.3)
        stubborn = bash_task("trap '' TERM; touch began; while :; do sleep 0.1 || :; done; touch {out_file_arg('a')}", timeout=0.3)

        @target
        def a(): return polite()
        @target
        def b(): return stubborn()
        """
    )
    began = time.monotonic()
    done = inside.merkl("build", "-k", "-j2", "a", "b", code=1)
    assert time.monotonic() - began < 20
    assert "polite took longer than 0.3 s and was stopped" in done.stderr
    assert "stubborn took longer than 0.3 s and was stopped" in done.stderr
    assert inside.read("asked") == "asked\n"


def test_a_failed_attempt_is_repeated_in_a_clean_place_with_growing_delays(inside: Any) -> None:
    inside.merklfile(
        """
        flaky = bash_task('''
            date +%s%N >> times
            test ! -e {out_file_arg('a')}; test ! -e $TMPDIR/left; touch $TMPDIR/left
            echo half > {out_file_arg('a')}
            test $(wc -l < times) -ge 3
        ''', retries=3)
        hopeless = bash_task("echo x >> tries; false", retries=1)

        @target
        def a(): flaky() > "a.txt"
        @target
        def b(): return hopeless()
        """
    )
    done = inside.merkl("build", "-k", "a", "b", code=1)
    times = [int(line) for line in inside.read("times").split()]
    assert len(times) == 3 and times[2] - times[1] > 1.5 * (times[1] - times[0]) > 0.5e9
    assert inside.read("a.txt") == "half\n"
    assert inside.read("tries") == "x\nx\n"
    assert "hopeless failed: exit code 1" in done.stderr
    assert "attempt 1 failed, another follows in 0.5s" in done.stdout


def test_other_interpreters_get_values_in_their_own_way(inside: Any) -> None:
    inside.write("a.txt", "text")
    inside.merklfile(
        """
        sh = bash_task("printf '<%s>' {files_arg('files')} {arg('x')} \\"$0\\" | sed 's/<[^<]*$//' > {out_file_arg('out')}; test -z \\"${BASH_VERSION-}\\" || true", interpreter="sh")
        python = bash_task('''
            import json, os
            with open({out_file_arg('out')}, "w") as file:
                json.dump([{files_arg('files')}, {arg('x')}, {arg('n')}, {arg('none', default=None)}, os.environ["V"], sep], file)
        ''', interpreter="python3", prelude="sep = '-'", env={"V": "v"})
        perl = bash_task(argv=["perl", "-e", "open(F, '>', $ARGV[0]); print F join('|', @ARGV[1..$#ARGV])", "{out_file_arg('out')}", "{files_arg('files')}", "{arg('x')}", "{flag_arg('loud')}"])

        @target(default=True)
        def all():
            sh(["a.txt"], "it's") > "sh.txt"
            python(["a.txt"], "it's \\"x\\"", 1.5) > "python.txt"
            perl(["a.txt"], "a b", loud=True) > "perl.txt"
        """
    )
    inside.build()
    assert inside.read("sh.txt") == "<a.txt><it's>"
    assert inside.read("python.txt") == '[["a.txt"], "it\'s \\"x\\"", 1.5, null, "v", "-"]'
    assert inside.read("perl.txt") == "a.txt|a b|--loud"


def test_a_failure_in_the_middle_counts_unless_the_task_is_not_strict(inside: Any) -> None:
    inside.merklfile(
        """
        OUT = "> {out_file_arg('a')}"
        for name, text in {
            "step": "false; echo x " + OUT,
            "pipe": "false | cat " + OUT,
            "unset": "echo $nothing " + OUT,
            "inner": "x=$(false; echo y); echo $x " + OUT,
        }.items():
            target(name, bash_task(text, name=name)())
            target(f"lax_{name}", bash_task(text, name=f"lax_{name}", strict=False)())
        """
    )
    done = inside.merkl("build", "-k", "step", "pipe", "unset", "inner", code=1)
    assert all(f"{name} failed: exit code 1" in done.stderr for name in ("step", "pipe", "unset", "inner"))
    lax = ["lax_step", "lax_pipe", "lax_unset", "lax_inner"]
    assert sorted(inside.build(*lax)) == sorted(lax)


def test_a_prelude_comes_first(inside: Any) -> None:
    inside.merklfile(
        """
        greet = bash_task("hello {arg('who')}", prelude='hello() { echo "hello $1"; }')

        @target(default=True)
        def all(): greet("a b") > "out.txt"
        """
    )
    inside.build()
    assert inside.read("out.txt") == "hello a b\n"


def test_in_another_directory_every_path_leads_to_the_same_file(inside: Any) -> None:
    inside.write("sub/dir/near.txt", "near")
    inside.write("far.txt", "far")
    inside.merklfile(
        """
        source = bash_task("echo made > {out_file_arg('a', '.txt')}")
        show = bash_task('''
            basename "$PWD"; cat {files_arg('files')}; ls {dir_arg('dir')}; cat {argfile('listed')}; xargs cat < {argfile('listed')}
            echo {{ file_arg('one') | abspath }}
            echo x > {out_file_arg('out')}; echo y > {out_dir_arg('many')}/y
        ''', cwd="sub/dir", stdout="lines")
        python = bash_task("import os; print(os.path.basename(os.getcwd()), open({file_arg('x')}).read())", interpreter="python3", cwd="sub")
        words = bash_task(argv=["cat", "{file_arg('x')}"], cwd="sub")

        @target(default=True)
        def all():
            made = show(["sub/dir/near.txt", "far.txt", source()], "sub", [file("far.txt")], "far.txt")
            made["stdout"] > "out.json"
            made["out"] > "x"
            made["many"] > "many"
            python("far.txt") > "python.txt"
            words("far.txt") > "words.txt"
        """
    )
    inside.build()
    import json

    far = str(inside.path / "far.txt")
    assert json.loads(inside.read("out.json")) == ["dir", "nearfarmade", "dir", "../../far.txt", f"far{far}"]
    assert inside.read("many/y") == "y\n"
    assert inside.read("python.txt") == "sub far\n" and inside.read("words.txt") == "far"
    shutil.rmtree(inside.path / "sub")
    inside.write("sub", "no directory")
    inside.merklfile(
        """
        words = bash_task("pwd", cwd="sub")
        target("all", words())
        """
    )
    assert "words runs in sub, which is not a directory" in inside.merkl("build", "all", code=1).stderr


def test_a_linked_directory_to_run_in_is_followed(inside: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    (inside.path / "link").symlink_to(tmp_path / "elsewhere/deep")
    inside.write("a.txt", "a")
    inside.merklfile(
        """
        show = bash_task("cat {file_arg('x')} > {out_file_arg('out')}", cwd="link")
        target("all", show("a.txt", out="out.txt"))
        """
    )
    inside.build("all")
    assert inside.read("out.txt") == "a"


def test_a_project_that_moves_keeps_its_results_also_with_absolute_paths(
    inside: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside.write("a.txt", "a")
    inside.merklfile(
        """
        show = bash_task("cat {{ file_arg('x') | abspath }} {{ dir_arg('d') | abspath }}/*; echo {{ out_file_arg('o') | abspath }} > {out_file_arg('o')}")
        target("all", show("a.txt", "d")["o"] if False else show("a.txt", "d", o="out.txt"))
        """
    )
    inside.write("d/x", "x")
    assert inside.build("all") == ["show"]
    before = inside.read("out.txt")
    assert before.startswith(str(inside.path))
    moved = inside.path.parent / "moved here"
    inside.path.rename(moved)
    inside.path = moved
    monkeypatch.chdir(moved)
    assert inside.build("all") == []
    assert inside.read("out.txt") == before


def test_a_tool_that_writes_beside_its_input_gets_copies_of_its_own(inside: Any) -> None:
    inside.write("doc/paper.tex", "one")
    inside.write("doc/img/a.png", "image")
    inside.write("paper.bib", "bib")
    inside.write("undeclared.txt", "x")
    inside.merklfile(
        """
        chart = bash_task("echo chart > {out_file_arg('c', '.svg')}")
        other = bash_task("echo other > {out_file_arg('c', '.svg')}")
        page = bash_task("mkdir {out_dir_arg('p')}/deep; echo p > {out_dir_arg('p')}/deep/p; ln -s deep/p {out_dir_arg('p')}/l")
        @task
        def value(): return 3
        latex = bash_task('''
            test ! -e undeclared.txt
            for f in {file_arg('main')} {files_arg('charts')} {file_arg('n', '.json')}; do
                echo "beside $(cat $f)" >> ${f}.aux; echo more >> $f
                cat $f ${f}.aux >> {out_file_arg('pdf', '.pdf')}
            done
            touch {dir_arg('img')}/new {dir_arg('page')}/deep/new; rm {dir_arg('page')}/l
            ls {dir_arg('img')} >> {out_file_arg('pdf', '.pdf')}
            cat paper.bib {{ file_arg('main') | abspath }} >> {out_file_arg('pdf', '.pdf')}
        ''', scratch=True, deps=[file("paper.bib")])

        @target(default=True)
        def all():
            latex("doc/paper.tex", [chart(), other()], value(), "doc", page()) > "paper.pdf"
        """
    )
    assert "latex" in inside.build()
    svg = "chart\nmore\nbeside chart\nother\nmore\nbeside other\n"
    assert (
        inside.read("paper.pdf")
        == f"onemore\nbeside one\n{svg}3\nmore\nbeside 3\nimg\nnew\npaper.tex\npaper.tex.aux\nbibonemore\n"
    )
    assert inside.read("doc/paper.tex") == "one"
    assert sorted(os.listdir(inside.path / "doc")) == ["img", "paper.tex"]
    assert inside.build() == []
    inside.write("paper.bib", "bob")
    assert inside.build() == ["latex"]  # The views it had copies of are as they were.


def test_what_runs_in_a_scratch_directory_can_be_run_again_by_hand(inside: Any) -> None:
    inside.write("a.txt", "a")
    inside.merklfile(
        """
        bad = bash_task("cat {file_arg('x')}; echo y >> y; pwd; false", scratch=True)
        target("all", bad("a.txt"))
        """
    )
    done = inside.merkl("build", "all", code=1)
    again = next(
        line.split(": ", 1)[1] for line in done.stderr.splitlines() if line.strip().startswith("again:")
    )
    import subprocess

    ran = subprocess.run(again, shell=True, cwd=inside.path, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stdout.startswith("a/") and ran.stdout.strip().endswith("scratch")


def test_stdin_is_empty_and_tmpdir_is_the_attempts_own_and_goes(inside: Any) -> None:
    inside.merklfile(
        """
        look = bash_task("readlink /proc/self/fd/0 || echo /dev/null; cat; echo $TMPDIR; ls -A $TMPDIR; mktemp > /dev/null; ls -A $TMPDIR | wc -l")
        target("all", look() > "out.txt")
        """
    )
    inside.build("all")
    null, tmp, count = inside.read("out.txt").split("\n")[:3]
    assert null == "/dev/null" and count == "1"
    assert tmp.startswith(str(inside.path / ".merkl/run/")) and not os.path.exists(tmp)
    assert os.listdir(inside.path / ".merkl/run") == os.listdir(inside.path / ".merkl/stage") == []


def test_a_task_is_called_by_its_name_else_by_its_variable_else_by_its_command(inside: Any) -> None:
    inside.merklfile(
        """
        variable = bash_task("true")
        target("a", bash_task("/bin/true a", name="own name")())
        target("b", variable())
        target("c", bash_task("/bin/true c")())
        """
    )
    assert inside.build("-j1", "a", "b", "c") == ["own name", "variable", "true"]


@pytest.mark.skipif(sys.platform != "linux", reason="bash's path of a script in memory")
def test_messages_of_the_shell_name_a_line(inside: Any) -> None:
    inside.merklfile('target("a", bash_task("true\\nnosuchcommand", name="x")())\n')
    assert "nosuchcommand: command not found" in inside.merkl("build", "a", code=1).stderr
