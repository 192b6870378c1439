"""``--check-deps`` tells what a task used and did not declare, and ``--strict-deps`` refuses it."""

import os
import shutil
import sys
import textwrap
import time
from typing import Any

import pytest

pytestmark = pytest.mark.needs("strace")


def uses(project: Any, *words: str, code: int = 0, **options: Any) -> dict[str, list[tuple[str, str]]]:
    """What a build with ``--check-deps`` tells of each task: deeds and paths."""
    found = project.events("--check-deps", "-B", *words, code=code, **options)
    assert found[-1]["event"] == "done"
    return {
        e["task"]: [(use["deed"], use["path"]) for use in e["uses"]]
        for e in found
        if e["event"] == "undeclared" and e["uses"]
    }


def advice(project: Any, *words: str) -> dict[str, str]:
    """What to add, by path."""
    events = project.events("--check-deps", "-B", *words)
    return {use["path"]: use["advice"] for e in events if e["event"] == "undeclared" for use in e["uses"]}


def only(project: Any, task: str, *words: str, **options: Any) -> list[tuple[str, str]]:
    """What one task is told of; no other may be."""
    found = uses(project, *words, **options)
    assert found.keys() <= {task}
    return found.get(task, [])


# ---- commands --------------------------------------------------------------------------------------------------------


def test_a_file_that_a_command_reads_and_does_not_declare_is_named_with_the_line_to_add(inside: Any) -> None:
    inside.write("in.txt", "in")
    inside.write("config.ini", "x")
    inside.merklfile("""
        gen = bash_task("cat {file_arg('source')} config.ini > {out_file_arg('made', '.txt')}")

        @target(default=True)
        def all():
            gen("in.txt") > "out.txt"
    """)

    done = inside.merkl("build", "--check-deps")

    assert "gen out.txt does not declare all that it uses:\n" in done.stdout
    line = """read config.ini: deps=[file("config.ini")], or {file_arg('config', '.ini')} in the command\n"""
    assert line in done.stdout
    assert "note: 1 task of 1 that ran used what is not declared\n" in done.stdout
    assert inside.read("out.txt") == "inx"


def test_the_line_to_add_is_the_right_one(inside: Any) -> None:
    inside.write("config.ini", "x")
    inside.merklfile("""
        gen = bash_task("cat config.ini > {out_file_arg('made', '.txt')}", deps=[file("config.ini")])

        @target(default=True)
        def all():
            gen() > "out.txt"
    """)

    assert uses(inside) == {}


def test_what_is_declared_is_not_told_of(inside: Any) -> None:
    for name in ("one.txt", "many/a.txt", "many/b.txt", "tree/deep/file", "extra.txt"):
        inside.write(name, name)
    inside.write("tool.sh", "#!/bin/sh\necho tool\n").chmod(0o755)
    (inside.path / "link.txt").symlink_to("linked.txt")
    inside.write("linked.txt", "linked")
    inside.merklfile('''
        made = bash_task("echo made > {out_file_arg('a', '.txt')}; echo dir > {out_dir_arg('d')}/file")
        gen = bash_task(
            """
            ./tool.sh | tee "$TMPDIR/scratch" > {out_file_arg('result', '.txt')}
            cat {file_arg('one')} {files_arg('many')} {file_arg('link')} {file_arg('a')} extra.txt
            find {dir_arg('tree')} {dir_arg('d')} -type f -exec cat -- '{}' +
            echo more > "$(dirname "$TMPDIR")/own"; cat "$TMPDIR/scratch"
            """,
            deps=[file("extra.txt")],
            tools=["./tool.sh"],
        )

        @target(default=True)
        def all():
            first = made()
            gen("one.txt", files("many/*"), "link.txt", first["a"], "tree", first["d"]) > "out.txt"
    ''')

    assert uses(inside) == {}


