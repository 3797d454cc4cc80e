"""The default screen of `bench`: one table, failures, thresholds and the verdict."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from smallest_cli.bench.report.format import plain
from smallest_cli.bench.report.terminal import render
from smallest_cli.bench.results import summarise
from smallest_cli.bench.schema import Result
from smallest_cli.bench.trial import Trial
from tests.support.trials import CALIBRATION, MS, RATE, REQUEST, TARGET, run, trial

ARMS = [f"{via}/{conn}/c1" for via in ("ws", "sse", "http") for conn in ("warm", "cold")]
SUSPECT = CALIBRATION | {
    "verdict": "suspect",
    "reasons": ["scheduler delay p99 20.9 ms (limit 3.0 ms)", "measurement error p99 7.8 ms (limit 3.0 ms)"],
}
REMOTE = {
    "target": TARGET | {"base_url": "https://api.smallest.example"},
    "request": REQUEST | {"voice": "meher", "model": "lightning_v3.1_pro"},
}


def lines(found: Result, width: int, *, verbose: bool = False) -> list[str]:
    return [line for _, line in render(found, width, verbose=verbose)]


def busy_run(*more: Trial, arms: list[str] = ARMS, **fields: Any) -> Result:
    """Six arms of 40 trials with failures, thresholds and a suspect verdict."""
    trials = [trial(n, 80 + 7 * at + n % 13 * 3, arm=arm) for at, arm in enumerate(arms) for n in range(40)]
    message = "the service answered 503: " + "upstream connect error or disconnect before headers " * 4
    failed = [
        trial(40, arm=arm, error=error, message=message)
        for arm in arms
        for error in ("http_5xx", "timeout_first", "timeout_stall", "closed", "http_429")
    ]
    slo = ["ttfb.p95<100ms", "error_rate<1%", "ttfa.p50<9s"]
    return summarise(
        run(arms=arms, slo=slo, calibration=SUSPECT, **REMOTE, **fields), [*trials, *failed, *more]
    )


def test_six_arms_fit_40_lines_of_100_columns() -> None:
    shown = lines(busy_run(), 100)
    assert len(shown) <= 40
    assert max(map(len, shown)) <= 100
    assert (
        sum(line.startswith("ws/warm/c1 ") for line in shown) == 2
    )  # one row of the table, one of the histogram
    assert "jitter" not in "\n".join(shown)
    assert "jitter" in "\n".join(lines(busy_run(), 100, verbose=True))


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("arms", [ARMS, ["ws/warm/c1"], ["ws/warm/c128", "http/cold/r2.5e-05"]])
def test_table_drops_columns_instead_of_wrapping(width: int, arms: list[str]) -> None:
    shown = lines(busy_run(arms=arms), width)
    assert max(map(len, shown)) <= width
    start = (
        next(n for n, line in enumerate(shown) if "TTFB p50" in line or "RTF" in line) if width > 40 else 0
    )
    if not start:
        return
    table = shown[start : start + 1 + len(arms)]
    assert [line.split()[0] for line in table[1:]] == arms
    assert len({len(line) for line in table}) == 1  # every row has every column
    assert {"ok", "TTFB", "p95"} <= set(table[0].split())
    assert ("RTF" in table[0]) is (width >= 100)


def test_failed_warm_ups_and_trials_are_listed_with_class_arm_and_message() -> None:
    text = "it is down"
    warmups = [trial(-1, phase="warmup", error="dns" if n else None) for n in range(3)]
    failed = [trial(9, arm=arm, error="http_5xx", message=text) for arm in ARMS[:2]]
    found = summarise(run(arms=ARMS[:2]), [trial(1), trial(2, arm=ARMS[1]), *failed, *warmups])
    for shown in (lines(found, 100), lines(found, 100, verbose=True)):
        assert "warm-ups: 2 of 3 failed (2 dns)" in shown
        assert "failed: 2 http_5xx in ws/warm/c1, ws/cold/c1: it is down" in shown
    assert "callers; 1 warm-up" in "\n".join(lines(summarise(run(), [trial(1), warmups[0]]), 100))


def test_failures_beyond_the_limit_are_counted() -> None:
    shown = "\n".join(lines(busy_run(), 100))
    assert "2 more kinds of failure: --verbose" in shown
    assert shown.count("failed: 6 ") == 3
    assert "\n".join(lines(busy_run(), 100, verbose=True)).count("failed: 6 ") == 5


def test_threshold_over_arms_is_one_line_with_the_arms_that_missed_it() -> None:
    shown = " ".join(line.strip() for line in lines(busy_run(), 100))
    assert "ttfb.p95<100ms FAIL in 6 of 6 arms: http/cold/c1 151.0 ms" in shown.replace("  ", " ")
    assert "ttfa.p50<9s pass in 6 of 6 arms: http/cold/c1" in shown.replace("  ", " ")
    one = lines(summarise(run(slo=["ttfb.p50<90ms"]), [trial(n) for n in range(9)]), 100)
    assert "ttfb.p50<90ms  ws/warm/c1  50.0 ms [50.0, 50.0]: pass" in one


@pytest.mark.parametrize(
    "waits_ms",
    [(50,), (50, 50.001), (0.001, 0.002), (999, 1001), (1, 100_000), (900_000, 1_000_000), (3e9, 3e11)],
)
@pytest.mark.parametrize("width", [60, 100])
def test_axis_has_at_least_two_plain_labels(waits_ms: tuple[float, ...], width: int) -> None:
    trials = [trial(n, ms, chunks=((round(ms * MS), RATE),)) for n, ms in enumerate(waits_ms)]
    shown = lines(summarise(run(), trials), width)
    head = next(n for n, line in enumerate(shown) if line.startswith("ttfb, "))
    labels = [float(text) for text in re.findall(r"([\d.]+) ms", shown[head + 2])]
    assert len(labels) >= 2
    assert all(a <= b for a, b in pairwise(labels))
    assert not re.search(r"\de[+-]?\d", "\n".join(shown))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1e-6, "0.000001"), (0.0125, "0.013"), (0.5, "0.5"), (1, "1"), (1.5, "1.5"), (9.96, "10"),
        (15, "15"), (1000, "1000"), (1e6, "1000000"), (1e12, "1000000000000"),
    ],
)  # fmt: skip
def test_axis_numbers_have_no_exponent(value: float, text: str) -> None:
    assert plain(value) == text


def test_long_arm_id_is_shortened() -> None:
    arms = ["http/cold/r2.0000000000e-05"]
    shown = lines(busy_run(arms=arms), 60)
    assert any(line.startswith("http/cold/r2.") and "…" in line and "45/45" not in line for line in shown)
    assert max(map(len, shown)) <= 60
