"""The SSE transport: each segment is one POST, answered by server-sent events (waves/api.md, 3b)."""

from __future__ import annotations

from collections.abc import Generator

from smallest_cli.errors import IncompleteResponse, ProtocolError
from smallest_cli.models import AudioChunk, Completed, Event, SpeechRequest
from smallest_cli.protocol.requests import encode_request
from smallest_cli.protocol.sse import EventStream
from smallest_cli.security import printable
from smallest_cli.transports.http_connection import HTTPChannel
from smallest_cli.transports.reception import Reception


class SSETransport(HTTPChannel):
    """Streams the audio of a segment as events."""

    via, accept = "sse", "text/event-stream"

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
        stream, reception = EventStream(), Reception(request, http.connection)
        while piece := http.read():
            for event in stream.feed(piece, http.connection.received_ns):
                if isinstance(event, Completed):
                    event = event.but(request_id=event.request_id or request_id)
                    reception.accept("end marker", request_id=event.request_id)
                    yield event
                    return
                yield event
                if isinstance(event, AudioChunk) and reception.add(event.pcm):
                    http.connection.set_deadline("more audio", self._timeout)
        raise IncompleteResponse("the stream ended before its end marker")
