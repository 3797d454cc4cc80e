"""`POST /v1/audio/speech`, as OpenAI's API reference has it, so that programs for it can be tried offline.

Unknown models and voices, such as tts-1 and alloy, are the default voice. Not a proxy to the service.
"""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64encode
from contextlib import aclosing
from tempfile import TemporaryFile
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from smallest_cli.audio import wav
from smallest_cli.errors import ProtocolError, ServerError, SmallestError
from smallest_cli.models import AudioChunk, AudioFormat, SpeechRequest
from smallest_cli.protocol.json import decode_object
from smallest_cli.server.auth import LimitExceeded, find_key
from smallest_cli.server.request_log import LogEntry
from smallest_cli.server.state import ServerState
from smallest_cli.voices import DEFAULT_MODEL, DEFAULT_VOICE, find_voice

PATH = "/v1/audio/speech"
FORMAT = AudioFormat(24_000)
"""`pcm` of that API is s16le at 24 kHz."""
CONTENT_TYPES = {
    "mp3": "audio/mpeg", "opus": "audio/ogg", "flac": "audio/flac", "wav": "audio/wav", "pcm": "audio/pcm",
}  # fmt: skip
SPEEDS = (0.5, 2.0)
"""What our voices do of the 0.25 to 4 of that API."""


class _Body(Struct):
    model: str
    input: Annotated[str, Meta(min_length=1, max_length=4096)]
    voice: str | dict[str, Any]  # an id, or an object with one for a custom voice
    response_format: Literal["mp3", "opus", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1.0
    stream_format: Literal["audio", "sse"] = "audio"


class OpenAIAPI:
    """The handler of the route."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def speech(self, http: web.Request) -> web.StreamResponse:
        """Reply with the audio of the text, as one body or as events."""
        key = find_key(http, self._state.config.token)
        if key is None:
            return _error(401, "Incorrect API key provided.", code="invalid_api_key")
        if http.content_type != "application/json":  # a page in a browser could send others
            return _error(415, "Content-Type must be application/json.")
        try:
            body = msgspec.convert(decode_object(await http.read(), raw=True), _Body)
        except (ProtocolError, msgspec.ValidationError) as error:
            return _error(400, str(error))
        speech = self._request(body)
        entry = LogEntry("http", speech.text, key, speech.voice)
        try:
            with self._state.slots.hold(key):
                send = self._send_events if body.stream_format == "sse" else self._send_audio
                return await send(http, body, speech, entry)
        except LimitExceeded:
            entry.status = "busy"
            return _error(429, "Rate limit reached.", code="rate_limit_exceeded")
        except (ServerError, OSError) as error:
            entry.status = str(error)
            return _error(500, "The server had an error while processing your request.", kind="server_error")
        finally:
            self._state.request_log.write(entry)

    @staticmethod
    def _request(body: _Body) -> SpeechRequest:
        found = find_voice(body.voice) if isinstance(body.voice, str) else None
        voice, model = (found.id, found.model) if found else (DEFAULT_VOICE, DEFAULT_MODEL)
        speed = min(max(body.speed, SPEEDS[0]), SPEEDS[1])
        return SpeechRequest(body.input, voice, model, speed=speed, format=FORMAT)

    async def _send_audio(
        self, http: web.Request, body: _Body, speech: SpeechRequest, entry: LogEntry
    ) -> web.StreamResponse:
        pcm = b"".join([block async for block in self._blocks(speech, entry)])
        audio = await asyncio.to_thread(_encode, pcm, body.response_format)
        entry.mark_audio()
        entry.mark_completed()
        return web.Response(body=audio, content_type=CONTENT_TYPES[body.response_format])

    async def _send_events(
        self, http: web.Request, body: _Body, speech: SpeechRequest, entry: LogEntry
    ) -> web.StreamResponse:
        """Send pcm as it comes; other formats, which have a header or a frame structure, as one event.

        A failure closes the connection: another reply may not follow one that has begun.
        """
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        try:
            await self._write_events(response, body, speech, entry)
        except (ServerError, OSError) as error:
            entry.status = str(error)
            if http.transport:
                http.transport.close()
        return response

    async def _write_events(
        self, response: web.StreamResponse, body: _Body, speech: SpeechRequest, entry: LogEntry
    ) -> None:
        pcm = b""
        async with aclosing(self._blocks(speech, entry)) as blocks:
            async for block in blocks:
                if body.response_format == "pcm":
                    entry.mark_audio()
                    await response.write(_event("speech.audio.delta", audio=b64encode(block).decode()))
                else:
                    pcm += block
        if pcm:
            audio = await asyncio.to_thread(_encode, pcm, body.response_format)
            entry.mark_audio()
            await response.write(_event("speech.audio.delta", audio=b64encode(audio).decode()))
        tokens = {"input_tokens": len(speech.text), "output_tokens": 0, "total_tokens": len(speech.text)}
        await response.write(_event("speech.audio.done", usage=tokens))
        await response.write_eof()
        entry.mark_completed()

    async def _blocks(self, speech: SpeechRequest, entry: LogEntry) -> Any:
        async with aclosing(self._state.synthesize(speech, entry.received_ns)) as events:
            async for event in events:
                if isinstance(event, AudioChunk):
                    yield event.pcm


def _encode(pcm: bytes, coding: str) -> bytes:
    """Return s16le in another format. Raises OSError, ServerError."""
    if coding == "pcm":
        return pcm
    if coding == "wav":
        return wav.header(FORMAT, len(pcm)) + pcm
    from smallest_cli.audio.libsndfile import CompressedEncoder

    with TemporaryFile() as file:
        try:
            encoder = CompressedEncoder(coding, file.fileno(), FORMAT)
            encoder.write(pcm)
            encoder.finish()
        except SmallestError as error:
            raise ServerError(str(error)) from None
        return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)


def _event(name: str, **fields: Any) -> bytes:
    return b"data: " + json.dumps({"type": name, **fields}).encode() + b"\n\n"


def _error(
    status: int, message: str, *, kind: str = "invalid_request_error", code: str | None = None
) -> web.Response:
    """Return an error in the form of that API."""
    fields = {"message": message, "type": kind, "param": None, "code": code}
    return web.json_response({"error": fields}, status=status)
