"""``-o``, ``-q`` and ``output:`` in merkl.yaml, through a pipe."""

import pytest

TALK = """
    from merkl import bash_task, target

    @target(default=True)
    def all():
        bash_task("echo hello; echo 1 > {out_file_arg('out', '.txt')}", name="talk")() > "one.txt"
"""


@pytest.fixture
def talk(merkl):
    merkl.merklfile(TALK)
    return merkl


def shown(done):
    """What is said, without times."""
    import re

    return re.sub(r"  [\d.]+s\n", "\n", done.out).partition("1 task")[0]


def test_by_default_the_output_of_each_task_is_shown_when_it_has_ended(talk):
    assert shown(talk("build")) == shown(talk("build", "-B", "-o", "each")) == "[1/1] talk one.txt\n  hello\n"


def test_live_puts_the_task_before_each_line(talk):
    assert shown(talk("build", "--output", "live")) == "talk one.txt | hello\n[1/1] talk one.txt\n"


@pytest.mark.parametrize("words", [["-q"], ["-o", "quiet"], ["-q", "-o", "quiet"]])
def test_quiet_says_nothing_of_what_works(talk, words):
    done = talk("build", *words)

    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_cached_task_prints_nothing_again(talk):
    talk("build")

    assert shown(talk("build")) == shown(talk("build", "-o", "live")) == ""


def test_the_settings_may_say_so_for_every_build_and_an_option_wins(talk):
    (talk.root / "merkl.yaml").write_text("output: live\n")

    assert "talk one.txt | hello" in talk("build").out
    assert shown(talk("build", "-B", "-o", "each")) == "[1/1] talk one.txt\n  hello\n"
    assert talk("build", "-B", "-q").out == ""


def test_options_that_contradict_each_other_are_an_error(talk):
    done = talk("build", "-q", "-o", "live")

    assert done.code == 2
    assert done.err == "-q is -o quiet, and -o live was given too\n  hint: leave out one of them\n"


def test_a_wrong_setting_is_an_error_that_names_what_there_is(talk):
    (talk.root / "merkl.yaml").write_text("output: loud\n")
    done = talk("build")

    assert done.code == 2
    assert "merkl.yaml: output is each, live or quiet, not 'loud'" in done.err
