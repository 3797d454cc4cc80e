"""The WebSocket transport: one connection, kept open between segments (waves/api.md, 3c and 4).

websocket-client frames the messages. The socket under it is a `Connection`, for its deadlines, limits and
timestamps, and so that a rejected upgrade is read like any other error response.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import websocket
from websocket import ABNF

from smallest_cli.errors import ConnectionClosed, NetworkError, ProtocolError, RemoteError
from smallest_cli.models import (
    AudioChunk,
    Buffering,
    Completed,
    Event,
    Fragments,
    Opened,
    Phases,
    Sent,
    Service,
    SpeechRequest,
)
from smallest_cli.network.connection import Connection, read_head
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import parse_base_url
from smallest_cli.protocol.endpoints import DEFAULT_COMPLETION_WAIT_MS, ERROR_BODY_LIMIT, MESSAGE_LIMIT, PATHS
from smallest_cli.protocol.errors import decode_close
from smallest_cli.protocol.messages import decode_message
from smallest_cli.protocol.requests import KEEP_ALIVE, encode_request
from smallest_cli.transports.channel import Channel, error_from_response

COMPLETION_GRACE_S = 1.0
"""Seconds that `complete` may be late after the service's completion wait; less for a shorter timeout."""
CLOSE_TIMEOUT_S = 0.1
CONTROL_LIMIT = 125
"""Maximum payload of a control frame in bytes (RFC 6455, 5.5)."""
NO_STATUS = 1005
"""The close code of a close frame without one (RFC 6455, 7.1.5)."""


