"""What a Python task itself says of its outputs: by a callable that it is given, or by its return statements.

It decides whether that can be told, and words what is wrong with it.  The callable runs; the function does not.
"""

import ast
import inspect
import opcode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from merkl.errors import TaskOutsError
from merkl.nodes import Future, Place
from merkl.python.outs import Captured, Many, Named, One, Outs, declared_outs


def check_outs_callable(outs: Callable[..., Any], signature: inspect.Signature, task: str, at: Place) -> None:
    """See that ``outs=`` can be called with what the task is called with.

    Raises:
        TaskOutsError: its parameters are not the task's own.
    """
    try:
        own = inspect.signature(outs)
    except (TypeError, ValueError):
        raise TaskOutsError(
            f"{task}: outs={outs!r:.80} has no signature that could be compared with the task's",
            hint="write a lambda with the parameters of the task",
            at=at,
        ) from None
    if [(p.name, p.kind) for p in own.parameters.values()] != [
        (p.name, p.kind) for p in signature.parameters.values()
    ]:
        raise TaskOutsError(
            f"{task}: outs= takes {own.replace(return_annotation=own.empty)}, and the task takes "
            f"{signature.replace(return_annotation=own.empty)}",
            hint="give it the parameters of the task, in the same order: outs=lambda data, k: k",
            at=at,
        )


def called_outs(
    outs: Callable[..., Any], signature: inspect.Signature, arguments: Mapping[str, Any], task: str, at: Place
) -> Outs:
    """The outputs of one call, of which ``outs`` says how many or which; it gets Futures as they are.

    Raises:
        TaskOutsError: it raised, or what it returned is neither.
    """
    bound = inspect.BoundArguments(signature, dict(arguments))
    try:
        said = outs(*bound.args, **bound.kwargs)
    except Exception as error:
        name = getattr(outs, "__name__", "outs")
        raise TaskOutsError(
            f"{task}: outs= ({name}) raised {type(error).__name__}: {str(error).partition(chr(10))[0]}",
            hint="it is called with the arguments of the call, where a Future has no value yet",
            at=at,
        ) from error
    if isinstance(said, Future):
        raise TaskOutsError(
            f"{task}: what outs= returned cannot be: a Future, which is no number before it has run",
            hint="pass the task a plain value, or call .eval() on the Future",
            at=at,
        )
    try:
        return declared_outs(list(said) if isinstance(said, (dict, Iterator)) else said, task)
    except TaskOutsError as error:
        raise TaskOutsError(
            f"{task}: what outs= returned cannot be: {error.headline.removeprefix(task + ': ')}",
            hint=error.hint,
            at=at,
        ) from None


_RETURNS: Final = frozenset(
    opcode.opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in opcode.opmap
)


def may_disagree(function: object) -> bool:
    """Whether the return statements of a function may be of more than one shape, told from its bytecode: it returns in
    several places."""
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    return code is not None and sum(byte in _RETURNS for byte in code.co_code[::2]) > 1


def deduced_outs(definition: ast.AST | None, task: str) -> Outs:
    """Deduce the outputs from a function's return statements.

    Tuple literals of one length give a tuple, dict literals with one set of string keys a dict, everything else one output.

    Raises:
        TaskOutsError: return statements do not agree.
    """
    if definition is None:
        return One()
    if isinstance(definition, ast.Lambda):
        shapes = {_shape(definition.body)}
    else:
        shapes = {_shape(value) for value in _returned(definition)}
    if len(shapes) > 1:
        lines = " and ".join(sorted(_describe(shape) for shape in shapes))
        raise TaskOutsError(
            f"{task} returns {lines}: its outputs cannot be told from its return statements",
            hint="make them agree, or say what they are: @task(outs=1), @task(outs=2), @task(outs=['a', 'b'])",
        )
    return next(iter(shapes)) if shapes else One()


def _returned(definition: ast.AST) -> list[ast.expr]:
    """The values of the return statements of a function, without those of functions inside it."""
    found: list[ast.expr] = []
    stack = list(ast.iter_child_nodes(definition))
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(node, ast.Return) and node.value is not None:
            found.append(node.value)
        stack += ast.iter_child_nodes(node)
    return found


def _shape(value: ast.expr) -> Outs:
    if (
        isinstance(value, ast.Tuple)
        and value.elts
        and not any(isinstance(e, ast.Starred) for e in value.elts)
    ):
        return Many(tuple(str(i) for i in range(len(value.elts))))
    if isinstance(value, ast.Dict) and value.keys:
        names = [
            key.value for key in value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
        ]
        if len(names) == len(value.keys) == len(set(names)):
            return Named(tuple(sorted(names)))
    return One()


def _describe(outs: Outs) -> str:
    match outs:
        case One():
            return "one value"
        case Captured(result):
            return _describe(result)
        case Many(names):
            return f"a tuple of {len(names)}"
        case Named(names):
            return f"a dict of {', '.join(names)}"
