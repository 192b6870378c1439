"""``Secret``: environment variables as arguments of Python tasks, whose values nobody else gets to see."""

import base64
import io
import os
import pickle
import urllib.parse
from pathlib import Path
from typing import Any

import numpy
import pytest

from merkl import Secret, bash_task, task
from merkl.errors import TaskError
from merkl.execute.secrets import Secret as SameSecret
from merkl.execute.secrets import Veil, secrets_of, told_by_file

VALUE = "s3cret'\"of\nmany words"
MERKLFILE = """
    import json
    import logging
    from dataclasses import dataclass

    @dataclass
    class Account:
        name: str
        password: str

    @task
    def fetch(url: str, tokens: list[str], account: Account, token: str = Secret("TOKEN")) -> str:
        with open("calls", "a") as file:
            file.write(url + " ")
        assert [token, account.password] == [tokens[0]] * 2 and token.startswith("s3cret"), "not the value"
        print("the token is", token, json.dumps(token), repr(token))
        if url == "fails":
            raise ValueError(f"no entry for {token}")
        return url + " fetched" if url != "tells" else f"<{token}>"

    def account():
        return Account("me", Secret("TOKEN"))

    @target
    def page(url: str):
        return fetch(url, [Secret("TOKEN")], account()) > "page.json"

    @batch
    def lengths(words, key=Secret("KEY")):
        print(key)
        return [len(word + key) for word in words]

    @target
    def each():
        return lengths(["a", "bb"])

    @task
    def parts(token):
        yield "first"
        yield token

    @target
    def listed():
        return parts(Secret("TOKEN"))
"""


@pytest.fixture
def told(inside: Any) -> Any:
    inside.merklfile(MERKLFILE)
    return inside


def env(**more: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name not in ("TOKEN", "KEY")}, **more}


def holds_secret(path: Path) -> list[str]:
    files = [each for each in path.rglob("*") if each.is_file()]
    return [str(each) for each in files for part in VALUE.encode().splitlines() if part in each.read_bytes()]


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_a_secret_reaches_the_function_and_nothing_else(told: Any, jobs: str) -> None:
    done = told.merkl("build", "page", "url=x", jobs, "--output", "live", env=env(TOKEN=VALUE))

    assert told.read("page.json") == '"x fetched"\n'
    again = told.merkl("build", "page", "url=x", env=env())  # Nothing runs, so nobody asks for it.
    assert "1 cached" in again.stdout and told.read("calls") == "x "
    said = [done.stdout, done.stderr, told.merkl("log", "page", "url=x").stdout]
    assert "the token is ***" in said[2] and not any("s3cret" in text for text in said)
    assert "Secret('TOKEN')" in told.merkl("show", "page", "url=x").stdout
    assert holds_secret(told.path) == []


def test_another_value_of_a_secret_runs_nothing_and_another_name_does(told: Any) -> None:
    told.merkl("build", "page", "url=x", "-j1", env=env(TOKEN=VALUE))
    told.merkl("build", "page", "url=x", "-j1", env=env(TOKEN="s3cret, the second"))
    assert told.read("calls") == "x "

    told.write("Merklfile.py", told.read("Merklfile.py").replace("TOKEN", "KEY"))
    told.merkl("build", "page", "url=x", "-j1", env=env(KEY=VALUE))
    assert told.read("calls") == "x x "


def test_a_secret_that_is_not_set_is_told_before_anything_runs(told: Any) -> None:
    done = told.merkl("build", "each", "page", "url=x", "-k", env=env(KEY="a" * 9), code=1)

    assert "fetch needs the secret TOKEN, which is not in the environment" in done.stderr
    assert "hint: export TOKEN=…" in done.stderr and "lengths" not in done.stdout + done.stderr
    assert not (told.path / "calls").exists()
    assert "1 would run" in told.merkl("build", "-n", "page", "url=x", env=env()).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("page", "url=fails"), "fetch raised ValueError: no entry for ***"),
        (
            ("page", "url=tells"),
            "fetch returned the value of a secret (TOKEN), which would stay in the store",
        ),
        (("listed",), "parts returned the value of a secret (TOKEN), which would stay in the store"),
    ],
)
def test_neither_a_failure_nor_a_result_tells_it(told: Any, words: tuple[str, ...], said: str) -> None:
    done = told.merkl("build", *words, "-j1", code=1, env=env(TOKEN=VALUE))

    assert said in done.stderr and "s3cret" not in done.stdout + done.stderr
    assert "s3cret" not in told.merkl("log", *words).stdout
    assert holds_secret(told.path) == []


def test_a_batch_gets_its_secrets(told: Any) -> None:
    done = told.merkl("build", "each", "-j1", env=env(KEY="s3cret-k3y"))

    assert "2 ran" in done.stdout
    assert "***" in told.merkl("log", "each").stdout
    assert not any(b"s3cret-k3y" in each.read_bytes() for each in told.path.rglob("*") if each.is_file())


def test_a_secret_is_its_name() -> None:
    one = Secret("TOKEN")

    assert (repr(one), one, hash(one)) == ("Secret('TOKEN')", Secret("TOKEN"), hash(Secret("TOKEN")))
    assert pickle.loads(pickle.dumps(one)) == one != Secret("OTHER")
    assert Secret is SameSecret
    for wrong in ("", "A B", "A=B", 3):
        with pytest.raises(TaskError, match="takes the name of an environment variable"):
            Secret(wrong)  # type: ignore[arg-type]


