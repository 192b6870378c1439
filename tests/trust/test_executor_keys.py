"""The keys that other machines sign with for this user: derived from his own, and kept nowhere."""

import pytest

from merkl.trust.signer import SECRET_VARIABLE, Origin
from merkl.trust.signing import SigningKey, is_signed
from merkl.trust.trust import Trust

LAB = "lab tcp://scheduler:8786"


@pytest.fixture
def key():
    return SigningKey(bytes(range(32)))


def environ(key, trust=""):
    return {SECRET_VARIABLE: key.secret(), "MERKL_TRUST": trust}


def test_an_executor_has_one_key_in_each_namespace_wherever_the_user_is(key):
    made = [
        Trust(namespace, environ=environ(key)).executor_key(executor)
        for namespace in ("default", "other")
        for executor in (LAB, "lab tcp://elsewhere:8786", "slurm dask_jobqueue.SLURMCluster")
    ]
    assert len({key.signer, *(each.signer for each in made)}) == 7
    again = Trust("default", environ=environ(key)).executor_key(LAB)
    assert again.signer == made[0].signer
    assert is_signed(b"text", again.sign(b"text"), made[0].signer)


def test_it_counts_where_the_executor_is_described_and_as_long_as_it_is_not_revoked(key):
    signer = Trust(environ=environ(key)).executor_key(LAB).signer
    here = Origin(signer, "default")
    assert not Trust(environ=environ(key)).accepts(here, pickles=False)
    assert Trust(environ=environ(key), executors=[LAB]).accepts(here, pickles=True)
    assert not Trust("other", environ=environ(key), executors=[LAB]).accepts(
        Origin(signer, "other"), pickles=False
    )
    assert not Trust(environ=environ(key, f"revoked {signer}"), executors=[LAB]).accepts(here, pickles=False)
    assert not Trust(environ=environ(SigningKey.new()), executors=[LAB]).accepts(here, pickles=False)


def test_it_is_listed_beside_the_others(key):
    trust = Trust(environ=environ(key), executors=[LAB])
    [listed] = trust.executor_entries()
    assert listed.name == "executor:lab"
    assert listed.signer == trust.executor_key(LAB).signer
    assert Trust(environ={"MERKL_TRUST": ""}, executors=[LAB]).executor_entries() == []
