import pytest
from story import ECHO, Project, a_project

from merkl.errors import InputMissing, UnknownTarget, UsageError
from merkl.merklfile.arguments import Request, TargetRequest, unknown

TARGETS = """
import datetime, decimal, enum, os, pathlib, typing
from collections.abc import Sequence
class Colour(enum.Enum):
    RED = "red"
    DARK_BLUE = 2

@target
def train(lr: float = 0.1, epochs: int = 3): return [lr, epochs]
@target
def plot(epochs: int = 3, dark_mode: bool = False): return [epochs, dark_mode]
@target(name="build-all", default=True)
def build(jobs=2): return [jobs]
@target
def deploy(host: str, args): return [host, args]
"""


@pytest.fixture
def project(tmp_path):
    with a_project(tmp_path) as found:
        yield found


def test_words_are_targets_values_and_paths(project: Project):
    merklfile = project.load(TARGETS)

    assert project.ask(merklfile, "train", "lr=0.5", "plot", "out/x.png") == Request(
        targets=(TargetRequest("train", {"lr": 0.5}), TargetRequest("plot")),
        paths=("out/x.png",),
        others=(TargetRequest("build-all"),),
    )


def test_without_a_name_the_default_is_meant(project: Project):
    merklfile = project.load(TARGETS)

    assert project.ask(merklfile) == Request((TargetRequest("build-all"),))
    assert project.ask(merklfile, "jobs=3") == Request((TargetRequest("build-all", {"jobs": 3}),))


def test_a_value_goes_to_each_target_that_has_the_parameter(project: Project):
    merklfile = project.load(TARGETS)

    assert project.ask(merklfile, "epochs=9", "train", "plot", "dark-mode=yes").targets == (
        TargetRequest("train", {"epochs": 9}),
        TargetRequest("plot", {"epochs": 9, "dark_mode": True}),
    )


def test_a_name_is_found_with_dashes_and_underscores_alike_and_once(project: Project):
    merklfile = project.load(TARGETS)

    assert [t.name for t in project.ask(merklfile, "build_all", "build-all").targets] == ["build-all"]


def test_a_bare_name_is_a_target_first_and_a_dotted_one_always_a_path(project: Project):
    merklfile = project.load(TARGETS)
    (project.root / "sub").mkdir()

    request = project.ask(merklfile, "train", "./train", "plots", "./a=b", cwd="sub")

    assert [t.name for t in request.targets] == ["train"]
    assert request.paths == ("sub/train", "sub/plots", "sub/a=b")
    assert project.ask(merklfile, "../x/../train", str(project.root / "y"), cwd="sub").paths == ("train", "y")


def test_a_path_calls_all_other_targets_that_need_nothing_more(project: Project):
    merklfile = project.load(ECHO + TARGETS)

    request = project.ask(merklfile, "report.txt", "epochs=5")

    assert request.targets == ()
    assert request.others == (
        TargetRequest("train", {"epochs": 5}),
        TargetRequest("plot", {"epochs": 5}),
        TargetRequest("build-all"),
    )
    assert [other.name for other in project.ask(merklfile, "report.txt", "host=h").others][-1] == "deploy"


def test_the_rest_goes_to_the_parameter_args(project: Project):
    merklfile = project.load("""
        @target
        def a(host: str, args): return [host, args]
        @target
        def b(args: tuple[str, ...] = ("x",)): return args
        @target
        def c(args: str = ""): return args
        @target
        def d(first="f", *args: str): return [first, args]
        @target
        def e(*numbers: int): return numbers
    """)

    assert project.given(merklfile, "a", "host=h", "--", "-v", "x=1", "--", "y") == [
        "h",
        ["-v", "x=1", "--", "y"],
    ]
    assert project.given(merklfile, "a", "host=h") == ["h", []]
    assert project.given(merklfile, "a", "host=h", "args=1,2") == ["h", "1,2"]
    assert project.given(merklfile, "b", "--", "1", "2") == ("1", "2")
    assert project.given(merklfile, "b") == ("x",)
    assert project.given(merklfile, "c", "--", "a b", "c") == "'a b' c"
    assert project.given(merklfile, "d", "--", "p", "q") == ["f", ("p", "q")]
    assert project.given(merklfile, "e", "numbers=1,2") == (1, 2)


