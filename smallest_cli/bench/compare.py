"""Compare two runs arm by arm (`bench compare`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from smallest_cli.bench.merge import LOAD, differences
from smallest_cli.bench.metrics import METRICS
from smallest_cli.bench.results import INCONCLUSIVE, INVALID
from smallest_cli.bench.schema import ArmResult, Estimate, Result, Unit, Verdict
from smallest_cli.bench.stats.comparison import Word, compare, rise
from smallest_cli.bench.stats.quantiles import CONFIDENCE
from smallest_cli.errors import UsageError

SCHEMA = "smallest.bench.compare/1"
MIN_EFFECT_MS = 1.0
"""A smaller change never matters, even relative to a median of 0, as of `min_safe_buffer`."""
MIN_EFFECTS: Mapping[Unit, float] = {"ms": MIN_EFFECT_MS, "s": MIN_EFFECT_MS / 1000, "count": 1, "dBFS": 1}
MUST_MATCH = ("request", "texts", "target.api", *LOAD)
REGRESSION = 21
EXIT_CODES = {"slower": REGRESSION, "inconclusive": INCONCLUSIVE}

Arms = Mapping[str, ArmResult]


class Row(Struct):
    """One metric of one arm in A and B. Figures are in `unit`; slower means higher."""

    arm: str
    metric: str
    n: tuple[int, int]
    shift_ms: Estimate  # by how much B is higher than A
    matters_from_ms: float
    verdict: Word
    needed_n: int | None
    unit: Unit = "ms"


class ErrorRow(Struct):
    """Error rate of one arm in A and B."""

    arm: str
    n: tuple[int, int]
    failed: tuple[int, int]
    error_rate: tuple[float, float]
    verdict: Literal["more", "fewer", "unclear", "none"]


class NotCompared(Struct):
    """An arm or metric missing in one of the runs."""

    arm: str
    metric: str | None
    missing_in: Literal["A", "B"]
    why: str


class RunComparison(Struct, kw_only=True):
    """The object that `bench compare --json` prints."""

    schema: str = SCHEMA
    a: str
    b: str
    min_effect: float
    min_effect_ms: float = MIN_EFFECT_MS
    noise_ms: float  # scheduler delay or measurement error (p99) of the noisier run
    confidence: float
    comparisons: list[Row]
    errors: list[ErrorRow]
    not_compared: list[NotCompared]
    failed: list[str]
    verdict: Word
    verdicts: list[Verdict]
    forced: bool = False
    exit: int


def compare_runs(
    first: Result, second: Result, metrics: Sequence[str], min_effect: float, *, force: bool = False
) -> RunComparison:
    """Compare `second` (B) with `first` (A) on every arm that both have.

    `metrics` defaults to ttfb_e2e in an open loop, else ttfb. `min_effect` is a fraction of A's median. An
    arm that fails more often is a regression; one that B lacks is inconclusive, and so is everything unless
    both runs have the verdict ok. With k comparisons each has confidence 1 - 0.05/k (Bonferroni): at most one
    run in 20 has a false positive.

    `force` compares different conditions, and judges by a suspect run. Raises UsageError for different
    conditions otherwise.
    """
    metrics = metrics or ["ttfb_e2e" if first.run.load.model == "open" else "ttfb"]
    different = [] if force else differences(first.run, second.run, MUST_MATCH)
    if "ttfa" in metrics and not force:  # the simulated player starts after the first prebuffer
        different += differences(first.run, second.run, ["buffers_ms.0", "defs.onset"])
    if different:
        hint = "compare them anyway: --force"
        raise UsageError(f"these runs differ in {', '.join(different)}", hint=hint)
    before, after = ({arm.id: arm for arm in result.arms if arm.n} for result in (first, second))
    common = [name for name in before if name in after]
    if not common:
        raise UsageError("these runs have no arm in common")
    sampled = [
        (name, metric, a, b, bool(before[name].samples.trial and after[name].samples.trial))
        for name in common
        for metric in metrics
        if (a := before[name].samples.of(metric)) and (b := after[name].samples.of(metric))
    ]
    failing = [name for name in common if before[name].error_rate or after[name].error_rate]
    either = [arm for arms in (before, after) for name, arm in arms.items() if name in common and arm.ok]
    absent = [metric for metric in metrics if either and not any(arm.samples.of(metric) for arm in either)]
    if absent or (not sampled and not failing):
        raise UsageError(f"no arm has {' or '.join(absent or metrics)} in both runs")
    confidence = 1 - (1 - CONFIDENCE) / (len(sampled) + len(failing))
    # Neither faster nor slower by less than the delays of the machines, which may serve the audio, too.
    calibrations = [run.calibration for run in (first.run, second.run)]
    delays = [delay.p99 for each in calibrations for delay in (each.lag_ms, each.floor_ms) if delay]
    noise_ms = max(0.0, *delays)
    rows = []
    for name, metric, a, b, ordered in sampled:  # values of a histogram are not in order
        unit = METRICS[metric].unit
        least, noise = MIN_EFFECTS.get(unit, 0.0), noise_ms if unit == "ms" else 0.0
        found = compare(a, b, min_effect, confidence, least, noise=noise, ordered=ordered)
        sizes = len(a), len(b)
        rows.append(Row(name, metric, sizes, found.shift, found.effect, found.word, found.needed, unit))
    errors = [_error_row(name, before[name], after[name], confidence) for name in common]
    not_compared = list(_not_compared(before, after, metrics))
    verdicts = [result.run.calibration.verdict for result in (first, second)]
    failed = [name for name, arms in (("A", before), ("B", after)) if not any(a.ok for a in arms.values())]
    trusted = force or all(each == "ok" for each in verdicts)
    verdict = _verdict(rows, errors, not_compared) if trusted else "inconclusive"
    return RunComparison(
        a=first.run.id,
        b=second.run.id,
        min_effect=min_effect,
        noise_ms=noise_ms,
        confidence=confidence,
        comparisons=rows,
        errors=errors,
        not_compared=not_compared,
        failed=failed,
        verdict=verdict,
        verdicts=verdicts,
        forced=force,
        exit=INVALID if failed or "invalid" in verdicts else EXIT_CODES.get(verdict, 0),
    )


def arms_of(row: Row, first: Result, second: Result) -> tuple[ArmResult, ArmResult]:
    """Return the arm of a row in both results."""
    a, b = (next(arm for arm in result.arms if arm.id == row.arm and arm.n) for result in (first, second))
    return a, b


def _error_row(name: str, before: ArmResult, after: ArmResult, confidence: float) -> ErrorRow:
    a, b = ((arm.n - arm.ok, arm.n) for arm in (before, after))
    tail = (1 - confidence) / 2
    verdict: Literal["more", "fewer", "unclear", "none"] = "unclear"
    if not a[0] and not b[0]:
        verdict = "none"
    elif rise(*a, *b) <= tail:
        verdict = "more"
    elif rise(*b, *a) <= tail:
        verdict = "fewer"
    rates = before.error_rate, after.error_rate
    return ErrorRow(name, (a[1], b[1]), (a[0], b[0]), rates, verdict)


def _not_compared(before: Arms, after: Arms, metrics: Sequence[str]) -> Iterator[NotCompared]:
    sides: tuple[tuple[Literal["A", "B"], Arms, Arms], ...] = (("B", before, after), ("A", after, before))
    for run, arms, others in sides:
        for name, arm in arms.items():
            if name not in others:
                yield NotCompared(name, None, run, f"{run} did not measure it")
                continue
            other = others[name]
            why = "has no such figure" if other.ok else "has no successful trial"
            for metric in metrics:
                if arm.samples.of(metric) and not other.samples.of(metric):
                    yield NotCompared(name, metric, run, f"{run} {why}")


def _verdict(rows: Sequence[Row], errors: Sequence[ErrorRow], not_compared: Sequence[NotCompared]) -> Word:
    """Return the overall verdict: the worst of all rows."""
    words = {row.verdict for row in rows}
    if any(row.verdict == "more" for row in errors):
        words.add("slower")
    if not rows or any(each.missing_in == "B" for each in not_compared):
        words.add("inconclusive")
    order: tuple[Word, ...] = ("slower", "inconclusive", "faster")
    return next((word for word in order if word in words), "equivalent")
