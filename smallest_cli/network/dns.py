"""Names to addresses, and the first address that answers."""

from __future__ import annotations

import errno
import os
import queue
import selectors
import socket
import threading
import time
from itertools import zip_longest
from typing import Any

from smallest_cli.errors import ConnectError
from smallest_cli.security import os_error_text, printable

STAGGER_SECONDS = 0.25

Address = tuple[int, int, int, str, Any]


def resolve(host: str, port: int, deadline: float, timeout: float) -> list[Address]:
    """Addresses of a host, families taking turns.

    In a thread, because getaddrinfo cannot be interrupted: Ctrl-C must not wait for a dead resolver.
    """
    # A name of bytes is taken as it is; one of characters imports the codec for international names.
    name = host.encode("ascii") if host.isascii() else host
    answer: queue.SimpleQueue[list[Any] | OSError | UnicodeError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answer.put(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    threading.Thread(target=look_up, daemon=True).start()
    try:
        found = answer.get(timeout=max(0.001, deadline - time.monotonic()))
    except queue.Empty:
        raise ConnectError(
            f"resolving {printable(host)} took longer than {timeout:g} s", step="dns"
        ) from None
    if isinstance(found, Exception):
        raise ConnectError(f"cannot resolve {printable(host)}", step="dns") from None
    first = [address for address in found if address[0] == found[0][0]]
    others = [address for address in found if address[0] != found[0][0]]
    pairs = zip_longest(first, others)
    return [address for pair in pairs for address in pair if address is not None]


def race(addresses: list[Address], name: str, deadline: float, timeout: float) -> socket.socket:
    """The first address to answer wins; each has a head start of 250 ms on the next (RFC 8305)."""
    waiting = list(reversed(addresses))
    last_error: OSError | None = None
    winner: socket.socket | None = None
    with selectors.DefaultSelector() as selector:
        try:
            while winner is None and (waiting or selector.get_map()):
                if waiting and (error := _start(selector, waiting.pop())):
                    last_error = error
                    continue
                patience = min(STAGGER_SECONDS if waiting else timeout, deadline - time.monotonic())
                if deadline <= time.monotonic():
                    raise ConnectError(f"connecting to {name} took longer than {timeout:g} s")
                for key, _ in selector.select(max(0.0, patience)):
                    sock: Any = key.fileobj
                    selector.unregister(sock)
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code == 0:
                        winner = sock
                        break
                    last_error = OSError(code, os.strerror(code))
                    sock.close()
        finally:
            for key in list(selector.get_map().values()):
                losing: Any = key.fileobj
                losing.close()
    if winner is None:
        why = os_error_text(last_error) if last_error else "it has no address"
        raise ConnectError(f"cannot connect to {name}: {why}")
    return winner


def _start(selector: selectors.BaseSelector, address: Address) -> OSError | None:
    family, kind, protocol, _, target = address
    try:
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        return error
    sock.setblocking(False)
    code = sock.connect_ex(target)
    if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
        sock.close()
        return OSError(code, os.strerror(code))
    selector.register(sock, selectors.EVENT_WRITE)
    return None
