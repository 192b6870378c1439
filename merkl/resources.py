"""Resources: what a task takes of the machine while it runs, and how much of each there is.

It decides what may be said of them, in a task and in merkl.yaml.  It knows no nodes; who gets what when is the engine's.

The invariant: every task takes at least one ``cpu``, and amounts are whole numbers, of bytes for ``mem``.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from merkl.config import CONFIG_FILE
from merkl.errors import ConfigError, TaskError
from merkl.nodes import calling_place
from merkl.sizes import size_of

Needs: TypeAlias = tuple[tuple[str, int], ...]
"""Amounts above 0 by resource, in the order of their names."""

LOCAL: Final = "local"  # The target that is this machine.
CPU: Final = "cpu"
MEM: Final = "mem"
GPU: Final = "gpu"
USUAL: Final[Needs] = ((CPU, 1),)
VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
NICEST: Final = 19
MOST_GPUS: Final = 4096  # Each has its number, kept while a build lasts.
_EXAMPLE: Final = 'resources={"cpu": 2, "mem": "4 GB", "gpu": 1}'


def needs_of(given: object) -> Needs:
    """What ``resources=`` of a task says.

    Raises:
        TaskError: it is no mapping, or a name or an amount is wrong.
    """
    if not isinstance(given, Mapping):
        raise TaskError(
            f"resources is a mapping, not {given!r:.80}", hint=f"such as {_EXAMPLE}", at=calling_place()
        )
    if not given:
        return USUAL
    needs = {CPU: 1}
    for name, value in given.items():
        needs[name] = _amount(name, value)
    if needs[CPU] < 1:
        raise TaskError("resources: a task takes at least 1 cpu, not 0", at=calling_place())
    return tuple(sorted((name, count) for name, count in needs.items() if count))


def _amount(name: object, value: object) -> int:
    if not isinstance(name, str) or not _is_name(name):
        raise TaskError(
            f"resources: {name!r} is no name of a resource", hint=f"such as {_EXAMPLE}", at=calling_place()
        )
    amount = amount_of(name, value)
    if amount is None:
        what = 'a size such as "4 GB"' if name == MEM else "a whole number from 0 up"
        raise TaskError(
            f"resources: {name} is {what}, not {value!r}", hint=f"such as {_EXAMPLE}", at=calling_place()
        )
    return amount


def _is_name(name: str) -> bool:
    return name.replace("-", "_").replace(".", "_").isidentifier()


def amount_of(name: str, value: object) -> int | None:
    """An amount of a resource as it was written; None if it is none."""
    if type(value) is int and value >= 0:
        return value
    return size_of(value) if name == MEM and isinstance(value, str) else None


def nice_of(value: object) -> int:
    """What ``nice=`` of a task says.

    Raises:
        TaskError: it is no whole number from 0 to 19.
    """
    if type(value) is not int or not 0 <= value <= NICEST:
        raise TaskError(f"nice is a whole number from 0 to {NICEST}, not {value!r}", at=calling_place())
    return value


def seconds_of(name: str, value: object) -> float | None:
    """An option of a task that is a time; None is none.

    Raises:
        TaskError: it is no number above 0.
    """
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
        raise TaskError(
            f"{name} is a number of seconds above 0, not {value!r:.80}", hint=f"{name}=60", at=calling_place()
        )
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def retries_of(value: object) -> int:
    """What ``retries=`` of a task says.

    Raises:
        TaskError: it is no whole number from 0 up.
    """
    if type(value) is not int or value < 0:
        raise TaskError(f"retries is a number from 0 up, not {value!r:.80}", at=calling_place())
    return value


def flag_of(name: str, value: object) -> bool:
    """What an option of a task says that is true or false.

    Raises:
        TaskError: it is neither.
    """
    if not isinstance(value, bool):
        raise TaskError(f"{name} is True or False, not {value!r:.60}", at=calling_place())
    return value


def target_of(value: object) -> str:
    """What ``target=`` of a task says: the name of an executor of merkl.yaml, ``local``, or nothing.

    Raises:
        TaskError: it is no name.
    """
    if not isinstance(value, str) or (value and not _is_name(value)):
        raise TaskError(
            f"target is the name of an executor, not {value!r:.80}",
            hint='target="lab", which merkl.yaml describes under executors:; target="local" is this machine',
            at=calling_place(),
        )
    return value


def check_terminal(*, interactive: bool, eager: bool, target: str) -> None:
    """See that a task which gets the terminal is not started while others have it, nor where there is none.

    Raises:
        TaskError: it would be.
    """
    if interactive and target not in ("", LOCAL):
        raise TaskError(
            f"an interactive task has the terminal, which is not where target={target!r} runs it",
            hint="leave out target=, or interactive=True",
            at=calling_place(),
        )
    if interactive and eager:
        raise TaskError(
            "an interactive task has the terminal to itself, and cannot be started while others have it",
            hint="leave out eager=, or interactive=True",
            at=calling_place(),
        )


def totals_in(settings: Mapping[str, object]) -> dict[str, int]:
    """What the section ``resources`` of merkl.yaml says there is.

    Raises:
        ConfigError: it is wrong.
    """
    section = settings.get("resources")
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise ConfigError(
            f"{CONFIG_FILE}: resources is a mapping, not {section!r}", hint="resources: {gpu: 1, licence: 2}"
        )
    totals = {}
    for name, value in section.items():
        amount = amount_of(str(name), value)
        if not isinstance(name, str) or not _is_name(name) or amount is None:
            what = "a size such as 16 GB" if name == MEM else "a whole number from 0 up"
            raise ConfigError(f"{CONFIG_FILE}: resources: {name} is {what}, not {value!r}")
        totals[name] = amount
    if totals.get(GPU, 0) > MOST_GPUS:
        raise ConfigError(
            f"{CONFIG_FILE}: resources: gpu is {MOST_GPUS} at most, not {totals[GPU]}",
            hint="a resource of another name may be of any number",
        )
    if totals.get(CPU) == 0:
        raise ConfigError(
            f"{CONFIG_FILE}: resources: with 0 cpu no task could run", hint="cpu: 1 is the least"
        )
    return totals


_UNITS: Final = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def shown(name: str, amount: int) -> str:
    """An amount, for people: ``2 cpu``, ``4 GB of mem``."""
    if name != MEM:
        return f"{amount} {name}"
    for unit, size in _UNITS:
        if amount >= size:
            return f"{amount / size:.4g} {unit} of mem"
    return f"{amount} bytes of mem"


def exactly(name: str, amount: int) -> str:
    """An amount as merkl.yaml has it, to the byte."""
    for unit, size in _UNITS:
        if name == MEM and amount and amount % size == 0:
            return f"{amount // size} {unit}"
    return str(amount)


# ---- the machine ---------------------------------------------------------------------------------------------------


def memory_here() -> int:
    """Bytes of memory that this machine has, or that the control group we are in may use, if that is less."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except ValueError:  # Not every system tells; then there is enough.
        return 1 << 62
    return min([physical, *limits_of_groups("/proc/self/cgroup", "/sys/fs/cgroup")])


