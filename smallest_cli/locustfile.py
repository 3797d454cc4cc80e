"""The trials of `smallest bench` as a Locust user, for load that one machine cannot make.

    locust -f "$(smallest bench locustfile)" --headless -u 100 -r 20 -t 60s --host https://tts.example

Locust starts users, spreads them over processes and hosts, and has the web page; the transports, the
timing and the metrics are ours. Locust replaces threads and sockets by gevent's, so that a stamp is taken
when the loop gets to it: how late that is, the lag probe witnesses in the same loop.
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any

import gevent
import locust.stats
from locust import User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from smallest_cli.connect import Dialer
from smallest_cli.errors import RemoteError, SmallestError, UsageError
from smallest_cli.measure.corpus import CORPORA
from smallest_cli.measure.lanes import Lane, Source, quiet
from smallest_cli.measure.plan import CONNS, Arm, Plan, Text
from smallest_cli.measure.probe import probing
from smallest_cli.measure.run import conditions
from smallest_cli.measure.share import Passing, Pool, Share, named
from smallest_cli.measure.trust import calibrate
from smallest_cli.options import ReportOptions, ServiceOptions, VoiceOptions
from smallest_cli.script import SPLIT, write_script
from smallest_cli.service import open_service
from smallest_cli.settings import DEFAULT_BASE_URL, Settings
from smallest_cli.speaking import settle_voice
from smallest_cli.speech import VIAS, Service, SpeechRequest
from smallest_cli.trials.files import as_text, raw_lines, write_text
from smallest_cli.trials.slo import parse_promise

ENGINE = f"locust {locust.__version__}"
INVALID = 22
GRACE_SECONDS = 30.0
"""How long a trial that is under way at the end may take, unless --stop-timeout says."""
CALIBRATED_LANES = 50
PAID_CHARACTERS = 20_000
FINISH, LAST, REPORT = "smallest.finish", "smallest.last", "smallest"
LOG = logging.getLogger("smallest")


def to_the_millisecond(response_time: float) -> int:
    """What Locust's own table counts by. It rounds to two digits, so that 147 ms are shown as 150."""
    return round(response_time)


locust.stats.bucket_response_time = to_the_millisecond


def add_options(parser: LocustArgumentParser) -> None:
    """The trial's options. None of them is a key: that is SMALLEST_API_KEY, or what `smallest login` kept."""

    def add(flag: str, default: str, words: str, *, shown: bool = True, **more: Any) -> None:
        variable = "SMALLEST_" + flag.removeprefix("--smallest-").strip("-").replace("-", "_").upper()
        parser.add_argument(
            flag, env_var=variable, default=default, help=words, include_in_web_ui=shown, **more
        )

    add("--voice", "", "A voice's id or name.")
    add("--model", "", "The model; a known voice tells its own.")
    add("--language", "", "The text's language.")
    add("--sample-rate", "", "Hertz; 24000.")
    add("--via", "ws", "A list of ws, sse and http.")
    add("--conn", "warm", "A list of warm and cold.")
    add("--corpus", "short", "short, mixed or long.")
    add("--text", "", "Speak this instead.")
    add("--buffer", "0,50,100,200", "Prebuffers of the simulated player, ms; ttfa is of the first.")
    add("--slo", "", "Thresholds, as ttfb.p95<300ms, separated by semicolons.")
    add("--api", "", "unified, v3.1 or v2.")
    add("--timeout", "", "Seconds for connecting, first audio and each stall; 15.")
    add("--seed", "1", "Fixes the order of texts.")
    add("--max-chars", "", "Never send more; 20,000 to the vendor's own service, else no bound; 0 for none.")
    add("--ca-file", "", "Trust the authorities in this file, on every worker.", shown=False)
    add("--smallest-plain-http", "", "1 sends the key over plain http to another machine.", shown=False)
    add("--smallest-calibrate", "1", "0 leaves out measuring each worker on the offline server first.")
    add("--smallest-json", "", "Write the result of the whole run, as smallest bench --save.", shown=False)
    add("--smallest-jsonl", "", "Every worker writes its raw trials, its name added.", shown=False)


@dataclass
class _Run:
    """What one process that makes trials needs for one run."""

    share: Share
    plan: Plan | None = None
    service: Service | None = None
    dialer: Dialer | None = None
    source: Source | None = None
    origin_ns: int = 0
    progress: Passing = field(default_factory=lambda: Passing(None))
    numbers: Any = field(default_factory=count)
    opened: ExitStack = field(default_factory=ExitStack)
    over: bool = False
    started_utc: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


