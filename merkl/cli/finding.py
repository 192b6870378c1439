"""One thing that ``merkl doctor`` has looked at."""

from typing import Literal

from merkl.dataclass import dataclass

Verdict = Literal["ok", "lacks", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and what was found.

    ``broken`` means that merkl does not work, ``lacks`` that something is missing, and ``text`` says for what.
    """

    what: str
    verdict: Verdict
    text: str
