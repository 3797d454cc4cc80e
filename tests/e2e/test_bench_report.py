"""Reports: HTML in a browser, terminal output, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from smallest_cli.bench.report.advice import advice
from smallest_cli.bench.report.export import to_csv, to_markdown
from smallest_cli.bench.report.format import figure
from smallest_cli.bench.report.html import to_html
from smallest_cli.bench.report.terminal import render
from smallest_cli.bench.results import summarise
from smallest_cli.bench.schema import Result
from smallest_cli.bench.storage import as_text, raw_lines, read_result
from smallest_cli.bench.trial import Trial
from smallest_cli.bench.workers import Progress
from smallest_cli.cli.commands.bench.display import progress_lines
from smallest_cli.errors import UsageError
from tests.support.command import environment, smallest
from tests.support.programs import need
from tests.support.trials import CALIBRATION, LOAD, MS, RATE, run, trial

ARMS = [f"{via}/{conn}/c1" for via in ("ws", "sse", "http") for conn in ("warm", "cold")]
HOSTILE = "<script>alert('x')</script>"


def gapped_trial(index: int, ttfb_ms: float, arm: str) -> Trial:
    """A trial whose audio arrives with a gap."""
    first = round(ttfb_ms * MS)
    times = (0, 50, 100, 100 + 40 * (index % 6) + 200, 420)
    chunks = tuple((first + at * MS, RATE // 10) for at in times)
    return trial(index, ttfb_ms, arm=arm, chunks=chunks, completed_ns=first + 500 * MS)


@pytest.fixture(scope="module")
def found() -> Result:
    trials = [
        gapped_trial(n, 80 + 20 * position + n % 13 * 3, arm)
        for position, arm in enumerate(ARMS)
        for n in range(40)
    ]
    failed = trial(41, arm=ARMS[0], error="http_5xx", message=f"the service answered 503: {HOSTILE}")
    calibration = CALIBRATION | {"verdict": "suspect", "reasons": ["a reason"]}
    return summarise(run(arms=ARMS, slo=["ttfb.p95<120ms"], calibration=calibration), [*trials, failed])


@pytest.mark.parametrize("field", ["sent_ns", "chunks"])
@pytest.mark.parametrize(
    "number", ["1" * 400, "1" * 5_000, "1e400", str(10**18), str(10**18 - 1), "0", "5e-324", "-1"]
)
def test_extreme_number_in_a_file_is_shown_or_refused(field: str, number: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    one_chunk = ((80 * MS, RATE),)
    trials = [trial(n, arm=ARMS[0], chunks=one_chunk) for n in range(3)]
    *lines, last = raw_lines(run(arms=ARMS[:1]), trials)
    pattern = rf'("{field}": \[*)\d+'
    path.write_text("".join([*lines, re.sub(pattern, rf"\g<1>{number}", last, count=1)]))
    try:
        read = read_result(path)
    except UsageError:
        return
    assert list(render(read, 80))
    assert to_html(read)
    assert to_markdown(read)


class Page(HTMLParser):
    """A parsed HTML report: figures by arm and name, texts, tags and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.figures: dict[tuple[str, str], str] = {}
        self.texts: dict[str, str] = {}
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self._into: list[Any] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        self._into = [tag, given]

    def handle_data(self, data: str) -> None:
        if not self._into:
            return
        _, given = self._into
        if "data-figure" in given:
            self.figures[given["data-arm"], given["data-figure"]] = data
        if "id" in given:
            self.texts[given["id"]] = self.texts.get(given["id"], "") + data

    def handle_endtag(self, tag: str) -> None:
        self._into = []


def check_page(page: Page, found: Result) -> None:
    for arm in found.arms:
        assert page.figures[arm.id, "ttfb.p50"] == figure(arm.metrics["ttfb"].p50.v)
        assert page.figures[arm.id, "ttfb.p99"] == "-"  # of 40 trials it would be the maximum
        safe = arm.metrics["min_safe_buffer"].p95.v if arm.streaming else None
        assert page.figures[arm.id, "min_safe_buffer.p95"] == figure(safe)
    assert page.texts["advice"] == advice(found)
    assert page.texts["verdict"] == "suspect"
    assert json.loads(page.texts["figures"])[ARMS[0]]["ttfb"] == found.arms[0].metrics["ttfb"].p50.v
    assert page.tags.count("figure") == 5


