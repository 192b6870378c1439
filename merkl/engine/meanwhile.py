"""What another build on this machine has filed since a step was judged.

It decides nothing: it asks for steps whose run lock is held, so nobody can file anything for them any more.
"""

from collections.abc import Sequence

from merkl.digest import Key
from merkl.engine.judge import Judge, is_complete
from merkl.engine.shelter import Shelter
from merkl.engine.step import Step
from merkl.store.base import Record


def filed_meanwhile(judge: Judge, shelter: Shelter, steps: Sequence[Step]) -> dict[Key, Record]:
    """The records that answer ``steps`` now, by node."""
    asked = [
        (step.node, step.content)
        for step in steps
        if step.rerun is None and step.content is not None and not judge.runs_regardless(step.node)
    ]
    found: dict[Key, Record] = {}
    filed = shelter.all_filed_here([content for _, content in asked]) if asked else {}
    for node, content in asked if filed else ():
        for record in filed.get(content, ()):
            unchanged = record.discovered is None or judge.find_change(record.discovered) is None
            if unchanged and is_complete(node, record):
                found[node.key] = record
                break
    return found
