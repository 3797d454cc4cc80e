"""The two replies over plain HTTP: the whole sound at once, or an event stream (waves/api.md, 3a, 3b)."""

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
from smallest_cli.protocol.messages import encode_error_message, encode_sse
from smallest_cli.server.error_bodies import INTERNAL
from smallest_cli.server.faults import Fault, FaultSpec
from smallest_cli.server.request_log import Entry
from smallest_cli.server.state import ServerState
from smallest_cli.server.voice.engine import block_bytes

SLICE = 1024
IN_MEMORY = 16 << 20
PIECE = 256 << 10


@dataclass(frozen=True, slots=True)
class Call:
    """One request that nothing was wrong with."""

    studio: ServerState
    http: web.Request
    api: Api
    request: SpeechRequest
    entry: Entry
    fault: FaultSpec | None

    def response(self, content_type: str) -> web.StreamResponse:
        """The head of the reply: the server's ids, and the client's own, empty where it gave none."""
        request_id = self.entry.request_id = str(uuid4())
        headers = {
            "Content-Type": content_type,
            "X-Session-Id": str(uuid4()),
            "X-Request-Id": request_id,
            "X-External-Session-Id": self.request.session_id or "",
            "X-External-Request-Id": self.request.request_id or "",
        }
        return web.StreamResponse(headers=headers)

    async def sound(self, fault: FaultSpec | None, encoding: str = "pcm") -> AsyncGenerator[bytes, None]:
        """The audio, block by block. Raises as `Studio.speak` does."""
        pace = self.studio.pace(self.entry.received_ns / 1e9)
        async with aclosing(self.studio.speak(self.request, pace, fault, encoding)) as events:
            async for event in events:
                if isinstance(event, AudioChunk):
                    yield event.pcm


async def server_sent(call: Call) -> web.StreamResponse:
    """The event stream: each block in slices of 1024 bytes, PCM whatever format was asked for."""
    shape = call.studio.behaviour.sse_shape or SSE_SHAPES[call.api]
    response = call.response("text/event-stream")
    await response.prepare(call.http)
    try:
        async with aclosing(call.sound(call.fault)) as sound:
            async for block in sound:
                slices = (block[at : at + SLICE] for at in range(0, len(block), SLICE))
                call.entry.audio()
                await response.write(b"".join(encode_sse(AudioChunk(part), shape) for part in slices))
    except (Fault, ServerError) as error:
        call.entry.status = str(error)
        if isinstance(error, Fault) and error.spec.kind == "close":
            return cut(call, response)
        failure = encode_error_message(INTERNAL["message"])  # an inferred form: none is documented
        await response.write(b"data: " + failure.encode() + b"\n\n")
    else:
        await response.write(encode_sse(Completed(), shape))
        call.entry.completed()
    await response.write_eof()
    return response


async def one_shot(call: Call) -> web.StreamResponse:
    """The whole sound as one body. The type is audio/wav for every format, as on the service (3a)."""
    encoding = call.request.encoding
    late = call.fault if call.fault and call.fault.kind in ("close", "stall") and call.fault.after else None
    with SpooledTemporaryFile(IN_MEMORY) as body:
        try:
            async with aclosing(call.sound(None if late else call.fault, _coding(encoding))) as sound:
                async for block in sound:
                    body.write(block)
        except (Fault, ServerError) as error:
            call.entry.status = str(error)
            if isinstance(error, Fault) and error.spec.kind == "close":
                return cut(call, web.Response())
            return web.json_response(INTERNAL, status=500)
        return await _send_body(call, body, late)


def _coding(encoding: str) -> str:
    return "pcm" if encoding == "wav" else encoding


async def _send_body(call: Call, body: Any, fault: FaultSpec | None) -> web.StreamResponse:
    size = body.tell()
    body.seek(0)
    head = wav.header(call.request.format, size) if call.request.encoding == "wav" else b""
    response = call.response("audio/wav")
    if call.studio.behaviour.chunked:
        response.enable_chunked_encoding()
    else:
        response.content_length = len(head) + size
    await response.prepare(call.http)
    left = fault.after * block_bytes(call.request.format.sample_rate) if fault else size
    call.entry.audio()
    await response.write(head)
    while piece := body.read(min(PIECE, left)):
        left -= len(piece)
        await response.write(piece)
    call.entry.audio()
    if fault:
        call.entry.status = f"fault {fault.kind}"
        if fault.kind == "stall":
            await asyncio.Event().wait()  # until the client leaves, which cancels this
        return cut(call, response)
    await response.write_eof()
    call.entry.completed()
    return response


def cut(call: Call, response: web.StreamResponse) -> web.StreamResponse:
    """End the connection after what has been sent, without the end of the reply."""
    if call.http.transport:
        call.http.transport.close()
    return response
