"""Arguments of ``merkl run``: what words mean to a function, its help, and every error, word by word."""

import datetime
import decimal
import pathlib
import textwrap

import pytest

MODULE = '''
    import datetime
    import decimal
    import enum
    from pathlib import Path
    from typing import Literal, Optional

    from merkl import FileRef, pipeline, task

    class Loss(enum.Enum):
        L1 = "absolute"
        L2 = "squared"

    SEEN = []

    @pipeline(cache=False)
    def train(
        data: FileRef,
        epochs: int,
        *tags: str,
        rate: float = 0.1,
        loss: Loss = Loss.L2,
        mode: Literal["fast", "slow"] = "fast",
        shuffle: bool = True,
        layers: list[int] = [64, 32],
        out_dir: Path = Path("out"),
        until: Optional[datetime.date] = None,
        limits: dict[str, float] = {},
        size: tuple[int, int] = (28, 28),
        seed: int | None = None,
    ):
        """Train a model.

        The weights go where you
        say.

        Args:
            data: The examples,
                one in each line.
            epochs (int): How often to go through them.
            tags: Words to find it by.
            rate: How far each step goes.
            shuffle: Whether in another order each time.
            seed: What the order begins with.

        Returns:
            Nothing that matters: this is no parameter.
        """
        SEEN.append(dict(locals()))

    def numpy_style(count, name="x"):
        """Count.

        Parameters
        ----------
        count : int
            How many
            there are.
        name : str, optional
            What they are called.

        Returns
        -------
        int
            A number.
        """

    def sphinx_style(count, name="x"):
        """Count.

        :param int count: How many
            there are.
        :param name: What they are called.
        :type name: str
        :returns: a number
        """
'''


@pytest.fixture
def steps(merkl):
    (merkl.root / "steps.py").write_text(textwrap.dedent(MODULE))
    (merkl.root / "data.csv").write_text("1\n")
    return merkl


def seen(steps, *words):
    """The arguments that the function got."""
    import sys

    done = steps("run", "-q", "steps.train", *words)
    assert (done.code, done.err) == (0, "")
    return sys.modules["steps"].SEEN[-1]


HELP = """\
Usage: merkl run steps.train [OPTIONS] DATA EPOCHS [TAGS…]

  Train a model.

  The weights go where you say.

Arguments:
  DATA FILE   The examples, one in each line.  [required]
  EPOCHS INT  How often to go through them.  [required]
  TAGS TEXT   Words to find it by.

Options:
  --rate FLOAT              How far each step goes.  [default: 0.1]
  --loss [L1|L2]            [default: L2]
  --mode [fast|slow]        [default: fast]
  --shuffle / --no-shuffle  Whether in another order each time.  [default: on]
  --layers INT,…            [default: 64,32]
  --out-dir PATH            [default: out]
  --until DATE              [default: none]
  --limits JSON             [default: {}]
  --size INT,INT            [default: 28,28]
  --seed INT                What the order begins with.  [default: none]

Each may be written NAME=VALUE too. Options of merkl itself are those of merkl
run --help.
"""


def test_the_help_of_a_function_shows_every_parameter_with_its_type_default_and_description(steps):
    for words in (("--help",), ("data.csv", "-h")):
        assert steps("run", "steps.train", *words).out == HELP


def test_docstrings_in_the_ways_of_numpy_and_sphinx_describe_parameters_too(steps):
    for name in ("numpy_style", "sphinx_style"):
        shown = steps("run", f"steps.{name}", "--help").out
        assert "  Count.\n\nArguments:\n  COUNT TEXT  How many there are.  [required]\n" in shown
        assert "\n  --name TEXT  What they are called.  [default: x]\n" in shown


def test_every_word_becomes_a_value_of_its_parameters_type(steps):
    got = seen(
        steps, "data.csv", "3", "a", "b", "--rate", "-1e-2", "--loss=L1", "mode=slow", "--no-shuffle", "--layers", "8,4",
        "--layers=2", "--out-dir", "far/away", "until=2024-02-29", "--limits", '{"low": 1, "high": 2.5}', "--size", "[3, 4]",
        "--seed", "-7",
    )  # fmt: skip

    assert got["loss"].name == "L1"
    del got["loss"]
    assert got == {
        "data": "data.csv", "epochs": 3, "tags": ("a", "b"), "rate": -0.01, "mode": "slow", "shuffle": False,
        "layers": [8, 4, 2], "out_dir": pathlib.Path("far/away"), "until": datetime.date(2024, 2, 29),
        "limits": {"low": 1.0, "high": 2.5}, "size": (3, 4), "seed": -7,
    }  # fmt: skip
    assert type(got["limits"]["low"]) is float


