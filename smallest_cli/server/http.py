"""The two HTTP replies: a complete audio body, or an event stream (waves/api.md, 3a and 3b)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import Any
from uuid import uuid4

from aiohttp import web

from smallest_cli.audio import wav
from smallest_cli.errors import ServerError
from smallest_cli.models import Api, AudioChunk, Completed, SpeechRequest
from smallest_cli.protocol.endpoints import SSE_SHAPES
from smallest_cli.protocol.messages import encode_error_message
from smallest_cli.protocol.sse import encode_sse
from smallest_cli.server.error_bodies import INTERNAL
from smallest_cli.server.faults import Fault, FaultSpec
from smallest_cli.server.request_log import LogEntry
from smallest_cli.server.state import ServerState
from smallest_cli.server.voice.engine import block_bytes

SSE_SLICE_BYTES = 1024  # the service splits each block into events of this size (waves/api.md, 3b)
SPOOL_BYTES = 16 << 20
WRITE_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Exchange:
    """A valid synthesis request over HTTP, and the methods that reply to it."""

    state: ServerState
    http: web.Request
    api: Api
    request: SpeechRequest
    entry: LogEntry
    fault: FaultSpec | None

    async def send_event_stream(self) -> web.StreamResponse:
        """Send audio as server-sent events: always PCM, whatever format was requested (3b)."""
        shape = self.state.config.sse_shape or SSE_SHAPES[self.api]
        response = self._new_response("text/event-stream")
        await response.prepare(self.http)
        try:
            async with aclosing(self._audio(self.fault)) as blocks:
                async for block in blocks:
                    starts = range(0, len(block), SSE_SLICE_BYTES)
                    slices = (block[start : start + SSE_SLICE_BYTES] for start in starts)
                    data = b"".join(encode_sse(AudioChunk(pcm), shape) for pcm in slices)
                    self.entry.mark_audio()
                    await response.write(data)
                    self.entry.audio_bytes += len(block)
        except (Fault, ServerError) as error:
            self.entry.status = str(error)
            if isinstance(error, Fault) and error.spec.kind == "close":
                return self._abort(response)
            # SSE has no documented error event: the form is inferred from the WebSocket's (3b).
            failure = encode_error_message(INTERNAL["message"])
            await response.write(b"data: " + failure.encode() + b"\n\n")
        else:
            await response.write(encode_sse(Completed(), shape))
            self.entry.mark_completed()
        await response.write_eof()
        return response

    async def send_audio_file(self) -> web.StreamResponse:
        """Send the audio as one body."""
        fault, encoding = self.fault, self.request.encoding
        # Close and stall faults after some audio occur while sending, all others during synthesis.
        late = fault if fault and fault.kind in ("close", "stall") and fault.after else None
        with SpooledTemporaryFile(SPOOL_BYTES) as body:
            try:
                blocks = self._audio(None if late else fault, "pcm" if encoding == "wav" else encoding)
                async with aclosing(blocks):
                    async for block in blocks:
                        body.write(block)
            except (Fault, ServerError, OSError) as error:  # OSError: the disk is full
                self.entry.status = str(error)
                if isinstance(error, Fault) and error.spec.kind == "close":
                    return self._abort(web.Response())
                return web.json_response(INTERNAL, status=500)
            return await self._send_body(body, late)

    async def _send_body(self, body: Any, fault: FaultSpec | None) -> web.StreamResponse:
        size = body.tell()
        body.seek(0)
        header = wav.header(self.request.format, size) if self.request.encoding == "wav" else b""
        response = self._new_response("audio/wav")  # whatever the format, as on the service (3a)
        if self.state.config.chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = len(header) + size
        await response.prepare(self.http)
        remaining = fault.after * block_bytes(self.request.format.sample_rate) if fault else size
        self.entry.mark_audio()
        await response.write(header)
        while data := body.read(min(WRITE_BYTES, remaining)):
            remaining -= len(data)
            await response.write(data)
            self.entry.audio_bytes += len(data)
        self.entry.mark_audio()
        if fault:
            self.entry.status = f"fault {fault.kind}"
            if fault.kind == "stall":
                await asyncio.Event().wait()  # until the client disconnects, which cancels this handler
            return self._abort(response)
        await response.write_eof()
        self.entry.mark_completed()
        return response

    async def _audio(self, fault: FaultSpec | None, encoding: str = "pcm") -> AsyncGenerator[bytes, None]:
        """Yield the audio block by block. Raises as `ServerState.synthesize` does."""
        events = self.state.synthesize(self.request, self.entry.received_ns, fault, encoding)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, AudioChunk):
                    yield event.pcm

    def _new_response(self, content_type: str) -> web.StreamResponse:
        """Return a response with the server's ids and the client's, empty if not given (3a)."""
        self.entry.request_id = str(uuid4())
        headers = {
            "Content-Type": content_type,
            "X-Session-Id": str(uuid4()),
            "X-Request-Id": self.entry.request_id,
            "X-External-Session-Id": self.request.session_id or "",
            "X-External-Request-Id": self.request.request_id or "",
        }
        return web.StreamResponse(headers=headers)

    def _abort(self, response: web.StreamResponse) -> web.StreamResponse:
        """Close the connection now, so that the reply is truncated."""
        if self.http.transport:
            self.http.transport.close()
        return response
