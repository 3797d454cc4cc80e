"""What was promised of a run: `ttfb.p95<300ms`, and whether it was kept."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smallest_cli.bench.metrics import CENSORED, METRICS, shows
from smallest_cli.errors import UsageError
from smallest_cli.security import printable

_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_UNITS = {"ms": ("ms", 1.0), "s": ("ms", 1000.0), "%": ("share", 0.01), "": ("", 1.0)}
_STATISTICS = ("p50", "p90", "p95", "p99", "p99.9", "mean", "min", "max")
_FORM = re.compile(
    r"(?:(?P<arm>[a-z0-9./]+):)?(?P<what>error_rate|smooth@(?P<buffer>[0-9.]+)|(?P<metric>[a-z0-9_]+)\."
    r"(?P<statistic>[a-z0-9.]+))\s*(?P<sign><=|>=|<|>)\s*(?P<limit>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"\s*(?P<unit>ms|s|%|)"
)
SMOOTH = "min_safe_buffer"
"""What `smooth@` is reckoned from: it is there where that metric is."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One threshold; `arm` is a part of the ids it is for, "" for all, and `unit` that of its limit."""

    text: str
    arm: str
    what: str
    metric: str | None
    statistic: str | None
    buffer_ms: float | None
    sign: str
    limit: float
    unit: str

    def is_for(self, arm: str) -> bool:
        """Whether it is judged on the arm of that id: one that is meant, and that can have such a figure."""
        meant = f"/{self.arm.strip('/')}/" in f"/{arm}/" or not self.arm
        metric = SMOOTH if self.buffer_ms is not None else self.metric
        return meant and (metric is None or shows(arm, metric))


def parse_promise(text: str) -> Threshold:
    """Read `[ARM:]METRIC.STATISTIC<LIMIT`, `error_rate<1%` or `smooth@100>=0.99`. Raises UsageError."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"no such threshold: {printable(text, 60)}", hint="it looks like ttfb.p95<300ms or error_rate<1%"
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
        raise UsageError(f"{printable(text, 60)}: {match['what']} is not in {match['unit']}")
    if of == "s" and kind:
        scale /= 1000
    limit = float(match["limit"]) * scale
    _refuse_vain(text, match, of, limit)
    try:
        buffer_ms = float(match["buffer"]) if match["buffer"] else None
    except ValueError:
        raise UsageError(f"{printable(text, 60)}: smooth@ takes milliseconds") from None
    return Threshold(
        text.strip(),
        match["arm"] or "",
        match["what"],
        metric,
        statistic,
        buffer_ms,
        match["sign"],
        limit,
        of,
    )


def _refuse_vain(text: str, match: re.Match[str], unit: str, limit: float) -> None:
    """Refuse what every run would keep, or none: a share from 1 on without its % mostly is a percentage."""
    if unit == "share" and not match["unit"] and (limit > 1 or (limit == 1 and match["sign"] == "<")):
        meant = f"{match['what']}{match['sign']}{match['limit']}%"
        raise UsageError(f"{printable(text, 60)} is {limit:.0%}", hint=f"a share is at most 1; {meant}?")
    holds = _OPERATORS[match["sign"]]
    most = 1.0 if unit == "share" else float("inf")
    if holds(0.0, limit) == holds(most, limit):
        fate = "always" if holds(0.0, limit) else "never"
        raise UsageError(f"{printable(text, 60)} {fate} holds")


def check_promises(texts: Sequence[str], arms: Sequence[str], buffers_ms: Sequence[float]) -> None:
    """Raises UsageError for what a run of those arms and prebuffers cannot be held to."""
    for text in texts:
        promise = parse_promise(text)
        if promise.buffer_ms is not None and promise.buffer_ms not in buffers_ms:
            known = ",".join(f"{ms:g}" for ms in buffers_ms)
            raise UsageError(
                f"{printable(text, 60)}: {promise.buffer_ms:g} is not among the prebuffers {known}",
                hint="--buffer names them",
            )
        if not any(map(promise.is_for, arms)):
            raise UsageError(
                f"{printable(text, 60)}: no arm of this run has such a figure",
                hint=f"its arms: {', '.join(arms)}",
            )


@dataclass(frozen=True, slots=True)
class _Figure:
    """What a run shows of a promise; `at_least` where the true value may be greater, `why` its interval is
    open."""

    value: float | None = None
    interval: list[float | None] | None = None
    at_least: bool = False
    why: str | None = None


def evaluate(text: str, arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The promise, arm by arm, on every arm that it is for. Such an arm without the figure has not kept it.

    `confident` says that there is an interval and that it leaves no doubt.
    """
    promise = parse_promise(text)
    meant = [arm for arm in arms if promise.is_for(arm["id"])]
    if not meant:
        return [_judged(promise, promise.arm, _Figure())]
    return [_judged(promise, arm["id"], _find(promise, arm)) for arm in meant]


def _judged(promise: Threshold, arm: str, figure: _Figure) -> dict[str, Any]:
    open_above = figure.at_least and promise.sign.startswith("<")
    kept = (
        figure.value is not None and not open_above and _OPERATORS[promise.sign](figure.value, promise.limit)
    )
    return {
        "expr": promise.text,
        "arm": arm,
        "value": figure.value,
        "unit": promise.unit,
        "ci": figure.interval,
        "pass": kept,
        "confident": figure.interval is not None and _is_sure(promise, kept, *figure.interval),
        "at_least": figure.at_least,
        "why": figure.why,
    }


def _is_sure(promise: Threshold, kept: bool, low: float | None, high: float | None) -> bool:
    """Whether the bound that is nearer to the limit's other side still lies on this one."""
    nearest = high if kept == promise.sign.startswith("<") else low
    return nearest is not None and _OPERATORS[promise.sign](nearest, promise.limit) == kept


def _find(promise: Threshold, arm: Mapping[str, Any]) -> _Figure:
    """The figure and its interval; one whose values depend on each other has none.

    Without a timeout a censored metric is the plain one.
    """
    if promise.what == "error_rate":
        return _Figure(arm["error_rate"])
    if promise.buffer_ms is not None:
        rows = [row for row in arm["player"] if row["buffer_ms"] == promise.buffer_ms]
        return _Figure(rows[0]["smooth"] if rows else None)
    metric, statistic = promise.metric or "", promise.statistic or ""
    described = arm["metrics"].get(metric) or arm["metrics"].get(CENSORED.get(metric))
    if described is None:
        return _Figure()
    found, at_least = described[statistic], statistic in described.get("at_least", ())
    if not isinstance(found, dict):
        return _Figure(found, at_least=at_least)
    known = found["lo"] is not None or found["hi"] is not None
    interval = [found["lo"], found["hi"]] if known else None
    return _Figure(found["v"], interval, at_least, found.get("why"))
