"""What was promised of a run: `ttfb.p95<300ms`, and whether it was kept."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smallest_cli.errors import UsageError
from smallest_cli.safety import safe
from smallest_cli.trials.metrics import METRICS

_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_UNITS = {"ms": ("ms", 1.0), "s": ("ms", 1000.0), "%": ("share", 0.01), "": ("", 1.0)}
_STATISTICS = ("p50", "p90", "p95", "p99", "p99.9", "mean", "min", "max")
_FORM = re.compile(
    r"(?:(?P<arm>[a-z0-9./]+):)?(?P<what>error_rate|smooth@(?P<buffer>[0-9.]+)|(?P<metric>[a-z_]+)\."
    r"(?P<statistic>[a-z0-9.]+))\s*(?P<sign><=|>=|<|>)\s*(?P<limit>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>ms|s|%|)"
)


@dataclass(frozen=True, slots=True)
class Promise:
    """One threshold; `arm` is the beginning of the ids it is for, "" for all."""

    text: str
    arm: str
    what: str
    metric: str | None
    statistic: str | None
    buffer_ms: float | None
    sign: str
    limit: float


def parse_promise(text: str) -> Promise:
    """Read `[ARM:]METRIC.STATISTIC<LIMIT`, `error_rate<1%` or `smooth@100>=0.99`. Raises UsageError."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"no such threshold: {safe(text, 60)}", hint="it looks like ttfb.p95<300ms or error_rate<1%"
        )
    metric, statistic = match["metric"], match["statistic"]
    if metric is not None and metric not in METRICS:
        raise UsageError(
            f"no such metric: {metric}", hint=f"one of {', '.join(METRICS)}, error_rate, smooth@MS"
        )
    if statistic is not None and statistic not in _STATISTICS:
        raise UsageError(f"no such statistic: {statistic}", hint=f"one of {', '.join(_STATISTICS)}")
    kind, scale = _UNITS[match["unit"]]
    of = METRICS[metric].unit if metric else "share"
    if kind and kind != ("ms" if of == "s" else of):
        raise UsageError(f"{safe(text, 60)}: {match['what']} is not in {match['unit']}")
    if of == "s" and kind:
        scale /= 1000
    buffer_ms = float(match["buffer"]) if match["buffer"] else None
    limit = float(match["limit"]) * scale
    return Promise(
        text.strip(), match["arm"] or "", match["what"], metric, statistic, buffer_ms, match["sign"], limit
    )


def judge(text: str, arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The promise, arm by arm. An arm that has no such figure has not kept it.

    `confident` says that the whole interval lies on the same side of the limit.
    """
    promise = parse_promise(text)
    meant = [arm for arm in arms if arm["id"].startswith(promise.arm)]
    if not meant:
        return [
            {
                "expr": promise.text,
                "arm": promise.arm,
                "value": None,
                "ci": None,
                "pass": False,
                "confident": True,
            }
        ]
    return [_judge_arm(promise, arm) for arm in meant]


def _judge_arm(promise: Promise, arm: Mapping[str, Any]) -> dict[str, Any]:
    value, interval = _find(promise, arm)
    holds = _OPERATORS[promise.sign]
    kept = value is not None and holds(value, promise.limit)
    bounds = interval or [None, None]
    confident = all(bound is not None and holds(bound, promise.limit) == kept for bound in bounds)
    return {
        "expr": promise.text,
        "arm": arm["id"],
        "value": value,
        "ci": interval,
        "pass": kept,
        "confident": confident,
    }


def _find(promise: Promise, arm: Mapping[str, Any]) -> tuple[float | None, list[float | None] | None]:
    if promise.what == "error_rate":
        return arm["error_rate"], None
    if promise.buffer_ms is not None:
        rows = [row for row in arm["player"] if row["buffer_ms"] == promise.buffer_ms]
        return (rows[0]["smooth"] if rows else None), None
    described = arm["metrics"].get(promise.metric)
    if described is None:
        return None, None
    found = described[promise.statistic]
    return (found["v"], [found["lo"], found["hi"]]) if isinstance(found, dict) else (found, None)
