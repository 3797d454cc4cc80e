"""The SSE transport: each segment is one POST, answered by server-sent events (waves/api.md, 3b)."""

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
    """Streams the audio of a segment as events. Keeps the connection open."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        super().__init__()
        self._path = PATHS[service.api]["sse"]
        self._timeout = dialer.timeout
        self._session = HTTPSession(service, dialer)
        self.connect = self._session.connect
        self.close = self._session.close

    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        """Request one segment and yield its events. Raises RemoteError.

        Each audio chunk extends the deadline, other events do not.
        """
        body = encode_request(replace(request, completion_wait_ms=None))
        with ExitStack() as stack:
            response = yield from self._session.post(stack, self._path, body, accept="text/event-stream")
            content_type = response.headers.get("Content-Type", "no type")
            if not content_type.lower().startswith("text/event-stream"):
                raise ProtocolError(f"the service sent {printable(content_type, 60)} instead of events")
            request_id = response.headers.get("X-Request-Id")
            stream = EventStream()
            for piece in response.body:
                for event in stream.feed(piece, response.connection.received_ns):
                    if isinstance(event, Completed):
                        yield replace(event, request_id=event.request_id or request_id)
                        response.read_end()
                        return
                    yield event
                    if isinstance(event, AudioChunk):
                        response.connection.set_deadline("more audio", self._timeout)
            raise IncompleteResponse("the stream ended before its end marker")
