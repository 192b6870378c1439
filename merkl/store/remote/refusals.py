"""What the errors of a bucket mean to the user.

It decides which of a library's long texts become one line, and what to do next.  Of those texts only codes and a few known
words are used: an address in them may hold what nobody should see.

The invariant: no part of a request is repeated.
"""

import re
from typing import Final

from merkl.errors import StoreError, StoreFull
from merkl.store.remote.errors import RemoteError

_STATUS: Final = re.compile(r"status code: (\d{3}) ?([A-Za-z ]*)")
_CODE: Final = re.compile(r"<Code>(\w{1,60})</Code>|\"code\": ?\"?(\w{1,60})")
_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
_RANGE: Final = ("InvalidRange", "status code: 416")
_FULL: Final = ("QuotaExceeded", "InsufficientStorage", "status code: 507", "EntityTooLarge")
_CLOCK: Final = ("RequestTimeTooSkewed", "RequestExpired", "Request has expired")
_REGION: Final = ("incorrectly configured region", "PermanentRedirect", "AuthorizationHeaderMalformed")
_EXPIRED: Final = ("ExpiredToken", "TokenRefreshRequired", "ExpiredAuthentication")
# Where machines of a cloud ask for credentials.
_MACHINES: Final = (
    "169.254.169.254",
    "metadata.google.internal",
)
_CREDENTIALS: Final = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_SKIP_SIGNATURE=true reads a public bucket",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or log in with `gcloud auth application-default login`",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
}
_NO_CREDENTIALS: Final = (
    "Account must be specified",
    "credential",
    "MissingToken",
    "InvalidAuthenticationToken",
)
_WORDS: Final = (
    ("InvalidContentType", "it does not speak TLS"),
    ("NotPartial", "it sends more of an object than it is asked for"),
    ("certificate", "its certificate is not one that this machine trusts"),
    ("InvalidCertificate", "its certificate is not one that this machine trusts"),
    ("dns error", "there is no host of that name"),
    ("failed to lookup address", "there is no host of that name"),
    ("Connection refused", "nothing answers at that address"),
    ("ConnectionRefused", "nothing answers at that address"),
    ("Network is unreachable", "the network cannot be reached"),
    ("TimedOut", "it did not answer in time"),
    ("timed out", "it did not answer in time"),
    ("Connection reset", "it ended the connection"),
    ("ConnectionReset", "it ended the connection"),
    ("IncompleteMessage", "it ended the connection"),
    ("UnexpectedEof", "it ended the connection"),
    ("kind: Connect", "it cannot be reached"),
    ("kind: Decode", "it ended the connection in the middle of an answer"),
)
_HINTS: Final = {
    "it does not speak TLS": "http:// or https://? see endpoint: of the remote in merkl.yaml",
    "it sends more of an object than it is asked for": "its server, or a proxy before it, would have to know Range",
    "its certificate is not one that this machine trusts": "AWS_CA_BUNDLE or SSL_CERT_FILE names a file with the one to trust",
    "there is no host of that name": "is the network there, and the remote spelled right in merkl.yaml?",
    "nothing answers at that address": "does the server run? see endpoint: of the remote in merkl.yaml",
}


def is_beyond(error: Exception) -> bool:
    """Whether more was asked for than an object has."""
    return _any(_RANGE, str(error))


def is_no_bucket(error: Exception) -> bool:
    """Whether what is not there is not the object but the bucket."""
    return _any(_NO_BUCKET, str(error))


def is_away(error: Exception) -> bool:
    """Whether the bucket gave no answer of its own, so that to ask it again would be to wait again."""
    status = _STATUS.search(str(error))
    return status is None or status[1].startswith("5")


def is_final(error: Exception) -> bool:
    """Whether every other request would end in the same way."""
    return is_away(error) or is_no_bucket(error) or _any((*_MACHINES, *_CLOCK, *_EXPIRED), str(error))


def refusal(error: Exception, url: str) -> StoreError:
    """The error for the user; ``url`` names the remote."""
    text = str(error)
    status = _STATUS.search(text)
    if _any(_MACHINES, text):
        return no_credentials(url)
    if is_no_bucket(error):
        return no_bucket(url)
    if _any(_FULL, text):
        return StoreFull(f"the remote {url} cannot take more: {_said(text, status)}", hint="make room there")
    if _any(_CLOCK, text):
        return RemoteError(
            f"the remote {url} refuses requests: this machine's clock is wrong, or the server's",
            hint="compare `date -u` with the time of another machine",
        )
    if _any(_EXPIRED, text):
        return RemoteError(
            f"the remote {url} refuses requests: the credentials have expired",
            hint="log in again, such as with `aws sso login`",
        )
    if _any(_REGION, text):
        return RemoteError(
            f"the remote {url} is in another region",
            hint="write region: into the remote's settings, or set AWS_REGION",
        )
    if status is not None:
        return _of_status(int(status[1]), _said(text, status), url)
    for word, meaning in _WORDS:
        if word in text:
            return RemoteError(
                f"the remote {url} cannot be used: {meaning}",
                hint=_HINTS.get(
                    meaning, "is the network there? timeout: in the remote's settings waits longer"
                ),
            )
    if _any(_NO_CREDENTIALS, text):
        return no_credentials(url)
    return RemoteError(f"the remote {url} cannot be used: {_kind(error)}", hint="`merkl doctor` looks at it")


def no_bucket(url: str) -> RemoteError:
    """The error of a bucket that is not there."""
    return RemoteError(
        f"the remote {url} cannot be used: there is no such bucket",
        hint="make the bucket, or correct the remote's url and endpoint in merkl.yaml",
    )


def no_credentials(url: str) -> RemoteError:
    """The error of a request that could not be signed."""
    return RemoteError(
        f"the remote {url} cannot be used: there are no credentials for it",
        hint=_CREDENTIALS.get(url.partition(":")[0], _CREDENTIALS["s3"]),
    )


def _of_status(status: int, said: str, url: str) -> StoreError:
    if status in (401, 403):
        return RemoteError(
            f"the remote {url} refuses requests: {said}",
            hint="may these credentials use it? Others: "
            + _CREDENTIALS.get(url.partition(":")[0], _CREDENTIALS["s3"]),
        )
    return RemoteError(
        f"the remote {url} cannot be used: it answers {said}", hint="is it the right address? try again later"
    )


def _said(text: str, status: "re.Match[str] | None") -> str:
    """The status and the code of an answer."""
    code = _CODE.search(text)
    words = [f"{status[1]} {status[2]}".strip()] if status is not None else []
    if code is not None:
        words.append(f"({code[1] or code[2]})")
    return " ".join(words) or "no reason given"


def _kind(error: Exception) -> str:
    return f"an error of the kind {type(error).__name__}"


def _any(words: tuple[str, ...], text: str) -> bool:
    return any(word in text for word in words)
