"""A call of one function of a module, as one build's work: what ``merkl run`` builds, and ``merkl dag`` draws.

It decides what belongs to such a call: the Futures that the function returns, what it places, and the tasks that it makes
for what they do.  A target is called as ``merkl build`` would.

The invariant: nothing is built here but what the function itself evaluates.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType
from typing import Any, Final

from merkl.bash.task import BashTask
from merkl.dataclass import dataclass
from merkl.digest import Digest
from merkl.engine.idle import tell_idle
from merkl.engine.joint import whole
from merkl.engine.project import Project
from merkl.engine.request import Chosen, called_target, evaluated
from merkl.engine.select import select
from merkl.engine.twins import refuse_twins
from merkl.engine.yields import in_order
from merkl.errors import NotYetKnown
from merkl.lending import lend_to_threads
from merkl.merklfile.frames import STAND_IN, user_code
from merkl.merklfile.functions import Function, find_function
from merkl.merklfile.loader import acting, parsed_sets
from merkl.merklfile.parameters import check_sets
from merkl.merklfile.registry import Here, Merklfile
from merkl.merklfile.targets import Target, futures_in
from merkl.nodes import Future, Scope, walk, within
from merkl.python.pipeline import Pipeline
from merkl.python.task import PythonTask


@dataclass(frozen=True, slots=True)
class Outcome:
    """``value`` is what the function returned, ``futures`` are those in it, and ``chosen`` is what to build.

    ``call`` names the function with its arguments: two calls of one name are the same.
    """

    function: Function
    call: str
    value: Any
    futures: tuple[Future[Any], ...]
    chosen: Chosen


def open_function(
    project: Project, word: str, cwd: str, sets: Sequence[str] = (), *, beside: Merklfile | None = None
) -> Function:
    """The function that a word names, in this project.

    ``beside`` is what was loaded before, for the same request, with the modules that it imported and their targets;
    without it, modules of the project are imported again.

    Raises:
        MerklError: there is none, or the code of its module is wrong.
    """
    merklfile = beside or Merklfile("", project.config, project, parsed_sets(sets))
    return find_function(word, project, merklfile, cwd, anew=beside is None)


def call_function(project: Project, function: Function, bound: inspect.BoundArguments) -> Outcome:
    """Call a function, and select what that comes to.

    Raises:
        MerklError: its code is wrong, with the user's own frames; or the outputs do not fit together.
    """
    merklfile, name = function.within, _named(function, bound)
    try:
        if isinstance(function.value, Target):
            target = function.value.name
            value, chosen = called_target(project, merklfile, target, dict(bound.arguments))
            return Outcome(function, name, value, tuple(futures_in(value)), chosen)
        with (
            acting(Here(merklfile)),
            within(Scope("", function.name)),
            lend_to_threads(),
            user_code(function.name, merklfile),
        ):
            value = _at_its_line(function)(*bound.args, **bound.kwargs)
            if inspect.isgenerator(value):
                value = list(value)
    except NotYetKnown as unknown:
        unknown.hint = f"`merkl run {function.name}` runs it"
        return Outcome(function, name, None, (), evaluated(project, unknown))
    check_sets(merklfile)
    futures = tuple(futures_in(value))
    effects = project.effects.get(function.name, [])
    everything = {node.key for node in walk([*(future.node for future in futures), *effects])}
    asked = (
        each
        for each in project.placements
        if each.target == function.name or (not each.target and each.future.node.key in everything)
    )
    placements = whole(project.placements, asked)
    own = [*(future.node for future in futures), *(each.future.node for each in placements), *effects]
    yielded, after = in_order(project.ordered, own, {})
    selection = select(
        futures, placements, effects=[*effects, *yielded], after=after, targets=(function.name,)
    )
    refuse_twins(project.root, selection)
    if not own:
        tell_idle(project, function.name)
    own = list({node.key: node for node in own}.values())
    return Outcome(function, name, value, futures, Chosen(selection, tuple(own)))


_LONGEST: Final = 200  # Characters of a name.


def _named(function: Function, bound: inspect.BoundArguments) -> str:
    full = inspect.BoundArguments(bound.signature, OrderedDict(bound.arguments))
    full.apply_defaults()
    text = f"{function.name}({', '.join(f'{name}={value!r}' for name, value in full.arguments.items())})"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… {Digest.of(text.encode()).hex()}"


def _at_its_line(function: Function) -> Callable[..., Any]:
    """The function as if it were called where it is defined: the call of a task or pipeline has a place, and nobody's code
    makes this one."""
    place = function.place
    if place is None or not isinstance(function.value, (PythonTask, BashTask, Pipeline)):
        return function.value
    caller = compile("lambda *args, **kwargs: task(*args, **kwargs)", place.file, "eval")
    inner = next(each for each in caller.co_consts if isinstance(each, CodeType))
    module = getattr(function.inner, "__module__", "__main__")
    code = inner.replace(co_firstlineno=place.line, co_name=function.name.rpartition(".")[2])
    return FunctionType(code, {"task": function.value, "__name__": module, STAND_IN: True})
