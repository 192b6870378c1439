"""Where something is not as on the Linux of a developer: other systems, network file systems, an old bash.

What a system lacks is taken away from the process before merkl starts, and a real build is run.
"""

import os
import sqlite3
import struct
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from merkl import filesystem
from merkl.filesystem import FileSystem, file_system_of, is_network

LINUX_ONLY = """
    memfd_create pidfd_open waitid copy_file_range sched_getaffinity posix_fadvise sendfile eventfd splice setns unshare
    getxattr setxattr listxattr removexattr
""".split()

# Runs before any other code of a process, and of the worker processes that it starts.
AS_ON_MACOS = f"""
import builtins, fcntl, os, signal, sys
for name in {LINUX_ONLY!r}:
    if hasattr(os, name):
        delattr(os, name)
for name in [name for name in dir(fcntl) if name.startswith(("F_OFD_", "F_SETPIPE", "F_GETPIPE", "F_SETSIG", "F_SETLEASE"))]:
    delattr(fcntl, name)

def hide(call):
    def hidden(path, *arguments, **named):
        if isinstance(path, (str, bytes)) and os.fspath(path)[:5] in ("/proc", b"/proc"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return call(path, *arguments, **named)
    return hidden

builtins.open, os.open, os.listdir, os.scandir = map(hide, (builtins.open, os.open, os.listdir, os.scandir))
sys.platform = "darwin"
"""

MERKLFILE = """
    import pathlib
    import sys

    make = bash_task('''
        for i in 1 2 3; do echo "$i $(cat {file_arg('text')})" > {out_dir_arg("parts")}/$i.txt; done
        cat {out_dir_arg("parts")}/*.txt > {out_file_arg("all", ".txt")}
        chmod +x {out_file_arg("all", ".txt")}
    ''')

    @task
    def count(path, where):
        print("platform", sys.platform)
        return f"{len(pathlib.Path(path).read_text().split())} in {where}"

    @target(default=True)
    def everything():
        made = make("text.txt")
        made["all"] > "build/all.txt"
        made["parts"] > "build/parts"
        for where in "abc":
            count(file("text.txt"), where) > f"build/{where}.txt"

    @target
    def slow():
        bash_task("(sleep 60; echo > {out_file_arg('o')}) & sleep 60", name="slow", timeout=0.5)() > "slow.txt"
"""


@pytest.fixture
def elsewhere(tmp_path):
    """The environment of a process without what only Linux has."""
    folder = tmp_path / "macos"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(AS_ON_MACOS)
    return {**os.environ, "PYTHONPATH": str(folder), filesystem.VARIABLE: "apfs"}


# ---- macOS -------------------------------------------------------------------------------------------------------------


def test_the_stand_in_really_takes_away_what_it_says(elsewhere):
    code = "import os, sys, fcntl; print(sys.platform, hasattr(os, 'pidfd_open'), hasattr(fcntl, 'F_OFD_SETLK')); open('/proc/stat')"
    done = subprocess.run([sys.executable, "-c", code], env=elsewhere, capture_output=True, text=True)

    assert done.stdout == "darwin False False\n"
    assert "FileNotFoundError" in done.stderr


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_a_build_needs_nothing_that_only_linux_has(project, elsewhere, jobs):
    project.write("text.txt", "some words\n")
    project.write("Merklfile.py", "from merkl import *\n" + textwrap.dedent(MERKLFILE))

    assert sorted(project.build(jobs, env=elsewhere)) == ["count", "count", "count", "make"]
    assert project.build(jobs, env=elsewhere) == []
    assert project.read("build/all.txt") == "1 some words\n2 some words\n3 some words\n"
    assert project.read("build/b.txt").strip() == "2 in b"
    assert os.access(project.path / "build/all.txt", os.X_OK)
    assert sorted(os.listdir(project.path / "build/parts")) == ["1.txt", "2.txt", "3.txt"]

    project.write("text.txt", "other words\n")
    project.write("build/parts/2.txt", "mine\n")
    assert sorted(project.build(jobs, env=elsewhere)) == ["count", "count", "count", "make"]
    assert project.read("build/parts/2.txt") == "2 other words\n"
    assert "build/parts" in project.merkl("restore", env=elsewhere).stdout
    project.merkl("fsck", env=elsewhere)
    project.merkl("gc", env=elsewhere)
    assert project.build(jobs, env=elsewhere) == []


def test_the_worker_processes_are_without_it_too(project, elsewhere):
    project.write("text.txt", "some words\n")
    project.write("Merklfile.py", "from merkl import *\n" + textwrap.dedent(MERKLFILE))
    project.build("-j2", env=elsewhere)

    assert "platform darwin" in project.merkl("log", env=elsewhere).stdout


def test_a_command_that_takes_too_long_is_ended_there_too(project, elsewhere):
    project.write("text.txt", "")
    project.write("Merklfile.py", "from merkl import *\n" + textwrap.dedent(MERKLFILE))

    done = project.merkl("build", "slow", env=elsewhere, code=1)

    assert "0.5" in done.stderr + done.stdout
    assert not (project.path / "slow.txt").exists()


