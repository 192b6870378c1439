"""Digests and keys as values, the pinned encoding, its stability, and how it refuses.

That no two values share an encoding is tested in ``test_digest_injective.py``.
"""

import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import typing
import uuid

import pytest

from merkl.digest import (
    MAX_DEPTH,
    Digest,
    Encoder,
    Key,
    Unencodable,
    content_key_of,
    encode,
    key_of,
    tagged,
    type_name,
)
from merkl.errors import UnhashableArgument


class Color(enum.Enum):
    RED = 1
    ALSO_RED = 1  # noqa: PIE796
    BLUE = "blue"


class Mode(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@dataclasses.dataclass(frozen=True)
class Point:
    x: object
    y: object = 0
    unit: typing.ClassVar[str] = "mm"
    scale: dataclasses.InitVar[int] = 1


class Pair(typing.NamedTuple):
    left: object
    right: object = None


class Celsius(float):
    pass


def named(cls: type) -> str:
    """As ``type_name``, the same however this file is imported."""
    return f"tests:{cls.__qualname__}"


# Changing any of these abandons every result that anybody has cached.  If that is what you want,
# bump KEY_DOMAIN and CONTENT_DOMAIN in merkl/digest.py and say so in the changelog.
PINNED = {
    "None": "a695ae693c394883aaac16b234900324c8ecabef2d0b2bbde31c10555a4bc104",
    "True": "176bf3a7621a687ea9601a038d24529d9a1166f46b8c94d89f4bcd050e82564d",
    "0": "c3315a59441d4271d66d1daa5cce0c70dd21683926d5356ed51e7e12b33f119e",
    "1": "582c4d0b1737a827a9e11da7aa5ab5b3917d1da14578c14c3da58a71c6e55bf9",
    "-1": "a33bb6b432d097e1a21a541051e4e2ffa5f272daf239baaa25d85e42b86e8893",
    "127": "5bec4597d5b6a639013f2055e6d2c28b4bf66839bed418f156d1a3acf143cf6a",
    "128": "6f6ab650b0631379d212b27924fcf0574a10fcd42abaf0a72f17a4c37216f222",
    "-129": "4ccbb95886906ce6f07b5afc45513dca4fa0fda9ea591c440028bc395aff1905",
    "2**200": "f704e367b5a41cb1abc36213770e5a38cc45e6b047f0373dfd14e70ff0cc0d86",
    "1.0": "b20658f9cb99fbbe104b8395647fe2cd0a56e9fb62d1a6594d0e637c06215b98",
    "-0.0": "cc22033d537f910e4a33f4caaedf64a661886288df1b60b798ab6ab3194b1b36",
    'float("nan")': "ae6e34af4068e570e6daedc81ceaa5e78908cf0859a4c9e06efb22c3f5a2d760",
    'float("-inf")': "cdfb89d5ebb2a30f6687bab78cf08d0b07a0837a8b02235e6eb6b3242177b94e",
    "1+2j": "ba415500ee2f5dd41f90fcf74c636189cca824e57d9113b46539e15df62f4c1e",
    '""': "7f31207b6b43aba78e8c5d446676f6514acc311ca968b8389fc93897c67a921e",
    '"a"': "bc2cee5fd8bb1ec9a11d00fc15cb83a977ba32c8c0f0a9d233a5b91517d807f4",
    r'"ÄÖ\u0130😀"': "43ac0c4afc050d96f3fdc2c160579ba56b372690e6bd1c24e59c661224994ac9",
    r'"\ud800"': "1a788d962c55a740f0b7194365a95d2c3ab895f1577e970e5f17cc48c8c23aad",
    'b""': "a199a6872b50abf60d7937188c0279e79e9ec3426a5d2238222548349baecfc6",
    r'b"\x00\xff"': "806b1c3117ed8dadfbcbfa4ec010f6ba66eeeba245ef9b1dff6d24925a55a754",
    'bytearray(b"a")': "65043fbdb589133e843c04cfed45ef04638db932668a5c224c1d35120292be68",
    "()": "d3880a5b93036646bb038a9895a4f1ac70a6a095f7784ed0376c8165e30053c6",
    "(1,)": "f5ac4a63b4026cb4563c95be8abdcb66af1a0a18b666c01aebf499f758cbc794",
    "[1]": "f119f8356e52e1791fd02e9cb19c613010ad8ae15e6d3fb655785228ae69cd58",
    "[[], [[]]]": "413e5e8f4f653b4e3c9d5c5edbe6ab1403f77ad8d1fb8633f38d60b8ee4ed503",
    "{}": "3af6451e1efae9e9b5616d4af92e58b3d4985cea64415bea9931dd0e7458899e",
    '{"b": 1, "a": 2}': "5768b7877e63246626a542a16d3e937969c2665a99217ad5021a39e7b29bfcfd",
    "set()": "d839910544633d5b5229c16c636e3540545cb8440e2b5aa6d5534866876db164",
    '{3, 1, "a"}': "c8373703e7347464b80d30895665478fb5956974624a8b2e11d34e6ced232558",
    'frozenset({3, 1, "a"})': "f8bfb75abab5995bdda28b4b58a038535e17be087f24b25a663a053fb2c947a1",
    "range(0, 9, 2)": "6038ab9fd4494f00a19c38601fb05691390faaf409934f54f367f17408eae765",
    "slice(1, None, 2)": "32146bfb64a297ea769e53e16cebc31681759815be58ad4a9f8702f31f7920c6",
    "...": "ec3a0a502672430def795cbaf75449d568ee19cadb83cd7555aa3ca2b18bbb5a",
    "int": "ec93e0005a4a15e366ec0e765b29f46f08ea5bc35fa9cf3c4a1f849d5f71bc98",
    "Color.RED": "ebd2ec57faa2faa3a9fbaff572b7d3673ba579b6281502f27ce572d7823bebc8",
    "Color.BLUE": "66bc536476a709dd19a6c5b7ddcd8ad88b0dd11dfcf1f098eb1951a743e54e11",
    "Mode.READ | Mode.WRITE": "b20d0297de5925f86170fd4c73754c42c17a1ea181eeec8f9a5607c6feccfd1e",
    "Point(1, [2])": "f2f890e0c8eaa9e3d9d959f697eae3706824e9d19e23c96246045a4556bf887a",
    'Pair("l", "r")': "92a180a62e670ba7f6cd99604ecdb74333f9592b37440427f0d11b47b13e26f3",
    "Celsius(36.6)": "e70819035d887b6dc299f0e5f7d1a898793f3240768c4293795a8742556c8bd6",
    'pathlib.PurePosixPath("a/b")': "3549ade26a337810a237d15a1bd328432a46739c6d7f85ca36314aa8e2095b7b",
    r'pathlib.Path("\udcff")': "aa021450a51e31c38b0f048c73ecd94f5b27015ceaa4ffc84854855ec5a36461",
    'pathlib.PureWindowsPath("a/b")': "871c1cbd379bc3165858974791ea1436584f931ea8c94f8b0fb042ce5d375003",
    "datetime.date(2024, 2, 29)": "2fda4bfa0af80191895b1b982dac393a8a3105cbef08bc8bd4a83b2b82368eae",
    "datetime.time(1, 2, 3, 4, fold=1)": "e3d684589f69cd50ba4d284cae494ee120119556cae21ed9a143718da1d00f1e",
    "datetime.datetime(2024, 2, 29, 12, 30)": "42c20eaaa3bfad414410fe775af041b67326577dc1629405ed0437718b5bf27a",
    "datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone.utc)": "6ab5bbb3b46410bca7599609de598981ddcaded09f95229eac72e66e6bd03ffb",
    "datetime.timedelta(-1, 5, 7)": "8b36ea7f744bbded6be8f3021a5937c9a8cdcc75991885d71fc4249293d9792e",
    'decimal.Decimal("1.10")': "390ae1ccbcc71c1d7c74c29c1abb4f9b6b1a100ac5627cd9ba852ba6bc50931f",
    'decimal.Decimal("-NaN7")': "abd31b3ee68455c3d84ca3c1d788ce737f143949ab420b3c27c46358fa346a58",
    "fractions.Fraction(-1, 3)": "94ed046f8d3af39f7d83d42c6173a6d33220238939bd9d35e691dfe25e9cff3d",
    "uuid.UUID(int=7)": "6df32e8bd7444081642fcd910dc9048a46a43bcbd3dde9a6bc438814a2ba3200",
}

SEEDED = """
{
    "words": {"to", "be", "or", "not", "that", "is"}, "deep": {frozenset({"a", "b"}), frozenset({"c"}), frozenset()},
    b"bytes": frozenset({b"x", b"y", "x", 1, None}), ("t", 1): [{"z": 1, "a": {"k": {"v", "w"}}}], 7: -0.0,
}
"""


def from_text(text: str) -> object:
    """The value that ``text`` is in Python."""
    names = {cls.__name__: cls for cls in (Color, Mode, Point, Pair, Celsius)}
    modules = (datetime, decimal, fractions, pathlib, uuid)
    return eval(text, {module.__name__: module for module in modules} | names)


@pytest.mark.parametrize("text", PINNED)
def test_the_encoding_is_pinned(text):
    assert Digest.of(encode(from_text(text), name_of=named)).hex() == PINNED[text]


def test_keys_are_pinned_with_their_domains():
    assert (
        key_of("task", 1, [True]).hex() == "65f88b4fc28e004114511c885a19b8c6a8777e410590165fb20a6383db1fd935"
    )
    assert (
        content_key_of("task", 1, [True]).hex()
        == "1ae981c6defa86ec561f61d474b779a5c747236262f9e823b5b40ed8b766ae32"
    )


def test_the_form_of_the_encoding_is_tag_length_payload():
    assert encode(None) == b"n" + bytes(8)
    assert encode(("ab", 1)) == b"t" + bytes([0] * 7 + [21]) + b"s" + bytes([0] * 7 + [2]) + b"ab" + (
        b"i" + bytes([0] * 7 + [1]) + b"\1"
    )


def test_the_encoding_is_the_same_under_fifty_hash_seeds_and_in_other_processes():
    code = f"from merkl.digest import key_of; print(key_of({SEEDED.strip()}), end='')"
    here = str(key_of(from_text(SEEDED)))

    for first in range(0, 50, 2):
        running = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                stdout=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONHASHSEED": str(seed)},
                text=True,
            )
            for seed in (first, first + 1)
        ]
        assert [process.communicate()[0] for process in running] == [here, here]


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "tr_TR.UTF-8"])
def test_the_encoding_is_the_same_in_every_locale(locale):
    value = ["ÄÖ\u0130", 1.5, {"ß": "I"}]
    code = (
        "import sys; from merkl.digest import key_of; print(key_of(['ÄÖ\\u0130', 1.5, {'ß': 'I'}]), end='')"
    )
    environment = os.environ | {"LC_ALL": locale, "PYTHONIOENCODING": "utf-8", "PYTHONCOERCECLOCALE": "0"}
    there = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, env=environment, text=True
    ).stdout

    assert there == str(key_of(value))


