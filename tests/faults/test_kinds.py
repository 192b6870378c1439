"""Modes, links and fifos: rows 59 to 61 of the faults.  Row 62 is in ``test_kinds_of_sizes``.

Beside these: what an output must be (``test_bash_outputs``), what of a directory can be kept (``test_trees``), and which
inputs are no files (``test_hashing``).
"""

import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FULL = bool(os.environ.get("MERKL_FULL"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# ---- row 59 --------------------------------------------------------------------------------------------------------

MODES = """
    made = bash_task("echo x > {out_file_arg('o')}; chmod {arg('mode')} {out_file_arg('o')}")
    tree = bash_task(
        "mkdir {out_dir_arg('p')}/s; for m in 644 755 400 500 4755 2755 1777 000 666; do echo $m > {out_dir_arg('p')}/s/$m;"
        " chmod $m {out_dir_arg('p')}/s/$m; done; chmod 2770 {out_dir_arg('p')}/s"
    )
    large = bash_task("head -c 300000 /dev/zero > {out_file_arg('o')}; chmod {arg('mode')} {out_file_arg('o')}")
    reads = bash_task("test {arg('runs')} = $(test -x {file_arg('f')} && echo 1 || echo 0); stat -c %a {file_arg('f')} > {out_file_arg('o')}")

    @target(default=True)
    def all():
        for mode in ("644", "755", "400", "4755", "2755", "6755", "1777", "666", "000", "111"):
            runs = int(mode, 8) & 0o100 != 0
            reads(f=made(mode, o=f"build/{mode}"), runs=int(runs), o=f"build/reads{mode}")
            large(mode, o=f"build/large{mode}")
        tree(p="build/tree")
"""
RUN = {"644": False, "755": True, "400": False, "4755": True, "2755": True, "6755": True, "1777": True, "666": False,
       "000": False, "111": True}  # fmt: skip


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_row_59_the_right_to_execute_is_kept_and_nothing_else_of_a_mode(
    inside: Any, proven: Callable[..., None], umask: int
) -> None:
    inside.merklfile(MODES)
    before = os.umask(umask)
    try:
        assert len(inside.build("-j1")) == 3 * len(RUN) + 1
        for again in (False, True):
            if again:
                shutil.rmtree(inside.path / "build")
                assert inside.build("-j1") == []
            for name, runs in RUN.items():
                expected = (0o777 if runs else 0o666) & ~umask
                for path in (f"build/{name}", f"build/large{name}"):
                    assert oct(mode(inside.path / path)) == oct(expected), (path, again)
            for path in (inside.path / "build/tree/s").iterdir():
                runs = bool(int(path.name, 8) & 0o100)
                assert oct(mode(path)) == oct((0o777 if runs else 0o666) & ~umask), path
            assert mode(inside.path / "build/tree/s") == 0o777 & ~umask
        assert inside.build("-j1") == []
        if umask == 0o077:
            proven()
    finally:
        os.umask(before)


def test_row_59_umask_and_foreign_bits_of_inputs_change_no_key(
    inside: Any, proven: Callable[..., None]
) -> None:
    inside.merklfile(
        """
        show = bash_task("umask > {out_file_arg('o')}; touch $TMPDIR/x; stat -c %a $TMPDIR/x >> {out_file_arg('o')}; cat {file_arg('f')} {dir_arg('d')}/*")
        target("all", show("in.txt", "d", o="build/out.txt"), default=True)
        """
    )
    inside.write("in.txt", "x")
    inside.write("d/a", "x")
    before = os.umask(0o022)
    try:
        assert inside.build("-j1") == ["show"]
        assert inside.read("build/out.txt") == "0022\n644\n"
        for umask, bits in (
            (0o077, 0o600),
            (0o000, 0o666),
            (0o027, 0o4644),
            (0o022, 0o1444),
            (0o022, 0o2644),
        ):
            os.umask(umask)
            for name in ("in.txt", "d/a"):
                (inside.path / name).chmod(bits)
            (inside.path / "d").chmod(0o1777)
            assert inside.build("-j1") == [], oct(bits)
        (inside.path / "in.txt").chmod(0o755)
        assert inside.build("-j1") == ["show"]
        os.umask(0o077)
        assert inside.build("-j1", "-B") == ["show"]
        assert inside.read("build/out.txt") == "0022\n644\n"
        proven()
    finally:
        os.umask(before)


def test_row_59_extended_attributes_are_neither_kept_nor_counted(inside: Any) -> None:
    inside.write("in.txt", "x")
    inside.merklfile(
        """
        copy = bash_task("cp --preserve=all {file_arg('f')} {out_file_arg('o')}")
        target("all", copy("in.txt", o="build/out.txt"), default=True)
        """
    )
    try:
        os.setxattr(inside.path / "in.txt", "user.merkl", b"1")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    assert inside.build("-j1") == ["copy"]
    os.setxattr(inside.path / "in.txt", "user.merkl", b"2")
    assert inside.build("-j1") == []
    (inside.path / "build/out.txt").unlink()
    assert inside.build("-j1") == []
    assert os.listxattr(inside.path / "build/out.txt") == []


# ---- row 60 --------------------------------------------------------------------------------------------------------

THINGS = {  # What a command makes in its output directory, and whether that can be kept.
    "file": ("echo 1 > $D/thing", True),
    "relative": ("ln -s real $D/thing", True),
    "to_dir": ("mkdir $D/d; echo 2 > $D/d/x; ln -s d $D/thing", True),
    "up": ("mkdir $D/d; ln -s ../real $D/d/thing", True),
    "chain": ("ln -s real $D/a; ln -s a $D/thing", True),
    "hard": ("ln $D/real $D/thing", True),
    "empty": ("mkdir -p $D/e/f", True),
    "absolute": ("ln -s /etc/hostname $D/thing", False),
    "out": ("ln -s ../../../Merklfile.py $D/thing", False),
    "dangling": ("ln -s nowhere $D/thing", False),
    "loop": ("ln -s thing $D/thing", False),
    "loops": ("ln -s other $D/thing; ln -s thing $D/other", False),
    "fifo": ("mkfifo $D/thing", False),
    "socket": ("cd $D; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"thing\")'", False),
    "git": ("mkdir $D/.git; touch $D/.git/thing", False),
    "device": ("mknod $D/thing c 1 3", False),
}


def test_row_60_what_is_saved_can_be_restored_and_the_rest_is_an_error_when_it_is_saved(
    inside: Any, proven: Callable[..., None]
) -> None:
    lines = ["make = {}"]
    for name, (command, _) in THINGS.items():
        text = f"D={{out_dir_arg('p')}}; echo 1 > $D/real; {command}"
        lines.append(f"make[{name!r}] = bash_task({text!r}, name={name!r})(p='build/{name}')")
        lines.append(f"target({name!r}, make[{name!r}])")
    good = [name for name, (_, kept) in THINGS.items() if kept]
    lines.append(f"target('all', [make[name] for name in {good!r}], default=True)")
    inside.write("Merklfile.py", "from merkl import *\n" + "\n".join(lines))

    assert sorted(inside.build("-j1")) == sorted(good)
    seen = {name: look(inside.path / "build" / name) for name in good}
    for name in good:
        twin = inside.path / "by hand" / name
        twin.mkdir(parents=True)
        subprocess.run(["bash", "-c", f"cd '{twin}'; D=.; echo 1 > $D/real; {THINGS[name][0]}"], check=True)
        assert look(twin) == seen[name], name
    shutil.rmtree(inside.path / "build")
    assert inside.build("-j1") == []
    assert {name: look(inside.path / "build" / name) for name in good} == seen
    assert (inside.path / "build/hard/thing").stat().st_nlink == 1

    for name, (_, kept) in THINGS.items():
        if kept or (name == "device" and os.geteuid() != 0):
            continue
        said = inside.merkl("build", "-j1", name, code=1).stderr
        assert f"the output {name}/" in said and "so it cannot be kept" in said and "hint: " in said, said
        assert not os.path.lexists(inside.path / "build" / name)
        assert (
            "cached" not in inside.merkl("build", "-j1", name, code=1).stdout
        )  # It is not remembered as done.
    shutil.rmtree(inside.path / "by hand")
    proven()


def look(top: Path) -> dict[str, object]:
    """All that is in a directory."""
    return {
        str(path.relative_to(top)): ("link", os.readlink(path)) if path.is_symlink()
        else "directory" if path.is_dir() else path.read_bytes()
        for path in sorted(top.rglob("*"))
    }  # fmt: skip


LEAVES = st.sampled_from(
    ["file", "run", "link a", "link b/c", "link ..", "link ../a", "link /etc", "link x", "link .", "fifo"]
)
OUTPUTS = st.dictionaries(
    st.sampled_from(["a", "b", "c", "x"]), st.one_of(LEAVES, st.dictionaries(st.sampled_from(["a", "c", "y"]), LEAVES, max_size=3)),
    max_size=4,
)  # fmt: skip


def commands(content: Any, folder: str = "$D") -> list[str]:
    """What makes a directory of this content."""
    lines = []
    for name, value in content.items():
        path = f"{folder}/{name}"
        if isinstance(value, dict):
            lines += [f"mkdir {path}", *commands(value, path)]
        elif value == "fifo":
            lines.append(f"mkfifo {path}")
        elif value.startswith("link"):
            lines.append(f"ln -s {value[5:]} {path}")
        else:
            lines.append(f"echo {name} > {path}" + (f"; chmod +x {path}" if value == "run" else ""))
    return lines


@settings(
    max_examples=400 if FULL else 25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(OUTPUTS)
def test_row_60_nothing_is_saved_that_cannot_be_restored(inside: Any, content: Any) -> None:
    for path in (inside.path / "out", inside.path / ".merkl"):
        shutil.rmtree(path, ignore_errors=True)
    text = "; ".join(["D={out_dir_arg('p')}", *commands(content)])
    inside.write(
        "Merklfile.py",
        f"from merkl import *\ntarget('all', bash_task({text!r}, name='t')(p='out'), default=True)\n",
    )
    done = inside.merkl("build", "-j1", code=None)
    if done.returncode:
        assert done.returncode == 1 and "so it cannot be kept" in done.stderr, done.stderr
        assert not (inside.path / "out").exists()
        return
    seen = look(inside.path / "out")
    shutil.rmtree(inside.path / "out")
    assert inside.build("-j1") == []
    assert look(inside.path / "out") == seen


# ---- row 61 --------------------------------------------------------------------------------------------------------

NO_FILES = {
    "fifo": "the input fifo is a fifo, and a file is needed",
    "socket": "the input socket is a socket, and a file is needed",
    "/dev/zero": "the input /dev/zero is a character device",
    "/dev/stdin": "the input /dev/stdin is another file for merkl than for a task",
    "/dev/fd/0": "the input /dev/fd/0 is another file for merkl than for a task",
    "/proc/self/fd/0": "the input /proc/self/fd/0 is another file for merkl than for a task",
    "/proc/self/environ": "the input /proc/self/environ is another file for merkl than for a task",
    "/proc/cpuinfo": "the input /proc/cpuinfo is made by the kernel as it is read",
    "/sys/kernel/notes": "the input /sys/kernel/notes",
    "loop": "the input loop is a symbolic link that leads back to itself",
    "gone": "the input gone is a symbolic link to nowhere, which does not exist",
    "d": "the input d/fifo is a fifo",
}


OF_THE_PROCESS = {"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}


@pytest.mark.parametrize("name", NO_FILES)
def test_row_61_an_input_that_is_no_file_is_named_and_nothing_hangs(inside: Any, name: str) -> None:
    project = inside
    os.mkfifo(project.path / "fifo")
    (project.path / "d").mkdir()
    os.mkfifo(project.path / "d/fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(project.path)  # A socket's path must be short.
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    (project.path / "loop").symlink_to("loop")
    (project.path / "gone").symlink_to("nowhere")
    if name.startswith(("/proc", "/sys")) and not os.path.exists(name):
        pytest.skip(f"there is no {name}")
    project.write("stdin.txt", "a regular file\n")
    calls = {
        "file_arg('f')": repr(name),
        "files_arg('f')": f"[{name!r}]",
        "argfile('f')": f"[file({name!r})]",
    }
    for placeholder, argument in {"dir_arg('f')": "'d'"}.items() if name == "d" else calls.items():
        project.merklfile(
            f"""
            cat = bash_task("cat {{{placeholder}}}")
            target("all", cat({argument}), default=True)
            """
        )
        if name in OF_THE_PROCESS:
            with open(project.path / "stdin.txt") as stdin:
                said = type(project).merkl(project, "build", code=2, stdin=stdin).stderr
        else:
            signal.alarm(120)  # Rather than wait for ever, this process ends.
            said = project.merkl("build", code=2).stderr
            signal.alarm(0)
        assert NO_FILES[name] in said, said
        assert "Merklfile.py" in said and "Traceback" not in said
    project.merklfile(
        "target('all', bash_task('echo ok > {out_file_arg(\"o\")}')(o='build/o'), default=True)"
    )
    project.merkl("build")
