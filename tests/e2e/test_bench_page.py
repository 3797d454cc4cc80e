"""The HTML report of `bench` in a browser: width of a phone and of a desk, light and dark."""

from __future__ import annotations

import html
import json
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from smallest_cli.bench.report.charts import Scale
from smallest_cli.bench.report.html import to_html
from smallest_cli.bench.results import summarise
from smallest_cli.bench.schema import Result
from tests.support.programs import need
from tests.support.trials import CALIBRATION, MS, RATE, run, trial

ARMS = [f"{via}/{conn}/c1" for via in ("ws", "sse", "http") for conn in ("warm", "cold")]
SWEEP = [f"{via}/warm/c{users}" for users in (1, 2, 4, 8, 16, 32, 64) for via in ("ws", "sse")]
MESSAGE = "the service answered 503: <b>no</b> " + "unbroken" * 40
# Pages must be looked at from outside: their policy allows no script. The tags of the frames are set below.
EXAMINE = """
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const linear = v => v / 255 <= .03928 ? v / 3294.6 : ((v / 255 + .055) / 1.055) ** 2.4;
const light = ([r, g, b]) => .05 + .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
const contrast = (a, b) => Math.max(light(a) / light(b), light(b) / light(a));  // WCAG 2
const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
function examine(frame) {
    const page = frame.contentDocument, style = node => frame.contentWindow.getComputedStyle(node);
    const box = node => node.getBoundingClientRect();
    const found = { width: page.documentElement.scrollWidth, height: page.body.scrollHeight, smallest: 99,
        ground: rgb(style(page.body).backgroundColor), contrast: 99, over: [], outside: [] };
    for (const closed of page.querySelectorAll("details")) closed.open = true;
    for (const drawn of page.querySelectorAll("figure svg")) {
        const texts = [...drawn.querySelectorAll("text")], bars = [...drawn.querySelectorAll("rect, circle")];
        const scale = box(drawn).width / drawn.viewBox.baseVal.width;
        for (const text of texts) {
            const size = parseFloat(style(text).fontSize) * scale;
            found.smallest = Math.min(found.smallest, size);
            found.contrast = Math.min(found.contrast, contrast(rgb(style(text).fill), found.ground));
            if ([...bars, ...texts].some(other => other !== text && meet(box(text), box(other))))
                found.over.push(text.textContent);
            if (box(text).left < box(drawn).left - 1 || box(text).right > box(drawn).right + 1)
                found.outside.push(text.textContent);
        }
    }
    for (const node of page.querySelectorAll("p, dt, dd, th, td, summary, span"))
        if (node.textContent.trim() && box(node).height) {
            found.smallest = Math.min(found.smallest, parseFloat(style(node).fontSize));
            found.contrast = Math.min(found.contrast, contrast(rgb(style(node).color), found.ground));
            if (box(node).right > frame.clientWidth) found.outside.push(node.textContent.slice(0, 40));
        }
    return found;
}
onload = () => {
    const found = [...document.querySelectorAll("iframe")].map(examine);
    document.getElementById("found").textContent = JSON.stringify(found);
};
"""
VIEWS = [(width, scheme) for width in (400, 1280) for scheme in ("light", "dark")]


def examined(page: str, folder: Path) -> list[dict[str, Any]]:
    """What Chromium shows of a page in each of `VIEWS`: sizes, overlaps, contrast."""
    need("chromium")
    frames = "".join(
        f'<iframe style="border: 0; width: {width}px; height: 4000px; color-scheme: {scheme}" '
        f'srcdoc="{html.escape(page)}"></iframe>'
        for width, scheme in VIEWS
    )
    path = folder / "frames.html"
    path.write_text(f'<meta charset="utf-8">{frames}<pre id="found"></pre><script>{EXAMINE}</script>')
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip
    shown = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert shown
    found = json.loads(html.unescape(shown[1]))
    assert isinstance(found, list)
    return found


