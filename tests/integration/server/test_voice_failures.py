"""A voice process that dies or hangs fails the requests in progress only, and is replaced by the next."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.offline import (
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
