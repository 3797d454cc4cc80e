"""Speech over one WebSocket, kept open between segments (waves/api.md, 3c and 4).

The library frames the messages; the socket under it is ours, so that deadlines, caps and stamps hold,
and so that a refused upgrade is read by the same rules as any other refusal.
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
from smallest_cli.protocol.endpoints import DEFAULT_COMPLETION_WAIT_MS, MESSAGE_LIMIT, PATHS, REFUSAL_LIMIT
from smallest_cli.protocol.errors import decode_close
from smallest_cli.protocol.messages import decode_message
from smallest_cli.protocol.requests import KEEP_ALIVE, encode_request
from smallest_cli.transports.channel import Channel
from smallest_cli.transports.http_session import error_from_response

MILLISECONDS = 1000
COMPLETION_GRACE_S = 1.0
"""How late `complete` may come after the service's completion wait, where the time-out is shorter."""
CONTROL_LIMIT = 125
"""Bytes that a close, ping or pong may carry (RFC 6455, 5.5)."""


class WebSocketTransport(Channel):
    """One socket to the service, opened when it is first needed and again when it was closed."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        super().__init__()
        self._service = service
        self._dialer = dialer
        self._origin = parse_base_url(service.base_url)
        self._connection: Connection | None = None
        self._socket: Any = None
        self._fragments = bytearray()
        self._unused: Opened | None = None

    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        """Ask for one segment. The socket outlives it only when the service said that it is complete.

        Only audio moves the deadline on: pings and other messages do not.
        """
        request = self._named(request)
        while True:
            before = self._connection
            connection, opened = self._open()
            yield opened
            try:
                yield from self._ask(connection, request)
                return
            except ConnectionClosed:
                # It was closed while it lay idle, which shows only now.
                if connection is not before or connection.received_ns > connection.sent_ns:
                    raise

    def connect(self) -> None:
        """Open the socket if it is not open, else tell the service that it is still wanted (section 4b)."""
        before = self._connection
        connection, opened = self._open()
        self._unused = opened
        if connection is not before:
            return
        connection.expect("keep-alive", self._dialer.timeout)
        try:
            with _translated():
                self._socket.send(KEEP_ALIVE)
        except ConnectionClosed:
            self.close()  # it is opened again when it is needed

    def converse(self, request: SpeechRequest, fragments: Fragments, drain_s: float) -> Iterator[Event]:
        """Send text as it comes and let the service cut it (section 4c). `request` is without text.

        The end of a continuation has no marker of its own: it is whole when the last audio was followed by
        a `complete` and `drain_s` seconds of quiet, or by the service's close. The older buffer has one
        `complete`. Raises RemoteError.
        """
        connection, opened = self._open()
        yield opened
        older = self._service.api != "unified"
        context = None if older else os.urandom(8).hex()
        whole = asked = False
        try:
            while not (whole and fragments.ended and older):
                if not fragments.ended and not connection.readable():
                    _wait_for(connection, fragments)
                for message in self._next_buffered(request, fragments, context, asked=asked):
                    connection.expect("room for the text", self._dialer.timeout)
                    with _translated():
                        self._socket.send(message)
                    if not asked:
                        yield Sent(at_ns=connection.sent_ns)
                    asked, whole = True, whole and not older
                if fragments.ended and not asked:
                    return
                if not fragments.ended and not connection.readable():
                    continue
                connection.expect("end of the speech", drain_s if whole else self._patience(request))
                for event in decode_message(self._receive(connection), connection.received_ns):
                    whole = isinstance(event, Completed)
                    yield event
        except NetworkError:
            if not (whole and fragments.ended):
                raise
        finally:
            self.close()

    def _next_buffered(
        self, request: SpeechRequest, fragments: Fragments, context: str | None, *, asked: bool
    ) -> Iterator[bytes]:
        """The messages for what has come; the one that ends it all, when that has come."""
        if fragments.ended:
            return
        while (text := fragments.next()) is not None:
            asked = True
            yield encode_request(replace(request, text=text), Buffering(more=True, context=context))
        if fragments.ended and asked:
            end = Buffering(flush=context is None, close=context is not None, context=context)
            yield encode_request(replace(request, text=""), end)

    def _patience(self, request: SpeechRequest) -> float:
        """Seconds in which more must come.

        Nobody can tell a stall from the quiet that the service keeps before `complete` (section 2a): a
        time-out shorter than that quiet would end every segment, and a longer one needs no addition.
        """
        timeout = self._dialer.timeout
        return max(timeout, _completion_wait(request) + min(timeout, COMPLETION_GRACE_S))

    def _expect_more(self, connection: Connection, request: SpeechRequest) -> None:
        awaited, patience = "more audio", self._patience(request)
        if patience > self._dialer.timeout:
            awaited += f" nor `complete` (due after {_completion_wait(request):g} s of quiet)"
        connection.expect(awaited, patience)

    def _ask(self, connection: Connection, request: SpeechRequest) -> Iterator[Event]:
        completed = False
        try:
            connection.expect("audio", self._dialer.timeout)
            with _translated():
                self._socket.send(encode_request(request))
            yield Sent(at_ns=connection.sent_ns)
            while not completed:
                message = self._receive(connection)
                for event in decode_message(message, connection.received_ns, own_id=request.request_id):
                    completed = isinstance(event, Completed)
                    yield event
                    if isinstance(event, AudioChunk):
                        self._expect_more(connection, request)
                    if completed:
                        break
        finally:
            if not completed:
                self.close()

    def _named(self, request: SpeechRequest) -> SpeechRequest:
        """The request under an id of its own, to tell late messages of another apart; v2 has none."""
        if self._service.api == "v2" or request.request_id is not None:
            return request
        return replace(request, request_id=os.urandom(8).hex())

    def _open(self) -> tuple[Connection, Opened]:
        connection = self._connection
        if connection is not None and self._alive(connection):
            unused, self._unused = self._unused, None
            return connection, unused or Opened(Phases(), reused=True, at_ns=self._dialer.clock())
        self.close()
        self._unused = None
        connection = self._dialer.dial(self._origin)
        connection.expect("answer to the upgrade", self._dialer.timeout)
        started = self._dialer.clock()
        try:
            with _translated():
                self._socket = websocket.create_connection(
                    self._origin.url("ws", PATHS[self._service.api]["ws"]),
                    socket=_Upgrading(connection, self._service),
                    header=[f"Authorization: Bearer {self._service.key.reveal()}"],
                    redirect_limit=0,
                    skip_utf8_validation=True,  # in pure Python it costs 30 times the CPU; JSON checks anyway
                    suppress_origin=True,
                )
        except BaseException:
            connection.drop()
            raise
        ended = self._dialer.clock()
        connection.phases = replace(connection.phases, upgrade=ended - started)
        self._connection, self._fragments = connection, bytearray()
        return connection, Opened(connection.phases, at_ns=ended)

    def _alive(self, connection: Connection) -> bool:
        """Whether an idle socket can carry another request; what still comes on it is read away."""
        connection.expect("end of what nobody asked for", self._dialer.timeout)  # one bound for all of it
        try:
            while connection.readable():
                self._read_frame(connection)
        except RemoteError:
            return False
        return True

    def _receive(self, connection: Connection) -> bytes:
        """The next whole text message."""
        while (message := self._read_frame(connection)) is None:
            pass
        return message

    def _read_frame(self, connection: Connection) -> bytes | None:
        """Read one frame; the text message that it ends, if it ends one. Pings are answered."""
        connection.allow(MESSAGE_LIMIT - len(self._fragments))
        with _translated():
            frame = self._socket.recv_frame()
            if frame.mask_value:
                raise ProtocolError("the service sent a masked frame")
            if frame.opcode >= ABNF.OPCODE_CLOSE and (len(frame.data) > CONTROL_LIMIT or not frame.fin):
                raise ProtocolError("the service sent a control frame that is too long or in parts")
            if frame.opcode == ABNF.OPCODE_PING:
                self._socket.pong(frame.data)
        match frame.opcode:
            case ABNF.OPCODE_CLOSE:
                code = int.from_bytes(frame.data[:2], "big") if frame.data else 1005
                raise decode_close(code, frame.data[2:].decode("utf-8", "replace"))
            case ABNF.OPCODE_BINARY:
                raise ProtocolError("the service sent a binary message")
            case ABNF.OPCODE_TEXT | ABNF.OPCODE_CONT:
                if (frame.opcode == ABNF.OPCODE_CONT) != bool(self._fragments):
                    raise ProtocolError("the service sent fragments out of order")
                if frame.fin and not self._fragments:
                    return bytes(frame.data)
                self._fragments += frame.data
                if frame.fin:
                    message, self._fragments = bytes(self._fragments), bytearray()
                    return message
        return None

    def close(self) -> None:
        """Say goodbye and close at once: the library's own close waits 3 s for an answer."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.expect("goodbye", 0.1)
        try:
            with _translated():
                self._socket.send_close()
        except NetworkError:
            pass  # the other side had left already
        finally:
            connection.close()
            self._socket = None


