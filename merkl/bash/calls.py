"""Which calls are of bash tasks, for whoever meets one and need not know what tasks are.

It decides nothing, and imports no templates: a build of Python tasks has none.
"""

import sys
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from merkl.bash.task import BashCall


def is_bash_call(call: object) -> "TypeGuard[BashCall]":
    """Whether it is a call of a bash task; where nobody has loaded what those are, there is none."""
    module = sys.modules.get("merkl.bash.task")
    return module is not None and isinstance(call, module.BashCall)
