"""The offline server over HTTP and server-sent events, with requests and raw sockets."""

from __future__ import annotations

import base64
import io
import json
import re
import wave
from typing import Any

import pytest
import soundfile

from smallest_cli.voices import bundled_voices
from tests.support.offline import HTTP, SSE, WS, Offline, hello, pcm_of, pcm_of_sse

APIS = ("unified", "v3.1", "v2")
TTS = HTTP["unified"]
JSON = "application/json; charset=utf-8"


# HTTP audio (waves/api.md, 3a)


@pytest.mark.parametrize("api", APIS)
def test_http_reply_is_pcm_in_complete_blocks_with_id_headers(server: Offline, api: str) -> None:
    reply = server.post(HTTP[api], hello())
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == "audio/wav"
    assert int(reply.headers["Content-Length"]) == len(reply.content) > 0
    assert len(reply.content) % 7_680 == 0
    assert any(reply.content)
    ids = {name: value for name, value in reply.headers.items() if name.startswith("X-")}
    assert set(ids) == {"X-Session-Id", "X-Request-Id", "X-External-Session-Id", "X-External-Request-Id"}
    assert ids["X-External-Session-Id"] == ids["X-External-Request-Id"] == ""
    assert len(ids["X-Request-Id"]) == len(ids["X-Session-Id"]) == 36
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_client_ids_are_echoed_in_headers(server: Offline) -> None:
    reply = server.post(TTS, hello(session_id="my-session.1", request_id="my_request-2"))
    assert reply.headers["X-External-Session-Id"] == "my-session.1"
    assert reply.headers["X-External-Request-Id"] == "my_request-2"
    assert reply.headers["X-Request-Id"] != "my_request-2"
    assert server.post(TTS, hello()).headers["X-Request-Id"] != reply.headers["X-Request-Id"]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100])
def test_wav_has_exact_sizes_and_the_samples_of_pcm(server: Offline, api: str, rate: int) -> None:
    pcm = server.post(HTTP[api], hello(sample_rate=rate, output_format="pcm")).content
    reply = server.post(HTTP[api], hello(sample_rate=rate, output_format="wav"))
    assert reply.headers["Content-Type"] == "audio/wav"
    assert reply.content[:4] == b"RIFF"
    assert int.from_bytes(reply.content[4:8], "little") == len(reply.content) - 8
    assert reply.content[44:] == pcm
    with wave.open(io.BytesIO(reply.content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate)
        assert file.getnframes() * 2 == len(pcm)
    assert len(pcm) % (rate * 16 // 100 * 2) == 0


@pytest.mark.parametrize(("api", "rate"), [("unified", 44_100), ("v3.1", 44_100), ("v2", 24_000)])
def test_default_sample_rate_of_each_api(server: Offline, api: str, rate: int) -> None:
    reply = server.post(HTTP[api], hello(sample_rate=None, output_format="wav"))
    assert int.from_bytes(reply.content[24:28], "little") == rate


@pytest.mark.parametrize("coding", ["ulaw", "alaw"])
def test_g711_is_headerless_one_byte_per_sample(server: Offline, coding: str) -> None:
    pcm = server.post(TTS, hello(sample_rate=8_000)).content
    reply = server.post(TTS, hello(sample_rate=8_000, output_format=coding))
    assert reply.headers["Content-Type"] == "audio/wav"
    assert len(reply.content) * 2 == len(pcm)
    assert 100 < len(set(reply.content)) <= 256


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100])
def test_mp3_decodes_to_the_same_duration(server: Offline, rate: int) -> None:
    reply = server.post(TTS, hello(sample_rate=rate, output_format="mp3"))
    assert reply.headers["Content-Type"] == "audio/wav"
    assert reply.content[0] == 0xFF
    decoded, decoded_rate = soundfile.read(io.BytesIO(reply.content))
    assert decoded_rate == rate
    seconds = len(server.post(TTS, hello(sample_rate=rate)).content) / 2 / rate
    assert seconds <= len(decoded) / rate < seconds + 0.5


def test_speed_shortens_audio_without_padding(server: Offline) -> None:
    normal, fast, slow = (len(server.post(TTS, hello(speed=speed)).content) for speed in (1, 1.5, 0.5))
    assert fast < normal < slow
    assert fast % 7_680
    assert fast % 2 == 0


def test_unknown_fields_and_headers_are_ignored(server: Offline) -> None:
    plain = server.post(TTS, hello()).content
    extra = {"similarity": 0.5, "enhancement": 7, "save_history": True, "word_timestamps": True, "flush": "x"}
    headers = server.auth | {"Accept": "text/plain", "X-Source": "tests", "x-expire-content": "true"}
    assert server.post(TTS, hello(**extra), headers=headers).content == plain


# Server-sent events (3b)


