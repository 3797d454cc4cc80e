"""The HTTP transport: each segment is one request, its audio one WAV (waves/api.md, 3a)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import replace

from smallest_cli.audio.wav import WavReader
from smallest_cli.errors import IncompleteResponse
from smallest_cli.models import AudioChunk, Completed, Event, Service, SpeechRequest
from smallest_cli.network.dialer import Dialer
from smallest_cli.protocol.endpoints import PATHS
from smallest_cli.protocol.requests import encode_request
from smallest_cli.transports.channel import Channel
from smallest_cli.transports.http_session import HTTPSession


class HTTPTransport(Channel):
    """Requests WAV, because its header states the length of the audio. Keeps the connection open."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        super().__init__()
        self._path = PATHS[service.api]["http"]
        self._timeout = dialer.timeout
        self._session = HTTPSession(service, dialer)
        self.connect = self._session.connect
        self.close = self._session.close

    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        """Request one segment and yield its events. Raises RemoteError.

        It is complete when the audio has the length in the WAV header; where that states none, when the
        body has ended by Content-Length or chunked encoding.
        """
        body = encode_request(replace(request, encoding="wav", completion_wait_ms=None))
        with ExitStack() as stack:
            response = yield from self._session.post(stack, self._path, body, accept="audio/wav")
            request_id = response.headers.get("X-Request-Id")
            wav = WavReader(request.format)
            for piece in response.body:
                if pcm := wav.feed(piece):
                    yield AudioChunk(pcm, request_id, at_ns=response.connection.received_ns)
                    response.connection.set_deadline("more audio", self._timeout)
            if not (wav.whole if wav.states_length else response.has_framed_body()):
                raise IncompleteResponse("the reply ended before all of its audio came")
            yield Completed(request_id, at_ns=response.connection.received_ns)
