"""Throughput and latency by concurrency (`-c 1,2,4,8`), and the knee: the last level before saturation."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, sqrt
from statistics import NormalDist, fmean, variance

from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.schema import ArmResult, Estimate, Sweep, SweepLevel
from smallest_cli.bench.stats.quantiles import CONFIDENCE, fewest_for
from smallest_cli.bench.trial import Trial

Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
MIN_GROWTH = 0.05
MAX_SLOWDOWN = 2.0
"""The knee is the lowest level that no higher one exceeds in throughput, by 5 % and by more than their
confidence intervals. Only levels below the first whose ttfb p95 (its lower bound) is more than twice that of
the lowest count."""


def find_sweeps(arms: Sequence[ArmResult], measured: Sequence[Trial]) -> list[Sweep]:
    """Return a sweep for each group of closed-loop arms that differ in concurrency only."""
    groups: dict[object, list[ArmResult]] = {}
    for arm in arms:
        if arm.rate is None:
            rest = (arm.via, arm.conn, arm.voice, arm.model, arm.api, arm.base_url)
            groups.setdefault(rest, []).append(arm)
    own: dict[str, list[Trial]] = {arm.id: [] for arm in arms}
    for trial in measured:
        own[trial.arm].append(trial)
    found = []
    for group in groups.values():
        ordered = sorted(group, key=lambda arm: arm.concurrency)
        levels = [_level(arm, own[arm.id]) for arm in ordered if own[arm.id]]
        if len(levels) > 1:
            found.append(_with_knee(levels))
    return found


def _level(arm: ArmResult, trials: Sequence[Trial]) -> SweepLevel:
    """Compute the throughput from the time that trials take with N in flight: N of them per mean time.

    Unlike trials per second of a round, it does not count the end of a round, when fewer are in flight.
    """
    seconds = [max(trial.ended_ns - trial.started_ns, 1) / SECOND for trial in trials]
    per_s = arm.concurrency / sum(seconds)
    rate, mean = arm.ok * per_s, fmean(seconds)
    # A ratio of two means: its standard error is that of what each trial adds beyond the ratio.
    beyond = [
        (arm.concurrency * (trial.error is None) - rate * taken) / mean
        for trial, taken in zip(trials, seconds, strict=True)
    ]
    error = Z * sqrt(variance(beyond) / len(beyond)) if len(beyond) > 1 else rate
    ttfb = arm.metrics.get("ttfb")
    return SweepLevel(
        arm=arm.id,
        concurrency=arm.concurrency,
        trials_per_s=Estimate(rate, max(0.0, rate - error), rate + error),
        audio_s_per_s=per_s * sum(each.frames / each.rate for each in trials if each.error is None),
        ttfb_p95=ttfb.p95 if ttfb and ttfb.n >= fewest_for(0.95) else None,
    )


def _with_knee(levels: list[SweepLevel]) -> Sweep:
    slow = next((each for each in levels if _is_slow(each, levels[0])), None)
    quick = levels[: levels.index(slow)] if slow else levels
    knee = next(each for each in quick if not any(_grows(each, other) for other in quick))
    if knee is not quick[-1]:
        why = f"no higher level has significantly more than {knee.trials_per_s.v:.3g} trials/s"
    elif slow and slow.ttfb_p95:
        why = f"ttfb p95 at {slow.concurrency} is {slow.ttfb_p95.v:.0f} ms, over twice that of the lowest"
    else:
        why = f"throughput still grows at {knee.concurrency}"
        return Sweep(levels=levels, knee=None, why=why)
    return Sweep(levels=levels, knee=knee.concurrency, why=why)


def _grows(lower: SweepLevel, higher: SweepLevel) -> bool:
    """Whether a higher level has significantly more throughput."""
    a, b = lower.trials_per_s, higher.trials_per_s
    noise = hypot(a.v - (a.lo or 0.0), b.v - (b.lo or 0.0))
    return higher.concurrency > lower.concurrency and b.v - a.v > max(noise, MIN_GROWTH * a.v)


def _is_slow(level: SweepLevel, lowest: SweepLevel) -> bool:
    p95, first = level.ttfb_p95, lowest.ttfb_p95
    if first is None or p95 is None or p95.lo is None:
        return False
    return p95.lo > MAX_SLOWDOWN * first.v
