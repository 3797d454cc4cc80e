"""Simulate a player: when it stalls, for how long, and when a given sample is played.

All values are integers: times in nanoseconds since the request, audio in frames. The player starts one
prebuffer after the first frame arrived, plays at the sample rate, stalls when the next frame has not arrived,
and continues as soon as it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SECOND = 1_000_000_000

Chunk = tuple[int, int]  # an arrival: nanoseconds since the request was sent, and the number of frames


@dataclass(frozen=True, slots=True)
class Playback:
    """The result of a simulation, in nanoseconds. The wait for the first audio is not a stall."""

    stalls: int
    stalled_ns: int
    longest_stall_ns: int
    played_ns: int | None  # when the requested sample is played, since the request; None if it never arrived


def play(chunks: Sequence[Chunk], rate: int, prebuffer_ns: int, sample: int = 0) -> Playback:
    """Simulate playing `chunks` at `rate` frames per second; `sample` is the frame whose time is returned.

    Exact: the clock counts in units of 1/rate nanoseconds; only results are rounded, up.
    """
    clock: int | None = None
    played = stalls = stalled = longest = 0
    sample_played: int | None = None
    for at, frames in chunks:
        if not frames:
            continue
        arrived = at * rate
        if clock is None:
            clock = arrived + prebuffer_ns * rate
        elif arrived > clock:
            late, clock = arrived - clock, arrived
            stalls, stalled, longest = stalls + 1, stalled + late, max(longest, late)
        if sample_played is None and sample < played + frames:
            sample_played = clock + (sample - played) * SECOND
        clock += frames * SECOND
        played += frames
    return Playback(
        stalls,
        _up(stalled, rate),
        _up(longest, rate),
        None if sample_played is None else _up(sample_played, rate),
    )


def smallest_safe_buffer(chunks: Sequence[Chunk], rate: int) -> int:
    """Return the smallest prebuffer, in whole nanoseconds, without a stall: the largest deficit of a chunk.

    A chunk's deficit is how much later it arrived than the audio before it lasts.
    """
    first, played, worst = None, 0, 0
    for at, frames in chunks:
        if not frames:
            continue
        if first is None:
            first = at
        worst = max(worst, (at - first) * rate - played * SECOND)
        played += frames
    return _up(worst, rate)


def _up(scaled: int, rate: int) -> int:
    return -(-scaled // rate)
