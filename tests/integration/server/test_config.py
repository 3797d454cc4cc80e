"""Configuration of the offline server: disputed protocol points, pacing and the request log."""

from __future__ import annotations

import json
import re
import stat
from random import Random
from statistics import median
from time import perf_counter_ns
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedOK, InvalidStatus

from smallest_cli.errors import UsageError
from smallest_cli.server.config import ServerConfig
from smallest_cli.server.state import Pacer
from tests.support.offline import (
    HTTP,
    KEY,
    SSE,
    WS,
    eventually,
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


# Disputed points (waves/api.md, 10 and 11.5)


def test_close_after_complete_closes_the_socket() -> None:
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


def test_complete_per_quiet_period() -> None:
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
    ("config", "fields", "wait_ms"),
    [
        ({"complete_wait_ms": 30}, {}, 30),
        ({"buffered_complete_wait_ms": 40}, {"flush": True}, 40),
        ({"buffered_complete_wait_ms": 40}, {"context_id": "c"}, 40),
        ({}, {"complete_backoff_ms": 50}, 50),
        ({}, {"complete_backoff_ms": 60, "flush": True}, 60),
    ],
)
def test_complete_wait_comes_from_client_or_config(
    config: dict[str, Any], fields: dict[str, Any], wait_ms: int
) -> None:
    with start_offline(**config) as server, server.open() as ws:
        send(ws, hello(**fields))
        assert statuses(receive(ws)) == ["chunk", "complete"]
        send(ws, hello(text="The log of the one before is written by now.", complete_backoff_ms=0))
        receive(ws)
        entry = server.log()[0]
        assert entry["completed_ns"] - entry["last_audio_ns"] >= wait_ms * MS


def test_request_during_complete_wait_starts_at_once() -> None:
    """Each `complete` has its own delay, here endless; audio is sent in the order of the requests."""
    with start_offline(complete_wait_ms=10_000) as server, server.open() as ws:
        for number in range(5):
            send(ws, hello(request_id=str(number)))
        seen: dict[str, None] = {}
        while len(seen) < 5:
            message = next_message(ws)
            assert message["status"] == "chunk"
            seen[message["external_request_id"]] = None
        assert list(seen) == ["0", "1", "2", "3", "4"]


def test_second_request_may_be_held_back_or_refused() -> None:
    with start_offline(second_request="hold", complete_wait_ms=50) as server, server.open() as ws:
        for number in range(2):
            send(ws, hello(request_id=str(number)))
        for number in range(2):
            messages = receive(ws)
            assert statuses(messages) == ["chunk", "complete"]
            assert {message["external_request_id"] for message in messages} == {str(number)}
    with start_offline(second_request="refuse", complete_wait_ms=50) as server, server.open() as ws:
        for number in range(2):
            send(ws, hello(request_id=str(number)))
        messages = [next_message(ws)]
        while messages[-1]["status"] != "complete":
            messages.append(next_message(ws))
        (error,) = [message for message in messages if message["status"] == "error"]
        assert "oncurren" in error["message"]
        assert messages[-1]["external_request_id"] == "0"


def test_older_complete_form() -> None:
    with start_offline(complete_form="older") as server:
        complete = server.say(hello())[-1]
        assert complete == {
            "request_id": complete["request_id"],
            "status": "complete",
            "message": "All chunks sent",
            "done": True,
        }


def test_empty_close_is_unanswered_when_configured() -> None:
    with start_offline(answer_empty_close=False) as server, server.open() as ws:
        send(ws, hello(text="", flush=True))
        send(ws, hello(text=None, context_id="c"))
        send(ws, {"type": "ping"})
        assert next_message(ws) == PONG
        send(ws, hello(max_buffer_flush_ms=1, **{"continue": True}))
        assert next_message(ws)["status"] == "chunk"
        send(ws, hello(text="", flush=True))  # closes text that was already spoken
        assert statuses(receive(ws))[-1] == "complete"


@pytest.mark.parametrize(
    ("shape", "first", "end"),
    [
        ("live", 'event: audio\ndata: {"audio": "', {"status": "200", "done": True}),
        ("older", 'event: audio\ndata: {"audio": "', {"done": True}),
        ("seed", 'data: {"status": "chunk", "data": {"audio": "', {"status": "complete"}),
    ],
)
def test_sse_shape_applies_to_every_route(shape: str, first: str, end: dict[str, Any]) -> None:
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
def test_error_forms(form: str, rest: dict[str, Any]) -> None:
    with start_offline(error_form=form) as server:
        error = server.say(hello(voice_id="no_such_voice"))[-1]
        assert error == {"session_id": error["session_id"], "status": "error"} | rest


