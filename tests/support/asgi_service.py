"""The service as an ASGI application, for servers that are not ours. Their header names are in lower case."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from smallest_cli.audio import wav
from smallest_cli.models import AudioFormat

PCM = bytes(range(200)) * 100
WAV = wav.header(AudioFormat(24_000), len(PCM)) + PCM
REFUSED_TEXT = "Refuse."
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Speak PCM on the paths of the unified API; a text `REFUSED_TEXT` is refused as FastAPI does it."""
    if scope["type"] == "websocket":
        await speak_websocket(receive, send)
    elif scope["type"] == "http":
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await speak_http(scope["path"], json.loads(body), send)


async def speak_http(path: str, request: dict[str, Any], send: Send) -> None:
    """Answer a POST by events or a WAV."""
    if request["text"] == REFUSED_TEXT:
        detail = [{"loc": ["body", "voice_id"], "msg": "Field required", "type": "missing"}]
        await reply(send, 422, "application/json", json.dumps({"detail": detail}).encode())
    elif path == "/waves/v1/tts":
        await reply(send, 200, "audio/wav", WAV[:1000], WAV[1000:])
    else:
        audio = json.dumps({"audio": base64.b64encode(PCM).decode(), "done": False}).encode()
        end = b'data: {"status": "200", "done": true}\n\n'
        ping = b"event: ping\ndata: 2026-11-29 10:00:00\n\n"  # as sse-starlette sends it
        await reply(
            send, 200, "text/event-stream", ping, b"event: audio\ndata: " + audio + b"\n\n", ping, end
        )


async def reply(send: Send, status: int, kind: str, *pieces: bytes) -> None:
    """Send a response of unknown length, which the server frames."""
    headers = [(b"content-type", kind.encode()), (b"x-request-id", b"r1")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def speak_websocket(receive: Receive, send: Send) -> None:
    """Answer each message of a WebSocket; close it as unauthorized for `REFUSED_TEXT`."""
    number = 0
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
            continue
        request = json.loads(message["text"])
        if request["text"] == REFUSED_TEXT:
            await send({"type": "websocket.close", "code": 4001, "reason": "invalid token"})
            return
        number += 1
        audio = {"status": "chunk", "data": {"audio": base64.b64encode(PCM).decode()}}
        for fields in (audio, {"status": "complete"}):
            text = json.dumps({"request_id": f"task_{number}", **fields})
            await send({"type": "websocket.send", "text": text})
