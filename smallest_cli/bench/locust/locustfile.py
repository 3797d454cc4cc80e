"""The trials of `smallest bench` as a Locust user, for more load than one process can generate.

    locust -f "$(smallest bench locustfile)" --headless -u 100 -r 20 -t 60s --host https://tts.example

Locust starts users, spreads them over processes and hosts, and serves the web UI; transports, timing and
metrics are those of bench. gevent replaces threads and sockets, so a busy event loop delays timestamps: the
probe in the same loop measures by how much.
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

from smallest_cli import __version__
from smallest_cli.bench.locust.aggregate import Aggregator
from smallest_cli.bench.locust.messages import Message, version_mismatch
from smallest_cli.bench.locust.options import add_options, check_options, read_config, share_counts
from smallest_cli.bench.locust.worker import ENGINE, LoadWorker, start_worker
from smallest_cli.bench.locust.worker_stats import WorkerStats
from smallest_cli.bench.results import INVALID
from smallest_cli.bench.storage import as_text, write_text
from smallest_cli.bench.workers import Worker
from smallest_cli.errors import RemoteError, SettingsError, SmallestError, UsageError

STOP_TIMEOUT_S = 30.0  # for trials in flight at the end, unless --stop-timeout is given
FINISH, LAST, REPORT = "smallest.finish", "smallest.last", "smallest"
LOCAL = "local"  # the name of a process without a master
LOG = logging.getLogger("smallest")


def patch_locust() -> None:
    """Replace two functions of Locust in this process, before any run."""
    # Locust's own table rounds to two digits: 147 ms would be shown as 150.
    locust.stats.bucket_response_time = lambda response_time: round(response_time)
    # A worker calls it once per option of every spawn message, and each call builds the complete parser:
    # this blocks the event loop for a third of a second in every second of the ramp-up.
    locust.argument_parser.default_args_dict = cache(locust.argument_parser.default_args_dict)


patch_locust()


@dataclass
class _State:
    """The current run: `worker` in processes that run trials, `aggregator` in the one that aggregates."""

    worker: LoadWorker | None = None
    aggregator: Aggregator | None = None
    run_name: str = ""  # written into the raw trials of every process
    exit_code: int = INVALID  # the exit code of a run without a result
    environment: Environment | None = None


STATE = _State()


class TrialFailed(Exception):
    """A failed trial, by error class: Locust groups failures by it."""


class Caller(User):
    """A Locust user: runs one trial at a time over its own connections."""

    worker: Worker | None = None

    def on_start(self) -> None:
        """Open the warm connections and send a warm-up over each. A failure ends the run."""
        load = STATE.worker
        if load is None or load.queue is None or load.open_worker is None:
            return
        worker = load.open_worker(next(load.numbers))
        try:
            worker.warm_up(load.progress, load.queue.budget)
            self.worker = worker
        except RemoteError as error:
            worker.close()
            _abort(self.environment, load, str(error))

    @task
    def speak(self) -> None:
        """Run one trial and report its time to first audio, or its error class, to Locust."""
        load = STATE.worker
        job = load.queue.next() if load and load.queue else None
        if load is None or self.worker is None or job is None:
            raise StopUser
        trial = self.worker.run_trial(job, "measure", load.stats.origin_ns, load.progress).trial
        self.environment.events.request.fire(
            request_type=job.arm.via,
            name=f"{job.arm.via}/{job.arm.conn} first audio",
            response_time=None if trial.error else trial.first_audio_ns / 1e6,
            response_length=2 * trial.frames,
            exception=TrialFailed(trial.error) if trial.error else None,
            context={},
        )

    def on_stop(self) -> None:
        """Close the connections."""
        if self.worker is not None:
            self.worker.close()


def on_init(environment: Environment, **_: Any) -> None:
    """Register message handlers with the runner of this process."""
    runner, STATE.environment = environment.runner, environment
    environment.stop_timeout = environment.stop_timeout or STOP_TIMEOUT_S
    if isinstance(runner, MasterRunner):
        runner.register_message(LAST, lambda msg, **_: _add(environment, msg.node_id, msg.data[REPORT]))
    elif isinstance(runner, WorkerRunner):
        runner.register_message(FINISH, lambda msg, **_: _finish(environment, msg.data), concurrent=True)


def on_test_start(environment: Environment, **_: Any) -> None:
    """Start a run: the master aggregates, workers calibrate and connect, a single process does both."""
    runner = environment.runner
    STATE.exit_code = INVALID
    if not isinstance(runner, WorkerRunner):
        STATE.aggregator, STATE.run_name = Aggregator(ENGINE), os.urandom(8).hex()
    if isinstance(runner, MasterRunner):
        share_counts(environment.parsed_options, runner.worker_count)
        # Workers reject invalid options too and end the run, but do not set the exit code of the master.
        try:
            check_options(environment.parsed_options)
        except UsageError as error:
            STATE.exit_code = error.exit_code
        return
    try:
        if isinstance(runner, WorkerRunner):
            master = getattr(environment.parsed_options, "smallest_version", None)
            if problem := version_mismatch(__version__, master):
                raise SettingsError(problem)
        STATE.worker = start_worker(read_config(environment, LOG.warning), LOG.warning)
    except SmallestError as error:
        if isinstance(error, UsageError):
            STATE.exit_code = error.exit_code
        STATE.worker = LoadWorker(WorkerStats(None))
        _abort(environment, STATE.worker, str(error))


def _abort(environment: Environment, worker: LoadWorker, why: str) -> None:
    """Report once that this process cannot run trials; the aggregating process then ends the run."""
    if worker.stats.problem is None:
        worker.stats.problem = why
        LOG.error("%s", why)
        gevent.spawn(_send_last, environment, worker)


def on_report_to_master(data: dict[str, Any], **_: Any) -> None:
    """Add the new data of this worker to its report to the master."""
    message = STATE.worker.message() if STATE.worker else None
    if message is not None:
        data[REPORT] = message.encode()


def on_worker_report(client_id: str, data: dict[str, Any], **_: Any) -> None:
    """Aggregate a worker's report."""
    if REPORT in data and STATE.environment:
        _add(STATE.environment, client_id, data[REPORT])


