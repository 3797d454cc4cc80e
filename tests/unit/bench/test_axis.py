"""Axes and figures of reports: several round ticks, and no number with an exponent."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smallest_cli.bench.report.axis import MIN_TICKS, plain_number, ticks
from smallest_cli.bench.report.export import to_csv, to_markdown
from smallest_cli.bench.report.html import to_html
from smallest_cli.bench.report.terminal import render
from smallest_cli.bench.results import summarise
from tests.support.trials import run, trial

EXPONENT = re.compile(r"\d[eE][+-]?\d+ ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1000.0, "1000"), (1e6, "1000000"), (1e12, "1000000000000"), (0.00001, "0.00001"), (0.25, "0.25"),
        (20.150000000000002, "20.15"), (100.0, "100"), (0, "0"),
    ],
)  # fmt: skip
def test_number_has_no_exponent(value: float, text: str) -> None:
    assert plain_number(value) == text


@given(st.floats(1e-6, 1e12), st.floats(1.1, 1e6))
@example(999_999_999_999.998, 5.0)
def test_axis_has_several_round_ticks_within_its_bounds(low: float, factor: float) -> None:
    found = ticks(low, low * factor)
    assert len(found) >= MIN_TICKS
    assert found == sorted(found)
    assert all(low * (1 - 1e-5) <= tick <= low * factor * (1 + 1e-5) for tick in found)
    assert all(len(plain_number(tick).replace(".", "").strip("0")) <= 8 for tick in found)


@pytest.mark.parametrize(("low", "high"), [(0.0, 7.3), (-60.0, -3.0), (-1.0, 1.0), (0.0, 1e-6)])
def test_axis_may_begin_at_zero_or_below(low: float, high: float) -> None:
    found = ticks(low, high)
    assert len(found) >= MIN_TICKS
    assert found == sorted(found)
    assert all(low <= tick <= high for tick in found)


@pytest.mark.parametrize(("low", "high"), [(5e-324, 5e-324), (5e-324, 1e-323), (7.0, 7.0)])
def test_axis_without_a_range_has_no_made_up_ticks(low: float, high: float) -> None:
    assert all(low <= tick <= high for tick in ticks(low, high))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("ttfb_ms", [0.9, 20.1, 1000.0, 12_345.6, 1_000_000.0, 30_000_000.0])
@pytest.mark.parametrize("spread", [0.0, 0.001, 0.05])
def test_charts_have_several_ticks_and_reports_no_exponent(ttfb_ms: float, spread: float, width: int) -> None:
    trials = [trial(n, ttfb_ms * (1 + spread * n / 20)) for n in range(20)]
    found = summarise(run(buffers_ms=[0.0, 1_000_000.0], slo=["ttfb.p95<9000000ms"]), trials)
    lines = [line for _, line in render(found, width)]
    axis = next(line for line in lines[lines.index("ttfb, trials by time (logarithmic)") :] if " ms" in line)
    assert len(re.findall(r"[\d.]+ ms", axis)) >= 2
    assert max(map(len, lines)) <= width
    page = to_html(found)
    drawn = page[page.index("distribution of ttfb") :]
    assert len(re.findall(r'class="tick"[^>]*>[\d.]+<', drawn[: drawn.index("</svg>")])) >= 2
    for text in ("\n".join(lines), to_markdown(found), re.sub("<(script|style).*?</.*?>", "", page)):
        assert not EXPONENT.search(text), EXPONENT.search(text)
    assert "e+" not in to_csv(found)
