"""A bucket as remote: what its settings may say, where its credentials come from, how long it is waited for."""

import io
import os
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shared_stores import bucket_objects, bucket_settings

from merkl.config import load_config
from merkl.errors import ConfigError, StoreError
from merkl.remotes import RemoteConfig, checked_remote
from merkl.store.remote import credentials
from merkl.store.remote.clients import Clients
from merkl.store.remote.errors import RemoteError
from merkl.store.remote.places import open_objects
from merkl.store.remote.refusals import refusal
from merkl.store.remote.remote import Remote

CANARY = "CANARY-7f3a"


def settings_of(tmp_path: Path, text: str, **environ: str) -> RemoteConfig | None:
    (tmp_path / "merkl.yaml").write_text(f"remote: {text}\n")
    return load_config(str(tmp_path), environ=environ).remote


# ---- settings ----------------------------------------------------------------------------------------------------------


def test_the_settings_of_a_remote(tmp_path: Path) -> None:
    text = (
        "{url: s3://b/p, endpoint: https://s.example.org:9000, region: eu-west-1, namespace: a-1, timeout: 3}"
    )

    assert settings_of(tmp_path, text) == RemoteConfig(
        "s3://b/p", "https://s.example.org:9000", "eu-west-1", "a-1", 3.0
    )
    assert settings_of(tmp_path, "/mnt/x") == RemoteConfig("/mnt/x")


def test_the_environment_names_another_place_and_the_namespace_stays(tmp_path: Path) -> None:
    text = "{url: s3://b/p, endpoint: https://s.example.org:9000, namespace: mine, push: true}"

    assert settings_of(tmp_path, text, MERKL_REMOTE="../x") == RemoteConfig("../x", namespace="mine")


@pytest.mark.parametrize(
    "text",
    [
        f"s3://key:{CANARY}@bucket/prefix",
        f"{{url: 's3://{CANARY}@bucket'}}",
        f"{{url: 'az://container/x?sig={CANARY}'}}",
        f"{{url: s3://b, endpoint: 'https://u:{CANARY}@host'}}",
        f"{{url: s3://b, endpoint: 'https://host/?token={CANARY}'}}",
        *(
            f"{{url: s3://b, {name}: {CANARY}}}"
            for name in ("access_key_id", "secret_access_key", "aws_secret_access_key", "session_token",
                         "account_key", "sas_token", "password", "secretKey", "credentials")
        ),
    ],
)  # fmt: skip
def test_a_secret_in_the_settings_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, text)

    assert CANARY not in str(caught.value) and "~/.aws/credentials" in caught.value.hint