def test_in_yaml_the_line_to_add_is_yaml(inside: Any) -> None:
    inside.write("config.ini", "x")
    inside.write("gen.sh", "#!/bin/sh\necho y\n").chmod(0o755)
    text = """
        tasks:
          page:
            run: cat config.ini > {out_file_arg('page', '.html')}; ./gen.sh
        targets:
          all:
            default: true
            call: page
            to: page.html
    """
    inside.write("Merklfile.yaml", textwrap.dedent(text))

    found = advice(inside)

    assert found["gen.sh"] == 'tools: ["./gen.sh"]'
    declared, _, _ = found["config.ini"].partition(", or ")
    assert declared == 'deps: [file("config.ini")]'
    more = "".join(f"\n            {line}" for line in (declared, found["gen.sh"]))
    inside.write("Merklfile.yaml", textwrap.dedent(text.replace("./gen.sh", "./gen.sh" + more)))
    assert uses(inside) == {}


def test_writing_listing_running_and_removing_are_told_too(inside: Any) -> None:
    inside.write("data/a.csv", "1")
    inside.write("old.log", "old")
    inside.write("steps/gen.sh", "#!/bin/sh\necho hello\n").chmod(0o755)
    inside.merklfile('''
        gen = bash_task("""
            ls data > {out_file_arg('made', '.txt')}
            steps/gen.sh >> run.log
            rm old.log
            mkdir sub; mkdir empty
            echo x > sub/file
            cat run.log
        """)

        @target(default=True)
        def all():
            gen() > "out.txt"
    ''')

    found = advice(inside)

    assert found == {
        "data": "{dir_arg('data')} in the command, or pass the files to {files_arg('data')}",
        "empty": "{out_dir_arg('empty')} in the command, or a name below $TMPDIR",
        "old.log": "a task may remove only what it made",
        "run.log": "{out_file_arg('run', '.log')} in the command, or a name below $TMPDIR",
        "steps/gen.sh": 'tools=["steps/gen.sh"]',
        "sub/file": "{out_file_arg('file', '')} in the command, or a name below $TMPDIR",
    }


def test_a_command_that_writes_to_its_own_input_is_told_so(inside: Any) -> None:
    inside.write("in.txt", "in")
    inside.merklfile("""
        gen = bash_task("echo more >> in.txt; : {file_arg('source')}")

        @target(default=True)
        def all():
            return gen("in.txt")
    """)

    assert only(inside, "gen", code=1) == [("wrote", "in.txt")]


def test_what_a_command_makes_and_removes_again_is_its_own_business(inside: Any) -> None:
    inside.write("in.txt", "in")
    inside.merklfile('''
        gen = bash_task("""
            echo x > half; cat half; mv half whole; cat whole; rm whole
            mkdir tmp; echo y > tmp/file; mv tmp other; rm -r other
            sed -i s/x/y/ {out_file_arg('made', '.txt')} 2> /dev/null || cp {file_arg('source')} {out_file_arg('made', '.txt')}
        """)

        @target(default=True)
        def all():
            gen("in.txt") > "out.txt"
    ''')

    assert uses(inside) == {}


def test_children_in_other_sessions_directories_and_interpreters_are_seen(inside: Any) -> None:
    for name in ("a.txt", "b.txt", "sub/c.txt", "sub/d.txt", "e.txt", 'wörld \n"q" <x> = 3.txt'):
        inside.write(name, name)
    inside.write("script.py", "open('e.txt').read()\n")
    inside.merklfile(f'''
        gen = bash_task("""
            setsid --wait cat a.txt
            (cat b.txt) & wait
            cd sub; cat c.txt; sh -c 'cd ..; cat < sub/d.txt; exec cat w*'
            cd ..; {sys.executable} script.py
            rename() {{ {sys.executable} -c 'import os; os.chdir("sub"); os.rename("c.txt", "f.txt")'; }}; rename
            : > {{out_file_arg('made', '.txt')}}
        """)

        @target(default=True)
        def all():
            gen() > "out.txt"
    ''')

    assert only(inside, "gen") == [
        ("listed", "."), ("read", "a.txt"), ("read", "b.txt"), ("read", "e.txt"), ("read", "script.py"), ("read", "sub/c.txt"),
        ("removed", "sub/c.txt"), ("read", "sub/d.txt"), ("wrote", "sub/f.txt"), ("read", 'wörld \n"q" <x> = 3.txt'),
    ]  # fmt: skip


