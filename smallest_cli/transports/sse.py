"""Speech as server-sent events: one POST for each segment (waves/api.md, 3b)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import replace

from smallest_cli.errors import IncompleteResponse, ProtocolError
from smallest_cli.models import AudioChunk, Completed, Event, Service, SpeechRequest
from smallest_cli.network.dialer import Dialer
from smallest_cli.protocol.endpoints import PATHS
from smallest_cli.protocol.messages import EventStream
from smallest_cli.protocol.requests import encode_request
from smallest_cli.security import printable
from smallest_cli.transports.channel import Channel
from smallest_cli.transports.http_session import HTTPSession


class SSETransport(Channel):
    """Streams a segment's audio in events; the connection is kept."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        super().__init__()
        self._path = PATHS[service.api]["sse"]
        self._timeout = dialer.timeout
        self._poster = HTTPSession(service, dialer)

    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        """Ask for one segment. Only audio moves the deadline on."""
        body = encode_request(replace(request, completion_wait_ms=None))
        with ExitStack() as exchanges:
            reply = yield from self._poster.post(exchanges, self._path, body, accept="text/event-stream")
            kind = reply.headers.get("Content-Type", "no type")
            if not kind.lower().startswith("text/event-stream"):
                raise ProtocolError(f"the service sent {printable(kind, 60)} instead of events")
            request_id = reply.headers.get("X-Request-Id")
            stream = EventStream()
            for piece in reply.body:
                for event in stream.feed(piece, reply.connection.received_ns):
                    if isinstance(event, Completed):
                        yield replace(event, request_id=event.request_id or request_id)
                        reply.finish()
                        return
                    yield event
                    if isinstance(event, AudioChunk):
                        reply.connection.expect("more audio", self._timeout)
            raise IncompleteResponse("the stream ended before its end marker")

    def connect(self) -> None:
        """Open the connection if it is not open."""
        self._poster.connect()

    def close(self) -> None:
        """Close the connection."""
        self._poster.close()
