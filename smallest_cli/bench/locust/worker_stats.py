"""Statistics of one process of a load run since its last message."""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass, field

from smallest_cli.bench.calibration import SelfTest
from smallest_cli.bench.distribution import add_counts
from smallest_cli.bench.locust.messages import Message, Totals, distribution_of
from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.probe import Probe
from smallest_cli.bench.schema import Conditions, Warmups
from smallest_cli.bench.tally import Tally
from smallest_cli.bench.trial import Attempt, Trial
from smallest_cli.bench.workers import Progress

PROBE_HISTORY_NS = 600 * SECOND
"""How long wake-ups are kept: a longer trial has no scheduler delay for its request."""

NOT_CALIBRATED = SelfTest(None)


class InFlight(Progress):
    """A `Progress` that counts the trials in flight but does not store them."""

    def finish_trial(self, trial: Trial) -> None:
        """Count a trial that ended."""
        with self._lock:
            self.in_flight -= 1


@dataclass
class WorkerStats:
    """Statistics of one process; without conditions it cannot run trials, and `problem` is the reason."""

    conditions: Conditions | None
    self_test: SelfTest = NOT_CALIBRATED
    problem: str | None = None
    cut_short: str | None = None  # the option that ended it early
    probe: Probe = field(default_factory=Probe)
    trials: list[Trial] | None = None  # all trials, if raw ones are to be written
    origin_ns: int = 0  # the start of the trials' times, by the clock of the probe

    def __post_init__(self) -> None:
        self.sent = Totals()
        self._wall, self._monotonic = time.time(), time.monotonic()
        self._started_ns: int | None = None
        self._ended_ns = self._sent_until_ns = 0
        self._tallies: dict[str, Tally] = {}
        self._warmups = Warmups(0, {})
        # Evaluated when sent: the next wake-ups are known by then.
        self._timestamps: list[tuple[int, int]] = []

    def add(self, made: Attempt) -> None:
        """Add a trial that ended."""
        trial = made.trial
        if self.trials is not None:
            self.trials.append(trial)
        if trial.phase == "warmup":
            self._warmups.n += 1
            add_counts(self._warmups.errors, {trial.error: 1} if trial.error else {})
            return
        if trial.arm not in self._tallies and self.conditions:
            self._tallies[trial.arm] = Tally([round(ms * 1e6) for ms in self.conditions.buffers_ms])
        self._tallies[trial.arm].add(trial)
        started = self._started_ns
        self._started_ns = trial.started_ns if started is None else min(started, trial.started_ns)
        self._ended_ns = max(self._ended_ns, trial.ended_ns)
        if trial.error is None and trial.sent_ns is not None:
            sent = self.origin_ns + trial.sent_ns
            self._timestamps.append((sent, sent + trial.first_audio_ns))

    def drift(self) -> float:
        """Return how far the wall clock has drifted from the monotonic one, in seconds."""
        return (time.time() - self._wall) - (time.monotonic() - self._monotonic)

    def message(self, *, last: bool = False) -> Message:
        """Return a message with the new data. `last`: none will follow."""
        unsent = bisect_right(self.probe.woken_ns, self._sent_until_ns)
        late_ns = self.probe.late_ns[unsent : len(self.probe.woken_ns)]
        self._sent_until_ns = self.probe.woken_ns[-1] if self.probe.woken_ns else 0
        delays = ([self.probe.delay_at(at) for at in pair] for pair in self._timestamps)
        found = Message(
            conditions=self.conditions,
            problem=self.problem,
            self_test=self.self_test,
            cut_short=self.cut_short,
            drift_s=self.drift(),
            window_ns=self._ended_ns - (self._started_ns or 0),
            last=last,
            arms=self._tallies,
            warmups=self._warmups,
            lag=distribution_of(late_ns),
            stamped=distribution_of(max(sent or 0, first) for sent, first in delays if first is not None),
        )
        self._tallies, self._warmups, self._timestamps = {}, Warmups(0, {}), []
        self.probe.discard(self._sent_until_ns - PROBE_HISTORY_NS)
        self.sent.add(found)
        return found