def test_chromium_renders_the_page_with_its_figures(found: Result, tmp_path: Path) -> None:
    need("chromium")
    path = tmp_path / "report.html"
    path.write_text(to_html(found))
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip
    check_page(Page(done.stdout), found)
    assert "Refused" not in done.stderr  # the content security policy blocked nothing


def test_html_is_self_contained_without_scripts(found: Result) -> None:
    text = to_html(found)
    page = Page(text)
    check_page(page, found)
    assert page.addresses == []
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert page.tags.count("script") == 1  # the figures, as JSON
    assert '<script type="application/json"' in text


def test_jinja2_is_imported_for_html_only(found: Result, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(as_text(found))
    for kind, imported in (("md", False), ("csv", False), ("html", True)):
        command = [sys.executable, "-X", "importtime", "-m", "smallest_cli", "bench", "report", "r.json"]
        done = subprocess.run(
            [*command, "--format", kind],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0
        assert bool(re.search(r"\| +jinja2$", done.stderr, re.MULTILINE)) is imported


def test_server_messages_are_escaped_in_html(found: Result) -> None:
    assert HOSTILE not in to_html(found)
    assert "&lt;script&gt;alert" in to_html(found)
    assert HOSTILE not in to_markdown(found)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_verbose_lines_fit_the_width(found: Result, width: int) -> None:
    lines = [line for _, line in render(found, width, verbose=True)]
    assert max(map(len, lines)) <= width
    shown = "\n".join(lines)
    assert "error_rate" not in shown
    assert "1 http_5xx (2.4%)" in shown
    assert "request sent, connection open -> first audio arrived" in shown
    assert "FAIL" in shown
    assert advice(found)[:40] in shown


def test_table_has_a_row_for_each_metric(found: Result) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    ttfb = next(row for row in rows if (row["arm"], row["metric"]) == (ARMS[0], "ttfb"))
    assert float(ttfb["p50"]) == found.arms[0].metrics["ttfb"].p50.v
    assert ttfb["p99_hi"] == ""
    assert "| ttfb (ms) | 40 |" in to_markdown(found)


def test_table_counts_trials_and_errors_of_every_arm() -> None:
    trials = [trial(0), *(trial(n, arm=SSE, error="http_5xx", message="503 *now*") for n in range(3))]
    found = summarise(run(arms=[WARM, SSE], interrupted=True), trials)
    rows = csv.DictReader(io.StringIO(to_csv(found)))
    counts = {(row["arm"], row["metric"]): row["n"] for row in rows if row["unit"] == "trials"}
    assert counts == {
        (WARM, "trials"): "1", (WARM, "ok"): "1",
        (SSE, "trials"): "3", (SSE, "ok"): "0", (SSE, "error http_5xx"): "3",
    }  # fmt: skip
    page = to_markdown(found)
    assert "in flight, interrupted" in page
    assert "- http\\_5xx: 503 \\*now\\*" in page


def test_markdown_marks_unstreamed_arms_and_missing_intervals(found: Result) -> None:
    arms = [replace(arm, streaming=arm.via != "http") for arm in found.arms]
    page = to_markdown(replace(found, arms=arms))
    assert "40 of 40 ok (not streamed: the reply is complete before it is sent)" in page
    assert "- gap has no interval: values of one trial depend on each other" in page


def test_gap_has_no_interval_and_every_report_says_why(found: Result) -> None:
    for text in (to_html(found), "\n".join(line for _, line in render(found, 80, verbose=True))):
        assert "gap has no interval: values of one trial depend on each other" in text
    assert "[?, ?]" not in to_html(found)


def test_arm_has_the_same_colour_in_every_chart() -> None:
    trials = [trial(n, arm=arm, error="dns" if arm == WARM else None) for n, arm in enumerate([WARM, SSE])]
    page = to_html(summarise(run(arms=[WARM, SSE]), trials))
    charts = page[page.index('<div class="charts">') :]
    assert charts.count('class="curve c1 d0"') == 2
    assert 'class="curve c0' not in charts


def test_closed_loop_states_its_limits(found: Result) -> None:
    for text in (to_html(found), to_markdown(found), " ".join(line.strip() for _, line in render(found, 80))):
        assert "it understates the waits of independent callers" in text
    late = summarise(run(arms=["ws/warm/r20"], load=OPEN, complete=False), queued_trials())
    assert "independent callers" not in to_html(late)
    assert "at most 5 in flight, incomplete" in to_html(late)
    short = run(complete=False, cut_short="--max-time")
    assert "1 in flight, ended early by --max-time" in to_markdown(summarise(short, [trial()]))


def test_ok_verdict_without_success_is_marked() -> None:
    lost = summarise(run(), [trial(0, error="dns")])
    assert ("bad", "verdict: ok, measurement overhead is negligible, but no trial succeeded") in [
        *render(lost, 80)
    ]
    assert "measurement overhead is negligible, but no trial succeeded" in to_html(lost)


def advice_for(trials: list[Trial], **fields: object) -> str:
    arms = list(dict.fromkeys(each.arm for each in trials))
    return advice(summarise(run(**{"arms": arms} | fields), trials))


def make_trials(
    arm: str, ttfb_ms: float, n: int = 60, failed: int = 0, error: str = "timeout_stall"
) -> list[Trial]:
    return [trial(i, ttfb_ms + i % 5, arm=arm, **({"error": error} if i < failed else {})) for i in range(n)]


WARM, SSE = "ws/warm/c1", "sse/warm/c1"


def test_faster_arm_is_recommended_with_its_buffer() -> None:
    text = advice_for([*make_trials(WARM, 50, 80), *make_trials(SSE, 90, 80)])
    assert text.startswith("Use ws with a warm connection: median first byte 52.0 ms")
    assert "95 % play without a gap with no buffer" in text
    assert "TTFA" not in text


def test_few_trials_give_no_statement_about_shares() -> None:
    assert "all 5 play without a gap with no buffer, too few" in advice_for(make_trials(WARM, 50, 5))
    text = advice_for([gapped_trial(n, 50, WARM) for n in range(5)])
    assert "ms of buffer, too few for a statement about 90 %" in text
    assert "p95" not in text


def test_overlapping_intervals_show_no_significant_difference() -> None:
    text = advice_for([*make_trials(WARM, 50), *make_trials(SSE, 51)])
    assert "No significant difference between ws/warm/c1 and sse/warm/c1" in text
    assert "Use " not in text


def test_failing_arm_is_not_recommended_and_its_errors_are_named() -> None:
    text = advice_for([*make_trials(WARM, 50, failed=59), *make_trials(SSE, 90)])
    assert text.startswith("Use sse")
    assert "ws/warm/c1, 59 of 60 trials (59 timeout_stall)" in text
    text = advice_for([*make_trials(WARM, 50, failed=24), *make_trials(SSE, 90, failed=24)])
    assert text.startswith("No recommendation: too many trials failed.")
    assert "24 of 60 trials" in text


def test_one_http_429_does_not_replace_the_recommendation() -> None:
    text = advice_for([*make_trials(WARM, 50, failed=1, error="http_429"), *make_trials(SSE, 90)])
    assert text.startswith("Use ws")
    assert "1 of 120 trials failed (http_429)" in text
    assert "-c" not in text


def test_http_429_is_explained_as_the_account_limit() -> None:
    limited = make_trials(WARM, 50, failed=30, error="http_429")
    assert "something else is using the account" in advice_for(limited)
    assert "not latency: measure again with a smaller -c" in advice_for(
        limited, load=LOAD | {"concurrency": 4}
    )


def late_end_trials(arm: str, tail_ms: int) -> list[Trial]:
    """Trials whose end marker comes `tail_ms` after the last audio."""
    return [replace(each, completed_ns=each.chunks[-1][0] + tail_ms * MS) for each in make_trials(arm, 50, 5)]


def test_late_end_marker_is_reported_with_what_follows() -> None:
    over_ws = (
        "The end marker comes 4.0 s after the last audio (ws/warm/c1): "
        "a run over ws waits for it at its end, one over sse does not."
    )
    assert over_ws in advice_for([*late_end_trials(WARM, 4000), *late_end_trials(SSE, 0)])
    both = advice_for([*late_end_trials(WARM, 1200), *late_end_trials(SSE, 4000)])
    assert "4.0 s after the last audio (ws/warm/c1, sse/warm/c1): a run waits for it at its end." in both
    assert "end marker" not in advice_for(late_end_trials(WARM, 1000))


def test_invalid_run_gives_no_recommendation() -> None:
    text = advice_for(make_trials(WARM, 50), calibration=CALIBRATION | {"verdict": "invalid"})
    assert text.startswith("No recommendation")
    assert "no recommendation" in advice_for([trial(1, error="dns")])


OPEN = {"model": "open", "concurrency": 5, "rate": 20.0, "arrival": "poisson", "count": 60}


def queued_trials() -> list[Trial]:
    """Trials that were sent three seconds after they were due."""
    return [
        trial(n, 200 + n % 5, arm="ws/warm/r20", scheduled_ns=n * 1000 * MS + 11 * MS - 3000 * MS)
        for n in range(60)
    ]


def test_open_loop_latency_counts_from_the_scheduled_time() -> None:
    late = summarise(run(arms=["ws/warm/r20"], load=OPEN), queued_trials())
    assert "median first byte 3202 ms [3201, 3203] of the scheduled time" in advice(late)
    both = [*queued_trials(), *(replace(each, arm="sse/warm/r20", via="sse") for each in queued_trials())]
    assert "3202 ms of the scheduled time." in advice_for(both, load=OPEN)
    lines = [line for _, line in render(late, 80)]
    head = next(position for position, line in enumerate(lines) if "e2e p50" in line)
    assert lines[head + 1].split()[:3] == ["ws/warm/r20", "60/60", "3202"]
    page = Page(to_html(late))
    assert page.figures["ws/warm/r20", "ttfb_e2e.p50"] == "3202"
    assert page.figures["ws/warm/r20", "ttfb.p50"] == "202.0"


def test_empty_result_can_be_rendered() -> None:
    empty = summarise(run(), [])
    assert "No trial succeeded" in to_html(empty)
    assert "No trial succeeded" in to_markdown(empty)
    assert any("No trial succeeded" in line for _, line in render(empty, 80))


def test_progress_lines() -> None:
    progress = Progress(10)
    for n in range(3):
        progress.start_trial()
        progress.finish_trial(trial(n, 50 + n, error="dns" if n == 2 else None))
    progress.start_trial()
    lines = progress_lines(progress)
    assert "3 of 10 trials" in lines[0]
    assert "1 in flight" in lines[0]
    assert "p50 50.0 ms  p95 - ms" in lines[1]
    assert lines[2] == "errors: 1 dns"


def test_report_writes_every_format(found: Result, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(as_text(found))
    ran = smallest(tmp_path, "bench", "report", "r.json", "-o", "r.html", "-o", "r.csv", "-o", "-")
    assert ran.code == 0, ran.err
    assert ran.out.decode() == to_markdown(found)
    assert (tmp_path / "r.html").read_text() == to_html(found)
    assert (tmp_path / "r.csv").read_text() == to_csv(found).replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("name", "code", "lines"),
    [
        ("", 2, ["smallest: --output is empty", "  unset shell variable?"]),
        (".", 10, ["smallest: cannot write .: it is a directory"]),
    ],
)
def test_invalid_output_name_is_reported(
    name: str, code: int, lines: list[str], found: Result, tmp_path: Path
) -> None:
    (tmp_path / "r.json").write_text(as_text(found))
    ran = smallest(tmp_path, "bench", "report", "r.json", "-o", name)
    assert (ran.code, ran.out) == (code, b"")
    assert ran.lines == lines


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("compare", "a", "b", "--metric="), "--metric"),
        (("merge", "a", "--jsonl="), "--jsonl"),
        (("merge", "a", "--save="), "--save"),
    ],
)
def test_empty_option_value_is_refused(words: tuple[str, ...], option: str, tmp_path: Path) -> None:
    ran = smallest(tmp_path, "bench", *words)
    assert (ran.code, ran.out) == (2, b"")
    assert ran.lines == [f"smallest: {option} is empty", "  unset shell variable?"]
