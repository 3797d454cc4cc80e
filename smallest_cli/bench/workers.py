"""Trials side by side: each lane makes one at a time, over connections of its own, in a thread of its own."""

from __future__ import annotations

import gc
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from smallest_cli.bench.plan import Job, Plan
from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.probe import Probe, probing
from smallest_cli.bench.stats.quantiles import quantile
from smallest_cli.bench.trial import Attempt, Trial, attempt
from smallest_cli.errors import AuthError, Interrupted, RequestError, SecurityError
from smallest_cli.models import Service, Transport
from smallest_cli.network.dialer import Dialer
from smallest_cli.transports import open_transport

SWITCH_SECONDS = 0.0005
LOOK_SECONDS = 0.25
HOPELESS = (AuthError, RequestError, SecurityError)


@dataclass
class Progress:
    """What somebody who watches may know; written by lanes, read by the watcher."""

    total: int | None
    origin_ns: int = 0
    trials: list[Trial] = field(default_factory=list)
    in_flight: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    spoken: set[str] = field(default_factory=set)
    """The arms that have made a good trial or warm-up."""
    cut_short: str | None = None
    """The option that ended the run before its plan did."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """A trial begins."""
        with self._lock:
            self.in_flight += 1

    def end(self, trial: Trial) -> None:
        """A trial is over."""
        with self._lock:
            self.in_flight -= 1
            self.trials.append(trial)
            if trial.error:
                self.errors[trial.error] += 1
            else:
                self.spoken.add(trial.arm)

    def leave(self) -> None:
        """The run's time is over within a trial, which then says nothing and is not counted."""
        with self._lock:
            self.in_flight -= 1
            self.cut_short = "--max-time"

    def ttfb_ms(self, p: float, last: int = 200) -> float | None:
        """A quantile of the last trials' time to first audio."""
        recent = [trial.chunks[0][0] for trial in self.trials[-last:] if not trial.error]
        return quantile(sorted(recent), p) / 1e6 if recent else None


Watch = Callable[[Progress], None]
Keep = Callable[[Attempt], None]


class Budget:
    """The characters that may still be sent, warm-ups' and trials'; any number where `most` is 0."""

    def __init__(self, most: int) -> None:
        self._left = most or math.inf
        self._lock = threading.Lock()

    def take(self, job: Job) -> bool:
        """Whether the job's text may be sent; it then counts as sent."""
        with self._lock:
            if len(job.text.words) > self._left:
                return False
            self._left -= len(job.text.words)
            return True


class Source:
    """The trials still to make, handed out one by one until they are used up, time is, or characters are.

    `cut_short` is the option that ended it before the plan did. What would be due after the end is not begun.
    """

    def __init__(self, plan: Plan, budget: Budget, until: float = math.inf) -> None:
        """The plan's seconds begin now; `until` is the end of the whole run, by `time.monotonic`."""
        self.budget = budget
        self.cut_short: str | None = None
        self.stopped = threading.Event()
        self._jobs = plan.jobs()
        self._begun = time.monotonic()
        self._ends = math.inf if plan.seconds is None else self._begun + plan.seconds
        self._until = until
        self._lock = threading.Lock()

    def next(self) -> Job | None:
        """The next trial to make; None when there is none."""
        with self._lock:
            job = None if self.stopped.is_set() or self.cut_short else next(self._jobs, None)
            if job is None:
                return None
            begins = max(time.monotonic(), self._begun + (job.due_ns or 0) / SECOND)
            if begins >= self._ends:
                return None
            if begins >= self._until:
                self.cut_short = "--max-time"
            elif not self.budget.take(job):
                self.cut_short = "--max-chars"
            return None if self.cut_short else job


