"""The offline server over WebSockets, with websockets, websocket-client and raw sockets."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import websocket
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.sync.client import ClientConnection

from tests.support.offline import (
    HTTP,
    KEY,
    WS,
    Message,
    Offline,
    hello,
    next_message,
    pcm_of,
    receive,
    refusal,
    send,
    start_offline,
    statuses,
)

TASK = re.compile(r"task_[0-9a-f-]{36}")
SESSION = re.compile(r"ws_[0-9a-f-]{36}")
PING, PONG = {"type": "ping"}, {"type": "pong"}
BUSY = "Concurrency limit reached"


@pytest.fixture
def ws(server: Offline) -> Iterator[ClientConnection]:
    with server.open() as ws:
        yield ws


def pcm(server: Offline, **fields: Any) -> bytes:
    """The samples of a request over HTTP."""
    reply = server.post(HTTP["unified"], hello(**fields))
    assert reply.ok
    return reply.content


def assert_quiet(ws: ClientConnection) -> None:
    """Assert that no message is pending: the next one is the answer to a ping."""
    send(ws, PING)
    assert next_message(ws) == PONG


# Plain requests (waves/api.md, 3c and 4c)


def test_messages_match_the_service(ws: ClientConnection) -> None:
    send(ws, hello())
    *chunks, complete = receive(ws)
    assert [list(chunk) for chunk in chunks] == [["session_id", "request_id", "status", "data"]] * len(chunks)
    assert list(complete) == ["session_id", "request_id", "status"]
    assert SESSION.fullmatch(complete["session_id"])
    assert TASK.fullmatch(complete["request_id"])
    assert {chunk["session_id"] for chunk in chunks} == {complete["session_id"]}
    assert {chunk["request_id"] for chunk in chunks} == {complete["request_id"]}
    assert_quiet(ws)


@pytest.mark.parametrize(
    ("rate", "size"), [(8_000, 2_560), (16_000, 5_120), (24_000, 7_680), (44_100, 14_112)]
)
def test_chunks_are_160_ms_blocks(server: Offline, rate: int, size: int) -> None:
    *chunks, _ = server.say(hello(sample_rate=rate))
    assert {len(base64.b64decode(chunk["data"]["audio"])) for chunk in chunks} == {size}
    assert pcm_of(chunks) == pcm(server, sample_rate=rate)


def test_only_last_block_of_fast_speech_is_short(server: Offline) -> None:
    *chunks, last, _ = server.say(hello(speed=1.5))
    assert {len(base64.b64decode(chunk["data"]["audio"])) for chunk in chunks} == {7_680}
    assert 0 < len(base64.b64decode(last["data"]["audio"])) < 7_680


def test_socket_can_be_reused_with_a_new_request_id(server: Offline, ws: ClientConnection) -> None:
    answers = []
    for text in ("First.", "Second."):
        send(ws, hello(text=text))
        answers.append(receive(ws))
        assert pcm_of(answers[-1]) == pcm(server, text=text)
    first, second = (answer[-1] for answer in answers)
    assert first["session_id"] == second["session_id"]
    assert first["request_id"] != second["request_id"]


def test_outstanding_requests_are_synthesized_in_order(server: Offline, ws: ClientConnection) -> None:
    texts = ["First sentence.", "Second sentence.", "Third."]
    for text in texts:
        send(ws, hello(text=text))
    assert [pcm_of(receive(ws)) for _ in texts] == [pcm(server, text=text) for text in texts]


def test_client_ids_are_echoed_on_every_message(ws: ClientConnection) -> None:
    send(ws, hello(session_id="my-session-123", request_id="my-request-456"))
    messages = receive(ws)
    names = ["session_id", "request_id", "external_session_id", "external_request_id", "status"]
    assert list(messages[-1]) == names
    for message in messages:
        assert message["external_session_id"] == "my-session-123"
        assert message["external_request_id"] == "my-request-456"
        assert TASK.fullmatch(message["request_id"])


def test_v31_messages_match_unified_and_v2_has_no_session_id(server: Offline) -> None:
    *chunks, complete = server.say(hello(), WS["v3.1"])
    assert list(complete) == ["session_id", "request_id", "status"]
    *older, complete = server.say(hello(speed=1, consistency=0.5, similarity=0, enhancement=1), WS["v2"])
    assert list(complete) == ["request_id", "status"]
    assert {tuple(chunk) for chunk in older} == {("request_id", "status", "data")}
    assert pcm_of(older) == pcm_of(chunks)


def test_v2_socket_accepts_wider_speed(server: Offline) -> None:
    assert server.say(hello(speed=0.2), WS["v2"])[-1]["status"] == "complete"
    assert server.say(hello(speed=0.2), WS["v3.1"])[-1]["status"] == "error"


def test_binary_message_is_read_as_text(ws: ClientConnection) -> None:
    ws.send(json.dumps(hello()).encode())
    assert receive(ws)[-1]["status"] == "complete"


# Word timings


def test_words_are_interleaved_in_time_order(server: Offline) -> None:
    text = "I bought 3 cats for $100 on Dec 25th"
    messages = server.say(hello(text=text, voice_id="meher", word_timestamps=True))
    assert statuses(messages)[:2] == ["chunk", "word_timestamp"]
    words = [message["data"] for message in messages if message["status"] == "word_timestamp"]
    assert [list(word) for word in words] == [["id", "word", "start", "end"]] * len(words)
    assert [word["word"] for word in words] == text.split()
    assert [word["id"] for word in words] == list(range(len(words)))
    times = [word[name] for word in words for name in ("start", "end")]
    assert times == sorted(times)
    received = 0.0
    for message in messages:
        if message["status"] == "chunk":
            received += 0.16
        elif message["status"] == "word_timestamp":
            assert message["data"]["start"] < received
    assert pcm_of(messages) == pcm(server, text=text, voice_id="meher")


@pytest.mark.parametrize("fields", [{"voice_id": "magnus"}, {"voice_id": "meher", "language": "fr"},
    {"voice_id": "meher", "word_timestamps": False}])  # fmt: skip
def test_no_word_messages_for_other_voices_or_languages(server: Offline, fields: Message) -> None:
    assert statuses(server.say(hello(word_timestamps=True) | fields)) == ["chunk", "complete"]


# Errors (4a, 4f, 5b)


@pytest.mark.parametrize("path", WS.values())
@pytest.mark.parametrize("given", ["Bearer sk_other", "", f"Basic {KEY}"])
def test_invalid_key_is_401_before_the_upgrade(server: Offline, path: str, given: str) -> None:
    refused = refusal(server, path, additional_headers={"Authorization": given})
    assert refused.status_code == 401
    assert json.loads(refused.body or b"") == {
        "error": "Unauthorized",
        "message": "Bearer token is missing or invalid.",
    }


def test_key_in_the_url_is_rejected(server: Offline) -> None:
    url = f"{WS['unified']}?token={KEY}"
    assert refusal(server, url, additional_headers={"Authorization": ""}).status_code == 401


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"voice_id": "no_such_voice"}, "voice_id", "Invalid Voice ID"),
        ({"text": ""}, "text", "The 'text' field is required."),
        ({"language": "ja"}, "language", "Language 'ja' is not supported on the lightning_v3.1 model."),
        ({"speed": 3}, "speed", "Number must be less than or equal to 2"),
        ({"sample_rate": 48_000}, "sample_rate", "Invalid enum value."),
        ({"continue": "yes"}, "continue", "Expected boolean, received string"),
        ({"flush": 1}, "flush", "Expected boolean, received number"),
        ({"context_id": "a b", "continue": True}, "context_id", "Invalid"),
        ({"context_id": ["a"], "continue": True}, "context_id", "Expected string, received array"),
        ({"context_id": "a", "max_buffer_delay_ms": 5_001}, "max_buffer_delay_ms", "Number must be"),
        (
            {"complete_backoff_ms": 10_001},
            "complete_backoff_ms",
            "Number must be less than or equal to 10000",
        ),
        ({"max_buffer_flush_ms": 0.5}, "max_buffer_flush_ms", "Expected integer, received float"),
        ({"text": " ", "voice_id": "no_such_voice", "flush": True}, "voice_id", "Invalid Voice ID"),
    ],
)
def test_invalid_request_leaves_the_socket_open(
    ws: ClientConnection, fields: Message, path: str, words: str
) -> None:
    send(ws, hello(**fields))
    error = next_message(ws)
    assert list(error) == ["session_id", "status", "message", "errors"]
    assert (error["status"], error["message"]) == ("error", "Invalid input data")
    assert error["errors"][0]["path"] == [path]
    assert error["errors"][0]["message"].startswith(words)
    send(ws, hello())
    assert statuses(receive(ws)) == ["chunk", "complete"]


@pytest.mark.parametrize("data", ["", "hello", "[]", "null", '"text"', "[" * 99_999])
def test_body_that_is_not_a_json_object_is_400(ws: ClientConnection, data: str) -> None:
    ws.send(data)
    assert next_message(ws).items() >= {"status": "error", "message": "Invalid input data"}.items()
    assert_quiet(ws)


def test_bare_flush_is_invalid(ws: ClientConnection) -> None:
    send(ws, {"flush": True})
    assert [issue["path"] for issue in next_message(ws)["errors"]] == [["text"], ["voice_id"]]


def test_message_over_1_mib_closes_the_socket(ws: ClientConnection) -> None:
    ws.send(json.dumps(hello(extra="a" * (1 << 20))))
    with pytest.raises(ConnectionClosedError) as closed:
        ws.recv()
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1009


# Handshake


def test_compression_is_declined(server: Offline) -> None:
    with server.open(compression="deflate") as ws:
        assert ws.response
        assert "Sec-WebSocket-Extensions" not in ws.response.headers


def test_unmodified_websocket_client(server: Offline) -> None:
    """It sends the server itself as `Origin`."""
    ws = websocket.create_connection(
        server.ws_url + WS["unified"],
        header=[f"Authorization: Bearer {KEY}"],
        timeout=10,
        http_no_proxy=["*"],
    )
    ws.send(json.dumps(hello()))
    messages = [json.loads(ws.recv())]
    while messages[-1]["status"] == "chunk":
        messages.append(json.loads(ws.recv()))
    ws.close()
    assert messages[-1]["status"] == "complete"
    assert pcm_of(messages) == pcm(server)


def test_frames_are_unfragmented_text(server: Offline) -> None:
    """On a raw socket: one unfragmented, unmasked text frame per message (RFC 6455, 5.2)."""
    nonce = base64.b64encode(b"0123456789abcdef").decode()
    host = f"127.0.0.1:{server.address[1]}"
    head = [f"GET {WS['unified']} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {KEY}"]
    head += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    with socket.create_connection(server.address, timeout=10) as sock, sock.makefile("rb") as answers:
        sock.sendall("\r\n".join([*head, f"Sec-WebSocket-Key: {nonce}", "", ""]).encode())
        assert answers.readline().startswith(b"HTTP/1.1 101 ")
        while answers.readline().strip():
            pass
        body = json.dumps(hello(sample_rate=44_100)).encode()
        sock.sendall(bytes([0x81, 0x80 | len(body), 0, 0, 0, 0]) + body)
        statuses_seen = []
        while statuses_seen[-1:] != ["complete"]:
            first, size = answers.read(2)
            assert first == 0x81
            if size >= 126:
                size = int.from_bytes(answers.read(2 if size == 126 else 8), "big")
            statuses_seen.append(json.loads(answers.read(size))["status"])
        sock.sendall(b"\x88\x82\0\0\0\0\x03\xe8")
        assert answers.read() == b"\x88\x02\x03\xe8"  # the same close code, then the end
    assert statuses_seen[0] == "chunk"


# Idle timeout and keep-alive (4b)


@pytest.mark.parametrize("kind", ["ping", "keepalive", "keep_alive", "keep-alive"])
def test_keep_alive_is_answered_with_pong(ws: ClientConnection, kind: str) -> None:
    send(ws, {"type": kind})
    assert next_message(ws) == PONG


def test_blank_text_keep_alive_has_no_effect(server: Offline, ws: ClientConnection) -> None:
    blank = {"text": " ", "voice_id": "meher", "model": "lightning_v3.1_pro", "language": "en"}
    send(ws, blank)
    assert_quiet(ws)
    send(ws, hello(text="Half a sentence", context_id="c", **{"continue": True}))
    send(ws, hello(text="Half a buffer", **{"continue": True}))
    send(ws, blank)
    assert_quiet(ws)
    send(ws, hello(text="", flush=True, complete_backoff_ms=0))
    assert pcm_of(receive(ws)) == pcm(server, text="Half a buffer")


def test_protocol_ping_is_answered_during_synthesis(ws: ClientConnection) -> None:
    send(ws, hello(text="A rather long sentence to be spoken. " * 10))
    assert ws.ping().wait(10)
    assert receive(ws)[-1]["status"] == "complete"


def test_idle_socket_gets_an_error_and_is_closed() -> None:
    with start_offline(idle_timeout_s=0.05) as server, server.open() as ws:
        send(ws, hello())
        assert receive(ws)[-1]["status"] == "complete"
        assert next_message(ws) == {
            "status": "error",
            "message": "Connection timed out after 0.05 seconds of inactivity",
        }
        with pytest.raises(ConnectionClosedOK):
            ws.recv()


def test_timeout_query_sets_the_idle_timeout() -> None:
    with start_offline(idle_timeout_s=0.05) as server:
        with server.open(f"{WS['unified']}?timeout=1") as ws:
            assert next_message(ws)["message"] == "Connection timed out after 1 seconds of inactivity"
        for odd in ("0", "-1", "x", "", "%C2%B2"):
            with server.open(f"{WS['unified']}?timeout={odd}") as ws:
                assert next_message(ws)["message"].startswith("Connection timed out after 0.05 seconds")


def test_synthesis_suspends_the_idle_timeout() -> None:
    with start_offline(idle_timeout_s=0.5, buffered_complete_wait_ms=1000) as server, server.open() as ws:
        send(ws, hello(flush=True))
        assert statuses(receive(ws)) == ["chunk", "complete"]
        assert next_message(ws)["status"] == "error"
