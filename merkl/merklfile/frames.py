"""Errors of the user's code, told in the user's own lines.

It decides which frames of a traceback are the user's: those in files of the project.  merkl's own, Python's and other
packages' are left out.

The invariant: an exception that is no ``MerklError`` stays the cause of the one that is shown, and an interrupt,
``KeyboardInterrupt``, is not touched.
"""

import contextlib
import itertools
import linecache
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

from merkl.config import is_yaml
from merkl.dataclass import dataclass
from merkl.errors import MerklError, MerklfileError
from merkl.merklfile.registry import Merklfile, shown_path
from merkl.nodes import Place, shorten_places
from merkl.python.advice import advice, in_one_line
from merkl.python.project import Project

MOST: Final = 20  # Frames that are shown of a deep recursion.
_OUR_BUG: Final = "if nothing there is wrong, it is a bug in merkl: please report it"
STAND_IN: Final = "__merkl_stands_in__"  # Among the globals of code that stands for a line of the user's.
_OURS: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of the user's that was running; of one in YAML also the columns, since much can stand in it."""

    file: str
    line: int
    function: str
    columns: tuple[int, int] | None = None

    def shown(self, root: str) -> str:
        """File, line and function, and the line itself below."""
        where = f"{shown_path(self.file, root)}:{self.line}"
        line = linecache.getline(self.file, self.line)
        text = line.strip()
        if text and self.columns is not None:
            start, end = self.columns
            where += f":{start + 1}"
            cut = min(len(line) - len(line.lstrip()), start)
            from merkl.bash.spelling import pointed

            text = pointed(line[cut:].rstrip(), start - cut, end - cut).replace("\n", "\n  ")
        return f"{where}, in {self.function}" + (f"\n  {text}" if text else "")


@contextlib.contextmanager
def user_code(what: str, merklfile: Merklfile) -> Iterator[None]:
    """Turn an exception of the code inside into one to show; ``what`` names the code, as in "the target train".

    Raises:
        MerklError: one that came out of the code, of the same class, with the frames in its details.
        MerklfileError: for any other exception.
    """
    try:
        yield
    except MerklError as error:
        _add_frames(error, merklfile)
        raise
    except SyntaxError as error:
        raise _syntax_error(error, what, merklfile) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # Also SystemExit, and what the user derived from BaseException.
        raise _raised(error, what, merklfile) from error


def user_frames(trace: TracebackType | None, merklfile: Merklfile) -> list[Frame]:
    """The user's own frames of a traceback, the innermost last."""
    project = Project(merklfile.root, merklfile.session.project_modules)
    frames = []
    stand_ins = 0
    while trace is not None:
        code, names = trace.tb_frame.f_code, trace.tb_frame.f_globals
        file = code.co_filename
        if project.owns(file, str(names.get("__name__", "?"))):
            columns = _columns(trace) if is_yaml(file) else None
            frames.append(Frame(file, trace.tb_lineno, code.co_name, columns))
            stand_ins += STAND_IN in names
        trace = trace.tb_next
    return frames[stand_ins:] or frames  # They come first, and say nothing where there are others.


def _columns(trace: TracebackType) -> tuple[int, int] | None:
    found = itertools.islice(trace.tb_frame.f_code.co_positions(), trace.tb_lasti // 2, None)
    _, _, start, end = next(found, (None, None, None, None))
    return None if start is None or end is None else (start, end)


def _shown(frames: list[Frame], root: str) -> str:
    lines = [frame.shown(root) for frame in frames]
    if len(lines) > MOST:
        half = MOST // 2
        lines[half:-half] = [f"… {len(lines) - 2 * half} more …"]
    return "\n".join(lines)


def _add_frames(error: MerklError, merklfile: Merklfile) -> None:
    frames = _shown(user_frames(error.__traceback__, merklfile), merklfile.root)
    shorten_places(error, merklfile.root)
    innermost = frames.rpartition("\n  ")[0].rpartition("\n")[2]
    if "made" in error.details and innermost.startswith(f"{error.details['made']}, in "):
        del error.details["made"]  # Where it was used.
    if not frames or "called from" in error.details:
        return
    # A place is the innermost of the frames, so nothing is lost with it.
    name = "at" if isinstance(error.details.get("at", Place("", 0)), Place) else "called from"
    error.details[name] = frames


def _raised(error: BaseException, what: str, merklfile: Merklfile) -> MerklfileError:
    import traceback

    text = "".join(traceback.format_exception_only(error)).strip()
    ours = _ours(error.__traceback__)
    hint = advice(error) or ("" if ours is None else _OUR_BUG)
    return MerklfileError(
        f"{what} raised {in_one_line(error)}",
        hint=hint,
        message=text if "\n" in text else None,
        exceptions=_inside(error, merklfile) if isinstance(error, BaseExceptionGroup) else None,
        at=_shown(user_frames(error.__traceback__, merklfile), merklfile.root) or None,
        inside=ours,
        cause=_before(error, merklfile),
    )


def _ours(trace: TracebackType | None) -> str | None:
    """Where in merkl an exception was raised, if it was."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename if trace is not None else ""
    if trace is None or not file.startswith(_OURS):
        return None
    return f"merkl/{file[len(_OURS) :]}:{trace.tb_lineno}"


def _inside(group: BaseExceptionGroup[Any], merklfile: Merklfile) -> str:
    return "\n".join(_and_where(each, merklfile) for each in group.exceptions[:MOST])


def _before(error: BaseException, merklfile: Merklfile) -> str | None:
    """What an exception was raised from, or while it was dealt with; nothing of merkl's own."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    seen = {id(error)}
    lines: list[str] = []
    while before is not None and id(before) not in seen and len(lines) < MOST:
        seen.add(id(before))
        if user_frames(before.__traceback__, merklfile):
            lines.append(_and_where(before, merklfile))
        before = before.__cause__ or (None if before.__suppress_context__ else before.__context__)
    return "\n".join(lines) or None


def _and_where(error: BaseException, merklfile: Merklfile) -> str:
    frames = user_frames(error.__traceback__, merklfile)
    where = "".join("\n  " + line for line in frames[-1].shown(merklfile.root).split("\n")) if frames else ""
    return f"{in_one_line(error)}{where}"


_LONG: Final = 120  # Columns; a longer line of source is shown in part.


def _syntax_error(error: SyntaxError, what: str, merklfile: Merklfile) -> MerklfileError:
    where = shown_path(error.filename, merklfile.root) if error.filename else what
    if error.lineno is not None:
        where += f":{error.lineno}"
    source = None
    if error.text is not None:
        line = error.text.rstrip("\n")
        left = line.lstrip()
        column = max((error.offset or 1) - 1 - (len(line) - len(left)), 0)
        width = 1
        if error.end_lineno == error.lineno and error.end_offset and error.offset:
            width = max(error.end_offset - error.offset, 1)
        if len(left) > _LONG:
            from merkl.bash.spelling import pointed

            source = pointed(left, column, column + width)
        else:
            source = f"{left}\n{' ' * column}{'^' * min(width, max(len(left) - column, 1))}"
    frames = _shown(user_frames(error.__traceback__, merklfile), merklfile.root)
    kind = "" if type(error) is SyntaxError else f"{type(error).__name__}: "
    return MerklfileError(f"{where}: {kind}{error.msg}", source=source, at=frames or None)
