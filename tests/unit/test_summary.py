"""Durations and names of the summary line."""

from __future__ import annotations

import pytest

from smallest_cli.cli.console import describe_progress, duration
from smallest_cli.cli.summary import shorten


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0.0 s"), (4.24, "4.2 s"), (59.94, "59.9 s"), (60.0, "1:00"), (724.7, "12:05"),
        (3599.6, "1:00:00"), (3723.0, "1:02:03"), (36_000.0, "10:00:00"),
    ],
)  # fmt: skip
def test_duration_is_short_and_exact_enough(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_end_of_a_long_name_is_kept() -> None:
    assert shorten("short.wav", 30) == "short.wav"
    assert shorten("/a/very/long/path/to/chapter-12.wav", 20) == "...to/chapter-12.wav"
    assert len(shorten("x" * 100, 3)) == 12


@pytest.mark.parametrize(
    ("audio_s", "segments", "elapsed_s", "shown"),
    [
        (3.2, (0, 1), 1.0, "3.2 s of audio"), (75.0, (0, 0), 9.0, "1:15 of audio"),
        (3.2, (0, 70), 1.0, "0/70 segments  0 %"), (60.0, (23, 70), 6.0, "23/70 segments  32 %  12.3 s left"),
        (300.0, (69, 70), 690.0, "69/70 segments  98 %  10.0 s left"),
        (300.0, (35, 70), 70.0, "35/70 segments  50 %  1:10 left"),
    ],
)  # fmt: skip
def test_progress_is_known_for_several_segments(
    audio_s: float, segments: tuple[int, int], elapsed_s: float, shown: str
) -> None:
    assert describe_progress(audio_s, *segments, elapsed_s) == shown
