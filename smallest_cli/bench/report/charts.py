"""Charts of a result as inline SVG without scripts or other files; colours are classes set by the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from smallest_cli.bench.schema import ArmResult, Estimate, Sweep, Timeline
from smallest_cli.errors import plural
from smallest_cli.security import printable

MAX_LENGTH = 10_000
WIDTH, LABEL, RIGHT = 760, 130, 14
ROW = 54
BINS = 60
COLOURS = 6
CURVE_POINTS = 60
MIN_TICK_GAP = 52
TICK_STEPS = (1, 2, 5)
NARROW_TICK_STEPS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)


def markup(text: object) -> str:
    """Escape text for HTML, and for a terminal to which the page is printed."""
    return escape(printable(text, MAX_LENGTH), quote=True)


def _svg(height: float, parts: Sequence[str], label: str) -> str:
    body = "\n".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{markup(label)}">\n{body}\n</svg>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{markup(text)}</text>'


def _box(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    tooltip = f"<title>{markup(title)}</title>" if title else ""
    size = f'width="{max(width, 0.6):.1f}" height="{height:.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} class="{kind}">{tooltip}</rect>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


class _LogAxis:
    """A logarithmic axis of milliseconds."""

    def __init__(self, values: Sequence[float]) -> None:
        self._low = math.log10(min(values) * 0.9)
        self._high = math.log10(max(values) * 1.1)

    def x(self, value: float) -> float:
        return LABEL + self._share(value) * (WIDTH - LABEL - RIGHT)

    def bin(self, value: float) -> int:
        return min(BINS - 1, int(self._share(value) * BINS))

    def _share(self, value: float) -> float:
        if value <= 0:  # not representable on a logarithmic axis
            return 0.0
        return min(1.0, max(0.0, (math.log10(value) - self._low) / (self._high - self._low)))

    def edge(self, number: int) -> float:
        return LABEL + number / BINS * (WIDTH - LABEL - RIGHT)

    def ticks(self) -> list[float]:
        """Return round values, more of them on a short axis."""
        steps = NARROW_TICK_STEPS if self._high - self._low < 0.8 else TICK_STEPS
        exponents = range(math.floor(self._low), math.ceil(self._high) + 1)
        ticks: list[float] = []
        for value in (step * 10.0**exponent for exponent in exponents for step in steps):
            apart = not ticks or self.x(value) - self.x(ticks[-1]) > MIN_TICK_GAP
            if value and self._low <= math.log10(value) <= self._high and apart:
                ticks.append(value)
        return ticks


def distributions(arms: Sequence[ArmResult], metric: str) -> str:
    """Draw a histogram for each arm on one logarithmic axis, with its trials as ticks and p50 and p95 as
    lines."""
    # The colour of an arm is its index among all arms: the same in every chart.
    shown = [(number, arm) for number, arm in enumerate(arms) if arm.samples.of(metric)]
    values = [value for _, arm in shown for value in arm.samples.of(metric) if value]
    if not values:
        return ""
    axis, parts = _LogAxis(values), []
    bottom = 8 + ROW * len(shown)
    for tick in axis.ticks():
        parts.append(_line(axis.x(tick), 4, axis.x(tick), bottom, "grid"))
        parts.append(_text(axis.x(tick), bottom + 16, f"{tick:g} ms", "tick", "middle"))
    for place, (number, arm) in enumerate(shown):
        parts += _histogram(arm, metric, axis, 8 + ROW * place, f"c{number % COLOURS}")
    return _svg(bottom + 24, parts, f"distribution of {metric} for each arm, logarithmic")


def _histogram(arm: ArmResult, metric: str, axis: _LogAxis, top: float, kind: str) -> list[str]:
    values = [value for value in arm.samples.of(metric) if value]
    counts = [0] * BINS
    for value in values:
        counts[axis.bin(value)] += 1
    base, high = top + ROW - 16, ROW - 22
    parts = [_text(0, base - 4, arm.id, "name"), _text(0, base + 9, f"n {len(values)}", "tick")]
    for number, count in enumerate(counts):
        if count:
            left, height = axis.edge(number), count / max(counts) * high
            width = axis.edge(number + 1) - left - 1
            parts.append(_box(left, base - height, width, height, kind, plural(count, "trial")))
    parts += [_line(axis.x(value), base + 2, axis.x(value), base + 8, f"rug {kind}") for value in values]
    for name in ("p50", "p95"):
        x = axis.x(arm.metrics[metric].quantile(name).v)
        parts += [_line(x, top + 2, x, base, "mark"), _text(x + 3, top + 9, name, "tick")]
    return parts


def waterfall(arm: ArmResult) -> str:
    """Draw the timelines of the median and the worst trial: connecting, waiting, arrivals and playback."""
    if not arm.drawn:
        return ""
    total = max(map(_end, arm.drawn.values())) or 1.0
    scale = (WIDTH - LABEL - RIGHT) / total
    parts: list[str] = []
    for number, (name, timeline) in enumerate(arm.drawn.items()):
        parts += _timeline(name, timeline, 6 + 48 * number, scale)
    bottom = 6 + 48 * len(arm.drawn)
    parts += _linear_ticks(total, LABEL, total * scale, bottom + 12)
    return _svg(bottom + 20, parts, f"timelines of two trials of {arm.id}")


def _end(timeline: Timeline) -> float:
    last, audio = timeline.arrivals[-1]
    # Truncate playback that would squeeze the arrivals.
    played = min(last + audio, 3 * timeline.last_audio)
    return sum(timeline.connect.values()) + max(timeline.complete or 0.0, timeline.last_audio, played)


def _linear_ticks(total: float, left: float, width: float, y: float) -> list[str]:
    step = 10.0 ** math.floor(math.log10(max(total, 1e-3)))
    step = step / 5 if total / step < 2 else step / 2 if total / step < 5 else step
    parts, tick = [], 0.0
    while tick <= total * 0.97:
        parts.append(_text(left + tick / total * width, y, f"{tick:g} ms", "tick", "middle"))
        tick += step
    return parts


def _timeline(name: str, timeline: Timeline, top: float, scale: float) -> list[str]:
    parts = [_text(0, top + 14, f"{name} trial", "name"), _text(0, top + 28, f"no. {timeline.trial}", "tick")]
    at = 0.0
    for step, ms in timeline.connect.items():
        parts.append(_box(LABEL + at * scale, top, ms * scale, 18, step, f"{step} {ms:.2f} ms"))
        at += ms
    title = f"ttfb {timeline.ttfb:.2f} ms"
    parts.append(_box(LABEL + at * scale, top, timeline.ttfb * scale, 18, "wait", title))
    for arrived, audio in timeline.arrivals:
        x = LABEL + (at + arrived) * scale
        parts.append(_box(x, top, 1.4, 18, "arrival", f"{audio:.0f} ms of audio at {arrived:.1f} ms"))
        width = min(audio * scale, WIDTH - RIGHT - x)
        parts.append(_box(x, top + 22, width, 7, "audio", "the audio that arrived"))
    if timeline.complete is not None:
        x = LABEL + (at + timeline.complete) * scale
        parts.append(_line(x, top - 2, x, top + 30, "mark"))
    return parts


def smoothness(arms: Sequence[ArmResult]) -> str:
    """Draw the share of trials without a stall by prebuffer: those whose smallest safe buffer it covers."""
    numbered = [(number, arm, arm.samples.of("min_safe_buffer")) for number, arm in enumerate(arms)]
    shown = [(number, arm, needs) for number, arm, needs in numbered if needs]
    if not shown:
        return ""
    longest = max(max(needs) for _, _, needs in shown) * 1.1 or 100.0
    left, top, height = 46.0, 10.0, 170.0
    across = WIDTH - left - RIGHT
    parts: list[str] = []
    for share in (0, 25, 50, 75, 100):
        y = top + height * (1 - share / 100)
        parts.append(_line(left, y, WIDTH - RIGHT, y, "grid"))
        parts.append(_text(left - 6, y + 4, f"{share} %", "tick", "end"))
    parts += _linear_ticks(longest, left, across, top + height + 16)
    for place, (number, arm, needs) in enumerate(shown):
        points = _curve(sorted(needs), longest)
        path = " ".join(f"{left + x * across:.1f},{top + height * (1 - y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" class="curve c{number % COLOURS}"/>')
        x, y = left + (place % 3) * 220, top + height + 36 + 16 * (place // 3)
        parts += [_box(x, y - 9, 18, 9, f"c{number % COLOURS}"), _text(x + 24, y, arm.id, "tick")]
    rows = (len(shown) + 2) // 3
    return _svg(top + height + 32 + 16 * rows, parts, "share of trials without a stall by prebuffer")


def sweep_chart(sweep: Sweep) -> str:
    """Draw throughput and ttfb p95 with their intervals by concurrency, and the knee as a dashed line."""
    left, top, height, gap = 56.0, 18.0, 120.0, 46.0
    rows: tuple[tuple[str, list[Estimate | None]], ...] = (
        ("trials/s", [each.trials_per_s for each in sweep.levels]),
        ("ttfb p95, ms", [each.ttfb_p95 for each in sweep.levels]),
    )
    step = (WIDTH - left - RIGHT) / len(sweep.levels)
    xs = [left + step * (number + 0.5) for number in range(len(sweep.levels))]
    bottom = top + len(rows) * height + gap
    parts: list[str] = []
    for x, each in zip(xs, sweep.levels, strict=True):
        parts.append(_text(x, bottom + 16, f"{each.concurrency} in flight", "tick", "middle"))
        if each.concurrency == sweep.knee:
            parts += [_line(x, top - 6, x, bottom, "mark"), _text(x + 4, top, "knee", "tick")]
    for row, (title, values) in enumerate(rows):
        base = top + height + row * (height + gap)
        parts.append(_text(left, base - height - 6, title, "name"))
        parts.append(_line(left, base, WIDTH - RIGHT, base, "grid"))
        parts += _points(xs, values, base, height, f"c{2 * row}")
    return _svg(bottom + 24, parts, f"throughput and ttfb p95 by concurrency, {sweep.why}")


def _points(
    xs: Sequence[float], values: Sequence[Estimate | None], base: float, height: float, kind: str
) -> list[str]:
    """Draw each estimate as a point with its interval, on a curve from `base` up to `height`."""
    drawn = [(x, each) for x, each in zip(xs, values, strict=True) if each]
    scale = height / (max((max(each.v, each.hi or 0.0) for _, each in drawn), default=0.0) or 1.0)
    path = " ".join(f"{x:.1f},{base - each.v * scale:.1f}" for x, each in drawn)
    parts = [f'<polyline points="{path}" class="curve {kind}"/>']
    for x, each in drawn:
        low, high = (each.v if bound is None else bound for bound in (each.lo, each.hi))
        y = base - each.v * scale
        parts.append(_line(x, base - low * scale, x, base - high * scale, f"rug {kind}"))
        parts += [_box(x - 3, y - 3, 6, 6, kind), _text(x + 6, y - 5, f"{each.v:.4g}", "tick")]
    return parts


def _curve(needs: Sequence[float], longest: float) -> list[tuple[float, float]]:
    """Return the steps of the curve, downsampled if there are many."""
    thin = max(1, len(needs) // CURVE_POINTS)
    points = [(0.0, sum(need <= 0 for need in needs) / len(needs))]
    for number, need in enumerate(needs, 1):
        if need > 0 and (number % thin == 0 or number == len(needs)):
            points += [(need / longest, points[-1][1]), (need / longest, number / len(needs))]
    return [*points, (1.0, points[-1][1])]
