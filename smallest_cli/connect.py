"""The one way to a socket: resolve, connect, proxy, TLS, deadlines by the wall clock, and what each took.

Every failure leaves here as one of our errors, so the transports translate no socket errors.
"""

from __future__ import annotations

import errno
import io
import ipaddress
import math
import os
import queue
import re
import selectors
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote, urlsplit

from smallest_cli.errors import Disconnected, NetworkError, ProtocolError, SettingsError, UnsafeError
from smallest_cli.safety import reason, safe
from smallest_cli.speech import Phases

if TYPE_CHECKING:
    import ssl

Clock = Callable[[], int]

STAGGER_SECONDS = 0.25
HEAD_LIMIT = 64 * 1024
READ_SIZE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a base URL points: scheme, host, port, and a path prefix without its last slash."""

    secure: bool
    host: str
    port: int
    prefix: str = ""

    @property
    def netloc(self) -> str:
        """Host and port as a Host header or a URL has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    def url(self, scheme: str, path: str) -> str:
        """An address under this origin: `scheme` is http or ws, made secure where the origin is."""
        return f"{scheme}{'s' if self.secure else ''}://{self.netloc}{self.prefix}{path}"


def parse_base_url(base_url: str) -> Origin:
    """The origin of a base URL; http, https, ws and wss are taken. Raises SettingsError."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise SettingsError(f"the base URL {safe(base_url)} is not a URL") from None
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise SettingsError(
            f"the base URL {safe(base_url)} is not a URL", hint="it looks like https://api.smallest.ai"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError("the base URL holds more than scheme, host, port and path")
    secure = parts.scheme in ("https", "wss")
    return Origin(secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/"))


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Connection:
    """A connected socket with deadlines by the wall clock, a cap on what is read, and stamps.

    It has the methods that websocket-client and http.client call of a socket. `received_ns` is the
    clock right after the last read from the system, `sent_ns` right after the last write.
    """

    def __init__(self, sock: socket.socket, phases: Phases, clock: Clock, until: float = math.inf) -> None:
        """`until` is the end of the whole run, in seconds of `time.monotonic`."""
        self._sock = sock
        self._until = until
        self.phases = phases
        self.clock = clock
        self.received_ns = 0
        self.sent_ns = 0
        self._buffer = b""
        self._at = 0
        self._deadline = 0.0
        self._awaited = ""
        self._allowance = HEAD_LIMIT
        self._files = 0
        self._let_go = False

    def expect(self, awaited: str, seconds: float) -> None:
        """Give what is awaited (words for a message) this many seconds from now."""
        self._awaited = awaited
        self._seconds = seconds
        self._deadline = min(time.monotonic() + seconds, self._until)

    def allow(self, byte_count: int) -> None:
        """Let at most this many bytes more be read before the next call."""
        self._allowance = byte_count

    def recv(self, size: int, flags: int = 0) -> bytes:
        """At most `size` bytes, b"" where the other side has closed. Raises NetworkError, ProtocolError."""
        if self._at == len(self._buffer):
            self._buffer, self._at = self._read(), 0
            self._allowance -= len(self._buffer)
        if self._allowance < 0:
            raise ProtocolError("the service sent a message that is too large")
        piece = self._buffer[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def _read(self) -> bytes:
        try:
            self._sock.settimeout(self._remaining())
            data = self._sock.recv(READ_SIZE)
        except OSError as error:
            self._fail(error)
        self.received_ns = self.clock()
        return data

    def send(self, data: bytes) -> int:
        """Write all of `data`. Raises NetworkError."""
        try:
            self._sock.settimeout(self._remaining())
            self._sock.sendall(data)
        except OSError as error:
            self._fail(error)
        self.sent_ns = self.clock()
        return len(data)

    def sendall(self, data: bytes) -> None:
        """As `send`."""
        self.send(data)

    def _remaining(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            self._too_late()
        return remaining

    def _fail(self, error: OSError) -> NoReturn:
        if isinstance(error, TimeoutError):
            self._too_late()
        if isinstance(error, ConnectionError):
            raise Disconnected("the connection was reset") from None
        raise NetworkError(f"the connection failed: {reason(error)}") from None

    def _too_late(self) -> NoReturn:
        if time.monotonic() >= self._until:
            raise _out_of_time() from None
        raise NetworkError(f"no {self._awaited} within {self._seconds:g} s") from None

    def unread(self, data: bytes) -> None:
        """Put bytes back, to be read again first."""
        self._buffer, self._at = data + self._buffer[self._at :], 0

    def readable(self) -> bool:
        """Whether bytes, or the other side's close, are waiting."""
        if self._at < len(self._buffer):
            return True
        pending = getattr(self._sock, "pending", lambda: 0)
        if pending():
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ)
            return bool(selector.select(0))

    def makefile(self, mode: str = "rb", *_: Any, **__: Any) -> io.BufferedReader:
        """The reading side as a file, for http.client: the socket outlives `close` until it is closed too."""
        self._files += 1
        return io.BufferedReader(_Readable(self), READ_SIZE)

    def gettimeout(self) -> float:
        """A socket's method; the deadline is `expect`'s."""
        return max(0.001, self._deadline - time.monotonic())

    def settimeout(self, _: float | None) -> None:
        """A socket's method; the deadline is `expect`'s."""

    def setsockopt(self, *arguments: Any) -> None:
        """A socket's method."""
        self._sock.setsockopt(*arguments)

    def fileno(self) -> int:
        """A socket's method."""
        return self._sock.fileno()

    def shutdown(self, how: int) -> None:
        """A socket's method."""
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close at once, or with the last file on it; the other side is not waited for."""
        self._let_go = True
        if not self._files:
            self._sock.close()

    def drop(self) -> None:
        """Close the socket, whatever files are still on it."""
        self._sock.close()

    def close_file(self) -> None:
        """One file of `makefile` is done with."""
        self._files -= 1
        if self._let_go:
            self.close()


def _out_of_time() -> NetworkError:
    error = NetworkError("the run took longer than --max-time allows")
    error.retryable = False
    return error


class _Readable(io.RawIOBase):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._connection.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._connection.close_file()


class Dialer:
    """Opens connections, all by the same rules.

    `timeout` is in seconds, for a whole connection from the name to the end of TLS; `max_time` for all that
    the dialer's connections do, from now on. `plain_http`
    lets an http origin be another machine. Proxies and certificate settings are read from `environ`.
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
            raise _out_of_time()
        proxy = find_proxy(origin, self._environ)
        host, port = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
        started = self.clock()
        addresses = _resolve(host, port, deadline, self.timeout)
        if not origin.secure and not self._plain_http:
            _refuse_plain(origin, [] if proxy else addresses)
        resolved = self.clock()
        sock = _race(addresses, f"{safe(host)}:{port}", deadline, self.timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy:
                _tunnel(sock, proxy, origin, deadline - time.monotonic(), self.clock)
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
            raise UnsafeError(
                f"the certificate of {safe(origin.netloc)} is not trusted: {safe(error.verify_message)}",
                hint="name the authority that signed it: --ca-file FILE",
            ) from None
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


def _refuse_plain(origin: Origin, addresses: list[_Address]) -> None:
    if not addresses or not all(is_loopback(address[4][0]) for address in addresses):
        raise UnsafeError(
            f"the key is not sent over plain http to {safe(origin.netloc)}",
            hint="use https, or --plain-http where the network is yours",
        )


# Names and addresses

_Address = tuple[int, int, int, str, Any]


def _resolve(host: str, port: int, deadline: float, timeout: float) -> list[_Address]:
    """Addresses of a host, families taking turns.

    In a thread, because getaddrinfo cannot be interrupted: Ctrl-C must not wait for a dead resolver.
    """
    answer: queue.SimpleQueue[list[Any] | OSError | UnicodeError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    threading.Thread(target=look_up, daemon=True).start()
    try:
        found = answer.get(timeout=max(0.001, deadline - time.monotonic()))
    except queue.Empty:
        raise NetworkError(f"resolving {safe(host)} took longer than {timeout:g} s") from None
    if isinstance(found, Exception):
        raise NetworkError(f"cannot resolve {safe(host)}") from None
    first = [address for address in found if address[0] == found[0][0]]
    others = [address for address in found if address[0] != found[0][0]]
    pairs = zip_longest(first, others)
    return [address for pair in pairs for address in pair if address is not None]


def _race(addresses: list[_Address], name: str, deadline: float, timeout: float) -> socket.socket:
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
                    raise NetworkError(f"connecting to {name} took longer than {timeout:g} s")
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
        why = reason(last_error) if last_error else "it has no address"
        raise NetworkError(f"cannot connect to {name}: {why}")
    return winner


def _start(selector: selectors.BaseSelector, address: _Address) -> OSError | None:
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


# Proxies


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; `authorization` is the value of its header, None where it asks for nobody."""

    host: str
    port: int
    authorization: str | None


def find_proxy(origin: Origin, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy that the environment names for an origin. Loopback never has one.

    Raises SettingsError for a kind of proxy that is not spoken here: going direct instead
    would be a surprise to whoever set it.
    """
    settings = {
        name.lower().removesuffix("_proxy"): value
        for name, value in environ.items()
        if name.lower().endswith("_proxy") and value
    }
    scheme = "https" if origin.secure else "http"
    url = settings.get(scheme) or settings.get("all")
    if not url or is_loopback(origin.host):
        return None
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

    if proxy_bypass_environment(f"{origin.host}:{origin.port}", settings):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise SettingsError(
            f"the proxy in {scheme}_proxy or all_proxy is of a kind that is not supported: "
            f"{safe(parts.scheme)}",
            hint="http://HOST:PORT is",
        )
    authorization = None
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + b64encode(pair.encode()).decode("ascii")
    return Proxy(parts.hostname, port, authorization)


def _tunnel(sock: socket.socket, proxy: Proxy, origin: Origin, seconds: float, clock: Clock) -> None:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    connection = Connection(sock, Phases(), clock)
    connection.expect("answer from the proxy", max(0.001, seconds))
    connection.send("\r\n".join([*lines, "", ""]).encode("ascii"))
    head = read_head(connection)
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if not status:
        raise NetworkError(f"the proxy {safe(proxy.host)}:{proxy.port} did not answer in HTTP")
    if status[1] != b"200":
        raise NetworkError(f"the proxy {safe(proxy.host)}:{proxy.port} answered {int(status[1])}")


def read_head(connection: Connection) -> bytes:
    """The head of an HTTP reply, its empty line included, at most 64 KiB.

    What came behind it stays to be read. Raises NetworkError where the connection ends before.
    """
    connection.allow(HEAD_LIMIT)
    head = b""
    while (end := head.find(b"\r\n\r\n")) < 0:
        data = connection.recv(READ_SIZE)
        if not data:
            raise Disconnected("the connection was closed before an answer came")
        head += data
    connection.unread(head[end + 4 :])
    return head[: end + 4]
