"""Opens connections: resolve, race, proxy, TLS, and what each took."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from smallest_cli.connect.addresses import Address, race, resolve
from smallest_cli.connect.connection import Clock, Connection, out_of_time
from smallest_cli.connect.origin import Origin, is_loopback
from smallest_cli.connect.proxy import find_proxy, tunnel
from smallest_cli.errors import NetworkError, SettingsError, UnsafeError
from smallest_cli.safety import reason, safe
from smallest_cli.speech import Phases

if TYPE_CHECKING:
    import ssl


class Dialer:
    """Opens connections, all by the same rules.

    `timeout` is in seconds, for a whole connection from the name to the end of TLS; `max_time` is for all
    that the dialer's connections do, from now on. `plain_http` lets an http origin be another machine.
    Proxies and certificate settings are read from `environ`.
    """

    def __init__(
        self,
        *,
        timeout: float,
        max_time: float | None = None,
        ca_file: str | None = None,
        plain_http: bool = False,
        environ: Mapping[str, str] = os.environ,
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        self.timeout = timeout
        self._until = math.inf if max_time is None else time.monotonic() + max_time
        self.clock = clock
        self._ca_file = ca_file
        self._plain_http = plain_http
        self._environ = environ

    def dial(self, origin: Origin) -> Connection:
        """Connect to an origin. Raises NetworkError, UnsafeError or SettingsError."""
        deadline = min(time.monotonic() + self.timeout, self._until)
        if deadline <= time.monotonic():
            raise out_of_time()
        proxy = find_proxy(origin, self._environ)
        host, port = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
        started = self.clock()
        addresses = resolve(host, port, deadline, self.timeout)
        if not origin.secure and not self._plain_http:
            _refuse_plain(origin, [] if proxy else addresses)
        resolved = self.clock()
        sock = race(addresses, f"{safe(host)}:{port}", deadline, self.timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy:
                left = deadline - time.monotonic()
                tunnel(sock, proxy, origin, self.clock, seconds=left, of=self.timeout)
            connected = self.clock()
            phases = Phases(dns=resolved - started, tcp=connected - resolved)
            if origin.secure:
                sock = self._secure(sock, origin, deadline)
                phases = replace(phases, tls=self.clock() - connected)
        except BaseException:
            sock.close()
            raise
        return Connection(sock, phases, self.clock, self._until)

    def _secure(self, sock: socket.socket, origin: Origin, deadline: float) -> socket.socket:
        import ssl

        context = self._tls_context
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            return context.wrap_socket(sock, server_hostname=origin.host)
        except ssl.SSLCertVerificationError as error:
            raise _distrust(origin, error) from None
        except TimeoutError:
            raise NetworkError(f"no TLS handshake within {self.timeout:g} s") from None
        except OSError as error:
            raise NetworkError(
                f"the TLS handshake with {safe(origin.netloc)} failed: {reason(error)}"
            ) from None

    @cached_property
    def _tls_context(self) -> ssl.SSLContext:
        """One context for every transport: TLS 1.2 at least, and one order of authorities.

        Built by hand because `create_default_context` writes session keys where SSLKEYLOGFILE says.
        """
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        named = self._ca_file or next(
            (self._environ[name] for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
             if self._environ.get(name)), None,
        )  # fmt: skip
        if named is None and not self._environ.get("SSL_CERT_DIR"):
            context.load_default_certs()
            return context
        try:
            if named is None or os.path.isdir(named):
                context.load_verify_locations(capath=named or self._environ["SSL_CERT_DIR"])
            else:
                context.load_verify_locations(cafile=named)
        except OSError as error:
            raise SettingsError(f"cannot read the certificates in {safe(named)}: {reason(error)}") from None
        return context


def _distrust(origin: Origin, error: ssl.SSLCertVerificationError) -> UnsafeError:
    """What is wrong with a certificate, by OpenSSL's own numbers (X509_V_ERR_..., in x509_vfy.h)."""
    why = safe(error.verify_message)
    match error.verify_code:
        case 9 | 10:
            hint = f"the clock of this machine says {time.strftime('%Y-%m-%d %H:%M')}; is that so?"
        case 62 | 64:
            why, hint = f"it is another host's ({why})", "is the base URL right?"
        case _:
            hint = "name the authority that signed it: --ca-file FILE"
    return UnsafeError(f"the certificate of {safe(origin.netloc)} is not trusted: {why}", hint=hint)


def _refuse_plain(origin: Origin, addresses: list[Address]) -> None:
    if not addresses or not all(is_loopback(address[4][0]) for address in addresses):
        raise UnsafeError(
            f"the key is not sent over plain http to {safe(origin.netloc)}",
            hint="use https, or --plain-http where the network is yours",
        )
