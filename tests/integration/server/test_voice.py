"""The voice process: repeatable samples in every rate and format, word timings, voice mapping."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import soundfile

from smallest_cli.errors import ServerError
from smallest_cli.models import AudioChunk, AudioFormat, SpeechRequest, WordTiming
from smallest_cli.server.voice.engine import Engine, block_bytes
from smallest_cli.server.voice.espeak import EVENT_END, EVENT_WORD, EspeakEvent, WordTracker
from smallest_cli.server.voice.ipc import FAILED, FRAME, VoiceRequest
from smallest_cli.server.voice.voice_map import V2_VOICES, resolve_espeak_voice, voices_by_id
from smallest_cli.voices import bundled_voices
from tests.support.offline import children_of, eventually

TEXT = "Modern problems require modern solutions."


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine()
    engine.check()
    yield engine
    engine.close()


async def spoken(
    engine: Engine, text: str = TEXT, voice: str = "magnus", encoding: str = "pcm", **options: Any
) -> tuple[list[bytes], list[WordTiming]]:
    rate = options.pop("sample_rate", 24_000)
    request = SpeechRequest(text, voice, format=AudioFormat(rate), **options)
    events = [event async for event in engine.synthesize(request, encoding)]
    chunks = [event.pcm for event in events if isinstance(event, AudioChunk)]
    return chunks, [event for event in events if isinstance(event, WordTiming)]


def speak(engine: Engine, text: str = TEXT, voice: str = "magnus", **options: Any) -> bytes:
    return b"".join(asyncio.run(spoken(engine, text, voice, **options))[0])


def words(engine: Engine, text: str, voice: str = "meher", **options: Any) -> list[WordTiming]:
    return asyncio.run(spoken(engine, text, voice, word_timings=True, **options))[1]


def samples(pcm: bytes) -> numpy.ndarray[Any, Any]:
    return numpy.frombuffer(pcm, "<i2").astype(float)


def test_audio_is_speech(engine: Engine) -> None:
    audio = samples(speak(engine))
    assert 1.5 < len(audio) / 24_000 < 4
    assert 1_000 < numpy.sqrt(numpy.mean(audio**2)) < 12_000
    assert numpy.abs(audio).max() < 32_767
    spectrum = numpy.abs(numpy.fft.rfft(audio)) ** 2
    hertz = numpy.fft.rfftfreq(len(audio), 1 / 24_000)
    assert spectrum[hertz < 4_000].sum() > 0.9 * spectrum.sum()


def test_samples_are_repeatable(engine: Engine) -> None:
    first = speak(engine)
    speak(engine, "Etwas ganz anderes!", "hanna", speed=1.7)
    assert speak(engine) == first
    fresh = Engine()
    fresh.check()
    try:
        speak(fresh, "Hello", "sophia")
        assert speak(fresh) == first
    finally:
        fresh.close()


def test_samples_are_repeatable_under_concurrency(engine: Engine) -> None:
    texts = [f"This is sentence number {number}, and it is mine." for number in range(6)]
    alone = [speak(engine, text) for text in texts]

    async def together() -> list[tuple[list[bytes], list[WordTiming]]]:
        return await asyncio.gather(*(spoken(engine, text) for text in texts))

    assert [b"".join(chunks) for chunks, _ in asyncio.run(together())] == alone
    assert len(set(alone)) == len(texts)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100])
def test_sample_rates_have_equal_duration_and_loudness(engine: Engine, rate: int) -> None:
    chunks, _ = asyncio.run(spoken(engine, sample_rate=rate))
    assert {len(chunk) for chunk in chunks} == {block_bytes(rate)} == {rate * 16 // 100 * 2}
    reference, audio = samples(speak(engine)), samples(b"".join(chunks))
    assert len(audio) / rate == len(reference) / 24_000
    loudness = numpy.sqrt(numpy.mean(audio**2)) / numpy.sqrt(numpy.mean(reference**2))
    assert 0.8 < loudness < 1.1


def test_last_block_is_padded_at_normal_speed_only(engine: Engine) -> None:
    assert len(speak(engine)) % block_bytes(24_000) == 0
    chunks, _ = asyncio.run(spoken(engine, speed=1.5))
    assert {len(chunk) for chunk in chunks[:-1]} == {7_680}
    assert 0 < len(chunks[-1]) < 7_680


def test_speed_scales_duration(engine: Engine) -> None:
    lengths = [len(speak(engine, speed=speed)) for speed in (0.5, 1.0, 2.0)]
    assert 1.6 < lengths[0] / lengths[1] < 2.2
    assert 1.4 < lengths[1] / lengths[2] < 2.2


@pytest.mark.parametrize("coding", ["ulaw", "alaw"])
def test_g711_decodes_to_the_same_audio(engine: Engine, coding: str) -> None:
    encoded = speak(engine, encoding=coding, sample_rate=8_000)
    decoded, _ = soundfile.read(
        io.BytesIO(encoded), samplerate=8_000, channels=1, format="RAW", subtype=coding.upper(), dtype="int16"
    )
    plain = samples(speak(engine, sample_rate=8_000))
    assert len(decoded) == len(plain)
    error = numpy.sqrt(numpy.mean((decoded - plain) ** 2)) / numpy.sqrt(numpy.mean(plain**2))
    assert error < 0.03


@pytest.mark.parametrize(
    ("rate", "head"),
    [(16_000, "fff3c8c4"), (24_000, "fff3c4c4"), (44_100, "fffb90c4")],
)
def test_mp3_is_128_kbit_mono_without_tags(engine: Engine, rate: int, head: str) -> None:
    encoded = speak(engine, encoding="mp3", sample_rate=rate)
    assert encoded[:4].hex() == head
    decoded, decoded_rate = soundfile.read(io.BytesIO(encoded))
    assert decoded_rate == rate
    assert decoded.ndim == 1
    seconds = len(speak(engine, sample_rate=rate)) / 2 / rate
    assert seconds <= len(decoded) / rate < seconds + 0.2


@pytest.mark.parametrize(
    "text", ["...", "😀", "a\0b", "\ud800 hello", "\u202ehello", "-", "#", "ᚠᚢᚦ", "</speak>"]
)
def test_unusual_text_is_handled(engine: Engine, text: str) -> None:
    assert len(speak(engine, text)) % block_bytes(24_000) == 0


def test_nul_does_not_end_the_text(engine: Engine) -> None:
    assert speak(engine, "one\0two three four") == speak(engine, "one two three four")


def test_closing_the_iterator_ends_the_fork(engine: Engine) -> None:
    async def leave() -> None:
        audio = engine.synthesize(SpeechRequest("Far too long. " * 5_000, "magnus"))
        async for _ in audio:
            break
        assert children_of(engine.pid)
        await audio.aclose()

    asyncio.run(leave())
    eventually(lambda: not children_of(engine.pid))


def test_crash_fails_one_utterance_only(engine: Engine) -> None:
    async def crash() -> None:
        audio = engine.synthesize(SpeechRequest("Far too long. " * 5_000, "magnus"))
        async for _ in audio:
            for child in children_of(engine.pid):
                os.kill(child, signal.SIGKILL)

    with pytest.raises(ServerError):
        asyncio.run(crash())
    assert speak(engine)


def test_unknown_espeak_voice_is_a_failure() -> None:
    """Uses the bytes on the sockets directly: a descriptor for the fork, then the request."""
    control, theirs = socket.socketpair()
    with control, theirs:
        command = [sys.executable, "-m", "smallest_cli.server.voice.process", str(theirs.fileno())]
        with subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
            theirs.close()
            assert json.loads(control.recv(1_000)) == {"sample_rate": 22_050}
            request = VoiceRequest("Hello", "gmw/nowhere", 50, 1.0, 24_000, 7_680, True, False, "pcm")
            ours, forks = socket.socketpair()
            with ours, forks:
                socket.send_fds(control, [b"u"], [forks.fileno()])
                forks.close()
                ours.sendall(request.encode())
                with ours.makefile("rb") as answers:
                    kind, size = FRAME.unpack(answers.read(FRAME.size))
                    assert (kind, answers.read()) == (FAILED, b"eSpeak NG has no voice gmw/nowhere")
                    assert size == 34
            control.close()
            assert process.wait(10) == 0


# Word timings


def test_words_are_text_slices_in_time_order(engine: Engine) -> None:
    text = 'I bought 3 cats for $100 on Dec 25th, "really" - yes! (No).'
    timed = words(engine, text)
    assert [word.word for word in timed] == [word for word in text.split() if word != "-"]
    assert [word.number for word in timed] == list(range(len(timed)))
    assert timed[5].word == "$100"
    times = [moment for word in timed for moment in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] <= len(speak(engine, text, "meher")) / 48_000
    assert all(word.end > word.start and word.start == round(word.start, 3) for word in timed)


def test_hindi_words_are_timed(engine: Engine) -> None:
    text = "नमस्ते दुनिया, यह hello एक test है।"
    assert [word.word for word in words(engine, text, "devansh")] == text.split()


@pytest.mark.parametrize("voice", ["magnus", "sophia", "hanna"])
def test_voices_without_word_timings(engine: Engine, voice: str) -> None:
    assert words(engine, TEXT, voice) == []


@pytest.mark.parametrize("voice", ["meher", "devansh", "kartik", "maithili", "liam", "avery"])
def test_word_timings_are_english_and_hindi_only(engine: Engine, voice: str) -> None:
    assert [word.word for word in words(engine, TEXT, voice)] == TEXT.split()
    assert words(engine, "Bonjour le monde", voice, language="fr") == []


def test_no_words_unless_requested(engine: Engine) -> None:
    assert asyncio.run(spoken(engine, TEXT, "meher"))[1] == []


def test_words_do_not_precede_their_audio(engine: Engine) -> None:
    async def order() -> None:
        received = 0.0
        async for event in engine.synthesize(SpeechRequest(TEXT, "meher", word_timings=True)):
            if isinstance(event, AudioChunk):
                received += len(event.pcm) / 48_000
            else:
                assert event.start <= received

    asyncio.run(order())


def test_repeated_engine_events_give_no_duplicate_words() -> None:
    timing = WordTracker("a (b) - c")
    found = []
    events = [
        (EVENT_WORD, 1),
        (EVENT_WORD, 1),
        (EVENT_WORD, 3),
        (EVENT_END, 0),
        (EVENT_WORD, 7),
        (EVENT_WORD, 4),
    ]
    for second, (kind, position) in enumerate(events):
        found += timing.on_event(EspeakEvent(type=kind, text_position=position), float(second))
    found += timing.finish(9.0)
    assert [(word["word"], word["start"], word["end"]) for word in found] == [
        ("a", 0.0, 2.0),
        ("(b)", 2.0, 3.0),
        ("c", 4.0, 9.0),
    ]


# Voice mapping


@pytest.mark.parametrize("gender", ["female", "male"])
def test_variant_gender_matches_the_catalogue(gender: str) -> None:
    listed = [voice.id for voice in (*bundled_voices(), *V2_VOICES) if voice.gender == gender]
    variants = {resolve_espeak_voice(SpeechRequest(TEXT, voice)).name.partition("+")[2] for voice in listed}
    declared = {name: _declared_gender(name) for name in variants}
    assert set(declared.values()) == {gender}, declared


def test_catalogue_voices_map_to_distinct_espeak_voices() -> None:
    mapped = [resolve_espeak_voice(SpeechRequest("", voice.id)) for voice in bundled_voices()]
    assert len(mapped) == 264
    assert len({(voice.name, voice.pitch) for voice in mapped}) > 200


def test_female_voices_have_higher_pitch(engine: Engine) -> None:
    def pitch(voice: str) -> float:
        """The median of the pitch in hertz, by autocorrelation of the loud parts."""
        audio = samples(speak(engine, "Now we all know where you are", voice, sample_rate=8_000))
        found = []
        for frame in audio[: len(audio) // 320 * 320].reshape(-1, 320):
            if numpy.sqrt(numpy.mean(frame**2)) > 1_500:
                same = numpy.correlate(frame, frame, "full")[320:]
                lag = 22 + int(numpy.argmax(same[22:130]))
                found.append(8_000 / (lag + 1))
        return float(numpy.median(found))

    women = [pitch(voice) for voice in ("sophia", "lauren", "rachel", "mia")]
    men = [pitch(voice) for voice in ("magnus", "jordan", "lucas", "daniel")]
    assert min(women) > max(men)


@pytest.mark.parametrize(
    ("voice", "text", "language", "expected"),
    [
        ("magnus", "Hello", None, "gmw/en-US"),
        ("liam", "Hello", None, "gmw/en-GB-x-rp"),
        ("meher", "Hello", None, "gmw/en"),
        ("meher", "नमस्ते", None, "inc/hi"),
        ("mrunal", "नमस्कार", None, "inc/mr"),
        ("magnus", "नमस्ते my friend", None, "inc/hi"),
        ("magnus", "Bonjour", "fr", "roa/fr"),
        ("magnus", "வணக்கம்", "auto", "dra/ta"),
        ("hanna", "Hallo", None, "gmw/de"),
        ("malar", "Hello", None, "gmw/en-US"),
        ("hazel", "你好", None, "sit/cmn"),
        ("aria", "日本", None, "jpx/ja"),
        ("magnus", "日本です", None, "jpx/ja"),
        ("magnus", "Привет", None, "zle/ru"),
        ("voice_of_mine", "Hello", None, "gmw/en-US"),
    ],
)
def test_language_from_request_script_or_voice(
    voice: str, text: str, language: str | None, expected: str
) -> None:
    part = resolve_espeak_voice(SpeechRequest(text, voice, language=language))
    assert part.name.partition("+")[0] == expected


def test_every_espeak_language_and_variant_exists(engine: Engine) -> None:
    from smallest_cli.server.voice.voice_map import ENGLISH_ACCENTS, ESPEAK_LANGUAGES, VARIANTS

    async def everything() -> None:
        for language in ESPEAK_LANGUAGES:
            assert (await spoken(engine, "1 2", "magnus", language=language))[0]
        for accent in ENGLISH_ACCENTS:
            voice = next(voice.id for voice in voices_by_id().values() if voice.accent == accent)
            assert (await spoken(engine, "1 2", voice, language="en"))[0]

    asyncio.run(everything())
    for names in VARIANTS.values():
        assert all(not name or _variant_path(name).is_file() for name in names)


def _variant_path(name: str) -> Path:
    import espeakng_loader

    return Path(espeakng_loader.get_data_path(), "voices", "!v", name)


def _declared_gender(variant: str) -> str:
    lines = _variant_path(variant).read_text(errors="replace").splitlines()
    return next(line.split()[1].lower() for line in lines if line.startswith("gender"))
