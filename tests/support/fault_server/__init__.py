"""A misbehaving service on raw sockets: HTTP, server-sent events and WebSocket on one port.

Its behaviour is data. A *script* is a sequence of steps (see `steps`) for one request; a *handler* is a
function that gets the socket of one connection. Requests and connections take them in order; the last one is
repeated. The audio of scripts is a counter (16-bit samples that count up over the complete run), so that
lost, repeated, shifted or foreign samples show. It is no model of the real service: `smallest_cli.server` is.

`fault_server` runs it in this process. `start_fault_server` runs it as a process of its own
(`python -m tests.support.fault_server`), which logs a time stamp of each request and its first audio.
"""

from __future__ import annotations

import json
import pickle
import socket
import ssl
import struct
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Protocol

from tests.support import ROOT
from tests.support.frames import read_message, read_request, upgrade_reply

DEADLINE_S = 20.0
SEGMENT = 4800
"""Samples of one segment."""


def counter(first: int, count: int) -> bytes:
    """Samples `first`, `first` + 1 and so on, s16le."""
    samples = array("H", (at & 0xFFFF for at in range(first, first + count)))
    return samples.tobytes()


@dataclass
class Request:
    """One request whose text arrived. Stamps are of the monotonic clock."""

    via: str
    text: str
    head: bytes
    request_id: str
    received_ns: int
    first_audio_ns: int | None = None
    proven: bool = False
    """Whether its answer is one that a client may take as complete."""


class Step(Protocol):
    """One action of the server."""

    def run(self, connection: Connection) -> None:
        """Run the step. Raises ConnectionEnded when it ends the connection."""
        ...


Script = Sequence[Step]
Handler = Callable[[socket.socket], None]


class ConnectionEnded(Exception):
    """A step has ended the connection."""


@dataclass
class FaultServer:
    """The address of the server and what it was sent."""

    scripts: Sequence[Script | Handler]
    seed: int = 0
    port: int = 0
    secure: bool = False
    host: str = "127.0.0.1"
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    log_path: Path | None = None
    delayed_s: float = 0.0
    _turn: int = 0
    _first: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def base_url(self) -> str:
        return f"http{'s' if self.secure else ''}://{self.host}:{self.port}"

    @property
    def characters(self) -> int:
        """Number of characters received, which may have been billed."""
        return sum(len(each.text) for each in self.requests)

    def serve(self, sock: socket.socket) -> None:
        """Serve one connection until either side ends it."""
        if (handler := self._next(self._is_handler)) is not None:
            handler(sock)  # type: ignore[operator]
            return
        connection = Connection(self, sock)
        while True:
            connection.read_request()
            try:
                for step in self._next() or ():  # type: ignore[union-attr]
                    step.run(connection)
            finally:
                self._write_log(connection.request)

    def _next(self, condition: Callable[[Script | Handler], bool] | None = None) -> Script | Handler | None:
        """Take the next script; None, and nothing is taken, where it does not meet `condition`."""
        with self._lock:
            script = self.scripts[min(self._turn, len(self.scripts) - 1)]
            if condition is not None and not condition(script):
                return None
            self._turn += 1
            return script

    @staticmethod
    def _is_handler(script: Script | Handler) -> bool:
        return callable(script)

    def add_request(self, via: str, text: str, head: bytes) -> tuple[Request, int]:
        """Record a request. Returns it and the first sample of its segment, the same for the same text."""
        received_ns = perf_counter_ns()
        with self._lock:
            request = Request(via, text, head, f"req_{len(self.requests) + 1}", received_ns)
            self.requests.append(request)
            return request, self._first.setdefault(text, self.seed + SEGMENT * len(self._first))

    def _write_log(self, request: Request | None) -> None:
        if self.log_path is None or request is None:
            return
        entry = asdict(request)
        del entry["head"]
        with self._lock, self.log_path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


