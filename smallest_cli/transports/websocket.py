"""The WebSocket transport: requests, their events and their order on one socket (waves/api.md, 3c and 4)."""

from __future__ import annotations

import math
import os
import selectors
from collections import deque
from collections.abc import Generator, Iterator

from smallest_cli.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    ProtocolError,
    RateLimited,
    RemoteError,
)
from smallest_cli.models import (
    AudioChunk,
    AudioEnded,
    Buffering,
    Completed,
    Event,
    Fragments,
    HasFileno,
    Opened,
    Phases,
    Refused,
    Sent,
    Service,
    SpeechRequest,
)
from smallest_cli.network.connection import Connection
from smallest_cli.network.dialer import Dialer
from smallest_cli.protocol.endpoints import DEFAULT_COMPLETION_WAIT_MS
from smallest_cli.protocol.messages import Message, decode_events, decode_message
from smallest_cli.protocol.requests import KEEP_ALIVE, encode_request
from smallest_cli.signals import running_s
from smallest_cli.transports.reception import Reception, Witness
from smallest_cli.transports.websocket_connection import WebSocketConnection

COMPLETION_GRACE_S = 1.0
"""Seconds that `complete` may be late after the service's completion wait; less for a shorter timeout."""
KEEP_ALIVE_AFTER_S = 15.0
"""Seconds without a message sent after which an idle connection gets a keep-alive."""
MAX_WAIT_S = 1_000_000.0
NORMAL_CLOSURE = 1000


class _Request:
    """A request under way."""

    def __init__(self, number: int, request: SpeechRequest, connection: Connection, *, early: bool) -> None:
        self.number = number
        self.early = early
        """Whether it was sent while another was under way."""
        self.completion_wait_s = _completion_wait(request)
        self.own_id = request.request_id
        self.reception = Reception(request, connection)
        self.service_id: str | None = None
        """The service's id of it, learned from the first message that is attributed to it."""
        self.started = False
        """Whether audio or words of it came."""
        self.ended = False
        """Whether audio of a later request came: there is no more of this one."""
        self.error: RemoteError | None = None

    def accept(self, witness: Witness, request_id: str | None = None) -> bool:
        """Whether it is complete. What speaks against it is kept as `error`: audio is passed on before."""
        try:
            return self.reception.accept(witness, request_id=request_id)
        except RemoteError as error:
            self.error = self.error or error
            return False


