"""A bucket behind a network that fails in every way of FAULTS 77: a build goes on, a push says what is missing, and no
wrong byte is used."""

import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from servers import fault_proxy as faults
from servers.fault_proxy import FaultProxy

AWAY: dict[str, tuple[faults.Fault, str]] = {
    "503": (faults.failing(503, "SlowDown"), "it answers 503 Service Unavailable"),
    "500": (faults.failing(500), "it answers 500 Internal Server Error"),
    "403": (faults.failing(403, "AccessDenied"), "refuses requests: 403 Forbidden"),
    "expired": (faults.failing(403, "ExpiredToken"), "refuses requests: the credentials have expired"),
    "skewed": (faults.failing(403, "RequestTimeTooSkewed"), "clock is wrong"),
    "no bucket": (faults.failing(404, "NoSuchBucket"), "there is no such bucket"),
    "reset": (faults.resetting, "it ended the connection"),
    "hanging": (faults.hanging(3), "did not answer in time"),
    "dripping": (faults.slow(1), ""),
    "error in a 200": (faults.failing(200), ""),
    "truncated": (faults.truncating, ""),
    "shortened": (faults.shortening, ""),
    "flipped": (faults.flipping, ""),
}


def some(*names: str) -> list[object]:
    """Those faults, and in full sweeps all."""
    return [name if name in names else pytest.param(name, marks=pytest.mark.full) for name in AWAY]


# These change what was signed, and only moto does not look at that.
MOTO_ONLY = pytest.mark.parametrize("server", ["moto"], indirect=True)
LATE = "it did not answer in time"  # On a busy machine anything may be.
SLOW_S = 8.0  # On a busy machine; what hangs would take more.


@pytest.mark.parametrize("name", some("503", "hanging", "error in a 200"))
def test_row_77_a_build_goes_on_without_a_remote_that_fails_and_says_so_once(pushed, name):
    fault, words = AWAY[name]
    pushed.settings(timeout=1)
    rule = pushed.proxy.rule(fault)
    began = time.monotonic()

    assert sorted(pushed.build(pushed.there)) == ["make", "make"]

    assert time.monotonic() - began < SLOW_S
    assert rule.hits
    if name == "flipped" and not pushed.notes:  # It was in a name of a listing: so nothing was found.
        return
    [note] = pushed.notes
    assert note.startswith("going on without the remote: ") and (words in note or LATE in note)
    assert pushed.outputs(pushed.there) == pushed.outputs(pushed.here)
    pushed.proxy.clear()
    pushed.settings()
    pushed.forget(pushed.there)
    assert pushed.build(pushed.there, "--require-remote") == []


def test_a_remote_that_refuses_what_is_asked_and_what_is_sent_says_so_once(users):
    users.proxy.rule(faults.failing(403, "AccessDenied"))

    done = users.merkl(users.here, "build", "--push")
    said = done.stdout + done.stderr

    assert said.count("AccessDenied") == 1 and "2 results not pushed\n" in said


def test_a_remote_that_gives_no_bytes_is_told_of_once_however_many_outputs_there_are(pushed):
    pushed.proxy.rule(faults.failing(403, "AccessDenied"), "GET .*/(packs|blobs)/")

    done = pushed.merkl(pushed.there, "build", "--require-remote", code=3)
    assert done.stderr.count("AccessDenied") == 1 and done.stderr.count("failed make") == 2
    assert done.stderr.endswith("  for the same reason\n")

    pushed.forget(pushed.there)
    done = pushed.merkl(pushed.there, "build", "--pull", code=6)
    said = done.stdout + done.stderr
    assert said.count("AccessDenied") == 1 and "not here" not in said


@pytest.mark.parametrize("name", some("skewed"))
def test_row_77_a_remote_that_is_required_and_fails_is_an_error(pushed, name):
    fault, words = AWAY[name]
    pushed.settings(timeout=1)
    pushed.proxy.rule(fault)

    done = pushed.merkl(pushed.there, "build", "--require-remote", code=None)

    if name == "flipped" and done.returncode == 0:
        return
    assert done.returncode == 3
    assert (words in done.stderr or LATE in done.stderr) and "hint: " in done.stderr


@pytest.mark.parametrize("name", some("403"))
def test_row_77_a_push_that_fails_half_way_says_what_is_missing_and_the_next_goes_on(users, name):
    users.build(users.here)
    for n in range(3):
        (users.here / f"data{n}.bin").write_bytes(bytes([n]) * 300_000)
        users.merkl(users.here, "track", f"data{n}.bin")
    users.settings(timeout=1)
    rule = users.proxy.rule(AWAY[name][0], skip=6)

    done = users.merkl(users.here, "push", code=None)

    if name in ("truncated", "shortened", "flipped") and done.returncode == 0:
        return  # What a push asks for has hardly any bytes.
    assert done.returncode == 3 and rule.hits
    assert "not pushed:" in done.stderr and "`merkl push` goes on" in done.stderr
    assert "data2.bin" in done.stderr or "results of make" in done.stderr
    users.proxy.clear()
    users.settings()
    users.merkl(users.here, "push")
    users.expect_sound()
    users.hand_over()
    users.merkl(users.there, "pull")
    for n in range(3):
        assert (users.there / f"data{n}.bin").read_bytes() == bytes([n]) * 300_000


