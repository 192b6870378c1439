"""A change is seen, and nothing else is one: rows 35 to 37, 41 to 43 and 45 of the faults.

Row 38 is in ``test_changes_of_clocks``, row 39 in ``test_changes_meanwhile``.

Beside these: stamps one by one (``test_index``), each change of an input directory (``test_trees``), headers
(``test_bash_depfiles``), every kind of edit of code (``test_code_digest_edits``), and early cut-off (``test_experiments``).
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

FULL = bool(os.environ.get("MERKL_FULL"))

EVERY_WAY_IN = """
    from pathlib import Path

    import lib

    cat = bash_task("cat {file_arg('f')} > {out_file_arg('o')}")
    tree = bash_task("cat {dir_arg('d')}/sub/* > {out_file_arg('o')}")
    cc = bash_task("cat dep.h > {out_file_arg('o')}; echo 'o: dep.h' > {depfile_arg()}")
    join = bash_task("cat {files_arg('fs')} > {out_file_arg('o')}")

    @task
    def code(path):
        return Path(path).read_text() + lib.text()

    @target(default=True)
    def all():
        join([cat("in.txt"), tree("src"), cc(), code(file("read.txt")), *files("globbed/*")], o="build/all.txt")
"""
WAYS_IN = {
    "in.txt": "in {}\n",
    "src/sub/a": "tree {}\n",
    "dep.h": "header {}\n",
    "read.txt": "read {}\n",
    "lib.py": "def text():\n    return 'lib {}'\n",
    "globbed/a": "\nglob {}\n",
}
DATED = (1_500_000_000, 1_500_000_000)


class Sources:
    """A project with one source for each way into a build, each with a number of six digits in it."""

    def __init__(self, project: Any) -> None:
        self.project = project
        self.numbers = dict.fromkeys(WAYS_IN, 0)
        project.merklfile(EVERY_WAY_IN)
        for name in WAYS_IN:
            self.path(name).parent.mkdir(parents=True, exist_ok=True)
            self.path(name).write_text(self.text(name))
            os.utime(self.path(name), DATED)

    def path(self, name: str) -> Path:
        return self.project.path / name

    def text(self, name: str) -> str:
        return WAYS_IN[name].format(f"{self.numbers[name]:06}")

    def edit(self, name: str, how: Callable[[Path, str], None]) -> None:
        """Change the number, and nothing else that a stat of the file shows but ctime."""
        self.numbers[name] += 1
        before = self.path(name).stat()
        how(self.path(name), self.text(name))
        after = self.path(name).stat()
        assert (after.st_size, after.st_mtime_ns, after.st_mode) == (
            before.st_size,
            before.st_mtime_ns,
            before.st_mode,
        )

    def check(self) -> None:
        """The output is made of what is there now."""
        parts = {name: self.text(name) for name in WAYS_IN} | {"lib.py": f"lib {self.numbers['lib.py']:06}"}
        assert self.project.read("build/all.txt") == "".join(parts.values())


def in_place(path: Path, text: str) -> None:
    before = path.stat()
    with open(path, "r+") as file:
        file.write(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path, text: str) -> None:
    before = path.stat()
    new = path.with_name(".new")
    new.write_text(text)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.rename(path)


def touched(path: Path, text: str) -> None:
    subprocess.run(["cp", "-p", path, f"{path}.old"], check=True)
    path.write_text(text)
    subprocess.run(["touch", "-r", f"{path}.old", path], check=True)
    os.unlink(f"{path}.old")


def copied(path: Path, text: str) -> None:
    with tempfile.TemporaryDirectory() as aside:
        other = Path(aside, "other")
        other.write_text(text)
        subprocess.run(["touch", "-r", path, other], check=True)
        subprocess.run(["cp", "-p", other, path], check=True)


WAYS_TO_EDIT = [in_place, replaced, touched, copied]


@pytest.mark.parametrize("way", WAYS_TO_EDIT)
def test_row_35_an_edit_that_keeps_size_and_mtime_is_seen(
    inside: Any, proven: Callable[..., None], way: Callable[[Path, str], None]
) -> None:
    sources = Sources(inside)
    inside.build("-j1")
    sources.check()
    assert inside.build("-j1") == []
    for name in WAYS_IN:
        sources.edit(name, way)
        assert "join" in inside.build("-j1"), name
        sources.check()
    if way is copied:
        proven()


def test_row_35_an_edited_module_is_run_as_it_is_though_python_has_compiled_the_old_one(
    project: Any, proven: Callable[..., None]
) -> None:
    """A ``.pyc`` is believed by size and mtime in seconds."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    sources = Sources(project)
    for jobs in ("-j1", "-j2"):
        subprocess.run(["python3", "-c", "import lib"], cwd=project.path, env=environment, check=True)
        assert list(project.path.glob("__pycache__/lib.*.pyc"))
        project.build(jobs, env=environment)
        sources.check()
        sources.edit("lib.py", in_place)
        assert project.build(jobs, env=environment) == ["code", "join"]
        sources.check()
    proven()


