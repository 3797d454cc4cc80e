"""A result for a terminal: plain lines, each with the name of a style, that fit the columns they are
given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any, Protocol

from smallest_cli.bench.report.advice import advice
from smallest_cli.bench.report.format import (
    CENSURE,
    GLANCE,
    NOT_STREAMED,
    cells,
    comparison_words,
    error_words,
    failure_words,
    figure,
    load_words,
    overall_words,
    promise_words,
    provenance,
    remarks,
    verdict_words,
)

Line = tuple[str, str]
"""A style (title, head, good, warn, bad, dim or none) and a line."""

VERDICT_STYLES = {"ok": "good", "suspect": "warn", "invalid": "bad"}
WORD_STYLES = {"faster": "good", "equivalent": "good", "slower": "bad", "inconclusive": "warn"}
FAILURE_STYLES = {"more": "bad", "fewer": "good", "unclear": "warn"}
WIDE = 150
BARS = " ▁▂▃▄▅▆▇█"
NAME_WIDTH = 18
GLANCE_WIDTHS = (10, 9, 9, 11, 12)
SPANS = {"dns": "d", "tcp": "t", "tls": "s", "upgrade": "u"}


def render(result: Mapping[str, Any], width: int) -> Iterator[Line]:
    """The whole of it: what was measured, every arm, how times lie, the course of two trials, the advice."""
    run = result["run"]
    yield from _wrapped(provenance(run), width, "dim")
    yield from _wrapped(load_words(run), width, "dim")
    for arm in result["arms"]:
        yield "", ""
        yield from _arm(arm, run, width)
    yield "", ""
    yield from _definitions(result, width)
    yield from _distributions(result, width)
    yield from _waterfalls(result, width)
    yield from _overview(result)
    yield from _judgement(result, width)


def _arm(arm: Mapping[str, Any], run: Mapping[str, Any], width: int) -> Iterator[Line]:
    kind = "" if arm["streaming"] else f"  ({NOT_STREAMED})"
    yield "title", f"{arm['id']}  {arm['ok']} of {arm['n']} ok{kind}"
    if arm["errors"]:
        yield from _wrapped(
            f"errors: {error_words(arm)} ({arm['error_rate']:.1%}); times are of the others", width, "bad"
        )
        for name, message in arm["messages"].items():
            yield from _wrapped(f"  {name}: {message}", width, "dim")
    if not arm["metrics"]:
        return
    head = f"{'':<{NAME_WIDTH}}{'p50':>9} {'its 95 % interval':>18}{'p95':>9}{'p99':>9}{'max':>9}"
    extra = "   from -> to" if width >= WIDE else ""
    yield "head", (head + extra).rstrip()
    for name, found in arm["metrics"].items():
        yield "", _row(name, found, run, wide=width >= WIDE, width=width)
    for row in arm["player"]:
        heard, stalls = figure(row["ttfa_p50"]), row["stalls_mean"]
        yield (
            "",
            (
                f"buffer {row['buffer_ms']:g} ms".ljust(NAME_WIDTH)
                + f" {row['smooth']:.1%} without a stall, heard at {heard} ms, {stalls:.1f} stalls"
            ),
        )
    for each in remarks(arm):
        yield from _wrapped(each, width, "dim")


def _row(name: str, found: Mapping[str, Any], run: Mapping[str, Any], *, wide: bool, width: int) -> str:
    unit = found["unit"]
    label = name if unit == "ms" else f"{name} ({unit})"
    p50, within, *greater = cells(found)
    line = f"{label:<{NAME_WIDTH}}{p50:>9} {within:>18}{''.join(f'{each:>9}' for each in greater)}"
    definition = run["defs"]["metrics"][name]
    more = " -> ".join(part for part in (definition["starts"], definition["stops"]) if part)
    return f"{line}   {more}"[:width] if wide else line


def _overview(result: Mapping[str, Any]) -> Iterator[Line]:
    """Every arm in a line, last of the tables, so that it is what a terminal still shows."""
    columns = list(zip(GLANCE[result["run"]["load"]["model"]], GLANCE_WIDTHS, strict=True))
    titles = "".join(f"{title:>{wide}}" for (_, _, title), wide in columns)
    yield "head", f"{'':<{NAME_WIDTH}}{'ok':>9}{titles}"
    for arm in result["arms"]:
        cells = f"{arm['ok']}/{arm['n']}".rjust(9)
        for (metric, name, _), wide in columns:
            found = arm["metrics"].get(metric)
            cells += (figure(found[name]["v"]) if found else "-").rjust(wide)
        yield "", f"{arm['id']:<{NAME_WIDTH}}{cells}"
    yield "", ""


def _definitions(result: Mapping[str, Any], width: int) -> Iterator[Line]:
    """What starts and what stops each clock, where the rows have no room for it. Times are in ms."""
    if width >= WIDE:
        return
    used = dict.fromkeys(name for arm in result["arms"] for name in arm["metrics"])
    if used:
        yield "head", "from -> to"
    for name in used:
        definition = result["run"]["defs"]["metrics"][name]
        words = " -> ".join(part for part in (definition["starts"], definition["stops"]) if part)
        indent = " " * (NAME_WIDTH + 1)
        for line in wrap(f"{name:<{NAME_WIDTH}} {words}", width, subsequent_indent=indent):
            yield "dim", line
    if used:
        yield "", ""


def _distributions(result: Mapping[str, Any], width: int) -> Iterator[Line]:
    """What a caller waits for of each arm on one logarithmic axis."""
    metric = GLANCE[result["run"]["load"]["model"]][0][0]
    samples = {arm["id"]: arm["samples"][metric] for arm in result["arms"] if arm["samples"].get(metric)}
    values = [value for each in samples.values() for value in each if value]
    if not values:
        return
    low, high = math.log10(min(values) * 0.95), math.log10(max(values) * 1.05)
    columns = width - NAME_WIDTH - 1
    yield "head", f"{metric}, logarithmic"
    for name, each in samples.items():
        counts = [0] * columns
        for value in each:
            if value:
                counts[min(columns - 1, int((math.log10(value) - low) / (high - low) * columns))] += 1
        most = max(counts) or 1
        bars = "".join(BARS[math.ceil(count / most * (len(BARS) - 1))] for count in counts)
        yield "", f"{name:<{NAME_WIDTH}} {bars}".rstrip()
    yield "dim", " " * (NAME_WIDTH + 1) + _axis(low, high, columns)
    yield "", ""


def _axis(low: float, high: float, columns: int) -> str:
    marks = [" "] * columns
    steps = [m * 10**e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 1.5, 2, 3, 5, 7)]
    taken = -1
    for value in [10**low, *(step for step in steps if low < math.log10(step) < high)]:
        label = f"{value:.3g} ms"
        at = int((math.log10(value) - low) / (high - low) * columns)
        if at > taken and at + len(label) < columns:
            marks[at : at + len(label)] = label
            taken = at + len(label) + 1
    return "".join(marks).rstrip()


def _waterfalls(result: Mapping[str, Any], width: int) -> Iterator[Line]:
    """The median and the worst trial of each arm, on one scale of time."""
    drawn = [(arm["id"], name, course) for arm in result["arms"] for name, course in arm["drawn"].items()]
    if not drawn:
        return
    total = max(_length(course) for _, _, course in drawn) or 1.0
    columns = width - NAME_WIDTH - 8
    key = "course of a trial: d dns, t tcp, s tls, u upgrade, . wait, = audio arrives, - end marker"
    yield from _wrapped(key, width, "head")
    for arm, name, course in drawn:
        spans = [(SPANS[step], ms) for step, ms in course["connect"].items()]
        spans += [(".", course["ttfb"]), ("=", course["last_audio"] - course["ttfb"])]
        spans += [("-", course["complete"] - course["last_audio"])] if course["complete"] is not None else []
        yield "", f"{arm:<{NAME_WIDTH}} {name:<6} {_bar(spans, total, columns)}"
    yield "dim", f"{'':<{NAME_WIDTH}} {'':<6} 0{figure(total) + ' ms':>{columns - 1}}"
    yield "", ""


def _length(course: Mapping[str, Any]) -> float:
    return float(sum(course["connect"].values()) + (course["complete"] or course["last_audio"]))


def _bar(spans: list[tuple[str, float]], total: float, columns: int) -> str:
    drawn, at = "", 0.0
    for mark, ms in spans:
        at += ms
        until = round(at / total * columns)
        drawn += mark * max(until - len(drawn), 1 if ms > 0 and len(drawn) < columns else 0)
    return drawn[:columns]


def _judgement(result: Mapping[str, Any], width: int) -> Iterator[Line]:
    for each in result["slo"]:
        yield from _wrapped(promise_words(each), width, "good" if each["pass"] else "bad")
    calibration = result["run"]["calibration"]
    word = calibration["verdict"]
    style = VERDICT_STYLES[word] if any(arm["ok"] for arm in result["arms"]) else "bad"
    yield from _wrapped(f"verdict: {word}, {verdict_words(result)}{_witnesses(calibration)}", width, style)
    for reason in calibration["reasons"]:
        yield from _wrapped(f"  {reason}", width, "dim")
    yield from _wrapped(advice(result), width, "title")


def _witnesses(calibration: Mapping[str, Any]) -> str:
    parts = [
        f"{name} {figure(found['p50'])} ms at the median, {figure(found['p99'])} at p99"
        for name, found in (("floor", calibration["floor_ms"]), ("lag", calibration["lag_ms"]))
        if found
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def render_comparison(compared: Mapping[str, Any], width: int) -> Iterator[Line]:
    """What `bench compare` found: B beside A."""
    yield from _wrapped(
        f"B beside A, each at {compared['confidence']:.2%} confidence; "
        f"changes under {compared['min_effect'] * 100:g} % or {compared['min_effect_ms']:g} ms do not matter",
        width,
        "dim",
    )
    for row in compared["comparisons"]:
        yield from _wrapped(
            f"{row['arm']}  {row['metric']}  {comparison_words(row)}", width, WORD_STYLES[row["verdict"]]
        )
    if all(row["verdict"] == "none" for row in compared["errors"]):
        yield "dim", "no trial failed in either run"
    for row in compared["errors"]:
        if row["verdict"] != "none":
            yield from _wrapped(f"{row['arm']}  {failure_words(row)}", width, FAILURE_STYLES[row["verdict"]])
    for each in compared["not_compared"]:
        what = "  ".join(part for part in (each["arm"], each["metric"]) if part)
        yield from _wrapped(f"{what}  not compared: {each['why']}", width, "warn")
    for name, verdict in zip("AB", compared["verdicts"], strict=True):
        if verdict != "ok":
            yield from _wrapped(f"run {name} is {verdict}: {CENSURE[verdict]}", width, "warn")
    yield from _wrapped(f"overall: {overall_words(compared)}", width, "title")


def _wrapped(text: str, width: int, style: str) -> Iterator[Line]:
    for line in wrap(text, width, subsequent_indent="  ") or [""]:
        yield style, line


class RunProgress(Protocol):
    """The progress of a run, as the live view reads it."""

    total: int | None
    in_flight: int
    trials: list[Any]
    errors: Any

    def ttfb_ms(self, p: float, last: int = 200) -> float | None:
        """A quantile of the latest trials' times to first audio."""
        ...


def progress_lines(progress: RunProgress, columns: int = 28) -> list[str]:
    """The view as text: progress, in flight, rolling median and p95, errors."""
    done = sum(trial.phase == "measure" for trial in progress.trials)
    warm = len(progress.trials) - done
    bar = ""
    if progress.total:
        filled = columns * done // progress.total
        bar = f"{'█' * filled}{'░' * (columns - filled)}  "
    counted = f"{done} of {progress.total}" if progress.total else str(done)
    errors = ", ".join(f"{count} {name}" for name, count in sorted(progress.errors.items())) or "none"
    p50, p95 = (figure(progress.ttfb_ms(p)) for p in (0.5, 0.95))
    return [
        f"{bar}{counted} trials  {warm} warm-ups  {progress.in_flight} in flight",
        f"ttfb of the last 200: p50 {p50} ms  p95 {p95} ms",
        f"errors: {errors}",
    ]