@dataclass
class _Now:
    """The run under way: `run` where trials are made, `pool` where they are put together."""

    run: _Run | None = None
    pool: Pool | None = None


NOW = _Now()


class TrialFailed(Exception):
    """A failure by our class, which is what Locust counts by."""


class Caller(User):
    """One lane of the benchmark: a trial at a time, over connections of its own."""

    lane: Lane | None = None

    def on_start(self) -> None:
        """Open what is kept open, and use it once before it counts."""
        run = NOW.run
        if run is None or run.plan is None or run.service is None or run.dialer is None:
            raise StopUser
        self.lane = Lane(next(run.numbers), run.plan, run.service, run.dialer, run.share.add)
        try:
            self.lane.warm_up(run.progress)
        except RemoteError as error:
            _give_up(self.environment, run, str(error))
            raise StopUser from None

    @task
    def speak(self) -> None:
        """One trial. Locust hears of its time to first audio, or of its class of failure."""
        run = NOW.run
        job = run.source.next() if run and run.source else None
        if run is None or self.lane is None or job is None:
            raise StopUser
        trial = self.lane.make(job, "measure", run.origin_ns, run.progress).trial
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
    if not isinstance(runner, WorkerRunner):
        NOW.pool = Pool(ENGINE)
    if isinstance(runner, MasterRunner):
        return
    try:
        NOW.run = _settle(environment)
    except SmallestError as error:
        NOW.run = _Run(Share({"buffers_ms": [0]}))
        _give_up(environment, NOW.run, str(error))


def _settle(environment: Environment) -> _Run:
    options: Any = environment.parsed_options
    who = VoiceOptions(
        voice=options.voice or None,
        model=options.model or None,
        language=options.language or None,
        sample_rate=int(options.sample_rate) if options.sample_rate else None,
    )
    where = ServiceOptions(
        base_url=environment.host or None,
        ca_file=options.ca_file or None,
        plain_http=options.smallest_plain_http == "1" or None,
        timeout=float(options.timeout) if options.timeout else None,
        api=options.api or None,
    )
    _, settings, template = settle_voice(who, where, ReportOptions())
    plan = _plan(environment, options, settings, template)
    opened = ExitStack()
    service = opened.enter_context(open_service(settings, None, LOG.warning))
    dialer = Dialer(timeout=settings.timeout, ca_file=settings.ca_file, plain_http=settings.plain_http)
    floor, why = None, "not calibrated: --smallest-calibrate 0"
    if options.smallest_calibrate != "0":
        small = replace(plan, concurrency=min(plan.concurrency, CALIBRATED_LANES))
        floor, said = calibrate(small, settings.timeout)
        why = said or ""
    said_too = {"buffers_ms": [float(each) for each in options.buffer.split(",")], "slo": _promises(options)}
    share = Share(
        conditions(replace(plan, concurrency=0), service) | said_too,
        floor,
        [why] if why else [],
        kept=[] if options.smallest_jsonl else None,
    )
    opened.enter_context(quiet())
    opened.enter_context(probing(share.probe))
    plan = replace(plan, concurrency=0)
    return _Run(share, plan, service, dialer, Source(plan, 0), dialer.clock(), opened=opened)


def _plan(environment: Environment, options: Any, settings: Settings, template: SpeechRequest) -> Plan:
    """This process's part of the load; its trials' names get the number of all users at the end."""
    vias, conns = options.via.split(","), options.conn.split(",")
    if not set(vias) <= set(VIAS) or not set(conns) <= set(CONNS):
        raise UsageError("--via is a list of ws, sse and http, --conn one of warm and cold")
    if options.corpus not in CORPORA:
        raise UsageError(f"--corpus is one of {', '.join(CORPORA)}")
    words = CORPORA[options.corpus]
    if options.text:
        script = write_script([options.text], template, split=SPLIT, pause_s=0)
        words = tuple(item.text for item in script.items if isinstance(item, SpeechRequest))
    workers = max(1, options.expect_workers or 1)
    index = getattr(environment.runner, "worker_index", 0)
    paid = PAID_CHARACTERS if settings.base_url == DEFAULT_BASE_URL else 0
    most = int(options.max_chars) if options.max_chars else paid
    return Plan(
        arms=tuple(Arm(via, conn) for via in VIAS if via in vias for conn in CONNS if conn in conns),
        texts=tuple(Text(f"{options.corpus}{n:02}", each) for n, each in enumerate(words)),
        template=template,
        count=None,
        concurrency=max(1, ceil((options.num_users or 1) / workers)),
        seed=int(options.seed) + max(index, 0),
        max_chars=ceil(most / workers),
    )