@pytest.mark.parametrize("interpreter", ["sh", "python3"])
def test_other_interpreters_and_argv_are_seen(inside: Any, interpreter: str) -> None:
    inside.write("a.txt", "a")
    inside.write("b.txt", "b")
    text = "cat a.txt" if interpreter == "sh" else "open('a.txt').read()"
    inside.merklfile(f'''
        gen = bash_task("{text}", interpreter="{interpreter}")
        copy = bash_task(argv=["cp", "b.txt", out_file_arg("made", ".txt")])

        @target(default=True)
        def all():
            gen() > "out.txt"
            copy() > "copy.txt"
    ''')

    assert uses(inside) == {"gen": [("read", "a.txt")], "copy": [("read", "b.txt")]}


def test_a_command_in_another_directory_or_in_a_copy_of_its_inputs(inside: Any) -> None:
    inside.write("sub/in.txt", "in")
    inside.write("sub/other.txt", "other")
    inside.merklfile("""
        below = bash_task("cat {file_arg('source')} other.txt > {out_file_arg('made', '.txt')}", cwd="sub")
        apart = bash_task("echo x >> {file_arg('source')}; cat {file_arg('source')} > {out_file_arg('made', '.txt')}", scratch=True)

        @target(default=True)
        def all():
            below("sub/in.txt") > "out.txt"
            apart("sub/in.txt") > "apart.txt"
    """)

    assert only(inside, "below") == [("read", "sub/other.txt")]


@pytest.mark.needs("gcc")
def test_what_a_depfile_names_is_declared(inside: Any) -> None:
    inside.write("main.c", '#include "head.h"\nint main(void) { return X; }\n')
    inside.write("head.h", "#define X 1\n")
    inside.merklfile("""
        cc = bash_task("gcc -c {file_arg('source')} -o {out_file_arg('o', '.o')}")
        found = bash_task("gcc -MD -MF {depfile_arg()} -c {file_arg('source')} -o {out_file_arg('o', '.o')}")

        @target(default=True)
        def all():
            cc("main.c") > "a.o"
            found("main.c") > "b.o"
    """)

    assert only(inside, "cc") == [("read", "head.h")]


def test_what_another_task_makes_is_named_with_that_task(inside: Any) -> None:
    inside.merklfile("""
        make = bash_task("echo x > {out_file_arg('header', '.h')}")
        use = bash_task("cat build/gen.h > {out_file_arg('made', '.txt')}; : {file_arg('other')}")

        @target(default=True)
        def all():
            header = make()
            header > "build/gen.h"
            use(make(header="other.h")) > "out.txt"
    """)
    inside.merkl("build")

    assert advice(inside) == {
        "build/gen.h": "make build/gen.h makes it: pass its Future to {file_arg('gen', '.h')}"
    }


def test_merkls_own_files_are_nobodys_input(inside: Any) -> None:
    inside.merklfile("""
        use = bash_task("cat .merkl/store/* > /dev/null 2>&1 || true; : > {out_file_arg('made', '.txt')}")

        @target(default=True)
        def all():
            use() > "out.txt"
    """)

    found = only(inside, "use")

    assert ("read", ".merkl") in found and {path for _, path in found} == {".merkl"}


def test_git_is_one_line_and_an_environment_of_programs_none(inside: Any) -> None:
    inside.write(".git/HEAD", "ref")
    inside.write(".git/config", "x")
    inside.write("env/pyvenv.cfg", "home = /usr")
    inside.write("env/lib/site.py", "x")
    inside.write("web/node_modules/a/index.js", "x")
    inside.write("web/node_modules/b/index.js", "x")
    inside.merklfile("""
        use = bash_task("cat .git/HEAD .git/config env/lib/site.py web/node_modules/*/index.js > {out_file_arg('made', '.txt')}")

        @target(default=True)
        def all():
            use() > "out.txt"
    """)

    assert only(inside, "use") == [
        ("read", ".git"),
        ("listed", "web/node_modules"),
        ("read", "web/node_modules"),
    ]


def test_what_was_looked_for_or_at_is_told_with_v_only(inside: Any) -> None:
    inside.write("there.txt", "x")
    inside.merklfile("""
        use = bash_task("test -e there.txt; cat missing.txt || : > {out_file_arg('made', '.txt')}")

        @target(default=True)
        def all():
            use() > "out.txt"
    """)

    quiet = inside.merkl("build", "--check-deps")
    loud = inside.merkl("build", "--check-deps", "-B", "-v")

    assert "missing.txt" not in quiet.stdout.replace("cat: missing.txt", "")
    assert "looked for missing.txt\n" in loud.stdout
    assert "looked at there.txt\n" in loud.stdout


