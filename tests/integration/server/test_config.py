"""Each switch of the offline server: what the sources dispute, how fast it is, what it writes down."""

from __future__ import annotations

import json
import stat
from statistics import median
from time import perf_counter_ns
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedOK, InvalidStatus

from smallest_cli.errors import UsageError
from smallest_cli.server.config import ServerConfig
from smallest_cli.server.state import Pacer, Random
from tests.support.offline import (
    HTTP,
    KEY,
    SSE,
    WS,
    hello,
    next_message,
    pcm_of,
    pcm_of_sse,
    receive,
    send,
    start_offline,
    statuses,
)

MS = 1_000_000
PONG = {"type": "pong"}


# What the sources dispute (waves/api.md, 10 and 11.5)


def test_close_after_complete() -> None:
    with start_offline(close_after_complete=True, buffered_complete_wait_ms=0) as server:
        for fields in ({}, {"flush": True}):
            with server.open() as ws:
                send(ws, hello(**fields))
                assert statuses(receive(ws)) == ["chunk", "complete"]
                with pytest.raises(ConnectionClosedOK):
                    ws.recv()
        with server.open() as ws:  # a continuation's socket stays open (4c.3)
            send(ws, hello(context_id="c"))
            assert statuses(receive(ws)) == ["chunk", "complete"]
            send(ws, {"type": "ping"})
            assert next_message(ws) == PONG


def test_one_complete_for_each_quiet_period() -> None:
    with start_offline(complete_per="quiet", complete_wait_ms=300) as server, server.open() as ws:
        texts = ["First sentence.", "Second sentence.", "Third."]
        for text in texts:
            send(ws, hello(text=text))
        messages = receive(ws)
        send(ws, {"type": "ping"})
        assert next_message(ws) == PONG
        assert len({message["request_id"] for message in messages}) == 3
        assert messages[-1]["request_id"] == messages[-2]["request_id"]
        assert pcm_of(messages) == b"".join(
            server.post(HTTP["unified"], hello(text=text)).content for text in texts
        )


@pytest.mark.parametrize(
    ("behaviour", "fields", "wait_ms"),
    [
        ({"complete_wait_ms": 30}, {}, 30),
        ({"buffered_complete_wait_ms": 40}, {"flush": True}, 40),
        ({"buffered_complete_wait_ms": 40}, {"context_id": "c"}, 40),
        ({}, {"complete_backoff_ms": 50}, 50),
        ({}, {"complete_backoff_ms": 60, "flush": True}, 60),
    ],
)
def test_complete_waits(behaviour: dict[str, Any], fields: dict[str, Any], wait_ms: int) -> None:
    with start_offline(**behaviour) as server, server.open() as ws:
        send(ws, hello(**fields))
        assert statuses(receive(ws)) == ["chunk", "complete"]
        send(ws, hello(text="The log of the one before is written by now.", complete_backoff_ms=0))
        receive(ws)
        entry = server.log()[0]
        assert entry["completed_ns"] - entry["last_audio_ns"] >= wait_ms * MS


def test_what_comes_while_complete_waits_is_spoken_at_once() -> None:
    with start_offline(complete_wait_ms=10_000) as server, server.open() as ws:
        for _ in range(5):
            send(ws, hello())
        for _ in range(4):
            assert statuses(receive(ws)) == ["chunk", "complete"]


def test_older_form_of_complete() -> None:
    with start_offline(complete_form="older") as server:
        complete = server.say(hello())[-1]
        assert complete == {
            "request_id": complete["request_id"],
            "status": "complete",
            "message": "All chunks sent",
            "done": True,
        }


def test_a_closing_message_with_nothing_to_say_may_get_no_reply() -> None:
    with start_offline(answer_empty_close=False) as server, server.open() as ws:
        send(ws, hello(text="", flush=True))
        send(ws, hello(text=None, context_id="c"))
        send(ws, {"type": "ping"})
        assert next_message(ws) == PONG
        send(ws, hello(max_buffer_flush_ms=1, **{"continue": True}))
        assert next_message(ws)["status"] == "chunk"
        send(ws, hello(text="", flush=True))  # the end of what has been said already
        assert statuses(receive(ws))[-1] == "complete"


