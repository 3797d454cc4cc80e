"""Effect of timeouts and of truncated or failed trials on the figures of a run."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from msgspec.json import Decoder

from smallest_cli.bench.distribution import describe
from smallest_cli.bench.report.export import to_csv, to_markdown
from smallest_cli.bench.report.format import threshold_text
from smallest_cli.bench.report.html import to_html
from smallest_cli.bench.report.terminal import render
from smallest_cli.bench.results import summarise
from smallest_cli.bench.schema import ArmResult, Cancellation, Result, as_json
from smallest_cli.bench.storage import as_text, check_result
from smallest_cli.bench.tally import Tally
from smallest_cli.bench.thresholds import evaluate
from smallest_cli.bench.trial import Attempt, Trial
from tests.support.trials import MS, RATE, run, trial
from tests.support.trials import arm as arm_named


def timed_out(index: int, waited_ms: int, **fields: Any) -> Trial:
    sent_ns = index * 1000 * MS + 11 * MS
    blank = {"chunks": (), "onset": None, "completed_ns": None, "error": "timeout_first"}
    return trial(index, ended_ns=sent_ns + waited_ms * MS, **blank | fields)


def arm_of(trials: list[Trial], **fields: Any) -> ArmResult:
    found = summarise(run(**fields), trials)
    check_result(found)
    assert Decoder(Result).decode(as_text(found)) == found
    return found.arms[0]


NINETEEN = [trial(n, 50 + n) for n in range(19)]
STALLED = timed_out(20, 900, chunks=((40 * MS, 10),), error="timeout_stall")


def test_no_censored_metrics_without_timeouts() -> None:
    assert not [name for name in arm_of(NINETEEN).metrics if name.endswith("_censored")]


def test_timeout_counts_with_its_wait() -> None:
    metrics = arm_of([*NINETEEN, timed_out(19, 2000)]).metrics
    assert metrics["ttfb"].n == 19
    assert metrics["ttfb"].max == 68
    censored = metrics["ttfb_censored"]
    assert censored.n == 20
    assert as_json(censored.p50) == {"v": 59.0, "lo": 55.0, "hi": 64.0}
    assert as_json(censored.p99) == {"v": 2000.0, "lo": 68.0, "hi": None, "why": "n<368"}
    assert censored.at_least == ["mean", "max", "p99", "p99.9"]
    assert metrics["complete_censored"].max == 2000


def test_interval_does_not_end_at_a_timeout() -> None:
    found = describe("ttfb_censored", [1 * MS] * 50 + [9 * MS] * 50, bounded_from=9 * MS)
    assert found is not None
    assert as_json(found.p50) == {"v": 1.0, "lo": 1.0, "hi": None, "why": "trials were given up before"}
    assert as_json(found.p90) == {"v": 9.0, "lo": 9.0, "hi": None, "why": "trials were given up before"}
    assert found.at_least == ["mean", "max", "p90", "p95", "p99", "p99.9"]


def test_first_byte_of_a_stalled_trial_counts_exactly() -> None:
    metrics = arm_of([*NINETEEN, STALLED]).metrics
    assert (metrics["ttfb"].n, metrics["ttfb_censored"].n) == (19, 20)
    assert metrics["ttfb_censored"].min == 40
    assert not metrics["ttfb_censored"].at_least
    assert metrics["complete_censored"].p99.v == 900


def test_other_failures_are_not_censored() -> None:
    assert "ttfb_censored" not in arm_of([*NINETEEN, timed_out(19, 2000, error="http_429")]).metrics


def test_open_loop_counts_queueing() -> None:
    late = timed_out(19, 2000, arm="ws/warm/r2", scheduled_ns=18_000 * MS)
    good = [trial(n, arm="ws/warm/r2", scheduled_ns=n * 1000 * MS) for n in range(19)]
    metrics = arm_of([*good, late], arms=["ws/warm/r2"]).metrics
    assert metrics["ttfb_e2e_censored"].max == 1011 + 2000


def unconnected(index: int, waited_ms: int, **fields: Any) -> Trial:
    """A trial that was given up while connecting."""
    blank: dict[str, Any] = dict.fromkeys(
        ("opened_ns", "phases", "reused", "sent_ns", "onset", "completed_ns")
    )
    ended = index * 1000 * MS + waited_ms * MS
    return trial(index, **blank | {"chunks": (), "error": "timeout_connect", "ended_ns": ended} | fields)


COLD = [trial(n, 50 + n, arm="ws/cold/c1") for n in range(19)]


def test_timeout_while_connecting_counts_from_the_dns_query() -> None:
    metrics = arm_of([*COLD, unconnected(19, 3000, arm="ws/cold/c1")], arms=["ws/cold/c1"]).metrics
    assert (metrics["ttfb_cold"].n, metrics["ttfb_cold_censored"].n) == (19, 20)
    assert metrics["ttfb_cold_censored"].max == 3000
    assert metrics["ttfb_cold_censored"].at_least == ["mean", "max", "p99", "p99.9"]
    assert metrics["ttfb_cold_censored"].p50.v == metrics["ttfb_cold"].p50.v
    assert "ttfb_censored" not in metrics
    assert "complete_censored" not in metrics


def test_timeout_after_connecting_counts_in_ttfb_cold_too() -> None:
    late = timed_out(19, 2000, arm="ws/cold/c1")
    stalled = timed_out(20, 2000, arm="ws/cold/c1", chunks=((40 * MS, 10),), error="timeout_stall")
    metrics = arm_of([*COLD, late, stalled], arms=["ws/cold/c1"]).metrics
    assert metrics["ttfb_cold_censored"].n == 21
    assert metrics["ttfb_cold_censored"].max == 11 + 2000
    assert metrics["ttfb_cold_censored"].min == 11 + 40


def test_timeout_while_connecting_counts_from_the_scheduled_time() -> None:
    good = [trial(n, arm="sse/cold/r2", scheduled_ns=n * 1000 * MS) for n in range(19)]
    late = unconnected(19, 3000, arm="sse/cold/r2", scheduled_ns=18_000 * MS)
    metrics = arm_of([*good, late], arms=["sse/cold/r2"]).metrics
    assert metrics["ttfb_e2e_censored"].max == 1000 + 3000
    assert metrics["ttfb_cold_censored"].max == 3000
    (missed,) = evaluate("ttfb_e2e_censored.max<3s", [arm_of([*good, late], arms=["sse/cold/r2"])])
    assert (missed.passed, missed.at_least) == (False, True)


def test_reconnecting_a_warm_connection_in_vain_counts() -> None:
    metrics = arm_of([*NINETEEN, unconnected(19, 3000)]).metrics
    assert metrics["ttfb_cold_censored"].max == 3000
    assert metrics["ttfb"].n == 19


@pytest.mark.parametrize("error", ["connect", "dns", "tls", "refused", "reset"])
def test_failure_to_connect_without_a_timeout_is_not_censored(error: str) -> None:
    metrics = arm_of(
        [*COLD, unconnected(19, 3000, arm="ws/cold/c1", error=error)], arms=["ws/cold/c1"]
    ).metrics
    assert not [name for name in metrics if name.endswith("_censored")]


def test_failed_warm_ups_of_a_load_worker_make_the_run_suspect() -> None:
    from smallest_cli.bench.locust.aggregate import Aggregator
    from smallest_cli.bench.locust.messages import Message
    from smallest_cli.bench.locust.worker_stats import WorkerStats

    stats, aggregator = WorkerStats(run()), Aggregator("a test")
    for each in (trial(-1, phase="warmup", error="reset"), trial(-1, phase="warmup"), trial()):
        stats.add(Attempt(each, b"", None))
    aggregator.users = 3
    aggregator.add("worker", Message.decode(stats.message(last=True).encode()))
    found = aggregator.result()
    assert found is not None
    assert [arm.id for arm in found.arms] == [arm.id for arm in found.run.arms] == ["ws/warm/c3"]
    assert found.run.calibration.verdict == "suspect"
    assert "1 of 2 warm-ups failed: warm trials may be cold" in found.run.calibration.reasons


def test_slow_writes_are_noted_in_every_report() -> None:
    found = summarise(run(), [trial(n, late_write_ns=2 * MS if n < 3 else None) for n in range(9)])
    note = "3 trials: sending took more than 1 ms, times count from its start"
    assert found.arms[0].slow_sends == 3
    assert note in " ".join(line.strip() for _, line in render(found, 80))
    assert note in to_markdown(found)
    assert note in to_html(found)
    assert "sending took" not in to_markdown(summarise(run(), NINETEEN))


@pytest.mark.parametrize(
    ("threshold", "passes"),
    [
        ("ttfb.p90<100ms", True),
        ("ttfb_censored.p99<100ms", False),
        ("ttfb_censored.p99<3s", False),
        ("ttfb_censored.max<3s", False),
        ("ttfb_censored.mean<3s", False),
        ("ttfb_censored.min<51ms", True),
        ("ttfb_censored.p50<60ms", True),
        ("ttfb_censored.max>1s", True),
    ],
)
def test_lower_bound_cannot_pass_an_upper_limit(threshold: str, passes: bool) -> None:
    (result,) = evaluate(threshold, [arm_of([*NINETEEN, timed_out(19, 2000)])])
    assert result.passed is passes


def test_min_of_only_timeouts_is_a_lower_bound() -> None:
    (result,) = evaluate("ttfb_censored.min<3s", [arm_of([timed_out(n, 2000) for n in range(3)])])
    assert (result.passed, result.at_least) == (False, True)


def test_threshold_says_why_its_interval_is_open() -> None:
    found = arm_of([*(trial(n, 50) for n in range(60)), *(timed_out(n, 2000) for n in range(60, 110))])
    (result,) = evaluate("ttfb_censored.p50<100ms", [found])
    assert threshold_text(result).endswith("[50.0, ?]: INCONCLUSIVE (open CI: trials timed out)")


def test_csv_marks_lower_bounds() -> None:
    head, *rows = csv.reader(to_csv(summarise(run(), [*NINETEEN, timed_out(19, 2000)])).splitlines())
    marked = {row[1]: row[head.index("at_least")] for row in rows}
    assert marked["ttfb_censored"] == "mean max p99 p99.9"
    assert marked["ttfb"] == ""


def test_threshold_reports_a_lower_bound() -> None:
    (result,) = evaluate("ttfb_censored.p99<3s", [arm_of([*NINETEEN, timed_out(19, 2000)])])
    assert "  at least 2000 ms [68.0, ?]: FAIL" in threshold_text(result)


def test_censored_threshold_without_timeouts_is_the_plain_one() -> None:
    (result,) = evaluate("ttfb_censored.p90<100ms", [arm_of(NINETEEN)])
    assert (result.passed, result.value) == (True, 67)


def test_every_report_marks_lower_bounds() -> None:
    found = summarise(run(), [*NINETEEN, timed_out(19, 2000)])
    screen = "\n".join(line for _, line in render(found, 80, verbose=True))
    assert ">=2000" in screen
    assert ">=2000" in to_markdown(found)
    assert "&gt;=2000" in to_html(found)
    assert all(len(line) <= 80 for _, line in render(found, 80, verbose=True))


def test_run_of_timeouts_only_can_be_rendered() -> None:
    found = summarise(run(), [timed_out(n, 2000) for n in range(3)])
    assert found.exit == 22
    assert found.arms[0].metrics["ttfb_censored"].p50.v == 2000
    assert "No trial succeeded" in to_markdown(found)
    assert "No trial succeeded" in to_html(found)
    assert list(render(found, 80))


def test_merged_tallies_count_timeouts() -> None:
    here, there, merged = Tally([0]), Tally([0]), Tally([0])
    for each in NINETEEN:
        here.add(each)
    there.add(timed_out(19, 2000))
    there.add(STALLED)
    merged.merge(here)
    merged.merge(there)
    exact, tallied = (
        arm_of([*NINETEEN, timed_out(19, 2000), STALLED]),
        merged.as_result(arm_named("ws/warm/c1")),
    )
    for name in ("ttfb_censored", "complete_censored"):
        raw, counted = exact.metrics[name], tallied.metrics[name]
        assert counted.n == raw.n == 21
        assert counted.mean == pytest.approx(raw.mean)
        assert counted.at_least == raw.at_least
        for quantile in ("p50", "p99"):
            assert counted.quantile(quantile).v == pytest.approx(raw.quantile(quantile).v, rel=0.0005)


def test_too_little_audio_is_truncated_in_any_arm() -> None:
    complete = [trial(n, arm=arm) for n in range(6) for arm in ("ws/warm/c1", "sse/warm/c1")]
    short = trial(6, 1, arm="sse/warm/c1", text="t0", chunks=((1 * MS, RATE // 10),))
    _, arm = summarise(run(arms=["ws/warm/c1", "sse/warm/c1"]), [*complete, short]).arms
    assert (arm.n, arm.ok, arm.errors) == (7, 6, {"truncated": 1})
    assert arm.messages["truncated"] == "0.10 s of audio; the median for this text is 0.50 s"
    assert arm.metrics["ttfb"].min == 50


def test_short_text_is_not_truncated() -> None:
    brief = [trial(n, text="brief", chunks=((50 * MS, RATE // 10),), waveform=None) for n in range(3)]
    assert arm_of([*(trial(n) for n in range(9)), *brief]).errors == {}


@pytest.mark.parametrize(
    ("share", "errors"), [(0.49, {"truncated": 1}), (0.5, {}), (2.0, {}), (2.01, {"overlong": 1})]
)
def test_half_and_twice_the_usual_audio_are_the_limits(share: float, errors: dict[str, int]) -> None:
    other = trial(6, text="t0", chunks=((50 * MS, round(share * RATE / 2)),), waveform=None)
    assert arm_of([*(trial(n) for n in range(6)), other]).errors == errors


def test_slow_voice_is_compared_with_itself() -> None:
    arms = ["ws/warm/c1/fast", "ws/warm/c1/slow", "sse/warm/c1/slow"]
    long = ((50 * MS, round(2.5 * RATE / 2)),)
    slow = [trial(n, text="t0", arm=arms[1 + n % 2], chunks=long, waveform=None) for n in range(4)]
    fast = [trial(n, text="t0", arm=arms[0]) for n in range(5)]
    assert [arm.errors for arm in summarise(run(arms=arms), [*fast, *slow]).arms] == [{}, {}, {}]
    short = trial(9, text="t0", arm=arms[2])
    assert summarise(run(arms=arms), [*fast, *slow, short]).arms[2].errors == {"truncated": 1}


def of_length(index: int, characters: int, seconds: float, text: str = "") -> Trial:
    chunks = ((50 * MS, round(seconds * RATE)),)
    text = text or f"t{index}"
    return trial(index, text=text, characters=characters, chunks=chunks, waveform=None)


def test_single_trial_of_a_text_is_compared_with_texts_of_similar_length() -> None:
    usual = [of_length(n, 100 + 5 * n, 0.06 * (100 + 5 * n)) for n in range(5)]
    assert arm_of([*usual, of_length(5, 110, 2.0), of_length(6, 110, 12.0)]).errors == {}
    found = arm_of([*usual, of_length(5, 110, 1.5), of_length(6, 110, 27.0)])
    assert found.errors == {"overlong": 1, "truncated": 1}
    assert found.messages["truncated"] == (
        "1.50 s of audio; the median for texts of similar length is 6.60 s"
    )


def test_single_trial_of_a_text_unlike_the_others_is_not_judged() -> None:
    usual = [of_length(n, 100, 6.0) for n in range(5)]
    assert arm_of([*usual, of_length(5, 10, 4.0, "digits"), of_length(6, 400, 2.0)]).errors == {}


def test_cancelled_trials_are_neither_truncated_nor_usual() -> None:
    stopped = Cancellation(100 * MS, 101 * MS, 0)
    cut = [trial(n, text="t0", chunks=((50 * MS, 2400),), cancellation=stopped) for n in range(9)]
    short = trial(12, text="t0", chunks=((50 * MS, 2400),), waveform=None)
    complete = [trial(n, text="t0") for n in range(9, 12)]
    assert arm_of([*cut, *complete, short]).errors == {"truncated": 1}


def test_slow_first_trial_is_reported() -> None:
    slow = [trial(0, 900), *(trial(n, 50 + n % 5) for n in range(1, 30))]
    late = [*(trial(n, 50 + n % 5) for n in range(29)), trial(29, 900)]
    hint = "the first measured trial is an outlier: use a longer --warmup"
    for found in (summarise(run(), slow), summarise(run(), [*slow[1:], slow[0]])):
        screen = " ".join(line.strip() for _, line in render(found, 80))
        assert hint in screen
        assert hint in to_markdown(found).replace("\\", "")
        assert hint in to_html(found)
    assert hint not in to_html(summarise(run(), late))
