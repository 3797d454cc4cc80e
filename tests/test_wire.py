"""The wire against what was published, first; then against itself, cut and mangled.

`golden/` holds the published messages. What is expected of each stands here in full, read out of the
documentation and not out of the codec: a misreading that both sides share passes every round trip.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallest_cli import wire
from smallest_cli.errors import (
    AccountError,
    Disconnected,
    NetworkError,
    ProtocolError,
    RateLimited,
    RemoteError,
    RequestRejected,
    ServiceFailed,
    SmallestError,
    UnsafeError,
)
from smallest_cli.speech import (
    SAMPLE_RATES,
    AudioChunk,
    AudioFormat,
    Buffering,
    Completed,
    Event,
    SpeechRequest,
    Voice,
    WordTiming,
)

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


WS, SSE, SYNC = golden("ws"), golden("sse"), golden("sync")
REFUSALS, VOICES, OLDER = golden("errors"), golden("voices"), golden("older")
SSE_RAW = (GOLDEN / "sse_raw.txt").read_bytes()

# A little sine, written as numbers so that signedness and byte order are checked as well.
PCM = struct.pack("<8h", 0, 1200, 2400, 1200, 0, -1200, -2400, -1200)
TASK = "task_6ba7b810-9dad"
OLD_TASK = "047c9091-b770-41d8-b96b-907d1c8406c0"
HOSTILE = "a\x1b[31mb\rc\nd\x07e\x9bf\u202eg\u2066h\u200bi\u2028j\x00k\ud800l"

fuzz = settings(deadline=None, max_examples=150)


def decode(message: dict[str, Any], **options: Any) -> list[Event]:
    return wire.decode_message(json.dumps(message), **options)


def stream(*pieces: bytes) -> list[Event]:
    events = wire.EventStream()
    return [event for piece in pieces for event in events.feed(piece)]


def outcome(read: Callable[..., list[Event]], *given_: Any, **options: Any) -> list[Event] | SmallestError:
    """What comes of reading: events, or an error of ours. Any other exception fails the test."""
    try:
        return read(*given_, **options)
    except SmallestError as error:
        return error


def shown(error: SmallestError) -> str:
    """Everything of an error that reaches a terminal."""
    return str(error) + error.hint + (error.request_id or "")


# What the service says: messages of the WebSocket


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (WS["chunk"]["frame"], [AudioChunk(PCM, TASK)]),
        (WS["chunk_with_ids"]["frame"], [AudioChunk(PCM, TASK)]),
        (WS["word_timestamp"]["frame"], [WordTiming("$100", 1.12, 1.92, 5, TASK)]),
        (WS["word_timestamp_with_ids"]["frame"], [WordTiming("$100", 1.12, 1.92, 2, TASK)]),
        (WS["complete"]["frame"], [Completed(TASK)]),
        (WS["complete_with_ids"]["frame"], [Completed(TASK)]),
        (WS["complete_old"]["frame"], [Completed(OLD_TASK)]),
        (WS["keepalive_ping"]["receive"], []),
        (OLDER["lightning_v2_ws"]["chunk"], [AudioChunk(PCM, "req_abc123")]),
        (OLDER["lightning_v2_ws"]["complete"], [Completed("req_abc123")]),
        (OLDER["lightning_v2_ws"]["complete_old"], [Completed(OLD_TASK)]),
        (OLDER["streaming_tts_ws"]["chunk"], [AudioChunk(PCM, "req_abc123")]),
        (OLDER["streaming_tts_ws"]["complete"], [Completed("req_abc123")]),
    ],
)
def test_a_published_message_is_the_event_it_stands_for(
    message: dict[str, Any], expected: list[Event]
) -> None:
    assert decode(message) == expected
    assert wire.decode_message(json.dumps(message).encode()) == expected


def test_a_continuation_completes_once_for_each_segment() -> None:
    events = [event for message in WS["continuation_receive"]["receive"] for event in decode(message)]
    assert events == [
        AudioChunk(PCM, "task_1"),
        AudioChunk(PCM, "task_1"),
        Completed("task_1"),
        AudioChunk(PCM, "task_2"),
        Completed("task_2"),
    ]


def test_requests_close_together_are_told_apart_by_request_id() -> None:
    events = [event for message in WS["plain_requests_back_to_back"]["receive"] for event in decode(message)]
    assert events == [AudioChunk(PCM, "task_1"), AudioChunk(PCM, "task_2"), Completed("task_2")]


@pytest.mark.parametrize(
    ("message", "kind", "words", "request_id"),
    [
        (WS["error_idle"]["frame"], NetworkError, ["timed out after 60 seconds of inactivity"], None),
        (WS["error_nested"]["frame"], ServiceFailed, ["failure"], None),
        (WS["error_with_list"]["frame"], RequestRejected, ["Error message", "Invalid Voice ID"], OLD_TASK),
        (WS["error_payload_nested"]["frame"], ServiceFailed, ["Error message"], None),
        (
            WS["error_validation_guess"]["frame"],
            RequestRejected,
            ["Invalid input data", "Invalid Voice ID"],
            None,
        ),
        (WS["error_concurrency_guess"]["frame"], RateLimited, ["Concurrency limit reached"], None),
        (WS["continuation_mixed_error"]["receive"], RequestRejected, ["Invalid input data"], None),
        (OLDER["lightning_v2_ws"]["error"], ServiceFailed, ["Error message"], None),
        (OLDER["streaming_tts_ws"]["error"], ServiceFailed, ["failure"], "req_abc123"),
        (SSE["error_data_guess"]["data"], ServiceFailed, ["Error message"], None),
        (REFUSALS["invalid_voice"]["body"], RequestRejected, ["Invalid Voice ID"], None),
        (REFUSALS["unauthorized"]["body"], AccountError, ["Bearer token is missing or invalid"], None),
        (REFUSALS["too_many_requests"]["body"], RateLimited, ["Concurrency limit reached"], None),
        ({"status": "error"}, ServiceFailed, ["no reason"], None),
        # A list of what is wrong with the request blames the request, whatever its words are.
        (
            WS["error_with_list"]["frame"] | {"errors": [{"message": "Too short"}]},
            RequestRejected,
            ["Too short"],
            OLD_TASK,
        ),
    ],
)
def test_a_published_error_message_is_raised(
    message: dict[str, Any], kind: type[RemoteError], words: list[str], request_id: str | None
) -> None:
    with pytest.raises(RemoteError) as caught:
        decode(message)
    assert type(caught.value) is kind
    for text in words:
        assert text in str(caught.value)
    assert caught.value.request_id == request_id


def test_an_error_in_an_sse_stream_is_raised() -> None:
    data = json.dumps(SSE["error_data_guess"]["data"]).encode()
    with pytest.raises(ServiceFailed, match="Error message"):
        stream(b"data: " + data + b"\n\n")


def replies(value: object) -> Iterator[dict[str, Any]]:
    """Every message in a golden file that a service says: it has a status, or one in its payload."""
    if isinstance(value, dict):
        if value.get("status") in ("chunk", "word_timestamp", "complete", "error") or "payload" in value:
            yield value
            return
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from replies(item)


def test_no_published_reply_is_passed_over_or_unreadable() -> None:
    messages = [message for file in (WS, SSE, OLDER) for message in replies(file)]
    assert len(messages) >= 25
    for message in messages:
        came = outcome(decode, message)
        assert came, message
        assert not isinstance(came, ProtocolError), message


# Echoed ids


def test_a_message_that_echoes_the_own_id_is_taken() -> None:
    frame = WS["chunk_with_ids"]["frame"]
    assert decode(frame, own_id="my-request-456") == [AudioChunk(PCM, TASK)]


@pytest.mark.parametrize("name", ["chunk_with_ids", "word_timestamp_with_ids", "complete_with_ids"])
def test_a_message_that_echoes_another_requests_id_is_dropped(name: str) -> None:
    assert decode(WS[name]["frame"], own_id="another") == []


def test_an_error_that_echoes_another_requests_id_is_dropped() -> None:
    assert decode(WS["error_idle"]["frame"] | {"external_request_id": "a"}, own_id="b") == []


def test_a_message_that_echoes_nothing_is_taken() -> None:
    """The service's `request_id` is its own and never ours, so it must not be compared (3c)."""
    assert decode(WS["chunk"]["frame"], own_id="my-request-456") == [AudioChunk(PCM, TASK)]
    with pytest.raises(NetworkError):
        decode(WS["error_idle"]["frame"], own_id="my-request-456")


