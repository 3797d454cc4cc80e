"""Two runs compared, arm by arm: what `bench compare` says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smallest_cli.errors import UsageError
from smallest_cli.stats.quantiles import CONFIDENCE
from smallest_cli.stats.shift import compare
from smallest_cli.trials.files import SAME
from smallest_cli.trials.summary import Result

SCHEMA = "smallest.bench.compare/1"
COMPARABLE = ("ttfb", "ttfb_cold", "ttfb_e2e", "ttfa", "min_safe_buffer", "last_audio")


def compare_runs(
    first: Result, second: Result, metrics: Sequence[str], least_effect: float, *, force: bool = False
) -> dict[str, Any]:
    """How `second` differs from `first`, for every arm that both have.

    With k comparisons each is held to 1 - 0.05/k (Bonferroni), so that all of them together raise a false
    alarm at most once in 20. Raises UsageError where the runs asked for different things, unless `force`.
    """
    for name in SAME[:2]:
        if first["run"].get(name) != second["run"].get(name) and not force:
            raise UsageError(
                f"these runs differ in their {name}: what they measured is not the same",
                hint="compare them nevertheless with --force",
            )
    others = {arm["id"]: arm for arm in second["arms"]}
    pairs = [
        (arm, others[arm["id"]], metric) for arm in first["arms"] if arm["id"] in others for metric in metrics
    ]
    sampled = [
        (arm["id"], metric, _values(arm, metric), _values(other, metric))
        for arm, other, metric in pairs
        if _values(arm, metric) and _values(other, metric)
    ]
    if not sampled:
        raise UsageError("these runs have no arm and metric in common with trials in both")
    confidence = 1 - (1 - CONFIDENCE) / len(sampled)
    rows = [_row(*each, least_effect, confidence) for each in sampled]
    return {
        "schema": SCHEMA,
        "a": first["run"]["id"],
        "b": second["run"]["id"],
        "min_effect": least_effect,
        "confidence": confidence,
        "comparisons": rows,
        "verdict": _verdict([row["verdict"] for row in rows]),
        "verdicts": [run["run"]["calibration"]["verdict"] for run in (first, second)],
    }


def _values(arm: Any, metric: str) -> list[float]:
    return [value for value in arm["samples"].get(metric, []) if value is not None]


def _row(
    arm: str, metric: str, before: list[float], after: list[float], effect: float, confidence: float
) -> dict[str, Any]:
    found = compare(before, after, effect, confidence)
    return {
        "arm": arm,
        "metric": metric,
        "n": [len(before), len(after)],
        "shift_ms": {"v": found.shift.value, "lo": found.shift.low, "hi": found.shift.high},
        "matters_from_ms": found.effect,
        "verdict": found.word,
        "needed_n": found.needed,
    }


def _verdict(words: Sequence[str]) -> str:
    """The word for the whole: the worst of what is known."""
    for word in ("slower", "inconclusive", "faster"):
        if word in words:
            return word
    return "equivalent"
