"""The SSE transport: each segment is one POST, answered by server-sent events (waves/api.md, 3b)."""

from __future__ import annotations

from collections.abc import Generator

from smallest_cli.errors import IncompleteResponse, ProtocolError
from smallest_cli.models import AudioChunk, Completed, Event, Service, SpeechRequest
from smallest_cli.network.dialer import Dialer
from smallest_cli.protocol.endpoints import PATHS
from smallest_cli.protocol.requests import encode_request
from smallest_cli.protocol.sse import EventStream
from smallest_cli.security import printable
from smallest_cli.transports.channel import Channel
from smallest_cli.transports.http_connection import HTTPConnection


class SSETransport(Channel):
    """Streams the audio of a segment as events. Keeps the connection open."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        super().__init__()
        self._timeout = dialer.timeout
        self._http = HTTPConnection(service, dialer, PATHS[service.api]["sse"], "text/event-stream")
        self.connect = self._http.connect

    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        """Request one segment and yield its events. Raises RemoteError.

        Each chunk of at least a frame of audio extends the deadline, other events do not.
        """
        http = self._http
        yield from http.send(encode_request(request._replace(completion_wait_ms=None)))
        http.read_head()
        content_type = http.headers.get("content-type", "no type")
        if not content_type.lower().startswith("text/event-stream"):
            raise ProtocolError(f"the service sent {printable(content_type, 60)} instead of events")
        request_id = http.request_id
        stream = EventStream()
        while piece := http.read():
            for event in stream.feed(piece, http.connection.received_ns):
                if isinstance(event, Completed):
                    yield event._replace(request_id=event.request_id or request_id)
                    return
                yield event
                if isinstance(event, AudioChunk) and len(event.pcm) >= request.format.frame_size:
                    http.connection.set_deadline("more audio", self._timeout)
        raise IncompleteResponse("the stream ended before its end marker")

    def close(self) -> None:
        """Close the connection."""
        super().close()
        self._http.close()
