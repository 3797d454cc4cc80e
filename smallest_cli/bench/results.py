"""Summarise trials into a result, from which every report is rendered."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Any

from msgspec import UNSET
from msgspec.structs import asdict, replace

from smallest_cli.bench.metrics import derive, in_unit
from smallest_cli.bench.playback import SECOND
from smallest_cli.bench.schema import SAMPLED, Arm, ArmResult, Result, Run, Samples, Timeline, Warmups, Window
from smallest_cli.bench.stats.quantiles import outliers
from smallest_cli.bench.sweep import find_sweeps
from smallest_cli.bench.tally import Tally
from smallest_cli.bench.thresholds import evaluate
from smallest_cli.bench.trial import Trial

MAX_ARRIVALS = 400  # approximate maximum of arrivals in a timeline
MAX_FACTOR, MAX_FACTOR_SIMILAR = 2.0, 4.0
"""A trial whose audio is shorter than usual by more than this factor is `truncated`, a longer one `overlong`.
Usual is the median for its text or, for a text with fewer than `MIN_TRIALS` trials, for texts of similar
length: seconds per character differ more between texts."""
MIN_TRIALS = 3
SIMILAR = 1.5  # lengths of texts in characters are similar up to this ratio
MISSED, INVALID, INCONCLUSIVE = 20, 22, 23

Text = tuple[str, int]  # name in the run, and number of characters


def summarise(run: Run, trials: Sequence[Trial]) -> Result:
    """Return the result of a run."""
    measured = mark_wrong_length([trial for trial in trials if trial.phase == "measure"], run.arms)
    prebuffers_ns = [round(ms * 1e6) for ms in run.buffers_ms]
    tallies = {arm.id: Tally(prebuffers_ns, exact=True) for arm in run.arms}
    for trial in measured:
        tallies[trial.arm].add(trial)
    arms = [_arm(tallies[arm.id].as_result(arm), measured, prebuffers_ns[0]) for arm in run.arms]
    started_ns = min((trial.started_ns for trial in measured), default=0)
    ns = max((trial.ended_ns for trial in measured), default=started_ns) - started_ns
    warmups = [trial for trial in trials if trial.phase == "warmup"]
    errors = Counter(trial.error for trial in warmups if trial.error)
    result = assemble(run, window(tallies.values(), ns), arms, Warmups(len(warmups), dict(errors)))
    return replace(result, sweep=find_sweeps(arms, measured) or UNSET)


def assemble(run: Run, window: Window, arms: list[ArmResult], warmups: Warmups) -> Result:
    """Build a result from its parts: evaluate the run's thresholds and choose the exit code."""
    thresholds = [each for text in run.slo for each in evaluate(text, arms)]
    code = INCONCLUSIVE if any(each.inconclusive for each in thresholds) else 0
    if not all(each.passed or each.inconclusive for each in thresholds):
        code = MISSED
    if run.calibration.verdict == "invalid" or not any(arm.ok for arm in arms):
        code = INVALID  # thresholds do not apply
    return Result(run=replace(run, window=window), arms=arms, slo=thresholds, warmups=warmups, exit=code)


def window(tallies: Collection[Tally], ns: int) -> Window:
    """Return the window of `ns` nanoseconds in which those trials were measured."""
    trials, ns = sum(tally.n for tally in tallies), max(ns, 1)
    if not trials:
        return Window(seconds=0.0, trials=0, characters=0)
    return Window(
        seconds=ns / SECOND,
        trials=trials,
        characters=sum(tally.characters for tally in tallies),
        trials_per_s=sum(tally.ok for tally in tallies) * SECOND / ns,
        audio_s_per_s=sum(tally.audio_ns for tally in tallies) / ns,
        characters_per_s=sum(tally.good_characters for tally in tallies) * SECOND / ns,
    )


