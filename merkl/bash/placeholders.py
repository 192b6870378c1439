"""Placeholders: what a template asks of its caller, and the calls that spell them.

It decides what ``file_arg('image', '.png')`` and its kin mean, and which options they take.  It knows nothing of shells or
of the text around a placeholder.

The invariant: a placeholder reaches a template only as a call that somebody wrote in it, or as a token that one of these
functions made in this process.  Text that merely looks like a token is not one, since nobody can guess its nonce.
"""

import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from merkl.dataclass import dataclass
from merkl.errors import CallError, TemplateError, did_you_mean
from merkl.pattern import pattern

# Few templates have placeholders that are calls, and to import what reads these takes longer than all of this.
if TYPE_CHECKING:
    import ast


class Required:
    """There is no default."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "REQUIRED"

    def __reduce__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = Required()

Ext: TypeAlias = str | tuple[str, ...] | None
Type: TypeAlias = type


@dataclass(frozen=True, slots=True)
class FileArg:
    """The path of one file that the command reads."""

    name: str
    ext: Ext = None
    default: Required | None = REQUIRED


@dataclass(frozen=True, slots=True)
class FilesArg:
    """The paths of any number of files that the command reads."""

    name: str
    ext: Ext = None


@dataclass(frozen=True, slots=True)
class DirArg:
    """The path of a directory that the command reads."""

    name: str
    default: Required | None = REQUIRED


@dataclass(frozen=True, slots=True)
class Arg:
    """A plain value, or a list of them if it has no ``type``."""

    name: str
    type: Type | None = None
    default: object = REQUIRED
    choices: tuple[object, ...] | None = None


@dataclass(frozen=True, slots=True)
class FlagArg:
    """A bool: the word ``flag`` if true, no word otherwise."""

    name: str
    flag: str


@dataclass(frozen=True, slots=True)
class OutFileArg:
    """The path where the command writes a file."""

    name: str
    ext: Ext = None


@dataclass(frozen=True, slots=True)
class OutDirArg:
    """The path of an empty directory that the command fills."""

    name: str


@dataclass(frozen=True, slots=True)
class DepfileArg:
    """The path where the command writes a list of the files it read, as ``gcc -MD`` does."""

    name: str = "depfile"


@dataclass(frozen=True, slots=True)
class EnvArg:
    """An environment variable, taken when the task is called."""

    name: str
    default: str | Required | None = REQUIRED


@dataclass(frozen=True, slots=True)
class SecretArg:
    """An environment variable whose value is in no key, log, script or message."""

    name: str


@dataclass(frozen=True, slots=True)
class ArgFile:
    """The path of a file that lists words, one per line, or each ended by a NUL byte if ``null``."""

    name: str
    null: bool = False

    def encode(self, words: Sequence[bytes], *, where: str) -> bytes:
        """The list's bytes.

        Raises:
            CallError: a word holds the byte that ends each of them.
        """
        end = b"\0" if self.null else b"\n"
        for word in words:
            if end in word:
                what = "a NUL byte" if self.null else "a line break"
                hint = (
                    ""
                    if self.null
                    else f"argfile({self.name!r}, null=True) ends words with NUL bytes, as `xargs -0` reads them"
                )
                raise CallError(f"{where} has {what} in {word[:80]!r}", hint=hint)
        return b"".join(word + end for word in words)


Placeholder: TypeAlias = (
    FileArg
    | FilesArg
    | DirArg
    | Arg
    | FlagArg
    | OutFileArg
    | OutDirArg
    | DepfileArg
    | EnvArg
    | SecretArg
    | ArgFile
)

TYPES: Final[Mapping[str, type]] = {"int": int, "float": float, "str": str, "bool": bool, "bytes": bytes}


# ---- tokens --------------------------------------------------------------------------------------------------------

_TOKEN: Final = pattern("\0([0-9a-f]{32}):([^\0]*)\0")
_nonce: list[str] = []


def _own_nonce() -> str:
    if not _nonce:
        import uuid

        _nonce.append(uuid.uuid4().hex)
    return _nonce[0]


class Token:
    """A placeholder on its way into an f-string.  It can be formatted, plainly, and nothing else."""

    __slots__ = ("_placeholder",)

    def __init__(self, placeholder: Placeholder) -> None:
        self._placeholder = placeholder

    def __format__(self, spec: str) -> str:
        if spec:
            self._refuse(f"the format {spec!r}", "a value has none: write the placeholder without it")
        return f"\0{_own_nonce()}:{spell(self._placeholder)}\0"

    def _refuse(self, what: str, hint: str = "") -> NoReturn:
        shown = spell(self._placeholder)
        usual = f'it has no value yet: write it as it is in an f-string, f"… {{{shown}}} …", or as {{{{ {shown} | … }}}} in a plain one'
        raise TemplateError(f"{shown} does not take {what}", hint=hint or usual)

    def __str__(self) -> str:
        self._refuse("str(), !s or %s")

    def __repr__(self) -> str:
        self._refuse("repr() or !r")

    def __bool__(self) -> bool:
        self._refuse("if, and, or, not")

    def __eq__(self, other: object) -> bool:
        self._refuse("a comparison")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse(f"the attribute {name!r}")


def _refusal(what: str) -> Callable[..., NoReturn]:
    def refuse(self: Token, *_: object) -> NoReturn:
        self._refuse(what)

    return refuse


for _name, _what in {
    "add": "+", "radd": "+", "mod": "%", "or": "|", "ror": "|", "mul": "*", "truediv": "/", "lt": "a comparison",
    "gt": "a comparison", "le": "a comparison", "ge": "a comparison", "len": "len()", "iter": "a loop",
    "getitem": "[…]", "contains": "in", "call": "a call", "fspath": "use as a path",
}.items():  # fmt: skip
    setattr(Token, f"__{_name}__", _refusal(_what))


def split_tokens(text: str) -> list[str | Placeholder] | None:
    """The text between tokens and the placeholders they stand for, in turn; None if ``text`` holds no token of ours."""
    if "\0" not in text or not _nonce:
        return None
    parts: list[str | Placeholder] = []
    last = 0
    for found in _TOKEN.finditer(text):
        if found[1] == _nonce[0]:
            parts += [text[last : found.start()], parse_call(found[2])]
            last = found.end()
    return [*parts, text[last:]] if parts else None


# ---- the calls -----------------------------------------------------------------------------------------------------


def file_arg(name: str, ext: Ext = None, *, default: Required | None = REQUIRED) -> Token:
    """A file that the command reads; ``ext`` is the extension it must have, or several.  ``default=None`` makes it optional."""
    return Token(_file(name, ext, default=default))


def files_arg(name: str, ext: Ext = None) -> Token:
    """Any number of files that the command reads, each a word."""
    return Token(_files(name, ext))


def dir_arg(name: str, *, default: Required | None = REQUIRED) -> Token:
    """A directory that the command reads."""
    return Token(_dir(name, default=default))


def arg(
    name: str,
    *,
    type: Type | None = None,
    default: object = REQUIRED,
    choices: Sequence[object] | None = None,
) -> Token:
    """A plain value; ``type`` is int, float, str, bytes or bool, and a value of another type is an error."""
    return Token(_arg(name, type=type, default=default, choices=choices))


def flag_arg(name: str, flag: str | None = None) -> Token:
    """A bool that becomes the word ``flag``, by default ``--name``, or no word."""
    return Token(_flag(name, flag))


def out_file_arg(name: str, ext: Ext = None) -> Token:
    """A file that the command writes."""
    return Token(_out_file(name, ext))


def out_dir_arg(name: str) -> Token:
    """A directory that the command fills."""
    return Token(_out_dir(name))


def depfile_arg(name: str = "depfile") -> Token:
    """A file in Make's syntax where the command lists what it read."""
    return Token(_depfile(name))


