"""Find where speech begins in PCM: the first audible sample.

The rule is that of Pipecat's `detect_speech_onset`: 10 ms windows, 1 ms apart, whose level without DC offset
is above -40 dBFS for 50 ms. A window may start up to its length before the sound, so the onset is its first
sample above the level.
"""

from __future__ import annotations

import sys
from array import array

LEVEL_DB = -40.0
WINDOW_MS, HOP_MS, RUN_MS = 10, 1, 50
FULL_SCALE = 32_768
LEVEL = FULL_SCALE * 10 ** (LEVEL_DB / 20)


def find_onset(pcm: bytes, rate: int) -> int | None:
    """Return the frame number of the first audible sample of s16le mono at `rate` Hz, None if silent."""
    samples = array("h", pcm[: len(pcm) // 2 * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    hop = max(1, rate * HOP_MS // 1000)
    start = _first_candidate(samples, hop)
    if start is None:
        return None
    windows_needed = (RUN_MS - WINDOW_MS) // HOP_MS + 1
    hops: list[tuple[int, int]] = []  # sum, and sum of squares
    run = 0
    for at in range(start, len(samples) - hop + 1, hop):
        piece = samples[at : at + hop]
        hops.append((sum(piece), sum(sample * sample for sample in piece)))
        if len(hops) < WINDOW_MS // HOP_MS:
            continue
        totals, squares = zip(*hops[-(WINDOW_MS // HOP_MS) :], strict=True)
        count = len(totals) * hop
        power = sum(squares) / count - (sum(totals) / count) ** 2
        run = run + 1 if power > LEVEL * LEVEL else 0
        if run == windows_needed:
            size = WINDOW_MS // HOP_MS * hop
            window = at + hop - (run - 1) * hop - size
            piece = samples[window : window + size]
            mean = sum(piece) / size
            return next(window + at for at, sample in enumerate(piece) if abs(sample - mean) > LEVEL)
    return None


def _first_candidate(samples: array[int], hop: int) -> int | None:
    """Return an index, a multiple of `hop`, before which no window can be active.

    The level of a window is at most its peak, and peaks are fast to find: this skips leading silence.
    """
    block = WINDOW_MS // HOP_MS * hop
    for at in range(0, len(samples), block):
        piece = samples[at : at + block]
        if max(piece) > LEVEL or min(piece) < -LEVEL:
            return max(0, at - block)
    return None
