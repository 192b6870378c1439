"""Carrying out a request: the targets are called, and their Futures collected.

It decides which targets a request reaches: those it names, those that these call, and those that ``after=`` names.  It
builds nothing.

The invariant: user code runs here as it does while the Merklfile is loaded: in its session, in the project's root, and
with its errors told in the user's own lines.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from merkl.dataclass import dataclass
from merkl.errors import MerklError, MerklfileError, UnknownTarget
from merkl.merklfile.arguments import REST, Request, TargetRequest
from merkl.merklfile.frames import user_code
from merkl.merklfile.loader import acting
from merkl.merklfile.parameters import check_sets
from merkl.merklfile.registry import Here, Merklfile
from merkl.merklfile.targets import Made, Target, everything_inside, futures_in
from merkl.nodes import Future


@dataclass(frozen=True, slots=True)
class Called:
    """One target that was called.

    ``value`` is what it returned, and ``futures`` are those in it; ``after`` the names of targets, and
    ``after_futures`` the Futures, that must have ended before its own tasks start; ``inside`` the names of the
    targets that it called, at any depth.  ``requested`` is False for one that was reached only through another.
    """

    target: Target[..., Any]
    value: Any
    futures: tuple[Future[Any], ...]
    after: tuple[str, ...] = ()
    after_futures: tuple[Future[Any], ...] = ()
    inside: tuple[str, ...] = ()
    requested: bool = True

    @property
    def name(self) -> str:
        """The target's full name."""
        return self.target.name


@dataclass(frozen=True, slots=True)
class Calls:
    """What a request came to.

    ``called`` has each call once, what must come first before the rest; ``others`` those that were made only to find
    out who writes the request's paths, and ``failures`` what went wrong in these.
    """

    called: tuple[Called, ...]
    others: tuple[Called, ...] = ()
    failures: tuple[MerklError, ...] = ()


def call(request: Request, merklfile: Merklfile) -> Calls:
    """Call the targets of a request.

    Raises:
        MerklError: the code of a target that is asked for is wrong; with the user's own frames.
        UsageError: a parameter that was set on the command line is in no file.
    """
    called = _Calling(merklfile)
    for asked in request.targets:
        called.request(asked)
    others, failures = _Calling(merklfile), []
    for asked in request.others:
        try:
            others.request(asked)
        except MerklError as error:
            failures.append(error)
    if not failures:
        check_sets(merklfile)
    return Calls(
        tuple(called.result()),
        tuple(
            each
            for each, made in zip(others.result(), others.made.values(), strict=True)
            if id(made) not in called.made
        ),
        tuple(failures),
    )


class _Calling:
    """Calls that follow each other, with what they reach; each call once."""

    def __init__(self, merklfile: Merklfile) -> None:
        self._merklfile = merklfile
        self._requested: set[int] = set()
        self._open: list[str] = []  # Being reached: met again, they wait for each other.
        self._before: set[str] = set()
        self.made: dict[int, Made] = {}

    def request(self, asked: TargetRequest) -> None:
        """Call one target that was asked for."""
        self._requested.add(id(self._reach(self._merklfile.targets[asked.name], dict(asked.arguments))))

    def result(self) -> Iterator[Called]:
        """The calls, in the order in which they were done."""
        for made in self.made.values():
            names, futures = self._after(made.target)
            yield Called(
                made.target,
                made.value,
                tuple(futures_in(made.value)),
                tuple(target.name for target in names),
                futures,
                tuple(dict.fromkeys(m.target.name for m in everything_inside(made) if m is not made)),
                id(made) in self._requested,
            )

    def _reach(self, target: Target[..., Any], arguments: dict[str, Any]) -> Made:
        """Call a target and whatever must come before it, or before those that its code calls."""
        with self._opened(target):
            self._reach_before(target)
            made = self._call(target, arguments)
            for each in everything_inside(made):
                if each.target is not target and id(each) not in self.made:
                    with self._opened(each.target):
                        self._reach_before(each.target)
                self.made.setdefault(id(each), each)
        return made

    def _reach_before(self, target: Target[..., Any]) -> None:
        for before in self._after(target)[0]:
            if before.name not in self._before:
                self._reach(before, {})
                self._before.add(before.name)

    @contextlib.contextmanager
    def _opened(self, target: Target[..., Any]) -> Iterator[None]:
        if target.name in self._open:
            ring = [*self._open[self._open.index(target.name) :], target.name]
            raise MerklfileError(
                f"targets wait for each other: {' → '.join(ring)}",
                declared=self._merklfile.shown(target.place),
                hint="take one of them out of after=",
            )
        self._open.append(target.name)
        try:
            yield
        finally:
            self._open.pop()

    def _call(self, target: Target[..., Any], arguments: dict[str, Any]) -> Made:
        import inspect

        merklfile = self._merklfile
        with acting(Here(merklfile)), user_code(f"the target {target.name}", merklfile):
            missing = [
                each.name for each in target.parameters if each.required and each.name not in arguments
            ]
            if REST in missing:
                missing.remove(REST)
                arguments[REST] = []
            if missing:
                raise MerklfileError(
                    f"the target {target.name} needs {' and '.join(missing)}, and is called without",
                    declared=merklfile.shown(target.place),
                    hint="give its parameters defaults",
                )
            return target.made(inspect.BoundArguments(target.signature, arguments))

    def _after(self, target: Target[..., Any]) -> tuple[list[Target[..., Any]], tuple[Future[Any], ...]]:
        """What ``after=`` of a target means: a name is one in its own file first."""
        targets, futures = [], []
        for item in target.declared.after:
            if isinstance(item, Future):
                futures.append(item)
            elif isinstance(item, Target):
                targets.append(item)
            else:
                targets.append(self._named(str(item), target))
        return targets, tuple(futures)

    def _named(self, name: str, by: Target[..., Any]) -> Target[..., Any]:
        prefix = by.declared.prefix
        near = self._merklfile.find(f"{prefix}/{name}") if prefix else None
        found = near or self._merklfile.find(name)
        if found is None:
            error = UnknownTarget(name, self._merklfile.targets)
            error.details["in"] = f"after= of {by.name}, {self._merklfile.shown(by.place)}"
            raise error
        return found
