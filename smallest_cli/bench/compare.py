"""Two runs compared, arm by arm: what `bench compare` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smallest_cli.bench.merge import differences
from smallest_cli.bench.results import INVALID, Result
from smallest_cli.bench.stats.comparison import compare, rise
from smallest_cli.bench.stats.quantiles import CONFIDENCE
from smallest_cli.errors import UsageError

SCHEMA = "smallest.bench.compare/1"
LEAST_EFFECT_MS = 1.0
"""A change of less matters to nobody, whatever share it is: the p50 of `min_safe_buffer` is mostly 0."""
ASKED = (
    "request", "texts", "target.api", "load.model", "load.arrival", "load.rate", "load.concurrency"
)  # fmt: skip
REGRESSION, INCONCLUSIVE = 21, 23
EXITS = {"slower": REGRESSION, "inconclusive": INCONCLUSIVE}

Arms = Mapping[str, Mapping[str, Any]]


def compare_runs(
    first: Result, second: Result, metrics: Sequence[str], least_effect: float, *, force: bool = False
) -> dict[str, Any]:
    """How `second` (B) differs from `first` (A), for every arm that both have; no metric is the one that
    callers wait for. An arm that fails more often is a regression, and one that B lacks is undecided.

    With k comparisons each is held to 1 - 0.05/k (Bonferroni), so that all of them together raise a false
    alarm at most once in 20. Raises UsageError where the runs asked for different things, unless `force`.
    """
    metrics = metrics or [_waited(first)]
    if not force:
        _refuse_unlike(first["run"], second["run"], metrics)
    before, after = _tried(first), _tried(second)
    common = [name for name in before if name in after]
    if not common:
        raise UsageError("these runs have no arm in common")
    sampled = [
        (name, metric, a, b)
        for name in common
        for metric in metrics
        if (a := _values(before[name], metric)) and (b := _values(after[name], metric))
    ]
    failing = [name for name in common if before[name]["error_rate"] or after[name]["error_rate"]]
    if not sampled and not failing:
        raise UsageError(f"no arm has {' or '.join(metrics)} in both runs")
    confidence = 1 - (1 - CONFIDENCE) / (len(sampled) + len(failing))
    rows = [_row(*each, least_effect, confidence) for each in sampled]
    errors = [_errors(name, before[name], after[name], confidence) for name in common]
    left_out = list(_left_out(before, after, metrics))
    verdict = _verdict(rows, errors, left_out)
    verdicts = [run["run"]["calibration"]["verdict"] for run in (first, second)]
    failed = [name for name, arms in (("A", before), ("B", after)) if not any(a["ok"] for a in arms.values())]
    return {
        "schema": SCHEMA,
        "a": first["run"]["id"],
        "b": second["run"]["id"],
        "min_effect": least_effect,
        "min_effect_ms": LEAST_EFFECT_MS,
        "confidence": confidence,
        "comparisons": rows,
        "errors": errors,
        "not_compared": left_out,
        "failed": failed,
        "verdict": verdict,
        "verdicts": verdicts,
        "exit": INVALID if failed or "invalid" in verdicts else EXITS.get(verdict, 0),
    }


def _waited(result: Result) -> str:
    return "ttfb_e2e" if result["run"]["load"]["model"] == "open" else "ttfb"


def _refuse_unlike(first: Mapping[str, Any], second: Mapping[str, Any], metrics: Sequence[str]) -> None:
    found = differences(first, second, ASKED)
    if "ttfa" in metrics:  # the player starts to play after the first prebuffer
        name = "--buffer, the first,"
        a, b = ({name: run["buffers_ms"][0]} for run in (first, second))
        found += differences(a, b, [name]) + differences(first, second, ["defs.onset"])
    if found:
        raise UsageError(
            f"these runs differ in their {', '.join(found)}: what they measured is not the same",
            hint="compare them nevertheless with --force",
        )


def _tried(result: Result) -> dict[str, Mapping[str, Any]]:
    return {arm["id"]: arm for arm in result["arms"] if arm["n"]}


def _values(arm: Any, metric: str) -> list[float]:
    return [value for value in arm["samples"].get(metric, []) if value is not None]


def _row(
    arm: str, metric: str, before: list[float], after: list[float], effect: float, confidence: float
) -> dict[str, Any]:
    found = compare(before, after, effect, confidence, LEAST_EFFECT_MS)
    return {
        "arm": arm,
        "metric": metric,
        "n": [len(before), len(after)],
        "shift_ms": {"v": found.shift.value, "lo": found.shift.low, "hi": found.shift.high},
        "matters_from_ms": found.effect,
        "verdict": found.word,
        "needed_n": found.needed,
    }


def _errors(
    name: str, before: Mapping[str, Any], after: Mapping[str, Any], confidence: float
) -> dict[str, Any]:
    """Whether more trials of an arm fail in B: more, fewer, unclear, or none of either."""
    counts = [(arm["n"] - arm["ok"], arm["n"]) for arm in (before, after)]
    tail, word = (1 - confidence) / 2, "unclear"
    if not any(failed for failed, _ in counts):
        word = "none"
    elif rise(*counts[0], *counts[1]) <= tail:
        word = "more"
    elif rise(*counts[1], *counts[0]) <= tail:
        word = "fewer"
    return {
        "arm": name,
        "n": [n for _, n in counts],
        "failed": [failed for failed, _ in counts],
        "error_rate": [before["error_rate"], after["error_rate"]],
        "verdict": word,
    }


def _left_out(before: Arms, after: Arms, metrics: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What only one of them shows, and why."""
    for run, arms, others in (("B", before, after), ("A", after, before)):
        for name, arm in arms.items():
            if name not in others:
                yield {"arm": name, "metric": None, "missing_in": run, "why": f"{run} did not measure it"}
                continue
            lacking = [each for each in metrics if _values(arm, each) and not _values(others[name], each)]
            why = "has no such figure" if others[name]["ok"] else "has no trial that succeeded"
            for metric in lacking:
                yield {"arm": name, "metric": metric, "missing_in": run, "why": f"{run} {why}"}


def _verdict(
    rows: Sequence[Mapping[str, Any]],
    errors: Sequence[Mapping[str, Any]],
    left_out: Sequence[Mapping[str, Any]],
) -> str:
    """The word for the whole: the worst of what is known."""
    words = [row["verdict"] for row in rows]
    if any(row["verdict"] == "more" for row in errors):
        words.append("slower")
    if not rows or any(each["missing_in"] == "B" for each in left_out):
        words.append("inconclusive")
    for word in ("slower", "inconclusive", "faster"):
        if word in words:
            return word
    return "equivalent"