def test_every_event_carries_the_stamp_it_was_read_at() -> None:
    frames = [WS[name]["frame"] for name in ("chunk", "word_timestamp", "complete")]
    assert [event.at_ns for frame in frames for event in decode(frame, at_ns=77)] == [77, 77, 77]
    events = wire.EventStream()
    assert [event.at_ns for event in events.feed(SSE_RAW, 78)] == [78, 78, 78]


# What the service says: server-sent events


def test_the_published_sse_stream() -> None:
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
def test_each_published_sse_envelope(data: dict[str, Any], expected: list[Event]) -> None:
    encoded = json.dumps(data).encode()
    assert stream(b"data: " + encoded + b"\n\n") == expected
    assert stream(b"event: audio\r\ndata:" + encoded + b"\r\n\r\n") == expected


def test_blanks_inside_the_json_do_not_matter() -> None:
    tight = json.dumps(SSE["chunk_data"]["data"], separators=(",", ":")).encode()
    assert stream(b"data: " + tight + b"\n\n") == [AudioChunk(PCM)]


def test_done_is_tested_by_its_value_and_not_by_its_presence() -> None:
    assert Completed() not in decode(SSE["chunk_data"]["data"])
    assert decode({"done": False, "message": "still here"}) == []


def test_an_end_marker_may_bring_the_last_audio() -> None:
    data = SSE["chunk_data"]["data"] | {"done": True}
    assert decode(data) == [AudioChunk(PCM), Completed()]


@pytest.mark.parametrize("cut", range(len(SSE_RAW) + 1))
def test_the_sse_stream_cut_in_two(cut: int) -> None:
    assert stream(SSE_RAW[:cut], SSE_RAW[cut:]) == [AudioChunk(PCM), AudioChunk(PCM), Completed()]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_sse_stream_byte_by_byte(end: bytes, mark: bytes) -> None:
    raw = mark + SSE_RAW.replace(b"\n", end)
    pieces = [raw[at : at + 1] for at in range(len(raw))]
    assert stream(*pieces) == [AudioChunk(PCM), AudioChunk(PCM), Completed()]
    assert stream(*(piece for byte in pieces for piece in (byte, b""))) == stream(raw)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_sse_stream_that_stops_early_never_completes(end: bytes) -> None:
    """Not even by the end marker whose blank line is missing."""
    raw = SSE_RAW.replace(b"\n", end)
    whole = len(raw) - (len(end) if end != b"\r\n" else 1)  # the CR of the last CRLF ends the line already
    for cut in range(whole):
        assert Completed() not in stream(raw[:cut]), raw[:cut]
    assert stream(raw)[-1] == Completed()


