"""The wire format, both directions. No I/O, no clock.

Every fact is from waves/api.md; the section stands at the function. The client encodes requests and
decodes messages, the offline server does the reverse; they meet nowhere else.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from smallest_cli.errors import (
    AccountError,
    Disconnected,
    NetworkError,
    ProtocolError,
    RateLimited,
    RemoteError,
    RequestRejected,
    ServiceFailed,
    UnsafeError,
)
from smallest_cli.safety import safe
from smallest_cli.speech import (
    Api,
    AudioChunk,
    AudioFormat,
    Buffering,
    Completed,
    Event,
    SpeechRequest,
    Via,
    Voice,
    WordTiming,
)

Fields = Mapping[str, Any]

MESSAGE_LIMIT = 16 * 1024 * 1024
REFUSAL_LIMIT = 64 * 1024

SSEShape = Literal["live", "older", "seed"]
ErrorForm = Literal["message", "nested", "list"]

PATHS: dict[Api, dict[Via, str]] = {
    "unified": {
        "ws": "/waves/v1/tts/live",
        "sse": "/waves/v1/tts/live",
        "http": "/waves/v1/tts",
    },
    "v3.1": {
        "ws": "/waves/v1/lightning-v3.1/get_speech/stream",
        "sse": "/waves/v1/lightning-v3.1/stream",
        "http": "/waves/v1/lightning-v3.1/get_speech",
    },
    "v2": {
        "ws": "/waves/v1/lightning-v2/get_speech/stream",
        "sse": "/waves/v1/lightning-v2/stream",
        "http": "/waves/v1/lightning-v2/get_speech",
    },
}
SSE_SHAPES: dict[Api, SSEShape] = {"unified": "live", "v3.1": "seed", "v2": "older"}
HEALTH_PATH = "/waves/v1/health"
DEFAULT_SAMPLE_RATE = 44_100
DEFAULT_MODEL = "lightning_v3.1"
DEFAULT_COMPLETION_WAIT_MS = 4_000
ENCODINGS = ("wav", "ulaw", "alaw", "pcm", "mp3")
KEEP_ALIVE_TYPES = ("ping", "keepalive", "keep_alive", "keep-alive")


def voices_path(model: str) -> str:
    """Where the voices of a model's pool are listed; paths spell models with a hyphen (section 1)."""
    return f"/waves/v1/{model.replace('_', '-')}/get_voices"


# Requests (sections 2a, 4b, 4c)


def encode_request(request: SpeechRequest, buffering: Buffering | None = None) -> bytes:
    """A request as its JSON message; what equals the service's default is left out, but for the rate."""
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
        fields = _encode_buffering(buffering)  # such a message names its context, and says nothing else
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


def decode_object(data: bytes | str) -> dict[str, Any]:
    """A JSON object, or ProtocolError for anything else."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise ProtocolError(f"not a JSON message: {_excerpt(data)}") from None
    if not isinstance(fields, dict):
        raise ProtocolError(f"not a JSON object: {_excerpt(data)}")
    return fields


def _excerpt(data: bytes | str) -> str:
    return safe(data[:80].decode("utf-8", "replace") if isinstance(data, bytes) else data, 80)


KEEP_ALIVE = b'{"type":"ping"}'
"""What keeps an idle socket open (section 4b)."""


def is_keep_alive(fields: Fields) -> bool:
    """Whether a client's message only asks for a pong (section 4b)."""
    return fields.get("type") in KEEP_ALIVE_TYPES


def decode_request(fields: Fields) -> SpeechRequest:
    """The request in a message that has passed the service's own checks; unknown fields are ignored."""
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
        dictionaries=tuple(fields.get("pronunciation_dicts") or ()),
        word_timings=bool(fields.get("word_timestamps", False)),
        completion_wait_ms=fields.get("complete_backoff_ms"),
        consistency=fields.get("consistency"),
        similarity=fields.get("similarity"),
        enhancement=fields.get("enhancement"),
        session_id=fields.get("session_id"),
        request_id=fields.get("request_id"),
    )