@pytest.mark.parametrize(
    ("declared", "text", "value"),
    [
        ("x: int", "-3", -3),
        ("x: int = 5", "1_000", 1000),
        ("x: float", "1e-3", 0.001),
        ("x: float", "3", 3.0),
        ("x: bool", "YES", True),
        ("x: bool", "0", False),
        ("x: bool", "off", False),
        ("x: str", "a=b, c", "a=b, c"),
        ("x: str", "", ""),
        ("x", "5", "5"),
        ("x=5", "6", 6),
        ("x=5.0", "6", 6.0),
        ("x=True", "no", False),
        ("x=None", "6", "6"),
        ("x=Colour.RED", "DARK_BLUE", "Colour.DARK_BLUE"),
        ("x=[1, 2]", "3,4", [3, 4]),
        ("x=()", "3,4", ("3", "4")),
        ("x: Colour", "red", "Colour.RED"),
        ("x: Colour", "2", "Colour.DARK_BLUE"),
        ("x: typing.Literal['a', 1]", "1", 1),
        ("x: typing.Literal['a', 1]", "a", "a"),
        ("x: int | None = 3", "none", None),
        ("x: typing.Optional[int] = None", "4", 4),
        ("x: str | int", "4", 4),
        ("x: str | int", "four", "four"),
        ("x: list[int]", "1,2,3", [1, 2, 3]),
        ("x: list[int]", "", []),
        ("x: list", "a,b", ["a", "b"]),
        ("x: tuple[int, str]", "1,a", (1, "a")),
        ("x: set[bool]", "yes,no", {True, False}),
        ("x: Sequence[float]", "1,2", [1.0, 2.0]),
        ("x: typing.Annotated[int, 'note']", "4", 4),
        ("x: typing.NewType('Id', int)", "4", 4),
        ("x: 'list[int]'", "4", [4]),
        ("x: 'NotDefined' = 4", "4", 4),
        ("x: datetime.date", "2024-12-31", "datetime.date(2024, 12, 31)"),
        ("x: datetime.datetime", "2024-12-31T23:59", "datetime.datetime(2024, 12, 31, 23, 59)"),
        ("x: decimal.Decimal", "0.10", "decimal.Decimal('0.10')"),
        ("x: typing.Any", "4", "4"),
    ],
)
def test_a_value_is_read_as_its_parameters_type(project: Project, declared, text, value):
    merklfile = project.load(TARGETS + f"@target\ndef t({declared}): return [x]\n")
    if isinstance(value, str) and ("." in value or "(" in value):
        value = eval(value, vars(merklfile.files[merklfile.path].module))

    [found] = project.given(merklfile, "t", f"x={text}")

    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("declared", "text", "wanted"),
    [
        ("x: int", "1.5", "a whole number"),
        ("x: int", "", "a whole number"),
        ("x: float", "fast", "a number"),
        ("x: bool", "maybe", "true or false"),
        ("x=True", "2", "true or false"),
        ("x: Colour", "green", "one of RED, DARK_BLUE"),
        ("x: typing.Literal['a', 1]", "b", "one of a, 1"),
        ("x: int | None", "x", "a whole number or none"),
        ("x: list[int]", "1,x", "values with commas between them, each a whole number"),
        ("x: tuple[int, int]", "1", "2 values with commas between them"),
        ("x: datetime.date", "31.12.2024", "a date such as 2024-12-31"),
        ("x: pathlib.Path", "", "a path"),
        ("x: dict[str, int]", "a", 'a JSON object such as {"name": 1}'),
        ("x=object()", "a", None),
    ],
)
def test_a_value_of_another_type_is_refused(project: Project, declared, text, wanted):
    merklfile = project.load(TARGETS + f"@target\ndef t({declared}): return [x]\n")

    if wanted is None:
        assert project.ask(merklfile, "t", f"x={text}").targets[0].arguments == {"x": text}
        return
    with pytest.raises(UsageError) as caught:
        project.ask(merklfile, "t", f"x={text}")

    assert caught.value.headline == f"t: x takes {wanted}, not {text!r}"


