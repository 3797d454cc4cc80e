"""What to do about a result, in plain sentences. Nothing is recommended that the trials do not carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smallest_cli.bench.report.format import CENSURE, error_words, figure, interval

Found = Mapping[str, Any]

TOLERATED_FAILURES = 0.05
"""An arm that fails more often than one time in twenty is not recommended, however fast it is when it does
not."""
SHARES = ("p99", "p95", "p90")


def advice(result: Found) -> str:
    """What to use and how, and why not where nothing can be recommended."""
    return " ".join(_sentences(result))


def waited(arm: Found) -> Any:
    """The metric that a person waits for.

    In an open loop it counts from the scheduled time, since a request that had to queue was waited for, too;
    of a cold arm it counts the opening of its connection.
    """
    metrics = arm["metrics"]
    return metrics.get("ttfb_e2e") or metrics.get("ttfb_cold" if "/cold/" in arm["id"] else "ttfb")


def _sentences(result: Found) -> Iterator[str]:
    tried = [arm for arm in result["arms"] if arm["n"]]
    if not any(arm["ok"] for arm in tried):
        yield "No trial succeeded, so there is nothing to advise."
    elif result["run"]["calibration"]["verdict"] == "invalid":
        yield f"Nothing is recommended: {CENSURE['invalid']}."
    else:
        yield from _recommended(tried)
    yield from _failures(tried)
    yield from _limits(tried, result["run"]["load"])


def _recommended(tried: Sequence[Found]) -> Iterator[str]:
    fit = [arm for arm in tried if waited(arm) and arm["error_rate"] <= TOLERATED_FAILURES]
    if not fit:
        yield "Nothing is recommended: too many trials failed."
        return
    best, *others = sorted(fit, key=lambda arm: float(waited(arm)["p50"]["v"]))
    if rivals := [arm for arm in others if _reaches(waited(best)["p50"], waited(arm)["p50"])]:
        yield _undecided([best, *rivals])
        return
    via, conn, _ = best["id"].split("/")
    begin = (
        f"With {via} and a {conn} connection" if len(tried) == 1 else f"Use {via} with a {conn} connection:"
    )
    yield f"{begin} the first byte came {_within(best)}{_buffer(best)}."


def _reaches(lower: Found, higher: Found) -> bool:
    """Whether two intervals overlap; one that is open reaches as far as it may."""
    return lower["hi"] is None or higher["lo"] is None or bool(higher["lo"] <= lower["hi"])


def _undecided(rivals: Sequence[Found]) -> str:
    *first, last = [arm["id"] for arm in rivals]
    medians = [waited(arm)["p50"]["v"] for arm in rivals]
    return (
        f"{', '.join(first)} and {last} cannot be told apart by these trials: half of their first bytes came "
        f"within {figure(min(medians))} to {figure(max(medians))} ms{_scheduled(rivals[0])}."
    )


def _within(arm: Found) -> str:
    median, since = waited(arm)["p50"], _scheduled(arm)
    if not since and "/cold/" in arm["id"]:
        since = ", opening it included,"
    return f"within {figure(median['v'])} ms {interval(median)}{since} for half of the requests"


def _scheduled(arm: Found) -> str:
    return " of the scheduled time" if "ttfb_e2e" in arm["metrics"] else ""


def _buffer(arm: Found) -> str:
    """How long to hold back what is played: of a share only where its interval is closed above."""
    safe = arm["metrics"].get("min_safe_buffer")
    if safe is None:
        return ""
    name = next((name for name in SHARES if safe[name]["hi"] is not None), None)
    wait = safe[name]["v"] if name else safe["max"]
    held = f"after {figure(wait)} ms of buffer" if wait else "with no buffer at all"
    if name:
        return f"; {name[1:]} % play without a gap {held}"
    return f"; all {safe['n']} would have played without a gap {held}, too few to say so of 90 % of requests"


def _failures(tried: Sequence[Found]) -> Iterator[str]:
    unfit = [arm for arm in tried if arm["error_rate"] > TOLERATED_FAILURES]
    if unfit:
        told = [f"{arm['id']}, {_failed(arm)} of {arm['n']} trials ({error_words(arm)})" for arm in unfit]
        yield f"Failed too often: {'; '.join(told)}."
    rest = [arm for arm in tried if arm not in unfit]
    if failed := sum(map(_failed, rest)):
        classes = dict.fromkeys(name for arm in rest for name in arm["errors"])
        others = "other " if unfit else ""
        yield f"{failed} of {sum(arm['n'] for arm in rest)} {others}trials failed ({', '.join(classes)})."


def _failed(arm: Found) -> int:
    return int(arm["n"] - arm["ok"])


def _limits(tried: Sequence[Found], load: Found) -> Iterator[str]:
    """What to do about refusals by the account's limit, where they are many."""
    limited = sum(arm["errors"].get("http_429", 0) for arm in tried)
    if limited <= TOLERATED_FAILURES * sum(arm["n"] for arm in tried):
        return
    less = "a smaller -c"
    if "engine" in load:
        less = "fewer users"
    elif load["model"] == "open":
        less = "a lower --rate"
    said = f"http_429 is the account's limit, not latency: measure again with {less}."
    if load["model"] == "closed" and load["concurrency"] == 1:
        said = "http_429 is the account's limit, not latency: something else is using the account."
    yield said
