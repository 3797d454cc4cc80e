"""One WebSocket to the service: the upgrade, framing, pings and the close.

websocket-client frames the messages. The socket under it is a `Connection`, for its deadlines, limits and
timestamps, and so that a rejected upgrade is read like any other error response.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import websocket
from websocket import ABNF

from smallest_cli.errors import NetworkError, ProtocolError, RemoteError
from smallest_cli.models import Opened, Service
from smallest_cli.network.connection import Connection, read_head
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import parse_base_url
from smallest_cli.protocol.endpoints import ERROR_BODY_LIMIT, MESSAGE_LIMIT, PATHS
from smallest_cli.protocol.errors import decode_close
from smallest_cli.transports.channel import error_from_response

CLOSE_TIMEOUT_S = 0.1
CONTROL_LIMIT = 125
"""Maximum payload of a control frame in bytes (RFC 6455, 5.5)."""
NO_STATUS = 1005
"""The close code of a close frame without one (RFC 6455, 7.1.5)."""


class WebSocketConnection:
    """An open WebSocket. `connection` has the timestamps and the deadline."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        """Connect and upgrade. Raises RemoteError."""
        origin = parse_base_url(service.base_url)
        self.connection = dialer.connect(origin)
        self.connection.set_deadline("response to the upgrade", dialer.timeout)
        self._partial_message = bytearray()
        started = dialer.clock()
        try:
            with _translate_errors():
                self._socket: Any = websocket.create_connection(
                    origin.url("ws", PATHS[service.api]["ws"]),
                    socket=_UpgradeSocket(self.connection, service),
                    header=[f"Authorization: Bearer {service.key.reveal()}"],
                    redirect_limit=0,
                    skip_utf8_validation=True,  # slow in pure Python, and the JSON decoder checks it too
                    suppress_origin=True,
                )
        except BaseException:
            self.connection.close()
            raise
        ended = dialer.clock()
        self.connection.phases = replace(self.connection.phases, upgrade=ended - started)
        self.opened = Opened(self.connection.phases, at_ns=ended)

    def send(self, message: str | bytes) -> None:
        """Send a text message. Raises RemoteError."""
        with _translate_errors():
            self._socket.send(message)

    def is_reusable(self, timeout_s: float) -> bool:
        """Whether an idle connection is still open. Discards late messages."""
        self.connection.set_deadline("end of late messages", timeout_s)  # one deadline for all of them
        try:
            while self.connection.readable():
                self.read_frame()
        except RemoteError:
            return False
        return True

    def receive(self) -> bytes:
        """The next text message. Raises RemoteError."""
        while (message := self.read_frame()) is None:
            pass
        return message

    def read_frame(self) -> bytes | None:
        """Read one frame; return the text message that it completes, if any. Answers pings."""
        self.connection.set_read_limit(MESSAGE_LIMIT - len(self._partial_message))
        with _translate_errors():
            frame = self._socket.recv_frame()
            if frame.mask_value:
                raise ProtocolError("the service sent a masked frame")
            if frame.opcode >= ABNF.OPCODE_CLOSE and (len(frame.data) > CONTROL_LIMIT or not frame.fin):
                raise ProtocolError("the service sent a control frame that is too long or fragmented")
            if frame.opcode == ABNF.OPCODE_PING:
                self._socket.pong(frame.data)
        match frame.opcode:
            case ABNF.OPCODE_CLOSE:
                code = int.from_bytes(frame.data[:2], "big") if frame.data else NO_STATUS
                raise decode_close(code, frame.data[2:].decode("utf-8", "replace"))
            case ABNF.OPCODE_BINARY:
                raise ProtocolError("the service sent a binary message")
            case ABNF.OPCODE_TEXT | ABNF.OPCODE_CONT:
                if (frame.opcode == ABNF.OPCODE_CONT) != bool(self._partial_message):
                    raise ProtocolError("the service sent fragments out of order")
                if frame.fin and not self._partial_message:
                    return bytes(frame.data)
                self._partial_message += frame.data
                if frame.fin:
                    message, self._partial_message = bytes(self._partial_message), bytearray()
                    return message
        return None

    def close(self) -> None:
        """Send a close frame and close, without the 3 s that the library waits for the answer."""
        self.connection.set_deadline("end of sending", CLOSE_TIMEOUT_S)
        try:
            with _translate_errors():
                self._socket.send_close()
        except NetworkError:
            pass  # the service had closed it already
        finally:
            self.connection.close()


class _UpgradeSocket:
    """The socket for websocket-client. Checks the response to the upgrade before the library reads it.

    Raises the error of a status other than 101 with its body, which the library would read without limit or
    lose. Removes cookies, which the library would store, and refuses compression, which was not offered.
    """

    def __init__(self, connection: Connection, service: Service) -> None:
        self._connection = connection
        self._service = service
        self._upgraded = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def recv(self, size: int) -> bytes:
        if not self._upgraded:
            self._check_upgrade()
            self._upgraded = True
        return self._connection.recv(size)

    def _check_upgrade(self) -> None:
        head = read_head(self._connection)
        status_line, *lines = head.split(b"\r\n")
        if status_line.split(b" ")[1:2] != [b"101"]:
            self._connection.unread(head)
            self._raise_rejection()
        if any(line.lower().startswith(b"sec-websocket-extensions:") for line in lines):
            raise ProtocolError("unexpected Sec-WebSocket-Extensions: none were offered")
        lines = [line for line in lines if not line.lower().startswith(b"set-cookie:")]
        self._connection.unread(b"\r\n".join([status_line, *lines]))

    def _raise_rejection(self) -> None:
        from http.client import HTTPException, HTTPResponse

        try:
            response = HTTPResponse(self._connection)  # type: ignore[arg-type]
            response.begin()
        except HTTPException:
            raise ProtocolError("the service did not answer in HTTP") from None
        try:
            body = response.read(ERROR_BODY_LIMIT)
        except (HTTPException, NetworkError, ProtocolError):
            body = b""  # the status is enough
        if 200 <= response.status < 300:
            raise ProtocolError(f"the service answered {response.status} instead of opening a WebSocket")
        raise error_from_response(self._service, response.status, dict(response.getheaders()), body)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Translate errors of websocket-client. `from None`: its messages quote the response's head."""
    try:
        yield
    except websocket.WebSocketConnectionClosedException:
        raise decode_close(1006) from None
    except (websocket.WebSocketException, ValueError):
        raise ProtocolError("the service violated the WebSocket protocol") from None
