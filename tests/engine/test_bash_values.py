"""What a bash task's command gets for each placeholder, and what of it makes the task run again."""

import os
from typing import Any

import pytest


def test_every_placeholder_becomes_the_words_it_stands_for(inside: Any) -> None:
    for name in ("one.txt", "two words.txt", "dir/inside"):
        inside.write(name, name)
    inside.merklfile(
        """
        shown = bash_task('''
            printf '<%s>' {file_arg('file', '.txt')} {files_arg('files')} {dir_arg('dir')} {arg('plain')} \\
                {arg('number', type=int)} {arg('list')} {flag_arg('loud')} {flag_arg('quiet', '-q')} \\
                {arg('left_out', default=None)} {file_arg('optional', default=None)} {env_arg('VARIABLE')} \\
                "in {arg('plain')} quotes" {{ '-O2' if arg('fast', type=bool) }} > {out_file_arg('out')}
            cat {argfile('listed')} {argfile('ended', null=True)} >> {out_file_arg('out')}
        ''')

        @target(default=True)
        def all():
            shown("one.txt", ["one.txt", file("two words.txt")], "dir", "$(echo no)", 3, ["a b", "", 1.5], loud=True,
                  fast=True, VARIABLE="of the environment", listed=["x y", 2, file("one.txt")], ended=["a\\nb", "c"]) > "shown"
        """
    )
    inside.build()
    expected = [
        "one.txt", "one.txt", "two words.txt", "dir", "$(echo no)", "3", "a b", "", "1.5", "--loud", "of the environment",
        "in $(echo no) quotes", "-O2",
    ]  # fmt: skip
    assert inside.read("shown") == "".join(f"<{word}>" for word in expected) + "x y\n2\none.txt\na\nb\0c\0"


def test_what_enters_the_key_runs_again_and_nothing_else_does(inside: Any) -> None:
    inside.write("a.txt", "a")
    inside.write("dir/x", "x")
    text = """
        show = bash_task("cat {{file_arg('file')}} {{dir_arg('dir')}}/*; echo {{arg('word')}}", name={name!r},
                         timeout={timeout}, retries={retries}, version={version!r}, {more})

        @target(default=True)
        def all():
            show("a.txt", "dir", {word!r}) > {place!r}
    """
    options = {
        "name": "one",
        "timeout": 10,
        "retries": 0,
        "version": "",
        "word": "w",
        "place": "out.txt",
        "more": "",
    }

    def runs(**changed: object) -> bool:
        options.update(changed)  # type: ignore[arg-type]
        inside.merklfile(text.format(**options))
        return inside.build() != []

    assert runs()
    assert not runs()
    assert not runs(name="two")
    assert not runs(timeout=20, retries=3)
    assert not runs(place="elsewhere.txt")
    assert not runs(more="tools=[]")
    assert runs(version="2")
    assert runs(word="v")
    assert runs(more="env={'X': '1'}")
    assert runs(more="strict=False")
    assert runs(more="ok_codes=[0, 1]")
    assert not runs(more="ok_codes=[1, 0]")
    assert runs(more="prelude='true'")
    assert runs(more="portable=True")
    assert runs(more="deps=['3.12']")
    inside.write("dir/y", "y")
    assert runs()
    os.chmod(inside.path / "a.txt", 0o755)
    assert runs()
    assert inside.read("elsewhere.txt") == "axyv\n"


def test_an_environment_variable_is_in_the_key_and_must_be_set(inside: Any) -> None:
    inside.merklfile(
        """
        greet = bash_task("echo {env_arg('GREETING')} {env_arg('NAME', 'you')} ${GREETING-nothing}")

        @target(default=True)
        def all():
            greet() > "out.txt"
        """
    )
    missing = inside.merkl("build", code=2)
    assert "greet needs the environment variable GREETING, which is not set" in missing.stderr
    assert "export GREETING=… or give it a default: env_arg('GREETING', '…')" in missing.stderr

    def runs(**variables: str) -> list[str]:
        names: list[str] = inside.build(env={**os.environ, **variables})
        return names

    assert runs(GREETING="hi") == ["greet"]
    assert inside.read("out.txt") == "hi you nothing\n"  # A value, not a variable of the command.
    assert runs(GREETING="hi", OTHER="x") == []
    assert runs(GREETING="hi", NAME="me") == ["greet"]
    assert runs(GREETING="hi") == []


