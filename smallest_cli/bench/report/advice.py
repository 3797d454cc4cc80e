"""Recommend an arm and a buffer in sentences, as far as the trials support it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from smallest_cli.bench.report.format import VERDICT_TEXTS, error_counts, figure, interval
from smallest_cli.bench.schema import ArmResult, Estimate, Load, MetricSummary, Result
from smallest_cli.errors import plural

MAX_ERROR_RATE = 0.05  # an arm that fails more often is not recommended, however fast it is
MAX_NAMED = 2  # more arms that fail too often are counted
MAX_TAIL_WAIT_MS = 1000.0
SHARES = ("p99", "p95", "p90")


def advice(result: Result) -> str:
    """Return a recommendation with its reasons, or why there is none."""
    return " ".join(_sentences(result))


def waited(arm: ArmResult) -> MetricSummary | None:
    """Return the metric of the time that a client waits for audio.

    In an open loop it counts from the scheduled time and includes queueing; for a cold arm it includes
    connecting.
    """
    plain = "ttfb_cold" if arm.conn == "cold" else "ttfb"
    return arm.metrics.get("ttfb_e2e") or arm.metrics.get(plain)


def _sentences(result: Result) -> Iterator[str]:
    tried = [arm for arm in result.arms if arm.n]
    verdict = result.run.calibration.verdict
    if not any(arm.ok for arm in tried):
        yield "No trial succeeded: no recommendation."
    elif verdict == "invalid":
        yield f"No recommendation: {VERDICT_TEXTS[verdict]}."
    else:
        lowest = min(arm.concurrency for arm in tried)  # higher levels of a sweep cannot be faster
        yield from _recommendation([arm for arm in tried if arm.concurrency == lowest])
    yield from _late_completions(tried)
    yield from _failures(tried)
    yield from _limits(tried, result.run.load)


def _recommendation(tried: Sequence[ArmResult]) -> Iterator[str]:
    fit = [(found, arm) for arm in tried if (found := waited(arm)) and arm.error_rate <= MAX_ERROR_RATE]
    if not fit:
        yield "No recommendation: too many trials failed."
        return
    (best, arm), *others = sorted(fit, key=lambda pair: pair[0].p50.v)
    since = " of the scheduled time" if "ttfb_e2e" in arm.metrics else ""
    alike = [(best, arm), *(pair for pair in others if _overlap(best.p50, pair[0].p50))]
    if len(alike) > 1:
        *names, last = [str(each.id) for _, each in alike]
        medians = [found.p50.v for found, _ in alike]
        yield (
            f"No significant difference between {', '.join(names)} and {last}: "
            f"median first byte {figure(min(medians))} to {figure(max(medians))} ms{since}."
        )
        return
    if not since and arm.conn == "cold":
        since = ", connecting included"
    start = f"With {arm.via} and" if len(tried) == 1 else f"Use {arm.via} with"
    kinds = {(each.via, each.conn) for each in tried}
    start = f"{start} a {arm.conn} connection" if len(kinds) == len(tried) else f"Use {arm.id}"
    yield (f"{start}: median first byte {figure(best.p50.v)} ms {interval(best.p50)}{since}{_buffer(arm)}.")


def _overlap(lower: Estimate, higher: Estimate) -> bool:
    """Whether two intervals overlap; an open bound is unlimited."""
    return lower.hi is None or higher.lo is None or higher.lo <= lower.hi


def _buffer(arm: ArmResult) -> str:
    """Recommend a buffer; for a share of requests only if its interval has an upper bound."""
    safe = arm.metrics.get("min_safe_buffer")
    if safe is None:
        return ""
    name = next((name for name in SHARES if safe.quantile(name).hi is not None), None)
    wait = safe.quantile(name).v if name else safe.max
    buffered = f"with {figure(wait)} ms of buffer" if wait else "with no buffer"
    if name:
        return f"; {name[1:]} % play without a gap {buffered}"
    return f"; all {safe.n} play without a gap {buffered}, too few for a statement about 90 % of requests"


def _late_completions(tried: Sequence[ArmResult]) -> Iterator[str]:
    """Report arms whose `complete` arrives long after the last audio."""
    waits = {(arm.id, arm.via): arm.metrics["tail_wait"].p50.v for arm in tried if "tail_wait" in arm.metrics}
    late = {arm: ms for arm, ms in waits.items() if ms > MAX_TAIL_WAIT_MS}
    if late:
        follows = "a run waits for it at its end"
        if all(via == "ws" for _, via in late):
            follows = "a run over ws waits for it at its end, one over sse does not"
        seconds = f"{max(late.values()) / 1000:.1f} s"
        names = ", ".join(name for name, _ in late)
        yield f"The end marker comes {seconds} after the last audio ({names}): {follows}."


def _failures(tried: Sequence[ArmResult]) -> Iterator[str]:
    unfit = [arm for arm in tried if arm.error_rate > MAX_ERROR_RATE]
    if unfit:
        groups = [[arm] for arm in unfit] if len(unfit) <= MAX_NAMED else [unfit]
        yield f"Failed too often: {'; '.join(map(_failed, groups))}."
    others = [arm for arm in tried if arm not in unfit]
    if count := sum(arm.n - arm.ok for arm in others):
        classes = dict.fromkeys(name for arm in others for name in arm.errors)
        other = "other " if unfit else ""
        total = plural(sum(arm.n for arm in others), f"{other}trial")
        yield f"{count} of {total} failed ({', '.join(classes)})."


def _failed(arms: Sequence[ArmResult]) -> str:
    """Name arms, and count their failed trials by class."""
    failed, total = sum(arm.n - arm.ok for arm in arms), sum(arm.n for arm in arms)
    names = str(arms[0].id) if len(arms) == 1 else f"{len(arms)} arms"
    return f"{names}, {failed} of {plural(total, 'trial')} ({error_counts(*arms)})"


def _limits(tried: Sequence[ArmResult], load: Load) -> Iterator[str]:
    """Advise on frequent rejections by the concurrency limit of the account."""
    limited = sum(arm.errors.get("http_429", 0) for arm in tried)
    if limited <= MAX_ERROR_RATE * sum(arm.n for arm in tried):
        return
    less = "fewer users" if load.engine else "a lower --rate" if load.model == "open" else "a smaller -c"
    hint = f"measure again with {less}"
    if load.model == "closed" and load.concurrency == 1:
        hint = "something else is using the account"
    yield f"http_429 is the account's limit, not latency: {hint}."
