"""Rendering templates and running them in real shells."""

import os
import subprocess
import sys
from collections.abc import Mapping

from merkl.bash.compiler import compile_template
from merkl.bash.template import Script, Template

STRICT = {
    "bash": b"set -euo pipefail\nshopt -s inherit_errexit\n",
    "sh": b"set -eu\n",
    "dash": b"set -eu\n",
    "python3": b"",
}
ENV = {"LC_ALL": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath)}
END = b"=end=\0"


def render(template: str | Template, values: Mapping[str, object], interpreter: str = "bash") -> Script:
    compiled = (
        template if isinstance(template, Template) else compile_template(template, interpreter=interpreter)
    )
    return compiled.render(values, abspath=lambda path: b"/project/" + path)


def run(body: bytes, directory: object, interpreter: str = "bash", **env: str) -> bytes:
    """Run a script file and return what it printed; anything on stderr, or an exit code, is a failure."""
    path = os.path.join(os.fspath(directory), f"script-{os.getpid()}")  # type: ignore[call-overload]
    with open(path, "wb") as file:
        file.write(STRICT[interpreter] + body)
    program = {
        "bash": ["bash", "--noprofile", "--norc"],
        "python3": [sys.executable],
    }.get(interpreter, [interpreter])
    done = subprocess.run(
        [*program, path],
        env=ENV | env,
        cwd=os.fspath(directory),
        capture_output=True,
        timeout=60,
        check=False,
    )  # type: ignore[call-overload]
    assert (done.returncode, done.stderr) == (0, b""), (done.stderr.decode(errors="replace"), body)
    return done.stdout


def words(output: bytes) -> list[bytes]:
    """The words that ``printf '%s\\0'`` printed."""
    assert output == b"" or output.endswith(b"\0")
    return output.split(b"\0")[:-1]
