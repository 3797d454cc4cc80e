"""The simulated player against one that plays sample by sample, and onset detection against known onsets."""

from __future__ import annotations

import math
import random
import struct
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallest_cli.bench.onset import find_onset, samples_of
from smallest_cli.bench.playback import SECOND, Playback, play, smallest_safe_buffer

Chunks = list[tuple[int, int]]
RATE = 24_000


def brute(chunks: Chunks, rate: int, prebuffer: int, wanted: int) -> Playback:
    """Play sample by sample: each one a period after the previous one, or when it arrives."""
    arrivals = [at for at, frames in chunks for _ in range(frames)]
    if not arrivals:
        return Playback(0, 0, 0, None)
    period = Fraction(SECOND, rate)
    due = Fraction(arrivals[0] + prebuffer)
    stalls: list[Fraction] = []
    played = None
    for number, arrived in enumerate(arrivals):
        if number and arrived > due:
            stalls.append(arrived - due)
            due = Fraction(arrived)
        if number == wanted:
            played = math.ceil(due)
        due += period
    longest = max(stalls, default=Fraction(0))
    return Playback(len(stalls), math.ceil(sum(stalls, Fraction(0))), math.ceil(longest), played)


def random_chunks(rng: random.Random) -> tuple[Chunks, int]:
    rate = rng.choice([8, 100, 441, 8_000, 44_100])
    at, chunks = rng.randrange(10**8), []
    for _ in range(rng.randrange(1, 7)):
        chunks.append((at, rng.randrange(0, 12)))
        at += rng.choice([0, rng.randrange(3 * SECOND // rate), rng.randrange(20 * SECOND // rate)])
    return chunks, rate


def test_simulation_equals_a_sample_by_sample_player() -> None:
    rng = random.Random(1)
    for _ in range(10_000):
        chunks, rate = random_chunks(rng)
        prebuffer, wanted = rng.choice([0, rng.randrange(10 * SECOND // rate)]), rng.randrange(30)
        assert play(chunks, rate, prebuffer, wanted) == brute(chunks, rate, prebuffer, wanted), chunks


def test_smallest_safe_buffer_is_safe_and_minimal() -> None:
    rng = random.Random(2)
    for _ in range(10_000):
        chunks, rate = random_chunks(rng)
        safe = smallest_safe_buffer(chunks, rate)
        assert play(chunks, rate, safe).stalls == 0, chunks
        assert safe == 0 or play(chunks, rate, safe - 1).stalls > 0, chunks


def test_slow_leading_silence_delays_playback() -> None:
    """Two silent chunks of 100 ms in six that come 250 ms apart: 550 ms, where adding would say 250."""
    ms = 1_000_000
    chunks = [(50 * ms + 250 * ms * n, RATE // 10) for n in range(6)]
    assert play(chunks, RATE, 0, RATE // 5).played_ns == 550 * ms
    assert smallest_safe_buffer(chunks, RATE) == 750 * ms
    assert play(chunks, RATE, 750 * ms, 0).stalls == 0
    assert play(chunks, RATE, 0).stalls == 5


def test_sample_that_never_arrived_is_not_played() -> None:
    assert play([], RATE, 0) == Playback(0, 0, 0, None)
    assert play([(5, 10)], RATE, 0, 10).played_ns is None
    assert smallest_safe_buffer([], RATE) == 0


def pcm(values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}h", *values)


def tone(seconds: float, rate: int = RATE, loudness: int = 8000) -> list[int]:
    return [round(loudness * math.cos(2 * math.pi * 440 * n / rate)) for n in range(round(seconds * rate))]


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100])
@pytest.mark.parametrize("silent", [0, 1, 239, 4800, 48_001])
def test_onset_is_exact_to_the_sample(rate: int, silent: int) -> None:
    assert find_onset(samples_of(pcm([0] * silent + tone(0.2, rate))), rate) == silent


@pytest.mark.parametrize(
    ("what", "values"),
    [
        ("nothing", []),
        ("silence", [0] * RATE),
        ("a hum below -40 dBFS", tone(0.5, loudness=300)),
        ("a constant offset", [9000] * RATE),
        ("a click, too short to be speech", [0] * 2400 + [20_000] * 200 + [0] * RATE),
        ("a tone of 30 ms", [0] * 2400 + tone(0.03) + [0] * RATE),
    ],
)
def test_silence_has_no_onset(what: str, values: list[int]) -> None:
    assert find_onset(samples_of(pcm(values)), RATE) is None


def test_click_before_speech_is_not_the_onset() -> None:
    values = [0] * 1200 + [20_000] * 24 + [0] * 4800 + tone(0.2)
    assert find_onset(samples_of(pcm(values)), RATE) == 1200 + 24 + 4800


def test_trailing_odd_byte_is_ignored() -> None:
    assert find_onset(samples_of(pcm(tone(0.2)) + b"\x01"), RATE) == 0


@given(st.integers(0, 3000), st.integers(-5000, 5000))
@settings(max_examples=30, deadline=None)
def test_dc_offset_is_silence(silent: int, offset: int) -> None:
    values = [offset] * (silent + 2400) + [offset + value for value in tone(0.2)]
    assert find_onset(samples_of(pcm(values)), RATE) in range(silent + 2400, silent + 2400 + 30)