def env_arg(name: str, default: str | Required | None = REQUIRED) -> Token:
    """An environment variable; its value is in the key."""
    return Token(_env(name, default))


def secret_arg(name: str) -> Token:
    """An environment variable; its value is in no key, log, script or message."""
    return Token(_secret(name))


def argfile(name: str, *, null: bool = False) -> Token:
    """A file that lists words, for lists that are too long for a command line."""
    return Token(_argfile(name, null=null))


def _file(name: str, ext: Ext = None, *, default: Required | None = REQUIRED) -> Placeholder:
    return FileArg(_named(name), _ext(ext), _none_or_required(default))


def _files(name: str, ext: Ext = None) -> Placeholder:
    return FilesArg(_named(name), _ext(ext))


def _dir(name: str, *, default: Required | None = REQUIRED) -> Placeholder:
    return DirArg(_named(name), _none_or_required(default))


def _arg(name: str, *, type: Any = None, default: object = REQUIRED, choices: Any = None) -> Placeholder:
    if type is not None and type not in TYPES.values():
        raise TemplateError(f"type={_type_text(type)} is not known", hint=f"take one of {', '.join(TYPES)}")
    if choices is not None:
        if isinstance(choices, (str, bytes)) or not isinstance(choices, Sequence):
            raise TemplateError(f"choices={choices!r} is not a list", hint="choices=['fast', 'best']")
        choices = tuple(choices)
    for what, values in (("default", () if default is REQUIRED else (default,)), ("choices", choices or ())):
        for value in values:
            _check_literal(what, value)
            if type is not None and value is not None and not fits(value, type):
                raise TemplateError(f"{what} {value!r} is not of type {type.__name__}")
    if (
        choices is not None
        and default is not REQUIRED
        and default is not None
        and not one_of(default, choices)
    ):
        raise TemplateError(f"default {default!r} is not one of the choices {list(choices)!r}")
    return Arg(_named(name), type, list(default) if isinstance(default, tuple) else default, choices)


