"""Summarise trials into a result, from which every report is rendered."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import inf
from statistics import median
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from smallest_cli.bench.metrics import (
    CENSORED,
    METRICS,
    SCALES,
    STREAMING,
    derive,
    gaps,
    is_streamed,
    is_streaming,
    known_values,
    lower_bounds,
)
from smallest_cli.bench.playback import SECOND, play
from smallest_cli.bench.schema import (
    SAMPLED,
    ArmId,
    ArmResult,
    MetricSummary,
    PlayerSummary,
    Quantile,
    Result,
    Run,
    Samples,
    ThresholdResult,
    Timeline,
    Warmups,
    Window,
)
from smallest_cli.bench.stats.quantiles import estimate, median_deviation, outliers, quantile
from smallest_cli.bench.thresholds import evaluate
from smallest_cli.bench.trial import Trial

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
DEPENDENT = "values of one trial depend on each other"
GIVEN_UP = "trials were given up before"
DEPENDENT_METRICS = frozenset({"gap"})
MAX_ARRIVALS = 400
"""Arrivals of a trial that a timeline keeps, about."""
MIN_SHARE = 0.25
"""Less audio than this share of what is usual for its text makes a trial `truncated`. Voices and their models
differ by less."""
MISSED, INVALID = 20, 22


def summarise(run: Run, trials: Sequence[Trial]) -> Result:
    """Return the result of a run."""
    measured = mark_truncated([trial for trial in trials if trial.phase == "measure"])
    prebuffers_ns = [round(ms * 1e6) for ms in run.buffers_ms]
    arms = [_arm(arm, [each for each in measured if each.arm == arm], prebuffers_ns) for arm in run.arms]
    warmups = [trial for trial in trials if trial.phase == "warmup"]
    errors = Counter(trial.error for trial in warmups if trial.error)
    return assemble(run, _window(measured), arms, Warmups(len(warmups), dict(errors)))


def assemble(run: Run, window: Window, arms: list[ArmResult], warmups: Warmups) -> Result:
    """Build a result from its parts: evaluate the run's thresholds and choose the exit code."""
    thresholds = [each for text in run.slo for each in evaluate(text, arms)]
    return Result(
        run=replace(run, window=window),
        arms=arms,
        slo=thresholds,
        warmups=warmups,
        exit=_exit_code(run, arms, thresholds),
    )


def _exit_code(run: Run, arms: Sequence[ArmResult], thresholds: Sequence[ThresholdResult]) -> int:
    # The thresholds of an invalid run mean nothing.
    if run.calibration.verdict == "invalid" or not any(arm.ok for arm in arms):
        return INVALID
    return 0 if all(each.passed for each in thresholds) else MISSED


def _window(measured: Sequence[Trial]) -> Window:
    if not measured:
        return Window(seconds=0.0, trials=0, characters=0)
    started_ns = min(trial.started_ns for trial in measured)
    ns = max(max(trial.ended_ns for trial in measured) - started_ns, 1)
    good = [trial for trial in measured if trial.error is None]
    return Window(
        seconds=ns / SECOND,
        trials=len(measured),
        characters=sum(trial.characters for trial in measured),
        trials_per_s=len(good) * SECOND / ns,
        audio_s_per_s=sum(trial.frames * SECOND / trial.rate for trial in good) / ns,
        characters_per_s=sum(trial.characters for trial in good) * SECOND / ns,
    )


def _arm(arm: ArmId, trials: Sequence[Trial], prebuffers_ns: Sequence[int]) -> ArmResult:
    errors = Counter(trial.error for trial in trials if trial.error)
    messages: dict[str, str] = {}
    for trial in trials:
        if trial.error:
            messages.setdefault(trial.error, trial.message or "")
    good = [trial for trial in trials if trial.error is None]
    derived = [derive(trial, prebuffers_ns[0]) for trial in good]
    streamed = [trial for trial in good if is_streamed(trial)]
    streaming = is_streaming(arm, len(good), len(streamed))
    if not streaming:
        streamed = []
        derived = [{name: ns for name, ns in each.items() if name not in STREAMING} for each in derived]
    metrics = {
        metric: describe(metric, [each[metric] for each in derived if metric in each]) for metric in METRICS
    }
    metrics["gap"] = describe("gap", [gap for trial in streamed for gap in gaps(trial)])
    metrics |= _censored(trials, derived)
    in_order = sorted(good, key=lambda trial: trial.started_ns)
    return ArmResult(
        id=arm,
        n=len(trials),
        ok=len(good),
        errors=dict(sorted(errors.items())),
        error_rate=sum(errors.values()) / len(trials) if trials else 0.0,
        messages=messages,
        streaming=streaming,
        reopened=sum(trial.reused is False for trial in good) if arm.conn == "warm" else 0,
        # A slow first trial means that the warm-up was too short.
        first_is_outlier=0 in outliers([trial.first_audio_ns for trial in in_order]),
        metrics={metric: summary for metric, summary in metrics.items() if summary is not None},
        player=[_player(streamed, prebuffer) for prebuffer in prebuffers_ns] if streamed else [],
        samples=_samples(good, derived),
        drawn=_timelines(good),
    )


