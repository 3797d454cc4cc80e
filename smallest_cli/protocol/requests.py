"""Messages of the client: requests, buffered text, keep-alives (waves/api.md, 2a, 4b and 4c)."""

from __future__ import annotations

import json
from typing import Any

from smallest_cli.models import AudioFormat, Buffering, SpeechRequest
from smallest_cli.protocol.endpoints import DEFAULT_SAMPLE_RATE, KEEP_ALIVE_TYPES, Fields


def encode_request(request: SpeechRequest, buffering: Buffering | None = None) -> bytes:
    """Encode a request; fields equal to the service's default are omitted, except the sample rate."""
    fields: dict[str, Any] = {"text": request.text, "voice_id": request.voice}
    if request.model is not None:
        fields["model"] = request.model
    fields["sample_rate"] = request.format.sample_rate
    if request.speed != 1.0:
        fields["speed"] = request.speed
    if request.language is not None:
        fields["language"] = request.language
    if request.number_language is not None:
        fields["number_pronunciation_language"] = request.number_language
    if request.math_notation:
        fields["math_notation"] = True
    if request.encoding != "pcm":
        fields["output_format"] = request.encoding
    if request.dictionaries:
        fields["pronunciation_dicts"] = list(request.dictionaries)
    if request.word_timings:
        fields["word_timestamps"] = True
    if request.completion_wait_ms is not None:
        fields["complete_backoff_ms"] = request.completion_wait_ms
    for name in ("consistency", "similarity", "enhancement", "session_id", "request_id"):
        if (value := getattr(request, name)) is not None:
            fields[name] = value
    if buffering is not None and (buffering.close or buffering.cancel):
        fields = _encode_buffering(buffering)  # closing and cancelling messages have no other fields
    elif buffering is not None:
        fields |= _encode_buffering(buffering)
    return json.dumps(fields, separators=(",", ":")).encode()


def _encode_buffering(buffering: Buffering) -> dict[str, Any]:
    if buffering.context is None:
        fields: dict[str, Any] = {"continue": buffering.more, "flush": buffering.flush}
        if buffering.max_flush_ms is not None:
            fields["max_buffer_flush_ms"] = buffering.max_flush_ms
        return fields
    if buffering.close:
        return {"context_id": buffering.context, "context_close": True}
    if buffering.cancel:
        return {"context_id": buffering.context, "cancel_request": True}
    fields = {"context_id": buffering.context, "continue": buffering.more}
    if buffering.max_delay_ms is not None:
        fields["max_buffer_delay_ms"] = buffering.max_delay_ms
    return fields


KEEP_ALIVE = b'{"type":"ping"}'
"""The message that resets the idle timeout of a socket (waves/api.md, 4b)."""


def is_keep_alive(fields: Fields) -> bool:
    """Whether a message is a keep-alive, which is answered with a pong (waves/api.md, 4b)."""
    return fields.get("type") in KEEP_ALIVE_TYPES


def decode_request(fields: Fields) -> SpeechRequest:
    """Decode the fields of a valid request; unknown ones are ignored."""
    return SpeechRequest(
        text=fields.get("text") or "",
        voice=fields.get("voice_id") or "",
        model=fields.get("model"),
        language=fields.get("language"),
        speed=float(fields.get("speed", 1.0)),
        format=AudioFormat(fields.get("sample_rate", DEFAULT_SAMPLE_RATE)),
        encoding=fields.get("output_format", "pcm"),
        number_language=fields.get("number_pronunciation_language"),
        math_notation=bool(fields.get("math_notation", False)),
        dictionaries=_strings(fields.get("pronunciation_dicts")),
        word_timings=bool(fields.get("word_timestamps", False)),
        completion_wait_ms=fields.get("complete_backoff_ms"),
        consistency=fields.get("consistency"),
        similarity=fields.get("similarity"),
        enhancement=fields.get("enhancement"),
        session_id=fields.get("session_id"),
        request_id=fields.get("request_id"),
    )


def _strings(value: object) -> tuple[str, ...]:
    """The strings of an array. Not validated on the WebSocket, where the field is undocumented (2a)."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def decode_buffering(fields: Fields) -> Buffering | None:
    """The buffering fields of a message; None for a plain request (waves/api.md, 4c)."""
    context = fields.get("context_id")
    if context is None and not (fields.get("continue") or fields.get("flush")):
        return None
    return Buffering(
        more=bool(fields.get("continue", False)),
        flush=bool(fields.get("flush", False)),
        max_flush_ms=fields.get("max_buffer_flush_ms"),
        context=context,
        max_delay_ms=fields.get("max_buffer_delay_ms"),
        close=bool(fields.get("context_close", False)),
        cancel=bool(fields.get("cancel_request", False)),
    )
