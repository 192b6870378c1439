"""A proxy in front of a server of objects that does to requests what networks and servers do to them.

It forwards each request, unless a rule that holds for it says what becomes of it.  It keeps a list of all requests, so
that a test can see what was asked, and that its fault did happen.

A fault is a function of the request and of what forwards it: it may answer by itself, forward something else, change
the answer, or how the answer goes over the wire.
"""

import dataclasses
import http.client
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, TypeAlias

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """What came in; ``path`` with its query, names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Response:
    """What goes out.  After ``cut`` bytes of the body the connection ends; ``pace`` is in bytes per second."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    pace: float | None = None
    reset: bool = False


Forward: TypeAlias = Callable[[Request], Response]
Fault: TypeAlias = Callable[[Request, Forward], Response]


@dataclass(slots=True)
class Rule:
    """A fault, and the requests that it is done to: the first ``count`` after ``skip`` of those that match."""

    fault: Fault
    match: re.Pattern[str]
    skip: int = 0
    count: int | None = None
    seen: int = 0
    hits: int = 0

    def takes(self, request: Request) -> bool:
        """Whether the fault is for this request, which is counted."""
        if self.match.search(str(request)) is None:
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.count is not None and self.hits >= self.count):
            return False
        self.hits += 1
        return True


class FaultProxy:
    """A proxy that runs in threads of this process until it is closed.  With ``tls`` it has a certificate of nobody."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._upstream = (host, port)
        self._tls = tls
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._open: set[socket.socket] = set()
        self._closed = threading.Event()
        self.requests: list[Request] = []
        self.keep_bodies = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def rule(self, fault: Fault, match: str = "", *, skip: int = 0, count: int | None = None) -> Rule:
        """Do a fault to requests of which ``METHOD /path?query`` matches; of several rules the first is taken."""
        rule = Rule(fault, re.compile(match), skip, count)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget rules and requests."""
        with self._lock:
            self._rules.clear()
            self.requests.clear()

    def asked(self, match: str = "") -> list[str]:
        """The requests so far that match."""
        with self._lock:
            return [str(each) for each in self.requests if re.search(match, str(each))]

    def close(self) -> None:
        """End it, with all connections."""
        self._closed.set()
        _shut(self._listener)
        self._thread.join(5)
        with self._lock:
            for each in list(self._open):
                _shut(each)

    def __enter__(self) -> "FaultProxy":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- the wire ------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        upstream = http.client.HTTPConnection(*self._upstream, timeout=_TIMEOUT_S)
        wire = connection
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                wire = self._tls.wrap_socket(connection, server_side=True)
            with wire.makefile("rb") as reader:
                while (request := _read(reader, wire)) is not None:
                    response = self._answer(request, upstream)
                    if not self._write(wire, request, response):
                        break
        except (OSError, ValueError, http.client.HTTPException):
            pass  # One of the two sides has gone: so the other goes too.
        finally:
            upstream.close()
            with self._lock:
                self._open.discard(connection)
            _shut(wire)

    def _answer(self, request: Request, upstream: http.client.HTTPConnection) -> Response:
        with self._lock:
            self.requests.append(request if self.keep_bodies else dataclasses.replace(request, body=b""))
            fault = next((rule.fault for rule in self._rules if rule.takes(request)), None)
        if fault is None:
            return _forward(request, upstream)
        return fault(request, lambda changed: _forward(changed, upstream))

    def _write(self, wire: socket.socket, request: Request, response: Response) -> bool:
        """Send an answer; whether the connection lives on."""
        if response.reset:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        headers = {"Content-Length": str(len(response.body)), **response.headers}
        head = [f"HTTP/1.1 {response.status} Fault", *(f"{name}: {text}" for name, text in headers.items())]
        wire.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
        body = b"" if request.method == "HEAD" else response.body[: response.cut]
        if response.pace is None:
            wire.sendall(body)
        else:
            for at in range(len(body)):
                wire.sendall(body[at : at + 1])
                if self._closed.wait(1 / response.pace):
                    return False
        return response.cut is None


