"""A proxy that disturbs the responses of a server, with the seven toxics of Toxiproxy.

Where Toxiproxy counts time, it counts bytes of the response, so that runs are reproducible.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.support.fault_server import reset

PIECE = 65_536


@dataclass(frozen=True)
class Toxic:
    """What happens to the responses; None and 0 have no effect.

    `latency_s` before each piece, `bytes_per_s` of bandwidth, `slow_close_s` before the end is passed on,
    `silent_after` bytes nothing more comes (timeout), `reset_after` bytes the connection is reset
    (reset_peer), `slice` bytes at a time (slicer), `close_after` bytes it is closed (limit_data).
    Only the first `connections` are disturbed.
    """

    latency_s: float = 0.0
    bytes_per_s: int = 0
    slow_close_s: float = 0.0
    silent_after: int | None = None
    reset_after: int | None = None
    slice: int = 0
    close_after: int | None = None
    connections: int = 1 << 30


@dataclass
class Proxy:
    """The proxy. `connections` counts what it has accepted."""

    port: int
    toxic: Toxic
    connections: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _sockets: list[socket.socket] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, client: socket.socket, upstream: tuple[str, int]) -> None:
        """Forward one connection until either side ends it. The Host header is rewritten for the server."""
        self.connections += 1
        toxic = self.toxic if self.connections <= self.toxic.connections else Toxic()
        server = socket.create_connection(upstream)
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets += [client, server]
        back = threading.Thread(target=self._disturb, args=(server, client, toxic), daemon=True)
        back.start()
        with suppress(OSError):
            while data := client.recv(PIECE):
                server.sendall(data.replace(b":%d\r\n" % self.port, b":%d\r\n" % upstream[1]))
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)
        back.join()
        client.close()
        server.close()

    def _disturb(self, server: socket.socket, client: socket.socket, toxic: Toxic) -> None:
        passed = 0
        limits = [n for n in (toxic.silent_after, toxic.reset_after, toxic.close_after) if n is not None]
        most = min(limits, default=1 << 62)
        with suppress(OSError):
            while data := server.recv(PIECE):
                data = data[: most - passed]
                self._pass_on(client, data, toxic)
                passed += len(data)
                if passed >= most:
                    self._end(client, toxic)
                    break
        self._over.wait(toxic.slow_close_s)
        for sock in (client, server):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, client: socket.socket, data: bytes, toxic: Toxic) -> None:
        self._over.wait(toxic.latency_s)
        size = toxic.slice or (max(1, toxic.bytes_per_s // 50) if toxic.bytes_per_s else len(data) or 1)
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            if toxic.bytes_per_s:
                self._over.wait(len(piece) / toxic.bytes_per_s)
            client.sendall(piece)

    def _end(self, client: socket.socket, toxic: Toxic) -> None:
        if toxic.silent_after is not None:
            self._over.wait()
        if toxic.reset_after is not None:
            reset(client)
            client.close()

    def close(self) -> None:
        """End every connection."""
        self._over.set()
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def toxic_proxy(upstream: tuple[str, int], toxic: Toxic) -> Iterator[Proxy]:
    """Run the proxy until the context ends; each connection has its own threads."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        proxy = Proxy(listener.getsockname()[1], toxic)
        threads: list[threading.Thread] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    thread = threading.Thread(target=proxy.serve, args=(client, upstream), daemon=True)
                    threads.append(thread)
                    thread.start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield proxy
        finally:
            proxy.close()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            deadline = time.monotonic() + 10
            for thread in (accepting, *threads):
                thread.join(max(0.0, deadline - time.monotonic()))
