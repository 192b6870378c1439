"""Sizes as people write them.

It decides which texts are one, and nothing of what they are for.
"""


def size_of(text: str) -> int | None:
    """A size in bytes: ``500MB``, ``10G``, ``1.5GiB``, and a plain number; None if it is none."""
    import re

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", text.strip(), re.IGNORECASE | re.ASCII)
    if match is None:
        return None
    whole, _, part = match[1].partition(".")
    unit: int = (1024 if match[3] else 1000) ** " kmgt".index(match[2].lower() or " ")
    scale: int = 10 ** len(part)
    try:
        return int(whole + part) * unit // scale
    except ValueError:  # More digits than Python reads.
        return None