def test_two_builds_there_run_a_task_once(project, elsewhere):
    project.merklfile("""
        once = bash_task("echo >> {arg('log')}; sleep 1; echo > {out_file_arg('o')}")
        @target(default=True)
        def all(): once(str(__file__) + ".log") > "out"
    """)

    both = [project.popen("build", env=elsewhere) for _ in range(2)]
    for each in both:
        out, err = each.communicate(timeout=60)
        assert each.returncode == 0, out + err

    assert project.read("Merklfile.py.log") == "\n"


def test_doctor_says_what_stands_in(project, elsewhere):
    done = project.merkl("doctor", env=elsewhere, cwd=project.path)

    assert "no subreapers" in done.stdout
    assert "no descriptors of processes" in done.stdout


# ---- network file systems ----------------------------------------------------------------------------------------------

MOUNTS = rb"""22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:40 / /home rw,relatime shared:3 - nfs4 server:/home rw
31 30 0:41 / /home/me/with\040space rw - fuse.sshfs me@there: rw
32 27 0:42 / /mnt rw - ext4 /dev/vdb rw
33 32 0:43 / /mnt rw - cifs //server/share rw
34 30 0:44 / /home/me/local rw - fuse.gocryptfs x rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/", "ext4", False),
        ("/srv/x", "ext4", False),
        ("/home", "nfs4", True),
        ("/home/me/x/y", "nfs4", True),
        ("/homely", "ext4", False),
        ("/home/me/with space/x", "fuse.sshfs", True),
        ("/mnt/x", "cifs", True),
        ("/home/me/local/x", "fuse.gocryptfs", False),
    ],
)
def test_the_kind_is_that_of_the_mount_which_is_deepest_and_last(tmp_path, monkeypatch, path, kind, network):
    (tmp_path / "mounts").write_bytes(MOUNTS)
    monkeypatch.setattr(filesystem, "_MOUNTS", str(tmp_path / "mounts"))
    filesystem._asked.cache_clear()
    try:
        assert file_system_of(path) == FileSystem(kind, network)
    finally:
        filesystem._asked.cache_clear()


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "lustre", "gpfs", "fuse.sshfs", "fuse.unheard-of", "NFS"]
)
def test_these_are_shared_over_a_network(kind):
    assert is_network(kind)


@pytest.mark.parametrize(
    "kind",
    ["", "ext4", "xfs", "btrfs", "zfs", "apfs", "tmpfs", "overlay", "fuseblk", "fuse.mergerfs", "vfat"],
)
def test_these_are_not(kind):
    assert not is_network(kind)


def test_where_the_system_does_not_tell_it_is_a_local_one(tmp_path, monkeypatch):
    monkeypatch.setattr(filesystem, "_MOUNTS", str(tmp_path / "not there"))
    filesystem._asked.cache_clear()
    try:
        assert file_system_of("/home") == FileSystem("", False)
    finally:
        filesystem._asked.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="of a file system that Linux has")
def test_a_directory_that_cannot_be_synced_is_left_as_it_is():
    filesystem.sync_directory("/proc")
    with pytest.raises(OSError, match="Bad file descriptor"):
        filesystem.sync_directory(1 << 30)


@pytest.mark.parametrize(
    ("flags", "name", "network"), [(0x1000, b"apfs", False), (0, b"smbfs", True), (0, b"nfs", True)]
)
def test_macos_says_itself_what_is_local(flags, name, network):
    answer = struct.pack("=64xII16s", flags, 0, name) + bytes(2080)

    assert filesystem._read_macos(answer) == FileSystem(name.decode(), network)


TWO = """
    make = bash_task("ls -A {arg('state')} {arg('state')}/store; echo {arg('n')} > {out_file_arg('o', '.txt')}")
    @target(default=True)
    def all():
        for n in "123":
            make(str(HERE) + "/.merkl", n) > f"build/{n}.txt"
