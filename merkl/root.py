"""Where a project begins.

It decides that alone, and imports nothing, for whoever must answer before a key is up again.
"""

import os

MERKLFILE = "Merklfile.py"
MERKLFILE_YAML = "Merklfile.yaml"
CONFIG_FILE = "merkl.yaml"
STATE_DIR = ".merkl"  # In the project's root: index, views, staging, and the store unless it is shared.


def find_root(start: str) -> str | None:
    """The nearest directory from ``start`` upward that has a Merklfile, merkl.yaml or ``.merkl``, or None."""
    here = os.path.abspath(start)
    while True:
        for name in (MERKLFILE, MERKLFILE_YAML, CONFIG_FILE, STATE_DIR):
            if os.path.lexists(os.path.join(here, name)):
                return here
        parent = os.path.dirname(here)
        if parent == here:
            return None
        here = parent
