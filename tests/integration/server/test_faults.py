"""Injected faults of the offline server, and failures of its voice process."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
from contextlib import closing

import pytest
import requests
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from smallest_cli.errors import UsageError
from smallest_cli.server.faults import Faults, FaultSpec
from tests.support.offline import (
    HTTP,
    KEY,
    SSE,
    WS,
    Offline,
    child_of,
    children_of,
    eventually,
    hello,
    next_message,
    pcm_of,
    pcm_of_sse,
    receive,
    send,
    start_offline,
    statuses,
    watched,
)

INTERNAL = {"error": "InternalServerError", "message": "An unexpected error occurred."}
BLOCK = 7_680
LONG = hello(text="Far too long. " * 2_000, sample_rate=44_100)


# Specs


@pytest.mark.parametrize(
    ("word", "spec"),
    [
        ("status:503", FaultSpec("status", 503)),
        ("status:429:2", FaultSpec("status", 429, retry_after=2)),
        ("error", FaultSpec("error")),
        ("error:3", FaultSpec("error", after=3)),
        ("stall:2", FaultSpec("stall", after=2)),
        ("short:2", FaultSpec("short", after=2)),
        ("close:1011", FaultSpec("close", 1011)),
        ("close:1006:2", FaultSpec("close", 1006, 2)),
        ("close:4000:10", FaultSpec("close", 4000, 10)),
    ],
)
def test_fault_specs_are_parsed(word: str, spec: FaultSpec) -> None:
    assert FaultSpec.parse(word) == spec


@pytest.mark.parametrize(
    "word", ["", "status", "status:200", "status:600", "status:503:-1", "close", "close:999", "close:1005",
             "close:1015", "error:x", "stall:1:2", "explode", "status:503 "]
)  # fmt: skip
def test_invalid_fault_spec_is_a_usage_error(word: str) -> None:
    with pytest.raises(UsageError, match="unknown fault"):
        FaultSpec.parse(word)


def test_faults_alternate_and_end_after_fail_times() -> None:
    faults = Faults(("error", "stall"), 3)
    assert [fault and fault.kind for fault in (faults.take() for _ in range(5))] == [
        "error",
        "stall",
        "error",
        None,
        None,
    ]
    assert Faults((), 5).take() is None
    endless = Faults(("error",), 0)
    assert all(endless.take() for _ in range(100))


# status


@pytest.mark.parametrize(
    ("word", "status", "wait", "body"),
    [
        ("status:503", 503, None, {"error": "Service temporarily unavailable"}),
        ("status:429:2", 429, "2", {"error": "Concurrency limit reached"}),
        ("status:500", 500, None, INTERNAL),
        ("status:402", 402, None, {"error": "Insufficient credits"}),
        ("status:403", 403, None, {"error": "Forbidden", "message": "Usage limit reached."}),
        ("status:418", 418, None, {"error": "Failure 418 on request"}),
    ],
)
def test_status_fault_then_success(word: str, status: int, wait: str | None, body: object) -> None:
    with start_offline(fail=[word], fail_times=3) as server:
        for path in (HTTP["unified"], SSE["unified"]):
            reply = server.post(path, hello())
            assert (reply.status_code, reply.headers.get("Retry-After"), reply.json()) == (status, wait, body)
        with pytest.raises(InvalidStatus) as refused, server.open():
            pass
        response = refused.value.response
        assert (response.status_code, response.headers.get("Retry-After")) == (status, wait)
        assert json.loads(response.body or b"") == body
        assert statuses(server.say(hello())) == ["chunk", "complete"]
        assert server.post(HTTP["unified"], hello()).ok
        assert [entry["status"] for entry in server.log()[:2]] == [f"fault {status}"] * 2


def test_status_fault_on_open_socket_is_an_error_message() -> None:
    with start_offline(fail=["error", "status:403"], fail_times=2) as server, server.open() as ws:
        for words in ("An unexpected error occurred.", "Usage limit reached."):
            send(ws, hello())
            assert next_message(ws).items() >= {"status": "error", "message": words}.items()
        send(ws, hello())
        assert statuses(receive(ws)) == ["chunk", "complete"]


# error


def test_error_fault_after_three_blocks() -> None:
    with start_offline(fail=["error:3"]) as server:
        *chunks, error = server.say(hello())
        assert [chunk["status"] for chunk in chunks] == ["chunk"] * 3
        assert error.items() >= {"status": "error", "message": INTERNAL["message"]}.items()
        reply = server.post(SSE["unified"], hello())
        assert reply.status_code == 200
        last = json.loads(reply.text.split("\n\n")[-2].removeprefix("data: "))
        assert last == {"status": "error", "message": INTERNAL["message"]}
        assert len(pcm_of_sse(reply.content)) == 3 * BLOCK
        reply = server.post(HTTP["unified"], hello())
        assert (reply.status_code, reply.json()) == (500, INTERNAL)


def test_error_fault_beyond_the_end_replaces_complete() -> None:
    with start_offline(fail=["error:100000"]) as server:
        assert statuses(server.say(hello())) == ["chunk", "error"]


# close


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1013, 4001])
def test_close_fault_after_two_blocks(code: int) -> None:
    with start_offline(fail=[f"close:{code}:2"]) as server, server.open() as ws:
        send(ws, hello())
        assert [next_message(ws)["status"] for _ in range(2)] == ["chunk"] * 2
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv()
        assert closed.value.rcvd
        assert closed.value.rcvd.code == code


def test_close_1006_drops_the_connection() -> None:
    with start_offline(fail=["close:1006:2"]) as server, server.open() as ws:
        send(ws, hello())
        assert [next_message(ws)["status"] for _ in range(2)] == ["chunk"] * 2
        with pytest.raises(ConnectionClosedError) as closed:
            ws.recv()
        assert closed.value.rcvd is None


def audio_of(body: bytes) -> bytes:
    """The audio of a partial body, an event stream or raw PCM."""
    events = body.startswith(b"event:")
    return pcm_of_sse(body[: body.rfind(b"\n\n") + 2]) if events else body


@pytest.mark.parametrize("chunked", [False, True])
def test_close_fault_over_http_truncates_the_reply(chunked: bool) -> None:
    with start_offline(fail=["close:1011:2"], chunked=chunked) as server:
        for path in (SSE["unified"], HTTP["unified"]):
            with closing(server.post(path, hello(), stream=True)) as reply:
                assert reply.status_code == 200
                received = b""
                with pytest.raises(requests.exceptions.ChunkedEncodingError):
                    for data in reply.iter_content(1):
                        received += data
                assert len(audio_of(received)) == 2 * BLOCK


def test_close_fault_before_the_first_block_sends_no_reply() -> None:
    with start_offline(fail=["close:1011"]) as server, pytest.raises(requests.exceptions.ConnectionError):
        server.post(HTTP["unified"], hello())


# short


@pytest.mark.parametrize("blocks", [1, 2, 10_000])
def test_short_fault_ends_the_audio_early_with_the_end_marker(blocks: int) -> None:
    with start_offline(fail=[f"short:{blocks}"]) as server:
        received = [
            audio_of(server.post(path, hello()).content) for path in (HTTP["unified"], SSE["unified"])
        ]
        with server.open() as ws:
            send(ws, hello())
            messages = [next_message(ws)]
            while messages[-1]["status"] == "chunk":
                messages.append(next_message(ws))
        assert messages[-1]["status"] == "complete"
        eventually(lambda: len(server.log()) == 3)
        log = server.log()
    pcm = [base64.b64decode(message["data"]["audio"]) for message in messages[:-1]]
    lengths = {len(each) for each in (*received, b"".join(pcm))}
    assert len(lengths) == 1
    assert (lengths == {blocks * BLOCK}) is (blocks < 10_000)
    assert [entry["status"] for entry in log] == ["complete"] * 3
    assert {entry["audio_bytes"] for entry in log} == lengths


# stall


def test_stalled_socket_answers_pings() -> None:
    with start_offline(fail=["stall:2"], fail_times=1) as server:
        with server.open() as ws:
            send(ws, hello())
            assert [next_message(ws)["status"] for _ in range(2)] == ["chunk"] * 2
            send(ws, {"type": "ping"})
            assert next_message(ws) == {"type": "pong"}
        eventually(lambda: server.post(HTTP["unified"], hello()).ok)  # the slot is released on disconnect


@pytest.mark.parametrize("path", [HTTP["unified"], SSE["unified"]])
def test_stalled_reply_ends_when_the_client_disconnects(path: str) -> None:
    with start_offline(fail=["stall:2"], fail_times=1) as server:
        with closing(server.post(path, hello(), stream=True)) as reply:
            received = b""
            while len(audio_of(received)) < 2 * BLOCK:
                received += reply.raw.read1(65_536)
            assert server.post(HTTP["unified"], hello()).status_code == 429
        eventually(lambda: server.post(HTTP["unified"], hello()).ok)


# Voice process failures


def forks_of(server: Offline) -> list[int]:
    return children_of(child_of(server.process.pid))


def kill_forks(server: Offline) -> None:
    forks = forks_of(server)
    assert forks
    for pid in forks:
        os.kill(pid, signal.SIGKILL)


def test_killed_fork_fails_one_utterance_only() -> None:
    with start_offline() as server:
        with server.open(max_queue=1) as ws:
            send(ws, LONG)
            next_message(ws)
            kill_forks(server)
            *_, last = receive(ws)
            assert last.items() >= {"status": "error", "message": INTERNAL["message"]}.items()
            send(ws, hello())
            assert statuses(receive(ws)) == ["chunk", "complete"]
        with closing(server.post(SSE["unified"], LONG, stream=True)) as reply:
            received = reply.raw.read1(1_000)
            kill_forks(server)
            received += reply.raw.read()
            assert json.loads(received.split(b"\n\n")[-2][6:]) == {
                "status": "error",
                "message": INTERNAL["message"],
            }
        assert server.post(HTTP["unified"], hello()).ok
        assert [entry["status"] for entry in server.log() if entry["characters"] > 100] == [
            "the voice process died",
            "the voice process died",
        ]


def test_dead_voice_process_fails_no_running_utterance() -> None:
    with start_offline(concurrency=2) as server, server.open(max_queue=1) as ws:
        text = "Quite long. " * 100
        send(ws, hello(text=text))
        messages = [next_message(ws)]
        voice = child_of(server.process.pid)
        with watched(voice) as ended:
            os.kill(voice, signal.SIGKILL)
            ended()
        messages += receive(ws)
        assert pcm_of(messages) == server.post(HTTP["unified"], hello(text=text)).content


@pytest.mark.parametrize("coding", ["pcm", "mp3", "ulaw"])
def test_disconnect_ends_the_synthesis(coding: str) -> None:
    with start_offline() as server:
        body = json.dumps(LONG | {"output_format": coding}).encode()
        head = f"POST {HTTP['unified']} HTTP/1.1\r\nHost: 127.0.0.1:{server.address[1]}\r\n"
        head += f"Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(server.address, timeout=10) as sock:
            sock.sendall(head.encode() + body)
            eventually(lambda: bool(forks_of(server)))
        eventually(lambda: not forks_of(server))
        eventually(lambda: [entry["status"] for entry in server.log()] == ["unfinished"])
        assert server.post(HTTP["unified"], hello()).ok


def test_disconnect_drops_queued_jobs() -> None:
    with start_offline() as server:
        with server.open(WS["v3.1"]) as ws:
            for _ in range(3):
                send(ws, LONG)
            assert base64.b64decode(next_message(ws)["data"]["audio"])
            ws.socket.shutdown(socket.SHUT_RDWR)
        eventually(lambda: not forks_of(server))
        eventually(lambda: server.post(HTTP["unified"], hello()).ok)
        assert pcm_of(server.say(hello()))