def test_a_secret_in_the_environments_url_is_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MERKL_REMOTE") as caught:
        settings_of(tmp_path, "/mnt/x", MERKL_REMOTE=f"s3://a:{CANARY}@b")

    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"['key:{CANARY}@bucket']",
        f"{{url: s3://b, endpoint: 'u:{CANARY}@host'}}",
        f"{{url: s3://b, endpoint: ['u:{CANARY}@host']}}",
    ],
)
def test_what_may_have_been_meant_as_an_address_is_not_shown_if_it_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="remote") as caught:
        settings_of(tmp_path, text)

    assert CANARY not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{url: s3://b, urll: x}", "did you mean url"),
        ("{endpoint: https://x}", "no url"),
        ("[1]", "remote is a URL or settings"),
        ("{url: s3://b, timeout: soon}", "timeout is a number of seconds"),
        ("{url: s3://b, timeout: 0}", "timeout is a number of seconds"),
        ("{url: s3://b, timeout: true}", "timeout is a number of seconds"),
        ("{url: s3://b, namespace: ../x}", "no namespace"),
        ("{url: s3://b, endpoint: host}", "no address"),
        ("{url: s3://b, push: 1}", "push is true or false"),
    ],
)
def test_a_setting_that_is_none_is_an_error_that_names_it(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        settings_of(tmp_path, text)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("s3://b/../x", "is no prefix"),
        ("s3://b/a//b", "is no prefix"),
        ("s3://b/a\nb", "is no prefix"),
        ("s3://b/a~b", "'a~b' is no prefix"),
        ("http://b", "no place that this merkl knows"),
        ("ftp://b/x", "no place that this merkl knows"),
    ],
)
def test_a_url_of_no_place_is_an_error(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_objects(url, "/nowhere")


@pytest.mark.parametrize("url", ["gs://bucket/x", "az://container/x", "s3://bucket"])
def test_the_places_of_several_clouds_are_opened_without_asking_them(url: str) -> None:
    objects = open_objects(url, "/nowhere")

    assert objects.url == url
    objects.close()


# ---- credentials -------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".aws").mkdir()
    return tmp_path


def told(home: Path, settings: RemoteConfig | None = None, **environ: str) -> tuple[dict[str, Any], Any]:
    return credentials.amazon(settings or RemoteConfig("s3://b"), {"HOME": str(home), **environ})


def test_credentials_come_from_the_files_of_aws(home: Path) -> None:
    (home / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = B%\n"
        "[work]\naws_access_key_id=C\naws_secret_access_key=D\naws_session_token=E\n"
    )
    (home / ".aws/config").write_text(
        "[default]\nregion = eu-central-1\n[profile work]\nregion=us-west-2\nendpoint_url=http://e:1\n"
    )

    assert told(home) == (
        {"region": "eu-central-1", "access_key_id": "A", "secret_access_key": "B%"}, None
    )  # fmt: skip
    config, _ = told(home, AWS_PROFILE="work")
    assert (
        config["session_token"] == "E"
        and config["region"] == "us-west-2"
        and config["endpoint"] == "http://e:1"
    )
    mine = RemoteConfig("s3://b", endpoint="http://mine:2", region="x-1")
    config, _ = told(home, mine, AWS_PROFILE="work", AWS_ENDPOINT_URL="http://other:3", AWS_REGION="y-1")
    assert (config["endpoint"], config["region"]) == ("http://mine:2", "x-1")
    config, _ = told(home, mine, AWS_ENDPOINT_URL_S3="http://other:3")
    assert {config["endpoint"], config["aws_endpoint_url_s3"]} == {"http://mine:2"}


def test_credentials_of_the_environment_come_first(home: Path) -> None:
    (home / ".aws/credentials").write_text("[default]\naws_access_key_id = A\naws_secret_access_key = B\n")

    config, provider = told(home, AWS_ACCESS_KEY_ID="X", AWS_SECRET_ACCESS_KEY="Y")

    assert "access_key_id" not in config and provider is None
    assert told(home, AWS_SKIP_SIGNATURE="false")[0]["access_key_id"] == "A"
    assert "access_key_id" not in told(home, AWS_SKIP_SIGNATURE="true")[0]


def test_a_program_gives_credentials(home: Path) -> None:
    says = '{"Version": 1, "AccessKeyId": "P", "SecretAccessKey": "Q", "SessionToken": "R", "Expiration": "2050-01-01T00:00:00Z"}'
    (home / "give").write_text(f"#!/bin/sh\necho '{says}'\n")
    (home / "give").chmod(0o755)
    (home / ".aws/config").write_text(f"[default]\ncredential_process = {home}/give now\n")

    _, provider = told(home)

    assert provider is not None
    given = provider()
    assert (given["access_key_id"], given["token"], given["expires_at"].year) == ("P", "R", 2050)


def test_a_program_that_gives_none_is_an_error_without_its_words(home: Path) -> None:
    (home / ".aws/config").write_text(f"[default]\ncredential_process = sh -c 'echo {CANARY}; exit 1'\n")
    _, provider = told(home)
    assert provider is not None

    with pytest.raises(RuntimeError, match="credential_process") as caught:
        provider()

    assert CANARY not in str(caught.value)


def test_a_profile_that_is_nowhere_and_a_file_that_is_none_are_errors(home: Path) -> None:
    with pytest.raises(ConfigError, match="'work'"):
        told(home, AWS_PROFILE="work")
    (home / ".aws/credentials").write_text(f"{CANARY}\n")
    with pytest.raises(ConfigError, match=r"\.aws/credentials cannot be read") as caught:
        told(home)
    assert CANARY not in str(caught.value)


def test_a_profile_that_logs_in_asks_boto3(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".aws/config").write_text("[profile sso]\nsso_start_url = https://x\nsso_region = us-east-1\n")
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(ConfigError, match="boto3"):
        told(home, AWS_PROFILE="sso")


@pytest.fixture
def by_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has credentials in files, if at all."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    return home


def test_a_bucket_is_used_with_the_keys_of_a_file(by_files: Path) -> None:
    (by_files / ".aws/credentials").write_text("[default]\naws_access_key_id=A\naws_secret_access_key=B\n")
    objects = bucket_objects()

    objects.put("a", b"1")

    assert objects.get("a") == b"1"
    objects.close()


def test_a_bucket_is_used_with_the_keys_that_a_program_gives(by_files: Path) -> None:
    says = '{"Version": 1, "AccessKeyId": "P", "SecretAccessKey": "Q"}'
    (by_files / "keys.json").write_text(says)
    (by_files / ".aws/config").write_text(f"[default]\ncredential_process = cat {by_files}/keys.json\n")
    objects = bucket_objects()

    objects.put("a", b"1")

    assert objects.get("a") == b"1"
    objects.close()


def test_a_program_that_gives_no_keys_is_an_error_that_says_where_they_can_be(by_files: Path) -> None:
    (by_files / ".aws/config").write_text(f"[default]\ncredential_process = cat {CANARY}\n")
    objects = bucket_objects()

    with pytest.raises(RemoteError, match="no credentials") as caught:
        objects.get("a")

    assert "AWS_PROFILE" in caught.value.hint and CANARY not in str(caught.value)
    objects.close()


# ---- trouble -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("status code: 403 Forbidden: <Error><Code>RequestTimeTooSkewed</Code>", "clock is wrong"),
        ("status code: 400 Bad Request: <Error><Code>ExpiredToken</Code>", "have expired"),
        ("status code: 403 Forbidden: <Error><Code>AccessDenied</Code>", r"403 Forbidden \(AccessDenied\)"),
        ("status code: 404 Not Found: <Error><Code>NoSuchBucket</Code>", "no such bucket"),
        ("Received redirect without LOCATION, an incorrectly configured region", "in another region"),
        ("status code: 503 Service Unavailable: <Code>SlowDown</Code>", "it answers 503"),
        ("Error performing PUT http://169.254.169.254/latest/api/token: status code: 403", "no credentials"),
        ("kind: Connect, source: InvalidCertificate(UnknownIssuer)", "certificate"),
        ("kind: Connect, source: InvalidMessage(InvalidContentType)", "does not speak TLS"),
        ("Received non-partial response when range requested source: NotPartial", "more of an object than"),
        ("kind: Connect, dns error, failed to lookup address", "no host of that name"),
        ("something else", "an error of the kind ValueError"),
    ],
)
def test_what_a_bucket_says_becomes_one_line_without_what_was_sent(text: str, says: str) -> None:
    error = refusal(
        ValueError(f"GET https://u:{CANARY}@host/?X-Amz-Signature={CANARY} {text} {CANARY}"), "s3://b"
    )

    assert CANARY not in str(error)
    with pytest.raises(StoreError, match=says):
        raise error


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing; its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_remote_that_says_nothing_costs_its_time_once(silent: str) -> None:
    objects = open_objects("s3://b/p", "", RemoteConfig("s3://b/p", silent, timeout=1))
    began = time.monotonic()
    asks: list[Callable[[], object]] = [
        lambda: objects.get("a"), lambda: objects.look("a"), lambda: objects.create("a", b""),
        lambda: objects.put("a", io.BytesIO(bytes(9 << 20))), lambda: list(objects.names("a")),
        lambda: objects.remove(["a"]), lambda: objects.open("a"), lambda: objects.move("a", "b"),
    ]  # fmt: skip

    for ask in asks:
        with pytest.raises(RemoteError, match="did not answer in time"):
            ask()

    assert time.monotonic() - began < 8  # 1 s, on a machine that is as busy as may be.
    objects.close()


