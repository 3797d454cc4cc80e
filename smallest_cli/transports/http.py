"""The HTTP transport: each segment is one POST, answered by a WAV (waves/api.md, 3a)."""

from __future__ import annotations

from collections.abc import Generator

from smallest_cli.audio.wav import WavReader
from smallest_cli.errors import IncompleteResponse
from smallest_cli.models import AudioChunk, Completed, Event, SpeechRequest
from smallest_cli.protocol.requests import encode_request
from smallest_cli.transports.http_connection import HTTPChannel
from smallest_cli.transports.reception import Reception, Witness


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
        wav, reception = WavReader(request.format), Reception(request, http.connection)
        while piece := http.read():
            received_ns = http.connection.received_ns
            if pcm := wav.feed(piece):
                yield AudioChunk(pcm, request_id, at_ns=received_ns)
                if reception.add(pcm):
                    http.connection.set_deadline("more audio", self._timeout)
        witness: Witness | None = "framed body" if is_framed and not wav.states_length else None
        if wav.complete:
            witness = "stated length"
        if not reception.accept(witness, request_id=request_id):
            raise IncompleteResponse("the reply ended before all of its audio came")
        yield Completed(request_id, at_ns=received_ns)