def _add(environment: Environment, name: str, data: bytes) -> None:
    """Aggregate a message of a process. One that cannot run trials ends the run."""
    if STATE.aggregator is None or environment.runner is None:
        return
    problem = STATE.aggregator.add(name, Message.decode(data))
    if problem and not STATE.aggregator.stopping:
        if name != LOCAL:
            LOG.error("worker %s: %s", name, problem)
        gevent.spawn(environment.runner.quit)


def on_test_stopping(environment: Environment, **_: Any) -> None:
    """Drain trials in flight, and wait for the last message of each worker."""
    runner, aggregator = environment.runner, STATE.aggregator
    if aggregator is None or runner is None:
        return
    aggregator.stopping = True
    aggregator.users = max(aggregator.users, runner.target_user_count)
    message = {"users": aggregator.users, "name": STATE.run_name}
    if isinstance(runner, LocalRunner):
        _finish(environment, message)
    elif isinstance(runner, MasterRunner):
        runner.send_message(FINISH, message)
        until = time.monotonic() + environment.stop_timeout + 10
        while time.monotonic() < until:
            if not aggregator.is_waiting({each.id for each in runner.clients.all if each.state != "missing"}):
                break
            gevent.sleep(0.1)


def _finish(environment: Environment, message: dict[str, Any]) -> None:
    """Drain this process, send its last message, and write its raw trials."""
    worker = STATE.worker
    if worker is None or worker.over:
        return
    worker.drain(environment.stop_timeout)
    _send_last(environment, worker)
    name = environment.runner.client_id if isinstance(environment.runner, WorkerRunner) else ""
    try:
        worker.write_raw(name, message["users"], message["name"])
    except SmallestError as error:
        _report_error(environment, error)


def _send_last(environment: Environment, worker: LoadWorker) -> None:
    message = worker.message(last=True)
    if message is not None and isinstance(environment.runner, WorkerRunner):
        environment.runner.send_message(LAST, {REPORT: message.encode()})
    elif message is not None:
        _add(environment, LOCAL, message.encode())


def _report_error(environment: Environment, error: SmallestError) -> None:
    LOG.error("%s", error)
    environment.process_exit_code = error.exit_code


def on_test_stop(environment: Environment, **_: Any) -> None:
    """End a run: write the result; a worker that has not received FINISH sends its last message now."""
    if isinstance(environment.runner, WorkerRunner):
        if STATE.worker is not None:
            _send_last(environment, STATE.worker)
        environment.stop_timeout = 0.0  # else Locust sleeps that long before the next run
        return
    result = STATE.aggregator.result() if STATE.aggregator else None
    if result is None:
        environment.process_exit_code = STATE.exit_code
        LOG.error("the run has no result")
        return
    environment.process_exit_code = result.exit
    if result.run.cut_short:
        trials = sum(arm.n for arm in result.arms)
        LOG.warning("%s ended the run early after %d trials", result.run.cut_short, trials)
    calibration = result.run.calibration
    log = LOG.info if calibration.verdict == "ok" else LOG.warning
    log("verdict: %s", "; ".join([calibration.verdict, *calibration.reasons]))
    options: Any = environment.parsed_options
    if options.smallest_json:
        try:
            write_text(Path(options.smallest_json), as_text(result))
        except SmallestError as error:
            _report_error(environment, error)


def on_quitting(environment: Environment, **_: Any) -> None:
    """Send or write the results before the process ends, also after a signal."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        on_test_stop(environment)
    elif runner is not None and STATE.aggregator is not None and not STATE.aggregator.stopping:
        runner.stop()


HOOKS: Any = events  # the types of Locust lack `add_listener`
HOOKS.init_command_line_parser.add_listener(add_options)
HOOKS.init.add_listener(on_init)
HOOKS.test_start.add_listener(on_test_start)
HOOKS.report_to_master.add_listener(on_report_to_master)
HOOKS.worker_report.add_listener(on_worker_report)
HOOKS.test_stopping.add_listener(on_test_stopping)
HOOKS.test_stop.add_listener(on_test_stop)
HOOKS.quitting.add_listener(on_quitting)
