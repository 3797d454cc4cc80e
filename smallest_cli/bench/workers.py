"""Run trials concurrently: each worker is a thread with its own connections, one trial at a time."""

from __future__ import annotations

import gc
import math
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Literal

from msgspec.structs import replace

from smallest_cli.bench.plan import Job, Plan
from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.probe import Probe, probing
from smallest_cli.bench.schema import Arm
from smallest_cli.bench.stats.quantiles import fewest_for, quantile
from smallest_cli.bench.trial import Attempt, Trial, attempt
from smallest_cli.errors import AuthError, Interrupted, RemoteError, RequestError, SecurityError
from smallest_cli.models import Service, Transport, Via
from smallest_cli.network.dialer import Dialer
from smallest_cli.signals import running_s
from smallest_cli.transports import open_transport

SWITCH_SECONDS = 0.0005
POLL_SECONDS = 0.25
FATAL = (AuthError, RequestError, SecurityError)  # errors that all other trials of the arm would have too


@dataclass
class Progress:
    """The progress of a run, written by workers and read by `on_progress`."""

    total: int | None
    origin_ns: int = 0
    trials: list[Trial] = field(default_factory=list)
    in_flight: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    succeeded: set[Arm] = field(default_factory=set)  # `_kind` of arms with a successful trial or warm-up
    cut_short: str | None = None  # the option that ended the run early
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start_trial(self) -> None:
        """Count a started trial."""
        with self._lock:
            self.in_flight += 1

    def finish_trial(self, trial: Trial) -> None:
        """Record a finished trial."""
        with self._lock:
            self.in_flight -= 1
            self.trials.append(trial)
            if trial.error:
                self.errors[trial.error] += 1

    def abandon_trial(self) -> None:
        """Discard a trial that failed because the time limit of the run was reached."""
        with self._lock:
            self.in_flight -= 1
            self.cut_short = "--max-time"

    def ttfb_ms(self, p: float, last: int = 200) -> float | None:
        """Return a quantile of the time to first audio, in ms, over the `last` trials; None for too few."""
        recent = [trial.first_audio_ns for trial in self.trials[-last:] if not trial.error]
        return quantile(sorted(recent), p) / 1e6 if len(recent) >= fewest_for(p) else None


OnProgress = Callable[[Progress], None]
OnTrial = Callable[[Attempt], None]


def ignore(_: object) -> None:
    """Ignore progress or a trial (a no-op callback)."""


def _kind(arm: Arm) -> Arm:
    """Return what a fatal error depends on: not the load, so that no level of a sweep discards the others."""
    return replace(arm, id="", concurrency=0, rate=None)


class CharacterBudget:
    """Limit the characters sent, warm-ups included; 0 = unlimited."""

    def __init__(self, limit: int) -> None:
        self._left = limit or math.inf
        self._lock = threading.Lock()

    def take(self, job: Job) -> bool:
        """Reserve the characters of a job; False if too few are left."""
        with self._lock:
            if len(job.text.words) > self._left:
                return False
            self._left -= len(job.text.words)
            return True


class JobQueue:
    """The jobs of a plan, up to its limits of time and characters.

    `cut_short` is the option that ended it early, `over` is set once it has ended, though there may be more
    `jobs`. Jobs due after the end are not started.
    """

    def __init__(self, plan: Plan, budget: CharacterBudget, until: float = math.inf) -> None:
        """The duration of the plan starts now; `until` is the end of the run by `running_s`."""
        self.budget = budget
        self.cut_short: str | None = None
        self.stopped = threading.Event()
        self.over = False
        self.jobs = plan.jobs()
        self._started = running_s()
        self._ends = math.inf if plan.seconds is None else self._started + plan.seconds
        self._until = until
        self._lock = threading.Lock()

    def next(self) -> Job | None:
        """Return the next job, None if there is none."""
        with self._lock:
            job = None if self.stopped.is_set() or self.over else next(self.jobs, None)
            if job is None:
                return None
            begins = max(running_s(), self._started + (job.due_ns or 0) / SECOND)
            if begins >= self._ends:
                self.over = True
            elif begins >= self._until:
                self.cut_short = "--max-time"
            elif not self.budget.take(job):
                self.cut_short = "--max-chars"
            self.over = self.over or self.cut_short is not None
            return None if self.over else job


def _named(failure: RemoteError, job: Job) -> RemoteError:
    """Name the arm in a failure that may be due to its voice, model or service."""
    if job.arm.voice or job.arm.model or job.arm.api or job.arm.base_url:
        failure.args = (f"{job.arm.id}: {failure}",)
    return failure


