"""What is said of keys: in files of the user, in the environment, and by a project."""

import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from merkl.errors import ConfigError
from merkl.execute.environment import of_worker
from merkl.trust.directories import why_unsafe
from merkl.trust.entries import (
    Accepted,
    Entry,
    Revoked,
    SafeStore,
    Trusted,
    parse_entries,
    trusted,
    with_entry,
    written,
)
from merkl.trust.files import settings_directory
from merkl.trust.personal import key_file, make_own_key, own_key
from merkl.trust.proposals import proposal_of
from merkl.trust.signer import Origin, Signer
from merkl.trust.signing import SigningKey
from merkl.trust.trust import Trust, change_entries, read_entries, trusted_file

ONE, TWO = (SigningKey(bytes([number]) * 32).signer for number in (1, 2))


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with a HOME in which there is nothing yet."""
    return {"HOME": str(tmp_path / "home")}


# ---- entries -----------------------------------------------------------------------------------------------------------


def test_entries_are_read_as_they_were_written() -> None:
    entries: list[Entry] = [
        Trusted(ONE, True, "*", "alice@example"),
        Trusted(TWO),
        Revoked(ONE),
        Accepted("ab" * 32),
        SafeStore('/a path/with "quotes"; # and\nlines'),
    ]

    assert parse_entries(written(entries)) == entries
    assert str(entries[1]) == f"{TWO} allow=files namespace=default"


def test_an_environment_variable_has_them_in_one_line_too() -> None:
    text = f"{ONE} namespace=main; {TWO} allow=files,pickle  # of CI"

    assert parse_entries(text) == [Trusted(ONE, namespace="main"), Trusted(TWO, pickles=True)]


@pytest.mark.parametrize(
    "line",
    [
        "ed25519:00", str(ONE)[:-1], str(ONE).upper(), f"{ONE} allow=pickle", f"{ONE} allow=all", f"{ONE} namespace=a/b",
        f"{ONE} name=\udcff", f"{ONE} name=a\u202eb", f"{ONE} namespace=..", f"{ONE} pickles", f"{ONE} name=a name=b", "revoked", "revoked x", "project 12", "store x",
        "whatever", f"trust {ONE}",
    ],
)  # fmt: skip
def test_a_line_that_is_not_understood_is_an_error_with_its_number(line: str) -> None:
    with pytest.raises(ValueError, match="line 2: "):
        parse_entries(f"{TWO}\n{line}\n")


def test_the_last_word_on_a_key_counts() -> None:
    entries: list[Entry] = []
    for each in (
        Trusted(ONE, namespace="a"),
        Trusted(ONE, True, "a"),
        Trusted(ONE, namespace="b"),
        Trusted(TWO),
    ):
        entries = with_entry(entries, each)
    assert entries == [Trusted(ONE, True, "a"), Trusted(ONE, namespace="b"), Trusted(TWO)]
    assert with_entry(entries, Revoked(ONE)) == [Trusted(TWO), Revoked(ONE)]
    assert with_entry([Revoked(ONE)], Trusted(ONE)) == [Trusted(ONE)]


def test_a_store_is_allowed_beside_keys_in_one_line() -> None:
    text = f'store /a b; {ONE}; store "/c;#\\"d" ; {TWO} # store /e'

    assert parse_entries(text) == [SafeStore("/a b"), Trusted(ONE), SafeStore('/c;#"d'), Trusted(TWO)]
    for wrong in (f'store "/a" {ONE}x', 'store "/a', f"store /a;{ONE}0"):
        with pytest.raises(ValueError, match="line 1"):
            parse_entries(wrong)


# ---- the key of one's own ----------------------------------------------------------------------------------------------


def test_a_key_is_made_once_and_nobody_else_can_read_it(home: dict[str, str]) -> None:
    assert own_key(home) is None

    made = make_own_key(home)

    path = Path(key_file(home))
    assert path == Path(home["HOME"], ".config/merkl/signing.key")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    again = own_key(home)
    assert again is not None and again.signer == made.signer == make_own_key(home).signer
    assert set(os.listdir(path.parent)) == {"signing.key", "lock"}
    secret = made.secret().partition(":")[2]
    assert secret not in repr(made) + str(made) and secret in path.read_text()


def test_a_public_key_that_does_not_go_with_the_secret_one_signs_nothing(home: dict[str, str]) -> None:
    made = make_own_key(home)
    path = Path(key_file(home))
    path.write_text(path.read_text().replace(str(made.signer), str(ONE)))
    path.chmod(0o600)

    found = own_key(home)

    assert found is not None
    with pytest.raises(ConfigError, match="not of one pair"):
        found.sign(b"message")


def test_two_who_need_a_key_at_once_get_one(home: dict[str, str]) -> None:
    made: list[Signer] = []
    threads = [threading.Thread(target=lambda: made.append(make_own_key(home).signer)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(made) == 8 and len(set(made)) == 1


@pytest.mark.parametrize(("mode", "word"), [(0o640, "read"), (0o604, "read"), (0o620, "written")])
def test_a_key_that_others_can_read_is_not_used(home: dict[str, str], mode: int, word: str) -> None:
    make_own_key(home)
    Path(key_file(home)).chmod(mode)

    with pytest.raises(ConfigError, match=f"can be {word} by others") as raised:
        own_key(home)
    assert "chmod 600" in raised.value.hint


def test_files_in_a_directory_that_others_can_write_to_are_not_believed(home: dict[str, str]) -> None:
    made = make_own_key(home)
    says(home, Trusted(ONE))
    directory = Path(key_file(home)).parent
    directory.chmod(0o777)

    for ask in (own_key, read_entries):
        with pytest.raises(ConfigError, match="written to by everybody") as raised:
            ask(home)
        assert raised.value.hint == f"chmod go-w {directory}"
    directory.chmod(0o700)
    assert own_key(home).signer == made.signer  # type: ignore[union-attr]


def test_a_link_is_believed_if_nobody_else_can_write_where_it_leads_through(
    home: dict[str, str], tmp_path: Path
) -> None:
    make_own_key(home)
    key, first, second = Path(key_file(home)), tmp_path / "first", tmp_path / "second"
    for each in (first, second):
        each.mkdir()
    key.rename(second / "key")
    (first / "key").symlink_to("../second/key")
    key.symlink_to(first / "key")
    assert own_key(home) is not None

    for each in (first, second):
        each.chmod(0o777)
        with pytest.raises(ConfigError, match=f"{each.name} can be written to by everybody"):
            own_key(home)
        each.chmod(0o1777)  # Files of others stay there.
        assert own_key(home) is not None


def test_a_home_that_is_nowhere_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    known = settings_directory({})
    assert settings_directory({"HOME": "."}) == settings_directory({"HOME": ""}) == known
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert settings_directory({"HOME": "."}) == "/.config/merkl", "and not one in a project"


def test_a_file_of_keys_too_long_to_be_read_is_an_error(
    home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    says(home, Trusted(ONE))
    monkeypatch.setattr("merkl.trust.files._LONGEST", 20)

    with pytest.raises(ConfigError, match="too long"):
        read_entries(home)


def test_a_key_is_not_kept_in_a_project(tmp_path: Path) -> None:
    inside = {"HOME": str(tmp_path / "project/home")}

    with pytest.raises(ConfigError, match="not kept in a project"):
        make_own_key(inside, outside=str(tmp_path / "project"))
    assert not (tmp_path / "project").exists()


def test_ci_has_its_key_in_the_environment_and_makes_none(home: dict[str, str]) -> None:
    make_own_key(home)
    key = SigningKey.new()
    ci = home | {"MERKL_TRUST": ""}

    assert own_key(ci) is None, "a HOME that was left there says nothing"
    with pytest.raises(ConfigError, match="MERKL_SIGNING_KEY, and it is not set"):
        Trust(environ=ci).signing_key()
    found = own_key(ci | {"MERKL_SIGNING_KEY": key.secret()})
    assert found is not None and found.signer == key.signer


@pytest.mark.parametrize("text", ["x", "ed25519-secret:", "ed25519-secret:" + "0" * 63, "0" * 64, str(ONE)])
def test_a_wrong_secret_is_not_repeated(home: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        own_key(home | {"MERKL_SIGNING_KEY": text + "canary"})
    assert "canary" not in str(raised.value) and "MERKL_SIGNING_KEY" in str(raised.value)


def test_without_pynacl_there_are_no_keys_and_the_error_says_what_to_install(
    home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "nacl"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nacl", None)

    assert Trust(environ=home).signers() == [], "who has no key and trusts nobody needs no arithmetic"
    with pytest.raises(ConfigError, match="PyNaCl") as raised:
        Trust(environ=home).signing_key()
    assert "merkl[remote]" in raised.value.hint


# ---- whose records count -----------------------------------------------------------------------------------------------


def says(home: dict[str, str], *entries: Entry) -> None:
    for each in entries:
        change_entries(home, lambda known, each=each: with_entry(known, each))  # type: ignore[misc]


def accepts(trust: Trust, signer: Signer, namespace: str = "default") -> str:
    """What may be used of what somebody signed."""
    return "+".join(
        what
        for what, pickles in (("files", False), ("pickles", True))
        if trust.accepts(Origin(signer, namespace), pickles=pickles)
    )


def test_nobody_counts_until_somebody_says_so_but_oneself(home: dict[str, str]) -> None:
    own = Trust(environ=home).signing_key().signer
    says(home, Trusted(ONE), Trusted(TWO, pickles=True))
    trust = Trust(environ=home)

    assert accepts(Trust(environ={"HOME": "/nonexistent"}), ONE) == ""
    assert trust.signers() == [own, ONE, TWO]
    assert [accepts(trust, each) for each in (own, ONE, TWO)] == ["files+pickles", "files", "files+pickles"]
    assert trust.accepts(None, pickles=True), "what was made here"
    assert accepts(trust, TWO, "other") == ""


def test_ones_own_key_does_not_count_once_it_is_revoked(home: dict[str, str]) -> None:
    own = Trust(environ=home).signing_key().signer
    says(home, Revoked(own), Trusted(ONE))
    trust = Trust(environ=home)

    assert trust.signers() == [ONE]
    assert accepts(trust, own) == ""
    assert trust.lack(own, pickles=False) == "whose key you revoked"
    assert trust.accepts(None, pickles=True), "what was made here"


def test_what_is_said_of_a_namespace_counts_there_and_not_what_is_said_of_all(home: dict[str, str]) -> None:
    says(home, Trusted(ONE, True, "*"), Trusted(ONE, False, "main"))

    assert accepts(Trust("main", environ=home), ONE, "main") == "files"
    assert accepts(Trust("other", environ=home), ONE, "other") == "files+pickles"


def test_what_the_user_says_of_a_key_counts_before_what_a_project_proposes(home: dict[str, str]) -> None:
    proposal = proposal_of([f"{ONE} allow=files,pickle"], "default")
    assert proposal is not None
    says(home, Trusted(ONE), Accepted(proposal.digest))
    trust = Trust(environ=home, proposal=proposal)

    assert accepts(trust, ONE) == "files"
    assert trust.lack(ONE, pickles=True).endswith(f"`merkl key trust {ONE} --allow files,pickle`")


def test_a_file_in_the_project_does_not_say_whose_records_count(home: dict[str, str], tmp_path: Path) -> None:
    says(home, Trusted(ONE))

    for ask in (Trust(environ=home, root=str(tmp_path)).signers, Trust(environ=home, root="/").signers):
        with pytest.raises(ConfigError, match="not kept in a project") as raised:
            ask()
        assert "XDG_CONFIG_HOME" in raised.value.hint
    with pytest.raises(ConfigError, match="not kept in a project"):
        change_entries(home, list, outside=str(tmp_path))
    assert Trust(environ={"HOME": str(tmp_path / "other")}, root=str(tmp_path)).signers() == []
    assert Trust(environ=home | {"MERKL_TRUST": ""}, root=str(tmp_path)).signers() == []


def test_the_file_of_trusted_keys_is_the_users_own(home: dict[str, str]) -> None:
    says(home, Trusted(ONE))
    path = Path(trusted_file(home))
    assert stat.S_IMODE(path.stat().st_mode) == 0o644

    path.chmod(0o666)

    with pytest.raises(ConfigError, match="can be written by others"):
        Trust(environ=home).signers()


def test_under_merkl_trust_nothing_else_counts(home: dict[str, str]) -> None:
    says(home, Trusted(ONE))
    proposal = proposal_of([str(ONE)], "default")
    assert proposal is not None
    says(home, Accepted(proposal.digest))
    ci = home | {"MERKL_TRUST": f"{TWO} allow=files,pickle"}

    trust = Trust(environ=ci, proposal=proposal)

    assert trust.signers() == [TWO]
    assert Trust(environ=home | {"MERKL_TRUST": ""}).signers() == []
    with pytest.raises(ConfigError, match="under MERKL_TRUST"):
        says(ci, Trusted(ONE))
    with pytest.raises(ConfigError, match="MERKL_TRUST: line 1"):
        Trust(environ=home | {"MERKL_TRUST": "nonsense"}).signers()


def test_what_a_project_proposes_counts_once_it_was_accepted_and_until_it_changes(
    home: dict[str, str],
) -> None:
    first = proposal_of([str(ONE)], "default")
    assert first is not None
    assert Trust(environ=home, proposal=first).signers() == []
    says(home, Accepted(first.digest))
    assert Trust(environ=home, proposal=first).signers() == [ONE]

    for changed in ([str(ONE), str(TWO)], [f"{ONE} allow=files,pickle"], [str(TWO)]):
        other = proposal_of(changed, "default")
        assert Trust(environ=home, proposal=other).signers() == []
    assert Trust("b", environ=home, proposal=proposal_of([str(ONE)], "b")).signers() == []
    says(home, Revoked(ONE))
    assert Trust(environ=home, proposal=first).signers() == []


@pytest.mark.parametrize(
    "given", ["x", [1], ["x"], {"a": "b"}, [f"{ONE} namespace=other"], [f"{ONE} namespace=*"], ["revoked x"]]
)
def test_a_wrong_proposal_is_an_error_that_names_the_file(given: object) -> None:
    with pytest.raises(ConfigError, match=r"merkl\.yaml: trust"):
        proposal_of(given, "default")


def test_what_is_put_together_counts_if_each_who_made_a_part_may_make_such(home: dict[str, str]) -> None:
    own = Origin(Trust(environ=home).signing_key().signer, "default")
    one, two = Origin(ONE, "default"), Origin(TWO, "default")
    assert Origin.of_parts([]) is None is Origin.of_parts([(None, True)])
    assert Origin.of_parts([(None, True), (own, True), (own, False)]) == own
    assert Trust(environ=home).is_own(own) and Trust(environ=home).is_own(None)

    both = Origin.of_parts([(None, True), (own, True), (one, False), (two, True), (one, False)])
    assert both is not None and {each.signer for each in both.each} == {own.signer, ONE, TWO}
    assert Origin.parse(str(both)) == both == Origin.of_parts([(both, True), (None, False)])
    assert not Trust(environ=home).is_own(both)

    for said, counts in [
        ([Trusted(ONE, False), Trusted(TWO, True)], True),
        ([Trusted(ONE, True), Trusted(TWO, False)], False),
        ([Trusted(TWO, True)], False),
        ([Trusted(ONE, False), Trusted(TWO, True), Revoked(ONE)], False),
    ]:
        change_entries(home, lambda _, said=said: said)
        assert Trust(environ=home).accepts(both, pickles=True) is counts


@pytest.mark.parametrize(
    "text", ["", f"{ONE}", f"{ONE} a b", f"{ONE} a files x", f"{ONE} a files, ", f"{ONE} a, b"]
)
def test_an_origin_that_is_none_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"namespace|public key|parts"):
        Origin.parse(text)


def test_two_who_trust_keys_at_once_lose_none(home: dict[str, str]) -> None:
    signers = [SigningKey(bytes([number]) * 32).signer for number in range(12)]
    threads = [threading.Thread(target=says, args=(home, Trusted(each))) for each in signers]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert {str(entry) for entry in read_entries(home)} == {str(Trusted(each)) for each in signers}


def test_settings_that_are_links_stay_links(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "dotfiles").write_text("")
    link = Path(trusted_file(home))
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "dotfiles")

    says(home, Trusted(ONE))

    assert link.is_symlink() and str(ONE) in (tmp_path / "dotfiles").read_text()


def test_entries_of_an_earlier_file_stay(home: dict[str, str]) -> None:
    says(home, Trusted(ONE), SafeStore("/a"), Accepted("0" * 64), Revoked(TWO))
    assert read_entries(home) == [Trusted(ONE), SafeStore("/a"), Accepted("0" * 64), Revoked(TWO)]
    with pytest.raises(ValueError, match="namespace"):
        trusted(ONE, "files", "a b", "")


# ---- directories -------------------------------------------------------------------------------------------------------


def test_a_directory_that_others_can_write_to_is_not_ones_own(tmp_path: Path) -> None:
    for mode, why in ((0o755, ""), (0o700, ""), (0o757, "everybody"), (0o1777, "everybody")):
        tmp_path.chmod(mode)
        assert why in why_unsafe(str(tmp_path)) and bool(why) == bool(why_unsafe(str(tmp_path)))
    assert why_unsafe(str(tmp_path / "absent")) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_not_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(tmp_path, 31_001, 31_001)
    assert why_unsafe(str(tmp_path)) == "belongs to user 31001"
    monkeypatch.setenv("SUDO_UID", "31001")
    assert why_unsafe(str(tmp_path)) == ""
    os.chown(tmp_path, 0, 31_001)
    tmp_path.chmod(0o775)
    assert why_unsafe(str(tmp_path)) == "can be written to by the group 31001"
    os.chown(tmp_path, 0, 0)
    assert why_unsafe(str(tmp_path)) == "", "root's own group"


def test_a_worker_is_not_given_the_secret_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERKL_SIGNING_KEY", SigningKey.new().secret())

    environ = of_worker({}, None)

    assert b"MERKL_SIGNING_KEY" not in environ and b"HOME" in environ
