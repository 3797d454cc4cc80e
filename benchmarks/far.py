"""A service that is far away: a relay in a process of its own that delays what passes through it.

The kernel's own delay (netem) is not on every machine. A connection takes a round trip to be made, and so
does each exchange over it; the relay takes any number of them, and ends with its stdin. It listens on the
same port of another loopback address, because the offline server wants its own port in the Host header.
"""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from urllib.parse import urlsplit

SIZE = 65_536
FAR = "127.0.0.2"


@contextmanager
def open_relay(base_url: str, round_trip_s: float) -> Iterator[str]:
    """The URL by which `base_url` is so far away."""
    parts = urlsplit(base_url)
    command = [sys.executable, "-m", "benchmarks.far", str(parts.port), str(round_trip_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as relay:
        assert relay.stdout
        relay.stdout.readline()
        yield f"{parts.scheme}://{FAR}:{parts.port}"
        relay.terminate()


def carry(source: socket.socket, target: socket.socket, delay_s: float, not_before: float) -> None:
    """Every byte, so much later than it came, and none before `not_before`."""
    waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def send() -> None:
        pause = threading.Event()
        with suppress(OSError):
            while True:
                due, data = waiting.get()
                pause.wait(max(0.0, due - monotonic()))
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)

    threading.Thread(target=send, daemon=True).start()
    data = b"?"
    while data:
        try:
            data = source.recv(SIZE)
        except OSError:
            data = b""
        waiting.put((max(monotonic(), not_before) + delay_s, data))


def relay(port: int, round_trip_s: float) -> None:
    """Accept connections until the process ends."""
    with socket.create_server((FAR, port)) as listener:
        print("ready", flush=True)
        while True:
            near, _ = listener.accept()
            connected = monotonic() + round_trip_s
            far = socket.create_connection(("127.0.0.1", port))
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, target in ((near, far), (far, near)):
                arguments = (source, target, round_trip_s / 2, connected)
                threading.Thread(target=carry, args=arguments, daemon=True).start()


if __name__ == "__main__":
    threading.Thread(target=relay, args=(int(sys.argv[1]), float(sys.argv[2])), daemon=True).start()
    sys.stdin.read()