class WebSocketTransport:
    """Speaks over one WebSocket, opened with the first request and reopened where it was closed.

    A second request may be sent while the first is received. Audio comes in the order of the requests,
    with their ids; `complete` comes once each or once for all (waves/api.md, 0.3).
    """

    def __init__(self, service: Service, dialer: Dialer) -> None:
        self.capacity = 1
        """2 once the service sends ids: without them, audio of two requests cannot be distinguished."""
        self._ids_differ = False
        """Whether the service sent different ids for two requests, as documented."""
        self._service = service
        self._dialer = dialer
        self._ws: WebSocketConnection | None = None
        self._unreported: Opened | None = None
        self._number = 0
        self._requests: list[_Request] = []
        """Under way, in the order in which they were sent."""
        self._known_id: str | None = None
        """The service's id of the first request."""
        self._finished_ids: set[str] = set()
        """The service's ids of finished requests of the connection: late messages of theirs are dropped."""
        self._events: deque[Event] = deque()
        self._returned = 0.0
        """When the last event was returned, in seconds of `running_s`."""

    def send(self, request: SpeechRequest) -> int:
        """Send a request; returns its number, the `segment` of its events. Raises RemoteError."""
        if self._service.api != "v2" and request.request_id is None:
            request = request._replace(request_id=os.urandom(8).hex())  # v2 has no such field
        self._number += 1
        number = self._number
        if self._requests and self._ws:
            ws, opened = self._ws, Opened(Phases(), reused=True, at_ns=self._dialer.clock())
        else:
            ws, opened = self._open()
            ws.connection.set_deadline("audio", self._dialer.timeout)
        ws.send(encode_request(request))
        self._events.append(opened.but(segment=number))
        sent_ns, write_ns = ws.connection.sent_ns, ws.connection.write_ns
        self._events.append(Sent(sent_ns, number, write_ns))
        early = bool(self._requests)
        self._returned = running_s()
        self._requests.append(_Request(number, request, ws.connection, early=early))
        return number

    def receive(self, wake: HasFileno | None = None, timeout_s: float | None = None) -> Event | None:
        """Return the next event of the requests under way.

        None if `wake` became readable, or `timeout_s` passed, before a message came. Each audio chunk
        extends the deadline; pings and other messages do not. The time since the last event does not count:
        a slow sink held back reading. Raises RemoteError.
        """
        if self._ws:
            self._ws.connection.extend_deadline(running_s() - self._returned)
        try:
            return self._receive(wake, timeout_s)
        finally:
            self._returned = running_s()

    def _receive(self, wake: HasFileno | None, timeout_s: float | None) -> Event | None:
        while not self._events:
            self._raise_failure()
            ws = self._ws
            assert ws is not None, "nothing was sent"  # noqa: S101
            if (wake or timeout_s is not None) and not _wait_readable(ws.connection, wake, timeout_s):
                return None
            if (data := ws.read_frame()) is not None:
                self._attribute(ws.connection, decode_message(data, ws.connection.received_ns))
        return self._events.popleft()

    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        """Request one segment and yield its events. Raises RemoteError.

        The connection is kept only after `complete`.
        """
        completed = False
        try:
            number = self.send(request)
            while not completed:
                event = self.receive()
                assert event is not None  # noqa: S101  (nothing else was waited for)
                completed = isinstance(event, Completed) and event.segment == number
                yield event
        finally:
            if not completed:
                self.close()  # late messages must not be attributed to the next segment

    def cancel_at(self, at_ns: int) -> Connection:
        """Send a close frame at that time, which is how plain requests are cancelled (waves/api.md, 4d)."""
        ws = self._ws
        assert ws is not None, "nothing was sent"  # noqa: S101
        ws.connection.schedule(at_ns, ws.send_close)
        return ws.connection

    def _attribute(self, connection: Connection, message: Message) -> None:
        """Queue the events of a message, tagged with the request that they belong to."""
        if message.error is None and not message.events:
            return
        request = self._find(message)
        if request is None:
            return
        if message.error:
            self._fail(request, message.error, connection.received_ns)
            return
        for event in message.events:
            if isinstance(event, Completed):
                self._complete(request, event, connection)
                break
            if isinstance(event, AudioChunk) and not event.pcm:
                continue  # says nothing about the order of the audio
            if request.ended:
                raise _out_of_order()
            for earlier in self._requests[: self._requests.index(request)]:
                if not earlier.ended:
                    if not earlier.accept("later audio"):
                        return
                    earlier.ended = True
                    self._events.append(AudioEnded(at_ns=connection.received_ns, segment=earlier.number))
            request.started = True
            self._events.append(event.but(segment=request.number))
            if isinstance(event, AudioChunk) and request.reception.add(event.pcm):
                self._await_more(connection, request)

    def _find(self, message: Message) -> _Request | None:
        """Return the request that a message belongs to; None for one that is not under way.

        Where the service does not echo our id, its own id changes from one request to the next. Raises
        ProtocolError for an id that belongs to none.
        """
        service_id = message.request_id
        if message.own_id is not None or service_id is not None:
            self.capacity = 2
        if message.own_id is not None:
            request = next((each for each in self._requests if each.own_id == message.own_id), None)
            if request:
                self._ids_differ = True
                request.service_id = service_id or request.service_id
            return request
        only_completes = len(message.events) == 1 and isinstance(message.events[0], Completed)
        open_requests = [each for each in self._requests if not each.ended] or self._requests
        if service_id is None or not open_requests:
            # `complete` may come after audio of later requests: it completes only the first.
            candidates = self._requests if only_completes else open_requests
            return candidates[0] if candidates else None
        for request in self._requests:
            if request.service_id == service_id:
                return request
        if message.error:
            return open_requests[0]
        if service_id in self._finished_ids:
            return None
        unnamed = next((each for each in open_requests if each.service_id is None), None)
        if unnamed is None:
            raise ProtocolError("the service changed the id of a request")
        unnamed.service_id = service_id
        self._known_id = self._known_id or service_id
        self._ids_differ |= service_id != self._known_id
        return unnamed

    def _complete(self, request: _Request, event: Completed, connection: Connection) -> None:
        """Complete a request and, as audio comes in order, those before it."""
        if not request.accept("end marker", event.request_id):
            return  # without audio of its own it proves nothing about those before it, either
        for each in self._requests[: self._requests.index(request) + 1]:
            if each is not request and not each.accept("later end marker"):
                return
            self._requests.remove(each)
            if each.service_id:
                self._finished_ids.add(each.service_id)
            request_id = event.request_id if each is request else each.service_id
            self._events.append(event.but(request_id=request_id, segment=each.number))
        if self._requests and not self._requests[0].started:
            connection.set_deadline("audio", self._dialer.timeout)

    def _fail(self, request: _Request, error: RemoteError, at_ns: int) -> None:
        """Record an error of a request, or that the service refuses it while another is under way."""
        last = self._requests[-1]
        if isinstance(error, RateLimited) and last.early and not last.started:
            self._requests.remove(last)
            self._events.append(Refused(error, at_ns=at_ns, segment=last.number))
        else:
            request.error = error

    def _raise_failure(self) -> None:
        """Raise the error of a request once the audio of those before it has ended."""
        for request in self._requests:
            if request.error:
                if request.ended:
                    request.error.retryable = False  # its audio was passed on as complete
                raise request.error
            if not request.ended:
                return

    def _await_more(self, connection: Connection, request: _Request) -> None:
        """Give the service until its timeout for more audio, or longer for a late `complete`.

        It is silent during its completion wait (waves/api.md, 2a), so a shorter timeout would end every
        segment; a longer one covers that wait.
        """
        timeout = self._dialer.timeout
        seconds = max(timeout, request.completion_wait_s + min(timeout, COMPLETION_GRACE_S))
        awaited = "more audio"
        if seconds > timeout:
            awaited += f" nor `complete` (due after {request.completion_wait_s:g} s of silence)"
        connection.set_deadline(awaited, seconds)

    def connect(self) -> None:
        """Open the connection, or send a keep-alive on an open one if it is due (waves/api.md, 4b)."""
        previous = self._ws
        ws, self._unreported = self._open()
        silence_s = (self._dialer.clock() - ws.connection.sent_ns) / 1e9
        if ws is not previous or silence_s < KEEP_ALIVE_AFTER_S:
            return
        ws.connection.set_deadline("keep-alive", self._dialer.timeout)
        try:
            ws.send(KEEP_ALIVE)
        except ConnectionClosed:
            self.close()  # the next request reopens it

    def converse(self, request: SpeechRequest, fragments: Fragments, drain_s: float) -> Iterator[Event]:
        """Send text as it arrives; the service splits it (section 4c). `request` has no text.

        A continuation has no end marker of its own: it is complete when a `complete` is followed by
        `drain_s` seconds without a message, or by a close. The older APIs send one `complete`. Raises
        RemoteError.
        """
        ws, opened = self._open()
        connection = ws.connection
        yield opened
        older = self._service.api != "unified"
        context = None if older else os.urandom(8).hex()
        reception = Reception(request, connection)
        completed = sent = False
        until = math.inf  # when the audio must have ended; sent text and audio extend it
        try:
            while not (completed and fragments.ended and older):
                if not fragments.ended and not connection.readable():
                    connection.set_deadline("text", math.inf)  # the source of the text may pause
                    if _wait_readable(connection, fragments, None) and not connection.readable():
                        connection.recv(0)  # raises: --max-time is over
                for text, message in self._encode_fragments(request, fragments, context, sent=sent):
                    connection.set_deadline("progress in sending the text", self._dialer.timeout)
                    ws.send(message)
                    reception.expect(text)
                    until = math.inf
                    if not sent:
                        yield Sent(at_ns=connection.sent_ns)
                    sent, completed = True, completed and not older
                if fragments.ended and not sent:
                    return
                if not fragments.ended and not connection.readable():
                    continue
                wait_s = _completion_wait(request) + COMPLETION_GRACE_S
                seconds = drain_s if completed else max(self._dialer.timeout, wait_s)
                until = min(until, running_s() + seconds) if fragments.ended else math.inf
                remaining_s = min(seconds, until - running_s())
                connection.set_deadline("end of the audio", remaining_s, seconds)
                for event in decode_events(ws.receive(), connection.received_ns):
                    if isinstance(event, Completed):
                        reception.accept("end marker", request_id=event.request_id)
                        reception.begin_segment()
                        completed, until = True, math.inf
                    elif isinstance(event, AudioChunk) and not event.pcm:
                        continue  # no sign of life
                    else:
                        completed = False
                    yield event
                    if isinstance(event, AudioChunk) and reception.add(event.pcm):
                        until = math.inf
        except RemoteError as error:
            # Quiet or a normal close between messages ends a conversation; nothing else does.
            is_quiet = isinstance(error, DeadlineExceeded) or error.close_code == NORMAL_CLOSURE
            is_quiet = is_quiet and not ws.is_within_message
            is_end = completed and fragments.ended and is_quiet and running_s() < self._dialer.until
            if not (is_end and reception.accept("quiet end")):
                raise
        finally:
            self.close()

    def _encode_fragments(
        self, request: SpeechRequest, fragments: Fragments, context: str | None, *, sent: bool
    ) -> Iterator[tuple[str, bytes]]:
        """Yield each text that has arrived with its message, and the message after the last of it."""
        if fragments.ended:
            return
        while (text := fragments.next()) is not None:
            sent = True
            yield text, encode_request(request._replace(text=text), Buffering(more=True, context=context))
        if fragments.ended and sent:
            end = Buffering(flush=context is None, close=context is not None, context=context)
            yield "", encode_request(request._replace(text=""), end)

    def _open(self) -> tuple[WebSocketConnection, Opened]:
        """Return the open connection, or a new one, and the event for it."""
        ws, unreported = self._ws, self._unreported
        self._unreported = None
        # A late message of a finished request must be told from those of the next.
        can_tell = self._ids_differ or not self._finished_ids
        if ws is not None and can_tell and ws.is_reusable(self._dialer.timeout):
            return ws, unreported or Opened(Phases(), reused=True, at_ns=self._dialer.clock())
        self.close()
        ws = self._ws = WebSocketConnection(self._service, self._dialer)
        return ws, ws.opened

    def close(self) -> None:
        """Discard the requests under way and close the connection."""
        self._requests.clear()
        self._finished_ids.clear()
        self._events.clear()
        ws, self._ws = self._ws, None
        if ws is not None:
            ws.close()


def _out_of_order() -> ProtocolError:
    """Return the error for audio of a request that was passed on as complete; it is not retried."""
    error = ProtocolError("audio of a request came after that of a later one")
    error.retryable = False
    return error


def _completion_wait(request: SpeechRequest) -> float:
    """Return the seconds of silence after which the service sends `complete`."""
    wait_ms = request.completion_wait_ms
    return (DEFAULT_COMPLETION_WAIT_MS if wait_ms is None else wait_ms) / 1000


def _wait_readable(connection: Connection, wake: HasFileno | None, timeout_s: float | None) -> bool:
    """Wait for a message; False where `wake` became readable or `timeout_s` passed before.

    True at the connection's deadline, too: reading reports it.
    """
    if connection.readable():
        return True
    began = running_s()
    remaining_s = connection.gettimeout()
    wait_s = remaining_s if timeout_s is None else min(timeout_s, remaining_s)
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        if wake is not None:
            selector.register(wake.fileno(), selectors.EVENT_READ)
        ready = selector.select(min(wait_s, MAX_WAIT_S))
    connection.waited_s += running_s() - began
    if ready:
        return connection.readable()
    return connection.is_late()