class Lane:
    """One trial at a time. Its warm connections are its own, as a voice agent's would be."""

    def __init__(self, number: int, plan: Plan, service: Service, dialer: Dialer, keep: Keep) -> None:
        self._number = number
        self._plan = plan
        self._service = service
        self._dialer = dialer
        self._keep = keep
        self._kept = ExitStack()
        self._warm: dict[str, Transport] = {
            via: self._kept.enter_context(open_transport(via, service, dialer))
            for via in dict.fromkeys(arm.via for arm in plan.arms)
        }

    def warm_up(self, progress: Progress, budget: Budget) -> None:
        """Use every connection once before it counts. Raises what no trial would fare better with."""
        for job in self._plan.warm_up(self._number):
            if not budget.take(job):
                return
            made = self.make(job, "warmup", self._dialer.clock(), progress)
            if isinstance(made.failure, HOPELESS):
                raise made.failure

    def measure(self, source: Source, origin_ns: int, progress: Progress) -> None:
        """Trial after trial until there are no more. Raises what the first of an arm shows to be hopeless."""
        while (job := source.next()) is not None:
            if job.due_ns is not None:
                ahead = (origin_ns + job.due_ns - self._dialer.clock()) / SECOND
                if ahead > 0 and source.stopped.wait(ahead):
                    return
            made = self.make(job, "measure", origin_ns, progress)
            if isinstance(made.failure, HOPELESS) and made.trial.arm not in progress.spoken:
                raise made.failure

    def make(self, job: Job, phase: Any, origin_ns: int, progress: Progress) -> Attempt:
        """One trial, whatever comes of it; not kept if it failed because the run's time is over."""
        blank = Trial(
            index=job.index,
            arm=self._plan.name(job.arm),
            phase=phase,
            block=job.block,
            text=job.text.name,
            characters=len(job.text.words),
            rate=self._plan.template.format.sample_rate,
            started_ns=0,
            scheduled_ns=job.due_ns,
        )
        request = replace(self._plan.template, text=job.text.words)
        progress.begin()
        with ExitStack() as opened:
            transport = self._warm[job.arm.via]
            if job.arm.conn == "cold":
                transport = opened.enter_context(open_transport(job.arm.via, self._service, self._dialer))
            made = attempt(blank, request, transport, self._dialer.clock, origin_ns)
        if made.failure is not None and time.monotonic() >= self._dialer.until:
            progress.leave()
            return made
        progress.end(made.trial)
        self._keep(made)
        return made

    def close(self) -> None:
        """Let go of the connections."""
        self._kept.close()


@contextmanager
def gc_paused() -> Iterator[None]:
    """No garbage collection, and threads that take turns quickly: what measuring needs of the interpreter."""
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


def run_lanes(
    plan: Plan, service: Service, dialer: Dialer, watch: Watch, keep: Keep, progress: Progress, probe: Probe
) -> bool:
    """Warm up, then measure, into `progress`; whether the plan was carried out, and nothing cut it short.

    A signal that comes meanwhile unwinds at once; what is in `progress` then is whole trials. Raises what
    makes every trial hopeless: a rejected key or request.
    """
    lanes = [Lane(number, plan, service, dialer, keep) for number in range(plan.lanes)]
    pool = ThreadPoolExecutor(plan.lanes, "lane")
    budget = Budget(plan.max_chars)
    source, patient = None, True
    try:
        _join([pool.submit(lane.warm_up, progress, budget) for lane in lanes[:1]], watch, progress)
        _join([pool.submit(lane.warm_up, progress, budget) for lane in lanes[1:]], watch, progress)
        with gc_paused(), probing(probe):
            source = Source(plan, budget, dialer.until)
            origin = progress.origin_ns = dialer.clock()
            _join([pool.submit(lane.measure, source, origin, progress) for lane in lanes], watch, progress)
    except Interrupted:
        patient = False  # trials under way are left: the process is about to end
        raise
    finally:
        if source is not None:
            source.stopped.set()
        pool.shutdown(wait=patient, cancel_futures=True)
        if patient:
            for lane in lanes:
                lane.close()
    progress.cut_short = progress.cut_short or source.cut_short
    measured = sum(trial.phase == "measure" for trial in progress.trials)
    return progress.cut_short is None and plan.trials in (None, measured)


def _join(futures: list[Future[None]], watch: Watch, progress: Progress) -> None:
    """Wait for lanes, showing how they come on; raises what one of them raised."""
    left = set(futures)
    while left:
        done, left = wait(left, LOOK_SECONDS, FIRST_EXCEPTION)
        for future in done:
            future.result()
        watch(progress)