def test_declared_variables_reach_the_command_and_no_others_do(inside: Any) -> None:
    inside.merklfile(
        """
        show = bash_task("env | sort", env={"FIXED": "a b", "LC_ALL": "POSIX"})
        named = bash_task("echo ${FOUND-} ${ABSENT-none}", env=["FOUND", "ABSENT"])

        @target(default=True)
        def all():
            show() > "env.txt"
            named() > "named.txt"
        """
    )
    environment = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "FOUND": "yes", "LEAKED": "x"}
    assert sorted(inside.build(env=environment)) == ["named", "show"]
    got = dict(line.split("=", 1) for line in inside.read("env.txt").splitlines())
    assert (
        got["FIXED"] == "a b"
        and got["LC_ALL"] == "POSIX"
        and got["TZ"] == "UTC"
        and got["HOME"] == "/nowhere"
    )
    assert "LEAKED" not in got and "FOUND" not in got
    assert inside.read("named.txt") == "yes none\n"
    assert inside.build(env={**environment, "LEAKED": "y"}) == []
    assert inside.build(env={**environment, "FOUND": "no"}) == ["named"]


def test_values_of_other_tasks_are_words_or_files_in_the_form_that_the_extension_asks_for(
    inside: Any,
) -> None:
    inside.merklfile(
        """
        @task
        def numbers():
            found = {"b": [1, 2.5], "a": None}
            return found
        @task
        def rows(): return [["x", 1], ["y, z", 2]]
        @task
        def text(): return "two\\nlines\\n"
        @task
        def blob(): return b"\\xff\\0"
        @task
        def count(): return 3
        @task
        def words(): return ["a b", "c"]

        cat = bash_task("cat {file_arg('a', '.json')} {file_arg('b', '.csv')} {file_arg('c', '.txt')} {file_arg('d')} {file_arg('e', '.txt')}")
        say = bash_task("printf '<%s>' {arg('n', type=int)} {arg('text')} {arg('list')} 'in {arg('text')} quotes' $(( {arg('n', type=int)} + 1 ))")
        names = bash_task("basename -a {file_arg('a', '.json')} {file_arg('d')}")

        @target(default=True)
        def all():
            cat(numbers(), rows(), text(), blob(), count()) > "files.bin"
            say(count(), text(), words()) > "words.txt"
            names(numbers(), blob()) > "names.txt"
        """
    )
    inside.build("-j1")
    written = b'{"b": [1, 2.5], "a": null}\nx,1\n"y, z",2\ntwo\nlines\n\xff\x003\n'
    assert (inside.path / "files.bin").read_bytes() == written
    assert inside.read("words.txt") == "<3><two\nlines><a b><c><in two\nlines quotes><4>"
    assert inside.read("names.txt") == "numbers.json\nblob\n"
    assert inside.build() == []


def test_a_value_that_does_not_fit_is_an_error_that_names_task_and_line(inside: Any) -> None:
    inside.merklfile(
        """
        @task
        def table(): return [True, object]
        @task
        def true(): return True
        @task
        def words(): return ["a", "b"]
        one = bash_task("echo {arg('x')}")
        cat = bash_task("cat {file_arg('x', '.json')}")
        inside = bash_task("echo pre{arg('x')}")
        number = bash_task("echo {arg('n', type=int)}")

        @target
        def a(): one(true()) > "a.txt"
        @target
        def b(): cat(table()) > "b.txt"
        @target
        def c(): inside(words()) > "c.txt"
        @target
        def d(): number(words()) > "d.txt"
        """
    )
    done = inside.merkl("build", "-k", "-j1", "a", "b", "c", "d", code=1)
    for line, text in (
        (15, "{arg('x')} is True, which is no word"),
        (17, "a value of type list cannot be written to a .json file"),
        (19, "{arg('x')} is a list of 2, and stands where exactly one word must be"),
        (21, "n is of type int, not ['a', 'b']"),
    ):
        assert text in done.stderr
        assert f"at: Merklfile.py:{line}" in done.stderr, line
    assert "Traceback" not in done.stderr


