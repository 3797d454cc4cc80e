"""Plans, attempts against a misbehaving server, workers, calibration and verdicts."""

from __future__ import annotations

import gc
import json
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from smallest_cli.audio import wav
from smallest_cli.bench.calibration import SelfTest, calibrate, evaluate, evaluate_delays, measurement_error
from smallest_cli.bench.plan import CONNS, Plan, Text, make_arms
from smallest_cli.bench.probe import Probe, in_ms, probing
from smallest_cli.bench.runner import conditions
from smallest_cli.bench.schema import Delays
from smallest_cli.bench.trial import ERROR_CLASSES, Attempt, attempt
from smallest_cli.bench.workers import CharacterBudget, JobQueue, Progress, gc_paused, run_workers
from smallest_cli.errors import RequestError
from smallest_cli.models import VIAS, AudioFormat, Service, SpeechRequest, Via
from smallest_cli.network.connection import Clock
from smallest_cli.network.dialer import Dialer
from smallest_cli.security import Secret
from smallest_cli.signals import running_s
from smallest_cli.transports import open_transport
from tests.support.fault_server import Script, fault_server, start_fault_server, steps
from tests.support.fault_server.steps import Audio, Close, End, Fin, Message, Reply, Stall, Status, Tone
from tests.support.offline import KEY as OFFLINE_KEY
from tests.support.offline import start_offline
from tests.support.trials import KEY, MS, RATE, trial

ARMS = make_arms(VIAS, CONNS)
WS_AT_3 = make_arms(["ws"], ["warm"], [3])
TEXTS = tuple(Text(f"t{n}", "word " * (n + 1)) for n in range(4))
PLAN = Plan(arms=ARMS, texts=TEXTS, template=SpeechRequest("", "magnus"), count=5, seed=3)
HEAD = Reply("chunked", wav=wav.header(AudioFormat(RATE)))
PLAY: Script = (HEAD, Tone(100))


BLANK: dict[str, Any] = dict.fromkeys(
    ("scheduled_ns", "opened_ns", "phases", "reused", "sent_ns", "onset", "completed_ns", "request_id")
) | {"chunks": ()}


def test_each_block_has_every_arm_once_in_a_shuffled_order_with_one_text() -> None:
    jobs = list(PLAN.jobs())
    assert [job.index for job in jobs] == list(range(30))
    blocks = [jobs[at : at + 6] for at in range(0, 30, 6)]
    assert all({job.arm for job in block} == set(ARMS) for block in blocks)
    assert all(len({job.text for job in block}) == 1 for block in blocks)
    assert len({tuple(job.arm for job in block) for block in blocks}) > 1
    assert {block[0].text for block in blocks[:4]} == set(TEXTS)


def test_seed_determines_order_and_arrivals() -> None:
    assert list(PLAN.jobs()) == list(PLAN.jobs())
    assert list(PLAN.jobs()) != list(replace(PLAN, seed=4).jobs())


@pytest.mark.parametrize("arrival", ["poisson", "constant"])
def test_open_loop_arrivals_have_the_rate(arrival: str) -> None:
    plan = replace(PLAN, arms=make_arms(VIAS, CONNS, rate=50.0), count=500, arrival=arrival)
    due = [job.due_ns or 0 for job in plan.jobs()]
    assert due == sorted(due)
    assert due[-1] / 1e9 == pytest.approx(3000 / 50, rel=0.1)
    gaps = {after - before for before, after in pairwise(due)}
    assert (len(gaps) > 1000) is (arrival == "poisson")


def test_characters_include_warm_ups() -> None:
    plan = replace(PLAN, arms=make_arms(VIAS, CONNS, [2]), warmups=2)
    warm = [job for lane in range(2) for job in plan.warm_up(lane)]
    assert Counter(job.arm.conn for job in warm) == {"warm": 12, "cold": 6}
    assert plan.characters() == sum(len(job.text.words) for job in [*warm, *plan.jobs()])
    assert replace(PLAN, count=None, seconds=1).characters() is None


