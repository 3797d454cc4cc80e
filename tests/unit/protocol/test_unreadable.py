"""Malformed input, and text that must not reach a terminal unescaped."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallest_cli.errors import (
    ProtocolError,
    RemoteError,
    RequestError,
    SmallestError,
)
from smallest_cli.models import AudioChunk, Completed, WordTiming
from smallest_cli.protocol.errors import decode_close, decode_http_error
from smallest_cli.protocol.messages import decode_events
from tests.support.published import HOSTILE, PCM, SSE_RAW, TASK, WS, decode, fuzz, outcome, shown, stream


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b" ",
        b"[]",
        b"null",
        b'"chunk"',
        b"12",
        b"NaN",
        b"{",
        b"{}x",
        b"<html></html>",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 100_000,
    ],
)
def test_message_that_is_not_a_json_object_is_a_protocol_error(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_events(message)
    with pytest.raises(ProtocolError):
        decode_events(message.decode("latin-1"))


def test_invalid_utf8_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        decode_events(b'{"status": "\xff"}')


@pytest.mark.parametrize("depth", [100, 400, 600, 900, 100_000])
@pytest.mark.parametrize("name", ["error", "errors", "message", "data", "details"])
def test_deep_nesting_is_handled(name: str, depth: int) -> None:
    body = f'{{"status":"error","{name}":{"[" * depth}{"]" * depth}}}'
    with pytest.raises(RemoteError):
        decode_events(body)
    assert isinstance(decode_http_error(400, {}, body.encode()), RequestError)


@pytest.mark.parametrize(
    "audio",
    [
        "AAA=AAA=",
        "A",
        "AAAAA",
        "AA=",
        "A===",
        "=",
        "AA==AAAA",
        "AA==\nAA==",
        "AA*A",
        "AAA\0",
        "AAA\u00e9",
        "\ud800",
        7,
        True,
        [],
        {},
        ["AAAA"],
    ],
)
def test_invalid_base64_is_a_protocol_error(audio: object) -> None:
    for message in ({"status": "chunk", "data": {"audio": audio}}, {"audio": audio, "done": False}):
        with pytest.raises(ProtocolError):
            decode(message)


@pytest.mark.parametrize(
    "message",
    [
        {"status": "chunk"},
        {"status": "chunk", "data": {}},
        {"status": "chunk", "data": None},
        {"status": "chunk", "data": {"audio": None}},
        {"status": "chunk", "data": "AAAA"},
        {"status": "206", "done": False},  # the SSE form of it (3b)
    ],
)
def test_chunk_without_audio_is_a_protocol_error(message: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        decode(message)


@pytest.mark.parametrize(
    "data",
    [
        "null",
        "{}",
        '{"word": 5, "start": 0, "end": 1}',
        '{"word": "a", "start": NaN, "end": 1}',
        '{"word": "a", "start": 0, "end": Infinity}',
        '{"word": "a", "start": 0, "end": 1e999}',
        '{"word": "a", "start": "0", "end": 1}',
        '{"word": "a", "start": 0, "end": 1, "id": "x"}',
        '{"word": "a", "start": 0, "end": 1' + "0" * 400 + "}",
    ],
)
def test_malformed_word_timing_is_a_protocol_error(data: str) -> None:
    with pytest.raises(ProtocolError):
        decode_events(f'{{"status": "word_timestamp", "data": {data}}}')


def test_word_timing_without_times_is_accepted() -> None:
    """Times are treated as optional by some clients (3c)."""
    (event,) = decode({"status": "word_timestamp", "data": {"word": "Hello"}})
    assert isinstance(event, WordTiming)
    assert event.word == "Hello"


@pytest.mark.parametrize("status", ["started", "", None, 206, True, [], {}, "Chunk", "COMPLETE"])
def test_unknown_status_is_ignored(status: object) -> None:
    assert decode({"status": status, "data": {"note": 1}}) == []


def test_unknown_fields_are_ignored() -> None:
    assert decode(WS["chunk"]["frame"] | {"billing": {"credits": 3}}) == [AudioChunk(PCM, TASK)]


def test_message_may_end_inside_a_frame() -> None:
    assert decode({"status": "chunk", "data": {"audio": "AAEC"}}) == [AudioChunk(b"\0\1\2")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WIRE_NAMES = (
    "status", "data", "audio", "done", "error", "errors", "message", "payload", "request_id",
    "external_request_id", "code", "statusCode", "details", "type", "word", "start", "end", "id",
)  # fmt: skip
words_of_the_wire = st.sampled_from(["chunk", "complete", "error", "word_timestamp", "206", "200", "AAAA"])
likely_messages = st.dictionaries(
    st.sampled_from(WIRE_NAMES),
    words_of_the_wire | json_values | st.dictionaries(st.sampled_from(WIRE_NAMES), json_values, max_size=4),
    max_size=6,
)


@fuzz
@given(st.binary() | st.text(st.characters()) | likely_messages.map(json.dumps))
def test_arbitrary_message_gives_events_or_smallest_error(message: bytes | str) -> None:
    came = outcome(decode_events, message)
    if isinstance(came, SmallestError):
        assert shown(came).isprintable()
    else:
        assert all(isinstance(event, AudioChunk | WordTiming | Completed) for event in came)


@fuzz
@given(st.lists(st.binary() | st.binary().map(lambda b: b"data: " + b + b"\n\n") | st.just(SSE_RAW)))
def test_arbitrary_sse_bytes_give_events_or_smallest_error(pieces: list[bytes]) -> None:
    came = outcome(stream, *pieces)
    assert isinstance(came, list) or shown(came).isprintable()


@fuzz
@given(
    st.integers(0, 999),
    st.dictionaries(
        st.sampled_from(["x-request-id", "location", "content-type", "retry-after", "date"]),
        st.text(st.characters()) | st.text("0123456789 :+-.,GMTuebDc"),
    ),
    st.binary() | st.text().map(str.encode) | likely_messages.map(lambda m: json.dumps(m).encode()),
)
def test_arbitrary_refusal_is_a_remote_error(status: int, headers: dict[str, str], body: bytes) -> None:
    error = decode_http_error(status, headers, body)
    assert isinstance(error, RemoteError)
    assert shown(error).isprintable()


# Untrusted text is printable


@pytest.mark.parametrize(
    "message",
    [
        {"status": "error", "message": HOSTILE},
        {"status": "error", "error": HOSTILE},
        {"status": "error", "error": {"message": HOSTILE, "code": HOSTILE}},
        {"error": [{"code": HOSTILE, "path": [HOSTILE], "message": HOSTILE}]},
        {"status": "error", "message": HOSTILE, "errors": [HOSTILE], "request_id": HOSTILE},
        {"payload": {"status": "error"}, "message": HOSTILE},
    ],
)
def test_error_message_is_printable(message: dict[str, Any]) -> None:
    with pytest.raises(RemoteError) as caught:
        decode(message)
    assert str(caught.value).isprintable()
    assert "\\x1b[31m" in str(caught.value)
    assert (caught.value.request_id or "").isprintable()
    assert isinstance(error := decode_http_error(400, {}, json.dumps(message).encode()), RequestError)
    assert str(error).isprintable()


@pytest.mark.parametrize("message", [HOSTILE, HOSTILE.encode("utf-8", "surrogatepass"), f'["{HOSTILE}"]'])
def test_malformed_message_is_quoted_printable(message: bytes | str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_events(message)
    assert str(caught.value).isprintable()


def test_headers_and_close_reasons_are_printable() -> None:
    headers = dict.fromkeys(("location", "content-type", "x-request-id", "retry-after", "date"), HOSTILE)
    for status in (200, 302, 400, 503):
        error = decode_http_error(status, headers, HOSTILE.encode("utf-8", "surrogatepass"))
        assert str(error).isprintable()
        assert (error.request_id or "").isprintable()
    assert str(decode_close(1008, HOSTILE)).isprintable()