def _arm(arm: ArmResult, measured: Sequence[Trial], prebuffer_ns: int) -> ArmResult:
    """Add to the result of an arm what needs single trials, e.g. timelines."""
    good = [trial for trial in measured if trial.arm == arm.id and trial.error is None]
    derived = [derive(trial, prebuffer_ns) for trial in good]
    samples: dict[str, Any] = {
        name: [in_unit(name, each[name]) if name in each else None for each in derived]
        for name in SAMPLED
        if name in arm.metrics
    }
    in_order = sorted(good, key=lambda trial: trial.started_ns)
    return replace(
        arm,
        # A slow first trial: the warm-up was too short.
        first_is_outlier=0 in outliers([trial.first_audio_ns for trial in in_order]),
        samples=Samples([trial.index for trial in good], [trial.text for trial in good], **samples),
        drawn=_timelines(good),
    )


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e6


def _timelines(good: Sequence[Trial]) -> dict[str, Timeline]:
    """Return the timelines of the trials with the median and the worst TTFB."""
    if not good:
        return {}
    ordered = sorted(good, key=lambda trial: (trial.first_audio_ns, trial.index))
    return {"median": _timeline(ordered[(len(ordered) - 1) // 2]), "worst": _timeline(ordered[-1])}


def _timeline(trial: Trial) -> Timeline:
    steps: dict[Any, int] = asdict(trial.phases) if trial.phases and trial.reused is False else {}
    stride = max(1, len(trial.chunks) // MAX_ARRIVALS)
    return Timeline(
        trial=trial.index,
        text=trial.text,
        connect={name: ns / 1e6 for name, ns in steps.items() if ns},
        ttfb=trial.first_audio_ns / 1e6,
        last_audio=trial.chunks[-1][0] / 1e6,
        complete=_ms(trial.completed_ns),
        arrivals=[(at / 1e6, frames * 1e3 / trial.rate) for at, frames in trial.chunks[::stride]],
    )


def mark_wrong_length(trials: Sequence[Trial], arms: Sequence[Arm]) -> list[Trial]:
    """Return the trials; those whose audio is too short or too long for their text become failures.

    The service may end the audio early and still send the end marker, or speak more than the text. Trials are
    compared if they have the same voice, model, API and service, over any transport.
    """
    speakers = {arm.id: (arm.voice, arm.model, arm.api, arm.base_url) for arm in arms}
    found: defaultdict[Any, dict[Text, list[float]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        if _is_whole(trial):
            found[speakers[trial.arm]][trial.text, trial.characters].append(_s_per_char(trial))
    usual = {
        (speaker, text): _usual_s_per_char(text, texts) for speaker, texts in found.items() for text in texts
    }
    return [
        _mark(trial, *usual[speakers[trial.arm], (trial.text, trial.characters)])
        if _is_whole(trial)
        else trial
        for trial in trials
    ]


def _is_whole(trial: Trial) -> bool:
    return trial.error is None and trial.cancellation is None and trial.characters > 0


def _s_per_char(trial: Trial) -> float:
    return trial.frames / trial.rate / trial.characters


def _usual_s_per_char(text: Text, found: Mapping[Text, list[float]]) -> tuple[float, float, str]:
    """Return the usual seconds per character, the factor by which a trial may differ, and of what it is."""
    own, characters = found[text], text[1]
    if len(own) < MIN_TRIALS:
        similar = [
            median(values)
            for (_, length), values in found.items()
            if max(length, characters) <= SIMILAR * min(length, characters)
        ]
        if len(similar) >= MIN_TRIALS:
            return median(similar), MAX_FACTOR_SIMILAR, "texts of similar length"
    return median(own), MAX_FACTOR, "this text"


def _mark(trial: Trial, usual: float, factor: float, texts: str) -> Trial:
    ratio = _s_per_char(trial) / usual
    if 1 / factor <= ratio <= factor:
        return trial
    seconds = trial.frames / trial.rate
    message = f"{seconds:.2f} s of audio; the median for {texts} is {usual * trial.characters:.2f} s"
    return replace(trial, error="truncated" if ratio < 1 else "overlong", message=message)
