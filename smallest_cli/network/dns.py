"""Resolve a name, and connect to the first of its addresses that answers."""

from __future__ import annotations

import errno
import os
import queue
import selectors
import socket
import threading
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any

from smallest_cli.errors import ConnectError, ConnectTimeout
from smallest_cli.network.connection import Deadline
from smallest_cli.security import os_error_text
from smallest_cli.signals import running_s

STAGGER_SECONDS = 0.25
"""Between the starts of two connection attempts (RFC 8305, 5)."""

Address = tuple[int, int, int, str, Any]
"""As `socket.getaddrinfo` returns it: family, type, protocol, canonical name, address."""


def resolve(host: str, port: int, named: str, deadline: Deadline) -> list[Address]:
    """Return the addresses of a host, `named` so in errors, families alternating. Raises ConnectError."""
    # getaddrinfo imports the IDNA codec for a str, which takes milliseconds; not for bytes.
    name = host.encode("ascii") if host.isascii() else host
    answer: queue.SimpleQueue[list[Any] | OSError | UnicodeError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answer.put(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    # In a thread: getaddrinfo cannot be interrupted, and Ctrl-C must not wait for a dead resolver.
    threading.Thread(target=look_up, daemon=True).start()
    found: list[Any] | Exception | None = None
    while found is None and not deadline.is_over():
        with suppress(queue.Empty):
            found = answer.get(timeout=deadline.remaining())
    if found is None:
        late = f"resolving {named} took longer than {deadline.timeout_s:g} s"
        raise ConnectTimeout(late, step="dns") from None
    if isinstance(found, Exception):
        raise ConnectError(f"cannot resolve {named}", step="dns") from None
    # The two families alternate (RFC 8305, 4).
    preferred = [address for address in found if address[0] == found[0][0]]
    others = [address for address in found if address[0] != found[0][0]]
    return [address for address in chain.from_iterable(zip_longest(preferred, others)) if address]


def connect_any(addresses: list[Address], name: str, deadline: Deadline) -> socket.socket:
    """Return a socket to the first address that answers (happy eyeballs, RFC 8305).

    `name` is for error messages. Raises ConnectError.
    """
    waiting = list(reversed(addresses))
    last_error: OSError | None = None
    winner: socket.socket | None = None
    with selectors.DefaultSelector() as selector:
        try:
            while winner is None and (waiting or selector.get_map()):
                if waiting and (error := _start(selector, waiting.pop())):
                    last_error = error
                    continue
                remaining = deadline.at - running_s()
                if remaining <= 0:
                    raise ConnectTimeout(f"connecting to {name} took longer than {deadline.timeout_s:g} s")
                for key, _ in selector.select(min(STAGGER_SECONDS, remaining) if waiting else remaining):
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
        reason = os_error_text(last_error) if last_error else "it has no address"
        raise ConnectError(f"cannot connect to {name}: {reason}")
    return winner


def _start(selector: selectors.BaseSelector, address: Address) -> OSError | None:
    """Start to connect without blocking; return the error of an attempt that failed at once."""
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
