"""What is shown of an error that nobody caught in a script."""

from pathlib import Path

import pytest

from merkl.config import load_config
from merkl.errors import ConfigError, MerklError
from merkl.tracebacks import show


def test_what_a_library_said_to_merkl_is_in_the_message_alone(tmp_path: Path) -> None:
    (tmp_path / "merkl.yaml").write_text("store: [")
    with pytest.raises(ConfigError, match="is not valid YAML") as caught:
        load_config(str(tmp_path))
    assert caught.value.__cause__ is not None
    show(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_what_the_users_own_code_raised_is_shown() -> None:
    def own() -> None:
        raise ValueError("mine")

    with pytest.raises(MerklError) as caught:
        try:
            own()
        except ValueError as error:
            raise MerklError("worded") from error
    show(caught.value)
    cause = caught.value.__cause__
    assert isinstance(cause, ValueError) and cause.__traceback__ is not None