ROUNDS = 300 if FULL else 7


@pytest.mark.parametrize("way", [in_place, replaced])
def test_row_36_edits_in_the_tick_of_the_index_are_seen(
    inside: Any, proven: Callable[..., None], way: Callable[[Path, str], None]
) -> None:
    sources = Sources(inside)
    inside.build("-j1")
    names = list(WAYS_IN)
    for turn in range(ROUNDS):
        written = (inside.path / ".merkl/index.db").stat().st_mtime_ns
        for each in names:
            os.utime(sources.path(each), ns=(written, written))
        for _ in range(2):
            sources.edit(names[turn % len(names)], way)
            inside.build("-j1")
            sources.check()
    assert inside.build("-j1") == []
    proven()


@pytest.mark.parametrize("seconds", [1, 2])
def test_row_37_mtimes_of_whole_seconds_hide_no_edit(
    inside: Any, proven: Callable[..., None], seconds: int
) -> None:
    """As FAT, HFS and old NFS keep them: also of the Merklfile, of outputs and of directories."""

    def truncate() -> None:
        for folder, _, files in os.walk(inside.path):
            if ".merkl" not in folder:
                for name in (*files, "."):
                    where = os.path.join(folder, name)
                    whole = int(os.stat(where).st_mtime) // seconds * seconds
                    os.utime(where, (whole, whole))

    sources = Sources(inside)
    inside.build("-j1")
    for turn in range(ROUNDS):
        name = list(WAYS_IN)[turn % len(WAYS_IN)]
        sources.numbers[name] += 1
        sources.path(name).write_text(sources.text(name))
        truncate()
        inside.build("-j1")
        sources.check()
        truncate()
    assert inside.build("-j1") == []
    inside.write("build/all.txt", "x" * len(inside.read("build/all.txt")))
    truncate()
    inside.build("-j1")
    sources.check()
    proven()


