"""Figures in words: what a number looks like, what a verdict means, what to do about a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smallest_cli.bench.results import DEPENDENT, GIVEN_UP

Found = Mapping[str, Any]

CENSURE = {
    "ok": "this tool kept up",
    "suspect": "this tool may have added to what was measured",
    "invalid": "this tool was slower than what it measured",
}
NOT_STREAMED = "not streamed: the reply is made before it is sent"
GLANCE = {
    "closed": (("ttfb", "p50", "ttfb p50"), ("ttfb", "p95", "p95"), ("ttfb", "p99", "p99"),
               ("ttfa", "p50", "heard p50"), ("min_safe_buffer", "p95", "buffer p95")),
    "open": (("ttfb_e2e", "p50", "e2e p50"), ("ttfb_e2e", "p95", "p95"), ("ttfb_e2e", "p99", "p99"),
             ("ttfb", "p50", "ttfb p50"), ("min_safe_buffer", "p95", "buffer p95")),
}  # fmt: skip
"""What an overview shows of each arm, by how trials came: metric, quantile, title. The first is what a caller
waits for: in an open loop from the scheduled time, since a time from the sending hides every queue."""


def figure(value: float | None, unit: str = "ms") -> str:
    """A number with as many digits as it deserves; a dash where there is none."""
    if value is None:
        return "-"
    if unit != "ms":
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def cells(found: Found) -> list[str]:
    """A metric as every table has it: p50, its interval, p95, p99, the greatest."""
    p50, p95, p99 = (_bounded(found, name, found[name]["v"]) for name in ("p50", "p95", "p99"))
    return [p50, interval(found["p50"], found["unit"]), p95, p99, _bounded(found, "max", found["max"])]


def _bounded(found: Found, name: str, value: float) -> str:
    return f"{'>=' * (name in found.get('at_least', ()))}{figure(value, found['unit'])}"


def interval(found: Found, unit: str = "ms") -> str:
    """The interval of a quantile: a question mark for a bound that the trials do not give, a dash where
    there can be none."""
    if found.get("why") == DEPENDENT:
        return "-"
    low, high = (figure(found[name], unit) if found[name] is not None else "?" for name in ("lo", "hi"))
    return f"[{low}, {high}]"


def remarks(arm: Found) -> list[str]:
    """What must be known to read an arm's figures right."""
    said, ttfb = _open_ends(arm), arm["metrics"].get("ttfb", {})
    if odd := ttfb.get("outliers"):
        said.append(
            f"{odd} outlier{'s' * (odd > 1)} in ttfb, kept: the mean is {figure(ttfb['mean'])} ms with them, "
            f"{figure(ttfb['mean_without_outliers'])} without"
        )
    if arm.get("first_is_outlier"):
        said.append("the first trial measured is an outlier: a longer --warmup keeps such out")
    if any(found.get("at_least") for found in arm["metrics"].values()):
        said.append("in *_censored a trial that was given up counts with what it waited, marked >=")
    if again := arm["reopened"]:
        said.append(f"{again} trial{'s' * (again > 1)} had to open a connection that should have been kept")
    return said


def _open_ends(arm: Found) -> list[str]:
    """Why some intervals are open, and some are none, once for each reason."""
    ttfb = arm["metrics"].get("ttfb", {})
    names = [name for name in ("p50", "p95", "p99") if ttfb.get(name, {}).get("why", "").startswith("n<")]
    needed = ", ".join(f"{name} needs n>={ttfb[name]['why'][2:]}" for name in names)
    dependent = [name for name, found in arm["metrics"].items() if found["p50"].get("why") == DEPENDENT]
    said = [f"an open interval ends in ?: {needed}"] if needed else []
    return said + [f"{name} has no interval: {DEPENDENT}" for name in dependent]


def verdict_words(result: Found) -> str:
    """What the verdict says of this tool, and that it says no more where no trial succeeded."""
    word = CENSURE[result["run"]["calibration"]["verdict"]]
    return word if any(arm["ok"] for arm in result["arms"]) else f"{word}, but no trial succeeded"


def error_words(arm: Found) -> str:
    """How many failed, by class."""
    return ", ".join(f"{count} {name}" for name, count in arm["errors"].items()) or "none"


def load_words(run: Found) -> str:
    """How the trials were made to come, and what that leaves out; whether there are fewer than were meant."""
    load = run["load"]
    short = ", interrupted" if run["interrupted"] else "" if run["complete"] else ", incomplete"
    if run.get("cut_short"):
        short = f", ended early by {run['cut_short']}"
    if load["model"] == "open":
        most = f"at most {load['concurrency']} in flight"
        return f"open loop, {load['rate']:g}/s {load['arrival']}, {most}{short}"
    by = f", by {load['engine']}" if "engine" in load else ""
    return (
        f"closed loop, {load['concurrency']} in flight{by}{short}: each waits for an answer before it asks "
        "again, so the worst waits are fewer than independent callers would see"
    )


def promise_words(each: Found) -> str:
    """A threshold and what became of it. Of an interval it speaks where the figure has one."""
    kept = "kept" if each["pass"] else "MISSED"
    doubt = ""
    if each["ci"] and not each["confident"]:
        bound = each["ci"][each["pass"] == ("<" in each["expr"])]
        doubt = ", but the interval reaches across"
        if bound is None:
            who = "trials that were given up" if each.get("why") == GIVEN_UP else "so few trials"
            doubt = f", but {who} leave its interval open"
    least = "at least " * each.get("at_least", False)
    value = "no such figure"
    if each["value"] is not None:
        value = f"is {least}{with_unit(each['value'], each.get('unit'))}"
    return f"{each['expr']}  {each['arm'] or 'no arm'}  {value}: {kept}{doubt}"


def with_unit(value: float, unit: str | None) -> str:
    """A figure as it is read: a share as %, a ratio alone."""
    if unit == "share":
        return f"{100 * value:.4g} %"
    return figure(value, unit or "x") + (f" {unit}" if unit in ("ms", "s") else "")


def comparison_words(row: Found) -> str:
    """What may be said of one arm and metric."""
    shift = row["shift_ms"]
    by = f"{figure(shift['v'])} ms {interval(shift)}"
    more = f"; about {row['needed_n']} trials a side would decide" if row["needed_n"] else ""
    return f"{row['verdict']}: shift {by}, {figure(row['matters_from_ms'])} ms would matter{more}"


def failure_words(row: Found) -> str:
    """What may be said of how often one arm failed."""
    counts = zip(row["failed"], row["n"], row["error_rate"], strict=True)
    before, after = (f"{failed} of {n} ({rate:.1%})" for failed, n, rate in counts)
    word = "no telling whether more" if row["verdict"] == "unclear" else row["verdict"]
    return f"{word} failures: {before} in A, {after} in B"


def overall_words(compared: Found) -> str:
    """The word for the whole, and what it rests on where that is not a time."""
    why = []
    if any(row["verdict"] == "more" for row in compared["errors"]):
        why.append("more trials fail in B")
    if any(each["missing_in"] == "B" for each in compared["not_compared"]):
        why.append("B lacks some of what A has")
    why += [f"every trial of {run} failed" for run in compared["failed"]]
    return ": ".join([compared["verdict"], *([", ".join(why)] if why else [])])


def provenance(run: Found) -> str:
    """Where a result comes from, in a line."""
    request = run["request"]
    return (
        f"{run['target']['base_url']}  voice {request['voice']}  model {request['model']}  "
        f"{request['sample_rate']} Hz  seed {run['seed']}  {run['started_utc']}"
    )
