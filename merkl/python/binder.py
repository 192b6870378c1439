"""What takes a call's arguments: a function made for one signature, which binds them as Python does and encodes them.

It decides what of the arguments is in the static part of a key, and in which order.  It knows no tasks.

The invariant: what it encodes for plain values and Futures is what ``Freezer`` encodes, byte for byte.

Written as text and compiled, since binding by ``Signature.bind`` and encoding value by value takes ten times as long as
all the rest of a call.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

from merkl.digest import encode, encoded_text, encoded_tuple, tagged
from merkl.errors import CallError
from merkl.nodes import Dep, Future, Inputs, Source, as_deps, session
from merkl.python.call import Freezer, FromDep
from merkl.python.code import encode_hook
from merkl.python.project import Project

# A call's arguments in the order of the parameters, frozen and packed (see ``unpacked``); their encoding; and what was taken
# out of them: if that was no more than Futures, these, else the dependencies and sources.
Bound: TypeAlias = tuple[tuple[Any, ...], bytes, Inputs | None, Sequence[Dep], Sequence[Source]]
Binder = Callable[..., Bound]
_SIGN: Final = "_m_"


def binder_of(
    signature: inspect.Signature,
    task: str,
    ignored: Sequence[str],
    exact: Mapping[str, Collection[type]],
    check: Callable[[Mapping[str, Any]], object],
    written: Mapping[str, Callable[[Any], Any]] = MappingProxyType({}),
) -> Binder:
    """A function of that signature; ``ignored`` are the parameters, or names of ``**`` parameters, that do not count.

    ``exact`` are the types that a parameter may have without ``check`` being asked; ``written`` says, by parameter, what
    stands for a value that is neither plain nor a Future.  It raises what Python raises if
    arguments do not fit, and what ``check`` and ``Freezer`` raise.
    """
    sign = _SIGN
    while any(name.startswith(sign) for name in signature.parameters):
        sign += "_"
    names: dict[str, object] = {
        "int": int,
        "str": str,
        "type": type,
        "len": len,
        "Future": Future,
        "again": _with,
        "freezer": _freezer,
        "plain": _plain,
        "scalars": _SCALARS,
        "task": task,
        "ignored": frozenset(ignored),
        "without": _without,
        "check": check,
    }
    lines = _checking(signature, exact, names)
    for index, parameter in enumerate(signature.parameters.values()):
        lines += _lines(index, parameter, names, ignored, written.get(parameter.name))
    header = _header(signature, names)
    count = range(len(signature.parameters))
    values = "".join(f"{{}}v{index}, " for index in count)
    counted = [index for index, name in enumerate(signature.parameters) if name not in ignored]
    encoded = " + ".join(f"{{}}e{index}" for index in counted) or 'b""'
    text = "\n    ".join([
        f"def {{}}bind({header}):",
        "{}deps = {}free = None; {}bits = 0",
        *lines,
        "if {}free is not None:",
        f"    return ({{}}bits, {values}), {encoded}, None, {{}}free.deps, {{}}free.sources",
        f"return ({{}}bits, {values}), {encoded}, {{}}deps, (), ()",
    ]).replace("{}", sign)  # fmt: skip
    scope = {sign + name: value for name, value in names.items()}
    # Only names of parameters are not ours, and Python took them.
    exec(compile(text, f"{__file__}, for {task}", "exec"), scope)
    made: Binder = scope[sign + "bind"]  # type: ignore[assignment]
    return made


def _checking(
    signature: inspect.Signature, exact: Mapping[str, Collection[type]], names: dict[str, object]
) -> list[str]:
    """The code that has arguments checked, unless all are of a type that surely fits."""
    fits: list[str] = []
    for index, (name, types) in enumerate(exact.items()):
        names[f"x{index}"] = types
        fits.append(f"{{}}type({name}) in {{}}x{index}")
    everything = ", ".join(f"{name!r}: {name}" for name in signature.parameters)
    return [f"if not ({' and '.join(fits)}): {{}}check({{{everything}}})"] if fits else []


def _header(signature: inspect.Signature, names: dict[str, object]) -> str:
    """The parameters as text, with defaults by name."""
    shown: list[inspect.Parameter] = []
    for index, parameter in enumerate(signature.parameters.values()):
        default = parameter.default
        if default is not parameter.empty:
            names[f"d{index}"] = default
            default = _Named(f"{{}}d{index}")
        shown.append(parameter.replace(annotation=parameter.empty, default=default))
    return str(inspect.Signature(shown))[1:-1]


class _Named:
    """A default in the text of a signature."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