def limits_of_groups(groups: str, mounted: str) -> Iterator[int]:
    """What the control groups that a file like /proc/self/cgroup names may use, in both versions, and those above them.

    In a container the names may be those outside of it, and only the uppermost be there.
    """
    try:
        with open(groups, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:  # No Linux.
        return
    for _, kinds, group in lines:
        if kinds and "memory" not in kinds.split(","):
            continue
        folder, limit = ("memory/", "memory.limit_in_bytes") if kinds else ("", "memory.max")
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for count in range(len(parts) + 1):
            try:
                with open("/".join([f"{mounted}/{folder}", *parts[:count], limit]), encoding="ascii") as file:
                    yield int(file.read())
            except (OSError, ValueError):
                pass  # No such group here, or "max".


def gpus_here(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES names, else the numbers of those that nvidia-smi lists; empty where there are none."""
    visible = environ.get(VISIBLE)
    if visible is None:
        return tuple(str(number) for number in range(_listed_gpus()))
    found: list[str] = []
    for name in visible.split(","):
        if not name.strip() or name.strip().startswith("-"):
            break  # CUDA itself reads no further.
        found.append(name.strip())
    return tuple(dict.fromkeys(found))  # Named twice it is still one.


def _listed_gpus() -> int:
    import shutil
    import subprocess

    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        done = subprocess.run(
            [program, "-L"], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0  # The program is there, and no driver, or none that answers.
    return sum(line.startswith(b"GPU ") for line in done.stdout.splitlines())
