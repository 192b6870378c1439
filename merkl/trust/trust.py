"""What counts for one project: the keys whose records are used, and the one that its own are signed with.

It decides between what this user has said, what the environment says, and what the project proposes: under ``MERKL_TRUST``
the first and the last say nothing.

The invariant: no file of a project alone lets anybody's record count.
"""

import os
import shlex
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from merkl.errors import ConfigError
from merkl.remotes import NAMESPACE
from merkl.trust.directories import why_unsafe
from merkl.trust.entries import (
    Accepted,
    Entry,
    Revoked,
    SafeStore,
    Trusted,
    parse_entries,
    written,
)
from merkl.trust.files import alone_in, read_own, refuse_inside, settings_directory, write_own
from merkl.trust.personal import TRUST, make_own_key, own_key
from merkl.trust.proposals import Proposal
from merkl.trust.signer import Origin, Signer
from merkl.trust.signing import SigningKey

_NAME: Final = "trusted"


def trusted_file(environ: Mapping[str, str]) -> str:
    """Where this user's entries are kept."""
    return os.path.join(settings_directory(environ), _NAME)


def read_entries(environ: Mapping[str, str], *, outside: str = "") -> list[Entry]:
    """What was said of keys: under ``MERKL_TRUST`` there, else in the user's own file, ``outside`` of a project.

    Raises:
        ConfigError: it is not understood, or others can write it, or it is in the project.
    """
    given = environ.get(TRUST)
    where = TRUST if given is not None else trusted_file(environ)
    text = read_own(where) if given is None else given
    if given is None and text is not None:
        refuse_inside(where, outside, "which keys are trusted is")
    try:
        return parse_entries(text or "")
    except ValueError as error:
        raise ConfigError(f"{where}: {error}", hint="correct it, or take that entry out") from None


def change_entries(
    environ: Mapping[str, str], change: Callable[[list[Entry]], list[Entry]], *, outside: str = ""
) -> list[Entry]:
    """Write what ``change`` makes of the entries in the user's file; all there are now.

    Raises:
        ConfigError: under ``MERKL_TRUST``; or the file cannot be read or written.
    """
    if TRUST in environ:
        raise ConfigError(
            f"under {TRUST} it alone says which keys are trusted", hint=f"change or unset {TRUST}"
        )
    refuse_inside(trusted_file(environ), outside, "which keys are trusted is")
    with alone_in(settings_directory(environ)):
        entries = change(read_entries(environ))
        write_own(trusted_file(environ), written(entries))
    return entries


