"""Benchmark figures: comparison with a goal, table and JSON output, and exit code."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

GATE = 2.0
"""A figure gates, i.e. fails the run, above this multiple of its goal."""
MAX_QUARTILE_RATIO = 1.5
"""Maximum ratio of the third to the first quartile of a stable baseline."""


@dataclass(frozen=True)
class Figure:
    """A measured value and its goal. A figure without a goal is for comparison only.

    `passed` is true if the goal is met. `gates` is true if the value exceeds the goal so far, on a stable
    host, that it indicates a regression.
    """

    name: str
    measured: float
    details: str
    goal: str = ""
    passed: bool = True
    gates: bool = False


def ratio(
    name: str,
    times: Sequence[float],
    floor: Sequence[float],
    goal: float | None = None,
    *,
    reference: Sequence[float] = (),
) -> Figure:
    """Return the ratio of the median of `times` to that of `floor`, both in ms.

    The host is considered stable if `reference` (by default the floor) is.
    """
    q1, median, q3 = statistics.quantiles(times, n=4)
    floor_median = statistics.median(floor)
    relative = median / floor_median
    details = f"{relative:6.2f}   {median:7.1f} ms ({q1:.1f} .. {q3:.1f}) / {floor_median:.1f} ms"
    if goal is None:
        return Figure(name, relative, details)
    stable = is_stable(reference or floor)
    goal_text = f"{goal:g}{'' if stable else ', not judged'}"
    return Figure(name, relative, details, goal_text, relative <= goal, stable and relative > GATE * goal)


def is_stable(floor: Sequence[float]) -> bool:
    """Return whether the quartiles of the floor are close enough for the host to be considered idle."""
    low, _, high = statistics.quantiles(floor, n=4)
    return high / low <= MAX_QUARTILE_RATIO


def limit(
    name: str, measured: float, goal: float, unit: str, details: str = "", gate: float = GATE
) -> Figure:
    """Return a figure with a unit and an upper limit, without a floor."""
    text = f"{measured:6.2f} {unit}{'   ' if details else ''}{details}"
    return Figure(name, measured, text, f"{goal:g} {unit}", measured <= goal, measured > gate * goal)


def host_info() -> dict[str, object]:
    """Return the Python version and a description of the host."""
    name = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {platform.machine()}"
    return {"python": platform.python_version(), "machine": name}


def print_figures(figures: Iterable[Figure]) -> list[Figure]:
    """Print each figure as soon as it is measured. Returns all of them."""
    printed = []
    for figure in figures:
        goal = f"goal {figure.goal}" if figure.goal else ""
        mark = "" if figure.passed else "  MISSED"
        print(f"{figure.name:<46} {figure.details:<52} {goal}{mark}", flush=True)
        printed.append(figure)
    return printed


def report(figures: Iterable[Figure], json_path: str | None = None) -> int:
    """Print figures and write them to `json_path` as JSON. Returns the exit code: 1 if a figure gates."""
    printed = print_figures(figures)
    missed = [figure.name for figure in printed if not figure.passed]
    print(f"{len(printed)} figures; above their goal: {', '.join(missed) or 'none'}")
    if json_path:
        document = host_info() | {"figures": list(map(asdict, printed))}
        Path(json_path).write_text(json.dumps(document, indent=1) + "\n")
    return int(any(figure.gates for figure in printed))