class WebSocketTransport(Channel):
    """Speaks over one WebSocket, opened with the first request and reopened where it was closed."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        super().__init__()
        self._service = service
        self._dialer = dialer
        self._origin = parse_base_url(service.base_url)
        self._connection: Connection | None = None
        self._socket: Any = None
        self._partial_message = bytearray()
        self._unreported: Opened | None = None

    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        """Request one segment and yield its events. Raises RemoteError.

        Each audio chunk extends the deadline; pings and other messages do not. The connection is kept only
        after `complete`.
        """
        if self._service.api != "v2" and request.request_id is None:
            # Late messages of another request are recognised by its id; v2 has none.
            request = replace(request, request_id=os.urandom(8).hex())
        while True:
            previous = self._connection
            connection, opened = self._open()
            yield opened
            try:
                yield from self._exchange(connection, request)
                return
            except ConnectionClosed:
                # Reconnect where the service had closed an idle connection, which only sending reveals.
                if connection is not previous or connection.received_ns > connection.sent_ns:
                    raise

    def connect(self) -> None:
        """Open the connection, or send a keep-alive message on an open one (section 4b)."""
        previous = self._connection
        connection, self._unreported = self._open()
        if connection is not previous:
            return
        connection.set_deadline("keep-alive", self._dialer.timeout)
        try:
            with _translate_errors():
                self._socket.send(KEEP_ALIVE)
        except ConnectionClosed:
            self.close()  # the next request reopens it

    def converse(self, request: SpeechRequest, fragments: Fragments, drain_s: float) -> Iterator[Event]:
        """Send text as it arrives; the service splits it (section 4c). `request` has no text.

        A continuation has no end marker of its own: it is complete when a `complete` is followed by
        `drain_s` seconds without a message, or by a close. The older APIs send one `complete`. Raises
        RemoteError.
        """
        connection, opened = self._open()
        yield opened
        older = self._service.api != "unified"
        context = None if older else os.urandom(8).hex()
        completed = sent = False
        try:
            while not (completed and fragments.ended and older):
                if not fragments.ended and not connection.readable():
                    _wait_readable(connection, fragments)
                for message in self._encode_fragments(request, fragments, context, sent=sent):
                    connection.set_deadline("progress in sending the text", self._dialer.timeout)
                    with _translate_errors():
                        self._socket.send(message)
                    if not sent:
                        yield Sent(at_ns=connection.sent_ns)
                    sent, completed = True, completed and not older
                if fragments.ended and not sent:
                    return
                if not fragments.ended and not connection.readable():
                    continue
                seconds = drain_s if completed else self._audio_timeout(request)
                connection.set_deadline("end of the audio", seconds)
                for event in decode_message(self._receive(connection), connection.received_ns):
                    completed = isinstance(event, Completed)
                    yield event
        except NetworkError:
            if not (completed and fragments.ended):
                raise
        finally:
            self.close()

    def _encode_fragments(
        self, request: SpeechRequest, fragments: Fragments, context: str | None, *, sent: bool
    ) -> Iterator[bytes]:
        """Encode the text that has arrived and, after the last of it, the message that ends it."""
        if fragments.ended:
            return
        while (text := fragments.next()) is not None:
            sent = True
            yield encode_request(replace(request, text=text), Buffering(more=True, context=context))
        if fragments.ended and sent:
            end = Buffering(flush=context is None, close=context is not None, context=context)
            yield encode_request(replace(request, text=""), end)

    def _audio_timeout(self, request: SpeechRequest) -> float:
        """Return the seconds within which more audio or `complete` must arrive.

        The service is silent during its completion wait (section 2a), so a shorter timeout would end every
        segment; a longer one covers that wait.
        """
        timeout = self._dialer.timeout
        return max(timeout, _completion_wait(request) + min(timeout, COMPLETION_GRACE_S))

    def _exchange(self, connection: Connection, request: SpeechRequest) -> Iterator[Event]:
        awaited, seconds = "more audio", self._audio_timeout(request)
        if seconds > self._dialer.timeout:
            awaited += f" nor `complete` (due after {_completion_wait(request):g} s of silence)"
        completed = False
        try:
            connection.set_deadline("audio", self._dialer.timeout)
            with _translate_errors():
                self._socket.send(encode_request(request))
            yield Sent(at_ns=connection.sent_ns)
            while not completed:
                message = self._receive(connection)
                for event in decode_message(message, connection.received_ns, own_id=request.request_id):
                    completed = isinstance(event, Completed)
                    yield event
                    if isinstance(event, AudioChunk):
                        connection.set_deadline(awaited, seconds)
                    if completed:
                        break
        finally:
            if not completed:
                self.close()  # what is still to come must not be taken for the next segment's

    def _open(self) -> tuple[Connection, Opened]:
        """Return the open connection, or a new one after the upgrade, and the event for it."""
        connection, unreported = self._connection, self._unreported
        self._unreported = None
        if connection is not None and self._is_reusable(connection):
            return connection, unreported or Opened(Phases(), reused=True, at_ns=self._dialer.clock())
        self.close()
        connection = self._dialer.connect(self._origin)
        connection.set_deadline("response to the upgrade", self._dialer.timeout)
        started = self._dialer.clock()
        try:
            with _translate_errors():
                self._socket = websocket.create_connection(
                    self._origin.url("ws", PATHS[self._service.api]["ws"]),
                    socket=_UpgradeSocket(connection, self._service),
                    header=[f"Authorization: Bearer {self._service.key.reveal()}"],
                    redirect_limit=0,
                    skip_utf8_validation=True,  # slow in pure Python, and the JSON decoder checks it too
                    suppress_origin=True,
                )
        except BaseException:
            connection.abort()
            raise
        ended = self._dialer.clock()
        connection.phases = replace(connection.phases, upgrade=ended - started)
        self._connection, self._partial_message = connection, bytearray()
        return connection, Opened(connection.phases, at_ns=ended)

    def _is_reusable(self, connection: Connection) -> bool:
        """Whether an idle connection is still open. Discards late messages."""
        connection.set_deadline("end of late messages", self._dialer.timeout)  # one deadline for all of them
        try:
            while connection.readable():
                self._read_frame(connection)
        except RemoteError:
            return False
        return True

    def _receive(self, connection: Connection) -> bytes:
        """Return the next text message."""
        while (message := self._read_frame(connection)) is None:
            pass
        return message

    def _read_frame(self, connection: Connection) -> bytes | None:
        """Read one frame; return the text message that it completes, if any. Answers pings."""
        connection.set_read_limit(MESSAGE_LIMIT - len(self._partial_message))
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
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.set_deadline("end of sending", CLOSE_TIMEOUT_S)
        try:
            with _translate_errors():
                self._socket.send_close()
        except NetworkError:
            pass  # the service had closed it already
        finally:
            connection.close()
            self._socket = None


def _completion_wait(request: SpeechRequest) -> float:
    """Return the seconds of silence after which the service sends `complete`."""
    wait_ms = request.completion_wait_ms
    return (DEFAULT_COMPLETION_WAIT_MS if wait_ms is None else wait_ms) / 1000


def _wait_readable(connection: Connection, fragments: Fragments) -> None:
    """Wait for a message or for text, without a deadline: the source of the text may pause."""
    with selectors.DefaultSelector() as selector:
        for source in (connection, fragments):
            selector.register(source.fileno(), selectors.EVENT_READ)
        selector.select()


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
    """Raise errors of websocket-client as ours. `from None`: its messages quote the response's head."""
    try:
        yield
    except websocket.WebSocketConnectionClosedException:
        raise decode_close(1006) from None
    except (websocket.WebSocketException, ValueError):
        raise ProtocolError("the service violated the WebSocket protocol") from None
