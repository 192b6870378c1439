"""What exit codes mean."""

import pytest

from merkl.execute.meaning import exit_meaning


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "success"),
        (1, "grep"),
        (124, "timeout"),
        (126, "found but not executable"),
        (127, "command not found"),
        (-9, "killed by signal 9 (SIGKILL), likely out of memory"),
        (137, "killed by signal 9 (SIGKILL), likely out of memory"),
        (141, "(SIGPIPE), a reader such as head closed the pipe; see pipefail"),
        (130, "(SIGINT), interrupted"),
        (143, "(SIGTERM), asked to stop"),
        (139, "segmentation fault"),
        (-11, "segmentation fault"),
        (-10, "killed by signal 10 (SIGUSR1)"),
        (-200, "killed by signal 200"),
    ],
)
def test_a_code_is_explained(code, words):
    assert words in exit_meaning(code)


@pytest.mark.parametrize("code", [3, 42, 128, 129 + 100, 255])
def test_a_code_without_a_meaning_is_only_named(code):
    assert exit_meaning(code) == f"exit code {code}"


def test_every_code_has_one_line():
    for code in range(-70, 256):
        text = exit_meaning(code)
        assert text
        assert "\n" not in text
        assert code < 0 or f"exit code {code}" in text
