"""Trials that were told to be whole and hold far too little sound for their text: failures, not fast ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from smallest_cli.bench.record import Trial
from smallest_cli.bench.stats.quantiles import median

LEAST_SHARE = 0.25
"""Of the sound that a text usually has. Voices and their models differ by less."""


def mark_truncated(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, those marked `truncated` that hold less than a quarter of what is usual for their text."""
    lengths = defaultdict(list)
    for trial in trials:
        if trial.error is None:
            lengths[trial.text].append(_seconds(trial))
    usual = {text: median(seconds) for text, seconds in lengths.items()}
    return [_judged(trial, usual.get(trial.text, 0.0)) for trial in trials]


def _judged(trial: Trial, usual: float) -> Trial:
    if trial.error is not None or _seconds(trial) >= LEAST_SHARE * usual:
        return trial
    message = f"{_seconds(trial):.2f} s of sound for a text that has {usual:.2f} s in half of the trials"
    return replace(trial, error="truncated", message=message)


def _seconds(trial: Trial) -> float:
    return trial.frames / trial.rate
