"""Buffered text on the offline server: the legacy buffer and continuations (waves/api.md, 4c)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from smallest_cli.models import SEGMENT_CHARS
from smallest_cli.server.text_buffer import ends_sentence, split_complete
from tests.support.offline import (
    HTTP,
    WS,
    Message,
    Offline,
    hello,
    next_message,
    pcm_of,
    receive,
    send,
    start_offline,
    statuses,
)

MORE: Message = {"continue": True}
NOW: Message = {"complete_backoff_ms": 0}


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    with start_offline(buffered_complete_wait_ms=0, concurrency=4) as server:
        yield server


@pytest.fixture
def ws(server: Offline) -> Iterator[ClientConnection]:
    with server.open() as ws:
        yield ws


def pcm(server: Offline, text: str) -> bytes:
    reply = server.post(HTTP["unified"], hello(text=text))
    assert reply.ok
    return reply.content


def assert_quiet(ws: ClientConnection) -> None:
    send(ws, {"type": "ping"})
    assert next_message(ws) == {"type": "pong"}


# Legacy buffer


@pytest.mark.parametrize("path", WS.values())
def test_fragments_are_joined_verbatim(server: Offline, path: str) -> None:
    with server.open(path) as ws:
        send(ws, hello(text="Hello, ", flush=False, max_buffer_flush_ms=0, **MORE))
        send(ws, hello(text="I am stream", flush=False, **MORE))
        send(ws, hello(text="ing.", flush=False, **MORE))
        assert_quiet(ws)
        send(ws, hello(text="", flush=True, **{"continue": False}))
        assert pcm_of(receive(ws)) == pcm(server, "Hello, I am streaming.")
        assert_quiet(ws)


@pytest.mark.parametrize("last", [{"flush": True}, {}, {"continue": False}])
def test_last_fragment_may_have_text(server: Offline, ws: ClientConnection, last: Message) -> None:
    send(ws, hello(text="Hello, ", **MORE))
    send(ws, hello(text="you.", **last))
    assert pcm_of(receive(ws)) == pcm(server, "Hello, you.")
    assert_quiet(ws)


def test_single_frame_with_flush_equals_plain_request(server: Offline, ws: ClientConnection) -> None:
    send(ws, hello(text="All at once.", flush=True, **{"continue": False}))
    assert pcm_of(receive(ws)) == pcm(server, "All at once.")
    assert_quiet(ws)


def test_buffer_uses_parameters_of_its_last_text(server: Offline, ws: ClientConnection) -> None:
    send(ws, hello(text="Hello, ", voice_id="sophia", **MORE))
    send(ws, hello(text="you.", **MORE))
    send(ws, hello(text="", voice_id="jordan", flush=True))
    assert pcm_of(receive(ws)) == pcm(server, "Hello, you.")


def test_max_buffer_flush_ms_releases_a_part(server: Offline, ws: ClientConnection) -> None:
    send(ws, hello(text="This was first.", max_buffer_flush_ms=1, **MORE))
    first = next_message(ws)
    assert first["status"] == "chunk"
    send(ws, hello(text="This was second.", **MORE))
    send(ws, hello(text="", flush=True))
    messages = [first, *receive(ws)]
    assert pcm_of(messages) == pcm(server, "This was first.") + pcm(server, "This was second.")
    assert_quiet(ws)


def test_close_after_flushed_part_sends_only_complete(server: Offline, ws: ClientConnection) -> None:
    send(ws, hello(text="All of it.", max_buffer_flush_ms=1, **MORE))
    size, received = len(pcm(server, "All of it.")), b""
    while len(received) < size:
        received += pcm_of([next_message(ws)])
    assert_quiet(ws)
    send(ws, hello(text="", flush=True))
    assert next_message(ws)["status"] == "complete"


@pytest.mark.parametrize("closing", [{"flush": True}, {"context_id": "c", "continue": False}])
def test_empty_close_is_answered_with_complete(ws: ClientConnection, closing: Message) -> None:
    send(ws, hello(text="", **closing))
    assert statuses([next_message(ws)]) == ["complete"]
    assert_quiet(ws)


def test_cancel_request_drops_buffered_text(server: Offline, ws: ClientConnection) -> None:
    send(ws, hello(text="Never mind. ", **MORE))
    send(ws, hello(text=None, cancel_request=True))
    send(ws, hello(text="This instead.", flush=True))
    assert pcm_of(receive(ws)) == pcm(server, "This instead.")


def test_buffered_text_is_limited(ws: ClientConnection) -> None:
    for _ in range(2):
        send(ws, hello(text="a" * 60_000, **MORE))
    error = next_message(ws)
    assert error["errors"][0]["path"] == ["text"]
    assert_quiet(ws)


# Continuations


def context(text: str | None, name: str = "call-1", **fields: Any) -> Message:
    return hello(context_id=name, text=text, **fields)


def test_each_segment_has_its_own_request_id_and_complete(server: Offline, ws: ClientConnection) -> None:
    send(ws, context("Let me check that for you.", max_buffer_delay_ms=1500, **MORE))
    first = receive(ws)
    send(ws, context(" Your order ships tomorrow", max_buffer_delay_ms=1500, **MORE))
    assert_quiet(ws)
    send(ws, context(" and arrives by Friday.", max_buffer_delay_ms=1500, **{"continue": False}))
    second = receive(ws)
    assert pcm_of(first) == pcm(server, "Let me check that for you.")
    assert pcm_of(second) == pcm(server, " Your order ships tomorrow and arrives by Friday.")
    assert first[0]["session_id"] == second[0]["session_id"]
    assert first[-1]["request_id"] != second[-1]["request_id"]
    assert not any("context_id" in message for message in first + second)
    assert_quiet(ws)


def test_max_buffer_delay_ms_releases_text(server: Offline, ws: ClientConnection) -> None:
    send(ws, context("Half a sentence", max_buffer_delay_ms=1, **MORE))
    assert pcm_of(receive(ws)) == pcm(server, "Half a sentence")


def test_delay_timer_stops_when_text_is_released(server: Offline, ws: ClientConnection) -> None:
    send(ws, context("Let me check ", "a", max_buffer_delay_ms=500, **MORE))
    send(ws, context("that for you.", "a", max_buffer_delay_ms=500, **MORE))
    assert pcm_of(receive(ws)) == pcm(server, "Let me check that for you.")
    send(ws, context("Later", "b", max_buffer_delay_ms=600, **MORE))
    assert pcm_of(receive(ws)) == pcm(server, "Later")
    assert_quiet(ws)


def test_contexts_are_independent(server: Offline, ws: ClientConnection) -> None:
    for name in ("a", "b", "a", "b"):
        send(ws, context(f"I am {name} ", name, **MORE))
    send(ws, context("", "b", **{"continue": False}))
    assert pcm_of(receive(ws)) == pcm(server, "I am b I am b ")
    send(ws, context(None, "a", **{"continue": False}))
    assert pcm_of(receive(ws)) == pcm(server, "I am a I am a ")


def test_context_close_speaks_remaining_text(server: Offline, ws: ClientConnection) -> None:
    send(ws, context("What is left", **MORE))
    send(ws, {"context_id": "call-1", "context_close": True})
    assert pcm_of(receive(ws)) == pcm(server, "What is left")
    send(ws, {"context_id": "call-1", "context_close": True})  # already closed
    assert_quiet(ws)


def test_cancelled_context_stays_usable(server: Offline, ws: ClientConnection) -> None:
    send(ws, {"context_id": "call-1", "cancel_request": True})  # as LiveKit before it reuses a socket
    send(ws, context("Never mind", max_buffer_delay_ms=1500, **MORE))
    send(ws, {"context_id": "call-1", "cancel_request": True})
    assert_quiet(ws)
    send(ws, context("This instead.", **{"continue": False}))
    assert pcm_of(receive(ws)) == pcm(server, "This instead.")


@pytest.mark.parametrize("mixed", [{"flush": True}, {"max_buffer_flush_ms": 100}])
def test_context_cannot_be_combined_with_flush(ws: ClientConnection, mixed: Message) -> None:
    send(ws, context("Hello.", **mixed))
    assert next_message(ws).items() >= {"status": "error", "message": "Invalid input data"}.items()
    assert_quiet(ws)


def test_number_of_contexts_is_limited(ws: ClientConnection) -> None:
    for number in range(64):
        send(ws, context("a ", f"c{number}", **MORE))
    assert_quiet(ws)
    send(ws, context("a ", "c64", **MORE))
    assert next_message(ws)["errors"][0]["path"] == ["context_id"]


def test_long_context_text_is_split_at_a_sentence(server: Offline, ws: ClientConnection) -> None:
    sentence = "This sentence is said over and over again, until it is long enough. "
    send(ws, context(sentence * 4 + "And a rest", **{"continue": False}))
    assert pcm_of(receive(ws)) == pcm(server, sentence * 3)
    assert pcm_of(receive(ws)) == pcm(server, sentence + "And a rest")


# Splitting


@pytest.mark.parametrize(
    ("held", "segments", "rest"),
    [
        ("Hello.", [], "Hello."),  # too short
        ("Let me check that for you.", ["Let me check that for you."], ""),
        ("Let me check that for you. ", ["Let me check that for you. "], ""),
        ('He said: "Let me check that."', ['He said: "Let me check that."'], ""),
        ("Let me check that for you", [], "Let me check that for you"),
        ("The price for you today is 3.", [], "The price for you today is 3."),
        ("You will be met there by Dr.", [], "You will be met there by Dr."),
        ("You will be met there by J.", [], "You will be met there by J."),
        ("Is this long enough for you?", ["Is this long enough for you?"], ""),
        ("क्या यह आपके लिए काफ़ी लंबा है।", ["क्या यह आपके लिए काफ़ी लंबा है।"], ""),
        ("この文は、二十文字より長いのでしょうか。", ["この文は、二十文字より長いのでしょうか。"], ""),
        ("a" * 600, ["a" * 250, "a" * 250], "a" * 100),
        ("word " * 60, ["word " * 50], "word " * 10),
        ("", [], ""),
    ],
)  # fmt: skip
def test_split_complete(held: str, segments: list[str], rest: str) -> None:
    assert split_complete(held) == (segments, rest)


def test_joined_segments_equal_the_text() -> None:
    text = "It costs 3.50 at Dr. Who's. And then? Nothing! " * 40 + "the end"
    segments, rest = split_complete(text)
    assert "".join(segments) + rest == text
    assert all(len(segment) <= SEGMENT_CHARS and ends_sentence(segment) for segment in segments)