class Connection:
    """One connection. `via` is ws, sse or http, as its first request shows."""

    def __init__(self, server: FaultServer, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.via = ""
        self.head = b""
        self.upgraded = False
        self.framing = "length"
        self.request: Request | None = None
        self.fields: dict[str, Any] = {}
        self.first = 0
        self.sent = 0
        self._data = b""

    @property
    def request_id(self) -> str:
        return self.request.request_id if self.request else "req_0"

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_audio(self, data: bytes) -> None:
        """Send a message with audio in it, and stamp the first one of a request."""
        if self.request and self.request.first_audio_ns is None:
            self.request.first_audio_ns = perf_counter_ns()
        self.sock.sendall(data)

    def read_request(self) -> None:
        """Wait for the next request. Its text is read, unless an upgrade comes first."""
        self.sent = 0
        self.request = None
        if self.upgraded:
            self._take(read_message(self.sock))
            return
        self._data = b""
        while b"\r\n\r\n" not in self._data:
            self._read_more()
        self.head, _, self._data = self._data.partition(b"\r\n\r\n")
        lower = self.head.lower()
        self.via = "ws" if b"upgrade: websocket" in lower else "sse" if b"event-stream" in lower else "http"
        if self.via != "ws":
            length = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            while len(self._data) < length:
                self._read_more()
            self._take(json.loads(self._data[:length] or b"{}"))

    def _take(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.request, self.first = self.server.add_request(self.via, str(fields.get("text", "")), self.head)

    def open(self, extra: bytes = b"", reply: bytes | None = None) -> None:
        """Accept the upgrade, with `extra` headers or by `reply`, and read the text, unless that is done."""
        if self.via == "ws" and not self.upgraded:
            self.send(reply or upgrade_reply(self.head, extra))
            self.upgraded = True
            self._take(read_message(self.sock))

    def chunk(self, data: bytes) -> bytes:
        """`data` of an HTTP body, in the framing that was announced."""
        return b"%x\r\n%s\r\n" % (len(data), data) if self.framing == "chunked" else data

    def _read_more(self) -> None:
        piece = self.sock.recv(65_536)
        if not piece:
            raise ConnectionEnded
        self._data += piece


def reset(sock: socket.socket) -> None:
    """End a connection by RST when it is closed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def fault_server(
    *scripts: Script | Handler,
    seed: int = 0,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    log_path: Path | None = None,
) -> Iterator[FaultServer]:
    """Run the server in this process until the context ends; each connection has its own thread."""
    listener = socket.create_server((host, 0), backlog=256)
    port = listener.getsockname()[1]
    server = FaultServer(scripts, seed, port, secure=tls is not None, log_path=log_path)
    open_sockets: set[socket.socket] = set()
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            server.connections += 1
            open_sockets.add(sock)
            thread = threading.Thread(target=serve, args=(sock,), daemon=True)
            threads.append(thread)
            thread.start()

    def serve(plain: socket.socket) -> None:
        sock = plain
        sock.settimeout(DEADLINE_S)
        with suppress(OSError, ConnectionEnded):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                sock = tls.wrap_socket(plain, server_side=True)
            server.serve(sock)
        open_sockets.discard(plain)
        sock.close()
        plain.close()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield server
    finally:
        server.release.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(DEADLINE_S)
        for sock in list(open_sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(DEADLINE_S)


def wait_for_close(sock: socket.socket) -> None:
    """Handler: read until the client leaves."""
    with suppress(OSError):
        while sock.recv(65_536):
            pass


def answer(head: bytes, *body: bytes) -> Handler:
    """Return a handler that reads a request and sends these bytes."""

    def handler(sock: socket.socket) -> None:
        read_request(sock)
        for data in (head, *body):
            sock.sendall(data)

    return handler


@dataclass(frozen=True)
class FaultProcess:
    """A fault server in a separate process. Its log has a line for each request that has ended."""

    base_url: str
    log_path: Path

    def log(self) -> list[dict[str, Any]]:
        """Return the fields of each `Request`, oldest first."""
        *complete, _ = self.log_path.read_text().split("\n")  # a line may be half-written
        return [json.loads(line) for line in complete]


@contextmanager
def start_fault_server(folder: Path, *script: Step) -> Iterator[FaultProcess]:
    """Run the server as a separate process, which ends with its stdin. Its log is in `folder`."""
    log_path = folder / "faults.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.fault_server", str(log_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdin
        assert process.stdout
        pickle.dump(script, process.stdin)
        process.stdin.flush()
        port = int(process.stdout.readline())
        try:
            yield FaultProcess(f"http://127.0.0.1:{port}", log_path)
        finally:
            process.stdin.close()
            process.wait(10)
