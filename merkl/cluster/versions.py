"""What the workers of a cluster are: their merkl, Python and system, compared with those here.

It decides what has to be the same.  Python and the kind of system are part of what results are called, and what travels is
read by merkl's own code, so another of these would make other results under the same names.

The invariant: a worker is asked in words that any Python 3 understands, whether or not merkl is installed there.
"""

import sys
from collections.abc import Mapping
from typing import Final

from merkl import __version__
from merkl.config import system_name

# An expression, so that ``eval``, which every worker has, is all that needs to be there.
QUESTION: Final = """exec('''
def said():
    import sys
    found = {"python": "%d.%d" % sys.version_info[:2], "at": sys.executable}
    try:
        from merkl import __version__
        from merkl.config import system_name
        found["merkl"], found["system"] = __version__, system_name()
    except Exception as error:
        found["error"] = "%s: %s" % (type(error).__name__, error)
    return found
''', asked := {}) or asked["said"]()"""


def versions_here() -> dict[str, str]:
    """What a worker has to have the same."""
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "merkl": __version__,
        "system": system_name(),
    }


def difference(there: object) -> str:
    """What of a worker's answer to ``QUESTION`` is not as here, for people; empty if nothing."""
    if not isinstance(there, Mapping):
        return f"it cannot be asked: {there!r:.200}"
    said = []
    for name, here in versions_here().items():
        found = there.get(name)
        if found is None:
            if name == "merkl":
                said.append(
                    f"merkl cannot be imported there ({there.get('error', '')!s:.200}, {there.get('at', '')})"
                )
        elif found != here:
            said.append(f"{name} is {found} there and {here} here")
    return "; ".join(said)
