"""A small process that starts others and times them: `python -I -S launcher.py`, a JSON object a line each way.

The kernel counts the memory of the process that starts another as that of the new one, until it has more.  So nothing
large may start what is measured.  Invariants: this imports next to nothing; what it started has ended when it answers or ends.
"""

import json
import os
import signal
import sys
import time


def launched(
    command: list[str], cwd: str, environ: dict[str, str], printed: str, patience: int
) -> dict[str, float]:
    """Run ``command``; what it prints goes to the file ``printed``; it is killed after so many seconds of ``patience``.

    Seconds of wall clock, peak memory in kB, exit code.
    """
    os.chdir(cwd)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    began = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, environ, file_actions=actions, setpgroup=0)

    def kill(*_: object) -> None:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    signal.signal(signal.SIGALRM, kill)
    signal.alarm(patience)
    try:
        _, status, usage = os.wait4(pid, 0)
    except KeyboardInterrupt:
        kill()
        raise
    seconds = time.perf_counter() - began
    signal.alarm(0)
    return {"seconds": seconds, "peak_kb": usage.ru_maxrss, "code": os.waitstatus_to_exitcode(status)}


if __name__ == "__main__":
    try:
        for line in sys.stdin:
            print(json.dumps(launched(**json.loads(line))), flush=True)
    except (KeyboardInterrupt, BrokenPipeError):  # Whoever asked is ending, or has ended.
        os._exit(130)