def test_row_77_a_server_that_is_busy_for_a_moment_is_asked_again(users):
    rule = users.proxy.rule(faults.failing(503, "SlowDown"), count=2)
    assert users.build(users.here, "--push") == ["make", "make"]
    assert rule.hits == 2 and users.notes == []

    users.proxy.clear()
    for match in ("GET .*/records/", "GET .*/packs/", "GET .*/blobs/"):
        users.proxy.rule(faults.resetting, match, count=1)
        users.proxy.rule(faults.failing(500), match, count=1)
    assert users.build(users.there, "--require-remote") == [] and users.notes == []


@pytest.mark.parametrize(
    "fault",
    [pytest.param(faults.truncating, marks=pytest.mark.full), faults.shortening, faults.flipping],
    ids=lambda it: it.__name__,
)
@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.full), None])
def test_row_77_damage_on_the_way_is_no_wrong_byte(pushed, fault, count):
    if fault is faults.truncating and count is None:
        pushed.settings(timeout=2)  # It is asked again and again.
    rule = pushed.proxy.rule(fault, "GET .*/(packs|blobs)/", count=count)

    ran = pushed.build(pushed.there)

    assert rule.hits
    assert pushed.outputs(pushed.there) == pushed.outputs(pushed.here)
    if count:
        assert len(ran) <= 1
    pushed.proxy.clear()
    pushed.settings()
    pushed.merkl(pushed.here, "push")
    pushed.expect_sound()
    assert pushed.build(pushed.there) == []


def test_row_77_an_answer_that_is_lost_changes_nothing(users):
    rule = users.proxy.rule(faults.losing_the_answer, "PUT ", count=2)

    users.build(users.here, "--push", "--require-remote")

    assert rule.hits == 2
    users.expect_sound()
    assert users.build(users.there) == []


def test_row_77_a_bucket_that_is_not_there(users):
    users.settings(url="s3://no-such-bucket-of-merkl/team")

    assert users.build(users.there) == ["make", "make"]
    assert "there is no such bucket" in users.notes[0]
    assert "there is no such bucket" in users.merkl(users.there, "push", code=3).stderr


@pytest.mark.full  # A machine without a network may take its time to say so.
def test_row_77_a_host_that_is_not_there(users):
    users.settings(endpoint="http://no-such-host.invalid:1234", timeout=1)

    assert users.build(users.there) == ["make", "make"]
    assert "there is no host of that name" in users.notes[0] or LATE in users.notes[0]


def test_row_77_nothing_listens(users):
    users.settings(timeout=1)
    users.proxy.close()

    assert users.build(users.there) == ["make", "make"]
    assert "nothing answers at that address" in users.notes[0]


@pytest.fixture
def tls(server, tmp_path: Path) -> Iterator[FaultProxy]:
    """A proxy with a certificate that nobody knows."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(9))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "certificate.pem").write_bytes(certificate.public_bytes(pem) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem")
    with FaultProxy(server.host, server.port, tls=context) as between:
        yield between


def test_row_77_a_certificate_of_nobody_is_not_believed(users, tls):
    users.settings(endpoint=tls.endpoint, timeout=1)

    assert users.build(users.there) == ["make", "make"]
    assert "its certificate is not one that this machine trusts" in users.notes[0]
    assert tls.requests == []


@MOTO_ONLY
def test_a_bucket_that_writes_over_what_is_there_is_told_of(users):
    users.proxy.rule(faults.ignoring_conditions)

    users.build(users.here)
    done = users.merkl(users.here, "push", code=None)

    assert "condition" in done.stdout + done.stderr


# ---- what others did to the bucket -----------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["blobs", "packs", pytest.param("index", marks=pytest.mark.full)])
def test_records_whose_bytes_are_gone_are_no_use_and_a_push_mends_them(pushed, gone):
    pushed.remove(*pushed.objects(gone))

    assert pushed.build(pushed.there) == ["make"]

    assert pushed.outputs(pushed.there) == pushed.outputs(pushed.here)
    pushed.merkl(pushed.there, "push")
    pushed.expect_sound()
    assert pushed.build(pushed.there) == []


def listing_by(two: int) -> faults.Fault:
    """Answers to listings have at most so many objects."""

    def fault(request: faults.Request, forward: faults.Forward) -> faults.Response:
        return forward(faults.Request(request.method, f"{request.path}&max-keys={two}", request.headers))

    return fault


@MOTO_ONLY
def test_a_listing_that_comes_in_pieces_is_read_to_its_end(users):
    make = "make = bash_task(\"echo {arg('n')} > {out_file_arg('o', '.txt')}\")\n"
    users.merklfile(
        make + "@target(default=True)\ndef all():\n    for n in range(4): make(n) > f'out/{n}.txt'\n"
    )
    pages = users.proxy.rule(listing_by(1), r"list-type=2")
    for n in range(4):
        users.build(users.here, f"out/{n}.txt", "--push")

    assert users.build(users.there) == []

    assert len(users.proxy.asked("continuation-token")) >= 3 and pages.hits
    assert len(users.objects("packs")) == 4
