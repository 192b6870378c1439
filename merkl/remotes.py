"""What is said of a remote: where it is, and how it is used.

It decides which settings there are, and that none of them is a secret: credentials come from the environment and from the
files that the programs of a cloud read.  It opens nothing.

The invariant: an address that may hold a password is not repeated in the message that refuses it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from merkl.dataclass import dataclass, field_names
from merkl.errors import ConfigError, did_you_mean
from merkl.pattern import pattern

NAMESPACE: Final = "default"
TIMEOUT_S: Final = 10.0
_EXAMPLE: Final = "remote: {url: s3://bucket/prefix}, or a directory: remote: {url: /mnt/team/merkl}"
_URL: Final = pattern(r"[a-z][a-z0-9+.-]*://([^/]*)(.*)", re.IGNORECASE | re.DOTALL)
_NAMESPACE: Final = pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SECRET: Final = pattern(
    r"secret|password|passwd|token|credential|access.?key|account.?key|key.?id|^sas|signature", re.IGNORECASE
)
ELSEWHERE: Final = (
    "credentials come from the environment (AWS_ACCESS_KEY_ID, …) or from files such as ~/.aws/credentials"
)
_LONGEST_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class RemoteConfig:
    """Where results are shared.

    ``url`` is a directory or a bucket; ``endpoint`` is the address of a server that is not the cloud's own, ``region`` the
    part of the cloud.  Records of one ``namespace`` are never seen in another.  ``timeout`` is for how many seconds a remote
    that fails is waited for in all.  With ``required`` a build fails when the remote does; with ``push`` it sends there what it makes.
    """

    url: str
    endpoint: str = ""
    region: str = ""
    namespace: str = NAMESPACE
    timeout: float = TIMEOUT_S
    required: bool = False
    push: bool = False


def remote_from(given: object, named: str, file: str) -> RemoteConfig | None:
    """``remote: URL``, or ``remote: {url: URL, …}``, as ``given`` in ``file``.

    ``named`` is the URL that the environment gives instead: then only what belongs to the project stays of the rest.

    Raises:
        ConfigError: it is none, or has a setting that is unknown, of the wrong type, or secret.
    """
    settings: Any = {"url": given} if isinstance(given, str) else given
    if named:
        kept = settings if isinstance(settings, Mapping) else {}
        settings = {"url": named} | {name: kept[name] for name in ("namespace", "timeout") if name in kept}
    if settings is None:
        return None
    what = "MERKL_REMOTE" if named else f"{file}: remote"
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{what} is a URL or settings, not {type(given).__name__}", hint=_EXAMPLE)
    return checked_remote(settings, what)


def checked_remote(settings: Mapping[Any, Any], what: str) -> RemoteConfig:
    """A remote, of its settings; ``what`` says in messages where they stand.

    Raises:
        ConfigError: one is unknown, of the wrong type, or secret.
    """
    _check_names(settings, what)
    url = settings.get("url")
    if not isinstance(url, str) or not url:
        raise ConfigError(f"{what} has no url", hint=_EXAMPLE)
    _check_address(url, what, "url")
    _check_types(settings, what)
    return RemoteConfig(**{**settings, "timeout": float(settings.get("timeout", TIMEOUT_S))})


def is_secret(name: str) -> bool:
    """Whether a setting of that name holds something that is not for others to read."""
    return _SECRET.search(name) is not None


def is_namespace(text: str) -> bool:
    """Whether a text can name a namespace: as a part of an object's name."""
    return _NAMESPACE.fullmatch(text) is not None


def _check_names(settings: Mapping[Any, Any], what: str) -> None:
    known = field_names(RemoteConfig)
    for name in settings:
        if name in known:
            continue
        if name == "pickles":
            raise ConfigError(
                f"{what}: pickles is not for a project to say",
                hint="`merkl key trust KEY --allow files,pickle` trusts one key for pickles",
            )
        if is_secret(str(name)):
            raise ConfigError(f"{what}: {name} does not belong in a file that others read", hint=ELSEWHERE)
        raise ConfigError(f"{what} has no setting {name!r}", hint=did_you_mean(str(name), known))


def _check_types(settings: Mapping[Any, Any], what: str) -> None:
    for name in ("required", "push"):
        if not isinstance(settings.get(name, False), bool):
            raise ConfigError(f"{what}: {name} is true or false, not {settings[name]!r:.60}")
    for name in ("endpoint", "region", "namespace"):
        if not isinstance(settings.get(name, ""), str):
            raise ConfigError(f"{what}: {name} is text, not {type(settings[name]).__name__}")
    namespace = settings.get("namespace", NAMESPACE)
    if not is_namespace(namespace):
        raise ConfigError(
            f"{what}: {namespace!r:.80} is no namespace",
            hint="letters, digits, - _ and ., at most 64, not . first",
        )
    endpoint = settings.get("endpoint", "")
    if endpoint:
        _check_address(endpoint, what, "endpoint")
        if not endpoint.lower().startswith(("http://", "https://")):
            raise ConfigError(
                f"{what}: endpoint is no address",
                hint="such as https://storage.example.org:9000",
            )
    timeout = settings.get("timeout", TIMEOUT_S)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= _LONGEST_S:
        raise ConfigError(
            f"{what}: timeout is a number of seconds up to {_LONGEST_S:.0f}, not {timeout!r:.60}"
        )


def _check_address(text: str, what: str, name: str) -> None:
    """Refuse an address with a user, a password or a signed query in it."""
    match = _URL.fullmatch(text)
    if match is None:
        return
    if "@" in match[1]:
        raise ConfigError(
            f"{what}: {name} has a user or a password in it, which is not shown", hint=ELSEWHERE
        )
    if re.search(r"[?#]", match[1] + match[2]) and not text.lower().startswith("file:"):
        raise ConfigError(
            f"{what}: {name} has a query or a fragment in it, which is not shown", hint=ELSEWHERE
        )
