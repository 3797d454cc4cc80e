"""A whole run: calibrate, warm up, measure, judge, and what is known of it beside its trials."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smallest_cli import __version__
from smallest_cli.bench.calibration import Calibration, calibrate, evaluate, floor_of
from smallest_cli.bench.metrics import METRICS
from smallest_cli.bench.onset import HOP_MS, LEVEL_DB, RUN_MS, WINDOW_MS
from smallest_cli.bench.plan import Plan
from smallest_cli.bench.probe import Probe
from smallest_cli.bench.stats.quantiles import CONFIDENCE
from smallest_cli.bench.trial import Trial
from smallest_cli.bench.workers import Keep, Progress, Watch, run_lanes
from smallest_cli.errors import Interrupted
from smallest_cli.models import Service, SpeechRequest
from smallest_cli.network.dialer import Dialer


@dataclass(frozen=True, slots=True)
class Measured:
    """A run that is over, by itself or by a signal, which is then for the caller to raise again."""

    run: dict[str, Any]
    trials: list[Trial]
    interruption: Interrupted | None


def measure(
    plan: Plan,
    service: Service,
    dialer: Dialer,
    said: Mapping[str, Any],
    watch: Watch,
    keep: Keep,
    *,
    log: Path | None = None,
    calibrated: bool = True,
) -> Measured:
    """Carry a plan out. `said` (buffers_ms, slo) goes into the record as it is.

    `log` is the offline server's, when that is the service: its stamps are then the floor, else one is
    measured first, unless `calibrated` is False. Raises what makes every trial hopeless.
    """
    started, begun = datetime.now(UTC), time.time_ns()
    calibration = Calibration(None)
    if log is None and calibrated:
        calibration = calibrate(plan, dialer.timeout)
    elif log is None:
        calibration = Calibration(None, ("not calibrated: --no-calibrate",))
    progress = Progress(plan.trials)
    interruption, whole = None, False
    probe = Probe()
    try:
        whole = run_lanes(plan, service, dialer, watch, keep, progress, probe)
    except Interrupted as interrupted:
        interruption = interrupted
    trials = sorted(progress.trials, key=lambda trial: (trial.phase == "measure", trial.index))
    floor = calibration.floor
    if log is not None:
        measured = [trial for trial in trials if trial.phase == "measure"]
        floor = floor_of(measured, progress.origin_ns, log)
    run = {
        "id": f"{begun:x}",
        "started_utc": started.isoformat(timespec="seconds"),
        "interrupted": interruption is not None,
        "complete": whole,
        "cut_short": progress.cut_short,
        "origin_ns": progress.origin_ns,
        **conditions(plan, service),
        **said,
        "calibration": evaluate(probe, floor, trials, calibration.reasons, calibration.doubts),
    }
    return Measured(run, trials, interruption)


def conditions(plan: Plan, service: Service) -> dict[str, Any]:
    """What was asked, where, and from where. No key, no text."""
    return {
        "seed": plan.seed,
        "arms": [plan.name(arm) for arm in plan.arms],
        "load": {
            "model": "closed" if plan.rate is None else "open",
            "concurrency": plan.concurrency,
            "rate": plan.rate,
            "arrival": None if plan.rate is None else plan.arrival,
            "count": plan.count,
            "seconds": plan.seconds,
            "warmups": plan.warmups,
        },
        "target": {"base_url": service.base_url, "api": service.api},
        "request": _asked(plan.template),
        "texts": {text.name: {"characters": len(text.words), "sha256": text.digest} for text in plan.texts},
        "client": {
            "tool": f"smallest {__version__}",
            "python": platform.python_version(),
            "os": f"{platform.system()} {platform.release()}",
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "clock": "perf_counter_ns",
            "clock_resolution_ns": round(time.get_clock_info("perf_counter").resolution * 1e9),
        },
        "defs": {
            "metrics": {
                name: {"unit": metric.unit, "starts": metric.starts, "stops": metric.stops}
                for name, metric in METRICS.items()
            },
            "onset": {"db": LEVEL_DB, "win_ms": WINDOW_MS, "hop_ms": HOP_MS, "min_ms": RUN_MS},
            "quantile": "nearest-rank",
            "ci": "order-statistic",
            "confidence": CONFIDENCE,
            "version": 1,
        },
    }


def _asked(template: SpeechRequest) -> dict[str, Any]:
    """What every trial asks for. What few give is left out where it was not given: older files lack it."""
    given = {
        "number_language": template.number_language,
        "math_notation": template.math_notation or None,
        "dictionary": list(template.dictionaries) or None,
        "consistency": template.consistency,
        "similarity": template.similarity,
        "enhancement": template.enhancement,
    }
    return {
        "voice": template.voice,
        "model": template.model,
        "language": template.language,
        "speed": template.speed,
        "sample_rate": template.format.sample_rate,
        "completion_wait_ms": template.completion_wait_ms,
    } | {name: value for name, value in given.items() if value is not None}