def test_line_ends_of_every_kind_side_by_side() -> None:
    raw = b'data:{"done":\rdata:true}\r\n\n:\r\r\n\ndata: {"done": true}\r\r:\n\r\ndata:{"done":true}\r\n\n'
    assert stream(raw) == [Completed()] * 3
    assert stream(*(raw[at : at + 1] for at in range(len(raw)))) == [Completed()] * 3
    for cut in range(len(raw) + 1):
        assert stream(raw[:cut], raw[cut:]) == [Completed()] * 3, cut


def test_lines_of_data_are_joined_by_a_line_feed() -> None:
    assert stream(b'data: {"done":\ndata: true}\n\n') == [Completed()]
    with pytest.raises(ProtocolError):
        stream(b'data: {"done": tr\ndata: ue}\n\n')


def test_only_a_blank_line_ends_an_event() -> None:
    end = b"data: " + json.dumps(SSE["end_data"]["data"]).encode()
    assert stream(end) == stream(end + b"\n") == stream(end + b"\n:\n") == stream(end + b"\n \n") == []
    assert stream(end + b"\n\n") == [Completed()]


@pytest.mark.parametrize("blank", [b" ", b"  ", b"\t", b""])
def test_at_most_one_space_after_the_colon_goes(blank: bytes) -> None:
    assert stream(b"data:" + blank + b'{"done":true}\n\n') == [Completed()]
    assert stream(b"data:" + blank + b'{"done":\ndata:true}\n\n') == [Completed()]


@pytest.mark.parametrize("noise", [b": keep-alive", b":", b"id: 7", b"retry: 10", b"event: audio", b"id"])
def test_lines_that_are_no_data_change_nothing(noise: bytes) -> None:
    lines = SSE_RAW.split(b"\n")
    raw = b"\n".join(part for line in lines[:-1] for part in (noise, line)) + b"\n"
    assert stream(raw) == stream(SSE_RAW)
    assert stream(noise + b"\n\n" + noise + b"\n\n") == []


@pytest.mark.parametrize("name", [b"dat", b"datax", b"Data", b" data", b"data "])
def test_a_field_that_only_resembles_data_is_no_data(name: bytes) -> None:
    assert stream(name + b': {"done": true}\n\n') == []


SSE_KINDS: list[tuple[dict[str, Any], list[Event]]] = [
    (SSE["chunk_data"]["data"], [AudioChunk(PCM)]),
    (SSE["older_chunk_data"]["data"], [AudioChunk(PCM)]),
    (SSE["seed_wrong_chunk"]["data"], [AudioChunk(PCM)]),
    (SSE["end_data"]["data"], [Completed()]),
    (SSE["seed_wrong_end"]["data"], [Completed()]),
    ({"status": "nobody knows", "note": "\ud800\u2028\u202e é 語 \U0001f600"}, []),
]
NOISE = [b": a comment", b":", b"id: 5", b"retry: 3000", b"event: audio", b"event", b"nothing: at all"]