def _flag(name: str, flag: str | None = None) -> Placeholder:
    name = _named(name)
    flag = f"--{name.replace('_', '-')}" if flag is None else flag
    if not isinstance(flag, str) or "\0" in flag:
        raise TemplateError(f"{flag!r} is no word", hint=f"flag_arg({name!r}, '--{name}')")
    return FlagArg(name, flag)


def _out_file(name: str, ext: Ext = None) -> Placeholder:
    return OutFileArg(_named(name), _ext(ext))


def _out_dir(name: str) -> Placeholder:
    return OutDirArg(_named(name))


def _depfile(name: str = "depfile") -> Placeholder:
    return DepfileArg(_named(name))


def _env(name: str, default: str | Required | None = REQUIRED) -> Placeholder:
    if not (default is None or default is REQUIRED or isinstance(default, str)):
        raise TemplateError(f"default {default!r} is not a string, as environment variables are")
    return EnvArg(_named(name), default)


def _secret(name: str) -> Placeholder:
    return SecretArg(_named(name))


def _argfile(name: str, *, null: bool = False) -> Placeholder:
    return ArgFile(_named(name), bool(null))


MAKERS: Final[Mapping[str, Callable[..., Placeholder]]] = {
    "file_arg": _file, "files_arg": _files, "dir_arg": _dir, "arg": _arg, "flag_arg": _flag, "out_file_arg": _out_file,
    "out_dir_arg": _out_dir, "depfile_arg": _depfile, "env_arg": _env, "secret_arg": _secret, "argfile": _argfile,
}  # fmt: skip
_FUNCTION: Final[Mapping[type, str]] = {
    FileArg: "file_arg", FilesArg: "files_arg", DirArg: "dir_arg", Arg: "arg", FlagArg: "flag_arg",
    OutFileArg: "out_file_arg", OutDirArg: "out_dir_arg", DepfileArg: "depfile_arg", EnvArg: "env_arg",
    SecretArg: "secret_arg", ArgFile: "argfile",
}  # fmt: skip


