"""How far a run can be trusted: what measuring itself cost, against stamps of somebody else, and a verdict.

Two witnesses: how late the lag probe was woken, and the floor, how late measuring the offline server was by
that server's own stamps: the part of a time that is not the service's.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from smallest_cli.bench.plan import Arm, Plan, Text
from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.probe import Probe, in_ms
from smallest_cli.bench.stats.quantiles import quantile
from smallest_cli.bench.trial import Trial
from smallest_cli.bench.workers import Progress, run_lanes
from smallest_cli.client.service import open_local_service
from smallest_cli.errors import RemoteError, SettingsError
from smallest_cli.network.dialer import Dialer

CALIBRATION_TRIALS = 20
CALIBRATION_DELAY_MS = 25
TOLERATED_MS, TOLERATED_SHARE = 3.0, 0.01
"""A harness that is late by more than 3 ms and by more than 1 % of what it measures is not to be trusted
blindly."""
HOPELESS_FACTOR = 10
SUSPENDED_SECONDS = 1.0


def floor_of(trials: Sequence[Trial], origin_ns: int, log: Path) -> dict[str, Any] | None:
    """How late the measuring of those trials was by the stamps in the offline server's log, in ms.

    From being about to send the first audio to our stamp of its arrival; and by how much our stamp of the
    request came after the server already had it. A request that waits in the server's socket has been sent,
    so that wait is the server's. None where no trial is in the log.
    """
    stamps = read_log(log)
    late = []
    for trial in trials:
        entry = stamps.get(trial.request_id or "")
        if trial.error is None and trial.sent_ns is not None and entry and entry["first_audio_ns"]:
            sent = origin_ns + trial.sent_ns
            arrived = sent + trial.chunks[0][0]
            late.append(arrived - entry["first_audio_ns"] + max(0, sent - entry["received_ns"]))
    return in_ms(late)


def read_log(path: Path) -> dict[str, dict[str, Any]]:
    """The offline server's entries by request id."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError:
        return {}
    entries = [json.loads(line) for line in lines]
    return {entry["request_id"]: entry for entry in entries if entry["request_id"]}