@st.composite
def sse_streams(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """The bytes of a stream in every freedom that the format leaves, and the events that are in it."""
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
def test_an_sse_stream_has_the_same_events_however_it_is_cut(
    made: tuple[bytes, list[Event]], data: st.DataObject
) -> None:
    raw, expected = made
    assert stream(raw) == expected
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    pieces = [raw[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert stream(*pieces) == expected


def test_a_line_without_end_is_refused() -> None:
    piece = b"x" * (1 << 20)
    assert isinstance(outcome(stream, *[piece] * (wire.MESSAGE_LIMIT >> 20)), list)
    assert isinstance(outcome(stream, *[piece] * (wire.MESSAGE_LIMIT >> 20), b"x"), ProtocolError)


@pytest.mark.parametrize("line", [b"data: 0123456789\n", b"data:\n"])
def test_an_event_of_endless_lines_is_refused(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smallest_cli.wire.messages.MESSAGE_LIMIT", 1_000)
    assert isinstance(outcome(stream, *[line] * 2_000), ProtocolError)


def test_a_long_stream_of_short_events_is_never_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smallest_cli.wire.messages.MESSAGE_LIMIT", 1_000)
    events = wire.EventStream()
    assert sum(1 for _ in range(500) for _ in events.feed(SSE_RAW)) == 1_500


# What nobody can read


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
def test_what_is_no_json_object_is_a_protocol_error(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.decode_message(message)
    with pytest.raises(ProtocolError):
        wire.decode_message(message.decode("latin-1"))


def test_a_message_that_is_no_utf8_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        wire.decode_message(b'{"status": "\xff"}')


@pytest.mark.parametrize("depth", [100, 400, 600, 900, 100_000])
@pytest.mark.parametrize("name", ["error", "errors", "message", "data", "details"])
def test_nesting_of_any_depth_breaks_nothing(name: str, depth: int) -> None:
    body = f'{{"status":"error","{name}":{"[" * depth}{"]" * depth}}}'
    with pytest.raises(RemoteError):
        wire.decode_message(body)
    assert isinstance(wire.decode_refusal(400, {}, body.encode()), RequestRejected)


@pytest.mark.parametrize(
    "audio",
    [
        "AAA=AAA=",
        "A",
        "AA",
        "AA=",
        "AAAA\n",
        "AA AA",
        "A-_A",
        "AAA\u00e9",
        "\ud800",
        7,
        True,
        [],
        {},
        ["AAAA"],
    ],
)
def test_audio_that_is_no_base64_is_a_protocol_error(audio: object) -> None:
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
        {"status": "206", "done": False},  # the same omission in the words of SSE (3b)
    ],
)
def test_a_chunk_without_audio_is_a_protocol_error(message: dict[str, Any]) -> None:
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
def test_a_word_timing_that_cannot_be_read_is_a_protocol_error(data: str) -> None:
    with pytest.raises(ProtocolError):
        wire.decode_message(f'{{"status": "word_timestamp", "data": {data}}}')


def test_a_word_timing_without_times_or_index_is_still_a_word() -> None:
    """Some clients treat the times as optional (3c)."""
    (event,) = decode({"status": "word_timestamp", "data": {"word": "Hello"}})
    assert isinstance(event, WordTiming)
    assert event.word == "Hello"


@pytest.mark.parametrize("status", ["started", "", None, 206, True, [], {}, "Chunk", "COMPLETE"])
def test_a_status_that_nobody_knows_is_passed_over(status: object) -> None:
    assert decode({"status": status, "data": {"note": 1}}) == []


def test_fields_that_nobody_knows_are_passed_over() -> None:
    assert decode(WS["chunk"]["frame"] | {"billing": {"credits": 3}}) == [AudioChunk(PCM, TASK)]


def test_bytes_per_message_need_not_be_whole_frames() -> None:
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
def test_any_message_gives_events_or_an_error_of_ours(message: bytes | str) -> None:
    came = outcome(wire.decode_message, message, own_id="own")
    if isinstance(came, SmallestError):
        assert shown(came).isprintable()
    else:
        assert all(isinstance(event, AudioChunk | WordTiming | Completed) for event in came)


@fuzz
@given(st.lists(st.binary() | st.binary().map(lambda b: b"data: " + b + b"\n\n") | st.just(SSE_RAW)))
def test_any_bytes_give_events_or_an_error_of_ours(pieces: list[bytes]) -> None:
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
def test_any_refusal_is_an_error_of_ours(status: int, headers: dict[str, str], body: bytes) -> None:
    error = wire.decode_refusal(status, headers, body)
    assert isinstance(error, RemoteError)
    assert shown(error).isprintable()


# What came from the other side cannot act on a terminal


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
def test_an_error_message_shows_nothing_raw(message: dict[str, Any]) -> None:
    with pytest.raises(RemoteError) as caught:
        decode(message)
    assert str(caught.value).isprintable()
    assert "\\x1b[31m" in str(caught.value)
    assert (caught.value.request_id or "").isprintable()
    assert isinstance(error := wire.decode_refusal(400, {}, json.dumps(message).encode()), RequestRejected)
    assert str(error).isprintable()


@pytest.mark.parametrize("message", [HOSTILE, HOSTILE.encode("utf-8", "surrogatepass"), f'["{HOSTILE}"]'])
def test_an_unreadable_message_is_not_quoted_raw(message: bytes | str) -> None:
    with pytest.raises(ProtocolError) as caught:
        wire.decode_message(message)
    assert str(caught.value).isprintable()


def test_headers_and_close_reasons_are_not_quoted_raw() -> None:
    headers = dict.fromkeys(("location", "content-type", "x-request-id", "retry-after", "date"), HOSTILE)
    for status in (200, 302, 400, 503):
        error = wire.decode_refusal(status, headers, HOSTILE.encode("utf-8", "surrogatepass"))
        assert str(error).isprintable()
        assert (error.request_id or "").isprintable()
    assert str(wire.decode_close(1008, HOSTILE)).isprintable()


# Refusals by HTTP


REFUSED: dict[str, tuple[type[RemoteError], int, str]] = {
    "invalid_voice": (RequestRejected, 5, "Invalid Voice ID"),
    "invalid_output_format": (RequestRejected, 5, "Expected 'wav' | 'ulaw' | 'alaw'"),
    "unsupported_language": (RequestRejected, 5, "Language 'xx' is not supported on the"),
    "missing_text_documented": (RequestRejected, 5, "The 'text' field is required"),
    "unknown_pronunciation_dict": (RequestRejected, 5, "Invalid input data"),
    "plan_gated": (RequestRejected, 5, "please upgrade to a higher plan"),
    "unauthorized": (AccountError, 4, "Bearer token is missing or invalid"),
    "payment_required_guess": (AccountError, 4, "Insufficient credits"),
    "forbidden": (AccountError, 4, "Usage limit reached"),
    "org_gated": (AccountError, 4, "not available for your organization"),
    "not_found": (RequestRejected, 5, "Not Found"),
    "model_deprecated": (RequestRejected, 5, "This model is retired"),
    "model_deprecated_voice_cloning": (RequestRejected, 5, "/waves/v1/voice-cloning"),
    "too_many_requests": (RateLimited, 6, "Concurrency limit reached"),
    "internal": (ServiceFailed, 8, "An unexpected error occurred"),
    "transient_503": (ServiceFailed, 8, "Service temporarily unavailable"),
}
REFUSED_LISTINGS: list[tuple[type[RemoteError], int, str]] = [
    (RequestRejected, 5, "Invalid model"),
    (AccountError, 4, "Bearer token is missing or invalid"),
    (ServiceFailed, 8, "An unexpected error occurred"),
]


def test_no_published_refusal_was_forgotten() -> None:
    assert set(REFUSED) == set(REFUSALS) - {"about"}
    assert len(REFUSED_LISTINGS) == len(VOICES["get_voices_errors"])


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        *((REFUSALS[name], expected) for name, expected in REFUSED.items()),
        *zip(VOICES["get_voices_errors"], REFUSED_LISTINGS, strict=True),
    ],
)
def test_a_published_refusal(refusal: dict[str, Any], expected: tuple[type[RemoteError], int, str]) -> None:
    kind, exit_code, text = expected
    headers = {name.lower(): value for name, value in refusal.get("headers", {}).items()}
    headers |= {"content-type": "application/json; charset=utf-8", "x-request-id": "5f0b9f2c"}
    error = wire.decode_refusal(refusal["status"], headers, json.dumps(refusal["body"]).encode())
    assert type(error) is kind
    assert error.exit_code == exit_code
    assert error.status == refusal["status"]
    assert error.request_id == "5f0b9f2c"
    assert error.retryable is (exit_code in (6, 7, 8))
    assert text in str(error)
    assert str(refusal["status"]) in str(error)


def test_a_handshake_refused_without_a_body() -> None:
    error = wire.decode_refusal(WS["handshake_refused_401"]["status"], {}, b"")
    assert type(error) is AccountError
    assert error.hint


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_refused(status: int) -> None:
    error = wire.decode_refusal(status, {"location": "https://elsewhere.example/"}, b"")
    assert type(error) is UnsafeError
    assert error.exit_code == 12
    assert "https://elsewhere.example/" in str(error)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_may_be_retried(status: int) -> None:
    assert wire.decode_refusal(status, {}, b"").retryable


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 410, 413, 414, 422])
def test_what_will_not_change_is_not_retried(status: int) -> None:
    assert not wire.decode_refusal(status, {}, b"").retryable


