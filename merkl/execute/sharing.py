"""The one owner of what jobs take of this machine: of all builds of one process that go on at once in one project.

It decides which of several builds is next for a slot or a resource, and keeps the jobserver that they have in common.  It
does not know how much there is of a resource; each build says that.

The invariant: nothing here blocks; of what a build may have, no more is taken by all of them together than it is told
there is; and whoever comes first in the line is held back by nobody in it.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # Only with more than one slot, or under make.
    from merkl.execute.jobserver import Tokens

SLOT: Final = ""  # As a resource; no other has that name.
_WITH_EACH: Final = frozenset((SLOT, "cpu"))  # Every job takes these.

_lock = threading.RLock()  # Of all that can be found, and of who finds them.
_commons: "dict[str, Common]" = {}  # By project.


class Common:
    """What the builds of one process in one project have taken, and the line of those that lack something."""

    def __init__(self, tokens: "Tokens | None" = None, project: str = "") -> None:
        self.tokens = tokens
        self.project = project  # Empty if nobody can find it.
        self.lock = _lock if project else threading.RLock()
        self.members: list[Sharer] = []
        self.line: list[Sharer] = []
        self.used: Counter[str] = Counter()
        self.users: Counter[str] = Counter()  # Of each GPU, by its name.

    def is_kept(self, name: str, asker: "Sharer") -> bool:
        """Whether one before ``asker`` in the line lacks it."""
        for other in self.line:
            if other is asker:
                return False
            if name in other.lacks:
                return True
        return False

    def wake_line(self, but: "Sharer") -> None:
        """Let those that lack something look again."""
        for other in self.line:
            if other is not but and other.wake is not None:
                other.wake()


class Sharer:
    """What one build has of it.  Used from that build's thread; ``wake`` is called from others.

    It implements what the executor asks for slots, which it counts in jobs, and ``engine.shares`` for the rest.
    """

    def __init__(self, common: Common, slots: int) -> None:
        self.slots = slots
        self.wake: Callable[[], None] | None = None
        self.lacks: set[str] = set()
        self.thread = threading.get_ident()
        self.is_aside = False  # What it has does not count just now.
        self._common = common
        self._found_lacking: set[str] = set()  # Since ``settle``.
        self._awaits_token = False  # A slot was there, but no token.
        self._used: Counter[str] = Counter()
        self._gpus: Counter[str] = Counter()
        with common.lock:
            common.members.append(self)

    @property
    def tokens(self) -> "Tokens | None":
        """The jobserver of all; nothing is to be taken from it but here."""
        return self._common.tokens

    # ---- slots -----------------------------------------------------------------------------------------------------

    def suffice(self, jobs: int) -> bool:
        """Whether that many jobs of this build may run; takes what is missing for it, if it is there."""
        missing = jobs - self._used[SLOT]
        if missing <= 0:
            return True
        common = self._common
        with common.lock:
            there = common.used[SLOT] + missing
            if there > self.slots or common.is_kept(SLOT, self):
                self._lack(SLOT)
                return False
            if common.tokens is not None and not common.tokens.suffice(there):
                self._awaits_token = True
                return False
            self._take({SLOT: missing})
            return True

    def keep(self, jobs: int) -> None:
        """Give back what that many jobs do not need."""
        common = self._common
        spare = self._used[SLOT] - jobs
        if spare <= 0 and common.tokens is None:
            return
        with common.lock:
            if spare > 0:
                self._give({SLOT: spare})
            if common.tokens is not None:
                common.tokens.keep(common.used[SLOT])

    def is_wanted(self) -> bool:
        """Whether another build waits for a slot."""
        line = self._common.line
        return bool(line) and any(SLOT in other.lacks for other in list(line) if other is not self)

    # ---- resources -------------------------------------------------------------------------------------------------

    def used(self, name: str) -> int:
        """How much of a resource all of them have."""
        return self._common.used[name]

    def lacking(self, needs: Sequence[tuple[str, int]], totals: Mapping[str, int]) -> list[str]:
        """What of ``needs`` is not there now, of so much in all, or is kept for others.  This build gets into the line for it."""
        common = self._common
        with common.lock:
            short = self._short(needs, totals)
            for name in short:
                self._lack(name)
        return short

    def take(
        self, needs: Sequence[tuple[str, int]], totals: Mapping[str, int], gpus: Sequence[str], count: int
    ) -> tuple[int, ...] | None:
        """Take all of ``needs``, or nothing and say None; the places of ``count`` of ``gpus`` that it comes with."""
        common = self._common
        with common.lock:
            if short := self._short(needs, totals):
                for name in short:
                    self._lack(name)
                return None
            places = sorted(range(len(gpus)), key=lambda place: (common.users[gpus[place]], place))[:count]
            for place in places:
                common.users[gpus[place]] += 1
                self._gpus[gpus[place]] += 1
            self._take(dict(needs))
            return tuple(places)

    def give_back(self, needs: Sequence[tuple[str, int]], gpus: Sequence[str] = ()) -> None:
        """Give back what was taken."""
        with self._common.lock:
            for name in gpus:
                self._common.users[name] -= 1
                self._gpus[name] -= 1
            self._give(dict(needs))

    def _short(self, needs: Sequence[tuple[str, int]], totals: Mapping[str, int]) -> list[str]:
        common = self._common
        return [
            name
            for name, need in needs
            if need > totals[name] - common.used[name] or (common.line and common.is_kept(name, self))
        ]

    # ---- the line --------------------------------------------------------------------------------------------------

    def settle(self) -> int:
        """Lack from now on only what was found lacking since this was last called; before each wait.

        The descriptor of the jobserver if it was a token that was not there, else -1.
        """
        awaits, self._awaits_token = self._awaits_token, False
        found, self._found_lacking = self._found_lacking, set()
        if found != self.lacks:
            with self._common.lock:
                self._lack_only(found)
        return self._common.tokens.fd if awaits and self._common.tokens is not None else -1

    def withdraw(self) -> None:
        """Lack nothing, and hold nobody back: this build is not going to look for long."""
        self._found_lacking.clear()
        if self.lacks:
            with self._common.lock:
                self._lack_only(set())

    def _lack(self, name: str) -> None:
        self._found_lacking.add(name)
        self.lacks.add(name)
        if self not in self._common.line:
            self._common.line.append(self)

    def _lack_only(self, names: set[str]) -> None:
        self.lacks = names
        line = self._common.line
        if names and self not in line:
            line.append(self)
        elif not names and self in line:
            line.remove(self)
        self._common.wake_line(self)

    def _take(self, amounts: Mapping[str, int]) -> None:
        for name, amount in amounts.items():
            self._used[name] += amount
            self._common.used[name] += amount
        if got := self.lacks & amounts.keys():
            self.lacks -= got
            if not self.lacks or got - _WITH_EACH:  # It has had its turn.
                self._common.line.remove(self)
                if self.lacks:
                    self._common.line.append(self)
            self._common.wake_line(self)

    def _give(self, amounts: Mapping[str, int]) -> None:
        for name, amount in amounts.items():
            self._used[name] -= amount
            self._common.used[name] -= amount
        self._common.wake_line(self)

    # ---- beside and after ------------------------------------------------------------------------------------------

    def put_aside(self) -> None:
        """Let what it has not count: it can give nothing back before others have ended."""
        with self._common.lock:
            self.is_aside = True
            self._common.used.subtract(self._used)
            self._common.users.subtract(self._gpus)
            self._lack_only(set())

    def count_again(self) -> None:
        """The reverse of that."""
        with self._common.lock:
            self.is_aside = False
            self._common.used.update(self._used)
            self._common.users.update(self._gpus)

    def close(self) -> None:
        """Give back everything; the last one takes the jobserver with it.  Idempotent."""
        with self._common.lock:
            if self in self._common.members:
                self._leave()

    def _leave(self) -> None:
        common = self._common
        self.wake = None
        self._lack_only(set())
        common.used.subtract(self._used)
        common.users.subtract(self._gpus)
        self._used.clear()
        self._gpus.clear()
        common.members.remove(self)
        if not common.members:
            _commons.pop(common.project, None)
        if common.tokens is None:
            return
        if common.members:
            common.tokens.keep(common.used[SLOT])
        else:
            common.tokens.close()


# ---- of which project ----------------------------------------------------------------------------------------------


def join(project: str, slots: int, tokens: "Tokens | None") -> Sharer:
    """Take part in what the builds of this process in that project share.  ``tokens`` is the caller's no more."""
    with _lock:
        common = _commons.get(project)
        if common is None:
            common = _commons[project] = Common(project=project)
        if common.tokens is None:
            common.tokens = tokens
        elif tokens is not None:
            common.tokens.grow(slots)
            tokens.close()
        return Sharer(common, slots)


@contextmanager
def aside(project: str) -> Iterator[None]:
    """Let what builds of this thread have not count while the code inside runs, which they wait for."""
    common = _commons.get(project)
    mine: list[Sharer] = []
    if common is not None:
        with common.lock:
            here = threading.get_ident()
            mine = [each for each in common.members if each.thread == here and not each.is_aside]
    for each in mine:
        each.put_aside()
    try:
        yield
    finally:
        for each in mine:
            each.count_again()


def is_held() -> bool:
    """Whether this thread is just changing what builds share: for a signal handler, which must not wait for others then."""
    return _lock._is_owned()  # type: ignore[attr-defined,no-any-return]


def _forget_all() -> None:
    """In a child that was forked, no build of these goes on, and nobody gives up a lock."""
    global _lock, _commons
    _lock, _commons = threading.RLock(), {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
