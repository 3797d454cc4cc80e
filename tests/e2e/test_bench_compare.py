"""`bench compare` as text, HTML and Markdown, on stdout and in files."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec.structs import replace

from smallest_cli.bench.compare import RunComparison, compare_runs
from smallest_cli.bench.report.export import comparison_to_markdown
from smallest_cli.bench.report.format import figure, interval
from smallest_cli.bench.report.html import comparison_to_html
from smallest_cli.bench.report.overlay import HEIGHT, MAX_POINTS, WIDTH, overlay
from smallest_cli.bench.results import summarise
from smallest_cli.bench.schema import Result
from smallest_cli.bench.storage import as_text
from tests.support.command import environment, smallest
from tests.support.programs import need
from tests.support.trials import TARGET, run, trial

ARMS = ["ws/warm/c1", "sse/warm/c1"]
METRICS = ["ttfb", "min_safe_buffer"]
HOSTILE = "<script>alert('x')</script>"


def made(factor: float, failed: int = 0, arms: list[str] = ARMS) -> Result:
    rng = random.Random(1)
    trials = [trial(n, factor * rng.uniform(98, 102), arm=arm) for arm in arms for n in range(60)]
    trials += [trial(60 + n, arm=arms[0], error="http_5xx") for n in range(failed)]
    target = TARGET | {"base_url": HOSTILE}
    return summarise(run(arms=arms, target=target), trials)


@pytest.fixture(scope="module")
def pair() -> tuple[Result, Result]:
    return made(1.0), made(1.2, failed=40)


@pytest.fixture(scope="module")
def compared(pair: tuple[Result, Result]) -> RunComparison:
    return compare_runs(*pair, METRICS, 0.02)


@pytest.fixture
def saved(pair: tuple[Result, Result], tmp_path: Path) -> Path:
    for name, result in zip("ab", pair, strict=True):
        (tmp_path / f"{name}.json").write_text(as_text(result))
    return tmp_path


class Page(HTMLParser):
    """The cells of each table row, the overall verdict, and the tags and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.overall, self._into = "", ""
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag == "tr":
            self.rows.append([])
        self._into = "cell" if tag == "td" else "overall" if given.get("id") == "overall" else ""

    def handle_data(self, data: str) -> None:
        if self._into == "cell":
            self.rows[-1].append(data)
        elif self._into == "overall":
            self.overall += data
        self._into = ""


def check_page(page: Page, compared: RunComparison, first: Result, second: Result) -> None:
    rows = [cells for cells in page.rows if cells]
    assert len(rows) == len(compared.comparisons) == 4
    for cells, row in zip(rows, compared.comparisons, strict=True):
        before, after = (
            next(arm for arm in result.arms if arm.id == row.arm).metrics[row.metric].p50
            for result in (first, second)
        )
        assert cells[:2] == [row.arm, f"{row.metric} ({row.unit})"]
        assert cells[3:6] == [f"{figure(each.v)} {interval(each)}" for each in (before, after, row.shift_ms)]
        assert cells[-1].split(";")[0] == row.verdict
    assert page.overall == "slower: more trials fail in B"
    assert page.tags.count("svg") == len(compared.comparisons)
    assert page.tags.count("polyline") == 2 * len(compared.comparisons)


def test_page_has_the_figures_without_scripts_or_network(
    pair: tuple[Result, Result], compared: RunComparison
) -> None:
    text = comparison_to_html(compared, *pair)
    page = Page(text)
    check_page(page, compared, *pair)
    assert page.addresses == []
    assert "script" not in page.tags
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert HOSTILE not in text
    assert "more failures: 0 of 60 (0.0%) in A, 40 of 100 (40.0%) in B" in text


