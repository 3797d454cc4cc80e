"""What many trials show: the object that `--json` prints, and that every page is drawn from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from smallest_cli.bench.metrics import (
    CENSORED,
    METRICS,
    SCALES,
    STREAMING,
    bounds,
    derive,
    gaps,
    is_streamed,
    is_streaming,
    known,
)
from smallest_cli.bench.playback import SECOND, play
from smallest_cli.bench.stats.quantiles import (
    Estimate,
    estimate,
    median,
    median_deviation,
    outliers,
    quantile,
)
from smallest_cli.bench.thresholds import evaluate
from smallest_cli.bench.trial import Trial

SCHEMA = "smallest.bench/1"
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
DEPENDENT = "values of one trial depend on each other"
GIVEN_UP = "trials were given up before"
DRAWN_ROWS = 400
SAMPLED = ("ttfb", "ttfb_cold", "ttfb_e2e", "ttfa", "min_safe_buffer", "last_audio")
"""The metrics whose single values a result keeps."""
DEPENDENT_METRICS = frozenset({"gap"})
MISSED, INVALID = 20, 22

Result = dict[str, Any]


def summarise(run: Mapping[str, Any], trials: Sequence[Trial]) -> Result:
    """The result of a run: `run` is what is known of it beside its trials. Raises nothing, whatever
    failed."""
    measured = mark_truncated([trial for trial in trials if trial.phase == "measure"])
    prebuffers = [round(ms * 1e6) for ms in run["buffers_ms"]]
    arms = [
        _arm(name, [trial for trial in measured if trial.arm == name], prebuffers) for name in run["arms"]
    ]
    return assemble(run, _window(measured), arms, _warmups(trials))


def assemble(
    run: Mapping[str, Any],
    window: Mapping[str, Any],
    arms: Sequence[Mapping[str, Any]],
    warmups: Mapping[str, Any],
) -> Result:
    """The result out of its parts, with what became of the run's thresholds and the exit code."""
    judged = [each for text in run["slo"] for each in evaluate(text, arms)]
    return {
        "schema": SCHEMA,
        "run": dict(run) | {"window": window},
        "arms": arms,
        "slo": judged,
        "warmups": warmups,
        "exit": _exit(run["calibration"]["verdict"], arms, judged),
    }


def _exit(verdict: str, arms: Sequence[Mapping[str, Any]], judged: Sequence[Mapping[str, Any]]) -> int:
    """The exit code that a result deserves: an invalid run's thresholds mean nothing."""
    if verdict == "invalid" or not any(arm["ok"] for arm in arms):
        return INVALID
    return 0 if all(each["pass"] for each in judged) else MISSED


def _warmups(trials: Sequence[Trial]) -> dict[str, Any]:
    tried = [trial for trial in trials if trial.phase == "warmup"]
    return {"n": len(tried), "errors": dict(Counter(trial.error for trial in tried if trial.error))}


def _window(measured: Sequence[Trial]) -> dict[str, Any]:
    """The measured window: from the first start to the last end."""
    if not measured:
        return {"seconds": 0.0, "trials": 0, "characters": 0}
    begun = min(trial.started_ns for trial in measured)
    ns = max(max(trial.ended_ns for trial in measured) - begun, 1)
    good = [trial for trial in measured if trial.error is None]
    audio = sum(trial.frames * SECOND / trial.rate for trial in good)
    return {
        "seconds": ns / SECOND,
        "trials": len(measured),
        "characters": sum(trial.characters for trial in measured),
        "trials_per_s": len(good) * SECOND / ns,
        "audio_s_per_s": audio / ns,
        "characters_per_s": sum(trial.characters for trial in good) * SECOND / ns,
    }


def _arm(name: str, trials: Sequence[Trial], prebuffers: Sequence[int]) -> dict[str, Any]:
    errors = Counter(trial.error for trial in trials if trial.error)
    good = [trial for trial in trials if trial.error is None]
    derived = [derive(trial, prebuffers[0]) for trial in good]
    streamed = [trial for trial in good if is_streamed(trial)]
    streaming = is_streaming(name, len(good), len(streamed))
    if not streaming:
        streamed, derived = [], [_unstreamed(each) for each in derived]
    metrics = {
        metric: describe(metric, [each[metric] for each in derived if metric in each]) for metric in METRICS
    }
    metrics["gap"] = describe("gap", [gap for trial in streamed for gap in gaps(trial)], dependent=True)
    metrics |= _censored(trials, derived)
    return {
        "id": name,
        "n": len(trials),
        "ok": len(good),
        "errors": dict(sorted(errors.items())),
        "error_rate": sum(errors.values()) / len(trials) if trials else 0.0,
        "messages": _messages(trials),
        "streaming": streaming,
        "reopened": sum(trial.reused is False for trial in good) if "/warm/" in name else 0,
        "first_is_outlier": _first_is_outlier(good),
        "metrics": {metric: value for metric, value in metrics.items() if value is not None},
        "player": [_played(streamed, prebuffer) for prebuffer in prebuffers] if streamed else [],
        "samples": _samples(good, derived),
        "drawn": _drawn(good),
    }


