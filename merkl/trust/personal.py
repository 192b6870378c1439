"""The key that this user signs with.

It decides where it comes from: ``MERKL_SIGNING_KEY``, else a file of the user's own, made when it is first needed.  Under
``MERKL_TRUST`` only the first counts, since a machine that builds for others may have been left anything in its HOME.

The invariant: a secret is never written into a project, and two processes that need one for the first time get one.
"""

import os
from collections.abc import Mapping
from typing import Final

from merkl.errors import ConfigError
from merkl.trust.files import read_own, refuse_inside, settings_directory, write_own
from merkl.trust.signer import SECRET_VARIABLE
from merkl.trust.signing import SigningKey

TRUST: Final = "MERKL_TRUST"
_NAME: Final = "signing.key"
_HEAD: Final = "merkl signing key 1: keep it to yourself\n"


def key_file(environ: Mapping[str, str]) -> str:
    """Where the user's own key is kept."""
    return os.path.join(settings_directory(environ), _NAME)


def own_key(environ: Mapping[str, str]) -> SigningKey | None:
    """The key that this user signs with, if there is one yet.

    Raises:
        ConfigError: what should be one is none, or others can read it.
    """
    given = environ.get(SECRET_VARIABLE)
    if given:
        try:
            return SigningKey.parse(given)
        except ValueError as error:
            raise ConfigError(
                f"{SECRET_VARIABLE}: {error}", hint="`merkl key new --print` prints a new one"
            ) from None
    return None if TRUST in environ else _kept(environ)


def _kept(environ: Mapping[str, str]) -> SigningKey | None:
    path = key_file(environ)
    text = read_own(path, secret=True)
    if text is None:
        return None
    try:
        return SigningKey.parse(text.removeprefix(_HEAD))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", hint="move it away; `merkl key new` makes another") from None


def make_own_key(environ: Mapping[str, str], *, replace: bool = False, outside: str = "") -> SigningKey:
    """Make the user's key and keep it; one that another process has just made counts, unless it is to be replaced.

    Raises:
        ConfigError: it cannot be kept, or would lie in the project, ``outside`` which it has to be.
    """
    if TRUST in environ:
        raise ConfigError(
            f"under {TRUST} records are signed with {SECRET_VARIABLE}, and it is not set",
            hint=f"`merkl key new --print` prints a key: keep it as a secret of CI, and set {SECRET_VARIABLE} to it",
        )
    path = key_file(environ)
    refuse_inside(path, outside, "a signing key is")
    made = SigningKey.new()
    if write_own(path, f"{_HEAD}{made.secret()}\n{made.signer}\n", secret=True, replace=replace):
        return made
    known = _kept(environ)
    return make_own_key(environ, replace=replace, outside=outside) if known is None else known
