"""A figure, the table of them, and what of it gates."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

GATE = 2.0
"""What gates is this many times the goal."""
CALM = 1.5
"""A floor is calm while its third quartile is at most this many times its first."""


@dataclass(frozen=True)
class Figure:
    """What was measured and what was hoped for. A figure without a goal is there to be compared with.

    `holds` is against the goal. `gates` says that it is so far off, on a calm machine, that a change must
    be to blame.
    """

    name: str
    measured: float
    words: str
    goal: str = ""
    holds: bool = True
    gates: bool = False


def ratio(
    name: str,
    times: Sequence[float],
    floor: Sequence[float],
    goal: float | None = None,
    *,
    quiet: Sequence[float] = (),
) -> Figure:
    """The median of `times`, in ms, in that of `floor`.

    Whether the host was calm shows in the times of `quiet`, or of the floor itself.
    """
    q1, median, q3 = statistics.quantiles(times, n=4)
    under = statistics.median(floor)
    found = median / under
    words = f"{found:6.2f}   {median:7.1f} ms ({q1:.1f} .. {q3:.1f}) / {under:.1f} ms"
    if goal is None:
        return Figure(name, found, words)
    calm = is_calm(quiet or floor)
    shown = f"{goal:g}{'' if calm else ', not judged'}"
    return Figure(name, found, words, shown, found <= goal, calm and found > GATE * goal)


def is_calm(floor: Sequence[float]) -> bool:
    """Whether the floor was the same throughout, so that the host was left to the benchmark."""
    low, _, high = statistics.quantiles(floor, n=4)
    return high / low <= CALM


def limit(name: str, measured: float, goal: float, unit: str, words: str = "", gate: float = GATE) -> Figure:
    """A figure with a unit, that has no floor."""
    shown = f"{measured:6.2f} {unit}{'   ' if words else ''}{words}"
    return Figure(name, measured, shown, f"{goal:g} {unit}", measured <= goal, measured > gate * goal)


def machine() -> dict[str, object]:
    """The Python and the machine that figures belong to."""
    name = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {platform.machine()}"
    return {"python": platform.python_version(), "machine": name}


def print_figures(figures: Iterable[Figure]) -> list[Figure]:
    """Print each as it comes; all of them."""
    printed = []
    for figure in figures:
        goal = f"goal {figure.goal}" if figure.goal else ""
        mark = "" if figure.holds else "  MISSED"
        print(f"{figure.name:<46} {figure.words:<52} {goal}{mark}", flush=True)
        printed.append(figure)
    return printed


def conclude(figures: Iterable[Figure], path: str | None = None) -> int:
    """Print them, write them to `path` as JSON; the exit code: 1 where one gates."""
    printed = print_figures(figures)
    missed = [figure.name for figure in printed if not figure.holds]
    print(f"{len(printed)} figures; above their goal: {', '.join(missed) or 'none'}")
    if path:
        found = machine() | {"figures": list(map(asdict, printed))}
        Path(path).write_text(json.dumps(found, indent=1) + "\n")
    return int(any(figure.gates for figure in printed))