def test_a_bucket_that_falls_silent_while_much_is_sent_is_not_waited_for(silent: str) -> None:
    objects = open_objects("s3://b/p", "", RemoteConfig("s3://b/p", silent, timeout=1))
    began = time.monotonic()

    for data in (io.BytesIO(bytes(9 << 20)), bytes(8 << 20)):
        with pytest.raises(RemoteError, match="did not answer in time"):
            objects.put("a", data)

    assert time.monotonic() - began < 8  # Such a request itself may take minutes.
    objects.close()


def test_a_process_that_was_forked_is_told_and_does_not_hang(tmp_path: Path) -> None:
    objects = bucket_objects()
    objects.put("a", b"1")
    read, write = os.pipe()

    pid = os.fork()
    if pid == 0:  # pragma: no cover - in the child.
        try:
            objects.get("a")
        except RemoteError as error:
            os.write(write, error.headline.encode())
        finally:
            os._exit(0)

    os.close(write)
    with open(read, "rb") as file:
        assert b"forked" in file.read()
    os.waitpid(pid, 0)
    objects.close()


def test_ctrl_c_is_heard_while_a_request_waits(silent: str, tmp_path: Path) -> None:
    import signal
    import subprocess

    code = textwrap.dedent(f"""
        import os, threading, time
        from merkl.remotes import RemoteConfig
        from merkl.store.remote.places import open_objects
        objects = open_objects("s3://b", "", RemoteConfig("s3://b", {silent!r}, timeout=4))
        print("ready", flush=True)
        began = time.monotonic()
        try:
            objects.get("a")
        except KeyboardInterrupt:
            print("heard", time.monotonic() - began < 1.5, flush=True)
    """)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.3)

    process.send_signal(signal.SIGINT)

    assert process.communicate(timeout=60)[0] == "heard True\n"
    assert process.returncode == 0


