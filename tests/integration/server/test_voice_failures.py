"""A voice process that dies or hangs fails the requests in progress only, and is replaced by the next."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.offline import (
    DEADLINE,
    HTTP,
    SSE,
    Offline,
    child_of,
    children_of,
    hello,
    next_message,
    pcm_of,
    receive,
    send,
    start_offline,
    start_serve,
    statuses,
    watched,
)

pytestmark = pytest.mark.long

LONG = hello(text="Far too long. " * 2_000, sample_rate=44_100)


def voice_of(server: Offline) -> int:
    return child_of(server.process.pid)


def kill_voice(server: Offline, number: signal.Signals = signal.SIGKILL) -> None:
    """Kill the voice process, and wait for its end."""
    voice = voice_of(server)
    with watched(voice) as ended:
        os.kill(voice, number)
        ended()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_dead_voice_process_is_replaced(number: signal.Signals) -> None:
    with start_offline() as server:
        with server.open() as ws:
            for _ in range(3):
                kill_voice(server, number)
                send(ws, hello())
                assert any(pcm_of(receive(ws)))
        kill_voice(server, number)
        assert any(server.post(HTTP["unified"], hello()).content)
        assert len(children_of(server.process.pid)) == 1


def test_stopped_voice_process_is_replaced() -> None:
    """Requests in progress get an error instead of an end marker."""
    with start_offline(concurrency=3) as server, server.open(max_queue=1) as ws:
        send(ws, LONG)
        next_message(ws)
        voice = voice_of(server)
        for pid in (*children_of(voice), voice):
            os.kill(pid, signal.SIGSTOP)
        assert server.post(HTTP["unified"], hello()).status_code == 500
        *_, last = receive(ws)
        assert last["status"] == "error"
        assert any(server.post(HTTP["unified"], hello()).content)
        send(ws, hello())
        assert statuses(receive(ws)) == ["chunk", "complete"]
        assert "the voice process hangs" in [entry["status"] for entry in server.log()]
        assert voice_of(server) != voice


def test_stopped_utterance_is_an_error() -> None:
    with start_offline() as server:
        with closing(server.post(SSE["unified"], LONG, stream=True)) as reply:
            start = reply.raw.read1(1_000)
            for pid in children_of(voice_of(server)):
                os.kill(pid, signal.SIGSTOP)
            last = (start + reply.raw.read()).split(b"\n\n")[-2]
        assert b'"status": "error"' in last or b'"status":"error"' in last
        assert any(server.post(HTTP["unified"], hello()).content)


@contextmanager
def asked_for_events(server: Offline, format: str) -> Iterator[socket.socket]:
    """Request speech events of the OpenAI API for a text of some minutes, on a socket of its own."""
    fields = {"model": "tts-1", "voice": "alloy", "response_format": format, "stream_format": "sse"}
    body = json.dumps(fields | {"input": "Far too long. " * 290}).encode()
    head = (
        f"POST /v1/audio/speech HTTP/1.1\r\nHost: 127.0.0.1:{server.address[1]}\r\n"
        f"Authorization: Bearer {server.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(server.address, timeout=DEADLINE) as sock:
        sock.sendall(head.encode() + body)
        yield sock


def read_to_end(sock: socket.socket) -> bytes:
    """Read until the server closes the connection, which it may reset."""
    came = b""
    with suppress(ConnectionResetError):
        while data := sock.recv(65_536):
            came += data
    return came


def assert_cut_off(came: bytes) -> None:
    """Neither an end marker nor a second reply: the client must not take the audio for complete."""
    assert came.startswith(b"HTTP/1.1 200 ")
    assert came.count(b"HTTP/1.1") == 1
    assert not came.endswith(b"0\r\n\r\n")
    assert b"speech.audio.done" not in came


@pytest.mark.parametrize("how", ["voice killed", "utterance killed", "utterance stopped"])
def test_speech_events_end_with_the_connection_where_the_voice_fails(how: str) -> None:
    with start_offline(openai=True) as server:
        with asked_for_events(server, "pcm") as sock:
            came = b""
            while b"speech.audio.delta" not in came:
                came += sock.recv(1_000)
            voice = voice_of(server)
            number = signal.SIGSTOP if how == "utterance stopped" else signal.SIGKILL
            for pid in (*children_of(voice), *([voice] if how == "voice killed" else ())):
                os.kill(pid, number)
            assert_cut_off(came + read_to_end(sock))
        assert server.log()[-1]["status"] != "complete"
        assert any(server.post(HTTP["unified"], hello()).content)


@pytest.mark.parametrize("format", ["pcm", "wav", "mp3"])
def test_speech_events_end_with_the_connection_before_any_audio(format: str) -> None:
    with start_offline(openai=True) as server:
        assert server.post(HTTP["unified"], hello()).ok
        os.kill(voice_of(server), signal.SIGSTOP)
        with asked_for_events(server, format) as sock:
            came = read_to_end(sock)
        assert_cut_off(came)
        assert b"speech.audio" not in came
        assert any(server.post(HTTP["unified"], hello()).content)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("state", ["stopped", "utterance stopped", "killed", "replaced"])
def test_signal_ends_the_server_whatever_its_voice_does(state: str, end: signal.Signals) -> None:
    with start_serve("--concurrency", "2", end=end) as server:
        with server.open(max_queue=1, close_timeout=0) as ws:
            send(ws, LONG)
            next_message(ws)
            voice = voice_of(server)
            forks = children_of(voice)
            if state in ("killed", "replaced"):
                kill_voice(server)
            else:
                for pid in forks if state == "utterance stopped" else (voice, *forks):
                    os.kill(pid, signal.SIGSTOP)
            if state == "replaced":
                assert server.post(HTTP["unified"], hello()).ok
            remaining = [pid for pid in (*forks, *children_of(server.process.pid)) if is_running(pid)]
            with watched(server.process.pid, *remaining) as all_ended:
                server.process.send_signal(end)
                all_ended()
        assert server.process.wait(10) == -end


def is_running(pid: int) -> bool:
    return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