def test_a_command_under_strace_ends_as_it_does_without(inside: Any) -> None:
    inside.write("secret.txt", "x")
    inside.merklfile("""
        code = bash_task("cat secret.txt; exit 7")
        killed = bash_task("kill -SEGV $$")
        late = bash_task("sleep 60", timeout=0.2)
        missing = bash_task(argv=["no-such-program-anywhere"])

        @target(default=True)
        def all():
            code() > "a"
            killed() > "b"
            late() > "c"
            missing() > "d"
    """)
    plain = inside.events("-k", code=1)

    checked = inside.events("-k", "--check-deps", code=1)

    def errors(events: list[dict[str, Any]]) -> dict[str, str]:
        return {e["task"]: e["error"] for e in events if e["event"] == "failed"}

    assert errors(checked) == errors(plain)
    assert [e["uses"][0]["path"] for e in checked if e["event"] == "undeclared"] == ["secret.txt"]


def test_what_a_command_leaves_running_does_not_hold_up_the_build(inside: Any) -> None:
    inside.write("in.txt", "x")
    inside.merklfile("""
        leave = bash_task("sleep 30 & setsid sleep 30 & cat in.txt > {out_file_arg('made', '.txt')}")

        @target(default=True)
        def all():
            leave() > "out.txt"
    """)
    began = time.monotonic()

    found = only(inside, "leave")

    assert found == [("read", "in.txt")]
    assert time.monotonic() - began < 15


# ---- Python tasks ----------------------------------------------------------------------------------------------------

CALL = """
    import os
    import subprocess

    @task
    def load(n):
        import lib
        with open("config.ini") as file:
            text = file.read()
        os.listdir("data")
        subprocess.run(["cat", "by-child.txt"], check=True)
        with open("notes.txt", "w") as file:
            file.write(text)
        return text + os.environ.get("WEATHER", "") + str(lib.helper(n))

    @target(default=True)
    def all():
        load(1) > "a.txt"
        load(2) > "b.txt"
"""


@pytest.fixture
def calls(inside: Any) -> Any:
    inside.write("config.ini", "conf")
    inside.write("by-child.txt", "child")
    inside.write("data/a", "1")
    inside.write("lib.py", "def helper(n):\n    return n\n")
    inside.merklfile(CALL)
    return inside


EXPECTED = [
    ("variable", "WEATHER"),
    ("read", "by-child.txt"),
    ("read", "config.ini"),
    ("listed", "data"),
    ("wrote", "notes.txt"),
]


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_a_python_task_is_looked_at_inline_and_in_workers(inside: Any, calls: Any, jobs: str) -> None:
    events = (
        type(calls).events(calls, "--check-deps", jobs)
        if jobs == "-j2"
        else _events_of_a_process(calls, jobs)
    )

    told = [e for e in events if e["event"] == "undeclared"]

    assert len(told) == 2
    for event in told:
        assert [(use["deed"], use["path"]) for use in event["uses"]] == EXPECTED
    places = {use["path"]: use["at"] for use in told[0]["uses"]}
    assert places["config.ini"] == "Merklfile.py:9"
    assert places["by-child.txt"] == ""
    assert places["WEATHER"] == "Merklfile.py:15"


def _events_of_a_process(project: Any, *words: str) -> list[dict[str, Any]]:
    import json

    process = project.popen("build", "--json", "--check-deps", *words)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_the_lines_to_add_to_a_python_task_are_the_right_ones(calls: Any) -> None:
    found = advice(calls, "-j1")

    assert found["config.ini"] == 'deps=[file("config.ini")], or pass file("config.ini") as an argument'
    assert found["WEATHER"] == "pass it as an argument: os.environ['WEATHER']"
    text = CALL.replace("@task", '@task(deps=[file("config.ini"), file("by-child.txt")])').replace(
        'os.listdir("data")', ""
    )
    text = text.replace('"notes.txt"', 'os.environ["TMPDIR"] + "/notes.txt"').replace(
        'os.environ.get("WEATHER", "")', '""'
    )
    calls.merklfile(text)
    assert uses(calls, "-j1") == {}


