"""What one trial shows. Each metric says what starts its clock and what stops it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from smallest_cli.bench.playback import SECOND, play, smallest_safe_buffer
from smallest_cli.bench.stats.quantiles import quantile
from smallest_cli.bench.trial import Trial

UNSTREAMED = "http"
"""The transport whose reply is made before it is sent, by its contract."""
BURST_NS = 5_000_000
"""A reply of that transport whose audio all arrives within this was not streamed: it has no gaps."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A unit, and what starts and stops the clock."""

    unit: str
    starts: str
    stops: str


METRICS: dict[str, Metric] = {
    "dns": Metric("ms", "name asked for", "addresses known"),
    "tcp": Metric("ms", "addresses known", "connected (a proxy's tunnel included)"),
    "tls": Metric("ms", "connected", "handshake done"),
    "upgrade": Metric("ms", "upgrade asked for", "WebSocket open"),
    "ttfb": Metric("ms", "request sent, connection open", "first audio arrived (no headers)"),
    "ttfb_cold": Metric("ms", "name asked for", "first audio arrived"),
    "ttfb_e2e": Metric("ms", "scheduled time", "first audio arrived"),
    "sched_delay": Metric("ms", "scheduled time", "request sent"),
    "ttfa": Metric("ms", "request sent", "first audible sample played, after the first --buffer"),
    "lead_silence": Metric("ms", "first sample", "first audible sample, in the sound"),
    "gap": Metric("ms", "an arrival of audio", "the next, of all trials together"),
    "gap_max": Metric("ms", "an arrival of audio", "the next, the longest of each trial"),
    "jitter": Metric("ms", "", "smoothed change of delay against the sound's own pace (RFC 3550, 6.4.1)"),
    "jitter_p99": Metric("ms", "", "gaps' p99 less their p50, of each trial"),
    "min_safe_buffer": Metric("ms", "first audio arrived", "start of play that never stalls"),
    "last_audio": Metric("ms", "request sent", "last audio arrived"),
    "complete": Metric("ms", "request sent", "end marker arrived"),
    "tail_wait": Metric("ms", "last audio arrived", "end marker arrived"),
    "audio": Metric("s", "first sample", "last sample, in the sound"),
    "rtf": Metric("x", "", "last_audio / audio: less is faster"),
    "rtfx": Metric("x", "", "audio / last_audio: more is faster"),
    "rtf_stream": Metric("x", "", "after the first arrival: time / sound; above 1 must stall"),
    "ttfb_censored": Metric("ms", "request sent, connection open", "first audio arrived, or given up"),
    "ttfb_e2e_censored": Metric("ms", "scheduled time", "first audio arrived, or given up"),
    "complete_censored": Metric("ms", "request sent", "end marker arrived, or given up"),
}
CENSORED = {"ttfb_censored": "ttfb", "ttfb_e2e_censored": "ttfb_e2e", "complete_censored": "complete"}
"""Metrics that are the same as others but for the trials that ran into a timeout: those count as well, each
with the time after which it was given up, which the true value exceeds."""
TIMEOUTS = ("timeout_first", "timeout_stall")
CONNECTING = frozenset({"dns", "tcp", "tls", "upgrade", "ttfb_cold"})
STREAMING = frozenset({"gap", "gap_max", "jitter", "jitter_p99", "min_safe_buffer", "rtf_stream"})
SCHEDULED = frozenset({"ttfb_e2e", "sched_delay"})
SCALES = {"ms": 1e6, "s": 1e9, "x": 1.0}
"""Nanoseconds in a metric's unit; ratios are as they are."""


def derive(trial: Trial, prebuffer_ns: int = 0) -> dict[str, float]:
    """Every metric that a trial has, times in nanoseconds; none of what did not happen in it.

    `prebuffer_ns` is the simulated player's, for `ttfa`. A failed trial has none at all: its error is its
    result.
    """
    if trial.error is not None or trial.sent_ns is None or not trial.chunks:
        return {}
    return {
        name: value
        for part in (_connection(trial), _latency(trial, prebuffer_ns), _stream(trial), _whole(trial))
        for name, value in part
    }


def bounds(trial: Trial) -> dict[str, float]:
    """What a trial that ran into a timeout adds to the censored metrics: how many nanoseconds they took at
    least."""
    if trial.error not in TIMEOUTS or trial.sent_ns is None:
        return {}
    waited = max(0, trial.ended_ns - trial.sent_ns)
    return {"complete_censored": waited} | ({} if trial.chunks else _since_due(trial, waited))


