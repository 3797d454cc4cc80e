"""One WebSocket to the service: the upgrade, framing, pings and the close.

websocket-client frames the messages. The socket under it is a `Connection`, for its deadlines, limits and
timestamps, and so that a rejected upgrade is read like any other error response.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import websocket
from websocket import ABNF

from smallest_cli.errors import NetworkError, ProtocolError, RemoteError
from smallest_cli.models import Opened, Service
from smallest_cli.network.connection import Connection, read_final_head
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import parse_base_url
from smallest_cli.protocol.endpoints import MESSAGE_LIMIT, PATHS
from smallest_cli.protocol.errors import decode_close

CLOSE_TIMEOUT_S = 0.1
CONTROL_LIMIT = 125
"""Maximum payload of a control frame in bytes (RFC 6455, 5.5)."""
HANDSHAKE_HEADERS = (b"upgrade:", b"connection:", b"sec-websocket-accept:")
SWITCHED = rb"HTTP/1\.[01] 101\b"
NO_STATUS = 1005
"""The close code of a close frame without one (RFC 6455, 7.1.5)."""


class WebSocketConnection:
    """An open WebSocket. `connection` has the timestamps and the deadline."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        """Connect and upgrade. Raises RemoteError."""
        origin = parse_base_url(service.base_url)
        self.connection = dialer.connect(origin)
        self.connection.set_deadline("response to the upgrade", dialer.timeout)
        self._partial_message: bytearray | None = None
        """The fragments of the message that is under way, None without one: a fragment may be empty."""
        started = dialer.clock()
        try:
            with _translate_errors():
                self._socket: Any = websocket.create_connection(
                    origin.url("ws", PATHS[service.api]["ws"]),
                    socket=_UpgradeSocket(self.connection, service, dialer),
                    header=[f"Authorization: Bearer {service.key.reveal()}"],
                    redirect_limit=0,
                    skip_utf8_validation=True,  # slow in pure Python, and the JSON decoder checks it too
                    suppress_origin=True,
                )
        except BaseException:
            self.connection.close()
            raise
        # Not the library's socket: it would ask for the timeout on each of the three reads of a frame.
        self._frames: Any = websocket.frame_buffer(self._read, skip_utf8_validation=True)
        ended = dialer.clock()
        self.connection.phases = self.connection.phases.but(upgrade=ended - started)
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

    @property
    def is_within_message(self) -> bool:
        """Whether the beginning of a message was read, and not its end."""
        frames = self._frames
        return self._partial_message is not None or bool(frames.recv_buffer) or not frames.needs_header()

    def _read(self, size: int) -> bytes:
        if data := self.connection.recv(size):
            return data
        raise decode_close(1006)

    def read_frame(self) -> bytes | None:
        """Read one frame; return the text message that it completes, if any. Answers pings."""
        self.connection.set_read_limit(MESSAGE_LIMIT - len(self._partial_message or b""))
        try:  # for each frame: a context manager would take as long as the rest of this function
            frame = self._frames.recv_frame()
        except (websocket.WebSocketException, ValueError):
            raise _violation() from None
        if frame.mask_value:
            raise ProtocolError("the service sent a masked frame")
        if frame.opcode >= ABNF.OPCODE_CLOSE and (len(frame.data) > CONTROL_LIMIT or not frame.fin):
            raise ProtocolError("the service sent a control frame that is too long or fragmented")
        match frame.opcode:
            case ABNF.OPCODE_PING:
                with _translate_errors():
                    self._socket.pong(frame.data)
            case ABNF.OPCODE_CLOSE:
                code = int.from_bytes(frame.data[:2], "big") if frame.data else NO_STATUS
                raise decode_close(code, frame.data[2:].decode("utf-8", "replace"))
            case ABNF.OPCODE_BINARY:
                raise ProtocolError("the service sent a binary message")
            case ABNF.OPCODE_TEXT | ABNF.OPCODE_CONT:
                if (frame.opcode == ABNF.OPCODE_CONT) != (self._partial_message is not None):
                    raise ProtocolError("the service sent fragments out of order")
                message = self._partial_message or bytearray()
                message += frame.data
                self._partial_message = None if frame.fin else message
                if frame.fin:
                    return bytes(message)
        return None

    def send_close(self) -> None:
        """Send a close frame, unless one was sent."""
        with suppress(NetworkError), _translate_errors():  # the service had closed it already
            if self._socket.connected:
                self._socket.send_close()

    def close(self) -> None:
        """Send a close frame and close, without the 3 s that the library waits for the answer."""
        self.connection.set_deadline("end of sending", CLOSE_TIMEOUT_S)
        try:
            self.send_close()
        finally:
            self.connection.close()


class _UpgradeSocket:
    """The socket for websocket-client. Checks the response to the upgrade before the library reads it.

    Skips interim responses, which the library would take for the answer. Raises the error of a status other
    than 101 with its body, which the library would read without limit or lose. Leaves out headers that are
    not of the handshake: the library would store cookies, and fail for text that is not UTF-8. Refuses
    compression, which was not offered.
    """

    def __init__(self, connection: Connection, service: Service, dialer: Dialer) -> None:
        self._connection = connection
        self._service = service
        self._dialer = dialer
        self._upgraded = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def recv(self, size: int) -> bytes:
        if not self._upgraded:
            self._check_upgrade()
            self._upgraded = True
        return self._connection.recv(size)

    def _check_upgrade(self) -> None:
        head = read_final_head(self._connection)
        if not re.match(SWITCHED, head):
            self._connection.unread(head)
            self._raise_rejection()
        if re.search(rb"\nsec-websocket-extensions:[ \t]*[^\s]", head, re.I):
            raise ProtocolError("unexpected Sec-WebSocket-Extensions: none were offered")
        lines = [line for line in head.splitlines() if line.lower().startswith(HANDSHAKE_HEADERS)]
        self._connection.unread(b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *lines, b"", b""]))

    def _raise_rejection(self) -> NoReturn:
        from smallest_cli.transports.http_connection import HTTPConnection  # imports h11, for errors only

        http = HTTPConnection(self._service, self._dialer, "/", "*/*", method="GET")
        http.read_response_of(self._connection)
        raise ProtocolError("the service answered 200 instead of opening a WebSocket")


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Translate errors of websocket-client. `from None`: its messages quote the response's head."""
    try:
        yield
    except websocket.WebSocketConnectionClosedException:
        raise decode_close(1006) from None
    except (websocket.WebSocketException, ValueError):
        raise _violation() from None


def _violation() -> ProtocolError:
    return ProtocolError("the service violated the WebSocket protocol")