def test_conditions_hold_every_request_field() -> None:
    service = Service("http://127.0.0.1:9", Secret(KEY, "a test"))
    asked = conditions(PLAN, PLAN.everywhere(service), [0.0], []).request
    assert set(asked) == {"voice", "model", "language", "speed", "sample_rate", "completion_wait_ms"}
    template = PLAN.template._replace(number_language="hi", math_notation=True, dictionaries=("d1",),
        consistency=0.0, similarity=0.5, enhancement=0,
    )  # fmt: skip
    more = conditions(replace(PLAN, template=template), PLAN.everywhere(service), [0.0], []).request
    assert more == asked | {
        "number_language": "hi", "math_notation": True, "dictionary": ["d1"],
        "consistency": 0.0, "similarity": 0.5, "enhancement": 0,
    }  # fmt: skip


def run_attempt(
    script: Script,
    via: Via,
    folder: Path,
    timeout: float = 5.0,
    *,
    base_url: str | None = None,
    clock: Clock = time.perf_counter_ns,
) -> Attempt:
    blank = trial(arm=f"{via}/cold/c1", **BLANK)
    dialer = Dialer(timeout=timeout, clock=clock)
    with start_fault_server(folder, *script) as faulty:
        service = Service(base_url or faulty.base_url, Secret(KEY, "a test"))
        with open_transport(via, service, dialer) as transport:
            return attempt(blank, SpeechRequest("Hello.", "magnus"), transport, dialer.clock, 0)


@pytest.mark.parametrize("via", VIAS)
def test_successful_attempt(via: Via, tmp_path: Path) -> None:
    made = run_attempt((*PLAY, End()), via, tmp_path)
    assert made.trial.error is None, made.trial.message
    assert made.trial.frames == RATE // 10
    assert made.trial.onset == 0
    assert made.trial.request_id == "req_1"
    assert made.trial.completed_ns is not None
    assert len(made.pcm) == RATE // 5


