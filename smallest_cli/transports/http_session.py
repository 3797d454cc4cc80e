"""HTTP requests over a connection of our own: requests and urllib3 frame the messages.

Their redirects, cookies, .netrc, proxies and retries are switched off.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Any, BinaryIO

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from smallest_cli.errors import ConnectionClosed, IncompleteResponse, NetworkError, ProtocolError, RemoteError
from smallest_cli.models import Event, Opened, Phases, Sent, Service
from smallest_cli.network.connection import Connection
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import Origin, parse_base_url
from smallest_cli.protocol.endpoints import MESSAGE_LIMIT, REFUSAL_LIMIT
from smallest_cli.security import printable
from smallest_cli.transports.channel import error_from_response

READ_SIZE = 64 * 1024
END_TIMEOUT_S = 0.05


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """A response with status 200 whose body arrives over `connection`, which has the timestamps."""

    headers: dict[str, str]
    connection: Connection
    body: Iterator[bytes]

    def read_end(self) -> None:
        """Read the end of the body if it comes within 50 ms, so that the connection can be reused."""
        self.connection.set_deadline("end", END_TIMEOUT_S)
        with suppress(NetworkError):
            next(self.body, None)

    def has_framed_body(self) -> bool:
        """Whether Content-Length or chunked encoding marks the end of the body (RFC 9112, 6.3)."""
        headers = {name.lower(): value.lower() for name, value in self.headers.items()}
        return "content-length" in headers or "chunked" in headers.get("transfer-encoding", "")


class HTTPSession:
    """Sends requests to one origin, one at a time, over one connection that it keeps open."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        self._service = service
        self._origin = parse_base_url(service.base_url)
        self._pinned = PinnedConnection(self._origin, dialer)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(self._pinned))

    def post(
        self, stack: ExitStack, path: str, body: bytes, accept: str
    ) -> Generator[Event, None, StreamedResponse]:
        """Send a request; yield Opened and Sent as far as it came, also before an error is raised.

        The response's body can be read until `stack` is closed. Raises RemoteError.
        """
        try:
            response = stack.enter_context(self.request("POST", path, body, accept))
        except RemoteError:
            yield from self._pinned.events()
            raise
        yield from self._pinned.events()
        return response

    @contextmanager
    def request(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> Iterator[StreamedResponse]:
        """Send a request; its body may be a file. Raises RemoteError, for a status other than 200 too."""
        headers = {
            "Authorization": f"Bearer {self._service.key.reveal()}",
            "Content-Type": content_type,
            "Accept": accept,
            "Accept-Encoding": "identity",
        }
        response = self._send(method, self._origin.url("http", path), body, headers)
        connection = self._pinned.connection
        assert connection is not None  # noqa: S101  (for mypy: the response came over it)
        try:
            if response.status_code != 200:
                raise self._error(response)
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding != "identity":
                raise ProtocolError(f"unexpected Content-Encoding: {printable(encoding, 60)}")
            yield StreamedResponse(dict(response.headers), connection, _read_body(response, connection))
        finally:
            response.close()

    def _send(
        self, method: str, url: str, body: bytes | BinaryIO | None, headers: dict[str, str]
    ) -> requests.Response:
        """Return a response whose head has been read. Reconnects once where an idle connection was closed."""
        while True:
            self._pinned.start_request()
            try:
                with _translate_errors():
                    return self._session.request(
                        method, url, data=body, headers=headers, stream=True, allow_redirects=False
                    )
            except BaseException as error:
                self._pinned.abort()
                if self._pinned.is_new or not isinstance(error, ConnectionClosed):
                    raise

    def _error(self, response: requests.Response) -> Exception:
        try:
            with _translate_errors():
                body = response.raw.read(REFUSAL_LIMIT)
        except (NetworkError, ProtocolError):
            body = b""  # the status is enough
        return error_from_response(self._service, response.status_code, dict(response.headers), body)

    def connect(self) -> None:
        """Open the connection before the first request. Raises RemoteError."""
        self._pinned.preconnect()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()
        self._pinned.abort()


def _read_body(response: requests.Response, connection: Connection) -> Iterator[bytes]:
    """Yield a body as it arrives. Raises IncompleteResponse where it is shorter than its Content-Length."""
    length = response.headers.get("Content-Length", "")
    remaining = int(length) if length.isdecimal() else None
    while True:
        connection.set_read_limit(MESSAGE_LIMIT)
        with _translate_errors():
            # read1: the other methods wait until a buffer is full, for a body that is not chunked.
            piece = response.raw.read1(READ_SIZE)
        if not piece:
            break
        if remaining is not None:
            remaining -= len(piece)
        yield piece
    if remaining:
        raise IncompleteResponse(f"the reply ended {remaining} bytes short of its length")


class PinnedConnection:
    """The one connection that urllib3's pool gets.

    `is_new` says whether the last request opened it, `started_ns` when that request was ready to be sent.
    """

    def __init__(self, origin: Origin, dialer: Dialer) -> None:
        self._origin = origin
        self._dialer = dialer
        self._preconnected: Connection | None = None
        self.connection: Connection | None = None
        self.is_new = False
        self.started_ns = 0

    def start_request(self) -> None:
        """Begin a request; it is not known yet whether the connection can be reused."""
        self.is_new = False
        self._await_audio()

    def _await_audio(self) -> None:
        self.started_ns = self._dialer.clock()
        if self.connection is not None:
            self.connection.set_deadline("audio", self._dialer.timeout)
            self.connection.set_read_limit(MESSAGE_LIMIT)

    def preconnect(self) -> None:
        """Open the connection if there is none."""
        if self.connection is None:
            self.connection = self._preconnected = self._dialer.connect(self._origin)

    def open(self) -> Connection:
        """Return the preconnected connection if it is still open, else a new one."""
        self.is_new = True  # also where connecting fails: `_send` must not try again then
        connection, self._preconnected = self._preconnected, None
        if connection is None or connection.readable():  # readable before a request: closed by the peer
            self.abort()
            self.connection = connection = self._dialer.connect(self._origin)
        self._await_audio()
        return connection

    def events(self) -> Iterator[Event]:
        """Yield Opened and Sent for the last request, nothing where none of it was sent."""
        connection = self.connection
        if connection is not None and connection.sent_ns >= self.started_ns:
            phases = connection.phases if self.is_new else Phases()
            yield Opened(phases, reused=not self.is_new, at_ns=self.started_ns)
            yield Sent(at_ns=connection.sent_ns)

    def abort(self) -> None:
        """Close the connection, if there is one, without waiting."""
        if self.connection is not None:
            self.connection.abort()


class _Adapter(HTTPAdapter):
    """Mounts a pool on requests whose connections are the pinned one."""

    def __init__(self, pinned: PinnedConnection) -> None:
        self._pinned = pinned
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        pinned = self._pinned

        class Plain(HTTPConnection):
            def connect(self) -> None:
                self.sock = pinned.open()

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                self.sock = pinned.open()
                self.is_verified = True  # by the dialer

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise errors of requests and urllib3 as ours. `from None`: their messages may quote headers."""
    try:
        yield
    except (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.ProtocolError):
        raise IncompleteResponse("the reply was cut off") from None
    except (requests.ConnectionError, urllib3.exceptions.HTTPError) as error:
        if _is_malformed(error):
            raise ProtocolError("the service did not answer in HTTP") from None
        raise ConnectionClosed("the connection was closed before an answer came") from None
    except (requests.RequestException, ValueError) as error:
        name = printable(type(error).__name__)
        raise ProtocolError(f"the service did not answer in HTTP ({name})") from None


def _is_malformed(error: BaseException) -> bool:
    """Whether http.client could not parse a head, as opposed to none having come."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, HTTPException):
        cause = cause.__context__
    return cause is not None and not isinstance(cause, ConnectionError)