def _read(reader: BinaryIO, wire: socket.socket) -> Request | None:
    """The next request of a connection, or None at its end."""
    line = reader.readline(65536).decode("latin-1").split()
    if len(line) != 3:
        return None
    headers = {}
    while text := reader.readline(65536).decode("latin-1").strip():
        name, _, value = text.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        wire.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b"".join(iter(lambda: _chunk(reader), b""))
        del headers["transfer-encoding"]
    else:
        body = reader.read(int(headers.get("content-length", 0)))
    return Request(line[0], line[1], headers, body)


def _chunk(reader: BinaryIO) -> bytes:
    size = int(reader.readline(100).split(b";")[0], 16)
    data = reader.read(size)
    reader.readline(100)
    return data


def _forward(request: Request, upstream: http.client.HTTPConnection) -> Response:
    headers = {
        name: text for name, text in request.headers.items() if name not in ("connection", "content-length")
    }
    if request.body or request.method in ("PUT", "POST"):
        headers["content-length"] = str(len(request.body))
    for last in (False, True):
        try:
            upstream.request(request.method, request.path, body=request.body or None, headers=headers)
            answer = upstream.getresponse()
            break
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            upstream.close()  # It was kept open for too long.
            if last:
                raise
    body = answer.read()
    left_out = ("transfer-encoding", "connection", "content-length", "keep-alive")
    kept = {name: text for name, text in answer.getheaders() if name.lower() not in left_out}
    if request.method == "HEAD":
        kept["Content-Length"] = answer.getheader("Content-Length") or "0"
    return Response(answer.status, kept, body)


def _shut(each: socket.socket) -> None:
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    each.close()


# ---- faults ----------------------------------------------------------------------------------------------------------


def failing(status: int, code: str = "InternalError", message: str = "a fault of the test") -> Fault:
    """The server answers with an error of S3, and does nothing."""
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return lambda request, forward: Response(status, {"Content-Type": "application/xml"}, body.encode())


def resetting(request: Request, forward: Forward) -> Response:
    """The connection is reset before anything is done."""
    return Response(200, reset=True)


def losing_the_answer(request: Request, forward: Forward) -> Response:
    """What was asked is done, and the connection is reset instead of an answer."""
    return dataclasses.replace(forward(request), reset=True)


def truncating(request: Request, forward: Forward) -> Response:
    """The connection ends in the middle of the body."""
    answer = forward(request)
    return dataclasses.replace(answer, cut=len(answer.body) // 2)


def shortening(request: Request, forward: Forward) -> Response:
    """The body has lost its second half, and its length says so."""
    answer = forward(request)
    return dataclasses.replace(answer, body=answer.body[: len(answer.body) // 2])


def flipping(request: Request, forward: Forward) -> Response:
    """One bit in the middle of the body is another."""
    answer = forward(request)
    body = bytearray(answer.body)
    if body:
        body[len(body) // 2] ^= 4
    return dataclasses.replace(answer, body=bytes(body))


def slow(bytes_per_second: float = 1.0) -> Fault:
    """The body drips."""
    return lambda request, forward: dataclasses.replace(forward(request), pace=bytes_per_second)


def hanging(seconds: float = _TIMEOUT_S) -> Fault:
    """Nothing comes for a long time, and then a reset."""

    def hang(request: Request, forward: Forward) -> Response:
        time.sleep(seconds)
        return Response(200, reset=True)

    return hang


def ignoring_conditions(request: Request, forward: Forward) -> Response:
    """The server knows nothing of conditional writes: what is there is written over."""
    headers = {
        name: text for name, text in request.headers.items() if name not in ("if-none-match", "if-match")
    }
    return forward(dataclasses.replace(request, headers=headers))


def before(act: Callable[[], object]) -> Fault:
    """Something happens before the request is forwarded."""

    def fault(request: Request, forward: Forward) -> Response:
        act()
        return forward(request)

    return fault


def after(act: Callable[[], object]) -> Fault:
    """Something happens when the request has been done, and nobody knows of it yet."""

    def fault(request: Request, forward: Forward) -> Response:
        answer = forward(request)
        act()
        return answer

    return fault