def test_chunked_reply_has_no_content_length() -> None:
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
def test_legacy_routes_can_be_404_or_410(api: str, legacy: str) -> None:
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


def test_extra_voices_and_max_text() -> None:
    with start_offline(extra_voices=["voice_abc", "emily"], max_text=20) as server:
        assert any(server.post(HTTP["unified"], hello(voice_id="voice_abc")).content)
        assert server.post(HTTP["unified"], hello(voice_id="emily", text="a" * 20)).ok
        reply = server.post(HTTP["unified"], hello(text="a" * 21))
        assert reply.status_code == 400
        assert reply.json()["error"][0]["message"] == "String must contain at most 20 character(s)"
        assert server.say(hello(text="a" * 21))[-1]["errors"][0]["path"] == ["text"]


# Pacing (11.4)


@pytest.mark.parametrize("path", [HTTP["unified"], SSE["unified"], None])
def test_audio_is_paced(path: str | None) -> None:
    pace = {"first_byte_ms": 40, "realtime_factor": 20, "jitter_ms": 1}
    with start_offline(**pace) as server:
        blocks = len(pcm_of(server.say(hello()))) // 7_680
        if path:
            server.post(path, hello())
        entry = server.log()[-1]
        assert entry["first_audio_ns"] - entry["received_ns"] >= 40 * MS
        assert entry["last_audio_ns"] - entry["received_ns"] >= (40 + (blocks - 1) * 8) * MS


def first_bytes(**fields: Any) -> list[float]:
    config = ServerConfig(**fields)
    random = Random(config.seed)
    return [Pacer(config, random, 100.0).due - 100.0 for _ in range(2_000)]


def test_first_byte_time_is_lognormal() -> None:
    drawn = sorted(first_bytes(first_byte_ms=200, first_byte_sigma=0.5, seed=1))
    assert 0.18 < median(drawn) < 0.22
    assert 1.5 < drawn[int(0.8413 * len(drawn))] / median(drawn) < 1.8  # exp(0.5) is 1.65


def test_seed_makes_delays_repeatable() -> None:
    spread = {"first_byte_ms": 200, "first_byte_sigma": 0.5}
    assert first_bytes(**spread, seed=1) == first_bytes(**spread, seed=1) != first_bytes(**spread, seed=2)
    assert max(first_bytes(first_byte_ms=200)) == min(first_bytes(first_byte_ms=200)) == pytest.approx(0.2)


# Profiles (0 and 11.5)


@pytest.mark.parametrize(
    ("profile", "wait_ms", "closes"),
    [("live", 4_000, False), ("documented", 300, True), ("instant", 300, False)],
)
def test_profile_decides_complete_wait_and_close(profile: str, wait_ms: int, closes: bool) -> None:
    """In `live` the client's `complete_backoff_ms` has no effect on a plain request (0.1)."""
    with start_offline(profile=profile) as server, server.open() as ws:
        send(ws, hello(complete_backoff_ms=300))
        assert receive(ws)[-1]["status"] == "complete"
        if closes:
            with pytest.raises(ConnectionClosedOK):
                next_message(ws)
        else:
            send(ws, {"type": "ping"})
            assert next_message(ws) == PONG
        eventually(lambda: bool(server.log()))
        (entry,) = server.log()
        waited = entry["completed_ns"] - entry["last_audio_ns"]
        assert wait_ms * MS <= waited < (wait_ms + 2_000) * MS


@pytest.mark.parametrize(
    ("profile", "wait_ms", "max_text"),
    [("live", 4_000, 8_000), ("documented", 4_000, 8_000), ("instant", 0, None)],
)
def test_profile_sets_defaults_that_fields_override(profile: str, wait_ms: int, max_text: int | None) -> None:
    config = ServerConfig.from_fields({"profile": profile})
    assert (config.complete_wait_ms, config.max_text) == (wait_ms, max_text)
    scaled = ServerConfig.from_fields({"profile": profile, "complete_wait_ms": 40, "max_text": 10})
    assert (scaled.complete_wait_ms, scaled.max_text) == (40, 10)


def test_live_text_limit_is_8000_characters_after_trimming() -> None:
    with start_offline(profile="live", fail=["stall"]) as server:
        reply = server.post(HTTP["unified"], hello(text="a" * 8_001))
        assert (reply.status_code, reply.json()["error"][0]["maximum"]) == (400, 8_000)
    with start_offline(profile="live") as server:
        assert server.post(HTTP["unified"], hello(text="  Hello there." + " " * 8_000)).ok