@pytest.fixture
def whole_seconds(inside: Any, tmp_path: Path) -> Iterator[Any]:
    """``inside`` in a file system whose every stamp, ctime too, has whole seconds: ext2 with the smallest inodes."""
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext2", "-I", "128", image], check=True, capture_output=True)
    here = os.getcwd()
    done = subprocess.run(["mount", "-o", "loop", image, inside.path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"may not mount: {done.stderr.strip()}")
    try:
        os.chdir(inside.path)
        os.rmdir("lost+found")
        yield inside
    finally:
        os.chdir("/")
        subprocess.run(["umount", "-l", inside.path], check=True)
        os.chdir(here)


@pytest.mark.needs("mke2fs", "mount")
def test_row_37_a_file_system_of_whole_seconds_hides_no_edit(
    whole_seconds: Any, proven: Callable[..., None]
) -> None:
    sources = Sources(whole_seconds)
    assert sources.path("in.txt").stat().st_ctime_ns % 1_000_000_000 == 0
    build_well(whole_seconds)
    sources.check()
    for turn in range(ROUNDS):
        for _ in range(3):  # In one second, if the machine is not too busy.
            sources.edit(list(WAYS_IN)[turn % len(WAYS_IN)], in_place)
            build_well(whole_seconds)
            sources.check()
        (whole_seconds.path / "build/all.txt").write_text("?" * len(whole_seconds.read("build/all.txt")))
        whole_seconds.build("-j1")
        sources.check()
    assert whole_seconds.build("-j1") == []
    proven()


def build_well(project: Any) -> None:
    """Build; a header of this very second may have changed while the compiler read it, and then once more."""
    done = project.merkl("build", "-j1", code=None)
    while done.returncode:
        assert "dep.h changed while cc was using it" in done.stderr
        done = project.merkl("build", "-j1", code=None)


# ---- rows 41 to 43 and 45 ------------------------------------------------------------------------------------------


@pytest.mark.needs("git")
def test_row_41_another_branch_and_back_and_a_stash_run_nothing(
    project: Any, proven: Callable[..., None]
) -> None:
    def git(*words: str) -> None:
        name = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(["git", *name, *words], cwd=project.path, check=True, capture_output=True)

    sources = Sources(project)
    project.write(".gitignore", "build\n.merkl\n__pycache__\n")
    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-qm", "one")
    assert sorted(project.build()) == ["cat", "cc", "code", "join", "tree"]
    git("checkout", "-qb", "other")
    for name in WAYS_IN:
        sources.edit(name, in_place)
        os.utime(sources.path(name))
    git("commit", "-qam", "two")
    assert sorted(project.build()) == ["cat", "cc", "code", "join", "tree"]
    sources.check()
    other = dict(sources.numbers)
    for branch, numbers in (
        ("main", dict.fromkeys(WAYS_IN, 0)),
        ("other", other),
        ("main", dict.fromkeys(WAYS_IN, 0)),
    ):
        git("checkout", "-q", branch)
        sources.numbers = dict(numbers)
        assert project.build() == [], branch
        sources.check()
    for _ in range(2):  # The first number is that of the other branch.
        sources.edit("in.txt", in_place)
    os.utime(sources.path("in.txt"))
    assert project.build() == ["cat", "join"]
    git("stash", "-q")
    sources.numbers["in.txt"] -= 2
    assert project.build() == []
    sources.check()
    git("stash", "pop", "-q")
    sources.numbers["in.txt"] += 2
    assert project.build() == []
    sources.check()
    for folder, _, files in os.walk(project.path):
        if ".git" not in folder and ".merkl" not in folder:
            for name in files:
                os.utime(os.path.join(folder, name))
    assert project.build() == []
    proven()


def test_row_42_times_of_outputs_and_inputs_decide_nothing(inside: Any, proven: Callable[..., None]) -> None:
    inside.write("in.txt", "1 # comment\n")
    inside.merklfile(
        """
        strip = bash_task("cut -d '#' -f 1 {file_arg('f')} > {out_file_arg('o')}")
        double = bash_task("cat {file_arg('f')} {file_arg('f')} > {out_file_arg('o')}")

        @target(default=True)
        def all():
            double(strip("in.txt", o="build/middle.txt"), o="build/out.txt")
        """
    )
    assert inside.build() == ["strip", "double"]
    everything = [inside.path / name for name in ("in.txt", "build/middle.txt", "build/out.txt")]
    for order in (everything, everything[::-1]):
        for seconds, path in enumerate(order):
            os.utime(path, (1_000_000_000 + seconds, 1_000_000_000 + seconds))
        assert inside.build() == []
        assert [path.stat().st_mtime for path in order] == [1_000_000_000, 1_000_000_001, 1_000_000_002]
    for stamp in (None, (0, 0), (1, 1)):
        inside.write("in.txt", f"1 # another {stamp}\n")
        os.utime(inside.path / "in.txt", stamp)
        assert inside.build() == ["strip"]  # The bytes are equal: ``double`` is cut off.
    (inside.path / "build/middle.txt").unlink()
    inside.write("build/out.txt", inside.read("build/out.txt"))
    assert inside.build() == []
    assert inside.read("build/out.txt") == "1 \n1 \n"
    proven()


TREE_NAMES = st.sampled_from(["a", "b", "ab", "a b", ".h", "é", "d", "-n"])
TREES = st.recursive(
    st.one_of(
        st.tuples(st.just("file"), st.sampled_from(["", "x", "y"]), st.booleans()),
        st.tuples(st.just("link"), st.sampled_from(["a", "b", "d/a", "nowhere"]), st.just(False)),
    ),
    lambda inner: st.dictionaries(TREE_NAMES, inner, max_size=3),
    max_leaves=6,
).filter(lambda made: isinstance(made, dict))


def make_tree(path: Path, tree: Any) -> None:
    path.mkdir(parents=True)
    for name, value in tree.items():
        if isinstance(value, dict):
            make_tree(path / name, value)
        elif value[0] == "file":
            (path / name).write_text(value[1])
            (path / name).chmod(0o755 if value[2] else 0o644)
        else:
            (path / name).symlink_to(value[1])


@settings(
    max_examples=300 if FULL else 15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(TREES, TREES)
def test_row_43_a_directory_that_differs_in_anything_is_another_input(
    inside: Any, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assume(one != other)
    for path in (inside.path / "d", inside.path / ".merkl"):
        shutil.rmtree(path, ignore_errors=True)
    inside.merklfile(
        """
        show = bash_task("ls -lAR {dir_arg('d')} > {out_file_arg('o')}")
        target("all", show("d"), default=True)
        """
    )
    for tree, ran in ((one, ["show"]), (other, ["show"]), (one, []), (other, [])):
        shutil.rmtree(inside.path / "d", ignore_errors=True)
        make_tree(inside.path / "d", tree)
        assert inside.build() == ran, tree


@pytest.mark.parametrize("change", ["add", "remove", "rename", "link", "empty", "mode", "edit", "retarget"])
def test_row_43_each_change_of_a_directory_runs_what_reads_it(
    inside: Any, proven: Callable[..., None], change: str
) -> None:
    top = inside.path / "d"
    make_tree(top, {"a": ("file", "1", False), "s": {"b": ("file", "1", False)}, "l": ("link", "a", False)})
    inside.merklfile(
        """
        show = bash_task("cd {dir_arg('d')}; find . -printf '%P %y %l %m\\\\n' | sort; cat a s/* l || true", stdout=str)
        target("all", show("d") > "build/out.txt", default=True)
        """
    )
    assert inside.build() == ["show"]
    before = top.stat()
    match change:
        case "add":
            (top / "s/c").touch()
        case "remove":
            (top / "s/b").unlink()
        case "rename":
            (top / "a").rename(top / "z")
        case "link":
            (top / "a").unlink()
            (top / "a").symlink_to("s/b")
        case "empty":
            (top / "e").mkdir()
        case "mode":
            (top / "a").chmod(0o755)
        case "edit":
            in_place(top / "s/b", "2")
        case "retarget":
            (top / "l").unlink()
            (top / "l").symlink_to("s/b")
    os.utime(top, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert inside.build() == ["show"]
    assert inside.build() == []
    if change == "link":
        proven()


def test_row_45_whatever_a_merklfile_is_made_of_counts(inside: Any, proven: Callable[..., None]) -> None:
    """The Merklfile, a module, a module of a module, an included Merklfile, a template in a file, a table it reads."""
    parts = {
        "Merklfile.py": (
            "from merkl import *\nimport helper\nfrom pathlib import Path\n"
            "part = include('part.py')\n"
            "template = bash_task(Path('task.sh').read_text())\n"
            "direct = bash_task('echo 000 > {{out_file_arg(\"o\")}}'.format())\n"
            'table = bash_task(\'echo {arg("x")} > {out_file_arg("o")}\')\n'
            "@task\ndef code():\n    return helper.text()\n"
            "@target(default=True)\ndef all():\n"
            "    direct(o='build/direct')\n    template(o='build/template')\n    part.made(o='build/part')\n"
            "    table(Path('table.txt').read_text(), o='build/table')\n    code() > 'build/code'\n"
        ),
        "helper.py": "import inner\nOWN = '000'\ndef text():\n    return OWN + inner.deep()\n",
        "inner.py": "def deep():\n    return '000'\n",
        "part.py": "from merkl import bash_task\nmade = bash_task('echo 000 > {out_file_arg(\"o\")}')\n",
        "task.sh": "echo 000 > {out_file_arg('o')}",
        "table.txt": "000",
    }
    for name, text in parts.items():
        inside.write(name, text)
    assert len(inside.build("-j1")) == 5
    runs = {
        "Merklfile.py": ["direct"], "helper.py": ["code"], "inner.py": ["code"], "part.py": ["part.made"],
        "task.sh": ["template"], "table.txt": ["table"],
    }  # fmt: skip
    for number, name in enumerate(parts):
        path = inside.path / name
        assert "000" in path.read_text()
        in_place(path, path.read_text().replace("000", f"{number + 1:03}"))
        assert [task.rpartition(".")[2] for task in inside.build("-j1")] == [
            task.rpartition(".")[2] for task in runs[name]
        ], name
        assert inside.build("-j1") == []
    for name in ("direct", "template", "part", "table"):
        assert inside.read(f"build/{name}") != "000\n", name
    assert inside.read("build/code") == "002003"
    for name, text in parts.items():
        inside.write(name, text)
    assert inside.build("-j1") == []
    assert inside.read("build/code") == "000000"
    proven()
