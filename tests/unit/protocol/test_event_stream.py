"""Server-sent events against published streams, split at any position."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallest_cli.errors import AuthError, ProtocolError, RateLimited, RemoteError, RequestError, ServerError
from smallest_cli.models import AudioChunk, Completed, Event
from smallest_cli.protocol.endpoints import MESSAGE_LIMIT
from smallest_cli.protocol.sse import EventStream
from tests.support.published import OLDER, PCM, SSE, SSE_RAW, decode, fuzz, outcome, stream


def test_published_sse_stream() -> None:
    assert stream(SSE_RAW) == [AudioChunk(PCM), AudioChunk(PCM), Completed()]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (SSE["chunk_data"]["data"], [AudioChunk(PCM)]),
        (SSE["end_data"]["data"], [Completed()]),
        (SSE["older_chunk_data"]["data"], [AudioChunk(PCM)]),
        (SSE["pre_august_end_data"]["data"], [Completed()]),
        (SSE["seed_wrong_chunk"]["data"], [AudioChunk(PCM)]),
        (SSE["seed_wrong_end"]["data"], [Completed()]),
        (OLDER["lightning_v31_legacy"]["sse"]["live_2026_05"]["chunk"]["data"], [AudioChunk(PCM)]),
        (OLDER["lightning_v31_legacy"]["sse"]["live_2026_05"]["end"]["data"], [Completed()]),
        (OLDER["lightning_v31_legacy"]["sse"]["documented_end"], [Completed()]),
        (OLDER["lightning_v2_http"]["sse"]["chunk_data"], [AudioChunk(PCM)]),
    ],
)
def test_published_sse_envelopes(data: dict[str, Any], expected: list[Event]) -> None:
    encoded = json.dumps(data).encode()
    assert stream(b"data: " + encoded + b"\n\n") == expected
    assert stream(b"event: audio\r\ndata:" + encoded + b"\r\n\r\n") == expected


def test_spaces_in_json_do_not_matter() -> None:
    tight = json.dumps(SSE["chunk_data"]["data"], separators=(",", ":")).encode()
    assert stream(b"data: " + tight + b"\n\n") == [AudioChunk(PCM)]


def test_done_false_does_not_end_the_stream() -> None:
    assert Completed() not in decode(SSE["chunk_data"]["data"])
    assert decode({"done": False, "message": "still here"}) == []


def test_end_marker_may_carry_audio() -> None:
    data = SSE["chunk_data"]["data"] | {"done": True}
    assert decode(data) == [AudioChunk(PCM), Completed()]


@pytest.mark.parametrize("cut", range(len(SSE_RAW) + 1))
def test_sse_stream_split_at_every_byte(cut: int) -> None:
    assert stream(SSE_RAW[:cut], SSE_RAW[cut:]) == [AudioChunk(PCM), AudioChunk(PCM), Completed()]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_sse_stream_fed_byte_by_byte(end: bytes, mark: bytes) -> None:
    raw = mark + SSE_RAW.replace(b"\n", end)
    pieces = [raw[at : at + 1] for at in range(len(raw))]
    assert stream(*pieces) == [AudioChunk(PCM), AudioChunk(PCM), Completed()]
    assert stream(*(piece for byte in pieces for piece in (byte, b""))) == stream(raw)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_truncated_sse_stream_never_completes(end: bytes) -> None:
    """Not even with an end marker that lacks its blank line."""
    raw = SSE_RAW.replace(b"\n", end)
    length = len(raw) - (len(end) if end != b"\r\n" else 1)  # the CR of the last CRLF already ends the line
    for cut in range(length):
        assert Completed() not in stream(raw[:cut]), raw[:cut]
    assert stream(raw)[-1] == Completed()


def test_mixed_line_ends() -> None:
    raw = b'data:{"done":\rdata:true}\r\n\n:\r\r\n\ndata: {"done": true}\r\r:\n\r\ndata:{"done":true}\r\n\n'
    assert stream(raw) == [Completed()] * 3
    assert stream(*(raw[at : at + 1] for at in range(len(raw)))) == [Completed()] * 3
    for cut in range(len(raw) + 1):
        assert stream(raw[:cut], raw[cut:]) == [Completed()] * 3, cut


def test_data_lines_are_joined_with_newline() -> None:
    assert stream(b'data: {"done":\ndata: true}\n\n') == [Completed()]
    with pytest.raises(ProtocolError):
        stream(b'data: {"done": tr\ndata: ue}\n\n')


def test_event_ends_at_a_blank_line_only() -> None:
    end = b"data: " + json.dumps(SSE["end_data"]["data"]).encode()
    assert stream(end) == stream(end + b"\n") == stream(end + b"\n:\n") == stream(end + b"\n \n") == []
    assert stream(end + b"\n\n") == [Completed()]


@pytest.mark.parametrize("blank", [b" ", b"  ", b"\t", b""])
def test_one_space_after_the_colon_is_removed(blank: bytes) -> None:
    assert stream(b"data:" + blank + b'{"done":true}\n\n') == [Completed()]
    assert stream(b"data:" + blank + b'{"done":\ndata:true}\n\n') == [Completed()]


@pytest.mark.parametrize("noise", [b": keep-alive", b":", b"id: 7", b"retry: 10", b"event: audio", b"id"])
def test_other_sse_fields_and_comments_are_ignored(noise: bytes) -> None:
    lines = SSE_RAW.split(b"\n")
    raw = b"\n".join(part for line in lines[:-1] for part in (noise, line)) + b"\n"
    assert stream(raw) == stream(SSE_RAW)
    assert stream(noise + b"\n\n" + noise + b"\n\n") == []


@pytest.mark.parametrize("name", [b"dat", b"datax", b"Data", b" data", b"data "])
def test_similar_field_names_are_not_data(name: bytes) -> None:
    assert stream(name + b': {"done": true}\n\n') == []


CHUNK_DATA = b"data: " + json.dumps(SSE["chunk_data"]["data"]).encode()
END_DATA = b"data: " + json.dumps(SSE["end_data"]["data"]).encode()


@pytest.mark.parametrize(
    "heartbeat",
    [
        b"data:",
        b"data",
        b"data: ",
        b"data:\ndata:",
        b"data: ping",
        b"data:keep-alive ",
        b"event: ping",
        b"event: ping\ndata: 2026-11-29 10:00:00",
        b"event: ping\ndata:",
        b"event:heartbeat\ndata: still here",
        b'event: keepalive\ndata: "ping"',
        b"event: audio\ndata:",
        b"data: not JSON\nevent: ping",
        b'event: usage\ndata: {"error": "none", "status": "error"}',
        b'event: progress\ndata: {"done": true}',
        b'event: transcript\ndata: {"audio": "?"}',
        b"event: complete\ndata: [DONE]",
        b'event: done\ndata: {"credits": 3}',
        b'event: end\ndata: {"done": false}',
        b"event: done\ndata:",
        b": event: error",
        b"event: error",
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_heartbeats_and_events_of_other_names_are_ignored(heartbeat: bytes, end: bytes) -> None:
    events = [heartbeat, b"event: audio\n" + CHUNK_DATA, heartbeat, CHUNK_DATA, heartbeat, END_DATA]
    raw = b"".join(event + b"\n\n" for event in events).replace(b"\n", end)
    expected = [AudioChunk(PCM), AudioChunk(PCM), Completed()]
    assert stream(raw) == stream(*(raw[at : at + 1] for at in range(len(raw)))) == expected


@pytest.mark.parametrize("name", [b"", b"message", b"audio", b"complete", b"completed", b"done", b"end"])
@pytest.mark.parametrize(
    "data", [b'{"status":"200","done":true}', b'{"done":true}', b'{"status":"complete"}']
)
def test_end_marker_may_have_the_name_of_an_end(name: bytes, data: bytes) -> None:
    assert stream(b"event: " + name + b"\ndata: " + data + b"\n\n") == [Completed()]


def test_name_is_of_one_event_only() -> None:
    assert stream(b"event: ping\n\n" + CHUNK_DATA + b"\n\n") == [AudioChunk(PCM)]
    assert stream(b"event: ping\nevent: audio\n" + CHUNK_DATA + b"\n\n") == [AudioChunk(PCM)]
    assert stream(b"event: audio\nevent\n" + CHUNK_DATA + b"\n\n") == [AudioChunk(PCM)]
    assert stream(b"event: ping\n" + CHUNK_DATA + b"\n\n") == []


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (b'{"message": "Invalid voice"}', RequestError, "Invalid voice"),
        (b'{"error": {"message": "Oh", "code": 1}}', ServerError, "Oh"),
        (b'{"detail": "quota used up"}', ServerError, "quota used up"),
        (b'{"code": 429, "message": "wait"}', RateLimited, "wait"),
        (b'{"title": "Forbidden", "status": 403}', AuthError, "Forbidden"),
        (b'{"message": "Oh", "audio": "AAAA", "done": true}', ServerError, "Oh"),
        (b"Concurrency limit reached", RateLimited, "Concurrency limit reached"),
        (b"two\ndata: lines", ServerError, "two lines"),
        (b'{"reason": "unknown form"}', ServerError, '{"reason": "unknown form"}'),
        (b'"a string"', ServerError, '"a string"'),
        (b"{broken", ServerError, "{broken"),
        (b"\xff\x1b[2J", ServerError, "\ufffd\\x1b[2J"),
        (b"", ServerError, "no reason given"),
    ],
)
def test_event_named_error_keeps_its_words(data: bytes, kind: type[RemoteError], text: str) -> None:
    caught = outcome(stream, b"event: error\ndata: " + data + b"\n\n")
    assert isinstance(caught, RemoteError)
    assert (type(caught), str(caught)) == (kind, text)


@pytest.mark.parametrize("name", [b"", b"message", b"audio"])
def test_audio_event_that_is_not_json_is_a_protocol_error(name: bytes) -> None:
    for data in (b"{not json", b"[DONE]", b"null"):
        assert isinstance(outcome(stream, b"event: " + name + b"\ndata: " + data + b"\n\n"), ProtocolError)


SSE_KINDS: list[tuple[dict[str, Any], list[Event]]] = [
    (SSE["chunk_data"]["data"], [AudioChunk(PCM)]),
    (SSE["older_chunk_data"]["data"], [AudioChunk(PCM)]),
    (SSE["seed_wrong_chunk"]["data"], [AudioChunk(PCM)]),
    (SSE["end_data"]["data"], [Completed()]),
    (SSE["seed_wrong_end"]["data"], [Completed()]),
    ({"status": "unknown", "note": "\ud800\u2028\u202e é 語 \U0001f600"}, []),
]
NOISE = [b": a comment", b":", b"id: 5", b"retry: 3000", b"event: audio", b"event", b"nothing: at all"]


@st.composite
def sse_streams(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """A stream in any form that the format allows, and its events."""
    raw, after_cr = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])), False
    expected: list[Event] = []

    def put(line: bytes) -> None:
        nonlocal raw, after_cr
        ends = [b"\r", b"\r\n"] if after_cr and not line else [b"\n", b"\r", b"\r\n"]
        end = draw(st.sampled_from(ends))
        raw, after_cr = raw + line + end, end == b"\r"

    for _ in range(draw(st.integers(0, 6))):
        data, events = draw(st.sampled_from(SSE_KINDS))
        expected += events
        text = json.dumps(data, indent=draw(st.sampled_from([None, 0, 2])), ensure_ascii=draw(st.booleans()))
        for line in text.encode("utf-8", "surrogatepass").split(b"\n"):
            for noise in draw(st.lists(st.sampled_from(NOISE), max_size=2)):
                put(noise)
            put(b"data:" + draw(st.sampled_from([b"", b" "])) + line)
        put(b"")
        for _ in range(draw(st.integers(0, 2))):
            put(b"")
    return raw, expected


@fuzz
@given(sse_streams(), st.data())
def test_sse_events_do_not_depend_on_chunking(made: tuple[bytes, list[Event]], data: st.DataObject) -> None:
    raw, expected = made
    assert stream(raw) == expected
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    pieces = [raw[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert stream(*pieces) == expected


def test_sse_line_length_is_limited() -> None:
    piece = b"x" * (1 << 20)
    assert isinstance(outcome(stream, *[piece] * (MESSAGE_LIMIT >> 20)), list)
    assert isinstance(outcome(stream, *[piece] * (MESSAGE_LIMIT >> 20), b"x"), ProtocolError)


@pytest.mark.parametrize("line", [b"data: 0123456789\n", b"data:\n"])
def test_sse_event_length_is_limited(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smallest_cli.protocol.sse.MESSAGE_LIMIT", 1_000)
    assert isinstance(outcome(stream, *[line] * 2_000), ProtocolError)


def test_sse_limit_is_per_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smallest_cli.protocol.sse.MESSAGE_LIMIT", 1_000)
    events = EventStream()
    assert sum(1 for _ in range(500) for _ in events.feed(SSE_RAW)) == 1_500