def chromium(folder: Path, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    need("chromium")
    return subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={folder / 'profile'}", *options, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip


def test_chromium_renders_the_page(
    pair: tuple[Result, Result], compared: RunComparison, tmp_path: Path
) -> None:
    path = tmp_path / "compare.html"
    path.write_text(comparison_to_html(compared, *pair))
    done = chromium(tmp_path, path, "--dump-dom")
    check_page(Page(done.stdout), compared, *pair)
    assert "Refused" not in done.stderr  # the content security policy blocked nothing


def test_page_fits_a_narrow_window(
    pair: tuple[Result, Result], compared: RunComparison, tmp_path: Path
) -> None:
    """In a frame 400 pixels wide, the page is not wider than the frame."""
    probe = (
        "<script>const root = document.documentElement;"
        "document.title = root.scrollWidth - root.clientWidth</script>"
    )
    page = comparison_to_html(compared, *pair).replace("default-src 'none';", "script-src 'unsafe-inline';")
    (tmp_path / "inner.html").write_text(page.replace("</body>", f"{probe}</body>"))
    outer = tmp_path / "outer.html"
    outer.write_text(
        '<iframe src="inner.html" width="400" height="900" style="border: 0" onload="document.title = '
        "'w' + this.contentDocument.title\"></iframe>"
    )
    done = chromium(tmp_path, outer, "--allow-file-access-from-files", "--dump-dom")
    assert "<title>w0</title>" in done.stdout


def test_markdown_has_the_same_figures(pair: tuple[Result, Result], compared: RunComparison) -> None:
    lines = comparison_to_markdown(compared, *pair).splitlines()
    assert "**slower: more trials fail in B**" in lines
    table = [line for line in lines if line.startswith("|")]
    assert {line.count(" | ") for line in table if "---" not in line} == {7}
    assert len(table) == 2 + len(compared.comparisons)
    for line, row in zip(table[2:], compared.comparisons, strict=True):
        assert line.startswith(f"| {row.arm} |")
        assert f"{figure(row.shift_ms.v)} {interval(row.shift_ms)} |" in line
        assert f" {row.verdict}" in line
    assert HOSTILE not in "\n".join(lines)


def test_missing_arm_is_named_in_every_format(pair: tuple[Result, Result]) -> None:
    one = made(1.0, arms=ARMS[:1])
    compared = compare_runs(pair[0], one, [], 0.02)
    for text in (comparison_to_html(compared, pair[0], one), comparison_to_markdown(compared, pair[0], one)):
        assert "sse/warm/c1  not compared: B did not measure it" in text
        assert "inconclusive: B lacks figures that A has" in text


def test_arm_without_success_has_no_row() -> None:
    failing = summarise(run(arms=ARMS[:1]), [trial(n, error="dns") for n in range(9)])
    good = made(1.0, arms=ARMS[:1])
    compared = compare_runs(good, replace(failing, run=good.run), [], 0.02)
    for text in (
        comparison_to_html(compared, good, failing),
        comparison_to_markdown(compared, good, failing),
    ):
        assert "every trial of B failed" in text
        assert "A p50" not in text


@pytest.mark.parametrize("option", ["-o", "--output"])
@pytest.mark.parametrize("kind", ["text", "html", "md"])
def test_comparison_is_written_to_a_file(kind: str, option: str, saved: Path) -> None:
    ran = smallest(saved, "bench", "compare", "a.json", "b.json", "--format", kind, option, "out")
    assert (ran.code, ran.out) == (21, b"")
    assert ran.lines == ["smallest: slower: more trials fail in B"]
    direct = smallest(saved, "bench", "compare", "a.json", "b.json", "--format", kind, "-o", "-")
    assert (direct.code, direct.err) == (21, "")
    assert (saved / "out").read_bytes() == direct.out
    assert direct.out == smallest(saved, "bench", "compare", "a.json", "b.json", "--format", kind).out
    assert direct.out.startswith({"text": b"A vs B", "html": b"<!doctype html>", "md": b"# "}[kind])


def test_json_goes_to_stdout_beside_a_page_in_a_file(saved: Path) -> None:
    command = ["bench", "compare", "a.json", "b.json", "--json", "--format", "html"]
    ran = smallest(saved, *command, "-o", "out.html")
    assert ran.code == 21
    assert json.loads(ran.out)["verdict"] == "slower"
    assert "</html>" in (saved / "out.html").read_text()
    ran = smallest(saved, *command)
    assert (ran.code, json.loads(ran.out)["exit"]) == (2, 2)
    assert ran.lines[0] == "smallest: only one format can be written to stdout"


@pytest.mark.parametrize("name", ["a.json", "./b.json"])
def test_input_is_not_overwritten(name: str, saved: Path) -> None:
    before = (saved / name).read_bytes()
    ran = smallest(saved, "bench", "compare", "a.json", "b.json", "--format", "md", "-o", name)
    assert (ran.code, ran.out) == (2, b"")
    assert (saved / name).read_bytes() == before


def test_jinja2_is_imported_for_the_page_only(saved: Path) -> None:
    for kind, imported in (("text", False), ("md", False), ("html", True)):
        command = [sys.executable, "-X", "importtime", "-m", "smallest_cli", "bench", "compare"]
        done = subprocess.run(
            [*command, "a.json", "b.json", "--format", kind],
            cwd=saved, env=environment(saved), capture_output=True, text=True,
        )  # fmt: skip
        assert bool(re.search(r"\| +jinja2$", done.stderr, re.MULTILINE)) is imported


@pytest.mark.parametrize(
    "values",
    [
        [1.0],
        [0.0],
        [0.0, 5.0],
        [-60.0],
        [-31.5, -3.0],
        [-1.0, 0.0, 1.0],
        [5e-324],
        [5e-324, 1e18],
        [3.0] * 1000,
        [n / 7 for n in range(1, 1001)],
    ],
)
def test_curves_stay_within_the_chart(values: list[float]) -> None:
    drawn = overlay("x", values, [2 * value for value in values])
    for curve in drawn.curves:
        points = [tuple(map(float, pair.split(","))) for pair in curve.split()]
        assert points[0] == (0, HEIGHT)
        assert points[-1] == (WIDTH, 0)
        assert points == sorted(points, key=lambda point: (point[0], -point[1]))
        assert all(0 <= x <= WIDTH + 0.1 and 0 <= y <= HEIGHT for x, y in points)
        assert len(points) <= 2 * MAX_POINTS + 4
    assert all(0 <= x <= WIDTH + 0.1 for x, _ in drawn.ticks)
    assert all("e" not in label or values[0] < 1e-300 for _, label in drawn.ticks)