def test_without_strace_python_tasks_are_looked_at_and_commands_are_said_not_to_be(
    calls: Any, tmp_path: Any
) -> None:
    calls.write("Merklfile.py", calls.read("Merklfile.py") + "\nbash_task('cat config.ini')() > 'c.txt'\n")
    for program in ("bash", "cat"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / program).symlink_to(str(shutil.which(program)))
    env = {**os.environ, "PATH": str(tmp_path / "bin")}

    events = [e for e in _run(calls, "-j1", env=env) if e["event"] in ("undeclared", "note")]

    assert {e["task"] for e in events if e["event"] == "undeclared"} == {"load"}
    paths = [use["path"] for use in events[0]["uses"]]
    assert "config.ini" in paths and "by-child.txt" not in paths
    notes = [e["text"] for e in events if e["event"] == "note"]
    assert any(
        "what child processes and C extensions of Python tasks use was not seen: strace is not on PATH" in n
        for n in notes
    )


def _run(project: Any, *words: str, env: dict[str, str]) -> list[dict[str, Any]]:
    import json

    done = project.merkl("build", "--json", "--check-deps", *words, env=env)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_goes_past_python_is_seen_by_strace(inside: Any) -> None:
    inside.write("native.bin", "x")
    inside.merklfile("""
        import ctypes
        import os

        @task
        def native():
            ctypes.CDLL(None).open(b"native.bin", os.O_RDONLY)
            return 1

        @target(default=True)
        def all():
            native() > "out.txt"
    """)

    assert only(inside, "native", "-j1") == [("read", "native.bin")]


def test_a_function_sees_its_environment_as_it_is(inside: Any) -> None:
    inside.merklfile("""
        import os

        @task
        def look():
            os.environ["NEW"] = "1"
            copy = dict(os.environ)
            same = os.environb[b"NEW"] == b"1" and copy["NEW"] == "1" and "NEW" in os.environ
            del os.environ["NEW"]
            assert same and "NEW" not in os.environ and type(os.environ.copy()) is dict
            return os.environ["HOME"]

        @target(default=True)
        def all():
            look() > "out.txt"
    """)

    assert only(inside, "look", "-j1") == [("variable", "HOME")]
    assert inside.read("out.txt") == os.environ["HOME"]


# ---- the whole build -------------------------------------------------------------------------------------------------


def test_strict_deps_refuses_the_result_and_names_what_was_used(inside: Any) -> None:
    inside.write("config.ini", "x")
    inside.merklfile("""
        gen = bash_task("cat config.ini > {out_file_arg('made', '.txt')}", retries=2)
        good = bash_task("echo x > {out_file_arg('made', '.txt')}")

        @target(default=True)
        def all():
            gen() > "out.txt"
            good() > "good.txt"
    """)

    done = inside.merkl("build", "--strict-deps", "-k", code=1)

    assert "gen uses what it does not declare: config.ini\n" in done.stderr
    assert "at: Merklfile.py:8\n" in done.stderr
    assert "read config.ini: deps=[file(" in done.stderr
    assert not (inside.path / "out.txt").exists()
    assert inside.read("good.txt") == "x\n"
    assert inside.build() == ["gen"]
    assert inside.read("out.txt") == "x"


def test_strict_deps_without_strace_refuses_to_begin(inside: Any, tmp_path: Any) -> None:
    inside.merklfile("""
        @target(default=True)
        def all():
            bash_task("touch ran; : > {out_file_arg('made', '.txt')}")() > "out.txt"
    """)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bash").symlink_to(str(shutil.which("bash")))

    done = inside.merkl("build", "--strict-deps", code=2, env={**os.environ, "PATH": str(tmp_path / "bin")})

    assert "--strict-deps cannot look at commands: strace is not on PATH" in done.stderr
    assert not (inside.path / "ran").exists()


def test_what_did_not_run_is_said_not_to_be_looked_at(inside: Any) -> None:
    inside.merklfile("""
        @target(default=True)
        def all():
            bash_task("echo x > {out_file_arg('made', '.txt')}")() > "out.txt"
    """)
    inside.build()

    done = inside.merkl("build", "--check-deps")

    assert "note: 1 task did not run and could not be looked at\n" in done.stdout
    assert "hint: merkl build --check-deps -B runs all of them\n" in done.stdout