def known(trial: Trial) -> dict[str, float]:
    """What a trial that stalled after its first audio adds to the censored metrics as it was, in ns."""
    if trial.error not in TIMEOUTS or trial.sent_ns is None or not trial.chunks:
        return {}
    return _since_due(trial, trial.chunks[0][0])


def _since_due(trial: Trial, ns: float) -> dict[str, float]:
    found = {"ttfb_censored": ns}
    if trial.scheduled_ns is not None and trial.sent_ns is not None:
        found["ttfb_e2e_censored"] = trial.sent_ns - trial.scheduled_ns + ns
    return found


def _connection(trial: Trial) -> Iterator[tuple[str, float]]:
    if trial.reused is not False or trial.phases is None:
        return
    phases = trial.phases
    steps = {"dns": phases.dns, "tcp": phases.tcp, "tls": phases.tls, "upgrade": phases.upgrade}
    yield from ((name, ns) for name, ns in steps.items() if ns)
    if trial.opened_ns is not None and trial.sent_ns is not None:
        began = trial.opened_ns - sum(steps.values())
        yield "ttfb_cold", trial.sent_ns - began + trial.chunks[0][0]


def _latency(trial: Trial, prebuffer_ns: int) -> Iterator[tuple[str, float]]:
    first = trial.chunks[0][0]
    yield "ttfb", first
    if trial.scheduled_ns is not None and trial.sent_ns is not None:
        delay = trial.sent_ns - trial.scheduled_ns
        yield "sched_delay", delay
        yield "ttfb_e2e", delay + first
    if trial.onset is not None:
        heard = play(trial.chunks, trial.rate, prebuffer_ns, trial.onset).heard_ns
        if heard is not None:
            yield "ttfa", heard
        yield "lead_silence", trial.onset * SECOND / trial.rate


def streams(arm: str) -> bool:
    """Whether sound is to come while it is made, over the transport of the arm of that id."""
    return arm.split("/")[0] != UNSTREAMED


def is_streamed(trial: Trial) -> bool:
    """Whether its audio came over time."""
    return streams(trial.arm) or trial.chunks[-1][0] - trial.chunks[0][0] >= BURST_NS


def is_streaming(arm: str, good: int, streamed: int) -> bool:
    """Whether an arm is a streaming one: most of its good trials were, not one slow reply."""
    return 2 * streamed > good if good else streams(arm)


def shows(arm: str, metric: str) -> bool:
    """Whether the arm of that id can have the metric at all, by how it connects, streams and is loaded."""
    metric = CENSORED.get(metric, metric)
    if metric in CONNECTING:
        return "/cold/" in arm and (metric != "upgrade" or arm.startswith("ws/"))
    if metric in STREAMING:
        return streams(arm)
    return metric not in SCHEDULED or "/r" in arm


def gaps(trial: Trial) -> list[int]:
    """Nanoseconds between arrivals of audio. What came in one read came at one time, and is no gap of 0."""
    if trial.error is not None or not trial.chunks or not is_streamed(trial):
        return []
    times = [at for at, _ in trial.chunks]
    return [after - before for before, after in pairwise(times)]


def _stream(trial: Trial) -> Iterator[tuple[str, float]]:
    if not is_streamed(trial):
        return
    yield "min_safe_buffer", smallest_safe_buffer(trial.chunks, trial.rate)
    between = sorted(gaps(trial))
    if not between:
        return
    yield "gap_max", between[-1]
    yield "jitter", _jitter(trial)
    yield "jitter_p99", quantile(between, 0.99) - quantile(between, 0.5)
    rest = trial.frames - trial.chunks[0][1]
    if rest:
        yield "rtf_stream", (trial.chunks[-1][0] - trial.chunks[0][0]) * trial.rate / (rest * SECOND)


def _jitter(trial: Trial) -> float:
    """The interarrival jitter of RFC 3550: each change of delay against the sound's own time, a 16th of
    it."""
    smoothed = 0.0
    for (before, frames), (after, _) in pairwise(trial.chunks):
        change = after - before - frames * SECOND / trial.rate
        smoothed += (abs(change) - smoothed) / 16
    return smoothed


def _whole(trial: Trial) -> Iterator[tuple[str, float]]:
    last, audio = trial.chunks[-1][0], trial.frames * SECOND / trial.rate
    yield "last_audio", last
    yield "audio", audio
    if trial.completed_ns is not None:
        yield "complete", trial.completed_ns
        yield "tail_wait", trial.completed_ns - last
    yield "rtf", last / audio
    if last:
        yield "rtfx", audio / last
