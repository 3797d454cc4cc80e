"""The metrics of one trial. Each is defined by its start and stop events."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise

from msgspec.structs import asdict

from smallest_cli.bench.playback import SECOND, play, smallest_safe_buffer
from smallest_cli.bench.schema import Arm, Metric
from smallest_cli.bench.stats.quantiles import quantile
from smallest_cli.bench.trial import Trial

UNSTREAMED = "http"  # the transport that sends its reply only when it is complete
BURST_NS = 5_000_000
"""A reply of that transport whose audio arrives within this time was not streamed: it has no gaps."""

METRICS: dict[str, Metric] = {
    "dns": Metric("ms", "DNS query", "addresses known"),
    "tcp": Metric("ms", "addresses known", "connected (a proxy's tunnel included)"),
    "tls": Metric("ms", "connected", "handshake done"),
    "upgrade": Metric("ms", "upgrade requested", "WebSocket open"),
    "ttfb": Metric("ms", "request sent, connection open", "first audio arrived (no headers)"),
    "ttfb_cold": Metric("ms", "DNS query", "first audio arrived"),
    "ttfb_e2e": Metric("ms", "scheduled time", "first audio arrived"),
    "sched_delay": Metric("ms", "scheduled time", "request sent"),
    "ttfa": Metric("ms", "request sent", "first audible sample played, after the first --buffer"),
    "lead_silence": Metric("ms", "first sample", "first audible sample, in the audio"),
    "trail_silence": Metric("ms", "last audible sample", "last sample, in the audio"),
    "gap": Metric("ms", "an arrival of audio", "the next arrival, over all trials"),
    "gap_max": Metric("ms", "an arrival of audio", "the next arrival, longest of each trial"),
    "jitter": Metric("ms", "", "smoothed change of delay against the audio clock (RFC 3550, 6.4.1)"),
    "jitter_p99": Metric("ms", "", "p99 minus p50 of each trial's gaps"),
    "min_safe_buffer": Metric("ms", "first audio arrived", "start of a playback that never stalls"),
    "last_audio": Metric("ms", "request sent", "last audio arrived"),
    "complete": Metric("ms", "request sent", "end marker arrived"),
    "tail_wait": Metric("ms", "last audio arrived", "end marker arrived"),
    "cancel": Metric("ms", "cancelled (--cancel-after)", "last byte received"),
    "audio_after_cancel": Metric("ms", "", "audio received after the cancellation"),
    "audio": Metric("s", "first sample", "last sample, in the audio"),
    "s_per_char": Metric("s", "", "audio / characters of the text"),
    "clipped": Metric("count", "", "samples at full scale"),
    "rms": Metric("dBFS", "", "level of the audible part; a square wave of full scale has 0"),
    "dc": Metric("dBFS", "", "level of the DC offset; -100 without one"),
    "rtf": Metric("x", "", "last_audio / audio: lower is faster"),
    "rtfx": Metric("x", "", "audio / last_audio: higher is faster"),
    "rtf_stream": Metric("x", "", "time / audio after the first arrival; above 1 must stall"),
    "check": Metric("x", "", "number printed by the command of --check"),
    "ttfb_censored": Metric("ms", "request sent, connection open", "first audio arrived, or given up"),
    "ttfb_cold_censored": Metric("ms", "DNS query", "first audio arrived, or given up"),
    "ttfb_e2e_censored": Metric("ms", "scheduled time", "first audio arrived, or given up"),
    "complete_censored": Metric("ms", "request sent", "end marker arrived, or given up"),
}
CENSORED = {f"{name}_censored": name for name in ("ttfb", "ttfb_cold", "ttfb_e2e", "complete")}
"""Metrics that also count trials that timed out, each with the time it waited: a lower bound of the true
value."""
TIMEOUTS = ("timeout_connect", "timeout_first", "timeout_stall")
CONNECTING = frozenset({"dns", "tcp", "tls", "upgrade", "ttfb_cold"})
STREAMING = frozenset({"gap", "gap_max", "jitter", "jitter_p99", "min_safe_buffer", "rtf_stream"})
OPTIONAL = {"cancel": "--cancel-after", "audio_after_cancel": "--cancel-after", "check": "--check"}
"""Metrics of runs with an option."""
OF_COMPLETE_AUDIO = frozenset(
    ["trail_silence", "s_per_char", "last_audio", "audio", "complete", "tail_wait", "rtf", "rtfx"]
)
"""Metrics that a cancelled trial does not have."""
SCHEDULED = frozenset({"ttfb_e2e", "sched_delay"})
SCALES = {"ms": 1e6, "s": 1e9, "x": 1.0, "count": 1.0, "dBFS": 1.0}  # nanoseconds per unit of time


def in_unit(metric: str, value: float) -> float:
    """Convert a value of `derive` to the unit of its metric."""
    return value / SCALES[METRICS[metric].unit]


def derive(trial: Trial, prebuffer_ns: int = 0) -> dict[str, float]:
    """Return every metric that a successful trial has, times in nanoseconds; a failed trial has none.

    Those of the end are missing from a cancelled trial.

    `prebuffer_ns` is that of the simulated player, for `ttfa`.
    """
    if trial.error is not None or trial.sent_ns is None or not trial.chunks:
        return {}
    return dict(chain(_connection(trial), _times(trial, prebuffer_ns), _stream(trial)))


def lower_bounds(trial: Trial) -> dict[str, float]:
    """Return the values a timed-out trial adds to the censored metrics: the nanoseconds it waited."""
    if trial.error not in TIMEOUTS:
        return {}
    if trial.sent_ns is None:  # given up while connecting
        found: dict[str, float]
        found = {} if trial.reused else {"ttfb_cold_censored": max(0, trial.ended_ns - trial.started_ns)}
        if trial.scheduled_ns is not None:
            found["ttfb_e2e_censored"] = max(0, trial.ended_ns - trial.scheduled_ns)
        return found
    waited = max(0, trial.ended_ns - trial.sent_ns)
    return {"complete_censored": waited} | ({} if trial.chunks else _since_due(trial, waited))


def known_values(trial: Trial) -> dict[str, float]:
    """Return the exact values (ns) that a trial stalled after first audio adds to the censored metrics."""
    if trial.error not in TIMEOUTS or trial.sent_ns is None or not trial.chunks:
        return {}
    return _since_due(trial, trial.first_audio_ns)


def _since_due(trial: Trial, ns: float) -> dict[str, float]:
    found = {"ttfb_censored": ns}
    if (connecting := _connecting_ns(trial)) is not None:
        found["ttfb_cold_censored"] = connecting + ns
    if trial.scheduled_ns is not None and trial.sent_ns is not None:
        found["ttfb_e2e_censored"] = trial.sent_ns - trial.scheduled_ns + ns
    return found


def _connecting_ns(trial: Trial) -> int | None:
    """Return the time from the DNS query to sending; None for a trial over an open connection."""
    if trial.reused is not False or not trial.phases or trial.opened_ns is None or trial.sent_ns is None:
        return None
    phases: dict[str, int] = asdict(trial.phases)
    return trial.sent_ns - trial.opened_ns + sum(phases.values())


def _connection(trial: Trial) -> Iterator[tuple[str, float]]:
    if trial.reused is not False or trial.phases is None:
        return
    yield from ((name, ns) for name, ns in asdict(trial.phases).items() if ns)
    if (connecting := _connecting_ns(trial)) is not None:
        yield "ttfb_cold", connecting + trial.first_audio_ns


def _times(trial: Trial, prebuffer_ns: int) -> Iterator[tuple[str, float]]:
    first = trial.first_audio_ns
    yield "ttfb", first
    if trial.scheduled_ns is not None and trial.sent_ns is not None:
        delay = trial.sent_ns - trial.scheduled_ns
        yield "sched_delay", delay
        yield "ttfb_e2e", delay + first
    if trial.onset is not None:
        played_ns = play(trial.chunks, trial.rate, prebuffer_ns, trial.onset).played_ns
        if played_ns is not None:
            yield "ttfa", played_ns
        yield "lead_silence", trial.onset * SECOND / trial.rate
    if trial.waveform is not None:
        yield from (
            ("clipped", trial.waveform.clipped),
            ("rms", trial.waveform.rms),
            ("dc", trial.waveform.dc),
        )
    if trial.cancellation is not None:
        yield "cancel", trial.cancellation.last_byte_ns - trial.cancellation.at_ns
        yield "audio_after_cancel", trial.cancellation.frames * SECOND / trial.rate
    else:
        yield from _end(trial)


def _end(trial: Trial) -> Iterator[tuple[str, float]]:
    last, audio = trial.chunks[-1][0], trial.frames * SECOND / trial.rate
    if trial.waveform is not None:
        yield "trail_silence", (trial.frames - trial.waveform.end) * SECOND / trial.rate
    if trial.characters:
        yield "s_per_char", audio / trial.characters
    if trial.check is not None:
        yield "check", trial.check
    yield "last_audio", last
    yield "audio", audio
    if trial.completed_ns is not None:
        yield "complete", trial.completed_ns
        yield "tail_wait", trial.completed_ns - last
    yield "rtf", last / audio
    if last:
        yield "rtfx", audio / last


def streams(of: Arm | Trial) -> bool:
    """Whether the transport sends audio while it is synthesized."""
    return of.via != UNSTREAMED


def is_streamed(trial: Trial) -> bool:
    """Whether the audio of a trial arrived over time."""
    return streams(trial) or trial.chunks[-1][0] - trial.first_audio_ns >= BURST_NS


def is_streaming(arm: Arm, ok: int, streamed: int) -> bool:
    """Whether an arm streams: most of its successful trials did, not just one slow reply."""
    return 2 * streamed > ok if ok else streams(arm)


def has_metric(arm: Arm, metric: str) -> bool:
    """Whether the arm can have the metric, by its connection, transport and load."""
    metric = CENSORED.get(metric, metric)
    if metric in CONNECTING:
        return arm.conn == "cold" and (metric != "upgrade" or arm.via == "ws")
    if metric in STREAMING:
        return streams(arm)
    return metric not in SCHEDULED or arm.rate is not None


def gaps(trial: Trial) -> list[int]:
    """Return the nanoseconds between arrivals of audio. Chunks of one read are one arrival."""
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
    remaining = trial.frames - trial.chunks[0][1]
    if remaining and trial.cancellation is None:
        yield "rtf_stream", (trial.chunks[-1][0] - trial.first_audio_ns) * trial.rate / (remaining * SECOND)


def _jitter(trial: Trial) -> float:
    """Return the interarrival jitter of RFC 3550, 6.4.1: changes of delay, smoothed by 1/16."""
    smoothed = 0.0
    for (before, frames), (after, _) in pairwise(trial.chunks):
        change = after - before - frames * SECOND / trial.rate
        smoothed += (abs(change) - smoothed) / 16
    return smoothed
