"""Merge several runs into one (`bench merge`): their trials are pooled, no quantile is averaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.schema import VERDICTS, Conditions, Run, as_json
from smallest_cli.bench.trial import Trial
from smallest_cli.errors import UsageError
from smallest_cli.security import printable

SAME_CONDITIONS = ("request", "texts", "buffers_ms")
"""Conditions that must be equal in all parts of one run."""
LOAD = ("load.model", "load.arrival", "load.rate", "load.concurrency", "load.levels")
MUST_MATCH = (*SAME_CONDITIONS, "slo", "target", *LOAD, "defs.onset")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TIMES = ("started_ns", "ended_ns", "scheduled_ns", "opened_ns", "sent_ns")  # from the start of the run
MAX_SHOWN = 40
MIN_OVERLAP_S = 1.0  # runs that overlap by more are concurrent: start times have a resolution of 1 s

Raw = tuple[Run, list[Trial]]


def merge_runs(runs: Sequence[Raw]) -> Raw:
    """Merge runs. Raises UsageError if their conditions differ, or a run is given twice.

    Clocks of different machines are never compared. Concurrent runs are aligned at their start: the window is
    the longest of theirs. Other runs are placed one after another.
    """
    first = runs[0][0]
    if len(runs) == 1:
        return runs[0]  # unchanged, so that its result is recomputed exactly
    for run, _ in runs[1:]:
        if found := differences(_without_port(first), _without_port(run), MUST_MATCH):
            raise UsageError(f"cannot merge runs that differ in {', '.join(found)}")
    arms = {arm: None for run, _ in runs for arm in run.arms}
    if other := [name for name, uses in Counter(arm.id for arm in arms).items() if uses > 1]:
        raise UsageError(f"cannot merge runs whose arm {other[0]} differs in voice, model or service")
    ids = [name for run, _ in runs for name in run.merged or [run.id]]
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        raise UsageError(f"the run {printable(twice[0], 40)} is in these files twice")
    offsets = _offsets(runs)
    trials = [_shifted(trial, by) for (_, own), by in zip(runs, offsets, strict=True) for trial in own]
    pooled = _pooled([run for run, _ in runs], ids)
    return pooled, [replace(trial, index=index) for index, trial in enumerate(trials)]


def _without_port(run: Run) -> Run:
    """Return the run without the port of a loopback target: the offline server picks a free one."""
    try:
        host = urlsplit(run.target.base_url).hostname
    except ValueError:
        host = None
    return replace(run, target=replace(run.target, base_url=host)) if host in LOOPBACK else run


def _pooled(runs: Sequence[Run], ids: list[str]) -> Run:
    calibrations = sorted((run.calibration for run in runs), key=lambda each: -VERDICTS.index(each.verdict))
    reasons = list(dict.fromkeys(why for each in calibrations for why in each.reasons))
    counts = [run.load.count for run in runs if run.load.count is not None]
    count = sum(counts) if len(counts) == len(runs) else None
    return replace(
        runs[0],
        started_utc=min(run.started_utc for run in runs),
        arms=list(dict.fromkeys(arm for run in runs for arm in run.arms)),
        load=replace(runs[0].load, count=count),
        calibration=replace(calibrations[0], reasons=reasons),
        interrupted=any(run.interrupted for run in runs),
        complete=all(run.complete for run in runs),
        cut_short=next((run.cut_short for run in runs if run.cut_short), None),
        merged=ids,
    )


def _offsets(runs: Sequence[Raw]) -> list[int]:
    """Return the nanoseconds by which each run's times are shifted."""
    spans = []  # start of the first measured trial and end of the last, by the clock of the run
    for _, trials in runs:
        measured = [trial for trial in trials if trial.phase == "measure"]
        started = min((trial.started_ns for trial in measured), default=0)
        spans.append((started, max((trial.ended_ns for trial in measured), default=started)))
    groups: list[list[int]] = []  # indices of concurrent runs
    for index, (run, _) in enumerate(runs):
        for group in groups:
            if any(_overlap(runs[other][0], spans[other], run, spans[index]) for other in group):
                group.append(index)
                break
        else:
            groups.append([index])
    offsets, start = [0] * len(runs), 0
    for group in groups:
        for index in group:
            offsets[index] = start - spans[index][0]
        start += max(spans[index][1] - spans[index][0] for index in group)
    return offsets


def _overlap(first: Run, span: tuple[int, int], second: Run, second_span: tuple[int, int]) -> bool:
    """Whether two runs were concurrent: parts of one load, or overlapping by wall clock."""
    if first.part_of or second.part_of:
        return first.part_of == second.part_of
    try:
        starts = [datetime.fromisoformat(run.started_utc).timestamp() for run in (first, second)]
    except (ValueError, OverflowError, OSError):
        return False
    ends = [start + end / SECOND for start, (_, end) in zip(starts, (span, second_span), strict=True)]
    return min(ends) - max(starts) > MIN_OVERLAP_S


def _shifted(trial: Trial, by_ns: int) -> Trial:
    times = {name: getattr(trial, name) for name in TIMES}
    return replace(trial, **{name: ns + by_ns for name, ns in times.items() if ns is not None})


def differences(first: Conditions, second: Conditions, paths: Sequence[str]) -> list[str]:
    """Return all differences, e.g. `request.voice (meher, magnus)`.

    A path is dotted names; mappings are compared by the keys of both runs. Absent, null and empty are equal:
    a newer file may have fields that an older one lacks.
    """
    a, b = as_json(first), as_json(second)
    return [each for path in paths for each in _differences(path, _at(a, path), _at(b, path))]


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        if isinstance(value, list):
            value = value[int(name)]
        else:
            value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _differences(path: str, first: Any, second: Any) -> Iterator[str]:
    if _normalised(first) == _normalised(second):
        return
    if path != "texts" and isinstance(first, Mapping) and isinstance(second, Mapping):
        for name in dict.fromkeys([*first, *second]):
            yield from _differences(f"{path}.{name}", first.get(name), second.get(name))
    elif isinstance(first, Mapping) or isinstance(second, Mapping):
        yield printable(path, MAX_SHOWN)
    else:
        yield f"{printable(path, MAX_SHOWN)} ({_shown(first)}, {_shown(second)})"


def _normalised(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: found for name, each in value.items() if (found := _normalised(each)) is not None}
    return None if value in ("", [], ()) else value


def _shown(value: Any) -> str:
    return "none" if _normalised(value) is None else printable(value, MAX_SHOWN)