def test_a_path_that_is_typed_starts_from_where_it_is_typed(project: Project):
    project.write("sub/data.txt")
    project.write("lib/Merklfile.py", "import pathlib\n@target\ndef t(ref: FileRef, path: pathlib.Path, text: str):\n"
                  "    return [ref, path, text, file(path)]\n")  # fmt: skip
    merklfile = project.load("include('lib')")

    request = project.ask(merklfile, "lib/t", "ref=data.txt", "path=data.txt", "text=data.txt", cwd="sub")

    from merkl.merklfile.calls import call

    ref, path, text, found = call(request, merklfile).called[0].value
    assert (ref, type(ref).__name__) == ("sub/data.txt", "FileRef")
    assert (str(path), text, found) == ("../sub/data.txt", "data.txt", "sub/data.txt")


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["train", "lrr=1"], "no parameter named 'lrr' in train", "did you mean lr?"),
        (
            ["train", "plot", "zzz=1"],
            "no parameter named 'zzz' in train or plot",
            "it takes lr, epochs, dark_mode",
        ),
        (["deploy"], "the target deploy needs host", "merkl build deploy host=…"),
        (
            ["train", "--", "-x", "y"],
            "nothing takes the words after --: -x y",
            "a target with a parameter 'args' does",
        ),
        (["train", ""], "a word of the request is empty", "merkl build [TARGET…] [NAME=VALUE…]"),
    ],
)
def test_a_word_without_an_effect_is_an_error(project: Project, words, message, hint):
    merklfile = project.load(TARGETS)

    with pytest.raises(UsageError) as caught:
        project.ask(merklfile, *words)

    assert (caught.value.headline, caught.value.hint) == (message, hint)


def test_a_value_without_a_target_and_without_a_default_is_an_error(project: Project):
    merklfile = project.load("@target\ndef train(lr=1): ...")

    with pytest.raises(UsageError) as caught:
        project.ask(merklfile, "lr=2")

    assert caught.value.headline == "lr=2 is given, but no target that takes it"
    assert caught.value.hint == "merkl build train lr=2"


def test_a_missing_argument_shows_where_the_target_is(project: Project):
    merklfile = project.load("@target\ndef deploy(host, user): ...")

    with pytest.raises(UsageError) as caught:
        project.ask(merklfile, "deploy")

    assert str(caught.value) == "\n".join([
        "the target deploy needs host and user",
        "  declared: Merklfile.py:2",
        "  hint: merkl build deploy host=… user=…",
    ])  # fmt: skip


def test_what_is_neither_target_nor_path_is_answered_with_what_is(project: Project):
    merklfile = project.load(TARGETS)

    assert str(unknown("trian", merklfile, [])) == "no target named 'trian'\n  hint: did you mean train?"
    assert unknown("out/polt.png", merklfile, ["out/plot.png"]).hint == "did you mean out/plot.png?"
    assert unknown("zzz", merklfile, []).hint == "`merkl list` shows them all"


def test_a_target_that_fails_while_a_path_is_looked_for_is_told_beside_the_name_that_is_unknown(
    project: Project,
):
    merklfile = project.load(
        ECHO
        + """
@target
def train():
    echo(1) > "report.txt"
@target
def broken():
    return file("missing.txt")
"""
    )

    calls = project.call(merklfile, "report.txt")

    assert [each.name for each in calls.others] == ["train"]
    [failure] = calls.failures
    assert isinstance(failure, InputMissing)
    said = unknown("zzz", merklfile, ["report.txt"], calls.failures)
    assert str(said).startswith("no target named 'zzz'") and "missing.txt does not exist" in str(said)
    assert isinstance(unknown("trian", merklfile, ["report.txt"], calls.failures), UnknownTarget)


def test_a_target_that_is_named_and_looked_through_is_called_once(project: Project):
    merklfile = project.load(
        ECHO
        + """
calls = []
@target
def a():
    calls.append("a")
    return echo(b())
@target
def b():
    calls.append("b")
    return echo(2)
"""
    )

    calls = project.call(merklfile, "a", "some/path")

    assert merklfile.files[merklfile.path].module.calls == ["a", "b"]
    assert [each.name for each in calls.called] == ["b", "a"]
    assert calls.others == ()
