"""Objects in a bucket: Amazon's protocol, Google's or Azure's.

It decides how an object is cut for the way, which answers mean that something is not there, and when a bucket is given up:
once it did not answer it is not asked again, so that however many requests wait, a remote that is away costs its time once.

Requests are made in threads of ours, also for the main thread, which so still hears Ctrl-C.

The invariant: a bucket that is missing or refuses is an error and never an object that is not there.
"""

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, BinaryIO, Final, TypeVar, cast

from merkl.errors import MerklError, StoreError
from merkl.remotes import RemoteConfig
from merkl.store.remote.clients import Clients
from merkl.store.remote.errors import RemoteError
from merkl.store.remote.objects import Listed
from merkl.store.remote.reading import Reading, paced, until_broken
from merkl.store.remote.refusals import is_away, is_beyond, is_final, is_no_bucket, refusal
from merkl.store.remote.sending import PART, PARTS, Given, part_of
from merkl.store.remote.squeezing import pieces_in, read_up_to
from merkl.store.together import Pool

_AT_ONCE: Final = 1000  # Objects of one request to remove, or of a listing.
_AHEAD: Final = 8  # Threads that read ahead.
_SENDS: Final = 32  # Threads that send what takes long.
_BRIEF: Final = 1 << 20  # Bytes that are sent without watching.
T = TypeVar("T")


