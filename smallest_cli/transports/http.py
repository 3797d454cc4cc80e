"""The HTTP transport: each segment is one POST, answered by a WAV (waves/api.md, 3a)."""

from __future__ import annotations

from collections.abc import Generator

from smallest_cli.audio.wav import WavReader
from smallest_cli.errors import IncompleteResponse
from smallest_cli.models import AudioChunk, Completed, Event, SpeechRequest
from smallest_cli.protocol.requests import encode_request
from smallest_cli.transports.http_connection import HTTPChannel


class HTTPTransport(HTTPChannel):
    """Requests WAV, because its header states the length of the audio."""

    via, accept = "http", "audio/wav"

    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        """Request one segment and yield its events. Raises RemoteError.

        It is complete at the length in the WAV header or, if that has none, at the end of a framed HTTP body.
        """
        http = self._http
        yield from http.send(encode_request(request._replace(encoding="wav", completion_wait_ms=None)))
        http.read_head()
        request_id = http.request_id
        is_framed = http.is_framed
        received_ns = 0
        wav = WavReader(request.format)
        while piece := http.read():
            received_ns = http.connection.received_ns
            if pcm := wav.feed(piece):
                yield AudioChunk(pcm, request_id, at_ns=received_ns)
            if len(pcm) >= request.format.frame_size:
                http.connection.set_deadline("more audio", self._timeout)
        if not (wav.complete if wav.states_length else is_framed):
            raise IncompleteResponse("the reply ended before all of its audio came")
        yield Completed(request_id, at_ns=received_ns)
