"""A server of raw sockets on loopback: what it says is a script, byte by byte."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

DEADLINE = 10.0


@dataclass
class RawServer:
    """Where it listens, and what it was sent on each connection."""

    port: int
    received: list[bytes] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Script = Callable[[socket.socket], None]


@contextmanager
def raw_server(
    *scripts: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[RawServer]:
    """Runs one script for each connection, in order; the last is repeated. Closes the connection after it."""
    listener = socket.create_server((host, 0))
    server = RawServer(listener.getsockname()[1])
    running = True

    def accept() -> None:
        count = 0
        while running:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            script = scripts[min(count, len(scripts) - 1)]
            count += 1
            threading.Thread(target=talk, args=(sock, script), daemon=True).start()

    def talk(sock: socket.socket, script: Script) -> None:
        sock.settimeout(DEADLINE)
        with suppress(OSError):
            if tls is not None:
                sock = tls.wrap_socket(sock, server_side=True)
            script(sock)
        sock.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        running = False
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(DEADLINE)


def read_request(sock: socket.socket) -> bytes:
    """The head of a request and as much body as its Content-Length says."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def wait_for_close(sock: socket.socket) -> None:
    """Until the client leaves, or the deadline of the test."""
    with suppress(OSError):
        while sock.recv(65536):
            pass


def answer(head: bytes, *body: bytes) -> Script:
    def script(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(head)
        for data in body:
            sock.sendall(data)

    return script
