"""What tests of back ends need of the environment: credentials for a bucket of the tests."""

import pytest
from servers.moto_server import CREDENTIALS


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
