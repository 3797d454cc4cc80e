"""Open connections to the service: DNS, TCP, proxy and TLS, each step timed."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Self

from smallest_cli.errors import SecurityError, SettingsError
from smallest_cli.models import Phases
from smallest_cli.network.connection import Clock, Connection, Deadline, max_time_exceeded
from smallest_cli.network.dns import Address, connect_any, resolve
from smallest_cli.network.origin import Origin, is_loopback
from smallest_cli.network.preconnect import Preconnect
from smallest_cli.network.proxy import find_proxy, open_tunnel
from smallest_cli.security import printable
from smallest_cli.settings import Settings
from smallest_cli.signals import running_s

if TYPE_CHECKING:
    import ssl

OnSocket = Callable[[socket.socket], None]


class Dialer:
    """Opens connections with the same settings.

    `timeout`: seconds for a connection, from the look-up of the name to the end of the TLS handshake.
    `max_time`: seconds from now for everything that the connections do; None for no limit. `until` is its
    end, in seconds of `running_s`.
    `plain_http`: allow http to another machine, although the key is sent unencrypted.
    `environ`: where proxies and certificates are looked up. `ca_source`: where `ca_file` was set, for errors.
    `clock`: nanoseconds, for the timestamps.
    """

    def __init__(
        self,
        *,
        timeout: float,
        max_time: float | None = None,
        ca_file: str | None = None,
        ca_source: str = "",
        plain_http: bool = False,
        environ: Mapping[str, str] = os.environ,
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        self.timeout = timeout
        self.clock = clock
        self.until = math.inf if max_time is None else running_s() + max_time
        self._ca_file = ca_file
        self._ca_source = ca_source
        self._plain_http = plain_http
        self._environ = environ
        self._context: ssl.SSLContext | None = None
        self._context_lock = threading.Lock()
        self._preconnect: Preconnect | None = None
        self._addresses: dict[tuple[str, int], list[Address]] = {}

    @classmethod
    def from_settings(cls, settings: Settings, *, max_time: float | None = None) -> Self:
        """Build a dialer from the settings of a run; `max_time` is in seconds from now."""
        return cls(
            timeout=settings.timeout,
            max_time=max_time,
            ca_file=settings.ca_file,
            ca_source=settings.sources.get("ca_file", ""),
            plain_http=settings.plain_http,
        )

    @contextmanager
    def preconnect(self, origin: Origin) -> Iterator[None]:
        """Connect in the background. The first `connect` takes the result, or raises its error.

        An unused connection is closed at the end of the context.
        """
        self._preconnect = Preconnect(partial(self._open, origin))
        # Meanwhile: reading the certificates takes as long as connecting and releases the interpreter lock.
        reader = threading.Thread(target=self._preload_context, daemon=True) if origin.secure else None
        try:
            if reader:
                reader.start()
            yield
        finally:
            if preconnect := self._take_preconnect():
                preconnect.abandon()
            if reader and reader.ident:  # it was started
                reader.join()

    def connect(self, origin: Origin) -> Connection:
        """Connect to an origin. Raises NetworkError, SecurityError or SettingsError."""
        preconnect = self._take_preconnect()
        sock, phases = preconnect.result() if preconnect else self._open(origin)
        return Connection(sock, phases, self.clock, self.until)

    def check_time(self) -> None:
        """Raise DeadlineExceeded if `max_time` is over."""
        if running_s() >= self.until:
            raise max_time_exceeded()

    def _open(self, origin: Origin, on_handshake: OnSocket = lambda _: None) -> tuple[socket.socket, Phases]:
        """Connect to the origin, TLS included; `on_handshake` gets the socket before the handshake."""
        self.check_time()
        deadline = Deadline(min(running_s() + self.timeout, self.until), self.timeout)
        sock, phases = self._open_socket(origin, deadline)
        if not origin.secure:
            return sock, phases
        from smallest_cli.network import tls

        started = self.clock()
        try:
            context = self._tls_context()
            secured = tls.handshake(sock, context, origin, deadline, on_handshake)
        except BaseException:
            sock.close()
            raise
        return secured, phases.but(tls=self.clock() - started)

    def _take_preconnect(self) -> Preconnect | None:
        preconnect, self._preconnect = self._preconnect, None
        return preconnect

    def _open_socket(self, origin: Origin, deadline: Deadline) -> tuple[socket.socket, Phases]:
        """Connect to the origin's port, through its proxy if it has one."""
        proxy = find_proxy(origin, self._environ)
        host, port = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
        started = self.clock()
        named = proxy.name if proxy else printable(host)
        addresses = self._resolve(host, port, named, deadline)
        # Checked on the addresses, not on the name: that may resolve to anything.
        is_local = not proxy and all(is_loopback(address[4][0]) for address in addresses)
        if not (origin.secure or self._plain_http or is_local):
            raise SecurityError(
                f"the key is not sent over plain http to {printable(origin.netloc)}",
                hint="use https, or --plain-http on a trusted network",
            )
        resolved = self.clock()
        sock = connect_any(addresses, named if proxy else f"{named}:{port}", deadline)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy:
                open_tunnel(sock, proxy, origin, self.clock, deadline)
        except BaseException:
            sock.close()
            raise
        return sock, Phases(dns=resolved - started, tcp=self.clock() - resolved)

    def _resolve(self, host: str, port: int, named: str, deadline: Deadline) -> list[Address]:
        """Return the addresses of a host, looked up once for all connections."""
        if (host, port) not in self._addresses:
            self._addresses[host, port] = resolve(host, port, named, deadline)
        return self._addresses[host, port]

    def _tls_context(self) -> ssl.SSLContext:
        """Return one context for all connections: reading the certificates takes milliseconds."""
        from smallest_cli.network import tls

        with self._context_lock:
            if self._context is None:
                self._context = tls.create_context(self._ca_file, self._environ, self._ca_source)
            return self._context

    def _preload_context(self) -> None:
        with suppress(SettingsError):  # `connect` raises it again
            self._tls_context()
