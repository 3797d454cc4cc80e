"""Charts of a result as inline SVG without scripts or other files; colours are classes set by the page.

A chart is as wide as the text column of a phone, so that its text is never scaled down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape

from smallest_cli.bench.report.format import figure, interval, plain
from smallest_cli.bench.schema import ArmResult, Estimate, Sweep, Timeline
from smallest_cli.bench.stats.quantiles import fewest_for
from smallest_cli.security import printable

MAX_LENGTH = 10_000
WIDTH, HEIGHT, LEFT, TOP, RIGHT = 400, 200, 48, 8, 12
COLOURS = 6
MAX_POINTS = 400
MAX_TICKS = 6
MAX_LABELS = 50  # characters that fit beside each other under a chart
MAX_NAME = 32  # characters of an arm id in a chart
SMALLEST = 1e-9  # ms; shorter times, which only a file can have, are drawn as this
ROW = 40  # height of a timeline
PERCENTILES = {"p50": 50, "p95": 95, "p99": 99}


class Scale:
    """Map milliseconds from `low` to `high` to pixels from `start` to `end`; linearly, or by logarithms."""

    def __init__(self, low: float, high: float, start: float, end: float, *, log: bool = False) -> None:
        self._low, self._high = low, high
        self._start, self._end, self._log = start, end, log

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float) -> Scale:
        """Return a logarithmic scale of positive values."""
        low, high = (max(value, SMALLEST) for value in (min(values), max(values)))
        return cls(low * 0.9, high * 1.1, start, end, log=True)

    def at(self, value: float) -> float:
        """Return the pixel of a value, that of the nearest end for a value outside."""
        low, high = self._low, self._high
        value = min(max(value, low), high)
        share = math.log(value / low, high / low) if self._log else (value - low) / (high - low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Return two or more round values, whose labels have space beside each other."""
        low, high = self._low, self._high
        if not self._log or high / low < 8:
            found = _round_values(low, high)
        else:
            exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            decades = [10.0**exponent for exponent in exponents]
            finer = [step * decade for decade in decades for step in (1, 2, 5)]
            found, coarse = ([value for value in each if low <= value <= high] for each in (finer, decades))
            if len(found) > MAX_TICKS:
                found = coarse[:: math.ceil(len(coarse) / MAX_TICKS)]
        fit = sum(len(plain(value)) + 1 for value in found) <= MAX_LABELS
        return found if fit else [found[0], found[-1]]


def _round_values(low: float, high: float) -> list[float]:
    """Return two to `MAX_TICKS` multiples of 1, 2 or 5 times a power of ten."""
    least = (high - low) / (MAX_TICKS - 1)
    step = 10.0 ** math.floor(math.log10(least))
    step *= next((times for times in (1, 2, 5) if step * times >= least), 10)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [number * step for number in range(first, last + 1)]


def markup(text: object) -> str:
    """Escape text for HTML, and for a terminal to which the page is printed."""
    return escape(printable(text, MAX_LENGTH), quote=True)


def colour(number: int) -> str:
    """Return the classes of the arm with this index among all arms: the same in every chart."""
    return f"c{number % COLOURS} d{number // COLOURS % 3}"


def _svg(height: float, parts: Sequence[str], label: str) -> str:
    body = "\n".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{markup(label)}">\n{body}\n</svg>'


