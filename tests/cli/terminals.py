"""A real terminal with a shell in it, driven as a person would: tmux, whose screen can be read and resized."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path


class Screen:
    """A tmux window with a shell in a project's directory."""

    def __init__(self, root: Path, width: int = 80, height: int = 24) -> None:
        self.root = root
        self._socket = str(root.parent / "tmux")
        (root.parent / "bin").mkdir(exist_ok=True)
        script = root.parent / "bin" / "merkl"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -W error -m merkl "$@"\n')
        script.chmod(0o755)
        path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"}
        environment.pop("TMUX", None)
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height),
            "PS1='$ ' exec bash --norc --noprofile", env=environment,
        )  # fmt: skip
        try:
            self.wait_for("$")
        except AssertionError:
            self.close()
            raise

    def _tmux(self, *words: str, env: dict[str, str] | None = None) -> str:
        command = ["tmux", "-S", self._socket, *words]
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=True)
        return done.stdout

    def keys(self, *keys: str) -> None:
        """Press keys; a text is typed."""
        self._tmux("send-keys", *keys)

    def run(self, command: str) -> None:
        """Type a command line."""
        self.keys(command, "Enter")

    def text(self) -> str:
        """What can be seen, without trailing blanks."""
        return self._tmux("capture-pane", "-p").rstrip()

    def everything(self) -> str:
        """What can be seen and what was scrolled away; lines that the terminal broke are whole."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-").rstrip()

    def resize(self, width: int, height: int) -> None:
        """Make the window larger or smaller."""
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    @property
    def cursor_is_visible(self) -> bool:
        """Whether it is."""
        return self._tmux("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def wait_for(self, condition: str | Callable[[], object], seconds: float = 20.0) -> str:
        """Wait until a text can be seen, or something holds; what can be seen then."""
        limit = time.monotonic() + seconds
        while True:
            text = self.text()
            if condition in text if isinstance(condition, str) else condition():
                return text
            assert time.monotonic() < limit, f"{condition} does not come:\n{text}"
            time.sleep(0.05)

    def wait_for_prompt(self) -> str:
        """Wait until the shell asks for the next command; all that was written until then."""
        self.wait_for(lambda: self.text().endswith("\n$") and self.cursor_is_visible)
        return self.everything()

    def close(self) -> None:
        """Close the terminal."""
        self._tmux("kill-server")


def write(root: Path, text: str) -> None:
    """Write the Merklfile."""
    (root / "Merklfile.py").write_text("from merkl import *\n" + textwrap.dedent(text))
