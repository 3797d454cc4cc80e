"""Calibrate a run and decide whether its results are valid.

Two checks: the scheduler delay that the probe measured, and the measurement error (floor): how much later
than the timestamps of the offline server ours are, i.e. the share of a time that bench itself adds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from msgspec import UNSET

from smallest_cli.bench.plan import Plan, Text, make_arms
from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.probe import Probe, in_ms
from smallest_cli.bench.schema import Calibration, Delays, Verdict
from smallest_cli.bench.stats.quantiles import quantile
from smallest_cli.bench.trial import Trial
from smallest_cli.bench.workers import Progress, ignore, run_workers
from smallest_cli.client.service import open_local_service
from smallest_cli.errors import RemoteError, SettingsError, plural
from smallest_cli.files import temporary_folder
from smallest_cli.network.dialer import Dialer
from smallest_cli.signals import running_s

CALIBRATION_TRIALS = 20
CALIBRATION_DELAY_MS = 25
TOLERANCE_MS, TOLERANCE_SHARE = 3.0, 0.01
"""Tolerated delay: 3 ms or 1 % of the measured time, whichever is greater."""
INVALID_FACTOR = 10
SUSPENDED_SECONDS = 1.0


def measurement_error(trials: Sequence[Trial], origin_ns: int, log: Path) -> Delays | None:
    """Return the measurement error by the offline server's log; None if it has none of the trials.

    The error is the time from the server's send of the first audio to our timestamp of its arrival, plus the
    time by which our timestamp of the request is later than its arrival. Time that a request waits in the
    server's socket buffer counts as the server's.
    """
    try:
        *lines, _ = log.read_text("utf-8").split("\n")  # the last may be half-written
    except OSError:
        lines = []
    entries = {entry["request_id"]: entry for entry in map(json.loads, lines) if entry["request_id"]}
    late = []
    for trial in trials:
        entry = entries.get(trial.request_id or "")
        if trial.error is None and trial.sent_ns is not None and entry and entry["first_audio_ns"]:
            sent = origin_ns + trial.sent_ns
            arrived = sent + trial.first_audio_ns
            late.append(arrived - entry["first_audio_ns"] + max(0, sent - entry["received_ns"]))
    return in_ms(late)


class SelfTest(NamedTuple):
    """The measurement error of this machine, or why it is unknown.

    `reasons` do not affect the verdict, `doubts` make the run suspect.
    """

    floor: Delays | None
    reasons: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def calibrate(plan: Plan, concurrency: int, dialer: Dialer) -> SelfTest:
    """Measure the measurement error with the offline server, within the time limits of `dialer`."""
    arms = make_arms(list(dict.fromkeys(arm.via for arm in plan.arms)), ["warm"], [concurrency])
    test_plan = replace(
        plan,
        arms=arms,
        texts=(Text("calibration", "Hello."),),
        count=max(CALIBRATION_TRIALS, 2 * concurrency // len(arms)),
        seconds=None,
        warmups=1,
        max_chars=0,
        cancel_after_ms=None,
        template=plan.template._replace(voice="magnus", model=None, dictionaries=()),
    )
    behaviour = {"concurrency": concurrency, "first_byte_ms": CALIBRATION_DELAY_MS}
    progress = Progress(test_plan.trials)
    local = Dialer(timeout=dialer.timeout, max_time=dialer.until - running_s())
    try:
        with temporary_folder() as folder:
            log = folder / "log.jsonl"
            with open_local_service(behaviour=behaviour | {"log": str(log)}) as service:
                services = test_plan.everywhere(service)
                run_workers(test_plan, services, local, ignore, ignore, progress, Probe())
            measured = [trial for trial in progress.trials if trial.phase == "measure"]
            floor = measurement_error(measured, progress.origin_ns, log)
    except SettingsError as error:
        return SelfTest(None, reasons=(f"not calibrated: {error}",))
    except RemoteError as error:
        return SelfTest(None, doubts=(f"not calibrated: the offline server failed: {error}",))
    if progress.cut_short:
        return SelfTest(floor, reasons=(f"{progress.cut_short} cut the self-test short",))
    if all(trial.error for trial in measured):
        errors = ", ".join(sorted(progress.errors)) or "no trial was made"
        doubt = f"not calibrated: every trial on the offline server failed ({errors})"
        return SelfTest(None, doubts=(doubt,))
    return SelfTest(floor)


def evaluate(probe: Probe, self_test: SelfTest, trials: Sequence[Trial]) -> Calibration:
    """Return the verdict on a run: ok, suspect or invalid, with reasons.

    A delay above `tolerance_ms` at p99 makes the run suspect, and so do open-loop trials that started late
    and failed warm-ups. A delay above it at p50, above ten times it at p99, or a suspended machine makes it
    invalid.
    """
    measured = [trial for trial in trials if trial.phase == "measure"]
    good = sorted(trial.first_audio_ns / 1e6 for trial in measured if not trial.error)
    median_ms = quantile(good, 0.5) if good else None
    begun_late, behind = check_rate(measured, tolerance_ms(median_ms))
    warmups = [trial.error for trial in trials if trial.phase == "warmup"]
    cold = check_warmups(len(warmups), sum(each is not None for each in warmups))
    self_test = self_test._replace(doubts=(*self_test.doubts, *behind, *cold))
    found = evaluate_delays(in_ms(probe.late_ns), probe.drift_s, self_test, median_ms)
    found.begun_late_ms = begun_late or UNSET
    return found


def tolerance_ms(median_ms: float | None) -> float:
    """Return the tolerated delay for a median time to first audio, in ms."""
    return TOLERANCE_MS if median_ms is None else max(TOLERANCE_MS, TOLERANCE_SHARE * median_ms)


def check_warmups(count: int, failed: int) -> list[str]:
    """Return a doubt if warm-ups failed: the first trials then also measure what the warm-up is for."""
    return [f"{failed} of {plural(count, 'warm-up')} failed: warm trials may be cold"] if failed else []


def check_rate(measured: Sequence[Trial], limit_ms: float) -> tuple[Delays | None, list[str]]:
    """Return how late open-loop trials started, and a doubt if that is more than `limit_ms`.

    If the limit of trials in flight is too low, due trials queue and the rate is not reached.
    """
    planned = [trial for trial in measured if trial.scheduled_ns is not None]
    waits = [trial.started_ns - (trial.scheduled_ns or 0) for trial in planned]
    found = in_ms(waits)
    if found is None or found.p99 <= limit_ms:
        return found, []
    late = sum(wait > limit_ms * 1e6 for wait in waits)
    actual = len(waits) * SECOND / max(1, max(trial.started_ns for trial in planned))
    planned_rate = len(waits) * SECOND / max(1, max(trial.scheduled_ns or 0 for trial in planned))
    return found, [
        f"rate not reached: {late} of {plural(len(waits), 'trial')} began more than {limit_ms:.1f} ms late "
        f"(max {found.max:.0f} ms); {actual:.1f}/s began, {planned_rate:.1f}/s were due"
    ]


def evaluate_delays(
    lag: Delays | None,
    drift_s: float,
    self_test: SelfTest,
    median_ms: float | None,
    stamped: Delays | None = None,
) -> Calibration:
    """Return the verdict of `evaluate` from delays in ms and the median time to first audio.

    `stamped` is the scheduler delay around each trial's request and first audio: bursts of trials are
    timestamped when the event loop is busiest, which few of all wake-ups show.
    """
    limit = tolerance_ms(median_ms)
    suspect, invalid = [*self_test.reasons, *self_test.doubts], []
    checks = (
        ("scheduler delay", lag),
        ("scheduler delay at timestamps", stamped),
        ("measurement error (self-test)", self_test.floor),
    )
    for what, found in checks:
        if found is None:
            continue
        if found.p50 > limit:
            invalid.append(f"{what} p50 {found.p50:.1f} ms (limit {limit:.1f} ms)")
        elif found.p99 > limit:
            doubtful = invalid if found.p99 > INVALID_FACTOR * limit else suspect
            doubtful.append(f"{what} p99 {found.p99:.1f} ms (limit {limit:.1f} ms)")
    if abs(drift_s) > SUSPENDED_SECONDS:
        invalid.append(f"wall clock drifted by {drift_s:.1f} s: the machine was suspended or its clock set")
    verdict: Verdict = "invalid" if invalid else "suspect" if len(suspect) > len(self_test.reasons) else "ok"
    return Calibration(
        verdict=verdict,
        reasons=[*invalid, *suspect],
        lag_ms=lag,
        floor_ms=self_test.floor,
        tolerated_ms=limit,
        clock_drift_s=drift_s,
        stamped_ms=stamped or UNSET,
    )
