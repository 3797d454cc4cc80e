"""HTTP/1.1 requests over a connection that is kept open; h11 frames the messages.

h11 checks what decides whether a body is complete: a Content-Length that is a number, Transfer-Encoding
`chunked` and nothing else, every chunk's header and the last one's end. There are no redirects, cookies or
retries: whether a request is sent again is decided by the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import h11

from smallest_cli import __version__
from smallest_cli.errors import ConnectionClosed, IncompleteResponse, NetworkError, ProtocolError
from smallest_cli.models import Opened, Phases, Sent, Service, Via
from smallest_cli.network.connection import HEAD_LIMIT, Connection
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import parse_base_url
from smallest_cli.protocol.endpoints import ERROR_BODY_LIMIT, MESSAGE_LIMIT, PATHS
from smallest_cli.security import printable, redact
from smallest_cli.transports.channel import Channel, error_from_response

JSON = "application/json"
READ_SIZE = WRITE_SIZE = 64 * 1024
END_TIMEOUT_S = 0.05
"""How long the end of a body may take after the service's own end marker, for the connection to be kept."""
NO_ENCODING = frozenset({"", "identity", "none"})


class HTTPConnection:
    """Sends requests to one path, one at a time. `connection` carries the timestamps."""

    def __init__(
        self,
        service: Service,
        dialer: Dialer,
        path: str,
        accept: str,
        *,
        method: str = "POST",
        awaited: str = "audio",
    ) -> None:
        """`awaited` names the content of responses in error messages."""
        self._service = service
        self._dialer = dialer
        self._origin = parse_base_url(service.base_url)
        self._target = self._origin.prefix + path
        self._accept = accept
        self._method = method
        self._awaited = awaited
        self._connection: Connection | None = None
        self._protocol = h11.Connection(h11.CLIENT)
        self._is_new = False
        self.headers: dict[str, str] = {}
        """Headers of the response, their names in lower case."""

    @property
    def connection(self) -> Connection:
        """The open connection."""
        assert self._connection is not None, "not connected"  # noqa: S101
        return self._connection

    def connect(self) -> None:
        """Open the connection, unless it is open and can be used. Raises RemoteError."""
        connection = self._connection
        if connection is not None:
            if self._protocol.our_state is not h11.IDLE:
                self._finish()
            # Bytes or an end of stream before a request: the connection was closed or cannot be used.
            early, _ = self._protocol.trailing_data
            if self._connection is not None and not early and not connection.readable():
                return
            self.close()
        self._connection = self._dialer.connect(self._origin)
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self._is_new = True

    def send(
        self, body: bytes, content_type: str = JSON, on_write: Callable[[int], object] = lambda _: None
    ) -> tuple[Opened, Sent]:
        """Send a request; a connection that the service closed meanwhile is opened again first.

        `on_write` gets the number of bytes of each write. Raises RemoteError. Once bytes were written,
        retries are up to the caller.
        """
        self.connect()
        connection, is_new = self.connection, self._is_new
        self._is_new = False
        phases = connection.phases if is_new else Phases()
        opened = Opened(phases, reused=not is_new, at_ns=self._dialer.clock())
        headers = [
            ("Host", self._origin.netloc),
            ("User-Agent", f"smallest-cli/{__version__}"),
            ("Authorization", f"Bearer {self._service.key.reveal()}"),
            ("Content-Type", content_type),
            ("Accept", self._accept),
            ("Accept-Encoding", "identity"),
        ]
        if body:
            headers.append(("Content-Length", str(len(body))))
        request = h11.Request(method=self._method, target=self._target, headers=headers)
        events = (request, h11.Data(body), h11.EndOfMessage())
        data = b"".join(self._protocol.send(event) or b"" for event in events)
        self.headers = {}
        connection.set_deadline(self._awaited, self._dialer.timeout)
        for start in range(0, len(data), WRITE_SIZE):
            on_write(connection.send(data[start : start + WRITE_SIZE]))
        return opened, Sent(at_ns=connection.sent_ns, write_ns=connection.write_ns)

    def read_response_of(self, connection: Connection) -> None:
        """Read the head of the response to a GET that was written to `connection` by other code."""
        self._connection = connection
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self._protocol.send(h11.Request(method="GET", target="/", headers=[("Host", self._origin.netloc)]))
        self._protocol.send(h11.EndOfMessage())
        self.read_head()

    def read_head(self) -> None:
        """Read the head of the response into `headers`. Raises RemoteError for a status other than 200."""
        event = self._next_event()
        while isinstance(event, h11.InformationalResponse):
            event = self._next_event()
        assert isinstance(event, h11.Response)  # noqa: S101  (h11 allows nothing else here)
        for name, value in event.headers:  # repeated ones are a list (RFC 9110, 5.3)
            key, text = name.decode("ascii"), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text
        if event.status_code != 200:
            body = self._read_error_body()
            self.close()
            raise error_from_response(self._service, event.status_code, self.headers, body)
        if self._is_encoded:
            encoding = printable(self.headers["content-encoding"], 60)
            raise ProtocolError(f"unexpected Content-Encoding: {encoding}")

    @property
    def request_id(self) -> str | None:
        """The service's id of the request."""
        request_id = self.headers.get("x-request-id")
        return redact(request_id) if request_id else None

    @property
    def is_framed(self) -> bool:
        """Whether Content-Length or chunks mark the end of the body, not the end of the connection."""
        return "content-length" in self.headers or "transfer-encoding" in self.headers

    def read(self) -> bytes:
        """Return the next piece of the body, b"" at its end. Raises IncompleteResponse."""
        while True:
            event = self._next_event()
            if isinstance(event, h11.Data):
                if event.data:
                    return bytes(event.data)
            else:
                if self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE:
                    self._protocol.start_next_cycle()
                else:
                    self.close()
                return b""

    def _finish(self) -> None:
        """Read the end of a body whose end marker was read; close the connection if it does not come."""
        self.connection.set_deadline("end", END_TIMEOUT_S)
        try:
            if self.read():
                self.close()
        except (NetworkError, ProtocolError):
            self.close()

    def close(self) -> None:
        """Close the connection, without waiting for the service."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _next_event(self) -> object:
        """Return the next event of the response. `from None`: h11's messages quote the service's bytes."""
        connection = self.connection
        data = b" "
        try:
            while (event := self._protocol.next_event()) is h11.NEED_DATA:
                connection.set_read_limit(MESSAGE_LIMIT)
                data = connection.recv(READ_SIZE)
                self._protocol.receive_data(data)
        except h11.RemoteProtocolError:
            if data and not self.headers:
                raise ProtocolError("the service did not answer in HTTP") from None
            if self._protocol.their_state is h11.ERROR and not self.headers:
                raise ConnectionClosed("the connection was closed before an answer came") from None
            raise IncompleteResponse("the reply was cut off", request_id=self.request_id) from None
        return event

    def _read_error_body(self) -> bytes:
        body = b""
        try:
            while len(body) < ERROR_BODY_LIMIT and (piece := self.read()):
                body += piece
        except (NetworkError, ProtocolError):
            pass  # the status is enough
        if self._is_encoded:  # although that was not asked for
            import zlib

            encoded, body = body, b""
            with suppress(zlib.error):  # 32 + 15: gzip or zlib
                body = zlib.decompressobj(32 + 15).decompress(encoded, ERROR_BODY_LIMIT)
        return body[:ERROR_BODY_LIMIT]

    @property
    def _is_encoded(self) -> bool:
        encodings = self.headers.get("content-encoding", "").split(",")
        return not {each.strip().lower() for each in encodings} <= NO_ENCODING


class HTTPChannel(Channel):
    """Base of the transports that send a POST for each segment. Keeps the connection open."""

    via: Via
    accept: str
    """The content type of the audio."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        super().__init__()
        self._timeout = dialer.timeout
        self._http = HTTPConnection(service, dialer, PATHS[service.api][self.via], self.accept)
        self.connect = self._http.connect

    def cancel_at(self, at_ns: int) -> Connection:
        """End the connection at that time as far as the service can see."""
        connection = self._http.connection
        connection.schedule(at_ns, connection.end_writing)
        return connection

    def close(self) -> None:
        """Close the connection."""
        super().close()
        self._http.close()