# ---- conditions --------------------------------------------------------------------------------------------------------


def test_a_place_is_probed_once_and_nothing_stays_of_that(tmp_path: Path) -> None:
    remote = Remote(bucket_objects())

    remote.prepare()
    before = remote.objects.get("merkl-remote")
    remote.prepare()

    assert [each.name for each in remote.objects.names("")] == ["merkl-remote"]
    assert remote.objects.get("merkl-remote") == before and remote.take_notes() == []
    remote.close()


def test_a_remote_of_an_older_layout_keeps_its_id(tmp_path: Path) -> None:
    objects = bucket_objects()
    objects.put("merkl-remote", b'{"merkl": 1, "id": "%s"}' % (b"0" * 32))
    remote = Remote(objects)

    remote.prepare()

    assert objects.get("merkl-remote") == b'{"merkl": 2, "id": "%s"}\n' % (b"0" * 32)
    remote.close()


def test_no_library_is_an_error_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)

    with pytest.raises(ConfigError, match="library") as caught:
        Clients("s3", "b", "", bucket_settings()).ask()

    assert "pip install 'merkl[remote]'" in caught.value.hint


def test_a_content_back_end_says_at_once_what_it_cannot_be() -> None:
    from merkl import S3ContentBackend

    for url in ("s3://", f"s3://a:{CANARY}@b", "ftp://x"):
        with pytest.raises(ConfigError) as caught:
            S3ContentBackend(url)
        assert CANARY not in str(caught.value)
    assert repr(S3ContentBackend("s3://bucket/x")) == "S3ContentBackend('s3://bucket/x')"
    assert threading.active_count() < 100 and checked_remote({"url": "x"}, "").url == "x"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nowhere.invalid"])
def test_a_build_that_cannot_send_either_says_why_once(inside: Any, url: str) -> None:
    inside.write("merkl.yaml", f"remote: {{url: s3://b, endpoint: '{url}', timeout: 2}}\n")
    inside.merklfile("""
        make = bash_task("echo {arg('n')} > {out_file_arg('out', '.txt')}")

        @target(default=True)
        def all():
            make(n=1) > "1.txt"
    """)

    done = inside.merkl("build", "--push")
    said = done.stdout + done.stderr

    assert said.count("cannot be used") == 1 and "1 result not pushed\n" in said
    assert "going on without the remote" in said