def test_a_project_reached_through_a_link_is_looked_at_the_same_way(inside: Any) -> None:
    inside.write("config.ini", "x")
    inside.write("in.txt", "x")
    inside.merklfile("""
        @task
        def load():
            return open("config.ini").read()

        @target(default=True)
        def all():
            bash_task("cat {file_arg('a')} config.ini > {out_file_arg('made', '.txt')}", name="gen")("in.txt") > "out.txt"
            load() > "b.txt"
    """)
    link = inside.path.parent / "alias"
    link.symlink_to(inside.path)
    inside.path = link

    assert uses(inside, "-j2") == {"gen": [("read", "config.ini")], "load": [("read", "config.ini")]}


def test_nothing_is_told_and_nothing_is_left_without_the_option(inside: Any) -> None:
    inside.write("config.ini", "x")
    inside.merklfile("""
        @target(default=True)
        def all():
            bash_task("cat config.ini > {out_file_arg('made', '.txt')}")() > "out.txt"
    """)
    assert [e["event"] for e in inside.events()].count("undeclared") == 0

    inside.merkl("build", "--check-deps", "-B")

    assert not list((inside.path / ".merkl" / "run").rglob("trace"))


def test_row_76_a_program_from_a_path_that_the_merklfile_set_is_named_and_so_is_what_it_reads(
    project: Any,
) -> None:
    project.write("bin/gen", '#!/bin/sh\ncat settings.conf; date; echo "$SCALE"\n').chmod(0o755)
    project.write("settings.conf", "x")
    project.merklfile("""
        import os
        import random
        import socket
        import time

        os.environ["PATH"] = os.path.abspath("bin") + ":" + os.environ["PATH"]
        gen = bash_task("gen > {out_file_arg('made', '.txt')}")

        @task
        def call():
            time.time(), random.random()
            with socket.socket() as client:
                client.connect_ex(("127.0.0.1", 9))
            return open("settings.conf").read() + os.getenv("SCALE", "")

        @target(default=True)
        def all():
            gen() > "out.txt"
            call() > "call.txt"
    """)

    events = {e["task"]: e for e in project.events("--check-deps", "-j1") if e["event"] == "undeclared"}

    told = {task: [(use["deed"], use["path"]) for use in e["uses"]] for task, e in events.items()}
    assert told == {
        "gen": [("ran", "bin/gen"), ("read", "settings.conf")],
        "call": [("variable", "SCALE"), ("read", "settings.conf")],
    }
    assert ("connected", "127.0.0.1:9") in [(use["deed"], use["path"]) for use in events["call"]["faint"]]


def test_processes_and_threads_that_a_python_task_starts_are_seen(inside: Any) -> None:
    for name in ("forked.txt", "thread.txt", "pool.txt", "below/there.txt"):
        inside.write(name, name)
    inside.merklfile("""
        import os
        import threading
        from concurrent.futures import ThreadPoolExecutor

        def read(path):
            with open(path) as file:
                return file.read()

        @task
        def many():
            child = os.fork()
            if child == 0:
                read("forked.txt")
                os._exit(0)
            os.waitpid(child, 0)
            thread = threading.Thread(target=read, args=("thread.txt",))
            thread.start()
            thread.join()
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(read, ["pool.txt"]))
            if os.fork() == 0:
                return "the child comes back out of the call"
            os.wait()
            os.chdir("below")
            read("there.txt")

        @target(default=True)
        def all():
            many() > "out.json"
    """)

    assert only(inside, "many", "-j2") == [
        ("read", "below/there.txt"), ("read", "forked.txt"), ("read", "pool.txt"), ("read", "thread.txt"),
    ]  # fmt: skip


def test_a_task_whose_process_dies_is_counted_as_not_looked_at(inside: Any) -> None:
    inside.merklfile("""
        import os

        @task
        def dies():
            os.kill(os.getpid(), 9)

        @target(default=True)
        def all():
            dies() > "out.json"
    """)

    done = inside.merkl("build", "--check-deps", "-j2", code=1)

    assert "note: 1 task ran without being looked at: its process died\n" in done.stdout