def _censored(
    trials: Sequence[Trial], derived: Sequence[Mapping[str, float]]
) -> dict[str, dict[str, Any] | None]:
    """The metrics in which timeouts count, where there were any."""
    at_least, came = [bounds(trial) for trial in trials], [known(trial) for trial in trials]
    found = {}
    for name, plain in CENSORED.items():
        least = [each[name] for each in at_least if name in each]
        late = [each[name] for each in came if name in each]
        if least or late:
            values = [each[plain] for each in derived if plain in each]
            found[name] = describe(name, [*values, *late, *least], bounded_from=min(least, default=inf))
    return found


def _first_is_outlier(good: Sequence[Trial]) -> bool:
    """Whether the first trial tells of a warm-up that was too short."""
    in_order = sorted(good, key=lambda trial: trial.started_ns)
    return 0 in outliers([trial.chunks[0][0] for trial in in_order])


def _unstreamed(derived: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in derived.items() if name not in STREAMING}


def _messages(trials: Iterable[Trial]) -> dict[str, str]:
    """One message for each class of error, the first that came."""
    first: dict[str, str] = {}
    for trial in trials:
        if trial.error:
            first.setdefault(trial.error, trial.message or "")
    return first


def describe(
    metric: str, values: Sequence[float], *, dependent: bool = False, bounded_from: float = inf
) -> dict[str, Any] | None:
    """A metric over trials, in its own unit; None where no trial has it.

    `bounded_from` is the least of those values that are only known to be at least so great. `at_least` then
    names the statistics of which the same is true.
    """
    if not values:
        return None
    scale = SCALES[METRICS[metric].unit]
    ordered = sorted(value / scale for value in values)
    odd = set() if dependent else set(outliers(ordered))
    kept = [value for index, value in enumerate(ordered) if index not in odd]
    described: dict[str, Any] = {
        "unit": METRICS[metric].unit,
        "n": len(ordered),
        "mean": sum(ordered) / len(ordered),
        "min": ordered[0],
        "max": ordered[-1],
        "mad": median_deviation(ordered),
        "outliers": len(odd),
        "mean_without_outliers": sum(kept) / len(kept),
    }
    for name, p in QUANTILES.items():
        found = estimate(ordered, p)
        if dependent:
            found = Estimate(found.value, None, None, DEPENDENT)
        described[name] = _as_json(found, bounded_from / scale)
    if bounded_from < inf:
        told = {"min": ordered[0], "max": ordered[-1]} | {name: described[name]["v"] for name in QUANTILES}
        bounded = [name for name, value in told.items() if value >= bounded_from / scale]
        described["at_least"] = ["mean", *bounded]
    return described


def _as_json(found: Estimate, bounded_from: float) -> dict[str, Any]:
    high, why = found.high, found.why
    if high is not None and high >= bounded_from:
        high, why = None, GIVEN_UP
    told = {"v": found.value, "lo": found.low, "hi": high}
    return told | ({"why": why} if why else {})


def _played(trials: Sequence[Trial], prebuffer: int) -> dict[str, Any]:
    """How a player with that prebuffer would have fared."""
    runs = [play(trial.chunks, trial.rate, prebuffer, trial.onset or 0) for trial in trials]
    heard = sorted(run.heard_ns for run in runs if run.heard_ns is not None)
    return {
        "buffer_ms": prebuffer / 1e6,
        "smooth": sum(run.stalls == 0 for run in runs) / len(runs),
        "ttfa_p50": quantile(heard, 0.5) / 1e6 if heard else None,
        "stalls_mean": sum(run.stalls for run in runs) / len(runs),
        "stall_total_p95": quantile(sorted(run.stalled_ns for run in runs), 0.95) / 1e6,
        "stall_max": max(run.longest_stall_ns for run in runs) / 1e6,
    }


def _samples(good: Sequence[Trial], derived: Sequence[Mapping[str, float]]) -> dict[str, list[Any]]:
    """The values that pages draw and comparisons need, in ms, a place for each good trial."""
    kept = {name: [_ms(each.get(name)) for each in derived] for name in SAMPLED}
    kept = {name: values for name, values in kept.items() if any(value is not None for value in values)}
    head: dict[str, list[Any]] = {
        "trial": [trial.index for trial in good],
        "text": [trial.text for trial in good],
    }
    return head | kept


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e6


def _drawn(good: Sequence[Trial]) -> dict[str, Any]:
    """The trials whose course is drawn: that of the median TTFB, and the worst."""
    if not good:
        return {}
    ordered = sorted(good, key=lambda trial: (trial.chunks[0][0], trial.index))
    chosen = {"median": ordered[(len(ordered) - 1) // 2], "worst": ordered[-1]}
    return {name: _course(trial) for name, trial in chosen.items()}


def _course(trial: Trial) -> dict[str, Any]:
    """A trial as spans in ms: how its connection was made, the wait, and each arrival with its sound."""
    phases = trial.phases if trial.reused is False else None
    steps = {} if phases is None else {"dns": phases.dns, "tcp": phases.tcp, "tls": phases.tls}
    steps |= {} if phases is None else {"upgrade": phases.upgrade}
    step = max(1, len(trial.chunks) // DRAWN_ROWS)
    return {
        "trial": trial.index,
        "text": trial.text,
        "connect": {name: ns / 1e6 for name, ns in steps.items() if ns},
        "ttfb": trial.chunks[0][0] / 1e6,
        "last_audio": trial.chunks[-1][0] / 1e6,
        "complete": _ms(trial.completed_ns),
        "arrivals": [[at / 1e6, frames * 1e3 / trial.rate] for at, frames in trial.chunks[::step]],
    }


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
