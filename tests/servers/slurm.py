"""A real Slurm on this machine, of Debian's slurmctld, slurmd, slurm-client and munge.

    python tests/servers/slurm.py [DIRECTORY]      starts one, prints what to export, ends with its input

One node, all in one directory.  A job in the partition ``low`` is cancelled when one in ``high`` needs its place, and a job
that uses more memory than it asked for is killed within seconds.

The invariant: its daemons end with ours, however we end, and its jobs when it is closed.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from types import TracebackType

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "setpriv")
_START_S = 60.0

_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={top}/munge/socket
CredType=cred/munge
StateSaveLocation={top}/state
SlurmdSpoolDir={top}/spool
SlurmctldPidFile={top}/slurmctld.pid
SlurmdPidFile={top}/slurmd.pid
SlurmctldLogFile={top}/slurmctld.log
SlurmdLogFile={top}/slurmd.log
SwitchType=switch/none
MpiDefault=none
TaskPlugin=task/none
ProctrackType=proctrack/linuxproc
ReturnToService=2
SchedulerParameters=sched_interval=1,sched_min_interval=100000,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
KillWait=2
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 PreemptMode=CANCEL GraceTime=0 State=UP
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF State=UP
"""


class Slurm:
    """A running Slurm.  ``environ`` is what its programs need to find it."""

    def __init__(self, top: str | None = None, *, cpus: int = 4, memory: int = 4000) -> None:
        self.top = top or tempfile.mkdtemp(prefix="slurm-")
        os.makedirs(self.top, exist_ok=True)
        os.chmod(self.top, 0o755)
        self._running: list[subprocess.Popen[bytes]] = []
        self._told = open(f"{self.top}/said", "ab")
        self.environ = {"SLURM_CONF": f"{self.top}/slurm.conf"}
        try:
            self._start(cpus, memory)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Slurm":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, cpus: int, memory: int) -> None:
        for name, mode in (("munge", 0o755), ("key", 0o700), ("state", 0o755), ("spool", 0o755)):
            os.makedirs(f"{self.top}/{name}", exist_ok=True)
            os.chmod(f"{self.top}/{name}", mode)
        key = os.open(f"{self.top}/key/munge.key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400)
        os.write(key, os.urandom(1024))
        os.close(key)
        control, node = _free_ports(2)
        with open(f"{self.top}/slurm.conf", "w", encoding="utf-8") as file:
            host = socket.gethostname().partition(".")[0]
            file.write(
                _CONF.format(
                    top=self.top,
                    host=host,
                    control=control,
                    node=node,
                    cpus=min(cpus, os.cpu_count() or 1),
                    memory=memory,
                )
            )
        munge = f"{self.top}/munge"
        self._daemon(
            "munged", "-F", "--force", f"--key-file={self.top}/key/munge.key", f"--socket={munge}/socket",
            f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
        )  # fmt: skip
        self._wait(lambda: os.path.exists(f"{munge}/socket"), "munged")
        self._daemon("slurmctld", "-D", "-f", self.environ["SLURM_CONF"])
        self._daemon("slurmd", "-D", "-f", self.environ["SLURM_CONF"])
        self._wait(lambda: self.run("sinfo", "-h", "-p", "low", "-o", "%t").strip() == "idle", "slurmctld")

    def run(self, *words: str) -> str:
        """What one of its programs prints; nothing if it fails."""
        done = subprocess.run(
            words, env={**os.environ, **self.environ}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        return done.stdout if done.returncode == 0 else ""

    def jobs(self, *, partition: str = "") -> list[str]:
        """The numbers of the jobs that run."""
        chosen = ["-p", partition] if partition else []
        return self.run("squeue", "-h", "-t", "running", "-o", "%i", *chosen).split()

    def state(self, job: str) -> str:
        """How a job is or has ended: ``RUNNING``, ``PREEMPTED``, ``OUT_OF_MEMORY``, ``FAILED``, ``CANCELLED``, …"""
        for word in self.run("scontrol", "-o", "show", "job", job).split():
            if word.startswith("JobState="):
                return word.removeprefix("JobState=")
        return ""

    def close(self) -> None:
        """End its jobs and its daemons."""
        if len(self._running) > 1:
            with contextlib.suppress(subprocess.TimeoutExpired, OSError):
                self.run("scancel", "--state=running", "--state=pending", "-u", "root")
                deadline = time.monotonic() + 20
                while self.run("squeue", "-h", "-o", "%i").split() and time.monotonic() < deadline:
                    time.sleep(0.1)
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
        self._told.close()
        shutil.rmtree(self.top, ignore_errors=True)

    def _daemon(self, *words: str) -> None:
        self._running.append(
            subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", words[0], *words[1:]], stdin=subprocess.DEVNULL,
                stdout=self._told, stderr=self._told, env={**os.environ, **self.environ},
            )
        )  # fmt: skip

    def _wait(self, there: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _START_S
        while not there():
            ended = [process for process in self._running if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"{what} did not start:\n{self._said()}")
            time.sleep(0.1)

    def _said(self) -> str:
        texts = []
        for name in ("said", "munge/log", "slurmctld.log", "slurmd.log"):
            with contextlib.suppress(OSError), open(f"{self.top}/{name}", errors="replace") as file:
                texts.append(f"{name}: {file.read()[-2000:]}")
        return "\n".join(texts)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


if __name__ == "__main__":
    with Slurm(*sys.argv[1:]) as slurm:
        print(f"export SLURM_CONF={slurm.environ['SLURM_CONF']}", flush=True)
        sys.stdin.read()
