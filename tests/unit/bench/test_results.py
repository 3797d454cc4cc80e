"""Metrics, results, thresholds, merging, recomputing and comparing of trials, without network."""

from __future__ import annotations

import copy
import json
import os
import random
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert
from msgspec.structs import replace

from smallest_cli.bench.compare import compare_runs
from smallest_cli.bench.distribution import MAX_VALUES
from smallest_cli.bench.merge import merge_runs
from smallest_cli.bench.metrics import METRICS, STREAMING, derive, has_metric
from smallest_cli.bench.report.export import to_csv, to_markdown
from smallest_cli.bench.report.format import threshold_text
from smallest_cli.bench.report.html import to_html
from smallest_cli.bench.report.terminal import render, render_comparison
from smallest_cli.bench.results import summarise
from smallest_cli.bench.schema import SAMPLED, Cancellation, Result, as_json
from smallest_cli.bench.storage import as_text, raw_lines, read_raw, read_result, write_text
from smallest_cli.bench.tally import Tally
from smallest_cli.bench.thresholds import check_thresholds, evaluate, parse_threshold
from smallest_cli.bench.trial import Trial
from smallest_cli.errors import UsageError
from tests.support.command import smallest
from tests.support.trials import CALIBRATION, LOAD, MS, RATE, REQUEST, TARGET, run, trial
from tests.support.trials import arm as arm_named


def test_metrics_of_a_warm_trial() -> None:
    found = {name: value / MS for name, value in derive(trial()).items()}
    assert found["ttfb"] == 50
    assert found["ttfa"] == 60
    assert found["lead_silence"] == 10
    assert found["min_safe_buffer"] == 0
    assert found["gap_max"] == 50
    assert found["last_audio"] == 250
    assert found["complete"] == 350
    assert found["tail_wait"] == 100
    assert found["audio"] == 500
    assert not {"dns", "tcp", "tls", "upgrade", "ttfb_cold", "ttfb_e2e", "sched_delay"} & set(found)
    ratios = derive(trial())
    assert ratios["rtf"] == 0.5
    assert ratios["rtfx"] == 2.0
    assert ratios["rtf_stream"] == 0.5


def test_cold_trial_reports_connection_phases_separately() -> None:
    found = {name: value / MS for name, value in derive(trial(arm="ws/cold/c1")).items()}
    assert [found[name] for name in ("dns", "tcp", "tls", "upgrade")] == [1, 2, 3, 4]
    assert found["ttfb"] == 50
    assert found["ttfb_cold"] == 10 + 1 + 50


def test_open_loop_counts_from_the_scheduled_time() -> None:
    found = derive(trial(1, scheduled_ns=500 * MS, arm="ws/warm/r2"))
    assert found["sched_delay"] == (1011 - 500) * MS
    assert found["ttfb_e2e"] == (1011 - 500 + 50) * MS
    assert found["ttfb"] == 50 * MS


