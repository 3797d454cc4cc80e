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
from typing import Any

from smallest_cli.connect import Dialer
from smallest_cli.errors import SettingsError
from smallest_cli.measure.lanes import Progress, run_lanes
from smallest_cli.measure.plan import Arm, Plan, Text
from smallest_cli.measure.probe import Probe, in_ms
from smallest_cli.service import open_local_service
from smallest_cli.stats.quantiles import quantile
from smallest_cli.trials.record import Trial

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


def calibrate(plan: Plan, timeout: float) -> tuple[dict[str, Any] | None, str | None]:
    """The floor of this machine at the plan's load, measured on the offline server; or why there is none.

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
            return None, f"not calibrated: {error}"
        measured = [trial for trial in progress.trials if trial.phase == "measure"]
        return floor_of(measured, progress.origin_ns, log), None


def _unwatched(_: Progress) -> None:
    """Nobody looks."""


def _unkept(_: object) -> None:
    """Nothing is kept."""


def judge(
    probe: Probe, floor: Mapping[str, Any] | None, trials: Sequence[Trial], reasons: Sequence[str] = ()
) -> dict[str, Any]:
    """The verdict and what it rests on: ok, suspect or invalid, with reasons in words.

    Late means later than 3 ms and than 1 % of the median time to first audio. Suspect: the 99th percentile of
    a witness is late. Invalid: its median is, or its 99th percentile ten times so, or the machine slept.
    """
    good = sorted(
        trial.chunks[0][0] / 1e6 for trial in trials if trial.phase == "measure" and not trial.error
    )
    return weigh(probe.as_json(), probe.drift_s, floor, quantile(good, 0.5) if good else None, reasons)


def weigh(
    lag: Mapping[str, Any] | None,
    drift_s: float,
    floor: Mapping[str, Any] | None,
    median_ms: float | None,
    reasons: Sequence[str] = (),
    *,
    stamped: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The verdict of `judge`, from the witnesses in ms and the median time to first audio.

    `stamped` is how late wakes were around each trial's request and first audio: trials that come in bursts
    are stamped when the loop is at its latest, which is but a small part of all wakes.
    """
    limit = TOLERATED_MS if median_ms is None else max(TOLERATED_MS, TOLERATED_SHARE * median_ms)
    suspect, invalid = list(reasons), []
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
