"""Silence, clipping, DC offset and level of audio, and the metrics, thresholds and files made of them."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from smallest_cli.bench.compare import RunComparison, compare_runs
from smallest_cli.bench.distribution import STEPS, Distribution
from smallest_cli.bench.merge import merge_runs
from smallest_cli.bench.metrics import derive
from smallest_cli.bench.report.format import comparison_text
from smallest_cli.bench.report.terminal import render
from smallest_cli.bench.results import summarise
from smallest_cli.bench.schema import Cancellation, Waveform
from smallest_cli.bench.storage import as_text, raw_lines, read_raw, read_result
from smallest_cli.bench.tally import Tally
from smallest_cli.bench.thresholds import check_thresholds, evaluate, parse_threshold
from smallest_cli.bench.waveform import measure_waveform
from smallest_cli.errors import UsageError
from tests.support.trials import MS, RATE, run, trial


def tone(ms: float, peak: float, offset: int = 0, rate: int = RATE) -> list[int]:
    count = round(ms * rate / 1000)
    return [offset + round(peak * math.cos(2 * math.pi * 400 * n / rate)) for n in range(count)]


def pcm(values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}h", *values)


def measured(values: list[int], rate: int = RATE) -> tuple[int, Waveform]:
    onset, waveform = measure_waveform(pcm(values), rate)
    assert onset is not None
    assert waveform is not None
    return onset, waveform


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 44_100])
@pytest.mark.parametrize(("lead", "trail"), [(0, 0), (1, 1), (240, 0), (0, 2400), (4801, 777), (40_000, 9)])
def test_silence_at_both_ends_is_exact_to_the_sample(lead: int, trail: int, rate: int) -> None:
    speech = [*tone(200, 12_000, rate=rate), 12_000]  # ends with a loud sample
    onset, waveform = measured([0] * lead + speech + [0] * trail, rate)
    assert (onset, waveform.end) == (lead, lead + len(speech))


def test_click_after_speech_is_silence() -> None:
    speech = [*tone(200, 12_000), 12_000]
    _, waveform = measured(speech + [0] * 4800 + [20_000] * 24 + [0] * 1200)
    assert waveform.end == len(speech)


def test_pause_within_speech_is_not_trailing_silence() -> None:
    speech = [*tone(100, 12_000), 12_000]
    assert measured(speech + [0] * RATE + speech)[1].end == 2 * len(speech) + RATE


@pytest.mark.parametrize("values", [[], [0] * 4800, [300] * 4800, tone(200, 300)])
def test_silent_audio_has_no_figures(values: list[int]) -> None:
    assert measure_waveform(pcm(values), RATE) == (None, None)


def test_clipped_samples_are_those_at_full_scale() -> None:
    edge = [32_767, -32_768, -32_767, 32_766, -32_766, 0]
    assert measured(tone(200, 12_000) + edge)[1].clipped == 3
    assert measured(tone(200, 32_766))[1].clipped == 0


def test_level_of_a_tone_and_of_a_square_wave() -> None:
    assert measured(tone(500, 16_384))[1].rms == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=0.01)
    assert measured([32_767, -32_767] * 4800)[1].rms == pytest.approx(0.0, abs=0.001)


def test_level_is_that_of_the_audible_part_without_offset() -> None:
    plain = measured(tone(500, 8000))[1].rms
    assert measured([0] * RATE + tone(500, 8000) + [0] * RATE)[1].rms == pytest.approx(plain, abs=0.01)
    assert measured(tone(500, 8000, offset=2000))[1].rms == pytest.approx(plain, abs=0.01)


@pytest.mark.parametrize(("offset", "level"), [(3277, -20.0), (-3277, -20.0), (328, -39.99)])
def test_dc_offset(offset: int, level: float) -> None:
    assert measured(tone(500, 8000, offset))[1].dc == pytest.approx(level, abs=0.02)


def test_audio_without_offset_has_the_lowest_level() -> None:
    assert measured([12_000, -12_000] * 4800)[1].dc == -100.0


@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(700, 32_767), st.sampled_from([8000, 24_000]))
def test_figures_of_any_tone_are_in_range(lead: int, trail: int, peak: int, rate: int) -> None:
    values = [0] * lead + tone(150, peak, rate=rate) + [0] * trail
    onset, waveform = measured(values, rate)
    assert 0 <= onset < waveform.end <= len(values)
    assert waveform.clipped == sum(abs(value) >= 32_767 for value in values)
    assert -40.5 <= waveform.rms <= 0
    assert -100 <= waveform.dc <= waveform.rms


@given(st.lists(st.integers(-32_768, 32_767), max_size=3000), st.integers(0, 200))
def test_reversed_audio_has_its_silences_exchanged(values: list[int], silent: int) -> None:
    values = [0] * silent + values
    onset, waveform = measure_waveform(pcm(values), 8000)
    back, reverse = measure_waveform(pcm(values[::-1]), 8000)
    assert (onset is None) == (back is None)
    if waveform is not None and reverse is not None:
        assert (onset, waveform.end) == (len(values) - reverse.end, len(values) - (back or 0))
        assert waveform.clipped == reverse.clipped == sum(abs(value) >= 32_767 for value in values)


WAVEFORM = Waveform(end=10_800, clipped=3, dc=-55.5, rms=-21.25)


def test_metrics_of_the_audio() -> None:
    found = derive(trial(waveform=WAVEFORM))
    assert found["lead_silence"] == 10 * MS
    assert found["trail_silence"] == 50 * MS
    assert found["s_per_char"] == 500 * MS / 40
    assert (found["clipped"], found["dc"], found["rms"]) == (3, -55.5, -21.25)


def test_cancelled_trial_has_no_metrics_of_the_end() -> None:
    cancelled = trial(completed_ns=None, cancellation=Cancellation(300 * MS, 304 * MS, 2400))
    found = derive(cancelled)
    assert (found["cancel"], found["audio_after_cancel"]) == (4 * MS, 100 * MS)
    ending = {"last_audio", "audio", "complete", "tail_wait", "rtf", "rtfx", "rtf_stream"}
    assert not found.keys() & (ending | {"trail_silence", "s_per_char"})
    assert {"ttfb", "ttfa", "lead_silence", "clipped", "rms", "min_safe_buffer"} <= found.keys()


def test_results_have_the_unit_of_each_metric(tmp_path: Path) -> None:
    trials = [trial(n, waveform=Waveform(10_800, n, -55.0 - n, -21.0 - n), check=n - 5.0) for n in range(9)]
    found = summarise(run(), trials)
    arm = found.arms[0]
    assert arm.samples.s_per_char == [0.0125] * 9
    assert arm.samples.trail_silence == [50.0] * 9
    assert arm.samples.clipped == list(range(9))
    assert arm.samples.rms == [-21.0 - n for n in range(9)]
    assert arm.samples.check == [n - 5.0 for n in range(9)]
    assert (arm.metrics["rms"].min, arm.metrics["rms"].p50.v, arm.metrics["rms"].max) == (-29, -25, -21)
    assert (arm.metrics["check"].min, arm.metrics["check"].max) == (-5, 3)
    screen = [line for _, line in render(found, 80, verbose=True)]
    assert any(line.split()[:3] == ["clipped", "(count)", "4"] for line in screen)
    assert any(line.split()[:3] == ["rms", "(dBFS)", "-25.0"] for line in screen)
    raw, saved = tmp_path / "raw.jsonl", tmp_path / "run.json"
    raw.write_text("".join(raw_lines(run(), trials)))
    saved.write_text(as_text(found))
    assert read_result(raw).arms == read_result(saved).arms == found.arms
    again, other = tmp_path / "again.jsonl", run(id="18", started_utc="2026-11-22T00:00:00+00:00")
    again.write_text("".join(raw_lines(other, trials)))
    merged = summarise(*merge_runs([read_raw(raw), read_raw(again)])).arms[0]
    assert merged.metrics["clipped"].n == 18
    assert merged.metrics["rms"].p50.v == -25


def test_trials_of_an_older_file_lack_the_figures() -> None:
    arm = summarise(run(), [trial(waveform=None)]).arms[0]
    assert not arm.metrics.keys() & {"clipped", "rms", "dc", "trail_silence", "cancel", "check"}
    assert "s_per_char" in arm.metrics


@pytest.mark.parametrize(
    ("waveform", "cancellation"),
    [(Waveform(12_001, 0, -60.0, -20.0), None), (None, Cancellation(300 * MS, 299 * MS, 0))],
)
def test_impossible_figures_are_refused(
    tmp_path: Path, waveform: Waveform | None, cancellation: Cancellation | None
) -> None:
    raw = tmp_path / "raw.jsonl"
    damaged = trial(waveform=waveform, cancellation=cancellation)
    raw.write_text("".join(raw_lines(run(), [damaged])))
    with pytest.raises(UsageError, match="is damaged"):
        read_raw(raw)


@given(st.lists(st.floats(-120, 0), min_size=1, max_size=50), st.lists(st.floats(-120, 0), max_size=50))
def test_buckets_of_negative_values_are_exact_to_three_digits(
    first: list[float], second: list[float]
) -> None:
    one, two = Distribution(STEPS["dBFS"]), Distribution(STEPS["dBFS"])
    for found, values in ((one, first), (two, second)):
        for value in values:
            found.add(value)
    one.merge(two)
    both = sorted([*first, *second])
    assert (one.n, one.low, one.high) == (len(both), both[0], both[-1])
    for value, exact in zip(one.values(), both, strict=True):
        assert value == pytest.approx(exact, rel=0.001, abs=0.001)


def test_tally_equals_the_exact_figures() -> None:
    trials = [trial(n, waveform=Waveform(10_800, 10 * n, -50.0 - n, -20.0 - n / 10)) for n in range(20)]
    counted = Tally([0])
    for each in trials:
        counted.add(each)
    arm, exact = counted.as_result(run().arms[0]), summarise(run(), trials).arms[0]
    for metric in ("clipped", "rms", "dc", "trail_silence", "s_per_char"):
        for statistic in ("min", "max", "mean"):
            expected = getattr(exact.metrics[metric], statistic)
            assert getattr(arm.metrics[metric], statistic) == pytest.approx(expected)
        assert arm.metrics[metric].p50.v == pytest.approx(exact.metrics[metric].p50.v, rel=0.001)


@pytest.mark.parametrize(
    ("threshold", "passed"),
    [
        ("clipped.max<1", False),
        ("clipped.max<=3", True),
        ("rms.p50>-30", True),
        ("rms.p50 > -21 dBFS", False),
        ("rms.max<-.5", True),
        ("dc.max<-40dBFS", True),
        ("trail_silence.p95<100ms", True),
        ("s_per_char.mean<20ms", True),
        ("s_per_char.max<0.01s", False),
        ("check.mean<-0.5", False),
        ("check.mean>=0.1", True),
    ],
)
def test_thresholds_of_the_audio(threshold: str, passed: bool) -> None:
    arms = summarise(run(), [trial(n, waveform=WAVEFORM, check=0.1) for n in range(20)]).arms
    (found,) = evaluate(threshold, arms)
    assert found.passed is passed


@pytest.mark.parametrize(
    ("threshold", "problem"),
    [
        ("rms.p50<5", "always holds"),
        ("rms.p50>0", "never holds"),
        ("dc.p50>=1", "never holds"),
        ("clipped.max>=0", "always holds"),
        ("clipped.max<-1", "never holds"),
        ("ttfb.p50>-1", "always holds"),
        ("error_rate<-1%", "never holds"),
        ("rms.p50>-30ms", "is not in ms"),
        ("clipped.max<1ms", "is not in ms"),
        ("ttfb.p50<-30dBFS", "is not in dBFS"),
    ],
)
def test_meaningless_thresholds_are_refused(threshold: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_threshold(threshold)


@pytest.mark.parametrize("metric", ["cancel", "audio_after_cancel", "check"])
def test_threshold_without_its_option_is_refused(metric: str) -> None:
    option = "--check" if metric == "check" else "--cancel-after"
    arms = run().arms
    with pytest.raises(UsageError, match=f"only a run with {option} has such a figure"):
        check_thresholds([f"{metric}.mean<1"], arms, [0.0])
    check_thresholds([f"{metric}.mean<1"], arms, [0.0], [option])


def runs(first: Waveform, second: Waveform, **fields: float) -> RunComparison:
    trials = [[trial(n, waveform=each) for n in range(40)] for each in (first, second)]
    trials[1] = [replace(each, **fields) for each in trials[1]]
    before, after = (summarise(run(), each) for each in trials)
    return compare_runs(before, after, ["clipped", "rms", "s_per_char", "trail_silence"], 0.05)


def test_audio_of_two_runs_is_compared_in_its_own_units() -> None:
    compared = runs(WAVEFORM, Waveform(end=10_800, clipped=90, dc=-55.5, rms=-27.25), characters=41)
    rows = {row.metric: row for row in compared.comparisons}
    units = {name: (row.verdict, row.unit, row.shift_ms.v) for name, row in rows.items()}
    assert units["clipped"] == ("slower", "count", 87)
    assert units["rms"] == ("faster", "dBFS", -6.0)
    assert units["s_per_char"][:2] == ("equivalent", "s")
    assert units["trail_silence"] == ("equivalent", "ms", 0.0)
    assert (rows["s_per_char"].matters_from_ms, rows["rms"].matters_from_ms) == (0.001, 21.25 * 0.05)
    assert comparison_text(rows["clipped"]).startswith("higher: shift 87 count [87, 87]")
    assert comparison_text(rows["rms"]).startswith("lower: shift -6.0 dBFS [-6.0, -6.0]")
