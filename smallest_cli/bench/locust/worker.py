"""One process of a load run: run trials, and send and write their results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path

import gevent
import locust
from msgspec import structs

import smallest_cli.bench.waveform  # noqa: F401  (imports NumPy, not during the first trial)
from smallest_cli.bench.calibration import SelfTest, calibrate
from smallest_cli.bench.locust.messages import Message, with_users
from smallest_cli.bench.locust.options import LoadConfig
from smallest_cli.bench.locust.worker_stats import InFlight, WorkerStats
from smallest_cli.bench.probe import probing
from smallest_cli.bench.runner import conditions
from smallest_cli.bench.schema import Run
from smallest_cli.bench.storage import raw_lines, write_text
from smallest_cli.bench.workers import CharacterBudget, JobQueue, Worker, gc_paused
from smallest_cli.client.service import open_service
from smallest_cli.network.dialer import Dialer

ENGINE = f"locust {locust.__version__}"
MAX_CALIBRATION_USERS = 50


@dataclass
class LoadWorker:
    """One run in one process. Without a queue it cannot run trials; the reason is in `stats`."""

    stats: WorkerStats
    queue: JobQueue | None = None
    open_worker: Callable[[int], Worker] | None = None
    raw: str = ""
    resources: ExitStack = field(default_factory=ExitStack)
    progress: InFlight = field(default_factory=lambda: InFlight(None))
    over: bool = False
    numbers: Iterator[int] = field(default_factory=count)
    _started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def drain(self, seconds: float) -> None:
        """Stop starting trials and wait up to `seconds` for those in flight."""
        if self.queue is not None:
            self.queue.stopped.set()
        until = time.monotonic() + seconds
        while self.progress.in_flight and time.monotonic() < until:
            gevent.sleep(0.05)

    def message(self, *, last: bool = False) -> Message | None:
        """Return the next message, None if the last one was sent."""
        if self.over or (self.queue is None and not last):
            return None
        if last:
            self.over = True
            self.stats.cut_short = self.queue.cut_short if self.queue else None
            self.resources.close()
        return self.stats.message(last=last)

    def write_raw(self, name: str, users: int, part_of: str) -> None:
        """Write this process's raw trials, to be merged exactly by `bench merge`. Raises OutputError.

        `name` is added to the file name; `users` is the total number of users of the run `part_of`.
        """
        stats = self.stats
        if not self.raw or not stats.trials or stats.conditions is None:
            return
        path = Path(self.raw)
        if name:
            path = path.with_name(f"{path.stem}.{name}{path.suffix}")
        arms = with_users(stats.conditions.arms, users)
        load = structs.replace(stats.conditions.load, concurrency=users, engine=ENGINE)
        run = Run(
            **structs.asdict(structs.replace(stats.conditions, arms=list(arms.values()), load=load)),
            id=f"{time.time_ns():x}",
            part_of=part_of,
            started_utc=self._started.isoformat(timespec="seconds"),
            interrupted=False,
            complete=stats.cut_short is None,
            cut_short=stats.cut_short,
            origin_ns=stats.origin_ns,
            calibration=stats.sent.calibration(),
        )
        trials = [structs.replace(trial, arm=arms[trial.arm].id) for trial in stats.trials]
        write_text(path, "".join(raw_lines(run, trials)))


def start_worker(config: LoadConfig, warn: Callable[[str], None]) -> LoadWorker:
    """Calibrate and open the service. Raises SmallestError if no trial can be run."""
    plan, settings = config.plan, config.settings
    resources = ExitStack()
    service = resources.enter_context(open_service(settings, None, warn))
    dialer = Dialer.from_settings(settings)
    self_test = SelfTest(None, reasons=("not calibrated: --smallest-calibrate 0",))
    if config.calibrated:
        users = min(config.users, MAX_CALIBRATION_USERS)
        self_test = calibrate(plan, users, dialer)
    services = plan.everywhere(service)
    stats = WorkerStats(
        conditions(plan, services, config.buffers_ms, config.slo),
        self_test,
        origin_ns=dialer.clock(),
        trials=[] if config.raw else None,
    )
    resources.enter_context(gc_paused())
    resources.enter_context(probing(stats.probe))
    queue = JobQueue(plan, CharacterBudget(plan.max_chars))
    open_worker = partial(Worker, plan=plan, services=services, dialer=dialer, on_trial=stats.add)
    return LoadWorker(stats, queue, open_worker, config.raw, resources)
