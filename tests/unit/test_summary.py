"""Durations and names of the summary line."""

from __future__ import annotations

import pytest

from smallest_cli.cli.summary import duration, shorten


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
