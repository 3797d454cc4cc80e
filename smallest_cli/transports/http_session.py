"""One HTTP exchange over our own socket, by requests: no redirect, cookie, netrc, proxy or retry of its."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
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
from smallest_cli.protocol.errors import decode_refusal
from smallest_cli.security import printable


def error_from_response(
    service: Service, status: int, headers: Mapping[str, str], body: bytes
) -> RemoteError:
    """The error for an HTTP reply; a rejected key is told by its source and its last four characters."""
    error = decode_refusal(status, {name.lower(): value for name, value in headers.items()}, body)
    if status == 401:
        ends = f" and ends {service.key}" if len(str(service.key)) > 1 else ""
        error.hint = f"the key is from {service.key.source}{ends}"
    return error


READ_SIZE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """A 200 whose body is still coming. `connection` carries it and its stamps."""

    headers: dict[str, str]
    connection: Connection
    body: Iterator[bytes]

    def finish(self) -> None:
        """Read the end of the body if it comes right away, so that the connection can be used again."""
        self.connection.expect("end", 0.05)
        with suppress(NetworkError):
            next(self.body, None)


class HTTPSession:
    """Asks one origin over one connection, which it keeps."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        self._service = service
        self._dialer = dialer
        self._origin = parse_base_url(service.base_url)
        self._line = PinnedConnection(self._origin, dialer)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(self._line))

    def post(
        self, exchanges: ExitStack, path: str, body: bytes, accept: str
    ) -> Generator[Event, None, Reply]:
        """Send `body`, and tell how that went whatever became of it: Opened and Sent, as far as it came.

        The reply's own body is read while `exchanges` lasts, and let go with it. Raises the error that a
        reply other than 200 means.
        """
        try:
            reply = exchanges.enter_context(self.exchange("POST", path, body, accept))
        except RemoteError:
            yield from self._line.asked()
            raise
        yield from self._line.asked()
        return reply

    @contextmanager
    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> Iterator[Reply]:
        """Send `body`, and have the reply; a body that is a file is sent as it is read.

        Raises the error that a reply other than 200 means.
        """
        url = self._origin.url("http", path)
        headers = {
            "Authorization": f"Bearer {self._service.key.reveal()}",
            "Content-Type": content_type,
            "Accept": accept,
            "Accept-Encoding": "identity",
        }
        response = self._send(method, url, body, headers)
        connection = self._line.connection
        assert connection is not None  # noqa: S101  (for the type checker: the post went over it)
        try:
            if response.status_code != 200:
                raise self._refusal(response)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise ProtocolError("the service compresses, which nobody asked it to")
            yield Reply(dict(response.headers), connection, _pieces(response, connection))
        finally:
            response.close()

    def _send(
        self, method: str, url: str, body: bytes | BinaryIO | None, headers: dict[str, str]
    ) -> requests.Response:
        """The reply's head. A kept connection that turns out to have been closed is opened again, once."""
        while True:
            self._line.fresh = False
            self._line.expect_audio()
            try:
                with _translated():
                    return self._session.request(
                        method, url, data=body, headers=headers, stream=True, allow_redirects=False
                    )
            except BaseException as error:
                self._line.drop()
                if self._line.fresh or not isinstance(error, ConnectionClosed):
                    raise

    def _refusal(self, response: requests.Response) -> Exception:
        try:
            with _translated():
                body = response.raw.read(REFUSAL_LIMIT)
        except (NetworkError, ProtocolError):
            body = b""  # the status alone is enough
        return error_from_response(self._service, response.status_code, dict(response.headers), body)

    def connect(self) -> None:
        """Open the connection before the first post. An idle one is opened again when it turns out closed."""
        self._line.prepare()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()
        self._line.drop()


def _pieces(response: requests.Response, connection: Connection) -> Iterator[bytes]:
    """The body as it arrives, proven whole where the reply gave its length.

    read1, because every other way to read waits for a full buffer on a body that is not chunked:
    by a chunk, or until its very end.
    """
    promised = response.headers.get("Content-Length", "")
    left = int(promised) if promised.isdecimal() else None
    while True:
        connection.allow(MESSAGE_LIMIT)
        with _translated():
            piece = response.raw.read1(READ_SIZE)
        if not piece:
            break
        if left is not None:
            left -= len(piece)
        yield piece
    if left:
        raise IncompleteResponse(f"the reply ended {left} bytes short of its length")


def is_framed(headers: dict[str, str]) -> bool:
    """Whether a body's end is told by HTTP itself, by a length or by chunks, and not by closing."""
    names = {name.lower(): value.lower() for name, value in headers.items()}
    return "content-length" in names or "chunked" in names.get("transfer-encoding", "")


class PinnedConnection:
    """The connection under the pool: dialled when the pool asks, kept for its stamps."""

    def __init__(self, origin: Origin, dialer: Dialer) -> None:
        self._origin = origin
        self._dialer = dialer
        self.connection: Connection | None = None
        self._prepared: Connection | None = None
        self.fresh = False
        self.opened_ns = 0

    def expect_audio(self) -> None:
        self.opened_ns = self._dialer.clock()
        if self.connection is not None:
            self.connection.expect("audio", self._dialer.timeout)
            self.connection.allow(MESSAGE_LIMIT)

    def prepare(self) -> None:
        if self.connection is None:
            self.connection = self._prepared = self._dialer.dial(self._origin)

    def dial(self) -> Connection:
        """For the pool: the connection that was prepared, where it is still good, else a new one."""
        self.fresh = True  # whatever becomes of it: what is lost in dialling is not lost again and again
        prepared, self._prepared = self._prepared, None
        if prepared is None or prepared.readable():
            self.drop()
            self.connection = prepared = self._dialer.dial(self._origin)
        self.expect_audio()
        return prepared

    def asked(self) -> Iterator[Event]:
        """What became of the last request on its way out, once the first of it was sent."""
        connection = self.connection
        if connection is not None and connection.sent_ns >= self.opened_ns:
            phases = connection.phases if self.fresh else Phases()
            yield Opened(phases, reused=not self.fresh, at_ns=self.opened_ns)
            yield Sent(at_ns=connection.sent_ns)

    def drop(self) -> None:
        if self.connection is not None:
            self.connection.drop()


class _Adapter(HTTPAdapter):
    """requests on a pool whose connections are ours."""

    def __init__(self, line: PinnedConnection) -> None:
        self._line = line
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        line = self._line

        class Plain(HTTPConnection):
            def connect(self) -> None:
                self.sock = line.dial()

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                self.sock = line.dial()
                self.is_verified = True

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


@contextmanager
def _translated() -> Iterator[None]:
    """The errors of requests and urllib3 as ours. From None: their messages may quote headers."""
    try:
        yield
    except requests.exceptions.ChunkedEncodingError:
        raise IncompleteResponse("the reply was cut off") from None
    except urllib3.exceptions.ProtocolError:
        raise IncompleteResponse("the reply was cut off") from None
    except (requests.ConnectionError, urllib3.exceptions.HTTPError) as error:
        if _is_no_http(error):
            raise ProtocolError("the service did not answer in HTTP") from None
        raise ConnectionClosed("the connection was closed before an answer came") from None
    except (requests.RequestException, ValueError) as error:
        raise ProtocolError(
            f"the service did not answer in HTTP ({printable(type(error).__name__)})"
        ) from None


def _is_no_http(error: BaseException) -> bool:
    """Whether a head came that http.client could not read; one that never came is a lost connection."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, HTTPException):
        cause = cause.__context__
    return cause is not None and not isinstance(cause, ConnectionError)
