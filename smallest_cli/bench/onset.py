"""Find where speech begins in PCM: the first audible sample.

The rule is that of Pipecat's `detect_speech_onset`: 10 ms windows, 1 ms apart, whose level without DC offset
is above -40 dBFS for 50 ms. A window may start up to its length before the sound, so the onset is its first
sample above the level.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smallest_cli.bench.schema import ONSET

WINDOW_MS, HOP_MS, RUN_MS = (int(ONSET[name]) for name in ("win_ms", "hop_ms", "min_ms"))
FULL_SCALE = 32_768
LEVEL = FULL_SCALE * 10 ** (ONSET["db"] / 20)
FIRST_MS = 200  # of audio after the first loud sample, searched before all of it: speech is found in it

Samples = np.ndarray[Any, np.dtype[np.int16]]


def samples_of(pcm: bytes) -> Samples:
    """Return the complete samples of s16le."""
    return np.frombuffer(pcm, "<i2", len(pcm) // 2)


def find_onset(samples: Samples, rate: int, mean: float | None = None) -> int | None:
    """Return the frame number of the first audible sample of mono at `rate` Hz, None if silent.

    `mean` is the DC offset, if it is known.
    """
    hop = max(1, rate * HOP_MS // 1000)
    block = WINDOW_MS // HOP_MS * hop
    loud = _first_loud(samples, rate)
    if loud is None:
        return None
    # The level of a window is at most its peak: no window before the first loud sample is active.
    start = max(0, loud // block - 1) * block
    for piece in (samples[start : start + FIRST_MS * hop], samples[start:]):
        if (found := _first_active(piece, hop)) is not None:
            # Not the mean of the window, which speech in a part of it would shift.
            offset = samples.mean() if mean is None else mean
            return start + found + int((abs(piece[found : found + block] - offset) > LEVEL).argmax())
    return None


def _first_loud(samples: Samples, rate: int) -> int | None:
    for at in range(0, len(samples), rate):
        piece = samples[at : at + rate]
        loud = (piece > LEVEL) | (piece < -LEVEL)
        if (first := int(loud.argmax())) or loud[:1].any():
            return at + first
    return None


def _first_active(samples: Samples, hop: int) -> int | None:
    """Return where the first window starts that is above the level for `RUN_MS`."""
    hops = samples[: len(samples) // hop * hop].astype(np.int64).reshape(-1, hop)
    size, needed = WINDOW_MS // HOP_MS, (RUN_MS - WINDOW_MS) // HOP_MS + 1
    count = size * hop
    power = _sliding(np.square(hops).sum(1), size) / count - (_sliding(hops.sum(1), size) / count) ** 2
    runs = _sliding(power > LEVEL * LEVEL, needed) == needed
    return int(runs.argmax()) * hop if runs.any() else None


def _sliding(values: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """Return the sums of `size` consecutive values."""
    sums = np.concatenate(([0], values.cumsum()))
    return sums[size:] - sums[:-size]
