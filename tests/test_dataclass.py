"""merkl's own ``dataclass`` makes what the standard library's makes, and compiles nothing before the first object."""

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from typing import ClassVar

import pytest

from merkl import dataclass as ours

OPTIONS = [
    {"frozen": True, "slots": True},
    {"slots": True},
    {"frozen": True},
    {"frozen": True, "slots": True, "eq": False},
    {"frozen": True, "slots": True, "order": True},
]


def classes(make, field, **options):
    """A class and one that is made from it."""

    class Base:
        """A text."""

        kinds: ClassVar[int] = 7
        name: str
        size: int = 3
        items: list = field(default_factory=list)
        hidden: int = field(default=0, compare=False, repr=False)

        def twice(self):
            return 2 * self.size

    made = make(**options)(Base)

    class Further(made):
        """Another."""

        last: tuple = ()

    return made, make(**options)(Further)


def said(act):
    """What comes of it, as a text."""
    try:
        return repr(act())
    except Exception as error:  # noqa: BLE001 - any, if only it is the same
        return (
            f"{type(error).__name__}: {error}".replace("__init__", "")
            .split("Base.")[-1]
            .split("Further.")[-1]
        )


ACTS = [
    lambda made: made("a", 1),
    lambda made: made("a", size=2, items=[1]),
    lambda made: made("a").items is made("a").items,
    lambda made: made("a").twice(),
    lambda made: made("a") == made("a"),
    lambda made: made("a", 1, [], 2) == made("a", 1, [], 3),
    lambda made: made("a") == made("b"),
    lambda made: made("a") == ("a", 3),
    lambda made: hash(made("a", 1, ())) == hash(made("a", 1, (), 9)),
    lambda made: len({made("a", 1, ()), made("a", 1, ())}),
    lambda made: made("a") < made("b"),
    lambda made: setattr(made("a"), "name", "b"),
    lambda made: delattr(made("a"), "name"),
    lambda made: dataclasses.replace(made("a"), size=5),
    lambda made: ours.replace(made("a"), size=5),
    lambda made: dataclasses.asdict(made("a")),
    lambda made: [
        (f.name, f.type, f.default, f.compare, f.repr, f.hash, f.init) for f in dataclasses.fields(made)
    ],
    lambda made: (
        made.__dataclass_params__.frozen,
        made.__dataclass_params__.eq,
        made.__dataclass_params__.order,
    ),
    lambda made: (made.kinds, made.size, hasattr(made, "items")),
    lambda made: dataclasses.is_dataclass(made) and dataclasses.is_dataclass(made("a")),
    lambda made: dataclasses.dataclass(frozen=made.__dataclass_params__.frozen)(type("Under", (made,), {}))(
        "a"
    ),
    lambda made: copy.deepcopy(made("a", 1, [2])),
    lambda made: made(),
    lambda made: made("a", 1, [], 0, (), 5),
    lambda made: made("a", none=1),
    lambda made: made.__match_args__,
    lambda made: str(inspect.signature(made)),
    lambda made: hasattr(made("a"), "__dict__"),
    lambda made: made.__doc__,
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_does_what_the_standard_library_does(options):
    theirs, mine = (
        classes(dataclasses.dataclass, dataclasses.field, **options),
        classes(ours.dataclass, ours.field, **options),
    )
    for one, other in zip(theirs, mine, strict=True):
        for act in 3 * ACTS:  # Of few objects, and of many.
            expected, found = (
                said(lambda act=act, one=one: act(one)),
                said(lambda act=act, other=other: act(other)),
            )
            if "object at 0x" not in expected:
                assert found == expected


@ours.dataclass(frozen=True, slots=True)
class Portable:
    """One that can be found by name."""

    name: str
    size: int = 1


def test_frozen_ones_are_pickled():
    assert pickle.loads(pickle.dumps(Portable("a", 2))) == Portable("a", 2)


def test_nothing_is_compiled_before_many_objects():
    made, _ = classes(ours.dataclass, ours.field, frozen=True, slots=True)
    before = made.__init__
    first = made("a", hidden=2)
    assert made.__init__ is before
    assert [made("a", hidden=2) for _ in range(50)] == [first] * 50
    assert made.__init__ is not before
    assert inspect.signature(made.__init__).parameters.keys() == {"self", "name", "size", "items", "hidden"}


def test_other_fields_of_the_standard_library_are_taken_as_its_own():
    theirs, mine = (
        classes(dataclasses.dataclass, dataclasses.field),
        classes(ours.dataclass, dataclasses.field),
    )
    for one, other in zip(theirs, mine, strict=True):
        assert said(lambda one=one: one("a")) == said(lambda other=other: other("a"))


SCRIPT = """
import sys
import merkl.dataclass as ours

@ours.dataclass(frozen=True, slots=True)
class One:
    "A text."
    name: str
    many: list = ours.field(default_factory=list)

assert ours.replace(One("a", [1]), name="b") == One("b", [1])
assert "dataclasses" not in sys.modules and "inspect" not in sys.modules
import dataclasses
assert [each.name for each in dataclasses.fields(One)] == ["name", "many"]
"""


def test_the_standard_librarys_module_is_imported_when_somebody_asks_for_fields():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)


def test_mistakes_are_told_as_by_the_standard_library():
    with pytest.raises(TypeError, match="non-default argument 'late' follows default argument"):

        @ours.dataclass
        class Misplaced:
            """A text."""

            early: int = 1
            late: int

    with pytest.raises(ValueError, match="mutable default"):

        @ours.dataclass
        class Shared:
            """A text."""

            names: list = []  # noqa: RUF012


def test_what_it_cannot_do_is_refused():
    with pytest.raises(TypeError, match="standard library's"):

        @ours.dataclass
        class Odd:
            name: str

            def __post_init__(self):
                raise AssertionError

    with pytest.raises(TypeError, match="standard library's"):

        @ours.dataclass
        class Counting:
            name: str
            count: int = dataclasses.field(init=False)
