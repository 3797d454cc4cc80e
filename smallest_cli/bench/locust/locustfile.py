"""The trials of `smallest bench` as a Locust user, for load that one machine cannot make.

    locust -f "$(smallest bench locustfile)" --headless -u 100 -r 20 -t 60s --host https://tts.example

Locust starts users, spreads them over processes and hosts, and has the web page; the transports, the
timing and the metrics are ours. Locust replaces threads and sockets by gevent's, so that a stamp is taken
when the loop gets to it: how late that is, the lag probe witnesses in the same loop.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gevent
import locust.argument_parser
import locust.stats
from locust import User, events, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from smallest_cli.bench.locust.aggregate import Aggregator
from smallest_cli.bench.locust.options import add_options, check_options, read_config, tell_workers
from smallest_cli.bench.locust.worker import ENGINE, LoadWorker, get_ready
from smallest_cli.bench.locust.worker_stats import WorkerStats
from smallest_cli.bench.results import INVALID
from smallest_cli.bench.storage import as_text, write_text
from smallest_cli.bench.workers import Lane
from smallest_cli.errors import RemoteError, SmallestError, UsageError


def mend() -> None:
    """Replace it in this process, before any run."""
    locust.stats.bucket_response_time = to_the_millisecond
    # A worker asks it once for each option of every message to spawn users, and it builds the whole parser:
    # a third of a second, every second of the ramp, in which no stream is read.
    locust.argument_parser.default_args_dict = cache(locust.argument_parser.default_args_dict)


def to_the_millisecond(response_time: float) -> int:
    """What Locust's own table counts by. It rounds to two digits, so that 147 ms are shown as 150."""
    return round(response_time)


GRACE_SECONDS = 30.0
"""How long a trial that is under way at the end may take, unless --stop-timeout says."""
FINISH, LAST, REPORT = "smallest.finish", "smallest.last", "smallest"
LOCAL = "local"
"""The name of a process that has no master."""
LOG = logging.getLogger("smallest")


mend()


@dataclass
class _Now:
    """The run under way: `making` where trials are made, `pool` where they are put together."""

    making: LoadWorker | None = None
    pool: Aggregator | None = None
    name: str = ""
    """The run's, which every process writes into its raw trials."""
    failed: int = INVALID
    """The exit code of a run without a result."""


NOW = _Now()


class TrialFailed(Exception):
    """A failure by our class, which is what Locust counts by."""


class Caller(User):
    """One lane of the benchmark: a trial at a time, over connections of its own."""

    lane: Lane | None = None

    def on_start(self) -> None:
        """Open what is kept open, and use it once before it counts. Who cannot stops at its first task."""
        making = NOW.making
        lane = making.lane() if making else None
        if making is None or making.source is None or lane is None:
            return
        try:
            lane.warm_up(making.progress, making.source.budget)
            self.lane = lane
        except RemoteError as error:
            lane.close()
            _give_up(self.environment, making, str(error))

    @task
    def speak(self) -> None:
        """One trial. Locust hears of its time to first audio, or of its class of failure."""
        making = NOW.making
        job = making.source.next() if making and making.source else None
        if making is None or self.lane is None or job is None:
            raise StopUser
        trial = self.lane.make(job, "measure", making.origin_ns, making.progress).trial
        self.environment.events.request.fire(
            request_type=job.arm.via,
            name=f"{job.arm.via}/{job.arm.conn} first audio",
            response_time=None if trial.error else trial.chunks[0][0] / 1e6,
            response_length=2 * trial.frames,
            exception=TrialFailed(trial.error) if trial.error else None,
            context={},
        )

    def on_stop(self) -> None:
        """Let go of the connections."""
        if self.lane is not None:
            self.lane.close()


def prepare(environment: Environment, **_: Any) -> None:
    """Hook into whichever runner this process has."""
    runner = environment.runner
    environment.stop_timeout = environment.stop_timeout or GRACE_SECONDS
    if isinstance(runner, MasterRunner):
        runner.register_message(LAST, lambda msg, **_: _take(environment, msg.node_id, msg.data))
    elif isinstance(runner, WorkerRunner):
        runner.register_message(FINISH, lambda msg, **_: _finish(environment, msg.data), concurrent=True)


def begin(environment: Environment, **_: Any) -> None:
    """A run begins: the master gathers, workers calibrate and get ready, a lone process does both."""
    runner = environment.runner
    NOW.failed = INVALID
    if not isinstance(runner, WorkerRunner):
        NOW.pool, NOW.name = Aggregator(ENGINE), os.urandom(8).hex()
    if isinstance(runner, MasterRunner):
        tell_workers(environment.parsed_options, runner.worker_count)
        _refuse(environment.parsed_options)
        return
    try:
        NOW.making = get_ready(read_config(environment, LOG.warning), LOG.warning)
    except SmallestError as error:
        if isinstance(error, UsageError):
            NOW.failed = error.exit_code
        NOW.making = LoadWorker(WorkerStats({"buffers_ms": [0]}))
        _give_up(environment, NOW.making, str(error))