def test_reply_in_one_burst_has_no_gaps() -> None:
    burst = trial(arm="http/warm/c1", chunks=((50 * MS, RATE // 2), (51 * MS, 10)))
    assert not {"gap_max", "jitter", "min_safe_buffer", "rtf_stream"} & set(derive(burst))
    assert derive(burst)["ttfb"] == 50 * MS


def test_failed_trial_is_counted_without_latency() -> None:
    trials = [trial(n) for n in range(3)] + [trial(3, 5, error="http_429", message="too many")]
    arm = summarise(run(), trials).arms[0]
    assert (arm.n, arm.ok, arm.errors, arm.error_rate) == (4, 3, {"http_429": 1}, 0.25)
    assert arm.metrics["ttfb"].n == 3
    assert arm.metrics["ttfb"].min == 50
    assert arm.messages == {"http_429": "too many"}


def test_intervals_of_few_trials_are_open_with_a_reason() -> None:
    ttfb = summarise(run(), [trial(n, 50 + n) for n in range(10)]).arms[0].metrics["ttfb"]
    assert as_json(ttfb.p50) == {"v": 54.0, "lo": 51.0, "hi": 58.0}
    assert ttfb.p99.hi is None
    assert ttfb.p99.why == "n<368"


def test_gaps_of_one_trial_depend_on_each_other_and_have_no_interval() -> None:
    gap = summarise(run(), [trial(n) for n in range(10)]).arms[0].metrics["gap"]
    assert gap.n == 40
    assert gap.p50.lo is None
    assert "depend" in gap.p50.why


def test_player_and_metric_agree_on_ttfa() -> None:
    (arm,) = summarise(run(), [trial(0, 200), trial(1, 300)]).arms
    assert arm.player[0].ttfa_p50 == arm.metrics["ttfa"].p50.v == 210.0


def test_outliers_are_reported_and_not_dropped() -> None:
    ttfb = (
        summarise(run(), [trial(n, 50 + n % 5) for n in range(30)] + [trial(30, 900)]).arms[0].metrics["ttfb"]
    )
    assert (ttfb.n, ttfb.outliers, ttfb.max) == (31, 1, 900.0)
    assert ttfb.mean_without_outliers == 52.0
    assert ttfb.mean > 75


def test_warm_ups_are_recorded_but_not_counted() -> None:
    found = summarise(run(), [trial(-1, 900, phase="warmup"), trial(0)])
    assert as_json(found.warmups) == {"n": 1, "errors": {}}
    assert found.arms[0].metrics["ttfb"].n == 1


def test_run_without_trials_has_a_result() -> None:
    found = summarise(run(slo=["ttfb.p95<1s"]), [])
    assert found.exit == 22
    assert found.slo[0].passed is False


@pytest.mark.parametrize(
    ("threshold", "passes"),
    [
        ("ttfb.p95<300ms", True), ("ttfb.p50<=50ms", True), ("ttfb.p50<50ms", False), ("ttfb.p95<0.3s", True),
        ("ttfb.max<60", True), ("error_rate<1%", True), ("error_rate<=0", True), ("smooth@100>=0.99", True),
        ("smooth@100>=99%", True), ("audio.p50>=0.4s", True), ("audio.p50>=600ms", False),
        ("rtf.p50<1", True), ("smooth@7>=0.5", False), ("dns.p50<1s", False),
        ("ws/warm:ttfb.p50<60ms", True), ("sse:ttfb.p50<60ms", False), ("warm:ttfb.p50<.06s", True),
        ("cold:ttfb.p50<1s", False), ("w:ttfb.p50<1s", False),
    ],
)  # fmt: skip
def test_threshold_passes_or_fails(threshold: str, passes: bool) -> None:
    found = summarise(run(slo=[threshold]), [trial(n) for n in range(20)])
    assert [each.passed for each in found.slo] == [passes]
    assert found.exit == (0 if passes else 20)


def test_threshold_is_confident_if_the_interval_clears_the_limit() -> None:
    arms = summarise(run(), [trial(n, 50 + n) for n in range(10)]).arms
    assert evaluate("ttfb.p50<100ms", arms)[0].confident is True
    assert evaluate("ttfb.p50<55ms", arms)[0].confident is False
    assert evaluate("ttfb.p99<100ms", arms)[0].confident is False


def test_threshold_without_interval_is_not_confident() -> None:
    arms = summarise(run(), [trial(n, 50 + 100 * n) for n in range(30)]).arms
    high = evaluate("ttfb.p95<100ms", arms)[0]
    assert high.ci[1] is None
    assert (high.passed, high.confident) == (False, True)  # any value above it fails, too
    low = evaluate("ttfb.p95>100ms", arms)[0]
    assert (low.passed, low.inconclusive, low.confident) == (True, False, True)
    assert threshold_text(evaluate("ttfb.p95<9s", arms)[0]).endswith(
        "[2550, ?]: pass (open CI: needs 72 trials)"
    )
    for threshold in ("error_rate<1%", "smooth@0>=1", "ttfb.mean<1s", "gap.p50<1s", "ttfb.max<1s"):
        (found,) = evaluate(threshold, arms)
        assert (found.ci, found.confident) == (None, False)
        assert "CI" not in threshold_text(found)


def test_threshold_text_shows_the_unit() -> None:
    trials = [trial(0, 480.9), *(trial(n, error="dns") for n in (1, 2))]
    arms = summarise(run(), trials).arms
    assert "  480.9 ms: FAIL" in threshold_text(evaluate("ttfb.p50<300ms", arms)[0])
    assert "  66.67 %: FAIL" in threshold_text(evaluate("error_rate<1%", arms)[0])
    assert "  0.500 s: pass" in threshold_text(evaluate("audio.p50>0.1s", arms)[0])
    assert "  1.362: FAIL" in threshold_text(evaluate("rtf.p50<1", arms)[0])
    assert "ws/warm/c1  no such figure: FAIL" in threshold_text(evaluate("smooth@7>=0.9", arms)[0])


ALL_ARMS = [f"{via}/{conn}/c1" for via in ("ws", "sse", "http") for conn in ("warm", "cold")]


def test_threshold_applies_to_arms_that_can_have_the_figure() -> None:
    def evaluated_arms(threshold: str) -> list[str]:
        arms = summarise(run(arms=ALL_ARMS), [trial(n, arm=each) for n, each in enumerate(ALL_ARMS)]).arms
        return [each.arm for each in evaluate(threshold, arms)]

    assert evaluated_arms("ttfb_cold.p50<9s") == ["ws/cold/c1", "sse/cold/c1", "http/cold/c1"]
    assert evaluated_arms("upgrade.p50<9s") == ["ws/cold/c1"]
    assert evaluated_arms("smooth@100>=0.9") == ALL_ARMS[:4]
    assert evaluated_arms("ws:gap.p50<9s") == ALL_ARMS[:2]
    assert evaluated_arms("error_rate<1%") == ALL_ARMS


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        ("smooth@75>=0.9", "75 is not among the prebuffers 0,100"),
        ("nosuch:ttfb.p50<9s", "no arm"),
        ("ws/warm:ttfb_cold.p50<9s", "no arm"),
        ("http:smooth@100>=0.9", "no arm"),
        ("ttfb_e2e.p50<9s", "no arm"),
    ],
)
def test_inapplicable_threshold_is_refused_before_the_run(threshold: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_thresholds([threshold], [*map(arm_named, ALL_ARMS)], [0.0, 100.0])


def test_applicable_thresholds_are_accepted() -> None:
    check_thresholds(
        ["cold:ttfb_cold.p50<9s", "smooth@100>=99%", "http/warm:ttfb.p50<.3s"],
        [*map(arm_named, ALL_ARMS)],
        [100.0],
    )
    check_thresholds(["ttfb_e2e.p50<9s"], [arm_named("ws/warm/r20")], [0.0])


def test_one_slow_http_reply_is_not_streaming() -> None:
    arm, burst = "http/warm/c1", ((50 * MS, RATE // 2), (51 * MS, 10))
    trials = [trial(0, arm=arm), *(trial(n, arm=arm, chunks=burst) for n in range(1, 9))]
    (found,) = summarise(run(arms=[arm]), trials).arms
    assert found.streaming is False
    assert found.player == []
    assert not STREAMING & set(found.metrics)
    assert not any(found.samples.of(metric) for metric in STREAMING & set(SAMPLED))


def test_http_replies_that_arrive_over_time_are_streaming() -> None:
    arm, burst = "http/warm/c1", ((50 * MS, RATE // 2), (51 * MS, 10))
    trials = [trial(0, arm=arm, chunks=burst), *(trial(n, arm=arm) for n in range(1, 9))]
    (found,) = summarise(run(arms=[arm]), trials).arms
    assert (found.streaming, found.metrics["min_safe_buffer"].n) == (True, 8)
    assert found.player


def test_one_slow_http_reply_is_not_streaming_in_a_tally() -> None:
    tally = Tally([0])
    tally.add(trial(arm="http/warm/c1"))
    assert tally.as_result(arm_named("http/warm/c1")).streaming is True
    for _ in range(8):
        tally.add(trial(arm="http/warm/c1", chunks=((50 * MS, RATE // 2), (51 * MS, 10))))
    found = tally.as_result(arm_named("http/warm/c1"))
    assert (found.streaming, found.player) == (False, [])
    assert not STREAMING & set(found.metrics)


def test_sampled_tally_keeps_extremes_and_outliers() -> None:
    tally = Tally([0])
    for n in range(500):
        tally.add(trial(n, 9000 if n % 100 == 0 else 100 + n % 50))
    while tally.n <= 2 * MAX_VALUES:
        tally.merge(tally)
    odd = tally.n // 100
    for ttfb_ms in (1.0, 19_000.778):
        tally.add(trial(0, ttfb_ms))
    found = tally.as_result(arm_named("ws/warm/c1")).metrics["ttfb"]
    assert found.n == tally.n
    assert (found.min, found.max) == (1.0, 19_000.778)
    assert found.outliers == pytest.approx(odd, rel=0.01)


def test_tally_has_every_metric_a_threshold_can_use() -> None:
    for arm in ("ws/cold/c1", "sse/warm/c1", "http/warm/c1"):
        tally = Tally([0])
        for n in range(3):
            tally.add(trial(n, arm=arm, check=0.5))
        tally.add(trial(3, arm=arm, cancellation=Cancellation(60 * MS, 61 * MS, 24)))
        tally.add(trial(3, arm=arm, error="timeout_first", chunks=()))
        found = [tally.as_result(arm_named(arm))]
        for metric in filter(partial(has_metric, arm_named(arm)), METRICS):
            limit = "<-1" if METRICS[metric].unit == "dBFS" else ">1"
            (result,) = evaluate(f"{metric}.mean{limit}", found)
            assert result.value is not None, metric


def test_rtfx_keeps_three_digits_in_a_tally() -> None:
    for last_ms in (0.1, 3, 250, 9000):
        tally = Tally([0])
        trials = [trial(chunks=((round(last_ms * MS * part), 2 * RATE),)) for part in (0.9, 1, 1.1)]
        for each in trials:
            tally.add(each)
        p50 = tally.as_result(arm_named("ws/warm/c1")).metrics["rtfx"].p50.v
        assert p50 == pytest.approx(derive(trials[1])["rtfx"], rel=0.0005)


def test_aggregated_window_equals_that_of_one_process() -> None:
    from smallest_cli.bench.locust.aggregate import Aggregator
    from smallest_cli.bench.locust.messages import Message
    from smallest_cli.bench.locust.worker_stats import WorkerStats
    from smallest_cli.bench.trial import Attempt

    trials = [trial(n, error="reset" if n % 4 == 0 else None) for n in range(8)]
    stats, aggregator = WorkerStats(run()), Aggregator("a test")
    for each in trials:
        stats.add(Attempt(each, b"", None))
    aggregator.add("worker", Message.decode(stats.message(last=True).encode()))
    pooled, complete = aggregator.result(), summarise(run(), trials)
    assert pooled is not None
    assert as_json(pooled.run.window) == pytest.approx(as_json(complete.run.window))
    assert pooled.run.window.characters == 320


@pytest.mark.parametrize(
    "threshold",
    [
        "ttfb<300ms", "ttfb.p95", "ttfb.p96<3ms", "speed.p50<1ms", "rtf.p50<1ms", "error_rate<3ms", "",
        "error_rate<5", "error_rate<1", "error_rate<=100%", "error_rate<0", "smooth@100>95", "smooth@100>1",
        "smooth@100>=0", "smooth@1.2.3>=1", "ttfb.p50>=0ms", "ttfb.p50<0ms",
    ],
)  # fmt: skip
def test_meaningless_threshold_is_refused(threshold: str) -> None:
    with pytest.raises(UsageError):
        parse_threshold(threshold)


def test_invalid_run_exits_with_22_despite_thresholds() -> None:
    calibration = CALIBRATION | {"verdict": "invalid"}
    assert summarise(run(calibration=calibration, slo=["ttfb.p50<9s"]), [trial()]).exit == 22


def write(path: Path, trials: list[Trial], **fields: object) -> Path:
    path.write_text("".join(raw_lines(run(**fields), trials)))
    return path


def test_recomputing_from_raw_trials_is_bit_exact(tmp_path: Path) -> None:
    trials = [trial(n, 50 + n / 7, arm=arm) for n in range(40) for arm in ("ws/warm/c1", "sse/cold/c1")]
    trials.append(trial(80, error="dns", chunks=(), sent_ns=None, phases=None, onset=None))
    arms = ["ws/warm/c1", "sse/cold/c1"]
    original = as_text(summarise(run(arms=arms, slo=["ttfb.p95<52ms"]), trials))
    path = write(tmp_path / "raw.jsonl", trials, arms=arms, slo=["ttfb.p95<52ms"])
    assert as_text(summarise(*read_raw(path))) == original
    assert as_text(read_result(path)) == original
    saved = tmp_path / "saved.json"
    saved.write_text(original)
    assert as_text(read_result(saved)) == original


def test_merged_runs_equal_one_run(tmp_path: Path) -> None:
    trials = [trial(n, 50 + (n * 37) % 101) for n in range(60)]
    complete = summarise(run(), trials)
    parts = [write(tmp_path / f"{n}.jsonl", trials[n::2], id=str(n)) for n in range(2)]
    merged_run, merged = merge_runs([read_raw(path) for path in parts])
    found = summarise(merged_run, merged)
    assert found.arms[0].metrics == complete.arms[0].metrics
    assert found.arms[0].player == complete.arms[0].player
    assert [each.index for each in merged] == list(range(60))
    assert merged_run.merged == ["0", "1"]
    assert merged_run.complete
    again = tmp_path / "again.jsonl"
    again.write_text("".join(raw_lines(merged_run, merged)))
    assert as_text(summarise(*read_raw(again))) == as_text(found)


def test_merged_run_is_complete_if_all_were() -> None:
    short = run(id="short", complete=False, cut_short="--max-time")
    merged = merge_runs([(run(), [trial()]), (short, [trial()])])[0]
    assert (merged.complete, merged.cut_short) == (False, "--max-time")


def merged(**fields: Any) -> dict[str, Any]:
    return merge_runs([(run(), [trial()]), (run(id="18", **fields), [trial()])])[0]


def test_merged_run_has_the_worst_verdict() -> None:
    bad = CALIBRATION | {"verdict": "suspect", "reasons": ["late"]}
    assert merged(calibration=bad).calibration.verdict == "suspect"
    assert merged(calibration=bad).calibration.reasons == ["late"]
    assert merged(complete=False).complete is False
    assert merged(load=LOAD | {"count": 5}).load.count == 8


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"texts": {}}, "texts"),
        ({"load": LOAD | {"concurrency": 2}}, r"load.concurrency \(1, 2\)"),
        ({"slo": ["ttfb.p50<1s"]}, "slo"),
        ({"target": {"base_url": "https://a.example", "api": "unified"}}, "target.base_url"),
        ({"target": TARGET | {"api": "v2"}}, "target.api"),
        ({"buffers_ms": [10.0]}, "buffers_ms"),
    ],
)
def test_runs_with_different_conditions_are_not_merged(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        merged(**fields)


def test_runs_of_two_offline_servers_are_merged() -> None:
    assert merged(target={"base_url": "http://127.0.0.1:2", "api": "unified"}).merged == ["17", "18"]


def test_merging_a_run_twice_is_refused() -> None:
    one, two = (run(), [trial()]), (run(id="18"), [trial()])
    for runs in ([one, one], [merge_runs([one, two]), two]):
        with pytest.raises(UsageError, match="twice"):
            merge_runs(runs)


def window(*others: dict[str, Any]) -> float:
    """Seconds in the pooled window of runs of three seconds each."""
    runs = [run(id=str(number), **fields) for number, fields in enumerate(others)]
    pooled = summarise(*merge_runs([(each, [trial(n, started_ns=(n + 9) * 1000 * MS,
        ended_ns=(n + 10) * 1000 * MS) for n in range(3)]) for each in runs]))  # fmt: skip
    return float(pooled.run.window.seconds)


def test_concurrent_runs_share_their_window() -> None:
    later = {"started_utc": "2026-11-21T00:01:00+00:00"}
    assert window({}, {}) == 3
    assert window({}, later) == 6
    assert window({"part_of": "a"}, later | {"part_of": "a"}) == 3
    assert window({"part_of": "a"}, {"part_of": "b"}, later | {"part_of": "a"}) == 6
    assert window({"started_utc": "?"}, {"started_utc": "?"}) == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a file of smallest bench"),
        ("{}", "is not a file of smallest bench"),
        ("[1]\n", "is not a file of smallest bench"),
        ("[" * 100_000, "is not a file of smallest bench"),
        ('{"schema": ' + "[" * 100_000, "is not"),
        ('{"schema": "smallest.bench/2"', "is not JSON, or is cut off"),
        ('{"schema": "smallest.bench/3"}', "has schema smallest.bench/3, not smallest.bench/2 or"),
        ('{"schema": "smallest.bench/2"}', "is damaged: Object missing required field `run`"),
        (
            '{"schema": "smallest.bench.raw/2", "run": {}}\n{"trial": {"index": 1}}',
            r"is damaged: Object missing required field `\w+` - at `\$.run`",
        ),
    ],
    ids=range(9),
)
def test_foreign_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_result(path)


def test_saved_result_is_not_read_as_raw_trials(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    path.write_text(as_text(summarise(run(), [trial()])))
    with pytest.raises(UsageError, match="has schema smallest.bench/2, not smallest.bench.raw/2"):
        read_raw(path)


def test_raw_file_may_have_bom_crlf_and_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "raw.jsonl", [trial()])
    path.write_text("\ufeff" + path.read_text().replace("\n", "\r\n") + "\n\n")
    assert read_raw(path) == (run(), [trial()])


def test_truncated_raw_file_makes_the_run_incomplete(tmp_path: Path) -> None:
    path = write(tmp_path / "raw.jsonl", [trial(n) for n in range(5)])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    cut, trials = read_raw(path)
    assert (cut.complete, len(trials)) == (False, 3)
    assert cut.calibration.reasons == ["2 trials missing: the file was cut off"]
    path.write_text("".join([*lines, lines[-1]]))
    with pytest.raises(UsageError, match="1 more trial than its header says"):
        read_raw(path)


def test_raw_file_without_count_is_checked_against_the_plan(tmp_path: Path) -> None:
    path = write(tmp_path / "raw.jsonl", [trial(n) for n in range(2)])
    path.write_text(path.read_text().replace(', "trials": 2}', "}"))
    assert read_raw(path)[0].complete is False


ODD: tuple[Any, ...] = (
    None, True, -1, 0, 0.0, 1e300, 10**30, float("inf"), float("nan"), "", "x", "<meta>", "\x1b[2J", [],
    [None], [[]], {}, {"x": {}},
)  # fmt: skip


def corrupt(value: Any, rng: random.Random) -> Any:
    """`value` with one item removed or replaced by an odd value."""
    slots: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in inner:
            slots.append((node, key))
            walk(child)

    walk(value)
    node, key = rng.choice(slots)
    if rng.random() < 0.2:
        del node[key]
    else:
        node[key] = copy.deepcopy(rng.choice(ODD))
    return value


def render_all(found: Result) -> str:
    """Every report of a result, and its comparison with itself."""
    compared = compare_runs(found, found, [], 0.05)
    lines = [line for _, line in (*render(found, 80), *render_comparison(compared, 80))]
    return "\n".join([*lines, to_html(found), to_markdown(found), to_csv(found)])


def test_damaged_result_is_refused_or_rendered(tmp_path: Path) -> None:
    arms = ["ws/cold/c1", "http/warm/c1"]
    complete = summarise(
        run(arms=arms, slo=["ttfb.p50<40ms", "smooth@100>=90%"]),
        [trial(n, 50 + n, arm=arm, error="dns" if n == 4 else None) for n in range(5) for arm in arms],
    )
    rng, refused = random.Random(1), 0
    path = tmp_path / "saved.json"
    for _ in range(150):
        path.write_text(as_text(corrupt(json.loads(as_text(complete)), rng)))
        try:
            found = read_result(path)
        except UsageError:
            refused += 1
            continue
        with suppress(UsageError):  # e.g. nothing in common
            render_all(found)
    assert refused > 75


def test_damaged_trials_are_refused_or_summarised(tmp_path: Path) -> None:
    lines = [
        json.loads(line)
        for line in raw_lines(run(), [trial(-1, phase="warmup"), trial(0), trial(1, error="dns", chunks=())])
    ]
    rng, refused = random.Random(2), 0
    path = tmp_path / "raw.jsonl"
    for _ in range(150):
        corrupted = corrupt(json.loads(json.dumps(lines)), rng)
        path.write_text("".join(json.dumps(line) + "\n" for line in corrupted))
        try:
            found = summarise(*read_raw(path))
        except UsageError:
            refused += 1
            continue
        with suppress(UsageError):
            render_all(found)
    assert refused > 50


def test_file_content_is_escaped_in_every_report(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07<meta http-equiv=refresh>"
    calibration = CALIBRATION | {"reasons": [evil]}
    target = {"base_url": evil, "api": "unified"}
    failed = trial(1, error="dns", message=evil)
    path = tmp_path / "saved.json"
    path.write_text(as_text(summarise(run(calibration=calibration, target=target), [trial(), failed])))
    found = read_result(path)
    for text in (to_html(found), to_markdown(found), to_csv(found)):
        assert "\x1b" not in text
        assert not re.search(r"(?<!\\)<meta http-equiv=refresh", text)
    for command in (["report", "saved.json"], ["report", "saved.json", "--format", "html"]):
        assert b"\x1b" not in smallest(tmp_path, "bench", *command).out
    write(tmp_path / "raw.jsonl", [trial(), failed], calibration=calibration, target=target)
    ran = smallest(tmp_path, "bench", "merge", "raw.jsonl")
    assert b"\x1b" not in ran.out
    assert b"\\x1b" in ran.out
    named = json.loads(path.read_text().replace('"ttfb"', json.dumps(evil)))
    path.write_text(json.dumps(named))
    with pytest.raises(UsageError, match="is damaged"):
        read_result(path)


def test_file_is_written_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to("there")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_text() == "new"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "there"]


def test_fifo_is_written_in_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "fifo").open("rb+", buffering=0) as pipe:
        write_text(tmp_path / "fifo", "whole")
        assert pipe.read(100) == b"whole"
    assert (tmp_path / "fifo").is_fifo()


def test_device_is_written_in_place(tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    write_text(tmp_path / "null", "nothing")
    assert (tmp_path / "null").is_char_device()


def test_writing_a_result_to_stdout_is_refused() -> None:
    with pytest.raises(UsageError, match="stdout"):
        write_text(Path("-"), "result")


def test_trial_survives_a_json_round_trip() -> None:
    for each in (trial(arm="ws/cold/c1"), trial(error="empty", chunks=(), phases=None, reused=None)):
        assert convert(json.loads(json.dumps(as_json(each))), Trial) == each


def compared(by: float, n: int = 60, **fields: object) -> str:
    before = summarise(run(), [trial(i, 100 + 7 * i % 20) for i in range(n)])
    after = summarise(run(**fields), [trial(i, (100 + 7 * i % 20) * by) for i in range(n)])
    return str(compare_runs(before, after, ["ttfb"], 0.05).verdict)


def test_runs_are_compared() -> None:
    assert compared(1.2) == "slower"
    assert compared(0.8) == "faster"
    assert compared(1.001) == "equivalent"
    assert compared(1.02, n=3) == "inconclusive"


def test_runs_with_different_requests_are_not_compared() -> None:
    with pytest.raises(UsageError, match=r"request.voice \(meher, another\)"):
        compared(1.0, request=REQUEST | {"voice": "another"})
    with pytest.raises(UsageError, match="in common"):
        compare_runs(summarise(run(), [trial()]), summarise(run(arms=["sse/warm/c1"]), []), ["ttfb"], 0.05)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"target": {"base_url": "http://127.0.0.1:1", "api": "v2"}}, r"target.api \(unified, v2\)"),
        ({"request": REQUEST | {"math_notation": "spoken"}}, r"math_notation \(none, spoken\)"),
        ({"request": REQUEST | {"dictionaries": ["d1"]}}, "dictionaries"),
        ({"load": LOAD | {"model": "open", "rate": 2.0, "arrival": "poisson"}}, "load.model"),
        ({"load": LOAD | {"concurrency": 50}}, r"load.concurrency \(1, 50\)"),
        ({"texts": {"t0": {"characters": 41, "sha256": "01"}}}, "differ in texts"),
    ],
)
def test_differing_conditions_are_named(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compared(1.0, **fields)


def test_absent_and_empty_options_are_equal() -> None:
    more = REQUEST | {"number_language": None, "dictionaries": []}
    assert compared(1.0, request=more) == "equivalent"


def test_ttfa_is_only_compared_with_equal_prebuffers() -> None:
    complete = [trial(n) for n in range(30)]
    before, after = summarise(run(), complete), summarise(run(buffers_ms=[200.0]), complete)
    with pytest.raises(UsageError, match=r"buffers_ms.0 \(0.0, 200.0\)"):
        compare_runs(before, after, ["ttfa"], 0.05)
    assert compare_runs(before, after, ["ttfb"], 0.05).verdict == "equivalent"


TWO = ["ws/warm/c1", "sse/warm/c1"]


def failing(share: float, arms: list[str] = TWO, n: int = 40) -> Result:
    """A run in which this share of the trials of the first arm failed."""
    good = [trial(i, 100 + 7 * i % 20, arm=arm) for arm in arms for i in range(n)]
    bad = [
        replace(each, error="http_5xx") if each.arm == TWO[0] and each.index < share * n else each
        for each in good
    ]
    return summarise(run(arms=arms), bad)


def test_more_failures_are_a_regression() -> None:
    found = compare_runs(failing(0), failing(0.5), ["ttfb"], 0.05)
    assert (found.verdict, found.exit) == ("slower", 21)
    assert found.errors[0].failed == (0, 20)
    assert found.errors[0].verdict == "more"
    lines = [line for _, line in render_comparison(found, 80)]
    assert "ws/warm/c1  more failures: 0 of 40 (0.0%) in A, 20 of 40 (50.0%) in B" in lines
    assert lines[-1] == "overall: slower: more trials fail in B"
    assert compare_runs(failing(0.5), failing(0), ["ttfb"], 0.05).errors[0].verdict == "fewer"


def test_one_more_failure_is_not_significant() -> None:
    found = compare_runs(failing(0), failing(0.02), ["ttfb"], 0.5)
    assert found.errors[0].verdict == "unclear"
    assert found.verdict == "equivalent"


def test_failed_or_missing_arm_is_not_equivalent() -> None:
    failed = compare_runs(failing(0), failing(1), ["ttfb"], 0.05)
    assert failed.exit == 21
    assert failed.not_compared[0].why == "B has no successful trial"
    few = compare_runs(failing(0, n=3), failing(1, n=3), ["ttfb"], 0.5)
    assert few.exit == 23
    missing = compare_runs(failing(0), failing(0, TWO[1:]), ["ttfb"], 0.05)
    assert (missing.verdict, missing.exit) == ("inconclusive", 23)
    assert missing.not_compared[0].why == "B did not measure it"
    assert compare_runs(failing(0, TWO[1:]), failing(0), ["ttfb"], 0.05).verdict == "equivalent"


def test_comparison_with_only_failed_trials_is_invalid() -> None:
    one = TWO[:1]
    for pair in ((failing(0, one), failing(1, one)), (failing(1, one), failing(0, one))):
        assert compare_runs(*pair, ["ttfb"], 0.05).exit == 22


def test_open_loop_is_compared_by_ttfb_e2e() -> None:
    load = {"model": "open", "concurrency": 5, "rate": 2.0, "arrival": "poisson"}
    arm = "ws/warm/r2"
    complete = summarise(
        run(arms=[arm], load=load), [trial(n, arm=arm, scheduled_ns=n * MS) for n in range(9)]
    )
    assert [row.metric for row in compare_runs(complete, complete, [], 0.05).comparisons] == ["ttfb_e2e"]


def test_identical_zero_buffers_are_equivalent() -> None:
    complete = summarise(run(), [trial(n) for n in range(60)])
    found = compare_runs(complete, complete, ["min_safe_buffer"], 0.05)
    assert found.verdict == "equivalent"
    assert found.comparisons[0].matters_from_ms == 1.0


def test_min_effect_is_shown_as_given() -> None:
    complete = summarise(run(), [trial(n) for n in range(9)])
    first, *_ = (line for _, line in render_comparison(compare_runs(complete, complete, [], 0.025), 100))
    assert "under 2.5 % or 1 ms" in first


def test_many_comparisons_share_one_false_alarm_rate() -> None:
    complete = summarise(run(), [trial(n, 50 + n) for n in range(30)])
    found = compare_runs(complete, complete, ["ttfb", "ttfa", "last_audio"], 0.05)
    assert found.confidence == pytest.approx(1 - 0.05 / 3)
    assert len(found.comparisons) == 3