def test_a_directory_is_read_from_the_project_or_from_the_task_that_made_it(inside: Any) -> None:
    inside.write("pages/deep/a.html", "A")
    inside.write("pages/b.html", "B")
    inside.merklfile(
        """
        build = bash_task("cp -r {dir_arg('pages')}/. {out_dir_arg('site')}; ln -s b.html {out_dir_arg('site')}/link; mkdir {out_dir_arg('site')}/empty; chmod +x {out_dir_arg('site')}/b.html")
        listing = bash_task("cd {dir_arg('site')}; find . | sort | while read -r f; do test -x $f -a -f $f && echo $f x || echo $f; done; cat b.html link deep/a.html")

        @target(default=True)
        def all():
            site = build("pages") > "site"
            listing(site) > "listing.txt"
        """
    )
    assert inside.build() == ["build", "listing"]
    names = [".", "./b.html x", "./deep", "./deep/a.html", "./empty", "./link x"]
    assert inside.read("listing.txt") == "\n".join(names) + "\nBBA"
    assert os.readlink(inside.path / "site/link") == "b.html"
    assert os.access(inside.path / "site/b.html", os.X_OK) and not os.access(
        inside.path / "site/deep/a.html", os.X_OK
    )
    inside.write("pages/b.html", "C")
    assert inside.build() == ["build", "listing"]
    assert inside.read("site/link") == "C"


def test_a_file_is_not_a_directory_nor_the_other_way_round(inside: Any) -> None:
    inside.write("file", "")
    inside.merklfile(
        """
        make_dir = bash_task("touch {out_dir_arg('out')}/x")
        make_file = bash_task("touch {out_file_arg('out')}")
        of_dir = bash_task("ls {dir_arg('dir')}")
        of_file = bash_task("cat {file_arg('file')}")

        @target
        def a(): return of_file(make_dir())
        @target
        def b(): return of_dir(make_file())
        @target
        def c(): return of_dir("file")
        @target
        def d(): return of_file(".")
        """
    )
    for target, text in {
        "a": "of_file: file takes a file, and <Future make_dir",
        "b": "of_dir: dir takes a directory, and <Future make_file",
        "c": "file is a file",
        "d": "is a directory",
    }.items():
        assert text in inside.merkl("build", target, code=2).stderr


def test_the_executable_bit_of_an_output_is_kept_and_counts(inside: Any) -> None:
    inside.merklfile(
        """
        make = bash_task('''printf '#!/bin/sh\\necho ran "$@"' > {out_file_arg('tool', '.sh')}; chmod {arg('mode')} {out_file_arg('tool', '.sh')}''')
        use = bash_task("{file_arg('tool', '.sh')} {arg('x')} || echo cannot")

        @target(default=True)
        def all(mode: str = "755"):
            use(make(mode) > "bin/tool.sh", "it") > "out.txt"
        """
    )
    assert inside.build() == ["make", "use"]
    assert inside.read("out.txt") == "ran it\n"
    assert os.access(inside.path / "bin/tool.sh", os.X_OK)
    assert inside.build("mode=644") == ["make", "use"]
    assert inside.read("out.txt") == "cannot\n"
    assert not os.access(inside.path / "bin/tool.sh", os.X_OK)
    assert inside.build("mode=700") == ["make"]  # The same as 755.


def test_a_program_of_the_project_can_be_the_command(inside: Any) -> None:
    tool = inside.write("tool", '#!/bin/sh\necho one "$@"\n')
    tool.chmod(0o755)
    inside.merklfile(
        """
        by_bash = bash_task("{file_arg('tool')} {arg('x')}")
        by_argv = bash_task(argv=["{file_arg('tool')}", "{arg('x')}"])

        @target(default=True)
        def all():
            by_bash("tool", "a b") > "bash.txt"
            by_argv("tool", "a b") > "argv.txt"
        """
    )
    assert sorted(inside.build()) == ["by_argv", "by_bash"]
    assert inside.read("bash.txt") == inside.read("argv.txt") == "one a b\n"
    tool.write_text("#!/bin/sh\necho two\n")
    assert sorted(inside.build()) == ["by_argv", "by_bash"]


