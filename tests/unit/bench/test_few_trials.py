"""Figures of few trials: a quantile that would be the maximum is not shown, and no threshold passes by it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from smallest_cli.bench.report.export import to_csv, to_markdown
from smallest_cli.bench.report.format import metric_cells, notes, overview_cell, player_cells, threshold_text
from smallest_cli.bench.report.html import to_html
from smallest_cli.bench.report.terminal import render
from smallest_cli.bench.results import summarise
from smallest_cli.bench.schema import Result
from smallest_cli.bench.stats.quantiles import fewest_for, quantile
from smallest_cli.bench.storage import raw_lines
from smallest_cli.bench.trial import Trial
from tests.support.command import smallest
from tests.support.trials import run, trial


@pytest.mark.parametrize(
    ("p", "size"), [(0.5, 1), (0.9, 10), (0.95, 20), (0.99, 100), (0.999, 1000), (0.75, 4)]
)
def test_quantile_is_not_the_maximum_from_its_size_on(p: float, size: int) -> None:
    assert fewest_for(p) == size
    if size > 1:
        assert quantile(range(size), p) == size - 2
        assert quantile(range(size - 1), p) == size - 2  # the maximum


def made(n: int, slowest_ms: float = 60, slo: str = "") -> Result:
    trials = [trial(i, slowest_ms if i == n // 2 else 50 + i % 10) for i in range(n)]
    return summarise(run(slo=[slo] if slo else []), trials)


@pytest.mark.parametrize(
    ("n", "shown"), [(1, ()), (4, ()), (19, ()), (20, ("p95",)), (99, ("p95",)), (100, ("p95", "p99"))]
)
def test_quantiles_of_too_few_trials_are_dashes_in_every_report(n: int, shown: tuple[str, ...]) -> None:
    (arm,) = made(n).arms
    p50, _, p95, p99, maximum = metric_cells(arm.metrics["ttfb"])
    assert (p95 != "-", p99 != "-") == ("p95" in shown, "p99" in shown)
    assert "-" not in (p50, maximum)
    for name in ("p95", "p99"):
        assert (overview_cell(arm, "ttfb", name) != "-") is (name in shown)
    assert (player_cells(arm)[0][-1] != "-") is ("p95" in shown)
    row = next(row for row in csv.DictReader(to_csv(made(n)).splitlines()) if row["metric"] == "ttfb")
    assert [name for name in ("p95", "p99") if row[name]] == list(shown)
    assert ("<title>ws/warm/c1 p95 " in to_html(made(n))) is ("p95" in shown)


def test_note_names_the_size_from_which_a_quantile_is_shown() -> None:
    assert notes(made(4).arms[0])[:2] == [
        "a quantile that would be the maximum is not shown: p95 from 20 trials, p99 from 100 trials",
        "open CI (?): p50 needs 6 trials",
    ]
    assert "not shown: p99 from 100 trials" in notes(made(30).arms[0])[0]
    assert not [note for note in notes(made(100).arms[0]) if "not shown" in note or "CI" in note]


@pytest.mark.parametrize("n", [4, 30])
def test_every_interval_that_is_mentioned_is_shown(n: int) -> None:
    found = made(n, slo="ttfb.p50<900ms")
    for text in (to_markdown(found), "\n".join(line for _, line in render(found, 200))):
        assert ("open CI" in text) is ("?]" in text)


PASS, MISSED, INCONCLUSIVE = 0, 20, 23


@pytest.mark.parametrize(
    ("n", "slowest_ms", "slo", "code", "end"),
    [
        # Too few for the quantile.
        (4, 60, "ttfb.p95<300ms", INCONCLUSIVE, "60.0 ms [53.0, ?]: INCONCLUSIVE (open CI: needs 20 trials)"),
        (19, 60, "ttfb.p95<300ms", INCONCLUSIVE, "INCONCLUSIVE (open CI: needs 20 trials)"),
        (30, 60, "ttfb.p99<300ms", INCONCLUSIVE, "INCONCLUSIVE (open CI: needs 100 trials)"),
        (100, 60, "ttfb.p99.9<300ms", INCONCLUSIVE, "INCONCLUSIVE (open CI: needs 1000 trials)"),
        (9, 60, "last_audio.p90<900ms", INCONCLUSIVE, "INCONCLUSIVE (open CI: needs 10 trials)"),
        (4, 900, "ttfb.p95<300ms", MISSED, "?]: FAIL (CI spans the limit)"),
        # An open interval, and every trial below the limit: the usual gate.
        (30, 60, "ttfb.p95<300ms", PASS, "?]: pass (open CI: needs 72 trials)"),
        (3, 60, "ttfb.p50<300ms", PASS, "pass"),
        (1, 60, "ttfb.p50<300ms", PASS, "pass"),
        # An open interval, and a trial above the limit.
        (30, 900, "ttfb.p95<300ms", INCONCLUSIVE, "[58.0, ?]: INCONCLUSIVE (open CI: needs 72 trials)"),
        (5, 900, "ttfb.p50<300ms", INCONCLUSIVE, "INCONCLUSIVE (open CI: needs 6 trials)"),
        (20, 900, "ttfb.p90<=300ms", INCONCLUSIVE, "INCONCLUSIVE (open CI: needs 36 trials)"),
        # A closed one: the estimate decides.
        (72, 900, "ttfb.p95<300ms", PASS, "pass (CI spans the limit)"),
        (30, 900, "ttfb.p50<300ms", PASS, "]: pass"),
        (30, 60, "ttfb.p50<40ms", MISSED, "]: FAIL"),
        # No interval at all.
        (4, 60, "ttfb.max<300ms", PASS, "pass"),
        (4, 60, "ttfb.mean<300ms", PASS, "pass"),
        (4, 60, "error_rate<1%", PASS, "pass"),
        (30, 60, "gap.p95<300ms", PASS, "pass"),
        # The other direction.
        (4, 60, "rtfx.p95>0.1", PASS, "2.000 [1.992, ?]: pass"),
        (4, 60, "rtfx.p95>1.995", INCONCLUSIVE, "INCONCLUSIVE (CI spans the limit)"),
        (5, 60, "audio.p50>=0.5s", PASS, "pass"),
    ],
)  # fmt: skip
def test_threshold_does_not_pass_by_too_few_trials(
    n: int, slowest_ms: float, slo: str, code: int, end: str
) -> None:
    found = made(n, slowest_ms, slo)
    (threshold,) = found.slo
    assert threshold_text(threshold).endswith(end) or threshold_text(threshold).startswith(end)
    assert (threshold.passed, threshold.inconclusive) == (code == PASS, code == INCONCLUSIVE)
    assert found.exit == code


def test_missed_threshold_outweighs_an_inconclusive_one() -> None:
    trials = [trial(n) for n in range(4)]
    assert summarise(run(slo=["ttfb.p95<300ms", "ttfb.p50<1ms"]), trials).exit == MISSED
    assert summarise(run(slo=["ttfb.p50<1ms", "ttfb.p95<300ms"]), trials).exit == MISSED


def merged(folder: Path, trials: list[Trial], slo: str, *options: str) -> tuple[int, str, list[str]]:
    (folder / "raw.jsonl").write_text("".join(raw_lines(run(slo=[slo]), trials)))
    ran = smallest(folder, "bench", "merge", "raw.jsonl", *options)
    return ran.code, ran.out.decode(), ran.lines


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_command_ends_with_23_and_names_the_threshold(options: tuple[str, ...], tmp_path: Path) -> None:
    code, _, lines = merged(tmp_path, [trial(n) for n in range(4)], "ttfb.p95<300ms", *options)
    assert code == INCONCLUSIVE
    assert lines == [
        "smallest: threshold: ttfb.p95<300ms  ws/warm/c1  50.0 ms [50.0, ?]: "
        "INCONCLUSIVE (open CI: needs 20 trials)"
    ]
