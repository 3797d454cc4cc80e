"""Pictures of a result as inline SVG: no script, no font, no other file; colours by class, set by the
page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from smallest_cli.security import printable

LONGEST = 10_000


def markup(text: object) -> str:
    """Text in which a browser, or a terminal that the page is printed on, finds nothing to do."""
    return escape(printable(text, LONGEST), quote=True)


WIDTH, LABEL, RIGHT = 760, 130, 14
ROW = 54
BINS = 60
STEPS = (1, 2, 5)
CURVE_POINTS = 60


def _svg(height: float, parts: Sequence[str], label: str) -> str:
    body = "\n".join(parts)
    named = markup(label)
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{named}">\n{body}\n</svg>'


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{markup(words)}</text>'


def _box(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    told = f"<title>{markup(title)}</title>" if title else ""
    size = f'width="{max(width, 0.6):.1f}" height="{height:.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} class="{kind}">{told}</rect>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


class _LogAxis:
    """Places of milliseconds on a logarithmic axis."""

    def __init__(self, values: Sequence[float]) -> None:
        self._low = math.log10(min(values) * 0.9)
        self._high = math.log10(max(values) * 1.1)

    def __call__(self, value: float) -> float:
        return LABEL + self._share(value) * (WIDTH - LABEL - RIGHT)

    def bin(self, value: float) -> int:
        return min(BINS - 1, int(self._share(value) * BINS))

    def _share(self, value: float) -> float:
        if value <= 0:  # has no place on it
            return 0.0
        return min(1.0, max(0.0, (math.log10(value) - self._low) / (self._high - self._low)))

    def edge(self, number: int) -> float:
        return LABEL + number / BINS * (WIDTH - LABEL - RIGHT)

    def marks(self) -> list[float]:
        """Round values; more of them where the axis is short."""
        narrow = self._high - self._low < 0.8
        steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9) if narrow else STEPS
        exponents = range(math.floor(self._low), math.ceil(self._high) + 1)
        every = [step * 10.0**exponent for exponent in exponents for step in steps]
        kept: list[float] = []
        for value in every:
            apart = not kept or self(value) - self(kept[-1]) > 52
            if self._low <= math.log10(value) <= self._high and apart:
                kept.append(value)
        return kept


def distributions(arms: Sequence[Mapping[str, Any]], metric: str) -> str:
    """A histogram for each arm over one logarithmic axis, its trials as ticks below, p50 and p95 as lines."""
    numbered = enumerate(arms)  # an arm has its colour by its number among all, in every picture
    shown = [(number, arm) for number, arm in numbered if any(arm["samples"].get(metric, []))]
    values = [value for _, arm in shown for value in arm["samples"][metric] if value]
    if not values:
        return ""
    axis, parts = _LogAxis(values), []
    bottom = 8 + ROW * len(shown)
    for mark in axis.marks():
        parts += [_line(axis(mark), 4, axis(mark), bottom, "grid")]
        parts += [_text(axis(mark), bottom + 16, f"{mark:g} ms", "tick", "middle")]
    for place, (number, arm) in enumerate(shown):
        parts += _histogram(arm, metric, axis, 8 + ROW * place, f"c{number % 6}")
    return _svg(bottom + 24, parts, f"distribution of {metric} for each arm, logarithmic")


def _histogram(arm: Mapping[str, Any], metric: str, axis: _LogAxis, top: float, kind: str) -> list[str]:
    values = [value for value in arm["samples"][metric] if value]
    counts = [0] * BINS
    for value in values:
        counts[axis.bin(value)] += 1
    base, high = top + ROW - 16, ROW - 22
    parts = [_text(0, base - 4, arm["id"], "name"), _text(0, base + 9, f"n {len(values)}", "tick")]
    for number, count in enumerate(counts):
        if count:
            left, height = axis.edge(number), count / max(counts) * high
            parts.append(
                _box(left, base - height, axis.edge(number + 1) - left - 1, height, kind, f"{count} trials")
            )
    parts += [_line(axis(value), base + 2, axis(value), base + 8, f"rug {kind}") for value in values]
    described = arm["metrics"][metric]
    for name in ("p50", "p95"):
        x = axis(described[name]["v"])
        parts += [_line(x, top + 2, x, base, "mark"), _text(x + 3, top + 9, name, "tick")]
    return parts


def waterfall(arm: Mapping[str, Any]) -> str:
    """The median and the worst trial: how the connection was made, the wait, each arrival as it is and as it
    plays."""
    courses = arm["drawn"]
    if not courses:
        return ""
    total = max(_end(course) for course in courses.values()) or 1.0
    scale = (WIDTH - LABEL - RIGHT) / total
    parts: list[str] = []
    for number, (name, course) in enumerate(courses.items()):
        parts += _course(name, course, 6 + 48 * number, scale)
    bottom = 6 + 48 * len(courses)
    step = _round_step(total)
    mark = 0.0
    while mark <= total * 0.97:
        parts.append(_text(LABEL + mark * scale, bottom + 12, f"{mark:g} ms", "tick", "middle"))
        mark += step
    return _svg(bottom + 20, parts, f"course of two trials of {arm['id']}")


def _end(course: Mapping[str, Any]) -> float:
    begun = sum(course["connect"].values())
    plays = course["arrivals"][-1][0] + course["arrivals"][-1][1]
    return float(
        begun + max(course["complete"] or 0.0, course["last_audio"], min(plays, 3 * course["last_audio"]))
    )


def _round_step(total: float) -> float:
    step = 10.0 ** math.floor(math.log10(max(total, 1e-3)))
    return step / 5 if total / step < 2 else step / 2 if total / step < 5 else step


def _course(name: str, course: Mapping[str, Any], top: float, scale: float) -> list[str]:
    parts = [
        _text(0, top + 14, f"{name} trial", "name"),
        _text(0, top + 28, f"no. {course['trial']}", "tick"),
    ]
    at = 0.0
    for step, ms in course["connect"].items():
        parts.append(_box(LABEL + at * scale, top, ms * scale, 18, step, f"{step} {ms:.2f} ms"))
        at += ms
    parts.append(
        _box(LABEL + at * scale, top, course["ttfb"] * scale, 18, "wait", f"ttfb {course['ttfb']:.2f} ms")
    )
    for arrived, sound in course["arrivals"]:
        x = LABEL + (at + arrived) * scale
        parts.append(_box(x, top, 1.4, 18, "audio", f"{sound:.0f} ms of sound at {arrived:.1f} ms"))
        parts.append(
            _box(x, top + 22, min(sound * scale, WIDTH - RIGHT - x), 7, "sound", "the sound that came")
        )
    if course["complete"] is not None:
        x = LABEL + (at + course["complete"]) * scale
        parts.append(_line(x, top - 2, x, top + 30, "mark"))
    return parts


def smoothness(arms: Sequence[Mapping[str, Any]]) -> str:
    """How many trials play without a stall, for each prebuffer: the share whose smallest safe buffer it
    covers."""
    known = {arm["id"]: arm["samples"].get("min_safe_buffer", []) for arm in arms}
    needs = {name: kept for name, all_ in known.items() if (kept := [v for v in all_ if v is not None])}
    shown = [(number, arm) for number, arm in enumerate(arms) if arm["id"] in needs]
    if not needs:
        return ""
    longest = max(max(values) for values in needs.values()) * 1.1 or 100.0
    left, top, height = 46.0, 10.0, 170.0
    across = WIDTH - left - RIGHT
    parts: list[str] = []
    for share in (0, 25, 50, 75, 100):
        y = top + height * (1 - share / 100)
        parts += [
            _line(left, y, WIDTH - RIGHT, y, "grid"),
            _text(left - 6, y + 4, f"{share} %", "tick", "end"),
        ]
    step, mark = _round_step(longest), 0.0
    while mark <= longest * 0.97:
        parts.append(
            _text(left + mark / longest * across, top + height + 16, f"{mark:g} ms", "tick", "middle")
        )
        mark += step
    for place, (number, arm) in enumerate(shown):
        points = _curve(sorted(needs[arm["id"]]), longest)
        path = " ".join(f"{left + x * across:.1f},{top + height * (1 - y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" class="curve c{number % 6}"/>')
        y = top + height + 36 + 16 * (place // 3)
        x = left + (place % 3) * 220
        parts += [_box(x, y - 9, 18, 9, f"c{number % 6}"), _text(x + 24, y, arm["id"], "tick")]
    rows = (len(shown) + 2) // 3
    return _svg(top + height + 32 + 16 * rows, parts, "share of trials without a stall by prebuffer")


def _curve(needs: Sequence[float], longest: float) -> list[tuple[float, float]]:
    """The steps of the share that a buffer covers, thinned out where there are many."""
    thin = max(1, len(needs) // CURVE_POINTS)
    points = [(0.0, sum(need <= 0 for need in needs) / len(needs))]
    for number, need in enumerate(needs, 1):
        if need > 0 and (number % thin == 0 or number == len(needs)):
            points += [(need / longest, points[-1][1]), (need / longest, number / len(needs))]
    return [*points, (1.0, points[-1][1])]
