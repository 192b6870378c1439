"""``Secret``: environment variables as arguments of Python tasks, whose values nobody else gets to see."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from merkl import Secret, bash_task, task
from merkl.errors import TaskError
from merkl.execute.secrets import Secret as SameSecret

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
        (("page", "url=fails"), "fetch raised ***"),
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
