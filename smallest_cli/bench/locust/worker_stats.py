"""A run that several processes share: what one of them gathers, and sends for `pool` to put together.

Each sends what is new since it last did, so a process that is cut off takes only its last seconds along.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smallest_cli.bench.calibration import evaluate_effect
from smallest_cli.bench.locust.histograms import Histogram, Tally
from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.probe import Probe
from smallest_cli.bench.stats.quantiles import quantile
from smallest_cli.bench.trial import Attempt, Trial
from smallest_cli.bench.workers import Progress

REMEMBERED_NS = 600 * SECOND
"""A trial that lasts longer has nobody to say how late its stamps may be."""


class Passing(Progress):
    """A progress that counts what is under way and keeps no trial."""

    def end(self, trial: Trial) -> None:
        """A trial is over."""
        with self._lock:
            self.in_flight -= 1


@dataclass
class WorkerStats:
    """What one process has gathered since it last sent. `about` is what was asked, of `measure.run`."""

    about: Mapping[str, Any]
    floor: Mapping[str, Any] | None = None
    reasons: Sequence[str] = ()
    doubts: Sequence[str] = ()
    problem: str | None = None
    """Why this process cannot make any trial."""
    cut_short: str | None = None
    """The option that ended its part early."""
    probe: Probe = field(default_factory=Probe)
    kept: list[Trial] | None = None
    """Every trial, where the raw ones are wanted."""

    origin_ns: int = 0
    """From when, by the probe's clock, the trials' times count."""

    def __post_init__(self) -> None:
        self._wall, self._monotonic = time.time(), time.monotonic()
        self._begun_ns: int | None = None
        self._ended_ns = 0
        self._told_until = 0
        self._lag, self._stamped = Histogram(), Histogram()
        self._new = Delta()
        self._stamps: list[tuple[int, int]] = []  # looked at when sent: wakes after them are known by then

    def add(self, made: Attempt) -> None:
        """Count a trial that is over."""
        trial = made.trial
        if self.kept is not None:
            self.kept.append(trial)
        if trial.phase == "warmup":
            self._new.warmed += 1
            self._new.warmups.update([trial.error] if trial.error else [])
            return
        if trial.arm not in self._new.tallies:
            self._new.tallies[trial.arm] = Tally([round(ms * 1e6) for ms in self.about["buffers_ms"]])
        self._new.tallies[trial.arm].add(trial)
        begun = self._begun_ns
        self._begun_ns = trial.started_ns if begun is None else min(begun, trial.started_ns)
        self._ended_ns = max(self._ended_ns, trial.ended_ns)
        if trial.error is None and trial.sent_ns is not None:
            sent = self.origin_ns + trial.sent_ns
            self._stamps.append((sent, sent + trial.chunks[0][0]))

    def calibration(self) -> dict[str, Any]:
        """This process's own verdict on all that it has packed; of the median where raw trials are kept."""
        good = sorted(
            trial.chunks[0][0] / 1e6
            for trial in self.kept or ()
            if trial.phase == "measure" and not trial.error
        )
        median_ms = quantile(good, 0.5) if good else None
        lags = self._lag.as_lag(), self._stamped.as_lag()
        return evaluate_effect(
            lags[0], self.drift(), self.floor, median_ms, self.reasons, doubts=self.doubts, stamped=lags[1]
        )

    def drift(self) -> float:
        """Seconds by which the wall clock has parted from the monotonic one."""
        return (time.time() - self._wall) - (time.monotonic() - self._monotonic)

    def take(self, *, last: bool = False) -> Delta:
        """What is new; it then counts as sent. `last` says that no more will come."""
        new, self._new = self._new, Delta()
        new.said = {
            "about": dict(self.about),
            "floor": dict(self.floor) if self.floor else None,
            "reasons": list(self.reasons),
            "doubts": list(self.doubts),
            "problem": self.problem,
            "cut_short": self.cut_short,
            "drift_s": self.drift(),
            "window_ns": self._ended_ns - (self._begun_ns or 0),
            "last": last,
        }
        untold = bisect_right(self.probe.woken_ns, self._told_until)
        new.late_ns = self.probe.late_ns[untold : len(self.probe.woken_ns)]
        self._told_until = self.probe.woken_ns[-1] if self.probe.woken_ns else 0
        found = ([self.probe.late_at(at) for at in pair] for pair in self._stamps)
        new.stamped_ns = [max(sent or 0, heard) for sent, heard in found if heard is not None]
        self._stamps = []
        self.probe.forget(self._told_until - REMEMBERED_NS)
        for values, whole in ((new.late_ns, self._lag), (new.stamped_ns, self._stamped)):
            for ns in values:
                whole.add(max(ns, 0))
        return new


@dataclass
class Delta:
    """What a process has gathered since it last sent."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    warmups: Counter[str] = field(default_factory=Counter)
    warmed: int = 0
    stamped_ns: list[int] = field(default_factory=list)
    """Of each good trial: how late the probe was woken around its request or its first audio."""
    late_ns: list[int] = field(default_factory=list)
    said: dict[str, Any] = field(default_factory=dict)

    def pack(self) -> dict[str, Any]:
        """What travels."""
        return self.said | {
            "arms": {name: tally.pack() for name, tally in self.tallies.items()},
            "warmups": [self.warmed, dict(self.warmups)],
            "lag": _histogram(self.late_ns).pack(),
            "stamped": _histogram(self.stamped_ns).pack(),
        }


def _histogram(values_ns: Sequence[int]) -> Histogram:
    found = Histogram()
    for ns in values_ns:
        found.add(max(ns, 0))
    return found


def named(arm: str, users: int) -> str:
    """An arm's id with how many were at once, which one process alone does not know."""
    return f"{arm.rpartition('/')[0]}/c{users}"