def _text(x: float, y: float, text: str, kind: str = "tick", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{markup(text)}</text>'


def _box(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    tooltip = f"<title>{markup(title)}</title>" if title else ""
    size = f'width="{max(width, 0.6):.1f}" height="{height:.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} class="{kind}">{tooltip}</rect>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _curve(points: Sequence[tuple[float, float]], number: int) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" class="curve {colour(number)}"/>'


def _dot(x: float, y: float, radius: float, number: int, title: str) -> str:
    at = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius}"'
    return f'<circle {at} class="{colour(number)}"><title>{markup(title)}</title></circle>'


def _across(scale: Scale, bottom: float, unit: str = "ms") -> Iterator[str]:
    """Draw a horizontal axis: grid, labels under `bottom`, and the unit under the last label."""
    for value in scale.ticks():
        yield _line(scale.at(value), TOP, scale.at(value), bottom, "grid")
        yield _text(scale.at(value), bottom + 14, plain(value), anchor="middle")
    yield _text(WIDTH - RIGHT, bottom + 28, unit, anchor="end")


def _up(marks: Mapping[float, str], at: Callable[[float], float]) -> Iterator[str]:
    """Draw a vertical axis: a line and a label for each mark."""
    for value, label in marks.items():
        yield _line(LEFT, at(value), WIDTH - RIGHT, at(value), "grid")
        yield _text(LEFT - 5, at(value) + 4, label, anchor="end")


def _share_at(percent: float) -> float:
    return TOP + HEIGHT * (1 - percent / 100)


def _thinned(values: Sequence[float]) -> list[tuple[float, float]]:
    """Return at most about `MAX_POINTS` of the values in order, each with the percentage up to it."""
    ordered, stride = sorted(values), max(1, len(values) // MAX_POINTS)
    kept = {*range(0, len(ordered), stride), len(ordered) - 1}
    return [(ordered[index], 100 * (index + 1) / len(ordered)) for index in sorted(kept)]


def _steps(values: Sequence[float], scale: Scale, start: float) -> list[tuple[float, float]]:
    """Return the points of a cumulative distribution that begins at the value `start`."""
    points, share = [(scale.at(start), _share_at(0))], 0.0
    for value, upto in _thinned(values):
        points += [(scale.at(value), _share_at(share)), (scale.at(value), _share_at(upto))]
        share = upto
    return [*points, (float(WIDTH - RIGHT), _share_at(share))]


def distributions(arms: Sequence[ArmResult], metric: str) -> str:
    """Draw the cumulative distribution of each arm on one logarithmic axis, with percentiles marked."""
    shown = [(number, arm.samples.of(metric)) for number, arm in enumerate(arms)]
    values = [value for _, each in shown for value in each if value]
    if not values:
        return ""
    scale = Scale.of(values, LEFT, WIDTH - RIGHT)
    marks: dict[float, str] = {0: "0 %", 50: "p50", 95: "p95", 99: ""}  # p99 has no space for a label
    parts = [*_up(marks, _share_at), *_across(scale, TOP + HEIGHT)]
    for number, each in shown:
        if each:
            parts.append(_curve(_steps(each, scale, 0.0), number))
            parts += _percentiles(arms[number], metric, scale, number)
    return _svg(TOP + HEIGHT + 32, parts, f"cumulative distribution of {metric} for each arm")


def _percentiles(arm: ArmResult, metric: str, scale: Scale, number: int) -> Iterator[str]:
    for name, share in PERCENTILES.items():
        if arm.metrics[metric].n < fewest_for(share / 100):
            continue
        value = arm.metrics[metric].quantile(name).v
        title = f"{arm.id} {name} {figure(value)} ms"
        yield _dot(scale.at(value), _share_at(share), 3, number, title)


def drift(arms: Sequence[ArmResult], metric: str) -> str:
    """Draw the trials of each arm in the order in which they began."""
    shown: list[tuple[int, list[tuple[int, float]]]] = []
    for number, arm in enumerate(arms):
        values = getattr(arm.samples, metric) or []
        if len(values) == len(arm.samples.trial):  # a result from histograms has no order
            pairs = zip(arm.samples.trial, values, strict=True)
            shown.append((number, [(trial, value) for trial, value in pairs if value]))
    points = [point for _, each in shown for point in each]
    if not points:
        return ""
    first, last = min(trial for trial, _ in points), max(trial for trial, _ in points)
    across = Scale(first, max(last, first + 5), LEFT, WIDTH - RIGHT)
    up = Scale.of([value for _, value in points], TOP + HEIGHT, TOP)
    parts = [*_up({value: plain(value) for value in up.ticks()}, up.at)]
    parts += _across(across, TOP + HEIGHT, "number of the trial")
    for number, each in shown:
        for trial, value in each[:: max(1, len(each) // MAX_POINTS)]:
            title = f"{arms[number].id} {figure(value)} ms"
            parts.append(_dot(across.at(trial), up.at(value), 1.8, number, title))
    return _svg(TOP + HEIGHT + 32, parts, f"{metric} of each trial in ms, in order")


def smoothness(arms: Sequence[ArmResult]) -> str:
    """Draw the share of trials without a stall by prebuffer: those whose smallest safe buffer it covers."""
    shown = [(number, arm.samples.of("min_safe_buffer")) for number, arm in enumerate(arms)]
    longest = max((max(needs) for _, needs in shown if needs), default=None)
    if longest is None:
        return ""
    scale = Scale(0.0, longest * 1.1 or 100.0, LEFT, WIDTH - RIGHT)
    parts = [*_up({share: f"{share} %" for share in (0, 25, 50, 75, 100)}, _share_at)]
    parts += _across(scale, TOP + HEIGHT)
    parts += [_curve(_steps(needs, scale, 0.0), number) for number, needs in shown if needs]
    return _svg(TOP + HEIGHT + 32, parts, "share of trials without a stall by prebuffer")


def timelines(arms: Sequence[ArmResult], name: str) -> str:
    """Draw one trial of each arm (`median` or `worst`): connecting, waiting, arrivals and playback."""
    shown = [(arm, arm.drawn[name]) for arm in arms if name in arm.drawn]
    if not shown:
        return ""
    scale = Scale(0.0, max(_end(timeline) for _, timeline in shown) or 1.0, 6, WIDTH - RIGHT)
    bottom = TOP + ROW * len(shown)
    parts = [*_across(scale, bottom)]
    for place, (arm, timeline) in enumerate(shown):
        top = TOP + ROW * place
        title = f"no. {timeline.trial}, {figure(timeline.ttfb)} ms"
        shown_id = arm.id if len(arm.id) <= MAX_NAME else f"{arm.id[: MAX_NAME - 1]}…"
        parts += [_text(0, top + 12, shown_id, "name"), _text(WIDTH - RIGHT, top + 12, title, anchor="end")]
        parts += _timeline(timeline, top + 17, scale)
    return _svg(bottom + 32, parts, f"timeline of the {name} trial of each arm")


def _end(timeline: Timeline) -> float:
    last, audio = timeline.arrivals[-1]
    # Truncate playback that would squeeze the arrivals.
    played = min(last + audio, 3 * timeline.last_audio)
    return sum(timeline.connect.values()) + max(timeline.complete or 0.0, timeline.last_audio, played)


def _timeline(timeline: Timeline, top: float, scale: Scale) -> Iterator[str]:
    at = 0.0
    spans = [*timeline.connect.items(), ("wait", timeline.ttfb)]
    for step, ms in spans:
        width = scale.at(at + ms) - scale.at(at)
        yield _box(scale.at(at), top, width, 9, step, f"{step} {ms:.2f} ms")
        at += ms
    at -= timeline.ttfb  # times are from sending
    for arrived, audio in timeline.arrivals:
        x = scale.at(at + arrived)
        yield _box(x, top, 1.4, 9, "arrival", f"{audio:.0f} ms of audio at {arrived:.1f} ms")
        yield _box(x, top + 11, scale.at(at + arrived + audio) - x, 5, "audio", "the audio that arrived")
    if timeline.complete is not None:
        x = scale.at(at + timeline.complete)
        yield _line(x, top - 2, x, top + 17, "mark")


def sweep_chart(sweep: Sweep) -> str:
    """Draw throughput and ttfb p95 with their intervals by concurrency, and the knee as a dashed line."""
    height, gap = 100, 44
    step = (WIDTH - LEFT - RIGHT) / len(sweep.levels)
    xs = [LEFT + step * (number + 0.5) for number in range(len(sweep.levels))]
    bottom = 2 * (height + gap)
    parts = [_text(0, bottom + 30, "in flight")]
    for x, level in zip(xs, sweep.levels, strict=True):
        parts.append(_text(x, bottom + 30, str(level.concurrency), anchor="middle"))
        if level.concurrency == sweep.knee:
            parts.append(_text(x, bottom + 45, "knee", anchor="middle"))
            parts += [_line(x, base - height, x, base, "mark") for base in (bottom / 2, bottom)]
    rows: tuple[tuple[str, list[Estimate | None]], ...] = (
        ("trials/s", [level.trials_per_s for level in sweep.levels]),
        ("TTFB p95, ms", [level.ttfb_p95 for level in sweep.levels]),
    )
    for row, (title, values) in enumerate(rows):
        base = (row + 1) * (height + gap)
        parts += [_text(0, base - height - 10, title, "name"), _line(LEFT, base, WIDTH - RIGHT, base, "grid")]
        parts += _points(xs, values, base, height, row)
    return _svg(bottom + 50, parts, f"throughput and ttfb p95 by concurrency, {sweep.why}")


def _points(
    xs: Sequence[float], values: Sequence[Estimate | None], base: float, height: float, number: int
) -> Iterator[str]:
    """Draw each estimate as a dot with its interval, on a curve from `base` up to `height`, and its value."""
    drawn = [(x, each) for x, each in zip(xs, values, strict=True) if each]
    highest = max((max(each.v, each.hi or 0.0) for _, each in drawn), default=0.0)
    scale = Scale(0.0, highest or 1.0, base, base - height)
    yield _curve([(x, scale.at(each.v)) for x, each in drawn], number)
    for x, each in drawn:
        low, high = (each.v if bound is None else bound for bound in (each.lo, each.hi))
        yield _line(x, scale.at(low), x, scale.at(high), f"curve {colour(number)}")
        yield _dot(x, scale.at(each.v), 3, number, f"{figure(each.v, 'x')} {interval(each, 'x')}")
        yield _text(x, base + 15, figure(each.v, "x"), anchor="middle")
