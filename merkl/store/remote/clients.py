"""The connections to a bucket, by what is asked of it.

It decides how long each kind of request may take.  A question has to be answered whole within half of the time that a remote
is waited for, and may be asked again within the first half: so it ends in that time.  Of what is read only each pause counts
here; who reads looks at how fast it comes.  What is sent gets longer the more it is.

It knows no names of objects.  The invariant: nothing is asked in a process that was forked from one that had asked, since
the library's threads are not in it.
"""

import os
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from merkl.errors import ConfigError
from merkl.remotes import RemoteConfig
from merkl.store.remote.credentials import amazon
from merkl.store.remote.errors import RemoteError

SLOWEST: Final = 100_000  # Bytes per second: what is sent more slowly than this has failed.
_TRIES: Final = 4  # After the first.
_DAY_S: Final = 86_400.0
_KINDS: Final = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}

_used_by: int | None = None  # The process in which the library has been used.


class Clients:
    """What ``obstore`` needs to talk to one bucket.  Safe to share between threads."""

    def __init__(self, scheme: str, bucket: str, prefix: str, settings: RemoteConfig) -> None:
        self._scheme = scheme
        self._bucket = bucket
        self._prefix = prefix
        self._settings = settings
        self._half = settings.timeout / 2
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}
        self._options: tuple[Mapping[str, Any], Mapping[str, Any], Callable[[], Any] | None] | None = None

    def ask(self) -> Any:
        """For questions, whose answer is small."""
        return self._client("ask", timeout=self._half)

    def read(self) -> Any:
        """For what is read as it comes."""
        return self._client("read", timeout=_DAY_S)

    def send(self, size: int) -> Any:
        """For sending so many bytes in one request, beside some others."""
        needed = self._half + size / SLOWEST
        doubled = self._half
        while doubled < needed:
            doubled *= 2
        return self._client(f"send {doubled}", timeout=doubled)

    def _client(self, name: str, *, timeout: float) -> Any:
        with self._lock:
            _expect_own_process(self._settings.url)
            if name not in self._made:
                self._made[name] = self._make(timeout)
            return self._made[name]

    def _make(self, timeout: float) -> Any:
        store = _library()
        if self._options is None:
            self._options = self._configured()
        config, client, provider = self._options
        half = timedelta(seconds=self._half)
        given = {} if provider is None else {"credential_provider": provider}
        return getattr(store, _KINDS[self._scheme])(
            self._bucket,
            prefix=self._prefix or None,
            config=dict(config),
            client_options={
                **client, "connect_timeout": half, "read_timeout": half if timeout >= _DAY_S else timedelta(seconds=timeout),
                "timeout": timedelta(seconds=timeout), "user_agent": "merkl",
            },
            retry_config={
                "max_retries": _TRIES, "retry_timeout": half,
                "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": half, "base": 2},
            },
            **given,
        )  # fmt: skip

    def _configured(self) -> tuple[Mapping[str, Any], Mapping[str, Any], Callable[[], Any] | None]:
        """What the library is told, what its client is told, and who gives credentials if it shall not look itself."""
        config: dict[str, Any] = {}
        provider = None
        endpoint = self._settings.endpoint
        if self._scheme == "s3":
            config, provider = amazon(self._settings, os.environ)
            endpoint = config.get("endpoint", "")
        elif endpoint:
            config["base_url" if self._scheme == "gs" else "endpoint"] = endpoint
        client: dict[str, Any] = {}
        if endpoint.lower().startswith("http://"):
            client["allow_http"] = True
        if bundle := os.environ.get("AWS_CA_BUNDLE"):
            try:
                with open(bundle, "rb") as file:
                    client["root_certificate"] = file.read()
            except OSError as error:
                raise ConfigError(
                    f"AWS_CA_BUNDLE names a file that cannot be read: {error.strerror}",
                    hint="unset it, or correct it",
                ) from error
        return config, client, provider


def _library() -> Any:
    try:
        from obstore import store
    except ImportError:
        raise ConfigError(
            "a bucket as remote needs a library that is not installed", hint="pip install 'merkl[remote]'"
        ) from None
    return store


def _expect_own_process(url: str) -> None:
    global _used_by
    if _used_by is None:
        _used_by = os.getpid()
    elif _used_by != os.getpid():
        raise RemoteError(
            f"the remote {url} cannot be used in a process that was forked from one that uses it",
            hint="start processes with multiprocessing's method spawn, or use the remote in one of them only",
        )
