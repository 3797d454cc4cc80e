"""The totals of one arm: counts, and a distribution for each metric, from trials or from other tallies."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from msgspec import UNSET, Struct
from msgspec.structs import asdict

from smallest_cli.bench import metrics
from smallest_cli.bench.distribution import STEPS, Distribution, add_counts, summarise
from smallest_cli.bench.playback import SECOND, play
from smallest_cli.bench.schema import SAMPLED, Arm, ArmResult, MetricSummary, PlayerSummary, Samples
from smallest_cli.bench.trial import Trial


class PlayerTally(Struct):
    """Totals of the simulated player with one prebuffer."""

    played: Distribution
    stalled: Distribution
    smooth: int = 0
    stalls: int = 0
    longest_ns: int = 0

    def add(self, trial: Trial, prebuffer_ns: int) -> None:
        """Simulate playing a trial and add the result."""
        run = play(trial.chunks, trial.rate, prebuffer_ns, trial.onset or 0)
        self.smooth, self.stalls = self.smooth + (run.stalls == 0), self.stalls + run.stalls
        self.longest_ns = max(self.longest_ns, run.longest_stall_ns)
        self.stalled.add(run.stalled_ns)
        if run.played_ns is not None:
            self.played.add(run.played_ns)

    def merge(self, other: PlayerTally) -> None:
        """Add the totals of another player with the same prebuffer."""
        self.smooth, self.stalls = self.smooth + other.smooth, self.stalls + other.stalls
        self.longest_ns = max(self.longest_ns, other.longest_ns)
        self.played.merge(other.played)
        self.stalled.merge(other.stalled)

    def summarise(self, prebuffer_ns: int) -> PlayerSummary:
        """Return the summary over all played trials; at least one is required."""
        return PlayerSummary(
            buffer_ms=prebuffer_ns / 1e6,
            smooth=self.smooth / self.stalled.n,
            ttfa_p50=self.played.quantiles(0.5)[0] / 1e6 if self.played.n else None,
            stalls_mean=self.stalls / self.stalled.n,
            stall_total_p95=self.stalled.quantiles(0.95)[0] / 1e6,
            stall_max=self.longest_ns / 1e6,
        )


class Tally(Struct):
    """The totals of one arm. With `exact`, every value is kept, so that memory grows with the run."""

    prebuffers_ns: Sequence[int]
    exact: bool = False
    n: int = 0
    ok: int = 0
    streamed: int = 0
    reopened: int = 0
    slow_sends: int = 0
    audio_ns: float = 0.0
    characters: int = 0
    good_characters: int = 0  # of successful trials
    errors: dict[str, int] = {}
    messages: dict[str, str] = {}
    checks_failed: int = 0
    check_message: str = ""
    metrics: dict[str, Distribution] = {}
    bounds: dict[str, Distribution] = {}  # waits of timed-out trials, for the censored metrics
    players: list[PlayerTally] = []

    def __post_init__(self) -> None:
        if not self.players:
            self.players = [PlayerTally(self._empty("ttfa"), self._empty("ttfa")) for _ in self.prebuffers_ns]

    def _empty(self, metric: str) -> Distribution:
        return Distribution(0.0 if self.exact else STEPS[metrics.METRICS[metric].unit])

    def _of(self, metric: str, among: dict[str, Distribution]) -> Distribution:
        if metric not in among:
            among[metric] = self._empty(metric)
        return among[metric]

    def add(self, trial: Trial) -> None:
        """Add a finished trial."""
        self.n += 1
        self.characters += trial.characters
        if trial.error is not None:
            add_counts(self.errors, {trial.error: 1})
            self.messages.setdefault(trial.error, trial.message or "")
            for name, waited in metrics.lower_bounds(trial).items():
                self._of(name, self.bounds).add(waited)
            for name, value in metrics.known_values(trial).items():
                self._of(name, self.metrics).add(value)
            return
        self.ok += 1
        self.good_characters += trial.characters
        self.reopened += trial.reused is False and trial.cancellation is None  # that closes the connection
        self.slow_sends += trial.late_write_ns is not None
        if trial.check_error is not None:
            self.checks_failed += 1
            self.check_message = self.check_message or trial.check_error
        derived = metrics.derive(trial, self.prebuffers_ns[0])
        self.audio_ns += trial.frames * SECOND / trial.rate
        for name, value in derived.items():
            self._of(name, self.metrics).add(value)
        for gap in metrics.gaps(trial):
            self._of("gap", self.metrics).add(gap)
        if metrics.is_streamed(trial):
            self.streamed += 1
            for player, prebuffer_ns in zip(self.players, self.prebuffers_ns, strict=True):
                player.add(trial, prebuffer_ns)

    def merge(self, other: Tally) -> None:
        """Add a tally with the same prebuffers."""
        counts = ("n", "ok", "streamed", "reopened", "slow_sends", "characters", "good_characters")
        for name in ("audio_ns", *counts):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        add_counts(self.errors, other.errors)
        self.messages = other.messages | self.messages
        for own, others in ((self.metrics, other.metrics), (self.bounds, other.bounds)):
            for name, distribution in others.items():
                self._of(name, own).merge(distribution)
        for player, another in zip(self.players, other.players, strict=True):
            player.merge(another)

    def as_result(self, arm: Arm) -> ArmResult:
        """Return the result of the arm, without timelines, which need single trials."""
        streaming = metrics.is_streaming(arm, self.ok, self.streamed)
        hidden = frozenset() if streaming else metrics.STREAMING
        # Timed-out trials count only in the censored metrics.
        summaries = {
            name: self._censored(name) if name in metrics.CENSORED else summarise(name, self.metrics[name])
            for name in metrics.METRICS
            if name not in hidden and (name in self.metrics or name in self.bounds)
        }
        players = zip(self.players, self.prebuffers_ns, strict=True) if self.streamed and streaming else ()
        samples: dict[str, Any] = {
            name: [metrics.in_unit(name, value) for value in self.metrics[name].values()]
            for name in SAMPLED
            if name in summaries
        }
        return ArmResult(
            **asdict(arm),
            n=self.n,
            ok=self.ok,
            errors=dict(sorted(self.errors.items())),
            error_rate=sum(self.errors.values()) / self.n if self.n else 0.0,
            messages=self.messages,
            streaming=streaming,
            reopened=self.reopened if arm.conn == "warm" else 0,
            slow_sends=self.slow_sends,
            checks_failed=self.checks_failed or UNSET,
            check_message=self.check_message or UNSET,
            metrics={name: found for name, found in summaries.items() if found},
            player=[player.summarise(prebuffer_ns) for player, prebuffer_ns in players],
            samples=Samples(**samples),
            drawn={},
        )

    def _censored(self, metric: str) -> MetricSummary | None:
        bounds, merged = self.bounds.get(metric), self._empty(metric)
        for each in (bounds, self.metrics.get(metric), self.metrics.get(metrics.CENSORED[metric])):
            if each:
                merged.merge(each)
        return summarise(metric, merged, bounds.floor() if bounds else inf)