def test_what_is_not_given_has_its_default_and_names_may_stand_for_places(steps):
    got = seen(steps, "epochs=2", "--data=data.csv", "--", "--tag", "x=y")

    assert (got["data"], got["epochs"], got["tags"]) == ("data.csv", 2, ("--tag", "x=y"))
    assert (got["rate"], got["layers"], got["seed"], got["shuffle"]) == (0.1, [64, 32], None, True)
    assert seen(steps, "data.csv", "2", "--seed", "none", "shuffle=no")["shuffle"] is False


ERRORS = [
    ([], "steps.train needs data and epochs\n  declared: {place}\n  hint: merkl run steps.train DATA EPOCHS"),
    (["data.csv"], "steps.train needs epochs\n  declared: {place}\n  hint: merkl run steps.train data.csv EPOCHS"),
    (["nowhere.csv", "1"], "the input nowhere.csv does not exist\n  argument: data of steps.train"),
    (["data.csv", "many"], "steps.train: epochs takes a whole number, not 'many'\n  declared: {place}"),
    (["data.csv", "1", "--rate", "fast"], "steps.train: rate takes a number, not 'fast'\n  declared: {place}"),
    (["data.csv", "1", "--loss", "L3"], "steps.train: loss takes one of L1, L2, not 'L3'\n  declared: {place}"),
    (["data.csv", "1", "mode=slo"], "steps.train: mode takes one of fast, slow, not 'slo'\n  declared: {place}"),
    (["data.csv", "1", "--shuffle=perhaps"], "steps.train: shuffle takes true or false, not 'perhaps'\n  declared: {place}"),
    (["data.csv", "1", "--layers", "1,x"],
     "steps.train: layers takes values with commas between them, each a whole number, not '1,x'\n  declared: {place}"),
    (["data.csv", "1", "--until", "soon"],
     "steps.train: until takes a date such as 2024-12-31 or none, not 'soon'\n  declared: {place}"),
    (["data.csv", "1", "--limits", "low"],
     "steps.train: limits takes a JSON object such as {{\"name\": 1}}, not 'low'\n  declared: {place}"),
    (["data.csv", "1", "--limits", '{{"a": "b"}}'],
     "steps.train: limits takes a JSON object such as {{\"name\": 1}}, each value a number, not '{{\"a\": \"b\"}}'\n  declared: {place}"),
    (["data.csv", "1", "--size", "1"],
     "steps.train: size takes 2 values with commas between them, not '1'\n  declared: {place}"),
    (["data.csv", "1", "--seed", "x"], "steps.train: seed takes a whole number or none, not 'x'\n  declared: {place}"),
    (["data.csv", "1", "--rates", "1"],
     "steps.train has no option --rates\n  declared: {place}\n  hint: did you mean --rate?"),
    (["data.csv", "1", "--no-rate"], "steps.train has no option --no-rate\n  declared: {place}\n  hint: did you mean --rate?"),
    (["data.csv", "1", "--unheard-of"],
     "steps.train has no option --unheard-of\n  declared: {place}\n  hint: merkl run steps.train --help shows its options"),
    (["data.csv", "1", "rates=1"],
     "no parameter named 'rates' in steps.train\n  declared: {place}\n  hint: did you mean rate?"),
    (["data.csv", "1", "zzz=1"],
     "no parameter named 'zzz' in steps.train\n  declared: {place}\n  hint: after -- zzz=1 is an argument as it is"),
    (["data.csv", "1", "--rate"], "--rate needs a value\n  declared: {place}\n  hint: --rate=VALUE"),
    (["data.csv", "1", "--rate", "--shuffle"],
     "--rate needs a value\n  declared: {place}\n  hint: is --shuffle it? --rate=--shuffle"),
    (["data.csv", "1", "--rate", "1", "rate=2"], "rate is given twice: '1' and '2'\n  declared: {place}\n  hint: give it once"),
    (["data.csv", "1", "-z"], "no option named -z\n  hint: merkl run --help"),
    (["data.csv", "1", "-j", "none"],
     "invalid value for '-j' / '--jobs': 'none' is not a valid integer range\n  hint: merkl run --help"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"), ERRORS, ids=[" ".join(words) or "nothing" for words, _ in ERRORS]
)
def test_a_word_that_does_not_fit_is_refused_in_so_many_words(steps, words, message):
    done = steps("run", "steps.train", *(word.replace("{{", "{").replace("}}", "}") for word in words))

    assert done.code == 2
    assert done.err.partition("\n  hint: it would")[0].rstrip("\n") == message.format(place="steps.py:16")


def test_too_many_words_without_a_name_are_refused(steps):
    assert steps("run", "steps.numpy_style", "1", "2").err == (
        "steps.numpy_style takes 1 argument without a name, and '2' is one more\n"
        "  declared: steps.py:51\n  hint: by name it takes --name\n"
    )


def test_a_list_takes_the_words_that_others_leave(merkl):
    (merkl.root / "m.py").write_text(
        "from decimal import Decimal\n"
        "def f(first: str, middle: list[Decimal], last: int):\n    return first, middle, last\n"
        "def g(on: bool, x: int = 1):\n    return on\n"
    )

    shown = merkl("run", "m.f", "a", "1.50", "2", "3").out
    assert shown == f"('a', [{decimal.Decimal('1.50')!r}, {decimal.Decimal(2)!r}], 3)\n"
    assert merkl("run", "m.f", "a", "3").err.startswith("m.f needs last\n")
    assert merkl("run", "m.g", "--no-on").out == "False\n"
    assert merkl("run", "m.g").err == "m.g needs on\n  declared: m.py:4\n  hint: merkl run m.g --on\n"


def test_a_hint_that_no_word_can_be_is_said_to_be_one(merkl):
    (merkl.root / "m.py").write_text("class Model: ...\ndef f(model: Model, n: 'Nowhere' = 1):\n    pass\n")

    assert merkl("run", "m.f", "x").err == (
        "m.f: model takes a value of type Model, which cannot be written on the command line, not 'x'\n"
        "  declared: m.py:2\n  hint: write a function that makes it of plain parameters\n"
    )


def test_a_value_beside_a_flag_and_one_word_more_are_explained(merkl):
    (merkl.root / "m.py").write_text("def f(n: int, loud: bool = False):\n    return n\n")

    more = "m.f takes 1 argument without a name, and {!r} is one more\n  declared: m.py:1\n  hint: {}\n"
    assert merkl("run", "m.f", "1", "--loud", "true").err == more.format(
        "true", "the value of a flag stands behind =, as in --loud=true"
    )
    assert merkl("run", "m.f", "1", "n=2").err == more.format("1", "n is given by name")
    assert merkl("run", "m.f", "1", "--no-loud=on").err == (
        "--no-loud takes no value\n  declared: m.py:1\n  hint: --loud=on\n"
    )


def test_times_and_identifiers_are_words_too(merkl):
    (merkl.root / "m.py").write_text(
        "import datetime, uuid\n"
        "def f(at: datetime.time, of: uuid.UUID, since: datetime.datetime = datetime.datetime(2020, 1, 2), raw: bytes = b'x'):\n"
        "    return [str(at), of.hex, str(since), raw]\n"
    )
    zeros = "0" * 32

    assert merkl("run", "m.f", "23:59", zeros).out == (
        f"['23:59:00', '{zeros}', '2020-01-02 00:00:00', b'x']\n"
    )
    assert "not '25:00'" in merkl("run", "m.f", "25:00", zeros).err
    shown = merkl("run", "m.f", "--help").out
    assert "[default: 2020-01-02T00:00:00]" in shown and "[default: x]" in shown


def test_a_batch_takes_items_of_the_type_of_its_single_task(merkl):
    (merkl.root / "m.py").write_text(
        "from merkl import batch, task\n"
        "@task\ndef double(n: int):\n    return 2 * n\n"
        "@batch(double)\ndef doubles(ns):\n    return [2 * n for n in ns]\n"
    )

    assert merkl("run", "-q", "-j1", "m.doubles", "1", "2").out == "0: 2\n1: 4\n"
    assert "each a whole number" in merkl("run", "m.doubles", "1,x").err