def measured(arms: list[str], trials: int = 20) -> Result:
    """A run with failures, gaps between arrivals, missed thresholds and a suspect verdict."""
    chance = random.Random(7)
    made = []
    for index in range(trials * len(arms)):
        arm = arms[index % len(arms)]
        first = round(chance.lognormvariate(4.4, 0.6) * MS)
        times = [sum(chance.choices((20, 60, 260), k=n)) for n in range(6)]
        chunks = tuple((first + at * MS, RATE // 10) for at in sorted(times))
        failed = {"error": "http_5xx", "message": MESSAGE} if chance.random() < 0.1 else {}
        made.append(trial(index, arm=arm, chunks=chunks, completed_ns=chunks[-1][0] + 40 * MS, **failed))
    warmups = [trial(-1, arm=arms[0], phase="warmup", error="dns")]
    calibration = CALIBRATION | {"verdict": "suspect", "reasons": ["scheduler delay p99 20.9 ms"]}
    conditions = run(
        arms=arms, slo=["ttfb.p95<120ms", "error_rate<1%"], calibration=calibration,
        client={"tool": "smallest 0.1.0", "python": "3.11", "cpus": 2},
    )  # fmt: skip
    return summarise(conditions, [*made, *warmups])


@pytest.mark.parametrize("arms", [ARMS, ARMS[:1], SWEEP], ids=["six", "one", "fourteen"])
def test_page_is_readable_on_a_phone_and_in_the_dark(arms: list[str], tmp_path: Path) -> None:
    for (width, scheme), found in zip(VIEWS, examined(to_html(measured(arms)), tmp_path), strict=True):
        view = f"{width} px, {scheme}"
        assert found["width"] <= width, view
        assert found["outside"] == [], view
        assert found["over"] == [], view
        assert found["smallest"] >= 10, view
        assert found["contrast"] >= 4.5, view
        assert (sum(found["ground"][:3]) < 3 * 128) is (scheme == "dark"), view
        assert found["height"] < 5000 + 400 * len(arms), view


def test_page_answers_what_a_reader_asks() -> None:
    page = to_html(measured(ARMS))
    for fact in (
        "tool smallest 0.1.0", "cpus 2", "2026-11-21T00:00:00", "120 in 6 arms, seed 7",
        "1 of 40 to 40 characters",
        "warm-ups: 1 of 1 failed (1 dns)", "<dt>Measurement error</dt><dd>p50 0.20 ms, p99 0.90 ms",
        "<dt>Scheduler delay</dt><dd>p50 0.10 ms", "<td>ttfb.p95&lt;120ms</td><td>ws/warm/c1</td>",
        "Trials over time", "the service answered 503: &lt;b&gt;no&lt;/b&gt;", "scheduler delay p99 20.9 ms",
    ):  # fmt: skip
        assert fact in page, fact
    assert page.count("<dt>ttfb (ms)</dt>") == 1
    assert page.count("first audio arrived (no headers)") == 1  # one glossary for all arms


def test_arms_beyond_the_colours_differ_by_their_dashes() -> None:
    page = to_html(measured(SWEEP))
    for number in range(len(SWEEP)):
        assert f'class="curve c{number % 6} d{number // 6}"' in page


@pytest.mark.parametrize("log", [False, True])
def test_axis_has_two_to_six_ticks_within_its_range(log: bool) -> None:
    chance = random.Random(3)
    for _ in range(5000):
        low = 10 ** chance.uniform(-6, 12)
        scale = Scale(low, low * (1 + 10 ** chance.uniform(-0.7, 9)), 0, 300, log=log)
        ticks = scale.ticks()
        assert 2 <= len(ticks) <= 6
        assert ticks == sorted(set(ticks))
        assert low * 0.999 <= ticks[0] < ticks[-1]
        assert 0 <= scale.at(ticks[0]) < scale.at(ticks[-1]) <= 300