@pytest.mark.parametrize(
    ("shape", "first", "end"),
    [
        ("live", 'event: audio\ndata: {"audio": "', {"status": "200", "done": True}),
        ("older", 'event: audio\ndata: {"audio": "', {"done": True}),
        ("seed", 'data: {"status": "chunk", "data": {"audio": "', {"status": "complete"}),
    ],
)
def test_one_event_stream_envelope_for_every_route(shape: str, first: str, end: dict[str, Any]) -> None:
    with start_offline(sse_shape=shape) as server:
        for path in SSE.values():
            reply = server.post(path, hello())
            assert reply.text.startswith(first)
            assert json.loads(reply.text.split("\n\n")[-2].removeprefix("data: ")).items() >= end.items()
            assert pcm_of_sse(reply.content) == server.post(HTTP["unified"], hello()).content


ISSUE = {"code": "custom", "path": ["voice_id"], "message": "Invalid Voice ID"}


@pytest.mark.parametrize(
    ("form", "rest"),
    [
        ("message", {"message": "Invalid input data", "errors": [ISSUE]}),
        ("nested", {"error": {"message": "Invalid input data", "code": "native"}}),
        ("list", {"message": "Invalid input data", "errors": [ISSUE]}),
    ],
)
def test_forms_of_errors(form: str, rest: dict[str, Any]) -> None:
    with start_offline(error_form=form) as server:
        error = server.say(hello(voice_id="nobody"))[-1]
        assert error == {"session_id": error["session_id"], "status": "error"} | rest


def test_one_shot_without_its_length() -> None:
    with start_offline(chunked=True) as server:
        reply = server.post(HTTP["unified"], hello(output_format="wav"))
        assert "Content-Length" not in reply.headers
        assert reply.headers["Transfer-Encoding"] == "chunked"
        assert int.from_bytes(reply.content[40:44], "little") == len(reply.content) - 44


RETIRED = {
    "v3.1": "/waves/v1/tts",
    "v2": "/waves/v1/lightning-v3.1/get_speech",
}


@pytest.mark.parametrize("api", ["v3.1", "v2"])
@pytest.mark.parametrize("legacy", ["404", "410"])
def test_older_routes_may_have_gone(api: str, legacy: str) -> None:
    with start_offline(legacy=legacy) as server:
        for path in (HTTP[api], SSE[api]):
            reply = server.post(path, hello())
            assert reply.status_code == int(legacy)
            if legacy == "410":
                assert reply.json().items() >= {"error_code": "MODEL_DEPRECATED"}.items()
                assert reply.json()["recommended_endpoint"] == RETIRED[api]
        with pytest.raises(InvalidStatus, match=legacy), server.open(WS[api]):
            pass
        assert server.post(HTTP["unified"], hello()).ok
        assert server.ask("GET", "/waves/v1/lightning-v2/get_voices").status_code == 400


def test_further_voices_and_a_shortest_limit() -> None:
    with start_offline(extra_voices=["voice_abc", "emily"], max_text=20) as server:
        assert any(server.post(HTTP["unified"], hello(voice_id="voice_abc")).content)
        assert server.post(HTTP["unified"], hello(voice_id="emily", text="a" * 20)).ok
        reply = server.post(HTTP["unified"], hello(text="a" * 21))
        assert reply.status_code == 400
        assert reply.json()["error"][0]["message"] == "String must contain at most 20 character(s)"
        assert server.say(hello(text="a" * 21))[-1]["errors"][0]["path"] == ["text"]


# Time (11.4)


@pytest.mark.parametrize("path", [HTTP["unified"], SSE["unified"], None])
def test_audio_comes_no_sooner_than_its_pace(path: str | None) -> None:
    pace = {"first_byte_ms": 40, "realtime_factor": 20, "jitter_ms": 1}
    with start_offline(**pace) as server:
        blocks = len(pcm_of(server.say(hello()))) // 7_680
        if path:
            server.post(path, hello())
        entry = server.log()[-1]
        assert entry["first_audio_ns"] - entry["received_ns"] >= 40 * MS
        assert entry["last_audio_ns"] - entry["received_ns"] >= (40 + (blocks - 1) * 8) * MS