def test_dependencies_that_no_placeholder_names_count(inside: Any) -> None:
    inside.write("config.ini", "1")
    inside.write("data/x", "1")
    inside.merklfile(
        """
        from pathlib import Path
        first = bash_task("cat config.ini > {out_file_arg('out')}", deps=[file("config.ini"), Path("data")])()
        second = bash_task("date > {out_file_arg('out')}", deps=[first, 1, "text"], name="second")

        @target(default=True)
        def all():
            second() > "out.txt"
        """
    )
    assert len(inside.build()) == 2
    inside.write("config.ini", "2")
    assert len(inside.build()) == 2
    inside.write("data/x", "2")
    assert len(inside.build()) == 1  # The same bytes as before: cut off.
    assert inside.build() == []


def test_an_uncached_task_runs_in_every_build_and_its_readers_only_if_its_bytes_change(inside: Any) -> None:
    inside.merklfile(
        """
        now = bash_task("cat state; echo run >> runs", cache=False)
        use = bash_task("cat {file_arg('x', '.txt')} > {out_file_arg('out')}")

        @target(default=True)
        def all():
            x = now()
            use(x) > "out.txt"
            use(x) > "again.txt"
        """
    )
    inside.write("state", "1")
    assert inside.build() == ["now", "use"]
    assert inside.build() == ["now"]
    inside.write("state", "2")
    assert inside.build() == ["now", "use"]
    assert inside.read("out.txt") == "2"
    inside.write("state", "1")
    assert inside.build() == ["now"]
    assert inside.read("again.txt") == "1"
    assert inside.read("runs") == "run\n" * 4


MANY = 200_000 if os.environ.get("MERKL_FULL") else 10_000


def test_a_list_of_very_many_inputs_goes_into_a_file(inside: Any) -> None:
    (inside.path / "in").mkdir()
    for number in range(MANY):
        (inside.path / f"in/{number:06d}.txt").write_bytes(b"%d\n" % number)
    inside.merklfile(
        """
        total = bash_task("xargs -0 cat < {argfile('inputs', null=True)} | awk -v OFMT=%.0f '{n += $1} END {print n}'")

        @target(default=True)
        def all():
            total(files("in/*.txt")) > "total.txt"
        """
    )
    [event] = [e for e in inside.events() if e["event"] == "done"]
    assert event["ran"] == 1
    assert int(inside.read("total.txt")) == MANY * (MANY - 1) // 2
    assert inside.build() == []
    inside.write("in/000001.txt", "3\n")
    assert inside.build() == ["total"]
    assert int(inside.read("total.txt")) == MANY * (MANY - 1) // 2 + 2


def test_a_word_of_a_list_that_names_a_file_counts_with_its_bytes(inside: Any) -> None:
    inside.write("a.txt", "1")
    inside.merklfile(
        """
        show = bash_task("xargs cat < {argfile('inputs')}")

        @target(default=True)
        def all():
            show(["a.txt"]) > "out.txt"
        """
    )
    assert inside.build() == ["show"]
    inside.write("a.txt", "2")
    assert inside.build() == ["show"]
    assert inside.read("out.txt") == "2"


@pytest.mark.parametrize("length", [140_000, 200_000])
def test_long_values_work_wherever_the_system_lets_them(inside: Any, length: int) -> None:
    inside.merklfile(
        f"""
        long = "x" * {length}
        inside = bash_task("printf %s {{arg('x')}} > {{out_file_arg('out')}}")
        exported = bash_task("printf %s ${{#LONG}} > {{out_file_arg('out')}}", env={{"LONG": long}})
        passed = bash_task("env printf %s {{arg('x')}} > {{out_file_arg('out')}}")
        words = bash_task(argv=["printf", "%s", "{{arg('x')}}"])

        @target
        def a(): inside(long) > "a.txt"
        @target
        def b(): exported() > "b.txt"
        @target
        def c(): passed(long) > "c.txt"
        @target
        def d(): words(long) > "d.txt"
        """
    )
    done = inside.merkl("build", "-k", "-j1", "a", "b", "c", "d", code=1)
    assert inside.read("a.txt") == "x" * length
    assert "exported could not be started" in done.stderr
    assert "words could not be started" in done.stderr
    assert done.stderr.count("Argument list too long") >= 3
    assert "passed failed: exit code 126" in done.stderr
    assert "argfile" in done.stderr
    assert len(done.stderr) < 20_000