class BucketObjects:
    """Objects in ``bucket``, below ``prefix``.  Nothing is asked before the first use; the bucket must be there."""

    def __init__(self, scheme: str, bucket: str, prefix: str, settings: RemoteConfig) -> None:
        self.url = f"{scheme}://{bucket}{'/' * bool(prefix)}{prefix}"
        self.width = 32  # Each waits for a round trip, and hardly anything else.
        self.squeezes = True
        self._pause = settings.timeout / 2
        self._clients = Clients(scheme, bucket, prefix, settings)
        self._aside = Pool(2)  # For the main thread.
        self._ahead = Pool(_AHEAD)
        self._sends = Pool(_SENDS)
        self._failure: StoreError | None = None
        # By headline: what was told of one need not be told again.
        self._refusals: dict[str, StoreError] = {}
        self._found = False  # Whether the bucket is known to be there.

    # ---- reading -------------------------------------------------------------------------------------------------

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes | None:
        """The bytes of an object, or a part of them."""
        if length == 0:
            return None if self.look(name) is None else b""
        return self._run(lambda: self._get(name, start, length))

    def _get(self, name: str, start: int, length: int | None) -> bytes | None:
        asked = self._ask_for(name, start, None if length is None else start + length)
        if asked is None:
            return None
        return self._body(asked)

    def _body(self, asked: Any) -> bytes:
        return self._called(lambda: b"".join(paced(asked, self._pause, self.url))) or b""

    def _ask_for(self, name: str, start: int, end: int | None) -> Any:
        """What the library says of some bytes, or None; nothing has been read of them yet."""
        import obstore

        part: Any = {"offset": start} if end is None else (start, end)
        options: Any = None if start == 0 and end is None else {"range": part}
        try:
            found = self._called(lambda: obstore.get(self._clients.read(), name, options=options))
        except _Beyond:
            return ()
        return found

    def open(self, name: str) -> BinaryIO | None:
        """A reader of an object's bytes, or None; it reads ahead."""
        asked = self._run(lambda: self._ask_for(name, 0, None))
        if asked is None:
            return None
        pieces = until_broken(paced(asked, self._pause, self.url), self._pause)
        answer = iter(lambda: self._called(lambda: next(pieces, None)), None)
        ask = partial(self._part, name)
        return cast(BinaryIO, Reading(answer, asked.meta["size"], ask, self._ahead, self.url))

    def _part(self, name: str, start: int, end: int) -> bytes | None:
        return self._get(name, start, end - start)

    def size(self, name: str) -> int | None:
        """How many bytes an object has, or None."""
        found = self.look(name)
        return None if found is None else found.size

    def look(self, name: str) -> Listed | None:
        """What a listing says of one object, or None."""
        import obstore

        found = self._run(lambda: self._called(lambda: obstore.head(self._clients.ask(), name)))
        return None if found is None else _listed(found)

    def names(self, prefix: str) -> Iterator[Listed]:
        """All objects below ``prefix/``."""
        import obstore

        listing = self._run(
            lambda: self._called(lambda: iter(obstore.list(self._clients.ask(), prefix, chunk_size=_AT_ONCE)))
        )
        while listing is not None:
            some = self._run(lambda: self._called(lambda: next(listing, None)))
            if some is None:
                return
            self._found = True
            for each in some:
                yield _listed(each)

    # ---- writing -------------------------------------------------------------------------------------------------

    def put(self, name: str, data: "bytes | BinaryIO") -> None:
        """Store an object, instead of one that is there."""
        if isinstance(data, bytes):
            self._run(lambda: self._put(name, data))
            return
        first = read_up_to(data, PART)
        if len(first) < PART:
            self._run(lambda: self._put(name, first))
            return
        pieces = itertools.chain([first], pieces_in(data))
        self._run_stoppable(lambda stop: self._put_parts(name, pieces, part_of(data), stop))

    def _put(self, name: str, data: bytes, mode: Any = "overwrite") -> None:
        import obstore

        def put() -> object:
            return obstore.put(self._clients.send(len(data)), name, data, mode=mode, use_multipart=False)

        sent = self._called(put if len(data) <= _BRIEF else lambda: self._watched(put))
        self._expect_bucket(sent)

    def _put_parts(self, name: str, pieces: Iterator[bytes], part: int, stop: threading.Event) -> None:
        import obstore

        given = Given(pieces, stop)

        def put() -> object:
            client = self._clients.send(part * PARTS)
            return obstore.put(client, name, given, chunk_size=part, max_concurrency=PARTS)

        try:
            sent = self._called(lambda: self._watched(put))
        except StoreError as error:
            stop.set()
            if given.failure is not None:  # Of who gives the bytes: the bucket has nothing to do with it.
                self._failure = None if self._failure is error else self._failure
                raise given.failure from None
            raise
        self._expect_bucket(sent)

    def _watched(self, send: Callable[[], T]) -> T:
        """Send what may take long, and look now and then whether the bucket still answers; if not, it is left to itself."""
        from concurrent.futures import wait

        sending = self._sends.submit(send)
        while not wait([sending], self._pause).done:
            self._expect_answer()
        return sending.result()

    def _expect_answer(self) -> None:
        import obstore

        try:
            obstore.head(self._clients.ask(), "merkl-remote")
        except Exception as error:
            if not isinstance(error, FileNotFoundError) and is_away(error):
                raise

    def create(self, name: str, data: bytes) -> bool:
        """Store an object unless there is one of that name: one request."""
        try:
            self._run(lambda: self._put(name, data, "create"))
        except _Exists:
            return False
        return True

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects."""
        given = iter(names)
        while some := list(itertools.islice(given, _AT_ONCE)):
            if not self._run(partial(self._remove, some)):
                for each in some:  # One was gone already, and it is not said what became of the others.
                    self._run(partial(self._remove, [each]))

    def _remove(self, names: list[str]) -> bool | None:
        import obstore

        def remove() -> bool:
            obstore.delete(self._clients.ask(), names)
            return True

        return self._called(remove)

    def move(self, name: str, to: str) -> None:
        """Give an object another name; nothing if it is not there."""
        if self._run(partial(self._copy, name, to)):
            self.remove([name])

    def _copy(self, name: str, to: str) -> bool | None:
        import obstore

        def copy() -> bool:
            obstore.copy(self._clients.send(PART), name, to)
            return True

        return self._called(copy)

    def sweep(self) -> None:
        """Nothing: what is left of uploads that were broken off cannot be seen, and is for a rule of the bucket."""

    def close(self) -> None:
        """End the threads.  Idempotent."""
        for pool in (self._aside, self._ahead, self._sends):
            pool.close(wait=False)  # What is still there waits for a bucket that does not answer.

    # ---- requests ------------------------------------------------------------------------------------------------

    def _run(self, act: Callable[[], T]) -> T:
        return self._run_stoppable(lambda _: act())

    def _run_stoppable(self, act: Callable[[threading.Event], T]) -> T:
        """Act, in another thread if this is the main one, which would not hear Ctrl-C inside the library."""
        stop = threading.Event()
        if threading.current_thread() is not threading.main_thread():
            return act(stop)
        try:
            return self._aside.submit(lambda: act(stop)).result()
        except KeyboardInterrupt:
            stop.set()
            raise

    def _called(self, call: Callable[[], T]) -> T | None:
        """What the library says to one request, or None if there is no such object.

        Raises:
            StoreError: the bucket cannot be used.
            _Exists, _Beyond: as their names say.
        """
        if self._failure is not None:
            raise self._failure
        try:
            answer = call()
        except FileNotFoundError as error:
            if is_no_bucket(error):
                raise self._refused(error) from None
            self._expect_bucket(None)
            return None
        except MerklError as error:
            self._failure = error if isinstance(error, RemoteError) else self._failure
            raise
        except Exception as error:  # noqa: BLE001 - the library raises what it likes.
            raise self._refused(error) from None
        self._found = True
        return answer

    def _refused(self, error: Exception) -> Exception:
        if type(error).__name__ == "AlreadyExistsError":
            return _Exists()
        if is_beyond(error):
            return _Beyond()
        found = refusal(error, self.url)
        found = self._refusals.setdefault(found.headline, found)
        if is_final(error):
            self._failure = found
        return found

    def _expect_bucket(self, answer: object) -> None:
        """See that what is not there is an object: a missing bucket, or another server, may answer just so.

        Raises:
            RemoteError: there is no such bucket.
        """
        if answer is not None or self._found:
            return
        import obstore

        try:
            next(iter(obstore.list(self._clients.ask(), chunk_size=1)), None)
        except Exception as error:  # noqa: BLE001 - the library raises what it likes.
            raise self._refused(error) from None
        self._found = True


class _Exists(Exception):
    """There is an object of that name."""


class _Beyond(Exception):
    """An object has not as many bytes."""


def _listed(found: Any) -> Listed:
    return Listed(found["path"], found["size"], found["last_modified"].timestamp())