@pytest.mark.parametrize("status", [406, 411, 415, 418, 421, 431, 451])
def test_a_4xx_that_nobody_listed_is_read_as_400(status: int) -> None:
    """RFC 9110, 15: an unrecognised status is its class's x00; sending the same again cannot help."""
    error = wire.decode_refusal(status, {}, b"")
    assert type(error) is RequestRejected


@pytest.mark.parametrize("status", [200, 204, 101])
def test_a_success_that_is_not_what_was_asked_for(status: int) -> None:
    """A 200 whose body is JSON (3a)."""
    error = wire.decode_refusal(status, {"content-type": "application/json"}, b'{"error": "no audio"}')
    assert type(error) is ProtocolError
    assert "no audio" in str(error)


@pytest.mark.parametrize(
    "body", [b"", b"<html>502 Bad Gateway</html>", b"\xff\xf3\xc4\xc4", b"[]", b"[" * 10**5]
)
def test_a_refusal_whose_body_is_no_json_object(body: bytes) -> None:
    error = wire.decode_refusal(502, {"content-type": "text/html"}, body)
    assert type(error) is ServiceFailed
    assert "502" in str(error)


@pytest.mark.parametrize(
    "body", [{"error": None}, {"error": []}, {"error": [None, 3]}, {"message": "  "}, {}]
)
def test_a_refusal_without_words_still_has_some(body: dict[str, Any]) -> None:
    assert len(str(wire.decode_refusal(400, {}, json.dumps(body).encode()))) > len(
        "the service answered 400: "
    )


DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        ("1", None, 1.0),
        ("0", None, 0.0),
        (" 30 ", None, 30.0),
        ("1.5", DATE, 1.5),
        ("Sun, 06 Nov 1994 08:49:47 GMT", DATE, 10.0),
        ("Mon, 07 Nov 1994 08:49:37 GMT", DATE, 86_400.0),
        ("Sunday, 06-Nov-94 08:49:47 GMT", DATE, 10.0),
        ("Sun Nov  6 08:49:47 1994", "Sun Nov  6 08:49:37 1994", 10.0),
        ("Sun, 06 Nov 1994 08:49:27 GMT", DATE, 0.0),
        ("Sun, 06 Nov 1994 08:49:47 GMT", None, None),
        ("Sun, 06 Nov 1994 08:49:47 GMT", "yesterday", None),
        ("soon", DATE, None),
        ("-5", DATE, None),
        ("", DATE, None),
        ("1e9", DATE, None),
        ("nan", DATE, None),
        ("inf", None, None),
        ("١", DATE, None),
        ("9" * 400, DATE, None),
        ("Sun, 99 Nov 9999 99:99:99 GMT", DATE, None),
        (None, DATE, None),
    ],
)
def test_retry_after(retry_after: str | None, date: str | None, seconds: float | None) -> None:
    headers = {"retry-after": retry_after, "date": date}
    present = {name: value for name, value in headers.items() if value is not None}
    for status in (429, 503):
        error = wire.decode_refusal(status, present, b"")
        assert isinstance(error, RateLimited | ServiceFailed)
        assert error.retry_after == seconds


@settings(deadline=None, max_examples=500)
@given(*[st.text('0123456789 :+-.,GMTSunNov()"\\') | st.text()] * 2)
def test_retry_after_of_any_text_is_a_wait_or_nothing(value: str, date: str) -> None:
    seconds = wire.decode_retry_after(value, date)
    assert seconds is None or 0 <= seconds < 1e12


@pytest.mark.parametrize(
    ("code", "kinds"),
    [
        (1000, (ServiceFailed,)),
        (1001, (Disconnected,)),
        (1005, (ServiceFailed, NetworkError)),
        (1006, (Disconnected,)),
        (1008, (AccountError,)),
        (1011, (ServiceFailed,)),
        (1012, (Disconnected,)),
        (1013, (RateLimited,)),  # its relative: full
        (4999, (ServiceFailed,)),
    ],
)
def test_any_close_before_complete_is_a_failure(code: int, kinds: tuple[type[RemoteError], ...]) -> None:
    assert type(wire.decode_close(code)) in kinds


