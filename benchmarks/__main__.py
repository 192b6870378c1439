"""``python -m benchmarks suite …``: merkl and its peers; ``python -m benchmarks --help`` for the rest.

    suite        merkl against its peers, in all scenarios: see ``python -m benchmarks suite --help``
    inputs       one task with 200,000 inputs
    memory       peak memory of 100,000 nodes, of both kinds
    graph        making 100,000 calls, none of which runs
    tinypython   1,000 tiny Python tasks, against loky
    watch        from the end of a write to the start of the rebuild
    remote       push and pull through a real object gateway; remote-full: ten times as much

and each scenario of the suite by its name, as a short way to run it alone, for seven rounds, and see its tables.

Nothing here asserts a time.  Run it with the interpreter of an environment that merkl is installed in.
"""

import sys
import tempfile
from collections.abc import Callable

from benchmarks.callgraph import graph
from benchmarks.large import inputs
from benchmarks.memory import memory
from benchmarks.peers import found
from benchmarks.remote import remote, remote_full
from benchmarks.setting import Setting
from benchmarks.suite import SCENARIOS, suite
from benchmarks.table import table
from benchmarks.tinypython import tinypython
from benchmarks.turns import MERKL, limits
from benchmarks.watch import watch

OTHERS: dict[str, Callable[[], str]] = {
    "inputs": inputs,
    "memory": memory,
    "graph": graph,
    "tinypython": tinypython,
    "watch": watch,
    "remote": remote,
    "remote-full": remote_full,
}
NEAR = ("make", "ninja", "joblib", "diskcache")  # Peers that a scenario run alone is compared with.


def alone(name: str) -> str:
    """One scenario of the suite with the fastest peers."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as top:
        setting = Setting(top, {"merkl": MERKL}, sizes=(1000, 10_000))
        programs, setting.pythons = found(NEAR if name == "calls" else NEAR[:2], top, setting.say)
        setting.programs.update(programs)
        return "\n".join(map(table, SCENARIOS[name](setting)))


def main() -> int:
    """Run what is named on the command line."""
    limits()
    words = sys.argv[1:]
    if words[:1] == ["suite"]:
        return suite(words[1:])
    unknown = [name for name in words if name not in OTHERS and name not in SCENARIOS]
    if unknown or not words:
        print(__doc__)
        return 2 * (unknown != ["--help"])
    for name in words:
        print(OTHERS[name]() if name in OTHERS else alone(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
