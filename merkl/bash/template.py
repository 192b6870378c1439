"""Templates: text with placeholders in, a function from values to a script out.

It decides nothing: what a template means is the ``compiler``'s to say, once, when it is defined, and what comes of values
``script``'s.  It is pure: it touches no disk and starts nothing.

The invariant: two templates with one ``identity`` give the same script for the same values, whatever spelling they were
written in.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from merkl.bash.binding import NameOf, Parameters, bind
from merkl.bash.placeholders import Placeholder
from merkl.bash.script import ArgvWords, Compiled, Script, Values
from merkl.dataclass import dataclass

if TYPE_CHECKING:
    import inspect

__all__ = ["Script", "Template", "Value", "bind_call"]

Value: TypeAlias = object
"""str, bytes, int, float, bool for a flag, a path, None, or a list of these."""


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template.

    ``text`` is as a person reads it.  ``identity`` is of plain tuples, strings and integers.
    """

    text: str
    identity: tuple[object, ...]
    parameters: Parameters
    compiled: Compiled

    @property
    def placeholders(self) -> Mapping[str, Placeholder]:
        """The placeholders by parameter, in order of first appearance."""
        return self.parameters.placeholders

    @property
    def signature(self) -> "inspect.Signature":
        """Parameters without a default, then those with one; outputs, environment and secrets by keyword only."""
        return self.parameters.signature

    @property
    def is_argv(self) -> bool:
        """Whether it is a list of words and needs no interpreter."""
        return isinstance(self.compiled, ArgvWords)

    def render(self, values: Mapping[str, Value], *, abspath: Callable[[bytes], bytes]) -> Script:
        """The script for ready values: paths as the command shall see them, no secrets.

        Raises:
            CallError: a value does not fit where it stands.
        """
        return self.compiled.script(Values(values, abspath))


def bind_call(
    template: Template,
    task: str,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    *,
    may_be_file: NameOf | None = None,
) -> dict[str, object]:
    """The arguments of a call by parameter; see ``bind``.

    Raises:
        CallError: the call does not fit the template's signature.
    """
    return bind(template.parameters, task, args, kwargs, may_be_file=may_be_file)
