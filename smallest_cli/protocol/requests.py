"""Messages of the client: requests, buffered text, keep-alives (waves/api.md, 2a, 4b and 4c)."""

from __future__ import annotations

import json
from typing import Any

from smallest_cli.models import AudioFormat, Buffering, SpeechRequest
from smallest_cli.protocol.endpoints import DEFAULT_SAMPLE_RATE, KEEP_ALIVE_TYPES, Fields

_FIELDS = {
    "text": "text",
    "voice": "voice_id",
    "model": "model",
    "speed": "speed",
    "language": "language",
    "number_language": "number_pronunciation_language",
    "math_notation": "math_notation",
    "encoding": "output_format",
    "dictionaries": "pronunciation_dicts",
    "word_timings": "word_timestamps",
    "completion_wait_ms": "complete_backoff_ms",
    "consistency": "consistency",
    "similarity": "similarity",
    "enhancement": "enhancement",
    "session_id": "session_id",
    "request_id": "request_id",
}
"""Attribute of a SpeechRequest -> field of a message (waves/api.md, 2a), except `sample_rate`."""
_BUFFERING_FIELDS = {
    "context": "context_id",
    "more": "continue",
    "flush": "flush",
    "max_flush_ms": "max_buffer_flush_ms",
    "max_delay_ms": "max_buffer_delay_ms",
    "close": "context_close",
    "cancel": "cancel_request",
}
"""Attribute of a Buffering -> field of a message (waves/api.md, 4c)."""
_DEFAULTS = SpeechRequest._field_defaults | {"text": None, "voice": None}  # these two are always sent


def encode_request(request: SpeechRequest, buffering: Buffering | None = None) -> bytes:
    """Encode a request; fields equal to the service's default are omitted, except the sample rate."""
    fields: dict[str, Any] = {"sample_rate": request.format.sample_rate}
    for attribute, name in _FIELDS.items():
        value = getattr(request, attribute)
        if value != _DEFAULTS[attribute]:
            fields[name] = list(value) if isinstance(value, tuple) else value
    if buffering is not None:
        if buffering.close or buffering.cancel:
            fields = {}  # closing and cancelling messages have no fields of a request
            sent = {"context", "close" if buffering.close else "cancel"}
        elif buffering.context is not None:
            sent = {"context", "more", "max_delay_ms"}
        else:
            sent = {"more", "flush", "max_flush_ms"}
        for attribute, name in _BUFFERING_FIELDS.items():
            value = getattr(buffering, attribute)
            if attribute in sent and value is not None:
                fields[name] = value
    return json.dumps(fields, separators=(",", ":")).encode()


KEEP_ALIVE = b'{"type":"ping"}'  # resets the idle timeout of a socket (waves/api.md, 4b)


def is_keep_alive(fields: Fields) -> bool:
    """Whether a message is a keep-alive, which is answered with a pong (waves/api.md, 4b)."""
    return fields.get("type") in KEEP_ALIVE_TYPES


def decode_request(fields: Fields) -> SpeechRequest:
    """Decode the fields of a valid request; unknown ones are ignored."""
    values: dict[str, Any] = {
        attribute: fields[name] for attribute, name in _FIELDS.items() if fields.get(name) is not None
    }
    # Closing and cancelling messages may have neither (4c).
    values = {"text": "", "voice": ""} | values
    # Not validated on the WebSocket, where the field is undocumented (2a).
    ids = values.get("dictionaries")
    values["dictionaries"] = tuple(id for id in ids if isinstance(id, str)) if isinstance(ids, list) else ()
    return SpeechRequest(**values, format=AudioFormat(fields.get("sample_rate", DEFAULT_SAMPLE_RATE)))


def decode_buffering(fields: Fields) -> Buffering | None:
    """The buffering fields of a message; None for a plain request (waves/api.md, 4c)."""
    context = fields.get("context_id")
    if context is None and not (fields.get("continue") or fields.get("flush")):
        return None
    values = {name: fields[field] for name, field in _BUFFERING_FIELDS.items() if field in fields}
    return Buffering(**values)
