"""Run a plan: calibrate, warm up, measure and evaluate, and record the conditions of the run."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import UNSET
from msgspec.structs import asdict

from smallest_cli import __version__
from smallest_cli.bench.calibration import SelfTest, calibrate, evaluate, measurement_error
from smallest_cli.bench.metrics import METRICS
from smallest_cli.bench.plan import Plan
from smallest_cli.bench.probe import Probe
from smallest_cli.bench.schema import ONSET, Conditions, Definitions, Load, Run, Target
from smallest_cli.bench.stats.quantiles import CONFIDENCE
from smallest_cli.bench.trial import Trial
from smallest_cli.bench.workers import OnProgress, OnTrial, Progress, run_workers
from smallest_cli.errors import Interrupted
from smallest_cli.models import Service
from smallest_cli.network.dialer import Dialer


@dataclass(frozen=True, slots=True)
class Measurement:
    """A finished run. If a signal ended it, the caller must re-raise the signal."""

    run: Run
    trials: list[Trial]
    interruption: Interrupted | None


def measure(
    plan: Plan,
    services: Mapping[str, Service],
    dialer: Dialer,
    buffers_ms: Sequence[float],
    slo: Sequence[str],
    on_progress: OnProgress,
    on_trial: OnTrial,
    *,
    log: Path | None = None,
    calibrated: bool = True,
) -> Measurement:
    """Run a plan. `services` has the service of each arm id; `buffers_ms` and `slo` are recorded unchanged.

    `log` is the request log if the service is the offline server: the measurement error then comes from its
    timestamps. Otherwise it is measured first, unless `calibrated` is False. Raises RemoteError if no trial
    can succeed, e.g. for a rejected key.
    """
    started, run_id = datetime.now(UTC), f"{time.time_ns():x}"
    self_test = SelfTest(None)
    if log is None:
        skipped = SelfTest(None, reasons=("not calibrated: --no-calibrate",))
        self_test = calibrate(plan, plan.concurrency, dialer) if calibrated else skipped
    progress, probe = Progress(plan.trials), Probe()
    interruption, complete = None, False
    try:
        complete = run_workers(plan, services, dialer, on_progress, on_trial, progress, probe)
    except Interrupted as interrupted:
        interruption = interrupted
    trials = sorted(progress.trials, key=lambda trial: (trial.phase == "measure", trial.index))
    if log is not None:
        measured = [trial for trial in trials if trial.phase == "measure"]
        self_test = SelfTest(measurement_error(measured, progress.origin_ns, log))
    run = Run(
        id=run_id,
        started_utc=started.isoformat(timespec="seconds"),
        interrupted=interruption is not None,
        complete=complete,
        cut_short=progress.cut_short,
        origin_ns=progress.origin_ns,
        **asdict(conditions(plan, services, buffers_ms, slo)),
        calibration=evaluate(probe, self_test, trials),
    )
    return Measurement(run, trials, interruption)


def conditions(
    plan: Plan, services: Mapping[str, Service], buffers_ms: Sequence[float], slo: Sequence[str]
) -> Conditions:
    """Return the conditions of a run on this machine. They contain neither key nor text."""
    request, used = _request(plan), [services[arm.id] for arm in plan.arms]
    for name in ("voice", "model"):
        if varied := [value for arm in plan.arms if isinstance(value := getattr(arm, name), str)]:
            request[name] = _joined(varied)
    return Conditions(
        seed=plan.seed,
        arms=list(plan.arms),
        load=Load(
            model="closed" if plan.rate is None else "open",
            concurrency=plan.concurrency,
            rate=plan.rate,
            arrival=None if plan.rate is None else plan.arrival,
            count=plan.count,
            seconds=plan.seconds,
            warmups=plan.warmups,
            levels=plan.levels if len(plan.levels) > 1 else UNSET,
        ),
        target=Target(_joined(each.base_url for each in used), _joined(each.api for each in used)),
        request=request,
        texts={text.name: _fingerprint(text.words) for text in plan.texts},
        client={
            "tool": f"smallest {__version__}",
            "python": platform.python_version(),
            "os": f"{platform.system()} {platform.release()}",
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "clock": "perf_counter_ns",
            "clock_resolution_ns": round(time.get_clock_info("perf_counter").resolution * 1e9),
        },
        defs=Definitions(
            metrics=METRICS,
            onset=dict(ONSET),
            confidence=CONFIDENCE,
        ),
        buffers_ms=list(buffers_ms),
        slo=list(slo),
    )


def _joined(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _fingerprint(words: str) -> dict[str, Any]:
    return {"characters": len(words), "sha256": hashlib.sha256(words.encode()).hexdigest()[:16]}


def _request(plan: Plan) -> dict[str, Any]:
    """Return the fields of every trial's request. Optional ones are omitted if not given: older files lack
    them."""
    template = plan.template
    fields = {name: getattr(template, name) for name in ("voice", "model", "language", "speed")}
    fields["sample_rate"] = template.format.sample_rate
    fields["completion_wait_ms"] = template.completion_wait_ms
    rare = {
        "number_language": template.number_language,
        "math_notation": template.math_notation or None,
        "dictionary": list(template.dictionaries) or None,
        "cancel_after_ms": plan.cancel_after_ms,
    } | {name: getattr(template, name) for name in ("consistency", "similarity", "enhancement")}
    return fields | {name: value for name, value in rare.items() if value is not None}