def decode_buffering(fields: Fields) -> Buffering | None:
    """How a message's text is to be held back; None for a plain request (section 4c)."""
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


# Messages (sections 3b, 3c)


def encode_message(
    event: AudioChunk | WordTiming | Completed,
    session_id: str | None,
    request: SpeechRequest,
    *,
    older: bool = False,
) -> str:
    """An event as the service's WebSocket message, with the client's own ids where it sent any.

    `older` is the form of `complete` before August 2026 (section 3c); v2 names no session (2b).
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
        case WordTiming(word=word, start=start, end=end, index=index):
            data = {"id": index, "word": word, "start": start, "end": end}
            fields |= {"status": "word_timestamp", "data": data}
        case Completed() if older:
            fields = {"request_id": event.request_id, **_OLD_END}
        case Completed():
            fields["status"] = "complete"
    return json.dumps(fields)


_OLD_END: dict[str, Any] = {"status": "complete", "message": "All chunks sent", "done": True}


def encode_error_message(
    text: str,
    *,
    session_id: str | None = None,
    issues: Iterable[Fields] = (),
    form: ErrorForm = "message",
) -> str:
    """A failure as a WebSocket message, in one of the forms that the sources give (section 5b)."""
    fields: dict[str, Any] = {} if session_id is None else {"session_id": session_id}
    fields["status"] = "error"
    match form:
        case "nested":
            fields["error"] = {"message": text, "code": "native"}
        case "list":
            fields |= {"message": text, "errors": list(issues)}
        case "message":
            fields["message"] = text
            if listed := list(issues):
                fields["errors"] = listed
    return json.dumps(fields)


PONG = json.dumps({"type": "pong"})


def encode_sse(event: AudioChunk | Completed, shape: SSEShape = "live") -> bytes:
    """An event of the SSE stream: as the live service sends it, as it did before August 2026
    (`older`), or as the seed's page has it (section 3b)."""
    name = b""
    if isinstance(event, AudioChunk):
        audio = b64encode(event.pcm).decode("ascii")
        shapes: dict[SSEShape, dict[str, Any]] = {
            "live": {"audio": audio, "done": False, "status": "206"},
            "older": {"audio": audio},
            "seed": {"status": "chunk", "data": {"audio": audio}},
        }
        name = b"" if shape == "seed" else b"event: audio\n"
    else:
        shapes = {
            "live": {"status": "200", "done": True},
            "older": {"done": True},
            "seed": _OLD_END,
        }
    return name + b"data: " + json.dumps(shapes[shape]).encode() + b"\n\n"


def decode_message(data: bytes | str, at_ns: int = 0, *, own_id: str | None = None) -> list[Event]:
    """The events in one message of the WebSocket or the data of one server-sent event.

    A list because an end marker may bring the last audio with it; empty for a pong, for a status
    that nobody knows, and for a message that echoes another request's id than `own_id` (section 3c).
    Raises the error that the message tells of, ProtocolError where it cannot be read.
    """
    fields = decode_object(data)
    if own_id is not None and fields.get("external_request_id", own_id) != own_id:
        return []
    if error := decode_error(fields):
        raise error
    request_id = fields.get("request_id")
    request_id = request_id if isinstance(request_id, str) else None
    inner = fields.get("data")
    inner = inner if isinstance(inner, dict) else {}
    status = fields.get("status", _payload(fields).get("status"))
    if status == "word_timestamp":
        return [_decode_word(inner, request_id, at_ns)]
    events: list[Event] = []
    audio = inner.get("audio", fields.get("audio"))
    if audio is not None:
        events.append(AudioChunk(_decode_audio(audio), request_id, at_ns=at_ns))
    elif status in ("chunk", "206"):
        raise ProtocolError("an audio message without audio")
    if status == "complete" or fields.get("done") is True:
        events.append(Completed(request_id, at_ns=at_ns))
    return events


def _payload(fields: Fields) -> Fields:
    """Where the v2 sample of the vendor also looks for the status (section 5b)."""
    payload = fields.get("payload")
    return payload if isinstance(payload, dict) else {}


