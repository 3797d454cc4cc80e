"""Several runs as one, exactly: their trials are pooled, and no quantile is averaged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.schema import VERDICTS
from smallest_cli.bench.storage import SAME
from smallest_cli.bench.trial import Trial
from smallest_cli.errors import UsageError
from smallest_cli.security import printable

ALIKE = (
    *SAME, "slo", "target", "load.model", "load.arrival", "load.rate", "load.concurrency", "defs.onset"
)  # fmt: skip
LOOPBACK = ("127.0.0.1", "::1", "localhost")
LEAST_OVERLAP = 1.0
"""Seconds by which two runs must overlap to have been made at once: when they began is kept to the second."""

Raw = tuple[dict[str, Any], list[Trial]]


def merge_runs(runs: Sequence[Raw]) -> Raw:
    """Several runs as one. Raises UsageError where they are not of one kind, or one of them comes twice.

    Clocks of different machines are never compared. Runs that were made at once begin at once, so that their
    window is the longest of theirs; of all others each begins where the one before ended.
    """
    first = runs[0][0]
    for run, _ in runs[1:]:
        if found := differences(_placed(first), _placed(run), ALIKE):
            raise UsageError(f"these runs differ in their {', '.join(found)}: they cannot be one")
    ids = list(_ids(run for run, _ in runs))
    trials = [
        _moved(trial, by_ns) for (_, own), by_ns in zip(runs, _shifts(runs), strict=True) for trial in own
    ]
    if len(runs) > 1:
        first = first | _pooled([run for run, _ in runs]) | {"merged": ids}
    return first, [replace(trial, index=index) for index, trial in enumerate(trials)]


def _placed(run: Mapping[str, Any]) -> dict[str, Any]:
    """The run, its target on loopback without the port: the offline server has another one each time."""
    target = run["target"]
    try:
        host = urlsplit(target["base_url"]).hostname
    except ValueError:
        host = None
    return dict(run) | ({"target": target | {"base_url": host}} if host in LOOPBACK else {})


def _ids(runs: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    seen = set()
    for run in runs:
        for name in run.get("merged", [run["id"]]):
            if name in seen:
                raise UsageError(
                    f"the run {printable(name, 40)} is in these files twice: it would be counted twice"
                )
            seen.add(name)
            yield name


def _pooled(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is known of them together."""
    calibrations = sorted((run["calibration"] for run in runs), key=_badness, reverse=True)
    counts = [run["load"].get("count") for run in runs]
    count = None if None in counts else sum(counts)
    return {
        "started_utc": min(run["started_utc"] for run in runs),
        "arms": list(dict.fromkeys(arm for run in runs for arm in run["arms"])),
        "load": runs[0]["load"] | {"count": count},
        "calibration": calibrations[0]
        | {"reasons": list(dict.fromkeys(why for each in calibrations for why in each["reasons"]))},
        "interrupted": any(run["interrupted"] for run in runs),
        "complete": all(run["complete"] for run in runs),
        "cut_short": next((run["cut_short"] for run in runs if run.get("cut_short")), None),
    }


def _badness(calibration: Mapping[str, Any]) -> int:
    return VERDICTS.index(calibration["verdict"])


def _shifts(runs: Sequence[Raw]) -> list[int]:
    """By how much each run's times are moved."""
    spans = [_span(trials) for _, trials in runs]
    groups: list[list[int]] = []
    for place, (run, _) in enumerate(runs):
        beside = next(
            (
                group
                for group in groups
                if any(_at_once((runs[other][0], spans[other]), (run, spans[place])) for other in group)
            ),
            None,
        )
        if beside is None:
            groups.append(beside := [])
        beside.append(place)
    shifts, begins = [0] * len(runs), 0
    for group in groups:
        for place in group:
            shifts[place] = begins - spans[place][0]
        begins += max(spans[place][1] - spans[place][0] for place in group)
    return shifts


def _span(trials: Sequence[Trial]) -> tuple[int, int]:
    """When the first measured trial began and the last ended, by the run's own clock."""
    measured = [trial for trial in trials if trial.phase == "measure"]
    begun = min((trial.started_ns for trial in measured), default=0)
    return begun, max((trial.ended_ns for trial in measured), default=begun)


Spanned = tuple[Mapping[str, Any], tuple[int, int]]


def _at_once(one: Spanned, other: Spanned) -> bool:
    """Whether two runs were made side by side: parts of one load, or alike in time by the walls' clocks."""
    (run, span), (second, second_span) = one, other
    if run.get("part_of") or second.get("part_of"):
        return run.get("part_of") == second.get("part_of")
    try:
        begun, begun_second = (
            datetime.fromisoformat(each["started_utc"]).timestamp() for each in (run, second)
        )
    except (ValueError, OverflowError, OSError):
        return False
    ended, ended_second = begun + span[1] / SECOND, begun_second + second_span[1] / SECOND
    return min(ended, ended_second) - max(begun, begun_second) > LEAST_OVERLAP


def _moved(trial: Trial, by_ns: int) -> Trial:
    def later(ns: int | None) -> int | None:
        return None if ns is None else ns + by_ns

    return replace(
        trial,
        started_ns=trial.started_ns + by_ns,
        ended_ns=trial.ended_ns + by_ns,
        scheduled_ns=later(trial.scheduled_ns),
        opened_ns=later(trial.opened_ns),
        sent_ns=later(trial.sent_ns),
    )


SHOWN = 40


def differences(first: Mapping[str, Any], second: Mapping[str, Any], paths: Sequence[str]) -> list[str]:
    """Every difference, as `request.voice (meher, magnus)`.

    A path is names with dots; of a mapping every name of either run counts. What is absent, null or empty
    was not given: a newer file may name what an older one does not know.
    """
    return [each for path in paths for each in _differences(path, _at(first, path), _at(second, path))]


def _at(run: Any, path: str) -> Any:
    for name in path.split("."):
        run = run.get(name) if isinstance(run, Mapping) else None
    return run


def _differences(path: str, first: Any, second: Any) -> Iterator[str]:
    if _given(first) == _given(second):
        return
    if path != "texts" and isinstance(first, Mapping) and isinstance(second, Mapping):
        for name in dict.fromkeys([*first, *second]):
            yield from _differences(f"{path}.{name}", first.get(name), second.get(name))
    elif isinstance(first, Mapping) or isinstance(second, Mapping):
        yield printable(path, SHOWN)
    else:
        yield f"{printable(path, SHOWN)} ({_shown(first)}, {_shown(second)})"


def _given(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: given for name, each in value.items() if (given := _given(each)) is not None}
    return None if value in ("", [], ()) else value


def _shown(value: Any) -> str:
    return "none" if _given(value) is None else printable(value, SHOWN)