class Trust:
    """Whose records count in ``namespace``.  Safe to share between threads.

    ``proposal`` is what the project at ``root`` proposes; ``executors`` say what other machines this user gives keys to,
    which are derived from his own, and count.  Settings are read at the first question.
    """

    def __init__(
        self,
        namespace: str = NAMESPACE,
        *,
        environ: Mapping[str, str] | None = None,
        proposal: Proposal | None = None,
        root: str = "",
        executors: Iterable[str] = (),
    ) -> None:
        self.namespace = namespace
        self._executors = tuple(executors)
        self.proposal = proposal
        self._environ = os.environ if environ is None else environ
        self._root = root
        self._lock = threading.RLock()
        self._own: SigningKey | None = None
        self._looked = False
        self._revoked: set[Signer] = set()
        self._said: set[Signer] = set()  # Of whom the user has spoken: a project does not say more.
        self._pickles: dict[Signer, bool] | None = None  # By signer who counts: whether for pickles too.

    def own(self) -> Signer | None:
        """The user's own public key, if there is a key."""
        with self._lock:
            if self._own is None and not self._looked:
                self._own, self._looked = own_key(self._environ), True
            return None if self._own is None else self._own.signer

    def signing_key(self) -> SigningKey:
        """The key to sign with, made now if there is none.

        Raises:
            ConfigError: there can be none.
        """
        with self._lock:
            if self.own() is None:
                self._own = make_own_key(self._environ, outside=self._root)
                self._pickles = None
            assert self._own is not None
            return self._own

    def executor_key(self, executor: str) -> SigningKey:
        """The key for one of the executors: it signs what is made there for this user in this namespace.

        Raises:
            ConfigError: there can be none.
        """
        return self.signing_key().derived(f"{self.namespace} {executor}")

    def executor_entries(self) -> list[Trusted]:
        """The keys of the executors, if there is one that they are derived from."""
        if self.own() is None:
            return []
        key = self.signing_key()
        named = ((each, key.derived(f"{self.namespace} {each}").signer) for each in self._executors)
        return [
            Trusted(signer, True, self.namespace, f"executor:{each.partition(' ')[0]}")
            for each, signer in named
        ]

    def entries(self) -> list[Trusted]:
        """Those whose records count here, as another machine may be told."""
        return [Trusted(each, pickles, self.namespace) for each, pickles in self._counts().items()]

    def signers(self) -> list[Signer]:
        """Those whose records count here: oneself, then the others in the order in which they were trusted."""
        return list(self._counts())

    def accepts(self, origin: Origin | None, *, pickles: bool) -> bool:
        """Whether a record may be used that came from there, None for here; ``pickles``: it holds some."""
        return origin is None or all(
            self._accepts_one(each, pickles if each.runs_code is None else each.runs_code)
            for each in origin.each
        )

    def _accepts_one(self, origin: Origin, pickles: bool) -> bool:
        allowed = self._counts().get(origin.signer) if origin.namespace == self.namespace else None
        return allowed is not None and (allowed or not pickles)

    def is_own(self, origin: Origin | None) -> bool:
        """Whether what comes from there was made here, or signed with the key of this user alone."""
        return origin is None or all(each.signer == self.own() for each in origin.each)

    def lack(self, signer: Signer, *, pickles: bool) -> str:
        """Why records of ``signer`` do not count, and what would change that."""
        if signer in self._revoked:
            return "whose key you revoked"
        why = "whom you trust for files only" if pickles else "whom you do not trust"
        if TRUST in self._environ:
            return f"whom {TRUST} does not name{' for pickles' * pickles}"
        if self.proposal is not None and any(
            each.signer == signer and each.pickles >= pickles and signer not in self._said
            for each in self.proposal.keys
        ):
            return f"{why} yet: `merkl key trust --from-project`"
        return f"{why}: `merkl key trust {signer}{' --allow files,pickle' * pickles}`"

    def _counts(self) -> dict[Signer, bool]:
        with self._lock:
            if self._pickles is None:
                self._pickles = self._read()
            return self._pickles

    def _read(self) -> dict[Signer, bool]:
        entries = read_entries(self._environ, outside=self._root)
        own = self.own()
        self._revoked = {each.signer for each in entries if isinstance(each, Revoked)}
        counts: dict[Signer, bool] = {} if own is None or own in self._revoked else {own: True}
        if self._own is not None and counts:
            derived = (self._own.derived(f"{self.namespace} {each}").signer for each in self._executors)
            counts |= {each: True for each in derived if each not in self._revoked}
        said = [each for each in entries if isinstance(each, Trusted)]
        self._said = {each.signer for each in said if each.holds_in(self.namespace)}
        proposal = None if TRUST in self._environ else self.proposal
        if proposal is not None and Accepted(proposal.digest) in entries:
            said += [each for each in proposal.keys if each.signer not in self._said]
        # What is said of this very namespace counts, not what is said of all.
        named = {each.signer for each in said if each.namespace == self.namespace}
        for each in said:
            if not each.holds_in(self.namespace) or each.signer in self._revoked:
                continue
            if each.namespace == self.namespace or each.signer not in named:
                counts[each.signer] = counts.get(each.signer, False) or each.pickles
        return counts

    def why_unsafe_store(self, path: str) -> str:
        """Why the store at a path is not used: somebody else can write there, and the user has not allowed it; else empty."""
        why = why_unsafe(path)
        if why and SafeStore(os.path.realpath(path)) in read_entries(self._environ, outside=self._root):
            return ""
        return why

    def allowing_store(self, path: str) -> str:
        """What lets the store at a path be used whoever else can write there."""
        if TRUST in self._environ:
            return f"{SafeStore(os.path.realpath(path))} in {TRUST}"
        return f"merkl key trust --store {shlex.quote(path)}"