def _lines(
    index: int,
    parameter: inspect.Parameter,
    names: dict[str, object],
    ignored: Sequence[str],
    written: Callable[[Any], Any] | None,
) -> list[str]:
    """The code that makes ``v`` and ``e``, value and encoding, of one parameter."""
    name, v, e = parameter.name, f"{{}}v{index}", f"{{}}e{index}"
    if name in ignored:
        return [f"{v} = {name} if {{}}type({name}) in {{}}scalars else {{}}plain({name}, {{}}task, {name!r})"]
    wrap = names[f"w{index}"] = _Wrap(name)
    taken_as = name
    if written is not None:
        names[f"g{index}"], taken_as = written, f"{{}}g{index}({name})"
    general = [
        "    if {}free is None: {}free = {}freezer({}deps)",
        f"    {v} = {{}}free.freeze({taken_as}, {{}}task, {name!r})",
        f"    {e} = {{}}w{index}({{}}free.encode({v}, {{}}task, {name!r}))",
    ]
    if parameter.kind is parameter.VAR_POSITIONAL:
        names[f"n{index}"] = wrap(encode(()))
        return [f"if not {name}: {v}, {e} = (), {{}}n{index}", "else:", *general]
    if parameter.kind is parameter.VAR_KEYWORD:
        names[f"n{index}"] = wrap(encode({}))
        taken = [f"if not {name}: {v}, {e} = {name}, {{}}n{index}", "else:"]
        if ignored:
            taken += [f"    {name}, {{}}rest = {{}}without({name}, {{}}ignored, {{}}task)", *general]
            return [*taken, f"    {v} = {{**{v}, **{{}}rest}}"]
        return [*taken, *general]
    names |= {
        f"i{index}": _Prefixes(wrap, b"i"),
        f"s{index}": _Prefixes(wrap, b"s"),
        f"f{index}": _Indices(wrap),
    }
    return [
        f"{{}}k = {{}}type({name})",
        f"if {{}}k is {{}}str and {{}}len({name}) < 1000:",
        f"    {{}}b = {name}.encode('utf-8', 'surrogatepass')",
        f"    {v} = {name}; {e} = {{}}s{index}[{{}}len({{}}b)] + {{}}b",
        "elif {}k is {}Future:",
        "    if {}free is not None: {}x = {}free.dep(" + name + ")",
        "    elif {}deps is None: {}deps = " + name + "; {}x = 0",
        "    elif {}type({}deps) is {}Future and {}deps.node.key != " + name + ".node.key:",
        "        {}x = 1; {}deps = {}deps, " + name,
        "    else: {}x, {}deps = {}again({}deps, " + name + ")",
        f"    {v} = {{}}x; {e} = {{}}f{index}[{{}}x]; {{}}bits |= {1 << index}",
        f"elif {{}}k is {{}}int and {name}.bit_length() < 500:",
        f"    {{}}x = ({name}.bit_length() + 8) >> 3",
        f"    {v} = {name}; {e} = {{}}i{index}[{{}}x] + {name}.to_bytes({{}}x, 'big', signed=True)",
        f"elif {{}}k in {{}}scalars: {v} = {name}; {e} = {{}}w{index}({{}}scalars[{{}}k]({name}))",
        "else:",
        *general,
    ]  # fmt: skip


class _Wrap:
    """Makes of the encoding of an argument that of ``(parameter, encoding)``."""

    def __init__(self, name: str) -> None:
        self.name = encoded_text(name)

    def __call__(self, encoded: bytes) -> bytes:
        return encoded_tuple(self.name, tagged(b"y", encoded))

    def before(self, tag: bytes, length: int) -> bytes:
        """What stands before a payload of that length."""
        return self(tagged(tag, bytes(length)))[: -length or None]


class _Prefixes(dict[int, bytes]):
    """What stands before the payload of an argument, by its length."""

    def __init__(self, wrap: _Wrap, tag: bytes) -> None:
        self._wrap = wrap
        self._tag = tag

    def __missing__(self, length: int) -> bytes:
        made = self[length] = self._wrap.before(self._tag, length)
        return made


class _Indices(dict[int, bytes]):
    """The encoding of an argument that is a Future, by its place among the dependencies."""

    def __init__(self, wrap: _Wrap) -> None:
        self._wrap = wrap

    def __missing__(self, index: int) -> bytes:
        made = self[index] = self._wrap(FromDep(index).encoded())
        return made


_SCALARS: Final[dict[type, Callable[[Any], bytes]]] = dict.fromkeys(
    (int, str, float, bool, bytes, type(None)), encode
)


def _freezer(inputs: Inputs | None) -> Freezer:
    """What takes the rest of a call's arguments, some of which were Futures."""
    current = session()
    return Freezer(encode_hook(Project(current.root, current.project_modules)), as_deps(inputs))


def _with(inputs: Inputs, future: Future[Any]) -> tuple[int, Inputs]:
    """The place of a Future among those of a call, which are few, and all of them."""
    several = inputs if type(inputs) is tuple else (cast("Future[Any]", inputs),)
    index, key, output = 0, future.node.key, future.output
    for each in several:
        if each.node.key == key and each.output == output:  # As ``==``, without the call.
            return index, inputs
        index += 1
    return index, (*several, future)


def _plain(value: Any, task: str, name: str) -> Any:
    """An argument that does not count, copied as one that does.

    Raises:
        CallError: there is a Future in it, which the key would not know of.
    """
    free = _freezer(None)
    frozen = free.freeze(value, task, name)
    if free.deps:
        raise CallError(
            f"{task}: the argument {name!r} is ignored (ignore_args), and holds a Future, whose value would decide the result",
            future=repr(free.deps[0].future),
            hint=f"pass a plain value, or take {name!r} out of ignore_args",
        )
    return frozen


def _without(
    given: dict[str, Any], ignored: frozenset[str], task: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was passed for ``**`` in two: what counts and what does not."""
    rest = {name: _plain(value, task, name) for name, value in given.items() if name in ignored}
    return {name: value for name, value in given.items() if name not in rest}, rest