def test_a_secret_that_does_not_fit_the_hint_is_refused_and_a_command_says_how_it_takes_one() -> None:
    @task
    def counts(n: int) -> int:
        return n

    with pytest.raises(TaskError, match="'n'"):
        counts(Secret("TOKEN"))
    with pytest.raises(TaskError, match="secret_arg"):
        bash_task("echo {arg('token')}")(Secret("TOKEN"))


PLAIN = "user's key: \u00e9t\u00e9+/?!" * 5
SPELLINGS = {
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 of it with a name before": lambda text: base64.b64encode(b"me:" + text.encode() + b"."),
    "base64 of it between others": lambda text: base64.b64encode(b"me" + text.encode() + b".."),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(b"1" + text.encode()),
    "base64 in lines": lambda text: base64.encodebytes(text.encode()),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "a part of a URL": lambda text: urllib.parse.quote(text).encode(),
    "a field of a form": lambda text: urllib.parse.urlencode({"key": text}).encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "an array": lambda text: numpy.array([text]).tobytes(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_is_found_and_hidden_in_other_spellings(spelling: str, tmp_path: Path) -> None:
    @task
    def uses(token: str) -> None: ...

    secrets = secrets_of(uses(Secret("TOKEN")).node.call, {b"TOKEN": PLAIN.encode()})
    spelt = SPELLINGS[spelling](PLAIN)
    (tmp_path / "made").write_bytes(
        bytes(1 << 20)[:-40] + spelt + b"and more"
    )  # Across what is read at once.
    assert told_by_file(os.fsencode(tmp_path / "made"), secrets)

    veil, log = Veil(secrets), io.BytesIO()
    for start in range(0, len(spelt), 7):
        log.write(veil.take(spelt[start : start + 7]))
    assert b"***" in log.getvalue() + veil.rest() and len(log.getvalue()) < 20


def test_a_short_secret_counts_in_results_as_a_word_of_its_own(tmp_path: Path) -> None:
    @task
    def uses(token: str) -> None: ...

    def found(secret: str, text: str) -> bool:
        (tmp_path / "made").write_text(text)
        secrets = secrets_of(uses(Secret("TOKEN")).node.call, {b"TOKEN": secret.encode()})
        return told_by_file(os.fsencode(tmp_path / "made"), secrets)

    assert found("hunter2", '["hunter2"]') and found("hunter2", "user:hunter2@host")
    assert (
        not found("hunter2", "hunter22") and not found("hunter2", "bighunter2") and not found("1234", "1234")
    )
    assert not found("abc", "abc") and found("abcd", " " * ((1 << 20) - 2) + "abcd")
    assert not found("abcd", " " * ((1 << 20) - 3) + "xabcd")
    for after, tells in (("", True), (" x", True), ("x", False)):  # It ends with what is read at once.
        assert found("abcd", f"{'abcd':>{1 << 20}}{after}") is tells


def test_the_name_of_a_file_tells_a_secret_too(told: Any) -> None:
    told.merklfile("""
        @task
        def folder(token) -> DirRef:
            made = DirRef()
            open(made.get_new_file(token), "w").close()
            return made

        @target(default=True)
        def all():
            return folder(Secret("TOKEN"))
    """)
    done = told.merkl("build", "-j1", env=env(TOKEN="s3cret-name"), code=1)
    assert "folder returned the value of a secret" in done.stderr


INSIDE = """
    import threading

    TOKEN = Secret("TOKEN")

    class Client:
        def __init__(self, token):
            self.headers = {"auth": [token]}

    @task
    def asks(client, returns):
        token = client.headers["auth"][0].value
        print("the token is", token)
        return token if returns else len(token)

    @task
    def takes():
        print(TOKEN.value)
        return 1

    @task
    def in_thread():
        found = []
        def ask():
            try:
                found.append(TOKEN.value)
            except Exception as error:
                found.append(error.headline)
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return found

    @target
    def fits(): return asks(Client(TOKEN), False)

    @target
    def returned(): return asks(Client(TOKEN), True)

    @target
    def taken(): return takes()

    @target
    def threaded(): return in_thread() > "said.json"
"""


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_no_task_gets_at_a_secret_that_would_not_be_hidden(told: Any, jobs: str) -> None:
    told.merklfile(INSIDE)
    value = env(TOKEN="s3cret-value")

    assert "the token is ***" in told.merkl("build", "fits", jobs, env=value).stdout
    done = told.merkl("build", "-k", "returned", "taken", "threaded", jobs, env=value, code=1)
    assert "asks returned the value of a secret (TOKEN)" in done.stderr
    assert "takes asks for the value of Secret('TOKEN'), which is none of its arguments" in done.stderr
    assert "in_thread asks for the value of Secret('TOKEN')" in told.read("said.json")
    assert "s3cret-value" not in done.stdout + done.stderr
    assert not any(b"s3cret-value" in each.read_bytes() for each in told.path.rglob("*") if each.is_file())
