"""Simulate network latency with a relay in a separate process that delays all data.

netem would need root. Connecting takes one round trip, and so does each exchange. The relay accepts any
number of connections and exits when its stdin closes. It listens on the same port of another loopback
address, because the offline server checks the port in the Host header.
"""

from __future__ import annotations

import math
import queue
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from urllib.parse import urlsplit

SIZE = 65_536
ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
"""Of this machine; each may have a relay to the same server."""


@contextmanager
def open_relay(
    base_url: str, round_trip_s: float, idle_s: float = math.inf, address: str = ADDRESSES[0]
) -> Iterator[str]:
    """Start a relay to `base_url` with the given round-trip time. Yields the relay's URL.

    A connection without traffic for `idle_s` seconds is closed from the service's side. Raises SystemExit if
    the relay cannot listen.
    """
    parts = urlsplit(base_url)
    arguments = (address, str(parts.port), str(round_trip_s), str(idle_s))
    command = [sys.executable, "-m", "benchmarks.relay", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as relay:
        assert relay.stdout
        if not relay.stdout.readline():
            sys.exit(f"the relay did not start: is {address} an address of this machine?")
        yield f"{parts.scheme}://{address}:{parts.port}"
        relay.terminate()


class Link:
    """A connection through the relay, in both directions."""

    def __init__(self, client: socket.socket, server: socket.socket, delay_s: float, idle_s: float) -> None:
        self._delay_s = delay_s
        self._idle_s = idle_s
        self._last_byte = monotonic()
        self._connected = self._last_byte + 2 * delay_s
        for source, target in ((client, server), (server, client)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._receive, args=(source, target), daemon=True).start()

    def _receive(self, source: socket.socket, target: socket.socket) -> None:
        """Forward all data after the delay, but not before connecting would have completed."""
        delayed: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._send, args=(target, delayed), daemon=True).start()
        data = b"?"
        while data:
            data = self._read(source)
            delayed.put((max(monotonic(), self._connected) + self._delay_s, data))

    def _read(self, source: socket.socket) -> bytes:
        """Return the next data, or b"" at the end of the connection or after the idle time."""
        with suppress(OSError):
            while (left := self._last_byte + self._idle_s - monotonic()) > 0:
                if select.select([source], [], [], None if left == math.inf else left)[0]:
                    self._last_byte = monotonic()
                    return source.recv(SIZE)
        return b""

    def _send(self, target: socket.socket, delayed: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        pause = threading.Event()
        with suppress(OSError):
            while True:
                due, data = delayed.get()
                pause.wait(max(0.0, due - monotonic()))
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)


def relay(address: str, port: int, round_trip_s: float, idle_s: float) -> None:
    """Accept connections until the process exits."""
    with socket.create_server((address, port)) as listener:
        print("ready", flush=True)
        while True:
            client, _ = listener.accept()
            Link(client, socket.create_connection(("127.0.0.1", port)), round_trip_s / 2, idle_s)


if __name__ == "__main__":
    arguments = (sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
    threading.Thread(target=relay, args=arguments, daemon=True).start()
    sys.stdin.read()
