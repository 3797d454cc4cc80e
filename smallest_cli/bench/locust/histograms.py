"""Trials as counts and full-resolution histograms, which are small to send and can be merged.

A histogram keeps three digits of every value (HdrHistogram): quantiles of a merged one differ from those of
the union of raw values by 0.05 % at most. Nothing is ever averaged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from hdrh.histogram import HdrHistogram
from msgspec.structs import replace

from smallest_cli.bench.metrics import (
    CENSORED,
    METRICS,
    SCALES,
    SCHEDULED,
    STREAMING,
    derive,
    gaps,
    is_streamed,
    is_streaming,
    known_values,
    lower_bounds,
)
from smallest_cli.bench.playback import play
from smallest_cli.bench.results import describe
from smallest_cli.bench.schema import SAMPLED, ArmId, ArmResult, Delays, MetricSummary, PlayerSummary, Samples
from smallest_cli.bench.trial import Trial

DIGITS, MAX_COUNT = 3, 3_600_000_000
MAX_VALUES = 100_000
"""Values taken out of a histogram at most, evenly by rank. Intervals of a longer run are then too wide, never
too narrow."""
_STEPS = {"ms": 1_000.0, "s": 1_000.0, "x": 1e-6}
"""The resolution of a histogram in the units of `derive`: a microsecond, or a millionth."""
_RTFX_STEP = 1e-5
"""That of `rtfx`, so that audio up to 36,000 times as fast as real time keeps three digits."""
RECORDED = tuple(name for name in METRICS if name not in CENSORED and name not in SCHEDULED)
"""The metrics that a closed loop can have; censored ones get values only from trials that timed out."""


@dataclass
class Histogram:
    """Values in steps of `step`, with their exact minimum, maximum and sum."""

    step: float = 1_000.0
    low: float | None = None
    high: float | None = None
    total: float = 0.0
    counts: Any = field(default_factory=lambda: HdrHistogram(1, MAX_COUNT, DIGITS))

    def add(self, value: float) -> None:
        """Record one non-negative value."""
        self.counts.record_value(min(round(value / self.step), MAX_COUNT))
        self.low = value if self.low is None else min(self.low, value)
        self.high = value if self.high is None else max(self.high, value)
        self.total += value

    def __len__(self) -> int:
        return int(self.counts.get_total_count())

    def pack(self) -> dict[str, Any]:
        """Return it as plain values for a message."""
        hdr = self.counts.encode().decode("ascii")
        return {"hdr": hdr, "step": self.step, "low": self.low, "high": self.high, "total": self.total}

    def quantile(self, p: float) -> float:
        """Return a quantile, in nanoseconds for a histogram of times."""
        return float(self.counts.get_value_at_percentile(100 * p) * self.step)

    def as_delays(self) -> Delays | None:
        """Summarise nanoseconds in ms, as `probe.in_ms` does; None if there are none."""
        if not len(self):
            return None
        return Delays(self.quantile(0.5) / 1e6, self.quantile(0.99) / 1e6, (self.high or 0) / 1e6, len(self))

    def merge(self, packed: Mapping[str, Any]) -> None:
        """Add a histogram packed by another process."""
        self.step = packed["step"]
        self.counts.decode_and_add(packed["hdr"].encode("ascii"))
        self.total += packed["total"]
        for name, choose in (("low", min), ("high", max)):
            here, there = getattr(self, name), packed[name]
            if there is not None:
                setattr(self, name, there if here is None else choose(here, there))

    def floor(self) -> float:
        """Return the lower end of the minimum's bucket; infinity if there are no values."""
        if self.low is None:
            return inf
        return float(self.counts.get_lowest_equivalent_value(round(self.low / self.step)) * self.step)

    def values(self) -> list[float]:
        """Return ascending values, each the middle of its bucket; at most `MAX_VALUES`, evenly by rank."""
        return list(self._spread())

    def _spread(self) -> Iterator[float]:
        if self.low is None or self.high is None:
            return
        n, seen, yielded = len(self), 0, 0
        wanted = min(n, MAX_VALUES)
        for item in self.counts.get_recorded_iterator():
            seen += item.count_added_in_this_iter_step
            low = self.counts.get_lowest_equivalent_value(item.value_iterated_to)
            high = self.counts.get_highest_equivalent_value(item.value_iterated_to)
            value = min(max((low + high) / 2 * self.step, self.low), self.high)
            until = seen * wanted // n
            yield from [value] * (until - yielded)
            yielded = until