def test_event_stream_bytes(server: Offline) -> None:
    pcm = server.post(TTS, hello()).content
    reply = server.post(SSE["unified"], hello())
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert len(reply.headers["X-Request-Id"]) == 36
    *events, end, rest = reply.content.decode().split("\n\n")
    assert rest == ""
    assert end.startswith("data: ")  # no event line
    assert json.loads(end[6:]) == {"status": "200", "done": True}
    sizes, received = [], b""
    for event in events:
        assert re.fullmatch(r"event: audio\ndata: \{.*\}", event)
        fields = json.loads(event[19:])
        assert fields == {"audio": fields["audio"], "done": False, "status": "206"}
        audio = base64.b64decode(fields["audio"], validate=True)
        sizes.append(len(audio))
        received += audio
    assert sizes == [1024, 1024, 1024, 1024, 1024, 1024, 1024, 512] * (len(pcm) // 7_680)
    assert received == pcm


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100])
@pytest.mark.parametrize("api", APIS)
def test_all_transports_give_the_same_samples(server: Offline, api: str, rate: int) -> None:
    request = hello(text="It does not matter who spoke before.", sample_rate=rate)
    first = server.post(HTTP[api], request).content
    server.post(HTTP[api], hello(text="Something else altogether!", voice_id="sophia", speed=2))
    assert pcm_of_sse(server.post(SSE[api], request).content) == first
    assert pcm_of(server.say(request, WS[api])) == first
    assert server.post(HTTP[api], request).content == first


@pytest.mark.parametrize("coding", ["mp3", "wav", "ulaw", "alaw"])
def test_streams_are_pcm_for_any_output_format(server: Offline, coding: str) -> None:
    pcm = server.post(TTS, hello()).content
    assert pcm_of_sse(server.post(SSE["unified"], hello(output_format=coding)).content) == pcm
    assert pcm_of(server.say(hello(output_format=coding))) == pcm


@pytest.mark.parametrize(
    ("api", "chunk", "end"),
    [
        (
            "v3.1",
            r'data: \{"status": "chunk", "data": \{"audio": "[^"]+"\}\}',
            {"status": "complete", "message": "All chunks sent", "done": True},
        ),
        ("v2", r'event: audio\ndata: \{"audio": "[^"]+"\}', {"done": True}),
    ],
)
def test_sse_envelopes_of_legacy_apis(server: Offline, api: str, chunk: str, end: dict[str, Any]) -> None:
    *events, last, _ = server.post(SSE[api], hello()).text.split("\n\n")
    assert events
    assert all(re.fullmatch(chunk, event) for event in events)
    assert json.loads(last.removeprefix("data: ")) == end


# Voices and health (7, 8)


@pytest.mark.parametrize(
    ("pool", "model"), [("lightning-v3.1", "lightning_v3.1"), ("lightning-v3.1-pro", "lightning_v3.1_pro")]
)
def test_get_voices_lists_one_pool(server: Offline, pool: str, model: str) -> None:
    reply = server.ask("GET", f"/waves/v1/{pool}/get_voices")
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, JSON)
    listed = reply.json()["voices"]
    assert [voice["voiceId"] for voice in listed] == [
        voice.id for voice in bundled_voices() if voice.model == model
    ]
    for voice in listed:
        assert set(voice) == {"voiceId", "displayName", "tags"}
        assert {"language", "emotions", "usecases"} <= set(voice["tags"])


def test_listed_voice_fields(server: Offline) -> None:
    listed = server.ask("GET", "/waves/v1/lightning-v3.1/get_voices").json()["voices"]
    assert next(voice for voice in listed if voice["voiceId"] == "avery") == {
        "voiceId": "avery",
        "displayName": "Avery",
        "tags": {
            "language": ["english"],
            "accent": "american",
            "gender": "female",
            "emotions": [],
            "usecases": [],
        },
    }


@pytest.mark.parametrize("pool", ["lightning_v3.1", "lightning-v9", "x"])
def test_unknown_pool_is_400(server: Offline, pool: str) -> None:
    reply = server.ask("GET", f"/waves/v1/{pool}/get_voices")
    assert (reply.status_code, reply.json()) == (400, {"error": "InvalidRequest", "message": "Invalid model"})


def test_every_listed_voice_can_be_synthesized(server: Offline) -> None:
    for pool in ("lightning-v3.1", "lightning-v3.1-pro", "lightning-v2"):
        route = HTTP["v2" if pool == "lightning-v2" else "unified"]
        for voice in server.ask("GET", f"/waves/v1/{pool}/get_voices").json()["voices"][::12]:
            reply = server.post(route, hello(text="Yes.", voice_id=voice["voiceId"], sample_rate=8_000))
            assert reply.status_code == 200, voice
            assert any(reply.content), voice


def test_health_needs_no_key(server: Offline) -> None:
    connected = {"status": "connected"}
    reply = server.ask("GET", "/waves/v1/health", headers={})
    assert (reply.status_code, reply.json()) == (
        200,
        {"status": "ok", "mongo": connected, "redis": connected, "rabbitmq": connected},
    )