def _decode_audio(audio: object) -> bytes:
    if not isinstance(audio, str):
        raise ProtocolError("an audio message whose audio is not text")
    try:
        if len(audio) % 4:
            raise ValueError
        return b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("an audio message whose base64 is broken") from None


def _decode_word(fields: Fields, request_id: str | None, at_ns: int) -> WordTiming:
    word, index = fields.get("word"), fields.get("id", 0)
    start = 0.0 if (start := fields.get("start")) is None else start
    end = start if (end := fields.get("end")) is None else end
    try:
        timed = all(isinstance(time, int | float) and math.isfinite(time) for time in (start, end))
    except OverflowError:
        timed = False
    if not (isinstance(word, str) and isinstance(index, int) and timed):
        raise ProtocolError("a word timing that cannot be read")
    return WordTiming(word, float(start), float(end), index, request_id, at_ns=at_ns)


class EventStream:
    """Events out of the bytes of an SSE body, cut anywhere (WHATWG, and section 3b).

    An event that its blank line does not end is not dispatched, so a stream that is cut inside
    its end marker is never taken for whole.
    """

    _LINE_END = re.compile(rb"\r\n|\n|\r")

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._data: list[bytes] = []
        self._held = 0
        self._after_cr = False
        self._first_line = True

    def feed(self, data: bytes, at_ns: int = 0) -> Iterator[Event]:
        """The events that `data` completes, each stamped `at_ns`; to be iterated to its end."""
        for line in self._lines(data):
            if not line:
                if self._data:
                    message, self._data = b"\n".join(self._data), []
                    self._held = 0
                    yield from decode_message(message, at_ns)
                continue
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
                self._hold(len(line))

    def _hold(self, byte_count: int) -> None:
        self._held += byte_count
        if self._held > MESSAGE_LIMIT:
            raise ProtocolError(f"an event longer than {MESSAGE_LIMIT >> 20} MiB")

    def _lines(self, data: bytes) -> list[bytes]:
        if not data:
            return []
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
            if not data:
                return []
        self._after_cr = data.endswith(b"\r")
        *ended, rest = self._LINE_END.split(data)
        if ended:
            ended[0] = b"".join(self._rest) + ended[0]
            self._rest = []
            if self._first_line:
                ended[0] = ended[0].removeprefix(b"\xef\xbb\xbf")
                self._first_line = False
        if rest:
            self._rest.append(rest)
            self._hold(len(rest))
        return ended


# Failures (section 5)


def decode_error(fields: Fields) -> RemoteError | None:
    """The failure that a message on a stream tells of, in any of the forms of section 5b, else None."""
    failed = "error" in (fields.get("status"), _payload(fields).get("status"))
    if not (failed or fields.get("error") or fields.get("errors")):
        return None
    text = describe_failure(fields)
    code = fields.get("code", fields.get("statusCode"))
    if isinstance(code, int) and 400 <= code < 600:
        error = _class_of_status(code)(text)
    else:
        error = _class_of_text(text, RequestRejected if fields.get("errors") else ServiceFailed)(text)
    request_id = fields.get("request_id")
    error.request_id = safe(request_id) if isinstance(request_id, str) else None
    return error


def describe_failure(fields: Fields) -> str:
    """The words of an error body, whichever of the forms of section 5a or 5b it has, made safe."""
    parts: list[str] = []
    for key in ("message", "error", "errors", "details"):
        parts += _texts(fields.get(key))
    return safe("; ".join(dict.fromkeys(parts))) or "the service named no reason"


def _texts(value: object, depth: int = 4) -> list[str]:
    match value:
        case str() if value.strip():
            return [value.strip().rstrip(".")]
        case list() if depth:
            return [text for item in value[:8] for text in _texts(item, depth - 1)]
        case dict() if depth:
            return _texts(value.get("message"), depth - 1)
    return []