@dataclass
class _Player:
    """Totals of the simulated player with one prebuffer."""

    smooth: int = 0
    stalls: int = 0
    longest_ns: int = 0
    played: Histogram = field(default_factory=Histogram)
    stalled: Histogram = field(default_factory=Histogram)


class Tally:
    """The totals of one arm, from trials or from packed tallies of other processes."""

    def __init__(self, prebuffers_ns: Sequence[int]) -> None:
        self.prebuffers_ns = tuple(prebuffers_ns)
        self.n = self.ok = self.streamed = self.reopened = self.audio_ns = 0
        self.characters = self.good_characters = 0
        """Characters sent, and those of successful trials."""
        self.errors: Counter[str] = Counter()
        self.messages: dict[str, str] = {}
        self._metrics: dict[str, Histogram] = {}
        self._bounds: dict[str, Histogram] = {}
        """How long trials waited before they timed out, for the censored metrics."""
        self._players = [_Player() for _ in self.prebuffers_ns]

    def add(self, trial: Trial) -> None:
        """Count a trial that is over."""
        self.n += 1
        self.characters += trial.characters
        if trial.error is not None:
            self.errors[trial.error] += 1
            self.messages.setdefault(trial.error, trial.message or "")
            for name, waited in lower_bounds(trial).items():
                _of(name, self._bounds).add(waited)
            for name, value in known_values(trial).items():
                _of(name, self._metrics).add(value)
            return
        self.ok += 1
        self.good_characters += trial.characters
        self.reopened += trial.reused is False and trial.arm.conn == "warm"
        derived = derive(trial, self.prebuffers_ns[0])
        self.audio_ns += round(derived["audio"])
        for name in RECORDED:
            if name in derived:
                _of(name, self._metrics).add(derived[name])
        for gap in gaps(trial):
            _of("gap", self._metrics).add(gap)
        if is_streamed(trial):
            self.streamed += 1
            self._play(trial)

    def _play(self, trial: Trial) -> None:
        for prebuffer, player in zip(self.prebuffers_ns, self._players, strict=True):
            run = play(trial.chunks, trial.rate, prebuffer, trial.onset or 0)
            player.smooth += run.stalls == 0
            player.stalls += run.stalls
            player.longest_ns = max(player.longest_ns, run.longest_stall_ns)
            player.stalled.add(run.stalled_ns)
            if run.played_ns is not None:
                player.played.add(run.played_ns)

    def pack(self) -> dict[str, Any]:
        """Return it as plain values for a message."""
        return {
            "counts": [self.n, self.ok, self.streamed, self.reopened, self.audio_ns],
            "characters": [self.characters, self.good_characters],
            "errors": dict(self.errors),
            "messages": self.messages,
            "metrics": {name: each.pack() for name, each in self._metrics.items()},
            "bounds": {name: each.pack() for name, each in self._bounds.items()},
            "players": [
                [each.smooth, each.stalls, each.longest_ns, each.played.pack(), each.stalled.pack()]
                for each in self._players
            ],
        }

    def merge(self, packed: Mapping[str, Any]) -> None:
        """Add a packed tally with the same prebuffers."""
        n, ok, streamed, reopened, audio_ns = packed["counts"]
        self.n, self.ok, self.streamed = self.n + n, self.ok + ok, self.streamed + streamed
        self.reopened, self.audio_ns = self.reopened + reopened, self.audio_ns + audio_ns
        sent, good = packed["characters"]
        self.characters, self.good_characters = self.characters + sent, self.good_characters + good
        self.errors.update(packed["errors"])
        self.messages = dict(packed["messages"]) | self.messages
        for own, packed_ones in ((self._metrics, packed["metrics"]), (self._bounds, packed["bounds"])):
            for name, histogram in packed_ones.items():
                _of(name, own).merge(histogram)
        for player, (smooth, stalls, longest, played, stalled) in zip(
            self._players, packed["players"], strict=True
        ):
            player.smooth, player.stalls = player.smooth + smooth, player.stalls + stalls
            player.longest_ns = max(player.longest_ns, longest)
            player.played.merge(played)
            player.stalled.merge(stalled)

    def median_ms(self) -> float | None:
        """Return the median time to first audio, None without one."""
        found = self._metrics.get("ttfb")
        return found.quantile(0.5) / 1e6 if found else None

    def as_result(self, arm: ArmId) -> ArmResult:
        """Return the result of the arm; it has no timelines, since no single trial is kept."""
        streaming = is_streaming(arm, self.ok, self.streamed)
        hidden = CENSORED.keys() | (frozenset() if streaming else STREAMING)
        shown = {name: self._metrics[name] for name in METRICS if name in self._metrics.keys() - hidden}
        metrics = {name: _summarise(name, found) for name, found in shown.items()}
        timed_out = self._bounds.keys() | self._metrics.keys()
        metrics |= {name: self._censored(name) for name in CENSORED if name in timed_out}
        values: dict[str, Any] = {
            name: [value / 1e6 for value in shown[name].values()] for name in SAMPLED if name in shown
        }
        players = zip(self.prebuffers_ns, self._players, strict=True)
        return ArmResult(
            id=arm,
            n=self.n,
            ok=self.ok,
            errors=dict(sorted(self.errors.items())),
            error_rate=sum(self.errors.values()) / self.n if self.n else 0.0,
            messages=self.messages,
            streaming=streaming,
            reopened=self.reopened,
            metrics={name: found for name, found in metrics.items() if found is not None},
            player=[self._player(*each) for each in players] if self.streamed and streaming else [],
            samples=Samples(**values),
            drawn={},
        )

    def _censored(self, metric: str) -> MetricSummary | None:
        bounds, merged = self._bounds.get(metric, Histogram()), Histogram()
        for each in (bounds, self._metrics.get(metric), self._metrics.get(CENSORED[metric])):
            if each:
                merged.merge(each.pack())
        return _summarise(metric, merged, bounds.floor())

    def _player(self, prebuffer_ns: int, player: _Player) -> PlayerSummary:
        played, stalled = (describe("ttfa", each.values()) for each in (player.played, player.stalled))
        return PlayerSummary(
            buffer_ms=prebuffer_ns / 1e6,
            smooth=player.smooth / self.streamed,
            ttfa_p50=played.p50.v if played else None,
            stalls_mean=player.stalls / self.streamed,
            stall_total_p95=stalled.p95.v if stalled else 0.0,
            stall_max=player.longest_ns / 1e6,
        )


def _of(name: str, histograms: dict[str, Histogram]) -> Histogram:
    if name not in histograms:
        histograms[name] = Histogram(_RTFX_STEP if name == "rtfx" else _STEPS[METRICS[name].unit])
    return histograms[name]


def _summarise(metric: str, found: Histogram, bounded_from: float = inf) -> MetricSummary | None:
    summary = describe(metric, found.values(), bounded_from=bounded_from)
    if summary is None:
        return None
    scale = SCALES[METRICS[metric].unit]
    # These are exact; the rest has the resolution of the histogram.
    return replace(
        summary,
        n=len(found),
        mean=found.total / len(found) / scale,
        min=(found.low or 0.0) / scale,
        max=(found.high or 0.0) / scale,
        outliers=round(summary.outliers * len(found) / summary.n),
        digits=DIGITS,
    )
