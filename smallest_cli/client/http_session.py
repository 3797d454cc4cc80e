"""Account requests by the requests library, over connections that the dialer opens.

Its redirects, cookies, .netrc, proxies and retries are switched off. Speech does not come this way: see
transports/http_connection.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Any, BinaryIO

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from smallest_cli.errors import ConnectionClosed, IncompleteResponse, NetworkError, ProtocolError
from smallest_cli.models import Service
from smallest_cli.network.connection import Connection
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import Origin, parse_base_url
from smallest_cli.protocol.endpoints import ERROR_BODY_LIMIT, MESSAGE_LIMIT
from smallest_cli.protocol.resources import VOICES_LIMIT
from smallest_cli.security import printable
from smallest_cli.transports.channel import error_from_response

READ_SIZE = 64 * 1024


class HTTPSession:
    """Sends requests to one origin, each over a connection of its own."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        self._service = service
        self._origin = parse_base_url(service.base_url)
        self._adapter = _Adapter(self._origin, dialer)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        """Send a request, whose body may be a file, and return the body of the response.

        Raises RemoteError, for a status other than 200 and for a response of more than 4 MiB too.
        """
        headers = {
            "Authorization": f"Bearer {self._service.key.reveal()}",
            "Content-Type": content_type,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        url = self._origin.url("http", path)
        with (
            _translate_errors(),
            self._session.request(
                method, url, data=body, headers=headers, stream=True, allow_redirects=False
            ) as response,
        ):
            if response.status_code != 200:
                raise self._error(response)
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding != "identity":
                raise ProtocolError(f"unexpected Content-Encoding: {printable(encoding, 60)}")
            return self._read_body(response)

    def close(self) -> None:
        """Close the connection, if one is open."""
        self._session.close()
        self._adapter.abort()

    def _error(self, response: requests.Response) -> Exception:
        try:
            with _translate_errors():
                body = response.raw.read(ERROR_BODY_LIMIT)
        except (NetworkError, ProtocolError):
            body = b""  # the status is enough
        return error_from_response(self._service, response.status_code, dict(response.headers), body)

    def _read_body(self, response: requests.Response) -> bytes:
        length = response.headers.get("Content-Length", "")
        body = bytearray()
        while piece := response.raw.read1(READ_SIZE):
            body += piece
            if len(body) > VOICES_LIMIT:
                raise ProtocolError("the service's reply is too large")
        if length.isdecimal() and len(body) < int(length):
            raise IncompleteResponse(f"the reply ended {int(length) - len(body)} bytes short of its length")
        return bytes(body)


class _Adapter(HTTPAdapter):
    """Mounts a pool on requests whose connections are opened by the dialer."""

    def __init__(self, origin: Origin, dialer: Dialer) -> None:
        self._origin = origin
        self._dialer = dialer
        self._connection: Connection | None = None
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def open(self) -> Connection:
        self.abort()
        connection = self._connection = self._dialer.connect(self._origin)
        connection.set_deadline("response", self._dialer.timeout)
        connection.set_read_limit(MESSAGE_LIMIT)
        return connection

    def abort(self) -> None:
        if self._connection is not None:
            self._connection.abort()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        adapter = self

        class Plain(HTTPConnection):
            def connect(self) -> None:
                self.sock = adapter.open()

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                self.sock = adapter.open()
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