@pytest.mark.parametrize("via", VIAS)
@pytest.mark.parametrize(("tick_ns", "late"), [(MS // 10, None), (2 * MS, 2 * MS)])
def test_write_that_took_long_is_marked(tick_ns: int, late: int | None, via: Via, tmp_path: Path) -> None:
    """The clock advances with each look at it, as if the thread were suspended between them."""
    made = run_attempt((*PLAY, End()), via, tmp_path, clock=partial(next, count(0, tick_ns)))
    assert made.trial.error is None
    assert made.trial.late_write_ns == late
    # From before the write to the read that brought the audio: two looks at the clock at least.
    assert made.trial.first_audio_ns >= (2 if late else 1) * tick_ns


FAILURES: list[tuple[str, Via, Script]] = [
    ("http_4xx", "sse", (Status(404),)),
    ("http_429", "http", (Status(429),)),
    ("http_5xx", "sse", (Status(503),)),
    ("ws_close", "ws", (Reply(), Tone(100), Close(1011))),
    ("app_error", "ws", (Reply(), Message({"status": "error", "message": "something broke"}))),
    ("timeout_first", "ws", (Reply(), Stall())),
    ("timeout_first", "sse", (Reply(), Stall())),
    ("timeout_first", "sse", (Stall(),)),
    ("timeout_first", "http", (Stall(),)),
    ("timeout_stall", "http", (*PLAY, Stall())),
    ("truncated", "sse", (*PLAY, Fin())),
    ("truncated", "http", (*PLAY, Fin())),
    ("truncated", "ws", (Reply(), Tone(100), Audio(1, short=1), End())),
    ("inaudible", "ws", (Reply(), Tone(100, peak=0), End())),
    ("empty", "sse", (Reply(), End())),
    ("protocol", "ws", (Reply(), steps.Text(b"{"))),
    ("protocol", "http", (Reply("chunked", wav=b"no RIFF"),)),
    ("reset", "ws", (Reply(), Fin())),
    ("reset", "sse", (Fin(),)),
]


FAILURE_IDS = [f"{name} {via} {type(script[0]).__name__}" for name, via, script in FAILURES]


@pytest.mark.parametrize(("name", "via", "script"), FAILURES, ids=FAILURE_IDS)
def test_failure_is_classified(name: str, via: Via, script: Script, tmp_path: Path) -> None:
    made = run_attempt(script, via, tmp_path, timeout=0.2 if Stall() in script else 5.0)
    assert made.trial.error == name, made.trial.message
    assert made.trial.message
    assert made.trial.sent_ns is not None
    assert KEY not in repr(made.trial)


@pytest.mark.parametrize(
    ("name", "base_url"),
    [
        ("dns", "https://no.such.host.invalid"),
        ("connect", "http://127.0.0.1:9"),
        ("refused", "http://192.0.2.1:9"),
    ],
)
def test_connect_failure_is_classified(name: str, base_url: str, tmp_path: Path) -> None:
    assert run_attempt(PLAY, "ws", tmp_path, base_url=base_url).trial.error == name


def test_failed_handshake_is_classified_as_tls(tmp_path: Path) -> None:
    with start_offline() as offline:
        base_url = offline.base_url.replace("http:", "https:")
        assert run_attempt(PLAY, "sse", tmp_path, base_url=base_url).trial.error == "tls"


def test_silent_server_is_classified_as_timeout_connect(tmp_path: Path) -> None:
    with start_fault_server(tmp_path, *PLAY) as faulty:
        base_url = faulty.base_url.replace("http:", "https:")
        made = run_attempt(PLAY, "sse", tmp_path, base_url=base_url, timeout=0.5)
    assert (made.trial.error, made.trial.sent_ns) == ("timeout_connect", None)


def test_upgrade_without_answer_is_classified_as_timeout_connect(tmp_path: Path) -> None:
    made = run_attempt((Stall(),), "ws", tmp_path, timeout=0.2)
    assert (made.trial.error, made.trial.sent_ns) == ("timeout_connect", None)


def test_every_error_class_is_tested() -> None:
    others = {"dns", "connect", "refused", "tls", "timeout_connect", "overlong"}
    assert {name for name, _, _ in FAILURES} | others == set(ERROR_CLASSES)


def run_plan(plan: Plan, service: Service, progress: Progress) -> bool:
    services = plan.everywhere(service)
    return run_workers(plan, services, Dialer(timeout=5), lambda _: None, lambda _: None, progress, Probe())


def test_workers_run_every_trial_and_keep_warm_connections() -> None:
    plan = replace(PLAN, arms=make_arms(VIAS, CONNS, [3]), count=4)
    progress = Progress(plan.trials)
    with start_offline(concurrency=3) as offline:
        assert run_plan(plan, Service(offline.base_url, Secret(OFFLINE_KEY, "a test")), progress)
    measured = [each for each in progress.trials if each.phase == "measure"]
    assert {each.error for each in measured} == {None}
    assert Counter(each.arm for each in measured) == {arm.id: 4 for arm in plan.arms}
    assert all(each.reused is ("/warm/" in each.arm) for each in measured)
    assert sorted(each.index for each in measured) == list(range(24))
    assert sum(each.phase == "warmup" for each in progress.trials) == 12
    assert progress.in_flight == 0


@pytest.mark.parametrize("seed", range(4))
def test_refusal_after_a_success_at_another_concurrency_discards_nothing(seed: int) -> None:
    """Credit runs out; the levels of a sweep differ in nothing that could be at fault."""
    plan = replace(PLAN, arms=make_arms(["http"], ["cold"], [1, 2]), count=6, seed=seed)
    progress, good = Progress(plan.trials), (HEAD, Tone(100), End())
    with fault_server(*[good] * 5, (Status(402),)) as faulty:
        assert run_plan(plan, Service(faulty.base_url, Secret(KEY, "a test")), progress)
    assert sum(each.error is None for each in progress.trials) == 5
    assert len([each for each in progress.trials if each.phase == "measure"]) == 12


def test_max_chars_ends_a_timed_run() -> None:
    plan = replace(PLAN, arms=ARMS[:1], count=None, seconds=30.0, warmups=1, max_chars=100)
    progress = Progress(None)
    with start_offline() as offline:
        run_plan(plan, Service(offline.base_url, Secret(OFFLINE_KEY, "a test")), progress)
    assert 60 < sum(each.characters for each in progress.trials) <= 100
    assert progress.cut_short == "--max-chars"


def test_max_chars_limits_warm_ups() -> None:
    plan = replace(PLAN, arms=WS_AT_3, max_chars=12)
    progress = Progress(plan.trials)
    with start_offline(concurrency=3) as offline:
        assert not run_plan(plan, Service(offline.base_url, Secret(OFFLINE_KEY, "a test")), progress)
    assert sum(each.characters for each in progress.trials) == 10


def test_jobs_due_after_the_end_are_not_started() -> None:
    plan = replace(
        PLAN, arms=make_arms(VIAS, CONNS, rate=0.4e-6), count=None, seconds=3e6, arrival="constant"
    )
    source = JobQueue(plan, CharacterBudget(0))
    assert [job and job.index for job in (source.next(), source.next(), source.next())] == [0, None, None]
    assert source.cut_short is None
    source = JobQueue(plan, CharacterBudget(0), until=running_s() + 2e6)
    assert source.next() is None
    assert source.cut_short == "--max-time"


def test_fatal_error_is_raised_from_the_first_warm_up() -> None:
    plan = replace(PLAN, template=SpeechRequest("", "no-such-voice"))
    progress = Progress(plan.trials)
    with start_offline() as offline, pytest.raises(RequestError):
        run_plan(plan, Service(offline.base_url, Secret(OFFLINE_KEY, "a test")), progress)
    assert len(progress.trials) == 1


def test_fatal_error_without_warm_up_is_raised_from_the_first_trial() -> None:
    plan = replace(PLAN, template=SpeechRequest("", "no-such-voice"), warmups=0)
    progress = Progress(plan.trials)
    with start_offline() as offline, pytest.raises(RequestError):
        run_plan(plan, Service(offline.base_url, Secret(OFFLINE_KEY, "a test")), progress)
    assert len(progress.trials) == 1


def test_concurrency_limit_is_counted_as_http_429() -> None:
    plan = replace(PLAN, arms=WS_AT_3, count=12, warmups=0)
    progress = Progress(plan.trials)
    with start_offline(concurrency=1, first_byte_ms=20) as offline:
        run_plan(plan, Service(offline.base_url, Secret(OFFLINE_KEY, "a test")), progress)
    assert progress.errors["http_429"] > 0
    assert set(progress.errors) == {"http_429"}


def test_gc_is_paused_while_measuring() -> None:
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_measurement_error_comes_from_server_timestamps() -> None:
    plan = replace(PLAN, arms=ARMS, count=2)
    progress = Progress(plan.trials)
    with start_offline(first_byte_ms=10) as offline:
        run_plan(plan, Service(offline.base_url, Secret(OFFLINE_KEY, "a test")), progress)
        measured = [each for each in progress.trials if each.phase == "measure"]
        floor = measurement_error(measured, progress.origin_ns, offline.log_path)
    assert floor is not None
    assert 6 <= floor.n <= 12  # the server logs a little later
    assert floor.p50 > 0


def test_half_written_line_of_the_log_is_ignored(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    entry = {"request_id": "r0", "received_ns": 0, "first_audio_ns": 1}
    log.write_text(json.dumps(entry) + '\n{"request_id": "r')
    floor = measurement_error([trial(0)], 0, log)
    assert floor is not None
    assert floor.n == 1


def test_calibration_uses_the_concurrency_of_the_plan() -> None:
    floor, reasons, doubts = calibrate(PLAN, 2, Dialer(timeout=5))
    assert (reasons, doubts) == ((), ())
    assert floor is not None
    assert 50 <= floor.n <= 60


def test_calibration_ends_with_the_time_of_the_run() -> None:
    self_test = calibrate(PLAN, 2, Dialer(timeout=5, max_time=-1.0))
    assert (self_test.floor, self_test.doubts) == (None, ())
    assert self_test.reasons == ("--max-time cut the self-test short",)


def test_failed_warm_ups_make_the_run_suspect() -> None:
    calm, good = Probe([MS // 10] * 100), [trial(n) for n in range(10)]
    warm = [trial(-1, phase="warmup", error=error) for error in (None, "reset", "timeout_connect")]
    found = evaluate(calm, SelfTest(LATE), [*warm, *good])
    assert (found.verdict, found.reasons) == (
        "suspect",
        ["2 of 3 warm-ups failed: warm trials may be cold"],
    )
    assert evaluate(calm, SelfTest(LATE), [*warm[:1], *good]).verdict == "ok"
    assert evaluate(calm, SelfTest(LATE), [*warm[1:], *good]).verdict == "suspect"


def test_failed_calibration_makes_the_run_suspect() -> None:
    self_test = calibrate(replace(PLAN, arms=ARMS[:1]), 1, Dialer(timeout=1e-6))
    assert (self_test.floor, self_test.reasons) == (None, ())
    assert self_test.doubts[0].startswith("not calibrated: every trial on the offline server failed (")
    assert evaluate(Probe([MS // 10] * 100), self_test, [trial()]).verdict == "suspect"


LATE = Delays(0.1, 0.2, 0.3, 100)


@pytest.mark.parametrize(
    ("lag", "floor", "verdict"),
    [
        ([MS // 10] * 100, LATE, "ok"),
        ([MS // 10] * 100, None, "ok"),
        ([MS // 10] * 98 + [4 * MS] * 2, LATE, "suspect"),
        ([MS // 10] * 98 + [40 * MS] * 2, LATE, "invalid"),
        ([4 * MS] * 100, LATE, "invalid"),
        ([MS // 10] * 100, Delays(0.1, 4.0, 4.0, 100), "suspect"),
        ([MS // 10] * 100, Delays(4.0, 5.0, 5.0, 100), "invalid"),
    ],
)
def test_verdict_follows_delays(lag: list[int], floor: Delays | None, verdict: str) -> None:
    found = evaluate(Probe(lag), SelfTest(floor), [trial(n) for n in range(10)])
    assert found.verdict == verdict
    assert bool(found.reasons) is (verdict != "ok")


def test_tolerance_grows_with_the_measured_time() -> None:
    slow = [trial(n, 1000) for n in range(10)]
    assert evaluate(Probe([MS] * 98 + [8 * MS] * 2), SelfTest(LATE), slow).verdict == "ok"


def test_delay_at_timestamps_counts_even_if_rare() -> None:
    calm = Delays(0.1, 0.2, 1.0, 9000)
    for late, verdict in ((Delays(0.1, 5.0, 5.0, 9), "suspect"), (Delays(5.0, 9.0, 9.0, 9), "invalid")):
        assert evaluate_delays(calm, 0.0, SelfTest(None), 100.0).verdict == "ok"
        assert evaluate_delays(calm, 0.0, SelfTest(None), 100.0, stamped=late).verdict == verdict


def test_delay_at_a_moment_is_that_of_the_next_wake_up() -> None:
    probe = Probe([1, 9, 2, 3], woken_ns=[10, 20, 30, 40])
    assert [probe.delay_at(at) for at in (5, 15, 20, 25, 35, 50)] == [1, 9, 9, 2, 3, None]
    probe.discard(25)
    assert (probe.woken_ns, probe.late_ns) == ([30, 40], [2, 3])
    assert Probe().delay_at(5) is None


def test_open_loop_that_falls_behind_is_suspect() -> None:
    prompt = [trial(n, scheduled_ns=n * 1000 * MS - MS) for n in range(40)]
    assert evaluate(Probe([MS // 10] * 100), SelfTest(LATE), prompt).verdict == "ok"
    behind = [trial(n, scheduled_ns=n * 250 * MS) for n in range(1, 41)]
    found = evaluate(Probe([MS // 10] * 100), SelfTest(LATE), behind)
    assert found.verdict == "suspect"
    assert found.begun_late_ms.max == 30_000
    assert found.reasons == [
        "rate not reached: 40 of 40 trials began more than 3.0 ms late (max 30000 ms); "
        "1.0/s began, 4.0/s were due"
    ]


def test_suspended_machine_makes_the_run_invalid() -> None:
    assert evaluate(Probe([MS // 10] * 9, drift_s=60.0), SelfTest(LATE), [trial()]).verdict == "invalid"


def test_probe_records_delays() -> None:
    probe, rounds = Probe(), 0
    with probing(probe):
        while len(probe.late_ns) < 3:
            rounds += 1
    assert in_ms(probe.late_ns)
    assert all(late > 0 for late in probe.late_ns)
