"""A process that makes trials: what it needs for one run, and what it says and writes of it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import gevent
import locust

from smallest_cli.bench.calibration import Calibration, calibrate
from smallest_cli.bench.locust.options import LoadConfig
from smallest_cli.bench.locust.worker_stats import Passing, WorkerStats, named
from smallest_cli.bench.plan import Plan
from smallest_cli.bench.probe import probing
from smallest_cli.bench.runner import conditions
from smallest_cli.bench.storage import raw_lines, write_text
from smallest_cli.bench.workers import Budget, Lane, Source, gc_paused
from smallest_cli.client.service import open_service
from smallest_cli.models import Service
from smallest_cli.network.dialer import Dialer

ENGINE = f"locust {locust.__version__}"
CALIBRATED_LANES = 50


@dataclass
class LoadWorker:
    """One run in one process. Without a plan it can make no trial, and `share` says why."""

    share: WorkerStats
    plan: Plan | None = None
    service: Service | None = None
    dialer: Dialer | None = None
    source: Source | None = None
    raw: str = ""
    origin_ns: int = 0
    progress: Passing = field(default_factory=lambda: Passing(None))
    over: bool = False
    _numbers: Any = field(default_factory=count)
    _opened: ExitStack = field(default_factory=ExitStack)
    _started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def lane(self) -> Lane | None:
        """A new lane; None where no trial can be made."""
        if self.plan is None or self.service is None or self.dialer is None:
            return None
        return Lane(next(self._numbers), self.plan, self.service, self.dialer, self.share.add)

    def wait_for_the_last(self, seconds: float) -> None:
        """No more trials; wait for those that are under way, but no longer than that."""
        if self.source is not None:
            self.source.stopped.set()
        until = time.monotonic() + seconds
        while self.progress.in_flight and time.monotonic() < until:
            gevent.sleep(0.05)

    def pack(self, *, last: bool = False) -> dict[str, Any] | None:
        """What is new, to be sent; None where the last was sent. `last` says that no more will come."""
        if self.over or (self.plan is None and not last):
            return None
        if last:
            self.over = True
            self.share.cut_short = self.source.cut_short if self.source else None
            self._opened.close()
        return self.share.take(last=last).pack()

    def write_raw(self, name: str, users: int, whole: str) -> None:
        """This process's trials as `bench --jsonl` writes them, for an exact `bench merge`. `name` is added
        to the file's; `users` is how many there were in all, in the run called `whole`. Raises
        OutputError."""
        if not self.raw or not self.share.kept:
            return
        path, about = Path(self.raw), dict(self.share.about)
        if name:
            path = path.with_name(f"{path.stem}.{name}{path.suffix}")
        head = about | {
            "id": f"{time.time_ns():x}",
            "part_of": whole,
            "started_utc": self._started.isoformat(timespec="seconds"),
            "interrupted": False,
            "complete": self.share.cut_short is None,
            "cut_short": self.share.cut_short,
            "origin_ns": self.origin_ns,
            "arms": [named(arm, users) for arm in about["arms"]],
            "load": about["load"] | {"concurrency": users, "engine": ENGINE},
            "calibration": self.share.calibration(),
        }
        kept = [replace(trial, arm=named(trial.arm, users)) for trial in self.share.kept]
        write_text(path, "".join(raw_lines(head, kept)))


def get_ready(asked: LoadConfig, warn: Any) -> LoadWorker:
    """Calibrate, and open what trials need. Raises what keeps every trial from being made."""
    plan, settings = asked.plan, asked.settings
    opened = ExitStack()
    service = opened.enter_context(open_service(settings, None, warn))
    dialer = Dialer.from_settings(settings)
    calibration = Calibration(None, ("not calibrated: --smallest-calibrate 0",))
    if asked.calibrated:
        small = replace(plan, concurrency=min(asked.lanes, CALIBRATED_LANES))
        calibration = calibrate(small, settings.timeout)
    share = WorkerStats(
        conditions(plan, service) | {"buffers_ms": asked.buffers_ms, "slo": asked.promises},
        calibration.floor,
        calibration.reasons,
        calibration.doubts,
        origin_ns=dialer.clock(),
        kept=[] if asked.raw else None,
    )
    opened.enter_context(gc_paused())
    opened.enter_context(probing(share.probe))
    source = Source(plan, Budget(plan.max_chars))
    return LoadWorker(share, plan, service, dialer, source, asked.raw, share.origin_ns, _opened=opened)