def test_the_encoding_does_not_follow_the_decimal_context():
    value = decimal.Decimal("1E+5")
    before = encode(value)

    with decimal.localcontext() as context:
        context.capitals = 0
        context.prec = 1
        assert encode(value) == before


@dataclasses.dataclass
class Late:
    there: int
    missing: int = dataclasses.field(init=False)


@dataclasses.dataclass
class Row(list):  # type: ignore[type-arg]
    name: str


class Slotted(str):
    __slots__ = ("note",)


def with_attribute(value: object, name: str = "note", item: object = 1) -> object:
    """``value`` after an attribute of its own was set on it."""
    vars(value)[name] = item
    return value


def noted() -> Slotted:
    """A str with something in a slot."""
    value = Slotted("a")
    value.note = 1
    return value


def in_itself(container: typing.Any) -> object:
    """``container`` after it was put into itself."""
    if isinstance(container, dict):
        container["me"] = container
    else:
        container.append(container)
    return container


def nested(depth: int, wrap: typing.Callable[[object], object] = lambda value: [value]) -> object:
    """``wrap`` applied ``depth`` times."""
    value: object = 0
    for _ in range(depth):
        value = wrap(value)
    return value


REFUSED = {
    "object": (lambda: object(), None, "type object has no stable encoding"),
    "function": (lambda: len, None, "type builtin_function_or_method has"),
    "lock": (lambda: [1, {"a": (threading.Lock(),)}], "[1]['a'][0]", "lock has no stable encoding"),
    "key of a dict": (lambda: {(1, object()): 2}, None, "type object has"),
    "field": (lambda: Point(1, [iter([])]), ".y[0]", "type list_iterator has"),
    "named tuple": (lambda: (Pair(1, {0: ...}), Pair(object())), "[1].left", "type object has"),
    "in a set": (lambda: [{Point(1, 2), Point(object(), 3)}], "[0].x", "type object has"),
    "generator": (lambda: {"rows": (n for n in ())}, "['rows']", "type generator has"),
    "lone surrogate in a path": (
        lambda: pathlib.Path("a\ud800"),
        None,
        "PosixPath is not a possible file name",
    ),
    "unset field": (lambda: [Late(1)], "[0]", "Late has no value in its field 'missing'"),
    "attribute beside fields": (
        lambda: with_attribute(Late(1)),
        None,
        "Late has an attribute 'note' that its",
    ),
    "dataclass that is a list": (lambda: Row("a"), None, "Row is a dataclass and a built-in type at once"),
    "attribute of a float": (lambda: with_attribute(Celsius(1)), None, "Celsius has an attribute 'note'"),
    "slot of a str": (noted, None, "Slotted has an attribute 'note'"),
    "subclass of list": (lambda: type("Rows", (list,), {})(), None, "Rows has no stable encoding"),
    "user's class as a value": (lambda: [Point], "[0]", "type type has no stable encoding"),
    "time zone of one's own": (
        lambda: datetime.datetime(2020, 1, 1, tzinfo=type("Mars", (datetime.tzinfo,), {})()),
        None,
        "Mars has no stable encoding",
    ),
    "list in itself": (lambda: in_itself([]), "[0][0]", "type list contains itself"),
    "dict in itself": (lambda: in_itself({}), "['me']['me']", "type dict contains itself"),
    "too deep": (lambda: nested(MAX_DEPTH + 2), "[0][0]", f"is nested more than {MAX_DEPTH} deep"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_value_with_no_encoding_is_refused_by_type_and_place(case):
    make, place, words = REFUSED[case]

    with pytest.raises(UnhashableArgument) as caught:
        encode(make())

    assert words in caught.value.headline
    shown = caught.value.details.get("at")
    if place is not None:
        assert str(shown).startswith(place)
    assert caught.value.hint
    assert len(str(shown)) <= 80


@pytest.mark.parametrize(
    "wrap",
    [
        lambda v: [v],
        lambda v: (v,),
        lambda v: {"k": v},
        lambda v: frozenset({v}),
        Point,
        Pair,
        lambda v: slice(v),
    ],
    ids=["list", "tuple", "dict", "frozenset", "dataclass", "named tuple", "slice"],
)
def test_deep_nesting_is_encoded_or_refused_but_never_a_crash(wrap):
    assert encode(nested(50, wrap)) != encode(nested(51, wrap))
    with pytest.raises(UnhashableArgument, match=r"deep"):
        encode(nested(400, wrap))


def test_a_stack_that_is_nearly_used_up_is_a_refusal_too():
    def at_the_edge() -> None:
        try:
            at_the_edge()
        except RecursionError:
            encode(nested(150))
            raise AssertionError("there was room") from None

    with pytest.raises(UnhashableArgument, match="too deep for the stack"):
        at_the_edge()


@dataclasses.dataclass
class Circle:
    radius: float

    @functools.cached_property
    def area(self) -> float:
        return 3 * self.radius**2


def test_a_cached_property_is_no_part_of_a_value():
    circle = Circle(2.0)
    before = encode(circle)

    assert circle.area == 12
    assert encode(circle) == before


T = typing.TypeVar("T")


@dataclasses.dataclass
class Box(typing.Generic[T]):
    content: T


def test_a_type_argument_is_no_part_of_a_value():
    assert encode(Box[int](1)) == encode(Box(1))


def test_a_hook_encodes_what_it_knows_at_any_depth_and_leaves_the_rest():
    def hook(value: object) -> bytes | None:
        return tagged(b"L", b"") if isinstance(value, threading.Event) else None

    event = threading.Event()

    assert tagged(b"L", b"") in encode({"a": [event, Color.RED]}, hook)
    with pytest.raises(UnhashableArgument):
        encode([event, threading.Lock()], hook)


def test_a_hook_is_asked_before_a_class_is_taken_apart_but_not_about_plain_values():
    asked = []

    encode([1, "a", b"", None, (2.0,), {"k": Point(3)}, {4}], lambda value: asked.append(value))

    assert asked == [Point(3), {4}]


def test_classes_are_named_by_module_and_qualified_name_or_as_asked():
    assert type_name(Point) == f"{__name__}:Point"
    assert encode(Color.RED) == encode(Color.ALSO_RED)
    assert encode(Point(1), name_of=lambda cls: "A") != encode(Point(1), name_of=lambda cls: "B")


@pytest.mark.parametrize(
    "make",
    [
        lambda *names: dataclasses.make_dataclass("Row", names)(1, 2),
        lambda *names: typing.NamedTuple("Row", [(name, int) for name in names])(1, 2),
    ],
    ids=["dataclass", "named tuple"],
)
def test_the_names_of_fields_are_part_of_a_value(make):
    def one_name(_: type) -> str:
        return "Row"

    assert encode(make("width", "height"), name_of=one_name) != encode(
        make("height", "width"), name_of=one_name
    )


def test_an_encoder_raises_the_place_for_its_caller_to_word():
    with pytest.raises(Unencodable) as caught:
        Encoder().value({"a": [object()]})

    assert (caught.value.type, caught.value.where) == ("object", "['a'][0]")


@pytest.mark.parametrize("kind", [Digest, Key])
def test_a_name_is_read_back_from_its_text(kind):
    name = kind(bytes(range(32)))

    assert kind.parse(str(name)) == name
    assert type(kind.parse(str(name))) is kind
    assert str(name) == name.hex() == "".join(f"{n:02x}" for n in range(32))
    assert name.short == "000102030405"
    assert repr(name) == f"{kind.__name__}(000102030405…)"


@pytest.mark.parametrize("kind", [Digest, Key])
@pytest.mark.parametrize(
    "text", ["", "ab", "AB" * 32, "g" * 64, " " + "ab" * 31 + "a", "ab " * 32, "ab" * 33, "０" * 64]
)
def test_no_other_text_is_read_as_a_name(kind, text):
    with pytest.raises(ValueError, match="not 64 lower-case hexadecimal digits"):
        kind.parse(text)


@pytest.mark.parametrize("kind", [Digest, Key])
@pytest.mark.parametrize("raw", [b"", bytes(31), bytes(33)])
def test_a_name_has_32_bytes(kind, raw):
    with pytest.raises(ValueError, match=f"{kind.__name__} takes 32 bytes, not {len(raw)}"):
        kind(raw)


@pytest.mark.parametrize("kind", [Digest, Key])
def test_a_name_survives_pickle_and_copy_with_its_type(kind):
    name = kind(bytes(range(32)))

    for back in (pickle.loads(pickle.dumps(name)), copy.copy(name), copy.deepcopy(name)):
        assert back == name
        assert type(back) is kind


def test_a_digest_is_blake3_of_the_bytes():
    # The first test vector of BLAKE3: of no bytes at all.
    assert Digest.of(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert Digest.of(bytearray(b"ab")) == Digest.of(memoryview(b"ab")) == Digest.of(b"ab")


def test_a_digest_a_key_and_their_bytes_are_three_values_inside_a_key():
    raw = bytes(32)

    assert len({encode(raw), encode(Digest(raw)), encode(Key(raw))}) == 3


def test_a_key_never_equals_a_content_key():
    assert key_of(1, 2) != content_key_of(1, 2)
    assert type(key_of()) is type(content_key_of()) is Key


def test_parts_of_a_key_do_not_run_together():
    assert (
        len({key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of(("ab", "c")), key_of("ab", "c", "")})
        == 5
    )
