"""Versions of installed distributions in keys."""

from importlib.metadata import version

import pytest

from merkl.errors import TaskError
from merkl.python.versions import pip_version_of


def test_it_names_the_distribution_and_its_version():
    assert pip_version_of("click") == f"click {version('click')}"


def test_what_is_not_installed_is_an_error_that_says_where_to_install_it():
    with pytest.raises(TaskError, match="no distribution of that name is installed") as caught:
        pip_version_of("no-such-distribution")

    assert "install it into the environment of " in caught.value.hint


def test_the_name_of_a_module_is_answered_with_that_of_its_distribution():
    with pytest.raises(TaskError) as caught:
        pip_version_of("yaml")

    assert "pip_version_of('PyYAML')" in caught.value.hint