def test_the_reason_of_a_close_decides_where_it_is_known() -> None:
    assert type(wire.decode_close(1008, "Too many connections")) is RateLimited
    assert type(wire.decode_close(1008, "Invalid sample rate")) is RequestRejected


def test_the_reason_of_a_close_is_told() -> None:
    assert "server full" in str(wire.decode_close(1013, "server full"))


# What the client says

# What a field means when it is absent (2a).
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
    return replace(request, text=text)


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
    message = wire.encode_request(request, buffering)
    assert isinstance(message, bytes)
    fields: dict[str, Any] = json.loads(message.decode("utf-8"))
    return fields


@pytest.mark.parametrize(("published", "request_"), PLAIN)
def test_a_plain_request_is_the_published_one(published: dict[str, Any], request_: SpeechRequest) -> None:
    sent = encoded(request_)
    assert DEFAULTS | sent == DEFAULTS | published
    assert set(sent) - set(published) <= {"sample_rate"}


def test_every_field_has_its_name() -> None:
    """The names of section 2a, also of those that no published message holds."""
    request = replace(FULL, text="Hi.", speed=1.25, word_timings=True, completion_wait_ms=250)
    request = replace(request, consistency=0.25, similarity=0.75, enhancement=2)
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
    assert wire.decode_request(fields) == request
    buffered = {"continue": True, "flush": True, "max_buffer_flush_ms": 1000}
    assert wire.decode_buffering(fields | buffered) == Buffering(more=True, flush=True, max_flush_ms=1000)
    assert encoded(request, Buffering(more=True, flush=True, max_flush_ms=1000)) == fields | buffered
    context = {"context_id": "c", "continue": True, "max_buffer_delay_ms": 5000}
    assert wire.decode_buffering(fields | context) == Buffering(more=True, context="c", max_delay_ms=5000)
    assert encoded(request, Buffering(more=True, context="c", max_delay_ms=5000)) == fields | context


@pytest.mark.parametrize(("published", "request_"), PLAIN)
def test_the_server_reads_the_published_plain_request(
    published: dict[str, Any], request_: SpeechRequest
) -> None:
    assert wire.decode_request(published) == request_
    assert wire.decode_buffering(published) is None


@pytest.mark.parametrize("name", ["request_with_ids", "request_word_timestamps"])
def test_a_request_without_defaults_is_the_published_one_field_by_field(name: str) -> None:
    published = WS[name]["frame"]
    assert encoded(wire.decode_request(published)) == published


@pytest.mark.parametrize(("published", "request_", "buffering"), BUFFERED)
def test_a_buffered_request_is_the_published_one(
    published: dict[str, Any], request_: SpeechRequest, buffering: Buffering
) -> None:
    sent = encoded(request_, buffering)
    assert DEFAULTS | sent == DEFAULTS | published
    assert set(sent) - set(published) <= {"sample_rate", "continue"}
    assert sent["continue"] is published.get("continue", False)


@pytest.mark.parametrize(("published", "request_", "buffering"), BUFFERED)
def test_the_server_reads_the_published_buffered_request(
    published: dict[str, Any], request_: SpeechRequest, buffering: Buffering
) -> None:
    assert wire.decode_request(published) == request_
    assert wire.decode_buffering(published) == buffering


def test_a_continuation_never_mixes_with_the_older_buffer() -> None:
    """The service refuses `flush` and `max_buffer_flush_ms` beside a context (4c.3)."""
    sent = encoded(words(MEHER, "Hello."), Buffering(more=True, context="c", max_flush_ms=100))
    assert not {"flush", "max_buffer_flush_ms"} & set(sent)


def test_fragments_keep_their_spaces() -> None:
    assert encoded(words(MEHER, " and\tthen "), Buffering(more=True, context="c"))["text"] == " and\tthen "


def test_a_context_is_closed_as_published() -> None:
    sent = encoded(words(MEHER, ""), Buffering(context="call-1", close=True))
    published = WS["continuation_teardown"]["frame"]
    assert sent | published == sent
    assert set(sent) - set(published) <= {"voice_id", "model", "sample_rate", "text"}
    assert sent.get("text", "") == ""


def test_a_context_is_cancelled_as_published() -> None:
    """Bare, or with the base fields; every source leaves the text out (2a, 12)."""
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
def test_the_server_reads_messages_that_bring_no_text(
    published: dict[str, Any], buffering: Buffering
) -> None:
    assert wire.decode_buffering(published) == buffering
    request = wire.decode_request(published)
    assert (request.text, request.voice) == ("", published.get("voice_id", ""))


def test_the_server_sees_a_context_that_is_mixed_with_flush() -> None:
    buffering = wire.decode_buffering(WS["continuation_mixed_error"]["send"])
    assert buffering == Buffering(context="call-1", flush=True)


def test_keep_alives() -> None:
    aliases = WS["keepalive_ping"]["aliases"]
    assert all(wire.is_keep_alive({"type": name}) for name in ["ping", *aliases])
    assert wire.is_keep_alive(WS["keepalive_ping"]["send"])
    assert json.loads(wire.PONG) == WS["keepalive_ping"]["receive"]
    assert not wire.is_keep_alive(WS["keepalive_old"]["send"])
    assert not wire.is_keep_alive({"type": ["ping"]})
    assert wire.decode_request(WS["keepalive_old"]["send"]).text == " "


