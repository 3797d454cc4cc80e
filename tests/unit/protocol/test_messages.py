"""WebSocket messages against published ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from smallest_cli.errors import (
    AuthError,
    NetworkError,
    ProtocolError,
    RateLimited,
    RemoteError,
    RequestError,
    ServerError,
)
from smallest_cli.models import AudioChunk, Completed, Event, WordTiming
from smallest_cli.protocol.messages import decode_events, decode_message
from smallest_cli.protocol.sse import EventStream
from tests.support.published import (
    OLD_TASK,
    OLDER,
    PCM,
    REFUSALS,
    SSE,
    SSE_RAW,
    TASK,
    WS,
    decode,
    outcome,
    stream,
)


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
def test_published_message_is_decoded(message: dict[str, Any], expected: list[Event]) -> None:
    assert decode(message) == expected
    assert decode_events(json.dumps(message).encode()) == expected


def test_continuation_completes_per_segment() -> None:
    events = [event for message in WS["continuation_receive"]["receive"] for event in decode(message)]
    assert events == [
        AudioChunk(PCM, "task_1"),
        AudioChunk(PCM, "task_1"),
        Completed("task_1"),
        AudioChunk(PCM, "task_2"),
        Completed("task_2"),
    ]


def test_outstanding_requests_differ_in_request_id() -> None:
    events = [event for message in WS["plain_requests_back_to_back"]["receive"] for event in decode(message)]
    assert events == [AudioChunk(PCM, "task_1"), AudioChunk(PCM, "task_2"), Completed("task_2")]


@pytest.mark.parametrize(
    ("message", "kind", "words", "request_id"),
    [
        (WS["error_idle"]["frame"], NetworkError, ["timed out after 60 seconds of inactivity"], None),
        (WS["error_nested"]["frame"], ServerError, ["failure"], None),
        (WS["error_with_list"]["frame"], RequestError, ["Error message", "Invalid Voice ID"], OLD_TASK),
        (WS["error_payload_nested"]["frame"], ServerError, ["Error message"], None),
        (
            WS["error_validation_guess"]["frame"],
            RequestError,
            ["Invalid input data", "Invalid Voice ID"],
            None,
        ),
        (WS["error_concurrency_guess"]["frame"], RateLimited, ["Concurrency limit reached"], None),
        (WS["continuation_mixed_error"]["receive"], RequestError, ["Invalid input data"], None),
        (OLDER["lightning_v2_ws"]["error"], ServerError, ["Error message"], None),
        (OLDER["streaming_tts_ws"]["error"], ServerError, ["failure"], "req_abc123"),
        (SSE["error_data_guess"]["data"], ServerError, ["Error message"], None),
        (REFUSALS["invalid_voice"]["body"], RequestError, ["Invalid Voice ID"], None),
        (REFUSALS["unauthorized"]["body"], AuthError, ["Bearer token is missing or invalid"], None),
        (REFUSALS["too_many_requests"]["body"], RateLimited, ["Concurrency limit reached"], None),
        ({"status": "error"}, ServerError, ["no reason given"], None),
        # A list of validation problems is a request error whatever its text.
        (
            WS["error_with_list"]["frame"] | {"errors": [{"message": "Too short"}]},
            RequestError,
            ["Too short"],
            OLD_TASK,
        ),
    ],
)
def test_published_error_message_is_raised(
    message: dict[str, Any], kind: type[RemoteError], words: list[str], request_id: str | None
) -> None:
    with pytest.raises(RemoteError) as caught:
        decode(message)
    assert type(caught.value) is kind
    for text in words:
        assert text in str(caught.value)
    assert caught.value.request_id == request_id


def test_sse_error_is_raised() -> None:
    data = json.dumps(SSE["error_data_guess"]["data"]).encode()
    with pytest.raises(ServerError, match="Error message"):
        stream(b"data: " + data + b"\n\n")


def replies(value: object) -> Iterator[dict[str, Any]]:
    """Every service message in a golden file: those with a status, or one in the payload."""
    if isinstance(value, dict):
        if value.get("status") in ("chunk", "word_timestamp", "complete", "error") or "payload" in value:
            yield value
            return
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from replies(item)


def test_every_published_reply_can_be_decoded() -> None:
    messages = [message for file in (WS, SSE, OLDER) for message in replies(file)]
    assert len(messages) >= 25
    for message in messages:
        came = outcome(decode, message)
        assert came, message
        assert not isinstance(came, ProtocolError), message


# Echoed ids


@pytest.mark.parametrize("name", ["chunk_with_ids", "word_timestamp_with_ids", "complete_with_ids"])
def test_message_names_the_request_that_it_belongs_to(name: str) -> None:
    """By the client's own id, where the service echoes it (3c)."""
    message = decode_message(json.dumps(WS[name]["frame"]))
    assert (message.own_id, message.error, len(message.events)) == ("my-request-456", None, 1)


def test_error_names_the_request_that_it_belongs_to() -> None:
    message = decode_message(json.dumps(WS["error_idle"]["frame"] | {"external_request_id": "a"}))
    assert (message.own_id, message.events) == ("a", ())
    assert isinstance(message.error, NetworkError)


def test_message_without_echoed_id_is_decoded() -> None:
    """`request_id` is the service's own and must not be compared with the client's (3c)."""
    message = decode_message(json.dumps(WS["chunk"]["frame"]))
    assert (message.own_id, message.request_id, message.events) == (None, TASK, (AudioChunk(PCM, TASK),))
    with pytest.raises(NetworkError):
        decode(WS["error_idle"]["frame"])


def test_events_carry_their_timestamp() -> None:
    frames = [WS[name]["frame"] for name in ("chunk", "word_timestamp", "complete")]
    assert [event.at_ns for frame in frames for event in decode(frame, at_ns=77)] == [77, 77, 77]
    events = EventStream()
    assert [event.at_ns for event in events.feed(SSE_RAW, 78)] == [78, 78, 78]


BYTES = bytes(range(256)) * 3 + b"\xfb\xff"  # with + and / in base64, and padding


@pytest.mark.parametrize(
    "encode",
    [
        pytest.param(base64.b64encode, id="standard"),
        pytest.param(base64.urlsafe_b64encode, id="alphabet for URLs"),
        pytest.param(lambda pcm: base64.b64encode(pcm).rstrip(b"="), id="unpadded"),
        pytest.param(lambda pcm: base64.urlsafe_b64encode(pcm).rstrip(b"="), id="for URLs, unpadded"),
        pytest.param(base64.encodebytes, id="lines"),
        pytest.param(lambda pcm: base64.encodebytes(pcm).replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda pcm: b" " + base64.b64encode(pcm) + b"\t\n", id="surrounded by blanks"),
        pytest.param(
            lambda pcm: base64.encodebytes(pcm).translate(bytes.maketrans(b"+/", b"-_")).replace(b"=", b""),
            id="for URLs, lines, unpadded",
        ),
    ],
)
@pytest.mark.parametrize("length", [0, 1, 2, 3, 57, 768, len(BYTES)])
def test_every_form_of_base64_is_decoded(encode: Callable[[bytes], bytes], length: int) -> None:
    pcm = BYTES[-length:] if length else b""
    assert decode({"status": "chunk", "data": {"audio": encode(pcm).decode()}}) == [AudioChunk(pcm)]
