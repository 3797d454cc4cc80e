"""Messages of the service: WebSocket messages and server-sent events (waves/api.md, 3b and 3c)."""

from __future__ import annotations

import binascii
import json
import math
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from smallest_cli.errors import ProtocolError, RemoteError
from smallest_cli.models import AudioChunk, Completed, Event, SpeechRequest, WordTiming
from smallest_cli.protocol.endpoints import MESSAGE_LIMIT, ErrorForm, Fields, SSEShape
from smallest_cli.protocol.errors import decode_error
from smallest_cli.protocol.json import decode_object, payload
from smallest_cli.security import redact

AudioEvent = AudioChunk | WordTiming | Completed
_OLD_END: dict[str, Any] = {"status": "complete", "message": "All chunks sent", "done": True}
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
            fields = {"request_id": event.request_id, **_OLD_END}
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


def encode_sse(event: AudioChunk | Completed, shape: SSEShape = "live") -> bytes:
    """Encode a server-sent event (waves/api.md, 3b).

    `live` is today's envelope, `older` that before August 2026, `seed` that of the v3.1 page (2c).
    """
    if isinstance(event, Completed):
        ends = {"live": {"status": "200", "done": True}, "older": {"done": True}, "seed": _OLD_END}
        return b"data: " + json.dumps(ends[shape]).encode() + b"\n\n"
    audio = b64encode(event.pcm).decode("ascii")
    shapes: dict[SSEShape, dict[str, Any]] = {
        "live": {"audio": audio, "done": False, "status": "206"},
        "older": {"audio": audio},
        "seed": {"status": "chunk", "data": {"audio": audio}},
    }
    name = b"" if shape == "seed" else b"event: audio\n"
    return name + b"data: " + json.dumps(shapes[shape]).encode() + b"\n\n"


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
    own_id = _id(fields.get("external_request_id"))
    request_id = _id(fields.get("request_id"))
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
    """The events of a message where there is one request at a time. Raises the error that it reports."""
    message = decode_message(data, at_ns)
    if message.error:
        raise message.error
    return list(message.events)


def _id(value: object) -> str | None:
    return redact(value) if isinstance(value, str) and value else None


def _decode_audio(audio: object) -> bytes:
    if not isinstance(audio, str):
        raise ProtocolError("an audio message whose audio is not a string")
    try:
        if len(audio) % 4:
            raise ValueError
        return b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("an audio message with invalid base64") from None


def _decode_word(fields: Fields, request_id: str | None, at_ns: int) -> WordTiming:
    word, number = fields.get("word"), fields.get("id", 0)
    start = 0.0 if (start := fields.get("start")) is None else start
    end = start if (end := fields.get("end")) is None else end
    try:
        timed = all(isinstance(time, int | float) and math.isfinite(time) for time in (start, end))
    except OverflowError:
        timed = False
    if not (isinstance(word, str) and isinstance(number, int) and timed):
        raise ProtocolError("a malformed word timing")
    return WordTiming(redact(word), float(start), float(end), number, request_id, at_ns=at_ns)


class EventStream:
    """Incremental parser of a server-sent event body (WHATWG HTML, 9.2; waves/api.md, 3b).

    An event without its final blank line is not dispatched, so a stream cut inside its end marker
    is never taken as complete.
    """

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._data: list[bytes] = []
        self._buffered = 0
        self._after_cr = False
        self._first_line = True

    def feed(self, data: bytes, at_ns: int = 0) -> Iterator[Event]:
        """Yield the events that `data` completes, stamped `at_ns`. The iterator must be exhausted."""
        for line in self._lines(data):
            if not line:
                if self._data:
                    message, self._data = b"\n".join(self._data), []
                    self._buffered = 0
                    yield from decode_events(message, at_ns)
                continue
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
                self._count(len(line))

    def _count(self, byte_count: int) -> None:
        self._buffered += byte_count
        if self._buffered > MESSAGE_LIMIT:
            raise ProtocolError(f"a server-sent event longer than {MESSAGE_LIMIT >> 20} MiB")

    def _lines(self, data: bytes) -> list[bytes]:
        if not data:
            return []
        # A CRLF may be cut between two reads: its LF is not another line end.
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
            if not data:
                return []
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines()  # bytes are split at CR, LF and CRLF only
        partial = b"" if data.endswith((b"\n", b"\r")) else lines.pop()
        if lines:
            lines[0] = b"".join(self._partial) + lines[0]
            self._partial = []
            if self._first_line:
                lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
                self._first_line = False
        if partial:
            self._partial.append(partial)
            self._count(len(partial))
        return lines