def test_paths() -> None:
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
    assert published == wire.PATHS
    assert OLDER["lightning_v31_legacy"]["ws"]["url"].endswith(wire.PATHS["v3.1"]["ws"])
    assert OLDER["lightning_v2_ws"]["url"].endswith(wire.PATHS["v2"]["ws"])


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("lightning_v3.1", "/waves/v1/lightning-v3.1/get_voices"),
        ("lightning_v3.1_pro", "/waves/v1/lightning-v3.1-pro/get_voices"),
        ("lightning-v3.1-pro", "/waves/v1/lightning-v3.1-pro/get_voices"),
    ],
)
def test_paths_spell_models_with_hyphens(model: str, path: str) -> None:
    assert wire.voices_path(model) == path


def test_constants_of_the_service() -> None:
    assert SAMPLE_RATES == (8000, 16000, 24000, 44100)
    assert wire.DEFAULT_SAMPLE_RATE == 44100
    assert wire.DEFAULT_MODEL == "lightning_v3.1"
    assert wire.DEFAULT_COMPLETION_WAIT_MS == 4000
    refused = REFUSALS["invalid_output_format"]["body"]["error"][0]
    assert list(wire.ENCODINGS) == refused["options"]


# What the offline service says


OWN_IDS = SpeechRequest("Hi.", "meher", session_id="my-session-123", request_id="my-request-456")
NO_IDS = SpeechRequest("Hi.", "meher")


@pytest.mark.parametrize(
    ("name", "event", "request_"),
    [
        ("chunk", AudioChunk(PCM, TASK), NO_IDS),
        ("chunk_with_ids", AudioChunk(PCM, TASK), OWN_IDS),
        ("word_timestamp", WordTiming("$100", 1.12, 1.92, 5, TASK), NO_IDS),
        ("word_timestamp_with_ids", WordTiming("$100", 1.12, 1.92, 2, TASK), OWN_IDS),
        ("complete", Completed(TASK), NO_IDS),
        ("complete_with_ids", Completed(TASK), OWN_IDS),
    ],
)
def test_an_event_becomes_the_published_message(
    name: str, event: AudioChunk | WordTiming | Completed, request_: SpeechRequest
) -> None:
    """In the order of keys that was seen, too (3c)."""
    message = wire.encode_message(event, "ws_550e8400-e29b", request_)
    assert json.dumps(json.loads(message)) == json.dumps(WS[name]["frame"])


def test_the_older_forms_of_messages() -> None:
    v2 = OLDER["lightning_v2_ws"]
    assert json.loads(wire.encode_message(AudioChunk(PCM, "req_abc123"), None, NO_IDS)) == v2["chunk"]
    assert json.loads(wire.encode_message(Completed("req_abc123"), None, NO_IDS)) == v2["complete"]
    older = wire.encode_message(Completed(OLD_TASK), "ws_1", OWN_IDS, older=True)
    assert json.loads(older) == v2["complete_old"] == WS["complete_old"]["frame"]


def test_the_published_forms_of_an_error_message() -> None:
    idle = WS["error_idle"]["frame"]
    assert json.loads(wire.encode_error_message(idle["message"])) == idle
    assert json.loads(wire.encode_error_message("failure", form="nested")) == WS["error_nested"]["frame"]
    mixed = WS["continuation_mixed_error"]["receive"]
    assert json.loads(wire.encode_error_message(mixed["message"], session_id=mixed["session_id"])) == mixed
    for form in ("message", "list"):
        guess = WS["error_validation_guess"]["frame"]
        made = wire.encode_error_message(
            guess["message"],
            session_id=guess["session_id"],
            issues=guess["errors"],
            form=form,
        )
        assert json.loads(made) == guess


def test_the_live_sse_stream_is_written_byte_for_byte() -> None:
    events: list[AudioChunk | Completed] = [AudioChunk(PCM), AudioChunk(PCM), Completed()]
    assert b"".join(map(wire.encode_sse, events)) == SSE_RAW


def sse_parts(raw: bytes) -> tuple[str | None, dict[str, Any]]:
    assert raw.endswith(b"\n\n")
    lines = dict(line.split(": ", 1) for line in raw.decode().strip().split("\n"))
    assert set(lines) <= {"event", "data"}
    return lines.get("event"), json.loads(lines["data"])


def test_the_older_and_the_seeds_sse_shapes() -> None:
    chunk, end = AudioChunk(PCM), Completed()
    older = SSE["older_chunk_data"]
    assert sse_parts(wire.encode_sse(chunk, "older")) == (older["event"], older["data"])
    assert sse_parts(wire.encode_sse(end, "older")) == (None, SSE["pre_august_end_data"]["data"])
    assert sse_parts(wire.encode_sse(chunk, "seed")) == (None, SSE["seed_wrong_chunk"]["data"])
    assert sse_parts(wire.encode_sse(end, "seed")) == (None, SSE["seed_wrong_end"]["data"])


def test_the_published_list_of_voices() -> None:
    voices = [
        Voice(
            id=name.lower(),
            name=name,
            model="lightning_v3.1",
            gender=gender,
            accent=accent,
            languages=languages,
            age="young",
            use_cases=("conversational",),
        )
        for name, gender, accent, languages in [
            ("Avery", "female", "american", ("english",)),
            ("Liam", "male", "british", ("english",)),
            ("Devansh", "male", "indian", ("hindi", "english")),
        ]
    ]
    assert json.loads(wire.encode_voices(voices)) == VOICES["get_voices_ok"]["body"]


def test_what_is_not_known_of_a_voice_is_not_said() -> None:
    (listed,) = json.loads(wire.encode_voices([Voice("kartik", "Kartik", "lightning_v3.1")]))["voices"]
    assert not {"gender", "accent", "age"} & set(listed["tags"])


# Round trips

