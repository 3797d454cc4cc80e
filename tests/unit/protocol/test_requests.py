"""Client messages against published ones, and the defaults of absent fields."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smallest_cli.models import SAMPLE_RATES, AudioFormat, Buffering, SpeechRequest
from smallest_cli.protocol.endpoints import (
    DEFAULT_COMPLETION_WAIT_MS,
    DEFAULT_MODEL,
    DEFAULT_SAMPLE_RATE,
    ENCODINGS,
    PATHS,
    voices_path,
)
from smallest_cli.protocol.messages import PONG
from smallest_cli.protocol.requests import decode_buffering, decode_request, encode_request, is_keep_alive
from tests.support.published import OLDER, REFUSALS, SSE, SYNC, WS

# Defaults of absent fields (2a).
DEFAULTS = {
    "model": "lightning_v3.1",
    "sample_rate": 44100,
    "speed": 1.0,
    "math_notation": False,
    "output_format": "pcm",
    "word_timestamps": False,
    "continue": False,
    "flush": False,
}
RATE_24K, RATE_44K = AudioFormat(24_000), AudioFormat(44_100)
MEHER = SpeechRequest("", "meher", "lightning_v3.1_pro", format=RATE_44K)
MAGNUS = SpeechRequest("", "magnus", "lightning_v3.1", format=RATE_24K)


def words(request: SpeechRequest, text: str) -> SpeechRequest:
    return request._replace(text=text)


FULL = SpeechRequest(
    text="Invoice 6 x 7 is due.",
    voice="meher",
    model="lightning_v3.1_pro",
    language="en",
    speed=1.0,
    format=RATE_24K,
    encoding="wav",
    number_language="hi",
    math_notation=True,
    dictionaries=("64f1234567890abcdef12345",),
    session_id="my-session-123",
    request_id="my-request-456",
)
V2 = SpeechRequest(
    "Hello", "ryan", language="en", format=RATE_24K, consistency=0.5, similarity=0, enhancement=1
)
MODERN = SpeechRequest("Modern problems require modern solutions.", "magnus", format=RATE_24K)

PLAIN: list[tuple[dict[str, Any], SpeechRequest]] = [
    (SYNC["request_min"]["body"], SpeechRequest("Hello from Waves TTS.", "magnus", format=RATE_44K)),
    (SYNC["request_full"]["body"], FULL),
    (SYNC["live_samples"][0]["body"], MODERN),
    (
        SYNC["live_samples"][4]["body"],
        SpeechRequest(MODERN.text, "magnus", format=RATE_24K, speed=1.5),
    ),
    (
        SYNC["live_samples"][3]["body"],
        SpeechRequest(MODERN.text, "magnus", format=RATE_44K, encoding="wav"),
    ),
    (
        SSE["request"]["body"],
        SpeechRequest("SSE streaming is simpler to set up than WebSocket.", "magnus", format=RATE_24K),
    ),
    (
        WS["request_one_shot"]["frame"],
        SpeechRequest(
            "Hello, this is a sample text to convert to speech.",
            "magnus",
            "lightning_v3.1",
            "en",
            format=RATE_24K,
        ),
    ),
    (
        WS["request_with_ids"]["frame"],
        SpeechRequest(
            "Hello.",
            "meher",
            "lightning_v3.1_pro",
            format=RATE_24K,
            session_id="my-session-123",
            request_id="my-request-456",
        ),
    ),
    (
        WS["request_word_timestamps"]["frame"],
        SpeechRequest(
            "I bought 3 cats for $100 on Dec 25th",
            "meher",
            "lightning_v3.1_pro",
            format=RATE_44K,
            word_timings=True,
        ),
    ),
    (
        OLDER["lightning_v31_legacy"]["sync"]["body"],
        SpeechRequest("Hello from Lightning v3.1.", "magnus", format=RATE_24K, encoding="wav"),
    ),
    (
        OLDER["lightning_v2_ws"]["request"],
        words(V2, "Hello, this is a sample text to convert to speech."),
    ),
    (OLDER["lightning_v2_http"]["sync"]["body"], V2),
    (OLDER["lightning_v2_http"]["sse"]["body"], V2),
]
CALL: dict[str, Any] = {"context": "call-1", "max_delay_ms": 1500}
BUFFERED: list[tuple[dict[str, Any], SpeechRequest, Buffering]] = [
    *zip(
        WS["legacy_buffer_sequence"]["send"],
        [words(MAGNUS, text) for text in ("Hello, ", "I am streaming.", "")],
        [
            Buffering(more=True, max_flush_ms=0),
            Buffering(more=True, max_flush_ms=0),
            Buffering(flush=True, max_flush_ms=0),
        ],
        strict=True,
    ),
    (
        WS["flush_in_one_frame"]["send"][0],
        words(MAGNUS, "Hello, I am streaming."),
        Buffering(flush=True),
    ),
    *zip(
        WS["continuation_sequence"]["send"],
        [
            words(MEHER, text)
            for text in (
                "Let me check that for you.",
                " Your order ships tomorrow",
                " and arrives by Friday.",
            )
        ],
        [Buffering(more=True, **CALL), Buffering(more=True, **CALL), Buffering(**CALL)],
        strict=True,
    ),
    *zip(
        OLDER["lightning_v31_legacy"]["ws"]["send"],
        [SpeechRequest("Hello,", "magnus", format=RATE_24K), SpeechRequest("", "magnus", format=RATE_44K)],
        [Buffering(more=True), Buffering(flush=True)],
        strict=True,
    ),
]


def encoded(request: SpeechRequest, buffering: Buffering | None = None) -> dict[str, Any]:
    message = encode_request(request, buffering)
    assert isinstance(message, bytes)
    fields: dict[str, Any] = json.loads(message.decode("utf-8"))
    return fields


@pytest.mark.parametrize(("published", "request_"), PLAIN)
def test_plain_request_encodes_as_published(published: dict[str, Any], request_: SpeechRequest) -> None:
    sent = encoded(request_)
    assert DEFAULTS | sent == DEFAULTS | published
    assert set(sent) - set(published) <= {"sample_rate"}


def test_field_names_of_a_request() -> None:
    """All names of section 2a, including those in no published message."""
    request = FULL._replace(text="Hi.", speed=1.25, word_timings=True, completion_wait_ms=250)
    request = request._replace(consistency=0.25, similarity=0.75, enhancement=2)
    fields = {
        "text": "Hi.",
        "voice_id": "meher",
        "model": "lightning_v3.1_pro",
        "sample_rate": 24000,
        "speed": 1.25,
        "language": "en",
        "number_pronunciation_language": "hi",
        "math_notation": True,
        "output_format": "wav",
        "pronunciation_dicts": ["64f1234567890abcdef12345"],
        "word_timestamps": True,
        "complete_backoff_ms": 250,
        "consistency": 0.25,
        "similarity": 0.75,
        "enhancement": 2,
        "session_id": "my-session-123",
        "request_id": "my-request-456",
    }
    assert encoded(request) == fields
    assert decode_request(fields) == request
    buffered = {"continue": True, "flush": True, "max_buffer_flush_ms": 1000}
    assert decode_buffering(fields | buffered) == Buffering(more=True, flush=True, max_flush_ms=1000)
    assert encoded(request, Buffering(more=True, flush=True, max_flush_ms=1000)) == fields | buffered
    context = {"context_id": "c", "continue": True, "max_buffer_delay_ms": 5000}
    assert decode_buffering(fields | context) == Buffering(more=True, context="c", max_delay_ms=5000)
    assert encoded(request, Buffering(more=True, context="c", max_delay_ms=5000)) == fields | context


@pytest.mark.parametrize(("published", "request_"), PLAIN)
def test_published_plain_request_is_decoded(published: dict[str, Any], request_: SpeechRequest) -> None:
    assert decode_request(published) == request_
    assert decode_buffering(published) is None


@pytest.mark.parametrize("name", ["request_with_ids", "request_word_timestamps"])
def test_request_with_all_fields_encodes_as_published(name: str) -> None:
    published = WS[name]["frame"]
    assert encoded(decode_request(published)) == published


@pytest.mark.parametrize(("published", "request_", "buffering"), BUFFERED)
def test_buffered_request_encodes_as_published(
    published: dict[str, Any], request_: SpeechRequest, buffering: Buffering
) -> None:
    sent = encoded(request_, buffering)
    assert DEFAULTS | sent == DEFAULTS | published
    assert set(sent) - set(published) <= {"sample_rate", "continue"}
    assert sent["continue"] is published.get("continue", False)


@pytest.mark.parametrize(("published", "request_", "buffering"), BUFFERED)
def test_published_buffered_request_is_decoded(
    published: dict[str, Any], request_: SpeechRequest, buffering: Buffering
) -> None:
    assert decode_request(published) == request_
    assert decode_buffering(published) == buffering


def test_continuation_never_sends_legacy_buffer_fields() -> None:
    """The service refuses `flush` and `max_buffer_flush_ms` beside a context (4c.3)."""
    sent = encoded(words(MEHER, "Hello."), Buffering(more=True, context="c", max_flush_ms=100))
    assert not {"flush", "max_buffer_flush_ms"} & set(sent)


def test_fragments_keep_their_spaces() -> None:
    assert encoded(words(MEHER, " and\tthen "), Buffering(more=True, context="c"))["text"] == " and\tthen "


def test_context_close_encodes_as_published() -> None:
    sent = encoded(words(MEHER, ""), Buffering(context="call-1", close=True))
    published = WS["continuation_teardown"]["frame"]
    assert sent | published == sent
    assert set(sent) - set(published) <= {"voice_id", "model", "sample_rate", "text"}
    assert sent.get("text", "") == ""


def test_context_cancel_encodes_as_published() -> None:
    """Without text, and with or without the base fields (2a, 12)."""
    sent = encoded(words(MEHER, ""), Buffering(context="call-1", cancel=True))
    published = WS["continuation_cancel"]["frame"]
    assert sent | published == sent
    assert set(sent) - set(published) <= {"voice_id", "model", "sample_rate"}


@pytest.mark.parametrize(
    ("published", "buffering"),
    [
        (WS["continuation_close_empty"]["frame"], Buffering(context="call-1")),
        (WS["continuation_teardown"]["frame"], Buffering(context="call-1", close=True)),
        (WS["continuation_cancel"]["frame"], Buffering(context="call-1", cancel=True)),
    ],
)
def test_messages_without_text_are_decoded(published: dict[str, Any], buffering: Buffering) -> None:
    assert decode_buffering(published) == buffering
    request = decode_request(published)
    assert (request.text, request.voice) == ("", published.get("voice_id", ""))


def test_context_with_flush_is_decoded() -> None:
    buffering = decode_buffering(WS["continuation_mixed_error"]["send"])
    assert buffering == Buffering(context="call-1", flush=True)


def test_keep_alive_messages() -> None:
    aliases = WS["keepalive_ping"]["aliases"]
    assert all(is_keep_alive({"type": name}) for name in ["ping", *aliases])
    assert is_keep_alive(WS["keepalive_ping"]["send"])
    assert json.loads(PONG) == WS["keepalive_ping"]["receive"]
    assert not is_keep_alive(WS["keepalive_old"]["send"])
    assert not is_keep_alive({"type": ["ping"]})
    assert decode_request(WS["keepalive_old"]["send"]).text == " "


def test_paths_of_each_api_and_transport() -> None:
    published = {
        "unified": {"http": "/waves/v1/tts", "sse": "/waves/v1/tts/live", "ws": "/waves/v1/tts/live"},
        "v3.1": {
            "http": OLDER["lightning_v31_legacy"]["sync"]["path"],
            "sse": OLDER["lightning_v31_legacy"]["sse"]["path"],
            "ws": "/waves/v1/lightning-v3.1/get_speech/stream",
        },
        "v2": {
            "http": OLDER["lightning_v2_http"]["sync"]["path"],
            "sse": OLDER["lightning_v2_http"]["sse"]["path"],
            "ws": "/waves/v1/lightning-v2/get_speech/stream",
        },
    }
    assert published == PATHS
    assert OLDER["lightning_v31_legacy"]["ws"]["url"].endswith(PATHS["v3.1"]["ws"])
    assert OLDER["lightning_v2_ws"]["url"].endswith(PATHS["v2"]["ws"])


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("lightning_v3.1", "/waves/v1/lightning-v3.1/get_voices"),
        ("lightning_v3.1_pro", "/waves/v1/lightning-v3.1-pro/get_voices"),
        ("lightning-v3.1-pro", "/waves/v1/lightning-v3.1-pro/get_voices"),
    ],
)
def test_voices_path_has_hyphens(model: str, path: str) -> None:
    assert voices_path(model) == path


def test_constants_of_the_service() -> None:
    assert SAMPLE_RATES == (8000, 16000, 24000, 44100)
    assert DEFAULT_SAMPLE_RATE == 44100
    assert DEFAULT_MODEL == "lightning_v3.1"
    assert DEFAULT_COMPLETION_WAIT_MS == 4000
    refused = REFUSALS["invalid_output_format"]["body"]["error"][0]
    assert list(ENCODINGS) == refused["options"]


def test_text_is_sent_verbatim() -> None:
    for text in ('"\\/\b\f\n\r\t', "नमस्ते दुनिया", "\u2028\u2029\u0000\u202e", "\U0001f600", "e\u0301"):
        assert encoded(SpeechRequest(text, "meher"))["text"] == text
