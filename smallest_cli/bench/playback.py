"""A player that is only reckoned: when it would stall, what it would have to wait, when a sample is heard.

Integers throughout: times in nanoseconds since the request, sound in frames. A chunk is the time at which
frames arrived, and how many. The player starts a prebuffer after the first frame, plays at the sample rate,
waits where the next frame is not there yet, and goes on at once when it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SECOND = 1_000_000_000

Chunk = tuple[int, int]
"""Nanoseconds since the request was sent, and the frames that arrived then."""


@dataclass(frozen=True, slots=True)
class Playback:
    """How a prebuffer fared. Stalls do not count the wait for the first sound; times are nanoseconds."""

    stalls: int
    stalled_ns: int
    longest_stall_ns: int
    heard_ns: int | None
    """When the sample that was asked for is heard, since the request; None where it never came."""


def play(chunks: Sequence[Chunk], rate: int, prebuffer_ns: int, sample: int = 0) -> Playback:
    """Play `chunks` at `rate` frames a second, and say when the frame number `sample` is heard.

    Exact: the clock counts in units of 1/rate nanoseconds, and only results are rounded, up.
    """
    clock: int | None = None
    played = stalls = stalled = longest = 0
    heard: int | None = None
    for at, frames in chunks:
        if not frames:
            continue
        arrived = at * rate
        if clock is None:
            clock = arrived + prebuffer_ns * rate
        elif arrived > clock:
            late, clock = arrived - clock, arrived
            stalls, stalled, longest = stalls + 1, stalled + late, max(longest, late)
        if heard is None and sample < played + frames:
            heard = clock + (sample - played) * SECOND
        clock += frames * SECOND
        played += frames
    return Playback(
        stalls, _up(stalled, rate), _up(longest, rate), None if heard is None else _up(heard, rate)
    )


def smallest_safe_buffer(chunks: Sequence[Chunk], rate: int) -> int:
    """The least prebuffer, in whole nanoseconds, with which nothing stalls: the worst deficit of sound.

    A chunk's deficit is how much later it came than the sound before it lasts.
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
