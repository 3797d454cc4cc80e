"""Opens connections: resolve, race, proxy, TLS, and what each took."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from smallest_cli.errors import CertificateError, ConnectError, SecurityError, SettingsError, TLSError
from smallest_cli.models import Phases
from smallest_cli.network.connection import Clock, Connection, out_of_time
from smallest_cli.network.dns import Address, race, resolve
from smallest_cli.network.origin import Origin, is_loopback
from smallest_cli.network.preconnect import Preconnect
from smallest_cli.network.proxy import find_proxy, tunnel
from smallest_cli.security import os_error_text, printable

if TYPE_CHECKING:
    import ssl


class Dialer:
    """Opens connections, all by the same rules.

    `timeout` is in seconds, for a whole connection from the name to the end of TLS; `max_time` is for all
    that the dialer's connections do, from now on. `plain_http` lets an http origin be another machine.
    `until` is when that is over, in seconds of `time.monotonic`.
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
        self.until = math.inf if max_time is None else time.monotonic() + max_time
        self.clock = clock
        self._ca_file = ca_file
        self._plain_http = plain_http
        self._environ = environ
        self._context: ssl.SSLContext | None = None
        self._context_lock = threading.Lock()
        self._begun: Preconnect | None = None

    @contextmanager
    def head_start(self, origin: Origin) -> Iterator[None]:
        """Connect in the background; the first `dial` takes over what comes of it, a failure too.

        What nobody has taken when the context ends is closed. TLS is left to `dial`: a thread that is
        within OpenSSL when the interpreter ends takes the process down.
        """
        # The authorities take as long to read as a connection to be made, and leave the interpreter alone.
        reader = threading.Thread(target=self._read_ahead, daemon=True) if origin.secure else None
        if reader:
            reader.start()
        self._begun = Preconnect(lambda: self._connect(origin, self._deadline()))
        try:
            yield
        finally:
            if begun := self._take_begun():
                begun.abandon()
            if reader:
                reader.join()

    def dial(self, origin: Origin) -> Connection:
        """Connect to an origin. Raises NetworkError, SecurityError or SettingsError."""
        deadline = self._deadline()
        begun = self._take_begun()
        sock, phases = begun.result() if begun else self._connect(origin, deadline)
        if origin.secure:
            started = self.clock()
            try:
                sock = self._secure(sock, origin, deadline)
            except BaseException:
                sock.close()
                raise
            phases = replace(phases, tls=self.clock() - started)
        return Connection(sock, phases, self.clock, self.until)

    def _take_begun(self) -> Preconnect | None:
        begun, self._begun = self._begun, None
        return begun

    def _deadline(self) -> float:
        """When a connection that is begun now must be there. Raises NetworkError where no time is left."""
        deadline = min(time.monotonic() + self.timeout, self.until)
        if deadline <= time.monotonic():
            raise out_of_time()
        return deadline

    def _connect(self, origin: Origin, deadline: float) -> tuple[socket.socket, Phases]:
        """To the origin's port, by way of its proxy; what each step took."""
        proxy = find_proxy(origin, self._environ)
        host, port = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
        started = self.clock()
        addresses = resolve(host, port, deadline, self.timeout)
        if not origin.secure and not self._plain_http:
            _refuse_plain(origin, [] if proxy else addresses)
        resolved = self.clock()
        sock = race(addresses, f"{printable(host)}:{port}", deadline, self.timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy:
                left = deadline - time.monotonic()
                tunnel(sock, proxy, origin, self.clock, seconds=left, of=self.timeout)
        except BaseException:
            sock.close()
            raise
        return sock, Phases(dns=resolved - started, tcp=self.clock() - resolved)

    def _secure(self, sock: socket.socket, origin: Origin, deadline: float) -> socket.socket:
        import ssl

        context = self._tls_context()
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            secured = context.wrap_socket(sock, server_hostname=origin.host, do_handshake_on_connect=False)
            try:
                secured.do_handshake()
            except BaseException:
                secured.close()
                raise
            return secured
        except ssl.SSLCertVerificationError as error:
            raise _distrust(origin, error) from None
        except TimeoutError:
            raise ConnectError(f"no TLS handshake within {self.timeout:g} s", step="tls") from None
        except OSError as error:
            raise _failed_handshake(origin, error) from None

    def _tls_context(self) -> ssl.SSLContext:
        """One context for every connection."""
        with self._context_lock:
            if self._context is None:
                self._context = self._read_authorities()
            return self._context

    def _read_ahead(self) -> None:
        with suppress(SettingsError):  # which `dial` raises again
            self._tls_context()

    def _read_authorities(self) -> ssl.SSLContext:
        """TLS 1.2 at least, and one order of authorities for every transport.

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
        except ssl.SSLError:
            raise SettingsError(
                f"there is no certificate in {printable(named)}",
                hint="a PEM file is wanted: its first certificate begins with -----BEGIN CERTIFICATE-----",
            ) from None
        except OSError as error:
            raise SettingsError(
                f"cannot read the certificates in {printable(named)}: {os_error_text(error)}"
            ) from None
        return context


PLAIN_ANSWERS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG")
"""What OpenSSL calls an answer that is no TLS."""


def _failed_handshake(origin: Origin, error: OSError) -> ConnectError:
    """In words: OpenSSL's own have its codes and lines of its source in them."""
    why = getattr(error, "reason", None)
    if why in PLAIN_ANSWERS:
        plain = TLSError(f"{printable(origin.netloc)} does not speak TLS", step="tls")
        plain.hint = "is the base URL an http one?"
        return plain
    told = why.lower().replace("_", " ") if isinstance(why, str) else os_error_text(error)
    return ConnectError(
        f"the TLS handshake with {printable(origin.netloc)} failed: {printable(told)}", step="tls"
    )


def _distrust(origin: Origin, error: ssl.SSLCertVerificationError) -> CertificateError:
    """What is wrong with a certificate, by OpenSSL's own numbers (X509_V_ERR_..., in x509_vfy.h)."""
    why = printable(error.verify_message)
    match error.verify_code:
        case 9 | 10:
            hint = f"the clock of this machine says {time.strftime('%Y-%m-%d %H:%M')}; is that so?"
        case 62 | 64:
            why, hint = f"it is another host's ({why})", "is the base URL right?"
        case _:
            hint = "name the authority that signed it: --ca-file FILE"
    return CertificateError(f"the certificate of {printable(origin.netloc)} is not trusted: {why}", hint=hint)


def _refuse_plain(origin: Origin, addresses: list[Address]) -> None:
    if not addresses or not all(is_loopback(address[4][0]) for address in addresses):
        raise SecurityError(
            f"the key is not sent over plain http to {printable(origin.netloc)}",
            hint="use https, or --plain-http where the network is yours",
        )
