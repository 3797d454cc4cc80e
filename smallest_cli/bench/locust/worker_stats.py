"""What one process of a load run has gathered, and the messages in which it sends that to the aggregator.

Each message holds what is new since the one before, so that a process that is cut off loses only its last
seconds.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from smallest_cli.bench.calibration import evaluate_delays
from smallest_cli.bench.locust.histograms import Histogram, Tally
from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.probe import Probe
from smallest_cli.bench.schema import Calibration, Conditions, Delays, as_json
from smallest_cli.bench.stats.quantiles import quantile
from smallest_cli.bench.trial import Attempt, Trial
from smallest_cli.bench.workers import Progress

PROBE_HISTORY_NS = 600 * SECOND
"""The scheduler delays at the timestamps of a longer trial are no longer known at its end."""


class InFlight(Progress):
    """A progress that counts the trials in flight and keeps none."""

    def finish_trial(self, trial: Trial) -> None:
        """Count a trial that ended."""
        with self._lock:
            self.in_flight -= 1


@dataclass
class WorkerStats:
    """What one process has gathered since its last message; without conditions it cannot run any trial."""

    conditions: Conditions | None
    floor: Delays | None = None
    reasons: Sequence[str] = ()
    doubts: Sequence[str] = ()
    problem: str | None = None
    """Why this process cannot run any trial."""
    cut_short: str | None = None
    """The option that ended its part early."""
    probe: Probe = field(default_factory=Probe)
    trials: list[Trial] | None = None
    """Every trial, where raw ones are wanted."""
    origin_ns: int = 0
    """The start of the trials' times, by the clock of the probe."""

    def __post_init__(self) -> None:
        self._wall, self._monotonic = time.time(), time.monotonic()
        self._started_ns: int | None = None
        self._ended_ns = 0
        self._sent_until_ns = 0
        self._lag, self._stamped = Histogram(), Histogram()
        self._new = Delta()
        # Evaluated when sent: the wake-ups after these moments are known by then.
        self._timestamps: list[tuple[int, int]] = []

    def add(self, made: Attempt) -> None:
        """Add a trial that ended."""
        trial = made.trial
        if self.trials is not None:
            self.trials.append(trial)
        if trial.phase == "warmup":
            self._new.warmups += 1
            self._new.warmup_errors.update([trial.error] if trial.error else [])
            return
        if trial.arm not in self._new.tallies and self.conditions:
            self._new.tallies[trial.arm] = Tally([round(ms * 1e6) for ms in self.conditions.buffers_ms])
        self._new.tallies[trial.arm].add(trial)
        started = self._started_ns
        self._started_ns = trial.started_ns if started is None else min(started, trial.started_ns)
        self._ended_ns = max(self._ended_ns, trial.ended_ns)
        if trial.error is None and trial.sent_ns is not None:
            sent = self.origin_ns + trial.sent_ns
            self._timestamps.append((sent, sent + trial.first_audio_ns))

    def calibration(self) -> Calibration:
        """Return this process's own verdict on all that it has sent."""
        good = sorted(
            trial.first_audio_ns / 1e6
            for trial in self.trials or ()
            if trial.phase == "measure" and not trial.error
        )
        return evaluate_delays(
            self._lag.as_delays(),
            self.drift(),
            self.floor,
            quantile(good, 0.5) if good else None,
            self.reasons,
            doubts=self.doubts,
            stamped=self._stamped.as_delays(),
        )

    def drift(self) -> float:
        """Return how far the wall clock has drifted from the monotonic one."""
        return (time.time() - self._wall) - (time.monotonic() - self._monotonic)

    def pack(self, *, last: bool = False) -> dict[str, Any]:
        """Return a message of what is new as plain values. `last` says that none will follow."""
        new, self._new = self._new, Delta()
        unsent = bisect_right(self.probe.woken_ns, self._sent_until_ns)
        late_ns = self.probe.late_ns[unsent : len(self.probe.woken_ns)]
        self._sent_until_ns = self.probe.woken_ns[-1] if self.probe.woken_ns else 0
        delays = ([self.probe.delay_at(at) for at in pair] for pair in self._timestamps)
        stamped_ns = [max(sent or 0, first) for sent, first in delays if first is not None]
        self._timestamps = []
        self.probe.discard(self._sent_until_ns - PROBE_HISTORY_NS)
        return {
            "conditions": as_json(self.conditions),
            "floor": as_json(self.floor),
            "reasons": list(self.reasons),
            "doubts": list(self.doubts),
            "problem": self.problem,
            "cut_short": self.cut_short,
            "drift_s": self.drift(),
            "window_ns": self._ended_ns - (self._started_ns or 0),
            "last": last,
            "arms": {str(arm): tally.pack() for arm, tally in new.tallies.items()},
            "warmups": [new.warmups, dict(new.warmup_errors)],
            "lag": _record(late_ns, self._lag),
            "stamped": _record(stamped_ns, self._stamped),
        }


@dataclass
class Delta:
    """What a process has gathered since its last message."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    warmups: int = 0
    warmup_errors: Counter[str] = field(default_factory=Counter)


def _record(values_ns: Sequence[int], total: Histogram) -> dict[str, Any]:
    """Return a packed histogram of values, and add them to that of the complete run."""
    found = Histogram()
    for ns in values_ns:
        found.add(max(ns, 0))
    total.merge(packed := found.pack())
    return packed
