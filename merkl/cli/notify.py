"""Telling somebody who looks elsewhere that a build is over.

It decides how: by the desktop if there is one, else by the terminal.
"""

import os
import shutil
import subprocess
from typing import Final, TextIO

_DESKTOPS: Final = ("DISPLAY", "WAYLAND_DISPLAY")


def notify(text: str, out: TextIO) -> None:
    """Show ``text``, which is one harmless line, wherever that can be done; silence if it cannot."""
    program = shutil.which("notify-send")
    if program is not None and any(os.environ.get(name) for name in _DESKTOPS):
        try:
            subprocess.run(
                [program, "--app-name=merkl", "merkl", text],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=5,
                check=True,
            )
            return
        except (OSError, subprocess.SubprocessError):
            pass  # No desktop listens after all.
    if out.isatty():
        out.write(f"\x1b]9;{text}\x07\a")  # OSC 9, a notification in many terminals; and a bell in all.
        out.flush()