def make(function: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Placeholder:
    """Call a placeholder function by name.

    Raises:
        TemplateError: it does not take these arguments.
    """
    try:
        return MAKERS[function](*args, **kwargs)
    except TypeError as error:
        said = str(error).replace(f"{MAKERS[function].__name__}()", function)
        raise TemplateError(said, hint=f"as in {_EXAMPLES[function]}") from None


_EXAMPLES: Final = {
    "file_arg": "file_arg('image', '.png')", "files_arg": "files_arg('images', '.png')", "dir_arg": "dir_arg('src')",
    "arg": "arg('size', type=int, default=3)", "flag_arg": "flag_arg('verbose', '--verbose')",
    "out_file_arg": "out_file_arg('small', '.png')", "out_dir_arg": "out_dir_arg('pages')",
    "depfile_arg": "depfile_arg()", "env_arg": "env_arg('CC', 'cc')", "secret_arg": "secret_arg('TOKEN')",
    "argfile": "argfile('inputs')",
}  # fmt: skip


def _named(name: object) -> str:
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or not name.isascii():
        raise TemplateError(
            f"{name!r} cannot be a parameter's name",
            hint="a name is letters, digits and _, in quotes: arg('size')",
        )
    return name


def _ext(ext: object) -> Ext:
    several = ext if isinstance(ext, (tuple, list)) else (ext,)
    for one in several:
        if one is not None and (not isinstance(one, str) or not re.fullmatch(r"\.[^/\0]+", one)):
            near = f"; write '.{one}'" if isinstance(one, str) and one and "/" not in one else ""
            raise TemplateError(f"{one!r} is no extension", hint=f"an extension begins with a dot{near}")
    if isinstance(ext, (tuple, list)):
        return tuple(ext) if len(ext) > 1 else (ext[0] if ext else None)
    return ext if ext is None else str(ext)


def _none_or_required(default: object) -> Required | None:
    if isinstance(default, Required) or default is None:
        return default
    raise TemplateError(
        f"default={default!r} is not possible for a file", hint="default=None makes it optional"
    )


def _type_text(type_: object) -> str:
    return getattr(type_, "__name__", repr(type_))


_NO_LITERAL: Final = (float("inf"), -float("inf"))


def _check_literal(what: str, value: object) -> None:
    if isinstance(value, (list, tuple)) and what == "default":
        for item in value:
            _check_literal(what, item)
    elif (
        not (value is None or type(value) in (str, bytes, int, float, bool))
        or value in _NO_LITERAL
        or value != value
    ):
        raise TemplateError(f"{what} {value!r} is not a plain value", hint="str, bytes, int, float or bool")


def fits(value: object, type_: type) -> bool:
    """Whether a plain value is of a placeholder's type; an int is a float too, and a bool is no number."""
    if isinstance(value, bool):
        return type_ is bool
    return isinstance(value, (int, float) if type_ is float else type_)


def one_of(value: object, choices: Sequence[object]) -> bool:
    """Whether ``value`` is among ``choices``, where ``1`` and ``True`` are two values."""
    return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices)


# ---- writing and reading a call ------------------------------------------------------------------------------------


def spell(placeholder: Placeholder) -> str:
    """The call that makes ``placeholder``: one text for one meaning."""
    words = [repr(placeholder.name)]
    match placeholder:
        case FileArg(ext=ext) | FilesArg(ext=ext) | OutFileArg(ext=ext) if ext is not None:
            words.append(repr(ext))
        case FlagArg(flag=flag):
            words.append(repr(flag))
        case DepfileArg(name="depfile"):
            words = []
        case EnvArg(default=default) if not isinstance(default, Required):
            words.append(repr(default))
        case ArgFile(null=True):
            words.append("null=True")
        case Arg(type=type_, default=default, choices=choices):
            words += [f"type={type_.__name__}"] if type_ is not None else []
            words += [f"default={default!r}"] if default is not REQUIRED else []
            words += [f"choices={list(choices)!r}"] if choices is not None else []
    if isinstance(placeholder, (FileArg, DirArg)) and placeholder.default is None:
        words.append("default=None")
    return f"{_FUNCTION[type(placeholder)]}({', '.join(words)})"


def parse_call(source: str) -> Placeholder:
    """Read a call such as ``file_arg('image', '.png')``; its arguments must be literals.

    Raises:
        TemplateError: it is no such call.
    """
    import ast

    try:
        call = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise TemplateError(f"{source} is not a call that can be read", hint=_SHAPE_HINT) from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id not in MAKERS:
        raise TemplateError(f"{source} is not one call of a placeholder", hint=_SHAPE_HINT)
    kwargs = {}
    for item in call.keywords:
        if item.arg is None:
            raise TemplateError("** has no place in a placeholder", hint=_SHAPE_HINT)
        kwargs[item.arg] = _literal(item.value, item.arg == "type")
    return make(call.func.id, [_literal(item, False) for item in call.args], kwargs)


_SHAPE_HINT: Final = (
    "a placeholder is one call with literal arguments: {file_arg('image', '.png')}; filters need {{ … }}"
)


def _literal(node: "ast.expr", is_type: bool) -> object:
    import ast

    if is_type and isinstance(node, ast.Name):
        if node.id in TYPES:
            return TYPES[node.id]
        known = did_you_mean(node.id, TYPES, f"take one of {', '.join(TYPES)}")
        raise TemplateError(f"type={node.id} is not known", hint=known)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        raise TemplateError(f"{ast.unparse(node)} is not a literal", hint=_SHAPE_HINT) from None
