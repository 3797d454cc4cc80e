"""Many trials without the trials: counts and full-resolution histograms, which travel small and merge.

A histogram keeps three digits of every value (HdrHistogram): what is read from a merged one differs from
the union of the raw values by 0.05 % at most. Nothing is ever averaged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from hdrh.histogram import HdrHistogram

from smallest_cli.bench.metrics import (
    CENSORED,
    METRICS,
    SCALES,
    SCHEDULED,
    STREAMING,
    bounds,
    derive,
    gaps,
    is_streamed,
    is_streaming,
    known,
)
from smallest_cli.bench.playback import play
from smallest_cli.bench.results import DEPENDENT_METRICS, SAMPLED, describe
from smallest_cli.bench.trial import Trial

DIGITS, HIGHEST = 3, 3_600_000_000
MOST_VALUES = 100_000
"""As many values are taken out of a histogram, evenly by rank; intervals of a longer run are then too wide,
never too narrow."""
_STEPS = {"ms": 1_000.0, "s": 1_000.0, "x": 1e-6}
"""What one count of a histogram is worth, in the units of `derive`: a microsecond, or a millionth."""
_FAST_STEP = 1e-5
"""That of `rtfx`, so that a sound that comes up to 36,000 times as fast as it lasts has its three digits."""
KEPT = tuple(name for name in METRICS if name not in CENSORED and name not in SCHEDULED)
"""All that a closed loop can have; a trial that was given up adds to the censored ones by itself."""


@dataclass
class Histogram:
    """Values in steps of `step`, with the exact least, greatest and sum beside them."""

    step: float = 1_000.0
    low: float | None = None
    high: float | None = None
    total: float = 0.0
    counts: Any = field(default_factory=lambda: HdrHistogram(1, HIGHEST, DIGITS))

    def add(self, value: float) -> None:
        """Record one value, not negative."""
        self.counts.record_value(min(round(value / self.step), HIGHEST))
        self.low = value if self.low is None else min(self.low, value)
        self.high = value if self.high is None else max(self.high, value)
        self.total += value

    def __len__(self) -> int:
        return int(self.counts.get_total_count())

    def pack(self) -> dict[str, Any]:
        """What travels."""
        hdr = self.counts.encode()
        return {"hdr": hdr.decode("ascii"), "step": self.step, "low": self.low, "high": self.high,
                "total": self.total}  # fmt: skip

    def as_lag(self) -> dict[str, float] | None:
        """What `probe.in_ms` says of single values."""
        if not len(self):
            return None
        p50, p99 = (self.counts.get_value_at_percentile(p) * self.step / 1e6 for p in (50, 99))
        return {"p50": p50, "p99": p99, "max": (self.high or 0) / 1e6, "n": len(self)}

    def merge(self, packed: Mapping[str, Any]) -> None:
        """Add what `pack` gave elsewhere."""
        self.step = packed["step"]
        self.counts.decode_and_add(packed["hdr"].encode("ascii"))
        self.total += packed["total"]
        for name, choose in (("low", min), ("high", max)):
            here, there = getattr(self, name), packed[name]
            if there is not None:
                setattr(self, name, there if here is None else choose(here, there))

    def floor(self) -> float:
        """Where the bucket of the least value begins; infinity without any."""
        if self.low is None:
            return inf
        return float(self.counts.get_lowest_equivalent_value(round(self.low / self.step)) * self.step)

    def values(self) -> list[float]:
        """Values that ascend, each the middle of its bucket; at most `MOST_VALUES`, evenly by rank."""
        return list(self._spread())

    def _spread(self) -> Iterator[float]:
        if self.low is None or self.high is None:
            return
        n, passed, given = len(self), 0, 0
        kept = min(n, MOST_VALUES)
        for item in self.counts.get_recorded_iterator():
            passed += item.count_added_in_this_iter_step
            least = self.counts.get_lowest_equivalent_value(item.value_iterated_to)
            most = self.counts.get_highest_equivalent_value(item.value_iterated_to)
            value = min(max((least + most) / 2 * self.step, self.low), self.high)
            until = passed * kept // n
            yield from [value] * (until - given)
            given = until


@dataclass
class _Player:
    """How one prebuffer fared."""

    smooth: int = 0
    stalls: int = 0
    longest_ns: int = 0
    heard: Histogram = field(default_factory=Histogram)
    stalled: Histogram = field(default_factory=Histogram)


class Tally:
    """One arm's trials, added one by one or as what another tally packed."""

    def __init__(self, prebuffers_ns: Sequence[int]) -> None:
        self.prebuffers_ns = tuple(prebuffers_ns)
        self.n = self.ok = self.streamed = self.reopened = self.audio_ns = 0
        self.characters = self.good_characters = 0
        """Sent, and those of the good trials."""
        self.errors: Counter[str] = Counter()
        self.messages: dict[str, str] = {}
        self._metrics: dict[str, Histogram] = {}
        self._bounds: dict[str, Histogram] = {}
        """What was waited in vain, for the censored metrics."""
        self._players = [_Player() for _ in self.prebuffers_ns]

    def add(self, trial: Trial) -> None:
        """Count a trial that is over."""
        self.n += 1
        self.characters += trial.characters
        if trial.error is not None:
            self.errors[trial.error] += 1
            self.messages.setdefault(trial.error, trial.message or "")
            for name, waited in bounds(trial).items():
                _of(name, self._bounds).add(waited)
            for name, came in known(trial).items():
                _of(name, self._metrics).add(came)
            return
        self.ok += 1
        self.good_characters += trial.characters
        self.reopened += trial.reused is False and "/warm/" in trial.arm
        derived = derive(trial, self.prebuffers_ns[0])
        self.audio_ns += round(derived["audio"])
        for name in KEPT:
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
            if run.heard_ns is not None:
                player.heard.add(run.heard_ns)

    def pack(self) -> dict[str, Any]:
        """What travels to whoever merges it."""
        return {
            "counts": [self.n, self.ok, self.streamed, self.reopened, self.audio_ns],
            "characters": [self.characters, self.good_characters],
            "errors": dict(self.errors),
            "messages": self.messages,
            "metrics": {name: each.pack() for name, each in self._metrics.items()},
            "bounds": {name: each.pack() for name, each in self._bounds.items()},
            "players": [
                [each.smooth, each.stalls, each.longest_ns, each.heard.pack(), each.stalled.pack()]
                for each in self._players
            ],
        }

    def merge(self, packed: Mapping[str, Any]) -> None:
        """Add what `pack` gave elsewhere, of the same prebuffers."""
        n, ok, streamed, reopened, audio_ns = packed["counts"]
        self.n, self.ok, self.streamed = self.n + n, self.ok + ok, self.streamed + streamed
        self.reopened, self.audio_ns = self.reopened + reopened, self.audio_ns + audio_ns
        sent, good = packed["characters"]
        self.characters, self.good_characters = self.characters + sent, self.good_characters + good
        self.errors.update(packed["errors"])
        self.messages = dict(packed["messages"]) | self.messages
        for kept, came in ((self._metrics, packed["metrics"]), (self._bounds, packed["bounds"])):
            for name, histogram in came.items():
                _of(name, kept).merge(histogram)
        for player, (smooth, stalls, longest, heard, stalled) in zip(
            self._players, packed["players"], strict=True
        ):
            player.smooth, player.stalls = player.smooth + smooth, player.stalls + stalls
            player.longest_ns = max(player.longest_ns, longest)
            player.heard.merge(heard)
            player.stalled.merge(stalled)

    def median_ms(self) -> float | None:
        """The median time to first audio; None without one."""
        found = self._metrics.get("ttfb")
        return found.counts.get_value_at_percentile(50) * found.step / 1e6 if found else None

    def as_arm(self, name: str) -> dict[str, Any]:
        """The arm as results have it; no trial is drawn, since none is kept."""
        streaming = is_streaming(name, self.ok, self.streamed)
        had = self._metrics.keys() - CENSORED.keys() - (frozenset() if streaming else STREAMING)
        kept = {metric: self._metrics[metric] for metric in METRICS if metric in had}
        metrics = {metric: _described(metric, found) for metric, found in kept.items()}
        late = self._bounds.keys() | self._metrics.keys()
        metrics |= {metric: self._censored(metric) for metric in CENSORED if metric in late}
        samples = {metric: kept[metric].values() for metric in SAMPLED if metric in kept}
        return {
            "id": name,
            "n": self.n,
            "ok": self.ok,
            "errors": dict(sorted(self.errors.items())),
            "error_rate": sum(self.errors.values()) / self.n if self.n else 0.0,
            "messages": self.messages,
            "streaming": streaming,
            "reopened": self.reopened,
            "metrics": metrics,
            "player": [self._played(*each) for each in zip(self.prebuffers_ns, self._players, strict=True)]
            if self.streamed and streaming
            else [],
            "samples": {"trial": [], "text": []}
            | {metric: [value / 1e6 for value in values] for metric, values in samples.items()},
            "drawn": {},
        }

    def _censored(self, metric: str) -> dict[str, Any]:
        least = self._bounds.get(metric, Histogram())
        whole = Histogram()
        for each in (least, self._metrics.get(metric), self._metrics.get(CENSORED[metric])):
            if each:
                whole.merge(each.pack())
        return _described(metric, whole, least.floor())

    def _played(self, prebuffer: int, player: _Player) -> dict[str, Any]:
        heard = describe("ttfa", player.heard.values())
        stalled = describe("ttfa", player.stalled.values())
        return {
            "buffer_ms": prebuffer / 1e6,
            "smooth": player.smooth / self.streamed,
            "ttfa_p50": heard["p50"]["v"] if heard else None,
            "stalls_mean": player.stalls / self.streamed,
            "stall_total_p95": stalled["p95"]["v"] if stalled else 0.0,
            "stall_max": player.longest_ns / 1e6,
        }


def _of(name: str, kept: dict[str, Histogram]) -> Histogram:
    if name not in kept:
        kept[name] = Histogram(_FAST_STEP if name == "rtfx" else _STEPS[METRICS[name].unit])
    return kept[name]


def _described(metric: str, found: Histogram, bounded_from: float = inf) -> dict[str, Any]:
    dependent = metric in DEPENDENT_METRICS
    described = describe(metric, found.values(), dependent=dependent, bounded_from=bounded_from)
    if described is None:
        return {}
    scale = SCALES[METRICS[metric].unit]
    exact = {
        "n": len(found),
        "mean": found.total / len(found) / scale,
        "min": (found.low or 0.0) / scale,
        "max": (found.high or 0.0) / scale,
        "outliers": round(described["outliers"] * len(found) / described["n"]),
    }
    return described | exact | {"digits": DIGITS}
