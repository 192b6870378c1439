"""``python -m benchmarks NAME [OPTION…]``; ``NAME --help`` says which options there are.

    suite        merkl against its peers, in all scenarios
    startup, nothing, leaf, shared, tiny, tinypython, calls, first, track, memory
                 one scenario of the suite, with up to 10,000 targets and the quick peers unless other ones are asked for

And what has no place in the suite.  ``--rounds N`` is how often each thing is timed, ``--scale F`` multiplies its size:

    graph        making 100,000 Python calls, none of which runs
    inputs       one task with 200,000 inputs
    watch        100 edits among 10,000 inputs, from the end of a write to the start of the rebuild
    remote       push and pull of 100 MiB, and of 2,000 files, through a real object gateway

Nothing here asserts a time.  Run it with the interpreter of an environment that merkl is installed in.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence

from benchmarks.callgraph import graph
from benchmarks.large import inputs
from benchmarks.remote import remote
from benchmarks.suite import SCENARIOS, suite
from benchmarks.turns import limits
from benchmarks.watch import watch

OTHERS: dict[str, Callable[[float, int], str]] = {
    "graph": graph,
    "inputs": inputs,
    "watch": watch,
    "remote": remote,
}
NEAR = ("--peers", "make,ninja,joblib,diskcache", "--sizes", "1000,10000")


def other(name: str, words: Sequence[str]) -> int:
    """One that is not of the suite; the exit code."""
    parser = argparse.ArgumentParser(f"python -m benchmarks {name}", description=OTHERS[name].__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each thing is timed (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the size (1)")
    asked = parser.parse_args(words)
    print(OTHERS[name](asked.scale, asked.rounds))
    return 0


def main() -> int:
    """Run what is named on the command line."""
    limits()
    name, words = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if name == "suite":
        return suite(words)
    if name in SCENARIOS:
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as out:
            return suite(["--only", name, "--out", out, *NEAR, *words])
    if name in OTHERS:
        return other(name, words)
    print(__doc__)
    return 0 if name in ("--help", "-h") else 2


if __name__ == "__main__":
    sys.exit(main())