"""


def on_a_network(project):
    project.merklfile("import pathlib\nHERE = pathlib.Path(__file__).parent\n" + textwrap.dedent(TWO))
    return {**os.environ, filesystem.VARIABLE: "nfs4"}


def databases(project: Path) -> dict[str, str]:
    """The journal mode that each database is left in."""
    found = {}
    for path in (project / ".merkl/index.db", *(project / ".merkl/store").glob("store-*.db")):
        with closing(sqlite3.connect(path)) as connection:
            [(found[path.name],)] = connection.execute("PRAGMA journal_mode").fetchall()
    return found


def test_on_a_network_file_system_there_is_no_shared_memory(project):
    env = on_a_network(project)

    assert project.build(env=env) == ["make"] * 3
    seen = project.merkl("log", env=env).stdout

    assert "store-1.db" in seen
    assert "-shm" not in seen
    assert "-wal" not in seen
    assert databases(project.path) == {
        "index.db": "delete",
        "store-1.db": "delete",
    }  # Of which TRUNCATE is a kind.
    assert project.build(env=env) == []
    project.merkl("fsck", env=env)


def test_a_project_that_moves_to_a_network_file_system_leaves_the_log_behind(project):
    env = on_a_network(project)
    project.build()
    assert databases(project.path) == {"index.db": "wal", "store-1.db": "wal"}

    assert project.build(env=env) == []

    assert databases(project.path) == {"index.db": "delete", "store-1.db": "delete"}
    assert not list(project.path.glob(".merkl/**/*-wal"))


def test_a_log_that_a_killed_build_left_is_not_lost_there(project):
    env = on_a_network(project)
    project.build()
    database = project.path / ".merkl/store/store-1.db"
    # A copy of both files while the log has something that the database has not.
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE witness (x)")
        connection.commit()
        kept = {end: Path(f"{database}{end}").read_bytes() for end in ("", "-wal")}
    for end, data in kept.items():
        Path(f"{database}{end}").write_bytes(data)

    assert project.build(env=env) == []

    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM witness").fetchall() == [(0,)]


def test_what_was_made_on_a_network_file_system_stays_so_for_those_to_whom_it_is_local(project):
    env = on_a_network(project)
    project.build(env=env)

    assert project.build() == []
    assert databases(project.path) == {"index.db": "delete", "store-1.db": "delete"}


def test_several_builds_there_get_along(project):
    env = on_a_network(project)
    builds = [project.popen("build", env=env) for _ in range(4)]

    for each in builds:
        out, err = each.communicate(timeout=90)
        assert each.returncode == 0, out + err
        assert "cannot be used" not in err

    assert project.build(env=env) == []


# ---- bash --------------------------------------------------------------------------------------------------------------


def old_bash(folder: Path, says: str = "GNU bash, version 3.2.57(1)-release (arm64-apple-darwin23)") -> Path:
    """A bash that says so, and writes down if it is asked for more."""
    folder.mkdir(exist_ok=True)
    program = folder / "bash"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] || echo ran >> "{folder}/ran"\necho "{says}"\n')
    program.chmod(0o755)
    return program


ONE = """
    make = bash_task("echo made > {out_file_arg('o', '.txt')}")
    @target(default=True)
    def all(): make() > "out.txt"
"""


def test_an_old_bash_is_an_error_before_anything_runs(project, tmp_path):
    program = old_bash(tmp_path / "old")
    project.merklfile(ONE)

    done = project.merkl("build", code=1, env={**os.environ, "PATH": str(program.parent)})

    assert f"bash is too old: {program} is 3.2, and bash tasks need 4.4 or newer" in done.stdout + done.stderr
    assert "brew install bash" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (program.parent / "ran").exists()


def test_a_newer_bash_further_back_is_taken(project, tmp_path):
    program = old_bash(tmp_path / "old")
    project.merklfile(ONE)

    assert project.build(env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}) == ["make"]
    assert project.read("out.txt") == "made\n"
    assert not (program.parent / "ran").exists()


def test_a_project_of_python_tasks_needs_no_bash(project, tmp_path):
    program = old_bash(tmp_path / "old")
    project.merklfile("""
        @task
        def number(): return 1
        @target(default=True)
        def all(): return number()
    """)

    assert project.build(env={**os.environ, "PATH": str(program.parent)}) == ["number"]


def test_a_wrapper_that_does_not_say_its_version_is_believed(project, tmp_path):
    folder = tmp_path / "wrapped"
    folder.mkdir()
    (folder / "bash").write_text('#!/bin/sh\n[ "$1" = --version ] && exit 1\nexec /bin/bash "$@"\n')
    (folder / "bash").chmod(0o755)
    project.merklfile(ONE)

    assert project.build(env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}) == ["make"]


# ---- Windows -----------------------------------------------------------------------------------------------------------

AS_ON_WINDOWS = """
import sys
sys.platform = "win32"
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "syslog"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
for name in ("fcntl", "resource", "termios"):
    sys.modules.pop(name, None)
"""


@pytest.mark.parametrize("words", [[], ["build"], ["--version"], ["doctor"], ["--complete", "fish", ""]])
def test_on_windows_merkl_names_wsl(tmp_path, words):
    code = f"{AS_ON_WINDOWS}\nsys.argv = ['merkl', *{words!r}]\nfrom merkl.__main__ import main\nraise SystemExit(main())"

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "merkl runs on Linux and macOS; on Windows, run it inside WSL: wsl --install\n"


def test_on_windows_a_script_that_imports_merkl_is_told_too(tmp_path):
    code = f"{AS_ON_WINDOWS}\nimport merkl\nprint(merkl.__version__)\nfrom merkl import task"

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)

    assert done.stdout.strip()
    assert "ModuleNotFoundError" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith("on Windows, run it inside WSL: wsl --install")
