"""``capture``: the streams of a Python task as outputs beside its result.

It decides how that is asked for, and what of a stream is text.  What a call returns then is said in ``outs``; how a stream
is read is ``execute.capturing``'s.

The invariant: what is captured is all that was printed until the function returned, and nothing else.
"""

import codecs
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias

from merkl.errors import TaskOutsError, did_you_mean
from merkl.execute.workplace import Staged
from merkl.nodes import calling_place
from merkl.python.references import staging_name

Stream: TypeAlias = Literal["stdout", "stderr"]
CaptureOption: TypeAlias = Stream | Iterable[Stream] | Mapping[Stream, type[str] | type[bytes]]

STREAMS: Final = {"stdout": 1, "stderr": 2}
_PIECE: Final = 1 << 20  # Bytes.
_HINT: Final = 'capture=("stdout", "stderr"), or capture={"stdout": bytes}'


def capture_of(given: object) -> tuple[tuple[str, str], ...]:
    """The streams that ``capture=`` asks for, and what each becomes: ``str`` or ``bytes``.

    Raises:
        TaskOutsError: one is no stream, or is to become something else.
    """
    if given is None:
        return ()
    kinds: dict[object, object]
    if isinstance(given, Mapping):
        kinds = dict(given)
    elif isinstance(given, str):
        kinds = {given: str}
    elif isinstance(given, Iterable):
        names = list(given)
        kinds = dict.fromkeys(names, str)
        if len(kinds) < len(names):
            raise _wrong(f"names a stream twice: {given!r}")
    else:
        raise _wrong(f"is the names of streams, not {given!r:.80}")
    for name, kind in kinds.items():
        if name not in STREAMS:
            raise _wrong(f"names {name!r:.80}, which is no stream", did_you_mean(str(name), STREAMS, _HINT))
        if kind is not str and kind is not bytes:
            raise _wrong(f"makes str or bytes of {name}, not {kind!r:.80}")
    return tuple((name, "str" if kinds[name] is str else "bytes") for name in STREAMS if name in kinds)


def _wrong(why: str, hint: str = _HINT) -> TaskOutsError:
    return TaskOutsError(f"capture= {why}", hint=hint, at=calling_place())


# ---- where the call runs -------------------------------------------------------------------------------------------


@contextmanager
def streamed(streams: tuple[tuple[str, str], ...], root: bytes, stage: bytes) -> Iterator[None]:
    """Let the streams of a call be written to files that are to be its outputs.

    Raises:
        TaskFailed: that cannot be done.
    """
    if not streams:
        yield
        return
    from merkl.execute.capturing import capturing

    with capturing({STREAMS[name]: os.path.join(root, _path(stage, name)) for name, _ in streams}):
        yield


def staged_streams(streams: tuple[tuple[str, str], ...], root: bytes, stage: bytes) -> list[Staged]:
    """The outputs that the streams of a call that has returned are."""
    made: list[Staged] = []
    for name, kind in streams:
        path = os.path.join(root, _path(stage, name))
        if kind == "str":
            _make_text(path)
        form = {"str": "text", "bytes": "bytes"}[kind]
        made.append(
            Staged(name, "value", path=_path(stage, name), serializer=form, size=os.stat(path).st_size)
        )
    return made


def _path(stage: bytes, name: str) -> bytes:
    return stage + b"/" + staging_name(name)


def _make_text(path: bytes) -> None:
    """Make a file UTF-8: bytes that are not are shown as Python shows them, ``\\xff``."""
    check = codecs.getincrementaldecoder("utf-8")()
    try:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                check.decode(piece)
            check.decode(b"", final=True)
    except UnicodeDecodeError:
        with (
            open(path, encoding="utf-8", errors="backslashreplace", newline="") as file,
            open(path + b".text", "w", encoding="utf-8", newline="") as text,
        ):
            while shown := file.read(_PIECE):
                text.write(shown)
        os.rename(path + b".text", path)