class Calibration(NamedTuple):
    """A machine's floor; or the reason why nobody could measure it, or the doubt that it raised itself."""

    floor: dict[str, Any] | None
    reasons: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def calibrate(plan: Plan, timeout: float) -> Calibration:
    """The floor of this machine at the plan's load, measured on the offline server.

    It speaks a short text over the plan's transports, as many at once as the plan has, and costs nothing.
    """
    arms = tuple(Arm(via, "warm") for via in dict.fromkeys(arm.via for arm in plan.arms))
    count = max(CALIBRATION_TRIALS, 2 * plan.lanes // len(arms))
    small = replace(
        plan, arms=arms, texts=(Text("calibration", "Hello."),), count=count, seconds=None, rate=None,
        warmups=1, max_chars=0, template=replace(plan.template, voice="magnus", model=None, dictionaries=()),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")
        behaviour = {
            "log": str(log),
            "concurrency": plan.lanes,
            "first_byte_ms": CALIBRATION_DELAY_MS,
        }
        progress = Progress(small.trials)
        try:
            with open_local_service(behaviour=behaviour) as service:
                run_lanes(small, service, Dialer(timeout=timeout), _unwatched, _unkept, progress, Probe())
        except SettingsError as error:
            return Calibration(None, (f"not calibrated: {error}",))
        except RemoteError as error:
            return Calibration(None, doubts=(f"not calibrated: the offline server failed: {error}",))
        measured = [trial for trial in progress.trials if trial.phase == "measure"]
        if all(trial.error for trial in measured):
            named = ", ".join(sorted(progress.errors)) or "none was made"
            return Calibration(
                None, doubts=(f"not calibrated: every trial on the offline server failed ({named})",)
            )
        return Calibration(floor_of(measured, progress.origin_ns, log))


def _unwatched(_: Progress) -> None:
    """Nobody looks."""


def _unkept(_: object) -> None:
    """Nothing is kept."""


def evaluate(
    probe: Probe,
    floor: Mapping[str, Any] | None,
    trials: Sequence[Trial],
    reasons: Sequence[str] = (),
    doubts: Sequence[str] = (),
) -> dict[str, Any]:
    """The verdict and what it rests on: ok, suspect or invalid, with reasons in words.

    Late means later than 3 ms and than 1 % of the median time to first audio. Suspect: the 99th percentile of
    a witness is late, or an open loop's trials began so. Invalid: a witness's median is, or its 99th
    percentile ten times so, or the machine slept.
    """
    measured = [trial for trial in trials if trial.phase == "measure"]
    good = sorted(trial.chunks[0][0] / 1e6 for trial in measured if not trial.error)
    median_ms = quantile(good, 0.5) if good else None
    late, behind = fall_behind(measured, tolerance_ms(median_ms))
    weighed = evaluate_effect(
        probe.as_json(), probe.drift_s, floor, median_ms, reasons, doubts=[*doubts, *behind]
    )
    return weighed | ({"begun_late_ms": late} if late else {})


def tolerance_ms(median_ms: float | None) -> float:
    """How late may be, in ms, where the median time to first audio is that."""
    return TOLERATED_MS if median_ms is None else max(TOLERATED_MS, TOLERATED_SHARE * median_ms)


def fall_behind(measured: Sequence[Trial], limit_ms: float) -> tuple[dict[str, float] | None, list[str]]:
    """How long an open loop's trials waited for their turn, in ms, and the doubt that this raises, if any.

    All who call come at the rate; if too few may be in flight, those who wait are served at another.
    """
    planned = [trial for trial in measured if trial.scheduled_ns is not None]
    waits = [trial.started_ns - (trial.scheduled_ns or 0) for trial in planned]
    found = in_ms(waits)
    if found is None or found["p99"] <= limit_ms:
        return found, []
    late = sum(wait > limit_ms * 1e6 for wait in waits)
    begun = len(waits) * SECOND / max(1, max(trial.started_ns for trial in planned))
    due = len(waits) * SECOND / max(1, max(trial.scheduled_ns or 0 for trial in planned))
    return found, [
        f"the rate was not kept: {late} of {len(waits)} trials began more than {limit_ms:.1f} ms late, "
        f"the worst {found['max']:.0f} ms; {begun:.1f} a second began, {due:.1f} were due"
    ]


def evaluate_effect(
    lag: Mapping[str, Any] | None,
    drift_s: float,
    floor: Mapping[str, Any] | None,
    median_ms: float | None,
    reasons: Sequence[str] = (),
    *,
    doubts: Sequence[str] = (),
    stamped: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The verdict of `evaluate`, from the witnesses in ms and the median time to first audio.

    `reasons` say what was not looked at, and leave the verdict as it is; one of `doubts` makes it suspect.

    `stamped` is how late wakes were around each trial's request and first audio: trials that come in bursts
    are stamped when the loop is at its latest, which is but a small part of all wakes.
    """
    limit = tolerance_ms(median_ms)
    suspect, invalid = [*reasons, *doubts], []
    witnesses = (
        ("this machine woke a thread", lag),
        ("around a trial's stamps it did so", stamped),
        ("measuring itself came", floor),
    )
    for what, found in witnesses:
        if found is None:
            continue
        words = f"{what} {{:.1f}} ms late at {{}}; {limit:.1f} ms are tolerated"
        if found["p50"] > limit:
            invalid.append(words.format(found["p50"], "the median"))
        elif found["p99"] > HOPELESS_FACTOR * limit:
            invalid.append(words.format(found["p99"], "p99"))
        elif found["p99"] > limit:
            suspect.append(words.format(found["p99"], "p99"))
    if abs(drift_s) > SUSPENDED_SECONDS:
        invalid.append(f"the clocks parted by {drift_s:.1f} s: the machine slept, or its clock was set")
    uncalibrated = len(reasons) if not invalid else 0
    verdict = "invalid" if invalid else "suspect" if len(suspect) > uncalibrated else "ok"
    return {
        "verdict": verdict,
        "reasons": [*invalid, *suspect],
        "lag_ms": dict(lag) if lag else None,
        "floor_ms": dict(floor) if floor else None,
        "tolerated_ms": limit,
        "clock_drift_s": drift_s,
    } | ({"stamped_ms": dict(stamped)} if stamped else {})