def test_streamed_fragments_have_no_text_limit() -> None:
    with start_offline(max_text=10) as server, server.open() as ws:
        send(ws, hello(text="Longer than ten characters.", **{"continue": True}))
        send(ws, hello(text="", flush=True, complete_backoff_ms=0))
        assert receive(ws)[-1]["status"] == "complete"


def test_voice_of_the_other_model_speaks_when_the_check_is_off() -> None:
    with start_offline(check_voice_model=False) as server:
        assert server.post(HTTP["unified"], hello(model="lightning_v3.1_pro")).ok


@pytest.mark.parametrize(
    ("voice", "model"),
    [("sloane", "lightning_v3.2"), ("maverick", "lightning_v3.1"), ("kelsey", "lightning_v3.1_pro")],
)
def test_unlisted_voices_and_lightning_v3_2_are_accepted(voice: str, model: str) -> None:
    with start_offline(profile="live") as server:
        assert server.post(HTTP["unified"], hello(voice_id=voice, model=model)).ok


@pytest.mark.parametrize(
    ("content_filter", "text", "blocked"),
    [
        ({"enabled": True, "action": "reject"}, "Some BAD words.", True),
        ({"enabled": True, "action": "reject"}, "Some good words.", False),
        ({"enabled": True, "action": "flag"}, "Some bad words.", False),
        ({"enabled": False, "action": "reject"}, "Some bad words.", False),
    ],
)
def test_content_filter_in_reject_mode_blocks_text(
    content_filter: dict[str, Any], text: str, blocked: bool
) -> None:
    with start_offline(blocked_words=["bad"]) as server:
        request = hello(text=text, content_filter=content_filter)
        reply, last = server.post(HTTP["unified"], request), server.say(request)[-1]
    assert (reply.status_code, last["status"]) == ((400, "error") if blocked else (200, "complete"))
    if blocked:
        issue = {
            "code": "CONTENT_FILTER_BLOCKED",
            "path": ["text"],
            "message": "Text blocked by the content filter",
        }
        assert reply.json()["error"] == last["errors"] == [issue]


# Request log


def test_request_log_has_one_line_per_request_with_monotonic_times() -> None:
    with start_offline() as server:
        began = perf_counter_ns()
        server.post(HTTP["unified"], hello(text="One, two, trois…"))
        server.post(SSE["unified"], hello())
        with server.open() as ws:
            for _ in range(2):
                send(ws, hello())
                messages = receive(ws)
            send(ws, hello())  # the entry of the previous request is written then
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


# Invalid configurations


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"colour": "red"}, "invalid server settings: Object contains unknown field colour"),
        ({"profile": "fast"}, "profile must be one of live, documented, instant"),
        ({"profile": ["live"]}, "profile must be one of"),
        ({"port": 65_536}, "port is invalid: expected int <= 65535"),
        ({"port": "80"}, "port is invalid: expected int, got str"),
        ({"port": True}, "port is invalid: expected int, got bool"),
        ({"concurrency": 0}, "concurrency is invalid: expected int >= 1"),
        ({"idle_timeout_s": 181}, "idle_timeout_s is invalid: expected float <= 180"),
        ({"realtime_factor": float("nan")}, "realtime_factor is invalid: expected float >= 0"),
        ({"max_text": 0}, "max_text is invalid: expected int >= 1"),
        ({"legacy": "off"}, "legacy is invalid: invalid enum value 'off'"),
        ({"complete_per": None}, "complete_per is invalid: expected str, got null"),
        ({"chunked": 2}, "chunked is invalid: expected bool, got int"),
        ({"token": ""}, "the token is empty"),
        ({"token": 5}, "token is invalid: expected str | null, got int"),
        ({"fail": ["status:200"]}, "unknown fault 'status:200'"),
        ({"fail": [5]}, "fail[0] is invalid: expected str, got int"),
        ({"fail": "status:503"}, "fail is invalid: expected array, got str"),
        ({"blocked_words": "bad"}, "blocked_words is invalid: expected array, got str"),
        ({"extra_voices": "emily"}, "extra_voices is invalid: expected array, got str"),
        ({"tls_cert": "a.pem"}, "a TLS certificate and its key must be given together"),
        ({"host": "0.0.0.0"}, "listening on 0.0.0.0 needs a token of at least 16 characters"),
        ({"host": "0.0.0.0", "token": "short"}, "needs a token of at least 16 characters"),
        ({"host": "example.org"}, "needs a token"),
    ],
)
def test_invalid_config_is_a_usage_error(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        ServerConfig.from_fields(fields)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert ServerConfig.from_fields({"host": host}).on_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.evil.example"])
def test_other_hosts_need_a_token(host: str) -> None:
    assert not ServerConfig.from_fields({"host": host, "token": "a" * 16}).on_loopback
