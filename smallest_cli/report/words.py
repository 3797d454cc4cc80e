"""Figures in words: what a number looks like, what a verdict means, what to do about a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Found = Mapping[str, Any]

CENSURE = {
    "ok": "the harness kept up",
    "suspect": "the harness may have added to what was measured",
    "invalid": "the harness was slower than what it measured",
}
SHARES = (0.5, 0.9, 0.95, 0.99)


def figure(value: float | None, unit: str = "ms") -> str:
    """A number with as many digits as it deserves; a dash where there is none."""
    if value is None:
        return "-"
    if unit != "ms":
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def interval(found: Found, unit: str = "ms") -> str:
    """The interval of a quantile; a question mark for a bound that so few trials do not give."""
    low, high = (figure(found[name], unit) if found[name] is not None else "?" for name in ("lo", "hi"))
    return f"[{low}, {high}]"


def fill_ups(arm: Found) -> list[str]:
    """Why some intervals are open, once for each reason."""
    ttfb = arm["metrics"].get("ttfb", {})
    names = [name for name in ("p50", "p95", "p99") if ttfb.get(name, {}).get("why", "").startswith("n<")]
    return [f"{name} needs n>={ttfb[name]['why'][2:]}" for name in names]


def best_arm(result: Found) -> Found | None:
    """The arm that speaks first at the median, what opening its connection takes included where it has to."""
    arms = [arm for arm in result["arms"] if waited(arm)]
    return min(arms, key=lambda arm: waited(arm)["p50"]["v"], default=None)


def waited(arm: Found) -> Any:
    """The metric that a person waits for: of a cold arm with the opening of its connection."""
    metrics = arm["metrics"]
    return metrics.get("ttfb_cold") if "/cold/" in arm["id"] else metrics.get("ttfb")


def advice(result: Found) -> str:
    """One plain sentence on what to use, and how."""
    if limited := sum(arm["errors"].get("http_429", 0) for arm in result["arms"]):
        tried = sum(arm["n"] for arm in result["arms"])
        return (
            f"{limited} of {tried} trials were refused because the account allows fewer at once: that is its "
            "limit, not latency; measure again with a smaller -c."
        )
    arm = best_arm(result)
    if arm is None:
        return "No trial succeeded, so there is nothing to advise."
    ttfb = waited(arm)["p50"]
    via, conn, _ = arm["id"].split("/")
    said = (
        f"Use {via} with a {conn} connection: half of the requests are heard from within "
        f"{figure(ttfb['v'])} ms {interval(ttfb)}"
    )
    safe = arm["metrics"].get("min_safe_buffer")
    if safe is None:
        return f"{said}."
    name = "p99" if safe["n"] >= 100 else "p95"
    wait = safe[name]["v"]
    share = name[1:]
    if wait == 0:
        return (
            f"{said}; {share} % of them play without a gap from their first sound on, with no buffer at all."
        )
    return f"{said}; start to play after {figure(wait)} ms of buffer for {share} % without a gap."


def error_words(arm: Found) -> str:
    """How many failed, by class."""
    return ", ".join(f"{count} {name}" for name, count in arm["errors"].items()) or "none"


def load_words(run: Found) -> str:
    """How the trials were made to come."""
    load = run["load"]
    if load["model"] == "open":
        return f"open loop, {load['rate']:g}/s {load['arrival']}, at most {load['concurrency']} in flight"
    by = f", by {load['engine']}" if "engine" in load else ""
    return f"closed loop, {load['concurrency']} in flight{by}"


def promise_words(each: Found) -> str:
    """A threshold and what became of it."""
    kept = "kept" if each["pass"] else "MISSED"
    doubt = "" if each["confident"] else ", but the interval reaches across"
    value = "no such figure" if each["value"] is None else f"is {each['value']:.4g}"
    return f"{each['expr']}  {each['arm']}  {value}: {kept}{doubt}"


def comparison_words(row: Found) -> str:
    """What may be said of one arm and metric."""
    shift = row["shift_ms"]
    by = f"{figure(shift['v'])} ms {interval(shift)}"
    more = f"; about {row['needed_n']} trials a side would decide" if row["needed_n"] else ""
    return f"{row['verdict']}: shift {by}, {figure(row['matters_from_ms'])} ms would matter{more}"


def provenance(run: Found) -> str:
    """Where a result comes from, in a line."""
    request = run["request"]
    return (
        f"{run['target']['base_url']}  voice {request['voice']}  model {request['model']}  "
        f"{request['sample_rate']} Hz  seed {run['seed']}  {run['started_utc']}"
    )
