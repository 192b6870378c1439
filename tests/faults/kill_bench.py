"""A project that is about to be built again when merkl is killed, and what must hold afterwards."""

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import twenty_tasks
from strace_runs import calls_of, killed_at, quick_start
from twenty_tasks import (
    SOURCES,
    TARGETS,
    built_cleanly,
    expect_nothing_left,
    expect_whole,
    none_left,
    processes_in,
    things,
)

BUILD = ("build", "-j1")


class Bench:
    """A project that was built, and then changed: ``old`` are its targets now, ``new`` what they must become.

    Two of its outputs were edited by hand, so the build also saves those edits before it replaces them.
    """

    def __init__(self, project: Any, tmp_path: Path, bytecode: Path) -> None:
        self.project = project
        self.root: Path = project.path
        self.env = quick_start(bytecode)
        self._clean = tmp_path / "clean"
        self._template = tmp_path / "template"
        twenty_tasks.write(project)
        project.merkl(*BUILD)
        self._edits = 0
        self._edit_sources(SOURCES)
        project.write("build/half.txt", "an edit by hand\n")
        project.write("build/tree/mine", "another\n")
        self.look()
        shutil.copytree(self.root, self._template, symlinks=True)

    def look(self) -> None:
        """See how things are, and how they should become."""
        self.old = things(self.root, *TARGETS)
        self.new = built_cleanly(self.project, self._clean)

    def again(self) -> None:
        """Make everything what it was before the build, at the same place."""
        shutil.rmtree(self.root)
        shutil.copytree(self._template, self.root, symlinks=True)
        os.chdir(self.root)

    def calls(self, path: Path | str = "") -> dict[str, int]:
        """How often the build makes each system call that matters, if it is not killed."""
        if not os.path.isdir(self.env["PYTHONPYCACHEPREFIX"]):
            self.project.popen(*BUILD, env=self.env).communicate()  # It compiles the modules.
            self.again()
        counts = calls_of(self.project, *BUILD, env=self.env, path=path)
        self.again()
        return counts

    def kill(self, call: str, number: int, path: Path | str = "", jobs: str = "-j1") -> bool:
        """Build, and kill merkl at one call; whether it came to that."""
        print(f"killed at {call} {number} {path}")  # Shown if the test fails.
        return killed_at(self.project, "build", jobs, call=call, number=number, env=self.env, path=path)

    def kill_after(self, seconds: float, jobs: str = "-j2") -> bool:
        """Build, and kill merkl after some time; whether it was still alive."""
        print(f"killed after {seconds:.3f} s")
        process = self.project.popen("build", jobs, env=self.env)
        time.sleep(seconds)
        process.kill()
        process.communicate()
        return process.returncode == -signal.SIGKILL

    def edit(self, chance: random.Random) -> None:
        """Change some sources, and now and then an output, by hand."""
        self._edit_sources(chance.sample(SOURCES, chance.randint(1, len(SOURCES))))
        if chance.random() < 0.3:
            self.project.write(chance.choice(("build/half.txt", "build/tree/mine")), f"hand {self._edits}\n")
        if chance.random() < 0.3:
            (
                self.root / chance.choice(("build/large.bin", "build/parts/1.txt", "build/sum.json.merkl"))
            ).unlink(True)
        self.look()

    def _edit_sources(self, names: Any) -> None:
        self._edits += 1
        for name in names:
            self.project.write(name, f"edit {self._edits} of {name}\n")

    def expect_whole(self) -> None:
        """Every target is what it was, or the complete new thing."""
        expect_whole(self.root, self.old, self.new)

    def expect_repaired(self) -> None:
        """Every target is whole, and the next build makes all as if nothing had been.

        A command that outlives the killed merkl may be at work meanwhile.  One that was caught in the middle of its exec
        still has merkl's locks, for as long as that takes; then it is a later build that sweeps up.
        """
        self.expect_whole()
        outlived = processes_in(self.root)
        self.project.merkl(*BUILD)
        assert things(self.root, *TARGETS) == self.new
        assert "nothing is wrong" in self.project.merkl("fsck").stdout
        if outlived:
            assert none_left(self.root), processes_in(self.root)
            assert self.project.merkl(*BUILD, "--json").stdout.count('"event": "ran"') == 0
        expect_nothing_left(self.root)

    def expect_edits_kept(self) -> None:
        """What was edited by hand at first can be had back."""
        self.project.merkl("restore", "build/half.txt")
        assert self.project.read("build/half.txt") == "an edit by hand\n"
        self.project.merkl("restore", "build/tree")
        assert self.project.read("build/tree/mine") == "another\n"
