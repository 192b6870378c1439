"""Versions of installed distributions, as values for ``deps=``.

It decides nothing: what is installed where this Python runs is asked.
"""

from merkl.errors import TaskError


def pip_version_of(distribution: str) -> str:
    """A value that changes when another version of ``distribution`` is installed: ``"numpy 2.1.0"``.

    The name is that of the distribution (``scikit-learn``), not of a module in it (``sklearn``).

    Raises:
        TaskError: nothing of that name is installed.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{distribution} {version(distribution)}"
    except (PackageNotFoundError, ValueError):
        raise TaskError(
            f"pip_version_of({distribution!r}): no distribution of that name is installed",
            hint=_hint(distribution),
        ) from None


def _hint(name: str) -> str:
    """What to do: the distribution that a module of that name comes from, or an installation."""
    import sys
    from importlib.metadata import packages_distributions

    found = packages_distributions().get(name)
    if found:
        return f"the module {name} comes from pip_version_of({found[0]!r})"
    return f"install it into the environment of {sys.executable}"
