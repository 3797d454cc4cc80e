"""`serve --openai`, with OpenAI's own package as the client."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import soundfile

from tests.support.offline import KEY, Offline, start_offline

pytestmark = pytest.mark.long
TEXT = "Good morning. The kettle is on."
STARTS = {"mp3": b"\xff", "opus": b"OggS", "flac": b"fLaC", "wav": b"RIFF"}


@pytest.fixture(scope="module")
def service() -> Iterator[Offline]:
    with start_offline(openai=True) as offline:
        yield offline


@pytest.fixture(scope="module")
def client(service: Offline) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.base_url}/v1", api_key=KEY, max_retries=0) as found:
        yield found


def create(client: openai.OpenAI, **fields: Any) -> bytes:
    given = {"model": "tts-1", "voice": "alloy", "input": TEXT} | fields
    return client.audio.speech.create(**given).content


@pytest.fixture(scope="module")
def pcm(client: openai.OpenAI) -> bytes:
    return create(client, response_format="pcm")


def test_pcm_is_24_khz_speech(pcm: bytes) -> None:
    assert len(pcm) > 2 * 24_000
    assert any(pcm)


def test_default_format_is_mp3(client: openai.OpenAI) -> None:
    assert create(client) == create(client, response_format="mp3")


@pytest.mark.parametrize("format", STARTS)
def test_every_format_has_all_audio(format: str, client: openai.OpenAI, pcm: bytes) -> None:
    audio = create(client, response_format=format)
    assert audio.startswith(STARTS[format])
    samples, _ = soundfile.read(io.BytesIO(audio), dtype="int16")
    rate = soundfile.info(io.BytesIO(audio)).samplerate
    assert len(samples) / rate == pytest.approx(len(pcm) / 48_000, abs=0.1)


def test_our_voices_and_speed_are_used(client: openai.OpenAI, pcm: bytes) -> None:
    assert create(client, voice="magnus", response_format="pcm") != pcm
    assert len(create(client, speed=2.0, response_format="pcm")) < 0.7 * len(pcm)


@pytest.mark.parametrize("format", ["pcm", "wav"])
def test_events_hold_the_same_audio(format: str, client: openai.OpenAI) -> None:
    request = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": TEXT, "response_format": format}
    with client.audio.speech.with_streaming_response.create(**request, stream_format="sse") as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    *deltas, done = map(json.loads, lines)
    assert {each["type"] for each in deltas} == {"speech.audio.delta"}
    assert b"".join(b64decode(each["audio"]) for each in deltas) == create(client, response_format=format)
    assert (done["type"], done["usage"]["input_tokens"]) == ("speech.audio.done", len(TEXT))


@pytest.mark.parametrize(
    "wrong", [{"response_format": "aac"}, {"input": ""}, {"input": "x" * 4097}, {"speed": 9.0}, {"voice": 7}]
)
def test_what_is_wrong_is_a_bad_request(wrong: dict[str, Any], client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, **wrong)
    assert caught.value.type == "invalid_request_error"


def test_key_is_required(service: Offline) -> None:
    with (
        openai.OpenAI(base_url=f"{service.base_url}/v1", api_key="sk_wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        create(client)
    assert caught.value.code == "invalid_api_key"


def test_route_exists_only_with_the_option() -> None:
    with (
        start_offline() as plain,
        openai.OpenAI(base_url=f"{plain.base_url}/v1", api_key=KEY, max_retries=0) as client,
        pytest.raises(openai.NotFoundError),
    ):
        create(client)