def _completion_wait(request: SpeechRequest) -> float:
    """Seconds of quiet before `complete`: what was asked for, else the service's own."""
    wait_ms = request.completion_wait_ms
    return (DEFAULT_COMPLETION_WAIT_MS if wait_ms is None else wait_ms) / MILLISECONDS


def _wait_for(connection: Connection, fragments: Fragments) -> None:
    """Until either side has something to say. Neither has a deadline: a writer may think."""
    with selectors.DefaultSelector() as selector:
        for side in (connection, fragments):
            selector.register(side.fileno(), selectors.EVENT_READ)
        selector.select()


class _Upgrading:
    """The socket that websocket-client sees: the first reply on it is read here before it is there.

    A reply other than 101 is raised as what it means, with its body, which the library would read
    without bounds or lose. Cookies stay out, and compression that nobody asked for is refused.
    """

    def __init__(self, connection: Connection, service: Service) -> None:
        self._connection = connection
        self._service = service
        self._upgraded = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def recv(self, size: int) -> bytes:
        if not self._upgraded:
            self._read_reply()
            self._upgraded = True
        return self._connection.recv(size)

    def _read_reply(self) -> None:
        head = read_head(self._connection)
        status_line, *lines = head.split(b"\r\n")
        if status_line.split(b" ")[1:2] != [b"101"]:
            self._connection.unread(head)
            self._refuse()
        if any(line.lower().startswith(b"sec-websocket-extensions:") for line in lines):
            raise ProtocolError("the service compresses, which nobody asked it to")
        kept = [line for line in lines if not line.lower().startswith(b"set-cookie:")]
        self._connection.unread(b"\r\n".join([status_line, *kept]))

    def _refuse(self) -> None:
        from http.client import HTTPException, HTTPResponse

        try:
            reply = HTTPResponse(self._connection)  # type: ignore[arg-type]
            reply.begin()
        except HTTPException:
            raise ProtocolError("the service did not answer in HTTP") from None
        try:
            body = reply.read(REFUSAL_LIMIT)
        except (HTTPException, NetworkError, ProtocolError):
            body = b""  # the status alone is enough
        if 200 <= reply.status < 300:
            raise ProtocolError(f"the service answered {reply.status} instead of opening a WebSocket")
        raise error_from_response(self._service, reply.status, dict(reply.getheaders()), body)


@contextmanager
def _translated() -> Iterator[None]:
    """websocket-client's errors as ours. From None: its messages quote the reply's head."""
    try:
        yield
    except websocket.WebSocketConnectionClosedException:
        raise decode_close(1006) from None
    except (websocket.WebSocketException, ValueError):
        raise ProtocolError("the service broke the WebSocket protocol") from None
