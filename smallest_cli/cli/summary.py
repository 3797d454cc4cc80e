"""How a run of speech went, told: a line, more of them, or the object of --json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from smallest_cli.cli.console import print_json
from smallest_cli.cli.progress import steps_of
from smallest_cli.synthesis.request import Run
from smallest_cli.synthesis.session import RunResult
from smallest_cli.synthesis.timeline import MILLISECOND

NOTABLE_WAIT_MS = 200


def print_summary(run: Run, told: RunResult) -> None:
    """How it went: a line, more of them where --verbose asks, or the object of --json."""
    if run.report.json:
        print_json(as_json(run, told))
    for line in _details(run, told):
        run.console.detail(line)
    spoken = told.spoken
    resent = f" ({told.resent} sent again)" if told.resent else ""
    cached = f"  {told.cached} cached" if told.cached else ""
    segments = f"  {spoken.segments} segments" if spoken.segments > 1 else ""
    run.console.tell(
        f"{', '.join(each.name for each in run.destinations)}  {spoken.seconds:.1f} s  "
        f"first audio {_first_audio(told)}  total {told.total_ms / 1000:.2f} s"
        f"{segments}{cached}  {spoken.characters} characters{resent}"
    )


def _first_audio(told: RunResult, digits: int = 0) -> str:
    if told.timeline.begins_cached:
        return "cached"
    return f"{told.timeline.ttfb_ms or 0:.{digits}f} ms"


def _details(run: Run, told: RunResult) -> Iterator[str]:
    timeline, spoken = told.timeline, told.spoken
    if phases := timeline.phases:
        yield f"connection  {steps_of(phases)}"
    yield (
        f"audio  first {_first_audio(told, 1)}"
        f"  longest gap {timeline.longest_gap_ns / MILLISECOND:.1f} ms"
        f"  real-time factor {timeline.real_time_factor(spoken.seconds):.3f}"
    )
    if (wait_ms := timeline.longest_tail_ns / MILLISECOND) >= NOTABLE_WAIT_MS:
        yield (
            f"the service said complete up to {wait_ms / 1000:.1f} s after its last audio;"
            " --completion-wait MS asks for less"
        )
    yield f"voice {run.template.voice}  model {run.template.model}  via {run.settings.via}"


def as_json(run: Run, told: RunResult) -> dict[str, Any]:
    """What a run came to, as the object of --json."""
    names = [each.name for each in run.destinations]
    return {
        "file": names[0] if len(names) == 1 else names,
        "seconds": round(told.spoken.seconds, 6),
        "sample_rate": run.settings.sample_rate,
        "ttfb_ms": None if told.timeline.begins_cached else round(told.timeline.ttfb_ms or 0.0, 3),
        "total_ms": round(told.total_ms, 3),
        "characters": told.spoken.characters,
        "characters_resent": told.resent,
        "segments": told.spoken.segments,
        "cached": told.cached,
        "request_ids": told.spoken.request_ids,
        "transport": run.settings.via,
        "voice": run.template.voice,
        "model": run.template.model,
    }