def _promises(options: Any) -> list[str]:
    promises = [each.strip() for each in options.slo.split(";") if each.strip()]
    for promise in promises:
        parse_promise(promise)
    return promises


def _give_up(environment: Environment, run: _Run, why: str) -> None:
    """No trial of this process can succeed; say so once, and let whoever gathers end the run."""
    if run.share.problem is None:
        run.share.problem = why
        LOG.error("%s", why)
        gevent.spawn(_send_last, environment, run)


def report(data: dict[str, Any], **_: Any) -> None:
    """Let what is new ride along to the master."""
    if NOW.run is not None and not NOW.run.over and NOW.run.plan is not None:
        data[REPORT] = NOW.run.share.pack()


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
        _finish(environment, {"users": pool.users})
    elif isinstance(runner, MasterRunner):
        runner.send_message(FINISH, {"users": pool.users})
        until = time.monotonic() + environment.stop_timeout + 10
        while pool.waits_for(_present(runner)) and time.monotonic() < until:
            gevent.sleep(0.1)


def _present(runner: MasterRunner) -> set[str]:
    return {each.id for each in runner.clients.all if each.state != "missing"}


def _finish(environment: Environment, told: dict[str, Any]) -> None:
    """No more trials; wait for those under way, then send the last, and write the raw ones."""
    run = NOW.run
    if run is None or run.over:
        return
    if run.source is not None:
        run.source.stopped.set()
    until = time.monotonic() + environment.stop_timeout
    while run.progress.in_flight and time.monotonic() < until:
        gevent.sleep(0.05)
    _send_last(environment, run)
    options: Any = environment.parsed_options
    if options.smallest_jsonl and run.share.kept:
        _write_raw(Path(options.smallest_jsonl), environment, run, told["users"])


def _send_last(environment: Environment, run: _Run) -> None:
    if run.over:
        return
    run.over = True
    run.opened.close()
    packed = run.share.pack(last=True)
    if isinstance(environment.runner, WorkerRunner):
        environment.runner.send_message(LAST, packed)
    else:
        _take(environment, "local", packed)


def _write_raw(path: Path, environment: Environment, run: _Run, users: int) -> None:
    """This process's trials as `bench --jsonl` writes them, for an exact `bench merge`."""
    if isinstance(environment.runner, WorkerRunner):
        path = path.with_name(f"{path.stem}.{environment.runner.client_id}{path.suffix}")
    kept = [replace(trial, arm=named(trial.arm, users)) for trial in run.share.kept or ()]
    about = dict(run.share.about)
    head = about | {
        "id": f"{time.time_ns():x}",
        "started_utc": run.started_utc,
        "interrupted": False,
        "complete": True,
        "origin_ns": run.origin_ns,
        "arms": [named(arm, users) for arm in about["arms"]],
        "load": about["load"] | {"concurrency": users, "engine": ENGINE},
        "calibration": run.share.calibration(),
    }
    _write(environment, path, "".join(raw_lines(head, kept)))


def _write(environment: Environment, path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except SmallestError as error:
        LOG.error("%s", error)
        environment.process_exit_code = error.exit_code


def conclude(environment: Environment, **_: Any) -> None:
    """The run is over. A worker that was not asked to finish says its last now; the result is written."""
    if isinstance(environment.runner, WorkerRunner):
        if NOW.run is not None:
            _send_last(environment, NOW.run)
        return
    result = NOW.pool.result() if NOW.pool else None
    if result is None:
        environment.process_exit_code = INVALID
        LOG.error("the run has no result")
        return
    environment.process_exit_code = result["exit"]
    calibration = result["run"]["calibration"]
    say = LOG.info if calibration["verdict"] == "ok" else LOG.warning
    say("verdict: %s", "; ".join([calibration["verdict"], *calibration["reasons"]]))
    options: Any = environment.parsed_options
    if options.smallest_json:
        _write(environment, Path(options.smallest_json), as_text(result))


HOOKS: Any = events  # Locust types its events, but not how one listens to them
HOOKS.init_command_line_parser.add_listener(add_options)
HOOKS.init.add_listener(prepare)
HOOKS.test_start.add_listener(begin)
HOOKS.report_to_master.add_listener(report)
HOOKS.worker_report.add_listener(gather)
HOOKS.test_stopping.add_listener(wind_up)
HOOKS.test_stop.add_listener(conclude)