def first_bytes(**fields: Any) -> list[float]:
    behaviour = ServerConfig(**fields)
    luck = Random(behaviour.seed)
    return [Pacer(behaviour, luck, 100.0).due - 100.0 for _ in range(2_000)]


def test_first_byte_is_lognormal_about_its_median() -> None:
    drawn = sorted(first_bytes(first_byte_ms=200, first_byte_sigma=0.5, seed=1))
    assert 0.18 < median(drawn) < 0.22
    assert 1.5 < drawn[int(0.8413 * len(drawn))] / median(drawn) < 1.8  # e to the 0.5 is 1.65


def test_random_times_can_be_had_again() -> None:
    spread = {"first_byte_ms": 200, "first_byte_sigma": 0.5}
    assert first_bytes(**spread, seed=1) == first_bytes(**spread, seed=1) != first_bytes(**spread, seed=2)
    assert max(first_bytes(first_byte_ms=200)) == min(first_bytes(first_byte_ms=200)) == pytest.approx(0.2)


# The log


def test_log_has_a_line_for_each_request_with_stamps_of_this_machines_clock() -> None:
    with start_offline() as server:
        began = perf_counter_ns()
        server.post(HTTP["unified"], hello(text="One, two, trois…"))
        server.post(SSE["unified"], hello())
        with server.open() as ws:
            for _ in range(2):
                send(ws, hello())
                messages = receive(ws)
            send(ws, hello())  # so that the line of the one before is written
            receive(ws)
            ended = perf_counter_ns()
        entries = server.log()[:4]
        assert [entry["via"] for entry in entries] == ["http", "sse", "ws", "ws"]
        assert entries[0]["text"] == "One, two, trois…"
        assert entries[0]["characters"] == 16
        assert entries[3]["request_id"] == messages[-1]["request_id"]
        for entry in entries:
            times = [entry[f"{what}_ns"] for what in ("received", "first_audio", "last_audio", "completed")]
            assert [began, *times, ended] == sorted([began, *times, ended])
            assert entry["status"] == "complete"
            assert entry["key"] == KEY[-4:]
        assert KEY not in server.log_path.read_text()
        assert stat.S_IMODE(server.log_path.stat().st_mode) == 0o600


# What a behaviour cannot be


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"colour": "red"}, "no such behaviour: colour"),
        ({"port": 65_536}, "port is a number from 0 to 65535"),
        ({"port": "80"}, "port is a number"),
        ({"port": True}, "port is a number"),
        ({"concurrency": 0}, "concurrency is a number from 1 to 10000"),
        ({"idle_timeout_s": 181}, "idle_timeout_s is a number from 0.01 to 180"),
        ({"realtime_factor": float("nan")}, "realtime_factor is a number"),
        ({"max_text": 0}, "max_text is a number from 1 to 100000"),
        ({"legacy": "off"}, "legacy is one of on, 404, 410"),
        ({"complete_per": None}, "complete_per is one of request, quiet"),
        ({"chunked": 2}, "chunked is one of True, False"),
        ({"token": ""}, "the token is empty"),
        ({"token": 5}, "token is a word"),
        ({"fail": ["status:200"]}, "no such failure: status:200"),
        ({"fail": [5]}, "fail is a list of words"),
        ({"fail": "status:503"}, "fail is a list of words"),
        ({"extra_voices": "emily"}, "extra_voices is a list of words"),
        ({"tls_cert": "a.pem"}, "a certificate and its key are given together"),
        ({"host": "0.0.0.0"}, "listening on 0.0.0.0 needs a token of at least 16 characters"),
        ({"host": "0.0.0.0", "token": "short"}, "needs a token of at least 16 characters"),
        ({"host": "example.org"}, "needs a token"),
    ],
)
def test_a_behaviour_that_cannot_be(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ServerConfig.from_fields(fields)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert ServerConfig.from_fields({"host": host}).on_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.evil.example"])
def test_all_else_needs_one(host: str) -> None:
    assert not ServerConfig.from_fields({"host": host, "token": "a" * 16}).on_loopback