ids = st.none() | st.from_regex(r"[a-zA-Z0-9_\-.]{1,128}", fullmatch=True)
amounts = st.none() | st.floats(0, 1)
requests = st.builds(
    SpeechRequest,
    text=st.text(),
    voice=st.text(),
    model=st.none() | st.text(),
    language=st.none() | st.text(),
    speed=st.floats(0.5, 2.0),
    format=st.sampled_from([AudioFormat(rate) for rate in (8_000, 16_000, 24_000, 44_100)]),
    encoding=st.sampled_from(["pcm", "mp3", "wav", "ulaw", "alaw"]),
    number_language=st.none() | st.text(),
    math_notation=st.booleans(),
    dictionaries=st.lists(st.text(), max_size=3).map(tuple),
    word_timings=st.booleans(),
    completion_wait_ms=st.none() | st.integers(0, 10_000),
    consistency=amounts,
    similarity=amounts,
    enhancement=st.none() | st.integers(0, 2),
    session_id=ids,
    request_id=ids,
)
contexts = st.from_regex(r"[a-zA-Z0-9_\-.]{1,128}", fullmatch=True)
# Without `more` or `flush`, and without a context, a message is a plain request: nothing to hold back.
bufferings = st.one_of(
    st.none(),
    st.builds(
        Buffering, more=st.booleans(), flush=st.booleans(), max_flush_ms=st.none() | st.integers(0, 1_000)
    ).filter(lambda b: b.more or b.flush),
    st.builds(
        Buffering, context=contexts, more=st.booleans(), max_delay_ms=st.none() | st.integers(0, 5_000)
    ),
    st.builds(Buffering, context=contexts, close=st.just(True)),
    st.builds(Buffering, context=contexts, cancel=st.just(True)),
)
words_in = st.text(st.characters())
events_ = st.one_of(
    st.builds(AudioChunk, pcm=st.binary(), request_id=ids),
    st.builds(
        WordTiming,
        word=words_in,
        start=st.floats(0, 1e6),
        end=st.floats(0, 1e6),
        index=st.integers(0, 10**6),
        request_id=ids,
    ),
    st.builds(Completed, request_id=ids),
)


@fuzz
@given(requests)
def test_a_request_comes_back_as_it_was(request_: SpeechRequest) -> None:
    fields = wire.decode_object(wire.encode_request(request_))
    assert wire.decode_request(fields) == request_
    assert wire.decode_buffering(fields) is None
    assert not wire.is_keep_alive(fields)


@fuzz
@given(requests, bufferings)
def test_a_buffering_comes_back_as_it_was(request_: SpeechRequest, buffering: Buffering | None) -> None:
    assert wire.decode_buffering(wire.decode_object(wire.encode_request(request_, buffering))) == buffering


@fuzz
@given(events_, ids, ids, ids, st.booleans())
def test_an_event_comes_back_as_it_was(
    event: AudioChunk | WordTiming | Completed,
    session: str | None,
    own_session: str | None,
    own: str | None,
    older: bool,
) -> None:
    request = SpeechRequest("Hi.", "meher", session_id=own_session, request_id=own)
    message = wire.encode_message(event, session, request, older=older)
    assert wire.decode_message(message) == [event]
    assert wire.decode_message(message, own_id=own) == [event]


@fuzz
@given(
    st.lists(st.builds(AudioChunk, pcm=st.binary()) | st.just(Completed())),
    st.sampled_from(["live", "older", "seed"]),
)
def test_server_sent_events_come_back_as_they_were(events: list[AudioChunk | Completed], shape: Any) -> None:
    assert stream(b"".join(wire.encode_sse(event, shape) for event in events)) == events


@fuzz
@given(st.text(min_size=1).filter(str.strip), st.sampled_from(["message", "nested", "list"]))
def test_an_error_message_comes_back_as_an_error(text: str, form: Any) -> None:
    with pytest.raises(RemoteError) as caught:
        wire.decode_message(wire.encode_error_message(text, form=form))
    assert not isinstance(caught.value, ProtocolError)


SURROGATES: list[tuple[str, Callable[[str], bytes | str]]] = [
    ("a request", lambda text: wire.encode_request(SpeechRequest(text, "meher"))),
    ("a word", lambda text: wire.encode_message(WordTiming(text, 0, 1), "ws_1", NO_IDS)),
    ("an error", wire.encode_error_message),
]


@pytest.mark.parametrize("encode", [made for _, made in SURROGATES], ids=[name for name, _ in SURROGATES])
@pytest.mark.parametrize("text", ["\ud800", "caf\udce9", "\U0001f600\udfff"])
def test_half_a_surrogate_pair_goes_onto_the_wire_or_is_refused_by_us(
    encode: Callable[[str], bytes | str], text: str
) -> None:
    """It comes from an argument that is no UTF-8, or from a client's `\\ud800`."""
    try:
        message = encode(text)
    except SmallestError:
        return
    wire.decode_object(message if isinstance(message, bytes) else message.encode())


def test_text_goes_out_as_it_is() -> None:
    for text in ('"\\/\b\f\n\r\t', "नमस्ते दुनिया", "\u2028\u2029\u0000\u202e", "\U0001f600", "e\u0301"):
        assert encoded(SpeechRequest(text, "meher"))["text"] == text


@fuzz
@given(st.lists(events_, max_size=6))
def test_messages_are_independent_of_each_other(events: list[AudioChunk | WordTiming | Completed]) -> None:
    made = [wire.encode_message(event, "ws_1", NO_IDS) for event in events]
    assert [event for message in made for event in wire.decode_message(message)] == events