def _refuse(options: Any) -> None:
    """Note what cannot be meant, on a master: every worker refuses it and ends the run, but has no exit code
    that anybody looks at."""
    try:
        check_options(options)
    except UsageError as error:
        NOW.failed = error.exit_code


def _give_up(environment: Environment, making: LoadWorker, why: str) -> None:
    """No trial of this process can succeed; say so once, and let whoever gathers end the run."""
    if making.share.problem is None:
        making.share.problem = why
        LOG.error("%s", why)
        gevent.spawn(_send_last, environment, making)


def report(data: dict[str, Any], **_: Any) -> None:
    """Let what is new ride along to the master."""
    packed = NOW.making.pack() if NOW.making else None
    if packed is not None:
        data[REPORT] = packed


def gather(client_id: str, data: dict[str, Any], **_: Any) -> None:
    """Add what a worker sent."""
    if REPORT in data and NOW.pool is not None:
        NOW.pool.take(client_id, data[REPORT])


def _take(environment: Environment, name: str, packed: dict[str, Any]) -> None:
    """Add what a process sent last. One that cannot make any trial ends the run."""
    if NOW.pool is None or environment.runner is None:
        return
    problem = NOW.pool.take(name, packed)
    if problem and not NOW.pool.stopping:
        if name != LOCAL:
            LOG.error("worker %s: %s", name, problem)
        gevent.spawn(environment.runner.quit)


def wind_up(environment: Environment, **_: Any) -> None:
    """Let the trials that are under way end, and wait for what each worker says last."""
    runner, pool = environment.runner, NOW.pool
    if pool is None or runner is None:
        return
    pool.stopping = True
    pool.users = max(pool.users, runner.target_user_count)
    if isinstance(runner, LocalRunner):
        _finish(environment, {"users": pool.users, "name": NOW.name})
    elif isinstance(runner, MasterRunner):
        runner.send_message(FINISH, {"users": pool.users, "name": NOW.name})
        until = time.monotonic() + environment.stop_timeout + 10
        while pool.waits_for(_present(runner)) and time.monotonic() < until:
            gevent.sleep(0.1)


def _present(runner: MasterRunner) -> set[str]:
    return {each.id for each in runner.clients.all if each.state != "missing"}


def _finish(environment: Environment, told: dict[str, Any]) -> None:
    """No more trials; wait for those under way, then send the last, and write the raw ones."""
    making = NOW.making
    if making is None or making.over:
        return
    making.wait_for_the_last(environment.stop_timeout)
    _send_last(environment, making)
    name = environment.runner.client_id if isinstance(environment.runner, WorkerRunner) else ""
    try:
        making.write_raw(name, told["users"], told["name"])
    except SmallestError as error:
        _complain(environment, error)


def _send_last(environment: Environment, making: LoadWorker) -> None:
    packed = making.pack(last=True)
    if packed is None:
        return
    if isinstance(environment.runner, WorkerRunner):
        environment.runner.send_message(LAST, packed)
    else:
        _take(environment, LOCAL, packed)


def _complain(environment: Environment, error: SmallestError) -> None:
    LOG.error("%s", error)
    environment.process_exit_code = error.exit_code


def conclude(environment: Environment, **_: Any) -> None:
    """The run is over. A worker that was not asked to finish says its last now; the result is written."""
    if isinstance(environment.runner, WorkerRunner):
        if NOW.making is not None:
            _send_last(environment, NOW.making)
        environment.stop_timeout = 0.0  # Locust would sleep for as long before the next run
        return
    result = NOW.pool.result() if NOW.pool else None
    if result is None:
        environment.process_exit_code = NOW.failed
        LOG.error("the run has no result")
        return
    environment.process_exit_code = result["exit"]
    if short := result["run"]["cut_short"]:
        LOG.warning("%s ended the run early: %d trials were made", short, result["run"]["window"]["trials"])
    calibration = result["run"]["calibration"]
    say = LOG.info if calibration["verdict"] == "ok" else LOG.warning
    say("verdict: %s", "; ".join([calibration["verdict"], *calibration["reasons"]]))
    options: Any = environment.parsed_options
    if options.smallest_json:
        try:
            write_text(Path(options.smallest_json), as_text(result))
        except SmallestError as error:
            _complain(environment, error)


def leave(environment: Environment, **_: Any) -> None:
    """The process ends, by a signal perhaps: what is known goes first, and decides the exit code."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        conclude(environment)
    elif runner is not None and NOW.pool is not None and not NOW.pool.stopping:
        runner.stop()


HOOKS: Any = events  # Locust types its events, but not how one listens to them
HOOKS.init_command_line_parser.add_listener(add_options)
HOOKS.init.add_listener(prepare)
HOOKS.test_start.add_listener(begin)
HOOKS.report_to_master.add_listener(report)
HOOKS.worker_report.add_listener(gather)
HOOKS.test_stopping.add_listener(wind_up)
HOOKS.test_stop.add_listener(conclude)
HOOKS.quitting.add_listener(leave)
