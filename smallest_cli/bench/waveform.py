"""Measure the audio of a trial: silence at both ends, clipping, DC offset and level.

With NumPy, which soundfile needs anyway: 0.2 ms for 3 s of audio, once the trial has ended. Other trials of
the run are delayed by less, since NumPy releases the interpreter lock. PCM is not kept, so these figures are
part of the raw trial.
"""

from __future__ import annotations

import math

import numpy as np

from smallest_cli.bench.onset import FULL_SCALE, find_onset, samples_of
from smallest_cli.bench.schema import Waveform

MIN_DB = -100.0
"""The DC offset of audio that has none; one step of s16le is -90.3 dBFS."""


def measure_waveform(pcm: bytes, rate: int) -> tuple[int | None, Waveform | None]:
    """Return the first audible frame of s16le mono, and the figures of the audio; None if it is silent."""
    samples = samples_of(pcm)
    values = samples.astype(np.float32)
    mean = float(values.mean()) if len(values) else 0.0
    onset = find_onset(samples, rate, mean)
    if onset is None:
        return None, None
    end = len(samples) - (find_onset(samples[::-1], rate, mean) or 0)
    voiced = values[onset:end]
    voiced -= voiced.mean()
    np.square(voiced, out=voiced)
    clipped = 0
    if samples.max() >= FULL_SCALE - 1 or samples.min() <= 1 - FULL_SCALE:
        clipped = int(np.count_nonzero((samples >= FULL_SCALE - 1) | (samples <= 1 - FULL_SCALE)))
    rms = _decibels(math.sqrt(float(voiced.mean())))
    return onset, Waveform(end=end, clipped=clipped, dc=_decibels(abs(mean)), rms=rms)


def _decibels(amplitude: float) -> float:
    return max(MIN_DB, 20 * math.log10(amplitude / FULL_SCALE)) if amplitude else MIN_DB
