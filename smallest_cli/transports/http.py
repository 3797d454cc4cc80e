"""Speech as one HTTP reply: a WAV for each segment (waves/api.md, 3a)."""

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
from smallest_cli.transports.http_session import HTTPSession, is_framed


class HTTPTransport(Channel):
    """Asks for WAV, because its header says how long the audio is; the connection is kept."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        super().__init__()
        self._path = PATHS[service.api]["http"]
        self._timeout = dialer.timeout
        self._poster = HTTPSession(service, dialer)

    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        """Ask for one segment. It is whole when the WAV header, or else HTTP's own framing, says so."""
        body = encode_request(replace(request, encoding="wav", completion_wait_ms=None))
        with ExitStack() as exchanges:
            reply = yield from self._poster.post(exchanges, self._path, body, accept="audio/wav")
            request_id = reply.headers.get("X-Request-Id")
            wav = WavReader(request.format)
            for piece in reply.body:
                if pcm := wav.feed(piece):
                    yield AudioChunk(pcm, request_id, at_ns=reply.connection.received_ns)
                    reply.connection.expect("more audio", self._timeout)
            if not (wav.whole if wav.states_length else is_framed(reply.headers)):
                raise IncompleteResponse("the reply ended before all of its audio came")
            yield Completed(request_id, at_ns=reply.connection.received_ns)

    def connect(self) -> None:
        """Open the connection if it is not open."""
        self._poster.connect()

    def close(self) -> None:
        """Close the connection."""
        self._poster.close()
