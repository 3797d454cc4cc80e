"""Cumulative distributions of two samples on one axis, as coordinates for the page of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from smallest_cli.bench.report.axis import plain_number, ticks

WIDTH, HEIGHT = 340, 160  # of the chart, in its own units
MAX_POINTS = 200  # of a curve
MIN_TICK_GAP = 56


class Overlay(NamedTuple):
    """The points of both curves as SVG polylines, and the ticks of the axis as (x, label)."""

    title: str
    curves: tuple[str, str]
    ticks: list[tuple[float, str]]


def overlay(title: str, first: Sequence[float], second: Sequence[float]) -> Overlay:
    """Draw the share of trials by value, logarithmic if all are positive. Neither sample may be empty."""
    low, high = min(*first, *second), max(*first, *second)
    scale = math.log if low > 0 else float
    low, high = (low * 0.98, high * 1.02) if low > 0 else (low, high if high > low else low + 1.0)
    start, length = scale(low), scale(high) - scale(low)

    def x(value: float) -> float:
        return (scale(value) - start) / length * WIDTH if length else 0.0

    marked: list[tuple[float, str]] = []
    for tick in ticks(low, high):
        if not marked or x(tick) - marked[-1][0] > MIN_TICK_GAP:
            marked.append((x(tick), plain_number(tick)))
    curves = [_curve([x(value) for value in sorted(sample)]) for sample in (first, second)]
    return Overlay(title, (curves[0], curves[1]), marked)


def _curve(ordered: Sequence[float]) -> str:
    """Return the steps of an ascending sample, some of them if there are many."""
    n, stride = len(ordered), math.ceil(len(ordered) / MAX_POINTS)
    steps, share = [(0.0, 0.0)], 0.0
    for rank in [*range(stride, n, stride), n]:
        steps += [(ordered[rank - 1], share), (ordered[rank - 1], rank / n)]
        share = rank / n
    steps.append((float(WIDTH), 1.0))
    return " ".join(f"{at:.1f},{HEIGHT * (1 - high):.1f}" for at, high in steps)
