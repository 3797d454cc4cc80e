"""Ticks of an axis, and round numbers as text."""

from __future__ import annotations

import math
from decimal import Decimal

DECADES = (1, 2, 5)
MIN_TICKS = 4
LEAST_RANGE = 1e-300  # floats below it cannot be divided


def plain_number(value: float) -> str:
    """Format a number without an exponent, with up to ten significant digits: 1000, 0.25."""
    return format(Decimal(f"{value:.10g}"), "f")


def ticks(low: float, high: float) -> list[float]:
    """Return at least four round values between two bounds, ascending: by decades if those are far apart."""
    found: list[float] = []
    if low > 0:
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        decades = (step * 10.0**exponent for exponent in exponents for step in DECADES)
        found = [value for value in decades if low <= value <= high]
    if len(found) >= MIN_TICKS or high - low < LEAST_RANGE:
        return found
    size = (high - low) / MIN_TICKS
    unit = 10.0 ** math.floor(math.log10(size))
    # The logarithm may be rounded up to the next decade.
    step = unit * max((each for each in DECADES if each * unit <= size), default=0.5)
    first, last = math.ceil(round(low / step, 6)), math.floor(round(high / step, 6))
    return [n * step for n in range(first, last + 1)]
