"""Where the credentials for Amazon's protocol come from, as other programs find them: environment, then files, then machine.

It decides nothing about other clouds, whose files the library reads itself.  It keeps no secret longer than it is used, and puts
none into a message.

The invariant: nothing of this comes from a file of the project.
"""

import configparser
import json
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from merkl.errors import ConfigError
from merkl.remotes import RemoteConfig

_OTHERS: Final = (  # Where the library itself looks, before it asks the machine.
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
_OFF: Final = ("", "false", "0", "no", "off")  # AWS_SKIP_SIGNATURE may be any of these.
_BY_BOTO: Final = ("sso_session", "sso_start_url", "role_arn", "login_session")
_PATIENCE_S: Final = 60.0  # For a program that gives credentials.
_REGION: Final = "us-east-1"

Provider = Callable[[], Mapping[str, Any]]


def amazon(settings: RemoteConfig, environ: Mapping[str, str]) -> tuple[dict[str, Any], Provider | None]:
    """What the library is to be told, and who gives it credentials if it shall not look for them itself.

    Raises:
        ConfigError: there is a profile asked for that is nowhere, or that needs what is not installed.
    """
    name = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or ""
    profile = _profile(name or "default", environ)
    if name and profile is None and not environ.get("AWS_ACCESS_KEY_ID"):
        raise ConfigError(
            f"AWS_PROFILE is {name!r}, and there is no such profile",
            hint="`aws configure list-profiles` shows them",
        )
    profile = profile or {}
    config: dict[str, Any] = {
        "region": settings.region
        or environ.get("AWS_REGION")
        or environ.get("AWS_DEFAULT_REGION")
        or profile.get("region", _REGION)
    }
    endpoint = (
        settings.endpoint
        or environ.get("AWS_ENDPOINT_URL_S3")
        or environ.get("AWS_ENDPOINT_URL")
        or environ.get("AWS_ENDPOINT")
        or profile.get("endpoint_url", "")
    )
    if endpoint:
        # What the environment says under the second name would come before the first.
        config["endpoint"] = config["aws_endpoint_url_s3"] = endpoint
    if any(environ.get(each, "").lower() not in _OFF for each in _OTHERS):
        return config, None
    keys = _keys(profile)
    return config | keys, None if keys else _provider(name, profile)


def _keys(profile: Mapping[str, str]) -> dict[str, str]:
    if not (profile.get("aws_access_key_id") and profile.get("aws_secret_access_key")):
        return {}
    keys = {
        "access_key_id": profile["aws_access_key_id"],
        "secret_access_key": profile["aws_secret_access_key"],
    }
    token = profile.get("aws_session_token")
    return keys | ({"session_token": token} if token else {})


def _provider(name: str, profile: Mapping[str, str]) -> Provider | None:
    """Who gives credentials that change; None if there is nobody but the machine."""
    if command := profile.get("credential_process"):
        return lambda: _from_process(command)
    if not any(profile.get(each) for each in _BY_BOTO):
        return None
    try:
        import boto3.session
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise ConfigError(
            f"the profile {name or 'default'!r} of AWS logs in or takes a role, for which merkl needs boto3",
            hint='pip install boto3; or eval "$(aws configure export-credentials --format env)"',
        ) from None
    try:
        provider: Provider = Boto3CredentialProvider(boto3.session.Session(profile_name=name or None))
        return provider
    except Exception as error:  # noqa: BLE001 - whatever boto3 has to say, its words may hold anything.
        raise ConfigError(
            f"the profile {name or 'default'!r} of AWS gives no credentials: {type(error).__name__}",
            hint="`aws sts get-caller-identity` says more; `aws sso login` logs in",
        ) from None


def _from_process(command: str) -> Mapping[str, Any]:
    """What the program that a profile names says."""
    try:
        done = subprocess.run(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=True,
        )
        said = json.loads(done.stdout)
        expires = said.get("Expiration")
        return {
            "access_key_id": said["AccessKeyId"],
            "secret_access_key": said["SecretAccessKey"],
            "token": said.get("SessionToken"),
            "expires_at": datetime.fromisoformat(expires)
            if expires
            else datetime.now(UTC) + timedelta(hours=1),
        }
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RuntimeError(f"credential_process of the AWS profile failed: {type(error).__name__}") from None


def _profile(name: str, environ: Mapping[str, str]) -> dict[str, str] | None:
    """What the two files say of a profile, the file for credentials first; None if neither has it."""
    home = environ.get("HOME") or os.path.expanduser("~")
    places = (
        (environ.get("AWS_CONFIG_FILE"), "config", "default" if name == "default" else f"profile {name}"),
        (environ.get("AWS_SHARED_CREDENTIALS_FILE"), "credentials", name),
    )
    found: dict[str, str] | None = None
    for given, file, section in places:
        path = os.path.expanduser(given) if given else os.path.join(home, ".aws", file)
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            raise ConfigError(
                f"{path} cannot be read: it is not as AWS writes it", hint="correct it, or move it away"
            ) from None
        if parser.has_section(section):
            found = {**(found or {}), **dict(parser.items(section))}
    return found