def _censored(
    trials: Sequence[Trial], derived: Sequence[Mapping[str, float]]
) -> dict[str, MetricSummary | None]:
    """Summarise the metrics in which timeouts count, where there were any."""
    found = {}
    for name, plain in CENSORED.items():
        bounds = [each[name] for each in map(lower_bounds, trials) if name in each]
        known = [each[name] for each in map(known_values, trials) if name in each]
        if bounds or known:
            values = [each[plain] for each in derived if plain in each]
            found[name] = describe(name, [*values, *known, *bounds], bounded_from=min(bounds, default=inf))
    return found


def describe(metric: str, values: Sequence[float], *, bounded_from: float = inf) -> MetricSummary | None:
    """Summarise values in nanoseconds (or ratios) in the metric's own unit; None if there are none.

    Values from `bounded_from` on are lower bounds of the true ones. `at_least` then names the statistics that
    are lower bounds themselves.
    """
    if not values:
        return None
    scale, dependent = SCALES[METRICS[metric].unit], metric in DEPENDENT_METRICS
    ordered = sorted(value / scale for value in values)
    bound = bounded_from / scale
    outlying = set() if dependent else set(outliers(ordered))
    kept = [value for index, value in enumerate(ordered) if index not in outlying]
    quantiles = {name: _quantile(ordered, p, bound, dependent=dependent) for name, p in QUANTILES.items()}
    at_least = []
    if bounded_from < inf:
        statistics = {"min": ordered[0], "max": ordered[-1]} | {name: q.v for name, q in quantiles.items()}
        at_least = ["mean", *(name for name, value in statistics.items() if value >= bound)]
    fields: dict[str, Any] = {name.replace(".", "_"): found for name, found in quantiles.items()}
    return MetricSummary(
        unit=METRICS[metric].unit,
        n=len(ordered),
        mean=sum(ordered) / len(ordered),
        min=ordered[0],
        max=ordered[-1],
        mad=median_deviation(ordered),
        outliers=len(outlying),
        mean_without_outliers=sum(kept) / len(kept),
        at_least=at_least or UNSET,
        **fields,
    )


def _quantile(ordered: Sequence[float], p: float, bound: float, *, dependent: bool) -> Quantile:
    if dependent:
        return Quantile(quantile(ordered, p), None, None, DEPENDENT)
    found = estimate(ordered, p)
    if found.high is not None and found.high >= bound:
        return Quantile(found.value, found.low, None, GIVEN_UP)
    return Quantile(found.value, found.low, found.high, found.why or UNSET)


def _player(trials: Sequence[Trial], prebuffer_ns: int) -> PlayerSummary:
    runs = [play(trial.chunks, trial.rate, prebuffer_ns, trial.onset or 0) for trial in trials]
    played = sorted(run.played_ns for run in runs if run.played_ns is not None)
    return PlayerSummary(
        buffer_ms=prebuffer_ns / 1e6,
        smooth=sum(run.stalls == 0 for run in runs) / len(runs),
        ttfa_p50=quantile(played, 0.5) / 1e6 if played else None,
        stalls_mean=sum(run.stalls for run in runs) / len(runs),
        stall_total_p95=quantile(sorted(run.stalled_ns for run in runs), 0.95) / 1e6,
        stall_max=max(run.longest_stall_ns for run in runs) / 1e6,
    )


def _samples(good: Sequence[Trial], derived: Sequence[Mapping[str, float]]) -> Samples:
    values = {name: [_ms(each.get(name)) for each in derived] for name in SAMPLED}
    known: dict[str, Any] = {
        name: found for name, found in values.items() if any(value is not None for value in found)
    }
    return Samples([trial.index for trial in good], [trial.text for trial in good], **known)


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e6


def _timelines(good: Sequence[Trial]) -> dict[str, Timeline]:
    """Return the timelines of the trial of the median TTFB and of the worst one."""
    if not good:
        return {}
    ordered = sorted(good, key=lambda trial: (trial.first_audio_ns, trial.index))
    return {"median": _timeline(ordered[(len(ordered) - 1) // 2]), "worst": _timeline(ordered[-1])}


def _timeline(trial: Trial) -> Timeline:
    phases = trial.phases if trial.reused is False else None
    steps: dict[Any, int] = {}
    if phases is not None:
        steps = {"dns": phases.dns, "tcp": phases.tcp, "tls": phases.tls, "upgrade": phases.upgrade}
    stride = max(1, len(trial.chunks) // MAX_ARRIVALS)
    return Timeline(
        trial=trial.index,
        text=trial.text,
        connect={name: ns / 1e6 for name, ns in steps.items() if ns},
        ttfb=trial.first_audio_ns / 1e6,
        last_audio=trial.chunks[-1][0] / 1e6,
        complete=_ms(trial.completed_ns),
        arrivals=[(at / 1e6, frames * 1e3 / trial.rate) for at, frames in trial.chunks[::stride]],
    )


def mark_truncated(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials, those with less than a quarter of the usual audio for their text as failures."""
    lengths = defaultdict(list)
    for trial in trials:
        if trial.error is None:
            lengths[trial.text].append(_seconds(trial))
    usual = {text: median(seconds) for text, seconds in lengths.items()}
    return [_mark_truncated(trial, usual.get(trial.text, 0.0)) for trial in trials]


def _mark_truncated(trial: Trial, usual: float) -> Trial:
    if trial.error is not None or _seconds(trial) >= MIN_SHARE * usual:
        return trial
    message = f"{_seconds(trial):.2f} s of audio; the median for this text is {usual:.2f} s"
    return replace(trial, error="truncated", message=message)


def _seconds(trial: Trial) -> float:
    return trial.frames / trial.rate
