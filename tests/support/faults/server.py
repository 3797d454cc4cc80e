"""A service that misbehaves byte by byte: HTTP, server-sent events and WebSocket on one port of raw sockets.

What it does is data: one script of steps for each request, the last one repeated. Its audio is a counter
(16-bit samples that count up over the whole run), so one look tells what was lost, repeated, shifted or
foreign. It keeps a log of what was asked. It is no model of the real service; `smallest_cli.server` is.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from tests.support.frames import read_message, upgrade_reply

DEADLINE = 20.0
SEGMENT = 4800
"""Samples of one segment."""


def counter(first: int, count: int) -> bytes:
    """Samples `first`, `first` + 1 and on, s16le."""
    samples = array("H", (at & 0xFFFF for at in range(first, first + count)))
    return samples.tobytes()


@dataclass(frozen=True)
class LoadConfig:
    """One request whose text arrived."""

    via: str
    text: str
    head: bytes


class Step(Protocol):
    """One thing that the server does."""

    def play(self, talk: Talk) -> None:
        """Do it. Raises Gone where the connection is over."""
        ...


Script = Sequence[Step]


class Gone(Exception):
    """The connection is over."""


@dataclass
class FaultServer:
    """Where it listens, what it was asked; `scripts` are for the requests in their order."""

    scripts: Sequence[Script]
    seed: int = 0
    port: int = 0
    secure: bool = False
    host: str = "127.0.0.1"
    connections: int = 0
    asked: list[LoadConfig] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    stage: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    _turn: int = 0
    _first: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def base_url(self) -> str:
        """Its address."""
        return f"http{'s' if self.secure else ''}://{self.host}:{self.port}"

    @property
    def characters(self) -> int:
        """How many arrived, and may have been billed."""
        return sum(len(each.text) for each in self.asked)

    def next_script(self) -> Script:
        """The script of a request that begins."""
        with self._lock:
            turn, self._turn = self._turn, self._turn + 1
        return self.scripts[min(turn, len(self.scripts) - 1)]

    def note(self, asked: LoadConfig) -> int:
        """Log a request; the first sample of its segment, the same however often it is asked for."""
        with self._lock:
            self.asked.append(asked)
            return self._first.setdefault(asked.text, self.seed + SEGMENT * len(self._first))


class Talk:
    """One connection. `via` is ws, sse or http, as its first request shows."""

    def __init__(self, server: FaultServer, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.via = ""
        self.head = b""
        self.body = b""
        self.upgraded = False
        self.framing = "length"
        self.first = 0
        self.sent = 0
        self.fields: dict[str, object] = {}
        self._data = b""

    def send(self, data: bytes) -> None:
        """Put bytes on the wire."""
        self.sock.sendall(data)

    def begin(self) -> None:
        """Wait for the next request, as far as its text where the transport has sent it already."""
        self.sent = 0
        if self.upgraded:
            self.take(read_message(self.sock))
            return
        self._data, self.body = b"", b""
        while b"\r\n\r\n" not in self._data:
            self._more()
        self.head, _, self._data = self._data.partition(b"\r\n\r\n")
        lower = self.head.lower()
        self.via = "ws" if b"upgrade: websocket" in lower else "sse" if b"event-stream" in lower else "http"
        if self.via != "ws":
            length = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])
            while len(self._data) < length:
                self._more()
            self.body, self._data = self._data[:length], self._data[length:]
            self.take(json.loads(self.body))

    def take(self, fields: dict[str, object]) -> None:
        """A request's text has arrived."""
        self.fields = fields
        self.first = self.server.note(LoadConfig(self.via, str(fields["text"]), self.head))

    def open(self, extra: bytes = b"") -> None:
        """Upgrade, where that is still to be done, and read the text."""
        if self.via == "ws" and not self.upgraded:
            self.send(upgrade_reply(self.head, extra))
            self.upgraded = True
            self.take(read_message(self.sock))

    def chunk(self, data: bytes) -> bytes:
        """`data` of an HTTP body, in the framing that was announced."""
        return b"%x\r\n%s\r\n" % (len(data), data) if self.framing == "chunked" else data

    def _more(self) -> None:
        piece = self.sock.recv(65536)
        if not piece:
            raise Gone
        self._data += piece


def reset(sock: socket.socket) -> None:
    """End a connection by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def fault_server(
    *scripts: Script, seed: int = 0, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[FaultServer]:
    """Runs until the context ends; each connection has a thread of its own."""
    listener = socket.create_server((host, 0), backlog=64)
    server = FaultServer(scripts, seed, listener.getsockname()[1], secure=tls is not None)
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
        sock.settimeout(DEADLINE)
        with suppress(OSError, Gone):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                sock = tls.wrap_socket(plain, server_side=True)
            talk = Talk(server, sock)
            while True:
                talk.begin()
                for step in server.next_script():
                    step.play(talk)
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
        accepting.join(DEADLINE)
        for sock in list(open_sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(DEADLINE)
