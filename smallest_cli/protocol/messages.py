"""Messages of the service, over WebSocket and as the data of server-sent events (waves/api.md, 3b and 3c)."""

from __future__ import annotations

import json
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Iterable
from typing import Any, NamedTuple

from smallest_cli.errors import ProtocolError, RemoteError
from smallest_cli.models import AudioChunk, Completed, Event, SpeechRequest, WordTiming
from smallest_cli.protocol.endpoints import ErrorForm, Fields
from smallest_cli.protocol.errors import decode_error
from smallest_cli.protocol.json import decode_object, finite_or_none, payload, text_or_none

AudioEvent = AudioChunk | WordTiming | Completed
OLD_END: dict[str, Any] = {"status": "complete", "message": "All chunks sent", "done": True}
PONG = json.dumps({"type": "pong"})


def encode_message(
    event: AudioEvent, session_id: str | None, request: SpeechRequest, *, older: bool = False
) -> str:
    """Encode an event as a WebSocket message, with the client's own ids if it sent any.

    `older` selects the form of `complete` before August 2026 (waves/api.md, 3c). `session_id` is None
    for v2, whose messages have none (2b).
    """
    fields: dict[str, Any] = {} if session_id is None else {"session_id": session_id}
    fields["request_id"] = event.request_id
    if request.session_id is not None:
        fields["external_session_id"] = request.session_id
    if request.request_id is not None:
        fields["external_request_id"] = request.request_id
    match event:
        case AudioChunk(pcm=pcm):
            fields |= {"status": "chunk", "data": {"audio": b64encode(pcm).decode("ascii")}}
        case WordTiming(word=word, start=start, end=end, number=number):
            data = {"id": number, "word": word, "start": start, "end": end}
            fields |= {"status": "word_timestamp", "data": data}
        case Completed() if older:
            fields = {"request_id": event.request_id, **OLD_END}
        case Completed():
            fields["status"] = "complete"
    return json.dumps(fields)


def encode_error_message(
    text: str, *, session_id: str | None = None, issues: Iterable[Fields] = (), form: ErrorForm = "message"
) -> str:
    """Encode an error as a WebSocket message, in one of the forms of waves/api.md, 5b."""
    fields: dict[str, Any] = {} if session_id is None else {"session_id": session_id}
    fields["status"] = "error"
    if form == "nested":
        fields["error"] = {"message": text, "code": "native"}
    else:
        fields["message"] = text
        listed = list(issues)
        if listed or form == "list":
            fields["errors"] = listed
    return json.dumps(fields)


class Message(NamedTuple):
    """A decoded WebSocket message. `own_id` is the id that the client sent, where the service echoes it."""

    events: tuple[Event, ...] = ()
    error: RemoteError | None = None
    own_id: str | None = None
    request_id: str | None = None


def decode_message(data: bytes | str, at_ns: int = 0) -> Message:
    """Decode a WebSocket message, or the data of one server-sent event, into events stamped `at_ns`.

    An end marker may carry the last audio, hence several events. There are none for a pong and an unknown
    status (waves/api.md, 3c). `error` is what the message reports. Raises ProtocolError when it is malformed.
    """
    fields = decode_object(data)
    own_id = text_or_none(fields.get("external_request_id"))
    request_id = text_or_none(fields.get("request_id"))
    if error := decode_error(fields):
        return Message((), error, own_id, request_id)
    inner = fields.get("data")
    inner = inner if isinstance(inner, dict) else {}
    status = fields.get("status", payload(fields).get("status"))
    if status == "word_timestamp":
        return Message((_decode_word(inner, request_id, at_ns),), None, own_id, request_id)
    events: list[Event] = []
    audio = inner.get("audio", fields.get("audio"))
    if audio is not None:
        events.append(AudioChunk(_decode_audio(audio), request_id, at_ns=at_ns))
    elif status in ("chunk", "206"):
        raise ProtocolError("an audio message without audio")
    if status == "complete" or fields.get("done") is True:
        events.append(Completed(request_id, at_ns=at_ns))
    return Message(tuple(events), None, own_id, request_id)


def decode_events(data: bytes | str, at_ns: int = 0) -> list[Event]:
    """Return the events of a message, for one request at a time. Raises the error that it reports."""
    message = decode_message(data, at_ns)
    if message.error:
        raise message.error
    return list(message.events)


def _decode_audio(audio: object) -> bytes:
    if not isinstance(audio, str):
        raise ProtocolError("an audio message whose audio is not a string")
    try:
        try:
            return a2b_base64(audio, strict_mode=True)
        except ValueError:  # with line ends, in the alphabet for URLs, or without padding (RFC 4648)
            text = "".join(audio.split()).replace("-", "+").replace("_", "/")
            return a2b_base64(text if "=" in text else text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise ProtocolError("an audio message with invalid base64") from None


def _decode_word(fields: Fields, request_id: str | None, at_ns: int) -> WordTiming:
    word, number = fields.get("word"), fields.get("id", 0)
    start = finite_or_none(0.0 if (start := fields.get("start")) is None else start)
    end = finite_or_none(start if (end := fields.get("end")) is None else end)
    if not (isinstance(word, str) and isinstance(number, int)) or start is None or end is None:
        raise ProtocolError("a malformed word timing")
    return WordTiming(word, start, end, number, request_id, at_ns=at_ns)