_TEXT_CLASSES: tuple[tuple[re.Pattern[str], type[RemoteError]], ...] = (
    (re.compile(r"concurren|rate limit|too many", re.I), RateLimited),
    (re.compile(r"timed out|inactivity", re.I), NetworkError),
    (re.compile(r"unauthori[sz]ed|api key|bearer|credit|usage limit|higher plan|organi[sz]ation", re.I),
     AccountError),
    (re.compile(r"invalid|not supported|required|unsupported|retired|deprecated", re.I), RequestRejected),
)  # fmt: skip


def _class_of_text(text: str, default: type[RemoteError]) -> type[RemoteError]:
    return next((error for pattern, error in _TEXT_CLASSES if pattern.search(text)), default)


_STATUS_CLASSES: dict[int, type[RemoteError]] = {
    401: AccountError,
    402: AccountError,
    403: AccountError,
    408: NetworkError,
    409: RateLimited,
    429: RateLimited,
}


def _class_of_status(status: int) -> type[RemoteError]:
    """A 4xx that is not listed means what 400 does (RFC 9110, 15)."""
    if 500 <= status < 600:
        return ServiceFailed
    return _STATUS_CLASSES.get(status, RequestRejected if 400 <= status < 500 else ProtocolError)


_HINTS = {
    401: "check the key",
    402: "the account has no credit left",
    403: "the key lacks access, or a limit of the account is reached",
    410: "this part of the service has ended; leave --api away to use the current one",
    413: "send shorter pieces: --split 250",
    429: "the account's limit on requests at a time is reached; try again later",
}


def decode_refusal(status: int, headers: Mapping[str, str], body: bytes) -> RemoteError:
    """The error in an HTTP reply that is not the one asked for: redirect, refusal or breakdown.

    `headers` have lower-case names. `Retry-After` is read as seconds or as a date against the
    reply's own `Date`, so that a wrong clock here does not matter.
    """
    request_id = safe(headers["x-request-id"]) if headers.get("x-request-id") else None
    if 300 <= status < 400:
        target = safe(headers.get("location", "nowhere"), 120)
        return UnsafeError(
            f"refused to follow a redirect ({status}) to {target}",
            hint="nothing was sent there; check the base URL",
            request_id=request_id,
        )
    try:
        text = describe_failure(decode_object(body))
    except ProtocolError:
        text = safe(headers.get("content-type") or "no text", 60)
    error = _class_of_status(status)(
        f"the service answered {status}: {text}", hint=_HINTS.get(status, ""), request_id=request_id
    )
    error.status = status
    if isinstance(error, RateLimited | ServiceFailed):
        error.retry_after = decode_retry_after(headers.get("retry-after"), headers.get("date"))
    return error


def decode_retry_after(value: str | None, date: str | None) -> float | None:
    """Seconds to wait, None where the header is absent or cannot be read."""
    value = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", value):
        return float(value)
    if not value or not date:
        return None
    from email.utils import parsedate_to_datetime

    try:
        wait = (parsedate_to_datetime(value) - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, wait)


_CLOSE_CLASSES: dict[int, type[RemoteError]] = {
    1001: Disconnected, 1006: Disconnected, 1008: AccountError, 1009: RequestRejected,
    1012: Disconnected, 1013: RateLimited,
}  # fmt: skip


def decode_close(code: int, reason: str = "") -> RemoteError:
    """What a WebSocket close before `complete` means; 1000 is no success (section 4e)."""
    words = f": {safe(reason)}" if reason else ""
    if code == 1006:
        return Disconnected("the service dropped the connection")
    return _class_of_text(reason, _CLOSE_CLASSES.get(code, ServiceFailed))(
        f"the service closed the connection ({code}{words}) before the end"
    )


# Voices (section 7)


def encode_voices(voices: Iterable[Voice]) -> bytes:
    """The reply of get_voices; it names no pool."""
    listed = [
        {
            "voiceId": voice.id,
            "displayName": voice.name,
            "tags": {
                "language": list(voice.languages),
                **({"accent": voice.accent} if voice.accent else {}),
                **({"gender": voice.gender} if voice.gender else {}),
                **({"age": voice.age} if voice.age else {}),
                "emotions": [],
                "usecases": list(voice.use_cases),
            },
        }
        for voice in voices
    ]
    return json.dumps({"voices": listed}).encode()
