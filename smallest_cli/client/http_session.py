"""Account requests by the requests library, over the connections that speech uses.

requests prepares the request and keeps the session; our transport adapter sends it. So its own sockets,
redirects, cookies, .netrc and proxies are never used, and replies are framed as strictly as those of speech.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import closing
from typing import Any

import requests
from requests.adapters import BaseAdapter

from smallest_cli.errors import ProtocolError
from smallest_cli.models import Service
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import parse_base_url
from smallest_cli.transports.http_connection import JSON, HTTPConnection


class HTTPSession:
    """Sends requests to the origin of a service, each over a connection of its own."""

    def __init__(self, service: Service, dialer: Dialer, *, limit: int) -> None:
        """`limit`: maximum bytes of a response."""
        self._origin = parse_base_url(service.base_url)
        self._session = requests.Session()
        self._session.trust_env = False
        self._adapter = _Adapter(service, dialer, limit)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str = JSON,
        on_write: Callable[[int], object] = lambda _: None,
    ) -> bytes:
        """Send a request and return the body of the response. `on_write` gets the bytes of each write.

        Raises RemoteError, for a status other than 200 too.
        """
        self._adapter.on_write = on_write
        headers = {"Content-Type": content_type}
        url = self._origin.url("http", path)
        return self._session.request(method, url, data=body, headers=headers, allow_redirects=False).content


class _Adapter(BaseAdapter):
    """Sends prepared requests. Raises SmallestError, which passes through requests unchanged."""

    def __init__(self, service: Service, dialer: Dialer, limit: int) -> None:
        super().__init__()
        self._service = service
        self._dialer = dialer
        self._limit = limit
        self._prefix = parse_base_url(service.base_url).prefix
        self.on_write: Callable[[int], object] = lambda _: None

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        path = request.path_url.removeprefix(self._prefix)
        http = HTTPConnection(
            self._service, self._dialer, path, JSON, method=request.method or "GET", awaited="response"
        )
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        reply = b""
        with closing(http):
            http.send(body, request.headers["Content-Type"], self.on_write)
            http.read_head()
            while piece := http.read():
                reply += piece
                if len(reply) > self._limit:
                    raise ProtocolError("the service's reply is too large")
        response = requests.Response()
        response.status_code = 200
        response.url = request.url or ""
        response.headers.update(http.headers)
        response.raw = io.BytesIO(reply)
        return response

    def close(self) -> None:
        """Do nothing: no connection is kept open."""