class Worker:
    """Run one trial at a time over its own warm connections, as a voice agent does."""

    def __init__(
        self, number: int, plan: Plan, services: Mapping[str, Service], dialer: Dialer, on_trial: OnTrial
    ) -> None:
        """`services` has the service of each arm id."""
        self._number, self._plan, self._on_trial = number, plan, on_trial
        self._services, self._dialer = services, dialer
        self._connections = ExitStack()
        self._warm: dict[tuple[Via, Service], Transport] = {
            each: self._connections.enter_context(open_transport(*each, dialer))
            for each in {(arm.via, services[arm.id]) for arm in plan.arms}
        }

    def warm_up(self, progress: Progress, budget: CharacterBudget) -> None:
        """Send one unmeasured request over every connection. Raises `FATAL` errors."""
        for job in self._plan.warm_up(self._number):
            if not budget.take(job):
                return
            made = self.run_trial(job, "warmup", self._dialer.clock(), progress)
            if isinstance(made.failure, FATAL):
                raise _named(made.failure, job)
            if progress.cut_short:
                return

    def measure(self, queue: JobQueue, origin_ns: int, progress: Progress) -> None:
        """Run jobs until the queue ends. Raises a `FATAL` error of an arm without a success."""
        while (job := queue.next()) is not None:
            if job.due_ns is not None:
                ahead = (origin_ns + job.due_ns - self._dialer.clock()) / SECOND
                if ahead > 0 and queue.stopped.wait(ahead):
                    return
            made = self.run_trial(job, "measure", origin_ns, progress)
            if isinstance(made.failure, FATAL) and _kind(job.arm) not in progress.succeeded:
                raise _named(made.failure, job)

    def run_trial(
        self, job: Job, phase: Literal["warmup", "measure"], origin_ns: int, progress: Progress
    ) -> Attempt:
        """Run and record one trial; discard it if it failed because the time of the run is over."""
        blank = Trial(
            index=job.index,
            arm=job.arm.id,
            via=job.arm.via,
            phase=phase,
            block=job.block,
            text=job.text.name,
            characters=len(job.text.words),
            rate=self._plan.template.format.sample_rate,
            started_ns=0,
            ended_ns=0,
            scheduled_ns=job.due_ns,
        )
        request, service = self._plan.request(job), self._services[job.arm.id]
        progress.start_trial()
        with ExitStack() as opened:
            transport = self._warm[job.arm.via, service]
            if job.arm.conn == "cold":
                transport = opened.enter_context(open_transport(job.arm.via, service, self._dialer))
            after_ms = self._plan.cancel_after_ms
            after_ns = None if after_ms is None else round(after_ms * 1e6)
            made = attempt(blank, request, transport, self._dialer.clock, origin_ns, after_ns)
        if made.failure is not None and running_s() >= self._dialer.until:
            progress.abandon_trial()
            return made
        progress.finish_trial(made.trial)
        if made.trial.error is None:
            progress.succeeded.add(_kind(job.arm))
        self._on_trial(made)
        return made

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector and shorten the thread switch interval: both would delay timestamps."""
    collecting, interval = gc.isenabled(), sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()
        if collecting:
            gc.enable()


def run_workers(
    plan: Plan,
    services: Mapping[str, Service],
    dialer: Dialer,
    on_progress: OnProgress,
    on_trial: OnTrial,
    progress: Progress,
    probe: Probe,
) -> bool:
    """Warm up, then measure, into `progress`. Return whether the plan was completed.

    `services` has the service of each arm id. A round ends before the next begins. A signal ends the run at
    once; `progress` then holds finished trials only. Raises `FATAL` errors.
    """
    import smallest_cli.bench.waveform  # noqa: F401  (imports NumPy, not during the first trial)

    workers = [Worker(number, plan, services, dialer, on_trial) for number in range(plan.concurrency)]
    pool = ThreadPoolExecutor(plan.concurrency, "bench worker")
    budget = CharacterBudget(plan.max_chars)
    queue, graceful = None, True
    try:
        # The first worker alone: a rejected key is sent once, not by every worker.
        for group in (workers[:1], workers[1:]):
            warm_ups = [pool.submit(worker.warm_up, progress, budget) for worker in group]
            _join(warm_ups, on_progress, progress)
        with gc_paused(), probing(probe):
            queue = JobQueue(plan, budget, dialer.until)
            origin = progress.origin_ns = dialer.clock()
            for concurrency, queue.jobs in plan.rounds():
                active = workers[:concurrency]
                _join(
                    [pool.submit(each.measure, queue, origin, progress) for each in active],
                    on_progress,
                    progress,
                )
                if queue.over:
                    break
    except Interrupted:
        graceful = False  # exiting: do not wait for trials in flight
        raise
    finally:
        if queue is not None:
            queue.stopped.set()
        pool.shutdown(wait=graceful, cancel_futures=True)
        for worker in workers if graceful else ():
            worker.close()
    progress.cut_short = progress.cut_short or queue.cut_short
    measured = sum(trial.phase == "measure" for trial in progress.trials)
    return progress.cut_short is None and plan.trials in (None, measured)


def _join(futures: list[Future[None]], on_progress: OnProgress, progress: Progress) -> None:
    """Wait for workers, reporting progress. Re-raises an exception of a worker."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, POLL_SECONDS, FIRST_EXCEPTION)
        for future in done:
            future.result()
        on_progress(progress)
